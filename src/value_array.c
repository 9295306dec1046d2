/*
 * value_array.c - arrays of numbers as bytes, and back
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. An array is the payload of an extension: a head that says what it is, then its
 * items, or the number of the part beside the message in which they are. Python's codec uses these
 * functions, too.
 *
 * Shared state: none.
 *
 * If a member dies here: nothing that others see has changed.
 */
#include "value.h"

#define IN_A_PART 0x80 /* flag, of the bytes only */
#define HEAD 4         /* type, item size, flags, number of dimensions */

static const unsigned known_flags = MPROC_VALUE_FORTRAN | MPROC_VALUE_READONLY;

bool mproc__value_item(char type, unsigned size) {
    switch (type) {
    case 'b': return size == 1;
    case 'i':
    case 'u': return size == 1 || size == 2 || size == 4 || size == 8;
    case 'f': return size == 2 || size == 4 || size == 8;
    case 'c': return size == 8 || size == 16;
    default: return false;
    }
}

/* Of an array without items, too, the other lengths must make sense. */
bool mproc__value_size(const mproc_value_array *array, uint64_t *size) {
    uint64_t product = array->item_size;
    bool empty = false;
    for (unsigned i = 0; i < array->ndim; i++) {
        empty = empty || array->shape[i] == 0;
        uint64_t length = array->shape[i] == 0 ? 1 : array->shape[i];
        if (__builtin_mul_overflow(product, length, &product) || product > INT64_MAX) {
            return false;
        }
    }
    *size = empty ? 0 : product;
    return true;
}

size_t mproc_value_array_head(const mproc_value_array *lent, int in_a_part,
                              unsigned char out[MPROC_VALUE_ARRAY_HEAD]) {
    out[0] = (unsigned char)lent->type;
    out[1] = (unsigned char)lent->item_size;
    out[2] = (unsigned char)((lent->flags & known_flags) | (in_a_part ? IN_A_PART : 0));
    out[3] = (unsigned char)lent->ndim;
    memcpy(out + HEAD, lent->shape, lent->ndim * sizeof *lent->shape);
    return HEAD + lent->ndim * sizeof *lent->shape;
}

static bool head_is_good(const unsigned char *at, size_t size) {
    return size >= HEAD && mproc__value_item((char)at[0], at[1]) &&
           (at[2] & ~(known_flags | IN_A_PART)) == 0 && at[3] <= MPROC_VALUE_DIMENSIONS &&
           size >= HEAD + at[3] * sizeof(uint64_t);
}

int mproc_value_array_find(const void *payload, size_t size, mproc_value_array *out,
                           uint64_t *part) {
    const unsigned char *at = payload;
    uint64_t bytes;
    if (!head_is_good(at, size)) {
        return MPROC_EVALUE;
    }
    mproc_value_array found = {(char)at[0], at[1], at[2] & known_flags, at[3], {0}, NULL, 0, NULL};
    size_t head = HEAD + found.ndim * sizeof *found.shape;
    memcpy(found.shape, at + HEAD, head - HEAD);
    bool beside = (at[2] & IN_A_PART) != 0;
    if (!mproc__value_size(&found, &bytes) || size - head != (beside ? sizeof *part : bytes)) {
        return MPROC_EVALUE;
    }
    found.size = bytes;
    if (beside) {
        memcpy(part, at + head, sizeof *part);
    } else {
        found.data = at + head;
    }
    *out = found;
    return beside ? 1 : 0;
}
