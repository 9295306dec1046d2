/*
 * test_pool_workers.c - a pool's workers: handlers, start functions, steps, more and fewer, the
 * descriptor
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "deny.h"
#include "made.h"
#include "methods.h"
#include "pools.h"
#include "process/process.h"
#include "system/os.h"
#include "test.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* ---------------------------------------------------------------- tasks that are mere bytes */

/* The bytes, backwards; `arg` is added to each. "!": dies; "?": fails. */
static int reverse(void *arg, const void *task, size_t size, mproc_result *result) {
    const char *in = task;
    uint32_t *add = arg;
    CHECK_EQ((uintptr_t)task % 16, 0);
    if (size == 1 && in[0] == '!') {
        _exit(9);
    }
    if (size == 1 && in[0] == '?') {
        return 33;
    }
    char *out = mproc_result_room(result, size);
    CHECK(out != NULL);
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)(in[size - 1 - i] + (add != NULL ? (char)*add : 0));
    }
    return 0;
}

static mproc_task *put(mproc_pool *pool, const char *text, const mproc_task_options *options) {
    mproc_task *task = NULL;
    size_t n = strlen(text), half = n / 2;
    struct iovec pieces[2] = {{(void *)(uintptr_t)text, half},
                              {(void *)(uintptr_t)(text + half), n - half}};
    CHECK_OK(mproc_pool_put(pool, pieces, 2, options, &task));
    return task;
}

static void gives(mproc_task *task, const char *text) {
    const void *data;
    size_t size;
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    CHECK_OK(mproc_task_result(task, &data, &size));
    CHECK_EQ(size, strlen(text));
    CHECK_MEM(data, text, size);
    mproc_task_drop(task);
}

TEST_METHODS(pool_has_a_handler) {
    uint32_t *one = word_new();
    mproc_pool_options options = {
        .workers = 2, .method = method, .handler = reverse, .handler_arg = one};
    mproc_pool *pool = pool_with(&options);
    long long three = 3;
    *one = 1;
    gives(put(pool, "abc", NULL), "dcb");
    gives(put(pool, "", NULL), "");
    CHECK_EQ(outcome(put(pool, "?", NULL)).code, 33);
    CHECK_EQ(outcome(put(pool, "!", NULL)).exitcode, 9);
    CHECK_EQ(outcome(put(pool, "!", &(mproc_task_options){.retries = 2})).tries, 3);
    CHECK_EQ(number(submit(pool, square, &three, sizeof three)), 9); /* calls go on as ever */
    mproc_free(one);
    finish(pool);
}

TEST(pool_puts_many_pieces) {
    mproc_pool *pool = pool_with(&(mproc_pool_options){.workers = 1, .handler = reverse});
    static char bytes[1024];
    struct iovec pieces[1024];
    mproc_task *task = NULL;
    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < 1024; i++) {
        pieces[i] = (struct iovec){&bytes[i], 1};
    }
    CHECK_EQ(mproc_pool_put(pool, pieces, 1024, NULL, &task), -EINVAL);
    CHECK_EQ(mproc_pool_put(pool, pieces, -1, NULL, &task), -EINVAL);
    CHECK_EQ(mproc_pool_put(pool, NULL, 1, NULL, &task), -EINVAL);
    CHECK(task == NULL);
    for (int n = 0; n < 1000; n += 111) {
        const void *data;
        size_t size;
        CHECK_OK(mproc_pool_put(pool, pieces, n, NULL, &task));
        CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
        CHECK_OK(mproc_task_result(task, &data, &size));
        CHECK_EQ(size, n);
        CHECK_MEM(data, bytes, size);
        mproc_task_drop(task);
    }
    finish(pool);
}

/* ---------------------------------------------------------------- workers that a program starts */

struct starter {
    mproc_method method;
    int refuse; /* what start answers, 0: it starts */
    unsigned started, ended, asked;
    int inside; /* between enter and leave */
    mproc_pool *pool;
};

struct place_and_seat {
    mproc_workplace *place;
    unsigned seat;
};

static int work(void *arg, size_t size) {
    struct place_and_seat *p = arg;
    CHECK_EQ(size, sizeof *p);
    return mproc_pool_work(p->place, p->seat, reverse, NULL, 0);
}

static int start(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    struct starter *s = arg;
    struct place_and_seat p = {place, seat};
    CHECK_EQ(s->inside, 1);
    s->asked++;
    if (s->refuse != 0) {
        return s->refuse;
    }
    s->started++;
    return mproc_process_start(out, work, &p, sizeof p,
                               &(mproc_process_options){.method = s->method});
}

