/*
 * synchronized.c - mproc._mproc.Synchronized and SynchronizedArray: ctypes objects under a lock
 *
 * SPDX-License-Identifier: MIT
 *
 * `v.value` and `a[i]` are one C call each. Two things make it short, and either may be missing.
 * The lock is mproc's RLock, under which a single number can be read and written without acquiring
 * it; and the object is a number or an array of numbers, which are read and written where they
 * stand. Without the first, the lock's acquire() and release() are called. Without the second, the
 * object is asked, under the lock.
 *
 * A value is converted before the lock is acquired, for a conversion may run Python code.
 *
 * Invariants: 1. `code` is 0, or view.buf is the memory of `n` numbers of that typecode, each at a
 * multiple of its size. 2. `rlock` is NULL or the lock of `lock`.
 */
#include "acquire.h"
#include "scalar.h"

#include <stdbool.h>
#include <string.h>

struct synchronized {
    PyObject_HEAD PyObject *object;
    PyObject *lock;
    PyObject *acquire; /* the lock's methods */
    PyObject *release;
    mproc_rlock *rlock; /* NULL: some other lock */
    Py_buffer view;     /* of the object; buf is NULL if it is not read in place */
    int code;           /* typecode of its number or numbers, 0 if it is not read in place */
    Py_ssize_t n;       /* numbers */
};

static struct synchronized *self_of(PyObject *self) {
    return (struct synchronized *)self;
}

/* ---------------------------------------------------------------- the lock */

/* The holder of the lock died: the lock is released again, and the caller gets an error. */
static int owner_died(struct synchronized *s) {
    mproc_lock_holder dead;
    if (acquire_recovers(s->lock)) {
        return 0;
    }
    mproc_rlock_dead_owner(s->rlock, &dead);
    (void)mproc_rlock_release(s->rlock);
    (void)acquire_owner_died(&dead);
    return -1;
}

