/*
 * error.h - the core's codes as Python exceptions
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_ERROR_H
#define MPROC_PYTHON_ERROR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Raises the exception that belongs to a negative code of the core. Always NULL. */
PyObject *error_raise(int code);

/* The same, and the exception's message begins with `who`: the culprit's name. */
PyObject *error_raise_for(int code, const char *who);

#endif