static void end(void *arg, unsigned seat, mproc_process *owned) {
    struct starter *s = arg;
    int code;
    CHECK_LT(seat, 64);
    CHECK_EQ(s->inside, 1);
    CHECK_OK(mproc_process_exitcode(owned, &code));
    CHECK_OK(mproc_process_drop(owned));
    s->ended++;
}

static void end_copy(void *arg, unsigned seat, mproc_process *owned) {
    struct starter *s = arg;
    (void)seat;
    CHECK_EQ(s->inside, 1);
    CHECK_OK(mproc_process_drop(owned));
    s->ended++;
}

static void enter(void *arg) {
    CHECK_EQ(((struct starter *)arg)->inside++, 0);
}

static void leave(void *arg) {
    CHECK_EQ(((struct starter *)arg)->inside--, 1);
}

static mproc_pool_options started_by(struct starter *s, unsigned workers) {
    return (mproc_pool_options){.workers = workers,
                                .start = start,
                                .end = end,
                                .start_arg = s,
                                .enter = enter,
                                .leave = leave,
                                .enter_arg = s};
}

TEST_METHODS(pool_workers_that_a_program_starts) {
    struct starter s = {.method = method};
    mproc_pool_options options = started_by(&s, 2);
    mproc_pool *pool = pool_with(&options);
    long long three = 3;
    s.pool = pool;
    CHECK_EQ(s.started, 2);
    gives(put(pool, "abc", NULL), "cba");
    CHECK_EQ(number(submit(pool, square, &three, sizeof three)), 9);
    CHECK_EQ(outcome(put(pool, "!", NULL)).exitcode, 9);
    gives(put(pool, "xyz", NULL), "zyx");
    while (s.started < 3) {
        gives(put(pool, "xyz", NULL), "zyx");
    }
    CHECK_EQ(s.ended, 1);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(s.ended, 3);
    finish(pool);
}

TEST(pool_start_function_that_fails) {
    struct starter s = {.method = MPROC_FORK, .refuse = -EMFILE};
    mproc_pool_options options = started_by(&s, 2);
    mproc_pool *pool = NULL;
    CHECK_EQ(mproc_pool_new(&pool, &options), -EMFILE);
    s.refuse = 5; /* no code of an error */
    CHECK_EQ(mproc_pool_new(&pool, &options), -EINVAL);
    CHECK(pool == NULL);
    CHECK_EQ(s.started, 0);
}

/* A second worker cannot be started: the first one is ended. */
static int start_one(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    return seat == 0 ? start(arg, place, seat, out) : -EAGAIN;
}

TEST(pool_start_function_that_fails_later) {
    struct starter s = {.method = MPROC_FORK};
    mproc_pool_options options = started_by(&s, 2);
    mproc_pool *pool = NULL;
    options.start = start_one;
    CHECK_EQ(mproc_pool_new(&pool, &options), -EAGAIN);
    CHECK(pool == NULL);
    CHECK_EQ(s.started, 1);
    CHECK_EQ(s.ended, 1);
}

/* No worker can be started any more, and then again. */
TEST(pool_breaks_and_recovers) {
    struct starter s = {.method = MPROC_FORK};
    mproc_pool_options options = started_by(&s, 1);
    mproc_pool *pool = pool_with(&options);
    mproc_task *late = NULL;
    gives(put(pool, "abc", NULL), "cba");
    s.refuse = -EMFILE;
    mproc_task *a = put(pool, "!", NULL), *b = put(pool, "abc", NULL);
    CHECK_EQ(outcome(a).exitcode, 9);
    CHECK_EQ(outcome(b).code, -EMFILE);
    CHECK_EQ(mproc_pool_put(pool, NULL, 0, NULL, &late), -EMFILE);
    CHECK_EQ(mproc_pool_map(pool, NULL, NULL, 0, NULL, 0, 0, NULL), -EINVAL);
    s.refuse = 0;
    while (mproc_pool_put(pool, NULL, 0, NULL, &late) == -EMFILE) {
        usleep(10000);
    }
    gives(late, "");
    gives(put(pool, "abc", NULL), "cba");
    check(pool);
    s.refuse = -EMFILE;
    CHECK_EQ(outcome(put(pool, "!", NULL)).exitcode, 9);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    finish(pool);
}

/* Idle workers may be killed as often as somebody likes. */
TEST(pool_idle_deaths_do_not_break_it) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    long long four = 4;
    pid_t pid, next;
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(number(submit(pool, square, &four, sizeof four)), 16);
        CHECK_EQ(mproc_pool_workers(pool, &pid, 1), 1);
        CHECK_OK(kill(pid, SIGKILL));
        do {
            collect(pool, MPROC_MSEC);
        } while (mproc_pool_workers(pool, &next, 1) != 1 || next == pid);
    }
    finish(pool);
}

