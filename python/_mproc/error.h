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

/* Takes the exception that is set: a new reference. */
PyObject *error_take(void);

/* Sets an exception that was taken; `owned` may be NULL: then there is none. */
void error_give_back(PyObject *owned);

/* Writes a note to the exception that is set. */
void error_note(const char *note);

/* Writes a note to the exception that is set, and a value to an attribute of it, for programs that
 * go by it. An exception that does not let itself be changed stays as it is. */
void error_describe(const char *attribute, PyObject *value, const char *note);

/* Says in the exception that is set which part of an object cannot be pickled: a note with the path
 * to it, beginning with a name of the object, and one with a remedy. Does nothing where something
 * else was the reason. Runs arbitrary Python code: that of pickling again. */
void error_explain(PyObject *object, const char *name);

#endif
