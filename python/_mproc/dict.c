/*
 * dict.c - mproc._mproc.Dict: the hot path of mproc.dicts
 *
 * SPDX-License-Identifier: MIT
 *
 * Keys are bytes by key.c, values messages as in queues (codec.h), but large buffers go beside them
 * only if they are shared ones: a value has many readers, and none may see what another one writes
 * to its copy. Calls are made with the interpreter's lock held, except for those that wait, or copy
 * much.
 */
#include "acquire.h"
#include "arguments.h"
#include "codec.h"
#include "key.h"

/* From this size on, other threads may run while bytes are copied. */
#define COPY_UNLOCKED (1 << 16)

static mproc_dict *dict_of(PyObject *self) {
    return handle_object(self);
}

static PyObject *raise_missing(PyObject *key) {
    PyObject *args = PyTuple_Pack(1, key); /* a tuple as the key is no list of arguments */
    if (args != NULL) {
        PyErr_SetObject(PyExc_KeyError, args);
        Py_DECREF(args);
    }
    return NULL;
}

static PyObject *dict_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs)) {
    mproc_dict *dict = NULL;
    int r = mproc_dict_new(&dict);
    return handle_new(type, r, dict);
}

/* ---------------------------------------------------------------- one key */

/* What is done with an encoded key: a code of the core, or BLOCKING_RAISED. */
struct request {
    struct module_state *state;
    mproc_dict *dict;
    struct key key;
};

/* 0, and request_end() is to be called; -1 with an exception. */
static int request_begin(struct request *request, PyObject *self, PyObject *key) {
    request->state = module_state_of(self);
    request->dict = dict_of(self);
    return request->state == NULL ? -1 : key_encode(request->state, key, &request->key);
}

static void request_end(struct request *request) {
    key_clear(&request->key);
}

static PyObject *decode(struct module_state *state, mproc_message *message) {
    PyObject *object =
        codec_decode_with_parts(state, message->data, message->size, parts_of_message(message));
    mproc_message_drop(message);
    return object;
}

/* The value: a new reference. NULL with an exception, or, with *code -ENOENT, without one. */
static PyObject *fetch(struct request *request, uint64_t *version, int *code) {
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    const struct key *key = &request->key;
    TRYING(*code, mproc_dict_get(request->dict, key->data, key->size, &message, version));
    if (*code == 0) {
        return decode(request->state, &message);
    }
    return *code == -ENOENT ? NULL : error_raise(*code);
}

/* The same, and the entry is gone then. A value that cannot be read stays where it is. */
static PyObject *take_out(struct request *request, int *code) {
    const struct key *key = &request->key;
    for (;;) {
        uint64_t version;
        PyObject *value = fetch(request, &version, code);
        if (value == NULL) {
            return NULL;
        }
        TRYING(*code, mproc_dict_delete(request->dict, key->data, key->size, version));
        if (*code == 0) {
            return value;
        }
        Py_DECREF(value); /* another one has come meanwhile, or none */
    }
}

/* The value of a key, a default (borrowed) in its stead, or KeyError where that is NULL. */
static PyObject *look_up(PyObject *self, PyObject *key, int take, PyObject *instead) {
    struct request request;
    int code;
    if (request_begin(&request, self, key) < 0) {
        return NULL;
    }
    PyObject *value = take ? take_out(&request, &code) : fetch(&request, NULL, &code);
    request_end(&request);
    if (value == NULL && code == -ENOENT) {
        return instead != NULL ? Py_NewRef(instead) : raise_missing(key);
    }
    return value;
}

static int store(struct request *request, PyObject *object, uint64_t version) {
    struct message message;
    const struct key *key = &request->key;
    if (codec_encode_with_parts(request->state, object, &message, PARTS_SHARED) < 0) {
        error_explain(object, "value");
        return BLOCKING_RAISED;
    }
    const mproc_dict_value value = {message.iov, message.niov, message.parts.buffers,
                                    message.parts.nbuffers};
    int r;
    if (message.size < COPY_UNLOCKED) {
        TRYING(r, mproc_dict_put(request->dict, key->data, key->size, &value, version));
    } else {
        BLOCKING(r, mproc_dict_put(request->dict, key->data, key->size, &value, version));
    }
    message_clear(&message);
    return r;
}

