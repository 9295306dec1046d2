/*
 * bench_dict.c - the dict against stores that several processes can share, and two that they cannot
 *
 * SPDX-License-Identifier: MIT
 *
 * Keys of 16 bytes, values of 100, got and set at random in a store that has all keys. A get copies
 * the value out. With two processes each of them does half of the operations.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mproc.h"
#include "store.h"

#define SMALL 100000
#define LARGE 5000000
#define BATCH 2000

/* ---------------------------------------------------------------- ours */

static mproc_dict *dict;

static const char *open_dict(uint64_t n) {
    (void)n;
    return mproc_dict_new(&dict) == 0 ? NULL : "mproc_dict_new failed";
}

static void get_dict(const void *key, void *room) {
    mproc_message message = MPROC_MESSAGE_INIT(room, STORE_VALUE);
    if (mproc_dict_get(dict, key, STORE_KEY, &message, NULL) != 0) {
        bench_die("mproc_dict_get");
    }
}

static void set_dict(const void *key, const void *value) {
    if (mproc_dict_set(dict, key, STORE_KEY, value, STORE_VALUE) != 0) {
        bench_die("mproc_dict_set");
    }
}

static void close_dict(void) {
    mproc_drop(dict);
}

static const struct store store_dict = {
    .name = "mproc dict", .open = open_dict, .get = get_dict, .set = set_dict, .close = close_dict};

/* ---------------------------------------------------------------- the work */

static const struct store *const stores[] = {&store_dict, &store_lmdb, &store_redis, &store_map,
                                             &store_map_fixed};
enum { STORES = sizeof stores / sizeof *stores };

static const char *cannot[STORES]; /* why; NULL: it is open */
static uint64_t entries;

struct work {
    const struct store *store;
    const char *cannot;
    bool sets;
    /* The second process, which lives as long as the table: a new one would first have to find
     * every page of a large store. It is told how many operations to do, and says when they are
     * done. */
    pid_t partner; /* 0: there is none yet */
    int orders, answers;
};

/* Numbers that follow each other would be spread better than by chance by some hash functions. */
static uint64_t scramble(uint64_t x) {
    x = (x ^ x >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 29) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 32;
}

static void make_key(uint64_t i, uint64_t key[2]) {
    key[0] = scramble(i);
    key[1] = scramble(i + entries);
}

static void operate(const struct work *work, uint64_t n, uint64_t state) {
    char value[STORE_VALUE] = "";
    for (; n > 0; n--) {
        uint64_t key[2];
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift */
        make_key(state % entries, key);
        if (work->sets) {
            memcpy(value, key, sizeof key);
            work->store->set(key, value);
        } else {
            work->store->get(key, value);
            bench_keep(value);
        }
    }
}

static uint64_t seed(void) {
    static uint64_t count;
    return ++count * UINT64_C(88172645463325252) | 1;
}

static double alone(void *arg, uint64_t n) {
    const struct work *work = arg;
    if (work->cannot != NULL) {
        return bench_cannot(work->cannot);
    }
    if (work->store->enter != NULL) {
        work->store->enter(false);
    }
    double start = bench_now();
    operate(work, n, seed());
    double seconds = bench_now() - start;
    if (work->store->leave != NULL) {
        work->store->leave();
    }
    return seconds;
}

/* ---------------------------------------------------------------- two processes */

static void exact(ssize_t moved, size_t size) {
    if (moved != (ssize_t)size) {
        bench_die("the second process");
    }
}

/* Each page of the store is touched before the first order. */
static _Noreturn void serve(const struct work *work, int orders, int answers) {
    struct work all = *work;
    uint64_t n, most = work->store == &store_redis ? 1000 : 400000; /* a server has its own */
    all.sets = false;
    bench_pin(1);
    if (work->store->enter != NULL) {
        work->store->enter(true);
    }
    operate(&all, entries < most ? entries : most, 1);
    exact(write(answers, "", 1), 1);
    while (read(orders, &n, sizeof n) == (ssize_t)sizeof n && n != 0) {
        operate(work, n, seed() + 12345);
        exact(write(answers, "", 1), 1);
    }
    _exit(0);
}

static void await_answer(const struct work *work) {
    char byte;
    exact(read(work->answers, &byte, 1), 1);
}

