/*
 * bare_text.h - composing a line without a C library
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BARE_TEXT_H
#define MPROC_BARE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Closed by a 0 once something was added; what does not fit is cut off. */
struct bare_text {
    size_t used, size;
    char *bytes;
};

static inline void bare_add(struct bare_text *text, const char *more) {
    while (*more != 0 && text->used + 1 < text->size) {
        text->bytes[text->used++] = *more++;
    }
    text->bytes[text->used] = 0;
}

static inline void bare_add_number(struct bare_text *text, uint64_t number) {
    char digits[24];
    char *first = digits + sizeof digits - 1;
    *first = 0;
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    bare_add(text, first);
}

#endif
