/*
 * packer.h - plain Python values as the bytes of a message, while they are walked
 *
 * SPDX-License-Identifier: MIT
 *
 * An object is walked once, and written as the walk goes: as MessagePack (msgpack_write.c) or as a
 * pickle (pickle_write.c). An object that is not plain stops the walk. The walk runs no Python
 * code, so nothing that it looks at can change meanwhile; without the interpreter's lock, lists and
 * dicts are walked as copies (threads.h).
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

#include <stdint.h>
#include <string.h>

#include "message.h"
#include "threads.h"

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
#ifdef Py_GIL_DISABLED
    int lent; /* references that a copy which is being walked has to the next object */
#endif
    PyObject *seen[PACKER_SEEN]; /* borrowed: the graph holds them */
};

static inline void packer_load(struct packer *pk) {
    pk->at = pk->message->buffer + pk->message->used;
    pk->end = pk->message->buffer + pk->message->room;
}

/* Before each object: how many references the copy that is walked has to it. */
static inline void packer_lend(struct packer *pk, int n) {
#ifdef Py_GIL_DISABLED
    pk->lent = n;
#else
    (void)pk, (void)n;
#endif
}

static inline int packer_lent(const struct packer *pk) {
#ifdef Py_GIL_DISABLED
    return pk->lent;
#else
    (void)pk;
    return 0;
#endif
}

/* At the end of what the message has. */
static inline void packer_init(struct packer *pk, struct message *message) {
    pk->message = message;
    pk->nseen = 0;
    packer_lend(pk, 0);
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

int packer_remember(struct packer *pk, PyObject *object);

/* PACKER_NOT_PLAIN if the object was met before, or if there is no more room to remember it. */
static inline int packer_meet(struct packer *pk, PyObject *object) {
    return Py_REFCNT(object) == 1 + packer_lent(pk) ? 0 : packer_remember(pk, object);
}

/* memcpy(), without the call for the shortest: two words that may overlap. */
static inline void packer_copy(unsigned char *to, const unsigned char *from, size_t size) {
    if (size > 16) {
        memcpy(to, from, size);
    } else if (size >= 8) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else if (size >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + size - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + size - 4, &last, 4);
    } else if (size > 0) {
        unsigned char middle = from[size / 2], last = from[size - 1];
        to[0] = from[0];
        to[size / 2] = middle;
        to[size - 1] = last;
    }
}

int packer_large(struct packer *pk, PyObject *object, const void *data, size_t size);

/* The bytes of text or bytes, behind their header; the object keeps them alive. */
static inline int packer_data(struct packer *pk, PyObject *object, const void *data, size_t size) {
    if (size >= MESSAGE_REFER) {
        return packer_large(pk, object, data, size);
    }
    if (packer_reserve(pk, size) < 0) {
        return -1;
    }
    packer_copy(pk->at, data, size);
    pk->at += size;
    return 0;
}

int packer_utf8(PyObject *text, const char **data, Py_ssize_t *size);

/* The UTF-8 of a text: 0, PACKER_NOT_PLAIN if it has surrogates, -1. */
static inline int packer_text(PyObject *text, const char **data, Py_ssize_t *size) {
    if (!PyUnicode_IS_COMPACT_ASCII(text)) {
        return packer_utf8(text, data, size);
    }
    *data = (const char *)PyUnicode_1BYTE_DATA(text);
    *size = PyUnicode_GET_LENGTH(text);
    return 0;
}

#endif
