/*
 * restarts.c - mproc._mproc.Restarts: when workers that end at once are given up
 *
 * SPDX-License-Identifier: MIT
 *
 * For pools that look after their workers in Python: the rule is that of the core's pools.
 */
#include "module.h"

struct restarts {
    PyObject_HEAD mproc_restarts core;
};

static mproc_restarts *core_of(PyObject *self) {
    return &((struct restarts *)self)->core;
}

static PyObject *restarts_ready(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_restarts_ready(core_of(self));
    Py_RETURN_NONE;
}

static PyObject *restarts_ended(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_restarts_ended(core_of(self), 0);
    Py_RETURN_NONE;
}

static PyObject *restarts_started(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_restarts_started(core_of(self));
    Py_RETURN_NONE;
}

/* missing(workers, seconds) */
static PyObject *restarts_missing(PyObject *self, PyObject *args) {
    unsigned workers;
    double seconds;
    if (!PyArg_ParseTuple(args, "Id:missing", &workers, &seconds)) {
        return NULL;
    }
    mproc_restarts_missing(core_of(self), workers, (int64_t)(seconds * 1e9));
    Py_RETURN_NONE;
}

/* hopeless(workers) */
static PyObject *restarts_hopeless(PyObject *self, PyObject *args) {
    unsigned workers;
    if (!PyArg_ParseTuple(args, "I:hopeless", &workers)) {
        return NULL;
    }
    return PyBool_FromLong(mproc_restarts_hopeless(core_of(self), workers));
}

static PyMethodDef restarts_methods[] = {
    {"ready", restarts_ready, METH_NOARGS,
     "ready($self, /)\n--\n\nA worker was of use: what has ended before does not count."},
    {"ended", restarts_ended, METH_NOARGS,
     "ended($self, /)\n--\n\nA worker has ended and was of no use."},
    {"started", restarts_started, METH_NOARGS,
     "started($self, /)\n--\n\nA worker could be started."},
    {"missing", restarts_missing, METH_VARARGS,
     "missing($self, workers, seconds, /)\n--\n\n"
     "There is no worker, and none can be started: all are hopeless after so many seconds."},
    {"hopeless", restarts_hopeless, METH_VARARGS,
     "hopeless($self, workers, /)\n--\n\nReturn whether so many workers are to be given up."},
    {NULL, NULL, 0, NULL},
};

static void restarts_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot restarts_slots[] = {
    {Py_tp_doc, (void *)"Restarts()\n--\n\nWhen workers that end at once are given up."},
    {Py_tp_dealloc, (void *)restarts_dealloc},
    {Py_tp_methods, restarts_methods},
    {0, NULL},
};

static PyType_Spec restarts_spec = {
    .name = "mproc._mproc.Restarts",
    .basicsize = sizeof(struct restarts),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = restarts_slots,
};

int restarts_add(PyObject *module) {
    return module_add_type(module, &restarts_spec, &module_state(module)->restarts_type, 1);
}
