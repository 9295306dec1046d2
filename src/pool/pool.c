/*
 * pool.c - worker processes that take tasks from a queue
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The owner puts orders into a task queue (taskq.c), the workers put replies; a dead
 * worker's seat names the one ticket that died with it. There is no thread: whoever waits for a task,
 * a map or the end pumps, that is, collects replies and books them, for everybody; further threads of
 * the owner that wait meanwhile sleep until the pumping one has news or leaves. The pump wakes at least
 * every 50 ms to look whether a worker has ended; such a worker is mourned and replaced.
 *
 * A ticket stands for a task or for a chunk of a map; open tickets are in a ring, by number. A task that
 * may be cancelled has a cell: the worker that starts it and the owner that cancels it meet there in a
 * compare-and-swap. A cancelled order still travels to a worker, which skips it.
 *
 * Shared state: struct shared, an object of the arena, held by the owner and each worker.
 *   blocks      memory of the pool: function names, slabs of cells, maps and copies of their arrays;
 *               a list, changed by the owner under `guard`, freed with the object.
 *   ready[i]    0 before a worker of seat i is started, by the owner; READY when its init is done, by it;
 *               KNOWN when the owner has seen that.
 *   the rest    constant once the first worker is started.
 * In blocks: a cell by compare-and-swap; map->cancelled from 0 to 1 by the owner; an array's items by the
 * worker whose chunk they are in; all else constant once an order names it.
 *
 * Private state of the owner: struct mproc_pool, under `lock`, which is never held while waiting (but for
 * the end of killed workers). A task is private too; once `done` is set it does not need its pool.
 *
 * Invariants.
 *   W1  The open slips are exactly those in [base, top) that are not EMPTY; slip `base` is open, or
 *       base == top.
 *   W2  Cells in use are as many as open slips of tasks.
 *   W3  Each block of the list is in the arena.
 *
 * If a worker dies here: before its order is claimed, nothing; with the order, its ticket fails; in a map
 * some items of its chunk may be written. If the owner dies: the workers end with it, and the arena's
 * objects go with the last hold.
 *
 * A worker that ends before it is ready did not take a task and would not do so the next time. After
 * STILLBORN_SPARE more of them than there are seats, without one that became ready, the pool is broken,
 * or goes on with the workers that it has and tries again every REFILL_PAUSE: this is what keeps a failing
 * init from forking for ever.
 *
 * What it does not do: per-task timeouts, retries, priorities.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/pool.h"
#include "system/os.h"

#define STILLBORN_SPARE 8
#define REFILL_PAUSE MPROC_SEC      /* between starts that are not likely to succeed */
#define BATCH 256                   /* replies that are booked before a waiter looks for his */
#define LOOK_LEAST MPROC_MSEC       /* between two looks at the workers */
#define LOOK_MOST (10 * MPROC_MSEC) /* the same, while replies come in */

static void stop(mproc_pool *pool, enum mproc__pool_state state, const mproc_task_error *why);

/* ---------------------------------------------------------------- workers */

static int start_worker(mproc_pool *pool, unsigned seat) {
    char name[64];
    struct mproc__seat_arg arg = {pool->shared, seat};
    mproc_process_options options = {.name = name, .method = pool->method};
    snprintf(name, sizeof name, "%s-%u", pool->name, pool->started + 1);
    mproc__store32(&pool->shared->ready[seat], 0);
    int r =
        mproc_process_start(&pool->process[seat], mproc__worker_main, &arg, sizeof arg, &options);
    if (r == 0) {
        pool->polls[seat].fd = mproc_process_sentinel(pool->process[seat]);
        pool->started++;
        pool->alive++;
    }
    return r;
}

/* Counts ends without a worker that became ready in between. */
static void count_end(mproc_pool *pool, uint32_t ready) {
    pool->stillborn = ready == MPROC__WORKER_READY ? 0 : pool->stillborn + (ready == 0);
}

