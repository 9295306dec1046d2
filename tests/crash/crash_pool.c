/*
 * crash_pool.c - the pool: its worker, and its owner, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * A worker that dies fails at most the one task that it had, is replaced, and the pool goes on. An
 * owner that dies leaves nothing behind: no worker, no byte.
 */
#include "fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define TASKS 4
#define ITEMS 6

/* In crash_room(). */
struct scene {
    uint32_t done;   /* calls of the task's function, by all workers */
    uint32_t failed; /* tasks that died with their worker */
    uint32_t well;   /* the owner found everything as it should be */
    uint32_t begun;  /* a task that runs for ever has begun */
    size_t size;     /* of a task and of its result */
};

static struct scene *scene(void) {
    return crash_room();
}

static char text[32768];

static int echo(const void *in, size_t size, mproc_result *result) {
    return mproc_result_write(result, in, size);
}

/* The window ends in the last task. */
static int echo_and_mark(const void *in, size_t size, mproc_result *result) {
    if (__atomic_add_fetch(&scene()->done, 1, __ATOMIC_ACQ_REL) == TASKS) {
        crash_newborn_done();
    }
    return echo(in, size, result);
}

/* The same for tasks that are mere bytes. */
static int echo_bytes(void *arg, const void *task, size_t size, mproc_result *result) {
    (void)arg;
    return echo_and_mark(task, size, result);
}

static int run_for_ever(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    __atomic_store_n(&scene()->begun, 1, __ATOMIC_RELEASE);
    while (pause() != 0) {
    }
    return 0;
}

static int twice(const void *in, void *out, void *context) {
    (void)context;
    *(int *)out = 2 * *(const int *)in;
    return 0;
}

static void *small(void) {
    scene()->size = 40;
    return NULL;
}

static void *large(void) {
    scene()->size = 20000;
    return NULL;
}

static void no_teardown(void *object) {
    (void)object;
}

/* ---- what an owner does; it ends by abort() when something is wrong */

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static mproc_pool *new_pool(unsigned workers) {
    mproc_pool *pool;
    mproc_pool_options options = {.workers = workers};
    must(mproc_pool_new(&pool, &options) == 0);
    return pool;
}

static void end_pool(mproc_pool *pool) {
    char why[256];
    must(mproc_pool_check(pool, why, sizeof why) == 0);
    mproc_pool_close(pool);
    must(mproc_pool_join(pool, CRASH_SOON) == 0);
    mproc_pool_drop(pool);
}

static mproc_task *submit_with(mproc_pool *pool, mproc_task_fn fn, int number,
                               const mproc_task_options *options) {
    mproc_task *task;
    memset(text, number + 1, scene()->size);
    must(mproc_pool_submit(pool, fn, text, scene()->size, options, &task) == 0);
    return task;
}

static mproc_task *submit(mproc_pool *pool, mproc_task_fn fn, int number) {
    return submit_with(pool, fn, number, NULL);
}

/* True: the task has its result, whole. False: it died with its worker. */
static bool settle(mproc_task *task, int number) {
    const void *data;
    size_t size;
    must(mproc_task_wait(task, CRASH_SOON) == 0);
    int r = mproc_task_result(task, &data, &size);
    if (r == 0) {
        memset(text, number + 1, scene()->size);
        must(size == scene()->size && memcmp(data, text, size) == 0);
    } else {
        mproc_task_error error;
        mproc_task_failure(task, &error);
        must(r == MPROC_EDIED && error.code == r && error.exitcode == -9);
    }
    mproc_task_drop(task);
    return r == 0;
}

static void map_items(mproc_pool *pool) {
    int in[ITEMS], out[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        in[i] = i;
    }
    must(mproc_pool_map(pool, twice, in, sizeof in[0], out, sizeof out[0], ITEMS, NULL) == 0);
    for (int i = 0; i < ITEMS; i++) {
        must(out[i] == 2 * i);
    }
}

/* ---- the worker is killed */

static void own_a_victim(void *object) {
    (void)object;
    mproc_pool *pool = new_pool(1);
    mproc_task *tasks[TASKS];
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = submit(pool, echo_and_mark, i);
    }
    for (int i = 0; i < TASKS; i++) {
        scene()->failed += !settle(tasks[i], i);
    }
    must(settle(submit(pool, echo, 7), 7));
    map_items(pool);
    end_pool(pool);
    scene()->well = 1;
}

static void verify_owner(void *object) {
    (void)object;
    crash_orphans();
    crash_require(scene()->well);
    crash_require(scene()->failed <= 1);
}

