/*
 * list.c - mproc._mproc.List: the hot path of mproc.lists
 *
 * SPDX-License-Identifier: MIT
 *
 * Values are encoded as those of a Dict (dict.c). Calls are made with the interpreter's lock held,
 * except for those that copy or move much. What an index or a slice means is decided in the call's
 * one step, by the length that the list has then.
 */
#include "arguments.h"
#include "blocking.h"
#include "codec.h"
#include "error.h"
#include "handle.h"

/* From this size on, other threads may run while bytes are copied. */
#define COPY_UNLOCKED (1 << 16)

static mproc_list *list_of(PyObject *self) {
    return handle_object(self);
}

static PyObject *list_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs)) {
    mproc_list *list = NULL;
    int r = mproc_list_new(&list);
    return handle_new(type, r, list);
}

/* The exception of a code that is not 0 and not BLOCKING_RAISED; `what`: of an index. */
static void raise_code(int code, const char *what) {
    if (code == -ERANGE) {
        PyErr_Format(PyExc_IndexError, "%s index out of range", what);
    } else if (code != BLOCKING_RAISED) {
        (void)error_raise_for(code, "a shared list");
    }
}

/* ---------------------------------------------------------------- values */

static PyObject *decode(struct module_state *state, mproc_message *message) {
    PyObject *object =
        codec_decode_with_parts(state, message->data, message->size, parts_of_message(message));
    mproc_message_drop(message);
    return object;
}

static int encode(struct module_state *state, PyObject *object, struct message *message) {
    if (codec_encode_with_parts(state, object, message, PARTS_SHARED) < 0) {
        error_explain(object, "value");
        return -1;
    }
    return 0;
}

static mproc_list_value value_of(const struct message *m) {
    return (mproc_list_value){m->iov, m->niov, m->parts.buffers, m->parts.nbuffers};
}

/* Values for one call. Short ones are copied into one buffer, others keep the message that they
 * were encoded in. */
struct values {
    mproc_list_value *list;
    struct iovec *pieces;
    struct message **kept; /* or NULL each */
    size_t n;
    unsigned char *bytes;
    size_t used, room;
};

static void values_clear(struct values *v) {
    for (size_t i = 0; v->kept != NULL && i < v->n; i++) {
        if (v->kept[i] != NULL) {
            message_clear(v->kept[i]);
            PyMem_Free(v->kept[i]);
        }
    }
    PyMem_Free(v->list);
    PyMem_Free(v->pieces);
    PyMem_Free(v->kept);
    PyMem_Free(v->bytes);
}

