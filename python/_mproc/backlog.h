/*
 * backlog.h - what a future carries while its call waits to be run
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_BACKLOG_H
#define MPROC_PYTHON_BACKLOG_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A link of a backlog. All references are owned; those of a call are NULL once it is run. */
struct waiting {
    PyObject *function;
    PyObject *args;    /* a tuple; of a chunk: a list of tuples */
    PyObject *kwargs;  /* a dict or NULL */
    Py_ssize_t first;  /* of a chunk: the number of its first item in the map */
    PyObject *options; /* of the task, as the tasks take them, or NULL */
    int priority;      /* calls of a higher one are handed on before those of a lower one */
    PyObject *backlog; /* NULL: the future is in none */
    PyObject *older;   /* the futures beside it, borrowed: the backlog owns each */
    PyObject *younger;
};

#endif
