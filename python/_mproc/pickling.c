/*
 * pickling.c - the pickler that the codec falls back on
 *
 * SPDX-License-Identifier: MIT
 *
 * To make a pickler costs more than most pickles do. So one is kept, an instance of a subclass of
 * _pickle.Pickler that writes to a sink: a file-like object whose write() appends to the message at
 * hand. A call that pickles takes it out of `spare`. A call that finds none there (another thread
 * has it, or a __reduce__ pickles in turn) makes another. Afterwards one goes back and any other is
 * dropped, as are those that failed, or that grew.
 *
 * reducers holds what reduction.ForkingPickler.register() was given. The subclass has them as
 * reducer_override, which the pickler asks before copyreg.dispatch_table, but never about classes
 * and functions: those have always gone by name, whatever is registered.
 *
 * _pickle is imported when an object first needs it: plain values never do.
 *
 * A program may have chosen a class of its own (a context's reducer, or another
 * ForkingPickler.dumps): then its dumps() and loads() do all that.
 *
 * Invariants: 1. sink.message is NULL unless its pickler is inside dump. 2. A pickler that is not
 * in use holds no reference to what it has pickled.
 */
#include "pickling.h"

#include "blocking.h"
#include "module.h"

/* A pickler that wrote more bytes is dropped: its memo is cleared after each message, but never
 * shrinks. */
#define GROWN (256 * 1024)

struct sink {
    PyObject base;
    struct message *message;
};

/* ---------------------------------------------------------------- the sink */

/* The pickler hands over its frames as bytes, and large data as the objects that own them. */
static int sink_append(struct message *message, PyObject *data, const Py_buffer *view) {
    size_t size = (size_t)view->len;
    if (PyBytes_CheckExact(data)) {
        return message_refer(message, data, view->buf, size);
    }
    /* A bytearray that a message refers to could not be resized until the message has gone, which
     * another thread would notice. */
    if (PyByteArray_Check(data) || size < MESSAGE_REFER) {
        return message_copy(message, view->buf, size);
    }
    PyObject *owner = PyMemoryView_FromObject(data);
    if (owner == NULL) {
        return -1;
    }
    int r = message_refer(message, owner, view->buf, size);
    Py_DECREF(owner);
    return r;
}

/* The number of bytes appended, or -1 with an exception. */
static Py_ssize_t append_any(struct message *message, PyObject *data) {
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int r = sink_append(message, data, &view);
    Py_ssize_t size = view.len;
    PyBuffer_Release(&view);
    return r < 0 ? -1 : size;
}

