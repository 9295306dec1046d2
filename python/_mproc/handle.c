/*
 * handle.c - a Python object that is one hold on a shared object: see handle.h
 *
 * SPDX-License-Identifier: MIT
 */
#include "handle.h"

#include "error.h"

struct handle_former {
    void *object;
    struct handle_former *next;
};

PyObject *handle_new(PyTypeObject *type, int code, void *owned) {
    if (code == MPROC_ETOOBIG) {
        return PyErr_NoMemory();
    }
    if (code != 0) {
        return error_raise(code);
    }
    struct handle *self = (struct handle *)type->tp_alloc(type, 0);
    if (self == NULL) {
        mproc_drop(owned);
        return NULL;
    }
    self->object = owned;
    return (PyObject *)self;
}

int handle_replace(PyObject *self, void *owned) {
    struct handle *handle = (struct handle *)self;
    if (THREADS_SET_FIRST(handle->object, owned)) {
        return 0;
    }
    struct handle_former *former = PyMem_Malloc(sizeof *former);
    if (former == NULL) {
        mproc_drop(owned);
        PyErr_NoMemory();
        return -1;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    *former = (struct handle_former){THREADS_LOAD(handle->object), handle->former};
    handle->former = former;
    THREADS_STORE(handle->object, owned);
    Py_END_CRITICAL_SECTION();
    return 0;
}

static void drop_former(struct handle_former *former) {
    while (former != NULL) {
        struct handle_former *next = former->next;
        mproc_drop(former->object);
        PyMem_Free(former);
        former = next;
    }
}

void handle_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    mproc_drop(((struct handle *)self)->object);
    drop_former(((struct handle *)self)->former);
    type->tp_free(self);
    Py_DECREF(type);
}

void *handle_object_at(PyObject *address) {
    void *object = PyLong_AsVoidPtr(address);
    if (object == NULL && PyErr_Occurred()) {
        return NULL;
    }
    if (!mproc_in_arena(object)) {
        PyErr_Format(PyExc_ValueError, "%R is no address of this family's arena", address);
        return NULL;
    }
    return object;
}

PyObject *handle_adopt(PyObject *type, PyObject *address) {
    void *object = handle_object_at(address);
    return object == NULL ? NULL : handle_new((PyTypeObject *)type, 0, object);
}

PyObject *handle_address(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromVoidPtr(handle_object(self));
}
