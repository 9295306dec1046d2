/*
 * incoming.c - what a Connection receives
 *
 * SPDX-License-Identifier: MIT
 *
 * A receiver looks for a while before it sleeps, if that has paid (look.h). A message is all there,
 * in the room for it or in its block, or only its length is known yet.
 */
#include "blocking.h"
#include "codec.h"
#include "connection.h"
#include "error.h"
#include "large.h"
#include "luggage.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_MOST 1024 /* bytes */

/* The exception of a receiving call's code. NULL. */
static PyObject *not_received(int r) {
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    if (r == MPROC_EEOF) {
        PyErr_SetNone(PyExc_EOFError);
        return NULL;
    }
    if (r == MPROC_EFRAME) {
        PyErr_SetString(PyExc_OSError, "got end of file during message");
        return NULL;
    }
    return error_raise(r);
}

/* Whether something has come meanwhile, or the end. */
static int look(int handle) {
    int64_t end = blocking_now() + LOOK_NS;
    do {
        if (mproc_pipe_poll(handle, 0) != 0) {
            return 1;
        }
    } while (blocking_now() < end);
    return 0;
}

/* Connections that live for a few messages learn from each other. */
static struct look *look_of(struct connection *self) {
    unsigned char waits = THREADS_LOAD(self->waits);
    if (waits == CONNECTION_YOUNG) {
        return &self->look;
    }
    THREADS_STORE(self->waits, waits + 1);
    return &self->state->young_connections;
}

