/*
 * bsemaphore.c - mproc._mproc.BoundedSemaphore: the hot path of synchronize.BoundedSemaphore
 *
 * SPDX-License-Identifier: MIT
 */
#include "acquire.h"

static mproc_bsemaphore *bsemaphore_of(PyObject *self) {
    return handle_object(self);
}

/* Semaphore(value) */
static PyObject *bsemaphore_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    long long value;
    if (!PyArg_ParseTuple(args, "L:BoundedSemaphore", &value)) {
        return NULL;
    }
    if (value < 0 || value > (long long)MPROC_SEMAPHORE_MAX) {
        return PyErr_Format(PyExc_ValueError, "a semaphore's value is 0 to %u, not %lld",
                            MPROC_SEMAPHORE_MAX, value);
    }
    mproc_bsemaphore *semaphore = NULL;
    int r = mproc_bsemaphore_new(&semaphore, (unsigned)value);
    return handle_new(type, r, semaphore);
}

static PyObject *acquire(mproc_bsemaphore *semaphore, int64_t timeout) {
    int r = mproc_bsemaphore_acquire(semaphore, 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_bsemaphore_acquire(semaphore, blocking_left(deadline)));
    }
    return acquire_result(r);
}

static PyObject *bsemaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(bsemaphore_of(self), timeout);
}

static PyObject *bsemaphore_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(bsemaphore_of(self), MPROC_FOREVER);
}

static PyObject *bsemaphore_release(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = mproc_bsemaphore_release(bsemaphore_of(self));
    if (r == MPROC_ENOTHELD) {
        return acquire_too_many();
    }
    if (r != 0) {
        return error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *bsemaphore_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                                 Py_ssize_t Py_UNUSED(nargs)) {
    return bsemaphore_release(self, NULL);
}

static PyObject *bsemaphore_get_value(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_bsemaphore_value(bsemaphore_of(self)));
}

static PyObject *bsemaphore_locked(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_bsemaphore_value(bsemaphore_of(self)) == 0);
}

static PyObject *bsemaphore_bound(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_bsemaphore_bound(bsemaphore_of(self)));
}

static PyMethodDef bsemaphore_methods[] = {
    {"acquire", MODULE_METHOD(bsemaphore_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire(block=True, timeout=None)\n--\n\n"
     "Take a permit; False if there was none in time.\n\n"
     "timeout is in seconds, None for ever, negative as 0."},
    {"release", bsemaphore_release, METH_NOARGS,
     "release()\n--\n\nGive a permit back, whoever took it. ValueError if all are there."},
    {"get_value", bsemaphore_get_value, METH_NOARGS,
     "get_value()\n--\n\nThe permits that are there at this moment."},
    {"locked", bsemaphore_locked, METH_NOARGS, "locked()\n--\n\nTrue while there is no permit."},
    {"__enter__", bsemaphore_enter, METH_NOARGS, NULL},
    {"__exit__", MODULE_METHOD(bsemaphore_exit), METH_FASTCALL, NULL},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef bsemaphore_getset[] = {
    {"maxvalue", bsemaphore_bound, NULL, "The permits that there are in all.", NULL},
    HANDLE_ADDRESS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot bsemaphore_slots[] = {
    {Py_tp_doc, "A number of permits that come back from the dead."},
    {Py_tp_new, (void *)bsemaphore_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, bsemaphore_methods},
    {Py_tp_getset, bsemaphore_getset},
    {0, NULL},
};

static PyType_Spec bsemaphore_spec = {
    .name = "mproc._mproc.BoundedSemaphore",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = bsemaphore_slots,
};

int bsemaphore_add(PyObject *module) {
    return module_add_type(module, &bsemaphore_spec, &module_state(module)->bsemaphore_type, 1);
}
