/*
 * buffer.h - mproc.Buffer: memory of the arena, shared by all who have it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_BUFFER_H
#define MPROC_PYTHON_BUFFER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "mproc.h"

struct module_state;

/* The shared buffers that this process has objects of. */
struct buffers {
    struct buffer_range *list; /* in the order of their addresses */
    size_t n, room;
    PyObject *reduce; /* what pickles arrays over them: see know_arrays(); NULL: nothing */
    PyTypeObject *array_type;
    PyObject *make; /* mproc.buffers.array_over(), once that is imported; NULL: it is not */
#ifdef Py_GIL_DISABLED
    PyMutex lock; /* of all but make */
#endif
};

/* The shared buffer of this process in which those bytes lie, lent; NULL: none. */
mproc_buffer *buffer_around(struct module_state *state, const void *at, size_t size);

/* A Buffer for one that the caller holds, or that is lent: it takes a hold of its own. */
PyObject *buffer_share(struct module_state *state, mproc_buffer *lent);

/* The same for a received copy, which is this process' own: never sent by reference. */
PyObject *buffer_view(struct module_state *state, mproc_buffer *lent);

/* What makes a numpy array over its items, borrowed; NULL with an exception. */
PyObject *buffer_array_maker(struct module_state *state);

/* What pickles objects of a type, because they may lie in a shared buffer: owned. NULL: nothing. */
PyObject *buffers_reducer(struct buffers *buffers, PyTypeObject *type);

int buffers_traverse(struct buffers *buffers, visitproc visit, void *arg);
void buffers_clear(struct buffers *buffers);

#endif
