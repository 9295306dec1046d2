/*
 * errors_pool.c - errors of pools, tasks, workers and task queues
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/object.h"
#include "errors.h"
#include "pool/engine.h"

#include <sys/uio.h>

/* ---------------------------------------------------------------- tasks */

static int do_nothing(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return 0;
}

static int do_for_ever(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    stay();
}

static int write_too_much(const void *in, size_t size, mproc_result *result) {
    (void)size;
    return mproc_result_write(result, in, (size_t)1 << 60);
}

static int handle(void *arg, const void *in, size_t size, mproc_result *result) {
    (void)arg;
    return do_nothing(in, size, result);
}

static int fail_init(void *arg) {
    (void)arg;
    return 9;
}

static int never_joins(void *arg, size_t size) {
    (void)arg, (void)size;
    stay();
}

/* A worker that leaves all seats to this test. */
static int start_idle(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    (void)arg, (void)place, (void)seat;
    return mproc_process_start(out, never_joins, NULL, 0, NULL);
}

static mproc_pool *pool_with(mproc_pool_options o) {
    mproc_pool *pool = NULL;
    o.workers = 1;
    CHECK_OK(mproc_pool_new(&pool, &o));
    return pool;
}

static mproc_pool *plain_pool(void) {
    return pool_with((mproc_pool_options){0});
}

static mproc_pool *pool_with_handler(void) {
    return pool_with((mproc_pool_options){.handler = handle});
}

static mproc_pool *closed(mproc_pool *pool) {
    mproc_pool_close(pool);
    return pool;
}

static int submit(void *pool) {
    mproc_task *task;
    return mproc_pool_submit(pool, do_nothing, "x", 1, NULL, &task);
}

static int submit_large(mproc_pool *pool, size_t size) {
    static char bytes[100000];
    mproc_task *task;
    return mproc_pool_submit(pool, do_nothing, bytes, size, NULL, &task);
}

static int put_large(mproc_pool *pool, size_t size) {
    static char bytes[100000];
    struct iovec piece = {bytes, size};
    mproc_task *task;
    return mproc_pool_put(pool, &piece, 1, NULL, &task);
}

static mproc_task *task_of(mproc_pool *pool, mproc_task_fn fn) {
    mproc_task *task = NULL;
    CHECK_OK(mproc_pool_submit(pool, fn, "x", 1, NULL, &task));
    return task;
}

static mproc_task *endless(void) {
    return task_of(plain_pool(), do_for_ever);
}

static int result_of(mproc_task *task) {
    const void *data;
    size_t size;
    return mproc_task_result(task, &data, &size);
}

static mproc_task *done_task(void) {
    mproc_task *task = task_of(plain_pool(), do_nothing);
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    return task;
}

/* Gives tasks to a pool whose workers never come to life, until it is broken. It tries again from
 * time to time, so a task may be taken once more. */
static int until_broken(int (*give)(void *pool)) {
    mproc_pool *pool = pool_with((mproc_pool_options){.init = fail_init, .handler = handle});
    int r = give(pool);
    while (r == 0) {
        (void)!mproc_pool_collect(pool, 10 * MPROC_MSEC);
        r = give(pool);
    }
    return r;
}

PROVOKE(mproc_result_write, -ENOMEM) {
    mproc_task *task = task_of(plain_pool(), write_too_much);
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    return result_of(task);
}

/* ---------------------------------------------------------------- pool: giving tasks */

static int new_on(void *engine) {
    mproc_pool *pool = NULL;
    return mproc_pool_new(&pool, &(mproc_pool_options){.engine = engine});
}

PROVOKE(mproc_pool_new, MPROC_ESTRANGER) {
    begin();
    return in_child(new_on, made_engine());
}

PROVOKE(mproc_pool_new, MPROC_EENGINE) {
    begin();
    mproc_engine *engine = made_engine();
    CHECK(engine != NULL);
    CHECK_OK(mproc_process_kill(engine->carrier));
    CHECK_OK(mproc_process_join(engine->carrier, MPROC_FOREVER));
    return new_on(engine);
}

PROVOKE(mproc_engine_new, MPROC_EENGINE) {
    mproc_engine *engine = NULL;
    begin();
    return mproc_engine_new(&engine, "nosuch", NULL);
}

PROVOKE(mproc_engine_new, -EIO) {
    mproc_engine *engine = NULL;
    begin();
    CHECK_OK(setenv("MPROC_TEST_RANK", "0", 1));
    CHECK_OK(setenv("MPROC_TEST_RANKS", "1", 1));
    CHECK_OK(setenv("MPROC_TEST_FAILS", "1", 1));
    return mproc_engine_new(&engine, "sockets", NULL);
}

