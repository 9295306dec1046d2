/*
 * connection.c - Connection: one end of a pipe or socket, as multiprocessing.connection has it
 *
 * SPDX-License-Identifier: MIT
 *
 * Objects travel as bare pickles in the frames of mproc.h's pipes, so either end may be a
 * Connection of the standard library. The descriptor is the object's own: it is closed with it. A
 * receiver looks for a while before it sleeps, if that has paid (look.h).
 *
 * An end of Pipe() is an end of a channel: between members of the family the messages go through
 * memory, until its descriptor is asked for. From then on it is a descriptor like any other. The
 * calls of the core say MPROC_EOTHER in a forked child that could not become a member, which has
 * nothing but the descriptor.
 *
 * Invariants: 1. `handle` is -1 once the connection is closed. 2. After a message that is longer
 * than was allowed nothing is received any more: the connection is closed, or made write-only.
 */
#include "arguments.h"
#include "blocking.h"
#include "codec.h"
#include "error.h"
#include "large.h"
#include "luggage.h"
#include "module.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>
#include <unistd.h>

#define WAIT_INLINE 64 /* descriptors waited for without an allocation */
#define YOUNG 8        /* waits of a connection that are like those of other young ones */
#define READ_MOST 1024 /* bytes */

struct connection {
    PyObject_HEAD PyObject *weak;
    mproc_channel *channel; /* NULL: the other end may be anybody's */
    int handle;
    unsigned char side;  /* of the channel */
    unsigned char plain; /* the channel is not used any more */
    char readable;
    char writable;
    unsigned char waits; /* up to YOUNG */
    struct look look;
};

static struct connection *connection_of(PyObject *self) {
    return (struct connection *)self;
}

/* ---------------------------------------------------------------- life */

/* A number as a descriptor. -1 with an exception. */
static int take_handle(PyObject *number) {
    PyObject *index = PyNumber_Index(number);
    if (index == NULL) {
        return -1;
    }
    int overflow;
    long handle = PyLong_AsLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow != 0 || handle < 0 || handle > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "invalid handle");
        return -1;
    }
    return (int)handle;
}

static PyObject *make(PyTypeObject *type, int handle, int readable, int writable) {
    struct connection *self = (struct connection *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->handle = handle;
        self->readable = (char)readable;
        self->writable = (char)writable;
    }
    return (PyObject *)self;
}

static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"handle", "readable", "writable", NULL};
    PyObject *number;
    int readable = 1, writable = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pp:Connection", names, &number, &readable,
                                     &writable)) {
        return NULL;
    }
    int handle = take_handle(number);
    if (handle < 0) {
        return NULL;
    }
    if (!readable && !writable) {
        PyErr_SetString(PyExc_ValueError, "at least one of `readable` and `writable` must be True");
        return NULL;
    }
    return make(type, handle, readable, writable);
}

/* The connection is closed whatever the result: a descriptor is not open any more after a close()
 * that was interrupted or failed. */
static int handle_close(struct connection *self) {
    int handle = self->handle, r = 0;
    self->handle = -1;
    if (handle < 0) {
        return 0;
    }
    if (self->channel != NULL) {
        mproc_channel_leave(self->channel, self->side);
    }
    Py_BEGIN_ALLOW_THREADS;
    if (close(handle) < 0 && errno != EINTR) {
        r = -errno;
    }
    Py_END_ALLOW_THREADS;
    return r;
}

static void connection_dealloc(PyObject *object) {
    struct connection *self = connection_of(object);
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    PyObject *error, *value, *traceback; /* of the code that drops the last reference */
    PyErr_Fetch(&error, &value, &traceback);
    (void)handle_close(self);
    (void)mproc_drop(self->channel);
    PyErr_Restore(error, value, traceback);
    type->tp_free(object);
    Py_DECREF(type);
}

/* NULL: messages are bytes. */
static mproc_channel *channel_of(const struct connection *self) {
    return self->plain ? NULL : self->channel;
}

/* The descriptor is about to be somebody else's to use: all that was sent can be read from it. 0,
 * or -1 with an exception. */
