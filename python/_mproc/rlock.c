/*
 * rlock.c - mproc._mproc.RLock: the hot path of synchronize.RLock
 *
 * SPDX-License-Identifier: MIT
 *
 * As lock.c.
 */
#include "acquire.h"

static mproc_rlock *rlock_of(PyObject *self) {
    return handle_object(self);
}

static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    char recover;
    if (acquire_recover(args, &recover) < 0) {
        return NULL;
    }
    PyObject *self = handle_new(type, mproc_rlock_new());
    if (self != NULL) {
        lock_handle(self)->recover = recover;
    }
    return self;
}

/* ---------------------------------------------------------------- acquiring */

/* The holder died: the lock is free again, and its taker is told who it was. */
static PyObject *inherit(PyObject *self) {
    mproc_lock_holder dead;
    if (lock_handle(self)->recover) {
        Py_RETURN_TRUE;
    }
    mproc_rlock_mourned(rlock_of(self), &dead);
    (void)mproc_rlock_release(rlock_of(self));
    return acquire_owner_died(&dead);
}

static PyObject *acquire(PyObject *self, int64_t timeout) {
    int r = mproc_rlock_acquire(rlock_of(self), 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_rlock_acquire(rlock_of(self), blocking_left(deadline)));
    }
    return r == -EOWNERDEAD ? inherit(self) : acquire_result(r);
}

static PyObject *rlock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(self, timeout);
}

static PyObject *rlock_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(self, MPROC_FOREVER);
}

/* ---------------------------------------------------------------- releasing and looking */

static PyObject *rlock_release(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = mproc_rlock_release(rlock_of(self));
    if (r == MPROC_ENOTHELD) {
        PyErr_SetString(PyExc_AssertionError,
                        "attempt to release recursive lock not owned by thread");
        return NULL;
    }
    if (r != 0) {
        return error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *rlock_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                            Py_ssize_t Py_UNUSED(nargs)) {
    return rlock_release(self, NULL);
}

static PyObject *rlock_locked(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    mproc_rlock_owner(rlock_of(self), &holder);
    return PyBool_FromLong(holder.serial != 0);
}

static PyObject *rlock_owner(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    mproc_rlock_owner(rlock_of(self), &holder);
    if (holder.serial == 0) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(ii)", holder.pid, holder.tid);
}

static PyObject *rlock_is_mine(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_rlock_depth(rlock_of(self)) != 0);
}

static PyObject *rlock_count(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_rlock_depth(rlock_of(self)));
}

static PyMemberDef rlock_members[] = {ACQUIRE_RECOVER, {NULL, 0, 0, 0, NULL}};

static PyMethodDef rlock_methods[] = {
    {"acquire", ACQUIRE_FASTCALL(rlock_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire(block=True, timeout=None)\n--\n\n"
     "Take the lock; False if it could not be had in time.\n\n"
     "timeout is in seconds, None for ever, negative as 0. OwnerDiedError: the process that held "
     "the\n"
     "lock died; the lock is free then."},
    {"release", rlock_release, METH_NOARGS,
     "release()\n--\n\n"
     "Undo one acquire(). AssertionError if the calling thread does not hold the lock."},
    {"locked", rlock_locked, METH_NOARGS, "locked()\n--\n\nTrue while anybody holds the lock."},
    {"_owner", rlock_owner, METH_NOARGS, "(pid, native thread id) of the holder, or None."},
    {"_is_mine", rlock_is_mine, METH_NOARGS, "True while the calling thread holds the lock."},
    {"_count", rlock_count, METH_NOARGS, "How often the calling thread holds the lock."},
    {"__enter__", rlock_enter, METH_NOARGS, NULL},
    {"__exit__", ACQUIRE_FASTCALL(rlock_exit), METH_FASTCALL, NULL},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef rlock_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot rlock_slots[] = {
    {Py_tp_doc,
     "A lock between all threads of all processes of the family; its holder may take it again."},
    {Py_tp_new, (void *)rlock_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, rlock_methods},
    {Py_tp_members, rlock_members},
    {Py_tp_getset, rlock_getset},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "mproc._mproc.RLock",
    .basicsize = sizeof(struct lock_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = rlock_slots,
};

int rlock_add(PyObject *module) {
    return module_add_type(module, &rlock_spec, &module_state(module)->rlock_type, 1);
}
