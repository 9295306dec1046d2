/* codec.c: Python objects as messages, and back. The format and its law stand in codec.h.
 *
 * Encoding walks the object once and writes MessagePack as it goes. Whatever is not plain stops the walk; the message is emptied and handed to the pickler. The walk
 * runs no Python code, so nothing it looks at can change under it.
 *
 * A message's bytes stand one after the other in `head` (inside the structure while they are few); large bytes objects and texts are not copied but lent,
 * which cuts head into segments. While a message is built, a segment of head has iov_base NULL, for head may still move; message_finish fills them in.
 *
 * Identity. A container with one reference stands in the graph once: its reference is that of its parent. Only those with more are remembered
 * (`seen`), and long text and bytes with them. A second meeting, or too many to remember, makes a pickle.
 *
 * Decoding trusts nothing: each length is held against what is left; the counts of all containers together may not exceed the bytes of the message (`budget`),
 * so that a short message cannot ask for much memory; depth is bounded.
 *
 * Invariants: 1. head_used - segment bytes of head are not in iov yet. 2. lent[0..nlent) are owned. 3. reader.at <= reader.end, and bytes are read only below end.
 */
#include "module.h"

#include <stdint.h>
#include <string.h>

#define SEEN 32               /* containers and long texts that are remembered: a linear search must stay cheap */
#define LONG_TEXT 256         /* from this size on, text and bytes that occur twice must stay one object */
#define PICKLE_HEADER 10      /* room for a fixext 8; the short header, an ext 32, takes the last SHORT_HEADER bytes of it */
#define SHORT_HEADER 6
#define CACHED_KEY 31         /* longest key that is remembered: what a fixstr holds */

enum { NOT_PLAIN = 1 }; /* third outcome of packing, beside 0 and -1 */

/* ---- bytes in network order ---- */

static void store16(unsigned char *at, uint16_t v) {
    v = __builtin_bswap16(v);
    memcpy(at, &v, sizeof v);
}

static void store32(unsigned char *at, uint32_t v) {
    v = __builtin_bswap32(v);
    memcpy(at, &v, sizeof v);
}

static void store64(unsigned char *at, uint64_t v) {
    v = __builtin_bswap64(v);
    memcpy(at, &v, sizeof v);
}

static uint64_t load_be(const unsigned char *at, size_t width) {
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) v = v << 8 | at[i];
    return v;
}

/* ---- the message ---- */

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
    if (m->iov != m->inline_iov) PyMem_Free(m->iov);
    if (m->lent != m->inline_lent) PyMem_Free(m->lent);
    if (m->head != m->inline_head) PyMem_Free(m->head);
    message_init(m);
}

/* A grown copy of an array that stands inside the structure or on the heap; NULL with MemoryError leaves the old one as it is. */
static void *grown(void *array, const void *inside, size_t used, size_t room) {
    void *new = array == inside ? PyMem_Malloc(room) : PyMem_Realloc(array, room);
    if (!new) return PyErr_NoMemory();
    if (array == inside) memcpy(new, inside, used);
    return new;
}

/* Room for more bytes at the end of head. */
static int message_reserve(struct codec_message *m, size_t more) {
    if (m->head_room - m->head_used >= more) return 0;
    if (more > PY_SSIZE_T_MAX - m->head_used) {
        PyErr_NoMemory();
        return -1;
    }
    size_t room = m->head_used + more;
    if (room < 2 * m->head_room) room = 2 * m->head_room;
    unsigned char *head = grown(m->head, m->inline_head, m->head_used, room);
    if (!head) return -1;
    m->head = head;
    m->head_room = room;
    return 0;
}

static int message_add_segment(struct codec_message *m, const void *data, size_t size) {
    if (m->niov == m->iov_room) {
        size_t used = (size_t)m->niov * sizeof *m->iov;
        struct iovec *iov = grown(m->iov, m->inline_iov, used, 2 * used);
        if (!iov) return -1;
        m->iov = iov;
        m->iov_room *= 2;
    }
    m->iov[m->niov++] = (struct iovec){(void *)data, size};
    return 0;
}