/* Returns when something has come, or when it is time to sleep for it. 0, or BLOCKING_RAISED. */
static int look_first(struct connection *self) {
    int seen;
    struct look *history = look_of(self);
    if (!look_pays(history)) {
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS;
    seen = look(connection_handle(self));
    Py_END_ALLOW_THREADS;
    look_learn(history, !seen);
    /* A signal interrupts a sleep, but not a look. */
    return !seen && PyErr_CheckSignals() < 0 ? BLOCKING_RAISED : 0;
}

/* What is received: all of it, or its length. */
struct incoming {
    mproc_message message; /* `data` is NULL: the bytes have yet to be received */
    mproc_message luggage; /* what it has named; no block: nothing */
    PyObject *flat;        /* bytes that it is in; or NULL */
    char room[MPROC_MESSAGE_INLINE];
};

static void incoming_init(struct incoming *in) {
    in->message = (mproc_message)MPROC_MESSAGE_INIT(in->room, sizeof in->room);
    in->luggage = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    in->flat = NULL;
}

static void incoming_clear(struct incoming *in) {
    if (in->message.block != NULL) {
        mproc_message_drop(&in->message);
    }
    if (in->luggage.block != NULL) {
        mproc_message_drop(&in->luggage);
    }
    Py_CLEAR(in->flat);
}

/* Where the parts of the message are; NULL: it has none. */
static const mproc_message *parts_of(const struct incoming *in) {
    if (in->luggage.block != NULL) {
        return &in->luggage;
    }
    return in->message.block != NULL && mproc_message_buffer(&in->message, 0) != NULL ? &in->message
                                                                                      : NULL;
}

/* The whole message is in these bytes. */
static void is_in(struct incoming *in, PyObject *owned) {
    in->flat = owned;
    in->message.data = PyBytes_AS_STRING(owned);
    in->message.size = (size_t)PyBytes_GET_SIZE(owned);
}

/* For who wants the bytes of an object that has come in parts. 0, or -1 with an exception. */
static int flatten(struct connection *self, struct incoming *in) {
    PyObject *flat = codec_without_parts(self->state, in->message.data, in->message.size,
                                         parts_of_message(parts_of(in)));
    incoming_clear(in);
    if (flat == NULL) {
        return -1;
    }
    is_in(in, flat);
    return 0;
}

/* In these two the system would wait for -1 without end. */
static int await_size(const struct connection *self, size_t *size) {
    int handle = connection_handle(self);
    return handle < 0 ? -EBADF : mproc_pipe_recv_size(handle, size);
}

static int await_message(const struct connection *self, mproc_channel *channel,
                         mproc_message *message) {
    int handle = connection_handle(self);
    return handle < 0 ? -EBADF : mproc_channel_recv_message(channel, self->side, handle, message);
}

/* The length of the next message, 0, a code, or BLOCKING_RAISED. */
static int receive_bytes_header(struct connection *self, size_t *size) {
    int r;
    Py_BEGIN_ALLOW_THREADS;
    r = mproc_pipe_try_size(connection_handle(self), size); /* -EBADF once it is closed */
    Py_END_ALLOW_THREADS;
    if (r != -EAGAIN && r != -EINTR) {
        return r;
    }
    if (look_first(self) < 0) {
        return BLOCKING_RAISED;
    }
    BLOCKING(r, await_size(self, size));
    return r;
}

/* A message of a channel's ring always fits into the room. */
static int receive_from_channel(struct connection *self, mproc_channel *channel,
                                struct incoming *in) {
    int handle = connection_handle(self);
    int r = handle < 0 ? -EBADF
                       : mproc_channel_try_recv_message(channel, self->side, handle, &in->message);
    if (r == -EAGAIN) {
        BLOCKING(r, await_message(self, channel, &in->message));
    }
    return r == MPROC_CHANNEL_BODY ? 0 : r;
}

/* 0, a code, or BLOCKING_RAISED. */
static int receive_header(struct connection *self, struct incoming *in) {
    mproc_channel *channel = connection_channel(self);
    int r = channel != NULL ? receive_from_channel(self, channel, in) : MPROC_EOTHER;
    if (r == MPROC_EOTHER) {
        r = receive_bytes_header(self, &in->message.size);
    }
    return r;
}

/* The bytes of a message whose length has been received. */
static int receive_body(struct connection *self, void *out, const struct incoming *in) {
    const mproc_message *message = &in->message;
    int r;
    if (message->block != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        mproc_copy(out, message->data, message->size);
        Py_END_ALLOW_THREADS;
        return 0;
    }
    if (message->data != NULL) {
        memcpy(out, message->data, message->size);
        return 0;
    }
    if (message->size == 0) {
        return 0;
    }
    BLOCKING(r, mproc_pipe_recv_body(connection_handle(self), out, message->size));
    if (r == 0) {
        return 0;
    }
    not_received(r == MPROC_EEOF ? MPROC_EFRAME : r);
    return -1;
}

/* A message as bytes. */
static PyObject *receive_rest(struct connection *self, const struct incoming *in) {
    if (in->flat != NULL) {
        return Py_NewRef(in->flat);
    }
    PyObject *bytes = large_bytes(NULL, (Py_ssize_t)in->message.size);
    if (bytes != NULL && receive_body(self, PyBytes_AS_STRING(bytes), in) < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* Fetches what the bytes of a message have named. */
static void fetch_luggage(struct connection *self, struct incoming *in) {
    const void *data = in->message.data;
    size_t size = in->message.size;
    uint64_t name;
    if (luggage_unwrap(self->channel, &data, &size, &name) &&
        mproc_channel_fetch(self->channel, name, &in->luggage) == 0) {
        in->message.data = (void *)(uintptr_t)data; /* only read from */
        in->message.size = size;
    }
}

/* While there is luggage, all of a message is received. */
static int look_for_luggage(struct connection *self, struct incoming *in) {
    if (in->message.data == NULL && mproc_channel_given(self->channel)) {
        PyObject *bytes = receive_rest(self, in);
        if (bytes == NULL) {
            return -1;
        }
        is_in(in, bytes);
    }
    if (in->message.data != NULL) {
        fetch_luggage(self, in);
    }
    return 0;
}

/* The length of the next message, or all of it. 0, or -1 with an exception. */
static int receive_some(struct connection *self, struct incoming *in) {
    incoming_init(in);
    int r = receive_header(self, in);
    if (r != 0) {
        not_received(r);
        return -1;
    }
    return self->channel != NULL ? look_for_luggage(self, in) : 0;
}

/* The same for who wants bytes, at most `most` of them. */
static int receive_size(struct connection *self, size_t most, struct incoming *in) {
    if (receive_some(self, in) < 0 || (parts_of(in) != NULL && flatten(self, in) < 0)) {
        return -1;
    }
    if (in->message.size <= most) {
        return 0;
    }
    incoming_clear(in);
    if (THREADS_LOAD(self->writable)) {
        THREADS_STORE(self->readable, 0);
    } else {
        (void)connection_shut(self);
    }
    PyErr_SetString(PyExc_OSError, "bad message length");
    return -1;
}

static PyObject *receive(struct connection *self, size_t most) {
    struct incoming in;
    PyObject *bytes = receive_size(self, most, &in) < 0 ? NULL : receive_rest(self, &in);
    incoming_clear(&in);
    return bytes;
}

/* The object that a whole message stands for. */
static PyObject *object_of(struct module_state *state, const struct incoming *in) {
    const mproc_message *m = &in->message, *parts = parts_of(in);
    return parts != NULL ? codec_decode_with_parts(state, m->data, m->size, parts_of_message(parts))
                         : codec_unpickle(state, m->data, m->size);
}

PyObject *connection_recv(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    if (connection_require_readable(self) < 0) {
        return NULL;
    }
    struct incoming in;
    if (receive_some(self, &in) < 0) {
        return NULL;
    }
    if (in.message.data == NULL) {
        PyObject *bytes = receive_rest(self, &in);
        if (bytes == NULL) {
            return NULL;
        }
        is_in(&in, bytes);
    }
    PyObject *received = object_of(self->state, &in);
    incoming_clear(&in);
    return received;
}

PyObject *connection_recv_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"maxlength", NULL};
    struct connection *self = connection_of(object);
    PyObject *most_object = Py_None;
    Py_ssize_t most = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:recv_bytes", names, &most_object)) {
        return NULL;
    }
    if (connection_require_readable(self) < 0) {
        return NULL;
    }
    if (most_object != Py_None) {
        most = PyNumber_AsSsize_t(most_object, NULL);
        if (most == -1 && PyErr_Occurred()) {
            return NULL;
        }
        if (most < 0) {
            PyErr_SetString(PyExc_ValueError, "negative maxlength");
            return NULL;
        }
    }
    return receive(self, (size_t)most);
}

