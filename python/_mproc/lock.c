/*
 * lock.c - mproc._mproc.Lock: the hot path of synchronize.Lock
 *
 * SPDX-License-Identifier: MIT
 */
#define OBJECT mproc_lock
#include "lock_methods.h"

static PyObject *not_released(int code) {
    return code == MPROC_ENOTHELD ? acquire_too_many() : error_raise(code);
}

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    struct acquire_options options;
    if (acquire_new_lock(type, args, keywords, &options) < 0) {
        return NULL;
    }
    mproc_lock *lock = NULL;
    int r = mproc_lock_new(&lock, 0);
    if (r == 0) {
        mproc_lock_any_thread(lock); /* programs acquire in one thread and release in another */
    }
    return acquire_new(type, &options, r, lock);
}

static PyObject *lock_is_mine(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_lock_is_mine(object_of(self)));
}

static PyObject *lock_count(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLong(mproc_lock_is_mine(object_of(self)));
}

static PyMethodDef lock_methods[] = {
    LOCK_METHODS("Free the lock, whoever holds it. ValueError if nobody does."),
    {"_is_mine", lock_is_mine, METH_NOARGS,
     "_is_mine($self, /)\n--\n\nTrue while the calling thread holds the lock."},
    {"_count", lock_count, METH_NOARGS,
     "_count($self, /)\n--\n\n1 while the calling thread holds the lock, else 0."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, "Lock" LOCK_ARGUMENTS
                "A lock between all threads of all processes of the family; not recursive."},
    {Py_tp_new, (void *)lock_new},
    {Py_tp_init, (void *)acquire_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, lock_methods},
    {Py_tp_members, lock_members},
    {Py_tp_getset, lock_getset},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "mproc._mproc.Lock",
    .basicsize = sizeof(struct acquire_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = lock_slots,
};

int lock_add(PyObject *module) {
    return module_add_type(module, &lock_spec, &module_state(module)->lock_type, 1);
}
