/*
 * map_and_timer.c - a map in a program with a periodic timer goes on
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "answers.h"
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#define ITEMS 40

static volatile sig_atomic_t ticks;

static void tick(int number) {
    (void)number;
    ticks++;
}

static int square(const void *in, void *out, void *context) {
    const struct timespec work = {0, 10000000};
    (void)context;
    (void)nanosleep(&work, NULL);
    *(int *)out = *(const int *)in * *(const int *)in;
    return 0;
}

int main(int argc, char **argv) {
    const struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    const struct itimerval every = {{0, 5000}, {0, 5000}};
    int in[ITEMS], out[ITEMS];
    mproc_pool_options options = {.workers = 2};
    mproc_pool *pool;
    if (mproc_init(argc, argv) != 0 || mproc_pool_new(&pool, &options) != 0) {
        return 1;
    }
    for (int i = 0; i < ITEMS; i++) {
        in[i] = i;
    }
    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &every, NULL);
    answer_code("map", mproc_pool_map(pool, square, in, sizeof *in, out, sizeof *out, ITEMS, NULL));
    answer_number("last result", out[ITEMS - 1]);
    answer("handlers ran meanwhile", ticks > 0 ? "yes" : "no");
    mproc_pool_drop(pool);
    return 0;
}
