/* connection.c: one end of a pipe or socket, as multiprocessing.connection.Connection.
 *
 * Objects travel as bare pickles in the frames of mproc.h's pipes, so either end may be a
 * Connection of the standard library. The descriptor is the object's own: it is closed with it.
 * Who receives looks for a while before it sleeps, if that has paid (looking.h).
 *
 * Invariants: 1. `handle` is -1 once the connection is closed. 2. After a message that is longer
 * than was allowed nothing is received any more: the connection is closed, or made write-only.
 */
#include "connection.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <structmember.h>
#include <unistd.h>

#include "blocking.h"
#include "codec.h"
#include "error.h"
#include "mproc.h"

#define WAIT_INLINE 64 /* descriptors waited for without an allocation */
#define YOUNG 8        /* waits of a connection that are like those of other young ones */
#define READ_MOST 1024 /* bytes */

struct connection {
    PyObject_HEAD PyObject *weak;
    int handle;
    char readable;
    char writable;
    unsigned char waits; /* up to YOUNG */
    struct looking looking;
};

/* ---- life */

static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"handle", "readable", "writable", NULL};
    PyObject *number;
    int readable = 1, writable = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pp:Connection", names, &number, &readable,
                                     &writable))
        return NULL;
    PyObject *index = PyNumber_Index(number);
    if (!index) return NULL;
    int overflow;
    long handle = PyLong_AsLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow || handle < 0 || handle > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "invalid handle");
        return NULL;
    }
    if (!readable && !writable) {
        PyErr_SetString(PyExc_ValueError, "at least one of `readable` and `writable` must be True");
        return NULL;
    }
    struct connection *self = (struct connection *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->handle = (int)handle;
    self->readable = (char)readable;
    self->writable = (char)writable;
    return (PyObject *)self;
}

/* Closes without a look at the result: what an interrupted or failed close() leaves is not open
 * either. */
static int handle_close(struct connection *self) {
    int handle = self->handle, r = 0;
    self->handle = -1;
    if (handle < 0) return 0;
    Py_BEGIN_ALLOW_THREADS;
    if (close(handle) < 0 && errno != EINTR) r = -errno;
    Py_END_ALLOW_THREADS;
    return r;
}