static bool too_many_stillborn(const mproc_pool *pool) {
    return pool->stillborn > pool->seats + STILLBORN_SPARE;
}

/* The worker has ended: its task fails, its seat is free. False: not collectable yet. */
static bool bury_worker(mproc_pool *pool, unsigned seat, int task_code, mproc_task_error *how) {
    mproc_process *process = pool->process[seat];
    int exitcode = 0;
    uint64_t ticket;
    if (mproc_process_exitcode(process, &exitcode) != 0) {
        return false;
    }
    *how = (mproc_task_error){task_code, 0, mproc_process_pid(process),
                              task_code == MPROC_EDIED ? exitcode : 0};
    if (mproc_taskq_worker_died(pool->tasks, seat, &ticket) == 1) {
        mproc__book_failure(pool, ticket, *how);
    }
    (void)mproc_process_drop(process);
    pool->process[seat] = NULL;
    pool->polls[seat].fd = -1;
    pool->alive--;
    return true;
}

/* Workers that are missing are wanted while tasks may come or are waiting. */
static bool wants_workers(const mproc_pool *pool) {
    return pool->state == MPROC__POOL_OPEN ||
           (pool->state == MPROC__POOL_CLOSED &&
            (!pool->tasks_closed || mproc_taskq_waiting(pool->tasks) > 0));
}

/* A worker that became ready ends the count. */
static void notice_ready(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] != NULL &&
            mproc__load32(&pool->shared->ready[i]) == MPROC__WORKER_READY) {
            mproc__store32(&pool->shared->ready[i], MPROC__WORKER_KNOWN);
            pool->stillborn = 0;
        }
    }
}

static bool somebody_is_ready(const mproc_pool *pool) {
    unsigned i = 0;
    while (i < pool->seats &&
           (pool->process[i] == NULL || mproc__load32(&pool->shared->ready[i]) == 0)) {
        i++;
    }
    return i < pool->seats;
}

/* Workers that do not come to life: a pool that has others goes on with those. */
static void break_if_hopeless(mproc_pool *pool, const mproc_task_error *why) {
    if (too_many_stillborn(pool) && !somebody_is_ready(pool)) {
        stop(pool, MPROC__POOL_BROKEN, why);
    }
}

/* A start that fails is tried again after a pause, or at the next look when there is no worker at all;
 * then it counts as an end. */
static void refill(mproc_pool *pool, unsigned seat) {
    int r = start_worker(pool, seat);
    if (r != 0 || too_many_stillborn(pool)) {
        pool->refill_at = pool->looked + REFILL_PAUSE;
    }
    if (r != 0 && pool->alive == 0) {
        mproc_task_error why = {r, 0, 0, 0};
        count_end(pool, 0);
        break_if_hopeless(pool, &why);
    }
}

static void fill_seats(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats; i++) {
        bool paused = pool->alive > 0 && pool->looked < pool->refill_at;
        if (pool->process[i] == NULL && wants_workers(pool) && !paused) {
            refill(pool, i);
        }
    }
}

static void bury_ended(mproc_pool *pool, unsigned seat) {
    mproc_task_error how;
    uint32_t ready = mproc__load32(&pool->shared->ready[seat]);
    if (bury_worker(pool, seat, MPROC_EDIED, &how)) {
        count_end(pool, ready);
        break_if_hopeless(pool, &how);
    }
}

/* Under the lock: notices workers that have ended, and replaces them. */
static void look(mproc_pool *pool) {
    pool->looked = mproc__os_now();
    if (pool->stillborn > 0) {
        notice_ready(pool);
    }
    if (pool->alive > 0 && mproc__os_poll(pool->polls, pool->seats, 0) > 0) {
        for (unsigned i = 0; i < pool->seats; i++) {
            if (pool->process[i] != NULL && pool->polls[i].revents != 0) {
                bury_ended(pool, i);
            }
        }
    }
    if (pool->alive < pool->seats) {
        fill_seats(pool);
    }
}

