/*
 * engine.c - a pool whose workers are an engine's
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Such a pool has seats, but no worker of its own: crew.c starts none. The engine's
 * carrier (engine/carrier.c), a child of the owner, joins in all seats; the task queue cannot tell
 * it from as many workers. It is told by orders which pools there are, when to leave one, and which
 * task to end.
 *
 * Shared state: place->left, 1 by the carrier when it has left the pool: it touches the seats, the
 * maps and their arrays no more (SYNC(place.left)).
 *
 * If the carrier dies here: the seats say which tasks died with it. They fail, and the pool is
 * broken for good, since the nodes are gone. If the owner dies, the carrier ends with it, and so do
 * the nodes.
 */
#include "pool/engine.h"

#include <string.h>

#include "system/os.h"

#define LEAVE_MOST (10 * MPROC_SEC) /* then the carrier is stuck, and ended */
#define LEAVE_LOOK (50 * MPROC_MSEC)

int mproc__engine_check(const mproc_pool_options *o) {
    if (o->engine == NULL) {
        return 0;
    }
    bool good = o->start == NULL && o->setup == NULL && o->init_arg == NULL &&
                o->exit_arg == NULL && o->handler_arg == NULL && o->idle == 0 && o->fragile == 0 &&
                o->outlived == 0 && o->most == 0;
    if (!mproc__expect_handle(o->engine, MPROC__HANDLE_ENGINE)) {
        return MPROC_EOTHER;
    }
    return !good ? -EINVAL : o->engine->owner != mproc__self_pid() ? MPROC_ESTRANGER : 0;
}

unsigned mproc__engine_seats(const mproc_engine *engine, unsigned workers) {
    unsigned all = workers != 0 ? workers : engine->workers;
    unsigned most = MPROC_SEATS_MAX / MPROC__ENGINE_AHEAD;
    return (all < most ? all : most) * MPROC__ENGINE_AHEAD;
}

static int order(mproc_engine *engine, const struct mproc__engine_order *what) {
    return mproc_queue_put(engine->orders, what, sizeof *what, MPROC_FOREVER);
}

bool mproc__engine_has_ended(const mproc_engine *engine, int *exitcode) {
    return mproc_process_exitcode(engine->carrier, exitcode) != -EAGAIN;
}

int mproc__engine_begin(mproc_pool *pool) {
    mproc_engine *engine = pool->options.engine;
    int code;
    if (mproc__engine_has_ended(engine, &code)) {
        return MPROC_EENGINE;
    }
    pthread_mutex_lock(&engine->lock);
    pool->number = ++engine->pools;
    pthread_mutex_unlock(&engine->lock);
    struct mproc__engine_order what = {.kind = MPROC__ORDER_POOL,
                                       .pool = pool->number,
                                       .seats = pool->seats,
                                       .workers = pool->target,
                                       .method = pool->options.method,
                                       .place = pool->place};
    memcpy(what.name, pool->name, strnlen(pool->name, sizeof what.name - 1));
    return order(engine, &what);
}

void mproc__engine_leave(mproc_pool *pool) {
    mproc_engine *engine = pool->options.engine;
    const struct mproc__engine_order what = {.kind = MPROC__ORDER_DROP, .pool = pool->number};
    int64_t end = mproc__os_now() + LEAVE_MOST;
    int code;
    if (pool->number == 0 || mproc__engine_has_ended(engine, &code) || order(engine, &what) != 0) {
        return;
    }
    while (mproc__load32(&pool->place->left) == 0 && /* SYNC(place.left) */
           !mproc__engine_has_ended(engine, &code)) {
        (void)mproc__os_futex_wait(&pool->place->left, 0, LEAVE_LOOK);
        if (mproc__os_now() > end) {
            (void)mproc_process_kill(engine->carrier); /* its end is seen at the next look */
        }
    }
}

void mproc__engine_kill(mproc_pool *pool, unsigned seat) {
    const struct mproc__engine_order what = {
        .kind = MPROC__ORDER_KILL, .pool = pool->number, .seat = seat};
    (void)order(pool->options.engine, &what); /* no memory: the task goes on, as if it were late */
}

void mproc__engine_book_seats(mproc_pool *pool, const mproc_task_error *why) {
    uint64_t ticket;
    for (unsigned i = 0; i < pool->seats; i++) {
        if (mproc_taskq_worker_died(pool->tasks, i, &ticket) == 1) {
            mproc__book_failure(pool, ticket, *why);
        }
    }
}
