/*
 * stream.c - mproc._mproc.Stream: the results of a map that is submitted bit by bit
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A stream is a job that never has all its parts. They are opened as items are
 * submitted, numbered on and on, and booked as those of any job, by whoever collects. Each brings
 * a list of results, or the exception that stands for them. next() hands the results out one by
 * one, in the order of the parts, or in that in which they come. The job is ready while the next
 * part to be taken is there.
 *
 * What next() needs beyond that is Python's: _await_next(timeout) when nothing is at hand, and
 * _go_on() when so few parts are left that more should be submitted.
 *
 * Items. _feed_items() takes items of an iterator and submits them, in one call of C: what a
 * signal's handler raises behind it loses none. What it raises inside, while an item is made or
 * pickled, leaves those in hand that have not been submitted. They are the next call's.
 *
 * State, changed under the interpreter's lock, or under the job's where there is none; items and
 * in_hand are those of the one thread that feeds.
 *   parts     a ring of `room` places. What has come of the part that is to be taken as the n-th
 *             lies in place n & (room - 1); NULL: it has not come.
 *   opened, come, taken   count parts.
 *   current   the results that are being handed out, the next one at `at`; or the exception.
 *   low       with so many parts under way or not taken, or fewer, next() goes on; -1: never.
 *   items     the iterator; NULL: there is none.
 *   in_hand   a list of the items that were taken from it and have not been submitted, or NULL.
 *
 * Invariants: 1. taken <= come <= opened, and opened - taken <= room. 2. A place is NULL unless its
 * part has come and has not been taken. 3. The job is ready if and only if place `taken` is not
 * NULL.
 */
#include "stream.h"

#include "error.h"

#include <stdbool.h>
#include <structmember.h>

#define ROOM_AT_FIRST 64

struct place {
    PyObject *value; /* owned: a list of results, or the exception */
    bool failed;
};

struct stream {
    struct job job;
    struct place *parts;
    Py_ssize_t room; /* a power of 2, or 0 */
    Py_ssize_t opened, come, taken;
    struct place current;
    Py_ssize_t at;
    Py_ssize_t low;
    char loose; /* in the order in which they come */
    PyObject *items, *in_hand;
};

static struct stream *stream_of(PyObject *self) {
    return (struct stream *)self;
}

static struct place *place_of(const struct stream *stream, Py_ssize_t n) {
    return &stream->parts[n & (stream->room - 1)];
}

/* ---------------------------------------------------------------- parts that come */

/* 0; -1: no memory. */
static int grow(struct stream *stream, Py_ssize_t least) {
    Py_ssize_t room = stream->room == 0 ? ROOM_AT_FIRST : stream->room;
    while (room < least) {
        room *= 2;
    }
    struct place *parts = PyMem_Calloc((size_t)room, sizeof *parts);
    if (parts == NULL) {
        return -1;
    }
    for (Py_ssize_t n = stream->taken; n < stream->opened; n++) {
        parts[n & (room - 1)] = *place_of(stream, n);
    }
    PyMem_Free(stream->parts);
    stream->parts = parts;
    stream->room = room;
    return 0;
}