TEST(pool_begins_idle) {
    struct starter s = {.method = MPROC_FORK};
    mproc_pool_options options = started_by(&s, 0);
    options.idle = 1;
    options.most = 2;
    mproc_pool *pool = pool_with(&options);
    mproc_task *early = put(pool, "abc", NULL);
    collect(pool, MPROC_MSEC);
    CHECK_EQ(s.started, 0);
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 0);
    CHECK_EQ(mproc_pool_waiting(pool), 1);
    CHECK_OK(mproc_pool_resize(pool, 2));
    CHECK_EQ(s.started, 2);
    gives(early, "cba");
    CHECK_EQ(mproc_pool_waiting(pool), 0);
    finish(pool);
}

/* One attempt a look: the program is asked again when somebody waits. */
TEST(pool_tries_one_seat_a_look) {
    struct starter s = {.method = MPROC_FORK, .refuse = -EMFILE};
    mproc_pool_options options = started_by(&s, 0);
    options.idle = 1;
    options.most = 5;
    mproc_pool *pool = pool_with(&options);
    CHECK_OK(mproc_pool_resize(pool, 5));
    CHECK_EQ(s.asked, 1);
    s.refuse = 0;
    gives(put(pool, "abc", NULL), "cba");
    finish(pool);
}

TEST(pool_bears_a_shortage_as_long_as_it_was_told) {
    struct starter s = {.method = MPROC_FORK};
    mproc_pool_options options = started_by(&s, 1);
    options.patience = INT64_MAX;
    mproc_pool *pool = pool_with(&options);
    mproc_task *late = NULL;
    s.refuse = -EMFILE;
    CHECK_EQ(outcome(put(pool, "!", NULL)).exitcode, 9);
    mproc_task *task = put(pool, "abc", NULL);
    while (s.asked < 40) {
        collect(pool, MPROC_MSEC);
    }
    CHECK_EQ(mproc_pool_is_broken(pool), 0);
    s.refuse = 0;
    gives(task, "cba");
    finish(pool);
    options.patience = 1;
    pool = pool_with(&options);
    s.refuse = -EMFILE;
    CHECK_EQ(outcome(put(pool, "!", NULL)).exitcode, 9);
    CHECK_EQ(outcome(put(pool, "abc", NULL)).code, -EMFILE);
    CHECK_EQ(mproc_pool_put(pool, NULL, 0, NULL, &late), -EMFILE);
    finish(pool);
}

/* ---------------------------------------------------------------- the rule by itself */

static void end_early(mproc_restarts *restarts, int times) {
    for (int i = 0; i < times; i++) {
        mproc_restarts_ended(restarts, 0);
    }
}

TEST(restarts_are_given_up_after_eight_ends_more_than_workers) {
    mproc_restarts restarts = MPROC_RESTARTS_INIT;
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 0), 0);
    end_early(&restarts, 11);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 3), 0);
    end_early(&restarts, 1);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 3), 1);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 4), 0);
    CHECK_EQ(restarts.early, 12);
}

TEST(restarts_go_on_when_a_worker_was_of_use_or_something_was_done) {
    mproc_restarts restarts = MPROC_RESTARTS_INIT;
    end_early(&restarts, 10);
    mproc_restarts_ended(&restarts, 1);
    CHECK_EQ(restarts.early, 11); /* no reason to start them at once, but none to give up */
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 1), 0);
    end_early(&restarts, 9);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 1), 0);
    end_early(&restarts, 1);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 1), 1);
    mproc_restarts_ready(&restarts);
    CHECK_EQ(restarts.early, 0);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 1), 0);
}

TEST(restarts_are_given_up_when_none_could_be_started_for_long) {
    mproc_restarts restarts = MPROC_RESTARTS_INIT;
    mproc_restarts_missing(&restarts, 2, INT64_MAX);
    CHECK_EQ(restarts.missing != 0, 1);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 2), 0);
    mproc_restarts_started(&restarts);
    CHECK_EQ(restarts.missing, 0);
    mproc_restarts_missing(&restarts, 2, INT64_MAX);
    usleep(1000);
    mproc_restarts_missing(&restarts, 2, MPROC_SEC * 60);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 2), 0);
    mproc_restarts_missing(&restarts, 2, 1000);
    CHECK_EQ(mproc_restarts_hopeless(&restarts, 2), 1);
}

/* ---------------------------------------------------------------- pools that are given up */

static void is_given_up(mproc_pool *pool, int code) {
    mproc_task *late = NULL;
    CHECK_EQ(mproc_pool_is_broken(pool), 1);
    CHECK_EQ(mproc_pool_put(pool, NULL, 0, NULL, &late), code);
    CHECK_EQ(mproc_pool_open(pool), 0);
    check(pool);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(mproc_pool_put(pool, NULL, 0, NULL, &late), code);
    finish(pool);
}