PROVOKE(mproc_engine_new, -EINVAL) {
    mproc_engine *engine = NULL;
    begin();
    return mproc_engine_new(&engine, "mpi/../x", NULL);
}

PROVOKE(mproc_pool_new, -EINVAL) {
    mproc_pool *pool;
    const mproc_pool_options o = {.workers = MPROC_SEATS_MAX + 1};
    return mproc_pool_new(&pool, &o);
}

PROVOKE(mproc_pool_submit, MPROC_ECLOSED) {
    return submit(closed(plain_pool()));
}

PROVOKE(mproc_pool_submit, MPROC_EFUNCTION) {
    static char code[16];
    void *address = code;
    mproc_task_fn fn;
    mproc_task *task;
    memcpy(&fn, &address, sizeof fn);
    return mproc_pool_submit(plain_pool(), fn, "x", 1, NULL, &task);
}

PROVOKE(mproc_pool_submit, MPROC_ESTRANGER) {
    return in_child(submit, plain_pool());
}

PROVOKE(mproc_pool_submit, -EINVAL) {
    mproc_task *task;
    return mproc_pool_submit(plain_pool(), NULL, "x", 1, NULL, &task);
}

PROVOKE(mproc_pool_submit, -ENOMEM) {
    begin_small();
    mproc_pool *pool = plain_pool();
    fill_arena();
    return submit_large(pool, 100000);
}

PROVOKE(mproc_pool_submit, MPROC_ETOOBIG) {
    return submit_large(plain_pool(), (size_t)1 << 60);
}

PROVOKE(mproc_pool_submit, MPROC_EDIED) {
    return until_broken(submit);
}

CANNOT(mproc_pool_submit, MPROC_EBUILD,
       "a task's failure, not the call's: a worker that has another build of a library")

PROVOKE(mproc_pool_put, MPROC_ECLOSED) {
    return put_large(closed(pool_with_handler()), 1);
}

static int put_one(void *pool) {
    return put_large(pool, 1);
}

PROVOKE(mproc_pool_put, MPROC_ESTRANGER) {
    return in_child(put_one, pool_with_handler());
}

PROVOKE(mproc_pool_put, -EINVAL) {
    return put_one(plain_pool());
}

PROVOKE(mproc_pool_put, -ENOMEM) {
    begin_small();
    mproc_pool *pool = pool_with_handler();
    fill_arena();
    return put_large(pool, 100000);
}

PROVOKE(mproc_pool_put, MPROC_ETOOBIG) {
    return put_large(pool_with_handler(), (size_t)1 << 60);
}

PROVOKE(mproc_pool_put, MPROC_EDIED) {
    return until_broken(put_one);
}

static void ignore_part(void *arg, void *parts, size_t part, const mproc_message *result,
                        const mproc_task_error *error) {
    (void)arg, (void)parts, (void)part, (void)result, (void)error;
}

static mproc_pool *pool_with_parts(void) {
    return pool_with((mproc_pool_options){.handler = handle, .part = ignore_part});
}

static int put_large_part(mproc_pool *pool, size_t size) {
    static char bytes[100000];
    struct iovec piece = {bytes, size};
    return mproc_pool_put_part(pool, &piece, 1, NULL, 0);
}

static int put_part(void *pool) {
    return put_large_part(pool, 1);
}

PROVOKE(mproc_pool_put_part, -EINVAL) {
    return put_part(pool_with_handler());
}

PROVOKE(mproc_pool_put_part, -EBUSY) {
    mproc_pool *pool = pool_with_parts();
    CHECK_OK(mproc_pool_rank(pool, 1));
    return put_part(pool);
}

PROVOKE(mproc_pool_put_part, MPROC_ECLOSED) {
    return put_part(closed(pool_with_parts()));
}

PROVOKE(mproc_pool_put_part, MPROC_ESTRANGER) {
    return in_child(put_part, pool_with_parts());
}

PROVOKE(mproc_pool_put_part, -ENOMEM) {
    begin_small();
    mproc_pool *pool = pool_with_parts();
    fill_arena();
    return put_large_part(pool, 100000);
}

PROVOKE(mproc_pool_put_part, MPROC_ETOOBIG) {
    return put_large_part(pool_with_parts(), (size_t)1 << 60);
}

