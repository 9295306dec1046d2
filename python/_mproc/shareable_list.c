/*
 * shareable_list.c - mproc._mproc.ShareableList: a list of fixed length in a named segment
 *
 * SPDX-License-Identifier: MIT
 *
 * The layout, and all that makes a list safe, is mproc_shareable_list's. Here values become items,
 * and items become values. Wrong calls have the errors of the standard library, whose types and
 * texts say little; what is wrong stands in a note.
 */
#include "arguments.h"
#include "error.h"
#include "shm.h"
#include "threads.h"

#include <errno.h>

#define ROOM 256 /* texts of up to so many bytes are read into the stack */

struct shareable {
    PyObject_HEAD PyObject *segment; /* NULL: not bound yet */
};

/* What a call is in: another thread may bind the list anew, or close its segment. */
struct use {
    PyObject *segment; /* owned */
    mproc_shm *list;
};

/* A new reference, or NULL with an exception. */
static PyObject *segment_of(PyObject *self) {
    PyObject *segment;
    Py_BEGIN_CRITICAL_SECTION(self);
    segment = Py_XNewRef(((struct shareable *)self)->segment);
    Py_END_CRITICAL_SECTION();
    if (segment == NULL) {
        PyErr_SetString(PyExc_ValueError, "the list has no shared memory");
    }
    return segment;
}

/* 0, and leave() ends it; or -1 with an exception. */
static int enter(PyObject *self, struct use *use) {
    use->segment = segment_of(self);
    use->list = use->segment != NULL ? segment_enter(use->segment) : NULL;
    if (use->segment != NULL && use->list == NULL) {
        Py_DECREF(use->segment);
        PyErr_SetString(PyExc_TypeError, "a bytes-like object is required, not 'NoneType'");
        error_note("the list's shared memory is closed");
    }
    return use->list != NULL ? 0 : -1;
}

static void leave(const struct use *use) {
    segment_leave(use->segment);
    Py_DECREF(use->segment);
}

/* Raises the error of a code about item i of the list. NULL. */
static PyObject *raise_about_item(mproc_shm *list, size_t i, int code, const char *out_of_range) {
    char format[9] = "";
    switch (code) {
    case -EBADMSG:
        PyErr_SetString(PyExc_ValueError, "the shared memory holds no list");
        return NULL;
    case -ERANGE: PyErr_SetString(PyExc_IndexError, out_of_range); return NULL;
    case -EMSGSIZE:
        PyErr_SetString(PyExc_ValueError, "bytes/str item exceeds available storage");
        return NULL;
    case -EPROTO:
        (void)!mproc_shareable_list_format(list, i, format);
        return PyErr_Format(PyExc_ValueError, "the list has an item of unknown format '%s'",
                            format);
    default: return error_raise(code);
    }
}

/* ---------------------------------------------------------------- values to items and back */

/* The struct module's error, which is no OverflowError. */
static void raise_too_large(void) {
    PyObject *module = PyImport_ImportModule("struct");
    PyObject *error = module != NULL ? PyObject_GetAttrString(module, "error") : NULL;
    if (error != NULL) {
        PyErr_SetString(error, "argument out of range");
        error_note("an int of a ShareableList has 64 bits: from -2**63 to 2**63 - 1");
    }
    Py_XDECREF(error);
    Py_XDECREF(module);
}

static int take_int(PyObject *value, mproc_item *out) {
    out->kind = MPROC_ITEM_INT;
    out->integer = PyLong_AsLongLong(value);
    if (out->integer == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Clear();
            raise_too_large();
        }
        return -1;
    }
    return 0;
}

static int take_text(PyObject *value, mproc_item *out) {
    Py_ssize_t length;
    if (PyUnicode_CheckExact(value)) {
        out->kind = MPROC_ITEM_STR;
        out->data = PyUnicode_AsUTF8AndSize(value, &length);
    } else {
        out->kind = MPROC_ITEM_BYTES;
        out->data = PyBytes_AS_STRING(value);
        length = PyBytes_GET_SIZE(value);
    }
    out->size = (size_t)length;
    return out->data != NULL ? 0 : -1;
}

