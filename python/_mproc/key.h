/*
 * key.h - Python objects as keys of a shared dict
 *
 * SPDX-License-Identifier: MIT
 *
 * Two keys are the same if their bytes are. So equal keys must have the same bytes, always and in
 * every process. None, text, bytes, numbers and tuples of such are written here, in the codec's
 * format (codec.h), each in one way only; True and 1.0 are written as 1, which they are equal to.
 * Everything else is pickled, and is tried: what comes back must be equal, and have the same bytes
 * again.
 */
#ifndef MPROC_PYTHON_KEY_H
#define MPROC_PYTHON_KEY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct module_state;

#define KEY_INLINE 256 /* bytes that a key holds without an allocation */

struct key {
    const unsigned char *data;
    size_t size;
    PyObject *bytes; /* owned, or NULL: they are in `room` */
    unsigned char room[KEY_INLINE];
};

/* 0, and key_clear() is to be called; -1 with an exception: TypeError for an object that cannot be
 * a key, ValueError for one whose bytes are too many, or what pickling it raises. The structure is
 * not moved. */
int key_encode(struct module_state *state, PyObject *object, struct key *key);

static inline void key_clear(struct key *key) {
    Py_XDECREF(key->bytes);
}

#endif