static int enter_slowly(struct synchronized *s, int r) {
    if (s->rlock == NULL) {
        PyObject *result = PyObject_CallNoArgs(s->acquire);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    if (r == -ETIMEDOUT) {
        BLOCKING(r, mproc_rlock_acquire(s->rlock, MPROC_FOREVER));
    }
    if (r == -EOWNERDEAD) {
        return owner_died(s);
    }
    if (r != 0 && r != BLOCKING_RAISED) {
        (void)error_raise(r);
    }
    return r == 0 ? 0 : -1;
}

static inline int enter(struct synchronized *s) {
    int r = s->rlock != NULL ? mproc_rlock_acquire(s->rlock, 0) : -1;
    return r == 0 ? 0 : enter_slowly(s, r);
}

/* Keeps an exception that is set; without one, -1 if the lock's release() raises. */
static int leave(struct synchronized *s) {
    if (s->rlock != NULL) {
        (void)mproc_rlock_release(s->rlock);
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallNoArgs(s->release);
    Py_XDECREF(result);
    if (type != NULL) {
        PyErr_Restore(type, value, traceback);
    }
    return result == NULL ? -1 : 0;
}

static PyObject *leave_with(struct synchronized *s, PyObject *result) {
    if (leave(s) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

/* ---------------------------------------------------------------- making */

/* Looks whether the object is what its typecode says; otherwise it is not read in place. 0, or -1
 * with an exception. */
static int view_numbers(struct synchronized *s, int code) {
    size_t item = scalar_size(code);
    if (item == 0) {
        return 0;
    }
    if (PyObject_GetBuffer(s->object, &s->view, PyBUF_WRITABLE | PyBUF_FORMAT | PyBUF_ND) < 0) {
        s->view.buf = NULL;
        return -1;
    }
    if (s->view.ndim <= 1 && (size_t)s->view.itemsize == item &&
        (uintptr_t)s->view.buf % item == 0) {
        s->code = code;
        s->n = s->view.len / (Py_ssize_t)item;
    }
    return 0;
}

/* Keeps what every use asks for: the lock's methods, and the lock itself if it is an RLock of ours;
 * and what is read in place. The release is the last of all, for by that it counts as made. */
static int keep(struct synchronized *s, struct module_state *state, int code) {
    PyObject *release = NULL;
    s->acquire = PyObject_GetAttrString(s->lock, "acquire");
    if (s->acquire != NULL) {
        release = PyObject_GetAttrString(s->lock, "release");
    }
    if (release == NULL || view_numbers(s, code) < 0) {
        Py_XDECREF(release);
        return -1;
    }
    if (module_is_a(s->lock, state->rlock_type)) {
        s->rlock = handle_object(s->lock);
    }
    THREADS_STORE(s->release, release);
    return 0;
}

static PyObject *synchronized_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                                  PyObject *Py_UNUSED(kwargs)) {
    return type->tp_alloc(type, 0);
}

/* _wrap(object, lock, code): code is the typecode of the number or numbers, or an empty string. */
static PyObject *synchronized_wrap(PyObject *self, PyObject *args) {
    struct synchronized *s = self_of(self);
    PyObject *object, *lock, *code;
    struct module_state *state = module_state_of(self);
    if (state == NULL || !PyArg_ParseTuple(args, "OOU:_wrap", &object, &lock, &code)) {
        return NULL;
    }
    if (!THREADS_SET_FIRST(s->object, object)) {
        PyErr_SetString(PyExc_TypeError, "it is made already");
        return NULL;
    }
    Py_INCREF(object);
    s->lock = Py_NewRef(lock);
    int character = PyUnicode_GET_LENGTH(code) == 1 ? (int)PyUnicode_READ_CHAR(code, 0) : 0;
    return keep(s, state, character) < 0 ? NULL : Py_NewRef(Py_None);
}

static int is_made(struct synchronized *s) {
    if (THREADS_LOAD(s->release) == NULL) {
        PyErr_SetString(PyExc_TypeError, "super().__init__() was never called");
        return 0;
    }
    return 1;
}

/* ---------------------------------------------------------------- one number */

union number {
    char bytes[8];
    uint64_t aligned;
};

static inline PyObject *load_number(struct synchronized *s, const char *at) {
    union number number;
    if (s->rlock != NULL &&
        mproc_rlock_load(s->rlock, (size_t)s->view.itemsize, at, &number) == 0) {
        return scalar_load(s->code, number.bytes);
    }
    return enter(s) < 0 ? NULL : leave_with(s, scalar_load(s->code, at));
}

/* The conversion comes first: it may run Python code. */
static int store_number(struct synchronized *s, char *at, PyObject *value) {
    union number number;
    if (scalar_convert(s->code, (size_t)s->view.itemsize, number.bytes, value) < 0) {
        return -1;
    }
    if (s->rlock != NULL &&
        mproc_rlock_store(s->rlock, (size_t)s->view.itemsize, at, &number) == 0) {
        return 0;
    }
    if (enter(s) < 0) {
        return -1;
    }
    (void)mproc_atomic_store((size_t)s->view.itemsize, at, &number); /* view_numbers() looked */
    return leave(s);
}

/* Where the number of an index stands; a negative one counts from the end. -1 with an exception. */
static int place_of(struct synchronized *s, PyObject *key, char **at) {
    Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred()) {
        return -1;
    }
    i += i < 0 ? s->n : 0;
    if (i < 0 || i >= s->n) {
        PyErr_SetString(PyExc_IndexError, "invalid index");
        return -1;
    }
    *at = (char *)s->view.buf + i * s->view.itemsize;
    return 0;
}

/* ---------------------------------------------------------------- one value */

static PyObject *synchronized_get_value(PyObject *self, void *Py_UNUSED(unused)) {
    struct synchronized *s = self_of(self);
    if (!is_made(s)) {
        return NULL;
    }
    if (s->code != 0) {
        return load_number(s, s->view.buf);
    }
    return enter(s) < 0 ? NULL : leave_with(s, PyObject_GetAttrString(s->object, "value"));
}

static int synchronized_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    struct synchronized *s = self_of(self);
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "the value cannot be deleted");
        return -1;
    }
    if (!is_made(s)) {
        return -1;
    }
    if (s->code != 0) {
        return store_number(s, s->view.buf, value);
    }
    if (enter(s) < 0) {
        return -1;
    }
    int r = PyObject_SetAttrString(s->object, "value", value);
    return leave(s) < 0 ? -1 : r;
}

/* ---------------------------------------------------------------- atomic operations */

/* Where the integer stands that an atomic operation is about; of an array, the first argument is
 * its index. -1 with an exception. */
