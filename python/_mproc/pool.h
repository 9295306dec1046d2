/*
 * pool.h - mproc._mproc.Pool, as an engine uses it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_POOL_H
#define MPROC_PYTHON_POOL_H

#include "module.h"

#include <stdint.h>

/* See pool_methods: pump(). object: a Job, lent; what is no Job stands for None. 1, 0, or -1 with
 * an exception. */
int pool_collect(PyObject *self, PyObject *object, int64_t timeout, int patient);

/* Tasks whose results have not been read. */
Py_ssize_t pool_open(PyObject *self);

#endif
