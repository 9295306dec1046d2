/*
 * starts.c - what a start takes: programs, functions, large arguments, and many workers at once
 *
 * SPDX-License-Identifier: MIT
 */
#include "answers.h"
#include <stdlib.h>

#define LARGE ((size_t)50 << 20)
#define WORKERS 300

static int end_with_seven(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 7;
}

static int look_at_large(void *arg, size_t size) {
    return size == LARGE && ((char *)arg)[0] == 1 && ((char *)arg)[LARGE - 1] == 2 ? 0 : 1;
}

static int end_when_told(void *arg, size_t size) {
    (void)size;
    return mproc_event_wait(arg, MPROC_FOREVER);
}

static int next(const void *in, void *out, void *context) {
    (void)context;
    *(int *)out = *(const int *)in + 1;
    return 0;
}

static void start(const char *question, mproc_main_fn fn, void *arg, size_t size,
                  const mproc_process_options *options) {
    mproc_process *process;
    int r = mproc_process_start(&process, fn, arg, size, options);
    answer_code(question, r);
    if (r == 0) {
        answer_number("exit code", ended(process));
    }
}

/* A program is named by its path: PATH is not searched. Beside a program a function is not called.
 */
static void start_programs(void) {
    mproc_process_options options = {.method = MPROC_SPAWN,
                                     .argv = (const char *const[]){"sh", "-c", "exit 43", NULL}};
    start("a program without its path", NULL, NULL, 0, &options);
    options.argv = (const char *const[]){"/bin/sh", "-c", "exit 43", NULL};
    start("a function and a program", end_with_seven, NULL, 0, &options);
}

static void start_with_large(void) {
    char *large = calloc(1, LARGE);
    if (large == NULL) {
        return;
    }
    large[0] = 1;
    large[LARGE - 1] = 2;
    EACH_METHOD(method) {
        mproc_process_options options = {.method = method};
        start("50 MiB of arguments", look_at_large, large, LARGE, &options);
    }
    free(large);
}

static void look_at_running(void) {
    mproc_event *event;
    mproc_process *process;
    int code;
    if (mproc_event_new(&event) != 0 ||
        mproc_process_start(&process, end_when_told, event, 0, NULL) != 0) {
        return;
    }
    answer_code("exit code of one that runs", mproc_process_exitcode(process, &code));
    answer_code("drop of one that runs", mproc_process_drop(process));
    mproc_event_set(event);
    answer_number("exit code", ended(process));
    mproc_drop(event);
}

static void start_pool(void) {
    const mproc_pool_options options = {.workers = WORKERS};
    mproc_pool *pool;
    int in[3] = {1, 2, 3}, out[3] = {0};
    int r = mproc_pool_new(&pool, &options);
    answer_code("a pool of 300", r);
    if (r == 0) {
        answer_code("map", mproc_pool_map(pool, next, in, sizeof *in, out, sizeof *out, 3, NULL));
        answer_number("the last result", out[2]);
        mproc_pool_drop(pool);
    }
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        return 1;
    }
    start_programs();
    start_with_large();
    look_at_running();
    start_pool();
    return 0;
}
