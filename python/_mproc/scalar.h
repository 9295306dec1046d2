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

/* The core's type of a typecode (bBhHiIlLqQfd, ? and c); 0: there is none. */
mproc_type scalar_type(int code);

/* Bytes of a number that the functions below know: they do not know c. 0: no such number. */
size_t scalar_size(int code);

/* The number that stands at an address, which is a multiple of its size. */
PyObject *scalar_load(int code, const char *at);

/* Fills a new list with numbers that are `stride` bytes apart. -1 with an exception: not all of
 * it. */
int scalar_load_all(int code, const char *at, Py_ssize_t stride, PyObject *list);

/* Makes a number of `size` bytes, which are scalar_size(code), of a Python object, in private
 * memory, cut to its size as ctypes does. -1 with TypeError: nothing has been written. */
int scalar_convert(int code, size_t size, char *out, PyObject *value);

#endif
