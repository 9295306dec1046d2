/*
 * value_write.c - writing plain values
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The bytes are collected in memory of the writer's own, which grows. `open` is a
 * stack of the containers that have values to come. An extension says how long it is before its
 * payload, which of a tuple is known when its last value has been written; so a tuple has room for
 * any length there. Large arrays are in buffers, and the parts behind the value say where.
 *
 * Each function makes room for all it writes before it writes anything.
 *
 * Shared state: none. The buffers are the arena's, each held once by the writer.
 *
 * Invariants: 1. used <= room. 2. open[0..depth) have values to come. 3. parts[0..nparts) lie in
 * buffers[0..nparts), of which each is held once.
 *
 * If a member dies here: its holds on the buffers are given back.
 */
#include <stdlib.h>
#include <sys/uio.h>

#include "core/handle.h"
#include "value.h"

#define FIRST_ROOM 256
#define VALUE_MOST ((size_t)UINT32_MAX) /* then every length in it has room in four bytes */

struct open {
    uint64_t left;
    size_t length_at; /* of a tuple: where its length is; 0: of no tuple */
};

struct mproc_value_writer {
    uint32_t handle; /* MPROC__HANDLE_WRITER */
    unsigned depth;
    bool begun;   /* there is a value, or a part of one */
    bool objects; /* of the family are in it */
    unsigned char *bytes;
    size_t used, room;
    mproc_value_part *parts;
    mproc_buffer **buffers;
    size_t nparts;
    struct open open[MPROC_VALUE_DEPTH];
};

/* ---------------------------------------------------------------- room */

static int reserve(mproc_value_writer *w, size_t more) {
    if (w->begun && w->depth == 0) {
        return -EINVAL;
    }
    if (w->room - w->used >= more) {
        return 0;
    }
    if (more > VALUE_MOST - w->used) {
        return MPROC_ETOOBIG;
    }
    size_t room = w->used + more > 2 * w->room ? w->used + more : 2 * w->room;
    unsigned char *bytes = realloc(w->bytes, room);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    w->bytes = bytes;
    w->room = room;
    return 0;
}

/* What every function asks first: may so many bytes be written? */
static int ready(mproc_value_writer *w, size_t more) {
    return mproc__expect_handle(w, MPROC__HANDLE_WRITER) ? reserve(w, more) : MPROC_EOTHER;
}

static void put_byte(mproc_value_writer *w, unsigned char byte) {
    w->bytes[w->used++] = byte;
}

static void put_big(mproc_value_writer *w, size_t width, uint64_t v) {
    mproc__store_big(w->bytes + w->used, width, v);
    w->used += width;
}

static void put_bytes(mproc_value_writer *w, const void *bytes, size_t size) {
    if (size > 0) {
        memcpy(w->bytes + w->used, bytes, size);
        w->used += size;
    }
}

/* ---------------------------------------------------------------- containers */

/* The value has been written; containers that have all theirs are closed. */
static int written(mproc_value_writer *w) {
    w->begun = true;
    if (w->depth > 0) {
        w->open[w->depth - 1].left--;
    }
    while (w->depth > 0 && w->open[w->depth - 1].left == 0) {
        size_t at = w->open[--w->depth].length_at;
        if (at != 0) {
            mproc__store_big(w->bytes + at, 4, w->used - at - 5);
        }
    }
    return 0;
}

static void put_count(mproc_value_writer *w, unsigned char fix, unsigned char wide, size_t n) {
    if (n <= 15) {
        put_byte(w, (unsigned char)(fix | n));
    } else if (n <= UINT16_MAX) {
        put_byte(w, wide);
        put_big(w, 2, n);
    } else {
        put_byte(w, (unsigned char)(wide + 1));
        put_big(w, 4, n);
    }
}

static int may_begin(mproc_value_writer *w, size_t count) {
    int r = ready(w, 11);
    if (r != 0) {
        return r;
    }
    if (count > UINT32_MAX) {
        return MPROC_ETOOBIG;
    }
    return w->depth == MPROC_VALUE_DEPTH ? -EINVAL : 0;
}

