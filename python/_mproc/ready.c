/*
 * ready.c - whether something can be received: poll() and wait()
 *
 * SPDX-License-Identifier: MIT
 *
 * What has come to memory no descriptor tells of; so that is looked at first.
 */
#include "arguments.h"
#include "blocking.h"
#include "connection.h"
#include "error.h"

#define WAIT_INLINE 64 /* descriptors waited for without an allocation */

/* 1, 0 or a code. */
static int poll_once(const struct connection *self, int64_t timeout) {
    mproc_channel *channel = connection_channel(self);
    int handle = connection_handle(self), r = MPROC_EOTHER;
    if (handle < 0) { /* the system would wait without end */
        return -EBADF;
    }
    if (channel != NULL) {
        r = mproc_channel_poll(channel, self->side, handle, timeout);
    }
    return r == MPROC_EOTHER ? mproc_pipe_poll(handle, timeout) : r;
}

/* The same, or BLOCKING_RAISED. */
static int poll_for(const struct connection *self, int64_t timeout) {
    if (timeout == 0) {
        return poll_once(self, 0);
    }
    int r;
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, poll_once(self, blocking_left(deadline)));
    return r;
}

PyObject *connection_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *names) {
    static const char *const keywords[] = {"timeout"};
    struct connection *self = connection_of(object);
    PyObject *seconds;
    int64_t timeout = 0;
    if (arguments_spread("poll", keywords, &seconds, 1, args, nargs, names) < 0 ||
        connection_require_readable(self) < 0 ||
        (seconds != NULL && blocking_timeout(seconds, &timeout) < 0)) {
        return NULL;
    }
    int r = poll_for(self, timeout);
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return r < 0 ? error_raise(r) : PyBool_FromLong(r);
}

/* Has something come that its descriptor does not tell of? 1, 0, or -1 with an exception. Until the
 * next receive the descriptor tells of all that is to come. */
static int look_at(const struct connection *self, int handle) {
    mproc_channel *channel = connection_channel(self);
    int r = channel != NULL ? mproc_channel_look(channel, self->side, handle) : 0;
    if (r < 0 && r != MPROC_EOTHER) {
        error_raise(r);
        return -1;
    }
    return r == 1;
}

/* Of an int, or an object with fileno(). What is neither has the error of the selectors. */
static int plain_descriptor(PyObject *object) {
    int fd = PyObject_AsFileDescriptor(object);
    if (fd < 0 && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", object);
    }
    return fd;
}

/* The descriptor of what can be waited for: a Connection, an int, an object with fileno(). -1 with
 * an exception. *there: as look_at(). */
static int descriptor(struct module_state *state, PyObject *object, unsigned char *there) {
    *there = 0;
    if (!module_is_a(object, state->connection_type)) {
        return plain_descriptor(object);
    }
    struct connection *self = connection_of(object);
    int handle = connection_require_open(self);
    int r = handle < 0 ? -1 : look_at(self, handle);
    *there = r > 0;
    return r < 0 ? -1 : handle;
}

/* What is waited for: descriptors, and which of them are ready. */
struct waited {
    int *fds;
    unsigned char *there; /* without the kernel */
    unsigned char *ready;
};

/* The objects that are ready, in the order in which they were given. */
static PyObject *pick(PyObject *items, const unsigned char *ready, size_t n) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < n; i++) {
        if (ready[i] && PyList_Append(list, PyTuple_GET_ITEM(items, (Py_ssize_t)i)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Fills both lists. How many are there already, or -1 with an exception. */
static int look_at_all(struct module_state *state, PyObject *items, int *fds,
                       unsigned char *there) {
    int n = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        fds[i] = descriptor(state, PyTuple_GET_ITEM(items, i), &there[i]);
        if (fds[i] < 0) {
            return -1;
        }
        n += there[i];
    }
    return n;
}

/* How many are ready. A mere look comes first, which costs less than to give the interpreter's lock
 * away: often one is ready. */
static int wait_for_descriptors(const struct waited *waited, size_t n, int64_t deadline) {
    int r = n > WAIT_INLINE ? 0 : mproc_wait(waited->fds, n, waited->ready, 0);
    if (r == 0) {
        BLOCKING(r, mproc_wait(waited->fds, n, waited->ready, blocking_left(deadline)));
    }
    return r;
}

static PyObject *wait_for(struct module_state *state, PyObject *items, int64_t timeout,
                          struct waited *waited) {
    size_t n = (size_t)PyTuple_GET_SIZE(items);
    int64_t deadline = blocking_deadline(timeout);
    int there = look_at_all(state, items, waited->fds, waited->there);
    if (there < 0) {
        return NULL;
    }
    int r = wait_for_descriptors(waited, n, there > 0 ? 0 : deadline);
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    if (r < 0) {
        return error_raise(r);
    }
    for (size_t i = 0; there > 0 && i < n; i++) {
        waited->ready[i] |= waited->there[i];
    }
    return r + there == 0 ? PyList_New(0) : pick(items, waited->ready, n);
}

static PyObject *wait_for_many(struct module_state *state, PyObject *items, int64_t timeout) {
    size_t n = (size_t)PyTuple_GET_SIZE(items);
    int *fds = PyMem_New(int, n);
    unsigned char *flags = PyMem_New(unsigned char, 2 * n);
    struct waited waited = {fds, flags, flags + n};
    PyObject *result =
        fds != NULL && flags != NULL ? wait_for(state, items, timeout, &waited) : PyErr_NoMemory();
    PyMem_Free(fds);
    PyMem_Free(flags);
    return result;
}

PyObject *connection_wait(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *names) {
    static const char *const keywords[] = {"object_list", "timeout"};
    PyObject *values[2];
    int64_t timeout;
    int fds[WAIT_INLINE];
    unsigned char there[WAIT_INLINE], ready[WAIT_INLINE];
    struct waited waited = {fds, there, ready};
    if (arguments_spread("wait", keywords, values, 2, args, nargs, names) < 0 ||
        blocking_timeout(values[1], &timeout) < 0) {
        return NULL;
    }
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "wait() missing required argument 'object_list'");
        return NULL;
    }
    PyObject *items = PySequence_Tuple(values[0]); /* a copy: a list may change meanwhile */
    if (items == NULL) {
        return NULL;
    }
    PyObject *result = PyTuple_GET_SIZE(items) > WAIT_INLINE
                           ? wait_for_many(module_state(module), items, timeout)
                           : wait_for(module_state(module), items, timeout, &waited);
    Py_DECREF(items);
    return result;
}
