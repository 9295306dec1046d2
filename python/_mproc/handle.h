/*
 * handle.h - a Python object that is one hold on a shared object
 *
 * SPDX-License-Identifier: MIT
 *
 * Every type over an object of the arena starts with struct handle. A handle owns one hold of the
 * process. A forked child inherits both. For a child that is started otherwise, the starter takes
 * the hold in the child's name (Child.hold_for()) and sends the object's address; the child makes
 * its handle of that with adopt().
 */
#ifndef MPROC_PYTHON_HANDLE_H
#define MPROC_PYTHON_HANDLE_H

#include "module.h"
#include "mproc.h"
#include "threads.h"

struct handle_former;

struct handle {
    PyObject_HEAD void *object;   /* NULL: not initialised, or adopted by another */
    struct handle_former *former; /* what it was a hold on before */
};

/* Makes a handle of the type around what a constructor of the core gave: its code, and the object
 * whose hold the handle takes over if that is 0. NULL with the code's exception, or with
 * MemoryError; the hold is given back then. */
PyObject *handle_new(PyTypeObject *type, int code, void *owned);

/* From now on the handle is one hold on another object, which it takes over. What it was a hold on
 * before stays until the handle goes, for other threads may be waiting in it. 0, or -1 with
 * MemoryError; the hold is given back then. */
int handle_replace(PyObject *self, void *owned);

/* The object whose address that number is, lent. NULL with ValueError: it is no address of this
 * family's arena. */
void *handle_object_at(PyObject *address);

/* For the types' slots and methods. */
void handle_dealloc(PyObject *self);
PyObject *handle_adopt(PyObject *type, PyObject *address); /* classmethod adopt(address) */
PyObject *handle_address(PyObject *self, void *unused);    /* getter of `address` */

#define HANDLE_ADOPT                                                                               \
    {                                                                                              \
        "adopt", handle_adopt, METH_O | METH_CLASS,                                                \
            "adopt($type, address, /)\n--\n\nThe handle of a hold that this process has already."  \
    }
#define HANDLE_ADDRESS                                                                             \
    { "address", handle_address, NULL, "Where the object stands in the arena.", NULL }

static inline void *handle_object(PyObject *self) {
    return THREADS_LOAD(((struct handle *)self)->object);
}

#endif