PROVOKE(mproc_pool_put_part, MPROC_EDIED) {
    mproc_pool *pool =
        pool_with((mproc_pool_options){.init = fail_init, .handler = handle, .part = ignore_part});
    int r = put_part(pool);
    while (r == 0) {
        (void)!mproc_pool_collect(pool, 10 * MPROC_MSEC);
        r = put_part(pool);
    }
    return r;
}

static int put_many_parts(mproc_pool *pool) {
    struct iovec piece = {"x", 1};
    size_t put = 7;
    int r = mproc_pool_put_parts(pool, &piece, 1, NULL, 0, &put);
    CHECK_EQ(put, 0);
    return r;
}

PROVOKE(mproc_pool_put_parts, -EINVAL) {
    return put_many_parts(pool_with_handler());
}

PROVOKE(mproc_pool_put_parts, -EBUSY) {
    mproc_pool *pool = pool_with_parts();
    CHECK_OK(mproc_pool_rank(pool, 1));
    return put_many_parts(pool);
}

static int rank(void *pool) {
    return mproc_pool_rank(pool, 1);
}

PROVOKE(mproc_pool_rank, -EINVAL) {
    return mproc_pool_rank(plain_pool(), 0);
}

PROVOKE(mproc_pool_rank, MPROC_ESTRANGER) {
    return in_child(rank, plain_pool());
}

/* ---------------------------------------------------------------- task */

static int wait_for(void *task) {
    return mproc_task_wait(task, 0);
}

PROVOKE(mproc_task_wait, -ETIMEDOUT) {
    return wait_for(endless());
}

PROVOKE(mproc_task_wait, -EINTR) {
    mproc_task *task = endless();
    interrupt();
    return mproc_task_wait(task, without_end);
}

PROVOKE(mproc_task_wait, MPROC_ESTRANGER) {
    return in_child(wait_for, endless());
}

static int wait_for_any(mproc_task *task, int64_t timeout) {
    size_t index;
    return mproc_task_wait_any(&task, 1, timeout, &index);
}

static int look_at_any(void *task) {
    return wait_for_any(task, 0);
}

static mproc_task **of_two_pools(void) {
    static mproc_task *tasks[2];
    tasks[0] = endless();
    tasks[1] = endless();
    return tasks;
}

PROVOKE(mproc_task_wait_any, -EINVAL) {
    size_t index;
    return mproc_task_wait_any(of_two_pools(), 2, 0, &index);
}

PROVOKE(mproc_task_wait_any, -ETIMEDOUT) {
    return look_at_any(endless());
}

PROVOKE(mproc_task_wait_any, -EINTR) {
    mproc_task *task = endless();
    interrupt();
    return wait_for_any(task, without_end);
}

PROVOKE(mproc_task_wait_any, MPROC_ESTRANGER) {
    return in_child(look_at_any, endless());
}

static int wait_for_all(mproc_task *task, int64_t timeout) {
    return mproc_task_wait_all(&task, 1, timeout);
}

static int look_at_all(void *task) {
    return wait_for_all(task, 0);
}

PROVOKE(mproc_task_wait_all, -EINVAL) {
    return mproc_task_wait_all(of_two_pools(), 2, 0);
}

PROVOKE(mproc_task_wait_all, -ETIMEDOUT) {
    return look_at_all(endless());
}

PROVOKE(mproc_task_wait_all, -EINTR) {
    mproc_task *task = endless();
    interrupt();
    return wait_for_all(task, without_end);
}

PROVOKE(mproc_task_wait_all, MPROC_ESTRANGER) {
    return in_child(look_at_all, endless());
}

PROVOKE(mproc_task_result, -EAGAIN) {
    return result_of(endless());
}

static int cancel(void *task) {
    return mproc_task_cancel(task);
}

/* What the task then failed with. */
PROVOKE(mproc_task_cancel, -ECANCELED) {
    mproc_pool *pool = pool_with((mproc_pool_options){.start = start_idle});
    mproc_task *task = task_of(pool, do_nothing);
    CHECK_OK(cancel(task));
    return result_of(task);
}

PROVOKE(mproc_task_cancel, -EBUSY) {
    return cancel(done_task());
}

PROVOKE(mproc_task_cancel, MPROC_ESTRANGER) {
    return in_child(cancel, endless());
}

static int kill_task(void *task) {
    return mproc_task_kill(task);
}

PROVOKE(mproc_task_kill, -ECANCELED) {
    mproc_task *task = endless();
    CHECK_OK(kill_task(task));
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    return result_of(task);
}

