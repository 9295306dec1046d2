/*
 * test_pool.c - pools: tasks, maps, deaths, ends, over all start methods
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "deny.h"
#include "methods.h"
#include "pools.h"
#include "process/process.h"
#include "system/atomic.h"
#include "system/os.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- functions of tasks and items */

static int fail_with(const void *in, size_t size, mproc_result *result) {
    int code;
    (void)result;
    CHECK_EQ(size, sizeof code);
    memcpy(&code, in, sizeof code);
    return code;
}

static int double_it(const void *in, void *out, void *context) {
    double value;
    (void)context;
    memcpy(&value, in, sizeof value);
    value = 2 * value + 1;
    memcpy(out, &value, sizeof value);
    return 0;
}

static int count_calls(const void *in, void *out, void *context) {
    (void)in, (void)out;
    mproc__add32(context, 1);
    return 0;
}

static int fail_at(const void *in, void *out, void *context) {
    int value;
    (void)out, (void)context;
    memcpy(&value, in, sizeof value);
    return value % 1000 == 777 ? -value : 0;
}

static int kill_at(const void *in, void *out, void *context) {
    int value;
    (void)out, (void)context;
    memcpy(&value, in, sizeof value);
    if (value == 555) {
        raise(SIGKILL);
    }
    return 0;
}

/* ---------------------------------------------------------------- tasks */

TEST_METHODS(pool_submits) {
    mproc_pool *pool = pool_of(method, 2);
    mproc_task *tasks[100];
    for (long long i = 0; i < 100; i++) {
        tasks[i] = submit(pool, square, &i, sizeof i);
    }
    for (long long i = 99; i >= 0; i--) {
        CHECK_EQ(number(tasks[i]), i * i);
    }
    finish(pool);
}

TEST_METHODS(pool_carries_any_size) {
    static const size_t sizes[] = {0, 1, 100, 8100, 8192, 9000, 70000, 3000000};
    mproc_pool *pool = pool_of(method, 2);
    char *bytes = malloc(sizes[7]);
    for (size_t i = 0; i < sizes[7]; i++) {
        bytes[i] = (char)(i * 31 + i / 256);
    }
    for (int i = 0; i < 8; i++) {
        mproc_task *task = submit(pool, echo, bytes, sizes[i]);
        const void *data;
        size_t size;
        CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
        CHECK_OK(mproc_task_result(task, &data, &size));
        CHECK_EQ(size, sizes[i]);
        CHECK_EQ((uintptr_t)data % 16, 0);
        CHECK_MEM(data, bytes, size);
        mproc_task_drop(task);
    }
    free(bytes);
    finish(pool);
}

TEST_METHODS(pool_task_fails_with_its_code) {
    mproc_pool *pool = pool_of(method, 1);
    const void *data = pool;
    size_t size = 77;
    int code = -ENOTDIR;
    mproc_task *first = submit(pool, fail_with, &(int){0}, sizeof code);
    mproc_task *second = submit(pool, fail_with, &code, sizeof code);
    mproc_task_error error;
    pid_t pid;
    CHECK_EQ(mproc_pool_workers(pool, &pid, 1), 1);
    CHECK_OK(outcome(first).code);
    CHECK_OK(mproc_task_wait(second, MPROC_FOREVER));
    CHECK_EQ(mproc_task_result(second, &data, &size), -ENOTDIR);
    CHECK(data == pool && size == 77);
    mproc_task_failure(second, &error);
    CHECK_EQ(error.code, -ENOTDIR);
    CHECK_EQ(error.task, 1);
    CHECK_EQ(error.pid, pid);
    CHECK_EQ(error.exitcode, 0);
    mproc_task_drop(second);
    CHECK_EQ(outcome(submit(pool, fail_with, &(int){4711}, sizeof code)).code, 4711);
    finish(pool);
}

TEST(pool_refuses_bad_calls) {
    mproc_pool *pool = NULL;
    mproc_task *task = NULL;
    int here = 0;
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 65536}), -EINVAL);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.method = (mproc_method)4}), -EINVAL);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.init_arg = &here}), -EINVAL);
    CHECK(pool == NULL);
    pool = pool_of(MPROC_FORK, 1);
    CHECK_EQ(mproc_pool_submit(pool, NULL, NULL, 0, NULL, &task), -EINVAL);
    CHECK_EQ(mproc_pool_submit(pool, echo, NULL, 1, NULL, &task), -EINVAL);
    CHECK_EQ(mproc_pool_submit(pool, (mproc_task_fn)(uintptr_t)16, NULL, 0, NULL, &task),
             MPROC_EFUNCTION);
    CHECK(task == NULL);
    CHECK_EQ(mproc_pool_map(pool, NULL, NULL, 0, NULL, 0, 1, NULL), -EINVAL);
    CHECK_EQ(mproc_pool_map(pool, fail_at, NULL, 4, NULL, 0, 1, NULL), -EINVAL);
    CHECK_EQ(mproc_pool_map(pool, fail_at, &here, SIZE_MAX / 2, NULL, 0, 3, NULL), -EINVAL);
    mproc_map_options options = {.context = &here};
    CHECK_EQ(mproc_pool_map(pool, fail_at, &here, 4, NULL, 0, 1, &options), -EINVAL);
    CHECK_EQ(mproc_pool_join(pool, 0), -EBUSY);
    mproc_task_drop(NULL);
    mproc_pool_drop(NULL);
    finish(pool);
}

