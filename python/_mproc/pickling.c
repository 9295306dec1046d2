/*
 * pickling.c - the pickler that the codec falls back on
 *
 * SPDX-License-Identifier: MIT
 *
 * Making a pickler costs more than most pickles do. So there is one, an instance of a subclass of
 * _pickle.Pickler that writes to a sink: a file-like object whose write() appends to the message at
 * hand. Who pickles takes it out of `spare`; who finds none there (another thread has it, or a
 * __reduce__ that pickles in turn) makes another. Afterwards one goes back and any other is
 * dropped, as are those that failed, or that grew.
 *
 * reducers holds what was registered by reduction.ForkingPickler.register. The subclass has them as
 * reducer_override, which the pickler asks before copyreg.dispatch_table, but never about classes
 * and functions: those have always gone by name, whatever is registered.
 *
 * _pickle is imported when something first needs it: plain values never do.
 *
 * Invariants: 1. sink.message is NULL unless its pickler is inside dump. 2. A pickler at rest holds
 * no reference to what it has pickled.
 */
#include "module.h"

/* A pickler that wrote more is dropped: its memo never shrinks, but is cleared after each message.
 */
#define GROWN (256 * 1024)

struct sink {
    PyObject base;
    struct codec_message *message;
};

/* ---- the sink ---- */

/* The pickler hands over its frames as bytes, and large data as the objects that own them. */
static int sink_append(struct codec_message *message, PyObject *data, const Py_buffer *view) {
    size_t size = (size_t)view->len;
    if (PyBytes_CheckExact(data)) {
        return codec_message_lend(message, data, view->buf, size);
    }
    /* A lent bytearray could not be resized until the message has gone, which another thread would
     * notice. */
    if (PyByteArray_Check(data) || size < CODEC_LEND) {
        return codec_message_copy(message, view->buf, size);
    }
    PyObject *keeper = PyMemoryView_FromObject(data);
    if (!keeper) {
        return -1;
    }
    int r = codec_message_lend(message, keeper, view->buf, size);
    Py_DECREF(keeper);
    return r;
}

