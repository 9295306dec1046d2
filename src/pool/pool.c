/*
 * pool.c - worker processes that take tasks from a queue: a pool's life
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The owner puts messages into a task queue (taskq.c), the workers hand in replies
 * (worker.c). A dead worker's seat names the one ticket that died with it. There is no thread: a
 * thread of the owner that waits also collects, for everybody (wait.c), and looks after the
 * workers (crew.c).
 *
 * A ticket stands for a task, for a chunk of a map, or for a worker that is to leave (open.c). A
 * task has a record in the arena, where its owner and its worker agree by compare-and-swap who has
 * been faster: the worker to begin it or the owner to take it back, the worker to finish it or the
 * owner to end it (start.c, limits.c). A task that was taken back still travels to a worker, which
 * skips it.
 *
 * Shared state: struct mproc_workplace, an object of the arena, held by the owner and each worker.
 *   blocks      memory of the pool: names of functions, slabs of records, maps and copies of their
 *               arrays; see memory.c.
 *   tasks       the task queue, inside the workplace.
 *   armed, ...  see notify.c.
 *   the rest    constant once the first worker is started.
 * In blocks: a record as its struct says; map->cancelled from 0 to 1 by the owner; an array's items
 * by the worker whose chunk they are in; all else constant once a message names it.
 *
 * Private state of the owner: struct mproc_pool, under `lock`, which is never held while waiting
 * (but for the end of killed workers). A task is private too; once it is done it does not need its
 * pool.
 *
 * Invariants.
 *   W1  The open tickets are exactly those in [base, top) that are not EMPTY; `base` is open, or
 *       base == top.
 *   W2  Records in use are as many as open tickets of tasks.
 *   W3  Each block of the list is in the arena.
 *   W4  Tasks that wait for another try are in `delayed`, the one that is due first is first.
 *   W5  alive, starting and ended_count are as many as seats with a process, and so on.
 *   W6  The heap of tasks with priorities is one; see rank.c.
 *   W7  The tickets in `landed` are those of parts that have landed; see land.c.
 *
 * If a worker dies here: before it has taken a message, nothing; with the message, its ticket
 * fails; behind the reply, nothing. In a map some items of its chunk may be written. If the owner
 * dies: the workers end with it, and the arena's objects go with the last hold.
 */
#include <stdlib.h>
#include <string.h>

#include "pool/engine.h"
#include "process/setup.h"
#include "system/os.h"

#define MOST 64 /* seats, unless more are asked for: a cache line each */

/* ---------------------------------------------------------------- making */

static bool is_shared(const void *arg) {
    return arg == NULL || mproc_in_arena(arg);
}

static int check_options(const mproc_pool_options *o) {
    bool good = o->workers <= MPROC_SEATS_MAX && o->most <= MPROC_SEATS_MAX &&
                (o->most == 0 || o->workers <= o->most) && o->method >= 0 &&
                o->method <= MPROC_FORKSERVER && is_shared(o->init_arg) && is_shared(o->exit_arg) &&
                is_shared(o->handler_arg) && mproc__setup_check(o->setup) == 0 &&
                (o->end == NULL || o->start != NULL) && (!o->outlived || o->end != NULL) &&
                o->patience >= 0;
    return good ? mproc__engine_check(o) : -EINVAL;
}

static int fill_place(struct mproc__hand *hand, void *object, const void *seats) {
    mproc_workplace *place = object;
    mproc__guard_init(&place->guard, place->log, sizeof place->log / sizeof *place->log);
    return mproc__taskq_make(hand, *(const unsigned *)seats, &place->tasks);
}

/* A stranger's copies, or handles of workers that outlive the pool. */
static void give_handles_back(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats; i++) {
        struct mproc__crew *crew = &pool->crew[i];
        mproc_process *process = crew->process != NULL ? crew->process : crew->ended;
        if (process != NULL && pool->options.end != NULL) {
            pool->options.end(pool->options.start_arg, i, process);
        } else {
            (void)mproc_process_drop(process);
        }
    }
}