PROVOKE(mproc_task_kill, -EBUSY) {
    return kill_task(done_task());
}

PROVOKE(mproc_task_kill, MPROC_ESTRANGER) {
    return in_child(kill_task, endless());
}

/* ---------------------------------------------------------------- pool: the rest */

static int collect_now(void *pool) {
    return mproc_pool_collect(pool, 0);
}

PROVOKE(mproc_pool_collect, -ETIMEDOUT) {
    return collect_now(plain_pool());
}

PROVOKE(mproc_pool_collect, -EINTR) {
    mproc_pool *pool = plain_pool();
    interrupt();
    return mproc_pool_collect(pool, without_end);
}

PROVOKE(mproc_pool_collect, MPROC_ESTRANGER) {
    return in_child(collect_now, plain_pool());
}

static int notify_now(void *pool) {
    return mproc_pool_notify(pool);
}

PROVOKE(mproc_pool_notify, MPROC_ESTRANGER) {
    return in_child(notify_now, plain_pool());
}

static int note_now(void *pool) {
    return mproc_pool_note_wait(pool);
}

PROVOKE(mproc_pool_note_wait, MPROC_ESTRANGER) {
    return in_child(note_now, plain_pool());
}

static int descriptor(void *pool) {
    return mproc_pool_fd(pool);
}

PROVOKE(mproc_pool_fd, -EMFILE) {
    mproc_pool *pool = plain_pool();
    no_descriptors();
    return descriptor(pool);
}

PROVOKE(mproc_pool_fd, -ENFILE) {
    mproc_pool *pool = plain_pool();
    deny(SYS_socket, -1, ENFILE);
    return descriptor(pool);
}

PROVOKE(mproc_pool_fd, -ENOMEM) {
    mproc_pool *pool = plain_pool();
    deny(SYS_epoll_create1, -1, ENOMEM);
    return descriptor(pool);
}

PROVOKE(mproc_pool_fd, MPROC_ESTRANGER) {
    return in_child(descriptor, plain_pool());
}

/* Long enough for a signal to come. */
static int linger(const void *in, void *out, void *context) {
    (void)in, (void)out, (void)context;
    (void)usleep(20000);
    return 0;
}

PROVOKE(mproc_pool_map, -EINTR) {
    mproc_pool *pool = plain_pool();
    const mproc_map_options o = {.chunk = 1, .stop_on_signal = 1};
    interrupt();
    return mproc_pool_map(pool, linger, NULL, 0, NULL, 0, 100000, &o);
}

static int resize(void *pool) {
    return mproc_pool_resize(pool, 1);
}

PROVOKE(mproc_pool_resize, -EINVAL) {
    return mproc_pool_resize(plain_pool(), 0);
}

PROVOKE(mproc_pool_resize, MPROC_ECLOSED) {
    return resize(closed(plain_pool()));
}

PROVOKE(mproc_pool_resize, MPROC_ESTRANGER) {
    return in_child(resize, plain_pool());
}

/* Until a segment is missing: a worker is told to leave by a message. */
static void fill_task_queue(mproc_pool *pool) {
    struct iovec nothing = {NULL, 0};
    uint64_t ticket;
    while (mproc_taskq_put(mproc__place_tasks(mproc_pool_workplace(pool)), &nothing, 1, &ticket) ==
           0) {
    }
}

PROVOKE(mproc_pool_resize, -ENOMEM) {
    begin_small();
    mproc_pool *pool = NULL;
    const mproc_pool_options o = {.workers = 64, .start = start_idle};
    CHECK_OK(mproc_pool_new(&pool, &o));
    fill_arena();
    fill_task_queue(pool);
    return resize(pool);
}

PROVOKE(mproc_pool_join, -EBUSY) {
    return mproc_pool_join(plain_pool(), 0);
}

/* Closed, with a task that does not end. */
static mproc_pool *unfinished(void) {
    mproc_pool *pool = plain_pool();
    (void)task_of(pool, do_for_ever);
    return closed(pool);
}

PROVOKE(mproc_pool_join, -ETIMEDOUT) {
    return mproc_pool_join(unfinished(), 0);
}

PROVOKE(mproc_pool_join, -EINTR) {
    mproc_pool *pool = unfinished();
    interrupt();
    return mproc_pool_join(pool, without_end);
}

static int check_pool(void *pool) {
    return mproc_pool_check(pool, NULL, 0);
}

