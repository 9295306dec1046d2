/*
 * arguments.h - positional and keyword arguments of a call, by name
 *
 * SPDX-License-Identifier: MIT
 *
 * METH_FASTCALL | METH_KEYWORDS hands over an array of values and a tuple of names. A method with a
 * usual form of call looks at the array itself; all others come here.
 */
#ifndef MPROC_PYTHON_ARGUMENTS_H
#define MPROC_PYTHON_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Puts the arguments of function() into values[0..n), borrowed, in the order of `names`; NULL where
 * there is none. 0, or -1 with TypeError: too many, unknown or repeated ones. */
int arguments_spread(const char *function, const char *const *names, PyObject **values,
                     Py_ssize_t n, PyObject *const *args, Py_ssize_t nargs, PyObject *keywords);

/* Returns the one argument that function() must have, borrowed; NULL with TypeError. */
PyObject *arguments_one(const char *function, const char *name, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *keywords);

/* As arguments_spread() for a constructor, which gets a tuple and a dictionary (NULL: none). Only
 * the first `positional` names can be given without their name. */
int arguments_spread_new(const char *function, const char *const *names, PyObject **values,
                         Py_ssize_t n, Py_ssize_t positional, PyObject *args, PyObject *keywords);

#endif
