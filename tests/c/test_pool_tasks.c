/*
 * test_pool_tasks.c - a pool's tasks: results of any size, callbacks, sets, timeouts, kills,
 * further tries
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "methods.h"
#include "pools.h"
#include "process/process.h"
#include "system/os.h"
#include "test.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

/* ---------------------------------------------------------------- results */

/* Writes its number of bytes in pieces of 1, 2, 3, ... bytes. */
static int write_pieces(const void *in, size_t size, mproc_result *result) {
    static char piece[4096];
    size_t wanted, done = 0;
    CHECK_EQ(size, sizeof wanted);
    memcpy(&wanted, in, sizeof wanted);
    for (size_t i = 1; done < wanted; i++) {
        size_t n = i < wanted - done ? i : wanted - done;
        memset(piece, (int)i, n);
        CHECK_OK(mproc_result_write(result, piece, n));
        done += n;
    }
    return 0;
}

static void check_pieces(const char *data, size_t size) {
    size_t at = 0;
    for (size_t i = 1; at < size; i++) {
        for (size_t k = 0; k < i && at < size; k++, at++) {
            CHECK_EQ(data[at], (char)i);
        }
    }
}

TEST_METHODS(pool_results_have_any_size) {
    static const size_t sizes[] = {0, 1, 5, 255, 256, 257, 8000, 8192, 9000, 1000000, 3};
    mproc_pool *pool = pool_of(method, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        mproc_task *task = submit(pool, write_pieces, &sizes[i], sizeof sizes[i]);
        const void *data;
        size_t size;
        CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
        CHECK_OK(mproc_task_result(task, &data, &size));
        CHECK_EQ(size, sizes[i]);
        check_pieces(data, size);
        mproc_task_drop(task);
    }
    finish(pool);
}

/* A failure has no result, whatever was written. */
static int write_and_fail(const void *in, size_t size, mproc_result *result) {
    CHECK_OK(mproc_result_write(result, in, size));
    return 17;
}

static int ask_for_too_much(const void *in, size_t size, mproc_result *result) {
    long long one = 1;
    (void)in, (void)size;
    CHECK(mproc_result_room(result, SIZE_MAX) == NULL);
    CHECK(mproc_result_room(result, SIZE_MAX / 4) == NULL);
    CHECK_EQ(mproc_result_write(result, &one, SIZE_MAX), -ENOMEM);
    return mproc_result_write(result, &one, sizeof one);
}

TEST(pool_results_of_failures) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    CHECK_EQ(outcome(submit(pool, write_and_fail, "abc", 3)).code, 17);
    CHECK_EQ(number(submit(pool, ask_for_too_much, NULL, 0)), 1);
    finish(pool);
}

/* ---------------------------------------------------------------- several at once */

TEST_METHODS(pool_waits_for_any_and_for_all) {
    mproc_pool *pool = pool_of(method, 2);
    struct gate *gate = gate_new();
    mproc_task *tasks[3];
    size_t index = 99;
    long long seven = 7;
    tasks[0] = submit(pool, pass_gate, &gate, sizeof gate);
    tasks[1] = submit(pool, square, &seven, sizeof seven);
    tasks[2] = submit(pool, pass_gate, &gate, sizeof gate);
    CHECK_OK(mproc_task_wait_any(tasks, 3, MPROC_FOREVER, &index));
    CHECK_EQ(index, 1);
    CHECK(mproc_task_is_done(tasks[1]) && !mproc_task_is_done(tasks[0]));
    CHECK_EQ(mproc_task_wait_all(tasks, 3, 5 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_task_wait_any(tasks + 2, 1, 0, &index), -ETIMEDOUT);
    CHECK_EQ(index, 1);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(mproc_task_wait_all(tasks, 3, MPROC_FOREVER));
    CHECK_OK(mproc_task_wait_all(tasks, 3, 0));
    CHECK_OK(mproc_task_wait_any(tasks, 3, 0, &index));
    CHECK_EQ(index, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(outcome(tasks[i]).code);
    }
    mproc_free(gate);
    finish(pool);
}

TEST(pool_waits_for_sets_of_one_pool) {
    mproc_pool *a = pool_of(MPROC_FORK, 1), *b = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    size_t index = 99;
    mproc_task *tasks[2] = {submit(a, pass_gate, &gate, sizeof gate),
                            submit(b, pass_gate, &gate, sizeof gate)};
    CHECK_EQ(mproc_task_wait_any(tasks, 2, MPROC_FOREVER, &index), -EINVAL);
    CHECK_EQ(mproc_task_wait_all(tasks, 2, MPROC_FOREVER), -EINVAL);
    CHECK_EQ(mproc_task_wait_any(tasks, 0, MPROC_FOREVER, &index), -EINVAL);
    CHECK_OK(mproc_task_wait_all(tasks, 0, MPROC_FOREVER));
    CHECK_EQ(index, 99);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(tasks[0]).code);
    CHECK_OK(outcome(tasks[1]).code);
    mproc_free(gate);
    finish(a);
    finish(b);
}

