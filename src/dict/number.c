/*
 * number.c - integers as values: MessagePack's
 *
 * SPDX-License-Identifier: MIT
 *
 * A first byte below 0x80 or above 0xdf is the number itself. Otherwise it says how many bytes
 * follow, most significant first, and whether they have a sign: 0xcc to 0xcf for 1, 2, 4 and 8
 * bytes without, 0xd0 to 0xd3 with one.
 */
#include "dict/number.h"

enum { UNSIGNED = 0xcc, SIGNED = 0xd0, NEGATIVE = 0xe0 };

static size_t write_bytes(unsigned char *out, unsigned char kind, unsigned log, uint64_t bits) {
    size_t n = (size_t)1 << log;
    out[0] = (unsigned char)(kind + log);
    for (size_t i = 0; i < n; i++) {
        out[1 + i] = (unsigned char)(bits >> 8 * (n - 1 - i));
    }
    return 1 + n;
}

/* The least log for which 2^log bytes hold the number, of which one bit may be the sign. */
static unsigned log_of(int64_t number) {
    unsigned sign = number < 0;
    uint64_t bits = sign ? ~(uint64_t)number : (uint64_t)number;
    unsigned log = 0;
    while (log < 3 && bits >> ((8u << log) - sign) != 0) {
        log++;
    }
    return log;
}

size_t mproc__number_write(unsigned char *out, int64_t number) {
    if (number >= -32 && number < 128) {
        out[0] = (unsigned char)number;
        return 1;
    }
    return write_bytes(out, number < 0 ? SIGNED : UNSIGNED, log_of(number), (uint64_t)number);
}

bool mproc__number_read(const unsigned char *bytes, size_t size, int64_t *out) {
    if (size == 1 && (bytes[0] < 0x80 || bytes[0] >= NEGATIVE)) {
        *out = bytes[0] < 0x80 ? bytes[0] : bytes[0] - 0x100;
        return true;
    }
    if (size < 2 || bytes[0] < UNSIGNED || bytes[0] > SIGNED + 3 ||
        size != 1 + ((size_t)1 << (bytes[0] & 3))) {
        return false;
    }
    bool sign = bytes[0] >= SIGNED && bytes[1] & 0x80;
    uint64_t bits = sign ? UINT64_MAX : 0;
    for (size_t i = 1; i < size; i++) {
        bits = bits << 8 | bytes[i];
    }
    if (bytes[0] < SIGNED && bits > INT64_MAX) {
        return false;
    }
    *out = (int64_t)bits;
    return true;
}
