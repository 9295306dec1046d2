/*
 * shm.h - named segments, for the types that read and write them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_SHM_H
#define MPROC_PYTHON_SHM_H

#include "module.h"
#include "mproc.h"

/* The segment for one call, which ends with segment_leave(): a close() by another thread does not
 * take it away before. NULL with ValueError when it is closed. */
mproc_shm *segment_enter(PyObject *self);
void segment_leave(PyObject *self);

/* A Segment (`type` is its type) of a handle, which is closed if this fails. */
PyObject *segment_wrap(PyTypeObject *type, mproc_shm *owned);

/* The arguments of a creation. *out is the name, NULL for None; it points into the name's object.
 * 0, or -1 with an exception. */
int segment_arguments(PyObject *name, PyObject *kept, PyObject *mode, const char **out,
                      mproc_shm_options *options);

/* Raises an error about a segment of that name, which may be None. */
PyObject *segment_raise(int code, PyObject *name);

#endif
