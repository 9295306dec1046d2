/*
 * semaphore_methods.h - what Semaphore and BoundedSemaphore have in common
 *
 * SPDX-License-Identifier: MIT
 *
 * Included once by the file of each, which defines OBJECT and TYPE_NAME before: its type of the
 * core, and the name of its Python type. It defines not_released() as well: see acquire_methods.h.
 */
#include "acquire_methods.h"

static PyObject *acquired(PyObject *Py_UNUSED(self), OBJECT *Py_UNUSED(object), int code) {
    return acquire_result(code);
}

/* Behind the names of the types. */
#define SEMAPHORE_ARGUMENTS "(value=1, *, ctx=None)\n--\n\n"

static PyObject *new_handle(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    PyObject *number;
    struct acquire_options options;
    if (acquire_new_semaphore(type, args, keywords, &number, &options) < 0) {
        return NULL;
    }
    long long value = number == NULL ? 1 : PyLong_AsLongLong(number);
    if (value == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (value < 0 || value > (long long)MPROC_SEMAPHORE_MAX) {
        return PyErr_Format(PyExc_ValueError, "a semaphore's value is 0 to %u, not %lld",
                            MPROC_SEMAPHORE_MAX, value);
    }
    OBJECT *object = NULL;
    int r = OBJECT_DO(new)(&object, (unsigned)value);
    return acquire_new(type, &options, r, object);
}

static PyObject *get_value_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(OBJECT_DO(value)(object_of(self)));
}

static PyObject *locked_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(OBJECT_DO(value)(object_of(self)) == 0);
}

static PyMemberDef semaphore_members[] = {ACQUIRE_IS_FORK_CTX, {NULL, 0, 0, 0, NULL}};

/* The entries of a type's methods that are the same for both. */
#define SEMAPHORE_METHODS(release_doc)                                                             \
    ACQUIRE_METHODS("Take a permit; False if there was none in time.", release_doc),               \
        {"get_value", get_value_method, METH_NOARGS,                                               \
         "get_value($self, /)\n--\n\nThe permits that are there at this moment."},                 \
        {"locked", locked_method, METH_NOARGS,                                                     \
         "locked($self, /)\n--\n\nTrue while there is no permit."},                                \
        HANDLE_ADOPT