TEST(pool_defaults) {
    mproc_pool *pool = NULL;
    CHECK_OK(mproc_pool_new(&pool, NULL));
    size_t n = mproc_pool_workers(pool, NULL, 0); /* or fewer: test_group.c */
    CHECK(n >= 1 && n <= (size_t)sysconf(_SC_NPROCESSORS_ONLN));
    long long six = 6;
    CHECK_EQ(number(submit(pool, square, &six, sizeof six)), 36);
    finish(pool);
}

TEST(pool_wait_times_out) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task *task = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task_error error;
    CHECK_EQ(mproc_task_wait(task, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_task_wait(task, 3 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_task_result(task, NULL, NULL), -EAGAIN);
    mproc_task_failure(task, &error);
    CHECK_EQ(error.code, -EAGAIN);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(task).code);
    mproc_free(gate);
    finish(pool);
}

TEST(pool_tries_see_the_result) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    long long three = 3;
    mproc_task *task = submit(pool, square, &three, sizeof three);
    while (mproc_task_wait(task, 0) == -ETIMEDOUT) {
        usleep(100);
    }
    CHECK_EQ(number(task), 9);
    finish(pool);
}

TEST(pool_tries_see_a_death) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    mproc_task *task = submit(pool, die_by, &(int){7}, sizeof(int));
    while (mproc_task_wait(task, 0) == -ETIMEDOUT) {
        usleep(100);
    }
    CHECK_EQ(outcome(task).exitcode, 7);
    finish(pool);
}

TEST(pool_results_outlive_it) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    char *big = calloc(1, 20000);
    mproc_task *small = submit(pool, echo, "abc", 3), *large = submit(pool, echo, big, 20000);
    const void *data;
    size_t size;
    CHECK_OK(mproc_task_wait(small, MPROC_FOREVER));
    CHECK_OK(mproc_task_wait(large, MPROC_FOREVER));
    finish(pool);
    CHECK_OK(mproc_task_result(small, &data, &size));
    CHECK_MEM(data, "abc", 3);
    CHECK_OK(mproc_task_result(large, &data, &size));
    CHECK_MEM(data, big, 20000);
    mproc_task_drop(small);
    mproc_task_drop(large);
    free(big);
}

TEST(pool_forgets_dropped_tasks) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    uint32_t *calls = mproc_calloc(1, sizeof *calls);
    struct gate *gate = gate_new();
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    mproc_task *waiting = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task_drop(running);
    mproc_task_drop(waiting);
    mproc__store32(&gate->opened, 1);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(gate->entered, 2); /* a dropped task is done all the same */
    mproc_free(gate);
    mproc_free(calls);
    finish(pool);
}

/* ---------------------------------------------------------------- cancelling */

TEST_METHODS(pool_cancels_what_is_not_started) {
    mproc_pool *pool = pool_of(method, 1);
    struct gate *gate = gate_new();
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    mproc_task *waiting = submit(pool, pass_gate, &gate, sizeof gate);
    CHECK_EQ(mproc_task_cancel(running), -EBUSY);
    CHECK_OK(mproc_task_cancel(waiting));
    CHECK_EQ(mproc_task_cancel(waiting), -EBUSY); /* done is done */
    mproc_task_error error = outcome(waiting);
    CHECK_EQ(error.code, -ECANCELED);
    CHECK_EQ(error.task, 1);
    CHECK_EQ(error.pid, 0);
    check(pool);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(running).code);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(gate->entered, 1);
    mproc_free(gate);
    finish(pool);
}

/* ---------------------------------------------------------------- deaths */

TEST_METHODS(pool_names_who_died_with_a_task) {
    mproc_pool *pool = pool_of(method, 2);
    long long four = 4;
    static const int ways[] = {3, 0, -SIGKILL, -SIGTERM};
    for (uint64_t i = 0; i < 4; i++) {
        mproc_task_error error = outcome(submit(pool, die_by, &ways[i], sizeof ways[i]));
        CHECK_EQ(error.code, MPROC_EDIED);
        CHECK_EQ(error.task, 2 * i);
        CHECK_EQ(error.exitcode, ways[i]);
        CHECK_GT(error.pid, 0);
        CHECK_EQ(number(submit(pool, square, &four, sizeof four)), 16);
    }
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 2);
    finish(pool);
}

TEST_METHODS(pool_killed_running_worker_fails_its_task_alone) { /* R1 */
    mproc_pool *pool = pool_of(method, 2);
    struct gate *gate = gate_new();
    mproc_task *a = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task *b = submit(pool, pass_gate, &gate, sizeof gate);
    pid_t pids[2];
    await_word(&gate->entered, 2);
    CHECK_EQ(mproc_pool_workers(pool, pids, 2), 2);
    CHECK_OK(kill(pids[0], SIGKILL));
    mproc_task *c = submit(pool, pass_gate, &gate, sizeof gate);
    mproc__store32(&gate->opened, 1);
    mproc_task_error of_a = outcome(a), of_b = outcome(b);
    CHECK_EQ((of_a.code == MPROC_EDIED) + (of_b.code == MPROC_EDIED), 1);
    CHECK_EQ((of_a.code == 0) + (of_b.code == 0), 1);
    mproc_task_error dead = of_a.code != 0 ? of_a : of_b;
    CHECK_EQ(dead.pid, pids[0]);
    CHECK_EQ(dead.exitcode, -SIGKILL);
    CHECK_OK(outcome(c).code);
    mproc_free(gate);
    finish(pool);
}

