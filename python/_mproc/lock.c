/*
 * lock.c - mproc._mproc.Lock: the hot path of synchronize.Lock
 *
 * SPDX-License-Identifier: MIT
 *
 * `with lock:` is two C calls. The lock is tried without releasing the interpreter's lock; only a
 * contended one is waited for outside of it.
 */
#include "acquire.h"

static mproc_lock *lock_of(PyObject *self) {
    return handle_object(self);
}

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    char recover;
    if (acquire_recover(args, &recover) < 0) {
        return NULL;
    }
    PyObject *self = handle_new(type, mproc_lock_new(0));
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
    mproc_lock_mourned(lock_of(self), &dead);
    (void)mproc_lock_release(lock_of(self));
    return acquire_owner_died(&dead);
}

static PyObject *acquire(PyObject *self, int64_t timeout) {
    int r = mproc_lock_acquire(lock_of(self), 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_lock_acquire(lock_of(self), blocking_left(deadline)));
    }
    return r == -EOWNERDEAD ? inherit(self) : acquire_result(r);
}

static PyObject *lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(self, timeout);
}

static PyObject *lock_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(self, MPROC_FOREVER);
}

/* ---------------------------------------------------------------- releasing and looking */

static PyObject *lock_release(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = mproc_lock_release(lock_of(self));
    if (r == MPROC_ENOTHELD) {
        return acquire_too_many();
    }
    if (r != 0) {
        return error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *lock_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                           Py_ssize_t Py_UNUSED(nargs)) {
    return lock_release(self, NULL);
}

static PyObject *lock_locked(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    mproc_lock_owner(lock_of(self), &holder);
    return PyBool_FromLong(holder.serial != 0);
}

static PyObject *lock_owner(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    mproc_lock_owner(lock_of(self), &holder);
    if (holder.serial == 0) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(ii)", holder.pid, holder.tid);
}

static PyObject *lock_is_mine(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_lock_is_mine(lock_of(self)));
}

static PyObject *lock_count(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLong(mproc_lock_is_mine(lock_of(self)));
}

static PyMemberDef lock_members[] = {ACQUIRE_RECOVER, {NULL, 0, 0, 0, NULL}};

static PyMethodDef lock_methods[] = {
    {"acquire", ACQUIRE_FASTCALL(lock_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire(block=True, timeout=None)\n--\n\n"
     "Take the lock; False if it could not be had in time.\n\n"
     "timeout is in seconds, None for ever, negative as 0. OwnerDiedError: the process that held "
     "the\n"
     "lock died; the lock is free then."},
    {"release", lock_release, METH_NOARGS,
     "release()\n--\n\nFree the lock, whoever holds it. ValueError if nobody does."},
    {"locked", lock_locked, METH_NOARGS, "locked()\n--\n\nTrue while anybody holds the lock."},
    {"_owner", lock_owner, METH_NOARGS, "(pid, native thread id) of the holder, or None."},
    {"_is_mine", lock_is_mine, METH_NOARGS, "True while the calling thread holds the lock."},
    {"_count", lock_count, METH_NOARGS, "1 while the calling thread holds the lock, else 0."},
    {"__enter__", lock_enter, METH_NOARGS, NULL},
    {"__exit__", ACQUIRE_FASTCALL(lock_exit), METH_FASTCALL, NULL},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, "A lock between all threads of all processes of the family; not recursive."},
    {Py_tp_new, (void *)lock_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, lock_methods},
    {Py_tp_members, lock_members},
    {Py_tp_getset, lock_getset},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "mproc._mproc.Lock",
    .basicsize = sizeof(struct lock_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = lock_slots,
};

int lock_add(PyObject *module) {
    return module_add_type(module, &lock_spec, &module_state(module)->lock_type, 1);
}
