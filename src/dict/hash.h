/*
 * hash.h - the hash of a dict's key
 *
 * SPDX-License-Identifier: MIT
 *
 * Two words at a time are multiplied with each other, after a secret has been added to each. The
 * constants are digits of pi.
 */
#ifndef MPROC_DICT_HASH_H
#define MPROC_DICT_HASH_H

#include <stdint.h>
#include <string.h>

#define MPROC__DICT_PI1 UINT64_C(0x243f6a8885a308d3)
#define MPROC__DICT_PI2 UINT64_C(0x13198a2e03707345)

__extension__ typedef unsigned __int128 mproc__wide;

static inline uint64_t mproc__dict_mix(uint64_t a, uint64_t b) {
    mproc__wide product = (mproc__wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t mproc__dict_word_at(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Before the first word of a key. */
static inline uint64_t mproc__dict_hash_begin(uint64_t seed, uint64_t size) {
    return seed ^ mproc__dict_mix(size ^ MPROC__DICT_PI1, seed ^ MPROC__DICT_PI2);
}

/* With its last two words, which zeros fill up. */
static inline uint64_t mproc__dict_hash_end(uint64_t hash, uint64_t seed, uint64_t first,
                                            uint64_t second) {
    hash = mproc__dict_mix(first ^ seed ^ MPROC__DICT_PI1, second ^ hash);
    return mproc__dict_mix(hash ^ MPROC__DICT_PI2, seed ^ MPROC__DICT_PI1);
}

/* Of a key of 8 to 16 bytes: most are. */
static inline uint64_t mproc__dict_hash_short(uint64_t seed, const unsigned char *p, size_t size) {
    uint64_t last = mproc__dict_word_at(p + size - 8);
    uint64_t second = size > 8 ? last >> 8 * (16 - size) : 0;
    return mproc__dict_hash_end(mproc__dict_hash_begin(seed, size), seed, mproc__dict_word_at(p),
                                second);
}

#endif
