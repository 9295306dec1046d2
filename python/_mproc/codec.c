/*
 * codec.c - Python objects as messages, and back
 *
 * SPDX-License-Identifier: MIT
 *
 * The format and its law stand in codec.h. Encoding tries MessagePack (msgpack_write.c). An object
 * that is not plain empties the message again and goes to the pickler (pickling.c). Decoding looks
 * at the first bytes, which say which of the two a message is. Where a bare pickle is asked for,
 * plain values are written as one (pickle_write.c) and read (pickle_read.c) without the pickler.
 *
 * The module's functions dumps(), loads() and is_plain() are the same for a message in one piece;
 * choose_pickler() has another class pickle.
 */
#include "codec.h"

#include "module.h"

#include <string.h>

/* Appends the list of parts, and writes the header before what they belong to. */
static int finish_parts(struct message *m, unsigned char type) {
    msgpack_parts_header(m->buffer, type, m->used + m->referred - MSGPACK_PICKLE_HEADER);
    int r = message_copy(m, m->parts.list, m->parts.n * sizeof *m->parts.list);
    return r < 0 ? r : message_finish(m, 0);
}

/* What msgpack_write() has written, with room for a header, which few values need. */
static int finish_plain(struct message *m) {
    if (m->parts.n == 0) {
        return message_finish(m, MSGPACK_PICKLE_HEADER);
    }
    parts_fill(&m->parts);
    return finish_parts(m, MPROC_EXT_VALUE_PARTS);
}

static int encode_plain(PyObject *object, struct message *m) {
    m->used = MSGPACK_PICKLE_HEADER;
    int r = msgpack_write(object, m);
    return r == 0 ? finish_plain(m) : r;
}

/* The header is written last, for the pickle's length is known only then. */
static int encode_pickle(struct module_state *state, PyObject *object, struct message *m) {
    m->used = MSGPACK_PICKLE_HEADER;
    if (pickling_dump(&state->pickling, object, m) < 0) {
        return -1;
    }
    if (m->parts.n > 0) {
        return finish_parts(m, MPROC_EXT_PARTS);
    }
    size_t length = m->used + m->referred - MSGPACK_PICKLE_HEADER;
    return message_finish(m, MSGPACK_PICKLE_HEADER - msgpack_pickle_header(m->buffer, length));
}

static void begin(struct module_state *state, struct message *m, enum parts_allowed parts) {
    message_init(m);
    m->parts.allowed = parts;
    m->parts.arrays = parts != PARTS_NONE ? state : NULL;
}

/* The object that has turned out not to be plain. */
static int encode_anew(struct module_state *state, PyObject *object, struct message *m,
                       enum parts_allowed parts) {
    message_clear(m);
    message_init(m);
    m->parts.allowed = parts;
    return encode_pickle(state, object, m);
}

static int encode(struct module_state *state, PyObject *object, struct message *m,
                  enum parts_allowed parts) {
    begin(state, m, parts);
    int r = encode_plain(object, m);
    if (r == PACKER_NOT_PLAIN) {
        r = encode_anew(state, object, m, parts);
    }
    if (r < 0) {
        message_clear(m);
    }
    return r;
}

/* A new reference; NULL with an exception. */
static PyObject *slice_of(PyObject *list, Py_ssize_t first, Py_ssize_t n) {
    PyObject *items = PyList_GetSlice(list, first, first + n);
    if (items != NULL && PyList_GET_SIZE(items) < n) {
        PyErr_SetString(PyExc_RuntimeError, "the list became shorter while it was mapped");
        Py_CLEAR(items);
    }
    return items;
}

int codec_encode_items(struct module_state *state, PyObject *list, Py_ssize_t first, Py_ssize_t n,
                       struct message *m, enum parts_allowed parts) {
    begin(state, m, parts);
    m->used = MSGPACK_PICKLE_HEADER;
    int r = msgpack_write_items(list, first, n, m);
    r = r == 0 ? finish_plain(m) : r;
    if (r == PACKER_NOT_PLAIN) {
        PyObject *items = slice_of(list, first, n);
        r = items != NULL ? encode_anew(state, items, m, parts) : -1;
        Py_XDECREF(items);
    }
    if (r < 0) {
        message_clear(m);
    }
    return r;
}