/* The container is a value itself: it counts when it is closed. */
static int begin(mproc_value_writer *w, uint64_t values, size_t length_at) {
    if (w->depth > 0) {
        w->open[w->depth - 1].left--;
    }
    w->begun = true;
    w->open[w->depth++] = (struct open){values + 1, length_at};
    return written(w);
}

int mproc_value_write_list(mproc_value_writer *writer, size_t count) {
    int r = may_begin(writer, count);
    if (r != 0) {
        return r;
    }
    put_count(writer, 0x90, 0xdc, count);
    return begin(writer, count, 0);
}

int mproc_value_write_tuple(mproc_value_writer *writer, size_t count) {
    int r = may_begin(writer, count);
    if (r != 0) {
        return r;
    }
    put_byte(writer, 0xc9);
    size_t length_at = writer->used;
    put_big(writer, 4, 0);
    put_byte(writer, MPROC_EXT_TUPLE);
    put_count(writer, 0x90, 0xdc, count);
    return begin(writer, count, length_at);
}

int mproc_value_write_map(mproc_value_writer *writer, size_t count) {
    int r = may_begin(writer, count);
    if (r != 0) {
        return r;
    }
    put_count(writer, 0x80, 0xde, count);
    return begin(writer, 2 * (uint64_t)count, 0);
}

/* ---------------------------------------------------------------- plain values */

static int write_byte(mproc_value_writer *w, unsigned char byte) {
    int r = ready(w, 1);
    if (r != 0) {
        return r;
    }
    put_byte(w, byte);
    return written(w);
}

int mproc_value_write_none(mproc_value_writer *writer) {
    return write_byte(writer, 0xc0);
}

int mproc_value_write_bool(mproc_value_writer *writer, int value) {
    return write_byte(writer, value != 0 ? 0xc3 : 0xc2);
}

static int write_wide(mproc_value_writer *w, unsigned char lead, size_t width, uint64_t v) {
    int r = ready(w, 1 + width);
    if (r != 0) {
        return r;
    }
    put_byte(w, lead);
    put_big(w, width, v);
    return written(w);
}

int mproc_value_write_uint(mproc_value_writer *writer, uint64_t value) {
    if (value <= 127) {
        return write_byte(writer, (unsigned char)value);
    }
    return value <= UINT8_MAX    ? write_wide(writer, 0xcc, 1, value)
           : value <= UINT16_MAX ? write_wide(writer, 0xcd, 2, value)
           : value <= UINT32_MAX ? write_wide(writer, 0xce, 4, value)
                                 : write_wide(writer, 0xcf, 8, value);
}

int mproc_value_write_int(mproc_value_writer *writer, int64_t value) {
    if (value >= 0) {
        return mproc_value_write_uint(writer, (uint64_t)value);
    }
    if (value >= -32) {
        return write_byte(writer, (unsigned char)value);
    }
    uint64_t bits = (uint64_t)value;
    return value >= INT8_MIN    ? write_wide(writer, 0xd0, 1, bits)
           : value >= INT16_MIN ? write_wide(writer, 0xd1, 2, bits)
           : value >= INT32_MIN ? write_wide(writer, 0xd2, 4, bits)
                                : write_wide(writer, 0xd3, 8, bits);
}

int mproc_value_write_float(mproc_value_writer *writer, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return write_wide(writer, 0xcb, 8, bits);
}

/* `lead` is that of a length of one byte; those of two and four follow it. */
static void put_length(mproc_value_writer *w, unsigned char lead, size_t size) {
    if (size <= UINT8_MAX) {
        put_byte(w, lead);
        put_big(w, 1, size);
    } else if (size <= UINT16_MAX) {
        put_byte(w, (unsigned char)(lead + 1));
        put_big(w, 2, size);
    } else {
        put_byte(w, (unsigned char)(lead + 2));
        put_big(w, 4, size);
    }
}

static int may_write_data(mproc_value_writer *w, size_t size) {
    return size > VALUE_MOST - 5 ? MPROC_ETOOBIG : ready(w, size + 5);
}