/* ---------------------------------------------------------------- callbacks */

struct heard {
    uint32_t calls;
    long long sum;
    mproc_pool *pool;
    bool drops;
};

static void hear(mproc_task *task, void *arg) {
    struct heard *heard = arg;
    const void *data;
    size_t size;
    long long value = 0;
    CHECK(mproc_task_is_done(task));
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER)); /* here it is done */
    if (mproc_task_result(task, &data, &size) == 0) {
        memcpy(&value, data, sizeof value);
    }
    heard->sum += value;
    mproc__add32(&heard->calls, 1);
    if (heard->drops) {
        mproc_task_drop(task);
    }
}

TEST_METHODS(pool_calls_back) {
    mproc_pool *pool = pool_of(method, 2);
    struct heard heard = {0};
    mproc_task_options options = {.done = hear, .done_arg = &heard};
    mproc_task *tasks[20];
    for (long long i = 0; i < 20; i++) {
        tasks[i] = submit_with(pool, square, &i, sizeof i, &options);
    }
    for (int i = 19; i >= 0; i--) {
        CHECK_OK(mproc_task_wait(tasks[i], MPROC_FOREVER));
        CHECK_GE(heard.calls, 1);
        mproc_task_drop(tasks[i]);
    }
    CHECK_EQ(heard.calls, 20);
    CHECK_EQ(heard.sum, 2470);
    finish(pool);
}

/* Nobody waits for the tasks but the one who waits for the end; the callbacks drop them. */
TEST(pool_callbacks_may_drop_their_task) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    struct heard heard = {.drops = true};
    mproc_task_options options = {.done = hear, .done_arg = &heard};
    for (long long i = 0; i < 100; i++) {
        (void)submit_with(pool, square, &i, sizeof i, &options);
    }
    (void)submit_with(pool, die_by, &(int){3}, sizeof(int), &options);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(heard.calls, 101);
    CHECK_EQ(heard.sum, 328350);
    finish(pool);
}

/* Submits the next task and waits for it: callbacks within callbacks. */
static void go_deeper(mproc_task *task, void *arg) {
    struct heard *heard = arg;
    mproc_task_options options = {.done = go_deeper, .done_arg = heard};
    long long depth = heard->calls++;
    mproc_task_drop(task);
    if (depth < 10) {
        mproc_task *next = submit_with(heard->pool, square, &depth, sizeof depth, &options);
        struct heard inner = {0};
        mproc_task_options other = {.done = hear, .done_arg = &inner};
        (void)next;
        CHECK_EQ(number(submit_with(heard->pool, square, &depth, sizeof depth, &other)),
                 depth * depth);
        CHECK_EQ(inner.calls, 1);
    }
}

TEST(pool_callbacks_may_use_the_pool) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct heard heard = {.pool = pool};
    mproc_task_options options = {.done = go_deeper, .done_arg = &heard};
    long long one = 1;
    (void)submit_with(pool, square, &one, sizeof one, &options);
    while (heard.calls < 11) {
        CHECK_OK(mproc_pool_collect(pool, MPROC_FOREVER));
    }
    CHECK_EQ(mproc_pool_open(pool), 0);
    finish(pool);
}