PROVOKE(mproc_pool_check, MPROC_ECORRUPT) {
    mproc_pool *pool = plain_pool();
    ((struct mproc__object *)(void *)mproc_pool_workplace(pool))->magic = 0;
    return check_pool(pool);
}

PROVOKE(mproc_pool_check, MPROC_ESTRANGER) {
    return in_child(check_pool, plain_pool());
}

/* ---------------------------------------------------------------- worker */

static mproc_pool *workerless(void) {
    return pool_with((mproc_pool_options){.most = 8, .start = start_idle});
}

static int join_seat(mproc_pool *pool, unsigned seat) {
    mproc_worker *worker;
    return mproc_worker_join(&worker, mproc_pool_workplace(pool), seat);
}

static mproc_worker *worker_of(mproc_pool *pool) {
    mproc_worker *worker = NULL;
    CHECK_OK(mproc_worker_join(&worker, mproc_pool_workplace(pool), 5));
    return worker;
}

PROVOKE(mproc_worker_join, -EBUSY) {
    mproc_pool *pool = workerless();
    CHECK_OK(join_seat(pool, 5));
    return join_seat(pool, 5);
}

PROVOKE(mproc_worker_join, -EINVAL) {
    return join_seat(workerless(), 8);
}

PROVOKE(mproc_worker_join, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    mproc_pool *pool = workerless();
    no_malloc();
    return join_seat(pool, 5);
}

static int take(mproc_worker *worker, int64_t timeout) {
    const void *task;
    size_t size;
    return mproc_worker_take(worker, &task, &size, timeout);
}

PROVOKE(mproc_worker_take, MPROC_ECLOSED) {
    return take(worker_of(closed(workerless())), MPROC_FOREVER);
}

PROVOKE(mproc_worker_take, -ETIMEDOUT) {
    return take(worker_of(workerless()), 0);
}

PROVOKE(mproc_worker_take, -EINTR) {
    mproc_worker *worker = worker_of(workerless());
    interrupt();
    return take(worker, without_end);
}

/* A worker that has a task. */
static mproc_worker *at_work(void) {
    mproc_pool *pool = workerless();
    mproc_worker *worker = worker_of(pool);
    CHECK_OK(put_one(pool));
    CHECK_OK(take(worker, 0));
    return worker;
}

static int hand_in(mproc_worker *worker, size_t size) {
    static char bytes[100000];
    const struct iovec piece = {bytes, size};
    return mproc_worker_finish(worker, 0, &piece, 1);
}

static int hand_in_little(void *worker) {
    return hand_in(worker, 1);
}

PROVOKE(mproc_worker_finish, -ENOMEM) {
    begin_small();
    mproc_worker *worker = at_work();
    fill_arena();
    return hand_in(worker, 100000);
}

PROVOKE(mproc_worker_finish, MPROC_ETOOBIG) {
    return hand_in(at_work(), (size_t)1 << 60);
}

CANNOT(mproc_worker_finish, -ECANCELED,
       "the owner kills the process that is told so, mostly before it could tell anybody")

PROVOKE(mproc_worker_finish, -EINVAL) {
    return hand_in_little(worker_of(workerless()));
}

PROVOKE(mproc_worker_finish, MPROC_ESTRANGER) {
    return in_child(hand_in_little, at_work());
}

/* ---------------------------------------------------------------- task queue */

static mproc_taskq *tasks_joined(void) {
    mproc_taskq *tasks = made_taskq(2);
    CHECK_OK(mproc_taskq_join(tasks, 0));
    return tasks;
}

static uint64_t ticket;

static int put_task(mproc_taskq *tasks, size_t size) {
    static char bytes[100000];
    const struct iovec piece = {bytes, size};
    return mproc_taskq_put(tasks, &piece, 1, &ticket);
}

static int take_task(mproc_taskq *tasks, int64_t timeout) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    return mproc_taskq_take(tasks, 0, &message, &ticket, timeout);
}

static int take_now(void *tasks) {
    return take_task(tasks, 0);
}

static int collect_result(mproc_taskq *tasks, int64_t timeout) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    return mproc_taskq_collect(tasks, &message, &ticket, timeout);
}

static int finish_task(mproc_taskq *tasks, size_t size) {
    static char bytes[100000];
    const struct iovec piece = {bytes, size};
    return mproc_taskq_finish(tasks, 0, &piece, 1);
}

static int finish_now(void *tasks) {
    return finish_task(tasks, 1);
}

/* The seat's worker, this process, has a task. */
static mproc_taskq *tasks_taken(void) {
    mproc_taskq *tasks = tasks_joined();
    CHECK_OK(put_task(tasks, 1));
    CHECK_OK(take_task(tasks, 0));
    return tasks;
}