/* Makes an item of a value. A text stays in the value, which must outlive the item. */
static int take(PyObject *value, mproc_item *out) {
    *out = (mproc_item){.kind = MPROC_ITEM_NONE};
    if (PyLong_CheckExact(value)) {
        return take_int(value, out);
    }
    if (PyUnicode_CheckExact(value) || PyBytes_CheckExact(value)) {
        return take_text(value, out);
    }
    if (PyFloat_CheckExact(value)) {
        out->kind = MPROC_ITEM_FLOAT;
        out->number = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    if (PyBool_Check(value)) {
        out->kind = MPROC_ITEM_BOOL;
        out->integer = value == Py_True;
        return 0;
    }
    if (value == Py_None) {
        return 0;
    }
    PyErr_SetObject(PyExc_KeyError, (PyObject *)Py_TYPE(value));
    error_note("items of a ShareableList are int, float, bool, str, bytes or None");
    return -1;
}

static PyObject *value_of(const mproc_item *item) {
    switch (item->kind) {
    case MPROC_ITEM_INT: return PyLong_FromLongLong(item->integer);
    case MPROC_ITEM_FLOAT: return PyFloat_FromDouble(item->number);
    case MPROC_ITEM_BOOL: return PyBool_FromLong((long)item->integer);
    case MPROC_ITEM_STR: return PyUnicode_DecodeUTF8(item->data, (Py_ssize_t)item->size, NULL);
    case MPROC_ITEM_BYTES: return PyBytes_FromStringAndSize(item->data, (Py_ssize_t)item->size);
    case MPROC_ITEM_NONE: break;
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- making a list */

/* Makes an item of each value, as above. NULL with an exception. */
static mproc_item *take_all(PyObject *values, Py_ssize_t n) {
    mproc_item *items = PyMem_New(mproc_item, (size_t)n + 1);
    if (items == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (take(PySequence_Fast_GET_ITEM(values, i), &items[i]) < 0) {
            PyMem_Free(items);
            return NULL;
        }
    }
    return items;
}

static PyObject *create_of(PyObject *type, PyObject *values, PyObject *const *args) {
    PyObject *module = PyType_GetModuleByDef((PyTypeObject *)type, &module_definition);
    mproc_shm_options options;
    const char *name;
    mproc_shm *shm;
    if (module == NULL || segment_arguments(args[0], args[2], args[3], &name, &options) < 0) {
        return NULL;
    }
    Py_ssize_t n = PySequence_Fast_GET_SIZE(values);
    mproc_item *items = take_all(values, n);
    if (items == NULL) {
        return NULL;
    }
    int r = mproc_shareable_list_create(&shm, name, items, (size_t)n, &options);
    PyMem_Free(items);
    if (r == -EMSGSIZE) {
        PyErr_SetString(PyExc_ValueError, "an item has more than 9999999 bytes");
        return NULL;
    }
    return r == 0 ? segment_wrap(module_state(module)->segment_type, shm)
                  : segment_raise(r, args[0]);
}

/* _create(name, items, kept, mode) */
static PyObject *shareable_create(PyObject *type, PyObject *const *args, Py_ssize_t n) {
    if (n != 4) {
        return PyErr_Format(PyExc_TypeError, "_create() takes 4 arguments, not %zd", n);
    }
    PyObject *values = threads_sequence(args[1], "a ShareableList is made of what is iterable; "
                                                 "this is not iterable");
    if (values == NULL) {
        return NULL;
    }
    PyObject *segment = create_of(type, values, args);
    Py_DECREF(values);
    return segment;
}

static PyObject *shareable_bind(PyObject *self, PyObject *segment) {
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &module_definition);
    if (module == NULL) {
        return NULL;
    }
    if (Py_TYPE(segment) != module_state(module)->segment_type) {
        return PyErr_Format(PyExc_TypeError, "a Segment is needed, not %R", Py_TYPE(segment));
    }
    PyObject *old;
    Py_BEGIN_CRITICAL_SECTION(self);
    old = ((struct shareable *)self)->segment;
    ((struct shareable *)self)->segment = Py_NewRef(segment);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- as a sequence */

static Py_ssize_t shareable_length(PyObject *self) {
    struct use use;
    size_t n;
    if (enter(self, &use) < 0) {
        return -1;
    }
    int r = mproc_shareable_list_length(use.list, &n);
    if (r != 0) {
        raise_about_item(use.list, 0, r, "");
    }
    leave(&use);
    return r == 0 ? (Py_ssize_t)n : -1;
}

/* Reads a text that is longer than the room on the stack. */
static PyObject *read_long(mproc_shm *list, size_t i) {
    size_t size;
    mproc_item item;
    int r = mproc_shareable_list_room(list, i, &size);
    if (r != 0) {
        return raise_about_item(list, i, r, "");
    }
    void *room = PyMem_Malloc(size);
    if (room == NULL) {
        return PyErr_NoMemory();
    }
    r = mproc_shareable_list_get(list, i, &item, room, size);
    PyObject *value = r == 0 ? value_of(&item) : raise_about_item(list, i, r, "");
    PyMem_Free(room);
    return value;
}

static PyObject *read_item(mproc_shm *list, size_t i) {
    char room[ROOM];
    mproc_item item;
    int r = mproc_shareable_list_get(list, i, &item, room, sizeof room);
    if (r == 0) {
        return value_of(&item);
    }
    return r == -ENOBUFS ? read_long(list, i) : raise_about_item(list, i, r, "index out of range");
}

static PyObject *shareable_item(PyObject *self, Py_ssize_t i) {
    struct use use;
    if (enter(self, &use) < 0) {
        return NULL;
    }
    PyObject *value = read_item(use.list, (size_t)i);
    leave(&use);
    return value;
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

static int write_item(mproc_shm *list, size_t i, PyObject *value) {
    mproc_item item;
    if (take(value, &item) < 0) {
        return -1;
    }
    int r = mproc_shareable_list_set(list, i, &item);
    if (r != 0) {
        raise_about_item(list, i, r, "assignment index out of range");
    }
    return r == 0 ? 0 : -1;
}

static int shareable_assign(PyObject *self, PyObject *key, PyObject *value) {
    struct use use;
    Py_ssize_t i;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__delitem__");
        error_note("a ShareableList has a fixed length");
        return -1;
    }
    if (index_of(self, key, &i) < 0 || enter(self, &use) < 0) {
        return -1;
    }
    int r = write_item(use.list, (size_t)i, value);
    leave(&use);
    return r;
}

static PyObject *shareable_format(PyObject *self, PyObject *key) {
    Py_ssize_t i;
    char format[9];
    struct use use;
    if (index_of(self, key, &i) < 0 || enter(self, &use) < 0) {
        return NULL;
    }
    int r = mproc_shareable_list_format(use.list, (size_t)i, format);
    PyObject *result =
        r == 0 ? PyUnicode_FromString(format)
               : raise_about_item(use.list, (size_t)i, r, "Requested position out of range.");
    leave(&use);
    return result;
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

static PyObject *shareable_count(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names) {
    PyObject *value = arguments_one("count", "value", args, nargs, names);
    Py_ssize_t n = value == NULL ? -1 : shareable_length(self), count = 0, i = -1;
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

/* The standard library's words, which are others from 3.14 on. */
static PyObject *raise_no_item(PyObject *value) {
#if PY_VERSION_HEX >= 0x030E0000
    (void)value;
    PyErr_SetString(PyExc_ValueError, "ShareableList.index(x): x not in list");
    return NULL;
#else
    return PyErr_Format(PyExc_ValueError, "%R not in this container", value);
#endif
}

static PyObject *shareable_index(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names) {
    PyObject *value = arguments_one("index", "value", args, nargs, names);
    Py_ssize_t n = value == NULL ? -1 : shareable_length(self);
    Py_ssize_t i = n < 0 ? -1 : search(self, value, 0, n);
    if (i < 0) {
        return NULL;
    }
    if (i == n) {
        return raise_no_item(value);
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
    {"_create", MODULE_METHOD(shareable_create), METH_FASTCALL | METH_CLASS,
     "_create($type, name, items, kept, mode, /)\n--\n\nMake a segment that holds a list."},
    {"_bind", shareable_bind, METH_O,
     "_bind($self, segment, /)\n--\n\nFind the list that is there."},
    {"_get_packing_format", shareable_format, METH_O,
     "_get_packing_format($self, position, /)\n--\n\n"
     "The item's format, in the terms of struct."},
    {"count", MODULE_METHOD(shareable_count), METH_FASTCALL | METH_KEYWORDS,
     "count($self, value)\n--\n\nHow many items are equal to value."},
    {"index", MODULE_METHOD(shareable_index), METH_FASTCALL | METH_KEYWORDS,
     "index($self, value)\n--\n\n"
     "The first place of an item equal to value. ValueError: there is none."},
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

/* A list lies in a segment, and nobody else may have asked for that type yet. */
int shareable_list_add(PyObject *module) {
    if (shm_add(module) < 0) {
        return -1;
    }
    return module_add_type(module, &shareable_spec, &module_state(module)->shareable_list_type, 1);
}
