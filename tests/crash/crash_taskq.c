/*
 * crash_taskq.c - the task queue, its worker killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * At every point each task is in exactly one place: waiting, in the dead worker's seat, or among
 * the results. The owner's books must say which.
 */
#include "../c/made.h"
#include "core/facts.h"
#include "fixture.h"
#include "pool/taskq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEATS 3
#define TASKS 3
#define SMALL ((size_t)40)
#define LARGE ((size_t)20000)
#define ROUNDS 2

/* In crash_room(). */
struct scene {
    size_t size; /* of tasks and results */
    mproc_message message;
    uint64_t ticket;
    uint32_t served; /* meanwhile() has run */
    char room[128];
};

static struct scene *scene(void) {
    return crash_room();
}

static char text[32768]; /* a task, or its result: the task's number all over */

static void put(mproc_taskq *tasks, uint64_t number) {
    uint64_t ticket;
    memset(text, (int)number + 1, scene()->size);
    struct iovec piece = {text, scene()->size};
    crash_equal(mproc_taskq_put(tasks, &piece, 1, &ticket), 0);
    crash_equal(ticket, number);
}

static void check_text(const char *data, size_t size, uint64_t number) {
    crash_equal(size, scene()->size);
    for (size_t i = 0; i < size; i++) {
        crash_equal(data[i], (char)(number + 1));
    }
}

/* ---- scenes */

static void *make(size_t size, uint64_t count) {
    mproc_taskq *tasks = made_taskq(SEATS);
    crash_require(tasks != NULL);
    scene()->size = size;
    for (uint64_t i = 0; i < count; i++) {
        put(tasks, i);
    }
    return tasks;
}

static void *small(void) {
    return make(SMALL, TASKS);
}

static void *large(void) {
    return make(LARGE, TASKS);
}

static void *idle(void) {
    return make(SMALL, 0);
}

static void unmake(void *tasks) {
    mproc_drop(tasks);
}

/* ---- worker */

static void join(void *tasks) {
    if (mproc_taskq_join(tasks, 1) != 0) {
        abort();
    }
}

static void take(void *tasks) {
    struct scene *s = scene();
    s->message = (mproc_message)MPROC_MESSAGE_INIT(s->room, sizeof s->room);
    if (mproc_taskq_take(tasks, 1, &s->message, &s->ticket, CRASH_SOON) != 0) {
        abort();
    }
}

static void join_and_take(void *tasks) {
    join(tasks);
    take(tasks);
    memcpy(text, scene()->message.data, scene()->message.size);
}

static void finish(void *tasks) {
    struct iovec pieces[] = {{text, 7}, {text + 7, scene()->size - 7}};
    if (mproc_taskq_finish(tasks, 1, pieces, 2) != 0) {
        abort();
    }
}

static void fail(void *tasks) {
    mproc__taskq_count_failure(tasks, 1, scene()->ticket);
    finish(tasks);
}

static void work(void *tasks) {
    for (int i = 0; i < ROUNDS; i++) {
        take(tasks);
        memcpy(text, scene()->message.data, scene()->message.size);
        mproc_message_drop(&scene()->message);
        finish(tasks);
    }
}

/* ---- owner */

/* The worker that takes over, until the queue is closed. */
static void successor(void *tasks) {
    if (mproc_taskq_join(tasks, 1) != 0) {
        exit(2);
    }
    for (;;) {
        char room[128];
        uint64_t ticket;
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        int r = mproc_taskq_take(tasks, 1, &m, &ticket, CRASH_SOON);
        if (r == MPROC_ECLOSED) {
            return;
        }
        if (r != 0) {
            exit(3);
        }
        struct iovec piece = {m.data, m.size};
        if (mproc_taskq_finish(tasks, 1, &piece, 1) != 0) {
            exit(4);
        }
        mproc_message_drop(&m);
    }
}

/* Collects one result, whole, and counts it. */
static void collect(mproc_taskq *tasks, unsigned *seen) {
    uint64_t ticket;
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    crash_equal(mproc_taskq_collect(tasks, &m, &ticket, CRASH_SOON), 0);
    crash_require(ticket <= TASKS);
    check_text(m.data, m.size, ticket);
    seen[ticket]++;
    mproc_message_drop(&m);
}

/* Every task but the lost one (TASKS + 1: none) has one result in the end. */
static void verify_all(mproc_taskq *tasks, uint64_t total, uint64_t lost) {
    unsigned seen[TASKS + 2] = {0};
    put(tasks, total);
    pid_t pid = crash_helper(successor, tasks);
    for (uint64_t i = 0; i <= total; i++) {
        if (i != lost) {
            collect(tasks, seen);
        }
    }
    for (uint64_t i = 0; i <= total; i++) {
        crash_equal(seen[i], i != lost);
    }
    mproc_taskq_close(tasks);
    crash_helper_join(pid);
    uint64_t ticket;
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    crash_equal(mproc_taskq_collect(tasks, &m, &ticket, 0), -ETIMEDOUT);
    crash_equal(mproc_taskq_worker_died(tasks, 1, &ticket), 0);
    crash_check(mproc_taskq_check(tasks, why, sizeof why));
}

