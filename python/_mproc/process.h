/*
 * process.h - mproc._mproc.Child, as process.c and fork.c share it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_PROCESS_H
#define MPROC_PYTHON_PROCESS_H

#include "module.h"
#include "mproc.h"

/* Changed under the interpreter's lock, or under `lock` where there is none. */
struct child {
    PyObject_HEAD mproc_process *handle; /* NULL: not started, or closed */
    PyObject *weak;
    void **held; /* objects on which this process has a hold for the child, before it is started */
    size_t nheld;
    pid_t pid; /* once closed */
    int lent;  /* 1: a pool has the handle, too, and gives it back (pool.c) */
    int ended; /* 1: code is the exit code */
    int code;
    unsigned users;        /* threads that use the handle just now */
    mproc_process *closed; /* the handle, once closed, until the last of them has returned */
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

static inline struct child *child_of(PyObject *self) {
    return (struct child *)self;
}

/* Reserves the child's place in the family under that name, a str, with the holds that it gets.
 * NULL with an exception; otherwise the caller launches or drops the handle. */
mproc_process *child_prepare(struct child *self, mproc_process_options *options, PyObject *name);

/* Lends the handle to a pool: 0; -ESRCH: there is none, or another pool has it. */
int child_lend(struct child *self, mproc_process **out);
/* The pool gives it back. */
void child_take_back(struct child *self, mproc_process *owned);

/* Gives the holds of this process back: the child has its own, or will never be. */
void child_drop_held(struct child *self);

/* The method fork(): see fork.c. */
PyObject *child_fork(PyObject *self, PyObject *args);

#endif
