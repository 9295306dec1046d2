/*
 * arguments.c - positional and keyword arguments of a call, by name
 *
 * SPDX-License-Identifier: MIT
 */
#include "arguments.h"

/* The place of a keyword; n if there is none. */
static Py_ssize_t find(const char *const *names, Py_ssize_t n, PyObject *keyword) {
    Py_ssize_t i = 0;
    while (i < n && PyUnicode_CompareWithASCIIString(keyword, names[i]) != 0) {
        i++;
    }
    return i;
}

static int too_many(const char *function, Py_ssize_t n, Py_ssize_t given) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd argument%s (%zd given)", function, n,
                 n == 1 ? "" : "s", given);
    return -1;
}

static int put_keyword(const char *function, const char *const *names, PyObject **values,
                       Py_ssize_t n, PyObject *keyword, PyObject *value) {
    Py_ssize_t i = find(names, n, keyword);
    if (i == n || values[i] != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected or repeated argument %R", function,
                     keyword);
        return -1;
    }
    values[i] = value;
    return 0;
}

int arguments_spread(const char *function, const char *const *names, PyObject **values,
                     Py_ssize_t n, PyObject *const *args, Py_ssize_t nargs, PyObject *keywords) {
    Py_ssize_t nkeywords = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (nargs > n) {
        return too_many(function, n, nargs);
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        values[i] = i < nargs ? args[i] : NULL;
    }
    for (Py_ssize_t k = 0; k < nkeywords; k++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, k);
        if (put_keyword(function, names, values, n, keyword, args[nargs + k]) < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *arguments_one(const char *function, const char *name, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *keywords) {
    PyObject *value;
    if (nargs == 1 && keywords == NULL) {
        return args[0];
    }
    if (arguments_spread(function, &name, &value, 1, args, nargs, keywords) < 0) {
        return NULL;
    }
    if (value == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required argument: '%s'", function, name);
    }
    return value;
}

int arguments_spread_new(const char *function, const char *const *names, PyObject **values,
                         Py_ssize_t n, Py_ssize_t positional, PyObject *args, PyObject *keywords) {
    Py_ssize_t nargs = PyTuple_GET_SIZE(args), place = 0;
    PyObject *keyword, *value;
    if (nargs > positional) {
        return too_many(function, positional, nargs);
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        values[i] = i < nargs ? PyTuple_GET_ITEM(args, i) : NULL;
    }
    while (keywords != NULL && PyDict_Next(keywords, &place, &keyword, &value)) {
        if (put_keyword(function, names, values, n, keyword, value) < 0) {
            return -1;
        }
    }
    return 0;
}
