/*
 * queue.c - mproc._mproc.Queue and SimpleQueue: the hot path of mproc.queues
 *
 * SPDX-License-Identifier: MIT
 *
 * put() encodes in the caller, so an object that cannot be sent is an error of that call. get()
 * decodes out of a buffer on its stack, or, for a large message, out of the arena itself. Both
 * first try with the interpreter's lock held, and release it only to wait, or to copy much.
 *
 * put_many() encodes some objects, puts their messages by as few calls of the core as it takes, and
 * goes on with the next ones. get_many() takes what is there, some messages a call of the core. To
 * others that is the same as several puts or gets: what a call of the core has put stays.
 */
#include "acquire.h"
#include "arguments.h"
#include "codec.h"

#include <stdbool.h>

/* From this size on, other threads may run while bytes are copied. */
#define COPY_UNLOCKED (1 << 16)

#define PUT_BATCH 32        /* messages that put_many() has in its hands at most */
#define PUT_BYTES (1 << 14) /* and their bytes, of all but the last one */
#define GET_BATCH 64        /* messages that get_many() takes by one call of the core at most */
#define GET_ROOM 256 /* bytes of all but the first; a larger one is the first of the next call */

#define UNMADE 2 /* __init__ has not run: there is no queue yet */

struct queue {
    struct handle handle;
    Py_ssize_t maxsize;
    int closed;   /* 1: this process will not use the queue any more, others may; or UNMADE */
    char watched; /* _changed() is to be called after each put and get: a descriptor goes by it */
    char is_fork_ctx; /* made by the context of fork, whose children inherit it: never pickled */
    struct module_state *state; /* NULL: not looked up yet; the type keeps its module alive */
};

static mproc_queue *queue_of(PyObject *self) {
    return handle_object(self);
}

static struct queue *fields(PyObject *self) {
    return (struct queue *)self;
}

/* The module's state. Python looks it up along the base classes, which takes a tenth of a put. NULL
 * with an exception. */
static struct module_state *state_of(PyObject *self) {
    struct queue *queue = fields(self);
    struct module_state *state = THREADS_LOAD(queue->state);
    if (state == NULL) {
        state = module_state_of(self);
        THREADS_STORE(queue->state, state);
    }
    return state;
}

/* 0, 1 or UNMADE: see above. */
static int is_closed(PyObject *self) {
    return THREADS_LOAD(fields(self)->closed);
}

static bool is_watched(PyObject *self) {
    return THREADS_LOAD(fields(self)->watched);
}

static Py_ssize_t maxsize_of(PyObject *self) {
    return THREADS_LOAD(fields(self)->maxsize);
}

static uint64_t count(PyObject *self) {
    return is_closed(self) == UNMADE ? 0 : mproc_queue_count(queue_of(self));
}

/* ---------------------------------------------------------------- errors */

static PyObject *raise_closed(PyObject *self) {
    if (is_closed(self) == UNMADE) {
        return PyErr_Format(PyExc_RuntimeError, "%s.__init__() was not called",
                            Py_TYPE(self)->tp_name);
    }
    return PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
}

