/*
 * pickle_read.c - the pickles of plain values, read without pickle
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A pickle is a program for a machine with a stack. This one knows the opcodes that
 * pickle_write.c writes. At any other it gives up, and so it does at anything that is not as it
 * should be: pickle reads the whole again, and says what is wrong. What pickle itself has written
 * begins with a frame, or stores into the memo soon, so little of it is read in vain.
 *
 * No code of the program's runs here, except the finalizers that the garbage collector may run.
 * The objects on the stack have no other owner.
 *
 * Invariants: 1. machine.at <= machine.end, and bytes are read below end only. 2. Each of
 * stack[0..depth) is owned. 3. marks[0..nmarks) rise, and none exceeds `depth`.
 */
#include "large.h"
#include "module.h"
#include "pickling.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define STACK 64 /* objects before the stack is on the heap */
#define MARKS 64 /* containers in each other; deeper ones are pickle's */

#define GIVE_UP (-1) /* an exception may be set, which does not matter */

struct machine {
    const unsigned char *at, *end;
    struct msgpack_keys *keys;
    size_t depth, room, nmarks;
    PyObject **stack;
    size_t marks[MARKS];
    PyObject *inline_stack[STACK];
};

/* ---------------------------------------------------------------- bytes */

/* A little-endian number. */
static bool take_number(struct machine *m, size_t width, uint64_t *v) {
    if ((size_t)(m->end - m->at) < width) {
        return false;
    }
    *v = 0;
    memcpy(v, m->at, width);
    *v = le64toh(*v);
    m->at += width;
    return true;
}

/* So many bytes; NULL: they are not there. */
static const unsigned char *take_bytes(struct machine *m, uint64_t size) {
    const unsigned char *at = m->at;
    if ((uint64_t)(m->end - at) < size) {
        return NULL;
    }
    m->at += size;
    return at;
}

/* ---------------------------------------------------------------- the stack */

static int grow(struct machine *m) {
    size_t size = m->room * sizeof *m->stack;
    PyObject **fresh =
        m->stack == m->inline_stack ? PyMem_Malloc(2 * size) : PyMem_Realloc(m->stack, 2 * size);
    if (fresh == NULL) {
        return GIVE_UP;
    }
    if (m->stack == m->inline_stack) {
        memcpy(fresh, m->inline_stack, size);
    }
    m->stack = fresh;
    m->room *= 2;
    return 0;
}

/* Takes the reference over, which may be NULL. */
static int push(struct machine *m, PyObject *owned) {
    if (owned == NULL || (m->depth == m->room && grow(m) != 0)) {
        Py_XDECREF(owned);
        return GIVE_UP;
    }
    m->stack[m->depth++] = owned;
    return 0;
}

static int push_mark(struct machine *m) {
    if (m->nmarks == MARKS) {
        return GIVE_UP;
    }
    m->marks[m->nmarks++] = m->depth;
    return 0;
}

/* Where what belongs to a mark begins: the last one's is taken away. False: there is none. */
static bool pop_mark(struct machine *m, size_t *from) {
    if (m->nmarks == 0) {
        return false;
    }
    *from = m->marks[--m->nmarks];
    return true;
}

/* Where what the last mark has begins. What stands below is not to be touched yet. */
static size_t bottom(const struct machine *m) {
    return m->nmarks > 0 ? m->marks[m->nmarks - 1] : 0;
}

/* Where the last n objects begin. */
static bool find_last(const struct machine *m, size_t n, size_t *from) {
    if (m->depth - bottom(m) < n) {
        return false;
    }
    *from = m->depth - n;
    return true;
}

static void drop_from(struct machine *m, size_t from) {
    while (m->depth > from) {
        PyObject *top = m->stack[--m->depth];
        Py_DECREF(top);
    }
}

/* ---------------------------------------------------------------- single values */

