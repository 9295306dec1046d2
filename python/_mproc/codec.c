/*
 * codec.c - Python objects as messages, and back: the messages
 *
 * SPDX-License-Identifier: MIT
 *
 * The format and its law stand in codec.h. Encoding tries MessagePack (msgpack_write.c); whatever
 * is not plain empties the message again and hands it to the pickler (pickling.c).
 *
 * A message's bytes stand one after the other in `head` (inside the structure while they are few);
 * large bytes objects and texts are not copied but lent, which cuts head into segments. While a
 * message is built, a segment of head has iov_base NULL, for head may still move; message_finish
 * fills them in.
 *
 * Invariants: 1. The bytes of head from `segment` to `head_used` are not in iov yet.
 * 2. lent[0..nlent) are owned. 3. The first segment is one of head: a header precedes all that is
 * lent.
 */
#include "module.h"
#include "msgpack.h"

#include <string.h>

static void message_init(struct codec_message *m) {
    m->iov = m->inline_iov;
    m->iov_room = sizeof m->inline_iov / sizeof m->inline_iov[0];
    m->lent = m->inline_lent;
    m->lent_room = sizeof m->inline_lent / sizeof m->inline_lent[0];
    m->head = m->inline_head;
    m->head_room = sizeof m->inline_head;
    m->niov = m->nlent = m->plain = 0;
    m->size = m->lent_size = m->head_used = m->segment = 0;
}

void codec_message_clear(struct codec_message *m) {
    while (m->nlent > 0) {
        PyObject *lender = m->lent[--m->nlent];
        Py_DECREF(lender);
    }
    if (m->iov != m->inline_iov) {
        PyMem_Free(m->iov);
    }
    if (m->lent != m->inline_lent) {
        PyMem_Free(m->lent);
    }
    if (m->head != m->inline_head) {
        PyMem_Free(m->head);
    }
    message_init(m);
}

/* A grown copy of an array that stands inside the structure or on the heap; NULL with MemoryError
 * leaves the old one as it is. */
static void *grown(void *array, const void *inside, size_t used, size_t room) {
    void *new = array == inside ? PyMem_Malloc(room) : PyMem_Realloc(array, room);
    if (!new) {
        return PyErr_NoMemory();
    }
    if (array == inside) {
        memcpy(new, inside, used);
    }
    return new;
}

int codec_message_reserve(struct codec_message *m, size_t more) {
    if (m->head_room - m->head_used >= more) {
        return 0;
    }
    if (more > PY_SSIZE_T_MAX - m->head_used) {
        PyErr_NoMemory();
        return -1;
    }
    size_t room = m->head_used + more;
    if (room < 2 * m->head_room) {
        room = 2 * m->head_room;
    }
    unsigned char *head = grown(m->head, m->inline_head, m->head_used, room);
    if (!head) {
        return -1;
    }
    m->head = head;
    m->head_room = room;
    return 0;
}

static int message_add_segment(struct codec_message *m, const void *data, size_t size) {
    if (m->niov == m->iov_room) {
        size_t used = (size_t)m->niov * sizeof *m->iov;
        struct iovec *iov = grown(m->iov, m->inline_iov, used, 2 * used);
        if (!iov) {
            return -1;
        }
        m->iov = iov;
        m->iov_room *= 2;
    }
    m->iov[m->niov++] = (struct iovec){(void *)data, size};
    return 0;
}

static int message_end_segment(struct codec_message *m) {
    if (m->head_used == m->segment) {
        return 0;
    }
    if (message_add_segment(m, NULL, m->head_used - m->segment) < 0) {
        return -1;
    }
    m->segment = m->head_used;
    return 0;
}

static int message_keep(struct codec_message *m, PyObject *lender) {
    if (m->nlent == m->lent_room) {
        size_t used = (size_t)m->nlent * sizeof *m->lent;
        PyObject **lent = grown(m->lent, m->inline_lent, used, 2 * used);
        if (!lent) {
            return -1;
        }
        m->lent = lent;
        m->lent_room *= 2;
    }
    m->lent[m->nlent++] = Py_NewRef(lender);
    return 0;
}

int codec_message_copy(struct codec_message *m, const void *data, size_t size) {
    if (codec_message_reserve(m, size) < 0) {
        return -1;
    }
    memcpy(m->head + m->head_used, data, size);
    m->head_used += size;
    return 0;
}