static int message_end_segment(struct codec_message *m) {
    if (m->head_used == m->segment) return 0;
    if (message_add_segment(m, NULL, m->head_used - m->segment) < 0) return -1;
    m->segment = m->head_used;
    return 0;
}

static int message_keep(struct codec_message *m, PyObject *lender) {
    if (m->nlent == m->lent_room) {
        size_t used = (size_t)m->nlent * sizeof *m->lent;
        PyObject **lent = grown(m->lent, m->inline_lent, used, 2 * used);
        if (!lent) return -1;
        m->lent = lent;
        m->lent_room *= 2;
    }
    m->lent[m->nlent++] = Py_NewRef(lender);
    return 0;
}

int codec_message_copy(struct codec_message *m, const void *data, size_t size) {
    if (message_reserve(m, size) < 0) return -1;
    memcpy(m->head + m->head_used, data, size);
    m->head_used += size;
    return 0;
}

int codec_message_lend(struct codec_message *m, PyObject *lender, const void *data, size_t size) {
    /* Each lent segment may bring two (itself and the piece of head before it), and the rest of head is one more. */
    if (size < CODEC_LEND || m->niov > CODEC_SEGMENTS - 3) return codec_message_copy(m, data, size);
    if (message_end_segment(m) < 0 || message_add_segment(m, data, size) < 0) return -1;
    m->lent_size += size;
    return message_keep(m, lender);
}

/* Ends the last segment and tells those of head where they are; the first `skip` bytes of head do not belong to the message. */
static int message_finish(struct codec_message *m, size_t skip) {
    if (message_end_segment(m) < 0) return -1;
    unsigned char *at = m->head + skip;
    m->iov[0].iov_len -= skip;
    for (int i = 0; i < m->niov; i++) {
        if (m->iov[i].iov_base) continue;
        m->iov[i].iov_base = at;
        at += m->iov[i].iov_len;
    }
    m->size = m->head_used - skip + m->lent_size;
    return 0;
}

/* ---- writing MessagePack ---- */

struct packer {
    unsigned char *at, *end; /* the free part of message->head; message->head_used is brought up to date by packer_sync */
    struct codec_message *message;
    int nseen;
    PyObject *seen[SEEN]; /* borrowed: the graph holds them */
};

static int pack(struct packer *pk, PyObject *object, int depth);

static void packer_load(struct packer *pk) {
    pk->at = pk->message->head + pk->message->head_used;
    pk->end = pk->message->head + pk->message->head_room;
}

static void packer_sync(struct packer *pk) { pk->message->head_used = (size_t)(pk->at - pk->message->head); }

static int packer_grow(struct packer *pk, size_t more) {
    packer_sync(pk);
    if (message_reserve(pk->message, more) < 0) return -1;
    packer_load(pk);
    return 0;
}

static inline int packer_reserve(struct packer *pk, size_t more) {
    return (size_t)(pk->end - pk->at) >= more ? 0 : packer_grow(pk, more);
}

/* NOT_PLAIN if the object was met before, or if there is no more room to remember it. */
static int packer_meet(struct packer *pk, PyObject *object) {
    if (Py_REFCNT(object) == 1) return 0;
    for (int i = 0; i < pk->nseen; i++)
        if (pk->seen[i] == object) return NOT_PLAIN;
    if (pk->nseen == SEEN) return NOT_PLAIN;
    pk->seen[pk->nseen++] = object;
    return 0;
}

static int pack_byte(struct packer *pk, unsigned char byte) {
    if (packer_reserve(pk, 1) < 0) return -1;
    *pk->at++ = byte;
    return 0;
}

static inline unsigned char *put_head(unsigned char *at, unsigned char lead, uint64_t v, int width) {
    *at++ = lead;
    if (width == 1) *at = (unsigned char)v;
    if (width == 2) store16(at, (uint16_t)v);
    if (width == 4) store32(at, (uint32_t)v);
    if (width == 8) store64(at, v);
    return at + width;
}

static unsigned char *put_unsigned(unsigned char *at, uint64_t v) {
    if (v <= UINT8_MAX) return put_head(at, 0xcc, v, 1);
    if (v <= UINT16_MAX) return put_head(at, 0xcd, v, 2);
    if (v <= UINT32_MAX) return put_head(at, 0xce, v, 4);
    return put_head(at, 0xcf, v, 8);
}

