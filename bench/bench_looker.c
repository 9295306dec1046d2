/*
 * bench_looker.c - what a family notices of a looker that takes one picture after the other
 *
 * SPDX-License-Identifier: MIT
 *
 * The looker is a process of its own, which begins anew as soon as it is done; it does all that
 * `mproc locks` does before it prints. The same work takes turns with and without it, and with a
 * process that only counts: where there is no third CPU, that says what sharing two costs. What is
 * measured is the CPU time that both sides of the family took, a wait's spinning among it: the
 * looker's own is not the family's.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

#define OPERATIONS 20000 /* of a run */

static mproc_lock *lock;
static mproc_queue *queue;
static double *took; /* CPU time of the two sides, shared */

enum beside { NOBODY, LOOKER, COUNTER };

struct kind {
    void (*side)(void *arg, bool child, uint64_t n);
    enum beside beside;
};

/* ---------------------------------------------------------------- who is beside */

static void look_on(pid_t pid) {
    for (;;) {
        mproc_inspection *seen;
        if (mproc_inspect_new(&seen, pid) == 0) {
            mproc_inspect_drop(seen);
        }
    }
}

static void count_on(void) {
    for (uint64_t n = 0;; n++) {
        bench_keep(&n);
    }
}

static pid_t start(enum beside beside) {
    pid_t family = getpid(), pid = beside != NOBODY ? fork() : 0;
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0 && beside != NOBODY) {
        if (beside == COUNTER) {
            count_on();
        }
        look_on(family);
    }
    return pid;
}

static void stop(pid_t pid) {
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

/* ---------------------------------------------------------------- what the two do */

static void stream(void *arg, bool child, uint64_t n) {
    char room[64];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    (void)arg;
    for (uint64_t i = 0; i < n; i++) {
        int r = child ? mproc_queue_put(queue, "sixteen bytes...", 16, MPROC_FOREVER)
                      : mproc_queue_get(queue, &message, MPROC_FOREVER);
        if (r != 0) {
            bench_die("mproc_queue_put");
        }
    }
}

/* Each side does half of the operations. */
static void contend(void *arg, bool child, uint64_t n) {
    (void)arg;
    (void)child;
    for (uint64_t i = 0; i < n / 2; i++) {
        if (mproc_lock_acquire(lock, MPROC_FOREVER) != 0 || mproc_lock_release(lock) != 0) {
            bench_die("mproc_lock_acquire");
        }
    }
}

static double cpu_time(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void side(void *arg, bool child, uint64_t n) {
    double start = cpu_time();
    ((const struct kind *)arg)->side(arg, child, n);
    took[child] = cpu_time() - start;
}

static double run(void *arg, uint64_t n) {
    const struct bench_pair pair = {NULL, side, NULL, 0, 1};
    const struct kind *k = arg;
    pid_t pid = start(k->beside);
    (void)bench_run_pair(&pair, arg, OPERATIONS);
    stop(pid);
    mproc_reap();
    return (took[0] + took[1]) / OPERATIONS * (double)n;
}

static void compare(const char *title, void (*work)(void *arg, bool child, uint64_t n)) {
    struct kind alone = {work, NOBODY}, seen = {work, LOOKER}, crowded = {work, COUNTER};
    const struct bench_contender contenders[] = {
        {"nobody looks", run, &alone, true},
        {"beside a looker at full speed", run, &seen, true},
        {"beside one that counts", run, &crowded, true}};
    const struct bench_table table = {title, "ns", 1e9, false, contenders, 3, {0, 0}, true};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    took = mmap(NULL, 2 * sizeof *took, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (took == MAP_FAILED || mproc_init(argc, argv) != 0 || mproc_lock_new(&lock, 0) != 0 ||
        mproc_queue_new(&queue, 1000) != 0) {
        bench_die("mproc_init");
    }
    bench_heading("a looker beside a family at work");
    if (bench_cpus() < 3) {
        printf("\nthere is no CPU for the looker here: it takes its part of the two\n");
    }
    compare("a queue's message, 16 B, from one process to another", stream);
    compare("a lock, contended by two processes, per operation", contend);
    return 0;
}
