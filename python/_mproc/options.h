/*
 * options.h - Python's arguments for starting a program, as mproc_process_options
 *
 * SPDX-License-Identifier: MIT
 *
 * The options of the core point to arrays: the descriptors that go along, argv and the environment.
 * struct options holds these arrays and the objects that their strings belong to.
 */
#ifndef MPROC_PYTHON_OPTIONS_H
#define MPROC_PYTHON_OPTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "mproc.h"

struct options {
    mproc_process_options core; /* the caller sets its other fields */
    int *fds;
    const char **argv;
    const char **envp;
    PyObject *strings; /* list: the bytes objects that argv and envp point into */
    mproc_process_maker maker;
};

/* Has a function start the program, called as by(path, argv, envp, fds): strings are bytes, the
 * result is the pid. It is lent until the launch. NULL or None: the core starts the program. */
void options_start_by(struct options *options, PyObject *by);

/* Fills in fds, argv and envp from sequences: of integers or objects with fileno(), and of str,
 * bytes or path-like objects. NULL or None: the core's default. 0, or -1 with an exception;
 * options_clear() is to follow in any case. */
int options_fill(struct options *options, PyObject *fds, PyObject *argv, PyObject *envp);

void options_clear(struct options *options);

/* Raises a code of the core; the message names the program that was to be started. NULL. */
PyObject *options_raise(const struct options *options, int code);

#endif