static void connection_dealloc(PyObject *object) {
    struct connection *self = (struct connection *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak) PyObject_ClearWeakRefs(object);
    PyObject *type_, *value, *traceback;
    PyErr_Fetch(&type_, &value, &traceback);
    (void)handle_close(self);
    PyErr_Restore(type_, value, traceback);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- checks */

static int check_open(struct connection *self) {
    if (self->handle >= 0) return 0;
    PyErr_SetString(PyExc_OSError, "handle is closed");
    return -1;
}

static int check_readable(struct connection *self) {
    if (check_open(self) < 0) return -1;
    if (self->readable) return 0;
    PyErr_SetString(PyExc_OSError, "connection is write-only");
    return -1;
}

static int check_writable(struct connection *self) {
    if (check_open(self) < 0) return -1;
    if (self->writable) return 0;
    PyErr_SetString(PyExc_OSError, "connection is read-only");
    return -1;
}

/* A code of a sending call as an exception. */
static PyObject *sent(int r) {
    if (r == 0) Py_RETURN_NONE;
    if (r == BLOCKING_RAISED) return NULL;
    return error_raise(r == MPROC_EEOF ? -EPIPE : r);
}

static PyObject *not_received(int r) {
    if (r == BLOCKING_RAISED) return NULL;
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

/* ---- sending */

PyDoc_STRVAR(send_doc, "send($self, obj, /)\n--\n\nSend a (picklable) object.");

static PyObject *connection_send(PyObject *object, PyObject *item) {
    struct connection *self = (struct connection *)object;
    struct module_state *state = module_state_of(object);
    struct message message;
    if (!state || check_writable(self) < 0) return NULL;
    if (codec_pickle(state, item, &message) < 0) return NULL;
    int r = check_writable(self) < 0 ? BLOCKING_RAISED : 0;
    if (r == 0) BLOCKING(r, mproc_pipe_sendv(self->handle, message.iov, message.niov));
    message_clear(&message);
    return sent(r);
}

/* The part of a buffer that send_bytes() is asked to send. 0, or -1 with ValueError. */
static int slice_check(Py_ssize_t length, Py_ssize_t offset, Py_ssize_t *size, int whole) {
    const char *why = NULL;
    if (offset < 0)
        why = "offset is negative";
    else if (length < offset)
        why = "buffer length < offset";
    else if (whole)
        *size = length - offset;
    else if (*size < 0)
        why = "size is negative";
    else if (length - offset < *size)
        why = "buffer length < offset + size";
    if (why) PyErr_SetString(PyExc_ValueError, why);
    return why ? -1 : 0;
}

PyDoc_STRVAR(send_bytes_doc, "send_bytes($self, buf, offset=0, size=None)\n--\n\nSend the bytes of "
                             "a bytes-like object as one message.");

static PyObject *connection_send_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buf", "offset", "size", NULL};
    struct connection *self = (struct connection *)object;
    Py_buffer view;
    Py_ssize_t offset = 0, size = 0;
    PyObject *buffer, *size_object = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|nO:send_bytes", names, &buffer, &offset,
                                     &size_object))
        return NULL;
    if (check_writable(self) < 0) return NULL;
    if (size_object != Py_None) {
        size = PyNumber_AsSsize_t(size_object, PyExc_OverflowError);
        if (size == -1 && PyErr_Occurred()) return NULL;
    }
    if (PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0) return NULL;
    int r = slice_check(view.len, offset, &size, size_object == Py_None) < 0 ? BLOCKING_RAISED : 0;
    if (r == 0) BLOCKING(r, mproc_pipe_send(self->handle, (char *)view.buf + offset, (size_t)size));
    PyBuffer_Release(&view);
    return sent(r);
}

/* ---- receiving */

/* Whether something has come meanwhile, or the end. */
static int look(int handle) {
    int64_t end = blocking_now() + LOOKING_NS;
    do {
        if (mproc_pipe_poll(handle, 0) != 0) return 1;
    } while (blocking_now() < end);
    return 0;
}

/* Connections that live for a few messages learn from each other. */
static struct looking *looking_of(struct connection *self, struct module_state *state) {
    if (self->waits == YOUNG) return &self->looking;
    self->waits++;
    return &state->young_connections;
}

/* Returns when something has come, or when it is time to sleep for it. 0, or BLOCKING_RAISED. */
static int look_first(struct connection *self) {
    struct module_state *state = module_state_of((PyObject *)self);
    int seen;
    if (!state) return BLOCKING_RAISED;
    struct looking *looking = looking_of(self, state);
    if (!looking_pays(looking)) return 0;
    Py_BEGIN_ALLOW_THREADS;
    seen = look(self->handle);
    Py_END_ALLOW_THREADS;
    looking_learn(looking, !seen);
    /* A signal interrupts a sleep, but not a look. */
    return !seen && PyErr_CheckSignals() < 0 ? BLOCKING_RAISED : 0;
}

/* The length of the next message, a code, or BLOCKING_RAISED. */
static int receive_header(struct connection *self, size_t *size) {
    int r;
    Py_BEGIN_ALLOW_THREADS;
    r = mproc_pipe_try_size(self->handle, size);
    Py_END_ALLOW_THREADS;
    if (r != -EAGAIN && r != -EINTR) return r;
    if (look_first(self) < 0) return BLOCKING_RAISED;
    BLOCKING(r, mproc_pipe_recv_size(self->handle, size));
    return r;
}