int codec_message_lend(struct codec_message *m, PyObject *lender, const void *data, size_t size) {
    /* Each lent segment may bring two (itself and the piece of head before it), and the rest of
     * head is one more. */
    if (size < CODEC_LEND || m->niov > CODEC_SEGMENTS - 3) {
        return codec_message_copy(m, data, size);
    }
    if (message_end_segment(m) < 0 || message_add_segment(m, data, size) < 0) {
        return -1;
    }
    m->lent_size += size;
    return message_keep(m, lender);
}

/* Ends the last segment and tells those of head where they are; the first `skip` bytes of head do
 * not belong to the message. */
static int message_finish(struct codec_message *m, size_t skip) {
    if (message_end_segment(m) < 0) {
        return -1;
    }
    unsigned char *at = m->head + skip;
    m->iov[0].iov_len -= skip;
    for (int i = 0; i < m->niov; i++) {
        if (m->iov[i].iov_base) {
            continue;
        }
        m->iov[i].iov_base = at;
        at += m->iov[i].iov_len;
    }
    m->size = m->head_used - skip + m->lent_size;
    return 0;
}

/* ---- encoding and decoding ---- */

static int encode_plain(PyObject *object, struct codec_message *m) {
    int r = msgpack_write(object, m);
    if (r) {
        return r;
    }
    m->plain = 1;
    return message_finish(m, 0);
}

/* The header comes last: only then the pickle's length is known. */
static int encode_pickle(struct module_state *state, PyObject *object, struct codec_message *m) {
    m->head_used = MSGPACK_PICKLE_HEADER;
    if (pickling_dump(state, object, m) < 0) {
        return -1;
    }
    size_t length = m->head_used + m->lent_size - MSGPACK_PICKLE_HEADER;
    return message_finish(m, MSGPACK_PICKLE_HEADER - msgpack_pickle_header(m->head, length));
}

int codec_encode(struct module_state *state, PyObject *object, struct codec_message *m) {
    message_init(m);
    int r = encode_plain(object, m);
    if (r == MSGPACK_NOT_PLAIN) {
        codec_message_clear(m);
        r = encode_pickle(state, object, m);
    }
    if (r < 0) {
        codec_message_clear(m);
    }
    return r;
}

int codec_pickle(struct module_state *state, PyObject *object, struct codec_message *m) {
    message_init(m);
    int r = pickling_dump(state, object, m);
    if (r == 0) {
        r = message_finish(m, 0);
    }
    if (r < 0) {
        codec_message_clear(m);
    }
    return r;
}

PyObject *codec_decode(struct module_state *state, const void *data, size_t size) {
    size_t header;
    int r = msgpack_is_pickle(data, size, &header);
    if (r < 0) {
        return NULL;
    }
    if (r) {
        return pickling_load(state, (const char *)data + header, size - header);
    }
    return msgpack_read(&state->codec, data, size);
}

/* ---- the module's functions ---- */

static PyObject *joined(const struct codec_message *m) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)m->size);
    if (!bytes) {
        return NULL;
    }
    char *at = PyBytes_AS_STRING(bytes);
    for (int i = 0; i < m->niov; i++) {
        memcpy(at, m->iov[i].iov_base, m->iov[i].iov_len);
        at += m->iov[i].iov_len;
    }
    return bytes;
}

static PyObject *dumps(PyObject *module, PyObject *object) {
    struct codec_message m;
    if (codec_encode(module_state(module), object, &m) < 0) {
        return NULL;
    }
    PyObject *bytes = joined(&m);
    codec_message_clear(&m);
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

static PyObject *is_plain(PyObject *module, PyObject *object) {
    struct codec_message m;
    (void)module;
    message_init(&m);
    int r = encode_plain(object, &m);
    codec_message_clear(&m);
    return r < 0 ? NULL : PyBool_FromLong(r == 0);
}

PyDoc_STRVAR(dumps_doc, "dumps(object, /)\n--\n\nThe message that says object, as bytes. Raises "
                        "what pickle raises for an object that it cannot pickle.");
PyDoc_STRVAR(loads_doc, "loads(data, /)\n--\n\nThe object that a message says. data: any "
                        "bytes-like object. Raises ValueError if it is no message.");
PyDoc_STRVAR(is_plain_doc,
             "is_plain(object, /)\n--\n\nWhether object travels as MessagePack, without pickle.");

static PyMethodDef functions[] = {
    {"dumps", dumps, METH_O, dumps_doc},
    {"loads", loads, METH_O, loads_doc},
    {"is_plain", is_plain, METH_O, is_plain_doc},
    {NULL, NULL, 0, NULL},
};

int codec_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}

void codec_clear(struct codec *codec) {
    for (size_t i = 0; i < CODEC_KEYS; i++) {
        Py_CLEAR(codec->keys[i]);
    }
}
