/*
 * packer.h - plain Python values as the bytes of a message, while they are walked
 *
 * SPDX-License-Identifier: MIT
 *
 * An object is walked once, and written as the walk goes: as MessagePack (msgpack_write.c) or as a
 * pickle (pickle_write.c). An object that is not plain stops the walk. The walk runs no Python
 * code, so nothing that it looks at can change meanwhile.
 *
 * Identity. A container with one reference stands in the graph once: the reference is that of its
 * parent. Only containers with more are remembered (`seen`), and long text and bytes with them. An
 * object that is met a second time is not plain, nor is a graph with too many objects to remember.
 *
 * Invariants: 1. packer.at <= packer.end, and at least as many bytes are free there as the last
 * packer_reserve asked for. 2. message->used counts what was written before the last packer_sync.
 */
#ifndef MPROC_PYTHON_PACKER_H
#define MPROC_PYTHON_PACKER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "message.h"

/* Objects that are remembered: a linear search must stay cheap. */
#define PACKER_SEEN 32

/* From this size on, text and bytes that occur twice must stay one object. */
#define PACKER_LONG 256

#define PACKER_DEPTH 32 /* deepest nesting that is written: a bound for the C stack */

#define PACKER_NOT_PLAIN 1 /* third outcome of writing, beside 0 and -1 with an exception */

struct packer {
    unsigned char *at, *end; /* the free part of message->buffer */
    struct message *message;
    int nseen;
    PyObject *seen[PACKER_SEEN]; /* borrowed: the graph holds them */
};

static inline void packer_load(struct packer *pk) {
    pk->at = pk->message->buffer + pk->message->used;
    pk->end = pk->message->buffer + pk->message->room;
}

/* At the end of what the message has. */
static inline void packer_init(struct packer *pk, struct message *message) {
    pk->message = message;
    pk->nseen = 0;
    packer_load(pk);
}

static inline void packer_sync(struct packer *pk) {
    pk->message->used = (size_t)(pk->at - pk->message->buffer);
}

int packer_grow(struct packer *pk, size_t more);

/* Room for so many bytes: 0, or -1 with MemoryError. */
static inline int packer_reserve(struct packer *pk, size_t more) {
    return (size_t)(pk->end - pk->at) >= more ? 0 : packer_grow(pk, more);
}

/* PACKER_NOT_PLAIN if the object was met before, or if there is no more room to remember it. */
int packer_meet(struct packer *pk, PyObject *object);

/* The bytes of text or bytes, behind their header; the object keeps them alive. */
int packer_data(struct packer *pk, PyObject *object, const void *data, size_t size);

/* The UTF-8 of a text: 0, PACKER_NOT_PLAIN if it has surrogates, -1. */
int packer_text(PyObject *text, const char **data, Py_ssize_t *size);

#endif
