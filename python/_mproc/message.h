/*
 * message.h - the bytes of a message while it is built
 *
 * SPDX-License-Identifier: MIT
 *
 * A message is a list of pieces, as writev() takes them. Most bytes are copied into one buffer.
 * Large bytes objects and texts are not copied: the message refers to their memory and keeps them
 * alive.
 */
#ifndef MPROC_PYTHON_MESSAGE_H
#define MPROC_PYTHON_MESSAGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <sys/uio.h>

#include "parts.h"

/* From this size on, a message refers to bytes: a copy would cost more than a piece of their
 * own. */
#define MESSAGE_REFER 4096

/* A message never has more pieces: half of Linux' IOV_MAX, so that the caller can add some. */
#define MESSAGE_PIECES 512

#define MESSAGE_INLINE 1024 /* bytes that a message holds without an allocation */

/* The first four fields are for the caller, once the message is finished. It must not move or copy
 * the structure: pieces point into it. The memory that a message refers to may be a writable buffer
 * of another thread's (not a bytearray: that is copied), so gather the pieces before a long
 * wait. */
struct message {
    struct iovec *iov; /* the pieces, in order */
    int niov;
    size_t size; /* of all pieces together */

    struct parts parts;    /* what it takes along beside the pieces; the caller allows them */
    int iov_room;          /* length of iov */
    int nowners;           /* entries in owners */
    int owners_room;       /* length of owners */
    size_t referred;       /* bytes that the message refers to */
    PyObject **owners;     /* owned references to the objects that these bytes belong to */
    unsigned char *buffer; /* all other bytes, one after the other */
    /* `room` stands apart from `used`: the compiler would read the two by one load, when they have
     * just been written by two stores, and the CPU would stall. */
    size_t used;  /* of the buffer */
    size_t piece; /* where in the buffer the piece that is being built began */
    size_t room;  /* of the buffer */
    struct iovec inline_iov[8];
    PyObject *inline_owners[4];
    unsigned char inline_buffer[MESSAGE_INLINE];
};

/* Makes an empty message. */
void message_init(struct message *message);

/* Appends bytes by copy. 0, or -1 with MemoryError. */
int message_copy(struct message *message, const void *data, size_t size);

/* Appends bytes that their owner keeps alive and in place; the message takes a reference of its own
 * to the owner. Few bytes are copied instead. 0, or -1 with MemoryError. */
int message_refer(struct message *message, PyObject *owner, const void *data, size_t size);

/* Makes room for more bytes at the end of the buffer. 0, or -1 with MemoryError. */
int message_reserve(struct message *message, size_t more);

/* Fills in the first three fields; the first `skip` bytes of the buffer do not belong to the
 * message. 0, or -1 with MemoryError. */
int message_finish(struct message *message, size_t skip);

/* A finished message in one piece, as bytes. NULL with MemoryError. */
PyObject *message_bytes(const struct message *message);

/* Frees what a message holds; it is none until message_init() is called again. */
void message_clear(struct message *message);

#endif