TEST_METHODS(pool_fragile_falls_with_a_worker) {
    mproc_pool *pool = pool_with(
        &(mproc_pool_options){.workers = 2, .method = method, .handler = reverse, .fragile = 1});
    struct gate *gate = gate_new();
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    mproc_task *fatal = put(pool, "!", NULL), *waiting = put(pool, "abc", NULL);
    mproc_task_error how = outcome(fatal);
    CHECK_EQ(how.code, MPROC_EDIED);
    CHECK_EQ(how.exitcode, 9);
    how = outcome(running);
    CHECK_EQ(how.code, -ECANCELED);
    CHECK_EQ(how.task, 0);
    int r = outcome(waiting).code; /* the other worker may have been free before the look */
    CHECK(r == -ECANCELED || r == 0);
    mproc__store32(&gate->opened, 1); /* nobody asks for its result any more */
    is_given_up(pool, MPROC_EDIED);
    mproc_free(gate);
}

static void wait_for_worker(mproc_pool *pool, pid_t but) {
    pid_t pid = 0;
    while (mproc_pool_workers(pool, &pid, 1) != 1 || pid == but) {
        collect(pool, MPROC_MSEC);
    }
}

/* Nor does it fall with one that leaves by itself, or whose task may cost workers. */
TEST(pool_fragile_bears_what_the_pool_does) {
    mproc_pool *pool = pool_with(
        &(mproc_pool_options){.workers = 1, .handler = reverse, .fragile = 1, .max_tasks = 2});
    struct gate *gate = gate_new();
    pid_t pid = 0;
    mproc_task *task = submit_with(pool, pass_gate, &gate, sizeof gate,
                                   &(mproc_task_options){.timeout = 10 * MPROC_MSEC});
    CHECK_EQ(outcome(task).code, -ETIMEDOUT);
    CHECK_EQ(outcome(put(pool, "!", &(mproc_task_options){.retries = 1})).code, MPROC_EDIED);
    mproc__store32(&gate->entered, 0); /* the first may have been ended before it came there */
    task = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    CHECK_OK(mproc_task_kill(task));
    CHECK_EQ(outcome(task).code, -ECANCELED);
    for (int i = 0; i < 5; i++) {
        gives(put(pool, "abc", NULL), "cba");
    }
    CHECK_EQ(mproc_pool_is_broken(pool), 0);
    wait_for_worker(pool, 0);
    CHECK_EQ(mproc_pool_workers(pool, &pid, 1), 1);
    CHECK_OK(kill(pid, SIGKILL)); /* an idle one */
    while (!mproc_pool_is_broken(pool)) {
        collect(pool, MPROC_MSEC);
    }
    is_given_up(pool, MPROC_EDIED);
    mproc_free(gate);
}

TEST(pool_abandoned_lets_workers_finish) {
    mproc_pool *pool = pool_with(&(mproc_pool_options){.workers = 1, .handler = reverse});
    struct gate *gate = gate_new();
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    mproc_task *again = put(pool, "abc", &(mproc_task_options){.retries = 3});
    await_word(&gate->entered, 1);
    CHECK_EQ(mproc_pool_is_broken(pool), 0);
    mproc_pool_abandon(pool);
    mproc_pool_abandon(pool);
    CHECK(mproc_task_is_done(running) && mproc_task_is_done(again));
    CHECK_EQ(outcome(running).code, -ECANCELED);
    CHECK_EQ(outcome(again).code, -ECANCELED);
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 1);
    CHECK_EQ(mproc_pool_resize(pool, 2), -ECANCELED);
    mproc__store32(&gate->opened, 1);
    is_given_up(pool, -ECANCELED);
    mproc_free(gate);
}

static void give_up(size_t done, size_t total, void *arg) {
    (void)total;
    if (done > 0) {
        mproc_pool_abandon(arg);
    }
}

static int copy_item(const void *in, void *out, void *context) {
    (void)context;
    memcpy(out, in, sizeof(int));
    return 0;
}

/* Nobody writes into its arrays afterwards. */
TEST(pool_abandoned_during_a_map) {
    mproc_pool *pool = pool_with(&(mproc_pool_options){.workers = 2, .handler = reverse});
    static int in[5000], out[5000];
    CHECK_EQ(
        mproc_pool_map(pool, copy_item, in, sizeof *in, out, sizeof *out, 5000,
                       &(mproc_map_options){.chunk = 1, .progress = give_up, .progress_arg = pool}),
        -ECANCELED);
    CHECK_EQ(mproc_pool_workers(pool, NULL, 0), 0);
    is_given_up(pool, -ECANCELED);
}

/* ---------------------------------------------------------------- interrupted, and forked */

static mproc_pool *interrupted;