static void look_if_due(mproc_pool *pool, int64_t interval) {
    if (mproc__os_now() - pool->looked >= interval) {
        look(pool);
    }
}

/* ---------------------------------------------------------------- stopping */

static void drain_replies(mproc_pool *pool) {
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    while (mproc_taskq_collect(pool->tasks, &message, &ticket, 0) == 0) {
        mproc__book_reply(pool, ticket, &message);
        message = (mproc_message)MPROC_MESSAGE_INIT(room, sizeof room);
    }
}

static void kill_workers(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] != NULL) {
            (void)mproc_process_kill(pool->process[i]);
        }
    }
}

static void await_end(mproc_process *process) {
    int r;
    do {
        r = mproc_process_join(process, MPROC_FOREVER);
    } while (r == -EINTR);
}

static void close_tasks(mproc_pool *pool) {
    if (!pool->tasks_closed) {
        pool->tasks_closed = true;
        mproc_taskq_close(pool->tasks);
    }
}

/*
 * Under the lock: kills the workers, waits for their end, and fails every open ticket with why->code.
 * They are dead when it returns: nobody writes into the arrays of a map any more.
 */
static void stop(mproc_pool *pool, enum mproc__pool_state state, const mproc_task_error *why) {
    mproc_task_error error = *why, how;
    pool->state = state;
    pool->last = error;
    close_tasks(pool);
    kill_workers(pool);
    drain_replies(pool);
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] != NULL) {
            await_end(pool->process[i]);
            (void)bury_worker(pool, i, error.code, &how);
        }
    }
    drain_replies(pool);
    while (pool->base != pool->top) {
        mproc__book_failure(pool, pool->base, error);
    }
}

/* ---------------------------------------------------------------- waiting */

void mproc__pool_news(mproc_pool *pool) {
    mproc__add32(&pool->news, 1);
    if (pool->followers > 0) {
        (void)mproc__os_futex_wake(&pool->news, INT32_MAX);
    }
}

/* Another thread pumps: waits for its news. 0, -ETIMEDOUT, -EINTR. */
static int follow(mproc_pool *pool, int64_t timeout) {
    uint32_t seen = mproc__load32(&pool->news);
    pool->followers++;
    pthread_mutex_unlock(&pool->lock);
    int r = timeout > 0 ? mproc__os_futex_wait(&pool->news, seen, timeout) : -ETIMEDOUT;
    pthread_mutex_lock(&pool->lock);
    pool->followers--;
    return r;
}

/* The sentinel of a worker, any: who waits for the end of all waits for that of each. */
static int some_sentinel(const mproc_pool *pool) {
    unsigned i = 0;
    while (i < pool->seats && pool->process[i] == NULL) {
        i++;
    }
    return i < pool->seats ? mproc_process_sentinel(pool->process[i]) : -1;
}

/* Nothing but ends can come. Without the lock: if the worker is buried by another thread meanwhile, and
 * the descriptor is another's, this costs a slice. 0, -ETIMEDOUT, -EINTR. */
static int await_sentinel(int fd, int64_t timeout) {
    struct pollfd one = {fd, POLLIN, 0};
    int r = mproc__os_poll(&one, 1, timeout);
    return r < 0 ? r : r == 0 ? -ETIMEDOUT : 0;
}

/* Under the lock: replies that are there already. */
static void book_batch(mproc_pool *pool, char *room) {
    for (int i = 0; i < BATCH; i++) {
        mproc_message message = MPROC_MESSAGE_INIT(room, MPROC_MESSAGE_INLINE);
        uint64_t ticket;
        if (mproc_taskq_collect(pool->tasks, &message, &ticket, 0) != 0) {
            return;
        }
        mproc__book_reply(pool, ticket, &message);
    }
}