int mproc_value_write_text(mproc_value_writer *writer, const char *lent, size_t size) {
    int r = may_write_data(writer, size);
    if (r == 0 && !mproc__is_utf8((const unsigned char *)lent, size)) {
        r = -EILSEQ;
    }
    if (r != 0) {
        return r;
    }
    if (size <= 31) {
        put_byte(writer, (unsigned char)(0xa0 | size));
    } else {
        put_length(writer, 0xd9, size);
    }
    put_bytes(writer, lent, size);
    return written(writer);
}

int mproc_value_write_bytes(mproc_value_writer *writer, const void *lent, size_t size) {
    int r = may_write_data(writer, size);
    if (r != 0) {
        return r;
    }
    put_length(writer, 0xc4, size);
    put_bytes(writer, lent, size);
    return written(writer);
}

static void put_ext(mproc_value_writer *w, unsigned char type, size_t size) {
    put_length(w, 0xc7, size);
    put_byte(w, type);
}

int mproc_value_write_object(mproc_value_writer *writer, void *lent, void *lock) {
    void *addresses[2] = {lent, lock};
    int r = ready(writer, 3 + sizeof addresses);
    if (r == 0 && mproc_value_object(lent, lock) == 0) {
        r = -EINVAL;
    }
    if (r != 0) {
        return r;
    }
    put_ext(writer, MPROC_EXT_OBJECT, sizeof addresses);
    put_bytes(writer, addresses, sizeof addresses);
    writer->objects = true;
    return written(writer);
}

/* ---------------------------------------------------------------- arrays */

static bool is_in(const mproc_value_array *a) {
    const char *start = mproc_buffer_data(a->buffer), *data = a->data;
    size_t size = mproc_buffer_size(a->buffer);
    return start != NULL && data >= start && (size_t)(data - start) <= size &&
           a->size <= size - (size_t)(data - start);
}

static bool array_is_good(const mproc_value_array *a) {
    uint64_t size;
    return mproc__value_item(a->type, a->item_size) && a->ndim <= MPROC_VALUE_DIMENSIONS &&
           mproc__value_size(a, &size) && size == a->size &&
           (a->buffer == NULL ? (a->flags & MPROC_VALUE_SHARED) == 0 : is_in(a));
}

/* Room for one more part and its buffer. */
static int reserve_part(mproc_value_writer *w) {
    mproc_value_part *parts = realloc(w->parts, (w->nparts + 1) * sizeof *parts);
    if (parts == NULL) {
        return -ENOMEM;
    }
    w->parts = parts;
    mproc_buffer **buffers = realloc(w->buffers, (w->nparts + 1) * sizeof(mproc_buffer *));
    if (buffers == NULL) {
        return -ENOMEM;
    }
    w->buffers = buffers;
    return 0;
}

/* A hold on what the items lie in. */
static int hold_or_copy(const mproc_value_array *a, mproc_buffer **out) {
    if (a->buffer != NULL) {
        *out = a->buffer;
        return mproc_hold(a->buffer);
    }
    int r = mproc_buffer_new(out, a->size);
    if (r == 0) {
        memcpy(mproc_buffer_data(*out), a->data, a->size);
    }
    return r;
}

static int add_part(mproc_value_writer *w, const mproc_value_array *a) {
    mproc_buffer *buffer = NULL;
    int r = reserve_part(w);
    if (r == 0) {
        r = hold_or_copy(a, &buffer);
    }
    if (r != 0) {
        return r;
    }
    const char *start = mproc_buffer_data(buffer);
    uint64_t offset = a->buffer != NULL ? (uint64_t)((const char *)a->data - start) : 0;
    uint64_t shared = (a->flags & MPROC_VALUE_SHARED) != 0;
    w->buffers[w->nparts] = buffer;
    w->parts[w->nparts] = (mproc_value_part){w->nparts * 2 + shared, offset, a->size};
    w->nparts++;
    return 0;
}