TEST(pool_calls_back_what_is_cancelled) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    struct heard heard = {0}, forgotten = {0};
    mproc_task_options options = {.done = hear, .done_arg = &heard};
    mproc_task_options other = {.done = hear, .done_arg = &forgotten};
    mproc_task *running = submit_with(pool, pass_gate, &gate, sizeof gate, &options);
    await_word(&gate->entered, 1);
    mproc_task *waiting = submit_with(pool, pass_gate, &gate, sizeof gate, &options);
    mproc_task_drop(submit_with(pool, pass_gate, &gate, sizeof gate, &other));
    CHECK_OK(mproc_task_cancel(waiting));
    CHECK_EQ(heard.calls, 1);
    CHECK_EQ(outcome(waiting).code, -ECANCELED);
    mproc_pool_terminate(pool);
    CHECK_EQ(heard.calls, 2);
    CHECK_EQ(forgotten.calls, 0);
    CHECK_EQ(outcome(running).code, -ECANCELED);
    mproc_free(gate);
    finish(pool);
}

static void *wait_for_it(void *arg) {
    CHECK_OK(outcome(arg).code);
    return NULL;
}

static void stay_a_while(mproc_task *task, void *arg) {
    uint32_t *word = arg;
    CHECK(mproc_task_is_done(task));
    mproc__store32(&word[0], 1);
    await_word(&word[1], 1);
}

/* Others see the task as done when its callback has returned, not before. */
TEST(pool_callbacks_come_before_done) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    uint32_t words[2] = {0, 0};
    mproc_task_options options = {.done = stay_a_while, .done_arg = words};
    pthread_t thread;
    long long one = 1;
    mproc_task *task = submit_with(pool, square, &one, sizeof one, &options);
    CHECK_OK(pthread_create(&thread, NULL, wait_for_it, task));
    await_word(&words[0], 1);
    CHECK(!mproc_task_is_done(task));
    CHECK_EQ(mproc_task_wait(task, 2 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_task_result(task, NULL, NULL), -EAGAIN);
    CHECK_EQ(mproc_task_cancel(task), -EBUSY);
    CHECK_EQ(mproc_task_kill(task), -EBUSY);
    mproc__store32(&words[1], 1);
    CHECK_OK(pthread_join(thread, NULL));
    finish(pool);
}

/* One of a set is in a callback of another thread, which nobody else collects for. */
TEST(pool_waits_for_any_beside_a_callback) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    uint32_t words[2] = {0, 0};
    mproc_task_options options = {.done = stay_a_while, .done_arg = words};
    pthread_t thread;
    long long two = 2;
    size_t index = 99;
    mproc_task *tasks[2] = {submit_with(pool, square, &two, sizeof two, &options), NULL};
    CHECK_OK(pthread_create(&thread, NULL, wait_for_it, tasks[0]));
    await_word(&words[0], 1);
    tasks[1] = submit(pool, square, &two, sizeof two);
    CHECK_OK(mproc_task_wait_any(tasks, 2, MPROC_FOREVER, &index));
    CHECK_EQ(index, 1);
    mproc__store32(&words[1], 1);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(number(tasks[1]), 4);
    finish(pool);
}

/* ---------------------------------------------------------------- timeouts */

TEST_METHODS(pool_ends_a_task_whose_time_is_up) {
    mproc_pool *pool = pool_of(method, 1);
    struct gate *gate = gate_new();
    mproc_task_options options = {.timeout = 30 * MPROC_MSEC};
    char text[200];
    long long pid = number(submit(pool, my_pid, NULL, 0));
    mproc_task *stuck = submit_with(pool, pass_gate, &gate, sizeof gate, &options);
    mproc_task *next = submit_with(pool, pass_gate, &gate, sizeof gate, &options);
    mproc_task_error error = outcome(stuck);
    CHECK_EQ(error.code, -ETIMEDOUT);
    CHECK_EQ(error.task, 1);
    CHECK_EQ(error.pid, pid);
    CHECK_EQ(error.exitcode, -SIGKILL);
    CHECK_EQ(error.tries, 1);
    CHECK_GE(error.ran, 30 * MPROC_MSEC);
    CHECK_STR(mproc_task_error_text(&error, text, 25), "task 1: timed out after ");
    error = outcome(next);
    CHECK_EQ(error.code, -ETIMEDOUT);
    CHECK_EQ(error.tries, 1);
    CHECK_GE(error.ran, 30 * MPROC_MSEC); /* its time began when it did */
    CHECK_NE(number(submit(pool, my_pid, NULL, 0)), pid);
    mproc_free(gate);
    finish(pool);
}