/* Frees what is the caller's. */
static void free_pool(mproc_pool *pool) {
    if (pool->crew != NULL) {
        mproc__pool_enter(pool);
        give_handles_back(pool);
        mproc__pool_leave(pool);
    }
    mproc__notify_close(pool);
    if (mproc__family != NULL) {
        mproc_drop(pool->place);
    }
    free(pool->crew);
    free(pool->polls);
    free(pool->name);
    free(pool->open);
    free(pool->landed);
    free(pool->known);
    free(pool->starts);
    free(pool->ranked);
    mproc__handle_wreck(pool);
    free(pool);
}

/* CPUs that the process may use, by its affinity and by the quotas of its control groups. */
unsigned mproc__default_workers(void) {
    unsigned cpus = mproc__os_cpus();
    double quota = mproc__os_cpu_quota("/proc");
    unsigned whole = quota > 0 && quota < cpus ? (unsigned)quota : cpus;
    return whole < cpus && (double)whole < quota ? whole + 1 : whole;
}

/* More seats than workers, for mproc_pool_resize(). */
static void choose_seats(mproc_pool *pool, const mproc_pool_options *o) {
    if (o->engine != NULL) {
        pool->target = o->workers != 0 ? o->workers : o->engine->workers;
        pool->seats = mproc__engine_seats(o->engine, o->workers);
        return;
    }
    pool->target = o->idle != 0 ? 0 : o->workers != 0 ? o->workers : mproc__default_workers();
    pool->seats = o->most != 0 ? o->most : MOST;
    if (o->most != 0 && pool->target > o->most) {
        pool->target = o->most;
    }
    if (pool->seats < pool->target) {
        pool->seats = pool->target;
    }
}

static int make_seats(mproc_pool *pool) {
    pool->crew = calloc(pool->seats, sizeof *pool->crew);
    pool->polls = calloc(pool->seats, sizeof *pool->polls);
    if (pool->crew == NULL || pool->polls == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < pool->seats; i++) {
        pool->polls[i] = (struct pollfd){-1, POLLIN, 0};
    }
    int r = mproc__object_build(&pool->place, MPROC__KIND_POOL, sizeof *pool->place, fill_place,
                                &pool->seats);
    pool->tasks = r == 0 ? mproc__place_tasks(pool->place) : NULL;
    return r;
}

static int fill_pool(mproc_pool *pool, const mproc_pool_options *o) {
    pool->handle = MPROC__HANDLE_POOL;
    pool->fd = pool->socket = pool->timer = -1;
    pool->owner = mproc__self_pid();
    pool->ended_end = &pool->ended;
    pool->options = *o;
    pool->options.method = o->method != 0 ? o->method : MPROC_FORK;
    pool->name = strdup(o->name != NULL ? o->name : "Pool");
    pool->options.name = pool->name;
    choose_seats(pool, o);
    return pool->name != NULL ? make_seats(pool) : -ENOMEM;
}

/* `word`: where the workplace keeps the function's name. */
static int share_function(mproc_pool *pool, mproc__function fn, uint64_t *word) {
    struct mproc__pool_function *function = NULL;
    int r = fn != NULL ? mproc__pool_name(pool, fn, &function) : 0;
    *word = mproc__word(function);
    return r;
}

static int share_options(mproc_pool *pool, const mproc_pool_options *o) {
    mproc_workplace *place = pool->place;
    place->init_arg = mproc__word(o->init_arg);
    place->exit_arg = mproc__word(o->exit_arg);
    place->handler_arg = mproc__word(o->handler_arg);
    place->max_tasks = o->max_tasks;
    int r = share_function(pool, (mproc__function)o->init, &place->init);
    r = r == 0 ? share_function(pool, (mproc__function)o->exit, &place->exit) : r;
    return r == 0 ? share_function(pool, (mproc__function)o->handler, &place->handler) : r;
}

static void stop(mproc_pool *pool) {
    static const mproc_task_error cancelled = {.code = -ECANCELED};
    mproc__pool_close_tasks(pool);
    mproc__crew_stop(pool, MPROC__POOL_TERMINATED, &cancelled);
}

