/*
 * event.c - mproc._mproc.Event: the hot path of synchronize.Event
 *
 * SPDX-License-Identifier: MIT
 *
 * A flag that is set is seen without releasing the interpreter's lock, which only a wait does.
 */
#include "acquire.h"

static mproc_event *event_of(PyObject *self) {
    return handle_object(self);
}

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    struct acquire_options options;
    if (acquire_new_event(type, args, keywords, &options) < 0) {
        return NULL;
    }
    mproc_event *event = NULL;
    int r = mproc_event_new(&event);
    return acquire_new(type, &options, r, event);
}

static PyObject *event_is_set(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_event_is_set(event_of(self)));
}

static PyObject *event_set(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_event_set(event_of(self));
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_event_clear(event_of(self));
    Py_RETURN_NONE;
}

static PyObject *event_times(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_event_times(event_of(self)));
}

static PyObject *event_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names) {
    int64_t timeout;
    if (acquire_wait_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    int r = mproc_event_wait(event_of(self), 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_event_wait(event_of(self), blocking_left(deadline)));
    }
    return acquire_result(r);
}

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set($self, /)\n--\n\nTrue while the flag is set."},
    {"set", event_set, METH_NOARGS, "set($self, /)\n--\n\nSet the flag; all waits end."},
    {"clear", event_clear, METH_NOARGS, "clear($self, /)\n--\n\nTake the flag back."},
    {"wait", MODULE_METHOD(event_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Wait until the flag is set; False if that did not happen within timeout seconds.\n\n"
     "A flag that is set and at once cleared ends the waits that had begun before."},
    {"_times", event_times, METH_NOARGS, "_times($self, /)\n--\n\nHow often it was set so far."},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyMemberDef event_members[] = {ACQUIRE_IS_FORK_CTX, {NULL, 0, 0, 0, NULL}};
static PyGetSetDef event_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "Event(*, ctx=None)\n--\n\n"
                "A flag that threads of all processes of the family can wait for."},
    {Py_tp_new, (void *)event_new},
    {Py_tp_init, (void *)acquire_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, event_methods},
    {Py_tp_members, event_members},
    {Py_tp_getset, event_getset},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "mproc._mproc.Event",
    .basicsize = sizeof(struct acquire_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = event_slots,
};

int event_add(PyObject *module) {
    return module_add_type(module, &event_spec, &module_state(module)->event_type, 1);
}
