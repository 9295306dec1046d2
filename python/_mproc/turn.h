/*
 * turn.h - mproc._mproc.Turn, as other nouns of pools use it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_TURN_H
#define MPROC_PYTHON_TURN_H

#include "module.h"

#include <stdint.h>

/* Each `self` below is a Turn. */

/* How often this thread has the turn now; 0: another thread has it. */
Py_ssize_t turn_take(PyObject *self);
/* Gives the turn back, if this thread has it, and wakes all who wait. */
void turn_leave(PyObject *self);

/* How often the thread whose turn it is has taken it; 0: it is no thread's. */
Py_ssize_t turn_depth(PyObject *self);
unsigned long long turn_news(PyObject *self);
/* Counts somebody who has come to pump. */
void turn_look(PyObject *self);

/* See turn_methods: wait() and tell(). key: lent, or NULL. 0; -1 with an exception. */
int turn_wait_for(PyObject *self, unsigned long long seen, int64_t timeout, PyObject *key);
void turn_tell_of(PyObject *self, const PyObject *key);

#endif