int mproc_value_write_array(mproc_value_writer *writer, const mproc_value_array *lent) {
    unsigned char head[MPROC_VALUE_ARRAY_HEAD];
    bool beside = lent->buffer != NULL || lent->size >= MPROC_VALUE_LARGE;
    size_t items = beside ? sizeof(uint64_t) : lent->size;
    int r = ready(writer, 6 + sizeof head + items);
    if (r == 0 && !array_is_good(lent)) {
        r = -EINVAL;
    }
    uint64_t part = r == 0 ? writer->nparts : 0;
    if (r == 0 && beside) {
        r = add_part(writer, lent);
    }
    if (r != 0) {
        return r;
    }
    size_t size = mproc_value_array_head(lent, beside, head);
    put_ext(writer, MPROC_EXT_ARRAY, size + items);
    put_bytes(writer, head, size);
    put_bytes(writer, beside ? (const void *)&part : lent->data, items);
    return written(writer);
}

/* ---------------------------------------------------------------- life */

int mproc_value_writer_new(mproc_value_writer **out) {
    mproc_value_writer *w = calloc(1, sizeof *w);
    unsigned char *bytes = w != NULL ? malloc(FIRST_ROOM) : NULL;
    if (bytes == NULL) {
        free(w);
        return -ENOMEM;
    }
    w->handle = MPROC__HANDLE_WRITER;
    w->bytes = bytes;
    w->room = FIRST_ROOM;
    *out = w;
    return 0;
}

static void empty(mproc_value_writer *w) {
    while (w->nparts > 0) {
        (void)mproc_drop(w->buffers[--w->nparts]);
    }
    w->used = 0;
    w->depth = 0;
    w->begun = w->objects = false;
}

static bool is_complete(const mproc_value_writer *w) {
    return w->begun && w->depth == 0;
}

int mproc__value_bytes(mproc_value_writer *writer, const void **out, size_t *size) {
    if (!mproc__expect_handle(writer, MPROC__HANDLE_WRITER)) {
        return MPROC_EOTHER;
    }
    if (!is_complete(writer) || writer->nparts > 0) {
        return -EINVAL;
    }
    *out = writer->bytes;
    *size = writer->used;
    return 0;
}

int mproc_value_written(mproc_value_writer *writer, const void **out, size_t *size) {
    if (!mproc__expect_handle(writer, MPROC__HANDLE_WRITER)) {
        return MPROC_EOTHER;
    }
    return writer->objects ? -EINVAL : mproc__value_bytes(writer, out, size);
}

static int put_with_parts(mproc_value_writer *w, mproc_queue *queue, int64_t timeout) {
    unsigned char header[MPROC__PARTS_HEADER] = {0xd7, MPROC_EXT_VALUE_PARTS};
    mproc__store_big(header + 2, 8, w->used);
    const struct iovec pieces[] = {
        {header, sizeof header}, {w->bytes, w->used}, {w->parts, w->nparts * sizeof *w->parts}};
    return mproc_queue_put_with(queue, pieces, 3, w->buffers, w->nparts, timeout);
}

int mproc_value_put(mproc_value_writer *writer, mproc_queue *queue, int64_t timeout) {
    if (!mproc__expect_handle(writer, MPROC__HANDLE_WRITER)) {
        return MPROC_EOTHER;
    }
    if (!is_complete(writer) || writer->objects) {
        return -EINVAL;
    }
    int r = writer->nparts > 0 ? put_with_parts(writer, queue, timeout)
                               : mproc_queue_put(queue, writer->bytes, writer->used, timeout);
    if (r == 0) {
        empty(writer);
    }
    return r;
}

void mproc_value_clear(mproc_value_writer *writer) {
    if (mproc__expect_handle(writer, MPROC__HANDLE_WRITER)) {
        empty(writer);
    }
}

void mproc_value_writer_drop(mproc_value_writer *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_WRITER)) {
        return;
    }
    empty(owned);
    free(owned->parts);
    free(owned->buffers);
    free(owned->bytes);
    mproc__handle_wreck(owned);
    free(owned);
}