static PyObject *sink_write(PyObject *self, PyObject *data) {
    struct codec_message *message = ((struct sink *)self)->message;
    Py_buffer view;
    if (!message) {
        PyErr_SetString(PyExc_ValueError, "write() to the sink of a pickler at rest");
        return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int r = sink_append(message, data, &view);
    Py_ssize_t size = view.len;
    PyBuffer_Release(&view);
    return r < 0 ? NULL : PyLong_FromSsize_t(size);
}

static int sink_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void sink_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef sink_methods[] = {
    {"write", sink_write, METH_O, PyDoc_STR("Append data to the message at hand.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sink_slots[] = {
    {Py_tp_dealloc, (void *)sink_dealloc},
    {Py_tp_traverse, (void *)sink_traverse},
    {Py_tp_methods, sink_methods},
    {0, NULL},
};

static PyType_Spec sink_spec = {
    .name = "mproc._mproc.Sink",
    .basicsize = sizeof(struct sink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = sink_slots,
};

static PyObject *sink_new(struct module_state *state) {
    PyObject *self = state->sink_type->tp_alloc(state->sink_type, 0);
    if (self) {
        ((struct sink *)self)->message = NULL;
    }
    return self;
}

/* ---- the pickler ---- */

/* What a registered reducer makes of an object; NotImplemented for pickle to find out by itself. */
/* Sockets are registered with the first one that is met, so that nobody imports socket for them. */
static PyObject *find_reducer(PyObject *reducers, PyTypeObject *type) {
    PyObject *reduce = PyDict_GetItemWithError(reducers, (PyObject *)type);
    if (reduce || PyErr_Occurred() || strcmp(type->tp_name, "socket") != 0) {
        return reduce;
    }
    PyObject *module = PyImport_ImportModule("mproc.reduction");
    PyObject *none = module ? PyObject_CallMethod(module, "_register_sockets", NULL) : NULL;
    reduce = none ? PyDict_GetItemWithError(reducers, (PyObject *)type) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(module);
    return reduce;
}

static PyObject *reducer_override(PyObject *reducers, PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyType_Type || type == &PyFunction_Type) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *reduce = find_reducer(reducers, type);
    if (!reduce && PyErr_Occurred()) {
        return NULL;
    }
    if (!reduce) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    Py_INCREF(reduce);
    PyObject *result = PyObject_CallOneArg(reduce, object);
    Py_DECREF(reduce);
    return result;
}

static PyMethodDef reducer_override_def = {"reducer_override", reducer_override, METH_O, NULL};

static PyObject *pickler_type_new(PyObject *reducers, PyObject *base) {
    PyObject *override = PyCFunction_New(&reducer_override_def, reducers);
    if (!override) {
        return NULL;
    }
    PyObject *type = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){s(),sO,ss}", "Pickler",
                                           base, "__slots__", "reducer_override", override,
                                           "__module__", "mproc._mproc");
    Py_DECREF(override);
    return type;
}

/* Imports what pickling needs. Threads may meet here, for an import runs Python code: the first
 * result stays. */
static int pickling_prepare(struct pickling *pickling) {
    if (pickling->pickler_type) {
        return 0;
    }
    PyObject *module = PyImport_ImportModule("_pickle");
    PyObject *base = module ? PyObject_GetAttrString(module, "Pickler") : NULL;
    PyObject *loads = base ? PyObject_GetAttrString(module, "loads") : NULL;
    PyObject *type = loads ? pickler_type_new(pickling->reducers, base) : NULL;
    if (type && !pickling->pickler_type) {
        pickling->pickler_type = Py_NewRef(type);
        pickling->loads = Py_NewRef(loads);
    }
    int r = type ? 0 : -1;
    Py_XDECREF(type);
    Py_XDECREF(loads);
    Py_XDECREF(base);
    Py_XDECREF(module);
    return r;
}

static void pickler_drop(struct pickler *pickler) {
    Py_CLEAR(pickler->dump);
    Py_CLEAR(pickler->reset);
    Py_CLEAR(pickler->sink);
}

static int pickler_new(struct module_state *state, struct pickler *new) {
    *new = (struct pickler){NULL, NULL, NULL};
    new->sink = sink_new(state);
    PyObject *object =
        new->sink ? PyObject_CallFunction(state->pickling.pickler_type, "Oi", new->sink, 5) : NULL;
    if (object) {
        new->dump = PyObject_GetAttrString(object, "dump");
    }
    if (new->dump) {
        new->reset = PyObject_GetAttrString(object, "clear_memo");
    }
    Py_XDECREF(object);
    if (new->reset) {
        return 0;
    }
    pickler_drop(new);
    return -1;
}

/* Takes the pickler at rest, or a new one. */
static int pickler_take(struct module_state *state, struct pickler *taken) {
    struct pickling *pickling = &state->pickling;
    if (pickling_prepare(pickling) < 0) {
        return -1;
    }
    if (!pickling->spare.sink) {
        return pickler_new(state, taken);
    }
    *taken = pickling->spare;
    pickling->spare = (struct pickler){NULL, NULL, NULL};
    return 0;
}

/* Puts a pickler to rest, if the place is free. Clearing the memo drops references, so Python code
 * may run and the place be taken meanwhile. */
static int pickler_rest(struct pickling *pickling, struct pickler *taken) {
    PyObject *none = PyObject_CallNoArgs(taken->reset);
    if (none && !pickling->spare.sink) {
        pickling->spare = *taken;
    } else {
        pickler_drop(taken);
    }
    Py_XDECREF(none);
    return none ? 0 : -1;
}

int pickling_dump(struct module_state *state, PyObject *object, struct codec_message *message) {
    struct pickler pickler;
    if (pickler_take(state, &pickler) < 0) {
        return -1;
    }
    struct sink *sink = (struct sink *)pickler.sink;
    sink->message = message;
    PyObject *none = PyObject_CallOneArg(pickler.dump, object);
    sink->message = NULL;
    Py_XDECREF(none);
    if (none && message->head_used + message->lent_size <= GROWN) {
        return pickler_rest(&state->pickling, &pickler);
    }
    pickler_drop(&pickler);
    return none ? 0 : -1;
}

/* ---- the unpickler ---- */

/* Gives view up. Whoever else has got hold of it (the garbage collector shows it to anybody) must not
 * reach the memory through it any more. An exception that is set stays set; the first counts. */
static int view_drop(PyObject *view) {
    if (Py_REFCNT(view) == 1) {
        Py_DECREF(view);
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *none = PyObject_CallMethod(view, "release", NULL);
    Py_XDECREF(none);
    if (type) {
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(view);
    return none ? 0 : -1;
}

PyObject *pickling_load(struct module_state *state, const void *data, size_t size) {
    if (pickling_prepare(&state->pickling) < 0) {
        return NULL;
    }
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    if (!view) {
        return NULL;
    }
    PyObject *object = PyObject_CallOneArg(state->pickling.loads, view);
    if (view_drop(view) < 0) {
        Py_CLEAR(object);
    }
    return object;
}

/* ---- the module's part ---- */

int pickling_add(PyObject *module) {
    struct module_state *state = module_state(module);
    state->pickling.reducers = PyDict_New();
    if (!state->pickling.reducers) {
        return -1;
    }
    if (module_add_type(module, &sink_spec, &state->sink_type, 0) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "reducers", state->pickling.reducers);
}

int pickling_traverse(struct pickling *pickling, visitproc visit, void *arg) {
    Py_VISIT(pickling->reducers);
    Py_VISIT(pickling->pickler_type);
    Py_VISIT(pickling->loads);
    Py_VISIT(pickling->spare.sink);
    Py_VISIT(pickling->spare.dump);
    Py_VISIT(pickling->spare.reset);
    return 0;
}

void pickling_clear(struct pickling *pickling) {
    Py_CLEAR(pickling->reducers);
    Py_CLEAR(pickling->pickler_type);
    Py_CLEAR(pickling->loads);
    pickler_drop(&pickling->spare);
}