static void await_idle(mproc_pool *pool, struct gate *gate, unsigned workers) {
    mproc_task *tasks[8];
    for (unsigned i = 0; i < workers; i++) {
        tasks[i] = submit(pool, pass_gate, &gate, sizeof gate);
    }
    await_word(&gate->entered, workers); /* each has one: they are all there */
    mproc__store32(&gate->opened, 1);
    for (unsigned i = 0; i < workers; i++) {
        CHECK_OK(outcome(tasks[i]).code);
    }
}

TEST_METHODS(pool_survives_the_death_of_all_idle_workers) { /* R1b */
    for (int round = 0; round < 3; round++) {
        mproc_pool *pool = pool_of(method, 2);
        struct gate *gate = gate_new();
        pid_t pids[2], after[2];
        long long five = 5;
        await_idle(pool, gate, 2);
        CHECK_EQ(mproc_pool_workers(pool, pids, 2), 2);
        CHECK_OK(kill(pids[0], SIGKILL));
        CHECK_OK(kill(pids[1], SIGKILL));
        size_t n;
        do { /* both are replaced, as soon as the kernel has ended them */
            CHECK_EQ(number(submit(pool, square, &five, sizeof five)), 25);
            n = mproc_pool_workers(pool, after, 2);
        } while (n < 2 || after[0] == pids[0] || after[1] == pids[1]);
        mproc_free(gate);
        finish(pool);
    }
}

/* A stupid, but always the same, sequence. */
static unsigned next_random(unsigned *state) {
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

TEST_METHODS(pool_random_kills) {
    enum { TASKS = 1000, WORKERS = 3 };
    mproc_pool *pool = pool_of(method, WORKERS);
    static mproc_task *tasks[TASKS];
    unsigned random = 42, failed = 0, kills = method == MPROC_SPAWN ? 20 : 60;
    for (long long i = 0; i < TASKS; i++) {
        tasks[i] = submit(pool, square, &i, sizeof i);
    }
    for (long long i = 0; i < TASKS; i++) {
        if (i % (TASKS / kills) == 0) {
            pid_t pids[WORKERS];
            size_t n = mproc_pool_workers(pool, pids, WORKERS);
            if (n > 0) {
                CHECK_OK(kill(pids[next_random(&random) % n], SIGKILL));
            }
        }
        CHECK_OK(mproc_task_wait(tasks[i], MPROC_FOREVER));
        mproc_task_error error;
        mproc_task_failure(tasks[i], &error);
        if (error.code == 0) {
            CHECK_EQ(number(tasks[i]), i * i);
            continue;
        }
        CHECK_EQ(error.code, MPROC_EDIED);
        CHECK_EQ(error.task, i);
        CHECK_EQ(error.exitcode, -SIGKILL);
        mproc_task_drop(tasks[i]);
        failed++;
    }
    CHECK_LE(failed, kills);
    finish(pool);
}

/* ---------------------------------------------------------------- workers' lives */

static int remember_init(void *arg) {
    mproc__add32(arg, 1);
    return 0;
}

TEST_METHODS(pool_runs_init_in_each_worker) {
    uint32_t *count = mproc_calloc(1, sizeof *count);
    mproc_pool_options options = {
        .workers = 2, .method = method, .init = remember_init, .init_arg = count, .max_tasks = 5};
    mproc_pool *pool = NULL;
    CHECK_OK(mproc_pool_new(&pool, &options));
    for (long long i = 0; i < 40; i++) {
        CHECK_EQ(number(submit(pool, square, &i, sizeof i)), i * i);
    }
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_GE(*count, 8);
    finish(pool);
    mproc_free(count);
}

static void remember_exit(void *arg) {
    mproc__add32(arg, 1);
}

/* The orderly ends: after max_tasks, at close; not the death. */
TEST_METHODS(pool_runs_exit_in_each_worker_that_ends) {
    uint32_t *count = word_new();
    mproc_pool_options options = {
        .workers = 1, .method = method, .exit = remember_exit, .exit_arg = count, .max_tasks = 3};
    mproc_pool *pool = pool_with(&options);
    for (long long i = 0; i < 7; i++) {
        CHECK_EQ(number(submit(pool, square, &i, sizeof i)), i * i);
    }
    CHECK_EQ(outcome(submit(pool, die_by, &(int){0}, sizeof(int))).exitcode, 0);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(*count, 3);
    finish(pool);
    mproc_free(count);
}

TEST_METHODS(pool_replaces_workers_after_max_tasks) {
    mproc_pool_options options = {.workers = 1, .method = method, .max_tasks = 2};
    mproc_pool *pool = NULL;
    long long pids[6];
    CHECK_OK(mproc_pool_new(&pool, &options));
    for (int i = 0; i < 6; i++) {
        pids[i] = number(submit(pool, my_pid, NULL, 0));
    }
    for (int i = 0; i < 6; i += 2) {
        CHECK_EQ(pids[i], pids[i + 1]);
        CHECK(i == 0 || pids[i] != pids[i - 1]);
    }
    finish(pool);
}

TEST(pool_max_tasks_while_closing) {
    mproc_pool_options options = {.workers = 2, .max_tasks = 1};
    mproc_pool *pool = NULL;
    mproc_task *tasks[20];
    CHECK_OK(mproc_pool_new(&pool, &options));
    for (long long i = 0; i < 20; i++) {
        tasks[i] = submit(pool, square, &i, sizeof i);
    }
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    for (long long i = 0; i < 20; i++) {
        CHECK_EQ(number(tasks[i]), i * i);
    }
    finish(pool);
}

static int fail_init(void *arg) {
    mproc__add32(arg, 1);
    return 9;
}

TEST_METHODS(pool_breaks_when_init_always_fails) {
    uint32_t *count = mproc_calloc(1, sizeof *count);
    mproc_pool_options options = {
        .workers = 2, .method = method, .init = fail_init, .init_arg = count};
    mproc_pool *pool = NULL;
    mproc_task *task = NULL;
    long long one = 1;
    CHECK_OK(mproc_pool_new(&pool, &options));
    mproc_task_error error = outcome(submit(pool, square, &one, sizeof one));
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.exitcode, 9);
    CHECK_GE(*count, 11); /* two seats, eight more, and the one that was too much */
    CHECK_LE(*count, 12); /* and perhaps the other one of its time */
    CHECK_EQ(mproc_pool_submit(pool, square, &one, sizeof one, NULL, &task), MPROC_EDIED);
    CHECK_EQ(mproc_pool_map(pool, fail_at, &one, 4, NULL, 0, 1, NULL), MPROC_EDIED);
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 0);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    finish(pool);
    mproc_free(count);
}