static int atomic_place(struct synchronized *s, const char *name, PyObject *const **args,
                        Py_ssize_t nargs, Py_ssize_t wanted, char **at) {
    if (!is_made(s)) {
        return -1;
    }
    bool indexed = s->view.ndim == 1;
    if (nargs != wanted + indexed) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name,
                     wanted + indexed, nargs);
        return -1;
    }
    if (s->code == 0 || s->code == 'f' || s->code == 'd' || s->code == '?') {
        PyErr_Format(PyExc_TypeError, "%s() is for integers", name);
        return -1;
    }
    if (indexed) {
        return place_of(s, *(*args)++, at);
    }
    *at = s->view.buf;
    return 0;
}

static int take_bits(PyObject *value, int64_t *out) {
    *out = (int64_t)PyLong_AsUnsignedLongLongMask(value);
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *give_bits(struct synchronized *s, int64_t bits) {
    return scalar_type(s->code) == MPROC_UINT64 ? PyLong_FromUnsignedLongLong((uint64_t)bits)
                                                : PyLong_FromLongLong(bits);
}

static PyObject *atomic_of_one(PyObject *self, const char *name, PyObject *const *args,
                               Py_ssize_t nargs,
                               int (*act)(mproc_type type, void *at, int64_t n, int64_t *old)) {
    struct synchronized *s = self_of(self);
    char *at;
    int64_t n, old;
    if (atomic_place(s, name, &args, nargs, 1, &at) < 0 || take_bits(args[0], &n) < 0) {
        return NULL;
    }
    int r = act(scalar_type(s->code), at, n, &old);
    return r == 0 ? give_bits(s, old) : error_raise(r);
}

static PyObject *atomic_add(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    return atomic_of_one(self, "add", args, nargs, mproc_atomic_add);
}

static PyObject *atomic_exchange(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    return atomic_of_one(self, "exchange", args, nargs, mproc_atomic_exchange);
}

static PyObject *atomic_compare_exchange(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    struct synchronized *s = self_of(self);
    char *at;
    int64_t expected, desired;
    if (atomic_place(s, "compare_exchange", &args, nargs, 2, &at) < 0 ||
        take_bits(args[0], &expected) < 0 || take_bits(args[1], &desired) < 0) {
        return NULL;
    }
    int r = mproc_atomic_compare_exchange(scalar_type(s->code), at, &expected, desired);
    return r >= 0 ? PyBool_FromLong(r) : error_raise(r);
}

/* ---------------------------------------------------------------- arrays */

static Py_ssize_t array_length(PyObject *self) {
    struct synchronized *s = self_of(self);
    if (!is_made(s)) {
        return -1;
    }
    return s->code != 0 ? s->n : PyObject_Length(s->object);
}

static PyObject *array_item(PyObject *self, Py_ssize_t i) {
    struct synchronized *s = self_of(self);
    if (!is_made(s)) {
        return NULL;
    }
    if (s->code != 0 && (i < 0 || i >= s->n)) {
        PyErr_SetString(PyExc_IndexError, "invalid index");
        return NULL;
    }
    if (s->code != 0) {
        return load_number(s, (char *)s->view.buf + i * s->view.itemsize);
    }
    return enter(s) < 0 ? NULL : leave_with(s, PySequence_GetItem(s->object, i));
}

static PyObject *slice_list(struct synchronized *s, Py_ssize_t start, Py_ssize_t step,
                            Py_ssize_t n) {
    PyObject *list = PyList_New(n);
    const char *first = (char *)s->view.buf + start * s->view.itemsize;
    if (list != NULL && scalar_load_all(s->code, first, step * s->view.itemsize, list) < 0) {
        Py_CLEAR(list);
    }
    return list;
}

static PyObject *ask_object(struct synchronized *s, PyObject *key) {
    return enter(s) < 0 ? NULL : leave_with(s, PyObject_GetItem(s->object, key));
}

static PyObject *array_subscript(PyObject *self, PyObject *key) {
    struct synchronized *s = self_of(self);
    Py_ssize_t start, stop, step;
    if (!is_made(s)) {
        return NULL;
    }
    if (s->code == 0) {
        return ask_object(s, key);
    }
    if (PyIndex_Check(key)) {
        Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
        return i == -1 && PyErr_Occurred() ? NULL : array_item(self, i < 0 ? i + s->n : i);
    }
    if (!PySlice_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "indices must be integers");
        return NULL;
    }
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
        return NULL;
    }
    Py_ssize_t n = PySlice_AdjustIndices(s->n, &start, &stop, step);
    return enter(s) < 0 ? NULL : leave_with(s, slice_list(s, start, step, n));
}