/* Sets a value: the code, and an exception for one that is not expected. */
static int put(PyObject *self, PyObject *key, PyObject *object, uint64_t version) {
    struct request request;
    if (request_begin(&request, self, key) < 0) {
        return BLOCKING_RAISED;
    }
    int r = store(&request, object, version);
    request_end(&request);
    if (r != 0 && r != BLOCKING_RAISED && r != -EEXIST && r != -ESTALE) {
        (void)error_raise_for(r, "a shared dict");
    }
    return r;
}

static int delete (PyObject *self, PyObject *key) {
    struct request request;
    if (request_begin(&request, self, key) < 0) {
        return -1;
    }
    int r;
    TRYING(r, mproc_dict_delete(request.dict, request.key.data, request.key.size, MPROC_DICT_ANY));
    request_end(&request);
    if (r != 0) {
        (void)(r == -ENOENT ? raise_missing(key) : error_raise(r));
    }
    return r != 0 ? -1 : 0;
}

/* ---------------------------------------------------------------- the mapping */

static PyObject *dict_subscript(PyObject *self, PyObject *key) {
    return look_up(self, key, 0, NULL);
}

static int dict_ass_subscript(PyObject *self, PyObject *key, PyObject *value) {
    if (value == NULL) {
        return delete (self, key);
    }
    return put(self, key, value, MPROC_DICT_ANY) == 0 ? 0 : -1;
}

static Py_ssize_t dict_length(PyObject *self) {
    return (Py_ssize_t)mproc_dict_count(dict_of(self));
}

static int dict_contains(PyObject *self, PyObject *key) {
    struct request request;
    if (request_begin(&request, self, key) < 0) {
        return -1;
    }
    int there = mproc_dict_has(request.dict, request.key.data, request.key.size);
    request_end(&request);
    return there != 0;
}

/* ---------------------------------------------------------------- methods */

/* f(key) or f(key, other): the key, and *other or NULL. NULL with TypeError. */
static PyObject *key_and(const char *function, const char *name, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *names, PyObject **other) {
    const char *keywords[] = {"key", name};
    PyObject *values[2];
    *other = NULL;
    if (arguments_spread(function, keywords, values, 2, args, nargs, names) < 0) {
        return NULL;
    }
    if (values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "%s() missing 1 required argument: 'key'", function);
    }
    *other = values[1];
    return values[0];
}

static PyObject *dict_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *names) {
    PyObject *instead = NULL;
    PyObject *key = key_and("get", "default", args, nargs, names, &instead);
    return key == NULL ? NULL : look_up(self, key, 0, instead != NULL ? instead : Py_None);
}

static PyObject *dict_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *names) {
    PyObject *instead = NULL;
    PyObject *key = key_and("pop", "default", args, nargs, names, &instead);
    return key == NULL ? NULL : look_up(self, key, 1, instead);
}

/* Whoever loses the race for the insertion finds the other one's value, unless that is gone. */
static PyObject *dict_setdefault(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names) {
    PyObject *value;
    PyObject *key = key_and("setdefault", "default", args, nargs, names, &value);
    value = value != NULL ? value : Py_None;
    while (key != NULL) {
        PyObject *found = look_up(self, key, 0, NULL);
        if (found != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
            return found;
        }
        PyErr_Clear();
        int r = put(self, key, value, 0);
        if (r != -EEXIST) {
            return r == 0 ? Py_NewRef(value) : NULL;
        }
    }
    return NULL;
}

static PyObject *pair(PyObject *key, PyObject *value) { /* takes both */
    PyObject *both = key != NULL && value != NULL ? PyTuple_Pack(2, key, value) : NULL;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return both;
}

