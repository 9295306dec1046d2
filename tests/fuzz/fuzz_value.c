/*
 * fuzz_value.c - the reader and the writer of plain values, on arbitrary bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The input is a message, as a queue would bring it; it has no buffers.
 *
 * What must hold. The reader gives values, and then says -ENODATA, or one of its errors with words
 * for it, and that again. What it lends lies in the message, which is a block of its own. To skip a
 * value and to go through it end at the same place. A value that is read whole can be written, and
 * what was written is read to the same values.
 */
#include "fuzz.h"

#include "mproc.h"

static const uint8_t *message;
static size_t message_size;

static void must_lie_inside(const void *data, size_t size) {
    const uint8_t *at = data;
    MUST(at >= message && at <= message + message_size);
    MUST(size <= (size_t)(message + message_size - at));
}

static void write_down(mproc_value_writer *writer, const mproc_value *v) {
    switch (v->kind) {
    case MPROC_VALUE_NONE: MUST(mproc_value_write_none(writer) == 0); break;
    case MPROC_VALUE_BOOL: MUST(mproc_value_write_bool(writer, (int)v->integer) == 0); break;
    case MPROC_VALUE_INT: MUST(mproc_value_write_int(writer, v->integer) == 0); break;
    case MPROC_VALUE_UINT: MUST(mproc_value_write_uint(writer, v->natural) == 0); break;
    case MPROC_VALUE_FLOAT: MUST(mproc_value_write_float(writer, v->number) == 0); break;
    case MPROC_VALUE_TEXT: MUST(mproc_value_write_text(writer, v->data, v->size) == 0); break;
    case MPROC_VALUE_BYTES: MUST(mproc_value_write_bytes(writer, v->data, v->size) == 0); break;
    case MPROC_VALUE_LIST: MUST(mproc_value_write_list(writer, v->count) == 0); break;
    case MPROC_VALUE_TUPLE: MUST(mproc_value_write_tuple(writer, v->count) == 0); break;
    case MPROC_VALUE_MAP: MUST(mproc_value_write_map(writer, v->count) == 0); break;
    case MPROC_VALUE_ARRAY: MUST(mproc_value_write_array(writer, &v->array) == 0); break;
    default: MUST(!"an object in a message");
    }
}

static void look_at(const mproc_value *v) {
    if (v->kind == MPROC_VALUE_TEXT || v->kind == MPROC_VALUE_BYTES) {
        must_lie_inside(v->data, v->size);
    }
    if (v->kind == MPROC_VALUE_ARRAY) {
        MUST(v->array.buffer == NULL);
        must_lie_inside(v->array.data, v->array.size);
    }
}

static bool is_large(const mproc_value *v) {
    return v->kind == MPROC_VALUE_ARRAY && v->array.size >= MPROC_VALUE_LARGE;
}

/* Whether all was read, and written down. */
static bool go_through(mproc_value_writer *writer, int *end) {
    mproc_value_reader reader;
    mproc_value value;
    bool small = true;
    const mproc_message m = {.data = (void *)(uintptr_t)message, .size = message_size};
    mproc_value_read_message(&reader, &m);
    while ((*end = mproc_value_next(&reader, &value)) == 0) {
        look_at(&value);
        small = small && !is_large(&value);
        if (small) {
            write_down(writer, &value);
        }
    }
    MUST(*end == -ENODATA || *end == MPROC_EVALUE || *end == MPROC_EPICKLE ||
         *end == MPROC_EEXTENSION);
    MUST(mproc_value_reason(&reader)[0] != 0);
    MUST(mproc_value_skip(&reader) == *end);
    return small && *end == -ENODATA;
}

static void skip(int end) {
    mproc_value_reader reader;
    const mproc_message m = {.data = (void *)(uintptr_t)message, .size = message_size};
    mproc_value_read_message(&reader, &m);
    int r = mproc_value_skip(&reader);
    MUST(end == -ENODATA ? r == 0 || r == -ENODATA : r == end);
    MUST(end != -ENODATA || mproc_value_end(&reader) == 0);
}

/* Floats may be no number, and then are not equal to themselves. */
static void must_be_equal(const mproc_value *a, const mproc_value *b) {
    MUST(a->kind == b->kind && a->size == b->size && a->natural == b->natural);
    MUST(a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
    if (a->kind == MPROC_VALUE_ARRAY) {
        MUST(a->array.size == b->array.size && a->array.ndim == b->array.ndim);
        MUST(a->array.flags == b->array.flags && a->array.type == b->array.type);
        MUST(a->array.size == 0 || memcmp(a->array.data, b->array.data, a->array.size) == 0);
    }
}

static void compare(mproc_value_writer *writer) {
    mproc_value_reader first, second;
    mproc_value a, b;
    const void *bytes;
    size_t size;
    const mproc_message m = {.data = (void *)(uintptr_t)message, .size = message_size};
    if (mproc_value_written(writer, &bytes, &size) != 0) {
        return; /* a message with a header and no value */
    }
    mproc_value_read_message(&first, &m);
    mproc_value_read(&second, bytes, size);
    while (mproc_value_next(&first, &a) == 0) {
        MUST(mproc_value_next(&second, &b) == 0);
        must_be_equal(&a, &b);
    }
    MUST(mproc_value_end(&second) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mproc_value_writer *writer;
    uint8_t *copy = malloc(size);
    int end;
    if (size > 0) {
        memcpy(copy, data, size);
    }
    message = copy;
    message_size = size;
    MUST(mproc_value_writer_new(&writer) == 0);
    if (go_through(writer, &end)) {
        compare(writer);
    }
    skip(end);
    mproc_value_writer_drop(writer);
    free(copy);
    return 0;
}