Py_ssize_t stream_open(struct job *job, Py_ssize_t n) {
    struct stream *stream = (struct stream *)job;
    THREADS_LOCK(&job->lock);
    Py_ssize_t first = stream->opened, least = first - stream->taken + n;
    int r = stream->room == 0 || least > stream->room ? grow(stream, least) : 0;
    stream->opened += r == 0 ? n : 0;
    THREADS_UNLOCK(&job->lock);
    if (r < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return first;
}

void stream_cut(struct job *job, Py_ssize_t n) {
    THREADS_LOCK(&job->lock);
    ((struct stream *)job)->opened -= n;
    THREADS_UNLOCK(&job->lock);
}

static bool is_at_hand(const struct stream *stream) {
    return stream->taken < stream->opened && place_of(stream, stream->taken)->value != NULL;
}

/* 1: the part has its place, and those who wait are to be told; 0: they are not; -1: it has been
 * there, or was never opened. Under the lock. */
static int place_part(struct stream *stream, Py_ssize_t part, int failed, PyObject *value) {
    Py_ssize_t n = stream->loose ? stream->come : part;
    if (n < stream->taken || n >= stream->opened || place_of(stream, n)->value != NULL) {
        return -1;
    }
    *place_of(stream, n) = (struct place){Py_NewRef(value), failed != 0};
    stream->come++;
    return !stream->job.ready && is_at_hand(stream) && job_become_ready(&stream->job);
}

/* What has come of a part: see job.h. */
static int book(struct job *job, Py_ssize_t part, int failed, PyObject *value) {
    struct stream *stream = (struct stream *)job;
    if (!failed && (!PyList_Check(value) || PyList_GET_SIZE(value) == 0)) {
        PyErr_SetString(PyExc_SystemError, "a stream's part is no list of results");
        return -1;
    }
    THREADS_LOCK(&job->lock);
    int tells = place_part(stream, part, failed, value);
    THREADS_UNLOCK(&job->lock);
    if (tells < 0) {
        PyErr_Format(PyExc_SystemError, "part %zd of a stream comes twice, or was never opened",
                     part);
    }
    return tells > 0 ? job_tell(job) : tells;
}

/* ---------------------------------------------------------------- taking */

/* Takes the next part, which is there. Under the lock. */
static void take(struct stream *stream) {
    struct place *place = place_of(stream, stream->taken++);
    stream->current = *place;
    stream->at = 0;
    *place = (struct place){NULL, false};
    THREADS_STORE(stream->job.ready, is_at_hand(stream));
}

/* Raises what a part has failed with. A StopIteration would end the iteration that asks for
 * results. */
static PyObject *raise(PyObject *owned) {
    PyObject *error = owned;
    if (PyErr_GivenExceptionMatches(owned, PyExc_StopIteration)) {
        error = PyObject_CallFunction(PyExc_RuntimeError, "s", "a task raised StopIteration");
        if (error == NULL) {
            Py_DECREF(owned);
            return NULL;
        }
        PyException_SetCause(error, owned);
    }
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

/* What next() has taken; the references are owned. */
struct handed {
    PyObject *value; /* the result, or the exception */
    PyObject *list;  /* of which it was the last, or NULL */
    bool failed;
};

/* Under the lock. */
static struct handed hand_out(struct stream *stream) {
    PyObject *current = stream->current.value;
    if (stream->current.failed) {
        stream->current.value = NULL;
        return (struct handed){current, NULL, true};
    }
    PyObject *result = PyList_GET_ITEM(current, stream->at);
    Py_INCREF(Py_None);
    PyList_SET_ITEM(current, stream->at, Py_None);
    bool last = ++stream->at == PyList_GET_SIZE(current);
    if (last) {
        stream->current.value = NULL;
    }
    return (struct handed){result, last ? current : NULL, false};
}

/* How next() goes on. */
enum step { HANDED, NOT_COME, MORE_IS_DUE };

/* Under the lock. */
static enum step try_next(struct stream *stream, struct handed *handed) {
    if (stream->current.value == NULL) {
        if (!is_at_hand(stream)) {
            return NOT_COME;
        }
        take(stream);
        if (stream->opened - stream->taken <= stream->low) {
            return MORE_IS_DUE;
        }
    }
    *handed = hand_out(stream);
    return HANDED;
}

static int await_next(struct stream *stream, PyObject *timeout) {
    PyObject *r = PyObject_CallMethod((PyObject *)stream, "_await_next", "(O)", timeout);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int go_on(struct stream *stream) {
    PyObject *r = PyObject_CallMethod((PyObject *)stream, "_go_on", NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Another thread may take what comes while this one is in Python, so all is looked at again; and
 * what was taken before an exception is the next call's. */
static PyObject *next(struct stream *stream, PyObject *timeout) {
    struct handed handed;
    for (int r = 0; r == 0;) {
        THREADS_LOCK(&stream->job.lock);
        enum step step = try_next(stream, &handed);
        THREADS_UNLOCK(&stream->job.lock);
        if (step == HANDED) {
            Py_XDECREF(handed.list);
            return handed.failed ? raise(handed.value) : handed.value;
        }
        r = step == NOT_COME ? await_next(stream, timeout) : go_on(stream);
    }
    return NULL;
}

static PyObject *stream_next(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:next", names, &timeout)) {
        return NULL;
    }
    return next(stream_of(self), timeout);
}

static PyObject *stream_iternext(PyObject *self) {
    return next(stream_of(self), Py_None);
}

/* ---------------------------------------------------------------- items */

/* Has n items in hand, or all there are: how many, at most n; -1 with an exception. */
static Py_ssize_t take_items(struct stream *stream, Py_ssize_t n) {
    if (stream->in_hand == NULL && (stream->in_hand = PyList_New(0)) == NULL) {
        return -1;
    }
    PyObject *in_hand = Py_NewRef(stream->in_hand), *items = Py_XNewRef(stream->items);
    PyObject *item = NULL;
    int r = 0;
    while (items != NULL && r == 0 && PyList_GET_SIZE(in_hand) < n &&
           (item = PyIter_Next(items)) != NULL) {
        r = PyList_Append(in_hand, item);
        Py_DECREF(item);
    }
    Py_ssize_t has = PyList_GET_SIZE(in_hand);
    Py_DECREF(in_hand);
    Py_XDECREF(items);
    return PyErr_Occurred() ? -1 : has < n ? has : n;
}

/* What n items are submitted by. */
struct feed {
    PyObject *submit, *message, *named, *options; /* lent */
    Py_ssize_t chunk;
};

/* Submits the first n items in hand, and lets go of those of parts that were opened. */
static int submit_items(struct stream *stream, const struct feed *feed, Py_ssize_t n) {
    PyObject *in_hand = Py_NewRef(stream->in_hand), *error = NULL, *r = NULL;
    PyObject *items = PyList_GetSlice(in_hand, 0, n);
    Py_ssize_t before = stream->opened;
    if (items != NULL) {
        r = PyObject_CallFunction(feed->submit, "OOOOOnnO", (PyObject *)stream, feed->message,
                                  feed->named, Py_False, items, feed->chunk, before * feed->chunk,
                                  feed->options);
    }
    if (r == NULL) {
        error = error_take();
    }
    Py_ssize_t put = (stream->opened - before) * feed->chunk;
    if (PyList_SetSlice(in_hand, 0, put < n ? put : n, NULL) < 0 && error == NULL) {
        error = error_take();
    }
    Py_XDECREF(r);
    Py_XDECREF(items);
    Py_DECREF(in_hand);
    if (error != NULL) {
        error_give_back(error);
    }
    return error != NULL ? -1 : 0;
}

/* The exception that is set, as the result of a call; what is no Exception is raised. */
static PyObject *return_error(void) {
    return PyErr_ExceptionMatches(PyExc_Exception) ? error_take() : NULL;
}

/* _feed_items(submit, message, named, chunk, parts, options) */
static PyObject *stream_feed_items(PyObject *self, PyObject *args) {
    struct feed feed;
    Py_ssize_t parts;
    if (!PyArg_ParseTuple(args, "OOOnnO:_feed_items", &feed.submit, &feed.message, &feed.named,
                          &feed.chunk, &parts, &feed.options)) {
        return NULL;
    }
    if (feed.chunk < 1 || parts < 1 || parts > PY_SSIZE_T_MAX / feed.chunk) {
        PyErr_Format(PyExc_ValueError, "%zd parts of %zd items", parts, feed.chunk);
        return NULL;
    }
    Py_ssize_t n = take_items(stream_of(self), feed.chunk * parts);
    if (n == 0) {
        Py_RETURN_FALSE;
    }
    if (n < 0 || submit_items(stream_of(self), &feed, n) < 0) {
        return return_error();
    }
    Py_RETURN_TRUE;
}

/* ---------------------------------------------------------------- life */

static PyObject *stream_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                            PyObject *Py_UNUSED(kwargs)) {
    struct stream *stream = (struct stream *)type->tp_alloc(type, 0);
    if (stream != NULL) {
        stream->job.book = book;
        stream->low = -1;
    }
    return (PyObject *)stream;
}

static int stream_traverse(PyObject *self, visitproc visit, void *arg) {
    const struct stream *stream = stream_of(self);
    Py_VISIT(stream->items);
    Py_VISIT(stream->in_hand);
    Py_VISIT(stream->current.value);
    for (Py_ssize_t i = 0; i < stream->room; i++) {
        Py_VISIT(stream->parts[i].value);
    }
    return job_traverse(self, visit, arg);
}

static int stream_clear(PyObject *self) {
    struct stream *stream = stream_of(self);
    stream->job.ready = 0;
    while (stream->taken < stream->opened) {
        struct place *place = place_of(stream, stream->taken++);
        Py_CLEAR(place->value);
    }
    Py_CLEAR(stream->current.value);
    Py_CLEAR(stream->items);
    Py_CLEAR(stream->in_hand);
    return job_clear(self);
}

static void stream_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    (void)stream_clear(self);
    PyMem_Free(stream_of(self)->parts);
    job_dealloc(self);
}

/* ---------------------------------------------------------------- for Python */

static PyObject *get_under_way(PyObject *self, void *Py_UNUSED(unused)) {
    struct stream *stream = stream_of(self);
    THREADS_LOCK(&stream->job.lock);
    Py_ssize_t n = stream->opened - stream->taken;
    THREADS_UNLOCK(&stream->job.lock);
    return PyLong_FromSsize_t(n);
}

static PyObject *get_at_hand(PyObject *self, void *Py_UNUSED(unused)) {
    struct stream *stream = stream_of(self);
    THREADS_LOCK(&stream->job.lock);
    bool there = stream->current.value != NULL || is_at_hand(stream);
    THREADS_UNLOCK(&stream->job.lock);
    return PyBool_FromLong(there);
}

/* A number that threads which feed and take change: what is at that offset. */
static Py_ssize_t *number_at(PyObject *self, void *offset) {
    return (Py_ssize_t *)((char *)self + (uintptr_t)offset);
}

static PyObject *get_number(PyObject *self, void *offset) {
    THREADS_LOCK(&stream_of(self)->job.lock);
    Py_ssize_t number = *number_at(self, offset);
    THREADS_UNLOCK(&stream_of(self)->job.lock);
    return PyLong_FromSsize_t(number);
}

static int set_number(PyObject *self, PyObject *value, void *offset) {
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "a number cannot be deleted");
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    THREADS_LOCK(&stream_of(self)->job.lock);
    *number_at(self, offset) = number;
    THREADS_UNLOCK(&stream_of(self)->job.lock);
    return 0;
}

static PyMethodDef stream_methods[] = {
    {"next", MODULE_METHOD(stream_next), METH_VARARGS | METH_KEYWORDS,
     "next($self, timeout=None)\n--\n\n"
     "Return the next result, or raise what the call raised. multiprocessing.TimeoutError."},
    {"_feed_items", stream_feed_items, METH_VARARGS,
     "_feed_items($self, submit, message, named, chunk, parts, options, /)\n--\n\n"
     "Submit so many parts more, of chunk items each, by the tasks' method submit_map. True: they\n"
     "are submitted; False: there were no more items; an exception: that has ended them."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef stream_members[] = {
    {"_items", T_OBJECT, offsetof(struct stream, items), 0,
     "The iterator over what is to be done."},
    {"_in_hand", T_OBJECT, offsetof(struct stream, in_hand), READONLY,
     "Items that were taken and have not been submitted: a list, or None."},
    {"_loose", T_BOOL, offsetof(struct stream, loose), 0,
     "Whether parts are taken in the order in which they come."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef stream_getset[] = {
    {"_opened", get_number, NULL, "Parts that were opened.",
     (void *)offsetof(struct stream, opened)},
    {"_taken", get_number, NULL, "Parts that were taken.", (void *)offsetof(struct stream, taken)},
    {"_low", get_number, set_number,
     "With so many parts under way or not taken, or fewer, next() calls _go_on(); -1: never.",
     (void *)offsetof(struct stream, low)},
    {"_under_way", get_under_way, NULL, "Parts that are under way or have not been taken.", NULL},
    {"_at_hand", get_at_hand, NULL, "Whether next() has a result without waiting.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "The results of a map that is submitted bit by bit."},
    {Py_tp_new, (void *)stream_new},
    {Py_tp_dealloc, (void *)stream_dealloc},
    {Py_tp_traverse, (void *)stream_traverse},
    {Py_tp_clear, (void *)stream_clear},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)stream_iternext},
    {Py_tp_methods, stream_methods},
    {Py_tp_members, stream_members},
    {Py_tp_getset, stream_getset},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "mproc._mproc.Stream",
    .basicsize = sizeof(struct stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = stream_slots,
};

int stream_add(PyObject *module) {
    PyObject *base = (PyObject *)module_state(module)->job_type;
    return module_derive_type(module, &stream_spec, base, &module_state(module)->stream_type);
}
