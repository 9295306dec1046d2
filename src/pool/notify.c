/*
 * notify.c - one descriptor that tells when there is something to collect from a pool
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The descriptor is an epoll instance, which can itself be waited for. In it are: a
 * socket, to which a worker writes when it has handed in a result; the sentinels of all workers;
 * and a timer for what is due without anything coming (timeouts, further tries). All of it is made
 * when somebody asks for the descriptor; before, workers only look at place->armed, which is 0. The
 * timer is set by whoever collects, and by what makes something due in between: a task with a
 * timeout that is put, a worker that a resize could not start.
 *
 * The socket has an abstract address, so that workers reach it however they were started. It takes
 * one datagram each time that it is armed: a worker that has handed in a result swaps `armed` from
 * 1 to 0, and writes if it was the one to do so. The owner arms it again when it has collected.
 *
 * Shared state: place->armed, 1 by the owner, 0 by whoever swaps it or by the owner. The worker
 * looks at it after it has published its result; the owner looks for results after it has armed
 * (SYNC(notify.armed)): one of them sees the other's store. address is constant from before the
 * first 1.
 *
 * If a worker dies here, between its result and the datagram: its sentinel is readable, and so is
 * the descriptor. The owner then collects the result as any other. If the owner dies, the socket
 * goes with it.
 *
 * What it does not do: reach from another network namespace; workers that end nothing there are
 * noticed by threads that wait, as ever.
 */
#include "pool/engine.h"
#include "system/os.h"

static bool has_descriptor(const mproc_pool *pool) {
    return pool->fd >= 0;
}

/* ---------------------------------------------------------------- making */

void mproc__notify_watch(mproc_pool *pool, int sentinel) {
    if (has_descriptor(pool)) {
        (void)mproc__os_watch_add(pool->fd, sentinel);
    }
}

/* A forked child has a copy of the sentinel, so that closing ours would not take it out. */
void mproc__notify_forget(mproc_pool *pool, int sentinel) {
    if (has_descriptor(pool)) {
        (void)mproc__os_watch_remove(pool->fd, sentinel);
    }
}

static void close_one(int *fd) {
    if (*fd >= 0) {
        mproc__os_close(*fd);
    }
    *fd = -1;
}

void mproc__notify_close(mproc_pool *pool) {
    close_one(&pool->fd);
    close_one(&pool->socket);
    close_one(&pool->timer);
}

static int keep(int *where, int fd) {
    *where = fd >= 0 ? fd : -1;
    return fd >= 0 ? 0 : fd;
}

static int watch_all(mproc_pool *pool) {
    int r = mproc__os_watch_add(pool->fd, pool->socket);
    if (r == 0) {
        r = mproc__os_watch_add(pool->fd, pool->timer);
    }
    if (r == 0 && pool->options.engine != NULL) {
        r = mproc__os_watch_add(pool->fd, mproc_process_sentinel(pool->options.engine->carrier));
    }
    for (unsigned i = 0; r == 0 && i < pool->used; i++) {
        if (pool->polls[i].fd >= 0) {
            r = mproc__os_watch_add(pool->fd, pool->polls[i].fd);
        }
    }
    return r;
}

static int make(mproc_pool *pool) {
    mproc_workplace *place = pool->place;
    int r = keep(&pool->socket, mproc__os_mailbox_new(place->address, sizeof place->address,
                                                      &place->address_size));
    if (r == 0) {
        r = keep(&pool->timer, mproc__os_timer_new());
    }
    if (r == 0) {
        r = keep(&pool->fd, mproc__os_watch_new());
    }
    if (r == 0) {
        r = watch_all(pool);
    }
    if (r != 0) {
        mproc__notify_close(pool);
    }
    return r;
}

int mproc_pool_fd(mproc_pool *pool) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    pthread_mutex_lock(&pool->lock);
    if (!has_descriptor(pool)) {
        r = make(pool);
        mproc__notify_rearm(pool);
    }
    r = r == 0 ? pool->fd : r;
    pthread_mutex_unlock(&pool->lock);
    return r;
}

/* ---------------------------------------------------------------- the owner */

void mproc__notify_disarm(mproc_pool *pool) {
    if (has_descriptor(pool)) {
        mproc__store32(&pool->place->armed, 0);
        mproc__os_mailbox_drain(pool->socket);
    }
}

void mproc__notify_due(mproc_pool *pool) {
    int64_t due = has_descriptor(pool) ? mproc__pool_due(pool) : MPROC__NEVER;
    if (due != MPROC__NEVER) {
        (void)mproc__os_timer_set(pool->timer, due);
    }
}

void mproc__notify_rearm(mproc_pool *pool) {
    if (!has_descriptor(pool)) {
        return;
    }
    int64_t due = mproc__pool_due(pool);
    (void)mproc__os_timer_set(pool->timer, due == MPROC__NEVER ? -1 : due);
    mproc__store32(&pool->place->armed, 1); /* SYNC(notify.armed) */
    mproc__full_fence();
    if (mproc__taskq_results(pool->tasks) > 0 || pool->ended != NULL) {
        mproc__notify_self(pool);
    }
}

void mproc__notify_self(mproc_pool *pool) {
    if (has_descriptor(pool)) {
        mproc__notify_owner(pool->place, &pool->socket);
    }
}

/* ---------------------------------------------------------------- the worker */

void mproc__notify_owner(mproc_workplace *place, int *fd) {
    uint32_t armed = 1;
    /* SYNC(notify.armed) */
    if (mproc__unlikely(mproc__load32(&place->armed) != 0) &&
        mproc__cas32(&place->armed, &armed, 0)) {
        mproc__os_mailbox_send(fd, place->address, place->address_size);
    }
}
