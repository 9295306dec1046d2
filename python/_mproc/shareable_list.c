/*
 * shareable_list.c - mproc._mproc.ShareableList: a list of fixed length in a named segment
 *
 * SPDX-License-Identifier: MIT
 *
 * The layout is the one that the standard library's lists have, so that either end may be one; all
 * numbers are little-endian 64-bit integers on every machine that this runs on:
 *
 *     length n
 *     offsets[n + 1]    where each slot begins, from the first slot on; the last one ends the slots
 *     slots             8 bytes, or for str and bytes a multiple of 8 that is never all full at first
 *     formats[n]        8 bytes each, NUL-padded, in the terms of struct: q, d, xxxxxxx? (bool),
 *                       xxxxxx?x (None), and for str and bytes the slot's size and s: 16s
 *     kinds[n]          a byte each: 0 as the format says, 1 str, 2 bytes, 3 None
 *
 * What stands in the segment may be written by strangers meanwhile, or be anything: every number is read
 * once into a local and judged before it is used.
 *
 * If a writer dies here: an item that stays an int, float or bool, or any text in a slot of 8 bytes, is
 * changed by one store. A change of type goes by way of None, and reads as None if it was cut short. A
 * longer text that replaces a text may be found half written.
 */
#include <stdbool.h>
#include <string.h>

#include "shm.h"

#define WORD 8
#define STRETCH_MAX 9999999 /* what a format has room for: seven digits and an s */

enum kind { KIND_PLAIN = 0, KIND_STR = 1, KIND_BYTES = 2, KIND_NONE = 3 };

struct shareable {
    PyObject_HEAD PyObject *segment; /* NULL: not bound yet */
};

/* The parts of a list, judged. */
struct layout {
    char *base;
    size_t size;
    size_t n;
};

/* One item's places. */
struct place {
    char *slot;
    size_t room;
    char *format;
    char *kind;
};

/* A value on its way into a slot. `bytes` are lent by `value`, or stand in `word`. */
struct item {
    enum kind kind;
    const char *bytes;
    Py_ssize_t length;
    char word[WORD];
    const char *format; /* NULL: text, the slot says */
};

static uint64_t load(const char *at) {
    return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void store(char *at, uint64_t value) {
    __atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELEASE);
}

static uint64_t word_of(const char *eight) {
    uint64_t word;
    memcpy(&word, eight, WORD);
    return word;
}

/* ---------------------------------------------------------------- reading the layout */

static int broken(void) {
    PyErr_SetString(PyExc_ValueError, "the shared memory holds no list");
    return -1;
}

static int find_layout(PyObject *self, struct layout *out) {
    PyObject *segment = ((struct shareable *)self)->segment;
    if (segment == NULL) {
        PyErr_SetString(PyExc_ValueError, "the list has no shared memory");
        return -1;
    }
    out->base = segment_data(segment, &out->size);
    if (out->base == NULL) {
        return -1;
    }
    if (out->size < 2 * WORD) {
        return broken();
    }
    uint64_t n = load(out->base);
    if (n > (out->size - 2 * WORD) / (2 * WORD + 1)) {
        return broken();
    }
    out->n = (size_t)n;
    return 0;
}

static size_t offset_at(const struct layout *l, size_t i) {
    return (size_t)load(l->base + WORD * (i + 1));
}

static int find_place(const struct layout *l, size_t i, struct place *out) {
    size_t slots = WORD * (l->n + 2), tail = (WORD + 1) * l->n;
    size_t begin = offset_at(l, i), end = offset_at(l, i + 1), last = offset_at(l, l->n);
    size_t most = l->size - slots;
    if (last > most || most - last < tail || begin > end || end > last || end - begin < WORD ||
        begin % WORD != 0 || last % WORD != 0) {
        return broken();
    }
    out->slot = l->base + slots + begin;
    out->room = end - begin;
    out->format = l->base + slots + last + WORD * i;
    out->kind = l->base + slots + last + WORD * l->n + i;
    return 0;
}

/* The number before the s of a text's format; 0 if it is none. */
static size_t text_size(const char *format) {
    size_t size = 0, i = 0;
    for (; i < WORD && format[i] >= '0' && format[i] <= '9'; i++) {
        size = size * 10 + (size_t)(format[i] - '0');
    }
    return i < WORD && format[i] == 's' ? size : 0;
}

/* ---------------------------------------------------------------- reading an item */

