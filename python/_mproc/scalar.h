/*
 * scalar.h - numbers in memory, by their typecodes, as Python's
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_SCALAR_H
#define MPROC_PYTHON_SCALAR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "mproc.h"

/* The core's type of a typecode (bBhHiIlLqQfd, ? and c), 0: there is none. */
mproc_type scalar_type(int code);

/* Bytes of a number that scalar_load() and scalar_store() know: not of c. 0: it is none. */
size_t scalar_size(int code);

/* The number at a place. */
PyObject *scalar_load(int code, const char *at);

/* Fills a new list with numbers that are `stride` bytes apart. -1 with an exception: not all of it. */
int scalar_load_all(int code, const char *at, Py_ssize_t stride, PyObject *list);

/* Puts a number there, cut to its size as ctypes does. -1 with TypeError, and nothing has changed. */
int scalar_store(int code, char *at, PyObject *value);

#endif
