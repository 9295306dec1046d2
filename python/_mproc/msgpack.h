/*
 * msgpack.h - MessagePack, the format of plain values
 *
 * SPDX-License-Identifier: MIT
 *
 * The codec's two halves: msgpack_write.c and msgpack_read.c. codec.h says which values are plain,
 * and what they look like.
 */
#ifndef MPROC_PYTHON_MSGPACK_H
#define MPROC_PYTHON_MSGPACK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "message.h"
#include "packer.h"

/* Deepest nesting that is read: a bound for the C stack. */
#define MSGPACK_READ_DEPTH 256

#define MSGPACK_PICKLE_HEADER 10 /* room that the header of a pickle may need */

#define MSGPACK_KEYS 256 /* dict keys remembered from message to message; a power of two */

#define MSGPACK_CACHED_KEY 31 /* longest key that is remembered: what a fixstr holds */

/* Dict keys that were read lately: short ASCII strings recur in message after message, and these
 * have their hash computed. An entry is NULL or owned. */
struct msgpack_keys {
    PyObject *entries[MSGPACK_KEYS];
};

struct module_state;

/* Appends an object to a message. 0; PACKER_NOT_PLAIN, no exception set, the message half written;
 * -1 with MemoryError. */
int msgpack_write(PyObject *object, struct message *message);

/* The same for a list of n items of a list, from the first on. Items that this list alone refers to
 * are seen to occur once, as they are not in a copy of that part. */
int msgpack_write_items(PyObject *list, Py_ssize_t first, Py_ssize_t n, struct message *message);

/* Writes the header of a pickle of `length` bytes, so that it ends where the room of
 * MSGPACK_PICKLE_HEADER bytes ends. Returns its size. */
size_t msgpack_pickle_header(unsigned char *room, size_t length);

/* The same for what takes buffers along, a pickle (MPROC_EXT_PARTS) or a value
 * (MPROC_EXT_VALUE_PARTS); it fills the room. */
void msgpack_parts_header(unsigned char *room, unsigned char type, size_t length);

/* Whether the data are such a message, whose pickle or value has *length bytes, and what belongs to
 * it: its type; 0: they are not. */
unsigned char msgpack_has_parts(const void *data, size_t size, size_t *length);

/* Where the large arrays of a value are; and, among the arguments of a program, what makes an
 * object of its kind, its address, and its lock's kind and address, or None and 0. */
struct msgpack_beside {
    struct parts_source source;
    const void *list; /* of mproc_value_part */
    size_t n;
    PyObject *adopt; /* NULL: there may be no object */
};

/* The value that the data are: a new reference, or NULL with an exception, ValueError for corrupt
 * data. */
PyObject *msgpack_read(struct module_state *state, const void *data, size_t size,
                       const struct msgpack_beside *beside);

/* Whether the data are an int in one of the forms that most ints have: a few instructions. */
static inline bool msgpack_is_small_int(const void *data, size_t size, long *value) {
    const unsigned char *at = data;
    switch (size) {
    case 1: *value = *at < 0x80 ? *at : *at - 0x100; return *at < 0x80 || *at >= 0xe0;
    case 2: *value = at[1]; return *at == 0xcc;
    case 3: *value = at[1] << 8 | at[2]; return *at == 0xcd;
    case 5:
        *value = (long)((unsigned long)at[1] << 24 | (unsigned long)at[2] << 16 |
                        (unsigned long)at[3] << 8 | at[4]);
        return *at == 0xce;
    default: return false;
    }
}

/* Is a value that begins with this byte an ext? No other one is a pickle or has parts. */
static inline bool msgpack_is_ext(unsigned char lead) {
    return (lead >= 0xc7 && lead <= 0xc9) || (lead >= 0xd4 && lead <= 0xd8);
}

/* Whether the data are a pickle, whose bytes are those from *header on: 1, 0, or -1 with
 * ValueError. */
int msgpack_is_pickle(const void *data, size_t size, size_t *header);

/* A dict key of at most MSGPACK_CACHED_KEY bytes: if lately met, the object that was made then.
 * NULL with an exception, UnicodeDecodeError for what is not UTF-8. */
PyObject *msgpack_key(struct msgpack_keys *keys, const void *data, size_t size);

void msgpack_keys_clear(struct msgpack_keys *keys);

#endif