/* The worker's death costs a try, and no task. */
static void count_end(mproc_task *task, void *arg) {
    unsigned *ends = arg;
    must(mproc_task_is_done(task));
    (*ends)++;
}

static void own_a_victim_and_try_again(void *object) {
    (void)object;
    unsigned ends = 0;
    mproc_pool *pool = new_pool(1);
    mproc_task_options options = {.done = count_end,
                                  .done_arg = &ends,
                                  .retries = 1,
                                  .timeout = CRASH_SOON,
                                  .memory = 1u << 30};
    mproc_task *tasks[TASKS];
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = submit_with(pool, echo_and_mark, i, &options);
    }
    must(mproc_task_wait_all(tasks, TASKS, CRASH_SOON) == 0);
    must(ends == TASKS);
    for (int i = 0; i < TASKS; i++) {
        must(settle(tasks[i], i));
    }
    must(settle(submit(pool, echo, 7), 7));
    end_pool(pool);
    scene()->well = 1;
}

/* Nobody waits: the descriptor has to tell. */
static void await_by_descriptor(mproc_pool *pool, mproc_task *task) {
    struct pollfd one = {mproc_pool_fd(pool), POLLIN, 0};
    must(one.fd >= 0);
    while (!mproc_task_is_done(task)) {
        must(poll(&one, 1, (int)(CRASH_SOON / MPROC_MSEC)) == 1);
        int r = mproc_pool_collect(pool, 0);
        must(r == 0 || r == -ETIMEDOUT);
    }
}

static mproc_task *put(mproc_pool *pool, int number) {
    mproc_task *task;
    memset(text, number + 1, scene()->size);
    struct iovec pieces[2] = {{text, 7}, {text + 7, scene()->size - 7}};
    must(mproc_pool_put(pool, pieces, 2, NULL, &task) == 0);
    return task;
}

static void own_a_victim_by_descriptor(void *object) {
    (void)object;
    mproc_pool *pool;
    mproc_pool_options options = {.workers = 1, .handler = echo_bytes};
    mproc_task *tasks[TASKS];
    must(mproc_pool_new(&pool, &options) == 0);
    must(mproc_pool_fd(pool) >= 0);
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = put(pool, i);
    }
    for (int i = 0; i < TASKS; i++) {
        await_by_descriptor(pool, tasks[i]);
        scene()->failed += !settle(tasks[i], i);
    }
    end_pool(pool);
    scene()->well = 1;
}

/* Parts are told of once each, with what they carried or with the death of their worker. */
static unsigned told[TASKS];

static void part_ended(void *arg, void *parts, size_t part, const mproc_message *result,
                       const mproc_task_error *error) {
    (void)arg;
    must(parts == told && part < TASKS);
    told[part]++;
    if (result != NULL) {
        memset(text, (int)part + 1, scene()->size);
        must(result->size == scene()->size && memcmp(result->data, text, result->size) == 0);
    } else {
        must(error->code == MPROC_EDIED && error->exitcode == -9);
        scene()->failed++;
    }
}

static void put_parts(mproc_pool *pool) {
    static char bytes[TASKS][32768];
    struct iovec pieces[TASKS];
    size_t put = 0;
    for (int i = 0; i < TASKS; i++) {
        told[i] = 0;
        memset(bytes[i], i + 1, scene()->size);
        pieces[i] = (struct iovec){bytes[i], scene()->size};
    }
    must(mproc_pool_put_parts(pool, pieces, TASKS, told, 0, &put) == 0 && put == TASKS);
}

static bool all_are_told(void) {
    int i = 0;
    while (i < TASKS && told[i] == 1) {
        i++;
    }
    return i == TASKS;
}

static void await_parts(mproc_pool *pool) {
    while (!all_are_told()) {
        must(mproc_pool_collect(pool, CRASH_SOON) == 0);
    }
}

static mproc_pool *new_pool_of_parts(mproc_handler_fn handler) {
    mproc_pool *pool;
    mproc_pool_options options = {.workers = 1, .handler = handler, .part = part_ended};
    must(mproc_pool_new(&pool, &options) == 0);
    return pool;
}

static void own_a_victim_with_parts(void *object) {
    (void)object;
    mproc_pool *pool = new_pool_of_parts(echo_bytes);
    put_parts(pool);
    await_parts(pool);
    must(settle(submit(pool, echo, 7), 7));
    end_pool(pool);
    scene()->well = 1;
}

/* ---- the owner is killed */

static void own_and_die(void *object) {
    (void)object;
    mproc_pool *pool = new_pool(2);
    must(settle(submit(pool, echo, 1), 1));
    end_pool(pool);
}

