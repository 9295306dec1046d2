/*
 * outgoing.c - what a Connection sends
 *
 * SPDX-License-Identifier: MIT
 *
 * Plain values are written as a pickle at once. Any other object needs the pickler, and may take
 * buffers along: copies beside a large message, shared ones by name (luggage.h).
 */
#include "blocking.h"
#include "codec.h"
#include "connection.h"
#include "error.h"
#include "luggage.h"

#include <errno.h>
#include <string.h>

/* None, or the exception of a sending call's code. */
static PyObject *sent(int r) {
    if (r == 0) {
        Py_RETURN_NONE;
    }
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return error_raise(r == MPROC_EEOF ? -EPIPE : r);
}

/* The same as the calls of the core, until the connection is closed. A signal's handler may do that
 * between two of them. */
static int try_channel(const struct connection *self, mproc_channel *channel,
                       const struct iovec *pieces, int n) {
    int handle = connection_handle(self);
    return handle < 0 ? -EBADF : mproc_channel_try_sendv(channel, self->side, handle, pieces, n);
}

static int send_by_channel(const struct connection *self, mproc_channel *channel,
                           const struct iovec *pieces, int n) {
    int handle = connection_handle(self);
    return handle < 0 ? -EBADF : mproc_channel_sendv(channel, self->side, handle, pieces, n);
}

static int send_parts(const struct connection *self, mproc_channel *channel,
                      const struct message *m) {
    int handle = connection_handle(self);
    return handle < 0 ? -EBADF
                      : mproc_channel_send_with(channel, self->side, handle, m->iov, m->niov,
                                                m->parts.buffers, m->parts.nbuffers);
}

/* 0, a code or BLOCKING_RAISED. */
static int send_pieces(struct connection *self, const struct iovec *pieces, int n) {
    mproc_channel *channel = connection_channel(self);
    int r = MPROC_EOTHER;
    if (channel != NULL) {
        r = try_channel(self, channel, pieces, n);
        if (r == -EAGAIN) {
            BLOCKING(r, send_by_channel(self, channel, pieces, n));
        }
    }
    if (r == MPROC_EOTHER) {
        BLOCKING(r, mproc_pipe_sendv(connection_handle(self), pieces, n)); /* -1 is -EBADF */
    }
    return r;
}

/* The same for a message with buffers. -EAGAIN, -ENOMEM: it has to go without. */
static int send_with_parts(struct connection *self, const struct message *m) {
    mproc_channel *channel = connection_channel(self);
    int r;
    if (channel == NULL) {
        return -EAGAIN;
    }
    BLOCKING(r, send_parts(self, channel, m));
    return r == MPROC_EOTHER ? -EAGAIN : r;
}

/* Takes what was given back, for a message that has not been sent. */
static void take_back(mproc_channel *channel, uint64_t name) {
    mproc_message given = MPROC_MESSAGE_INIT(NULL, 0);
    if (mproc_channel_fetch(channel, name, &given) == 0) {
        mproc_message_drop(&given);
    }
}

/* Between a head and a tail. */
static int send_wrapped(struct connection *self, const struct message *m, uint64_t name) {
    struct iovec pieces[MESSAGE_PIECES + 2];
    unsigned char head[LUGGAGE_HEAD];
    luggage_wrap(head, self->channel, name, m->size);
    pieces[0] = (struct iovec){head, sizeof head};
    memcpy(&pieces[1], m->iov, (size_t)m->niov * sizeof *pieces);
    pieces[m->niov + 1] = (struct iovec){LUGGAGE_TAIL, LUGGAGE_TAIL_SIZE};
    return send_pieces(self, pieces, m->niov + 2);
}

/* The same for one whose buffers are all shared: it can be bytes, which name them. */
static int send_with_luggage(struct connection *self, const struct message *m) {
    mproc_channel *channel = connection_channel(self);
    uint64_t name;
    int r = channel == NULL ? -EAGAIN
                            : mproc_channel_give(channel, self->side, m->parts.buffers,
                                                 m->parts.nbuffers, &name);
    if (r != 0) {
        return r == MPROC_EOTHER ? -EAGAIN : r;
    }
    r = send_wrapped(self, m, name);
    if (r != 0) {
        take_back(channel, name);
    }
    return r;
}