static unsigned char *put_negative(unsigned char *at, int64_t v) {
    if (v >= INT8_MIN) return put_head(at, 0xd0, (uint64_t)v, 1);
    if (v >= INT16_MIN) return put_head(at, 0xd1, (uint64_t)v, 2);
    if (v >= INT32_MIN) return put_head(at, 0xd2, (uint64_t)v, 4);
    return put_head(at, 0xd3, (uint64_t)v, 8);
}

/* Integers above INT64_MAX. */
static int pack_large_int(struct packer *pk, PyObject *object) {
    unsigned long long v = PyLong_AsUnsignedLongLong(object);
    if (v == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
        PyErr_Clear();
        return NOT_PLAIN;
    }
    pk->at = put_unsigned(pk->at, v);
    return 0;
}

static int pack_int(struct packer *pk, PyObject *object) {
    int overflow;
    long long v = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (packer_reserve(pk, 9) < 0) return -1;
    if (overflow) return overflow < 0 ? NOT_PLAIN : pack_large_int(pk, object);
    if (v >= -32 && v <= 127)
        *pk->at++ = (unsigned char)v;
    else
        pk->at = v >= 0 ? put_unsigned(pk->at, (uint64_t)v) : put_negative(pk->at, v);
    return 0;
}

static int pack_float(struct packer *pk, PyObject *object) {
    double v = PyFloat_AS_DOUBLE(object);
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (packer_reserve(pk, 9) < 0) return -1;
    pk->at = put_head(pk->at, 0xcb, bits, 8);
    return 0;
}

/* The bytes after the header of text or bytes, which object keeps alive. */
static int pack_data(struct packer *pk, PyObject *object, const void *data, size_t size) {
    if (size < CODEC_LEND) {
        if (packer_reserve(pk, size) < 0) return -1;
        memcpy(pk->at, data, size);
        pk->at += size;
        return 0;
    }
    packer_sync(pk);
    int r = codec_message_lend(pk->message, object, data, size);
    packer_load(pk);
    return r;
}

/* The UTF-8 of a text: 0, NOT_PLAIN if it has surrogates, -1. */
static int text_data(PyObject *text, const char **data, Py_ssize_t *size) {
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        *data = (const char *)PyUnicode_1BYTE_DATA(text);
        *size = PyUnicode_GET_LENGTH(text);
        return 0;
    }
    *data = PyUnicode_AsUTF8AndSize(text, size);
    if (*data) return 0;
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return -1;
    PyErr_Clear();
    return NOT_PLAIN;
}

static int pack_text(struct packer *pk, PyObject *object) {
    const char *data;
    Py_ssize_t size;
    int r = text_data(object, &data, &size);
    if (!r && size >= LONG_TEXT) r = packer_meet(pk, object);
    if (r) return r;
    if (size > UINT32_MAX) return NOT_PLAIN;
    if (packer_reserve(pk, 5) < 0) return -1;
    if (size <= 31)
        *pk->at++ = (unsigned char)(0xa0 | size);
    else if (size <= UINT8_MAX)
        pk->at = put_head(pk->at, 0xd9, (uint64_t)size, 1);
    else if (size <= UINT16_MAX)
        pk->at = put_head(pk->at, 0xda, (uint64_t)size, 2);
    else
        pk->at = put_head(pk->at, 0xdb, (uint64_t)size, 4);
    return pack_data(pk, object, data, (size_t)size);
}

static int pack_bytes(struct packer *pk, PyObject *object) {
    Py_ssize_t size = PyBytes_GET_SIZE(object);
    if (size >= LONG_TEXT && packer_meet(pk, object)) return NOT_PLAIN;
    if (size > UINT32_MAX) return NOT_PLAIN;
    if (packer_reserve(pk, 5) < 0) return -1;
    if (size <= UINT8_MAX)
        pk->at = put_head(pk->at, 0xc4, (uint64_t)size, 1);
    else if (size <= UINT16_MAX)
        pk->at = put_head(pk->at, 0xc5, (uint64_t)size, 2);
    else
        pk->at = put_head(pk->at, 0xc6, (uint64_t)size, 4);
    return pack_data(pk, object, PyBytes_AS_STRING(object), (size_t)size);
}