static int only_the_first(void *arg) {
    return mproc__add32(arg, 1) == 0 ? 0 : 9;
}

/* Others that never come to life do not hurt it, and are not started without end. */
TEST(pool_goes_on_with_whom_it_has) {
    uint32_t *count = mproc_calloc(1, sizeof *count);
    mproc_pool_options options = {.workers = 3, .init = only_the_first, .init_arg = count};
    mproc_pool *pool = NULL;
    long long six = 6, start = mproc__os_now();
    CHECK_OK(mproc_pool_new(&pool, &options));
    while (mproc__load32(count) < 12) {
        CHECK_EQ(number(submit(pool, square, &six, sizeof six)), 36);
    }
    for (int i = 0; i < 20000; i++) {
        CHECK_EQ(number(submit(pool, square, &six, sizeof six)), 36);
    }
    long long seconds = (mproc__os_now() - start) / MPROC_SEC;
    CHECK_LE(mproc__load32(count), 20 + seconds); /* some at first, then one a second */
    finish(pool);
    mproc_free(count);
}

TEST_METHODS(pool_workers_are_named) {
    mproc_pool_options options = {.workers = 2, .method = method, .name = "miller"};
    mproc_pool *pool = NULL;
    struct gate *gate = gate_new();
    mproc_member members[16];
    unsigned found = 0;
    CHECK_OK(mproc_pool_new(&pool, &options));
    await_idle(pool, gate, 2);
    size_t n = mproc_members(members, 16);
    for (size_t i = 0; i < n; i++) {
        found +=
            strcmp(members[i].name, "miller-1") == 0 || strcmp(members[i].name, "miller-2") == 0;
    }
    CHECK_EQ(found, 2);
    mproc_free(gate);
    finish(pool);
}

/* ---------------------------------------------------------------- shortage */

/* In a process of its own: what is denied there is denied for good. */
static void in_child(void (*run)(void)) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        run();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED) {
        test_skip("as its process said");
    }
    CHECK_EQ(status, 0);
    mproc_reap();
}

static void of_processes_that_cannot_be_made(void) {
    mproc_pool *pool = NULL;
    deny_clone(EAGAIN);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 2}), -EAGAIN);
    CHECK(pool == NULL);
}

TEST(pool_of_processes_that_cannot_be_made) {
    in_child(of_processes_that_cannot_be_made);
}

/* Some workers are there already when the descriptors run out: they are ended. */
TEST(pool_of_more_workers_than_descriptors) {
    mproc_pool *pool = NULL;
    struct rlimit before, few;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
    int next = dup(0);
    close(next);
    few = (struct rlimit){(rlim_t)next + 3, before.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 8}), -EMFILE);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
    CHECK(pool == NULL);
}

static void goes_on_with_fewer_workers(void) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    struct gate *gate = gate_new();
    pid_t pids[2];
    await_idle(pool, gate, 2);
    CHECK_EQ(mproc_pool_workers(pool, pids, 2), 2);
    deny_clone(EAGAIN);
    CHECK_OK(kill(pids[0], SIGKILL));
    for (long long i = 0; i < 100 || mproc_pool_workers(pool, NULL, 0) > 1; i++) {
        CHECK_EQ(number(submit(pool, square, &i, sizeof i)), i * i);
    }
    CHECK_EQ(mproc_pool_workers(pool, pids, 2), 1);
    mproc_free(gate);
    finish(pool);
}

TEST(pool_goes_on_with_fewer_workers) {
    in_child(goes_on_with_fewer_workers);
}

static void breaks_when_no_worker_can_be_made(void) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task *late = NULL;
    pid_t pid;
    await_idle(pool, gate, 1);
    CHECK_EQ(mproc_pool_workers(pool, &pid, 1), 1);
    mproc_task *a = submit(pool, die_by, &(int){2}, sizeof(int));
    mproc_task *b = submit(pool, my_pid, NULL, 0);
    deny_clone(EAGAIN);
    CHECK_EQ(outcome(a).exitcode, 2);
    CHECK_EQ(outcome(b).code, -EAGAIN);
    CHECK_EQ(mproc_pool_submit(pool, my_pid, NULL, 0, NULL, &late), -EAGAIN);
    mproc_free(gate);
    finish(pool);
}

