/*
 * queue.c - mproc._mproc.Queue and SimpleQueue: the hot path of mproc.queues
 *
 * SPDX-License-Identifier: MIT
 *
 * put() encodes in the caller, so an object that cannot be sent is an error of that call. get()
 * decodes out of a buffer on its stack, or, for a large message, out of the arena itself. Both
 * first try with the interpreter's lock held, and release it only to wait, or to copy much.
 */
#include "acquire.h"
#include "arguments.h"
#include "codec.h"

/* From this size on, other threads may run while bytes are copied. */
#define COPY_UNLOCKED (1 << 16)

#define UNMADE 2 /* __init__ has not run: there is no queue yet */

struct queue {
    struct handle handle;
    Py_ssize_t maxsize;
    int closed;   /* 1: this process will not use the queue any more, others may; or UNMADE */
    char watched; /* _changed() is to be called after each put and get: a descriptor goes by it */
};

static mproc_queue *queue_of(PyObject *self) {
    return handle_object(self);
}

static struct queue *fields(PyObject *self) {
    return (struct queue *)self;
}

static uint64_t count(PyObject *self) {
    return fields(self)->closed == UNMADE ? 0 : mproc_queue_count(queue_of(self));
}

/* ---------------------------------------------------------------- errors */

static PyObject *raise_closed(PyObject *self) {
    if (fields(self)->closed == UNMADE) {
        return PyErr_Format(PyExc_RuntimeError, "%s.__init__() was not called",
                            Py_TYPE(self)->tp_name);
    }
    return PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
}

static PyObject *raise_handle_closed(PyObject *self) {
    if (fields(self)->closed == UNMADE) {
        return raise_closed(self);
    }
    PyErr_SetString(PyExc_OSError, "handle is closed");
    return NULL;
}

/* After a put or a get: tells the descriptor that is readable while a message is there. */
static int tell(PyObject *self) {
    PyObject *r = PyObject_CallMethod(self, "_changed", NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* ---------------------------------------------------------------- put */

static int put_message(mproc_queue *queue, struct message *message, int64_t timeout) {
    int r = -ETIMEDOUT;
    if (message->size < COPY_UNLOCKED) {
        r = mproc_queue_putv(queue, message->iov, message->niov, 0);
        if (r != -ETIMEDOUT || timeout == 0) {
            return r;
        }
    }
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, mproc_queue_putv(queue, message->iov, message->niov, blocking_left(deadline)));
    return r;
}

static int put_object(PyObject *self, struct module_state *state, PyObject *object,
                      int64_t timeout) {
    struct message message;
    if (codec_encode(state, object, &message) < 0) {
        return BLOCKING_RAISED;
    }
    int r = put_message(queue_of(self), &message, timeout);
    message_clear(&message);
    return r;
}

static PyObject *put(PyObject *self, PyObject *object, int64_t timeout) {
    struct module_state *state = module_state_of(self);
    int r = state == NULL ? BLOCKING_RAISED : put_object(self, state, object, timeout);
    switch (r) {
    case 0: return fields(self)->watched && tell(self) < 0 ? NULL : Py_NewRef(Py_None);
    case -ETIMEDOUT: return module_raise(state, MODULE_FULL, NULL);
    case BLOCKING_RAISED: return NULL;
    case MPROC_ECLOSED: return raise_closed(self);
    default: return error_raise_for(r, "put()");
    }
}

/* ---------------------------------------------------------------- get */

static int get_message(mproc_queue *queue, mproc_message *message, int64_t timeout) {
    int r = mproc_queue_get(queue, message, 0);
    if (r != -ETIMEDOUT || timeout == 0) {
        return r;
    }
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, mproc_queue_get(queue, message, blocking_left(deadline)));
    return r;
}

static PyObject *get(PyObject *self, int64_t timeout) {
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    struct module_state *state = module_state_of(self);
    if (state == NULL) {
        return NULL;
    }
    int r = get_message(queue_of(self), &message, timeout);
    if (r == 0) {
        PyObject *object = codec_decode(state, message.data, message.size);
        mproc_message_drop(&message);
        if (fields(self)->watched && object != NULL && tell(self) < 0) {
            Py_CLEAR(object);
        }
        return object;
    }
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return r == -ETIMEDOUT ? module_raise(state, MODULE_EMPTY, NULL) : error_raise(r);
}

/* ---------------------------------------------------------------- Queue */

/* __new__ takes whatever a subclass' __init__ takes; the queue is made by __init__. */
static PyObject *queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs)) {
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        fields(self)->closed = UNMADE;
    }
    return self;
}