/* Appends a short message's bytes; where they are is not final until all are there. */
static int values_copy(struct values *v, const struct message *m) {
    if (v->bytes == NULL || m->size > v->room - v->used) {
        size_t room = 2 * v->room + m->size;
        unsigned char *bytes = PyMem_Realloc(v->bytes, room);
        if (bytes == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        v->bytes = bytes;
        v->room = room;
    }
    v->pieces[v->n].iov_len = m->size;
    for (int i = 0; i < m->niov; i++) {
        memcpy(v->bytes + v->used, m->iov[i].iov_base, m->iov[i].iov_len);
        v->used += m->iov[i].iov_len;
    }
    return 0;
}

static int values_add(struct module_state *state, struct values *v, PyObject *object) {
    struct message *m = PyMem_Malloc(sizeof *m);
    if (m == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int r = encode(state, object, m);
    if (r < 0) {
        PyMem_Free(m);
        return -1;
    }
    bool short_one = m->size < MESSAGE_REFER && m->parts.nbuffers == 0;
    if (short_one) {
        r = values_copy(v, m);
        message_clear(m);
        PyMem_Free(m);
    }
    v->kept[v->n] = short_one ? NULL : m;
    v->n += r == 0;
    return r;
}

static int values_room(struct values *v, size_t n) {
    v->list = PyMem_Calloc(n + 1, sizeof *v->list);
    v->pieces = PyMem_Calloc(n + 1, sizeof *v->pieces);
    v->kept = PyMem_Calloc(n + 1, sizeof(struct message *));
    if (v->list == NULL || v->pieces == NULL || v->kept == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* An item of a list or tuple: a new reference. NULL, no exception: the list has become shorter. */
static PyObject *item_of(PyObject *fast, Py_ssize_t i) {
    return PyTuple_Check(fast) ? Py_NewRef(PyTuple_GET_ITEM(fast, i)) : threads_own_item(fast, i);
}

/* Encodes the objects of a list or tuple. 0; -1 with an exception. values_clear() in any case. */
static int values_encode(struct module_state *state, struct values *v, PyObject *fast) {
    *v = (struct values){0};
    size_t n = (size_t)PySequence_Fast_GET_SIZE(fast), used = 0;
    if (values_room(v, n) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        PyObject *object = item_of(fast, (Py_ssize_t)i);
        if (object == NULL) { /* pickling may run anything, and other threads may */
            PyErr_SetString(PyExc_RuntimeError, "the values changed while they were pickled");
            return -1;
        }
        int r = values_add(state, v, object);
        Py_DECREF(object);
        if (r < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (v->kept[i] != NULL) {
            v->list[i] = value_of(v->kept[i]);
        } else {
            v->pieces[i].iov_base = v->bytes + used;
            used += v->pieces[i].iov_len;
            v->list[i] = (mproc_list_value){.pieces = &v->pieces[i], .n = 1};
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- one element */

/* An int; one that is too large for any list is as good as the largest. -1 with an exception. */
static int index_of(PyObject *object, int64_t *i) {
    Py_ssize_t n = PyNumber_AsSsize_t(object, NULL);
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    *i = n;
    return 0;
}

/* The value: a new reference. NULL with an exception. */
static PyObject *fetch(PyObject *self, int64_t i, uint64_t *version, const char *what) {
    struct module_state *state = module_state_of(self);
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r;
    if (state == NULL) {
        return NULL;
    }
    TRYING(r, mproc_list_get(list_of(self), i, &message, version));
    if (r != 0) {
        raise_code(r, what);
        return NULL;
    }
    return decode(state, &message);
}

/* Sets element i, or, with `insert`, puts a new one before it: the code of the core, or
 * BLOCKING_RAISED. */
static int store(PyObject *self, int64_t i, PyObject *object, int insert, uint64_t version) {
    struct module_state *state = module_state_of(self);
    struct message message;
    if (state == NULL || encode(state, object, &message) < 0) {
        return BLOCKING_RAISED;
    }
    const mproc_list_value value = value_of(&message);
    mproc_list *list = list_of(self);
    int r;
    if (message.size < COPY_UNLOCKED) {
        TRYING(r, insert ? mproc_list_insert_value(list, i, &value)
                         : mproc_list_put(list, i, &value, version));
    } else {
        BLOCKING(r, insert ? mproc_list_insert_value(list, i, &value)
                           : mproc_list_put(list, i, &value, version));
    }
    message_clear(&message);
    return r;
}

static int add(PyObject *self, int64_t i, PyObject *object) {
    int r = store(self, i, object, 1, 0);
    if (r != 0) {
        raise_code(r, "list");
    }
    return r != 0 ? -1 : 0;
}

/* ---------------------------------------------------------------- snapshots */

static PyObject *decode_all(struct module_state *state, const mproc_list_snapshot *snapshot) {
    size_t n = mproc_list_snapshot_count(snapshot);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        mproc_message m;
        PyObject *object = NULL;
        if (mproc_list_snapshot_item(snapshot, i, &m) == 0) {
            object = codec_decode_with_parts(state, m.data, m.size, parts_of_message(&m));
        }
        if (object == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, object);
        }
    }
    return list;
}

/* Elements as an ordinary list, and the version that the shared one had. */
static PyObject *copy(PyObject *self, const int64_t bounds[3], uint64_t *version) {
    struct module_state *state = module_state_of(self);
    mproc_list_snapshot *snapshot = NULL;
    int r;
    if (state == NULL) {
        return NULL;
    }
    BLOCKING(r, mproc_list_snapshot_new(&snapshot, list_of(self), bounds[0], bounds[1], bounds[2]));
    if (r != 0) {
        raise_code(r, "list");
        return NULL;
    }
    PyObject *list = decode_all(state, snapshot);
    *version = mproc_list_snapshot_version(snapshot);
    mproc_list_snapshot_drop(snapshot);
    return list;
}

/* ---------------------------------------------------------------- the sequence */

static int slice_of(PyObject *object, int64_t bounds[3]) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(object, &start, &stop, &step) < 0) {
        return -1;
    }
    bounds[0] = start;
    bounds[1] = stop;
    bounds[2] = step;
    return 0;
}

static void raise_no_index(PyObject *object) {
    PyErr_Format(PyExc_TypeError, "list indices must be integers or slices, not %.200s",
                 Py_TYPE(object)->tp_name);
}

static PyObject *list_subscript(PyObject *self, PyObject *key) {
    int64_t i, bounds[3];
    uint64_t version;
    if (PyIndex_Check(key)) {
        return index_of(key, &i) < 0 ? NULL : fetch(self, i, NULL, "list");
    }
    if (!PySlice_Check(key)) {
        raise_no_index(key);
        return NULL;
    }
    return slice_of(key, bounds) < 0 ? NULL : copy(self, bounds, &version);
}

static int raise_no_fit(size_t n) {
    PyErr_Format(PyExc_ValueError,
                 "attempt to assign sequence of size %zu to extended slice of another size", n);
    return -1;
}

static int assign(PyObject *self, const int64_t bounds[3], PyObject *objects) {
    struct module_state *state = module_state_of(self);
    PyObject *fast =
        PySequence_Fast(objects, bounds[2] == 1 ? "can only assign an iterable"
                                                : "must assign iterable to extended slice");
    struct values values;
    if (state == NULL || fast == NULL) {
        Py_XDECREF(fast);
        return -1;
    }
    int r = values_encode(state, &values, fast);
    Py_DECREF(fast);
    if (r == 0) {
        BLOCKING(r, mproc_list_assign(list_of(self), bounds[0], bounds[1], bounds[2], values.list,
                                      values.n));
        if (r == -ERANGE) {
            r = raise_no_fit(values.n);
        } else if (r != 0) {
            raise_code(r, "list");
        }
    }
    values_clear(&values);
    return r != 0 ? -1 : 0;
}

static int cut(PyObject *self, const int64_t bounds[3]) {
    int r;
    BLOCKING(r, mproc_list_cut(list_of(self), bounds[0], bounds[1], bounds[2]));
    if (r != 0) {
        raise_code(r, "list");
    }
    return r != 0 ? -1 : 0;
}

static int set_index(PyObject *self, int64_t i, PyObject *value) {
    int r;
    if (value != NULL) {
        r = store(self, i, value, 0, MPROC_LIST_ANY);
    } else {
        BLOCKING(r, mproc_list_delete(list_of(self), i, MPROC_LIST_ANY));
    }
    if (r != 0) {
        raise_code(r, "list assignment");
    }
    return r != 0 ? -1 : 0;
}

static int list_ass_subscript(PyObject *self, PyObject *key, PyObject *value) {
    int64_t i, bounds[3];
    if (PyIndex_Check(key)) {
        return index_of(key, &i) < 0 ? -1 : set_index(self, i, value);
    }
    if (!PySlice_Check(key)) {
        raise_no_index(key);
        return -1;
    }
    if (slice_of(key, bounds) < 0) {
        return -1;
    }
    return value == NULL ? cut(self, bounds) : assign(self, bounds, value);
}

static Py_ssize_t list_length(PyObject *self) {
    return (Py_ssize_t)mproc_list_count(list_of(self));
}

/* ---------------------------------------------------------------- methods */

static PyObject *list_append(PyObject *self, PyObject *object) {
    return add(self, INT64_MAX, object) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *list_insert(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t i;
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "insert expected 2 arguments, got %zd", nargs);
    }
    if (index_of(args[0], &i) < 0 || add(self, i, args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *list_extend(PyObject *self, PyObject *objects) {
    PyObject *list = PySequence_List(objects); /* before the first of them is added */
    int r = list == NULL ? -1 : assign(self, (int64_t[]){INT64_MAX, INT64_MAX, 1}, list);
    Py_XDECREF(list);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* An element that cannot be read stays where it is. */
static PyObject *list_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t i = -1;
    if (nargs > 1) {
        return PyErr_Format(PyExc_TypeError, "pop expected at most 1 argument, got %zd", nargs);
    }
    if (nargs == 1 && index_of(args[0], &i) < 0) {
        return NULL;
    }
    for (;;) {
        uint64_t version;
        PyObject *value = fetch(self, i, &version, "pop");
        if (value == NULL) {
            if (PyErr_ExceptionMatches(PyExc_IndexError) && list_length(self) == 0) {
                PyErr_SetString(PyExc_IndexError, "pop from empty list");
            }
            return NULL;
        }
        int r;
        TRYING(r, mproc_list_delete(list_of(self), i, version));
        if (r == 0) {
            return value;
        }
        Py_DECREF(value); /* it is another one meanwhile, or there are fewer */
        if (r != -ESTALE && r != -ERANGE) {
            return error_raise(r);
        }
    }
}

static PyObject *finish(int r) {
    if (r == 0) {
        Py_RETURN_NONE;
    }
    raise_code(r, "list");
    return NULL;
}

static PyObject *list_clear(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r;
    BLOCKING(r, mproc_list_clear(list_of(self)));
    return finish(r);
}

static PyObject *list_reverse(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r;
    BLOCKING(r, mproc_list_reverse(list_of(self)));
    return finish(r);
}

static PyObject *list_swap(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t i, j;
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "swap() takes 2 arguments (%zd given)", nargs);
    }
    if (index_of(args[0], &i) < 0 || index_of(args[1], &j) < 0) {
        return NULL;
    }
    int r;
    TRYING(r, mproc_list_swap(list_of(self), i, j));
    return finish(r);
}

/* ---------------------------------------------------------------- in two steps */

static PyObject *with_version(PyObject *object, uint64_t version) { /* takes the object */
    PyObject *number = object == NULL ? NULL : PyLong_FromUnsignedLongLong(version);
    PyObject *both = number == NULL ? NULL : PyTuple_Pack(2, object, number);
    Py_XDECREF(object);
    Py_XDECREF(number);
    return both;
}

/* _copy(): all elements, and the list's version. */
static PyObject *list_copy(PyObject *self, PyObject *Py_UNUSED(unused)) {
    uint64_t version = 0;
    PyObject *list = copy(self, (int64_t[]){0, INT64_MAX, 1}, &version);
    return with_version(list, version);
}

/* _read(i): the value and its version. */
static PyObject *list_read(PyObject *self, PyObject *index) {
    int64_t i;
    uint64_t version = 0;
    PyObject *value = index_of(index, &i) < 0 ? NULL : fetch(self, i, &version, "list");
    return with_version(value, version);
}

/* The version in args[k]. -1 with an exception. */
static int version_of(PyObject *object, uint64_t *version) {
    *version = PyLong_AsUnsignedLongLong(object);
    return *version == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

/* True: done; False: it is another one, or gone. */
static PyObject *judge(int r) {
    if (r == 0 || r == -ESTALE || r == -ERANGE) {
        return PyBool_FromLong(r == 0);
    }
    raise_code(r, "list");
    return NULL;
}

/* _put(i, value, version): whether element i had that version, and has the value now. */
static PyObject *list_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t i;
    uint64_t version;
    if (nargs != 3) {
        return PyErr_Format(PyExc_TypeError, "_put() takes 3 arguments (%zd given)", nargs);
    }
    if (index_of(args[0], &i) < 0 || version_of(args[2], &version) < 0) {
        return NULL;
    }
    return judge(store(self, i, args[1], 0, version));
}

/* The first n; a list that has become shorter has no good order. */
static int numbers_of(PyObject *order, uint64_t *numbers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        PyObject *number = threads_own_item(order, (Py_ssize_t)i);
        numbers[i] = number != NULL ? PyLong_AsUnsignedLongLong(number) : UINT64_MAX - 1;
        Py_XDECREF(number);
        if (numbers[i] == UINT64_MAX && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

/* _arrange(order, version): whether the list had that version, and has that order now. */
static PyObject *list_arrange(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t version;
    if (nargs != 2 || !PyList_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_arrange() takes a list of numbers, and a version");
        return NULL;
    }
    size_t n = (size_t)PyList_GET_SIZE(args[0]);
    uint64_t *numbers = PyMem_Malloc((n + 1) * sizeof *numbers);
    if (numbers == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = NULL;
    if (numbers_of(args[0], numbers, n) == 0 && version_of(args[1], &version) == 0) {
        int r;
        BLOCKING(r, mproc_list_arrange(list_of(self), numbers, n, version));
        result = judge(r);
    }
    PyMem_Free(numbers);
    return result;
}

/* _delete(i, version): whether element i had that version, and is gone now. */
static PyObject *list_delete(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t i;
    uint64_t version;
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "_delete() takes 2 arguments (%zd given)", nargs);
    }
    if (index_of(args[0], &i) < 0 || version_of(args[1], &version) < 0) {
        return NULL;
    }
    int r;
    BLOCKING(r, mproc_list_delete(list_of(self), i, version));
    return judge(r);
}

/* ---------------------------------------------------------------- the type */

static PyMethodDef list_methods[] = {
    {"append", list_append, METH_O, "append($self, object, /)\n--\n\nAdd it behind the last one."},
    {"insert", MODULE_METHOD(list_insert), METH_FASTCALL,
     "insert($self, index, object, /)\n--\n\nAdd it before element index."},
    {"extend", list_extend, METH_O,
     "extend($self, iterable, /)\n--\n\nAdd all behind the last one, in one step."},
    {"pop", MODULE_METHOD(list_pop), METH_FASTCALL,
     "pop($self, index=-1, /)\n--\n\n"
     "Take an element out and return its value. IndexError: there is none."},
    {"clear", list_clear, METH_NOARGS, "clear($self, /)\n--\n\nTake everything out, in one step."},
    {"reverse", list_reverse, METH_NOARGS, "reverse($self, /)\n--\n\nReverse it, in one step."},
    {"swap", MODULE_METHOD(list_swap), METH_FASTCALL,
     "swap($self, i, j, /)\n--\n\n"
     "Let two elements change places, in one step. IndexError: there is no such."},
    {"_copy", list_copy, METH_NOARGS,
     "_copy($self, /)\n--\n\nThe elements of one moment, and the list's version then."},
    {"_read", list_read, METH_O, "_read($self, index, /)\n--\n\nThe value and its version."},
    {"_put", MODULE_METHOD(list_put), METH_FASTCALL,
     "_put($self, index, value, version, /)\n--\n\n"
     "Set the value if the element has that version; whether it had."},
    {"_delete", MODULE_METHOD(list_delete), METH_FASTCALL,
     "_delete($self, index, version, /)\n--\n\n"
     "Take the element out if it has that version; whether it had."},
    {"_arrange", MODULE_METHOD(list_arrange), METH_FASTCALL,
     "_arrange($self, order, version, /)\n--\n\n"
     "Let element order[i] become element i if the list has that version; whether it had."},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef list_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot list_slots[] = {
    {Py_tp_doc, "Elements in an order in the family's arena."},
    {Py_tp_new, (void *)list_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, list_methods},
    {Py_tp_getset, list_getset},
    {Py_mp_subscript, (void *)list_subscript},
    {Py_mp_ass_subscript, (void *)list_ass_subscript},
    {Py_mp_length, (void *)list_length},
    {0, NULL},
};

static PyType_Spec list_spec = {
    .name = "mproc._mproc.List",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_SEQUENCE,
    .slots = list_slots,
};

int list_add(PyObject *module) {
    return module_add_type(module, &list_spec, &module_state(module)->list_type, 1);
}