/* The header of an array (fix 0x90, wide 0xdc) or a map (0x80, 0xde). */
static int pack_count(struct packer *pk, Py_ssize_t n, unsigned char fix, unsigned char wide) {
    if (n > UINT32_MAX) return NOT_PLAIN;
    if (packer_reserve(pk, 5) < 0) return -1;
    if (n <= 15)
        *pk->at++ = (unsigned char)(fix | n);
    else if (n <= UINT16_MAX)
        pk->at = put_head(pk->at, wide, (uint64_t)n, 2);
    else
        pk->at = put_head(pk->at, (unsigned char)(wide + 1), (uint64_t)n, 4);
    return 0;
}

static int pack_items(struct packer *pk, PyObject *const *items, Py_ssize_t n, int depth) {
    int r = pack_count(pk, n, 0x90, 0xdc);
    for (Py_ssize_t i = 0; !r && i < n; i++) r = pack(pk, items[i], depth);
    return r;
}

static int pack_list(struct packer *pk, PyObject *list, int depth) {
    if (depth == CODEC_DEPTH || packer_meet(pk, list)) return NOT_PLAIN;
    return pack_items(pk, PySequence_Fast_ITEMS(list), PyList_GET_SIZE(list), depth + 1);
}

/* A tuple's ext says how long its payload is, which is known when it has been written: an ext 32 leaves room for any length. */
static int pack_tuple(struct packer *pk, PyObject *tuple, int depth) {
    struct codec_message *m = pk->message;
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    if (depth == CODEC_DEPTH || (n > 0 && packer_meet(pk, tuple))) return NOT_PLAIN;
    if (packer_reserve(pk, 6) < 0) return -1;
    pk->at = put_head(pk->at, 0xc9, 0, 4);
    *pk->at++ = CODEC_EXT_TUPLE;
    size_t payload = (size_t)(pk->at - m->head);
    size_t lent = m->lent_size;
    int r = pack_items(pk, PySequence_Fast_ITEMS(tuple), n, depth + 1);
    if (r) return r;
    size_t length = (size_t)(pk->at - m->head) - payload + (m->lent_size - lent);
    if (length > UINT32_MAX) return NOT_PLAIN;
    store32(m->head + payload - 5, (uint32_t)length);
    return 0;
}

static int pack_dict(struct packer *pk, PyObject *dict, int depth) {
    if (depth == CODEC_DEPTH || packer_meet(pk, dict)) return NOT_PLAIN;
    int r = pack_count(pk, PyDict_GET_SIZE(dict), 0x80, 0xde);
    PyObject *key, *value;
    for (Py_ssize_t i = 0; !r && PyDict_Next(dict, &i, &key, &value);) {
        r = pack(pk, key, depth + 1);
        if (!r) r = pack(pk, value, depth + 1);
    }
    return r;
}

static int pack(struct packer *pk, PyObject *object, int depth) {
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type) return pack_text(pk, object);
    if (type == &PyLong_Type) return pack_int(pk, object);
    if (type == &PyFloat_Type) return pack_float(pk, object);
    if (object == Py_None) return pack_byte(pk, 0xc0);
    if (type == &PyBool_Type) return pack_byte(pk, object == Py_True ? 0xc3 : 0xc2);
    if (type == &PyTuple_Type) return pack_tuple(pk, object, depth);
    if (type == &PyDict_Type) return pack_dict(pk, object, depth);
    if (type == &PyList_Type) return pack_list(pk, object, depth);
    if (type == &PyBytes_Type) return pack_bytes(pk, object);
    return NOT_PLAIN;
}

/* ---- encoding ---- */

static int encode_plain(PyObject *object, struct codec_message *m) {
    struct packer pk;
    pk.message = m;
    pk.nseen = 0;
    packer_load(&pk);
    int r = pack(&pk, object, 0);
    if (r) return r;
    packer_sync(&pk);
    m->plain = 1;
    return message_finish(m, 0);
}

