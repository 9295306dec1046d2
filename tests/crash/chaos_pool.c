/*
 * chaos_pool.c - a pool's workers killed at random under tasks with timeouts and further tries
 *
 * SPDX-License-Identifier: MIT
 *
 * Tasks of several kinds go through one pool: quick ones, large ones, some that get stuck until
 * their time is up, some that fail at first, some that are taken back or killed, some in maps.
 * Every few milliseconds a worker is killed, and now and then the pool is given another number of
 * workers. The owner waits in all the ways that there are.
 *
 * The account. Each task ends exactly once, which its callback counts. A task that may be tried
 * again is never given to more workers than it may be; what a quick task gives is right; and a
 * task fails only for a reason that it can have. In the end nothing is left over.
 *
 * --tasks N: it goes on until there were so many tasks, however long that takes.
 */
#include "supervisor.h"
#include "system/atomic.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS 8
#define OPEN 256       /* tasks that are open at a time */
#define STUCK_EVERY 64 /* so many tasks of that kind, and one of them gets stuck */
#define RETRIES 3
#define LARGE 20000
#define TIMEOUT (15 * MPROC_MSEC)
#define SOON (30 * MPROC_SEC)

enum kind { QUICK, LARGE_RESULT, STUCK, FLAKY, PLAIN, KINDS };

/* What a task is given. */
struct order {
    uint64_t number;
    uint64_t kind;
    uint64_t *begun; /* in the arena: how often it was begun */
};

/* What the owner knows of it. */
struct entry {
    mproc_task *task;
    struct order order;
    unsigned ends; /* calls of its callback */
    bool unwanted; /* the owner has tried to end it */
};

static mproc_pool *pool;
static struct entry entries[OPEN];
static unsigned ahead; /* not 0: the tasks have priorities */
static uint64_t submitted, ended[KINDS], failed[KINDS], kills, maps;

/* ---------------------------------------------------------------- in the workers */

static int run(const void *in, size_t size, mproc_result *result) {
    struct order order;
    if (size != sizeof order) {
        return -EINVAL;
    }
    memcpy(&order, in, sizeof order);
    uint64_t begun = mproc__add64(order.begun, 1) + 1;
    if (order.kind == STUCK && order.number % STUCK_EVERY == 0) {
        while (pause() != 0) {
        }
    }
    if (order.kind == FLAKY && begun == 1) {
        return order.number % 2 == 0 ? -EAGAIN : -EIO;
    }
    size_t n = order.kind == LARGE_RESULT ? LARGE : sizeof order.number;
    char *room = mproc_result_room(result, n);
    if (room == NULL) {
        return -ENOMEM;
    }
    memset(room, (int)order.number, n);
    return 0;
}

static int double_it(const void *in, void *out, void *context) {
    (void)context;
    *(uint64_t *)out = 2 * *(const uint64_t *)in;
    return 0;
}

/* ---------------------------------------------------------------- tasks */

static void count_end(mproc_task *task, void *arg) {
    struct entry *e = arg;
    if (task != e->task || ++e->ends != 1) {
        supervisor_fail("task %llu ended %u times", (unsigned long long)e->order.number, e->ends);
    }
}

static void submit(struct entry *e) {
    mproc_task_options options = {.done = count_end, .done_arg = e};
    *e = (struct entry){.order = {submitted, supervisor_random_below(KINDS), NULL}};
    e->order.begun = supervisor_calloc(sizeof *e->order.begun);
    options.priority = ahead != 0 ? (int)supervisor_random_below(5) - 2 : 0;
    if (e->order.kind != PLAIN) {
        options.retries = RETRIES;
        options.retry_on[0] = -EAGAIN;
        options.pause = (int64_t)supervisor_random_below(3) * MPROC_MSEC;
        options.timeout = TIMEOUT;
    }
    supervisor_require(mproc_pool_submit(pool, run, &e->order, sizeof e->order, &options, &e->task),
                       "submit");
    submitted++;
}

/* May a task of that kind fail so? */
static bool may_fail(const struct entry *e, int code) {
    switch (code) {
    case MPROC_EDIED: return true; /* as often as it may be tried: the killer is busy */
    case -ETIMEDOUT: return e->order.kind != PLAIN; /* the machine may be busy, too */
    case -ECANCELED: return e->unwanted;
    case -EIO: return e->order.kind == FLAKY && e->order.number % 2 != 0;
    default: return false;
    }
}

static void check_result(const struct entry *e) {
    const void *data;
    size_t size, wanted = e->order.kind == LARGE_RESULT ? LARGE : sizeof e->order.number;
    supervisor_require(mproc_task_result(e->task, &data, &size), "a result");
    for (size_t i = 0; i < size || size != wanted; i++) {
        if (size != wanted || ((const char *)data)[i] != (char)e->order.number) {
            supervisor_fail("the result of task %llu is torn", (unsigned long long)e->order.number);
        }
    }
}

/* Books a task that has ended. */
static void settle(struct entry *e) {
    mproc_task_error error;
    unsigned most = e->order.kind == PLAIN ? 1 : RETRIES + 1;
    mproc_task_failure(e->task, &error);
    if (e->ends != 1 || error.tries > most || mproc__load64(e->order.begun) > error.tries) {
        supervisor_fail("task %llu: %u ends, %u tries, begun %llu times",
                        (unsigned long long)e->order.number, e->ends, error.tries,
                        (unsigned long long)mproc__load64(e->order.begun));
    }
    if (error.code == 0) {
        check_result(e);
    } else if (!may_fail(e, error.code)) {
        char text[200];
        supervisor_fail("%s", mproc_task_error_text(&error, text, sizeof text));
    }
    ended[e->order.kind]++;
    failed[e->order.kind] += error.code != 0;
    mproc_task_drop(e->task);
    mproc_free(e->order.begun);
    e->task = NULL;
}