static int push_unsigned(struct machine *m, size_t width) {
    uint64_t v;
    return take_number(m, width, &v) ? push(m, PyLong_FromUnsignedLongLong(v)) : GIVE_UP;
}

static int push_signed(struct machine *m, uint64_t width) {
    uint64_t v;
    if (width == 0 || width > sizeof v || !take_number(m, width, &v)) {
        return GIVE_UP;
    }
    unsigned unused = 64 - 8 * (unsigned)width;
    return push(m, PyLong_FromLongLong((int64_t)(v << unused) >> unused));
}

static int push_long(struct machine *m) {
    uint64_t width;
    return take_number(m, 1, &width) ? push_signed(m, width) : GIVE_UP;
}

static int push_float(struct machine *m) {
    const unsigned char *at = take_bytes(m, sizeof(uint64_t));
    uint64_t bits;
    double v;
    if (at == NULL) {
        return GIVE_UP;
    }
    memcpy(&bits, at, sizeof bits);
    bits = be64toh(bits);
    memcpy(&v, &bits, sizeof v);
    return push(m, PyFloat_FromDouble(v));
}

static int push_bytes(struct machine *m, size_t width) {
    uint64_t size;
    const unsigned char *at = take_number(m, width, &size) ? take_bytes(m, size) : NULL;
    return at != NULL ? push(m, large_bytes(at, (Py_ssize_t)size)) : GIVE_UP;
}

/* Whether the next object is a key: those behind a mark that a dict stands before come in pairs. */
static bool is_key(const struct machine *m) {
    size_t from = bottom(m);
    return from > 0 && (m->depth - from) % 2 == 0 && PyDict_CheckExact(m->stack[from - 1]);
}

static int push_text(struct machine *m, size_t width) {
    uint64_t size;
    const unsigned char *at = take_number(m, width, &size) ? take_bytes(m, size) : NULL;
    if (at == NULL) {
        return GIVE_UP;
    }
    return push(m, size <= MSGPACK_CACHED_KEY && is_key(m)
                       ? msgpack_key(m->keys, at, (size_t)size)
                       : PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size, NULL));
}

/* ---------------------------------------------------------------- containers */

/* What stands from there on becomes a tuple's. */
static int make_tuple(struct machine *m, size_t from) {
    size_t n = m->depth - from;
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; tuple != NULL && i < n; i++) {
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, m->stack[from + i]);
    }
    if (tuple != NULL) {
        m->depth = from;
    }
    return push(m, tuple);
}

static int make_last_tuple(struct machine *m, size_t n) {
    size_t from;
    return find_last(m, n, &from) ? make_tuple(m, from) : GIVE_UP;
}

static int make_marked_tuple(struct machine *m) {
    size_t from;
    return pop_mark(m, &from) ? make_tuple(m, from) : GIVE_UP;
}

/* An empty list is replaced by one that has the items: nobody else knows it yet. */
static int fill_list(struct machine *m, size_t from) {
    size_t n = m->depth - from;
    PyObject *list = PyList_New((Py_ssize_t)n);
    if (list == NULL) {
        return GIVE_UP;
    }
    for (size_t i = 0; i < n; i++) {
        PyList_SET_ITEM(list, (Py_ssize_t)i, m->stack[from + i]);
    }
    m->depth = from;
    Py_SETREF(m->stack[from - 1], list);
    return 0;
}

static int append_items(struct machine *m, size_t from) {
    PyObject *list = m->stack[from - 1];
    for (size_t i = from; i < m->depth; i++) {
        if (PyList_Append(list, m->stack[i]) < 0) {
            return GIVE_UP;
        }
    }
    drop_from(m, from);
    return 0;
}

/* The list stands before its items. */
static int extend(struct machine *m, size_t from) {
    if (from <= bottom(m) || !PyList_CheckExact(m->stack[from - 1])) {
        return GIVE_UP;
    }
    return PyList_GET_SIZE(m->stack[from - 1]) == 0 ? fill_list(m, from) : append_items(m, from);
}