static PyObject *sink_write(PyObject *self, PyObject *data) {
    struct message *message = ((struct sink *)self)->message;
    if (message == NULL) {
        PyErr_SetString(PyExc_ValueError, "write() to the sink of a pickler that is not in use");
        return NULL;
    }
    Py_ssize_t size = append_any(message, data);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

/* buffer_callback: False takes a PickleBuffer out of the pickle. */
static PyObject *sink_part(PyObject *self, PyObject *buffer) {
    struct message *message = ((struct sink *)self)->message;
    if (message == NULL) {
        Py_RETURN_TRUE;
    }
    int r = parts_add(&message->parts, PyType_GetModuleState(Py_TYPE(self)), buffer);
    return r < 0 ? NULL : PyBool_FromLong(r == 0);
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
    {"part", sink_part, METH_O, PyDoc_STR("Take a buffer along; True: it cannot be.")},
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

/* ---------------------------------------------------------------- the pickler */

/* The registered reducer of a type, owned; NULL, possibly with an exception. The one of sockets is
 * registered with the first socket that is met, so that nobody imports socket for it. */
static PyObject *find_reducer(PyObject *reducers, PyTypeObject *type) {
    PyObject *reduce = threads_value(reducers, (PyObject *)type);
    if (reduce != NULL || PyErr_Occurred() || strcmp(type->tp_name, "socket") != 0) {
        return reduce;
    }
    PyObject *module = PyImport_ImportModule("mproc.reduction");
    PyObject *none = module != NULL ? PyObject_CallMethod(module, "_register_sockets", NULL) : NULL;
    reduce = none != NULL ? threads_value(reducers, (PyObject *)type) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(module);
    return reduce;
}

/* The pickler asks for a reducer before it has an object reduce itself. So an object that has been
 * asked about last is pickled by it, and not by what its owner's __reduce__ calls. */
struct asked {
    bool stays;             /* the message goes to a member of the family */
    bool shares;            /* it goes into a container */
    const PyObject *object; /* borrowed, never followed */
};

static BLOCKING_THREAD struct asked asked;

bool pickling_stays(const PyObject *object) {
    return asked.stays && asked.object == object;
}

bool pickling_shares(const PyObject *object) {
    return asked.shares && asked.object == object;
}

/* What a registered reducer makes of an object. NotImplemented: there is none, so pickle is to
 * reduce the object itself. Arrays have one while they may lie in a shared buffer. */
static PyObject *reducer_override(PyObject *module, PyObject *object) {
    struct module_state *state = module_state(module);
    PyTypeObject *type = Py_TYPE(object);
    asked.object = object;
    if (type == &PyType_Type || type == &PyFunction_Type) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *reduce = find_reducer(state->pickling.reducers, type);
    if (reduce == NULL && PyErr_Occurred()) {
        return NULL;
    }
    if (reduce == NULL) {
        reduce = buffers_reducer(&state->buffers, type);
    }
    if (reduce == NULL) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *result = PyObject_CallOneArg(reduce, object);
    Py_DECREF(reduce);
    return result;
}

static PyMethodDef reducer_override_def = {"reducer_override", reducer_override, METH_O, NULL};

static PyObject *pickler_type_new(PyObject *owner, PyObject *base) {
    PyObject *override = PyCFunction_New(&reducer_override_def, owner);
    if (override == NULL) {
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
    if (THREADS_LOAD(pickling->pickler_type) != NULL) {
        return 0;
    }
    PyObject *module = PyImport_ImportModule("_pickle");
    PyObject *base = module != NULL ? PyObject_GetAttrString(module, "Pickler") : NULL;
    PyObject *loads = base != NULL ? PyObject_GetAttrString(module, "loads") : NULL;
    PyObject *type =
        loads != NULL ? pickler_type_new(PyType_GetModule(pickling->sink_type), base) : NULL;
    int r = type != NULL ? 0 : -1;
    if (type != NULL && THREADS_SET_FIRST(pickling->loads, loads)) {
        loads = NULL;
    }
    if (type != NULL && THREADS_SET_FIRST(pickling->pickler_type, type)) {
        type = NULL;
    }
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

static int pickler_new(struct pickling *pickling, struct pickler *fresh) {
    *fresh = (struct pickler){NULL, NULL, NULL};
    fresh->sink = pickling->sink_type->tp_alloc(pickling->sink_type, 0);
    PyObject *part = fresh->sink != NULL ? PyObject_GetAttrString(fresh->sink, "part") : NULL;
    PyObject *object = part != NULL
                           ? PyObject_CallFunction((PyObject *)pickling->pickler_type, "OiOO",
                                                   fresh->sink, PICKLE_PROTOCOL, Py_True, part)
                           : NULL;
    Py_XDECREF(part);
    if (object != NULL) {
        fresh->dump = PyObject_GetAttrString(object, "dump");
    }
    if (fresh->dump != NULL) {
        fresh->reset = PyObject_GetAttrString(object, "clear_memo");
    }
    Py_XDECREF(object);
    if (fresh->reset != NULL) {
        return 0;
    }
    pickler_drop(fresh);
    return -1;
}

/* Takes the spare pickler, or makes one. */
static int pickler_take(struct pickling *pickling, struct pickler *taken) {
    if (pickling_prepare(pickling) < 0) {
        return -1;
    }
    THREADS_LOCK(&pickling->lock);
    *taken = pickling->spare;
    pickling->spare = (struct pickler){NULL, NULL, NULL};
    THREADS_UNLOCK(&pickling->lock);
    return taken->sink == NULL ? pickler_new(pickling, taken) : 0;
}

/* Keeps a pickler as the spare one, if there is none. To clear the memo drops references, so Python
 * code may run, and another pickler may have become the spare one meanwhile. */
static int pickler_keep(struct pickling *pickling, struct pickler *taken) {
    PyObject *none = PyObject_CallNoArgs(taken->reset);
    THREADS_LOCK(&pickling->lock);
    if (none != NULL && pickling->spare.sink == NULL) {
        pickling->spare = *taken;
        *taken = (struct pickler){NULL, NULL, NULL};
    }
    THREADS_UNLOCK(&pickling->lock);
    pickler_drop(taken);
    Py_XDECREF(none);
    return none != NULL ? 0 : -1;
}

/* The class that a program has chosen, owned; NULL: none. */
static PyObject *chosen_of(struct pickling *pickling) {
    if (THREADS_LOAD(pickling->chosen) == NULL) {
        return NULL;
    }
    THREADS_LOCK(&pickling->lock);
    PyObject *chosen = Py_XNewRef(pickling->chosen);
    THREADS_UNLOCK(&pickling->lock);
    return chosen;
}

/* Uses up the class: a program's dumps() may choose another one while it runs. */
static int dump_by(PyObject *chosen, PyObject *object, struct message *message) {
    PyObject *pickle = PyObject_CallMethod(chosen, "dumps", "(O)", object);
    Py_DECREF(chosen);
    int r = pickle != NULL && append_any(message, pickle) >= 0 ? 0 : -1;
    Py_XDECREF(pickle);
    return r;
}

/* Only who belongs to the family can take parts out of a message. */
static PyObject *dump(struct pickler *pickler, PyObject *object, struct message *message) {
    struct sink *sink = (struct sink *)pickler->sink;
    struct asked outer = asked;
    sink->message = message;
    asked = (struct asked){message->parts.allowed != PARTS_NONE,
                           message->parts.allowed == PARTS_SHARED, NULL};
    PyObject *none = PyObject_CallOneArg(pickler->dump, object);
    asked = outer;
    sink->message = NULL;
    return none;
}

int pickling_dump(struct pickling *pickling, PyObject *object, struct message *message) {
    struct pickler pickler;
    PyObject *chosen = chosen_of(pickling);
    if (chosen != NULL) {
        return dump_by(chosen, object, message);
    }
    if (pickler_take(pickling, &pickler) < 0) {
        return -1;
    }
    PyObject *none = dump(&pickler, object, message);
    Py_XDECREF(none);
    if (none != NULL && message->used + message->referred <= GROWN) {
        return pickler_keep(pickling, &pickler);
    }
    pickler_drop(&pickler);
    return none != NULL ? 0 : -1;
}

/* ---------------------------------------------------------------- the unpickler */

/* Gives a view up. Other code that has a reference to it (the garbage collector shows it to any)
 * must not reach the memory through it any more. An exception that is set stays set; the first
 * counts. */
static int view_drop(PyObject *view) {
    if (Py_REFCNT(view) == 1) {
        Py_DECREF(view);
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *none = PyObject_CallMethod(view, "release", NULL);
    Py_XDECREF(none);
    if (type != NULL) {
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(view);
    return none != NULL ? 0 : -1;
}

/* A new reference to the function that unpickles, NULL with an exception. */
static PyObject *loads_of(struct pickling *pickling) {
    PyObject *chosen = chosen_of(pickling);
    if (chosen != NULL) {
        PyObject *loads = PyObject_GetAttrString(chosen, "loads");
        Py_DECREF(chosen);
        return loads;
    }
    return pickling_prepare(pickling) < 0 ? NULL : Py_NewRef(pickling->loads);
}

/* Only pickle's own pickler takes buffers out, whatever class may have been chosen since. */
static PyObject *load_with(struct pickling *pickling, PyObject *view, PyObject *buffers) {
    PyObject *names = pickling_prepare(pickling) < 0 ? NULL : Py_BuildValue("(s)", "buffers");
    PyObject *args[] = {view, buffers};
    PyObject *object = names != NULL ? PyObject_Vectorcall(pickling->loads, args, 1, names) : NULL;
    Py_XDECREF(names);
    return object;
}

static PyObject *load_view(struct pickling *pickling, PyObject *view, PyObject *buffers) {
    if (buffers != NULL) {
        return load_with(pickling, view, buffers);
    }
    PyObject *loads = loads_of(pickling);
    PyObject *object = loads != NULL ? PyObject_CallOneArg(loads, view) : NULL;
    Py_XDECREF(loads);
    return object;
}

PyObject *pickling_load(struct pickling *pickling, const void *data, size_t size,
                        PyObject *buffers) {
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    PyObject *object = view != NULL ? load_view(pickling, view, buffers) : NULL;
    if (view != NULL && view_drop(view) < 0) {
        Py_CLEAR(object);
    }
    return object;
}

/* ---------------------------------------------------------------- what the program has said */

/* copyreg.dispatch_table, or NULL: nobody has imported that, or there is an exception. It is not
 * imported here: an object is being walked, and an import may run Python code. */
static PyObject *everybodys_reducers(struct pickling *pickling) {
    if (THREADS_LOAD(pickling->everybody) == NULL) {
        PyObject *name = PyUnicode_FromString("copyreg");
        PyObject *module = name != NULL ? PyImport_GetModule(name) : NULL;
        PyObject *table = module != NULL ? PyObject_GetAttrString(module, "dispatch_table") : NULL;
        if (table == NULL || !THREADS_SET_FIRST(pickling->everybody, table)) {
            Py_XDECREF(table);
        }
        Py_XDECREF(module);
        Py_XDECREF(name);
    }
    return pickling->everybody;
}

static int has_key(PyObject *dict, PyTypeObject *type) {
    return dict != NULL ? PyDict_Contains(dict, (PyObject *)type) : PyErr_Occurred() ? -1 : 0;
}

int pickling_is_customised(struct pickling *pickling, PyTypeObject *type) {
    if (THREADS_LOAD(pickling->chosen) != NULL) {
        return 1;
    }
    int r = has_key(pickling->reducers, type);
    return r != 0 ? r : has_key(everybodys_reducers(pickling), type);
}

void pickling_choose(struct pickling *pickling, PyObject *chosen) {
    THREADS_LOCK(&pickling->lock);
    PyObject *before = pickling->chosen;
    THREADS_STORE(pickling->chosen, chosen != Py_None ? Py_NewRef(chosen) : NULL);
    THREADS_UNLOCK(&pickling->lock);
    Py_XDECREF(before);
}

/* ---------------------------------------------------------------- the module's part */

int pickling_init(struct pickling *pickling, PyObject *module) {
    pickling->reducers = PyDict_New();
    if (pickling->reducers == NULL) {
        return -1;
    }
    pickling->sink_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &sink_spec, NULL);
    if (pickling->sink_type == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "reducers", pickling->reducers);
}

int pickling_traverse(struct pickling *pickling, visitproc visit, void *arg) {
    Py_VISIT(pickling->reducers);
    Py_VISIT(pickling->sink_type);
    Py_VISIT(pickling->pickler_type);
    Py_VISIT(pickling->loads);
    Py_VISIT(pickling->everybody);
    Py_VISIT(pickling->chosen);
    Py_VISIT(pickling->spare.sink);
    Py_VISIT(pickling->spare.dump);
    Py_VISIT(pickling->spare.reset);
    return 0;
}

void pickling_clear(struct pickling *pickling) {
    Py_CLEAR(pickling->reducers);
    Py_CLEAR(pickling->sink_type);
    Py_CLEAR(pickling->pickler_type);
    Py_CLEAR(pickling->loads);
    Py_CLEAR(pickling->everybody);
    Py_CLEAR(pickling->chosen);
    pickler_drop(&pickling->spare);
}
