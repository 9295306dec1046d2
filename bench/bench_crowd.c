/*
 * bench_crowd.c - the queue with more producers and consumers than CPUs
 *
 * SPDX-License-Identifier: MIT
 *
 * Throughput of P producers and C consumers, messages of 16 bytes and of 64 KiB, on one CPU and on
 * two. All of them share one queue; ZeroMQ and nng connect each producer with each consumer. A run
 * lets all of them work for a time and counts what the consumers got meanwhile: a number of
 * messages that fits a short run would measure the scheduler's slices.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "mproc.h"

#define SIDE_MAX 8
#define LARGE ((size_t)65536)
#define WARM_UP 0.1 /* seconds */
#define SAMPLE 0.25

/* ---------------------------------------------------------------- a run */

struct crowd {
    const struct channel *channel;
    size_t size;
    unsigned producers, consumers;
    bool one_cpu;
};

struct counter {
    _Alignas(128) uint64_t got;
};

/* What all processes share. */
static struct board {
    struct counter consumers[SIDE_MAX];
    _Alignas(128) unsigned ready;
    unsigned go;
} * board;

static void nap(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void await_at_least(const unsigned *word, unsigned n) {
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) < n) {
        nap(0.0005);
    }
}

_Noreturn static void work(const struct crowd *c, bool producer, unsigned index) {
    char *room = calloc(1, c->size);
    if (room == NULL) {
        bench_die("calloc");
    }
    if (c->channel->enter_crowd != NULL) {
        c->channel->enter_crowd(producer, index, c->consumers);
    }
    __atomic_fetch_add(&board->ready, 1, __ATOMIC_SEQ_CST);
    await_at_least(&board->go, 1);
    while (producer) {
        c->channel->put(CHANNEL_UP, room, c->size);
    }
    for (uint64_t n = 1;; n++) {
        c->channel->get(CHANNEL_UP, room, c->size);
        __atomic_store_n(&board->consumers[index].got, n, __ATOMIC_RELAXED);
    }
}

static pid_t start(const struct crowd *c, bool producer, unsigned index) {
    pid_t pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        work(c, producer, index);
    }
    return pid;
}

static uint64_t got(const struct crowd *c) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < c->consumers; i++) {
        sum += __atomic_load_n(&board->consumers[i].got, __ATOMIC_RELAXED);
    }
    return sum;
}

/* The seconds that one message takes while all of them work. */
static double sample(const struct crowd *c) {
    __atomic_store_n(&board->go, 1, __ATOMIC_SEQ_CST);
    nap(WARM_UP);
    double begun = bench_now();
    uint64_t before = got(c);
    nap(SAMPLE);
    uint64_t after = got(c);
    return (bench_now() - begun) / (double)(after > before ? after - before : 1);
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
}

static double run(void *arg, uint64_t n) {
    const struct crowd *c = arg;
    pid_t pids[2 * SIDE_MAX];
    unsigned all = 0;
    memset(board, 0, sizeof *board);
    const char *why = c->channel->open(c->size);
    if (why != NULL) {
        return bench_cannot(why);
    }
    fflush(stdout);
    if (c->one_cpu) {
        bench_pin(0);
    }
    for (unsigned i = 0; i < c->consumers; i++) {
        pids[all++] = start(c, false, i);
    }
    for (unsigned i = 0; i < c->producers; i++) {
        pids[all++] = start(c, true, i);
    }
    await_at_least(&board->ready, all);
    double seconds = sample(c);
    end(pids, all);
    bench_unpin();
    c->channel->close();
    return seconds * (double)n;
}

/* ---------------------------------------------------------------- tables */

static void compare(unsigned producers, unsigned consumers, size_t size, bool one_cpu) {
    static const struct channel *const channels[] = {&channel_mproc,    &channel_mq,
                                                     &channel_datagram, &channel_zmq_mesh,
                                                     &channel_nng_mesh, &channel_boost};
    struct crowd crowds[6];
    struct bench_contender contenders[6];
    char title[96];
    for (size_t i = 0; i < 6; i++) {
        crowds[i] = (struct crowd){channels[i], size, producers, consumers, one_cpu};
        contenders[i] = (struct bench_contender){channels[i]->name, run, &crowds[i], i == 0};
    }
    snprintf(title, sizeof title, "%s, %u to %u, %s", size < LARGE ? "16 B" : "64 KiB", producers,
             consumers, one_cpu ? "one CPU" : "all CPUs");
    struct bench_table table = {title,
                                size < LARGE ? "M msg/s" : "GB/s",
                                size < LARGE ? 1e-6 : (double)LARGE * 1e-9,
                                true,
                                contenders,
                                6,
                                {0.95, 0},
                                true};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        bench_die("mmap");
    }
    bench_heading("crowd: a queue with more producers and consumers than CPUs");
    compare(1, 2, 16, true);
    compare(2, 2, 16, true);
    compare(4, 4, 16, true);
    compare(8, 8, 16, true);
    compare(4, 4, 16, false);
    compare(4, 4, LARGE, true);
    compare(4, 4, LARGE, false);
    return 0;
}
