/*
 * msgpack_write.c - plain Python values to MessagePack
 *
 * SPDX-License-Identifier: MIT
 *
 * The object is walked once, and written as the walk goes (packer.h).
 *
 * Arrays. An array of numpy's is found by its type's name, so that nobody imports numpy for it, and
 * looked at through its buffer, which runs no Python code. What is not a plain grid of numbers is
 * pickled, as before. Large ones go beside the message (parts.h).
 */
#include "module.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define SHORT_HEADER 6 /* of a pickle: an ext 32 */

static void store16(unsigned char *at, uint16_t v) {
    v = htobe16(v);
    memcpy(at, &v, sizeof v);
}

static void store32(unsigned char *at, uint32_t v) {
    v = htobe32(v);
    memcpy(at, &v, sizeof v);
}

static void store64(unsigned char *at, uint64_t v) {
    v = htobe64(v);
    memcpy(at, &v, sizeof v);
}

static int pack(struct packer *pk, PyObject *object, int depth);

static int pack_byte(struct packer *pk, unsigned char byte) {
    if (packer_reserve(pk, 1) < 0) {
        return -1;
    }
    *pk->at++ = byte;
    return 0;
}

static inline unsigned char *put_head(unsigned char *at, unsigned char lead, uint64_t v,
                                      int width) {
    *at++ = lead;
    if (width == 1) {
        *at = (unsigned char)v;
    }
    if (width == 2) {
        store16(at, (uint16_t)v);
    }
    if (width == 4) {
        store32(at, (uint32_t)v);
    }
    if (width == 8) {
        store64(at, v);
    }
    return at + width;
}

static unsigned char *put_unsigned(unsigned char *at, uint64_t v) {
    if (v <= UINT8_MAX) {
        return put_head(at, 0xcc, v, 1);
    }
    if (v <= UINT16_MAX) {
        return put_head(at, 0xcd, v, 2);
    }
    if (v <= UINT32_MAX) {
        return put_head(at, 0xce, v, 4);
    }
    return put_head(at, 0xcf, v, 8);
}

static unsigned char *put_negative(unsigned char *at, int64_t v) {
    if (v >= INT8_MIN) {
        return put_head(at, 0xd0, (uint64_t)v, 1);
    }
    if (v >= INT16_MIN) {
        return put_head(at, 0xd1, (uint64_t)v, 2);
    }
    if (v >= INT32_MIN) {
        return put_head(at, 0xd2, (uint64_t)v, 4);
    }
    return put_head(at, 0xd3, (uint64_t)v, 8);
}

/* Integers above INT64_MAX. */
static int pack_large_int(struct packer *pk, PyObject *object) {
    unsigned long long v = PyLong_AsUnsignedLongLong(object);
    if (v == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear();
        return PACKER_NOT_PLAIN;
    }
    pk->at = put_unsigned(pk->at, v);
    return 0;
}

static int pack_int(struct packer *pk, PyObject *object) {
    int overflow;
    long long v = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (packer_reserve(pk, 9) < 0) {
        return -1;
    }
    if (overflow) {
        return overflow < 0 ? PACKER_NOT_PLAIN : pack_large_int(pk, object);
    }
    if (v >= -32 && v <= 127) {
        *pk->at++ = (unsigned char)v;
    } else {
        pk->at = v >= 0 ? put_unsigned(pk->at, (uint64_t)v) : put_negative(pk->at, v);
    }
    return 0;
}

static int pack_float(struct packer *pk, PyObject *object) {
    double v = PyFloat_AS_DOUBLE(object);
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (packer_reserve(pk, 9) < 0) {
        return -1;
    }
    pk->at = put_head(pk->at, 0xcb, bits, 8);
    return 0;
}

static int pack_text(struct packer *pk, PyObject *object) {
    const char *data;
    Py_ssize_t size;
    int r = packer_text(object, &data, &size);
    if (r == 0 && size >= PACKER_LONG) {
        r = packer_meet(pk, object);
    }
    if (r != 0) {
        return r;
    }
    if (size > UINT32_MAX) {
        return PACKER_NOT_PLAIN;
    }
    if (packer_reserve(pk, 5) < 0) {
        return -1;
    }
    if (size <= 31) {
        *pk->at++ = (unsigned char)(0xa0 | size);
    } else if (size <= UINT8_MAX) {
        pk->at = put_head(pk->at, 0xd9, (uint64_t)size, 1);
    } else if (size <= UINT16_MAX) {
        pk->at = put_head(pk->at, 0xda, (uint64_t)size, 2);
    } else {
        pk->at = put_head(pk->at, 0xdb, (uint64_t)size, 4);
    }
    return packer_data(pk, object, data, (size_t)size);
}

