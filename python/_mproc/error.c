/*
 * error.c - the core's codes as Python exceptions
 *
 * SPDX-License-Identifier: MIT
 *
 * A negative errno is OSError with that errno (Python picks the subclass), except that -ENOMEM
 * is MemoryError. The codes of MPROC_ERRORS are looked up in a table that is made from that same
 * list: a code without a line here does not compile.
 */
#include "error.h"

#include "mproc.h"

#include <errno.h>

/* The exception of each code. */
#define OF_MPROC_EINIT PyExc_RuntimeError
#define OF_MPROC_EAGAIN_INIT PyExc_RuntimeError
#define OF_MPROC_EADDRESS PyExc_OSError
#define OF_MPROC_EBUILD PyExc_RuntimeError
#define OF_MPROC_EFUNCTION PyExc_ValueError
#define OF_MPROC_ECLOSED PyExc_ValueError
#define OF_MPROC_ENOTHELD PyExc_ValueError
#define OF_MPROC_ETOOBIG PyExc_ValueError
#define OF_MPROC_EDIED PyExc_RuntimeError
#define OF_MPROC_EMEMBERS PyExc_OSError
#define OF_MPROC_ESTRANGER PyExc_ChildProcessError
#define OF_MPROC_ECORRUPT PyExc_SystemError
#define OF_MPROC_EOTHER PyExc_TypeError
#define OF_MPROC_EDONE PyExc_ValueError
#define OF_MPROC_EEOF PyExc_EOFError
#define OF_MPROC_EFRAME PyExc_OSError
#define OF_MPROC_EBROKEN PyExc_RuntimeError
#define OF_MPROC_EMEMORY PyExc_MemoryError

static PyObject *exception_of(int code) {
#define X(name, value, message)                                                                    \
    if (code == (name)) {                                                                          \
        return OF_##name;                                                                          \
    }
    MPROC_ERRORS(X)
#undef X
    return PyExc_SystemError;
}

PyObject *error_raise_for(int code, const char *who) {
    if (code == -ENOMEM) {
        return PyErr_NoMemory();
    }
    if (code < 0 && code > -4096) {
        errno = -code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (who != NULL) {
        return PyErr_Format(exception_of(code), "%s: %s", who, mproc_strerror(code));
    }
    PyErr_SetString(exception_of(code), mproc_strerror(code));
    return NULL;
}

PyObject *error_raise(int code) {
    return error_raise_for(code, NULL);
}
