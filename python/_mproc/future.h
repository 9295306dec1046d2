/*
 * future.h - futures, as the books of an executor see them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_FUTURE_H
#define MPROC_PYTHON_FUTURE_H

#include "backlog.h"

/* A new, pending future of a class that is derived from _mproc.Future; `engine` collects its
 * result. New reference; NULL with MemoryError. */
PyObject *future_new(PyTypeObject *type, PyObject *engine);

/* The call of a future that waits in a backlog: part of the future. */
struct waiting *future_waiting(PyObject *self);

/* A pending future runs: 1. A cancelled one is told to its waiters: 0. -1 with an exception: it
 * runs already, or is done. */
int future_begin(PyObject *self);

/* Gives a future what its call came to, its result or (failed) its exception, unless it is done
 * already, and lets go of its engine. Tells waiters and runs callbacks. The interpreter's lock is
 * held, and other threads may run meanwhile. 0, or -1 with what a signal handler or a callback has
 * raised: the future is done all the same. */
int future_settle(PyObject *self, int failed, PyObject *value);

/* Lets go of the engine. 0, or -1 with an exception. */
int future_let_go(PyObject *self);

#endif