static int pack_bytes(struct packer *pk, PyObject *object) {
    Py_ssize_t size = PyBytes_GET_SIZE(object);
    if (size >= PACKER_LONG && packer_meet(pk, object) != 0) {
        return PACKER_NOT_PLAIN;
    }
    if (size > UINT32_MAX) {
        return PACKER_NOT_PLAIN;
    }
    if (packer_reserve(pk, 5) < 0) {
        return -1;
    }
    if (size <= UINT8_MAX) {
        pk->at = put_head(pk->at, 0xc4, (uint64_t)size, 1);
    } else if (size <= UINT16_MAX) {
        pk->at = put_head(pk->at, 0xc5, (uint64_t)size, 2);
    } else {
        pk->at = put_head(pk->at, 0xc6, (uint64_t)size, 4);
    }
    return packer_data(pk, object, PyBytes_AS_STRING(object), (size_t)size);
}

/* The header of an array (fix 0x90, wide 0xdc) or a map (0x80, 0xde). */
static int pack_count(struct packer *pk, Py_ssize_t n, unsigned char fix, unsigned char wide) {
    if (n > UINT32_MAX) {
        return PACKER_NOT_PLAIN;
    }
    if (packer_reserve(pk, 5) < 0) {
        return -1;
    }
    if (n <= 15) {
        *pk->at++ = (unsigned char)(fix | n);
    } else if (n <= UINT16_MAX) {
        pk->at = put_head(pk->at, wide, (uint64_t)n, 2);
    } else {
        pk->at = put_head(pk->at, (unsigned char)(wide + 1), (uint64_t)n, 4);
    }
    return 0;
}

/* lent: see packer_lend(). */
static int pack_items(struct packer *pk, PyObject *const *items, Py_ssize_t n, int depth,
                      int lent) {
    int r = pack_count(pk, n, 0x90, 0xdc);
    for (Py_ssize_t i = 0; r == 0 && i < n; i++) {
        packer_lend(pk, lent);
        r = pack(pk, items[i], depth);
    }
    return r;
}

static int pack_list(struct packer *pk, PyObject *list, int depth) {
    if (depth == PACKER_DEPTH || packer_meet(pk, list) != 0) {
        return PACKER_NOT_PLAIN;
    }
    PyObject *items = threads_list(list);
    if (items == NULL) {
        return -1;
    }
    int r = pack_items(pk, PySequence_Fast_ITEMS(items), PySequence_Fast_GET_SIZE(items), depth + 1,
                       THREADS_COPIES);
    threads_drop(items);
    return r;
}

/* A tuple's ext says how long its payload is, which is known when it has been written: an ext 32
 * leaves room for any length. */
static int pack_tuple(struct packer *pk, PyObject *tuple, int depth) {
    struct message *m = pk->message;
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    if (depth == PACKER_DEPTH || (n > 0 && packer_meet(pk, tuple) != 0)) {
        return PACKER_NOT_PLAIN;
    }
    if (packer_reserve(pk, 6) < 0) {
        return -1;
    }
    pk->at = put_head(pk->at, 0xc9, 0, 4);
    *pk->at++ = MPROC_EXT_TUPLE;
    size_t payload = (size_t)(pk->at - m->buffer);
    size_t referred = m->referred;
    int r = pack_items(pk, PySequence_Fast_ITEMS(tuple), n, depth + 1, 0);
    if (r != 0) {
        return r;
    }
    size_t length = (size_t)(pk->at - m->buffer) - payload + (m->referred - referred);
    if (length > UINT32_MAX) {
        return PACKER_NOT_PLAIN;
    }
    store32(m->buffer + payload - 5, (uint32_t)length);
    return 0;
}

static int pack_dict_items(struct packer *pk, PyObject *dict, int depth) {
    int r = pack_count(pk, PyDict_GET_SIZE(dict), 0x80, 0xde);
    PyObject *key, *value;
    for (Py_ssize_t i = 0; r == 0 && PyDict_Next(dict, &i, &key, &value);) {
        packer_lend(pk, THREADS_COPIES);
        r = pack(pk, key, depth);
        if (r == 0) {
            packer_lend(pk, THREADS_COPIES);
            r = pack(pk, value, depth);
        }
    }
    return r;
}