static int start_pool(mproc_pool *pool) {
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_lock(&pool->lock);
    int r = mproc__crew_start(pool);
    if (r != 0) {
        stop(pool);
        mproc__pool_deliver(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (r != 0) {
        pthread_mutex_destroy(&pool->lock);
    }
    return r;
}

int mproc_pool_new(mproc_pool **out, const mproc_pool_options *options) {
    mproc_pool_options o = options != NULL ? *options : (mproc_pool_options){0};
    int r = check_options(&o);
    if (r != 0 || (r = mproc__family_need()) != 0) {
        return r;
    }
    mproc_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return -ENOMEM;
    }
    r = fill_pool(pool, &o);
    if (r == 0) {
        r = share_options(pool, &o);
    }
    if (r == 0) {
        r = start_pool(pool);
    }
    if (r != 0) {
        free_pool(pool);
        return r;
    }
    *out = pool;
    return 0;
}

/* ---------------------------------------------------------------- while it lives */

int mproc_pool_rank(mproc_pool *pool, unsigned ahead) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    if (ahead == 0) {
        return -EINVAL;
    }
    pthread_mutex_lock(&pool->lock);
    mproc__poke32(&pool->options.ahead, ahead); /* a put looks at it without the lock */
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

int mproc_pool_resize(mproc_pool *pool, unsigned workers) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    if (workers == 0 || workers > pool->seats || pool->options.engine != NULL) {
        return -EINVAL;
    }
    pthread_mutex_lock(&pool->lock);
    r = mproc__pool_refusal(pool);
    if (r == 0) {
        pool->target = workers;
        r = mproc__crew_shrink(pool);
        mproc__pool_look(pool);
        mproc__notify_due(pool);
        mproc__pool_deliver(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

size_t mproc_pool_workers(mproc_pool *pool, pid_t *out, size_t cap) {
    size_t n = 0;
    if (mproc__pool_door(pool) != 0) {
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->used; i++) {
        if (pool->crew[i].process == NULL) {
            continue;
        }
        if (n < cap) {
            out[n] = mproc_process_pid(pool->crew[i].process);
        }
        n++;
    }
    pthread_mutex_unlock(&pool->lock);
    return n;
}

static size_t count_held(const mproc_pool *pool) {
    size_t n = pool->ranked_count;
    for (const struct mproc__extra *e = pool->delayed; e != NULL; e = e->next) {
        n++;
    }
    return n;
}

size_t mproc_pool_open(mproc_pool *pool) {
    if (mproc__pool_door(pool) != 0) {
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    size_t n = count_held(pool);
    for (uint64_t t = pool->base; t != pool->top; t++) {
        const struct mproc__open *open = mproc__open_at(pool, t);
        n += open != NULL && open->kind != MPROC__OPEN_LEAVE;
    }
    pthread_mutex_unlock(&pool->lock);
    return n;
}

size_t mproc_pool_waiting(mproc_pool *pool) {
    return mproc__pool_door(pool) == 0 ? (size_t)mproc_taskq_waiting(pool->tasks) : 0;
}

mproc_workplace *mproc_pool_workplace(mproc_pool *pool) {
    return mproc__expect_handle(pool, MPROC__HANDLE_POOL) ? pool->place : NULL;
}

/* ---------------------------------------------------------------- the end */

void mproc_pool_close(mproc_pool *pool) {
    if (mproc__pool_door(pool) != 0) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state == MPROC__POOL_BROKEN) {
        mproc__pool_close_tasks(pool);
    } else if (pool->state == MPROC__POOL_OPEN) {
        pool->state = MPROC__POOL_CLOSED;
        mproc__pool_close_if_fed(pool);
        mproc__pool_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

void mproc_pool_terminate(mproc_pool *pool) {
    if (mproc__pool_door(pool) != 0) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state != MPROC__POOL_TERMINATED) {
        stop(pool);
        mproc__pool_news(pool);
    }
    mproc__pool_deliver(pool);
    pthread_mutex_unlock(&pool->lock);
}

void mproc_pool_abandon(mproc_pool *pool) {
    static const mproc_task_error abandoned = {.code = -ECANCELED};
    if (mproc__pool_door(pool) != 0) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state == MPROC__POOL_OPEN || pool->state == MPROC__POOL_CLOSED) {
        mproc__crew_give_up(pool, &abandoned);
        mproc__pool_news(pool);
    }
    mproc__pool_deliver(pool);
    pthread_mutex_unlock(&pool->lock);
}

int mproc_pool_is_broken(mproc_pool *pool) {
    if (mproc__pool_door(pool) != 0) {
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    bool broken = pool->state == MPROC__POOL_BROKEN;
    pthread_mutex_unlock(&pool->lock);
    return broken;
}

static bool has_ended(const mproc_pool *pool) {
    bool closed = pool->tasks_closed || pool->state == MPROC__POOL_BROKEN;
    return closed && pool->alive == 0 && pool->starting == 0 && pool->ended_count == 0 &&
           pool->base == pool->top && pool->delayed == NULL && pool->ranked_count == 0;
}

int mproc_pool_join(mproc_pool *pool, int64_t timeout) {
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    pthread_mutex_lock(&pool->lock);
    r = pool->state == MPROC__POOL_OPEN ? -EBUSY : 0;
    while (r == 0 && !has_ended(pool)) {
        r = mproc__pool_wait(pool, &slices);
    }
    r = has_ended(pool) ? 0 : r;
    pthread_mutex_unlock(&pool->lock);
    return r;
}

/* A thread may be starting a worker still, or calling a callback: it is let out first. */
static void await_others(mproc_pool *pool) {
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    pthread_mutex_lock(&pool->lock);
    while (pool->starting > 0 || (pool->alive > 0 && !pool->options.outlived)) {
        (void)mproc__pool_wait(pool, &slices);
    }
    mproc__pool_deliver(pool);
    pthread_mutex_unlock(&pool->lock);
}

/* Workers do what is queued, and find the end behind it. */
static void leave_workers(mproc_pool *pool) {
    static const mproc_task_error cancelled = {.code = -ECANCELED};
    pthread_mutex_lock(&pool->lock);
    mproc__pool_close_tasks(pool);
    pool->state = MPROC__POOL_TERMINATED;
    mproc__book_failure_of_all(pool, cancelled);
    pthread_mutex_unlock(&pool->lock);
}

static void end_pool(mproc_pool *pool) {
    if (pool->options.outlived) {
        leave_workers(pool);
    } else {
        mproc_pool_terminate(pool);
    }
    await_others(pool);
    pthread_mutex_destroy(&pool->lock);
}

void mproc_pool_drop(mproc_pool *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_POOL)) {
        return;
    }
    if (!mproc__pool_is_stranger(owned)) {
        end_pool(owned);
    }
    free_pool(owned);
}

/* ---------------------------------------------------------------- check */

static int check_delayed(const mproc_pool *pool, char *why, size_t size) {
    int64_t before = INT64_MIN;
    for (const struct mproc__extra *e = pool->delayed; e != NULL; e = e->next) {
        if (e->held != MPROC__HELD_DELAYED || e->due < before) {
            return mproc__corrupt(why, size, "W4: task %llu is not where it should be",
                                  (unsigned long long)e->number);
        }
        before = e->due;
    }
    return 0;
}

static int check_under_lock(mproc_pool *pool, char *why, size_t size) {
    int r = mproc__open_check(pool, why, size);
    r = r == 0 ? check_delayed(pool, why, size) : r;
    r = r == 0 ? mproc__rank_check(pool, why, size) : r;
    r = r == 0 ? mproc__land_check(pool, why, size) : r;
    return r == 0 ? mproc__crew_check(pool, why, size) : r;
}

int mproc_pool_check(mproc_pool *pool, char *why, size_t size) {
    if (!mproc__handle_is(pool, MPROC__HANDLE_POOL) ||
        !mproc__object_is(pool->place, MPROC__KIND_POOL)) {
        return mproc__corrupt(why, size, "W: %p is no pool", (void *)pool);
    }
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    pthread_mutex_lock(&pool->lock);
    int r = check_under_lock(pool, why, size);
    pthread_mutex_unlock(&pool->lock);
    if (r == 0) {
        r = mproc__pool_blocks_check(pool->place, why, size);
    }
    return r == 0 ? mproc_taskq_check(pool->tasks, why, size) : r;
}
