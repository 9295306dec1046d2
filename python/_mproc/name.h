/*
 * name.h - functions and classes that go to workers by their names
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_NAME_H
#define MPROC_PYTHON_NAME_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* What a name of name_of() stands for here, with its module imported if need be: a new reference,
 * or NULL with the exception that unpickling it would raise. */
PyObject *name_find(PyObject *name);

#endif