static int make(PyObject *self, Py_ssize_t maxsize) {
    struct queue *queue = fields(self);
    mproc_queue *fresh;
    int r = mproc_queue_new(&fresh, maxsize > 0 ? (uint64_t)maxsize : 0);
    if (r != 0) {
        (void)error_raise(r);
        return -1;
    }
    mproc_drop(queue->handle.object);
    queue->handle.object = fresh;
    queue->maxsize = maxsize > 0 ? maxsize : 0;
    queue->closed = 0;
    return 0;
}

static int queue_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    Py_ssize_t maxsize = 0;
    PyObject *ctx = NULL; /* a subclass' business */
    static char *names[] = {"maxsize", "ctx", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n$O:Queue", names, &maxsize, &ctx)) {
        return -1;
    }
    return make(self, maxsize);
}

static PyObject *queue_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *names) {
    int64_t timeout = MPROC_FOREVER;
    PyObject *object = nargs == 1 && names == NULL ? args[0] : NULL;
    if (object == NULL) {
        static const char *const keywords[] = {"obj", "block", "timeout"};
        PyObject *values[3];
        if (arguments_spread("put", keywords, values, 3, args, nargs, names) < 0 ||
            acquire_block_timeout(values[1], values[2], &timeout) < 0) {
            return NULL;
        }
        object = values[0];
        if (object == NULL) {
            PyErr_SetString(PyExc_TypeError, "put() missing 1 required argument: 'obj'");
            return NULL;
        }
    }
    return fields(self)->closed ? raise_closed(self) : put(self, object, timeout);
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *object) {
    return fields(self)->closed ? raise_closed(self) : put(self, object, 0);
}

static PyObject *queue_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *names) {
    int64_t timeout = MPROC_FOREVER;
    if (nargs > 0 || names != NULL) {
        static const char *const keywords[] = {"block", "timeout"};
        PyObject *values[2];
        if (arguments_spread("get", keywords, values, 2, args, nargs, names) < 0 ||
            acquire_block_timeout(values[0], values[1], &timeout) < 0) {
            return NULL;
        }
    }
    return fields(self)->closed ? raise_closed(self) : get(self, timeout);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return fields(self)->closed ? raise_closed(self) : get(self, 0);
}

static PyObject *queue_qsize(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLongLong(count(self));
}

static PyObject *queue_empty(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(count(self) == 0);
}

static PyObject *queue_full(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_ssize_t maxsize = fields(self)->maxsize;
    return PyBool_FromLong(maxsize > 0 && count(self) >= (uint64_t)maxsize);
}

static PyObject *queue_close(PyObject *self, PyObject *Py_UNUSED(unused)) {
    fields(self)->closed = 1;
    Py_RETURN_NONE;
}

/* _await(timeout): whether there is a message, which is left there. */
static PyObject *queue_await(PyObject *self, PyObject *seconds) {
    int64_t timeout;
    if (fields(self)->closed == UNMADE) {
        return raise_closed(self);
    }
    if (blocking_timeout(seconds, &timeout) < 0) {
        return NULL;
    }
    int r = mproc_queue_wait(queue_of(self), 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_queue_wait(queue_of(self), blocking_left(deadline)));
    }
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return r == 0 || r == -ETIMEDOUT ? PyBool_FromLong(r == 0) : error_raise(r);
}

/* _another(): a Queue that is the same queue, with a hold of its own. */
static PyObject *queue_another(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct module_state *state = module_state_of(self);
    if (state == NULL || fields(self)->closed == UNMADE) {
        return state == NULL ? NULL : raise_closed(self);
    }
    int r = mproc_hold(queue_of(self));
    return handle_new((PyTypeObject *)state->queue_type, r, queue_of(self));
}

static PyObject *get_watched(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(fields(self)->watched);
}

static int set_watched(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    int watched = value == NULL ? 0 : PyObject_IsTrue(value);
    if (watched >= 0) {
        fields(self)->watched = (char)watched;
    }
    return watched < 0 ? -1 : 0;
}

#define WATCHING                                                                                   \
    {"_await", queue_await, METH_O,                                                                \
     "_await($self, timeout, /)\n--\n\nWait until an object is there; whether it is."},            \
    {                                                                                              \
        "_another", queue_another, METH_NOARGS,                                                    \
            "_another($self, /)\n--\n\nThe same queue, with a hold of its own."                    \
    }
#define WATCHED                                                                                    \
    { "_watched", get_watched, set_watched, "Whether put and get call _changed().", NULL }

static PyObject *get_maxsize(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(fields(self)->maxsize);
}

static int set_maxsize(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    Py_ssize_t maxsize = value == NULL ? 0 : PyLong_AsSsize_t(value);
    if (maxsize == -1 && PyErr_Occurred()) {
        return -1;
    }
    fields(self)->maxsize = maxsize;
    return 0;
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(fields(self)->closed);
}