static PyObject *dict_popitem(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct module_state *state = module_state_of(self);
    char key_room[KEY_INLINE], room[MPROC_MESSAGE_INLINE];
    mproc_message key = MPROC_MESSAGE_INIT(key_room, sizeof key_room);
    mproc_message value = MPROC_MESSAGE_INIT(room, sizeof room);
    if (state == NULL) {
        return NULL;
    }
    int r;
    BLOCKING(r, mproc_dict_popitem(dict_of(self), &key, &value));
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    if (r != 0) {
        return r != -ENOENT ? error_raise(r)
                            : PyErr_Format(PyExc_KeyError, "popitem(): dictionary is empty");
    }
    PyObject *name = decode(state, &key);
    if (name == NULL) {
        mproc_message_drop(&value);
        return NULL;
    }
    return pair(name, decode(state, &value));
}

static PyObject *dict_clear(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyThreadState *thread = blocking_begin();
    mproc_dict_clear(dict_of(self));
    blocking_end(thread);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- snapshots */

enum wanted { KEYS, VALUES, ITEMS, ALL }; /* ALL: a dict, the others are lists */

static PyObject *item_of(struct module_state *state, const mproc_dict_item *item,
                         enum wanted wanted) {
    PyObject *key = NULL, *value = NULL;
    if (wanted != VALUES) {
        key = codec_decode(state, item->key, item->key_size);
        if (key == NULL || wanted == KEYS) {
            return key;
        }
    }
    value = codec_decode_with_parts(state, item->value.data, item->value.size,
                                    parts_of_message(&item->value));
    return wanted == VALUES ? value : pair(key, value);
}

static PyObject *list_of(struct module_state *state, const mproc_dict_snapshot *snapshot,
                         enum wanted wanted) {
    size_t n = mproc_dict_snapshot_count(snapshot);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < n; i++) {
        mproc_dict_item item;
        PyObject *object = mproc_dict_snapshot_item(snapshot, i, &item) == 0
                               ? item_of(state, &item, wanted)
                               : NULL;
        if (object == NULL || PyList_Append(list, object) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(object);
    }
    return list;
}

/* -1 with an exception. */
static int put_item(PyObject *dict, struct module_state *state, const mproc_dict_item *item) {
    PyObject *key = item_of(state, item, KEYS);
    PyObject *value = key != NULL ? item_of(state, item, VALUES) : NULL;
    int r = value != NULL ? PyDict_SetItem(dict, key, value) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return r;
}

static PyObject *plain_dict_of(struct module_state *state, const mproc_dict_snapshot *snapshot) {
    size_t n = mproc_dict_snapshot_count(snapshot);
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < n; i++) {
        mproc_dict_item item;
        if (mproc_dict_snapshot_item(snapshot, i, &item) != 0 || put_item(dict, state, &item) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

static PyObject *snapshot(PyObject *self, enum wanted wanted) {
    struct module_state *state = module_state_of(self);
    mproc_dict_snapshot *copy = NULL;
    if (state == NULL) {
        return NULL;
    }
    int r;
    BLOCKING(r, mproc_dict_snapshot_new(&copy, dict_of(self), wanted != KEYS));
    if (r != 0) {
        return r == BLOCKING_RAISED ? NULL : error_raise(r);
    }
    PyObject *made = wanted == ALL ? plain_dict_of(state, copy) : list_of(state, copy, wanted);
    mproc_dict_snapshot_drop(copy);
    return made;
}

static PyObject *dict_copy(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return snapshot(self, ALL);
}

static PyObject *dict_list_keys(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return snapshot(self, KEYS);
}

static PyObject *dict_list_values(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return snapshot(self, VALUES);
}

static PyObject *dict_list_items(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return snapshot(self, ITEMS);
}

/* ---------------------------------------------------------------- compound operations */

/* _add(key, n): the sum, or NotImplemented where it is not one of two ints of 64 bits. */
static PyObject *dict_add_number(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    struct request request;
    int64_t sum;
    int overflow = 1;
    long long n = nargs == 2 && PyLong_CheckExact(args[1])
                      ? PyLong_AsLongLongAndOverflow(args[1], &overflow)
                      : 0;
    if (overflow != 0) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (request_begin(&request, self, args[0]) < 0) {
        return NULL;
    }
    int r;
    TRYING(r, mproc_dict_add(request.dict, request.key.data, request.key.size, n, &sum));
    request_end(&request);
    if (r == -EINVAL || r == -EOVERFLOW) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return r == 0 ? PyLong_FromLongLong(sum) : error_raise(r);
}

/* _read(key): value and version, or None. */
static PyObject *dict_read(PyObject *self, PyObject *key) {
    struct request request;
    uint64_t version = 0;
    int code;
    if (request_begin(&request, self, key) < 0) {
        return NULL;
    }
    PyObject *value = fetch(&request, &version, &code);
    request_end(&request);
    if (value == NULL) {
        return code == -ENOENT ? Py_NewRef(Py_None) : NULL;
    }
    return pair(value, PyLong_FromUnsignedLongLong(version));
}

/* _put(key, value, version): whether the key had that version, and has the value now. */
static PyObject *dict_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs != 3) {
        return PyErr_Format(PyExc_TypeError, "_put() takes 3 arguments (%zd given)", nargs);
    }
    unsigned long long version = PyLong_AsUnsignedLongLong(args[2]);
    if (version == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    int r = put(self, args[0], args[1], version);
    if (r != 0 && r != -EEXIST && r != -ESTALE) {
        return NULL;
    }
    return PyBool_FromLong(r == 0);
}

/* _lock(key, timeout): True; None: an owner has died with it; False: not in that time. */
static PyObject *dict_lock(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    struct request request;
    int64_t timeout;
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "_lock() takes 2 arguments (%zd given)", nargs);
    }
    if (blocking_timeout(args[1], &timeout) < 0 || request_begin(&request, self, args[0]) < 0) {
        return NULL;
    }
    const struct key *key = &request.key;
    int64_t deadline = blocking_deadline(timeout);
    int r = mproc_dict_lock(request.dict, key->data, key->size, 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        BLOCKING(r, mproc_dict_lock(request.dict, key->data, key->size, blocking_left(deadline)));
    }
    request_end(&request);
    switch (r) {
    case 0: Py_RETURN_TRUE;
    case -EOWNERDEAD: Py_RETURN_NONE;
    case -ETIMEDOUT: Py_RETURN_FALSE;
    case BLOCKING_RAISED: return NULL;
    default: return error_raise(r);
    }
}