/* The same as a file of bytes in memory, as programs know it that receive by _recv_bytes(). */
PyObject *connection_recv_file(PyObject *object, PyObject *args, PyObject *kwargs) {
    PyObject *bytes = connection_recv_bytes(object, args, kwargs);
    PyObject *io = bytes != NULL ? PyImport_ImportModule("io") : NULL;
    PyObject *file = io != NULL ? PyObject_CallMethod(io, "BytesIO", "O", bytes) : NULL;
    Py_XDECREF(io);
    Py_XDECREF(bytes);
    return file;
}

/* Raises BufferTooShort(message). */
static void too_short(struct connection *self, const struct incoming *in) {
    PyObject *bytes = receive_rest(self, in);
    if (bytes == NULL) {
        return;
    }
    (void)module_raise(self->state, MODULE_BUFFER_TOO_SHORT, bytes);
    Py_DECREF(bytes);
}

static PyObject *receive_into(struct connection *self, const Py_buffer *view, Py_ssize_t offset) {
    struct incoming in;
    if (offset < 0) {
        PyErr_SetString(PyExc_ValueError, "negative offset");
        return NULL;
    }
    if (offset > view->len) {
        PyErr_SetString(PyExc_ValueError, "offset too large");
        return NULL;
    }
    if (receive_size(self, PY_SSIZE_T_MAX, &in) < 0) {
        return NULL;
    }
    PyObject *size = NULL;
    if (in.message.size > (size_t)(view->len - offset)) {
        too_short(self, &in);
    } else if (receive_body(self, (char *)view->buf + offset, &in) == 0) {
        size = PyLong_FromSize_t(in.message.size);
    }
    incoming_clear(&in);
    return size;
}

PyObject *connection_recv_bytes_into(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buf", "offset", NULL};
    struct connection *self = connection_of(object);
    Py_buffer view;
    Py_ssize_t offset = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|n:recv_bytes_into", names, &view, &offset)) {
        return NULL;
    }
    PyObject *result =
        connection_require_readable(self) < 0 ? NULL : receive_into(self, &view, offset);
    PyBuffer_Release(&view);
    return result;
}

/* read(), of blocking and other descriptors. The number of bytes, 0 at the end. */
static int read_some(int handle, void *out, size_t size) {
    ssize_t n = read(handle, out, size);
    if (n < 0 && errno == EAGAIN) {
        int r = mproc_pipe_poll(handle, MPROC_FOREVER);
        if (r < 0) {
            return r;
        }
        n = read(handle, out, size);
    }
    if (n < 0) {
        return errno == ECONNRESET ? 0 : -errno;
    }
    return (int)n;
}

PyObject *connection_read(PyObject *object, PyObject *argument) {
    struct connection *self = connection_of(object);
    Py_ssize_t most = PyNumber_AsSsize_t(argument, PyExc_OverflowError);
    int r;
    if ((most == -1 && PyErr_Occurred()) || connection_require_readable(self) < 0 ||
        connection_make_plain(self) < 0) {
        return NULL;
    }
    if (most <= 0 || most > READ_MOST) {
        PyErr_Format(PyExc_ValueError, "most must be between 1 and %d", READ_MOST);
        return NULL;
    }
    char bytes[READ_MOST];
    if (look_first(self) < 0) {
        return NULL;
    }
    BLOCKING(r, read_some(connection_handle(self), bytes, (size_t)most));
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return r < 0 ? error_raise(r) : PyBytes_FromStringAndSize(bytes, r);
}