static void make_and_terminate(void *object) {
    (void)object;
    mproc_pool *pool = new_pool(1);
    mproc_pool_terminate(pool);
    mproc_pool_drop(pool);
}

static mproc_pool *made; /* the victim's */

static void make_pool(void *object) {
    (void)object;
    made = new_pool(1);
}

static void operate_submit(void *object) {
    (void)object;
    must(settle(submit(made, echo, 1), 1));
}

static int echo_all(void *arg, const void *task, size_t size, mproc_result *result) {
    (void)arg;
    return echo(task, size, result);
}

static void make_pool_of_parts(void *object) {
    (void)object;
    made = new_pool_of_parts(echo_all);
}

static void operate_parts(void *object) {
    (void)object;
    put_parts(made);
    await_parts(made);
}

static void operate_map(void *object) {
    (void)object;
    map_items(made);
}

static mproc_task *stuck;

static void make_pool_with_stuck_task(void *object) {
    make_pool(object);
    stuck = submit(made, run_for_ever, 1);
    while (!__atomic_load_n(&scene()->begun, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void operate_kill(void *object) {
    mproc_task_error error;
    (void)object;
    must(mproc_task_kill(stuck) == 0);
    must(mproc_task_wait(stuck, CRASH_SOON) == 0);
    mproc_task_failure(stuck, &error);
    must(error.code == -ECANCELED && error.exitcode == -9);
    mproc_task_drop(stuck);
    must(settle(submit(made, echo, 1), 1));
}

static void operate_timeout(void *object) {
    mproc_task_options options = {.timeout = MPROC_MSEC, .retries = 1, .pause = MPROC_MSEC};
    mproc_task_error error;
    (void)object;
    mproc_task *task = submit_with(made, run_for_ever, 1, &options);
    must(mproc_task_wait(task, CRASH_SOON) == 0);
    mproc_task_failure(task, &error);
    must(error.code == -ETIMEDOUT && error.tries == 2);
    mproc_task_drop(task);
    must(settle(submit(made, echo, 1), 1));
}

static void operate_descriptor(void *object) {
    (void)object;
    mproc_task *task = submit(made, echo, 1);
    await_by_descriptor(made, task);
    must(settle(task, 1));
}

static void operate_resize(void *object) {
    (void)object;
    must(mproc_pool_resize(made, 3) == 0);
    must(mproc_pool_resize(made, 1) == 0);
    must(settle(submit(made, echo, 1), 1));
}

static void verify_gone(void *object) {
    (void)object;
    crash_orphans();
    mproc_reap();
    crash_equal(mproc_members(NULL, 0), 1);
    if (scene()->size == 0) {
        scene()->size = 40;
    }
    own_and_die(NULL);
}

#define WORKER(name_, setup_, operate_, sample_)                                                   \
    {                                                                                              \
        .name = "pool " name_, .setup = (setup_), .operate = (operate_), .verify = verify_owner,   \
        .teardown = no_teardown, .sample = (sample_), .newborn = true                              \
    }

#define OWNER(name_, prepare_, operate_, sample_)                                                  \
    {                                                                                              \
        .name = "pool " name_ ", owner killed", .setup = small, .prepare = (prepare_),             \
        .operate = (operate_), .verify = verify_gone, .teardown = no_teardown, .sample = (sample_) \
    }

static const struct crash_op ops[] = {
    WORKER("worker", small, own_a_victim, 600),
    WORKER("worker (large)", large, own_a_victim, 100),
    WORKER("worker, tried again", small, own_a_victim_and_try_again, 400),
    WORKER("worker, by descriptor", small, own_a_victim_by_descriptor, 400),
    WORKER("worker (large), by descriptor", large, own_a_victim_by_descriptor, 100),
    OWNER("new, terminate", NULL, make_and_terminate, 600),
    OWNER("submit and wait", make_pool, operate_submit, 600),
    WORKER("worker, parts", small, own_a_victim_with_parts, 300),
    WORKER("worker (large), parts", large, own_a_victim_with_parts, 100),
    OWNER("parts", make_pool_of_parts, operate_parts, 600),
    OWNER("map", make_pool, operate_map, 600),
    OWNER("kill of a running task", make_pool_with_stuck_task, operate_kill, 300),
    OWNER("timeout and another try", make_pool, operate_timeout, 300),
    OWNER("submit and descriptor", make_pool, operate_descriptor, 300),
    OWNER("resize", make_pool, operate_resize, 300),
};

CRASH_MAIN(ops)