static mproc_taskq *tasks_closed(void) {
    mproc_taskq *tasks = tasks_joined();
    mproc_taskq_close(tasks);
    return tasks;
}

static int new_tasks(unsigned seats) {
    mproc_taskq *tasks;
    return mproc_taskq_new(&tasks, seats);
}

PROVOKE(mproc_taskq_new, -EINVAL) {
    return new_tasks(0);
}

PROVOKE(mproc_taskq_new, MPROC_ETOOBIG) {
    begin_small();
    return new_tasks(MPROC_SEATS_MAX);
}

PROVOKE(mproc_taskq_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return new_tasks(1);
}

PROVOKE(mproc_taskq_put, MPROC_ECLOSED) {
    return put_task(tasks_closed(), 1);
}

PROVOKE(mproc_taskq_put, MPROC_ETOOBIG) {
    return put_task(tasks_joined(), (size_t)1 << 60);
}

PROVOKE(mproc_taskq_put, -ENOMEM) {
    begin_small();
    mproc_taskq *tasks = tasks_joined();
    fill_arena();
    return put_task(tasks, 100000);
}

PROVOKE(mproc_taskq_put, -EINVAL) {
    return mproc_taskq_put(tasks_joined(), NULL, -1, &ticket);
}

PROVOKE(mproc_taskq_collect, -ETIMEDOUT) {
    return collect_result(tasks_joined(), 0);
}

PROVOKE(mproc_taskq_collect, -EINTR) {
    mproc_taskq *tasks = tasks_joined();
    interrupt();
    return collect_result(tasks, without_end);
}

PROVOKE(mproc_taskq_collect, -ENOMEM) {
    begin_small();
    mproc_taskq *tasks = tasks_taken();
    CHECK_OK(finish_task(tasks, 500));
    fill_arena();
    return collect_result(tasks, 0);
}

PROVOKE(mproc_taskq_collect, -EAGAIN) {
    mproc_taskq *tasks = tasks_joined();
    CHECK_OK(mproc_taskq_notify(tasks));
    return collect_result(tasks, 0);
}

PROVOKE(mproc_taskq_notify, -ENOMEM) {
    begin_small();
    mproc_taskq *tasks = tasks_joined();
    fill_arena();
    int r;
    while ((r = mproc_taskq_notify(tasks)) == 0) {
    }
    return r;
}

PROVOKE(mproc_taskq_worker_died, -EINVAL) {
    return mproc_taskq_worker_died(tasks_joined(), 2, &ticket);
}

PROVOKE(mproc_taskq_join, -EBUSY) {
    return mproc_taskq_join(tasks_joined(), 0);
}

PROVOKE(mproc_taskq_join, -EINVAL) {
    return mproc_taskq_join(tasks_joined(), 2);
}

PROVOKE(mproc_taskq_take, MPROC_ECLOSED) {
    return take_task(tasks_closed(), MPROC_FOREVER);
}

PROVOKE(mproc_taskq_take, -ETIMEDOUT) {
    return take_now(tasks_joined());
}

PROVOKE(mproc_taskq_take, -EINTR) {
    mproc_taskq *tasks = tasks_joined();
    interrupt();
    return take_task(tasks, without_end);
}

PROVOKE(mproc_taskq_take, -ENOMEM) {
    begin_small();
    mproc_taskq *tasks = tasks_joined();
    CHECK_OK(put_task(tasks, 500));
    fill_arena();
    return take_now(tasks);
}

PROVOKE(mproc_taskq_take, MPROC_ESTRANGER) {
    return in_child(take_now, tasks_joined());
}

PROVOKE(mproc_taskq_finish, -ENOMEM) {
    begin_small();
    mproc_taskq *tasks = tasks_taken();
    fill_arena();
    return finish_task(tasks, 100000);
}

PROVOKE(mproc_taskq_finish, MPROC_ETOOBIG) {
    return finish_task(tasks_taken(), (size_t)1 << 60);
}

PROVOKE(mproc_taskq_finish, -EINVAL) {
    return finish_now(tasks_joined());
}

PROVOKE(mproc_taskq_finish, MPROC_ESTRANGER) {
    return in_child(finish_now, tasks_taken());
}

PROVOKE(mproc_taskq_check, MPROC_ECORRUPT) {
    return mproc_taskq_check((mproc_taskq *)(void *)made_lock(0), NULL, 0);
}
