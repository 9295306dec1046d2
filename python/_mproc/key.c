/*
 * key.c - Python objects as keys of a shared dict
 *
 * SPDX-License-Identifier: MIT
 *
 * A key is measured, then written. Both walk through tuples, to the same depth, and run no Python
 * code.
 */
#include "key.h"

#include "codec.h"
#include "module.h"
#include "mproc.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ---------------------------------------------------------------- numbers */

/* An int, a bool, or a float that is equal to an int: 1, and *out; 0: none of them, or one that
 * takes more than 64 bits with its sign. */
static int as_integer(PyObject *object, int64_t *out) {
    if (PyFloat_CheckExact(object)) {
        double value = PyFloat_AS_DOUBLE(object);
        *out = value >= -0x1p63 && value < 0x1p63 ? (int64_t)value : 0;
        return value >= -0x1p63 && value < 0x1p63 && (double)*out == value;
    }
    if (!PyLong_CheckExact(object) && !PyBool_Check(object)) {
        return 0;
    }
    int overflow;
    *out = PyLong_AsLongLongAndOverflow(object, &overflow);
    return overflow == 0;
}

/* A float that is no int. An infinite or large one is an int of more bits, or none. */
static bool is_fraction(PyObject *object) {
    return PyFloat_CheckExact(object) &&
           (!isfinite(PyFloat_AS_DOUBLE(object)) ||
            floor(PyFloat_AS_DOUBLE(object)) != PyFloat_AS_DOUBLE(object));
}

/* log2 of the bytes that follow the first one; -1: none do. */
static int integer_log(int64_t v) {
    if (v >= -32 && v < 128) {
        return -1;
    }
    uint64_t bits = v < 0 ? ~(uint64_t)v << 1 : (uint64_t)v;
    return bits <= UINT8_MAX ? 0 : bits <= UINT16_MAX ? 1 : bits <= UINT32_MAX ? 2 : 3;
}

static unsigned char *store(unsigned char *at, uint64_t bits, int bytes) {
    for (int i = bytes; i-- > 0;) {
        *at++ = (unsigned char)(bits >> 8 * i);
    }
    return at;
}

static unsigned char *write_integer(unsigned char *at, int64_t v) {
    int log = integer_log(v);
    *at++ = (unsigned char)(log < 0 ? (int)(v & 0xff) : (v < 0 ? 0xd0 : 0xcc) + log);
    return log < 0 ? at : store(at, (uint64_t)v, 1 << log);
}

static unsigned char *write_float(unsigned char *at, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    *at++ = 0xcb;
    return store(at, bits, 8);
}

/* ---------------------------------------------------------------- text, bytes, tuples */

/* Bytes of a header with a length of 1, 2 or 4 bytes. */
static size_t header(size_t size) {
    return size <= UINT8_MAX ? 2 : size <= UINT16_MAX ? 3 : 5;
}

static unsigned char *write_header(unsigned char *at, unsigned char kind, size_t size) {
    int log = size <= UINT8_MAX ? 0 : size <= UINT16_MAX ? 1 : 2;
    *at++ = (unsigned char)(kind + log);
    return store(at, size, 1 << log);
}

/* UTF-8, lent. NULL, and no exception: there is none for it. */
static const char *text_of(PyObject *object, size_t *size) {
    Py_ssize_t n = 0;
    const char *text = PyUnicode_AsUTF8AndSize(object, &n);
    if (text == NULL) {
        PyErr_Clear();
    }
    *size = (size_t)n;
    return text;
}

/* Of as many elements as a key has room for, so that a length of two bytes is enough. */
static size_t array_header(size_t n) {
    return n < 16 ? 1 : 3;
}

static size_t measure(PyObject *object, int depth);

static size_t measure_items(PyObject *tuple, int depth) {
    size_t n = (size_t)PyTuple_GET_SIZE(tuple), size = array_header(n);
    for (size_t i = 0; i < n && size <= MPROC_DICT_KEY_MAX; i++) {
        size_t item = measure(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), depth + 1);
        if (item == 0) {
            return 0;
        }
        size += item;
    }
    return size;
}

/* Bytes of the object; 0: it has to be pickled. */
static size_t measure(PyObject *object, int depth) {
    int64_t number;
    size_t size;
    if (PyUnicode_CheckExact(object)) {
        return text_of(object, &size) == NULL ? 0 : size < 32 ? 1 + size : header(size) + size;
    }
    if (as_integer(object, &number)) {
        int log = integer_log(number);
        return log < 0 ? 1 : 1 + ((size_t)1 << log);
    }
    if (is_fraction(object)) {
        return 9;
    }
    if (PyBytes_CheckExact(object)) {
        size = (size_t)PyBytes_GET_SIZE(object);
        return header(size) + size;
    }
    if (PyTuple_CheckExact(object) && depth < PACKER_DEPTH) {
        size = measure_items(object, depth);
        return size == 0 ? 0 : header(size) + 1 + size;
    }
    return object == Py_None;
}

static unsigned char *write_key(unsigned char *at, PyObject *object, int depth);

static unsigned char *write_tuple(unsigned char *at, PyObject *tuple, int depth) {
    size_t n = (size_t)PyTuple_GET_SIZE(tuple);
    at = write_header(at, 0xc7, measure_items(tuple, depth));
    *at++ = MPROC_EXT_TUPLE;
    if (n < 16) {
        *at++ = (unsigned char)(0x90 | n);
    } else {
        *at++ = 0xdc;
        at = store(at, n, 2);
    }
    for (size_t i = 0; i < n; i++) {
        at = write_key(at, PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), depth + 1);
    }
    return at;
}