/* Collects for everybody. As follow(). */
static int pump(mproc_pool *pool, int64_t timeout) {
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket = 0;
    bool ending = pool->base == pool->top && pool->state != MPROC__POOL_OPEN;
    int r, sentinel = some_sentinel(pool);

    pool->pumping = true;
    pthread_mutex_unlock(&pool->lock);
    if (ending) {
        r = await_sentinel(sentinel, timeout);
    } else {
        r = mproc_taskq_collect(pool->tasks, &message, &ticket, timeout);
    }
    pthread_mutex_lock(&pool->lock);
    pool->pumping = false;
    if (r == 0 && !ending) {
        mproc__book_reply(pool, ticket, &message);
        book_batch(pool, room);
    }
    look_if_due(pool, ending ? 0 : r == 0 ? LOOK_MOST : LOOK_LEAST);
    mproc__pool_news(pool);
    return r;
}

int mproc__pool_wait(mproc_pool *pool, struct mproc__slices *slices) {
    int64_t slice = mproc__slice(slices);
    int64_t timeout = slice < 0 ? 0 : slice;
    int r = pool->pumping ? follow(pool, timeout) : pump(pool, timeout);
    return r == -ETIMEDOUT && slice >= 0 ? 0 : r;
}

/* ---------------------------------------------------------------- the pool's life */

static int check_options(const mproc_pool_options *o) {
    bool good = o->workers <= MPROC_SEATS_MAX && o->method >= 0 && o->method <= MPROC_FORKSERVER &&
                (o->init_arg == NULL || mproc_in_arena(o->init_arg));
    return good ? 0 : -EINVAL;
}

static int fill_shared(struct mproc__hand *hand, void *object, const void *unused) {
    struct mproc__pool_shared *shared = object;
    (void)hand, (void)unused;
    mproc__guard_init(&shared->guard, shared->log, sizeof shared->log / sizeof *shared->log);
    return 0;
}

static int shared_new(struct mproc__pool_shared **out, unsigned seats) {
    size_t size = sizeof **out + seats * sizeof(*out)->ready[0];
    return mproc__object_build(out, MPROC__KIND_POOL, size, fill_shared, NULL);
}

/* Frees what is the caller's; a stranger's copy of the workers' handles too. */
static void free_pool(mproc_pool *pool) {
    for (unsigned i = 0; pool->process != NULL && i < pool->seats; i++) {
        (void)mproc_process_drop(pool->process[i]);
    }
    if (mproc__family != NULL) {
        mproc_drop(pool->tasks);
        mproc_drop(pool->shared);
    }
    free(pool->process);
    free(pool->polls);
    free(pool->name);
    free(pool->slips);
    free(pool->known);
    free(pool->cells);
    free(pool);
}

static int fill_pool(mproc_pool *pool, const mproc_pool_options *o) {
    unsigned seats = o->workers != 0 ? o->workers : mproc__os_cpus();
    pool->owner = mproc__self_pid();
    pool->method = o->method != 0 ? o->method : MPROC_FORK;
    pool->name = strdup(o->name != NULL ? o->name : "Pool");
    pool->process = calloc(seats, sizeof(mproc_process *));
    pool->polls = calloc(seats, sizeof *pool->polls);
    if (pool->name == NULL || pool->process == NULL || pool->polls == NULL) {
        return -ENOMEM;
    }
    pool->seats = seats;
    for (unsigned i = 0; i < seats; i++) {
        pool->polls[i] = (struct pollfd){-1, POLLIN, 0};
    }
    int r = shared_new(&pool->shared, seats);
    return r == 0 ? mproc_taskq_new(&pool->tasks, seats) : r;
}

static int share_options(mproc_pool *pool, const mproc_pool_options *o) {
    struct mproc__pool_function *init = NULL;
    int r = o->init != NULL ? mproc__pool_name(pool, (mproc__function)o->init, &init) : 0;
    pool->shared->tasks = mproc__word(pool->tasks);
    pool->shared->init = mproc__word(init);
    pool->shared->init_arg = mproc__word(o->init_arg);
    pool->shared->max_tasks = o->max_tasks;
    return r;
}

