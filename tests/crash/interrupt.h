/*
 * interrupt.h - the laboratory for signals: one after each instruction of a wait
 *
 * SPDX-License-Identifier: MIT
 *
 * docs/crash.md explains the method. A test is a table of waits that nothing ends but a signal.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interrupt_wait {
    const char *name;
    void *(*setup)(void);    /* the laboratory: makes what is waited for, once for all points */
    void (*prepare)(void *); /* the victim, before the window; may be NULL */
    int (*wait)(void *);     /* the victim: the window; what the call of the library returned */
    void (*verify)(void *); /* the laboratory, after each point: the object is whole; may be NULL */
    void (*teardown)(void *); /* the laboratory: gives back what setup() made */
};

/* Whether the victim has got its signal. For the victim and the children that it has forked. */
bool interrupt_has_come(void);

/* Runs the table; returns the exit code of the program. Last line: N passed, N failed. */
int interrupt_main(const struct interrupt_wait *waits, size_t n, int argc, char **argv);

#endif
