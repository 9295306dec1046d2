/*
 * interrupt.h - SIGINT, held back from a thread and from the programs that it starts
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_INTERRUPT_H
#define MPROC_PYTHON_INTERRUPT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>

/* Blocks SIGINT in this thread, and gives back what was blocked before. A program that is started
 * meanwhile begins with it blocked. */
void interrupt_hold(sigset_t *before);
void interrupt_restore(const sigset_t *before);

/* Adds hold_interrupts() to the module. 0, or -1 with an exception. */
int interrupt_add(PyObject *module);

#endif