static int send_message(struct connection *self, const struct message *m) {
    if (m->parts.n == 0) {
        return send_pieces(self, m->iov, m->niov);
    }
    return parts_are_shared(&m->parts) ? send_with_luggage(self, m) : send_with_parts(self, m);
}

/* Most objects need no pickler. 0, a code, BLOCKING_RAISED; PACKER_NOT_PLAIN: this one does. */
static int send_plain(struct connection *self, struct module_state *state, PyObject *item) {
    unsigned char number[PICKLE_INT];
    struct iovec piece = {number, codec_pickle_int(state, item, number)};
    if (piece.iov_len > 0) {
        return send_pieces(self, &piece, 1);
    }
    struct message message;
    int r = codec_pickle_plain(state, item, &message);
    if (r == 0) {
        r = send_pieces(self, message.iov, message.niov);
        message_clear(&message);
    }
    return r == -1 ? BLOCKING_RAISED : r;
}

/* Runs arbitrary Python code, which may close the connection. 0, a code, or BLOCKING_RAISED. */
static int send_item(struct connection *self, struct module_state *state, PyObject *item,
                     enum parts_allowed parts, size_t least) {
    struct message message;
    if (codec_pickle_with_parts(state, item, &message, parts, least) < 0) {
        error_explain(item, "obj");
        return BLOCKING_RAISED;
    }
    int r = connection_require_writable(self) < 0 ? BLOCKING_RAISED : send_message(self, &message);
    message_clear(&message);
    return r;
}

/* From which size on buffers can go beside the next message, as copies. */
static size_t least_part(const struct connection *self) {
    mproc_channel *channel = connection_channel(self);
    return channel != NULL ? mproc_channel_offers(channel, self->side, connection_handle(self))
                           : SIZE_MAX;
}

/* With a pickler. */
static int send_object(struct connection *self, struct module_state *state, PyObject *item) {
    size_t least = least_part(self);
    int r = send_item(self, state, item,
                      connection_channel(self) != NULL ? PARTS_PIPED : PARTS_NONE, least);
    if (least != SIZE_MAX && (r == -EAGAIN || r == -ENOMEM)) {
        r = send_item(self, state, item, PARTS_PIPED, SIZE_MAX);
    }
    if (r == -EAGAIN) { /* the receiver may be anybody meanwhile */
        r = send_item(self, state, item, PARTS_NONE, 0);
    }
    return r;
}

PyObject *connection_send(PyObject *object, PyObject *item) {
    struct connection *self = connection_of(object);
    if (connection_require_writable(self) < 0) {
        return NULL;
    }
    int r = send_plain(self, self->state, item);
    return sent(r == PACKER_NOT_PLAIN ? send_object(self, self->state, item) : r);
}

/* The part of a buffer that send_bytes() is asked to send. 0, or -1 with ValueError. */
static int slice_check(Py_ssize_t length, Py_ssize_t offset, Py_ssize_t *size, int whole) {
    const char *why = NULL;
    if (offset < 0) {
        why = "offset is negative";
    } else if (length < offset) {
        why = "buffer length < offset";
    } else if (whole) {
        *size = length - offset;
    } else if (*size < 0) {
        why = "size is negative";
    } else if (length - offset < *size) {
        why = "buffer length < offset + size";
    }
    if (why != NULL) {
        PyErr_SetString(PyExc_ValueError, why);
    }
    return why != NULL ? -1 : 0;
}

PyObject *connection_send_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buf", "offset", "size", NULL};
    struct connection *self = connection_of(object);
    Py_buffer view;
    Py_ssize_t offset = 0, size = 0;
    PyObject *buffer, *size_object = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|nO:send_bytes", names, &buffer, &offset,
                                     &size_object)) {
        return NULL;
    }
    if (connection_require_writable(self) < 0) {
        return NULL;
    }
    if (size_object != Py_None) {
        size = PyNumber_AsSsize_t(size_object, PyExc_OverflowError);
        if (size == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int r = slice_check(view.len, offset, &size, size_object == Py_None) < 0 ? BLOCKING_RAISED : 0;
    if (r == 0) {
        struct iovec piece = {(char *)view.buf + offset, (size_t)size};
        r = send_pieces(self, &piece, 1);
    }
    PyBuffer_Release(&view);
    return sent(r);
}
