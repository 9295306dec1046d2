/*
 * pickling.h - the pickler that the codec falls back on
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_PICKLING_H
#define MPROC_PYTHON_PICKLING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "message.h"

#define PICKLE_PROTOCOL 5

struct msgpack_keys;

/* A pickler together with the file-like object that it writes to. */
struct pickler {
    PyObject *sink;  /* its write() appends to a message */
    PyObject *dump;  /* bound method of the pickler */
    PyObject *reset; /* bound clear_memo of the pickler */
};

struct pickling {
    PyObject *reducers;      /* dict, type -> reduce function: _mproc.reducers, shared with
                                reduction.ForkingPickler */
    PyTypeObject *sink_type; /* of struct sink */
    PyObject *pickler_type;  /* subclass of _pickle.Pickler; made when first needed, as is loads */
    PyObject *loads;         /* _pickle.loads */
    PyObject *everybody;     /* copyreg.dispatch_table; NULL: not looked up yet */
    PyObject *chosen;        /* the class whose dumps() and loads() a program has chosen, or NULL */
    struct pickler spare;    /* a pickler that is not in use; .sink is NULL: there is none */
#ifdef Py_GIL_DISABLED
    PyMutex lock; /* of chosen and spare */
#endif
};

/* Makes what pickling needs from the beginning, and the module's `reducers`. 0, or -1 with an
 * exception: pickling_clear() frees what has been made. */
int pickling_init(struct pickling *pickling, PyObject *module);

/* Appends a pickle (protocol 5) of an object to a message. 0, or -1 with the exception that pickle
 * raises. Runs arbitrary Python code. */
int pickling_dump(struct pickling *pickling, PyObject *object, struct message *message);

/* The same for a tree of built-in values, if the object is one: 0; PACKER_NOT_PLAIN, no exception
 * set, the message half written; -1 with MemoryError. Runs no Python code. */
int pickle_write_plain(PyObject *object, struct message *message);

/* For a __reduce__: whether its object is being pickled by the calling thread's pickling_dump()
 * for a message that stays in the family. A pickle that a program makes itself may go anywhere. */
bool pickling_stays(const PyObject *object);

/* The same: whether it goes into a container, whose values hold shared objects. */
bool pickling_shares(const PyObject *object);

#define PICKLE_INT 13 /* bytes that the pickle of an int takes at most */

/* The same for an int alone. Returns its length; 0: it has more than 64 bits. */
size_t pickle_write_int(PyObject *object, unsigned char out[PICKLE_INT]);

/* What such a pickle stands for; NULL without an exception: it has to be read by pickle. */
PyObject *pickle_read_plain(struct msgpack_keys *keys, const void *data, size_t size);

/* The object that a pickle stands for. The memory is used during the call only. `buffers`: a list
 * of those that were taken out of it, or NULL. Runs arbitrary Python code; its errors pass
 * through. */
PyObject *pickling_load(struct pickling *pickling, const void *data, size_t size,
                        PyObject *buffers);

/* Whether the program has said how objects of a type are pickled: by register(), by copyreg, or by
 * a class of its own. -1 with an exception. Runs no Python code. */
int pickling_is_customised(struct pickling *pickling, PyTypeObject *type);

/* Has the dumps() and loads() of a class do the work; None: pickle's own again. */
void pickling_choose(struct pickling *pickling, PyObject *chosen);

int pickling_traverse(struct pickling *pickling, visitproc visit, void *arg);
void pickling_clear(struct pickling *pickling);

#endif
