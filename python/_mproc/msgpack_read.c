/*
 * msgpack_read.c - MessagePack to Python objects
 *
 * SPDX-License-Identifier: MIT
 *
 * Nothing is trusted. Each length is compared with what is left. The counts of all containers
 * together may not exceed the bytes of the message (`budget`), so that a short message cannot ask
 * for much memory. Depth is bounded. The message must end where its value ends.
 *
 * Dict keys recur from message to message. Short ones are remembered with their hash
 * (keys->entries), which saves making and hashing them.
 *
 * Invariants: 1. reader.start <= reader.at <= reader.end, and bytes are read below end only.
 * 2. Each entry of keys->entries is NULL or an ASCII str.
 */
#include "large.h"
#include "module.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static uint64_t load_be(const unsigned char *at, size_t width) {
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) {
        v = v << 8 | at[i];
    }
    return v;
}

struct reader {
    const unsigned char *start, *at, *end;
    size_t budget; /* elements that containers may still announce */
    struct msgpack_keys *keys;
    struct module_state *state;
    const struct msgpack_beside *beside;
};

static PyObject *read_value(struct reader *rd, int depth);

static PyObject *corrupt(const struct reader *rd, const unsigned char *at, const char *what) {
    return PyErr_Format(PyExc_ValueError, "corrupt message: %s at byte %zd", what,
                        (Py_ssize_t)(at - rd->start));
}

/* Whether n more bytes are there; if not, ValueError. */
static inline int has(struct reader *rd, uint64_t n) {
    if ((uint64_t)(rd->end - rd->at) >= n) {
        return 1;
    }
    PyErr_Format(
        PyExc_ValueError, "corrupt message: %llu bytes wanted at byte %zd, where only %zd are left",
        (unsigned long long)n, (Py_ssize_t)(rd->at - rd->start), (Py_ssize_t)(rd->end - rd->at));
    return 0;
}

/* A big-endian number of 1, 2, 4 or 8 bytes. 0, or -1 with ValueError. */
static int read_number(struct reader *rd, size_t width, uint64_t *v) {
    if (!has(rd, width)) {
        return -1;
    }
    *v = load_be(rd->at, width);
    rd->at += width;
    return 0;
}

static PyObject *read_unsigned(struct reader *rd, size_t width) {
    uint64_t v;
    if (read_number(rd, width, &v) < 0) {
        return NULL;
    }
    /* The interpreter makes the first kind faster. */
    return v <= LONG_MAX ? PyLong_FromLong((long)v) : PyLong_FromUnsignedLongLong(v);
}

static PyObject *read_signed(struct reader *rd, size_t width) {
    uint64_t v;
    if (read_number(rd, width, &v) < 0) {
        return NULL;
    }
    unsigned unused = 64 - 8 * (unsigned)width;
    return PyLong_FromLongLong((int64_t)(v << unused) >> unused);
}

static PyObject *read_float32(struct reader *rd) {
    uint64_t v;
    if (read_number(rd, 4, &v) < 0) {
        return NULL;
    }
    uint32_t bits = (uint32_t)v;
    float f;
    memcpy(&f, &bits, sizeof f);
    return PyFloat_FromDouble(f);
}

static PyObject *read_float64(struct reader *rd) {
    uint64_t v;
    if (read_number(rd, 8, &v) < 0) {
        return NULL;
    }
    double d;
    memcpy(&d, &v, sizeof d);
    return PyFloat_FromDouble(d);
}

/* What was made of the bytes there. Those that are no text are the message's fault. */
static PyObject *text_or_corrupt(const struct reader *rd, PyObject *text, const unsigned char *at) {
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        return corrupt(rd, at, "text that is not UTF-8");
    }
    return text;
}

static PyObject *read_text(struct reader *rd, uint64_t size) {
    if (!has(rd, size)) {
        return NULL;
    }
    const unsigned char *at = rd->at;
    rd->at += size;
    PyObject *text = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size, NULL);
    return text_or_corrupt(rd, text, at);
}

static PyObject *read_bytes(struct reader *rd, uint64_t size) {
    if (!has(rd, size)) {
        return NULL;
    }
    const unsigned char *at = rd->at;
    rd->at += size;
    return large_bytes(at, (Py_ssize_t)size);
}

/* Text and bytes with a length of their own, 1, 2 or 4 bytes wide. */
static PyObject *read_sized(struct reader *rd, size_t width,
                            PyObject *(*read)(struct reader *, uint64_t)) {
    uint64_t size;
    return read_number(rd, width, &size) < 0 ? NULL : read(rd, size);
}