/* The length of the next message, at most `most`. 0, or -1 with an exception. */
static int receive_size(struct connection *self, size_t most, size_t *size) {
    int r = receive_header(self, size);
    if (r == 0 && *size <= most) return 0;
    if (r != 0) {
        not_received(r);
        return -1;
    }
    if (self->writable)
        self->readable = 0;
    else
        (void)handle_close(self);
    PyErr_SetString(PyExc_OSError, "bad message length");
    return -1;
}

/* The bytes of a message whose length has been received. */
static int receive_body(struct connection *self, void *out, size_t size) {
    int r;
    if (size == 0) return 0;
    BLOCKING(r, mproc_pipe_recv_body(self->handle, out, size));
    if (r == 0) return 0;
    not_received(r == MPROC_EEOF ? MPROC_EFRAME : r);
    return -1;
}

/* The next message as bytes, which the caller may still write to. */
static PyObject *receive(struct connection *self, size_t most) {
    size_t size;
    if (receive_size(self, most, &size) < 0) return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes && receive_body(self, PyBytes_AS_STRING(bytes), size) < 0) Py_CLEAR(bytes);
    return bytes;
}

PyDoc_STRVAR(recv_doc, "recv($self, /)\n--\n\nReceive a (picklable) object.");

static PyObject *connection_recv(PyObject *object, PyObject *unused) {
    struct connection *self = (struct connection *)object;
    struct module_state *state = module_state_of(object);
    (void)unused;
    if (!state || check_readable(self) < 0) return NULL;
    PyObject *bytes = receive(self, PY_SSIZE_T_MAX);
    if (!bytes) return NULL;
    PyObject *item =
        codec_unpickle(state, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return item;
}

PyDoc_STRVAR(recv_bytes_doc, "recv_bytes($self, maxlength=None)\n--\n\nReceive a message as bytes. "
                             "OSError if it is longer than maxlength.");

static PyObject *connection_recv_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"maxlength", NULL};
    struct connection *self = (struct connection *)object;
    PyObject *most_object = Py_None;
    Py_ssize_t most = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:recv_bytes", names, &most_object))
        return NULL;
    if (check_readable(self) < 0) return NULL;
    if (most_object != Py_None) {
        most = PyNumber_AsSsize_t(most_object, NULL);
        if (most == -1 && PyErr_Occurred()) return NULL;
        if (most < 0) {
            PyErr_SetString(PyExc_ValueError, "negative maxlength");
            return NULL;
        }
    }
    return receive(self, (size_t)most);
}

/* Raises BufferTooShort(message). */
static PyObject *too_short(struct connection *self, size_t size) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes && receive_body(self, PyBytes_AS_STRING(bytes), size) < 0) Py_CLEAR(bytes);
    if (!bytes) return NULL;
    PyObject *context = PyImport_ImportModule("mproc.context");
    PyObject *type = context ? PyObject_GetAttrString(context, "BufferTooShort") : NULL;
    if (type) PyErr_SetObject(type, bytes);
    Py_XDECREF(type);
    Py_XDECREF(context);
    Py_DECREF(bytes);
    return NULL;
}

static PyObject *receive_into(struct connection *self, const Py_buffer *view, Py_ssize_t offset) {
    size_t size;
    if (offset < 0) {
        PyErr_SetString(PyExc_ValueError, "negative offset");
        return NULL;
    }
    if (offset > view->len) {
        PyErr_SetString(PyExc_ValueError, "offset too large");
        return NULL;
    }
    if (receive_size(self, PY_SSIZE_T_MAX, &size) < 0) return NULL;
    if (size > (size_t)(view->len - offset)) return too_short(self, size);
    if (receive_body(self, (char *)view->buf + offset, size) < 0) return NULL;
    return PyLong_FromSize_t(size);
}

PyDoc_STRVAR(recv_bytes_into_doc,
             "recv_bytes_into($self, buf, offset=0)\n--\n\nReceive a message into a writable "
             "bytes-like object and return its length.\n"
             "BufferTooShort, with the message as its argument, if it does not fit.");