static int wait_inside(void) {
    static int inside;
    if (inside++ == 0) {
        gives(put(interrupted, "abc", NULL), "cba");
    }
    return 0;
}

/* What a handler waits for comes, though the thread that it interrupts was about to collect it. */
TEST(pool_wait_that_interrupts_a_wait) {
    mproc_pool *pool = pool_with(&(mproc_pool_options){.workers = 2, .handler = reverse});
    struct gate *gate = gate_new();
    mproc_task *first = submit(pool, pass_gate, &gate, sizeof gate);
    interrupted = pool;
    mproc_wait_hook(wait_inside);
    CHECK_EQ(mproc_task_wait(first, 200 * MPROC_MSEC), -ETIMEDOUT);
    mproc_wait_hook(NULL);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(first).code);
    CHECK_EQ(mproc_pool_open(pool), 0);
    finish(pool);
    mproc_free(gate);
}

/* A forked child gives its copies of the handles back by the same function. */
TEST(pool_copies_of_workers_are_given_back) {
    struct starter s = {.method = MPROC_FORK};
    mproc_pool_options options = started_by(&s, 2);
    options.end = end_copy;
    mproc_pool *pool = pool_with(&options);
    pid_t pid = fork();
    if (pid == 0) {
        mproc_pool_drop(pool);
        _exit((int)s.ended);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 2);
    mproc_reap();
    finish(pool);
    CHECK_EQ(s.ended, 2);
}

/* ---------------------------------------------------------------- a worker, step by step */

static int work_by_steps(void *arg, size_t size) {
    struct place_and_seat *p = arg;
    mproc_worker *worker = NULL, *other = NULL;
    const void *task = NULL;
    size_t n = 77;
    int r;
    CHECK_EQ(size, sizeof *p);
    CHECK_EQ(mproc_worker_join(&worker, p->place, MPROC_SEATS_MAX), -EINVAL);
    CHECK_OK(mproc_worker_join(&worker, p->place, p->seat));
    CHECK_EQ(mproc_worker_join(&other, p->place, p->seat), -EBUSY);
    CHECK(other == NULL);
    CHECK_EQ(mproc_worker_finish(worker, 0, NULL, 0), -EINVAL);
    while ((r = mproc_worker_take(worker, &task, &n, 10 * MPROC_MSEC)) != MPROC_ECLOSED) {
        if (r == -ETIMEDOUT) {
            continue;
        }
        struct iovec pieces[2] = {{"<", 1}, {(void *)(uintptr_t)task, n}};
        CHECK_OK(r);
        CHECK_EQ(mproc_worker_take(worker, &task, &n, 0), -EINVAL); /* one at a time */
        CHECK_EQ(mproc_worker_finish(worker, 1, pieces, 2), -EINVAL);
        CHECK_EQ(mproc_worker_finish(worker, 0, pieces, -1), -EINVAL);
        CHECK_OK(mproc_worker_finish(worker, n == 0 ? 12 : 0, pieces, n == 0 ? 0 : 2));
    }
    CHECK_GE(mproc_worker_done(worker), 1);
    mproc_worker_drop(worker);
    mproc_worker_drop(NULL);
    return 0;
}

static int start_by_steps(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    struct place_and_seat p = {place, seat};
    mproc_method *method = arg;
    return mproc_process_start(out, work_by_steps, &p, sizeof p,
                               &(mproc_process_options){.method = *method});
}

TEST_METHODS(pool_worker_step_by_step) {
    mproc_pool_options options = {.workers = 1, .start = start_by_steps, .start_arg = &method};
    mproc_pool *pool = pool_with(&options);
    long long three = 3;
    gives(put(pool, "abc", NULL), "<abc");
    CHECK_EQ(number(submit(pool, square, &three, sizeof three)), 9);
    CHECK_EQ(outcome(put(pool, "", NULL)).code, 12);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    finish(pool);
}

/* ---------------------------------------------------------------- buffers that go along */

static char *bytes_of(mproc_buffer *buffer) {
    return mproc_buffer_data(buffer);
}

/* "die" kills the worker, once; else the result takes the task's buffer along, and a new one. */
static int work_on_buffers(void *arg, size_t size) {
    struct place_and_seat *p = arg;
    mproc_worker *worker = NULL;
    const void *task = NULL;
    int r;
    CHECK_EQ(size, sizeof *p);
    CHECK_OK(mproc_worker_join(&worker, p->place, p->seat));
    CHECK(mproc_worker_buffer(worker, 0) == NULL);
    while ((r = mproc_worker_take(worker, &task, &size, MPROC_FOREVER)) != MPROC_ECLOSED) {
        CHECK_OK(r);
        mproc_buffer *both[2] = {mproc_worker_buffer(worker, 0), made_buffer(100000)};
        CHECK(both[0] != NULL && mproc_worker_buffer(worker, 1) == NULL);
        bytes_of(both[0])[0]++;
        bytes_of(both[1])[0] = 'r';
        if (size == 3 && bytes_of(both[0])[0] == 1) {
            (void)raise(SIGKILL);
        }
        struct iovec piece = {"done", 4};
        CHECK_EQ(mproc_worker_finish_with(worker, &piece, -1, both, 2), -EINVAL);
        CHECK_OK(mproc_worker_finish_with(worker, &piece, 1, both, 2));
        mproc_drop(both[1]);
    }
    mproc_worker_drop(worker);
    return 0;
}

