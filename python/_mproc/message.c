/*
 * message.c - the bytes of a message while it is built
 *
 * SPDX-License-Identifier: MIT
 *
 * The copied bytes stand one after the other in `buffer` (inside the structure while they are few).
 * Bytes that the message refers to cut the buffer into pieces. While a message is built, a piece of
 * the buffer has iov_base NULL, for the buffer may still move; message_finish() fills it in.
 *
 * Invariants: 1. The bytes of the buffer from `piece` to `used` are not in iov yet. 2.
 * owners[0..nowners) are owned. 3. The first piece is one of the buffer: a header precedes all
 * bytes that the message refers to.
 */
#include "message.h"

#include <string.h>

void message_init(struct message *m) {
    m->iov = m->inline_iov;
    m->iov_room = sizeof m->inline_iov / sizeof m->inline_iov[0];
    m->owners = m->inline_owners;
    m->owners_room = sizeof m->inline_owners / sizeof m->inline_owners[0];
    m->buffer = m->inline_buffer;
    m->room = sizeof m->inline_buffer;
    m->niov = m->nowners = 0;
    parts_init(&m->parts);
    m->size = m->referred = m->used = m->piece = 0;
}

/* A grown copy of an array that stands inside the structure or on the heap; NULL with MemoryError
 * leaves the old one as it is. */
static void *grown(void *array, const void *inside, size_t used, size_t room) {
    void *fresh = array == inside ? PyMem_Malloc(room) : PyMem_Realloc(array, room);
    if (fresh == NULL) {
        return PyErr_NoMemory();
    }
    if (array == inside) {
        memcpy(fresh, inside, used);
    }
    return fresh;
}

int message_reserve(struct message *m, size_t more) {
    if (m->room - m->used >= more) {
        return 0;
    }
    if (more > PY_SSIZE_T_MAX - m->used) {
        PyErr_NoMemory();
        return -1;
    }
    size_t room = m->used + more;
    if (room < 2 * m->room) {
        room = 2 * m->room;
    }
    unsigned char *buffer = grown(m->buffer, m->inline_buffer, m->used, room);
    if (buffer == NULL) {
        return -1;
    }
    m->buffer = buffer;
    m->room = room;
    return 0;
}

static int add_piece(struct message *m, const void *data, size_t size) {
    if (m->niov == m->iov_room) {
        size_t used = (size_t)m->niov * sizeof *m->iov;
        struct iovec *iov = grown(m->iov, m->inline_iov, used, 2 * used);
        if (iov == NULL) {
            return -1;
        }
        m->iov = iov;
        m->iov_room *= 2;
    }
    m->iov[m->niov++] = (struct iovec){(void *)data, size};
    return 0;
}

/* Makes a piece of the bytes at the end of the buffer that are none yet. */
static int end_piece(struct message *m) {
    if (m->used == m->piece) {
        return 0;
    }
    if (add_piece(m, NULL, m->used - m->piece) < 0) {
        return -1;
    }
    m->piece = m->used;
    return 0;
}

static int add_owner(struct message *m, PyObject *owner) {
    if (m->nowners == m->owners_room) {
        size_t used = (size_t)m->nowners * sizeof *m->owners;
        PyObject **owners = grown(m->owners, m->inline_owners, used, 2 * used);
        if (owners == NULL) {
            return -1;
        }
        m->owners = owners;
        m->owners_room *= 2;
    }
    m->owners[m->nowners++] = Py_NewRef(owner);
    return 0;
}

int message_copy(struct message *m, const void *data, size_t size) {
    if (message_reserve(m, size) < 0) {
        return -1;
    }
    memcpy(m->buffer + m->used, data, size);
    m->used += size;
    return 0;
}

int message_refer(struct message *m, PyObject *owner, const void *data, size_t size) {
    /* A reference may bring two pieces, itself and the piece of the buffer before it, and the rest
     * of the buffer is one more. */
    if (size < MESSAGE_REFER || m->niov > MESSAGE_PIECES - 3) {
        return message_copy(m, data, size);
    }
    if (end_piece(m) < 0 || add_piece(m, data, size) < 0) {
        return -1;
    }
    m->referred += size;
    return add_owner(m, owner);
}

int message_finish(struct message *m, size_t skip) {
    if (end_piece(m) < 0) {
        return -1;
    }
    unsigned char *at = m->buffer + skip;
    m->iov[0].iov_len -= skip;
    for (int i = 0; i < m->niov; i++) {
        if (m->iov[i].iov_base == NULL) {
            m->iov[i].iov_base = at;
            at += m->iov[i].iov_len;
        }
    }
    m->size = m->used - skip + m->referred;
    return 0;
}

PyObject *message_bytes(const struct message *m) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)m->size);
    if (bytes == NULL) {
        return NULL;
    }
    char *at = PyBytes_AS_STRING(bytes);
    for (int i = 0; i < m->niov; i++) {
        memcpy(at, m->iov[i].iov_base, m->iov[i].iov_len);
        at += m->iov[i].iov_len;
    }
    return bytes;
}

void message_clear(struct message *m) {
    while (m->nowners > 0) {
        PyObject *owner = m->owners[--m->nowners];
        Py_DECREF(owner);
    }
    if (m->parts.room > 0 || m->parts.pending_room > 0) {
        parts_clear(&m->parts);
    }
    if (m->iov != m->inline_iov) {
        PyMem_Free(m->iov);
    }
    if (m->owners != m->inline_owners) {
        PyMem_Free(m->owners);
    }
    if (m->buffer != m->inline_buffer) {
        PyMem_Free(m->buffer);
    }
}
