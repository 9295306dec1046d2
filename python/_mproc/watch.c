/*
 * watch.c - mproc._mproc.Watch: one descriptor for what an event loop waits for
 *
 * SPDX-License-Identifier: MIT
 *
 * A Watch is a handle of the process that made it; in a forked child its methods raise. The type is
 * added to the module when mproc.aio is imported.
 */
#include "error.h"
#include "module.h"
#include "mproc.h"

#include <errno.h>

struct watch {
    PyObject_HEAD mproc_watch *watch;
};

static mproc_watch *watch_of(PyObject *self) {
    return ((struct watch *)self)->watch;
}

static PyObject *watch_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs)) {
    mproc_watch *watch;
    int r = mproc_watch_new(&watch);
    if (r != 0) {
        return error_raise(r);
    }
    PyObject *self = type->tp_alloc(type, 0);
    if (self == NULL) {
        mproc_watch_drop(watch);
        return NULL;
    }
    ((struct watch *)self)->watch = watch;
    return self;
}

static void watch_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    mproc_watch_drop(watch_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *number_or_error(int r) {
    return r < 0 ? error_raise(r) : PyLong_FromLong(r);
}

static PyObject *watch_fileno(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return number_or_error(mproc_watch_fd(watch_of(self)));
}

static PyObject *watch_add(PyObject *self, PyObject *args) {
    unsigned long long address;
    int what;
    if (!PyArg_ParseTuple(args, "Ki", &address, &what)) {
        return NULL;
    }
    return number_or_error(
        mproc_watch_add(watch_of(self), (void *)(uintptr_t)address, (mproc_watch_for)what));
}

/* What a function of the core says of a request, by its number; -EINVAL for what is no number. */
static int of_request(PyObject *self, PyObject *number, int (*run)(mproc_watch *, int)) {
    long n = PyLong_AsLong(number);
    if (n == -1 && PyErr_Occurred()) {
        PyErr_Clear();
    }
    return run(watch_of(self), n < 0 || n > INT_MAX ? -1 : (int)n);
}

static PyObject *watch_arm(PyObject *self, PyObject *number) {
    int r = of_request(self, number, mproc_watch_arm);
    return r < 0 ? error_raise(r) : PyBool_FromLong(r);
}

static PyObject *watch_remove(PyObject *self, PyObject *number) {
    int r = of_request(self, number, mproc_watch_remove);
    return r < 0 ? error_raise(r) : Py_NewRef(Py_None);
}

static PyObject *watch_take(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyObject *list = PyList_New(0);
    int r = list == NULL ? -ENOMEM : mproc_watch_next(watch_of(self));
    while (r >= 0) {
        PyObject *number = PyLong_FromLong(r);
        int bad = number == NULL || PyList_Append(list, number) < 0;
        Py_XDECREF(number);
        if (bad) {
            Py_DECREF(list);
            return NULL;
        }
        r = mproc_watch_next(watch_of(self));
    }
    if (r == -EAGAIN) {
        return list;
    }
    Py_XDECREF(list);
    return PyErr_Occurred() ? NULL : error_raise(r);
}

static PyMethodDef watch_methods[] = {
    {"fileno", watch_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\nThe descriptor: readable when take() has something."},
    {"add", watch_add, METH_VARARGS,
     "add($self, address, what, /)\n--\n\nThe number of a request, which is not armed."},
    {"arm", watch_arm, METH_O,
     "arm($self, number, /)\n--\n\nHave take() tell of it; True: it would succeed now."},
    {"remove", watch_remove, METH_O, "remove($self, number, /)\n--\n\nThe request is no more."},
    {"take", watch_take, METH_NOARGS,
     "take($self, /)\n--\n\nThe numbers of requests that would succeed and are not armed any "
     "more."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot watch_slots[] = {
    {Py_tp_doc, "One descriptor for what an event loop waits for."},
    {Py_tp_new, (void *)watch_new},
    {Py_tp_dealloc, (void *)watch_dealloc},
    {Py_tp_methods, watch_methods},
    {0, NULL},
};

static PyType_Spec watch_spec = {
    .name = "mproc._mproc.Watch",
    .basicsize = sizeof(struct watch),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = watch_slots,
};

int watch_type_add(PyObject *module) {
    return module_add_type(module, &watch_spec, &module_state(module)->watch_type, 1);
}
