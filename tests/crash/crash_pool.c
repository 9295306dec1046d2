/*
 * crash_pool.c - the pool: its worker, and its owner, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * A worker that dies fails at most the one task that it had, is replaced, and the pool goes on. An
 * owner that dies leaves nothing behind: no worker, no byte.
 */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#define TASKS 4
#define ITEMS 6

/* In crash_room(). */
struct scene {
    uint32_t done;   /* calls of the task's function, by all workers */
    uint32_t failed; /* tasks that died with their worker */
    uint32_t well;   /* the owner found everything as it should be */
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

static mproc_task *submit(mproc_pool *pool, mproc_task_fn fn, int number) {
    mproc_task *task;
    memset(text, number + 1, scene()->size);
    must(mproc_pool_submit(pool, fn, text, scene()->size, NULL, &task) == 0);
    return task;
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

static void operate_map(void *object) {
    (void)object;
    map_items(made);
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

static const struct crash_op ops[] = {
    {.name = "pool worker",
     .setup = small,
     .operate = own_a_victim,
     .verify = verify_owner,
     .teardown = no_teardown,
     .sample = 600,
     .newborn = true},
    {.name = "pool worker (large)",
     .setup = large,
     .operate = own_a_victim,
     .verify = verify_owner,
     .teardown = no_teardown,
     .sample = 100,
     .newborn = true},
    {.name = "pool new, terminate, owner killed",
     .setup = small,
     .operate = make_and_terminate,
     .verify = verify_gone,
     .teardown = no_teardown,
     .sample = 600},
    {.name = "pool submit and wait, owner killed",
     .setup = small,
     .prepare = make_pool,
     .operate = operate_submit,
     .verify = verify_gone,
     .teardown = no_teardown,
     .sample = 600},
    {.name = "pool map, owner killed",
     .setup = small,
     .prepare = make_pool,
     .operate = operate_map,
     .verify = verify_gone,
     .teardown = no_teardown,
     .sample = 600},
};

CRASH_MAIN(ops)