/* The header comes last: only then the pickle's length is known. */
static int encode_pickle(struct module_state *state, PyObject *object, struct codec_message *m) {
    m->head_used = PICKLE_HEADER;
    if (pickling_dump(state, object, m) < 0) return -1;
    size_t length = m->head_used + m->lent_size - PICKLE_HEADER;
    if (length > UINT32_MAX) {
        m->head[0] = 0xd7;
        m->head[1] = CODEC_EXT_LONG_PICKLE;
        store64(m->head + 2, length);
        return message_finish(m, 0);
    }
    unsigned char *header = m->head + PICKLE_HEADER - SHORT_HEADER;
    *put_head(header, 0xc9, length, 4) = CODEC_EXT_PICKLE;
    return message_finish(m, PICKLE_HEADER - SHORT_HEADER);
}

int codec_encode(struct module_state *state, PyObject *object, struct codec_message *m) {
    message_init(m);
    int r = encode_plain(object, m);
    if (r == NOT_PLAIN) {
        codec_message_clear(m);
        r = encode_pickle(state, object, m);
    }
    if (r < 0) codec_message_clear(m);
    return r;
}

/* ---- reading MessagePack ---- */

struct reader {
    const unsigned char *start, *at, *end;
    size_t budget; /* elements that containers may still announce */
    struct codec *codec;
};

static PyObject *read_value(struct reader *rd, int depth);

static PyObject *corrupt(const struct reader *rd, const unsigned char *at, const char *what) {
    return PyErr_Format(PyExc_ValueError, "corrupt message: %s at byte %zd", what, (Py_ssize_t)(at - rd->start));
}

/* Whether n more bytes are there; if not, ValueError. */
static inline int has(struct reader *rd, uint64_t n) {
    if ((uint64_t)(rd->end - rd->at) >= n) return 1;
    PyErr_Format(PyExc_ValueError, "corrupt message: %llu bytes wanted at byte %zd, where only %zd are left",
                 (unsigned long long)n, (Py_ssize_t)(rd->at - rd->start), (Py_ssize_t)(rd->end - rd->at));
    return 0;
}

/* A big-endian number of 1, 2, 4 or 8 bytes. 0, or -1 with ValueError. */
static int read_number(struct reader *rd, size_t width, uint64_t *v) {
    if (!has(rd, width)) return -1;
    *v = load_be(rd->at, width);
    rd->at += width;
    return 0;
}

static PyObject *read_unsigned(struct reader *rd, size_t width) {
    uint64_t v;
    return read_number(rd, width, &v) < 0 ? NULL : PyLong_FromUnsignedLongLong(v);
}

static PyObject *read_signed(struct reader *rd, size_t width) {
    uint64_t v;
    if (read_number(rd, width, &v) < 0) return NULL;
    unsigned unused = 64 - 8 * (unsigned)width;
    return PyLong_FromLongLong((int64_t)(v << unused) >> unused);
}

static PyObject *read_float32(struct reader *rd) {
    uint64_t v;
    if (read_number(rd, 4, &v) < 0) return NULL;
    uint32_t bits = (uint32_t)v;
    float f;
    memcpy(&f, &bits, sizeof f);
    return PyFloat_FromDouble(f);
}

static PyObject *read_float64(struct reader *rd) {
    uint64_t v;
    if (read_number(rd, 8, &v) < 0) return NULL;
    double d;
    memcpy(&d, &v, sizeof d);
    return PyFloat_FromDouble(d);
}

static PyObject *read_text(struct reader *rd, uint64_t size) {
    if (!has(rd, size)) return NULL;
    const unsigned char *at = rd->at;
    rd->at += size;
    PyObject *text = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size, NULL);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        return corrupt(rd, at, "text that is not UTF-8");
    }
    return text;
}

static PyObject *read_bytes(struct reader *rd, uint64_t size) {
    if (!has(rd, size)) return NULL;
    const unsigned char *at = rd->at;
    rd->at += size;
    return PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)size);
}