static int pack_dict(struct packer *pk, PyObject *dict, int depth) {
    if (depth == PACKER_DEPTH || packer_meet(pk, dict) != 0) {
        return PACKER_NOT_PLAIN;
    }
    PyObject *copy = threads_dict(dict);
    if (copy == NULL) {
        return -1;
    }
    int r = pack_dict_items(pk, copy, depth + 1);
    threads_drop(copy);
    return r;
}

/* The type of an array's items by the format of its buffer: false, if they are no plain numbers of
 * this machine's order. 'q' is another dtype than 'l' to numpy, although it is as long. */
static bool item_of(const Py_buffer *view, mproc_value_array *array) {
    static const char formats[] = "?bBhHiIlLefd", types[] = "biuiuiuiufff";
    const char *format = view->format != NULL ? view->format : "B";
    if (format[0] == 'Z' && (format[1] == 'f' || format[1] == 'd') && format[2] == 0) {
        array->type = 'c';
    } else {
        const char *at = format[0] != 0 && format[1] == 0 ? strchr(formats, format[0]) : NULL;
        array->type = at != NULL ? types[at - formats] : 0;
    }
    array->item_size = (unsigned)view->itemsize;
    return array->type != 0;
}

/* A copy of what is in no order, as a pickle makes it, is in rows and can be written to. */
static unsigned flags_of(const Py_buffer *view) {
    if (!PyBuffer_IsContiguous(view, 'A')) {
        return 0;
    }
    return (PyBuffer_IsContiguous(view, 'C') ? 0 : MPROC_VALUE_FORTRAN) |
           (view->readonly ? MPROC_VALUE_READONLY : 0);
}

/* The head of an array; false: it is no plain grid. */
static bool describe_array(const Py_buffer *view, mproc_value_array *array) {
    if (view->ndim > MPROC_VALUE_DIMENSIONS || !item_of(view, array) ||
        view->len >= UINT32_MAX - MPROC_VALUE_ARRAY_HEAD) {
        return false;
    }
    array->flags = flags_of(view);
    array->ndim = (unsigned)view->ndim;
    for (int i = 0; i < view->ndim; i++) {
        array->shape[i] = (uint64_t)view->shape[i];
    }
    return true;
}

static int pack_array_data(struct packer *pk, PyObject *object, const Py_buffer *view) {
    PyObject *owner =
        (size_t)view->len < MESSAGE_REFER ? Py_NewRef(object) : PyMemoryView_FromObject(object);
    if (owner == NULL) {
        return -1;
    }
    int r = packer_data(pk, owner, view->buf, (size_t)view->len);
    Py_DECREF(owner);
    return r;
}

/* All but the items, which take so many bytes. */
static int pack_array_head(struct packer *pk, const mproc_value_array *array, int beside,
                           size_t items) {
    unsigned char head[MPROC_VALUE_ARRAY_HEAD];
    if (packer_reserve(pk, 6 + sizeof head + sizeof(uint64_t)) < 0) {
        return -1;
    }
    size_t size = mproc_value_array_head(array, beside, head);
    pk->at = put_head(pk->at, 0xc9, size + items, 4);
    *pk->at++ = MPROC_EXT_ARRAY;
    memcpy(pk->at, head, size);
    pk->at += size;
    return 0;
}

/* Items that are in no order are copied twice. In shared memory they are to stay where they are,
 * which a pickle knows to say. */
static int pack_strided(struct packer *pk, const Py_buffer *view, const mproc_value_array *array) {
    if (buffer_around(pk->message->parts.arrays, view->buf, 1) != NULL) {
        return PACKER_NOT_PLAIN;
    }
    PyObject *rows = PyBytes_FromStringAndSize(NULL, view->len);
    int r =
        rows == NULL ? -1 : PyBuffer_ToContiguous(PyBytes_AS_STRING(rows), view, view->len, 'C');
    if (r == 0) {
        r = pack_array_head(pk, array, 0, (size_t)view->len);
    }
    if (r == 0) {
        r = packer_data(pk, rows, PyBytes_AS_STRING(rows), (size_t)view->len);
    }
    Py_XDECREF(rows);
    return r;
}

static int pack_view(struct packer *pk, PyObject *object, const Py_buffer *view) {
    struct parts *parts = &pk->message->parts;
    mproc_value_array array;
    uint64_t part = parts->n;
    if (!describe_array(view, &array)) {
        return PACKER_NOT_PLAIN;
    }
    if (!PyBuffer_IsContiguous(view, 'A')) {
        return pack_strided(pk, view, &array);
    }
    int beside = parts_add_later(parts, object, view);
    if (beside < 0 ||
        pack_array_head(pk, &array, beside, beside ? sizeof part : (size_t)view->len) < 0) {
        return -1;
    }
    if (!beside) {
        return pack_array_data(pk, object, view);
    }
    memcpy(pk->at, &part, sizeof part);
    pk->at += sizeof part;
    return 0;
}

