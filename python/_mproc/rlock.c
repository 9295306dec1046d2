/*
 * rlock.c - mproc._mproc.RLock: the hot path of synchronize.RLock
 *
 * SPDX-License-Identifier: MIT
 */
#define OBJECT mproc_rlock
#include "lock_methods.h"

static PyObject *not_released(int code) {
    if (code != MPROC_ENOTHELD) {
        return error_raise(code);
    }
    PyErr_SetString(PyExc_AssertionError, "attempt to release recursive lock not owned by thread");
    return NULL;
}

static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    struct acquire_options options;
    if (acquire_new_lock(type, args, keywords, &options) < 0) {
        return NULL;
    }
    mproc_rlock *lock = NULL;
    int r = mproc_rlock_new(&lock);
    return acquire_new(type, &options, r, lock);
}

static PyObject *rlock_is_mine(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_rlock_depth(object_of(self)) != 0);
}

static PyObject *rlock_count(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_rlock_depth(object_of(self)));
}

static PyMethodDef rlock_methods[] = {
    LOCK_METHODS(
        "Undo one acquire(). AssertionError if the calling thread does not hold the lock."),
    {"_is_mine", rlock_is_mine, METH_NOARGS,
     "_is_mine($self, /)\n--\n\nTrue while the calling thread holds the lock."},
    {"_count", rlock_count, METH_NOARGS,
     "_count($self, /)\n--\n\nHow often the calling thread holds the lock."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rlock_slots[] = {
    {Py_tp_doc,
     "RLock" LOCK_ARGUMENTS
     "A lock between all threads of all processes of the family; its holder may take it again."},
    {Py_tp_new, (void *)rlock_new},
    {Py_tp_init, (void *)acquire_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, rlock_methods},
    {Py_tp_members, lock_members},
    {Py_tp_getset, lock_getset},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "mproc._mproc.RLock",
    .basicsize = sizeof(struct acquire_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = rlock_slots,
};

int rlock_add(PyObject *module) {
    return module_add_type(module, &rlock_spec, &module_state(module)->rlock_type, 1);
}
