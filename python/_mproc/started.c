/*
 * started.c - what a process finds out about itself: how it was started, and with what
 *
 * SPDX-License-Identifier: MIT
 */
#include "error.h"
#include "module.h"
#include "mproc.h"

static PyObject *attach(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    int r = mproc_attach();
    return r < 0 ? error_raise(r) : PyLong_FromLong(r);
}

static PyObject *own_pid(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLong(mproc_pid());
}

static PyObject *child_args(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    size_t size;
    const void *data = mproc_child_args(&size);
    if (data == NULL) {
        Py_RETURN_NONE;
    }
    return PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
}

static PyObject *list_of(const int *numbers, size_t n) {
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *number = PyLong_FromLong(numbers[i]);
        if (number == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, number);
        }
    }
    return list;
}

static PyObject *child_fds(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    size_t n = mproc_child_fds(NULL, 0);
    int *fds = PyMem_New(int, n + 1);
    if (fds == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *list = list_of(fds, mproc_child_fds(fds, n));
    PyMem_Free(fds);
    return list;
}

static PyObject *child_exits(PyObject *Py_UNUSED(module), PyObject *code) {
    long number = PyLong_AsLong(code);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    mproc_child_exits((int)(number & 0xff));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"attach", attach, METH_NOARGS,
     "attach($module, /)\n--\n\n"
     "Become a member of the family. 1 in a process that was started by SPAWN or as a\n"
     "template, 2 if a wrapper is between it and its starter; 0 in any other."},
    {"getpid", own_pid, METH_NOARGS,
     "getpid($module, /)\n--\n\nos.getpid() without a system call."},
    {"child_args", child_args, METH_NOARGS,
     "child_args($module, /)\n--\n\n"
     "The payload that this process was started with, in the arena, or None."},
    {"child_exits", child_exits, METH_O,
     "child_exits($module, code, /)\n--\n\n"
     "Say what this child is about to exit with, in case the system does not tell its parent."},
    {"child_fds", child_fds, METH_NOARGS,
     "child_fds($module, /)\n--\n\n"
     "The descriptors that were passed to this child of a template, in order."},
    {NULL, NULL, 0, NULL},
};

int started_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}
