/*
 * arguments.c - positional and keyword arguments of a fast call, by name
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

int arguments_spread(const char *function, const char *const *names, PyObject **values,
                     Py_ssize_t n, PyObject *const *args, Py_ssize_t nargs, PyObject *keywords) {
    Py_ssize_t nkeywords = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (nargs > n) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd argument%s (%zd given)", function, n,
                     n == 1 ? "" : "s", nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        values[i] = i < nargs ? args[i] : NULL;
    }
    for (Py_ssize_t k = 0; k < nkeywords; k++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, k);
        Py_ssize_t i = find(names, n, keyword);
        if (i == n || values[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected or repeated argument %R",
                         function, keyword);
            return -1;
        }
        values[i] = args[nargs + k];
    }
    return 0;
}
