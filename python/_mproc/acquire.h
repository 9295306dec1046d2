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

/* What is said to a constructor beside the value of a semaphore. */
struct acquire_options {
    char recover;     /* to acquire the lock is no error when the previous holder died */
    char is_fork_ctx; /* made by the context of fork, whose children inherit it: never pickled */
};

/* A handle of a lock, a semaphore or an event. */
struct acquire_handle {
    struct handle handle;
    struct acquire_options options;
};

static inline struct acquire_options *acquire_options_of(PyObject *self) {
    return &((struct acquire_handle *)self)->options;
}

static inline char acquire_recovers(PyObject *self) {
    return THREADS_LOAD(acquire_options_of(self)->recover);
}

#define ACQUIRE_OPTION(name, doc)                                                                  \
    { "_" #name, T_BOOL, offsetof(struct acquire_handle, options.name), 0, doc }
#define ACQUIRE_RECOVER                                                                            \
    ACQUIRE_OPTION(recover, "True: the death of the holder is no error for the next one.")
#define ACQUIRE_IS_FORK_CTX                                                                        \
    ACQUIRE_OPTION(is_fork_ctx, "True: it was made by the context of fork, and is not pickled.")

/* The tp_init of all of them. Their tp_new does the work; but if a subclass has an __init__() of
 * its own, this one does it, when that calls it. */
int acquire_init(PyObject *self, PyObject *args, PyObject *keywords);

/* The arguments of constructors, for types of this module and classes derived from them. 0, or -1
 * with an exception. Of an event: (*, ctx=None). */
int acquire_new_event(PyTypeObject *type, PyObject *args, PyObject *keywords,
                      struct acquire_options *options);
/* Of a lock: (*, ctx=None, on_owner_death="raise"). */
int acquire_new_lock(PyTypeObject *type, PyObject *args, PyObject *keywords,
                     struct acquire_options *options);
/* Of a semaphore: (value=1, *, ctx=None); *value is borrowed, or NULL. */
int acquire_new_semaphore(PyTypeObject *type, PyObject *args, PyObject *keywords, PyObject **value,
                          struct acquire_options *options);

/* As handle_new(), with these options. */
PyObject *acquire_new(PyTypeObject *type, const struct acquire_options *options, int code,
                      void *owned);

#endif
