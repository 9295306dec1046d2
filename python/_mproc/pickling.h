/*
 * pickling.h - the pickler that the codec falls back on
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_PICKLING_H
#define MPROC_PYTHON_PICKLING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct codec_message;
struct module_state;

/* A pickler together with the file-like object that it writes to. */
struct pickler {
    PyObject *sink;  /* its write() appends to a message */
    PyObject *dump;  /* bound method of the pickler */
    PyObject *reset; /* bound clear_memo of the pickler */
};

struct pickling {
    PyObject *reducers;     /* dict, type -> reduce function: _mproc.reducers, shared with
                               reduction.ForkingPickler */
    PyObject *pickler_type; /* subclass of _pickle.Pickler; made when first needed, as is loads */
    PyObject *loads;        /* _pickle.loads */
    struct pickler spare;   /* the one pickler at rest; .sink is NULL while somebody has it */
};

/* Appends a pickle (protocol 5) of object to message. 0, or -1 with the exception that pickle
 * raises. Runs arbitrary Python code. */
int pickling_dump(struct module_state *state, PyObject *object, struct codec_message *message);

/* What a pickle says. The memory is lent for the call. Runs arbitrary Python code; its errors pass
 * through. */
PyObject *pickling_load(struct module_state *state, const void *data, size_t size);

int pickling_traverse(struct pickling *pickling, visitproc visit, void *arg);
void pickling_clear(struct pickling *pickling);

#endif