static int make_plain(struct connection *self) {
    mproc_channel *channel = channel_of(self);
    int r;
    if (channel == NULL || self->handle < 0) {
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS;
    r = mproc_channel_plain(channel, self->side, self->handle);
    Py_END_ALLOW_THREADS;
    if (r == 0 || r == MPROC_EOTHER) {
        self->plain = 1;
        return 0;
    }
    error_raise(r);
    return -1;
}

/* ---------------------------------------------------------------- checks */

static int check_open(struct connection *self) {
    if (self->handle >= 0) {
        return 0;
    }
    PyErr_SetString(PyExc_OSError, "handle is closed");
    return -1;
}

static int check_readable(struct connection *self) {
    if (check_open(self) < 0) {
        return -1;
    }
    if (self->readable) {
        return 0;
    }
    PyErr_SetString(PyExc_OSError, "connection is write-only");
    return -1;
}

static int check_writable(struct connection *self) {
    if (check_open(self) < 0) {
        return -1;
    }
    if (self->writable) {
        return 0;
    }
    PyErr_SetString(PyExc_OSError, "connection is read-only");
    return -1;
}

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

/* ---------------------------------------------------------------- sending */

/* 0, a code or BLOCKING_RAISED. */
static int send_pieces(struct connection *self, const struct iovec *pieces, int n) {
    mproc_channel *channel = channel_of(self);
    int r = MPROC_EOTHER, side = self->side;
    if (channel != NULL) {
        r = mproc_channel_try_sendv(channel, side, self->handle, pieces, n);
        if (r == -EAGAIN) {
            BLOCKING(r, mproc_channel_sendv(channel, side, self->handle, pieces, n));
        }
    }
    if (r == MPROC_EOTHER) {
        BLOCKING(r, mproc_pipe_sendv(self->handle, pieces, n));
    }
    return r;
}

/* The same for a message with buffers. -EAGAIN, -ENOMEM: it has to go without. */
static int send_with_parts(struct connection *self, const struct message *m) {
    mproc_channel *channel = channel_of(self);
    int r, side = self->side;
    if (channel == NULL) {
        return -EAGAIN;
    }
    BLOCKING(r, mproc_channel_send_with(channel, side, self->handle, m->iov, m->niov,
                                        m->parts.buffers, m->parts.nbuffers));
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
    mproc_channel *channel = channel_of(self);
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
    int r = check_writable(self) < 0 ? BLOCKING_RAISED : send_message(self, &message);
    message_clear(&message);
    return r;
}

/* From which size on buffers can go beside the next message, as copies. */
static size_t least_part(const struct connection *self) {
    mproc_channel *channel = channel_of(self);
    return channel != NULL ? mproc_channel_offers(channel, self->side, self->handle) : SIZE_MAX;
}

/* With a pickler. */
static int send_object(struct connection *self, struct module_state *state, PyObject *item) {
    size_t least = least_part(self);
    int r =
        send_item(self, state, item, channel_of(self) != NULL ? PARTS_PIPED : PARTS_NONE, least);
    if (least != SIZE_MAX && (r == -EAGAIN || r == -ENOMEM)) {
        r = send_item(self, state, item, PARTS_PIPED, SIZE_MAX);
    }
    if (r == -EAGAIN) { /* the receiver may be anybody meanwhile */
        r = send_item(self, state, item, PARTS_NONE, 0);
    }
    return r;
}

static PyObject *connection_send(PyObject *object, PyObject *item) {
    struct connection *self = connection_of(object);
    struct module_state *state = module_state_of(object);
    if (state == NULL || check_writable(self) < 0) {
        return NULL;
    }
    int r = send_plain(self, state, item);
    return sent(r == PACKER_NOT_PLAIN ? send_object(self, state, item) : r);
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

static PyObject *connection_send_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buf", "offset", "size", NULL};
    struct connection *self = connection_of(object);
    Py_buffer view;
    Py_ssize_t offset = 0, size = 0;
    PyObject *buffer, *size_object = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|nO:send_bytes", names, &buffer, &offset,
                                     &size_object)) {
        return NULL;
    }
    if (check_writable(self) < 0) {
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

/* ---------------------------------------------------------------- receiving */

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
static struct look *look_of(struct connection *self, struct module_state *state) {
    if (self->waits == YOUNG) {
        return &self->look;
    }
    self->waits++;
    return &state->young_connections;
}

/* Returns when something has come, or when it is time to sleep for it. 0, or BLOCKING_RAISED. */
static int look_first(struct connection *self) {
    struct module_state *state = module_state_of((PyObject *)self);
    int seen;
    if (state == NULL) {
        return BLOCKING_RAISED;
    }
    struct look *history = look_of(self, state);
    if (!look_pays(history)) {
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS;
    seen = look(self->handle);
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
    struct module_state *state = module_state_of((PyObject *)self);
    if (state == NULL) {
        return -1;
    }
    PyObject *flat = codec_without_parts(state, in->message.data, in->message.size,
                                         parts_of_message(parts_of(in)));
    incoming_clear(in);
    if (flat == NULL) {
        return -1;
    }
    is_in(in, flat);
    return 0;
}

/* The length of the next message, 0, a code, or BLOCKING_RAISED. */
static int receive_bytes_header(struct connection *self, size_t *size) {
    int r;
    Py_BEGIN_ALLOW_THREADS;
    r = mproc_pipe_try_size(self->handle, size);
    Py_END_ALLOW_THREADS;
    if (r != -EAGAIN && r != -EINTR) {
        return r;
    }
    if (look_first(self) < 0) {
        return BLOCKING_RAISED;
    }
    BLOCKING(r, mproc_pipe_recv_size(self->handle, size));
    return r;
}

/* A message of a channel's ring always fits into the room. */
static int receive_from_channel(struct connection *self, mproc_channel *channel,
                                struct incoming *in) {
    int side = self->side;
    int r = mproc_channel_try_recv_message(channel, side, self->handle, &in->message);
    if (r == -EAGAIN) {
        BLOCKING(r, mproc_channel_recv_message(channel, side, self->handle, &in->message));
    }
    return r == MPROC_CHANNEL_BODY ? 0 : r;
}

/* 0, a code, or BLOCKING_RAISED. */
static int receive_header(struct connection *self, struct incoming *in) {
    mproc_channel *channel = channel_of(self);
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
        memcpy(out, message->data, message->size);
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
    BLOCKING(r, mproc_pipe_recv_body(self->handle, out, message->size));
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
    if (self->writable) {
        self->readable = 0;
    } else {
        (void)handle_close(self);
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

static PyObject *connection_recv(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    struct module_state *state = module_state_of(object);
    if (state == NULL || check_readable(self) < 0) {
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
    PyObject *received = object_of(state, &in);
    incoming_clear(&in);
    return received;
}

static PyObject *connection_recv_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"maxlength", NULL};
    struct connection *self = connection_of(object);
    PyObject *most_object = Py_None;
    Py_ssize_t most = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:recv_bytes", names, &most_object)) {
        return NULL;
    }
    if (check_readable(self) < 0) {
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
static PyObject *connection_recv_file(PyObject *object, PyObject *args, PyObject *kwargs) {
    PyObject *bytes = connection_recv_bytes(object, args, kwargs);
    PyObject *io = bytes != NULL ? PyImport_ImportModule("io") : NULL;
    PyObject *file = io != NULL ? PyObject_CallMethod(io, "BytesIO", "O", bytes) : NULL;
    Py_XDECREF(io);
    Py_XDECREF(bytes);
    return file;
}

static PyObject *connection_check_closed(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return check_open(connection_of(object)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *connection_check_readable(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    return self->handle >= 0 && check_readable(self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *connection_check_writable(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    return self->handle >= 0 && check_writable(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Raises BufferTooShort(message). */
static void too_short(struct connection *self, const struct incoming *in) {
    PyObject *bytes = receive_rest(self, in);
    if (bytes == NULL) {
        return;
    }
    struct module_state *state = module_state_of((PyObject *)self);
    if (state != NULL) {
        (void)module_raise(state, MODULE_BUFFER_TOO_SHORT, bytes);
    }
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

static PyObject *connection_recv_bytes_into(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buf", "offset", NULL};
    struct connection *self = connection_of(object);
    Py_buffer view;
    Py_ssize_t offset = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|n:recv_bytes_into", names, &view, &offset)) {
        return NULL;
    }
    PyObject *result = check_readable(self) < 0 ? NULL : receive_into(self, &view, offset);
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

static PyObject *connection_read(PyObject *object, PyObject *argument) {
    struct connection *self = connection_of(object);
    Py_ssize_t most = PyNumber_AsSsize_t(argument, PyExc_OverflowError);
    int r;
    if ((most == -1 && PyErr_Occurred()) || check_readable(self) < 0 || make_plain(self) < 0) {
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
    BLOCKING(r, read_some(self->handle, bytes, (size_t)most));
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return r < 0 ? error_raise(r) : PyBytes_FromStringAndSize(bytes, r);
}

/* ---------------------------------------------------------------- waiting */

/* 1, 0 or a code. */
static int poll_once(const struct connection *self, int64_t timeout) {
    mproc_channel *channel = channel_of(self);
    int r = channel != NULL ? mproc_channel_poll(channel, self->side, self->handle, timeout)
                            : MPROC_EOTHER;
    return r == MPROC_EOTHER ? mproc_pipe_poll(self->handle, timeout) : r;
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

static PyObject *connection_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names) {
    static const char *const keywords[] = {"timeout"};
    struct connection *self = connection_of(object);
    PyObject *seconds;
    int64_t timeout = 0;
    if (arguments_spread("poll", keywords, &seconds, 1, args, nargs, names) < 0 ||
        check_readable(self) < 0 || (seconds != NULL && blocking_timeout(seconds, &timeout) < 0)) {
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
static int look_at(const struct connection *self) {
    mproc_channel *channel = channel_of(self);
    int r = channel != NULL ? mproc_channel_look(channel, self->side, self->handle) : 0;
    if (r < 0 && r != MPROC_EOTHER) {
        error_raise(r);
        return -1;
    }
    return r == 1;
}

/* The descriptor of what can be waited for: a Connection, an int, an object with fileno(). -1 with
 * an exception. *there: as look_at(). */
static int descriptor(struct module_state *state, PyObject *object, unsigned char *there) {
    *there = 0;
    if (!PyObject_TypeCheck(object, state->connection_type)) {
        return PyObject_AsFileDescriptor(object);
    }
    struct connection *self = connection_of(object);
    int r = check_open(self) < 0 ? -1 : look_at(self);
    *there = r > 0;
    return r < 0 ? -1 : self->handle;
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

static PyObject *wait_method(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
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

/* ---------------------------------------------------------------- the rest */

static PyObject *connection_fileno(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    return check_open(self) < 0 || make_plain(self) < 0 ? NULL : PyLong_FromLong(self->handle);
}

static PyObject *connection_close(PyObject *object, PyObject *Py_UNUSED(unused)) {
    int r = handle_close(connection_of(object));
    if (r < 0) {
        return error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *connection_detach(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    if (make_plain(self) < 0) {
        return NULL;
    }
    self->handle = -1;
    Py_RETURN_NONE;
}

static PyObject *connection_enter(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return Py_NewRef(object);
}

static PyObject *connection_exit(PyObject *object, PyObject *Py_UNUSED(args)) {
    return connection_close(object, NULL);
}

static PyObject *connection_reduce(PyObject *object, PyObject *Py_UNUSED(unused)) {
    PyObject *module = PyImport_ImportModule("mproc.connection");
    PyObject *result =
        module != NULL ? PyObject_CallMethod(module, "reduce_connection", "O", object) : NULL;
    Py_XDECREF(module);
    return result;
}

static PyObject *get_handle(PyObject *object, void *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    if (self->handle < 0) {
        Py_RETURN_NONE;
    }
    return make_plain(self) < 0 ? NULL : PyLong_FromLong(self->handle);
}

static int set_handle(PyObject *object, PyObject *value, void *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    int handle = value == NULL || value == Py_None ? -1 : PyObject_AsFileDescriptor(value);
    if (handle < 0 && PyErr_Occurred()) {
        return -1;
    }
    if (make_plain(self) < 0) {
        return -1;
    }
    self->plain = 1;
    self->handle = handle;
    return 0;
}

static PyObject *get_closed(PyObject *object, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(connection_of(object)->handle < 0);
}

static PyGetSetDef connection_getset[] = {
    {"_handle", get_handle, set_handle, "The descriptor, or None.", NULL},
    {"closed", get_closed, NULL, "True if the connection is closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef connection_members[] = {
    {"readable", T_BOOL, offsetof(struct connection, readable), READONLY,
     "True if one can receive."},
    {"writable", T_BOOL, offsetof(struct connection, writable), READONLY, "True if one can send."},
    {"_readable", T_BOOL, offsetof(struct connection, readable), 0, NULL},
    {"_writable", T_BOOL, offsetof(struct connection, writable), 0, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct connection, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* An end for a child that is being started, which is to have the channel, too. */
static PyObject *connection_end(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    if (check_open(self) < 0) {
        return NULL;
    }
    mproc_channel *channel = channel_of(self);
    if (channel == NULL || mproc_holds(channel) == 0) { /* a forked child that is no member */
        Py_RETURN_NONE;
    }
    return Py_BuildValue("iNi", self->handle, PyLong_FromVoidPtr(channel), self->side);
}

/* The hold on the channel is the calling process's already. */
static PyObject *connection_adopt(PyObject *type, PyObject *args) {
    PyObject *address;
    int handle, readable, writable, side;
    if (!PyArg_ParseTuple(args, "ippOi:_adopt", &handle, &readable, &writable, &address, &side)) {
        return NULL;
    }
    mproc_channel *channel = PyLong_AsVoidPtr(address);
    if (channel == NULL || !mproc_in_arena(channel) || (side != 0 && side != 1)) {
        return PyErr_Format(PyExc_ValueError, "%R has no such channel", address);
    }
    PyObject *self = make((PyTypeObject *)type, handle, readable, writable);
    if (self == NULL) {
        (void)mproc_drop(channel);
        close(handle);
        return NULL;
    }
    connection_of(self)->channel = channel;
    connection_of(self)->side = (unsigned char)side;
    return self;
}

static PyMethodDef connection_methods[] = {
    {"send", connection_send, METH_O, "send($self, obj, /)\n--\n\nSend a (picklable) object."},
    {"send_bytes", MODULE_METHOD(connection_send_bytes), METH_VARARGS | METH_KEYWORDS,
     "send_bytes($self, buf, offset=0, size=None)\n--\n\n"
     "Send the bytes of a bytes-like object as one message."},
    {"recv", connection_recv, METH_NOARGS, "recv($self, /)\n--\n\nReceive a (picklable) object."},
    {"recv_bytes", MODULE_METHOD(connection_recv_bytes), METH_VARARGS | METH_KEYWORDS,
     "recv_bytes($self, maxlength=None)\n--\n\n"
     "Receive a message as bytes. OSError if it is longer than maxlength."},
    {"recv_bytes_into", MODULE_METHOD(connection_recv_bytes_into), METH_VARARGS | METH_KEYWORDS,
     "recv_bytes_into($self, buf, offset=0)\n--\n\n"
     "Receive a message into a writable bytes-like object and return its length.\n"
     "BufferTooShort, with the message as its argument, if it does not fit."},
    {"_read", connection_read, METH_O,
     "_read($self, most, /)\n--\n\n"
     "Wait for bytes of the stream, whatever messages they belong to; return up to `most`, none at "
     "the end."},
    {"poll", MODULE_METHOD(connection_poll), METH_FASTCALL | METH_KEYWORDS,
     "poll($self, timeout=0.0)\n--\n\n"
     "Whether there is something to receive, within timeout seconds (None: for ever)."},
    {"fileno", connection_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\nThe connection's descriptor."},
    {"close", connection_close, METH_NOARGS,
     "close($self, /)\n--\n\nClose the connection. Closing it again does nothing."},
    {"_check_closed", connection_check_closed, METH_NOARGS,
     "_check_closed($self, /)\n--\n\nOSError: it is closed."},
    {"_check_readable", connection_check_readable, METH_NOARGS,
     "_check_readable($self, /)\n--\n\nOSError: it only sends."},
    {"_check_writable", connection_check_writable, METH_NOARGS,
     "_check_writable($self, /)\n--\n\nOSError: it only receives."},
    {"_send_bytes", MODULE_METHOD(connection_send_bytes), METH_VARARGS | METH_KEYWORDS,
     "_send_bytes($self, buf)\n--\n\nThe same as send_bytes()."},
    {"_recv_bytes", MODULE_METHOD(connection_recv_file), METH_VARARGS | METH_KEYWORDS,
     "_recv_bytes($self, maxlength=None)\n--\n\nThe same as recv_bytes(), in an io.BytesIO."},
    {"_poll", MODULE_METHOD(connection_poll), METH_FASTCALL | METH_KEYWORDS,
     "_poll($self, timeout=0.0)\n--\n\nThe same as poll()."},
    {"_detach", connection_detach, METH_NOARGS,
     "_detach($self, /)\n--\n\nForget the descriptor without closing it."},
    {"_end", connection_end, METH_NOARGS,
     "_end($self, /)\n--\n\n"
     "The descriptor, the channel's address and the side of it; None: it has no channel any more."},
    {"_adopt", connection_adopt, METH_VARARGS | METH_CLASS,
     "_adopt($type, handle, readable, writable, address, side, /)\n--\n\n"
     "An end of a channel that this process holds already."},
    {"__enter__", connection_enter, METH_NOARGS, NULL},
    {"__exit__", connection_exit, METH_VARARGS, NULL},
    {"__reduce__", connection_reduce, METH_NOARGS,
     "__reduce__($self, /)\n--\n\nSee mproc.connection.reduce_connection."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, "Connection(handle, readable=True, writable=True)\n--\n\n"
                "One end of a pipe or socket, that sends and receives objects. It owns the "
                "descriptor `handle`."},
    {Py_tp_new, (void *)connection_new},
    {Py_tp_dealloc, (void *)connection_dealloc},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_getset},
    {Py_tp_members, connection_members},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "mproc.connection.Connection",
    .basicsize = sizeof(struct connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = connection_slots,
};

/* One end of a pipe, which is closed if this fails, and a hold on the channel is given back. */
static PyObject *end_new(PyTypeObject *type, int handle, mproc_channel *owned, int side,
                         int duplex) {
    PyObject *self = make(type, handle, duplex || side == 0, duplex || side == 1);
    if (self == NULL) {
        (void)mproc_drop(owned);
        close(handle);
        return NULL;
    }
    connection_of(self)->channel = owned;
    connection_of(self)->side = (unsigned char)side;
    return self;
}

/* Two descriptors and a channel that is held twice; or NULL and a mere pipe, where there is no
 * memory for a channel, or no family to be had. */
static int ends_new(mproc_channel **channel, int ends[2], int duplex) {
    if (mproc_channel_new(channel, ends, duplex) == 0) {
        if (mproc_hold(*channel) == 0) {
            return 0;
        }
        (void)mproc_drop(*channel);
        close(ends[0]);
        close(ends[1]);
    }
    *channel = NULL;
    return mproc_pipe_new(ends, duplex);
}

static PyObject *pipe_new(PyObject *module, PyObject *argument) {
    PyTypeObject *type = module_state(module)->connection_type;
    int ends[2], duplex = PyObject_IsTrue(argument);
    mproc_channel *channel;
    if (duplex < 0) {
        return NULL;
    }
    int r = ends_new(&channel, ends, duplex);
    if (r < 0) {
        return error_raise(r);
    }
    PyObject *first = end_new(type, ends[0], channel, 0, duplex);
    PyObject *second = end_new(type, ends[1], channel, 1, duplex);
    PyObject *pair = first != NULL && second != NULL ? PyTuple_Pack(2, first, second) : NULL;
    Py_XDECREF(first);
    Py_XDECREF(second);
    return pair;
}

static PyMethodDef functions[] = {
    {"pipe", pipe_new, METH_O,
     "pipe($module, duplex, /)\n--\n\n"
     "Two connected Connections; see mproc.connection.Pipe."},
    {"wait", MODULE_METHOD(wait_method), METH_FASTCALL | METH_KEYWORDS,
     "wait($module, object_list, timeout=None)\n--\n\nSee mproc.connection.wait."},
    {NULL, NULL, 0, NULL},
};

int connection_add(PyObject *module) {
    struct module_state *state = module_state(module);
    if (PyModule_AddFunctions(module, functions) < 0) {
        return -1;
    }
    return module_add_type(module, &connection_spec, &state->connection_type, 1);
}