static PyObject *read_text(const struct place *p, const char *format) {
    char kind = __atomic_load_n(p->kind, __ATOMIC_ACQUIRE);
    size_t size = text_size(format);
    if (size == 0) {
        return PyErr_Format(PyExc_ValueError, "the list has an item of unknown format '%.8s'",
                            format);
    }
    PyObject *bytes =
        PyBytes_FromStringAndSize(p->slot, (Py_ssize_t)(size < p->room ? size : p->room));
    if (bytes == NULL) {
        return NULL;
    }
    Py_ssize_t length = PyBytes_GET_SIZE(bytes);
    while (length > 0 && PyBytes_AS_STRING(bytes)[length - 1] == 0) {
        length--;
    }
    if (kind == KIND_STR) {
        PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(bytes), length, NULL);
        Py_DECREF(bytes);
        return text;
    }
    (void)_PyBytes_Resize(&bytes, length);
    return bytes;
}

static PyObject *read_item(const struct place *p) {
    char format[WORD + 1] = {0};
    uint64_t word = load(p->format);
    memcpy(format, &word, WORD);
    uint64_t value = load(p->slot);
    if (strcmp(format, "q") == 0) {
        return PyLong_FromLongLong((long long)(int64_t)value);
    }
    if (strcmp(format, "d") == 0) {
        double number;
        memcpy(&number, &value, sizeof number);
        return PyFloat_FromDouble(number);
    }
    if (word == word_of("xxxxxxx?")) {
        return PyBool_FromLong((long)(value >> 56));
    }
    if (word == word_of("xxxxxx?x")) {
        Py_RETURN_NONE;
    }
    return read_text(p, format);
}

/* ---------------------------------------------------------------- taking a value apart */

static int take_int(PyObject *value, struct item *out) {
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Format(PyExc_OverflowError, "an item of 64 bits cannot hold %R", value);
        }
        return -1;
    }
    memcpy(out->word, &number, WORD);
    out->format = "q\0\0\0\0\0\0\0";
    return 0;
}

static int take_text(PyObject *value, struct item *out) {
    if (PyUnicode_CheckExact(value)) {
        out->kind = KIND_STR;
        out->bytes = PyUnicode_AsUTF8AndSize(value, &out->length);
        return out->bytes != NULL ? 0 : -1;
    }
    out->kind = KIND_BYTES;
    return PyBytes_AsStringAndSize(value, (char **)(uintptr_t)&out->bytes, &out->length);
}

static int take(PyObject *value, struct item *out) {
    memset(out, 0, sizeof *out);
    if (PyUnicode_CheckExact(value) || PyBytes_CheckExact(value)) {
        return take_text(value, out);
    }
    out->bytes = out->word;
    out->length = WORD;
    if (PyLong_CheckExact(value)) {
        return take_int(value, out);
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        memcpy(out->word, &number, WORD);
        out->format = "d\0\0\0\0\0\0\0";
        return 0;
    }
    if (PyBool_Check(value)) {
        out->word[WORD - 1] = value == Py_True;
        out->format = "xxxxxxx?";
        return 0;
    }
    if (value == Py_None) {
        out->kind = KIND_NONE;
        out->format = "xxxxxx?x";
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "items of a ShareableList are int, float, bool, str, bytes or None, not %.200s",
                 Py_TYPE(value)->tp_name);
    return -1;
}

/* The slot that a value gets at first: always a byte more than it needs, rounded up to words; a str's
 * length counts in characters there, as the standard library counts it, unless its bytes need more. */
static size_t first_room(PyObject *value, const struct item *item) {
    size_t length = (size_t)item->length;
    if (item->format != NULL) {
        return WORD;
    }
    size_t counted = item->kind == KIND_STR ? (size_t)PyUnicode_GET_LENGTH(value) : length;
    size_t room = WORD * (counted / WORD + 1);
    size_t least = (length + WORD - 1) / WORD * WORD;
    return room > least ? room : least;
}

/* ---------------------------------------------------------------- writing an item */

static uint64_t format_word(const struct item *item, size_t room) {
    char text[32] = {0};
    if (item->format != NULL) {
        return word_of(item->format);
    }
    snprintf(text, sizeof text, "%zus", room < STRETCH_MAX ? room : (size_t)STRETCH_MAX);
    return word_of(text);
}

/* The first word last: a text that fits into it changes at once. */
static void write_bytes(const struct place *p, const struct item *item) {
    size_t length = (size_t)item->length;
    char first[WORD] = {0};
    memcpy(first, item->bytes, length < WORD ? length : WORD);
    if (item->format == NULL && p->room > WORD) {
        size_t rest = length > WORD ? length - WORD : 0;
        if (rest > 0) {
            memcpy(p->slot + WORD, item->bytes + WORD, rest);
        }
        memset(p->slot + WORD + rest, 0, p->room - WORD - rest);
    }
    store(p->slot, word_of(first));
}