TEST(pool_breaks_when_no_worker_can_be_made) {
    in_child(breaks_when_no_worker_can_be_made);
}

#define SMALL_ARENA ((size_t)8 << 20)

static int big_result(const void *in, size_t size, mproc_result *result) {
    size_t wanted;
    CHECK_EQ(size, sizeof wanted);
    memcpy(&wanted, in, sizeof wanted);
    void *room = mproc_result_room(result, wanted);
    CHECK(room != NULL);
    memset(room, 1, wanted);
    return 0;
}

TEST_BARE(pool_in_a_full_arena) {
    static char name[] = "test", *argv[] = {name, NULL};
    mproc_arena_stats before, after;
    mproc_task *task = NULL;
    mproc_task_error error = {0};
    long long nine = 9;
    setenv("MPROC_ARENA_LIMIT", "8388608", 1);
    CHECK_OK(mproc_init(1, argv));
    mproc_arena_stat(&before);
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    char *big = calloc(2, SMALL_ARENA);
    void *half = mproc_alloc(SMALL_ARENA / 2);
    CHECK(half != NULL);
    CHECK_EQ(mproc_pool_submit(pool, echo, big, SMALL_ARENA / 4 * 3, NULL, &task), -ENOMEM);
    CHECK_EQ(mproc_pool_submit(pool, echo, big, (size_t)1 << 40, NULL, &task), MPROC_ETOOBIG);
    CHECK(task == NULL);
    mproc_map_options options = {.error = &error};
    CHECK_EQ(mproc_pool_map(pool, fail_at, big, 4, big, 4, SMALL_ARENA / 4, &options), -ENOMEM);
    CHECK_EQ(error.code, -ENOMEM);
    size_t three_quarters = SMALL_ARENA / 4 * 3, twice = 2 * SMALL_ARENA;
    CHECK_EQ(outcome(submit(pool, big_result, &three_quarters, sizeof twice)).code, -ENOMEM);
    CHECK_EQ(outcome(submit(pool, big_result, &twice, sizeof twice)).code, MPROC_ETOOBIG);
    mproc_free(half);
    CHECK_EQ(number(submit(pool, square, &nine, sizeof nine)), 81);
    finish(pool);
    free(big);
    mproc_arena_stat(&after);
    CHECK_EQ(after.used, before.used);
    CHECK_EQ(after.blocks, before.blocks);
}

static int refuse(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return -EMSGSIZE;
}

/* Orders until there is no memory: those that were taken are done, the others were refused. */
TEST_BARE(pool_fills_the_arena_with_tasks) {
    static char name[] = "test", *argv[] = {name, NULL};
    enum { MOST = 100000 };
    static mproc_task *tasks[MOST];
    char bytes[4096] = {0};
    int n = 0, r = 0;
    setenv("MPROC_ARENA_LIMIT", "8388608", 1);
    CHECK_OK(mproc_init(1, argv));
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task *first = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    while (r == 0) {
        CHECK_LT(n, MOST);
        r = mproc_pool_submit(pool, refuse, bytes, sizeof bytes, NULL, &tasks[n]);
        n += r == 0;
    }
    CHECK_EQ(r, -ENOMEM);
    CHECK_GT(n, 100);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(first).code);
    for (int i = 0; i < n; i++) {
        CHECK_EQ(outcome(tasks[i]).code, -EMSGSIZE);
    }
    mproc_free(gate);
    finish(pool);
}

/* ---------------------------------------------------------------- the end */

TEST_METHODS(pool_close_and_join_drain) {
    mproc_pool *pool = pool_of(method, 2);
    mproc_task *tasks[50], *late = NULL;
    long long value = 2;
    for (long long i = 0; i < 50; i++) {
        tasks[i] = submit(pool, square, &i, sizeof i);
    }
    mproc_pool_close(pool);
    mproc_pool_close(pool);
    CHECK_EQ(mproc_pool_submit(pool, square, &value, sizeof value, NULL, &late), MPROC_ECLOSED);
    CHECK_EQ(mproc_pool_map(pool, fail_at, &value, 4, NULL, 0, 1, NULL), MPROC_ECLOSED);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 0);
    for (long long i = 0; i < 50; i++) {
        CHECK_OK(mproc_task_wait(tasks[i], 0));
        CHECK_EQ(number(tasks[i]), i * i);
    }
    CHECK_OK(mproc_pool_join(pool, 0));
    finish(pool);
}

TEST_METHODS(pool_terminate_cancels) {
    mproc_pool *pool = pool_of(method, 2);
    struct gate *gate = gate_new(); /* it stays shut */
    mproc_task *tasks[4], *late = NULL;
    for (int i = 0; i < 4; i++) {
        tasks[i] = submit(pool, pass_gate, &gate, sizeof gate);
    }
    await_word(&gate->entered, 2);
    mproc_pool_terminate(pool);
    mproc_pool_terminate(pool);
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 0);
    CHECK_EQ(mproc_pool_submit(pool, pass_gate, &gate, sizeof gate, NULL, &late), MPROC_ECLOSED);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(outcome(tasks[i]).code, -ECANCELED);
    }
    CHECK_OK(mproc_pool_join(pool, 0));
    mproc_free(gate);
    finish(pool);
}