/* Text and bytes with a length of their own, 1, 2 or 4 bytes wide. */
static PyObject *read_sized(struct reader *rd, size_t width, PyObject *(*read)(struct reader *, uint64_t)) {
    uint64_t size;
    return read_number(rd, width, &size) < 0 ? NULL : read(rd, size);
}

/* Takes n elements off the budget; each needs a byte at least, so a true message never exceeds it. */
static int announce(struct reader *rd, uint64_t n, const unsigned char *at) {
    if (n > rd->budget) {
        corrupt(rd, at, "more elements announced than can follow");
        return -1;
    }
    rd->budget -= n;
    return 0;
}

static PyObject *read_list(struct reader *rd, uint64_t n, int depth) {
    if (announce(rd, n, rd->at) < 0) return NULL;
    PyObject *list = PyList_New((Py_ssize_t)n);
    if (!list) return NULL;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)n; i++) {
        PyObject *item = read_value(rd, depth);
        if (!item) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, item);
    }
    return list;
}

static PyObject *read_tuple_items(struct reader *rd, uint64_t n, int depth) {
    if (announce(rd, n, rd->at) < 0) return NULL;
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    if (!tuple) return NULL;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)n; i++) {
        PyObject *item = read_value(rd, depth);
        if (!item) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

/* Where a key of at most CACHED_KEY bytes is remembered. */
static size_t key_place(const unsigned char *at, size_t size) {
    uint64_t mix = size;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        mix = (mix ^ word) * 0x9e3779b97f4a7c15u;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < size; i++) rest = rest << 8 | at[i];
    mix = (mix ^ rest) * 0x9e3779b97f4a7c15u;
    return (size_t)(mix >> 32) % CODEC_KEYS;
}

/* A short text that is a dict key: if lately met, the very object that was made then. */
static PyObject *read_short_key(struct reader *rd, size_t size) {
    if (!has(rd, size)) return NULL;
    PyObject **slot = &rd->codec->keys[key_place(rd->at, size)];
    if (*slot && (size_t)PyUnicode_GET_LENGTH(*slot) == size && !memcmp(PyUnicode_1BYTE_DATA(*slot), rd->at, size)) {
        rd->at += size;
        return Py_NewRef(*slot);
    }
    PyObject *key = read_text(rd, size);
    if (key && PyUnicode_IS_COMPACT_ASCII(key)) Py_XSETREF(*slot, Py_NewRef(key));
    return key;
}

static PyObject *read_key(struct reader *rd, int depth) {
    if (!has(rd, 1)) return NULL;
    if ((*rd->at & 0xe0) == 0xa0) return read_short_key(rd, *rd->at++ & CACHED_KEY);
    return read_value(rd, depth);
}

/* A key of a kind that cannot be one is the message's fault. */
static int add_item(struct reader *rd, PyObject *dict, PyObject *key, PyObject *value, const unsigned char *at) {
    if (PyDict_SetItem(dict, key, value) == 0) return 0;
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        corrupt(rd, at, "unhashable key");
    }
    return -1;
}

static int read_item(struct reader *rd, PyObject *dict, int depth) {
    const unsigned char *at = rd->at;
    PyObject *key = read_key(rd, depth);
    PyObject *value = key ? read_value(rd, depth) : NULL;
    int r = value ? add_item(rd, dict, key, value, at) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return r;
}

static PyObject *read_dict(struct reader *rd, uint64_t n, int depth) {
    if (announce(rd, 2 * n, rd->at) < 0) return NULL;
    PyObject *dict = PyDict_New();
    for (uint64_t i = 0; dict && i < n; i++)
        if (read_item(rd, dict, depth) < 0) Py_CLEAR(dict);
    return dict;
}

/* The header of an array: 0, or -1 with ValueError. */
static int read_array_count(struct reader *rd, uint64_t *n) {
    const unsigned char *at = rd->at;
    if (!has(rd, 1)) return -1;
    unsigned char lead = *rd->at++;
    if ((lead & 0xf0) == 0x90) {
        *n = lead & 0x0f;
        return 0;
    }
    if (lead == 0xdc || lead == 0xdd) return read_number(rd, lead == 0xdc ? 2 : 4, n);
    corrupt(rd, at, "tuple without an array");
    return -1;
}