static int extend_last(struct machine *m) {
    size_t from;
    return find_last(m, 2, &from) ? extend(m, from + 1) : GIVE_UP;
}

static int extend_marked(struct machine *m) {
    size_t from;
    return pop_mark(m, &from) ? extend(m, from) : GIVE_UP;
}

/* The dict stands before keys and values. */
static int set_items(struct machine *m, size_t from) {
    if (from <= bottom(m) || (m->depth - from) % 2 != 0 || !PyDict_CheckExact(m->stack[from - 1])) {
        return GIVE_UP;
    }
    for (size_t i = from; i < m->depth; i += 2) {
        if (PyDict_SetItem(m->stack[from - 1], m->stack[i], m->stack[i + 1]) < 0) {
            return GIVE_UP;
        }
    }
    drop_from(m, from);
    return 0;
}

static int set_last(struct machine *m) {
    size_t from;
    return find_last(m, 3, &from) ? set_items(m, from + 1) : GIVE_UP;
}

static int set_marked(struct machine *m) {
    size_t from;
    return pop_mark(m, &from) ? set_items(m, from) : GIVE_UP;
}

/* ---------------------------------------------------------------- the program */

static int run_container(struct machine *m, unsigned char code) {
    switch (code) {
    case '(': return push_mark(m);
    case ']': return push(m, PyList_New(0));
    case 'a': return extend_last(m);
    case 'e': return extend_marked(m);
    case '}': return push(m, PyDict_New());
    case 's': return set_last(m);
    case 'u': return set_marked(m);
    case ')': return push(m, PyTuple_New(0));
    case 0x85: return make_last_tuple(m, 1);
    case 0x86: return make_last_tuple(m, 2);
    case 0x87: return make_last_tuple(m, 3);
    case 't': return make_marked_tuple(m);
    default: return GIVE_UP;
    }
}

static int run_one(struct machine *m, unsigned char code) {
    switch (code) {
    case 'K': return push_unsigned(m, 1);
    case 'M': return push_unsigned(m, 2);
    case 'J': return push_signed(m, 4);
    case 0x8a: return push_long(m);
    case 'G': return push_float(m);
    case 'N': return push(m, Py_NewRef(Py_None));
    case 0x88: return push(m, Py_NewRef(Py_True));
    case 0x89: return push(m, Py_NewRef(Py_False));
    case 0x8c: return push_text(m, 1);
    case 'X': return push_text(m, 4);
    case 0x8d: return push_text(m, 8);
    case 'C': return push_bytes(m, 1);
    case 'B': return push_bytes(m, 4);
    case 0x8e: return push_bytes(m, 8);
    default: return run_container(m, code);
    }
}

/* Until its end: true, if it has left one object. */
static bool run(struct machine *m) {
    while (m->at < m->end) {
        unsigned char code = *m->at++;
        if (code == '.') {
            return m->depth == 1 && m->nmarks == 0;
        }
        if (run_one(m, code) != 0) {
            return false;
        }
    }
    return false;
}

PyObject *pickle_read_plain(struct msgpack_keys *keys, const void *data, size_t size) {
    static const unsigned char head[] = {0x80, PICKLE_PROTOCOL};
    struct machine m;
    PyObject *object = NULL;
    if (size < sizeof head || memcmp(data, head, sizeof head) != 0) {
        return NULL;
    }
    m.at = (const unsigned char *)data + sizeof head;
    m.end = (const unsigned char *)data + size;
    m.keys = keys;
    m.depth = m.nmarks = 0;
    m.stack = m.inline_stack;
    m.room = STACK;
    if (run(&m)) {
        object = m.stack[--m.depth];
    } else {
        PyErr_Clear();
        drop_from(&m, 0);
    }
    if (m.stack != m.inline_stack) {
        PyMem_Free(m.stack);
    }
    return object;
}
