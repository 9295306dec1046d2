/*
 * descriptor.c - descriptors that not every CPython can make
 *
 * SPDX-License-Identifier: MIT
 *
 * The module os has pidfd_open() and memfd_create(), and signal has pidfd_send_signal(), where the
 * C library and the headers of the kernel knew them with which the interpreter was compiled. Those
 * of many interpreters that are made for old systems, or for musl, did not. The kernel has them all
 * the same, so the package asks here and nowhere else.
 */
#include "module.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux' generic numbers; old C libraries do not name them. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static PyObject *number_or_error(long result) {
    return result < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(result);
}

static PyObject *pidfd_open_(PyObject *Py_UNUSED(module), PyObject *pid) {
    int number;
    if (!PyArg_Parse(pid, "i:pidfd_open", &number)) {
        return NULL;
    }
    return number_or_error(syscall(SYS_pidfd_open, number, 0)); /* the kernel sets close-on-exec */
}

static PyObject *pidfd_send_signal_(PyObject *Py_UNUSED(module), PyObject *args) {
    int pidfd, signal;
    if (!PyArg_ParseTuple(args, "ii:pidfd_send_signal", &pidfd, &signal)) {
        return NULL;
    }
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) != 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *memfd_create_(PyObject *Py_UNUSED(module), PyObject *name) {
    const char *text = PyUnicode_AsUTF8(name);
    return text == NULL ? NULL : number_or_error(memfd_create(text, MFD_CLOEXEC));
}

static PyMethodDef descriptor_functions[] = {
    {"pidfd_open", pidfd_open_, METH_O,
     "pidfd_open($self, pid, /)\n--\n\n"
     "A new descriptor of the process. ProcessLookupError: there is none. OSError."},
    {"pidfd_send_signal", pidfd_send_signal_, METH_VARARGS,
     "pidfd_send_signal($self, pidfd, signal, /)\n--\n\n"
     "Send a signal to the process of a descriptor. ProcessLookupError: it has ended. OSError."},
    {"memfd_create", memfd_create_, METH_O,
     "memfd_create($self, name, /)\n--\n\n"
     "A new descriptor of memory that children do not inherit. OSError."},
    {NULL, NULL, 0, NULL},
};

int descriptor_add(PyObject *module) {
    return PyModule_AddFunctions(module, descriptor_functions);
}
