/*
 * acquire.h - what all types with acquire() share: arguments, results, errors
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_ACQUIRE_H
#define MPROC_PYTHON_ACQUIRE_H

#include "blocking.h"

#include <structmember.h>

#include "error.h"
#include "handle.h"

/* The arguments block=True and timeout=None as a timeout; NULL where there is none. 0, or -1 with
 * an exception. */
int acquire_block_timeout(PyObject *block, PyObject *seconds, int64_t *timeout);

/* The arguments of acquire(block=True, timeout=None) as a timeout. 0, or -1 with an exception. */
int acquire_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout);

/* The same, with short ways for the usual forms. */
static inline int acquire_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                                  int64_t *timeout) {
    PyObject *block = nargs > 0 ? args[0] : Py_True;
    if (names != NULL || nargs > 2 || (block != Py_True && block != Py_False)) {
        return acquire_parse(args, nargs, names, timeout);
    }
    if (block == Py_False) {
        *timeout = 0;
        return 0;
    }
    return blocking_timeout(nargs == 2 ? args[1] : NULL, timeout);
}

/* The argument of wait(timeout=None) as a timeout. 0, or -1 with an exception. */
int acquire_wait_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout);

/* The same, with a short way for none. */
static inline int acquire_wait_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                                       int64_t *timeout) {
    if (nargs > 0 || names != NULL) {
        return acquire_wait_parse(args, nargs, names, timeout);
    }
    *timeout = MPROC_FOREVER;
    return 0;
}

/* True, False (-ETIMEDOUT), or the exception of any other code. */
PyObject *acquire_result(int code);

/* ValueError: there is nothing to release. NULL. */
PyObject *acquire_too_many(void);

/* OwnerDiedError about the dead holder. NULL. */
PyObject *acquire_owner_died(const mproc_lock_holder *dead);

/* A handle of a lock. recover: to acquire it is no error when the previous holder died. */
struct lock_handle {
    struct handle handle;
    char recover;
};

static inline struct lock_handle *lock_handle(PyObject *self) {
    return (struct lock_handle *)self;
}

#define ACQUIRE_RECOVER                                                                            \
    {                                                                                              \
        "_recover", T_BOOL, offsetof(struct lock_handle, recover), 0,                              \
            "True: the death of the holder is no error for the next one."                          \
    }

/* The argument of a lock's type: (recover=False). -1 with an exception. */
int acquire_recover(PyObject *args, char *recover);

#endif
