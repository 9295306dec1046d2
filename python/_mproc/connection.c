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
#include "connection.h"
#include "arguments.h"
#include "error.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <structmember.h>
#include <unistd.h>

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

static void connection_dealloc(PyObject *object);

static PyObject *make(PyTypeObject *type, int handle, int readable, int writable) {
    PyObject *module = PyType_GetModuleByDef(type, &module_definition);
    struct connection *self = module != NULL ? (struct connection *)type->tp_alloc(type, 0) : NULL;
    int is_derived = type->tp_dealloc != connection_dealloc;
    if (self != NULL) {
        self->state = module_state(module);
        self->by_parts = is_derived && PyObject_HasAttrString((PyObject *)type, "_by_parts");
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

int connection_shut(struct connection *self) {
    int handle = threads_exchange(&self->handle, -1), r = 0;
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
    (void)connection_shut(self);
    (void)mproc_drop(self->channel);
    PyErr_Restore(error, value, traceback);
    type->tp_free(object);
    Py_DECREF(type);
}

int connection_make_plain(struct connection *self) {
    mproc_channel *channel = connection_channel(self);
    int r, handle = connection_handle(self);
    if (channel == NULL || handle < 0) {
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS;
    r = mproc_channel_plain(channel, self->side, handle);
    Py_END_ALLOW_THREADS;
    if (r == 0 || r == MPROC_EOTHER) {
        THREADS_STORE(self->plain, 1);
        return 0;
    }
    error_raise(r);
    return -1;
}

/* ---------------------------------------------------------------- checks */

int connection_require_open(struct connection *self) {
    int handle = connection_handle(self);
    if (handle < 0) {
        PyErr_SetString(PyExc_OSError, "handle is closed");
    }
    return handle;
}

int connection_require_readable(struct connection *self) {
    int handle = connection_require_open(self);
    if (handle < 0 || THREADS_LOAD(self->readable)) {
        return handle;
    }
    PyErr_SetString(PyExc_OSError, "connection is write-only");
    return -1;
}

int connection_require_writable(struct connection *self) {
    int handle = connection_require_open(self);
    if (handle < 0 || THREADS_LOAD(self->writable)) {
        return handle;
    }
    PyErr_SetString(PyExc_OSError, "connection is read-only");
    return -1;
}

/* ---------------------------------------------------------------- the rest */

static PyObject *connection_check_closed(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return connection_require_open(connection_of(object)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *connection_check_readable(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    return connection_handle(self) >= 0 && connection_require_readable(self) < 0
               ? NULL
               : Py_NewRef(Py_None);
}

static PyObject *connection_check_writable(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    return connection_handle(self) >= 0 && connection_require_writable(self) < 0
               ? NULL
               : Py_NewRef(Py_None);
}

static PyObject *connection_fileno(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    int handle = connection_require_open(self);
    return handle < 0 || connection_make_plain(self) < 0 ? NULL : PyLong_FromLong(handle);
}

static PyObject *connection_close(PyObject *object, PyObject *Py_UNUSED(unused)) {
    int r = connection_shut(connection_of(object));
    if (r < 0) {
        return error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *connection_detach(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    if (connection_make_plain(self) < 0) {
        return NULL;
    }
    THREADS_STORE(self->handle, -1);
    Py_RETURN_NONE;
}

static PyObject *connection_enter(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return Py_NewRef(object);
}

/* Of a subclass that overrides it, too. */
static PyObject *connection_exit(PyObject *object, PyObject *Py_UNUSED(args)) {
    return connection_of(object)->by_parts ? PyObject_CallMethod(object, "close", NULL)
                                           : connection_close(object, NULL);
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
    int handle = connection_handle(self);
    if (handle < 0) {
        Py_RETURN_NONE;
    }
    return connection_make_plain(self) < 0 ? NULL : PyLong_FromLong(handle);
}

static int set_handle(PyObject *object, PyObject *value, void *Py_UNUSED(unused)) {
    struct connection *self = connection_of(object);
    int handle = value == NULL || value == Py_None ? -1 : PyObject_AsFileDescriptor(value);
    if (handle < 0 && PyErr_Occurred()) {
        return -1;
    }
    if (connection_make_plain(self) < 0) {
        return -1;
    }
    THREADS_STORE(self->plain, 1);
    THREADS_STORE(self->handle, handle);
    return 0;
}

static PyObject *get_closed(PyObject *object, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(connection_handle(connection_of(object)) < 0);
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
    int handle = connection_require_open(self);
    if (handle < 0) {
        return NULL;
    }
    mproc_channel *channel = connection_channel(self);
    if (channel == NULL || mproc_holds(channel) == 0) { /* a forked child that is no member */
        Py_RETURN_NONE;
    }
    return Py_BuildValue("iNi", handle, PyLong_FromVoidPtr(channel), self->side);
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

/* ---------------------------------------------------------------- methods by parts */

/* Calls MODULE.NAME(first, *args, **kwargs); args may be NULL. */
static PyObject *call_in(const char *module_name, const char *name, PyObject *first, PyObject *args,
                         PyObject *kwargs) {
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *function = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    PyObject *all = function != NULL ? PyTuple_Pack(1, first) : NULL;
    if (all != NULL && args != NULL) {
        Py_SETREF(all, PySequence_Concat(all, args));
    }
    PyObject *result = all != NULL ? PyObject_Call(function, all, kwargs) : NULL;
    Py_XDECREF(all);
    Py_XDECREF(function);
    Py_XDECREF(module);
    return result;
}

/* A subclass may override parts of the methods: see mproc._overriding. */
static PyObject *connection_init_subclass(PyObject *cls, PyObject *Py_UNUSED(args),
                                          PyObject *kwargs) {
    return call_in("mproc._overriding", "init_connection_subclass", cls, NULL, kwargs);
}

static PyObject *by_parts(const char *name, PyObject *object, PyObject *args, PyObject *kwargs) {
    return call_in("mproc._overriding.connections", name, object, args, kwargs);
}

static PyObject *by_parts_of(const char *name, PyObject *object, const char *format, ...) {
    va_list values;
    va_start(values, format);
    PyObject *args = Py_VaBuildValue(format, values);
    va_end(values);
    PyObject *result = args != NULL ? by_parts(name, object, args, NULL) : NULL;
    Py_XDECREF(args);
    return result;
}

static PyObject *method_send(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names) {
    PyObject *item = arguments_one("send", "obj", args, nargs, names);
    if (item == NULL) {
        return NULL;
    }
    return connection_of(object)->by_parts ? by_parts_of("send", object, "(O)", item)
                                           : connection_send(object, item);
}

static PyObject *method_recv(PyObject *object, PyObject *unused) {
    return connection_of(object)->by_parts ? by_parts_of("recv", object, "()")
                                           : connection_recv(object, unused);
}

static PyObject *method_send_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    return connection_of(object)->by_parts ? by_parts("send_bytes", object, args, kwargs)
                                           : connection_send_bytes(object, args, kwargs);
}

static PyObject *method_recv_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    return connection_of(object)->by_parts ? by_parts("recv_bytes", object, args, kwargs)
                                           : connection_recv_bytes(object, args, kwargs);
}

static PyObject *method_recv_bytes_into(PyObject *object, PyObject *args, PyObject *kwargs) {
    return connection_of(object)->by_parts ? by_parts("recv_bytes_into", object, args, kwargs)
                                           : connection_recv_bytes_into(object, args, kwargs);
}

static PyObject *method_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names) {
    static const char *const keywords[] = {"timeout"};
    PyObject *timeout;
    if (!connection_of(object)->by_parts) {
        return connection_poll(object, args, nargs, names);
    }
    if (arguments_spread("poll", keywords, &timeout, 1, args, nargs, names) < 0) {
        return NULL;
    }
    return timeout == NULL ? by_parts_of("poll", object, "()")
                           : by_parts_of("poll", object, "(O)", timeout);
}

static PyMethodDef connection_methods[] = {
    {"send", MODULE_METHOD(method_send), METH_FASTCALL | METH_KEYWORDS,
     "send($self, obj)\n--\n\nSend a (picklable) object."},
    {"send_bytes", MODULE_METHOD(method_send_bytes), METH_VARARGS | METH_KEYWORDS,
     "send_bytes($self, buf, offset=0, size=None)\n--\n\n"
     "Send the bytes of a bytes-like object as one message."},
    {"recv", method_recv, METH_NOARGS, "recv($self, /)\n--\n\nReceive a (picklable) object."},
    {"recv_bytes", MODULE_METHOD(method_recv_bytes), METH_VARARGS | METH_KEYWORDS,
     "recv_bytes($self, maxlength=None)\n--\n\n"
     "Receive a message as bytes. OSError if it is longer than maxlength."},
    {"recv_bytes_into", MODULE_METHOD(method_recv_bytes_into), METH_VARARGS | METH_KEYWORDS,
     "recv_bytes_into($self, buf, offset=0)\n--\n\n"
     "Receive a message into a writable bytes-like object and return its length.\n"
     "BufferTooShort, with the message as its argument, if it does not fit."},
    {"_read", connection_read, METH_O,
     "_read($self, most, /)\n--\n\n"
     "Wait for bytes of the stream, whatever messages they belong to; return up to `most`, none at "
     "the end."},
    {"poll", MODULE_METHOD(method_poll), METH_FASTCALL | METH_KEYWORDS,
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
    {"__init_subclass__", MODULE_METHOD(connection_init_subclass),
     METH_VARARGS | METH_KEYWORDS | METH_CLASS, NULL},
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

/* Borrowed; NULL with an exception. */
static PyTypeObject *type_of_ends(PyObject *module) {
    struct module_state *state = module_state(module);
    if (state->connection_type == NULL && connection_type_add(module) < 0) {
        return NULL;
    }
    return state->connection_type;
}

static PyObject *pipe_new(PyObject *module, PyObject *argument) {
    PyTypeObject *type = type_of_ends(module);
    int ends[2], duplex = PyObject_IsTrue(argument);
    mproc_channel *channel;
    if (type == NULL || duplex < 0) {
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
    {"wait", MODULE_METHOD(connection_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($module, object_list, timeout=None)\n--\n\nSee mproc.connection.wait."},
    {NULL, NULL, 0, NULL},
};

int connection_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}

int connection_type_add(PyObject *module) {
    return module_add_type(module, &connection_spec, &module_state(module)->connection_type, 1);
}
