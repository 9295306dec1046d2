/*
 * parts.h - large buffers of an object, beside the pickle of the rest
 *
 * SPDX-License-Identifier: MIT
 *
 * A pickle of protocol 5 leaves buffers out (PEP 574). Each goes as a buffer of the arena that the
 * message takes along: as it is, if it lies in a shared one (buffer.h), or as a copy that nobody
 * else has.
 */
#ifndef MPROC_PYTHON_PARTS_H
#define MPROC_PYTHON_PARTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "mproc.h"

struct module_state;

/* Smaller ones are copied with the pickle, unless they are shared. */
#define PARTS_LEAST 65536

/* PIPED: as ALL, but what there is no room for in the arena stays inside. */
enum parts_allowed { PARTS_NONE = 0, PARTS_SHARED, PARTS_ALL, PARTS_PIPED };

/* Bytes that are still to be copied into a buffer of their own. */
struct part_pending {
    PyObject *owner; /* keeps them in place */
    const void *from;
    size_t size;
    mproc_buffer *to;
};

/* All zero: there are none, and there may be none. */
struct parts {
    enum parts_allowed allowed;
    size_t least;                /* of what is copied; 0: PARTS_LEAST */
    struct module_state *arrays; /* of the module; NULL: numpy arrays are no plain values here */
    size_t npending, pending_room;
    struct part_pending *pending;
    size_t n, room;
    mproc_value_part *list;
    size_t nbuffers, buffers_room;
    mproc_buffer **buffers; /* each held once */
};

/* None, and none are allowed. Every message does this. Field by field, since compilers make a
 * string instruction of the whole, which takes longer than a dozen stores. */
static inline void parts_init(struct parts *parts) {
    parts->allowed = PARTS_NONE;
    parts->least = 0;
    parts->arrays = NULL;
    parts->npending = parts->pending_room = 0;
    parts->pending = NULL;
    parts->n = parts->room = 0;
    parts->list = NULL;
    parts->nbuffers = parts->buffers_room = 0;
    parts->buffers = NULL;
}

/* Takes a PickleBuffer out of the pickle: 1; 0: it stays inside; -1 with an exception. */
int parts_add(struct parts *parts, struct module_state *state, PyObject *pickle_buffer);

/* The same for an object's bytes while the object is walked: no other thread runs, and large bytes
 * are copied by parts_fill(). */
int parts_add_later(struct parts *parts, PyObject *owner, const Py_buffer *view);

/* Copies what parts_add_later() has left. Other threads run meanwhile. */
void parts_fill(struct parts *parts);

/* Where the buffers of what was received are: of a message, of a task's result, or of the task that
 * a worker has in hand. */
struct parts_source {
    mproc_buffer *(*buffer)(const void *from, size_t i); /* lent; NULL: there is no such */
    const void *from;
    void *(*object)(const void *from, size_t i); /* the same for any object; may be NULL */
};

struct parts_source parts_of_message(const mproc_message *message);
struct parts_source parts_of_task(const mproc_task *task);
struct parts_source parts_of_worker(const mproc_worker *worker);

/* What stands for one part of a received message: an object with the buffer interface. NULL with an
 * exception, ValueError for a part that is in no buffer of the message. */
PyObject *parts_read_one(struct module_state *state, struct parts_source source,
                         const mproc_value_part *part);

/* The same for n parts: a list. */
PyObject *parts_read(struct module_state *state, struct parts_source source, const void *list,
                     size_t n);

/* Whether no part is a copy. */
bool parts_are_shared(const struct parts *parts);

/* Gives all back. */
void parts_clear(struct parts *parts);

#endif
