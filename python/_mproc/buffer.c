/*
 * buffer.c - mproc.Buffer: memory of the arena, shared by all who have it
 *
 * SPDX-License-Identifier: MIT
 *
 * What is made over a Buffer (a memoryview, a numpy array) has a reference to it, as with every
 * object that has the buffer interface. So the memory stays while any process uses it.
 *
 * Whether an array that is to be sent lies in a Buffer is found by its address: the module's state
 * has a list of the Buffers that there are. So all that is made of one goes by reference, whatever
 * library has made it.
 *
 * A View is what a received array lies in that its sender has copied. It is in no list: sent again,
 * it is copied again. A forked child has the contents for itself (mproc_view_new()).
 *
 * Invariants, of the list: 1. It is in the order of the addresses, and no two ranges overlap. 2.
 * `count` is the number of Buffers of a range; it is 1 or more, and each has a hold.
 */
#include "buffer.h"

#include "error.h"
#include "handle.h"

#include <errno.h>
#include <string.h>

struct buffer_range {
    char *start;
    size_t size;
    mproc_buffer *buffer;
    size_t count;
};

/* ---------------------------------------------------------------- the list */

/* The number of ranges that begin at or below an address. */
static size_t below(const struct buffers *buffers, const char *at) {
    size_t low = 0, high = buffers->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (buffers->list[middle].start <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct buffer_range *range_of(struct buffers *buffers, const char *at, size_t size) {
    size_t i = below(buffers, at);
    struct buffer_range *range = i > 0 ? &buffers->list[i - 1] : NULL;
    size_t offset = range != NULL ? (size_t)(at - range->start) : 0;
    return range != NULL && offset <= range->size && size <= range->size - offset ? range : NULL;
}

mproc_buffer *buffer_around(struct module_state *state, const void *at, size_t size) {
    THREADS_LOCK(&state->buffers.lock);
    const struct buffer_range *range = range_of(&state->buffers, at, size);
    mproc_buffer *buffer = range != NULL ? range->buffer : NULL;
    THREADS_UNLOCK(&state->buffers.lock);
    return buffer;
}

/* 0; -1: no memory. */
static int range_add(struct buffers *buffers, mproc_buffer *buffer) {
    char *start = mproc_buffer_data(buffer);
    size_t i = below(buffers, start);
    if (i > 0 && buffers->list[i - 1].buffer == buffer) {
        buffers->list[i - 1].count++;
        return 0;
    }
    if (buffers->n == buffers->room) {
        size_t room = buffers->room == 0 ? 16 : 2 * buffers->room;
        struct buffer_range *list = PyMem_Realloc(buffers->list, room * sizeof *list);
        if (list == NULL) {
            return -1;
        }
        buffers->list = list;
        buffers->room = room;
    }
    memmove(&buffers->list[i + 1], &buffers->list[i], (buffers->n - i) * sizeof *buffers->list);
    buffers->list[i] = (struct buffer_range){start, mproc_buffer_size(buffer), buffer, 1};
    buffers->n++;
    return 0;
}

/* 0, or -1 with MemoryError. */
static int remember(struct buffers *buffers, mproc_buffer *buffer) {
    THREADS_LOCK(&buffers->lock);
    int r = range_add(buffers, buffer);
    THREADS_UNLOCK(&buffers->lock);
    if (r < 0) {
        PyErr_NoMemory();
    }
    return r;
}

static void list_remove(struct buffers *buffers, mproc_buffer *buffer) {
    size_t i = below(buffers, mproc_buffer_data(buffer));
    struct buffer_range *range = i > 0 ? &buffers->list[i - 1] : NULL;
    if (range != NULL && range->buffer == buffer && --range->count == 0) {
        memmove(range, range + 1, (buffers->n - i) * sizeof *range);
        buffers->n--;
    }
}

/* ---------------------------------------------------------------- making */

/* The hold is the Buffer's, and is given back after an error. */
static PyObject *make(PyTypeObject *type, struct module_state *state, int code,
                      mproc_buffer *owned) {
    PyObject *self = handle_new(type, code, owned);
    if (self != NULL && remember(&state->buffers, owned) < 0) {
        ((struct handle *)self)->object = NULL; /* it is in no list */
        mproc_drop(owned);
        Py_CLEAR(self);
    }
    return self;
}

PyObject *buffer_share(struct module_state *state, mproc_buffer *lent) {
    int r = mproc_hold(lent);
    return r != 0 ? error_raise(r) : make(state->buffer_type, state, 0, lent);
}

/* Buffer(size, zero=True) */
static PyObject *buffer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"size", "zero", NULL};
    Py_ssize_t size;
    int zero = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n|p:Buffer", names, &size, &zero)) {
        return NULL;
    }
    if (size < 0) {
        return PyErr_Format(PyExc_ValueError, "negative size: %zd", size);
    }
    mproc_buffer *buffer = NULL;
    int r = mproc_buffer_new(&buffer, (size_t)size);
    if (r == 0 && zero) {
        Py_BEGIN_ALLOW_THREADS;
        memset(mproc_buffer_data(buffer), 0, (size_t)size);
        Py_END_ALLOW_THREADS;
    }
    if (r == MPROC_ETOOBIG || r == -ENOMEM) {
        return PyErr_Format(PyExc_MemoryError, "no room for %zd bytes in the arena", size);
    }
    return make(type, module_state(PyType_GetModule(type)), r, buffer);
}

