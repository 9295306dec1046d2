/*
 * interrupt.h - signals that are held back: from a thread, from what it starts, from Python's hooks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_INTERRUPT_H
#define MPROC_PYTHON_INTERRUPT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdbool.h>

/* Blocks SIGINT in this thread, and gives back what was blocked before. A program that is started
 * meanwhile begins with it blocked. */
void interrupt_hold(sigset_t *before);
void interrupt_restore(const sigset_t *before);

/* What interrupt_delay() has changed. */
struct interrupt_delay {
    bool active;
    bool recording; /* SIGINT is recorded, and no more */
    sigset_t mask;
    struct sigaction action;
};

/* From here to interrupt_resume() no handler of a signal runs in Python. It is for code whose
 * exceptions are printed and forgotten, the interpreter's hooks around a fork: what a handler
 * raised there would be lost. 0, or -1 with what a handler has raised: then nothing is delayed. */
int interrupt_delay(struct interrupt_delay *delay);
/* Handlers run again, soon: the first ones for what came meanwhile. */
void interrupt_resume(const struct interrupt_delay *delay);
/* In a child that was forked meanwhile: what came before is its parent's. */
void interrupt_forget(void);

/* Adds hold_interrupts() to the module. 0, or -1 with an exception. */
int interrupt_add(PyObject *module);

#endif
