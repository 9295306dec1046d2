/*
 * bench_pool.c - tasks through a pool against a worker at the other end of two pipes
 *
 * SPDX-License-Identifier: MIT
 *
 * A task squares a number. One at a time, which is a round trip, and a thousand at once over two
 * workers. The peer is what a program does by hand: it forks workers, writes numbers into a pipe,
 * and reads squares from another one.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

#define WORKERS 2
#define MANY 1000

static int square(const void *in, size_t size, mproc_result *result) {
    uint64_t n;
    memcpy(&n, in, size);
    n *= n;
    return mproc_result_write(result, &n, sizeof n);
}

static void must(int r, const char *what) {
    if (r != 0) {
        fprintf(stderr, "bench: %s\n", mproc_strerror(r));
        bench_die(what);
    }
}

/* ---------------------------------------------------------------- the pool */

static double pool_one(void *pool, uint64_t n) {
    double start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        mproc_task *task;
        must(mproc_pool_submit(pool, square, &i, sizeof i, NULL, &task), "submit");
        must(mproc_task_wait(task, MPROC_FOREVER), "wait");
        mproc_task_drop(task);
    }
    return bench_now() - start;
}

static double pool_many(void *pool, uint64_t n) {
    static mproc_task *tasks[MANY];
    double start = bench_now();
    while (n-- > 0) {
        for (uint64_t i = 0; i < MANY; i++) {
            must(mproc_pool_submit(pool, square, &i, sizeof i, NULL, &tasks[i]), "submit");
        }
        must(mproc_task_wait_all(tasks, MANY, MPROC_FOREVER), "wait");
        for (int i = 0; i < MANY; i++) {
            mproc_task_drop(tasks[i]);
        }
    }
    return bench_now() - start;
}

/* ---------------------------------------------------------------- the pipes */

static int tasks_pipe[2], results_pipe[2];

static void serve_pipes(void) {
    uint64_t n;
    close(tasks_pipe[1]);
    while (read(tasks_pipe[0], &n, sizeof n) == (ssize_t)sizeof n) {
        n *= n;
        if (write(results_pipe[1], &n, sizeof n) != (ssize_t)sizeof n) {
            break;
        }
    }
    _exit(0);
}

static void open_pipes(void) {
    if (pipe(tasks_pipe) != 0 || pipe(results_pipe) != 0) {
        bench_die("pipe");
    }
    for (int i = 0; i < WORKERS; i++) {
        if (fork() == 0) {
            serve_pipes();
        }
    }
}

static void close_pipes(void) {
    close(tasks_pipe[1]);
    for (int i = 0; i < WORKERS; i++) {
        wait(NULL);
    }
}

static void put_number(uint64_t n) {
    if (write(tasks_pipe[1], &n, sizeof n) != (ssize_t)sizeof n) {
        bench_die("write");
    }
}

static void get_number(void) {
    uint64_t n;
    if (read(results_pipe[0], &n, sizeof n) != (ssize_t)sizeof n) {
        bench_die("read");
    }
    bench_keep(&n);
}

static double pipes_one(void *unused, uint64_t n) {
    double start = bench_now();
    (void)unused;
    for (uint64_t i = 0; i < n; i++) {
        put_number(i);
        get_number();
    }
    return bench_now() - start;
}

/* A thousand numbers fit into a pipe. */
static double pipes_many(void *unused, uint64_t n) {
    double start = bench_now();
    (void)unused;
    while (n-- > 0) {
        for (uint64_t i = 0; i < MANY; i++) {
            put_number(i);
        }
        for (int i = 0; i < MANY; i++) {
            get_number();
        }
    }
    return bench_now() - start;
}

/* ---------------------------------------------------------------- both */

int main(int argc, char **argv) {
    mproc_pool *pool;
    open_pipes(); /* before this process has an arena, which the workers have no need of */
    must(mproc_init(argc, argv), "mproc_init");
    must(mproc_pool_new(&pool, &(mproc_pool_options){.workers = WORKERS}), "mproc_pool_new");
    struct bench_contender one[] = {{"mproc pool, submit and wait", pool_one, pool, true},
                                    {"two pipes", pipes_one, NULL, false}};
    struct bench_contender many[] = {
        {"mproc pool, submit all, wait for all", pool_many, pool, true},
        {"two pipes", pipes_many, NULL, false}};
    struct bench_table round_trip = {
        "a task there and back", "us", 1e6, false, one, 2, {0, 0}, false};
    struct bench_table storm = {"1,000 tasks at once", "us", 1e6, false, many, 2, {1, 0}, false};
    bench_heading("pool: two workers");
    bench_compare(&round_trip);
    bench_compare(&storm);
    mproc_pool_drop(pool);
    close_pipes();
    return 0;
}
