/*
 * large.h - bytes objects whose contents are many pages
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_LARGE_H
#define MPROC_PYTHON_LARGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* As PyBytes_FromStringAndSize(data, size), where data may be NULL: the contents are undefined
 * then. */
PyObject *large_bytes(const void *data, Py_ssize_t size);

#endif
