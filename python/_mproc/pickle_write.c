/*
 * pickle_write.c - plain Python values as a pickle
 *
 * SPDX-License-Identifier: MIT
 *
 * What goes to a peer that may be a standard library's has to be a pickle. For plain values it is
 * written here, as the walk goes (packer.h): a tree needs no memo, and so neither has its reader to
 * keep one. Whatever else pickle knows to say of an object of another type, or of one that occurs
 * twice, is the pickler's.
 *
 * The built-in types stand before all that a program can say about pickling: neither copyreg nor
 * register() nor a reducer_override is asked for them.
 */
#include "packer.h"
#include "pickling.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define HEAD 9 /* bytes of the longest opcode with its length or number */

static int write_value(struct packer *pk, PyObject *object, int depth);

static inline unsigned char *put_code(unsigned char *at, unsigned char code, uint64_t v,
                                      size_t width) {
    *at++ = code;
    v = htole64(v);
    memcpy(at, &v, width);
    return at + width;
}

static int write_byte(struct packer *pk, unsigned char byte) {
    if (packer_reserve(pk, 1) < 0) {
        return -1;
    }
    *pk->at++ = byte;
    return 0;
}

/* An int of up to 8 bytes, in as few as hold it and its sign. */
static unsigned char *put_long(unsigned char *at, int64_t v) {
    size_t width = 4;
    while (width < 8 && (v >> (8 * width - 1)) != 0 && (v >> (8 * width - 1)) != -1) {
        width++;
    }
    *at++ = 0x8a;
    return put_code(at, (unsigned char)width, (uint64_t)v, width);
}

/* In HEAD + 1 bytes at most. */
static unsigned char *put_int(unsigned char *at, int64_t v) {
    if (v >= 0 && v <= UINT8_MAX) {
        return put_code(at, 'K', (uint64_t)v, 1);
    }
    if (v >= 0 && v <= UINT16_MAX) {
        return put_code(at, 'M', (uint64_t)v, 2);
    }
    if (v >= INT32_MIN && v <= INT32_MAX) {
        return put_code(at, 'J', (uint64_t)v, 4);
    }
    return put_long(at, v);
}

static int write_int(struct packer *pk, PyObject *object) {
    int overflow;
    int64_t v = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) {
        return PACKER_NOT_PLAIN;
    }
    if (packer_reserve(pk, HEAD + 1) < 0) {
        return -1;
    }
    pk->at = put_int(pk->at, v);
    return 0;
}

static int write_float(struct packer *pk, PyObject *object) {
    double v = PyFloat_AS_DOUBLE(object);
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (packer_reserve(pk, HEAD) < 0) {
        return -1;
    }
    pk->at = put_code(pk->at, 'G', htole64(htobe64(bits)), sizeof bits);
    return 0;
}

/* The opcodes of text and of bytes differ by the width of the length. */
static int write_data(struct packer *pk, PyObject *object, const void *data, size_t size,
                      const char codes[3]) {
    if (size >= PACKER_LONG && packer_meet(pk, object) != 0) {
        return PACKER_NOT_PLAIN;
    }
    if (packer_reserve(pk, HEAD) < 0) {
        return -1;
    }
    if (size <= UINT8_MAX) {
        pk->at = put_code(pk->at, (unsigned char)codes[0], size, 1);
    } else if (size <= UINT32_MAX) {
        pk->at = put_code(pk->at, (unsigned char)codes[1], size, 4);
    } else {
        pk->at = put_code(pk->at, (unsigned char)codes[2], size, 8);
    }
    return packer_data(pk, object, data, size);
}

static int write_text(struct packer *pk, PyObject *text) {
    const char *data;
    Py_ssize_t size;
    int r = packer_text(text, &data, &size);
    return r != 0 ? r : write_data(pk, text, data, (size_t)size, "\x8cX\x8d");
}

static int write_bytes(struct packer *pk, PyObject *bytes) {
    return write_data(pk, bytes, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes),
                      "CB\x8e");
}

/* lent: see packer_lend(). */
static int write_items(struct packer *pk, PyObject *const *items, Py_ssize_t n, int depth,
                       int lent) {
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && i < n; i++) {
        packer_lend(pk, lent);
        r = write_value(pk, items[i], depth);
    }
    return r;
}

