/*
 * bench_dict_crowd.c - one dict of a million entries, and more and more processes at it
 *
 * SPDX-License-Identifier: MIT
 *
 * 1, 2, 4 and 8 processes get (8 of 10 operations), set, insert and delete entries at random, keys
 * of 16 bytes, values of 100, all of them on one dict. Printed are the operations of all of them in
 * a second, the share of the process that got the least done (1: as many as the others on average),
 * and the longest operation. A run takes BENCH_SECONDS (default 0.5).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

#define ENTRIES 1000000
#define MOST 8
#define VALUE 100
#define TIMED 16 /* one operation of so many is timed: the clock takes as long as a get */

struct counter {
    _Alignas(128) uint64_t done;
    double longest; /* seconds */
};

/* What all processes share. */
static struct board {
    struct counter counters[MOST];
    _Alignas(128) unsigned ready, go;
} * board;

static mproc_dict *dict;

static void make_key(uint64_t i, uint64_t key[2]) {
    key[0] = i * UINT64_C(0x9e3779b97f4a7c15);
    key[1] = i;
}

static void operate(uint64_t random) {
    uint64_t key[2];
    char value[VALUE] = "";
    mproc_message m = MPROC_MESSAGE_INIT(value, sizeof value);
    make_key((random >> 8) % ENTRIES, key);
    int r;
    switch (random % 10) {
    case 0: r = mproc_dict_set(dict, key, sizeof key, value, sizeof value); break;
    case 1:
        r = random & 128 ? mproc_dict_insert(dict, key, sizeof key, value, sizeof value)
                         : mproc_dict_delete(dict, key, sizeof key, MPROC_DICT_ANY);
        break;
    default: r = mproc_dict_get(dict, key, sizeof key, &m, NULL); break;
    }
    if (r != 0 && r != -ENOENT && r != -EEXIST) {
        bench_die("an operation");
    }
}

_Noreturn static void work(unsigned index) {
    struct counter *mine = &board->counters[index];
    uint64_t state = index + UINT64_C(88172645463325252);
    __atomic_fetch_add(&board->ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&board->go, __ATOMIC_SEQ_CST)) {
        usleep(100);
    }
    for (uint64_t n = 1;; n++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift */
        double begun = n % TIMED == 0 ? bench_now() : 0;
        operate(state);
        if (n % TIMED == 0) {
            double took = bench_now() - begun;
            mine->longest = took > mine->longest ? took : mine->longest;
        }
        __atomic_store_n(&mine->done, n, __ATOMIC_RELAXED);
    }
}

static void start(pid_t *pids, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        fflush(stdout);
        pids[i] = fork();
        if (pids[i] < 0) {
            bench_die("fork");
        }
        if (pids[i] == 0) {
            work(i);
        }
    }
    while (__atomic_load_n(&board->ready, __ATOMIC_SEQ_CST) < n) {
        usleep(100);
    }
}

static void end(const pid_t *pids, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
    }
    for (unsigned i = 0; i < n; i++) {
        if (waitpid(pids[i], NULL, 0) != pids[i]) {
            bench_die("waitpid");
        }
    }
    mproc_reap();
}

static void print(unsigned n, double seconds) {
    uint64_t sum = 0, least = UINT64_MAX;
    double longest = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct counter *c = &board->counters[i];
        uint64_t done = __atomic_load_n(&c->done, __ATOMIC_RELAXED);
        sum += done;
        least = done < least ? done : least;
        longest = c->longest > longest ? c->longest : longest;
    }
    printf("  %u process%-2s  %6.2f M op/s   least share %.2f   longest %.1f ms\n", n,
           n == 1 ? "" : "es", (double)sum / seconds / 1e6, (double)(least * n) / (double)sum,
           longest * 1e3);
}

static void run(unsigned n, double seconds) {
    pid_t pids[MOST];
    memset(board, 0, sizeof *board);
    start(pids, n);
    double begun = bench_now();
    __atomic_store_n(&board->go, 1, __ATOMIC_SEQ_CST);
    const struct timespec nap = {(time_t)seconds,
                                 (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&nap, NULL);
    print(n, bench_now() - begun);
    end(pids, n);
}

static void fill(void) {
    char value[VALUE] = "";
    for (uint64_t i = 0; i < ENTRIES; i++) {
        uint64_t key[2];
        make_key(i, key);
        if (mproc_dict_set(dict, key, sizeof key, value, sizeof value) != 0) {
            bench_die("mproc_dict_set");
        }
    }
}

int main(int argc, char **argv) {
    const char *given = getenv("BENCH_SECONDS");
    double seconds = given != NULL ? atof(given) : 0.5;
    char why[256] = "";
    if (mproc_init(argc, argv) != 0 || mproc_dict_new(&dict) != 0) {
        bench_die("mproc_dict_new");
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        bench_die("mmap");
    }
    bench_heading(
        "a dict of 1,000,000 entries: 8 of 10 operations get, 1 sets, 1 inserts or deletes");
    fill();
    for (unsigned n = 1; n <= MOST; n *= 2) {
        run(n, seconds);
    }
    if (mproc_dict_check(dict, why, sizeof why) != 0) {
        bench_die(why);
    }
    return 0;
}