/* _dead_owner(key): pid and thread id of the last one that died with the key locked. */
static PyObject *dict_dead_owner(PyObject *self, PyObject *key) {
    struct request request;
    mproc_lock_holder dead;
    if (request_begin(&request, self, key) < 0) {
        return NULL;
    }
    mproc_dict_dead_owner(request.dict, request.key.data, request.key.size, &dead);
    request_end(&request);
    return Py_BuildValue("(ii)", (int)dead.pid, (int)dead.tid);
}

static PyObject *dict_unlock(PyObject *self, PyObject *key) {
    struct request request;
    if (request_begin(&request, self, key) < 0) {
        return NULL;
    }
    int r = mproc_dict_unlock(request.dict, request.key.data, request.key.size);
    request_end(&request);
    return r == 0 ? Py_NewRef(Py_None) : error_raise(r);
}

static int wait(mproc_dict *dict, const struct key *key, uint64_t *version, int64_t timeout) {
    const void *data = key != NULL ? key->data : NULL;
    size_t size = key != NULL ? key->size : 0;
    int r = mproc_dict_wait(dict, data, size, version, 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_dict_wait(dict, data, size, version, blocking_left(deadline)));
    }
    return r;
}

/* _wait(version, timeout) or _wait(version, timeout, key): the new version, or None. */
static PyObject *dict_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    struct request request;
    int64_t timeout;
    if (nargs < 2 || nargs > 3) {
        return PyErr_Format(PyExc_TypeError, "_wait() takes 2 or 3 arguments (%zd given)", nargs);
    }
    uint64_t version = PyLong_AsUnsignedLongLong(args[0]);
    if ((version == UINT64_MAX && PyErr_Occurred()) || blocking_timeout(args[1], &timeout) < 0) {
        return NULL;
    }
    if (nargs == 3 && request_begin(&request, self, args[2]) < 0) {
        return NULL;
    }
    int r = wait(dict_of(self), nargs == 3 ? &request.key : NULL, &version, timeout);
    if (nargs == 3) {
        request_end(&request);
    }
    switch (r) {
    case 0: return PyLong_FromUnsignedLongLong(version);
    case -ETIMEDOUT: Py_RETURN_NONE;
    case BLOCKING_RAISED: return NULL;
    default: return error_raise(r);
    }
}