static int start_on_buffers(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    struct place_and_seat p = {place, seat};
    mproc_method *method = arg;
    return mproc_process_start(out, work_on_buffers, &p, sizeof p,
                               &(mproc_process_options){.method = *method});
}

/* The task has a hold of its own, also while it waits for its turn or for another try. */
static void send_buffer(mproc_pool *pool, const char *text, unsigned retries, char after) {
    mproc_buffer *buffer = made_buffer(50000);
    bytes_of(buffer)[0] = 0;
    mproc_task *task = put(
        pool, text, &(mproc_task_options){.buffers = &buffer, .nbuffers = 1, .retries = retries});
    CHECK_OK(mproc_hold(buffer));
    mproc_drop(buffer);
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    const void *data;
    size_t size;
    CHECK_OK(mproc_task_result(task, &data, &size));
    CHECK_MEM(data, "done", 4);
    CHECK(mproc_task_buffer(task, 0) == buffer);
    CHECK_EQ(bytes_of(buffer)[0], after);
    CHECK_EQ(mproc_holds(buffer), 1);
    CHECK_EQ(bytes_of(mproc_task_buffer(task, 1))[0], 'r');
    CHECK(mproc_task_buffer(task, 2) == NULL);
    mproc_drop(buffer);
    mproc_task_drop(task);
}

TEST_METHODS(pool_tasks_and_results_take_buffers_along) {
    for (unsigned ahead = 0; ahead < 2; ahead++) {
        mproc_pool_options options = {
            .workers = 1, .start = start_on_buffers, .start_arg = &method, .ahead = ahead};
        mproc_pool *pool = pool_with(&options);
        send_buffer(pool, "text", 0, 1);
        send_buffer(pool, "die", 1, 2);
        mproc_pool_close(pool);
        CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
        finish(pool);
    }
}

/* ---------------------------------------------------------------- more and fewer */

static void await_workers(mproc_pool *pool, size_t n) {
    while (mproc_pool_workers(pool, NULL, 0) != n) {
        collect(pool, MPROC_MSEC);
    }
}

TEST_METHODS(pool_grows_and_shrinks) {
    mproc_pool_options options = {.workers = 1, .most = 5, .method = method};
    mproc_pool *pool = pool_with(&options);
    struct gate *gate = gate_new();
    mproc_task *tasks[5];
    CHECK_EQ(mproc_pool_resize(pool, 0), -EINVAL);
    CHECK_EQ(mproc_pool_resize(pool, 6), -EINVAL);
    for (int i = 0; i < 5; i++) {
        tasks[i] = submit(pool, pass_gate, &gate, sizeof gate);
    }
    CHECK_OK(mproc_pool_resize(pool, 5));
    await_word(&gate->entered, 5); /* all at once */
    CHECK_OK(mproc_pool_resize(pool, 2));
    mproc__store32(&gate->opened, 1);
    CHECK_OK(mproc_task_wait_all(tasks, 5, MPROC_FOREVER));
    await_workers(pool, 2);
    CHECK_OK(mproc_pool_resize(pool, 3));
    await_workers(pool, 3);
    for (int i = 0; i < 5; i++) {
        CHECK_OK(outcome(tasks[i]).code);
    }
    mproc_pool_close(pool);
    CHECK_EQ(mproc_pool_resize(pool, 1), MPROC_ECLOSED);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    mproc_free(gate);
    finish(pool);
}

/* A worker that is told to leave is killed instead: nobody is missing, nobody is too many. */
TEST(pool_shrinks_beside_deaths) {
    mproc_pool_options options = {.workers = 4};
    mproc_pool *pool = pool_with(&options);
    unsigned random = 7;
    for (int i = 0; i < 60; i++) {
        pid_t pids[64];
        size_t n = mproc_pool_workers(pool, pids, 64);
        CHECK_LE(n, 64);
        if (n > 0) {
            random = random * 1664525 + 1013904223;
            pid_t pid = pids[(random >> 8) % n];
            CHECK_GT(pid, 0); /* another number would be a group's */
            (void)kill(pid, SIGKILL);
        }
        CHECK_OK(mproc_pool_resize(pool, 1 + (random >> 20) % 6));
        collect(pool, MPROC_MSEC);
    }
    CHECK_OK(mproc_pool_resize(pool, 3));
    await_workers(pool, 3);
    check(pool);
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    finish(pool);
}

