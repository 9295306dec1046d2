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
 *     tuple                             ext MPROC_EXT_TUPLE; its payload is a MessagePack array
 *     numpy.ndarray of plain numbers    ext MPROC_EXT_ARRAY, in queues and pools
 *     everything else                   ext MPROC_EXT_PICKLE: a pickle of the whole message
 *
 * A pickle from which buffers were taken (parts.h) follows a fixext 8 of type MPROC_EXT_PARTS,
 * whose payload is the pickle's length, big-endian, and is followed by a mproc_value_part for each.
 * A value whose large arrays go beside it follows one of type MPROC_EXT_VALUE_PARTS in the same
 * way. docs/value_format.md has each byte, for others who read and write it.
 *
 * A pickle of 4 GiB and more does not fit into an ext. It follows a fixext 8 of type
 * MPROC_EXT_LONG_PICKLE, whose payload is the pickle's length, big-endian. Values may nest. A
 * message that is read need not be in the shortest form, and float 32 is read too, so any
 * MessagePack writer will do.
 *
 * What travels as MessagePack. Only exact built-in types and arrays, and only where the result
 * cannot be told from an unpickled one: a container or array that occurs twice, long text or bytes
 * that occur twice, an int of more than 64 bits, text with surrogates, a subclass, an object of any
 * other type, or nesting deeper than PACKER_DEPTH makes a pickle of the whole message. When in
 * doubt, it is a pickle.
 */
#ifndef MPROC_PYTHON_CODEC_H
#define MPROC_PYTHON_CODEC_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "msgpack.h"
#include "pickling.h"

struct module_state;

/* Encodes an object. On success the message is finished, and the caller clears it later. On failure
 * (-1 with an exception: what pickle raises, or MemoryError) it holds nothing. The interpreter's
 * lock is held; arbitrary Python code runs if the object must be pickled. */
int codec_encode(struct module_state *state, PyObject *object, struct message *message);

/* The same where buffers can go beside the message: those that are allowed to are taken out of its
 * pickle, and are message->parts.buffers. */
int codec_encode_with_parts(struct module_state *state, PyObject *object, struct message *message,
                            enum parts_allowed parts);

/* The same for a list of n items of a list, from the first on. RuntimeError: it has become shorter,
 * by what pickling has run or by another thread. */
int codec_encode_items(struct module_state *state, PyObject *list, Py_ssize_t first, Py_ssize_t n,
                       struct message *message, enum parts_allowed parts);

/* The same, but always a bare pickle (protocol 5): for peers that do not know MessagePack. */
int codec_pickle(struct module_state *state, PyObject *object, struct message *message);

/* Its first half, for plain values: PACKER_NOT_PLAIN for any other, without an exception. Runs no
 * Python code. */
int codec_pickle_plain(struct module_state *state, PyObject *object, struct message *message);

/* The same for an int of up to 64 bits, which needs no message: the length of its pickle; 0: it is
 * none. */
size_t codec_pickle_int(struct module_state *state, PyObject *object,
                        unsigned char out[PICKLE_INT]);

/* Its other half, by a pickler, where buffers can go beside it, copies of those of at least `least`
 * bytes. If one does, the message is no bare pickle, but what codec_decode_with_parts() reads. */
int codec_pickle_with_parts(struct module_state *state, PyObject *object, struct message *message,
                            enum parts_allowed parts, size_t least);

/* The object that a message stands for: a new reference, or NULL with an exception: ValueError for
 * bytes that are no message, what the unpickler raises for a pickle. The memory is used during the
 * call only; nothing refers to it afterwards. */
PyObject *codec_decode_any(struct module_state *state, const void *data, size_t size);

static inline PyObject *codec_decode(struct module_state *state, const void *data, size_t size) {
    long number;
    return msgpack_is_small_int(data, size, &number) ? PyLong_FromLong(number)
                                                     : codec_decode_any(state, data, size);
}

/* The same for what may have brought buffers: what is made of them holds them itself. */
PyObject *codec_decode_any_with_parts(struct module_state *state, const void *data, size_t size,
                                      struct parts_source source);

static inline PyObject *codec_decode_with_parts(struct module_state *state, const void *data,
                                                size_t size, struct parts_source source) {
    long number;
    return msgpack_is_small_int(data, size, &number)
               ? PyLong_FromLong(number)
               : codec_decode_any_with_parts(state, data, size, source);
}

/* Such a message as a bare pickle: bytes. */
PyObject *codec_without_parts(struct module_state *state, const void *data, size_t size,
                              struct parts_source source);

/* The same for a bare pickle. */
PyObject *codec_unpickle(struct module_state *state, const void *data, size_t size);

#endif