static PyObject *raise_handle_closed(PyObject *self) {
    if (is_closed(self) == UNMADE) {
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

static int put_with_parts(mproc_queue *queue, const struct message *message, int64_t timeout) {
    return mproc_queue_put_with(queue, message->iov, message->niov, message->parts.buffers,
                                message->parts.nbuffers, timeout);
}

/* Without waiting; a message of one piece has the core's shorter way. */
static int try_put(mproc_queue *queue, const struct message *message) {
    const struct iovec *iov = message->iov;
    if (message->parts.n > 0) {
        return put_with_parts(queue, message, 0);
    }
    return message->niov == 1 ? mproc_queue_put(queue, iov->iov_base, iov->iov_len, 0)
                              : mproc_queue_putv(queue, iov, message->niov, 0);
}

static int put_waiting(mproc_queue *queue, const struct message *message, int64_t timeout) {
    return message->parts.n > 0 ? put_with_parts(queue, message, timeout)
                                : mproc_queue_putv(queue, message->iov, message->niov, timeout);
}

static int put_message(mproc_queue *queue, struct message *message, int64_t timeout) {
    int r = -ETIMEDOUT;
    if (message->size < COPY_UNLOCKED) {
        TRYING(r, try_put(queue, message));
        if (r != -ETIMEDOUT || timeout == 0) {
            return r;
        }
    }
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, put_waiting(queue, message, blocking_left(deadline)));
    return r;
}

static bool is_boundless(PyObject *self) {
    uint64_t most_bytes = 0;
    (void)mproc_queue_bytes(queue_of(self), &most_bytes);
    return maxsize_of(self) == 0 && most_bytes == 0;
}

static int put_object(PyObject *self, struct module_state *state, PyObject *object,
                      int64_t timeout) {
    struct message message;
    if (codec_encode_with_parts(state, object, &message, PARTS_ALL) < 0) {
        error_explain(object, "obj");
        return BLOCKING_RAISED;
    }
    /* One without a bound is never full: if it cannot be entered, somebody who is stopped is in the
     * way, and nobody expects Full. */
    bool waits = timeout == 0 && is_boundless(self);
    int r = put_message(queue_of(self), &message, waits ? -1 : timeout);
    message_clear(&message);
    return r;
}

static PyObject *put_result(PyObject *self, struct module_state *state, int r, const char *who) {
    switch (r) {
    case 0: return is_watched(self) && tell(self) < 0 ? NULL : Py_NewRef(Py_None);
    case -ETIMEDOUT: return module_raise(state, MODULE_FULL, NULL);
    case BLOCKING_RAISED: return NULL;
    case MPROC_ECLOSED: return module_raise(state, MODULE_SHUT_DOWN, NULL);
    default: return error_raise_for(r, who);
    }
}

static PyObject *put(PyObject *self, PyObject *object, int64_t timeout) {
    struct module_state *state = state_of(self);
    int r = state == NULL ? BLOCKING_RAISED : put_object(self, state, object, timeout);
    return put_result(self, state, r, "put()");
}

/* ---------------------------------------------------------------- put many */

struct outbox {
    int n;                          /* messages that are encoded */
    int put;                        /* how many of them are in the queue */
    struct iovec pieces[PUT_BATCH]; /* the first of each message */
    struct message messages[PUT_BATCH];
};

/* Encodes the next objects. 1: more may follow; 0: these were all; -1 with an exception: the
 * iterator's, or that of an object that cannot be sent. */
static int outbox_fill(struct outbox *box, struct module_state *state, PyObject *iterator) {
    size_t bytes = 0;
    while (box->n < PUT_BATCH && bytes < PUT_BYTES) {
        struct message *message = &box->messages[box->n];
        PyObject *object = PyIter_Next(iterator);
        if (object == NULL) {
            return PyErr_Occurred() ? -1 : 0;
        }
        int r = codec_encode_with_parts(state, object, message, PARTS_ALL);
        if (r < 0) {
            error_explain(object, "obj");
        }
        Py_DECREF(object);
        if (r < 0) {
            return -1;
        }
        box->pieces[box->n++] = message->iov[0];
        bytes += message->size;
    }
    return 1;
}

/* How many messages, from the next one on, can be put together. */
static size_t outbox_run(const struct outbox *box) {
    int i = box->put;
    while (i < box->n && box->messages[i].niov == 1 && box->messages[i].parts.n == 0 &&
           box->messages[i].size <= MPROC_MESSAGE_INLINE) {
        i++;
    }
    return (size_t)(i - box->put);
}

static int put_run(mproc_queue *queue, struct outbox *box, size_t n, int64_t deadline) {
    size_t put = 0;
    int r;
    TRYING(r, mproc_queue_put_many(queue, box->pieces + box->put, n, &put, 0));
    if (r == -ETIMEDOUT && deadline != 0) {
        BLOCKING(r, mproc_queue_put_many(queue, box->pieces + box->put, n, &put,
                                         blocking_left(deadline)));
    }
    box->put += (int)put;
    return r;
}

static int outbox_send(struct outbox *box, mproc_queue *queue, int64_t deadline) {
    int r = 0;
    while (r == 0 && box->put < box->n) {
        size_t n = outbox_run(box);
        if (n > 0) {
            r = put_run(queue, box, n, deadline);
        } else {
            r = put_message(queue, &box->messages[box->put], blocking_left(deadline));
            box->put += r == 0;
        }
    }
    return r;
}

static void outbox_clear(struct outbox *box) {
    for (int i = 0; i < box->n; i++) {
        message_clear(&box->messages[i]);
    }
    box->n = box->put = 0;
}

/* How far a put_many() has come: objects that are in the queue, and that were asked for. */
struct progress {
    Py_ssize_t put, asked;
};

/* Puts some objects. 1: more may follow; 0: done; BLOCKING_RAISED or a negative code. An object
 * that cannot be sent ends the call when those before it have been put, as long as that takes; an
 * interrupt does not wait for them. */
static int put_some(PyObject *self, struct module_state *state, struct outbox *box,
                    PyObject *iterator, int64_t deadline, struct progress *progress) {
    int more = outbox_fill(box, state, iterator);
    bool patient = more >= 0 || PyErr_ExceptionMatches(PyExc_Exception);
    PyObject *error = more < 0 ? error_take() : NULL;
    int r = outbox_send(box, queue_of(self), patient ? deadline : 0);
    progress->asked = progress->put + (more < 0 ? box->n : box->put);
    progress->put += box->put;
    outbox_clear(box);
    if (error == NULL) {
        return r == 0 ? more : r;
    }
    if (r == BLOCKING_RAISED) { /* a signal handler's exception comes first */
        Py_DECREF(error);
        return r;
    }
    error_give_back(error);
    return BLOCKING_RAISED;
}

static int put_all(PyObject *self, struct module_state *state, PyObject *iterator, int64_t timeout,
                   struct progress *progress) {
    int64_t deadline = blocking_deadline(timeout);
    struct outbox *box = PyMem_Malloc(sizeof *box);
    if (box == NULL) {
        PyErr_NoMemory();
        return BLOCKING_RAISED;
    }
    box->n = box->put = 0;
    int r = 1;
    while (r > 0) {
        r = put_some(self, state, box, iterator, deadline, progress);
    }
    PyMem_Free(box);
    return r;
}

/* The exception that is set says how far the call has come. */
static void put_describe(const struct progress *progress) {
    char note[120];
    PyObject *error = error_take();
    PyObject *count = PyLong_FromSsize_t(progress->put);
    if (count == NULL) {
        PyErr_Clear();
        count = Py_NewRef(Py_None);
    }
    error_give_back(error);
    snprintf(note, sizeof note, "put_many(): at item %zd, counted from 0; %zd items were put",
             progress->asked, progress->put);
    error_describe("items_put", count, note);
    Py_DECREF(count);
}

static PyObject *put_many(PyObject *self, PyObject *iterable, int64_t timeout) {
    struct module_state *state = state_of(self);
    PyObject *iterator = state == NULL ? NULL : PyObject_GetIter(iterable);
    if (iterator == NULL) {
        return NULL;
    }
    struct progress progress = {0, 0};
    int r = put_all(self, state, iterator, timeout, &progress);
    Py_DECREF(iterator);
    PyObject *result = put_result(self, state, r, "put_many()");
    if (result == NULL) {
        put_describe(&progress);
    }
    return result;
}

/* ---------------------------------------------------------------- get */

static int get_message(mproc_queue *queue, mproc_message *message, int64_t timeout) {
    int r;
    TRYING(r, mproc_queue_get(queue, message, 0));
    if (r != -ETIMEDOUT || timeout == 0) {
        return r;
    }
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, mproc_queue_get(queue, message, blocking_left(deadline)));
    return r;
}