/* These two are JoinableQueue's; any queue counts what is put and what is done. */
static PyObject *queue_task_done(PyObject *self, PyObject *Py_UNUSED(unused)) {
    if (fields(self)->closed == UNMADE) {
        return raise_closed(self);
    }
    if (mproc_queue_task_done(queue_of(self)) != 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *queue_join(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r;
    if (fields(self)->closed == UNMADE) {
        return raise_closed(self);
    }
    BLOCKING(r, mproc_queue_join(queue_of(self), MPROC_FOREVER));
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef queue_methods[] = {
    {"put", MODULE_METHOD(queue_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, obj, block=True, timeout=None)\n--\n\n"
     "Append an object. When put() has returned, the object is in the queue, whatever happens to\n"
     "this process. Raises what pickling obj raises; queue.Full if there is no room in time\n"
     "(seconds); ValueError after close(); MemoryError if the arena is exhausted."},
    {"get", MODULE_METHOD(queue_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\n"
     "Take the oldest object. queue.Empty if there is none in time (seconds)."},
    {"put_nowait", queue_put_nowait, METH_O, "put_nowait($self, obj, /)\n--\n\nput(obj, False)."},
    {"get_nowait", queue_get_nowait, METH_NOARGS, "get_nowait($self, /)\n--\n\nget(False)."},
    {"qsize", queue_qsize, METH_NOARGS,
     "qsize($self, /)\n--\n\nObjects in the queue at this moment."},
    {"empty", queue_empty, METH_NOARGS,
     "empty($self, /)\n--\n\nTrue if there was nothing in it just now."},
    {"full", queue_full, METH_NOARGS,
     "full($self, /)\n--\n\nTrue if maxsize objects were in it just now."},
    {"close", queue_close, METH_NOARGS,
     "close($self, /)\n--\n\nThis process will not use the queue any more; others may."},
    {"_task_done", queue_task_done, METH_NOARGS,
     "_task_done($self, /)\n--\n\n"
     "Report that an object that was got has been worked on. ValueError: once too often."},
    {"_join", queue_join, METH_NOARGS,
     "_join($self, /)\n--\n\nWait until all that was put has been reported done."},
    WATCHING,
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    WATCHED,
    HANDLE_ADDRESS,
    {"_maxsize", get_maxsize, set_maxsize, "Most objects at a time; 0: no bound.", NULL},
    {"_closed", get_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "First in, first out, for any number of processes."},
    {Py_tp_new, (void *)queue_new},
    {Py_tp_init, (void *)queue_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "mproc._mproc.Queue",
    .basicsize = sizeof(struct queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = queue_slots,
};

/* ---------------------------------------------------------------- SimpleQueue */

static int simple_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *ctx = NULL;
    static char *names[] = {"ctx", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:SimpleQueue", names, &ctx)) {
        return -1;
    }
    return make(self, 0);
}

static PyObject *simple_put(PyObject *self, PyObject *object) {
    return fields(self)->closed ? raise_handle_closed(self) : put(self, object, MPROC_FOREVER);
}

static PyObject *simple_get(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return fields(self)->closed ? raise_handle_closed(self) : get(self, MPROC_FOREVER);
}

static PyObject *simple_empty(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return fields(self)->closed ? raise_handle_closed(self) : queue_empty(self, NULL);
}

static PyMethodDef simple_methods[] = {
    {"put", simple_put, METH_O,
     "put($self, obj, /)\n--\n\nAppend an object; raises what pickling it raises."},
    {"get", simple_get, METH_NOARGS, "get($self, /)\n--\n\nTake the oldest object; waits for one."},
    {"empty", simple_empty, METH_NOARGS,
     "empty($self, /)\n--\n\nTrue if there was nothing in it just now."},
    {"close", queue_close, METH_NOARGS,
     "close($self, /)\n--\n\nThis process will not use the queue any more."},
    WATCHING,
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef simple_getset[] = {
    WATCHED,
    HANDLE_ADDRESS,
    {"_closed", get_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot simple_slots[] = {
    {Py_tp_doc, "A queue with little more than put() and get()."},
    {Py_tp_new, (void *)queue_new},
    {Py_tp_init, (void *)simple_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, simple_methods},
    {Py_tp_getset, simple_getset},
    {0, NULL},
};

static PyType_Spec simple_spec = {
    .name = "mproc._mproc.SimpleQueue",
    .basicsize = sizeof(struct queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = simple_slots,
};

int queue_add(PyObject *module) {
    struct module_state *state = module_state(module);
    if (module_add_type(module, &queue_spec, &state->queue_type, 1) < 0) {
        return -1;
    }
    return module_add_type(module, &simple_spec, &state->simple_queue_type, 1);
}