/* Collects the victim: the ticket of the task that died with it, or TASKS + 1. */
static uint64_t worker_died(mproc_taskq *tasks) {
    uint64_t ticket = 0;
    int r = mproc_taskq_worker_died(tasks, 1, &ticket);
    crash_require(r == 0 || r == 1);
    crash_check(mproc_taskq_check(tasks, why, sizeof why));
    return r == 1 ? ticket : TASKS + 1;
}

static void verify_join(void *tasks) {
    crash_equal(worker_died(tasks), TASKS + 1);
    verify_all(tasks, TASKS, TASKS + 1);
}

static void verify_take(void *tasks) {
    uint64_t lost = worker_died(tasks);
    uint64_t waiting = mproc_taskq_waiting(tasks);
    crash_require(lost == 0 || (lost == TASKS + 1 && !crash_returned()));
    crash_equal(waiting, lost == 0 ? TASKS - 1 : TASKS);
    verify_all(tasks, TASKS, lost);
}

/* The task either died with the worker, or has its result; verify_all() counts that. */
static void verify_finish(void *tasks) {
    uint64_t lost = worker_died(tasks);
    crash_require(lost == TASKS + 1 || (lost == 0 && !crash_returned()));
    verify_all(tasks, TASKS, lost);
}

/* The task has failed, whether it died with the worker or has its result; and it has done so once.
 * The owner counts what died. */
static void verify_fail(void *tasks) {
    struct mproc__facts facts = {0};
    uint64_t lost = worker_died(tasks);
    crash_require(lost == TASKS + 1 || (lost == 0 && !crash_returned()));
    if (lost == 0) {
        mproc__taskq_count_failure(tasks, 1, lost);
    }
    crash_require(mproc__taskq_facts(tasks, SIZE_MAX, &facts));
    crash_equal(facts.failed, 1);
    verify_all(tasks, TASKS, lost);
}

static void verify_work(void *tasks) {
    uint64_t lost = worker_died(tasks);
    crash_require(lost < ROUNDS || lost == TASKS + 1);
    if (crash_returned()) {
        crash_equal(lost, TASKS + 1);
    }
    verify_all(tasks, TASKS, lost);
}

static void put_meanwhile(void *tasks) {
    scene()->served = 1;
    put(tasks, 0);
}

static void verify_take_after_wait(void *tasks) {
    if (!scene()->served) {
        put_meanwhile(tasks);
    }
    uint64_t lost = worker_died(tasks);
    crash_require(lost == 0 || (lost == TASKS + 1 && !crash_returned()));
    verify_all(tasks, 1, lost);
}

/* ---- life; the victim is the owner */

static void *nothing(void) {
    return NULL;
}

static void operate_new(void *object) {
    (void)object;
    mproc_drop(made_taskq(SEATS));
}

static void verify_gone(void *object) {
    (void)object;
    mproc_taskq *tasks = small();
    verify_all(tasks, TASKS, TASKS + 1);
    mproc_drop(tasks);
}

static void no_teardown(void *object) {
    (void)object;
}

#define OP(name_, setup_, prepare_, operate_, verify_)                                             \
    {                                                                                              \
        .name = "taskq " name_, .setup = (setup_), .prepare = (prepare_), .operate = (operate_),   \
        .verify = (verify_), .teardown = unmake, .sample = 1000                                    \
    }

static const struct crash_op ops[] = {
    OP("join", small, NULL, join, verify_join),
    OP("take", small, join, take, verify_take),
    OP("take (large)", large, join, take, verify_take),
    {.name = "taskq take (none, then one)",
     .setup = idle,
     .prepare = join,
     .operate = take,
     .meanwhile = put_meanwhile,
     .verify = verify_take_after_wait,
     .teardown = unmake},
    OP("finish", small, join_and_take, finish, verify_finish),
    OP("finish (large)", large, join_and_take, finish, verify_finish),
    OP("fail", small, join_and_take, fail, verify_fail),
    OP("take and finish, 2 rounds", small, join, work, verify_work),
    OP("take and finish, 2 rounds (large)", large, join, work, verify_work),
    {.name = "taskq new, drop",
     .setup = nothing,
     .operate = operate_new,
     .verify = verify_gone,
     .teardown = no_teardown},
};

CRASH_MAIN(ops)