static PyObject *decode(struct module_state *state, const mproc_message *message) {
    return codec_decode_with_parts(state, message->data, message->size, parts_of_message(message));
}

static PyObject *raise_of_get(struct module_state *state, int r) {
    switch (r) {
    case -ETIMEDOUT: return module_raise(state, MODULE_EMPTY, NULL);
    case MPROC_ECLOSED: return module_raise(state, MODULE_SHUT_DOWN, NULL);
    default: return error_raise(r);
    }
}

static PyObject *get(PyObject *self, int64_t timeout) {
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    struct module_state *state = state_of(self);
    if (state == NULL) {
        return NULL;
    }
    int r = get_message(queue_of(self), &message, timeout);
    if (r == 0) {
        PyObject *object = decode(state, &message);
        mproc_message_drop(&message);
        if (is_watched(self) && object != NULL && tell(self) < 0) {
            Py_CLEAR(object);
        }
        return object;
    }
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return raise_of_get(state, r);
}

/* ---------------------------------------------------------------- get many */

struct inbox {
    mproc_message messages[GET_BATCH];
    char first[MPROC_MESSAGE_INLINE];
    char others[GET_BATCH - 1][GET_ROOM];
};

static void inbox_init(struct inbox *box) {
    box->messages[0] = (mproc_message)MPROC_MESSAGE_INIT(box->first, sizeof box->first);
    for (size_t i = 1; i < GET_BATCH; i++) {
        char *room = box->others[i - 1];
        box->messages[i] = (mproc_message)MPROC_MESSAGE_INIT(room, GET_ROOM);
    }
}