static void buffer_dealloc(PyObject *self) {
    mproc_buffer *buffer = handle_object(self);
    struct module_state *state = PyType_GetModuleState(Py_TYPE(self));
    if (buffer != NULL && state != NULL) {
        THREADS_LOCK(&state->buffers.lock);
        list_remove(&state->buffers, buffer);
        THREADS_UNLOCK(&state->buffers.lock);
    }
    handle_dealloc(self);
}

/* ---------------------------------------------------------------- using */

static int getbuffer(PyObject *self, Py_buffer *view, int flags) {
    mproc_buffer *buffer = handle_object(self);
    return PyBuffer_FillInfo(view, self, mproc_buffer_data(buffer),
                             (Py_ssize_t)mproc_buffer_size(buffer), 0, flags);
}

static Py_ssize_t length(PyObject *self) {
    return (Py_ssize_t)mproc_buffer_size(handle_object(self));
}

/* What stands at an address that came with a pickle may be another object by now. */
static PyObject *adopt(PyObject *type, PyObject *address) {
    struct module_state *state = module_state(PyType_GetModule((PyTypeObject *)type));
    PyObject *self = handle_adopt(type, address);
    if (self != NULL && mproc_buffer_check(handle_object(self), NULL, 0) != 0) {
        PyErr_Format(PyExc_ValueError, "at %R there is no Buffer", address);
        handle_dealloc(self); /* it is in no list */
        return NULL;
    }
    if (self != NULL && remember(&state->buffers, handle_object(self)) < 0) {
        Py_CLEAR(self); /* there is no such range, so nothing is removed */
    }
    return self;
}

/* _change(place, old, new) */
static PyObject *change(PyObject *self, PyObject *args) {
    mproc_buffer *buffer = handle_object(self);
    Py_ssize_t place;
    unsigned char old, new;
    if (!PyArg_ParseTuple(args, "nbb:_change", &place, &old, &new)) {
        return NULL;
    }
    if (place < 0 || (size_t)place >= mproc_buffer_size(buffer)) {
        return PyErr_Format(PyExc_IndexError, "a Buffer of %zu bytes has none at %zd",
                            mproc_buffer_size(buffer), place);
    }
    int64_t expected = old;
    char *at = (char *)mproc_buffer_data(buffer) + place;
    int r = mproc_atomic_compare_exchange(MPROC_UINT8, at, &expected, new);
    return r < 0 ? error_raise(r) : PyBool_FromLong(r);
}

/* What Buffers are pickled as is Python's: mproc.buffers. */
static PyObject *reduce_ex(PyObject *self, PyObject *protocol) {
    PyObject *module = PyImport_ImportModule("mproc.buffers");
    PyObject *reduced =
        module == NULL ? NULL : PyObject_CallMethod(module, "_reduce", "OO", self, protocol);
    Py_XDECREF(module);
    return reduced;
}