TEST(pool_drop_with_running_tasks) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task *task = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    mproc_pool_drop(pool);
    CHECK_EQ(outcome(task).code, -ECANCELED);
    mproc_free(gate);
}

TEST(pool_join_times_out) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task *task = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_pool_close(pool);
    CHECK_EQ(mproc_pool_join(pool, 2 * MPROC_MSEC), -ETIMEDOUT);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_OK(outcome(task).code);
    mproc_free(gate);
    finish(pool);
}

/* R10: a descriptor a worker, and no thread (the harness looks for threads). A template is the
 * program's, not the pool's: the first pool has it started. */
TEST_METHODS(pool_descriptors) {
    finish(pool_of(method, 1));
    size_t before = test_open_fds();
    mproc_pool *pool = pool_of(method, 4);
    CHECK_EQ(test_open_fds(), before + 4);
    long long two = 2;
    CHECK_EQ(number(submit(pool, square, &two, sizeof two)), 4);
    CHECK_EQ(test_open_fds(), before + 4);
    finish(pool);
    CHECK_EQ(test_open_fds(), before);
}

TEST_METHODS(pool_many_pools) {
    for (int i = 0; i < (method == MPROC_SPAWN ? 5 : 30); i++) {
        mproc_pool *pool = pool_of(method, 2);
        long long seven = 7;
        size_t used = test_arena_used();
        CHECK_EQ(number(submit(pool, square, &seven, sizeof seven)), 49);
        CHECK_GT(used, 0);
        if (i % 2 == 0) {
            mproc_pool_close(pool);
            CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
        }
        finish(pool);
    }
}

/* R11: busy workers end with their owner. The harness waits for, and blames, those that do not. */
static int own_a_pool(void *arg, size_t size) {
    struct gate *gate = arg;
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    (void)size;
    mproc_task *a = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task *b = submit(pool, pass_gate, &gate, sizeof gate);
    CHECK_OK(mproc_task_wait(a, MPROC_FOREVER));
    CHECK_OK(mproc_task_wait(b, MPROC_FOREVER));
    return 0;
}

TEST_METHODS(pool_workers_end_with_their_owner) {
    struct gate *gate = gate_new();
    mproc_process *owner;
    mproc_process_options options = {.method = method};
    CHECK_OK(mproc_process_start(&owner, own_a_pool, gate, 0, &options));
    await_word(&gate->entered, 2);
    CHECK_OK(mproc_process_kill(owner));
    CHECK_OK(mproc_process_join(owner, MPROC_FOREVER));
    CHECK_OK(mproc_process_drop(owner));
    while (mproc_members(NULL, 0) > (method == MPROC_FORKSERVER ? 2 : 1)) {
        usleep(500);
    }
    mproc_reap();
    mproc_free(gate);
}

/* ---------------------------------------------------------------- map */

static void map_doubles(mproc_pool *pool, const double *in, double *out, size_t n, size_t chunk) {
    mproc_map_options options = {.chunk = chunk};
    CHECK_OK(mproc_pool_map(pool, double_it, in, sizeof *in, out, sizeof *out, n, &options));
    for (size_t i = 0; i < n; i++) {
        CHECK(out[i] == 2.0 * (double)i + 1);
    }
}

TEST_METHODS(pool_map) {
    static const size_t counts[] = {0, 1, 2, 7, 8, 9, 1000, 100000}, chunks[] = {0, 1, 3, 1 << 20};
    enum { MOST = 100000 };
    mproc_pool *pool = pool_of(method, 2);
    double *in = malloc(MOST * sizeof *in), *out = calloc(MOST, sizeof *out);
    double *shared_in = mproc_alloc(MOST * sizeof *in),
           *shared_out = mproc_alloc(MOST * sizeof *in);
    for (size_t i = 0; i < MOST; i++) {
        in[i] = shared_in[i] = (double)i;
    }
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < 4; j++) {
            if (counts[i] == MOST && chunks[j] == 1 && method != MPROC_FORK) {
                continue; /* a hundred thousand chunks: once is enough */
            }
            map_doubles(pool, in, out, counts[i], chunks[j]);
            map_doubles(pool, shared_in, shared_out, counts[i], chunks[j]);
            map_doubles(pool, shared_in, out, counts[i], chunks[j]);
            memset(out, 0, MOST * sizeof *out);
            memset(shared_out, 0, MOST * sizeof *out);
        }
    }
    map_doubles(pool, shared_in, shared_in, MOST, 0); /* in place */
    mproc_free(shared_in);
    mproc_free(shared_out);
    free(in);
    free(out);
    finish(pool);
}

TEST_METHODS(pool_map_context) {
    mproc_pool *pool = pool_of(method, 2);
    uint32_t *calls = mproc_calloc(1, sizeof *calls);
    mproc_map_options options = {.context = calls, .chunk = 10};
    CHECK_OK(mproc_pool_map(pool, count_calls, NULL, 0, NULL, 0, 1234, &options));
    CHECK_EQ(*calls, 1234);
    mproc_free(calls);
    finish(pool);
}

static int *numbers(int n) {
    int *all = malloc((size_t)n * sizeof *all);
    for (int i = 0; i < n; i++) {
        all[i] = i;
    }
    return all;
}

