/*
 * bench_map.c - a pool's map against OpenMP's parallel for
 *
 * SPDX-License-Identifier: MIT
 *
 * Two workers map a million doubles; both sides call the item's function by its address. OpenMP's
 * threads share all memory, so they are the limit of what processes can reach; they share the items
 * out in halves, or in pieces as the threads get on. The function takes
 * about a microsecond in one table and about 20 ns in the other; the length of its loop is found by
 * trying.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "mproc.h"

#define ITEMS ((size_t)1 << 20)
#define WORKERS 2

struct job {
    mproc_pool *pool;
    mproc_item_fn fn;
    double *in, *out; /* in the arena */
    unsigned *steps;  /* in the arena: how long the body takes */
};

/* Dependent multiplications and additions: some 2 ns each. */
static int body(const void *in, void *out, void *context) {
    double x = *(const double *)in;
    for (unsigned i = *(const unsigned *)context; i > 0; i--) {
        x = x * 0.999999 + 0.000001;
    }
    *(double *)out = x;
    return 0;
}

static double serial_seconds(struct job *j, size_t items) {
    mproc_item_fn fn = j->fn;
    bench_keep(&fn);
    double start = bench_now();
    for (size_t i = 0; i < items; i++) {
        (void)fn(&j->in[i], &j->out[i], j->steps);
    }
    return bench_now() - start;
}

/* The fastest of some tries, since only other programs make a try slower. */
static double item_seconds(struct job *j) {
    size_t items = 2000;
    double best = 1;
    for (int i = 0; i < 50; i++) {
        best = fmin(best, serial_seconds(j, items) / (double)items);
    }
    return best;
}

/* Chooses the number of steps with which an item takes about so many seconds. Short items overlap
 * in the processor, since they are independent; so the number is approached in several tries. */
static void choose_steps(struct job *j, double seconds) {
    *j->steps = 100;
    for (int i = 0; i < 6; i++) {
        *j->steps = (unsigned)fmax(1, *j->steps * seconds / item_seconds(j));
    }
}

static double serial(void *arg, uint64_t n) {
    double seconds = 0;
    while (n-- > 0) {
        seconds += serial_seconds(arg, ITEMS);
    }
    return seconds;
}

static double pool_map(void *arg, uint64_t n) {
    struct job *j = arg;
    mproc_map_options options = {.context = j->steps};
    double start = bench_now();
    while (n-- > 0) {
        int r = mproc_pool_map(j->pool, j->fn, j->in, sizeof *j->in, j->out, sizeof *j->out, ITEMS,
                               &options);
        if (r != 0) {
            fprintf(stderr, "bench: %s\n", mproc_strerror(r));
            bench_die("mproc_pool_map");
        }
    }
    return bench_now() - start;
}

#if BENCH_OPENMP
/* A half for each thread: the least to do, and the best on an idle machine. */
static double openmp_static(void *arg, uint64_t n) {
    struct job *j = arg;
    mproc_item_fn fn = j->fn;
    bench_keep(&fn);
    double start = bench_now();
    while (n-- > 0) {
#pragma omp parallel for num_threads(WORKERS) schedule(static)
        for (size_t i = 0; i < ITEMS; i++) {
            (void)fn(&j->in[i], &j->out[i], j->steps);
        }
    }
    return bench_now() - start;
}

/* Pieces that become smaller: a thread that gets less of its CPU does less. */
static double openmp_guided(void *arg, uint64_t n) {
    struct job *j = arg;
    mproc_item_fn fn = j->fn;
    bench_keep(&fn);
    double start = bench_now();
    while (n-- > 0) {
#pragma omp parallel for num_threads(WORKERS) schedule(guided, 64)
        for (size_t i = 0; i < ITEMS; i++) {
            (void)fn(&j->in[i], &j->out[i], j->steps);
        }
    }
    return bench_now() - start;
}
#else
static double no_openmp(void *arg, uint64_t n) {
    (void)arg;
    (void)n;
    return bench_cannot("the compiler has no OpenMP");
}
#define openmp_static no_openmp
#define openmp_guided no_openmp
#endif

static void compare(struct job *j, const char *title, double seconds, struct bench_target target) {
    choose_steps(j, seconds);
    struct bench_contender all[] = {{"mproc pool map, 2 workers", pool_map, j, true},
                                    {"serial loop", serial, j, true},
                                    {"OpenMP, 2 threads, static", openmp_static, j, false},
                                    {"OpenMP, 2 threads, guided", openmp_guided, j, false}};
    struct bench_table table = {title, "ms", 1e3, false, all, 4, target, false};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    struct job j = {.fn = body};
    mproc_pool_options options = {.workers = WORKERS};
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    j.in = mproc_calloc(ITEMS, sizeof *j.in);
    j.out = mproc_calloc(ITEMS, sizeof *j.out);
    j.steps = mproc_calloc(1, sizeof *j.steps);
    if (j.in == NULL || j.out == NULL || j.steps == NULL ||
        mproc_pool_new(&j.pool, &options) != 0) {
        bench_die("mproc_pool_new");
    }
    for (size_t i = 0; i < ITEMS; i++) {
        j.in[i] = (double)i;
    }
    bench_heading("map: 1,048,576 doubles");
    compare(&j, "map, body of 1 us", 1e-6, (struct bench_target){0.9, 0});
    compare(&j, "map, body of 20 ns", 20e-9, (struct bench_target){0, 0});
    mproc_pool_drop(j.pool);
    mproc_free(j.in);
    mproc_free(j.out);
    mproc_free(j.steps);
    return 0;
}