static int start_all(mproc_pool *pool) {
    int r = 0;
    for (unsigned i = 0; r == 0 && i < pool->seats; i++) {
        r = start_worker(pool, i);
    }
    if (r != 0) {
        stop(pool, MPROC__POOL_TERMINATED, &(mproc_task_error){-ECANCELED, 0, 0, 0});
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
        r = start_all(pool);
    }
    if (r != 0) {
        free_pool(pool);
        return r;
    }
    pthread_mutex_init(&pool->lock, NULL);
    *out = pool;
    return 0;
}

void mproc__pool_close_if_fed(mproc_pool *pool) {
    if (pool->state == MPROC__POOL_CLOSED && pool->feeding == 0) {
        close_tasks(pool);
    }
}

void mproc_pool_close(mproc_pool *pool) {
    if (mproc__pool_is_stranger(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state == MPROC__POOL_OPEN) {
        pool->state = MPROC__POOL_CLOSED;
        mproc__pool_close_if_fed(pool);
        mproc__pool_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

void mproc_pool_terminate(mproc_pool *pool) {
    if (mproc__pool_is_stranger(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state == MPROC__POOL_OPEN || pool->state == MPROC__POOL_CLOSED) {
        stop(pool, MPROC__POOL_TERMINATED, &(mproc_task_error){-ECANCELED, 0, 0, 0});
        mproc__pool_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

static bool has_ended(const mproc_pool *pool) {
    return pool->alive == 0 && pool->tasks_closed && pool->base == pool->top;
}

int mproc_pool_join(mproc_pool *pool, int64_t timeout) {
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    pthread_mutex_lock(&pool->lock);
    int r = pool->state == MPROC__POOL_OPEN ? -EBUSY : 0;
    while (r == 0 && !has_ended(pool)) {
        r = mproc__pool_wait(pool, &slices);
    }
    r = has_ended(pool) ? 0 : r;
    pthread_mutex_unlock(&pool->lock);
    return r;
}

void mproc_pool_drop(mproc_pool *owned) {
    if (owned == NULL) {
        return;
    }
    mproc_pool_terminate(owned);
    if (!mproc__pool_is_stranger(owned)) {
        pthread_mutex_destroy(&owned->lock);
    }
    free_pool(owned);
}

size_t mproc_pool_workers(mproc_pool *pool, pid_t *out, size_t cap) {
    size_t n = 0;
    if (mproc__pool_is_stranger(pool)) {
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] == NULL) {
            continue;
        }
        if (n < cap) {
            out[n] = mproc_process_pid(pool->process[i]);
        }
        n++;
    }
    pthread_mutex_unlock(&pool->lock);
    return n;
}

int mproc__pool_refusal(const mproc_pool *pool) {
    switch (pool->state) {
    case MPROC__POOL_OPEN: return 0;
    case MPROC__POOL_BROKEN: return pool->last.code;
    case MPROC__POOL_CLOSED:
    case MPROC__POOL_TERMINATED: break;
    }
    return MPROC_ECLOSED;
}

/* ---------------------------------------------------------------- check */

int mproc_pool_check(mproc_pool *pool, char *why, size_t size) {
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    if (pool->shared->object.magic != MPROC__OBJECT_MAGIC ||
        pool->shared->object.kind != MPROC__KIND_POOL) {
        return mproc__corrupt(why, size, "W: %p is no pool", (void *)pool);
    }
    pthread_mutex_lock(&pool->lock);
    int r = mproc__slips_check(pool, why, size);
    pthread_mutex_unlock(&pool->lock);
    if (r == 0) {
        r = mproc__pool_blocks_check(pool->shared, why, size);
    }
    return r == 0 ? mproc_taskq_check(pool->tasks, why, size) : r;
}