/* ---------------------------------------------------------------- the type */

static PyMethodDef dict_methods[] = {
    {"get", MODULE_METHOD(dict_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, key, default=None)\n--\n\nThe key's value, or default if it is not there."},
    {"pop", MODULE_METHOD(dict_pop), METH_FASTCALL | METH_KEYWORDS,
     "pop($self, key, default=<unrepresentable>)\n--\n\n"
     "Take the key out and return its value. If it is not there, return default, or raise\n"
     "KeyError."},
    {"setdefault", MODULE_METHOD(dict_setdefault), METH_FASTCALL | METH_KEYWORDS,
     "setdefault($self, key, default=None)\n--\n\n"
     "The key's value; if it is not there, insert default and return that."},
    {"popitem", dict_popitem, METH_NOARGS,
     "popitem($self, /)\n--\n\n"
     "Take out and return the pair that was inserted last. KeyError: there is none."},
    {"clear", dict_clear, METH_NOARGS, "clear($self, /)\n--\n\nTake everything out, in one step."},
    {"_list_keys", dict_list_keys, METH_NOARGS,
     "_list_keys($self, /)\n--\n\nThe keys, in their order."},
    {"_list_values", dict_list_values, METH_NOARGS,
     "_list_values($self, /)\n--\n\nThe values, in the order of the keys."},
    {"_list_items", dict_list_items, METH_NOARGS,
     "_list_items($self, /)\n--\n\nThe pairs, in the order of the keys."},
    {"_copy", dict_copy, METH_NOARGS, "_copy($self, /)\n--\n\nAn ordinary dict of all pairs."},
    {"_add", MODULE_METHOD(dict_add_number), METH_FASTCALL,
     "_add($self, key, n, /)\n--\n\n"
     "Add to an int; NotImplemented if it is none, or becomes too large."},
    {"_read", dict_read, METH_O, "_read($self, key, /)\n--\n\nThe value and its version, or None."},
    {"_put", MODULE_METHOD(dict_put), METH_FASTCALL,
     "_put($self, key, value, version, /)\n--\n\n"
     "Set the value if the key has that version; whether it had."},
    {"_lock", MODULE_METHOD(dict_lock), METH_FASTCALL,
     "_lock($self, key, timeout, /)\n--\n\n"
     "Lock the key: True; None: the thread that had locked it died; False: not in that time."},
    {"_dead_owner", dict_dead_owner, METH_O,
     "_dead_owner($self, key, /)\n--\n\nPid and thread id of the last one that died with it."},
    {"_unlock", dict_unlock, METH_O,
     "_unlock($self, key, /)\n--\n\nUnlock the key. ValueError: this thread has not locked it."},
    {"_wait", MODULE_METHOD(dict_wait), METH_FASTCALL,
     "_wait($self, version, timeout, key=<unrepresentable>, /)\n--\n\n"
     "Wait for another version of the key, or of the dict: it, or None."},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef dict_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot dict_slots[] = {
    {Py_tp_doc, "Keys and values in the family's arena."},
    {Py_tp_new, (void *)dict_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, dict_methods},
    {Py_tp_getset, dict_getset},
    {Py_mp_subscript, (void *)dict_subscript},
    {Py_mp_ass_subscript, (void *)dict_ass_subscript},
    {Py_mp_length, (void *)dict_length},
    {Py_sq_contains, (void *)dict_contains},
    {0, NULL},
};

static PyType_Spec dict_spec = {
    .name = "mproc._mproc.Dict",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_MAPPING,
    .slots = dict_slots,
};

int dict_add(PyObject *module) {
    return module_add_type(module, &dict_spec, &module_state(module)->dict_type, 1);
}