/* The payload of a tuple: an array that fills it. */
static PyObject *read_tuple(struct reader *rd, uint64_t length, int depth) {
    const unsigned char *end = rd->end;
    uint64_t n;
    rd->end = rd->at + length;
    PyObject *tuple = read_array_count(rd, &n) < 0 ? NULL : read_tuple_items(rd, n, depth);
    if (tuple && rd->at != rd->end) {
        Py_CLEAR(tuple);
        corrupt(rd, rd->at, "bytes left over in a tuple");
    }
    rd->end = end;
    return tuple;
}

/* The header of an ext, whose first byte is lead: its type and the length of its payload, which is there. 0, or -1 with ValueError. */
static int read_ext_header(struct reader *rd, unsigned char lead, unsigned char *type, uint64_t *length) {
    *length = 1u << ((lead - 0xd4) & 7);
    if (lead < 0xd4 && read_number(rd, (size_t)1 << (lead - 0xc7), length) < 0) return -1;
    if (!has(rd, 1)) return -1;
    *type = *rd->at++;
    return has(rd, *length) ? 0 : -1;
}

static int is_ext(unsigned char lead) { return (lead >= 0xc7 && lead <= 0xc9) || (lead >= 0xd4 && lead <= 0xd8); }

static PyObject *read_ext(struct reader *rd, unsigned char lead, int depth) {
    const unsigned char *at = rd->at - 1;
    unsigned char type;
    uint64_t length;
    if (read_ext_header(rd, lead, &type, &length) < 0) return NULL;
    if (type == CODEC_EXT_TUPLE) return read_tuple(rd, length, depth);
    if (type == CODEC_EXT_PICKLE || type == CODEC_EXT_LONG_PICKLE) return corrupt(rd, at, "pickle inside another value");
    return PyErr_Format(PyExc_ValueError, "corrupt message: unknown ext type %d at byte %zd", (signed char)type,
                        (Py_ssize_t)(at - rd->start));
}

/* Lists, dicts and tuples of more than a few elements. */
static PyObject *read_counted(struct reader *rd, size_t width, PyObject *(*read)(struct reader *, uint64_t, int), int depth) {
    uint64_t n;
    return read_number(rd, width, &n) < 0 ? NULL : read(rd, n, depth);
}

/* Values whose first byte says no more than their kind. */
static PyObject *read_kind(struct reader *rd, unsigned char lead, int depth) {
    switch (lead) {
    case 0xc0: Py_RETURN_NONE;
    case 0xc2: Py_RETURN_FALSE;
    case 0xc3: Py_RETURN_TRUE;
    case 0xc4: return read_sized(rd, 1, read_bytes);
    case 0xc5: return read_sized(rd, 2, read_bytes);
    case 0xc6: return read_sized(rd, 4, read_bytes);
    case 0xca: return read_float32(rd);
    case 0xcb: return read_float64(rd);
    case 0xcc: return read_unsigned(rd, 1);
    case 0xcd: return read_unsigned(rd, 2);
    case 0xce: return read_unsigned(rd, 4);
    case 0xcf: return read_unsigned(rd, 8);
    case 0xd0: return read_signed(rd, 1);
    case 0xd1: return read_signed(rd, 2);
    case 0xd2: return read_signed(rd, 4);
    case 0xd3: return read_signed(rd, 8);
    case 0xd9: return read_sized(rd, 1, read_text);
    case 0xda: return read_sized(rd, 2, read_text);
    case 0xdb: return read_sized(rd, 4, read_text);
    case 0xdc: return read_counted(rd, 2, read_list, depth);
    case 0xdd: return read_counted(rd, 4, read_list, depth);
    case 0xde: return read_counted(rd, 2, read_dict, depth);
    case 0xdf: return read_counted(rd, 4, read_dict, depth);
    case 0xc1: return corrupt(rd, rd->at - 1, "the unused byte 0xc1");
    default: return read_ext(rd, lead, depth);
    }
}