static PyObject *connection_recv_bytes_into(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buf", "offset", NULL};
    struct connection *self = (struct connection *)object;
    Py_buffer view;
    Py_ssize_t offset = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|n:recv_bytes_into", names, &view, &offset))
        return NULL;
    PyObject *result = check_readable(self) < 0 ? NULL : receive_into(self, &view, offset);
    PyBuffer_Release(&view);
    return result;
}

/* read(), of blocking and other descriptors. The number of bytes, 0 at the end. */
static int read_some(int handle, void *out, size_t size) {
    ssize_t n = read(handle, out, size);
    if (n < 0 && errno == EAGAIN) {
        int r = mproc_pipe_poll(handle, MPROC_FOREVER);
        if (r < 0) return r;
        n = read(handle, out, size);
    }
    if (n < 0) return errno == ECONNRESET ? 0 : -errno;
    return (int)n;
}

PyDoc_STRVAR(read_doc,
             "_read($self, most, /)\n--\n\nWait for bytes of the stream, whatever messages "
             "they belong to; return up to `most`, none at the end.");

static PyObject *connection_read(PyObject *object, PyObject *argument) {
    struct connection *self = (struct connection *)object;
    Py_ssize_t most = PyNumber_AsSsize_t(argument, PyExc_OverflowError);
    int r;
    if ((most == -1 && PyErr_Occurred()) || check_readable(self) < 0) return NULL;
    if (most <= 0 || most > READ_MOST) {
        PyErr_Format(PyExc_ValueError, "most must be between 1 and %d", READ_MOST);
        return NULL;
    }
    char bytes[READ_MOST];
    if (look_first(self) < 0) return NULL;
    BLOCKING(r, read_some(self->handle, bytes, (size_t)most));
    if (r == BLOCKING_RAISED) return NULL;
    return r < 0 ? error_raise(r) : PyBytes_FromStringAndSize(bytes, r);
}

/* ---- waiting */

PyDoc_STRVAR(poll_doc, "poll($self, timeout=0.0)\n--\n\nWhether there is something to receive, "
                       "within timeout seconds (None: for ever).");

static PyObject *connection_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames) {
    struct connection *self = (struct connection *)object;
    PyObject *seconds = NULL;
    int64_t timeout = 0;
    Py_ssize_t given = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    if (given > 1 ||
        (kwnames && PyTuple_GET_SIZE(kwnames) == 1 &&
         PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") != 0)) {
        PyErr_SetString(PyExc_TypeError, "poll() takes one argument, timeout");
        return NULL;
    }
    if (given == 1) seconds = args[0];
    if (check_readable(self) < 0) return NULL;
    if (seconds && blocking_timeout(seconds, &timeout) < 0) return NULL;
    int r;
    if (timeout == 0)
        r = mproc_pipe_poll(self->handle, 0);
    else {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_pipe_poll(self->handle, blocking_left(deadline)));
    }
    if (r == BLOCKING_RAISED) return NULL;
    return r < 0 ? error_raise(r) : PyBool_FromLong(r);
}

int connection_descriptor(struct module_state *state, PyObject *object) {
    if (PyObject_TypeCheck(object, state->connection_type)) {
        struct connection *self = (struct connection *)object;
        return check_open(self) < 0 ? -1 : self->handle;
    }
    return PyObject_AsFileDescriptor(object);
}

/* The objects that are ready, in the order in which they were given. */
static PyObject *pick(PyObject *items, const unsigned char *ready, size_t n) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n; i++)
        if (ready[i] && PyList_Append(list, PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i)) < 0)
            Py_CLEAR(list);
    return list;
}