static int write_list_items(struct packer *pk, PyObject *list, int depth) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(list);
    int r = write_byte(pk, ']');
    if (r != 0 || n == 0) {
        return r;
    }
    r = n > 1 ? write_byte(pk, '(') : 0;
    if (r == 0) {
        r = write_items(pk, PySequence_Fast_ITEMS(list), n, depth, THREADS_COPIES);
    }
    return r != 0 ? r : write_byte(pk, n > 1 ? 'e' : 'a');
}

static int write_list(struct packer *pk, PyObject *list, int depth) {
    if (depth == PACKER_DEPTH || packer_meet(pk, list) != 0) {
        return PACKER_NOT_PLAIN;
    }
    PyObject *items = threads_list(list);
    if (items == NULL) {
        return -1;
    }
    int r = write_list_items(pk, items, depth + 1);
    threads_drop(items);
    return r;
}

static int write_tuple(struct packer *pk, PyObject *tuple, int depth) {
    static const char codes[] = ")\x85\x86\x87t";
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    if (depth == PACKER_DEPTH || (n > 0 && packer_meet(pk, tuple) != 0)) {
        return PACKER_NOT_PLAIN;
    }
    int r = n > 3 ? write_byte(pk, '(') : 0;
    if (r == 0) {
        r = write_items(pk, PySequence_Fast_ITEMS(tuple), n, depth + 1, 0);
    }
    return r != 0 ? r : write_byte(pk, (unsigned char)codes[n < 4 ? n : 4]);
}

static int write_dict_items(struct packer *pk, PyObject *dict, int depth) {
    PyObject *key, *value;
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && PyDict_Next(dict, &i, &key, &value);) {
        packer_lend(pk, THREADS_COPIES);
        r = write_value(pk, key, depth);
        if (r == 0) {
            packer_lend(pk, THREADS_COPIES);
            r = write_value(pk, value, depth);
        }
    }
    return r;
}

static int write_all_of_dict(struct packer *pk, PyObject *dict, int depth) {
    Py_ssize_t n = PyDict_GET_SIZE(dict);
    int r = write_byte(pk, '}');
    if (r != 0 || n == 0) {
        return r;
    }
    r = n > 1 ? write_byte(pk, '(') : 0;
    if (r == 0) {
        r = write_dict_items(pk, dict, depth);
    }
    return r != 0 ? r : write_byte(pk, n > 1 ? 'u' : 's');
}

static int write_dict(struct packer *pk, PyObject *dict, int depth) {
    if (depth == PACKER_DEPTH || packer_meet(pk, dict) != 0) {
        return PACKER_NOT_PLAIN;
    }
    PyObject *copy = threads_dict(dict);
    if (copy == NULL) {
        return -1;
    }
    int r = write_all_of_dict(pk, copy, depth + 1);
    threads_drop(copy);
    return r;
}

static int write_value(struct packer *pk, PyObject *object, int depth) {
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyLong_Type) {
        return write_int(pk, object);
    }
    if (type == &PyUnicode_Type) {
        return write_text(pk, object);
    }
    if (type == &PyFloat_Type) {
        return write_float(pk, object);
    }
    if (object == Py_None) {
        return write_byte(pk, 'N');
    }
    if (type == &PyBool_Type) {
        return write_byte(pk, object == Py_True ? 0x88 : 0x89);
    }
    if (type == &PyTuple_Type) {
        return write_tuple(pk, object, depth);
    }
    if (type == &PyDict_Type) {
        return write_dict(pk, object, depth);
    }
    if (type == &PyList_Type) {
        return write_list(pk, object, depth);
    }
    if (type == &PyBytes_Type) {
        return write_bytes(pk, object);
    }
    return PACKER_NOT_PLAIN;
}

int pickle_write_plain(PyObject *object, struct message *message) {
    struct packer pk;
    packer_init(&pk, message);
    if (packer_reserve(&pk, 2) < 0) {
        return -1;
    }
    pk.at = put_code(pk.at, 0x80, PICKLE_PROTOCOL, 1);
    int r = write_value(&pk, object, 0);
    if (r == 0) {
        r = write_byte(&pk, '.');
    }
    if (r == 0) {
        packer_sync(&pk);
    }
    return r;
}

size_t pickle_write_int(PyObject *object, unsigned char out[PICKLE_INT]) {
    int overflow;
    int64_t v = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) {
        return 0;
    }
    static_assert(PICKLE_INT == 2 + HEAD + 1 + 1, "protocol, the longest int, the end");
    unsigned char *at = put_int(put_code(out, 0x80, PICKLE_PROTOCOL, 1), v);
    *at++ = '.';
    return (size_t)(at - out);
}
