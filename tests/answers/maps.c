/*
 * maps.c - what a map says of an item that fails, of workers that are killed, of two arrays in one
 *
 * SPDX-License-Identifier: MIT
 */
#include "answers.h"
#include <signal.h>

#define ITEMS 10

static int next(const void *in, void *out, void *context) {
    (void)context;
    *(int *)out = *(const int *)in + 1;
    return 0;
}

static int refuse_five(const void *in, void *out, void *context) {
    (void)out;
    (void)context;
    return *(const int *)in == 5 ? -7 : 0;
}

int main(int argc, char **argv) {
    int in[ITEMS], out[ITEMS];
    mproc_pool_options options = {.workers = 2}, too_many = {.workers = 100000};
    mproc_task_error error = {0};
    mproc_map_options how = {.chunk = 3, .error = &error};
    mproc_pool *pool, *none;
    pid_t workers[2];
    if (mproc_init(argc, argv) != 0 || mproc_pool_new(&pool, &options) != 0) {
        return 1;
    }
    for (int i = 0; i < ITEMS; i++) {
        in[i] = i;
    }
    answer_code("a pool of 100000", mproc_pool_new(&none, &too_many));
    answer_number("item 5 gives -7",
                  mproc_pool_map(pool, refuse_five, in, sizeof *in, out, sizeof *out, ITEMS, &how));
    answer_number("the item that failed", (long long)error.task);
    answer_code("in place",
                mproc_pool_map(pool, next, in, sizeof *in, in, sizeof *in, ITEMS, NULL));
    answer_number("the last item", in[ITEMS - 1]);
    size_t n = mproc_pool_workers(pool, workers, 2);
    for (size_t i = 0; i < n; i++) {
        (void)kill(workers[i], SIGKILL);
    }
    answer_code("after idle workers were killed",
                mproc_pool_map(pool, next, in, sizeof *in, out, sizeof *out, ITEMS, NULL));
    mproc_pool_drop(pool);
    return 0;
}