TEST_METHODS(pool_map_fails_with_the_items_code) {
    mproc_pool *pool = pool_of(method, 2);
    mproc_task_error error = {0};
    mproc_map_options options = {.chunk = 100, .error = &error};
    int *in = numbers(1000), out[1000];
    memset(out, 7, sizeof out);
    CHECK_EQ(mproc_pool_map(pool, fail_at, in, 4, out, 4, 1000, &options), -777);
    CHECK_EQ(error.code, -777);
    CHECK_EQ(error.task, 777);
    CHECK_GT(error.pid, 0);
    CHECK_EQ(error.exitcode, 0);
    CHECK_EQ(out[0], 0x07070707); /* outputs are written on success only */
    free(in);
    finish(pool);
}

TEST_METHODS(pool_map_survives_a_death) {
    mproc_pool *pool = pool_of(method, 2);
    mproc_task_error error = {0};
    mproc_map_options options = {.chunk = 50, .error = &error};
    int *in = numbers(1000);
    CHECK_EQ(mproc_pool_map(pool, kill_at, in, 4, NULL, 0, 1000, &options), MPROC_EDIED);
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.task, 555);
    CHECK_EQ(error.exitcode, -SIGKILL);
    CHECK_GT(error.pid, 0);
    CHECK_OK(mproc_pool_map(pool, kill_at, in, 4, NULL, 0, 500, &options));
    free(in);
    finish(pool);
}

struct seen {
    size_t calls, last, total;
};

static void see(size_t done, size_t total, void *arg) {
    struct seen *seen = arg;
    CHECK_GT(done, seen->last);
    CHECK_LE(done, total);
    seen->calls++;
    seen->last = done;
    seen->total = total;
}

TEST_METHODS(pool_map_progress) {
    mproc_pool *pool = pool_of(method, 2);
    struct seen seen = {0};
    mproc_map_options options = {.chunk = 7, .progress = see, .progress_arg = &seen};
    int *in = numbers(100);
    CHECK_OK(mproc_pool_map(pool, fail_at, in, 4, NULL, 0, 100, &options));
    CHECK_EQ(seen.last, 100);
    CHECK_EQ(seen.total, 100);
    CHECK(seen.calls >= 1 && seen.calls <= 15);
    free(in);
    finish(pool);
}

static void nothing(int number) {
    (void)number;
}

static void signal_owner(void) {
    for (int i = 0; i < 50; i++) {
        kill(getppid(), SIGUSR1);
        usleep(1000);
    }
}

/* The second item signals the owner again and again. */
static int interrupt_owner(const void *in, void *out, void *context) {
    (void)in, (void)out;
    if (mproc__add32(context, 1) == 1) {
        signal_owner();
    }
    return 0;
}

/* Each item does: a signal that the owner hears of when it does not wait ends no wait. */
static int interrupt_owner_always(const void *in, void *out, void *context) {
    (void)in, (void)out;
    mproc__add32(context, 1);
    signal_owner();
    return 0;
}

TEST_METHODS(pool_map_is_interrupted) {
    mproc_pool *pool = pool_of(method, 1);
    uint32_t *calls = mproc_calloc(1, sizeof *calls);
    mproc_task_error error = {0};
    mproc_map_options options = {
        .chunk = 1, .context = calls, .error = &error, .stop_on_signal = 1};
    uint32_t *others = mproc_calloc(1, sizeof *others);
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGUSR1, &action, NULL);
    CHECK_EQ(mproc_pool_map(pool, interrupt_owner_always, NULL, 0, NULL, 0, 5000, &options),
             -EINTR);
    CHECK_EQ(error.code, -EINTR);
    uint32_t seen = mproc__load32(calls);
    CHECK_LT(seen, 5000);
    check(pool);
    options = (mproc_map_options){.context = others};
    CHECK_OK(mproc_pool_map(pool, count_calls, NULL, 0, NULL, 0, 100, &options));
    CHECK_EQ(mproc__load32(calls), seen); /* nothing of it was left to run */
    mproc_free(others);
    mproc_free(calls);
    finish(pool);
}

/* A profiler's timer must not keep a map from its end. */
TEST_METHODS(pool_map_goes_on_behind_signals) {
    mproc_pool *pool = pool_of(method, 1);
    uint32_t *calls = mproc_calloc(1, sizeof *calls);
    mproc_map_options options = {.chunk = 1, .context = calls};
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGUSR1, &action, NULL);
    CHECK_OK(mproc_pool_map(pool, interrupt_owner, NULL, 0, NULL, 0, 500, &options));
    CHECK_EQ(mproc__load32(calls), 500);
    mproc_free(calls);
    finish(pool);
}

TEST(pool_wait_is_interrupted) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    struct sigaction action = {.sa_handler = nothing};
    mproc_task *task = submit(pool, pass_gate, &gate, sizeof gate);
    sigaction(SIGALRM, &action, NULL);
    ualarm(5000, 5000); /* again and again: the first may come before the wait */
    CHECK_EQ(mproc_task_wait(task, MPROC_FOREVER), -EINTR);
    ualarm(0, 0);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(task).code);
    mproc_free(gate);
    finish(pool);
}

/* ---------------------------------------------------------------- pools, forks and threads */