/* A thousand short tasks with a time that none needs: none is ended. */
TEST(pool_timeouts_do_not_hit_others) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    mproc_task_options options = {.timeout = 20 * MPROC_SEC};
    mproc_task *tasks[1000];
    for (long long i = 0; i < 1000; i++) {
        tasks[i] = submit_with(pool, square, &i, sizeof i, &options);
    }
    for (long long i = 0; i < 1000; i++) {
        CHECK_EQ(number(tasks[i]), i * i);
    }
    finish(pool);
}

static int sleep_a_little(const void *in, size_t size, mproc_result *result) {
    int us;
    (void)size, (void)result;
    memcpy(&us, in, sizeof us);
    usleep((useconds_t)us);
    return 0;
}

/* Tasks that end at about the time when theirs is up: each ends once, one way or the other, and the
 * worker that is killed takes no other task with it. */
TEST(pool_timeouts_that_come_at_the_last_moment) {
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    mproc_task_options options = {.timeout = 10 * MPROC_MSEC};
    mproc_task *tasks[100], *others[100];
    unsigned done = 0, ended = 0;
    for (int i = 0; i < 100; i++) {
        int us = 8000 + 60 * i;
        long long n = i;
        tasks[i] = submit_with(pool, sleep_a_little, &us, sizeof us, &options);
        others[i] = submit(pool, square, &n, sizeof n);
    }
    for (long long i = 0; i < 100; i++) {
        int code = outcome(tasks[i]).code;
        CHECK(code == 0 || code == -ETIMEDOUT);
        done += code == 0;
        ended += code != 0;
        CHECK_EQ(number(others[i]), i * i);
    }
    CHECK_EQ(done + ended, 100);
    finish(pool);
}

/* ---------------------------------------------------------------- killing */

TEST_METHODS(pool_kills_a_running_task) {
    mproc_pool *pool = pool_of(method, 1);
    struct gate *gate = gate_new();
    long long six = 6;
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task *waiting = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task *next = submit(pool, square, &six, sizeof six);
    await_word(&gate->entered, 1);
    CHECK_OK(mproc_task_kill(running));
    CHECK_OK(mproc_task_kill(waiting));
    CHECK(mproc_task_is_done(waiting));
    CHECK_EQ(mproc_task_kill(running), -EBUSY); /* on its way */
    mproc_task_error error = outcome(running);
    CHECK_EQ(error.code, -ECANCELED);
    CHECK_GT(error.pid, 0);
    CHECK_EQ(error.exitcode, -SIGKILL);
    CHECK_EQ(mproc_task_kill(waiting), -EBUSY);
    error = outcome(waiting);
    CHECK_EQ(error.code, -ECANCELED);
    CHECK_EQ(error.pid, 0);
    CHECK_EQ(error.tries, 0);
    CHECK_EQ(number(next), 36);
    CHECK_EQ(gate->entered, 1);
    mproc_free(gate);
    finish(pool);
}

static int fork_and_return_twice(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    pid_t pid = fork();
    if (pid == 0) {
        return 0; /* comes back from the task in a child: it must not hand in a result */
    }
    return pid > 0 ? 0 : -EAGAIN;
}

static void square_two(mproc_pool *pool) {
    long long two = 2;
    CHECK_EQ(number(submit(pool, square, &two, sizeof two)), 4);
}

/* A task that forks and returns twice ends once. After a first pool a template stays, with its
 * arguments. */
TEST_METHODS(pool_task_that_forks) {
    mproc_pool *pool = pool_of(method, 1);
    square_two(pool);
    finish(pool);
    size_t before = test_arena_used();
    pool = pool_of(method, 1);
    for (int i = 0; i < 5; i++) {
        CHECK_OK(outcome(submit(pool, fork_and_return_twice, NULL, 0)).code);
        square_two(pool);
    }
    finish(pool);
    /* A child may have been forked and not be a member yet: all that it has comes back. */
    size_t members = method == MPROC_FORKSERVER ? 2 : 1;
    while (mproc_members(NULL, 0) > members || test_arena_used() > before) {
        usleep(500);
        mproc_reap();
    }
}