static void settle_those_that_ended(void) {
    for (int i = 0; i < OPEN; i++) {
        if (entries[i].task != NULL && mproc_task_is_done(entries[i].task)) {
            settle(&entries[i]);
        }
    }
}

/* ---------------------------------------------------------------- what the owner does */

static void kill_a_worker(void) {
    pid_t pids[64];
    size_t n = mproc_pool_workers(pool, pids, 64);
    if (n > 0) {
        kills += kill(pids[supervisor_random_below(n)], SIGKILL) == 0;
    }
}

static void end_a_task(void) {
    struct entry *e = &entries[supervisor_random_below(OPEN)];
    if (e->task == NULL || mproc_task_is_done(e->task)) {
        return;
    }
    e->unwanted = true;
    int r = supervisor_random_below(2) == 0 ? mproc_task_cancel(e->task) : mproc_task_kill(e->task);
    if (r != 0 && r != -EBUSY) {
        supervisor_fail("ending a task: %s", mproc_strerror(r));
    }
}

static void map(void) {
    uint64_t in[50], out[50];
    for (uint64_t i = 0; i < 50; i++) {
        in[i] = i;
    }
    int r = mproc_pool_map(pool, double_it, in, sizeof *in, out, sizeof *out, 50, NULL);
    if (r != 0 && r != MPROC_EDIED) {
        supervisor_fail("map: %s", mproc_strerror(r));
    }
    for (uint64_t i = 0; r == 0 && i < 50; i++) {
        if (out[i] != 2 * i) {
            supervisor_fail("a map gives %llu for %llu", (unsigned long long)out[i],
                            (unsigned long long)i);
        }
    }
    maps++;
}

/* In one of the ways that there are. */
static void wait_a_little(void) {
    struct pollfd one = {mproc_pool_fd(pool), POLLIN, 0};
    mproc_task *task = entries[supervisor_random_below(OPEN)].task;
    int r = 0;
    switch (supervisor_random_below(4)) {
    case 0: r = mproc_pool_collect(pool, MPROC_MSEC); break;
    case 1: r = task != NULL ? mproc_task_wait(task, MPROC_MSEC) : 0; break;
    case 2:
        (void)poll(&one, 1, 2);
        r = mproc_pool_collect(pool, 0);
        break;
    default: r = mproc_pool_collect(pool, 0);
    }
    if (r != 0 && r != -ETIMEDOUT) {
        supervisor_fail("waiting: %s", mproc_strerror(r));
    }
}

static void do_something(void) {
    switch (supervisor_random_below(12)) {
    case 0:
    case 1:
    case 2:
    case 3: kill_a_worker(); break;
    case 4:
    case 5: end_a_task(); break;
    case 6:
        supervisor_require(mproc_pool_resize(pool, 1 + (unsigned)supervisor_random_below(WORKERS)),
                           "resize");
        break;
    case 7: map(); break;
    default: break;
    }
}

static void go_on(double seconds, uint64_t tasks) {
    for (uint64_t round = 0; supervisor_elapsed() < seconds || submitted < tasks; round++) {
        for (int i = 0; i < OPEN; i++) {
            if (entries[i].task == NULL) {
                submit(&entries[i]);
            }
        }
        do_something();
        wait_a_little();
        settle_those_that_ended();
        if (round % 64 == 0) {
            supervisor_check(mproc_pool_check(pool, why, sizeof why));
        }
    }
}

/* Nobody is killed any more: what is open comes to its end. */
static void finish(void) {
    for (int i = 0; i < OPEN; i++) {
        if (entries[i].task != NULL) {
            supervisor_require(mproc_task_wait(entries[i].task, SOON), "waiting for a task");
            settle(&entries[i]);
        }
    }
    mproc_pool_close(pool);
    supervisor_require(mproc_pool_join(pool, SOON), "waiting for the end");
    supervisor_check(mproc_pool_check(pool, why, sizeof why));
    mproc_pool_drop(pool);
}

static void print_account(void) {
    static const char *const names[KINDS] = {"quick", "large", "stuck", "flaky", "plain"};
    printf("chaos_pool: %llu tasks, %llu maps, killed %llu workers\n",
           (unsigned long long)submitted, (unsigned long long)maps, (unsigned long long)kills);
    for (int i = 0; i < KINDS; i++) {
        printf("chaos_pool: %llu %s tasks, %llu failed\n", (unsigned long long)ended[i], names[i],
               (unsigned long long)failed[i]);
    }
}

/* Takes `--tasks N` out of the arguments. */
static uint64_t take_tasks(int *argc, char **argv) {
    if (*argc < 3 || strcmp(argv[1], "--tasks") != 0) {
        return 0;
    }
    uint64_t tasks = strtoull(argv[2], NULL, 0);
    *argc -= 2;
    memmove(&argv[1], &argv[3], (size_t)*argc * sizeof argv[0]); /* with the NULL at their end */
    return tasks;
}

int main(int argc, char **argv) {
    uint64_t tasks = take_tasks(&argc, argv);
    double seconds = supervisor_begin(argc, argv, "chaos_pool", 5);
    for (int half = 0; half < 2; half++) { /* the second one's tasks have priorities */
        ahead = half == 0 ? 0 : 1 + (unsigned)supervisor_random_below(4);
        mproc_pool_options options = {.workers = WORKERS, .ahead = ahead};
        supervisor_require(mproc_pool_new(&pool, &options), "a pool");
        go_on(seconds * (half + 1) / 2, tasks * (uint64_t)(half + 1) / 2);
        finish();
    }
    print_account();
    return supervisor_end();
}
