/*
 * acquire.c - what all types with acquire() share
 *
 * SPDX-License-Identifier: MIT
 */
#include "acquire.h"

/* Puts positional and named arguments into places[0..n), borrowed; NULL where there is none. */
static int spread(const char *function, const char *const *keywords, PyObject **places,
                  Py_ssize_t n, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    if (nargs > n) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", function, n,
                     nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        places[i] = i < nargs ? args[i] : NULL;
    }
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        Py_ssize_t k = 0;
        while (k < n && PyUnicode_CompareWithASCIIString(name, keywords[k]) != 0) {
            k++;
        }
        if (k == n || places[k] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected or repeated argument %R",
                         function, name);
            return -1;
        }
        places[k] = args[nargs + i];
    }
    return 0;
}

int acquire_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout) {
    static const char *const keywords[] = {"block", "timeout"};
    PyObject *places[2];
    if (spread("acquire", keywords, places, 2, args, nargs, names) < 0) {
        return -1;
    }
    int blocks = places[0] == NULL ? 1 : PyObject_IsTrue(places[0]);
    if (blocks < 0) {
        return -1;
    }
    if (!blocks) {
        *timeout = 0;
        return 0;
    }
    return blocking_timeout(places[1], timeout);
}

int acquire_wait_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                         int64_t *timeout) {
    static const char *const keywords[] = {"timeout"};
    PyObject *place;
    if (spread("wait", keywords, &place, 1, args, nargs, names) < 0) {
        return -1;
    }
    return blocking_timeout(place, timeout);
}

int acquire_recover(PyObject *args, char *recover) {
    int value = 0;
    if (!PyArg_ParseTuple(args, "|p", &value)) {
        return -1;
    }
    *recover = (char)value;
    return 0;
}

PyObject *acquire_result(int code) {
    switch (code) {
    case 0: Py_RETURN_TRUE;
    case -ETIMEDOUT: Py_RETURN_FALSE;
    case BLOCKING_RAISED: return NULL;
    default: return error_raise(code);
    }
}

PyObject *acquire_too_many(void) {
    PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
    return NULL;
}

PyObject *acquire_owner_died(const mproc_lock_holder *dead) {
    PyObject *module = PyImport_ImportModule("mproc.context");
    if (module == NULL) {
        return NULL;
    }
    PyObject *error = PyObject_CallMethod(module, "_owner_died", "ii", dead->pid, dead->tid);
    Py_DECREF(module);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}