static int become_true(const void *in, size_t size, mproc_result *result) {
    static const char *const argv[] = {"true", NULL};
    (void)in, (void)size, (void)result;
    execvp("true", (char *const *)(uintptr_t)argv);
    return -errno;
}

TEST_METHODS(pool_task_that_executes_a_program) {
    mproc_pool *pool = pool_of(method, 1);
    long long two = 2;
    mproc_task_error error = outcome(submit(pool, become_true, NULL, 0));
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.exitcode, 0);
    CHECK_EQ(number(submit(pool, square, &two, sizeof two)), 4);
    finish(pool);
}

/* ---------------------------------------------------------------- further tries */

/* Counts its calls in the arena; up to the given number of them fail in some way. */
struct tries {
    uint32_t calls;
    uint32_t failures;
    int way; /* >= 0: an exit code; -1: sleeps; otherwise the code to return */
};

static int fail_at_first(const void *in, size_t size, mproc_result *result) {
    struct tries *tries;
    long long calls;
    CHECK_EQ(size, sizeof tries);
    memcpy(&tries, in, sizeof tries);
    calls = mproc__add32(&tries->calls, 1) + 1;
    if (calls > tries->failures) {
        return mproc_result_write(result, &calls, sizeof calls);
    }
    if (tries->way >= 0) {
        _exit(tries->way);
    }
    if (tries->way == -1) {
        pause();
    }
    return tries->way;
}

static struct tries *tries_new(uint32_t failures, int way) {
    struct tries *tries = mproc_calloc(1, sizeof *tries);
    CHECK(tries != NULL);
    *tries = (struct tries){0, failures, way};
    return tries;
}

TEST_METHODS(pool_tries_again_after_a_death) {
    mproc_pool *pool = pool_of(method, 1);
    struct tries *tries = tries_new(3, 4);
    mproc_task_options options = {.retries = 3};
    mproc_task *task = submit_with(pool, fail_at_first, &tries, sizeof tries, &options);
    mproc_task_error error;
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    mproc_task_failure(task, &error);
    CHECK_EQ(error.tries, 4);
    CHECK_EQ(number(task), 4);
    *tries = (struct tries){0, 3, 4};
    options.retries = 2;
    error = outcome(submit_with(pool, fail_at_first, &tries, sizeof tries, &options));
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.exitcode, 4);
    CHECK_EQ(error.tries, 3);
    CHECK_EQ(error.task, 1);
    CHECK_EQ(tries->calls, 3);
    mproc_free(tries);
    finish(pool);
}

/* A try may be over before its function has begun, and the one that need not sleep may be too slow:
 * their number is not always the same. */
TEST(pool_tries_again_after_a_timeout) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct tries *tries = tries_new(2, -1);
    mproc_task_options options = {.retries = UINT32_MAX, .timeout = 20 * MPROC_MSEC};
    CHECK_GE(number(submit_with(pool, fail_at_first, &tries, sizeof tries, &options)), 3);
    *tries = (struct tries){0, UINT32_MAX, -1};
    options.retries = 2;
    mproc_task_error error =
        outcome(submit_with(pool, fail_at_first, &tries, sizeof tries, &options));
    CHECK_EQ(error.code, -ETIMEDOUT);
    CHECK_EQ(error.tries, 3);
    mproc_free(tries);
    finish(pool);
}

TEST(pool_tries_again_after_chosen_codes) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct tries *tries = tries_new(2, -EAGAIN);
    mproc_task_options options = {.retries = 5, .retry_on = {-EIO, -EAGAIN}};
    CHECK_EQ(number(submit_with(pool, fail_at_first, &tries, sizeof tries, &options)), 3);
    *tries = (struct tries){0, 2, -ENOTDIR};
    CHECK_EQ(outcome(submit_with(pool, fail_at_first, &tries, sizeof tries, &options)).code,
             -ENOTDIR);
    CHECK_EQ(tries->calls, 1);
    mproc_free(tries);
    finish(pool);
}