static void write_item(const struct place *p, const struct item *item) {
    uint64_t format = format_word(item, p->room);
    bool same = load(p->format) == format && *p->kind == (char)item->kind;
    if (!same) {
        store(p->format, word_of("xxxxxx?x"));
        __atomic_store_n(p->kind, (char)item->kind, __ATOMIC_RELEASE);
    }
    write_bytes(p, item);
    if (!same) {
        store(p->format, format);
    }
}

static int put(const struct place *p, PyObject *value) {
    struct item item;
    if (take(value, &item) < 0) {
        return -1;
    }
    if ((size_t)item.length > p->room || item.length > STRETCH_MAX) {
        PyErr_SetString(PyExc_ValueError, "bytes/str item exceeds available storage");
        return -1;
    }
    write_item(p, &item);
    return 0;
}

/* ---------------------------------------------------------------- making a list */

/* Bytes that a list of these items needs, or -1 with an exception. */
static Py_ssize_t size_of_list(PyObject *items) {
    Py_ssize_t n = PyTuple_GET_SIZE(items);
    size_t size = WORD * ((size_t)n + 2) + (WORD + 1) * (size_t)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        struct item item;
        if (take(PyTuple_GET_ITEM(items, i), &item) < 0) {
            return -1;
        }
        if (item.length > STRETCH_MAX) {
            PyErr_Format(PyExc_ValueError, "item %zd has more than %d bytes", i, STRETCH_MAX);
            return -1;
        }
        size += first_room(PyTuple_GET_ITEM(items, i), &item);
    }
    return (Py_ssize_t)size;
}

static PyObject *shareable_size_of(PyObject *Py_UNUSED(type), PyObject *items) {
    if (!PyTuple_Check(items)) {
        return PyErr_Format(PyExc_TypeError, "a tuple is needed, not %R", Py_TYPE(items));
    }
    Py_ssize_t size = size_of_list(items);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

static int bind(PyObject *self, PyObject *segment) {
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &module_definition);
    if (module == NULL) {
        return -1;
    }
    if (Py_TYPE(segment) != module_state(module)->segment_type) {
        PyErr_Format(PyExc_TypeError, "a Segment is needed, not %R", Py_TYPE(segment));
        return -1;
    }
    Py_XSETREF(((struct shareable *)self)->segment, Py_NewRef(segment));
    return 0;
}

