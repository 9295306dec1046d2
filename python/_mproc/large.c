/*
 * large.c - bytes objects whose contents are many pages
 *
 * SPDX-License-Identifier: MIT
 *
 * What a received object of some megabytes costs is that its memory is new: mproc_copy() deals with
 * that. Other threads run meanwhile.
 */
#include "large.h"

#include "mproc.h"

#define LEAST ((Py_ssize_t)4 << 20) /* below it to let others run costs more than the copy */

PyObject *large_bytes(const void *data, Py_ssize_t size) {
    if (size < LEAST || data == NULL) { /* what is only announced has no pages before it comes */
        return PyBytes_FromStringAndSize(data, size);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        mproc_copy(PyBytes_AS_STRING(bytes), data, (size_t)size);
        Py_END_ALLOW_THREADS;
    }
    return bytes;
}
