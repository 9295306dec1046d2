/*
 * lock_methods.h - the methods that Lock and RLock have in common
 *
 * SPDX-License-Identifier: MIT
 *
 * Included once by the file of each, which says first what it is about:
 *
 *     #define LOCK mproc_rlock                a type of the core, and the beginning of its functions
 *     static PyObject *not_held(void);        raises what release() says to who does not hold it
 *
 * A template instead of a table of functions: what is called is known to the compiler, and acquire and
 * release are the hottest calls of the package.
 */
#include "acquire.h"

#define LOCK_JOIN_(a, b) a##_##b
#define LOCK_JOIN(a, b) LOCK_JOIN_(a, b)
#define LOCK_DO(verb) LOCK_JOIN(LOCK, verb)

static LOCK *lock_of(PyObject *self) {
    return handle_object(self);
}

/* As handle_new(); `args` are those of the type. */
static PyObject *new_handle(PyTypeObject *type, PyObject *args, int code, LOCK *owned) {
    char recover;
    if (acquire_recover(args, &recover) < 0) {
        mproc_drop(owned);
        return NULL;
    }
    PyObject *self = handle_new(type, code, owned);
    if (self != NULL) {
        lock_handle(self)->recover = recover;
    }
    return self;
}

/* The holder died: the lock is free again, and its taker is told who it was. */
static PyObject *inherit(PyObject *self) {
    mproc_lock_holder dead;
    if (lock_handle(self)->recover) {
        Py_RETURN_TRUE;
    }
    LOCK_DO(dead_owner)(lock_of(self), &dead);
    (void)LOCK_DO(release)(lock_of(self));
    return acquire_owner_died(&dead);
}

static PyObject *acquire(PyObject *self, int64_t timeout) {
    int r = LOCK_DO(acquire)(lock_of(self), 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, LOCK_DO(acquire)(lock_of(self), blocking_left(deadline)));
    }
    return r == -EOWNERDEAD ? inherit(self) : acquire_result(r);
}

static PyObject *acquire_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(self, timeout);
}

static PyObject *enter_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(self, MPROC_FOREVER);
}

static PyObject *release_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = LOCK_DO(release)(lock_of(self));
    if (r == MPROC_ENOTHELD) {
        return not_held();
    }
    if (r != 0) {
        return error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *exit_method(PyObject *self, PyObject *const *Py_UNUSED(args),
                             Py_ssize_t Py_UNUSED(nargs)) {
    return release_method(self, NULL);
}

static PyObject *locked_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    LOCK_DO(owner)(lock_of(self), &holder);
    return PyBool_FromLong(holder.serial != 0);
}

static PyObject *owner_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    LOCK_DO(owner)(lock_of(self), &holder);
    if (holder.serial == 0) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(ii)", holder.pid, holder.tid);
}

static PyMemberDef lock_members[] = {ACQUIRE_RECOVER, {NULL, 0, 0, 0, NULL}};
static PyGetSetDef lock_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

/* What of a type's methods is the same for both. */
#define LOCK_METHODS                                                                               \
    {"acquire", MODULE_METHOD(acquire_method), METH_FASTCALL | METH_KEYWORDS,                      \
     "acquire(block=True, timeout=None)\n--\n\n"                                                   \
     "Take the lock; False if it could not be had in time.\n\n"                                    \
     "timeout is in seconds, None for ever, negative as 0. OwnerDiedError: the process that held " \
     "the\nlock died; the lock is free then."},                                                    \
        {"locked", locked_method, METH_NOARGS,                                                     \
         "locked()\n--\n\nTrue while anybody holds the lock."},                                    \
        {"_owner", owner_method, METH_NOARGS, "(pid, native thread id) of the holder, or None."},  \
        {"__enter__", enter_method, METH_NOARGS, NULL},                                            \
        {"__exit__", MODULE_METHOD(exit_method), METH_FASTCALL, NULL}, HANDLE_ADOPT
