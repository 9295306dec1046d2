/*
 * bench_alloc.c - the arena's memory against malloc
 *
 * SPDX-License-Identifier: MIT
 *
 * Any member may free a block of the arena, and no death loses one; a block of malloc() belongs to
 * its process. Pairs: one block is allocated, touched and freed again. Batches: a thousand blocks
 * are allocated, then freed in another order. malloc() is set to keep what is freed, as the arena
 * does: by itself it gives memory back after each batch of 10 kB, and fetches it again.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "mproc.h"

#define BATCH 1000

struct kind {
    void *(*alloc)(size_t size);
    void (*free)(void *block);
    size_t size;
};

static void touch(const struct kind *k, unsigned char *block) {
    if (block == NULL) {
        errno = ENOMEM;
        bench_die("alloc");
    }
    block[0] = block[k->size - 1] = 1;
    bench_keep(block);
}

static double pairs(void *arg, uint64_t n) {
    const struct kind *k = arg;
    double start = bench_now();
    while (n-- > 0) {
        unsigned char *block = k->alloc(k->size);
        touch(k, block);
        k->free(block);
    }
    return bench_now() - start;
}

/* 7 and 1000 are coprime: every block is freed once, out of order. */
static double batches(void *arg, uint64_t n) {
    static void *blocks[BATCH];
    const struct kind *k = arg;
    double start = bench_now();
    for (uint64_t done = 0; done < n; done += BATCH) {
        for (unsigned i = 0; i < BATCH; i++) {
            blocks[i] = k->alloc(k->size);
            touch(k, blocks[i]);
        }
        for (unsigned i = 0; i < BATCH; i++) {
            k->free(blocks[i * 7 % BATCH]);
        }
    }
    return (bench_now() - start) * (double)n / (double)((n + BATCH - 1) / BATCH * BATCH);
}

static void compare(const char *how, double (*run)(void *, uint64_t), size_t size) {
    char title[96];
    struct kind ours = {mproc_alloc, mproc_free, size}, peers = {malloc, free, size};
    struct bench_contender both[] = {{"mproc_alloc, mproc_free", run, &ours, true},
                                     {"malloc, free", run, &peers, false}};
    snprintf(title, sizeof title, "%s, %zu bytes, per block", how, size);
    struct bench_table table = {title, "ns", 1e9, false, both, 2, {0, 0}, false};
    bench_compare(&table);
}

static void keep_what_is_freed(void) {
    if (mallopt(M_TRIM_THRESHOLD, 1 << 30) != 1 || mallopt(M_MMAP_THRESHOLD, 32 << 20) != 1) {
        bench_die("mallopt");
    }
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {16, 100, 1000, 10000, 100000, 1000000};
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    bench_heading("alloc: memory of the arena");
    bench_pin(0);
    keep_what_is_freed();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        compare("pairs", pairs, sizes[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        compare("batches of 1000", batches, sizes[i]);
    }
    return 0;
}
