/*
 * turn.h - mproc._mproc.Turn, as other nouns of pools use it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_TURN_H
#define MPROC_PYTHON_TURN_H

#include "module.h"

#include <stdint.h>

/* Each `turn` below is a Turn. */

/* How often this thread has the turn now; 0: another thread has it. */
Py_ssize_t turn_take(PyObject *turn);
/* Gives the turn back, if this thread has it, and wakes all who wait. */
void turn_leave(PyObject *turn);

/* How often the thread whose turn it is has taken it; 0: it is no thread's. */
Py_ssize_t turn_depth(PyObject *turn);
unsigned long long turn_news(PyObject *turn);
/* Counts somebody who has come to pump. */
void turn_look(PyObject *turn);

/* See turn_methods: wait() and tell(). key: lent, or NULL. 0; -1 with an exception. */
int turn_wait_for(PyObject *turn, unsigned long long seen, int64_t timeout, PyObject *key);
void turn_tell_of(PyObject *turn, const PyObject *key);

#endif
