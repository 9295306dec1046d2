/*
 * acquire_methods.h - acquire() and release() of the locks and semaphores
 *
 * SPDX-License-Identifier: MIT
 *
 * Included once by the file of each type, which defines OBJECT before, as a type of the core whose
 * name its functions begin with (mproc_rlock), and the two functions that are declared here.
 *
 * A template and not a table of functions: the compiler knows what is called, and acquire and
 * release are the hottest calls of the package. An object is tried without releasing the
 * interpreter's lock; only if it is not free, the interpreter's lock is released to wait for it.
 */
#include "acquire.h"

#define OBJECT_JOIN_(a, b) a##_##b
#define OBJECT_JOIN(a, b) OBJECT_JOIN_(a, b)
#define OBJECT_DO(verb) OBJECT_JOIN(OBJECT, verb)

/* What acquire() returns or raises for a code of the core, which is about this object. */
static PyObject *acquired(PyObject *self, OBJECT *object, int code);
/* What release() raises for a code that is not 0. */
static PyObject *not_released(int code);

static OBJECT *object_of(PyObject *self) {
    return handle_object(self);
}

static PyObject *acquire(PyObject *self, int64_t timeout) {
    OBJECT *object = object_of(self);
    int r = OBJECT_DO(acquire)(object, 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, OBJECT_DO(acquire)(object, blocking_left(deadline)));
    }
    return acquired(self, object, r);
}

static PyObject *acquire_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(self, timeout);
}

static PyObject *enter_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(self, MPROC_FOREVER);
}

static PyObject *release_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = OBJECT_DO(release)(object_of(self));
    if (r != 0) {
        return not_released(r);
    }
    Py_RETURN_NONE;
}

static PyObject *exit_method(PyObject *self, PyObject *const *Py_UNUSED(args),
                             Py_ssize_t Py_UNUSED(nargs)) {
    return release_method(self, NULL);
}

/* The entries of a type's methods; the docstrings begin behind the signatures. */
#define ACQUIRE_METHODS(acquire_doc, release_doc)                                                  \
    {"acquire", MODULE_METHOD(acquire_method), METH_FASTCALL | METH_KEYWORDS,                      \
     "acquire($self, block=True, timeout=None)\n--\n\n" acquire_doc                                \
     "\n\ntimeout is in seconds, None for ever, negative as 0."},                                  \
        {"release", release_method, METH_NOARGS, "release($self, /)\n--\n\n" release_doc},         \
        {"__enter__", enter_method, METH_NOARGS, NULL}, {                                          \
        "__exit__", MODULE_METHOD(exit_method), METH_FASTCALL, NULL                                \
    }
