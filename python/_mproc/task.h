/*
 * task.h - mproc._mproc.Task: a task of a pool that has its books in Python
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_TASK_H
#define MPROC_PYTHON_TASK_H

#include "call.h"

struct task {
    PyObject_HEAD PyObject *job; /* owned, as the others are */
    Py_ssize_t part;
    PyObject *work; /* (kind, function, arguments), see run() */
};

/* A call as the only part of a job. New reference; NULL with an exception. */
PyObject *task_for_call(struct module_state *state, PyObject *job, PyObject *function,
                        PyObject *arguments);

/* The parts of a job that calls a function for each item of a list, in order: a list. A stream's
 * parts are opened. New reference; NULL with an exception, and then no part has been opened. */
PyObject *task_divide(struct module_state *state, PyObject *job, enum call_kind kind,
                      PyObject *function, PyObject *items, Py_ssize_t chunk);

#endif
