/*
 * pools.h - what the tests of pools share
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef POOLS_H
#define POOLS_H

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system/atomic.h"
#include "test.h"

/* Not every test program uses all of them. */
#define POOLS_FN __attribute__((unused)) static

POOLS_FN mproc_pool *pool_with(const mproc_pool_options *options) {
    mproc_pool *pool = NULL;
    CHECK_OK(mproc_pool_new(&pool, options));
    return pool;
}

POOLS_FN mproc_pool *pool_of(mproc_method method, unsigned workers) {
    return pool_with(&(mproc_pool_options){.workers = workers, .method = method});
}

POOLS_FN void check(mproc_pool *pool) {
    char why[256] = "";
    int r = mproc_pool_check(pool, why, sizeof why);
    CHECK_STR(why, "");
    CHECK_OK(r);
}

POOLS_FN void finish(mproc_pool *pool) {
    check(pool);
    mproc_pool_drop(pool);
}

POOLS_FN mproc_task *submit_with(mproc_pool *pool, mproc_task_fn fn, const void *in, size_t size,
                                 const mproc_task_options *options) {
    mproc_task *task = NULL;
    CHECK_OK(mproc_pool_submit(pool, fn, in, size, options, &task));
    return task;
}

POOLS_FN mproc_task *submit(mproc_pool *pool, mproc_task_fn fn, const void *in, size_t size) {
    return submit_with(pool, fn, in, size, NULL);
}

/* Waits for the task and drops it; its failure, code 0 for none. */
POOLS_FN mproc_task_error outcome(mproc_task *task) {
    mproc_task_error error;
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    mproc_task_failure(task, &error);
    mproc_task_drop(task);
    return error;
}

POOLS_FN long long number(mproc_task *task) {
    const void *data;
    size_t size;
    long long value;
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    CHECK_OK(mproc_task_result(task, &data, &size));
    CHECK_EQ(size, sizeof value);
    memcpy(&value, data, sizeof value);
    mproc_task_drop(task);
    return value;
}

/* Whether or not there is anything. */
POOLS_FN void collect(mproc_pool *pool, int64_t timeout) {
    int r = mproc_pool_collect(pool, timeout);
    CHECK(r == 0 || r == -ETIMEDOUT);
}

/* A word in the arena that processes set and await. */
POOLS_FN void await_word(uint32_t *word, uint32_t at_least) {
    while (mproc__load32(word) < at_least) {
        usleep(500);
    }
}

POOLS_FN uint32_t *word_new(void) {
    uint32_t *word = mproc_calloc(1, sizeof *word);
    CHECK(word != NULL);
    return word;
}

/* ---------------------------------------------------------------- functions of tasks */

POOLS_FN int square(const void *in, size_t size, mproc_result *result) {
    long long value;
    CHECK_EQ(size, sizeof value);
    memcpy(&value, in, sizeof value);
    value *= value;
    return mproc_result_write(result, &value, sizeof value);
}

POOLS_FN int echo(const void *in, size_t size, mproc_result *result) {
    CHECK_EQ((uintptr_t)in % 16, 0);
    return mproc_result_write(result, in, size);
}

POOLS_FN int my_pid(const void *in, size_t size, mproc_result *result) {
    long long pid = getpid();
    (void)in, (void)size;
    return mproc_result_write(result, &pid, sizeof pid);
}

POOLS_FN int die_by(const void *in, size_t size, mproc_result *result) {
    int number;
    (void)size, (void)result;
    memcpy(&number, in, sizeof number);
    if (number >= 0) {
        _exit(number);
    }
    raise(-number);
    return 0;
}

struct gate {
    uint32_t entered; /* tasks that have begun */
    uint32_t opened;
};

/* Begins, says so, and goes on when the gate is opened. */
POOLS_FN int pass_gate(const void *in, size_t size, mproc_result *result) {
    struct gate *gate;
    (void)result;
    CHECK_EQ(size, sizeof gate);
    memcpy(&gate, in, sizeof gate);
    mproc__add32(&gate->entered, 1);
    await_word(&gate->opened, 1);
    return 0;
}

POOLS_FN struct gate *gate_new(void) {
    struct gate *gate = mproc_calloc(1, sizeof *gate);
    CHECK(gate != NULL);
    return gate;
}

#endif