/* Does the dtype of an array say no more than its buffer? A pickle keeps its metadata, too. */
static int dtype_is_bare(PyObject *array) {
    PyObject *dtype = PyObject_GetAttrString(array, "dtype");
    PyObject *metadata = dtype != NULL ? PyObject_GetAttrString(dtype, "metadata") : NULL;
    int r = metadata == NULL ? -1 : metadata == Py_None;
    Py_XDECREF(metadata);
    Py_XDECREF(dtype);
    return r;
}

/* A program may have a way of its own to pickle arrays. */
static int array_is_plain(const struct parts *parts, PyObject *object) {
    if (parts->arrays == NULL) {
        return 0;
    }
    int own = pickling_is_customised(&parts->arrays->pickling, Py_TYPE(object));
    return own < 0 ? -1 : own == 0 ? dtype_is_bare(object) : 0;
}

static int pack_array(struct packer *pk, PyObject *object) {
    Py_buffer view;
    int plain = array_is_plain(&pk->message->parts, object);
    if (plain <= 0 || packer_meet(pk, object) != 0) {
        return plain < 0 ? -1 : PACKER_NOT_PLAIN;
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) { /* of dates, for example */
        PyErr_Clear();
        return PACKER_NOT_PLAIN;
    }
    int r = pack_view(pk, object, &view);
    PyBuffer_Release(&view);
    return r;
}

static int pack(struct packer *pk, PyObject *object, int depth) {
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type) {
        return pack_text(pk, object);
    }
    if (type == &PyLong_Type) {
        return pack_int(pk, object);
    }
    if (type == &PyFloat_Type) {
        return pack_float(pk, object);
    }
    if (object == Py_None) {
        return pack_byte(pk, 0xc0);
    }
    if (type == &PyBool_Type) {
        return pack_byte(pk, object == Py_True ? 0xc3 : 0xc2);
    }
    if (type == &PyTuple_Type) {
        return pack_tuple(pk, object, depth);
    }
    if (type == &PyDict_Type) {
        return pack_dict(pk, object, depth);
    }
    if (type == &PyList_Type) {
        return pack_list(pk, object, depth);
    }
    if (type == &PyBytes_Type) {
        return pack_bytes(pk, object);
    }
    if (strcmp(type->tp_name, "numpy.ndarray") == 0) {
        return pack_array(pk, object);
    }
    return PACKER_NOT_PLAIN;
}

int msgpack_write(PyObject *object, struct message *m) {
    struct packer pk;
    packer_init(&pk, m);
    int r = pack(&pk, object, 0);
    if (r == 0) {
        packer_sync(&pk);
    }
    return r;
}

/* The list is a program's, and memory is taken meanwhile, which may run a destructor that changes
 * it: it is looked at anew for each item. */
int msgpack_write_items(PyObject *list, Py_ssize_t first, Py_ssize_t n, struct message *m) {
    struct packer pk;
    packer_init(&pk, m);
    int r = pack_count(&pk, n, 0x90, 0xdc);
    for (Py_ssize_t i = first; r == 0 && i < first + n; i++) {
        PyObject *item = threads_item(list, i);
        if (item == NULL) {
            return PACKER_NOT_PLAIN;
        }
        packer_lend(&pk, THREADS_COPIES);
        r = pack(&pk, item, 1);
        threads_drop(item);
    }
    if (r == 0) {
        packer_sync(&pk);
    }
    return r;
}

void msgpack_parts_header(unsigned char *room, unsigned char type, size_t length) {
    room[0] = 0xd7;
    room[1] = type;
    store64(room + 2, length);
}

size_t msgpack_pickle_header(unsigned char *room, size_t length) {
    if (length > UINT32_MAX) {
        room[0] = 0xd7;
        room[1] = MPROC_EXT_LONG_PICKLE;
        store64(room + 2, length);
        return MSGPACK_PICKLE_HEADER;
    }
    unsigned char *short_header = room + MSGPACK_PICKLE_HEADER - SHORT_HEADER;
    *put_head(short_header, 0xc9, length, 4) = MPROC_EXT_PICKLE;
    return SHORT_HEADER;
}