static int convert_all(struct synchronized *s, PyObject *fast, Py_ssize_t n, char *out) {
    size_t size = (size_t)s->view.itemsize;
    for (Py_ssize_t i = 0; i < n; i++, out += size) {
        if (i >= PySequence_Fast_GET_SIZE(fast)) { /* a conversion may change a list */
            PyErr_SetString(PyExc_ValueError, "the sequence changed while it was read");
            return -1;
        }
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(fast, i));
        int r = scalar_convert(s->code, size, out, item);
        Py_DECREF(item);
        if (r < 0) {
            return -1;
        }
    }
    return 0;
}

/* The numbers of a sequence, converted, one after the other; to be freed. NULL with an
 * exception. */
static char *convert(struct synchronized *s, PyObject *fast) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    char *numbers = PyMem_New(char, (size_t)n *(size_t)s->view.itemsize);
    if (numbers == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (convert_all(s, fast, n, numbers) < 0) {
        PyMem_Free(numbers);
        return NULL;
    }
    return numbers;
}

static void spread(struct synchronized *s, const char *numbers, Py_ssize_t start, Py_ssize_t step,
                   Py_ssize_t n) {
    size_t item = (size_t)s->view.itemsize;
    char *at = (char *)s->view.buf + start * s->view.itemsize;
    if (step == 1) {
        memcpy(at, numbers, (size_t)n * item);
        return;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        memcpy(at + i * step * s->view.itemsize, numbers + (size_t)i * item, item);
    }
}

static int assign_slice(struct synchronized *s, PyObject *key, PyObject *value) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
        return -1;
    }
    Py_ssize_t n = PySlice_AdjustIndices(s->n, &start, &stop, step);
    PyObject *fast = threads_sequence(value, "");
    if (fast == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) { /* as ctypes has it */
            PyErr_SetString(PyExc_ValueError, "Can only assign sequence of same size");
        }
        return -1;
    }
    char *numbers = NULL;
    if (PySequence_Fast_GET_SIZE(fast) != n) {
        PyErr_SetString(PyExc_ValueError, "Can only assign sequence of same size");
    } else {
        numbers = convert(s, fast);
    }
    int r = numbers == NULL ? -1 : enter(s);
    if (r == 0) {
        spread(s, numbers, start, step, n);
        r = leave(s);
    }
    PyMem_Free(numbers);
    Py_DECREF(fast);
    return r;
}

static int assign_item(struct synchronized *s, PyObject *key, PyObject *value) {
    char *at;
    return place_of(s, key, &at) < 0 ? -1 : store_number(s, at, value);
}

static int array_assign(PyObject *self, PyObject *key, PyObject *value) {
    struct synchronized *s = self_of(self);
    if (!is_made(s)) {
        return -1;
    }
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "Array does not support item deletion");
        return -1;
    }
    if (s->code != 0 && PyIndex_Check(key)) {
        return assign_item(s, key, value);
    }
    if (s->code != 0 && PySlice_Check(key)) {
        return assign_slice(s, key, value);
    }
    if (enter(s) < 0) {
        return -1;
    }
    int r = PyObject_SetItem(s->object, key, value);
    return leave(s) < 0 ? -1 : r;
}

/* ---------------------------------------------------------------- going through an array */

/* Reads each number when it is asked for, as a[i] would. */
struct cursor {
    PyObject_HEAD PyObject *array; /* NULL: it has come to the end */
    Py_ssize_t i;
};

static struct cursor *cursor_of(PyObject *self) {
    return (struct cursor *)self;
}

static int cursor_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(cursor_of(self)->array);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int cursor_clear(PyObject *self) {
    Py_CLEAR(cursor_of(self)->array);
    return 0;
}

static void cursor_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)cursor_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t cursor_left(const struct cursor *c) {
    struct synchronized *s = c->array != NULL ? self_of(c->array) : NULL;
    return s != NULL && s->code != 0 ? s->n - c->i : 0;
}