static PyObject *wait_for(struct module_state *state, PyObject *items, int64_t timeout, int *fds,
                          unsigned char *ready) {
    size_t n = (size_t)PySequence_Fast_GET_SIZE(items);
    int64_t deadline = blocking_deadline(timeout);
    int r;
    for (size_t i = 0; i < n; i++)
        if ((fds[i] =
                 connection_descriptor(state, PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i))) < 0)
            return NULL;
    BLOCKING(r, mproc_wait(fds, n, ready, blocking_left(deadline)));
    if (r == BLOCKING_RAISED) return NULL;
    if (r < 0) return error_raise(r);
    return r == 0 ? PyList_New(0) : pick(items, ready, n);
}

PyDoc_STRVAR(wait_doc,
             "wait($module, object_list, timeout=None)\n--\n\nSee mproc.connection.wait.");

static PyObject *wait_many(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"object_list", "timeout", NULL};
    PyObject *objects, *seconds = NULL, *result = NULL;
    int64_t timeout;
    int fds_inline[WAIT_INLINE], *fds = fds_inline;
    unsigned char ready_inline[WAIT_INLINE], *ready = ready_inline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:wait", names, &objects, &seconds))
        return NULL;
    if (blocking_timeout(seconds, &timeout) < 0) return NULL;
    /* A copy: the caller's list may change while we wait. */
    PyObject *items = PySequence_Tuple(objects);
    if (!items) return NULL;
    size_t n = (size_t)PyTuple_GET_SIZE(items);
    if (n > WAIT_INLINE) {
        fds = PyMem_New(int, n);
        ready = PyMem_New(unsigned char, n);
    }
    if (fds && ready)
        result = wait_for(module_state(module), items, timeout, fds, ready);
    else
        PyErr_NoMemory();
    if (fds != fds_inline) PyMem_Free(fds);
    if (ready != ready_inline) PyMem_Free(ready);
    Py_DECREF(items);
    return result;
}

/* ---- the rest */

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\nThe connection's descriptor.");