static int inbox_get(struct inbox *box, mproc_queue *queue, size_t n, size_t *got,
                     int64_t timeout) {
    n = n < GET_BATCH ? n : GET_BATCH;
    int r;
    TRYING(r, mproc_queue_get_many(queue, box->messages, n, got, 0));
    if (r != -ETIMEDOUT || timeout == 0) {
        return r;
    }
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, mproc_queue_get_many(queue, box->messages, n, got, blocking_left(deadline)));
    return r;
}

static int decode_onto(PyObject *list, struct module_state *state, mproc_message *message) {
    PyObject *object = decode(state, message);
    mproc_message_drop(message);
    int r = object == NULL ? -1 : PyList_Append(list, object);
    Py_XDECREF(object);
    return r;
}

/* Appends all objects that can be read to the list. Of the others the first one's exception is
 * raised (an interrupt before any), and it has the list: nothing else is lost with it. */
static int inbox_decode(struct inbox *box, size_t n, struct module_state *state, PyObject *list) {
    PyObject *error = NULL;
    for (size_t i = 0; i < n; i++) {
        if (decode_onto(list, state, &box->messages[i]) == 0) {
            continue;
        }
        PyObject *another = error_take();
        if (error == NULL || !PyObject_IsInstance(another, PyExc_Exception)) {
            Py_XSETREF(error, another);
        } else {
            Py_DECREF(another);
        }
    }
    if (error == NULL) {
        return 0;
    }
    error_give_back(error);
    error_describe("items_got", list, "get_many(): the other items are the error's items_got");
    return BLOCKING_RAISED;
}

/* Waits for the first object only. */
static int get_onto(PyObject *list, PyObject *self, struct module_state *state, Py_ssize_t n,
                    int64_t timeout) {
    struct inbox box;
    inbox_init(&box);
    int r = 0;
    while (r == 0 && PyList_GET_SIZE(list) < n) {
        size_t got, left = (size_t)(n - PyList_GET_SIZE(list));
        r = inbox_get(&box, queue_of(self), left, &got, PyList_GET_SIZE(list) == 0 ? timeout : 0);
        if (r == 0) {
            r = inbox_decode(&box, got, state, list);
        }
    }
    return r == BLOCKING_RAISED || PyList_GET_SIZE(list) == 0 ? r : 0;
}

static PyObject *get_many(PyObject *self, Py_ssize_t n, int64_t timeout) {
    struct module_state *state = state_of(self);
    PyObject *list = state == NULL ? NULL : PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    int r = get_onto(list, self, state, n, timeout);
    if (r == 0 && (!is_watched(self) || tell(self) == 0)) {
        return list;
    }
    Py_DECREF(list);
    if (r == 0 || r == BLOCKING_RAISED) {
        return NULL;
    }
    return raise_of_get(state, r);
}

/* The argument n. -1 with an exception. */
static Py_ssize_t how_many(PyObject *number) {
    Py_ssize_t n = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if (n < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "get_many(): n is negative");
    }
    return n < 0 ? -1 : n;
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
    if (handle_replace(self, fresh) < 0) {
        return -1;
    }
    THREADS_STORE(queue->maxsize, maxsize > 0 ? maxsize : 0);
    THREADS_STORE(queue->closed, 0);
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