/* The pauses are 20, 40 and 80 ms; the closed pool waits for the task. */
TEST(pool_pauses_before_it_tries_again) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct tries *tries = tries_new(3, 4);
    mproc_task_options options = {.retries = 3, .pause = 20 * MPROC_MSEC};
    int64_t start = mproc__os_now();
    mproc_task *task = submit_with(pool, fail_at_first, &tries, sizeof tries, &options);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_GE(mproc__os_now() - start, 140 * MPROC_MSEC);
    CHECK_EQ(number(task), 4);
    mproc_free(tries);
    finish(pool);
}

static void await_delayed(mproc_pool *pool, struct tries *tries, uint32_t calls) {
    while (mproc__load32(&tries->calls) < calls || mproc_pool_workers(pool, NULL, 0) != 1) {
        collect(pool, MPROC_MSEC);
    }
    CHECK_OK(mproc_pool_check(pool, NULL, 0));
}

static void *notify(void *pool) {
    CHECK_OK(mproc_pool_notify(pool));
    return NULL;
}

TEST(pool_a_notice_ends_a_collecting) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, notify, pool), 0);
    CHECK_OK(mproc_pool_collect(pool, MPROC_FOREVER));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_OK(mproc_pool_notify(pool)); /* before there is anybody whom it could wake */
    CHECK_OK(mproc_pool_collect(pool, MPROC_FOREVER));
    CHECK_EQ(mproc_pool_collect(pool, 0), -ETIMEDOUT);
    finish(pool);
}

/* A task that waits for its next try can be cancelled, dropped and terminated. */
TEST(pool_cancels_what_waits_for_another_try) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct tries *tries = tries_new(100, 4);
    mproc_task_options options = {.retries = 100, .pause = 1000 * MPROC_SEC};
    mproc_task *a = submit_with(pool, fail_at_first, &tries, sizeof tries, &options);
    mproc_task *b = submit_with(pool, fail_at_first, &tries, sizeof tries, &options);
    mproc_task *c = submit_with(pool, fail_at_first, &tries, sizeof tries, &options);
    CHECK_EQ(mproc_pool_open(pool), 3);
    await_delayed(pool, tries, 3);
    while (mproc_task_cancel(a) != 0) { /* its worker's end may not have been noticed yet */
        collect(pool, MPROC_MSEC);
    }
    mproc_task_error error = outcome(a);
    CHECK_EQ(error.code, -ECANCELED);
    CHECK_EQ(error.tries, 1);
    mproc_task_drop(b);
    CHECK_EQ(mproc_pool_open(pool), 2);
    mproc_pool_terminate(pool);
    CHECK_EQ(mproc_pool_open(pool), 0);
    CHECK_EQ(outcome(c).code, -ECANCELED);
    CHECK_EQ(tries->calls, 3);
    mproc_free(tries);
    finish(pool);
}

/* A task that was taken back is not tried again when the worker that skips it dies. */
TEST(pool_kill_ends_all_tries) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct tries *tries = tries_new(100, -1);
    mproc_task_options options = {.retries = 100};
    mproc_task *task = submit_with(pool, fail_at_first, &tries, sizeof tries, &options);
    await_word(&tries->calls, 1);
    CHECK_OK(mproc_task_kill(task));
    CHECK_EQ(outcome(task).code, -ECANCELED);
    CHECK_EQ(tries->calls, 1);
    mproc_free(tries);
    finish(pool);
}

/* ---------------------------------------------------------------- priorities */

/* Tasks write their numbers here, in the order in which they are begun. */
struct list {
    uint32_t n;
    int numbers[64];
};

struct entry {
    struct list *list;
    int number;
    uint32_t failures; /* so often it dies first */
};

static int write_down(const void *in, size_t size, mproc_result *result) {
    struct entry e;
    (void)result;
    CHECK_EQ(size, sizeof e);
    memcpy(&e, in, sizeof e);
    uint32_t n = mproc__add32(&e.list->n, 1);
    e.list->numbers[n] = e.number;
    if (n < e.failures) {
        _exit(5);
    }
    return 0;
}

static mproc_task *submit_ranked(mproc_pool *pool, struct list *list, int number, int priority) {
    mproc_task_options options = {.priority = priority};
    struct entry e = {list, number, 0};
    return submit_with(pool, write_down, &e, sizeof e, &options);
}