static unsigned char *write_bytes(unsigned char *at, const void *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

static unsigned char *write_text(unsigned char *at, PyObject *object) {
    size_t size;
    const char *text = text_of(object, &size); /* the object keeps what was made for measure() */
    if (size < 32) {
        *at++ = (unsigned char)(0xa0 | size);
    } else {
        at = write_header(at, 0xd9, size);
    }
    return write_bytes(at, text, size);
}

static unsigned char *write_key(unsigned char *at, PyObject *object, int depth) {
    int64_t number;
    if (PyUnicode_CheckExact(object)) {
        return write_text(at, object);
    }
    if (as_integer(object, &number)) {
        return write_integer(at, number);
    }
    if (PyFloat_CheckExact(object)) {
        return write_float(at, PyFloat_AS_DOUBLE(object));
    }
    if (PyBytes_CheckExact(object)) {
        size_t size = (size_t)PyBytes_GET_SIZE(object);
        return write_bytes(write_header(at, 0xc4, size), PyBytes_AS_STRING(object), size);
    }
    if (PyTuple_CheckExact(object)) {
        return write_tuple(at, object, depth);
    }
    *at++ = 0xc0;
    return at;
}

/* ---------------------------------------------------------------- everything else */

/* The same with an int in the place of each bool and of each float that is equal to an int: a new
 * reference, or NULL with an exception. */
static PyObject *normal(PyObject *object, int depth) {
    if (PyBool_Check(object)) {
        return PyLong_FromLong(object == Py_True);
    }
    if (PyFloat_CheckExact(object) && !is_fraction(object)) {
        return PyLong_FromDouble(PyFloat_AS_DOUBLE(object));
    }
    if (!PyTuple_CheckExact(object) || depth == PACKER_DEPTH) {
        return Py_NewRef(object);
    }
    Py_ssize_t n = PyTuple_GET_SIZE(object);
    PyObject *copy = PyTuple_New(n);
    for (Py_ssize_t i = 0; copy != NULL && i < n; i++) {
        PyObject *item = normal(PyTuple_GET_ITEM(object, i), depth + 1);
        if (item == NULL) {
            Py_CLEAR(copy);
        } else {
            PyTuple_SET_ITEM(copy, i, item);
        }
    }
    return copy;
}

static PyObject *encoded(struct module_state *state, PyObject *object) {
    struct message message;
    if (codec_encode(state, object, &message) < 0) {
        return NULL;
    }
    PyObject *bytes = message_bytes(&message);
    message_clear(&message);
    return bytes;
}

/* Whether what the bytes stand for is equal to the object, and has these bytes again. -1 with an
 * exception. */
static int comes_back(struct module_state *state, PyObject *object, PyObject *bytes) {
    PyObject *again = NULL;
    PyObject *copy = codec_decode(state, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    int r = copy == NULL ? -1 : PyObject_RichCompareBool(copy, object, Py_EQ);
    if (r > 0) {
        again = encoded(state, copy);
        r = again == NULL ? -1 : PyObject_RichCompareBool(again, bytes, Py_EQ);
    }
    Py_XDECREF(copy);
    Py_XDECREF(again);
    return r;
}

static int refuse(PyObject *object, const char *why) {
    PyErr_Format(PyExc_TypeError, "%R of type '%.200s' cannot be a key of a shared dict: %s",
                 object, Py_TYPE(object)->tp_name, why);
    return -1;
}

static int pickle(struct module_state *state, PyObject *object, struct key *key) {
    if (PyAnySet_Check(object)) {
        return refuse(object, "the order of a set differs from process to process");
    }
    PyObject *plain = normal(object, 0);
    key->bytes = plain == NULL ? NULL : encoded(state, plain);
    int r = key->bytes == NULL ? -1 : comes_back(state, plain, key->bytes);
    Py_XDECREF(plain);
    if (r > 0) {
        key->data = (const unsigned char *)PyBytes_AS_STRING(key->bytes);
        key->size = (size_t)PyBytes_GET_SIZE(key->bytes);
        return 0;
    }
    Py_CLEAR(key->bytes);
    return r < 0 ? -1 : refuse(object, "its pickle is not equal to it, or not always the same");
}

static int allocate(struct key *key) {
    if (key->size <= KEY_INLINE) {
        key->data = key->room;
        return 0;
    }
    key->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)key->size);
    if (key->bytes == NULL) {
        return -1;
    }
    key->data = (const unsigned char *)PyBytes_AS_STRING(key->bytes);
    return 0;
}

int key_encode(struct module_state *state, PyObject *object, struct key *key) {
    key->bytes = NULL;
    if (PyObject_Hash(object) == -1) {
        return -1;
    }
    key->size = measure(object, 0);
    if (key->size == 0) {
        if (pickle(state, object, key) < 0) {
            return -1;
        }
    } else if (key->size <= MPROC_DICT_KEY_MAX) {
        if (allocate(key) < 0) {
            return -1;
        }
        (void)write_key((unsigned char *)(uintptr_t)key->data, object, 0);
    }
    if (key->size > MPROC_DICT_KEY_MAX) {
        key_clear(key);
        PyErr_Format(PyExc_ValueError, "a key of %zu bytes: a shared dict has keys of at most %d",
                     key->size, MPROC_DICT_KEY_MAX);
        return -1;
    }
    return 0;
}
