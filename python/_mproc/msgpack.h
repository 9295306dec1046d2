/*
 * msgpack.h - MessagePack, the format of plain values
 *
 * SPDX-License-Identifier: MIT
 *
 * The codec's two halves. What is plain, and how it looks, stands in codec.h.
 */
#ifndef MPROC_PYTHON_MSGPACK_H
#define MPROC_PYTHON_MSGPACK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "codec.h"

#define MSGPACK_NOT_PLAIN 1 /* third outcome of writing, beside 0 and -1 */

#define MSGPACK_PICKLE_HEADER 10 /* room that the header of a pickle may need */

/* Appends object to a message. 0; MSGPACK_NOT_PLAIN, no exception set, the message half written; -1
 * with MemoryError. */
int msgpack_write(PyObject *object, struct codec_message *message);

/* Writes the header of a pickle of `length` bytes, so that it ends where the room of
 * MSGPACK_PICKLE_HEADER bytes ends. Its size. */
size_t msgpack_pickle_header(unsigned char *room, size_t length);

/* The value that data are: a new reference, or NULL with an exception, ValueError for corrupt data.
 */
PyObject *msgpack_read(struct codec *codec, const void *data, size_t size);

/* Whether data are a pickle, which then fills them from *header on: 1, 0, or -1 with ValueError. */
int msgpack_is_pickle(const void *data, size_t size, size_t *header);

#endif
