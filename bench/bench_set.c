/*
 * bench_set.c - the set beside a dict
 *
 * SPDX-License-Identifier: MIT
 *
 * Elements of 16 bytes in a set of 100,000: looked for at random, and taken out and added again.
 * The peer is a dict with the same keys and values of 8 bytes, which is what a program without sets
 * would take.
 */
#include <stdint.h>
#include <stdlib.h>

#include "bench.h"
#include "mproc.h"

#define ELEMENTS 100000

struct store {
    const char *name;
    int (*has)(const void *element, size_t size); /* 0: it is not there */
    int (*add)(const void *element, size_t size);
    int (*remove)(const void *element, size_t size);
};

static mproc_set *set;
static mproc_dict *dict;

static int has_set(const void *element, size_t size) {
    return mproc_set_has(set, element, size);
}

static int add_set(const void *element, size_t size) {
    return mproc_set_add(set, element, size);
}

static int remove_set(const void *element, size_t size) {
    return mproc_set_remove(set, element, size);
}

static int has_dict(const void *element, size_t size) {
    return mproc_dict_has(dict, element, size);
}

static int add_dict(const void *element, size_t size) {
    return mproc_dict_insert(dict, element, size, "12345678", 8);
}

static int remove_dict(const void *element, size_t size) {
    return mproc_dict_delete(dict, element, size, MPROC_DICT_ANY);
}

static const struct store stores[] = {{"mproc set", has_set, add_set, remove_set},
                                      {"mproc dict", has_dict, add_dict, remove_dict}};

/* ---------------------------------------------------------------- the work */

struct work {
    const struct store *store;
    bool changes;
};

static double run(void *arg, uint64_t n) {
    const struct work *work = arg;
    uint64_t state = 88172645463325252u;
    double start = bench_now();
    for (; n > 0; n--) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift */
        const uint64_t element[2] = {state % ELEMENTS, 1};
        int r = work->changes ? work->store->remove(element, sizeof element) |
                                    work->store->add(element, sizeof element)
                              : !work->store->has(element, sizeof element);
        if (r != 0) {
            bench_die("an element is not as it was left");
        }
    }
    return bench_now() - start;
}

static void compare(bool changes, const char *title) {
    struct work works[] = {{&stores[0], changes}, {&stores[1], changes}};
    const struct bench_contender contenders[] = {{works[0].store->name, run, &works[0], true},
                                                 {works[1].store->name, run, &works[1], false}};
    bench_compare(&(struct bench_table){
        .title = title, .unit = "ns", .scale = 1e9, .contenders = contenders, .n = 2});
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0 || mproc_set_new(&set) != 0 || mproc_dict_new(&dict) != 0) {
        bench_die("mproc_set_new");
    }
    bench_heading("a set of 100,000 elements of 16 bytes");
    for (uint64_t i = 0; i < ELEMENTS; i++) {
        const uint64_t element[2] = {i, 1};
        if (stores[0].add(element, sizeof element) | stores[1].add(element, sizeof element)) {
            bench_die("mproc_set_add");
        }
    }
    compare(false, "has");
    compare(true, "remove and add");
    return 0;
}