/* What __init__ does, without its way of handing over arguments. */
static PyObject *queue_make(PyObject *self, PyObject *number) {
    Py_ssize_t maxsize = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if (maxsize == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return make(self, maxsize) < 0 ? NULL : Py_NewRef(Py_None);
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
    return is_closed(self) ? raise_closed(self) : put(self, object, timeout);
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names) {
    PyObject *object = arguments_one("put_nowait", "obj", args, nargs, names);
    if (object == NULL) {
        return NULL;
    }
    return is_closed(self) ? raise_closed(self) : put(self, object, 0);
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
    return is_closed(self) ? raise_closed(self) : get(self, timeout);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return is_closed(self) ? raise_closed(self) : get(self, 0);
}

static PyObject *queue_put_many(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    static const char *const keywords[] = {"iterable", "block", "timeout"};
    PyObject *values[3];
    int64_t timeout;
    if (arguments_spread("put_many", keywords, values, 3, args, nargs, names) < 0 ||
        acquire_block_timeout(values[1], values[2], &timeout) < 0) {
        return NULL;
    }
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "put_many() missing 1 required argument: 'iterable'");
        return NULL;
    }
    return is_closed(self) ? raise_closed(self) : put_many(self, values[0], timeout);
}

static PyObject *queue_get_many(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    static const char *const keywords[] = {"n", "block", "timeout"};
    PyObject *values[3];
    int64_t timeout;
    if (arguments_spread("get_many", keywords, values, 3, args, nargs, names) < 0 ||
        acquire_block_timeout(values[1], values[2], &timeout) < 0) {
        return NULL;
    }
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "get_many() missing 1 required argument: 'n'");
        return NULL;
    }
    Py_ssize_t n = how_many(values[0]);
    if (n < 0) {
        return NULL;
    }
    return is_closed(self) ? raise_closed(self) : get_many(self, n, timeout);
}

static PyObject *queue_qsize(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLongLong(count(self));
}

static PyObject *queue_empty(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(count(self) == 0);
}

static bool has_all_bytes(PyObject *self) {
    uint64_t most = 0;
    uint64_t bytes = is_closed(self) == UNMADE ? 0 : mproc_queue_bytes(queue_of(self), &most);
    return most != 0 && bytes >= most;
}

static PyObject *queue_full(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_ssize_t maxsize = maxsize_of(self);
    bool all = maxsize > 0 && count(self) >= (uint64_t)maxsize;
    return PyBool_FromLong(all || has_all_bytes(self));
}