static mproc_pool *ranked_pool(mproc_method method, unsigned ahead) {
    return pool_with(&(mproc_pool_options){.workers = 1, .method = method, .ahead = ahead});
}

/* The worker is at a first task and a second one is queued: the rest waits in the owner. */
static void plug(mproc_pool *pool, struct gate *gate, mproc_task **plugs) {
    plugs[0] = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    plugs[1] = submit(pool, pass_gate, &gate, sizeof gate);
}

TEST_METHODS(pool_begins_what_is_urgent_first) {
    static const int priorities[] = {0, 7, -3, 7, 0, 100, -3, 7, 0, -1000};
    static const int order[] = {5, 1, 3, 7, 0, 4, 8, 2, 6, 9};
    mproc_pool *pool = ranked_pool(method, 1);
    struct list *list = mproc_calloc(1, sizeof *list);
    struct gate *gate = gate_new();
    mproc_task *tasks[12];
    plug(pool, gate, tasks + 10);
    for (int i = 0; i < 10; i++) {
        tasks[i] = submit_ranked(pool, list, i, priorities[i]);
        check(pool);
    }
    CHECK_EQ(mproc_pool_open(pool), 12);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(mproc_task_wait_all(tasks, 12, MPROC_FOREVER));
    for (int i = 0; i < 12; i++) {
        CHECK_OK(outcome(tasks[i]).code);
    }
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(list->numbers[i], order[i]);
    }
    mproc_free(list);
    mproc_free(gate);
    finish(pool);
}

/* A closed pool comes to its end, whatever waits in the owner; nobody waits for the tasks. */
TEST(pool_ranks_many) {
    enum { TASKS = 3000 };
    mproc_pool *pool = pool_with(&(mproc_pool_options){.workers = 2, .ahead = 4});
    uint64_t random = 5;
    struct heard heard = {.drops = true};
    for (long long i = 0; i < TASKS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        mproc_task_options options = {
            .priority = (int)(random >> 60), .done = hear, .done_arg = &heard};
        (void)submit_with(pool, square, &i, sizeof i, &options);
    }
    check(pool);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(heard.calls, TASKS);
    finish(pool);
}

/* What waits in the owner can be cancelled and dropped, and fails with the pool. */
TEST(pool_cancels_what_waits_for_its_turn) {
    mproc_pool *pool = ranked_pool(MPROC_FORK, 1);
    struct list *list = mproc_calloc(1, sizeof *list);
    struct gate *gate = gate_new();
    mproc_task *tasks[10], *plugs[2];
    plug(pool, gate, plugs);
    for (int i = 0; i < 10; i++) {
        tasks[i] = submit_ranked(pool, list, i, i % 3);
    }
    for (int i = 0; i < 10; i += 2) {
        CHECK_OK(i % 4 == 0 ? mproc_task_cancel(tasks[i]) : mproc_task_kill(tasks[i]));
        mproc_task_error error = outcome(tasks[i]);
        CHECK_EQ(error.code, -ECANCELED);
        CHECK_EQ(error.tries, 0);
        check(pool);
    }
    CHECK_EQ(mproc_pool_open(pool), 7);
    mproc_task_drop(tasks[1]);
    mproc_pool_terminate(pool);
    for (int i = 3; i < 10; i += 2) {
        CHECK_EQ(outcome(tasks[i]).code, -ECANCELED);
    }
    CHECK_EQ(outcome(plugs[0]).code, -ECANCELED);
    CHECK_EQ(outcome(plugs[1]).code, -ECANCELED);
    CHECK_EQ(list->n, 0);
    mproc_free(list);
    mproc_free(gate);
    finish(pool);
}

/* A further try has its old place among its equals. */
TEST(pool_ranks_further_tries) {
    mproc_pool *pool = ranked_pool(MPROC_FORK, 1);
    struct list *list = mproc_calloc(1, sizeof *list);
    struct gate *gate = gate_new();
    mproc_task *tasks[5];
    plug(pool, gate, tasks + 3);
    for (int i = 0; i < 3; i++) {
        mproc_task_options options = {.priority = -i, .retries = 1};
        struct entry e = {list, i, i == 0};
        tasks[i] = submit_with(pool, write_down, &e, sizeof e, &options);
    }
    mproc__store32(&gate->opened, 1);
    for (int i = 4; i >= 0; i--) {
        CHECK_OK(outcome(tasks[i]).code);
    }
    CHECK_EQ(list->n, 4);
    CHECK_EQ(list->numbers[0], 0);
    CHECK_EQ(list->numbers[3], 2); /* the last one was never urgent */
    mproc_free(list);
    mproc_free(gate);
    finish(pool);
}