static int inner_pool(const void *in, size_t size, mproc_result *result) {
    mproc_method method;
    long long sum = 0;
    CHECK_EQ(size, sizeof method);
    memcpy(&method, in, sizeof method);
    mproc_pool *pool = pool_of(method, 2);
    for (long long i = 0; i < 10; i++) {
        sum += number(submit(pool, square, &i, sizeof i));
    }
    finish(pool);
    if (method == MPROC_FORKSERVER) {
        mproc__template_stop_default();
    }
    return mproc_result_write(result, &sum, sizeof sum);
}

TEST_METHODS(pool_inside_a_worker) {
    mproc_pool *pool = pool_of(method, 2);
    mproc_task *a = submit(pool, inner_pool, &method, sizeof method);
    mproc_task *b = submit(pool, inner_pool, &method, sizeof method);
    CHECK_EQ(number(a), 285);
    CHECK_EQ(number(b), 285);
    finish(pool);
}

static void use_as_stranger(mproc_pool *pool, mproc_task *task) {
    mproc_task *other = NULL;
    CHECK_EQ(mproc_pool_submit(pool, echo, NULL, 0, NULL, &other), MPROC_ESTRANGER);
    CHECK_EQ(mproc_pool_map(pool, fail_at, NULL, 0, NULL, 0, 1, NULL), MPROC_ESTRANGER);
    CHECK_EQ(mproc_pool_join(pool, 0), MPROC_ESTRANGER);
    CHECK_EQ(mproc_pool_check(pool, NULL, 0), MPROC_ESTRANGER);
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 0);
    CHECK_EQ(mproc_task_wait(task, 0), MPROC_ESTRANGER);
    CHECK_EQ(mproc_task_cancel(task), MPROC_ESTRANGER);
    mproc_task_drop(task);
    mproc_pool_close(pool);
    mproc_pool_terminate(pool);
    mproc_pool_drop(pool);
}

TEST_METHODS(pool_belongs_to_its_maker) {
    mproc_pool *pool = pool_of(method, 1);
    struct gate *gate = gate_new();
    mproc_task *task = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    pid_t pid = fork();
    if (pid == 0) {
        use_as_stranger(pool, task);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    mproc_reap();
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(task).code);
    mproc_free(gate);
    finish(pool);
}

struct client {
    mproc_pool *pool;
    long long from;
    pthread_t thread;
};

static void *submit_and_wait(void *arg) {
    struct client *c = arg;
    for (long long i = c->from; i < c->from + 200; i++) {
        CHECK_EQ(number(submit(c->pool, square, &i, sizeof i)), i * i);
    }
    return NULL;
}

static void *map_and_wait(void *arg) {
    struct client *c = arg;
    int *in = numbers(700);
    for (int i = 0; i < 20; i++) {
        mproc_map_options options = {.chunk = 5};
        CHECK_OK(mproc_pool_map(c->pool, fail_at, in, 4, NULL, 0, 700, &options));
    }
    free(in);
    return NULL;
}

TEST_METHODS(pool_threads_share_it) {
    struct client clients[4];
    mproc_pool *pool = pool_of(method, 2);
    for (int i = 0; i < 4; i++) {
        clients[i] = (struct client){pool, 1000LL * i, 0};
        CHECK_OK(pthread_create(&clients[i].thread, NULL, i < 3 ? submit_and_wait : map_and_wait,
                                &clients[i]));
    }
    for (int i = 0; i < 4; i++) {
        CHECK_OK(pthread_join(clients[i].thread, NULL));
    }
    finish(pool);
}

static void *wait_for_it(void *arg) {
    return (void *)(intptr_t)outcome(arg).code;
}

/* Waiters in other threads, the pumping one among them, hear of the end. */
TEST(pool_terminate_wakes_waiters) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    struct gate *gate = gate_new();
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        mproc_task *task = submit(pool, pass_gate, &gate, sizeof gate);
        CHECK_OK(pthread_create(&threads[i], NULL, wait_for_it, task));
    }
    await_word(&gate->entered, 2);
    mproc_pool_terminate(pool);
    for (int i = 0; i < 3; i++) {
        void *code;
        CHECK_OK(pthread_join(threads[i], &code));
        CHECK_EQ((intptr_t)code, -ECANCELED);
    }
    mproc_free(gate);
    finish(pool);
}

static void close_at_once(size_t done, size_t total, void *arg) {
    (void)done, (void)total;
    mproc_pool_close(arg);
}

/* A map that was begun before the pool was closed is finished, though most of it was not queued. */
TEST(pool_close_during_a_map) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    uint32_t *calls = mproc_calloc(1, sizeof *calls);
    mproc_map_options options = {
        .chunk = 1, .context = calls, .progress = close_at_once, .progress_arg = pool};
    CHECK_OK(mproc_pool_map(pool, count_calls, NULL, 0, NULL, 0, 5000, &options));
    CHECK_EQ(*calls, 5000);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    mproc_free(calls);
    finish(pool);
}

static void terminate_at_once(size_t done, size_t total, void *arg) {
    (void)done, (void)total;
    mproc_pool_terminate(arg);
}

TEST(pool_terminate_during_a_map) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    uint32_t *calls = mproc_calloc(1, sizeof *calls);
    mproc_map_options options = {
        .chunk = 1, .context = calls, .progress = terminate_at_once, .progress_arg = pool};
    int r = mproc_pool_map(pool, count_calls, NULL, 0, NULL, 0, 5000, &options);
    CHECK(r == -ECANCELED || r == MPROC_ECLOSED); /* with chunks out, or with none */
    CHECK_LT(*calls, 5000);
    mproc_free(calls);
    finish(pool);
}