static void end_partner(struct work *work) {
    if (work->partner != 0) {
        const uint64_t no_more = 0;
        exact(write(work->orders, &no_more, sizeof no_more), sizeof no_more);
        close(work->orders);
        close(work->answers);
        waitpid(work->partner, NULL, 0);
        mproc_reap();
    }
}

static void start_partner(struct work *work) {
    int orders[2], answers[2];
    if (pipe2(orders, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) {
        bench_die("pipe");
    }
    work->partner = fork();
    if (work->partner == 0) {
        close(orders[1]);
        serve(work, orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    work->orders = orders[1];
    work->answers = answers[0];
    await_answer(work);
}

/* Telling the second process to begin takes as long as many operations, so what the table counts as
 * one are BATCH of them. */
static double both(void *arg, uint64_t n) {
    struct work *work = arg;
    uint64_t half = n * BATCH / 2;
    if (work->cannot != NULL) {
        return bench_cannot(work->cannot);
    }
    if (work->partner == 0) {
        start_partner(work);
    }
    if (work->store->enter != NULL) {
        work->store->enter(false);
    }
    bench_pin(0);
    double start = bench_now();
    exact(write(work->orders, &half, sizeof half), sizeof half);
    operate(work, half, seed());
    await_answer(work);
    double seconds = bench_now() - start;
    bench_unpin();
    if (work->store->leave != NULL) {
        work->store->leave();
    }
    return seconds;
}

/* ---------------------------------------------------------------- tables */

static void fill(const struct store *store) {
    char value[STORE_VALUE] = "";
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t key[2];
        make_key(i, key);
        (store->fill != NULL ? store->fill : store->set)(key, value);
    }
    if (store->filled != NULL) {
        store->filled();
    }
}

/* `first` peers of all, from the second store on; the target is against the best of them. */
static void table(const char *what, bool sets, bool two, unsigned from, unsigned to,
                  double target) {
    static char title[120];
    struct work work[STORES];
    struct bench_contender contenders[STORES];
    unsigned n = 0;
    for (unsigned i = 0; i < STORES; i++) {
        if (i == 0 || (i >= from && i < to)) {
            work[n] = (struct work){.store = stores[i], .cannot = cannot[i], .sets = sets};
            contenders[n] =
                (struct bench_contender){stores[i]->name, two ? both : alone, &work[n], i == 0};
            n++;
        }
    }
    snprintf(title, sizeof title, "%s, %llu entries, %s", what, (unsigned long long)entries,
             two ? "two processes" : "one process");
    struct bench_table t = {title,       "k op/s", two ? 1e-3 * BATCH : 1e-3, true, contenders, n,
                            {target, 0}, false};
    bench_compare(&t);
    for (unsigned i = 0; i < n; i++) {
        end_partner(&work[i]);
    }
}

enum { DICT, LMDB, REDIS, MAP, MAP_FIXED };

static void measure(void) {
    for (unsigned i = 0; i < STORES; i++) {
        cannot[i] = stores[i]->open(entries);
        if (cannot[i] == NULL) {
            fill(stores[i]);
        }
    }
    for (int two = 0; two <= (bench_cpus() > 1); two++) {
        table("get", false, two, MAP, MAP + 1, 0.5);
        table("get", false, two, MAP_FIXED, MAP_FIXED + 1, 0.5);
        table("get", false, two, REDIS, REDIS + 1, 20);
        table("get", false, two, LMDB, LMDB + 1, 0);
        table("set", true, two, LMDB, LMDB + 1, 3);
        table("set", true, two, REDIS, REDIS + 1, 0);
    }
    table("set", true, false, MAP, MAP_FIXED + 1, 0);
    for (unsigned i = 0; i < STORES; i++) {
        if (cannot[i] == NULL) {
            stores[i]->close();
        }
    }
}

/* BENCH_ENTRIES: so many in place of both. */
int main(int argc, char **argv) {
    const char *only = getenv("BENCH_ENTRIES");
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    bench_heading("dict: keys of 16 bytes, values of 100");
    entries = only != NULL ? strtoull(only, NULL, 10) : SMALL;
    if (entries == 0) {
        errno = EINVAL;
        bench_die("BENCH_ENTRIES");
    }
    measure();
    if (only == NULL) {
        entries = LARGE;
        measure();
    }
    return 0;
}