/* ---------------------------------------------------------------- memory */

#define PLENTY ((size_t)64 << 20)

/* Touches memory until it is ended. */
static int eat(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    for (size_t eaten = 0; eaten < 8 * PLENTY; eaten += PLENTY / 16) {
        char *p =
            mmap(NULL, PLENTY / 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p != MAP_FAILED);
        memset(p, 1, PLENTY / 16);
        usleep(2000);
    }
    for (;;) {
        pause();
    }
}

/* The same in the arena, which is not the worker's own. */
POOLS_FN int eat_shared(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    char *block = mproc_alloc(PLENTY + PLENTY / 2);
    CHECK(block != NULL);
    memset(block, 1, PLENTY + PLENTY / 2);
    usleep(50000);
    mproc_free(block);
    return 0;
}

TEST_METHODS(pool_ends_a_task_that_eats_memory) {
    mproc_pool *pool = pool_of(method, 1);
    mproc_task_options options = {.memory = PLENTY};
    char text[200];
#if !TEST_ASAN && !TEST_TSAN /* their shadows are private */
    CHECK_OK(outcome(submit_with(pool, eat_shared, NULL, 0, &options)).code);
#endif
    mproc_task_error error = outcome(submit_with(pool, eat, NULL, 0, &options));
    CHECK_EQ(error.code, MPROC_EMEMORY);
    CHECK_EQ(error.exitcode, -SIGKILL);
    CHECK_GT(error.memory, PLENTY);
    CHECK_LT(error.memory, 9 * PLENTY);
    CHECK(strstr(mproc_task_error_text(&error, text, sizeof text), "MiB") != NULL);
    finish(pool);
}

/* ---------------------------------------------------------------- bad calls, texts */

TEST(pool_refuses_bad_tasks) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    mproc_task *task = NULL;
    CHECK_EQ(mproc_pool_submit(pool, echo, NULL, 0, &(mproc_task_options){.timeout = -1}, &task),
             -EINVAL);
    CHECK_EQ(mproc_pool_submit(pool, echo, NULL, 0, &(mproc_task_options){.pause = -1}, &task),
             -EINVAL);
    CHECK_EQ(mproc_pool_submit(pool, echo, NULL, 0, &(mproc_task_options){.priority = 1}, &task),
             -EINVAL);                                             /* it has no priorities */
    CHECK_EQ(mproc_pool_put(pool, NULL, 0, NULL, &task), -EINVAL); /* it has no handler */
    CHECK(task == NULL);
    finish(pool);
}

static void says(mproc_task_error error, const char *text) {
    char out[200];
    CHECK_STR(mproc_task_error_text(&error, out, sizeof out), text);
    char few[4];
    CHECK_STR(mproc_task_error_text(&error, few, sizeof few), "tas");
}

TEST(pool_errors_in_words) {
    says((mproc_task_error){.code = MPROC_EDIED, .task = 7, .pid = 12, .exitcode = -9},
         "task 7: the worker process died while it held the task (worker 12, signal 9)");
    says((mproc_task_error){.code = MPROC_EDIED, .task = 7, .pid = 12, .exitcode = 3, .tries = 2},
         "task 7: the worker process died while it held the task (worker 12, exit code 3), try 2");
    says((mproc_task_error){.code = -ETIMEDOUT, .pid = 12, .ran = 1500 * MPROC_MSEC},
         "task 0: timed out after 1.500 s (worker 12)");
    says((mproc_task_error){.code = -ECANCELED}, "task 0: cancelled");
    says((mproc_task_error){.code = 5, .pid = 1}, "task 0: its function returned 5 (worker 1)");
    says((mproc_task_error){.code = MPROC_EMEMORY, .memory = 3 << 20},
         "task 0: the task's worker used more memory than the task may: 3.0 MiB");
}