int codec_encode(struct module_state *state, PyObject *object, struct message *m) {
    return encode(state, object, m, PARTS_NONE);
}

int codec_encode_with_parts(struct module_state *state, PyObject *object, struct message *m,
                            enum parts_allowed parts) {
    return encode(state, object, m, parts);
}

int codec_pickle_plain(struct module_state *state, PyObject *object, struct message *m) {
    if (THREADS_LOAD(state->pickling.chosen) != NULL) {
        return PACKER_NOT_PLAIN;
    }
    message_init(m);
    int r = pickle_write_plain(object, m);
    if (r == 0) {
        r = message_finish(m, 0);
    }
    if (r != 0) {
        message_clear(m);
    }
    return r;
}

size_t codec_pickle_int(struct module_state *state, PyObject *object,
                        unsigned char out[PICKLE_INT]) {
    return PyLong_CheckExact(object) && THREADS_LOAD(state->pickling.chosen) == NULL
               ? pickle_write_int(object, out)
               : 0;
}

int codec_pickle_with_parts(struct module_state *state, PyObject *object, struct message *m,
                            enum parts_allowed parts, size_t least) {
    message_init(m);
    m->parts.allowed = parts;
    m->parts.least = least;
    m->used = MSGPACK_PICKLE_HEADER;
    int r = pickling_dump(&state->pickling, object, m);
    if (r == 0) {
        r = m->parts.n > 0 ? finish_parts(m, MPROC_EXT_PARTS)
                           : message_finish(m, MSGPACK_PICKLE_HEADER);
    }
    if (r < 0) {
        message_clear(m);
    }
    return r;
}

int codec_pickle(struct module_state *state, PyObject *object, struct message *m) {
    int r = codec_pickle_plain(state, object, m);
    return r == PACKER_NOT_PLAIN ? codec_pickle_with_parts(state, object, m, PARTS_NONE, 0) : r;
}

/* Whether it is a value that has neither a pickle nor parts: most messages are, and cost little. */
static inline bool is_bare(const void *data, size_t size) {
    return size != 0 && !msgpack_is_ext(*(const unsigned char *)data);
}

PyObject *codec_decode_any(struct module_state *state, const void *data, size_t size) {
    size_t header;
    if (is_bare(data, size)) {
        return msgpack_read(state, data, size, NULL);
    }
    int r = msgpack_is_pickle(data, size, &header);
    if (r < 0) {
        return NULL;
    }
    if (r != 0) {
        return codec_unpickle(state, (const char *)data + header, size - header);
    }
    return msgpack_read(state, data, size, NULL);
}

PyObject *codec_unpickle(struct module_state *state, const void *data, size_t size) {
    PyObject *plain = THREADS_LOAD(state->pickling.chosen) == NULL
                          ? pickle_read_plain(&state->keys, data, size)
                          : NULL;
    return plain != NULL ? plain : pickling_load(&state->pickling, data, size, NULL);
}

/* The pickle is `length` bytes long, and the parts stand behind it. */
static PyObject *decode_parts(struct module_state *state, const void *data, size_t size,
                              size_t length, struct parts_source source) {
    const char *pickle = (const char *)data + MSGPACK_PICKLE_HEADER;
    size_t n = (size - MSGPACK_PICKLE_HEADER - length) / sizeof(mproc_value_part);
    PyObject *buffers = parts_read(state, source, pickle + length, n);
    PyObject *object =
        buffers == NULL ? NULL : pickling_load(&state->pickling, pickle, length, buffers);
    Py_XDECREF(buffers);
    return object;
}

