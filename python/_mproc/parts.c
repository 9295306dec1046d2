/*
 * parts.c - large buffers of an object, beside the pickle of the rest
 *
 * SPDX-License-Identifier: MIT
 *
 * The sender's side is called by the pickler for each PickleBuffer that it meets (pickling.c), the
 * receiver's by the codec. A part that is not shared is copied once, into a buffer of its own, so
 * that the memory of each is free as soon as its own receiver has no use for it.
 *
 * Invariants: 1. buffers[0..nbuffers) are different buffers, each held once by this list. 2. A part
 * lies in its buffer.
 */
#include "parts.h"

#include "buffer.h"
#include "error.h"
#include "module.h"
#include "share.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define SHARED 1

/* Room for one more; 0, or -1 with MemoryError. */
static int grow(void **list, size_t *room, size_t n, size_t size) {
    if (n < *room) {
        return 0;
    }
    size_t more = *room == 0 ? 4 : 2 * *room;
    void *grown = PyMem_Realloc(*list, more * size);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *list = grown;
    *room = more;
    return 0;
}

/* The number of a buffer in the list, which takes over the caller's hold. Never fails: there is
 * room. */
static uint64_t enlist(struct parts *parts, mproc_buffer *owned) {
    for (size_t i = 0; i < parts->nbuffers; i++) {
        if (parts->buffers[i] == owned) {
            mproc_drop(owned);
            return i;
        }
    }
    parts->buffers[parts->nbuffers] = owned;
    return parts->nbuffers++;
}

static void append(struct parts *parts, mproc_buffer *owned, bool shared, uint64_t offset,
                   uint64_t size) {
    uint64_t number = enlist(parts, owned);
    parts->list[parts->n++] = (mproc_value_part){number * 2 + (shared ? SHARED : 0), offset, size};
}

static int make_room(struct parts *parts) {
    int r = grow((void **)&parts->list, &parts->room, parts->n, sizeof *parts->list);
    return r < 0 ? r
                 : grow((void **)&parts->buffers, &parts->buffers_room, parts->nbuffers,
                        sizeof *parts->buffers);
}

static int add_shared(struct parts *parts, mproc_buffer *buffer, const Py_buffer *view) {
    int r = mproc_hold(buffer);
    if (r != 0) {
        error_raise(r);
        return -1;
    }
    uint64_t offset = (uint64_t)((char *)view->buf - (char *)mproc_buffer_data(buffer));
    append(parts, buffer, true, offset, (uint64_t)view->len);
    return 1;
}

/* A part of no bytes: the object itself, that the message is to hold. */
static int add_object(struct parts *parts, void *object) {
    if (make_room(parts) < 0) {
        return -1;
    }
    int r = mproc_hold(object);
    if (r != 0) {
        error_raise(r);
        return -1;
    }
    append(parts, object, true, 0, 0);
    return 1;
}

/* Room for the bytes; NULL with an exception. */
static mproc_buffer *new_buffer(const Py_buffer *view) {
    mproc_buffer *buffer = NULL;
    int r = mproc_buffer_new(&buffer, (size_t)view->len);
    if (r == MPROC_ETOOBIG || r == -ENOMEM) {
        PyErr_Format(PyExc_MemoryError, "no room for %zd bytes in the arena", view->len);
    } else if (r != 0) {
        error_raise(r);
    }
    return r == 0 ? buffer : NULL;
}

