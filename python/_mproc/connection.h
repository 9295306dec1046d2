/*
 * connection.h - Connection, for the files that its methods are in
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_CONNECTION_H
#define MPROC_PYTHON_CONNECTION_H

#include "module.h"

#include "mproc.h"
#include "threads.h"

#define CONNECTION_YOUNG 8 /* waits of a connection that are like those of other young ones */

struct connection {
    PyObject_HEAD PyObject *weak;
    struct module_state *state; /* of the module, which the connection's type keeps */
    mproc_channel *channel;     /* NULL: the other end may be anybody's */
    int handle;
    unsigned char side;  /* of the channel */
    unsigned char plain; /* the channel is not used any more */
    char readable;
    char writable;
    char by_parts;       /* its class overrides parts of the methods: see mproc._overriding */
    unsigned char waits; /* up to CONNECTION_YOUNG */
    struct look look;
};

static inline struct connection *connection_of(PyObject *self) {
    return (struct connection *)self;
}

/* NULL: messages are bytes. */
static inline mproc_channel *connection_channel(const struct connection *self) {
    return THREADS_LOAD(self->plain) ? NULL : self->channel;
}

/* The descriptor; -1: the connection is closed, by another thread perhaps, since it was looked at.
 */
static inline int connection_handle(const struct connection *self) {
    return THREADS_LOAD(self->handle);
}

/* The descriptor, or -1 with OSError. */
int connection_require_open(struct connection *self);
int connection_require_readable(struct connection *self);
int connection_require_writable(struct connection *self);

/* The descriptor is about to be somebody else's to use: all that was sent can be read from it. 0,
 * or -1 with an exception. */
int connection_make_plain(struct connection *self);

/* The connection is closed whatever the result: a descriptor is not open any more after a close()
 * that was interrupted or failed. */
int connection_shut(struct connection *self);

/* ---- methods: outgoing.c */

PyObject *connection_send(PyObject *object, PyObject *item);
PyObject *connection_send_bytes(PyObject *object, PyObject *args, PyObject *kwargs);

/* ---- incoming.c */

PyObject *connection_recv(PyObject *object, PyObject *unused);
PyObject *connection_recv_bytes(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *connection_recv_bytes_into(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *connection_recv_file(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *connection_read(PyObject *object, PyObject *argument);

/* ---- ready.c */

PyObject *connection_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *names);
PyObject *connection_wait(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *names);

#endif
