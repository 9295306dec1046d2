/*
 * fuzz.h - what the fuzz targets share: numbers out of an input, and properties that must hold
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FUZZ_H
#define MPROC_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer calls these. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A property. Its break ends the program like a crash, and the input is kept. */
#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #what);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What is left of an input. An input that is too short goes on with zeros. */
struct feed {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t feed_byte(struct feed *feed) {
    if (feed->left == 0) {
        return 0;
    }
    feed->left--;
    return *feed->at++;
}

static inline size_t feed_bytes(struct feed *feed, void *out, size_t size) {
    size_t n = size < feed->left ? size : feed->left;
    memset(out, 0, size);
    if (n > 0) {
        memcpy(out, feed->at, n);
    }
    feed->at += n;
    feed->left -= n;
    return n;
}

static inline uint64_t feed_u64(struct feed *feed) {
    uint64_t value;
    (void)feed_bytes(feed, &value, sizeof value);
    return value;
}

static inline uint32_t feed_u32(struct feed *feed) {
    uint32_t value;
    (void)feed_bytes(feed, &value, sizeof value);
    return value;
}

/* 0 to n - 1. */
static inline size_t feed_below(struct feed *feed, size_t n) {
    return feed_byte(feed) % n;
}

#endif
