/*
 * stubborn.c - a pool whose tasks kill their workers or never end, with timeouts and retries
 *
 * SPDX-License-Identifier: MIT
 *
 * Some errands go wrong at the first try, and two at each. A worker that dies, or takes too long,
 * costs its errand a try, and no other errand anything.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mproc.h"

#define ERRANDS 12
#define RETRIES 2
#define TIMEOUT (2 * MPROC_SEC)

enum { DEADLY = 3, ENDLESS = 7 }; /* the errands that go wrong at each try */

struct errand {
    int *tries; /* of each errand, in the arena */
    int number;
};

static void must(int code) {
    if (code != 0) {
        fprintf(stderr, "stubborn: %s\n", mproc_strerror(code));
        exit(1);
    }
}

static void never_return(void) {
    for (;;) {
        pause();
    }
}

/* In a worker. Only one at a time has the errand. */
static int run(const void *in, size_t size, mproc_result *result) {
    const struct errand *errand = in;
    int number = errand->number, try = ++errand->tries[number], answer = number * number;
    (void)size;
    if (number == DEADLY || (number % 4 == 1 && try == 1)) {
        raise(SIGKILL);
    }
    if (number == ENDLESS || (number % 4 == 2 && try == 1)) {
        never_return();
    }
    return mproc_result_write(result, &answer, sizeof answer);
}

static void report(mproc_task *task, const struct errand *errand) {
    const void *answer;
    size_t size;
    mproc_task_error error;
    must(mproc_task_wait(task, MPROC_FOREVER));
    mproc_task_failure(task, &error);
    printf("errand %d: ", errand->number);
    switch (error.code) {
    case 0:
        must(mproc_task_result(task, &answer, &size));
        printf("%d", *(const int *)answer);
        break;
    case -ETIMEDOUT: printf("it took too long"); break;
    case MPROC_EDIED: printf("its worker died of signal %d", -error.exitcode); break;
    default: must(error.code);
    }
    printf(" (tries: %d)\n", errand->tries[errand->number]);
    mproc_task_drop(task);
}

int main(int argc, char **argv) {
    mproc_pool *pool;
    mproc_task *tasks[ERRANDS];
    struct errand errands[ERRANDS];
    mproc_task_options options = {.timeout = TIMEOUT, .retries = RETRIES, .pause = MPROC_MSEC};
    must(mproc_init(argc, argv));
    int *tries = mproc_calloc(ERRANDS, sizeof *tries);
    if (tries == NULL) {
        must(-ENOMEM);
    }
    must(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 4}));
    for (int i = 0; i < ERRANDS; i++) {
        errands[i] = (struct errand){tries, i};
        must(mproc_pool_submit(pool, run, &errands[i], sizeof errands[i], &options, &tasks[i]));
    }
    for (int i = 0; i < ERRANDS; i++) {
        report(tasks[i], &errands[i]);
    }
    mproc_pool_drop(pool);
    mproc_free(tries);
    return 0;
}