/* Takes n elements off the budget. Each needs a byte at least, so a true message never exceeds
 * it. */
static int announce(struct reader *rd, uint64_t n, const unsigned char *at) {
    if (n > rd->budget) {
        corrupt(rd, at, "more elements announced than can follow");
        return -1;
    }
    rd->budget -= n;
    return 0;
}

static PyObject *read_list(struct reader *rd, uint64_t n, int depth) {
    if (announce(rd, n, rd->at) < 0) {
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)n);
    if (list == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < (Py_ssize_t)n; i++) {
        PyObject *item = read_value(rd, depth);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, item);
    }
    return list;
}

static PyObject *read_tuple_items(struct reader *rd, uint64_t n, int depth) {
    if (announce(rd, n, rd->at) < 0) {
        return NULL;
    }
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    if (tuple == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < (Py_ssize_t)n; i++) {
        PyObject *item = read_value(rd, depth);
        if (item == NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

/* The last bytes of a key, up to eight of them: all, if there are no more. Words that overlap take
 * the place of a loop. */
static inline uint64_t last_word(const unsigned char *at, size_t size) {
    if (size >= 8) {
        uint64_t last;
        memcpy(&last, at + size - 8, sizeof last);
        return last;
    }
    if (size >= 4) {
        uint32_t first, last;
        memcpy(&first, at, sizeof first);
        memcpy(&last, at + size - 4, sizeof last);
        return (uint64_t)first << 32 | last;
    }
    return size == 0 ? 0 : (uint64_t)at[0] << 16 | (uint64_t)at[size / 2] << 8 | at[size - 1];
}

static inline uint64_t word_at(const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Where a key of at most MSGPACK_CACHED_KEY bytes is remembered. */
static inline size_t key_place(const unsigned char *at, size_t size) {
    uint64_t mix = size;
    for (size_t i = 0; i + 8 < size; i += 8) {
        mix = (mix ^ word_at(at + i)) * 0x9e3779b97f4a7c15u;
    }
    mix = (mix ^ last_word(at, size)) * 0x9e3779b97f4a7c15u;
    return (size_t)(mix >> 32) % MSGPACK_KEYS;
}

static inline bool is_key(PyObject *key, const unsigned char *at, size_t size) {
    if ((size_t)PyUnicode_GET_LENGTH(key) != size) {
        return false;
    }
    const unsigned char *own = (const unsigned char *)PyUnicode_1BYTE_DATA(key);
    for (size_t i = 0; i + 8 < size; i += 8) {
        if (word_at(own + i) != word_at(at + i)) {
            return false;
        }
    }
    return last_word(own, size) == last_word(at, size);
}

/* Without the interpreter's lock none is remembered: it would be replaced while it is read. */
static Py_NO_INLINE PyObject *make_key(PyObject **slot, const unsigned char *at, size_t size) {
    PyObject *key = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size, NULL);
#ifdef Py_GIL_DISABLED
    (void)slot;
#else
    if (key != NULL && PyUnicode_IS_COMPACT_ASCII(key)) {
        Py_XSETREF(*slot, Py_NewRef(key));
    }
#endif
    return key;
}

static inline PyObject *find_key(struct msgpack_keys *keys, const unsigned char *at, size_t size) {
    PyObject **slot = &keys->entries[key_place(at, size)];
    return *slot != NULL && is_key(*slot, at, size) ? Py_NewRef(*slot) : make_key(slot, at, size);
}

PyObject *msgpack_key(struct msgpack_keys *keys, const void *data, size_t size) {
    return find_key(keys, data, size);
}

static PyObject *read_short_key(struct reader *rd, size_t size) {
    if (!has(rd, size)) {
        return NULL;
    }
    const unsigned char *at = rd->at;
    rd->at += size;
    return text_or_corrupt(rd, find_key(rd->keys, at, size), at);
}

static PyObject *read_key(struct reader *rd, int depth) {
    if (!has(rd, 1)) {
        return NULL;
    }
    if ((*rd->at & 0xe0) == 0xa0) {
        return read_short_key(rd, *rd->at++ & MSGPACK_CACHED_KEY);
    }
    return read_value(rd, depth);
}

/* A key of a kind that cannot be one is the message's fault. */
static int add_item(struct reader *rd, PyObject *dict, PyObject *key, PyObject *value,
                    const unsigned char *at) {
    if (PyDict_SetItem(dict, key, value) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        corrupt(rd, at, "unhashable key");
    }
    return -1;
}

static int read_item(struct reader *rd, PyObject *dict, int depth) {
    const unsigned char *at = rd->at;
    PyObject *key = read_key(rd, depth);
    PyObject *value = key != NULL ? read_value(rd, depth) : NULL;
    int r = value != NULL ? add_item(rd, dict, key, value, at) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return r;
}

static PyObject *read_dict(struct reader *rd, uint64_t n, int depth) {
    if (announce(rd, 2 * n, rd->at) < 0) {
        return NULL;
    }
    PyObject *dict = PyDict_New();
    for (uint64_t i = 0; dict != NULL && i < n; i++) {
        if (read_item(rd, dict, depth) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

/* The header of an array: 0, or -1 with ValueError. */
static int read_array_count(struct reader *rd, uint64_t *n) {
    const unsigned char *at = rd->at;
    if (!has(rd, 1)) {
        return -1;
    }
    unsigned char lead = *rd->at++;
    if ((lead & 0xf0) == 0x90) {
        *n = lead & 0x0f;
        return 0;
    }
    if (lead == 0xdc || lead == 0xdd) {
        return read_number(rd, lead == 0xdc ? 2 : 4, n);
    }
    corrupt(rd, at, "tuple without an array");
    return -1;
}

/* The payload of a tuple: an array that fills it. */
static PyObject *read_tuple(struct reader *rd, uint64_t length, int depth) {
    const unsigned char *end = rd->end;
    uint64_t n;
    rd->end = rd->at + length;
    PyObject *tuple = read_array_count(rd, &n) < 0 ? NULL : read_tuple_items(rd, n, depth);
    if (tuple != NULL && rd->at != rd->end) {
        Py_CLEAR(tuple);
        corrupt(rd, rd->at, "bytes left over in a tuple");
    }
    rd->end = end;
    return tuple;
}

/* The header of an ext, whose first byte is lead: its type and the length of its payload, which is
 * there. 0, or -1 with ValueError. */
static int read_ext_header(struct reader *rd, unsigned char lead, unsigned char *type,
                           uint64_t *length) {
    *length = 1u << ((lead - 0xd4) & 7);
    if (lead < 0xd4 && read_number(rd, (size_t)1 << (lead - 0xc7), length) < 0) {
        return -1;
    }
    if (!has(rd, 1)) {
        return -1;
    }
    *type = *rd->at++;
    return has(rd, *length) ? 0 : -1;
}

/* ---------------------------------------------------------------- arrays */

/* What an array in the message lies in from now on. */
static PyObject *copied_items(const mproc_value_array *array) {
    const char *data = array->data;
    Py_ssize_t size = (Py_ssize_t)array->size;
    return (array->flags & MPROC_VALUE_READONLY) != 0 ? PyBytes_FromStringAndSize(data, size)
                                                      : PyByteArray_FromStringAndSize(data, size);
}

/* The same for one beside it. */
static PyObject *items_beside(struct reader *rd, const mproc_value_array *array, uint64_t number,
                              const unsigned char *at) {
    mproc_value_part part;
    if (rd->beside == NULL || number >= rd->beside->n) {
        return corrupt(rd, at, "an array whose items are nowhere");
    }
    memcpy(&part, (const char *)rd->beside->list + number * sizeof part, sizeof part);
    if (part.size != array->size) {
        return corrupt(rd, at, "an array of another size than its items have");
    }
    return parts_read_one(rd->state, rd->beside->source, &part);
}

static PyObject *shape_of(const mproc_value_array *array) {
    PyObject *shape = PyTuple_New((Py_ssize_t)array->ndim);
    for (unsigned i = 0; shape != NULL && i < array->ndim; i++) {
        PyObject *length = PyLong_FromUnsignedLongLong(array->shape[i]);
        if (length == NULL) {
            Py_CLEAR(shape);
        } else {
            PyTuple_SET_ITEM(shape, (Py_ssize_t)i, length);
        }
    }
    return shape;
}

/* mproc.buffers makes the array: it imports numpy. */
static PyObject *array_over(struct reader *rd, const mproc_value_array *array, PyObject *items) {
    PyObject *make = buffer_array_maker(rd->state);
    PyObject *shape = make != NULL ? shape_of(array) : NULL;
    PyObject *made = NULL;
    if (shape != NULL) {
        made = PyObject_CallFunction(make, "OCiOii", items, array->type, (int)array->item_size,
                                     shape, (array->flags & MPROC_VALUE_FORTRAN) != 0,
                                     (array->flags & MPROC_VALUE_READONLY) != 0);
    }
    Py_XDECREF(shape);
    return made;
}

static PyObject *read_array(struct reader *rd, uint64_t length) {
    const unsigned char *at = rd->at;
    mproc_value_array array;
    uint64_t part;
    int r = mproc_value_array_find(at, length, &array, &part);
    if (r < 0) {
        return corrupt(rd, at, "an array that is none");
    }
    rd->at += length;
    PyObject *items = r == 0 ? copied_items(&array) : items_beside(rd, &array, part, at);
    PyObject *made = items != NULL ? array_over(rd, &array, items) : NULL;
    Py_XDECREF(items);
    return made;
}

static const char *name_of_kind(mproc_value_kind kind) {
    switch (kind) {
    case MPROC_VALUE_QUEUE: return "queue";
    case MPROC_VALUE_LOCK: return "lock";
    case MPROC_VALUE_RLOCK: return "rlock";
    case MPROC_VALUE_SEMAPHORE: return "semaphore";
    case MPROC_VALUE_BSEMAPHORE: return "bsemaphore";
    case MPROC_VALUE_EVENT: return "event";
    case MPROC_VALUE_CONDITION: return "condition";
    case MPROC_VALUE_BARRIER: return "barrier";
    case MPROC_VALUE_NUMBERS: return "numbers";
    case MPROC_VALUE_BUFFER: return "buffer";
    case MPROC_VALUE_SHARED_DICT: return "dict";
    case MPROC_VALUE_SHARED_LIST: return "list";
    default: return NULL;
    }
}

/* An argument that is an object of the family. */
static PyObject *read_object(struct reader *rd, uint64_t length) {
    const unsigned char *at = rd->at;
    void *addresses[2];
    if (length != sizeof addresses) {
        return corrupt(rd, at, "an object that is none");
    }
    memcpy(addresses, at, sizeof addresses);
    const char *kind = name_of_kind(mproc_value_object(addresses[0], addresses[1]));
    if (kind == NULL) {
        return corrupt(rd, at, "an object that the family does not have");
    }
    rd->at += length;
    return PyObject_CallFunction(rd->beside->adopt, "snzn", kind, (Py_ssize_t)addresses[0],
                                 name_of_kind(mproc_value_object(addresses[1], NULL)),
                                 (Py_ssize_t)addresses[1]);
}

static PyObject *read_ext(struct reader *rd, unsigned char lead, int depth) {
    const unsigned char *at = rd->at - 1;
    unsigned char type;
    uint64_t length;
    if (read_ext_header(rd, lead, &type, &length) < 0) {
        return NULL;
    }
    if (type == MPROC_EXT_TUPLE) {
        return read_tuple(rd, length, depth);
    }
    if (type == MPROC_EXT_ARRAY) {
        return read_array(rd, length);
    }
    if (type == MPROC_EXT_OBJECT && rd->beside != NULL && rd->beside->adopt != NULL) {
        return read_object(rd, length);
    }
    if (type == MPROC_EXT_PICKLE || type == MPROC_EXT_LONG_PICKLE) {
        return corrupt(rd, at, "pickle inside another value");
    }
    return PyErr_Format(PyExc_ValueError, "corrupt message: unknown ext type %d at byte %zd",
                        (signed char)type, (Py_ssize_t)(at - rd->start));
}

/* Lists, dicts and tuples of more than a few elements. */
static PyObject *read_counted(struct reader *rd, size_t width,
                              PyObject *(*read)(struct reader *, uint64_t, int), int depth) {
    uint64_t n;
    return read_number(rd, width, &n) < 0 ? NULL : read(rd, n, depth);
}

/* Values whose first byte says no more than their kind. */
static PyObject *read_kind(struct reader *rd, unsigned char lead, int depth) {
    switch (lead) {
    case 0xc0: Py_RETURN_NONE;
    case 0xc2: Py_RETURN_FALSE;
    case 0xc3: Py_RETURN_TRUE;
    case 0xc4: return read_sized(rd, 1, read_bytes);
    case 0xc5: return read_sized(rd, 2, read_bytes);
    case 0xc6: return read_sized(rd, 4, read_bytes);
    case 0xca: return read_float32(rd);
    case 0xcb: return read_float64(rd);
    case 0xcc: return read_unsigned(rd, 1);
    case 0xcd: return read_unsigned(rd, 2);
    case 0xce: return read_unsigned(rd, 4);
    case 0xcf: return read_unsigned(rd, 8);
    case 0xd0: return read_signed(rd, 1);
    case 0xd1: return read_signed(rd, 2);
    case 0xd2: return read_signed(rd, 4);
    case 0xd3: return read_signed(rd, 8);
    case 0xd9: return read_sized(rd, 1, read_text);
    case 0xda: return read_sized(rd, 2, read_text);
    case 0xdb: return read_sized(rd, 4, read_text);
    case 0xdc: return read_counted(rd, 2, read_list, depth);
    case 0xdd: return read_counted(rd, 4, read_list, depth);
    case 0xde: return read_counted(rd, 2, read_dict, depth);
    case 0xdf: return read_counted(rd, 4, read_dict, depth);
    case 0xc1: return corrupt(rd, rd->at - 1, "the unused byte 0xc1");
    default: return read_ext(rd, lead, depth);
    }
}

static PyObject *read_value(struct reader *rd, int depth) {
    if (!has(rd, 1)) {
        return NULL;
    }
    if (depth == MSGPACK_READ_DEPTH) {
        return corrupt(rd, rd->at, "nesting too deep");
    }
    unsigned char lead = *rd->at++;
    if (lead < 0x80 || lead >= 0xe0) {
        return PyLong_FromLong((signed char)lead);
    }
    if (lead < 0x90) {
        return read_dict(rd, lead & 0x0f, depth + 1);
    }
    if (lead < 0xa0) {
        return read_list(rd, lead & 0x0f, depth + 1);
    }
    if (lead < 0xc0) {
        return read_text(rd, lead & 0x1f);
    }
    return read_kind(rd, lead, depth + 1);
}

PyObject *msgpack_read(struct module_state *state, const void *data, size_t size,
                       const struct msgpack_beside *beside) {
    struct reader rd = {data,  data,  (const unsigned char *)data + size, size, &state->keys,
                        state, beside};
    PyObject *object = read_value(&rd, 0);
    if (object != NULL && rd.at != rd.end) {
        Py_CLEAR(object);
        corrupt(&rd, rd.at, "bytes left over");
    }
    return object;
}

/* The length of a pickle in a long header: rd stands at its payload. 0, or -1 with ValueError. */
static int read_long_length(struct reader *rd, uint64_t width, uint64_t *length) {
    if (width != 8) {
        corrupt(rd, rd->start, "header of a long pickle that is not a fixext 8");
        return -1;
    }
    return read_number(rd, 8, length) < 0 || !has(rd, *length) ? -1 : 0;
}

int msgpack_is_pickle(const void *data, size_t size, size_t *header) {
    struct reader rd = {data, data, (const unsigned char *)data + size, 0, NULL, NULL, NULL};
    unsigned char type;
    uint64_t length;
    if (size == 0 || !msgpack_is_ext(*rd.at)) {
        return 0;
    }
    unsigned char lead = *rd.at++;
    if (read_ext_header(&rd, lead, &type, &length) < 0) {
        return -1;
    }
    if (type != MPROC_EXT_PICKLE && type != MPROC_EXT_LONG_PICKLE) {
        return 0;
    }
    if (type == MPROC_EXT_LONG_PICKLE && read_long_length(&rd, length, &length) < 0) {
        return -1;
    }
    if ((uint64_t)(rd.end - rd.at) != length) {
        corrupt(&rd, rd.at + length, "bytes left over");
        return -1;
    }
    *header = (size_t)(rd.at - rd.start);
    return 1;
}

unsigned char msgpack_has_parts(const void *data, size_t size, size_t *length) {
    const unsigned char *at = data;
    if (size < MSGPACK_PICKLE_HEADER || at[0] != 0xd7 ||
        (at[1] != MPROC_EXT_PARTS && at[1] != MPROC_EXT_VALUE_PARTS)) {
        return 0;
    }
    uint64_t n = load_be(at + 2, 8), most = size - MSGPACK_PICKLE_HEADER;
    *length = n;
    return n <= most && (most - n) % sizeof(mproc_value_part) == 0 ? at[1] : 0;
}

void msgpack_keys_clear(struct msgpack_keys *keys) {
    for (size_t i = 0; i < MSGPACK_KEYS; i++) {
        Py_CLEAR(keys->entries[i]);
    }
}