/* ---------------------------------------------------------------- the descriptor */

static bool is_readable(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    return poll(&one, 1, 0) == 1;
}

static void await_readable(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    CHECK_EQ(poll(&one, 1, -1), 1);
}

TEST_METHODS(pool_descriptor_tells_of_results) {
    mproc_pool *pool = pool_of(method, 2);
    int fd = mproc_pool_fd(pool);
    CHECK_GE(fd, 0);
    CHECK_EQ(mproc_pool_fd(pool), fd);
    for (long long i = 0; i < 50; i++) {
        mproc_task *task = submit(pool, square, &i, sizeof i);
        while (!mproc_task_is_done(task)) {
            await_readable(fd);
            int r = mproc_pool_collect(pool, 0);
            CHECK(r == 0 || r == -ETIMEDOUT);
        }
        CHECK_EQ(number(task), i * i);
    }
    CHECK(!is_readable(fd));
    finish(pool);
}

TEST_METHODS(pool_descriptor_tells_of_deaths) {
    mproc_pool *pool = pool_of(method, 1);
    int fd = mproc_pool_fd(pool);
    long long two = 2;
    for (int i = 0; i < 3; i++) {
        mproc_task *task = submit(pool, die_by, &(int){3}, sizeof(int));
        while (!mproc_task_is_done(task)) {
            await_readable(fd);
            collect(pool, 0);
        }
        CHECK_EQ(outcome(task).exitcode, 3);
    }
    CHECK_EQ(number(submit(pool, square, &two, sizeof two)), 4);
    finish(pool);
}

/* Nothing comes: what is due is told by the timer. */
TEST(pool_descriptor_tells_of_times) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task_options options = {
        .timeout = 30 * MPROC_MSEC, .retries = 2, .pause = 30 * MPROC_MSEC};
    int fd = mproc_pool_fd(pool);
    mproc_task *task = submit_with(pool, pass_gate, &gate, sizeof gate, &options);
    collect(pool, 0);
    while (!mproc_task_is_done(task)) {
        await_readable(fd);
        collect(pool, 0);
    }
    mproc_task_error error = outcome(task);
    CHECK_EQ(error.code, -ETIMEDOUT);
    CHECK_EQ(error.tries, 3);
    mproc_free(gate);
    finish(pool);
}

/* The same where nobody has collected since the task was put. */
TEST(pool_descriptor_tells_of_the_time_of_a_task_that_was_just_put) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    mproc_task_options options = {.timeout = 30 * MPROC_MSEC};
    int fd = mproc_pool_fd(pool);
    mproc_task *task = submit_with(pool, pass_gate, &gate, sizeof gate, &options);
    while (!mproc_task_is_done(task)) {
        await_readable(fd);
        collect(pool, 0);
    }
    CHECK_EQ(outcome(task).code, -ETIMEDOUT);
    mproc_free(gate);
    finish(pool);
}

/* A resize could not start the only worker: that is tried again when a pause has passed. */
TEST(pool_descriptor_tells_of_a_worker_that_is_still_to_be_started) {
    struct starter s = {.method = MPROC_FORK, .refuse = -EAGAIN};
    mproc_pool_options options = started_by(&s, 1);
    options.idle = 1;
    options.patience = 60 * MPROC_SEC;
    mproc_pool *pool = pool_with(&options);
    int fd = mproc_pool_fd(pool);
    CHECK_OK(mproc_pool_resize(pool, 1));
    CHECK_EQ(s.started, 0);
    s.refuse = 0;
    mproc_task *task = put(pool, "abc", NULL);
    while (!mproc_task_is_done(task)) {
        await_readable(fd);
        collect(pool, 0);
    }
    gives(task, "cba");
    finish(pool);
}

static void *cancel_it(void *arg) {
    CHECK_OK(mproc_task_cancel(arg));
    return NULL;
}

/* What another thread has done is told, too. */
TEST(pool_descriptor_tells_of_other_threads) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    struct gate *gate = gate_new();
    int fd = mproc_pool_fd(pool);
    pthread_t thread;
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    mproc_task *waiting = submit(pool, pass_gate, &gate, sizeof gate);
    CHECK(!is_readable(fd));
    CHECK_OK(pthread_create(&thread, NULL, cancel_it, waiting));
    await_readable(fd);
    CHECK_OK(pthread_join(thread, NULL));
    collect(pool, 0);
    CHECK(!is_readable(fd));
    mproc__store32(&gate->opened, 1);
    CHECK_OK(outcome(running).code);
    CHECK_EQ(outcome(waiting).code, -ECANCELED);
    mproc_free(gate);
    finish(pool);
}