static PyObject *shareable_bind(PyObject *self, PyObject *segment) {
    struct layout l;
    if (bind(self, segment) < 0 || find_layout(self, &l) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The offsets first, so that each place can be found; the length last, so that nobody else finds any
 * before all is there. */
static int fill(struct layout *l, PyObject *items) {
    size_t offset = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct item item;
        store(l->base + WORD * (i + 1), offset);
        if (take(PyTuple_GET_ITEM(items, (Py_ssize_t)i), &item) < 0) {
            return -1;
        }
        offset += first_room(PyTuple_GET_ITEM(items, (Py_ssize_t)i), &item);
    }
    store(l->base + WORD * (l->n + 1), offset);
    for (size_t i = 0; i < l->n; i++) {
        struct place p;
        if (find_place(l, i, &p) < 0 || put(&p, PyTuple_GET_ITEM(items, (Py_ssize_t)i)) < 0) {
            return -1;
        }
    }
    store(l->base, l->n);
    return 0;
}

/* _fill(segment, items): the segment has the size that _size_of(items) said, and is the caller's. */
static PyObject *shareable_fill(PyObject *self, PyObject *args) {
    PyObject *segment, *items;
    struct layout l;
    if (!PyArg_ParseTuple(args, "OO!:_fill", &segment, &PyTuple_Type, &items) ||
        bind(self, segment) < 0) {
        return NULL;
    }
    Py_ssize_t need = size_of_list(items);
    l.base = need < 0 ? NULL : segment_data(segment, &l.size);
    if (l.base == NULL) {
        return NULL;
    }
    l.n = (size_t)PyTuple_GET_SIZE(items);
    if ((size_t)need > l.size) {
        PyErr_SetString(PyExc_ValueError, "the shared memory is too small for the list");
        return NULL;
    }
    if (fill(&l, items) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- as a sequence */

static Py_ssize_t shareable_length(PyObject *self) {
    struct layout l;
    return find_layout(self, &l) < 0 ? -1 : (Py_ssize_t)l.n;
}

static int place_at(PyObject *self, Py_ssize_t i, const char *complaint, struct place *out) {
    struct layout l;
    if (find_layout(self, &l) < 0) {
        return -1;
    }
    if (i < 0 || (size_t)i >= l.n) {
        PyErr_SetString(PyExc_IndexError, complaint);
        return -1;
    }
    return find_place(&l, (size_t)i, out);
}

static PyObject *shareable_item(PyObject *self, Py_ssize_t i) {
    struct place p;
    return place_at(self, i, "index out of range", &p) < 0 ? NULL : read_item(&p);
}

static int index_of(PyObject *self, PyObject *key, Py_ssize_t *out) {
    if (!PyIndex_Check(key)) {
        PyErr_Format(PyExc_TypeError, "list indices must be integers, not %.200s",
                     Py_TYPE(key)->tp_name);
        return -1;
    }
    *out = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (*out < 0 && !PyErr_Occurred()) {
        Py_ssize_t n = shareable_length(self);
        *out += n;
        return n < 0 ? -1 : 0;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *shareable_subscript(PyObject *self, PyObject *key) {
    Py_ssize_t i;
    return index_of(self, key, &i) < 0 ? NULL : shareable_item(self, i);
}

static int shareable_assign(PyObject *self, PyObject *key, PyObject *value) {
    Py_ssize_t i;
    struct place p;
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "a ShareableList has a fixed length");
        return -1;
    }
    if (index_of(self, key, &i) < 0 || place_at(self, i, "assignment index out of range", &p) < 0) {
        return -1;
    }
    return put(&p, value);
}

static PyObject *shareable_format(PyObject *self, PyObject *key) {
    Py_ssize_t i;
    struct place p;
    char format[WORD + 1] = {0};
    if (index_of(self, key, &i) < 0 ||
        place_at(self, i, "Requested position out of range.", &p) < 0) {
        return NULL;
    }
    uint64_t word = load(p.format);
    memcpy(format, &word, WORD);
    return PyUnicode_FromString(format);
}

/* The first place from `i` on with an equal item: n if there is none, -1 with an exception. */
static Py_ssize_t search(PyObject *self, PyObject *value, Py_ssize_t i, Py_ssize_t n) {
    for (; i < n; i++) {
        PyObject *item = shareable_item(self, i);
        if (item == NULL) {
            return -1;
        }
        int equal = PyObject_RichCompareBool(value, item, Py_EQ);
        Py_DECREF(item);
        if (equal != 0) {
            return equal < 0 ? -1 : i;
        }
    }
    return n;
}

static PyObject *shareable_count(PyObject *self, PyObject *value) {
    Py_ssize_t n = shareable_length(self), count = 0, i = -1;
    if (n < 0) {
        return NULL;
    }
    while ((i = search(self, value, i + 1, n)) < n) {
        if (i < 0) {
            return NULL;
        }
        count++;
    }
    return PyLong_FromSsize_t(count);
}

static PyObject *shareable_index(PyObject *self, PyObject *value) {
    Py_ssize_t n = shareable_length(self);
    Py_ssize_t i = n < 0 ? -1 : search(self, value, 0, n);
    if (i < 0) {
        return NULL;
    }
    if (i == n) {
        return PyErr_Format(PyExc_ValueError, "%R not in this container", value);
    }
    return PyLong_FromSsize_t(i);
}

/* ---------------------------------------------------------------- the type */

static int shareable_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((struct shareable *)self)->segment);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int shareable_clear(PyObject *self) {
    Py_CLEAR(((struct shareable *)self)->segment);
    return 0;
}

static void shareable_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)shareable_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef shareable_methods[] = {
    {"_size_of", shareable_size_of, METH_O | METH_STATIC,
     "Bytes that a list of a tuple's items takes."},
    {"_fill", shareable_fill, METH_VARARGS, "_fill(segment, items)\n--\n\nMake the list."},
    {"_bind", shareable_bind, METH_O, "_bind(segment)\n--\n\nFind the list that is there."},
    {"_get_packing_format", shareable_format, METH_O,
     "_get_packing_format(position)\n--\n\nThe item's format, in the terms of struct."},
    {"count", shareable_count, METH_O, "count(value)\n--\n\nHow many items are equal to value."},
    {"index", shareable_index, METH_O,
     "index(value)\n--\n\nThe first place of an item equal to value. ValueError: there is none."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot shareable_slots[] = {
    {Py_tp_doc, "A list of fixed length in a named segment."},
    {Py_tp_traverse, (void *)shareable_traverse},
    {Py_tp_clear, (void *)shareable_clear},
    {Py_tp_dealloc, (void *)shareable_dealloc},
    {Py_tp_methods, shareable_methods},
    {Py_sq_length, (void *)shareable_length},
    {Py_sq_item, (void *)shareable_item},
    {Py_mp_length, (void *)shareable_length},
    {Py_mp_subscript, (void *)shareable_subscript},
    {Py_mp_ass_subscript, (void *)shareable_assign},
    {0, NULL},
};

static PyType_Spec shareable_spec = {
    .name = "mproc._mproc.ShareableList",
    .basicsize = sizeof(struct shareable),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = shareable_slots,
};

int shareable_list_add(PyObject *module) {
    return module_add_type(module, &shareable_spec, &module_state(module)->shareable_list_type, 1);
}
