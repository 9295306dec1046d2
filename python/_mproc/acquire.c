/*
 * acquire.c - what all types with acquire() share: arguments, results, errors
 *
 * SPDX-License-Identifier: MIT
 */
#include "acquire.h"

#include "arguments.h"

int acquire_block_timeout(PyObject *block, PyObject *seconds, int64_t *timeout) {
    int blocks = block == NULL ? 1 : PyObject_IsTrue(block);
    if (blocks <= 0) {
        *timeout = 0;
        return blocks;
    }
    return blocking_timeout(seconds, timeout);
}

int acquire_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout) {
    static const char *const keywords[] = {"block", "timeout"};
    PyObject *values[2];
    if (arguments_spread("acquire", keywords, values, 2, args, nargs, names) < 0) {
        return -1;
    }
    return acquire_block_timeout(values[0], values[1], timeout);
}

int acquire_wait_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout) {
    static const char *const keywords[] = {"timeout"};
    PyObject *seconds;
    if (arguments_spread("wait", keywords, &seconds, 1, args, nargs, names) < 0) {
        return -1;
    }
    return blocking_timeout(seconds, timeout);
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