/* Other threads run while the bytes are copied; the view keeps them in place. */
static int add_copy(struct parts *parts, const Py_buffer *view) {
    mproc_buffer *copy = new_buffer(view);
    if (copy == NULL && parts->allowed == PARTS_PIPED &&
        PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear(); /* it can go without the arena */
        return 0;
    }
    if (copy == NULL) {
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS;
    mproc_copy(mproc_buffer_data(copy), view->buf, (size_t)view->len);
    Py_END_ALLOW_THREADS;
    append(parts, copy, false, 0, (uint64_t)view->len);
    return 1;
}

static size_t least_of(const struct parts *parts) {
    return parts->least != 0 ? parts->least : PARTS_LEAST;
}

/* Whether bytes travel beside the rest. */
static bool goes_beside(const struct parts *parts, const mproc_buffer *shared,
                        const Py_buffer *view) {
    return parts->allowed != PARTS_NONE && view->len > 0 &&
           (shared != NULL ||
            ((size_t)view->len >= least_of(parts) && parts->allowed != PARTS_SHARED));
}

static int add_view(struct parts *parts, struct module_state *state, const Py_buffer *view) {
    mproc_buffer *shared = buffer_around(state, view->buf, (size_t)view->len);
    if (!goes_beside(parts, shared, view) || !PyBuffer_IsContiguous(view, 'A')) {
        return 0;
    }
    if (make_room(parts) < 0) {
        return -1;
    }
    return shared != NULL ? add_shared(parts, shared, view) : add_copy(parts, view);
}

static int add_pending(struct parts *parts, PyObject *owner, const Py_buffer *view) {
    if (grow((void **)&parts->pending, &parts->pending_room, parts->npending,
             sizeof *parts->pending) < 0) {
        return -1;
    }
    mproc_buffer *copy = new_buffer(view);
    PyObject *holder = copy != NULL ? PyMemoryView_FromObject(owner) : NULL;
    if (holder == NULL) {
        mproc_drop(copy);
        return -1;
    }
    parts->pending[parts->npending++] =
        (struct part_pending){holder, view->buf, (size_t)view->len, copy};
    append(parts, copy, false, 0, (uint64_t)view->len);
    return 1;
}

int parts_add_later(struct parts *parts, PyObject *owner, const Py_buffer *view) {
    mproc_buffer *shared = buffer_around(parts->arrays, view->buf, (size_t)view->len);
    if (!goes_beside(parts, shared, view)) {
        return 0;
    }
    if (make_room(parts) < 0) {
        return -1;
    }
    return shared != NULL ? add_shared(parts, shared, view) : add_pending(parts, owner, view);
}

void parts_fill(struct parts *parts) {
    if (parts->npending == 0) {
        return;
    }
    Py_BEGIN_ALLOW_THREADS;
    for (size_t i = 0; i < parts->npending; i++) {
        const struct part_pending *one = &parts->pending[i];
        mproc_copy(mproc_buffer_data(one->to), one->from, one->size);
    }
    Py_END_ALLOW_THREADS;
}

int parts_add(struct parts *parts, struct module_state *state, PyObject *pickle_buffer) {
    Py_buffer view;
    if (parts->allowed == PARTS_NONE) {
        return 0;
    }
    if (PyObject_GetBuffer(pickle_buffer, &view, PyBUF_FULL_RO) < 0) {
        return -1;
    }
    void *object = share_object(state, view.obj);
    int r = object != NULL ? add_object(parts, object) : add_view(parts, state, &view);
    PyBuffer_Release(&view);
    return r;
}

bool parts_are_shared(const struct parts *parts) {
    bool shared = true;
    for (size_t i = 0; i < parts->n; i++) {
        shared = shared && (parts->list[i].buffer & SHARED) != 0;
    }
    return shared;
}

void parts_clear(struct parts *parts) {
    while (parts->npending > 0) {
        Py_DECREF(parts->pending[--parts->npending].owner);
    }
    PyMem_Free(parts->pending);
    while (parts->nbuffers > 0) {
        mproc_drop(parts->buffers[--parts->nbuffers]);
    }
    PyMem_Free(parts->buffers);
    PyMem_Free(parts->list);
    *parts =
        (struct parts){.allowed = parts->allowed, .arrays = parts->arrays, .least = parts->least};
}

/* ---------------------------------------------------------------- reading */

static mproc_buffer *of_message(const void *message, size_t i) {
    return mproc_message_buffer(message, i);
}

static void *object_of_message(const void *message, size_t i) {
    return mproc_message_object(message, i);
}

static mproc_buffer *of_task(const void *task, size_t i) {
    return mproc_task_buffer(task, i);
}

static mproc_buffer *of_worker(const void *worker, size_t i) {
    return mproc_worker_buffer(worker, i);
}

struct parts_source parts_of_message(const mproc_message *message) {
    return (struct parts_source){of_message, message, object_of_message};
}

struct parts_source parts_of_task(const mproc_task *task) {
    return (struct parts_source){of_task, task, NULL};
}

struct parts_source parts_of_worker(const mproc_worker *worker) {
    return (struct parts_source){of_worker, worker, NULL};
}

PyObject *parts_read_one(struct module_state *state, struct parts_source source,
                         const mproc_value_part *part) {
    mproc_buffer *buffer =
        source.buffer != NULL ? source.buffer(source.from, part->buffer / 2) : NULL;
    void *object = buffer == NULL && source.object != NULL
                       ? source.object(source.from, part->buffer / 2)
                       : NULL;
    if (object != NULL) {
        return share_new(state, object);
    }
    size_t size = buffer == NULL ? 0 : mproc_buffer_size(buffer);
    if (buffer == NULL || part->offset > size || part->size > size - part->offset) {
        PyErr_SetString(PyExc_ValueError, "corrupt message: a part that is in no buffer");
        return NULL;
    }
    if ((part->buffer & SHARED) == 0) {
        return buffer_view(state, buffer);
    }
    PyObject *whole = buffer_share(state, buffer);
    if (whole == NULL || (part->offset == 0 && part->size == size)) {
        return whole;
    }
    PyObject *view = PyMemoryView_FromObject(whole);
    PyObject *slice = view == NULL ? NULL
                                   : PySequence_GetSlice(view, (Py_ssize_t)part->offset,
                                                         (Py_ssize_t)(part->offset + part->size));
    Py_XDECREF(view);
    Py_DECREF(whole);
    return slice;
}

PyObject *parts_read(struct module_state *state, struct parts_source source, const void *list,
                     size_t n) {
    PyObject *objects = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; objects != NULL && i < n; i++) {
        mproc_value_part part;
        memcpy(&part, (const char *)list + i * sizeof part, sizeof part);
        PyObject *one = parts_read_one(state, source, &part);
        if (one == NULL) {
            Py_CLEAR(objects);
        } else {
            PyList_SET_ITEM(objects, (Py_ssize_t)i, one);
        }
    }
    return objects;
}
