/*
 * error.c - the core's codes as Python exceptions
 *
 * SPDX-License-Identifier: MIT
 *
 * A negative errno is OSError with that errno (Python picks the subclass), except that -ENOMEM
 * is MemoryError. When a process could not join a family, the exception says why. The codes of
 * MPROC_ERRORS are looked up in a table that is made from that same list: a code without a line
 * here does not compile.
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
#define OF_MPROC_ESETTING PyExc_ValueError
#define OF_MPROC_EARENA PyExc_OSError
#define OF_MPROC_EVALUE PyExc_ValueError
#define OF_MPROC_EKIND PyExc_TypeError
#define OF_MPROC_EPICKLE PyExc_ValueError
#define OF_MPROC_EEXTENSION PyExc_ValueError
#define OF_MPROC_EENGINE PyExc_RuntimeError

static PyObject *exception_of(int code) {
#define X(name, value, message)                                                                    \
    if (code == (name)) {                                                                          \
        return OF_##name;                                                                          \
    }
    MPROC_ERRORS(X)
#undef X
    return PyExc_SystemError;
}

/* The exception for a process that could not join, with the reason as its text. */
static PyObject *raise_reason(int code, const char *reason) {
    if (code == -ENOMEM || code <= -4096) {
        PyObject *kind = code == -ENOMEM ? PyExc_MemoryError : exception_of(code);
        PyErr_SetString(kind, reason);
        return NULL;
    }
    PyObject *args = Py_BuildValue("(is)", -code, reason);
    if (args != NULL) {
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
    }
    return NULL;
}

static const char no_memory[] = "no room in the arena, whose limit is MPROC_ARENA_LIMIT or three "
                                "quarters of the memory, or no memory in the system";

PyObject *error_raise_for(int code, const char *who) {
    const char *reason = mproc_join_reason(code);
    if (reason[0] != 0) {
        return raise_reason(code, reason);
    }
    if (code == -ENOMEM) {
        PyErr_SetString(PyExc_MemoryError, no_memory);
        return NULL;
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

PyObject *error_take(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

void error_give_back(PyObject *owned) {
    if (owned != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(owned), owned);
        Py_DECREF(owned);
    }
}

static void add_note(PyObject *error, const char *note) {
    PyObject *none = PyObject_CallMethod(error, "add_note", "s", note);
    if (none == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(none);
}

void error_note(const char *note) {
    PyObject *error = error_take();
    add_note(error, note);
    error_give_back(error);
}

void error_describe(const char *attribute, PyObject *value, const char *note) {
    PyObject *error = error_take();
    if (PyObject_SetAttrString(error, attribute, value) < 0) {
        PyErr_Clear();
    }
    add_note(error, note);
    error_give_back(error);
}

/* What cannot be told leaves the error as it is. An interrupt meanwhile is raised instead. */
void error_explain(PyObject *object, const char *name) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return;
    }
    PyObject *error = error_take();
    PyObject *module = PyImport_ImportModule("mproc._culprit");
    PyObject *none = module != NULL
                         ? PyObject_CallMethod(module, "explain", "O((sO))", error, name, object)
                         : NULL;
    Py_XDECREF(none);
    Py_XDECREF(module);
    if (none == NULL && !PyErr_ExceptionMatches(PyExc_Exception)) {
        Py_DECREF(error);
        return;
    }
    PyErr_Clear();
    error_give_back(error);
}