/* Takes the next place, for one thread: *i and the array, a new reference; NULL: there is none. */
static PyObject *cursor_take(PyObject *self, Py_ssize_t *i) {
    struct cursor *c = cursor_of(self);
    PyObject *array = NULL, *done = NULL;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (cursor_left(c) > 0) {
        array = Py_NewRef(c->array);
        *i = c->i++;
    } else {
        done = c->array;
        c->array = NULL;
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(done);
    return array;
}

/* The number there could not be read: the next call tries it again, unless another thread has taken
 * a place meanwhile. */
static void cursor_give_back(PyObject *self, Py_ssize_t i) {
    Py_BEGIN_CRITICAL_SECTION(self);
    cursor_of(self)->i -= cursor_of(self)->i == i + 1;
    Py_END_CRITICAL_SECTION();
}

static PyObject *cursor_next(PyObject *self) {
    Py_ssize_t i;
    PyObject *array = cursor_take(self, &i);
    if (array == NULL) {
        return NULL;
    }
    struct synchronized *s = self_of(array);
    PyObject *number = load_number(s, (char *)s->view.buf + i * s->view.itemsize);
    if (number == NULL) {
        cursor_give_back(self, i);
    }
    Py_DECREF(array);
    return number;
}

static PyObject *cursor_length_hint(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_ssize_t left;
    Py_BEGIN_CRITICAL_SECTION(self);
    left = cursor_left(cursor_of(self));
    Py_END_CRITICAL_SECTION();
    return PyLong_FromSsize_t(left);
}

/* An object that is not read in place is asked for each item, and so is a subclass that has a
 * __getitem__ of its own. */
static PyObject *array_iter(PyObject *self) {
    struct module_state *state = module_state_of(self);
    if (state == NULL || !is_made(self_of(self))) {
        return NULL;
    }
    if (self_of(self)->code == 0 || Py_TYPE(self)->tp_as_mapping->mp_subscript != array_subscript) {
        return PySeqIter_New(self);
    }
    struct cursor *c = PyObject_GC_New(struct cursor, state->cursor_type);
    if (c != NULL) {
        c->array = Py_NewRef(self);
        c->i = 0;
        PyObject_GC_Track(c);
    }
    return (PyObject *)c;
}

static PyMethodDef cursor_methods[] = {
    {"__length_hint__", cursor_length_hint, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cursor_slots[] = {
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)cursor_next},
    {Py_tp_traverse, (void *)cursor_traverse},
    {Py_tp_clear, (void *)cursor_clear},
    {Py_tp_dealloc, (void *)cursor_dealloc},
    {Py_tp_methods, cursor_methods},
    {0, NULL},
};

static PyType_Spec cursor_spec = {
    .name = "mproc._mproc.SynchronizedArrayIterator",
    .basicsize = sizeof(struct cursor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = cursor_slots,
};

/* ---------------------------------------------------------------- what both have */

static PyObject *synchronized_get_obj(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return is_made(self_of(self)) ? Py_NewRef(self_of(self)->object) : NULL;
}

static PyObject *synchronized_get_lock(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return is_made(self_of(self)) ? Py_NewRef(self_of(self)->lock) : NULL;
}

static PyObject *synchronized_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct synchronized *s = self_of(self);
    if (!is_made(s)) {
        return NULL;
    }
    if (s->rlock == NULL) {
        return PyObject_CallMethod(s->lock, "__enter__", NULL);
    }
    return enter(s) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *synchronized_exit(PyObject *self, PyObject *args) {
    struct synchronized *s = self_of(self);
    if (!is_made(s)) {
        return NULL;
    }
    if (s->rlock != NULL) {
        return PyObject_CallNoArgs(s->release);
    }
    PyObject *method = PyObject_GetAttrString(s->lock, "__exit__");
    PyObject *result = method == NULL ? NULL : PyObject_Call(method, args, NULL);
    Py_XDECREF(method);
    return result;
}

static int synchronized_traverse(PyObject *self, visitproc visit, void *arg) {
    struct synchronized *s = self_of(self);
    Py_VISIT(s->object);
    Py_VISIT(s->lock);
    Py_VISIT(s->acquire);
    Py_VISIT(s->release);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int synchronized_clear(PyObject *self) {
    struct synchronized *s = self_of(self);
    s->rlock = NULL;
    s->code = 0;
    if (s->view.buf != NULL) {
        PyBuffer_Release(&s->view);
        s->view.buf = NULL;
    }
    Py_CLEAR(s->release); /* from now on it counts as not made */
    Py_CLEAR(s->acquire);
    Py_CLEAR(s->object);
    Py_CLEAR(s->lock);
    return 0;
}

static void synchronized_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)synchronized_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef synchronized_methods[] = {
    {"_wrap", synchronized_wrap, METH_VARARGS,
     "_wrap($self, object, lock, code, /)\n--\n\n"
     "Take an object and its lock; code is the typecode of its number or numbers, or empty."},
    {"get_obj", synchronized_get_obj, METH_NOARGS,
     "get_obj($self, /)\n--\n\nThe ctypes object itself."},
    {"get_lock", synchronized_get_lock, METH_NOARGS, "get_lock($self, /)\n--\n\nThe lock."},
    {"add", MODULE_METHOD(atomic_add), METH_FASTCALL,
     "add($self, *index_and_n)\n--\n\n"
     "add(n), of an array add(index, n): add n to an integer in one indivisible step, without the\n"
     "lock. Return what was there before."},
    {"exchange", MODULE_METHOD(atomic_exchange), METH_FASTCALL,
     "exchange($self, *index_and_value)\n--\n\n"
     "exchange(value), of an array exchange(index, value): replace an integer in one indivisible\n"
     "step, without the lock. Return what was there before."},
    {"compare_exchange", MODULE_METHOD(atomic_compare_exchange), METH_FASTCALL,
     "compare_exchange($self, *index_expected_and_desired)\n--\n\n"
     "compare_exchange(expected, desired), of an array with the index first: replace an integer "
     "if\n"
     "it is the expected one, in one indivisible step, without the lock. Return whether it was."},
    {"__enter__", synchronized_enter, METH_NOARGS, NULL},
    {"__exit__", synchronized_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef synchronized_members[] = {
    {"_obj", T_OBJECT, offsetof(struct synchronized, object), READONLY, NULL},
    {"_lock", T_OBJECT, offsetof(struct synchronized, lock), READONLY, NULL},
    {"acquire", T_OBJECT, offsetof(struct synchronized, acquire), READONLY, "The lock's."},
    {"release", T_OBJECT, offsetof(struct synchronized, release), READONLY, "The lock's."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef synchronized_getset[] = {
    {"_value", synchronized_get_value, synchronized_set_value, "The value, under the lock.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot synchronized_slots[] = {
    {Py_tp_doc, "A ctypes object and the lock under which it is used."},
    {Py_tp_new, (void *)synchronized_new},
    {Py_tp_traverse, (void *)synchronized_traverse},
    {Py_tp_clear, (void *)synchronized_clear},
    {Py_tp_dealloc, (void *)synchronized_dealloc},
    {Py_tp_methods, synchronized_methods},
    {Py_tp_members, synchronized_members},
    {Py_tp_getset, synchronized_getset},
    {0, NULL},
};

static PyType_Spec synchronized_spec = {
    .name = "mproc._mproc.Synchronized",
    .basicsize = sizeof(struct synchronized),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = synchronized_slots,
};

static PyType_Slot array_slots[] = {
    {Py_tp_doc, "A ctypes array and the lock under which it is used."},
    {Py_sq_length, (void *)array_length},
    {Py_sq_item, (void *)array_item},
    {Py_mp_length, (void *)array_length},
    {Py_mp_subscript, (void *)array_subscript},
    {Py_mp_ass_subscript, (void *)array_assign},
    {Py_tp_iter, (void *)array_iter},
    {0, NULL},
};

static PyType_Spec array_spec = {
    .name = "mproc._mproc.SynchronizedArray",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = array_slots,
};

int synchronized_add(PyObject *module) {
    struct module_state *state = module_state(module);
    PyTypeObject **base = &state->synchronized_type;
    if (module_add_type(module, &synchronized_spec, base, 1) < 0 ||
        module_add_type(module, &cursor_spec, &state->cursor_type, 0) < 0) {
        return -1;
    }
    return module_derive_type(module, &array_spec, (PyObject *)*base,
                              &state->synchronized_array_type);
}