static PyMethodDef buffer_methods[] = {
    {"adopt", adopt, METH_O | METH_CLASS,
     "adopt($type, address, /)\n--\n\nThe handle of a hold that this process has already."},
    {"_change", change, METH_VARARGS,
     "_change($self, place, old, new, /)\n--\n\n"
     "Change a byte in one step if it is `old`; return whether it was."},
    {"__reduce_ex__", reduce_ex, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef buffer_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot buffer_slots[] = {
    {Py_tp_doc, "Buffer(size, zero=True)\n--\n\n"
                "Bytes in the family's shared memory, zeroed unless told otherwise.\n\n"
                "It has the buffer interface. What is made over it, such as numpy arrays, goes to\n"
                "other processes by reference: all who have it see what one of them writes."},
    {Py_tp_new, (void *)buffer_new},
    {Py_tp_dealloc, (void *)buffer_dealloc},
    {Py_tp_methods, buffer_methods},
    {Py_tp_getset, buffer_getset},
    {Py_bf_getbuffer, (void *)getbuffer},
    {Py_sq_length, (void *)length},
    {0, NULL},
};

static PyType_Spec buffer_spec = {
    .name = "mproc._mproc.Buffer",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = buffer_slots,
};

/* ---------------------------------------------------------------- views */

struct view {
    PyObject_HEAD mproc_view *view;
};

static mproc_view *view_of(PyObject *self) {
    return ((struct view *)self)->view;
}

PyObject *buffer_view(struct module_state *state, mproc_buffer *lent) {
    PyObject *self = state->view_type->tp_alloc(state->view_type, 0);
    int r = self != NULL ? mproc_view_new(&((struct view *)self)->view, lent) : 0;
    if (r != 0) {
        Py_DECREF(self);
        return error_raise(r);
    }
    return self;
}

static void view_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    mproc_view_drop(view_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static int view_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    const mproc_view *bytes = view_of(self);
    return PyBuffer_FillInfo(view, self, mproc_view_data(bytes), (Py_ssize_t)mproc_view_size(bytes),
                             0, flags);
}

static Py_ssize_t view_length(PyObject *self) {
    return (Py_ssize_t)mproc_view_size(view_of(self));
}

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "A received buffer that nobody else has."},
    {Py_tp_dealloc, (void *)view_dealloc},
    {Py_bf_getbuffer, (void *)view_getbuffer},
    {Py_sq_length, (void *)view_length},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "mproc._mproc.View",
    .basicsize = sizeof(struct view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};

/* ---------------------------------------------------------------- the module's part */

/* As buffer_around(), with a hold: another thread may be dropping the last Buffer of it. */
static int held_around(struct buffers *buffers, const void *at, mproc_buffer **buffer) {
    THREADS_LOCK(&buffers->lock);
    const struct buffer_range *range = range_of(buffers, at, 1);
    *buffer = range != NULL ? range->buffer : NULL;
    int r = range != NULL ? mproc_hold(*buffer) : 0;
    THREADS_UNLOCK(&buffers->lock);
    return r;
}

/* buffer_at(address): the Buffer there, and the place in it. */
static PyObject *buffer_at(PyObject *module, PyObject *address) {
    struct module_state *state = module_state(module);
    char *at = PyLong_AsVoidPtr(address);
    if (at == NULL && PyErr_Occurred()) {
        return NULL;
    }
    mproc_buffer *buffer;
    int r = held_around(&state->buffers, at, &buffer);
    if (r != 0 || buffer == NULL) {
        return r != 0 ? error_raise(r) : Py_NewRef(Py_None);
    }
    Py_ssize_t offset = at - (char *)mproc_buffer_data(buffer);
    PyObject *found = make(state->buffer_type, state, 0, buffer);
    return found == NULL ? NULL : Py_BuildValue("Nn", found, offset);
}

/* know_arrays(type, reduce) */
static PyObject *know_arrays(PyObject *module, PyObject *args) {
    struct buffers *buffers = &module_state(module)->buffers;
    PyObject *type, *reduce;
    if (!PyArg_ParseTuple(args, "O!O:know_arrays", &PyType_Type, &type, &reduce)) {
        return NULL;
    }
    THREADS_LOCK(&buffers->lock);
    PyObject *old_reduce = buffers->reduce, *old_type = (PyObject *)buffers->array_type;
    buffers->reduce = Py_NewRef(reduce);
    THREADS_STORE(buffers->array_type, (PyTypeObject *)Py_NewRef(type));
    THREADS_UNLOCK(&buffers->lock);
    Py_XDECREF(old_reduce);
    Py_XDECREF(old_type);
    Py_RETURN_NONE;
}

PyObject *buffers_reducer(struct buffers *buffers, PyTypeObject *type) {
    PyObject *reduce = NULL;
    if (type != THREADS_LOAD(buffers->array_type)) {
        return NULL;
    }
    THREADS_LOCK(&buffers->lock);
    if (type == buffers->array_type && buffers->n > 0) {
        reduce = Py_NewRef(buffers->reduce);
    }
    THREADS_UNLOCK(&buffers->lock);
    return reduce;
}

static PyMethodDef functions[] = {
    {"buffer_at", buffer_at, METH_O,
     "buffer_at($module, address, /)\n--\n\n"
     "The Buffer of this process in which an address lies, and the place in it; or None."},
    {"know_arrays", know_arrays, METH_VARARGS,
     "know_arrays($module, type, reduce, /)\n--\n\n"
     "Have messages pickle objects of exactly that type by reduce(object), while there is a\n"
     "Buffer. It may return NotImplemented."},
    {NULL, NULL, 0, NULL},
};

/* Another thread may have come here during the import: the first result stays. */
PyObject *buffer_array_maker(struct module_state *state) {
    struct buffers *buffers = &state->buffers;
    if (THREADS_LOAD(buffers->make) == NULL) {
        PyObject *module = PyImport_ImportModule("mproc.buffers");
        PyObject *make = module != NULL ? PyObject_GetAttrString(module, "array_over") : NULL;
        Py_XDECREF(module);
        if (make == NULL || !THREADS_SET_FIRST(buffers->make, make)) {
            Py_XDECREF(make);
        }
    }
    return buffers->make;
}

int buffers_traverse(struct buffers *buffers, visitproc visit, void *arg) {
    Py_VISIT(buffers->make);
    Py_VISIT(buffers->reduce);
    Py_VISIT(buffers->array_type);
    return 0;
}

void buffers_clear(struct buffers *buffers) {
    Py_CLEAR(buffers->make);
    Py_CLEAR(buffers->reduce);
    Py_CLEAR(buffers->array_type);
}

int buffer_add(PyObject *module) {
    struct module_state *state = module_state(module);
    if (module_add_type(module, &buffer_spec, &state->buffer_type, 1) < 0 ||
        module_add_type(module, &view_spec, &state->view_type, 0) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
