/*
 * semaphore.c - mproc._mproc.Semaphore: the hot path of synchronize.Semaphore
 *
 * SPDX-License-Identifier: MIT
 */
#include "acquire.h"

static mproc_semaphore *semaphore_of(PyObject *self) {
    return handle_object(self);
}

/* Semaphore(value) */
static PyObject *semaphore_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    long long value;
    if (!PyArg_ParseTuple(args, "L:Semaphore", &value)) {
        return NULL;
    }
    if (value < 0 || value > (long long)MPROC_SEMAPHORE_MAX) {
        return PyErr_Format(PyExc_ValueError, "a semaphore's value is 0 to %u, not %lld",
                            MPROC_SEMAPHORE_MAX, value);
    }
    mproc_semaphore *semaphore = NULL;
    int r = mproc_semaphore_new(&semaphore, (unsigned)value);
    return handle_new(type, r, semaphore);
}

static PyObject *acquire(mproc_semaphore *semaphore, int64_t timeout) {
    int r = mproc_semaphore_acquire(semaphore, 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_semaphore_acquire(semaphore, blocking_left(deadline)));
    }
    return acquire_result(r);
}

static PyObject *semaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(semaphore_of(self), timeout);
}

static PyObject *semaphore_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(semaphore_of(self), MPROC_FOREVER);
}

static PyObject *semaphore_release(PyObject *self, PyObject *Py_UNUSED(unused)) {
    if (mproc_semaphore_release(semaphore_of(self)) != 0) {
        return acquire_too_many();
    }
    Py_RETURN_NONE;
}

static PyObject *semaphore_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(nargs)) {
    return semaphore_release(self, NULL);
}

static PyObject *semaphore_get_value(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_semaphore_value(semaphore_of(self)));
}

static PyObject *semaphore_locked(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_semaphore_value(semaphore_of(self)) == 0);
}

static PyMethodDef semaphore_methods[] = {
    {"acquire", MODULE_METHOD(semaphore_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire(block=True, timeout=None)\n--\n\n"
     "Take a permit; False if there was none in time.\n\n"
     "timeout is in seconds, None for ever, negative as 0."},
    {"release", semaphore_release, METH_NOARGS,
     "release()\n--\n\nGive a permit, whoever took it or nobody did."},
    {"get_value", semaphore_get_value, METH_NOARGS,
     "get_value()\n--\n\nThe permits that are there at this moment."},
    {"locked", semaphore_locked, METH_NOARGS, "locked()\n--\n\nTrue while there is no permit."},
    {"__enter__", semaphore_enter, METH_NOARGS, NULL},
    {"__exit__", MODULE_METHOD(semaphore_exit), METH_FASTCALL, NULL},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, "A number of permits, for all threads of all processes of the family."},
    {Py_tp_new, (void *)semaphore_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_getset},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "mproc._mproc.Semaphore",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = semaphore_slots,
};

int semaphore_add(PyObject *module) {
    return module_add_type(module, &semaphore_spec, &module_state(module)->semaphore_type, 1);
}