static PyObject *connection_fileno(PyObject *object, PyObject *unused) {
    struct connection *self = (struct connection *)object;
    (void)unused;
    return check_open(self) < 0 ? NULL : PyLong_FromLong(self->handle);
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\nClose the connection. Closing it again does nothing.");

static PyObject *connection_close(PyObject *object, PyObject *unused) {
    int r = handle_close((struct connection *)object);
    (void)unused;
    if (r < 0) return error_raise(r);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(detach_doc, "_detach($self, /)\n--\n\nForget the descriptor without closing it.");

static PyObject *connection_detach(PyObject *object, PyObject *unused) {
    (void)unused;
    ((struct connection *)object)->handle = -1;
    Py_RETURN_NONE;
}

static PyObject *connection_enter(PyObject *object, PyObject *unused) {
    (void)unused;
    return Py_NewRef(object);
}

static PyObject *connection_exit(PyObject *object, PyObject *args) {
    (void)args;
    return connection_close(object, NULL);
}

PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\nSee mproc.connection.reduce_connection.");

static PyObject *connection_reduce(PyObject *object, PyObject *unused) {
    (void)unused;
    PyObject *module = PyImport_ImportModule("mproc.connection");
    PyObject *result =
        module ? PyObject_CallMethod(module, "reduce_connection", "O", object) : NULL;
    Py_XDECREF(module);
    return result;
}

static PyObject *get_handle(PyObject *object, void *closure) {
    struct connection *self = (struct connection *)object;
    (void)closure;
    if (self->handle < 0) Py_RETURN_NONE;
    return PyLong_FromLong(self->handle);
}

static int set_handle(PyObject *object, PyObject *value, void *closure) {
    struct connection *self = (struct connection *)object;
    (void)closure;
    int handle = !value || value == Py_None ? -1 : PyObject_AsFileDescriptor(value);
    if (handle < 0 && PyErr_Occurred()) return -1;
    self->handle = handle;
    return 0;
}

static PyObject *get_closed(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(((struct connection *)object)->handle < 0);
}

static PyGetSetDef connection_getset[] = {
    {"_handle", get_handle, set_handle, PyDoc_STR("The descriptor, or None."), NULL},
    {"closed", get_closed, NULL, PyDoc_STR("True if the connection is closed."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef connection_members[] = {
    {"readable", T_BOOL, offsetof(struct connection, readable), READONLY,
     PyDoc_STR("True if one can receive.")},
    {"writable", T_BOOL, offsetof(struct connection, writable), READONLY,
     PyDoc_STR("True if one can send.")},
    {"_readable", T_BOOL, offsetof(struct connection, readable), 0, NULL},
    {"_writable", T_BOOL, offsetof(struct connection, writable), 0, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct connection, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef connection_methods[] = {
    {"send", connection_send, METH_O, send_doc},
    {"send_bytes", (PyCFunction)(void (*)(void))connection_send_bytes, METH_VARARGS | METH_KEYWORDS,
     send_bytes_doc},
    {"recv", connection_recv, METH_NOARGS, recv_doc},
    {"recv_bytes", (PyCFunction)(void (*)(void))connection_recv_bytes, METH_VARARGS | METH_KEYWORDS,
     recv_bytes_doc},
    {"recv_bytes_into", (PyCFunction)(void (*)(void))connection_recv_bytes_into,
     METH_VARARGS | METH_KEYWORDS, recv_bytes_into_doc},
    {"_read", connection_read, METH_O, read_doc},
    {"poll", (PyCFunction)(void (*)(void))connection_poll, METH_FASTCALL | METH_KEYWORDS, poll_doc},
    {"fileno", connection_fileno, METH_NOARGS, fileno_doc},
    {"close", connection_close, METH_NOARGS, close_doc},
    {"_detach", connection_detach, METH_NOARGS, detach_doc},
    {"__enter__", connection_enter, METH_NOARGS, NULL},
    {"__exit__", connection_exit, METH_VARARGS, NULL},
    {"__reduce__", connection_reduce, METH_NOARGS, reduce_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(connection_doc, "Connection(handle, readable=True, writable=True)\n--\n\n"
                             "One end of a pipe or socket, that sends and receives objects. It "
                             "owns the descriptor `handle`.");

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, (void *)connection_doc},
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

PyDoc_STRVAR(
    pipe_doc,
    "pipe($module, duplex, /)\n--\n\nTwo connected Connections; see mproc.connection.Pipe.");

static PyObject *end_new(struct module_state *state, int handle, int readable, int writable) {
    struct connection *self =
        (struct connection *)state->connection_type->tp_alloc(state->connection_type, 0);
    if (!self) {
        close(handle);
        return NULL;
    }
    self->handle = handle;
    self->readable = (char)readable;
    self->writable = (char)writable;
    return (PyObject *)self;
}

static PyObject *pipe_new(PyObject *module, PyObject *argument) {
    struct module_state *state = module_state(module);
    int ends[2], duplex = PyObject_IsTrue(argument);
    if (duplex < 0) return NULL;
    int r = mproc_pipe_new(ends, duplex);
    if (r < 0) return error_raise(r);
    PyObject *first = end_new(state, ends[0], 1, duplex);
    PyObject *second = end_new(state, ends[1], duplex, 1);
    PyObject *pair = first && second ? PyTuple_Pack(2, first, second) : NULL;
    Py_XDECREF(first);
    Py_XDECREF(second);
    return pair;
}

static PyMethodDef functions[] = {
    {"pipe", pipe_new, METH_O, pipe_doc},
    {"wait", (PyCFunction)(void (*)(void))wait_many, METH_VARARGS | METH_KEYWORDS, wait_doc},
    {NULL, NULL, 0, NULL},
};

int connection_add(PyObject *module) {
    struct module_state *state = module_state(module);
    if (PyModule_AddFunctions(module, functions) < 0) return -1;
    return module_add_type(module, &connection_spec, &state->connection_type, 1);
}
