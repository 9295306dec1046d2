/*
 * codec.h - Python objects as messages, and back
 *
 * SPDX-License-Identifier: MIT
 *
 * The format. A message is one MessagePack value (https://msgpack.org):
 *
 *     None, bool, float (float 64)      as such
 *     int of -2**63 .. 2**64-1          as such, in the shortest form
 *     str                               str, UTF-8
 *     bytes                             bin
 *     list, dict                        array, map (in order)
 *     tuple                             ext CODEC_EXT_TUPLE; its payload is a MessagePack array
 *     everything else                   ext CODEC_EXT_PICKLE: a pickle of the whole message
 *
 * A pickle of 4 GiB and more does not fit into an ext. It follows a fixext 8 of type
 * CODEC_EXT_LONG_PICKLE, whose payload is the pickle's length, big-endian. Values may nest. What is
 * read need not be in the shortest form, and float 32 is read too, so any MessagePack writer will
 * do.
 *
 * What travels as MessagePack. Only exact built-in types, and only where nobody can tell the result
 * from an unpickled one: a container that occurs twice, long text or bytes that occur twice, an int
 * of more than 64 bits, text with surrogates, a subclass, an object of any other type, or nesting
 * deeper than CODEC_DEPTH makes a pickle of the whole message. When in doubt, it is a pickle.
 */
#ifndef MPROC_PYTHON_CODEC_H
#define MPROC_PYTHON_CODEC_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <sys/uio.h>

#define CODEC_EXT_TUPLE 'T'       /* 0x54 */
#define CODEC_EXT_PICKLE 'P'      /* 0x50 */
#define CODEC_EXT_LONG_PICKLE 'L' /* 0x4c */

/* Deepest nesting that is written as MessagePack, and that is read: a bound for the C stack. */
#define CODEC_DEPTH 32
#define CODEC_READ_DEPTH 256

/* From this size on, data are lent to a message: a copy would cost more than a segment. */
#define CODEC_LEND 4096

/* A message never has more segments: half of Linux' IOV_MAX, so there is room for the caller's. */
#define CODEC_SEGMENTS 512

#define CODEC_HEAD 1024 /* bytes that a message holds without an allocation */
#define CODEC_KEYS 256  /* dict keys remembered from message to message; a power of two */

struct module_state;

/* An encoded message. The first three fields are for the caller; it must not move or copy the
 * structure: segments point into it. Lent data may be a writable buffer of another thread's (not a
 * bytearray: those are copied), so gather the segments before a long wait. */
struct codec_message {
    struct iovec *iov; /* the segments, in order */
    int niov;
    size_t size; /* of all segments together */

    int plain;           /* 1: MessagePack; 0: a pickle */
    int iov_room;        /* length of iov */
    int nlent;           /* entries in lent */
    int lent_room;       /* length of lent */
    size_t lent_size;    /* bytes lent so far */
    PyObject **lent;     /* owned references to the objects that lend their memory */
    unsigned char *head; /* all bytes that are not lent, one after the other */
    size_t head_used, head_room;
    size_t segment; /* where in head the segment under construction began */
    struct iovec inline_iov[8];
    PyObject *inline_lent[4];
    unsigned char inline_head[CODEC_HEAD];
};

/* Dict keys met lately: short ASCII strings recur in message after message, with their hash
 * computed. An entry is NULL or owned. */
struct codec {
    PyObject *keys[CODEC_KEYS];
};

/* Encodes object. On success message is filled and must be cleared later; on failure (-1 with an
 * exception: what pickle raises, or MemoryError) it holds nothing. The interpreter's lock is held;
 * arbitrary Python code runs if the object must be pickled. */
int codec_encode(struct module_state *state, PyObject *object, struct codec_message *message);

/* The same, but always a bare pickle (protocol 5): what travels to peers that speak no MessagePack. */
int codec_pickle(struct module_state *state, PyObject *object, struct codec_message *message);

/* Lets go of what a message holds. */
void codec_message_clear(struct codec_message *message);

/* The object that a message says: a new reference, or NULL with an exception: ValueError for bytes
 * that are no message, what the unpickler raises for a pickle. The memory is lent for the call;
 * nothing refers to it afterwards. */
PyObject *codec_decode(struct module_state *state, const void *data, size_t size);

/* The rest is for those who build messages. Appends bytes by copy. 0, or -1 with MemoryError. */
int codec_message_copy(struct codec_message *message, const void *data, size_t size);

/* Appends bytes that lender keeps alive and in place; takes a reference of its own. Copies instead
 * if they are few. 0, or -1 with MemoryError. */
int codec_message_lend(struct codec_message *message, PyObject *lender, const void *data,
                       size_t size);

/* Makes room for more bytes at the end of head. 0, or -1 with MemoryError. */
int codec_message_reserve(struct codec_message *message, size_t more);

void codec_clear(struct codec *codec);

#endif
