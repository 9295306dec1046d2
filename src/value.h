/*
 * value.h - plain values as bytes: what their reader and their writer share
 *
 * SPDX-License-Identifier: MIT
 *
 * docs/value_format.md says what each byte means.
 */
#ifndef MPROC_VALUE_H
#define MPROC_VALUE_H

#include <string.h>

#include "system/base.h"

/* What begins a message that takes buffers along: a fixext 8, its payload the length of the value
 * that follows, big-endian. Behind the value there is a part for each array in a buffer. */
#define MPROC__PARTS_HEADER 10

static inline uint64_t mproc__load_big(const unsigned char *at, size_t width) {
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) {
        v = v << 8 | at[i];
    }
    return v;
}

static inline void mproc__store_big(unsigned char *at, size_t width, uint64_t v) {
    for (size_t i = width; i > 0; i--) {
        at[i - 1] = (unsigned char)v;
        v >>= 8;
    }
}

/* Whether an item of a type may have so many bytes. */
bool mproc__value_item(char type, unsigned size);

/* Bytes of the items of that shape; false: more than there can be. */
bool mproc__value_size(const mproc_value_array *array, uint64_t *size);

/* What a complete value is in bytes, which may name objects: for a process that is started.
 * -EINVAL: it is not complete, or has buffers, which bytes cannot take along. */
int mproc__value_bytes(mproc_value_writer *writer, const void **out, size_t *size);

/* The n bytes of text are UTF-8. */
bool mproc__is_utf8(const unsigned char *text, size_t n);

#endif