static PyObject *queue_bound_bytes(PyObject *self, PyObject *number) {
    unsigned long long bytes = PyLong_AsUnsignedLongLong(number);
    if (bytes == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (is_closed(self)) {
        return raise_closed(self);
    }
    int r = mproc_queue_bound_bytes(queue_of(self), bytes);
    return r == 0 ? Py_NewRef(Py_None) : error_raise(r);
}

static PyObject *queue_close(PyObject *self, PyObject *Py_UNUSED(unused)) {
    if (is_closed(self) != UNMADE) { /* there is nothing to close, and all else looks for that */
        THREADS_STORE(fields(self)->closed, 1);
    }
    Py_RETURN_NONE;
}

/* _await(timeout): whether there is a message, which is left there, or none can come any more. */
static PyObject *queue_await(PyObject *self, PyObject *seconds) {
    int64_t timeout;
    if (is_closed(self) == UNMADE) {
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
    bool ends = r == 0 || r == MPROC_ECLOSED;
    return ends || r == -ETIMEDOUT ? PyBool_FromLong(ends) : error_raise(r);
}

/* _another(): a Queue that is the same queue, with a hold of its own. */
static PyObject *queue_another(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct module_state *state = state_of(self);
    if (state == NULL || is_closed(self) == UNMADE) {
        return state == NULL ? NULL : raise_closed(self);
    }
    mproc_queue *queue = queue_of(self);
    int r = mproc_hold(queue);
    return handle_new((PyTypeObject *)state->queue_type, r, queue);
}

static PyObject *queue_try_get(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return is_closed(self) ? raise_closed(self) : get(self, 0);
}

static PyObject *get_watched(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(is_watched(self));
}

static int set_watched(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    int watched = value == NULL ? 0 : PyObject_IsTrue(value);
    if (watched >= 0) {
        THREADS_STORE(fields(self)->watched, (char)watched);
    }
    return watched < 0 ? -1 : 0;
}

#define WATCHING                                                                                   \
    {"_try_get", queue_try_get, METH_NOARGS, "_try_get($self, /)\n--\n\nget(False)."},             \
        {"_await", queue_await, METH_O,                                                            \
         "_await($self, timeout, /)\n--\n\nWait until an object is there; whether it is."},        \
    {                                                                                              \
        "_another", queue_another, METH_NOARGS,                                                    \
            "_another($self, /)\n--\n\nThe same queue, with a hold of its own."                    \
    }
#define WATCHED                                                                                    \
    { "_watched", get_watched, set_watched, "Whether put and get call _changed().", NULL }

/* Programs subtract qsize() from it, so that without a bound it is as in the standard library: as
 * many as a semaphore counts. */
static PyObject *get_maxsize(PyObject *self, void *Py_UNUSED(unused)) {
    Py_ssize_t maxsize = maxsize_of(self);
    return PyLong_FromSsize_t(maxsize == 0 ? MPROC_SEMAPHORE_MAX : maxsize);
}

static int set_maxsize(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    Py_ssize_t maxsize = value == NULL ? 0 : PyLong_AsSsize_t(value);
    if (maxsize == -1 && PyErr_Occurred()) {
        return -1;
    }
    THREADS_STORE(fields(self)->maxsize, maxsize == MPROC_SEMAPHORE_MAX ? 0 : maxsize);
    return 0;
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(is_closed(self));
}

static PyObject *queue_shutdown(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    static const char *const keywords[] = {"immediate"};
    PyObject *immediate;
    if (arguments_spread("shutdown", keywords, &immediate, 1, args, nargs, names) < 0) {
        return NULL;
    }
    int now = immediate == NULL ? 0 : PyObject_IsTrue(immediate);
    if (now < 0) {
        return NULL;
    }
    if (is_closed(self)) {
        return raise_closed(self);
    }
    mproc_queue_shutdown(queue_of(self), now);
    return is_watched(self) && tell(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* These two are JoinableQueue's; any queue counts what is put and what is done. */
static PyObject *queue_task_done(PyObject *self, PyObject *Py_UNUSED(unused)) {
    if (is_closed(self) == UNMADE) {
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
    if (is_closed(self) == UNMADE) {
        return raise_closed(self);
    }
    BLOCKING(r, mproc_queue_join(queue_of(self), MPROC_FOREVER));
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *queue_all_done(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t timeout = 0;
    if (is_closed(self) == UNMADE) {
        return raise_closed(self);
    }
    if (nargs > 0 && blocking_timeout(args[0], &timeout) < 0) {
        return NULL;
    }
    int r = mproc_queue_join(queue_of(self), 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_queue_join(queue_of(self), blocking_left(deadline)));
    }
    return r == BLOCKING_RAISED ? NULL : PyBool_FromLong(r == 0);
}

static PyMethodDef queue_methods[] = {
    {"_make", queue_make, METH_O,
     "_make($self, maxsize, /)\n--\n\nMake the queue: for the __init__() of a subclass."},
    {"_bound_bytes", queue_bound_bytes, METH_O,
     "_bound_bytes($self, maxbytes, /)\n--\n\nFor the __init__() of a subclass, after _make()."},
    {"put", MODULE_METHOD(queue_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, obj, block=True, timeout=None)\n--\n\n"
     "Append an object. When put() has returned, the object is in the queue, whatever happens to\n"
     "this process. Raises what pickling obj raises; queue.Full if there is no room in time\n"
     "(seconds); ValueError after close(); MemoryError if the arena is exhausted."},
    {"get", MODULE_METHOD(queue_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\n"
     "Take the oldest object. queue.Empty if there is none in time (seconds)."},
    {"put_many", MODULE_METHOD(queue_put_many), METH_FASTCALL | METH_KEYWORDS,
     "put_many($self, iterable, block=True, timeout=None)\n--\n\n"
     "Append objects in order, faster than one by one. The iterator is some objects ahead of what\n"
     "is in the queue. timeout (seconds) is for all of them. Raises what put() raises, and what "
     "the\n"
     "iterator raises; the objects before the one that failed are in the queue then, as far as\n"
     "there was room in time, and no others. error.items_put says how many are."},
    {"get_many", MODULE_METHOD(queue_get_many), METH_FASTCALL | METH_KEYWORDS,
     "get_many($self, n, block=True, timeout=None)\n--\n\n"
     "Take the oldest objects: as many as are there, up to n, in a list. Waits for the first "
     "only;\n"
     "queue.Empty if there is none in time (seconds). If one cannot be unpickled that is raised;\n"
     "error.items_got is the list of the others."},
    {"put_nowait", MODULE_METHOD(queue_put_nowait), METH_FASTCALL | METH_KEYWORDS,
     "put_nowait($self, obj)\n--\n\nput(obj, False)."},
    {"get_nowait", queue_get_nowait, METH_NOARGS, "get_nowait($self, /)\n--\n\nget(False)."},
    {"qsize", queue_qsize, METH_NOARGS,
     "qsize($self, /)\n--\n\nObjects in the queue at this moment."},
    {"empty", queue_empty, METH_NOARGS,
     "empty($self, /)\n--\n\nTrue if there was nothing in it just now."},
    {"full", queue_full, METH_NOARGS,
     "full($self, /)\n--\n\nTrue if maxsize objects, or maxbytes, were in it just now."},
    {"close", queue_close, METH_NOARGS,
     "close($self, /)\n--\n\nThis process will not use the queue any more; others may."},
    {"shutdown", MODULE_METHOD(queue_shutdown), METH_FASTCALL | METH_KEYWORDS,
     "shutdown($self, immediate=False)\n--\n\n"
     "End the queue for all processes: put() raises ShutDown from now on, and get() does once the\n"
     "queue is empty. immediate: what is in it is dropped, and counts as done for join(). Who "
     "waits\n"
     "is woken. ValueError after close()."},
    {"_task_done", queue_task_done, METH_NOARGS,
     "_task_done($self, /)\n--\n\n"
     "Report that an object that was got has been worked on. ValueError: once too often."},
    {"_join", queue_join, METH_NOARGS,
     "_join($self, /)\n--\n\nWait until all that was put has been reported done."},
    {"_all_done", MODULE_METHOD(queue_all_done), METH_FASTCALL,
     "_all_done($self, timeout=0, /)\n--\n\n"
     "Whether all that was put has been reported done, within so many seconds."},
    WATCHING,
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_is_fork_ctx", T_BOOL, offsetof(struct queue, is_fork_ctx), 0,
     "True if the context of fork made it."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    WATCHED,
    HANDLE_ADDRESS,
    {"_maxsize", get_maxsize, set_maxsize, "Most objects at a time; 2**31 - 1: no bound.", NULL},
    {"_closed", get_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "First in, first out, for any number of processes."},
    {Py_tp_new, (void *)queue_new},
    {Py_tp_init, (void *)queue_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, queue_methods},
    {Py_tp_members, members},
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

static PyObject *simple_make(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return make(self, 0) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *simple_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names) {
    PyObject *object = arguments_one("put", "obj", args, nargs, names);
    if (object == NULL) {
        return NULL;
    }
    return is_closed(self) ? raise_handle_closed(self) : put(self, object, MPROC_FOREVER);
}

static PyObject *simple_get(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return is_closed(self) ? raise_handle_closed(self) : get(self, MPROC_FOREVER);
}

static PyObject *simple_put_many(PyObject *self, PyObject *iterable) {
    return is_closed(self) ? raise_handle_closed(self) : put_many(self, iterable, MPROC_FOREVER);
}

static PyObject *simple_get_many(PyObject *self, PyObject *number) {
    Py_ssize_t n = how_many(number);
    if (n < 0) {
        return NULL;
    }
    return is_closed(self) ? raise_handle_closed(self) : get_many(self, n, MPROC_FOREVER);
}

static PyObject *simple_empty(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return is_closed(self) ? raise_handle_closed(self) : queue_empty(self, NULL);
}

static PyMethodDef simple_methods[] = {
    {"_make", simple_make, METH_NOARGS,
     "_make($self, /)\n--\n\nMake the queue: for the __init__() of a subclass."},
    {"put", MODULE_METHOD(simple_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, obj)\n--\n\nAppend an object; raises what pickling it raises."},
    {"get", simple_get, METH_NOARGS, "get($self, /)\n--\n\nTake the oldest object; waits for one."},
    {"put_many", simple_put_many, METH_O,
     "put_many($self, iterable, /)\n--\n\n"
     "Append objects in order, faster than one by one. If that raises, error.items_put says how\n"
     "many are in the queue."},
    {"get_many", simple_get_many, METH_O,
     "get_many($self, n, /)\n--\n\n"
     "Take the oldest objects: as many as are there, up to n, in a list; waits for the first. If\n"
     "one cannot be unpickled that is raised; error.items_got is the list of the others."},
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
    {Py_tp_members, members},
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