static PyObject *read_value(struct reader *rd, int depth) {
    if (!has(rd, 1)) return NULL;
    if (depth == CODEC_READ_DEPTH) return corrupt(rd, rd->at, "nesting too deep");
    unsigned char lead = *rd->at++;
    if (lead < 0x80 || lead >= 0xe0) return PyLong_FromLong((signed char)lead);
    if (lead < 0x90) return read_dict(rd, lead & 0x0f, depth + 1);
    if (lead < 0xa0) return read_list(rd, lead & 0x0f, depth + 1);
    if (lead < 0xc0) return read_text(rd, lead & 0x1f);
    return read_kind(rd, lead, depth + 1);
}

/* ---- decoding ---- */

/* Whether the message is a pickle, which then begins at rd->at: 1, 0, or -1 with ValueError. */
static int read_pickle_header(struct reader *rd) {
    unsigned char type;
    uint64_t length;
    if (rd->at == rd->end || !is_ext(*rd->at)) return 0;
    if (read_ext_header(rd, *rd->at++, &type, &length) < 0) return -1;
    if (type == CODEC_EXT_PICKLE) return 1;
    if (type == CODEC_EXT_LONG_PICKLE && length == 8) return read_number(rd, 8, &length) < 0 || !has(rd, length) ? -1 : 1;
    rd->at = rd->start;
    return 0;
}

/* How long the pickle is, is said in two places: they must agree. */
static int check_pickle_length(struct reader *rd) {
    size_t header = (size_t)(rd->at - rd->start);
    size_t width = rd->start[0] >= 0xd4 ? 8 : (size_t)1 << (rd->start[0] - 0xc7);
    const unsigned char *length = rd->start[0] >= 0xd4 ? rd->start + 2 : rd->start + 1;
    size_t left = (size_t)(rd->end - rd->start) - header;
    if (load_be(length, width) == left) return 0;
    corrupt(rd, rd->at + load_be(length, width), "bytes left over");
    return -1;
}

PyObject *codec_decode(struct module_state *state, const void *data, size_t size) {
    struct reader rd = {data, data, (const unsigned char *)data + size, size, &state->codec};
    int pickled = read_pickle_header(&rd);
    if (pickled < 0) return NULL;
    if (pickled)
        return check_pickle_length(&rd) < 0 ? NULL : pickling_load(state, rd.at, (size_t)(rd.end - rd.at));
    PyObject *object = read_value(&rd, 0);
    if (object && rd.at != rd.end) {
        Py_CLEAR(object);
        corrupt(&rd, rd.at, "bytes left over");
    }
    return object;
}

/* ---- the module's functions ---- */

static PyObject *joined(const struct codec_message *m) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)m->size);
    if (!bytes) return NULL;
    char *at = PyBytes_AS_STRING(bytes);
    for (int i = 0; i < m->niov; i++) {
        memcpy(at, m->iov[i].iov_base, m->iov[i].iov_len);
        at += m->iov[i].iov_len;
    }
    return bytes;
}

static PyObject *dumps(PyObject *module, PyObject *object) {
    struct codec_message m;
    if (codec_encode(module_state(module), object, &m) < 0) return NULL;
    PyObject *bytes = joined(&m);
    codec_message_clear(&m);
    return bytes;
}

static PyObject *loads(PyObject *module, PyObject *data) {
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return NULL;
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

PyDoc_STRVAR(dumps_doc, "dumps(object, /)\n--\n\nThe message that says object, as bytes. Raises what pickle raises for an object that it cannot pickle.");
PyDoc_STRVAR(loads_doc, "loads(data, /)\n--\n\nThe object that a message says. data: any bytes-like object. Raises ValueError if it is no message.");
PyDoc_STRVAR(is_plain_doc, "is_plain(object, /)\n--\n\nWhether object travels as MessagePack, without pickle.");

static PyMethodDef functions[] = {
    {"dumps", dumps, METH_O, dumps_doc},
    {"loads", loads, METH_O, loads_doc},
    {"is_plain", is_plain, METH_O, is_plain_doc},
    {NULL, NULL, 0, NULL},
};

int codec_add(PyObject *module) { return PyModule_AddFunctions(module, functions); }

void codec_clear(struct codec *codec) {
    for (size_t i = 0; i < CODEC_KEYS; i++) Py_CLEAR(codec->keys[i]);
}