/* In the loop of somebody else, who has other descriptors, too. */
TEST(pool_descriptor_in_an_epoll) {
    mproc_pool *pools[2] = {pool_of(MPROC_FORK, 1), pool_of(MPROC_FORK, 1)};
    mproc_task *tasks[2][100];
    size_t done[2] = {0, 0};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        CHECK_OK(epoll_ctl(loop, EPOLL_CTL_ADD, mproc_pool_fd(pools[i]), &event));
        for (long long n = 0; n < 100; n++) {
            tasks[i][n] = submit(pools[i], square, &n, sizeof n);
        }
    }
    while (done[0] < 100 || done[1] < 100) {
        struct epoll_event event;
        CHECK_EQ(epoll_wait(loop, &event, 1, -1), 1);
        unsigned i = event.data.u32;
        collect(pools[i], 0);
        while (done[i] < 100 && mproc_task_is_done(tasks[i][done[i]])) {
            CHECK_EQ(number(tasks[i][done[i]]), (long long)(done[i] * done[i]));
            done[i]++;
        }
    }
    close(loop);
    finish(pools[0]);
    finish(pools[1]);
}

TEST(pool_descriptor_costs_three) {
    size_t before = test_open_fds();
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    struct rlimit all, few;
    int next = dup(0);
    close(next);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &all));
    for (rlim_t more = 0; more < 3; more++) {
        few = (struct rlimit){(rlim_t)next + more, all.rlim_max};
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
        CHECK_EQ(mproc_pool_fd(pool), -EMFILE);
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &all));
        CHECK_EQ(test_open_fds(), before + 2);
    }
    CHECK_GE(mproc_pool_fd(pool), 0);
    CHECK_EQ(test_open_fds(), before + 5);
    finish(pool);
    CHECK_EQ(test_open_fds(), before);
}

/* A task that closes all descriptors closes the worker's socket; another one is made. */
static int close_all(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    for (int fd = 3; fd < 100; fd++) {
        close(fd);
    }
    return 0;
}

/* The same, and other sockets stand in the place of what was closed. */
static int replace_all(const void *in, size_t size, mproc_result *result) {
    int ends[2] = {-1, -1};
    (void)close_all(in, size, result);
    while (ends[0] < 60) {
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    }
    return 0;
}

TEST(pool_descriptor_beside_tasks_that_close_descriptors) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    int fd = mproc_pool_fd(pool);
    for (int i = 0; i < 6; i++) {
        mproc_task *task = submit(pool, i % 2 == 0 ? close_all : replace_all, NULL, 0);
        while (!mproc_task_is_done(task)) {
            await_readable(fd);
            collect(pool, 0);
        }
        CHECK_OK(outcome(task).code);
    }
    finish(pool);
}

TEST(pool_collects_for_whom_it_may) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    long long two = 2;
    CHECK_EQ(mproc_pool_collect(pool, 0), -ETIMEDOUT);
    mproc_task *task = submit(pool, square, &two, sizeof two);
    CHECK_EQ(mproc_pool_open(pool), 1);
    CHECK_OK(mproc_pool_collect(pool, MPROC_FOREVER));
    CHECK_EQ(mproc_pool_open(pool), 0);
    CHECK(mproc_task_is_done(task));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(mproc_pool_collect(pool, 0), MPROC_ESTRANGER);
        CHECK_EQ(mproc_pool_fd(pool), MPROC_ESTRANGER);
        CHECK_EQ(mproc_pool_resize(pool, 2), MPROC_ESTRANGER);
        CHECK_EQ(mproc_pool_open(pool), 0);
        CHECK_EQ(mproc_task_kill(task), -EBUSY);
        mproc_pool_drop(pool);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    mproc_reap();
    CHECK_EQ(number(task), 4);
    finish(pool);
}

/* ---------------------------------------------------------------- maps */

TEST(pool_map_of_nothing) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    CHECK_OK(mproc_pool_map(pool, (mproc_item_fn)(void (*)(void))echo, NULL, 8, NULL, 8, 0, NULL));
    mproc_pool_close(pool);
    CHECK_EQ(mproc_pool_map(pool, (mproc_item_fn)(void (*)(void))echo, NULL, 8, NULL, 8, 0, NULL),
             MPROC_ECLOSED);
    finish(pool);
}

TEST(pool_refuses_bad_options) {
    mproc_pool *pool = NULL;
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 3, .most = 2}), -EINVAL);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.most = MPROC_SEATS_MAX + 1}), -EINVAL);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.end = end}), -EINVAL);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.patience = -1}), -EINVAL);
    CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.handler = reverse, .handler_arg = &pool}),
             -EINVAL);
    CHECK(pool == NULL);
}