/* A value of that length, and parts behind it in which its large arrays are. */
static PyObject *decode_value_parts(struct module_state *state, const void *data, size_t size,
                                    size_t length, struct parts_source source) {
    const char *value = (const char *)data + MSGPACK_PICKLE_HEADER;
    size_t n = (size - MSGPACK_PICKLE_HEADER - length) / sizeof(mproc_value_part);
    struct msgpack_beside beside = {source, value + length, n, NULL};
    return msgpack_read(state, value, length, &beside);
}

PyObject *codec_decode_any_with_parts(struct module_state *state, const void *data, size_t size,
                                      struct parts_source source) {
    size_t length;
    if (is_bare(data, size)) {
        return msgpack_read(state, data, size, NULL);
    }
    switch (msgpack_has_parts(data, size, &length)) {
    case MPROC_EXT_PARTS: return decode_parts(state, data, size, length, source);
    case MPROC_EXT_VALUE_PARTS: return decode_value_parts(state, data, size, length, source);
    default: return codec_decode_any(state, data, size);
    }
}

/* ---------------------------------------------------------------- the module's functions */

PyObject *codec_without_parts(struct module_state *state, const void *data, size_t size,
                              struct parts_source source) {
    struct message m;
    PyObject *object = codec_decode_with_parts(state, data, size, source), *bytes = NULL;
    if (object != NULL && codec_pickle(state, object, &m) == 0) {
        bytes = message_bytes(&m);
        message_clear(&m);
    }
    Py_XDECREF(object);
    return bytes;
}

static PyObject *dumps(PyObject *module, PyObject *object) {
    struct message m;
    if (codec_encode(module_state(module), object, &m) < 0) {
        return NULL;
    }
    PyObject *bytes = message_bytes(&m);
    message_clear(&m);
    return bytes;
}

static PyObject *loads(PyObject *module, PyObject *data) {
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *object = codec_decode(module_state(module), view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return object;
}

static PyObject *is_plain(PyObject *Py_UNUSED(module), PyObject *object) {
    struct message m;
    message_init(&m);
    int r = encode_plain(object, &m);
    message_clear(&m);
    return r < 0 ? NULL : PyBool_FromLong(r == 0);
}

static PyObject *choose_pickler(PyObject *module, PyObject *chosen) {
    pickling_choose(&module_state(module)->pickling, chosen);
    Py_RETURN_NONE;
}

static PyObject *stays_in_family(PyObject *Py_UNUSED(module), PyObject *object) {
    return PyBool_FromLong(pickling_stays(object));
}

static PyObject *goes_into_container(PyObject *Py_UNUSED(module), PyObject *object) {
    return PyBool_FromLong(pickling_shares(object));
}

static PyMethodDef functions[] = {
    {"dumps", dumps, METH_O,
     "dumps($module, object, /)\n--\n\n"
     "The message for an object, as bytes. Raises what pickle raises for an object that it\n"
     "cannot pickle."},
    {"loads", loads, METH_O,
     "loads($module, data, /)\n--\n\n"
     "The object that a message, any bytes-like object, stands for. ValueError if it is none."},
    {"is_plain", is_plain, METH_O,
     "is_plain($module, object, /)\n--\n\n"
     "Whether an object travels as MessagePack, without pickle."},
    {"choose_pickler", choose_pickler, METH_O,
     "choose_pickler($module, cls, /)\n--\n\n"
     "Have cls.dumps() and cls.loads() pickle and unpickle messages; None: pickle itself again."},
    {"stays_in_family", stays_in_family, METH_O,
     "stays_in_family($module, object, /)\n--\n\n"
     "For a __reduce__: whether its object goes to a member of the family, by a queue, a pool, a\n"
     "container or a pipe. False in a pickle that a program makes itself."},
    {"goes_into_container", goes_into_container, METH_O,
     "goes_into_container($module, object, /)\n--\n\n"
     "For a __reduce__: whether its object goes into a Dict, List or the like, whose values hold\n"
     "shared objects."},
    {NULL, NULL, 0, NULL},
};

int codec_add(PyObject *module) {
    struct module_state *state = module_state(module);
    if (pickling_init(&state->pickling, module) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
