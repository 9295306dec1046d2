/*
 * wait.c - whoever waits collects for everybody
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A pool has no thread. A thread that waits for a task, a map or the end pumps: it
 * sleeps on the queue of results, books what comes, and looks after the workers. One thread pumps
 * at a time; others that wait meanwhile follow: they sleep until the pumping thread has news or
 * leaves. A signal handler that waits may have interrupted the pumping thread: it pumps, too.
 *
 * What another thread changes, or such a handler, may be what the pumping thread waits for, and no
 * result comes of it: so that thread gets a notice through the same queue. A thread wakes at least
 * every 50 ms: for a result whose worker died between handing it in and waking, and for a notice
 * that the arena had no room for.
 *
 * The lock is never held while a thread sleeps, nor while it calls a function of the program.
 * Tasks that have ended with a callback wait in pool->ended, and processes in their seats, until
 * the thread that booked them has left what it was doing: mproc__pool_deliver() then calls what is
 * to be called, one by one, the oldest first. A callback may use the pool, wait for other tasks
 * included.
 */
#include "core/wait.h"
#include "pool/inside.h"
#include "system/os.h"

#define LOOK_LEAST MPROC_MSEC       /* between two looks at the workers */
#define LOOK_MOST (10 * MPROC_MSEC) /* the same, while replies come in */

/* ---------------------------------------------------------------- looking */

/* A dead worker's task is told of it before another worker is in its place. */
void mproc__pool_look(mproc_pool *pool) {
    const struct mproc__wait_pause paused = mproc__wait_pause();
    pool->looked = mproc__os_now();
    mproc__crew_look(pool);
    if (pool->ended_count > 0) {
        mproc__pool_deliver(pool);
    }
    mproc__crew_refill(pool);
    mproc__limits_look(pool);
    mproc__feed_due(pool);
    mproc__feed_ranked(pool);
    mproc__wait_go_on(&paused);
}

static void look_if_due(mproc_pool *pool, int64_t now, int64_t interval) {
    if (now - pool->looked >= interval || now >= mproc__pool_due(pool)) {
        mproc__pool_look(pool);
    }
}

/* ---------------------------------------------------------------- waiting */

void mproc__pool_news(mproc_pool *pool) {
    mproc__add32(&pool->news, 1);
    if (pool->followers > 0) {
        (void)mproc__os_futex_wake(&pool->news, INT32_MAX);
    }
    if (pool->pumping != 0 && !pool->noticed) {
        pool->noticed = mproc_taskq_notify(pool->tasks) == 0;
    }
}

/* Another thread pumps: waits for its news. 0, -ETIMEDOUT, -EINTR. *now: the time after that. */
static int follow(mproc_pool *pool, int64_t timeout, int64_t *now) {
    uint32_t seen = mproc__load32(&pool->news);
    pool->followers++;
    pthread_mutex_unlock(&pool->lock);
    int r = timeout > 0 ? mproc__os_futex_wait(&pool->news, seen, timeout) : -ETIMEDOUT;
    pthread_mutex_lock(&pool->lock);
    pool->followers--;
    *now = mproc__os_now();
    return r;
}

/* Nothing but ends can come. Without the lock: if another thread collects the worker meanwhile,
 * and the descriptor is another's, this costs a slice. 0, -ETIMEDOUT, -EINTR. */
static int await_sentinel(int fd, int64_t timeout) {
    struct pollfd one = {fd, POLLIN, 0};
    int r = mproc__os_poll(&one, 1, timeout);
    return r < 0 ? r : r == 0 ? -ETIMEDOUT : 0;
}

/* Whoever waits for the end of all workers waits for that of each. */
static bool is_ending(const mproc_pool *pool) {
    return pool->base == pool->top && pool->delayed == NULL && pool->ranked_count == 0 &&
           pool->state != MPROC__POOL_OPEN;
}

static int64_t until_due(const mproc_pool *pool, int64_t timeout) {
    int64_t due = mproc__pool_due(pool);
    if (due == MPROC__NEVER) {
        return timeout;
    }
    int64_t left = due - mproc__os_now();
    left = left > 0 ? left : 0;
    return left < timeout ? left : timeout;
}

/* Collects for everybody. As follow(). *now: the time after that. */
static int pump(mproc_pool *pool, int64_t timeout, int64_t *now) {
    struct mproc__replies replies;
    bool ending = is_ending(pool);
    int r, sentinel = mproc__crew_sentinel(pool);

    uint64_t interrupted = pool->pumping;
    timeout = until_due(pool, timeout);
    pool->pumping = mproc__self_thread();
    pthread_mutex_unlock(&pool->lock);
    if (ending) {
        r = await_sentinel(sentinel, timeout);
    } else {
        r = mproc__replies_collect(pool, &replies, timeout);
    }
    pthread_mutex_lock(&pool->lock);
    pool->pumping = interrupted;
    if (r == 0 && !ending) {
        mproc__book_replies(pool, &replies);
        mproc__book_batch(pool, &replies);
    }
    mproc__feed_ranked(pool);
    *now = mproc__os_now();
    look_if_due(pool, *now, ending ? 0 : r == 0 ? LOOK_MOST : LOOK_LEAST);
    mproc__pool_news(pool);
    return r;
}

/* A pool that is busy wakes its waiters so often that no slice ever passes: time decides. */
static int signalled(mproc_pool *pool, struct mproc__slices *slices, int64_t now) {
    if (!mproc__hooked() || now - slices->looked < MPROC__SLICE_FIRST) {
        return 0;
    }
    slices->looked = now;
    pthread_mutex_unlock(&pool->lock);
    int r = mproc__signal_seen(slices) ? -EINTR : 0;
    pthread_mutex_lock(&pool->lock);
    return r;
}

int mproc__pool_signalled(mproc_pool *pool, struct mproc__slices *slices) {
    return signalled(pool, slices, mproc__hooked() ? mproc__os_now() : 0);
}

/* When the owner does something by itself, though no result comes. */
static int64_t due_of(const mproc_pool *pool, int64_t deadline) {
    int64_t due = mproc__pool_due(pool);
    if (pool->limited > 0 || mproc__crew_is_short(pool)) {
        due = 0;
    }
    return due < deadline ? due : deadline;
}

/* A wait that has lasted for a slice is noted as one for the pool: that for a result, which it is
 * made of, ends with each slice. It began when the last result came, or later. */
static struct mproc__hand *note(mproc_pool *pool, int64_t deadline) {
    if (pool->quiet == 0 || pool->quiet_replies != pool->replies) {
        pool->quiet = mproc__os_now();
        pool->quiet_replies = pool->replies;
    }
    return mproc__wait_resume(pool->place, due_of(pool, deadline), pool->quiet);
}

int mproc_pool_note_wait(mproc_pool *pool) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    pthread_mutex_lock(&pool->lock);
    r = note(pool, MPROC__NEVER) != NULL;
    pthread_mutex_unlock(&pool->lock);
    return r;
}

void mproc_pool_note_end(void) {
    mproc__wait_end(mproc__thread_hand);
}

int mproc__pool_wait(mproc_pool *pool, struct mproc__slices *slices) {
    struct mproc__hand *noted = slices->idle ? note(pool, slices->deadline) : NULL;
    int64_t now, slice = mproc__slice(slices);
    int64_t timeout = slice < 0 ? 0 : slice;
    bool follows = pool->pumping != 0 && pool->pumping != mproc__self_thread();
    int r = follows ? follow(pool, timeout, &now) : pump(pool, timeout, &now);
    slices->idle = r == -ETIMEDOUT;
    mproc__wait_end(noted);
    mproc__pool_deliver(pool);
    return r == 0 || (r == -ETIMEDOUT && slice >= 0) ? signalled(pool, slices, now) : r;
}

/* ---------------------------------------------------------------- delivering */

static mproc_task *take_ended(mproc_pool *pool) {
    mproc_task *task = pool->ended;
    if (task != NULL) {
        pool->ended = task->next;
        pool->ended_end = pool->ended != NULL ? pool->ended_end : &pool->ended;
    }
    return task;
}

static void deliver_tasks(mproc_pool *pool) {
    mproc_task *task;
    while ((task = take_ended(pool)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        mproc__task_call(pool, task);
        pthread_mutex_lock(&pool->lock);
    }
}

/* The seat is taken until `end` has returned, or what it does for this worker would meet the next
 * one. */
static void deliver_ends(mproc_pool *pool) {
    for (unsigned i = 0; pool->ended_count > 0 && i < pool->used; i++) {
        struct mproc__crew *crew = &pool->crew[i];
        if (crew->ended != NULL && !crew->parting) {
            crew->parting = true;
            pthread_mutex_unlock(&pool->lock);
            pool->options.end(pool->options.start_arg, i, crew->ended);
            pthread_mutex_lock(&pool->lock);
            crew->parting = false;
            crew->ended = NULL;
            pool->ended_count--;
        }
    }
}

void mproc__pool_deliver(mproc_pool *pool) {
    if (pool->ended == NULL && pool->landed_count == 0 && pool->ended_count == 0 &&
        !mproc__book_has_aside(pool)) {
        return;
    }
    const struct mproc__wait_pause paused = mproc__wait_pause();
    pthread_mutex_unlock(&pool->lock);
    mproc__pool_enter(pool);
    pthread_mutex_lock(&pool->lock);
    deliver_tasks(pool);
    mproc__book_tell_aside(pool);
    mproc__land_deliver(pool);
    deliver_ends(pool);
    pthread_mutex_unlock(&pool->lock);
    mproc__pool_leave(pool);
    pthread_mutex_lock(&pool->lock);
    mproc__wait_go_on(&paused);
}

/* ---------------------------------------------------------------- collecting */

/* The caller is back at once when something has come, and looks for signals itself. So the first
 * look is due when a slice is over. The clock is read once: that takes a tenth of a round trip. */
static int collect_until(mproc_pool *pool, uint64_t closed, int64_t timeout) {
    int64_t now = mproc__os_now();
    struct mproc__slices slices = mproc__slices_from(now, timeout);
    int r = 0;
    if (mproc__taskq_results(pool->tasks) > 0) {
        struct mproc__replies replies;
        mproc__book_batch(pool, &replies);
    }
    look_if_due(pool, now,
                pool->fd >= 0 ? 0 : LOOK_LEAST); /* who waits for the descriptor saw it */
    mproc__pool_deliver(pool);
    while (r == 0 && pool->closed == closed && !pool->told) {
        r = mproc__pool_wait(pool, &slices);
    }
    bool told = pool->told;
    pool->told = false;
    return told || pool->closed != closed ? 0 : r;
}

int mproc_pool_notify(mproc_pool *pool) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    pthread_mutex_lock(&pool->lock);
    pool->told = true;
    pool->closed++;
    mproc__pool_news(pool);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

int mproc_pool_collect(mproc_pool *pool, int64_t timeout) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    pthread_mutex_lock(&pool->lock);
    mproc__notify_disarm(pool);
    r = collect_until(pool, pool->closed, timeout);
    mproc__notify_rearm(pool);
    mproc__pool_news(pool);
    pthread_mutex_unlock(&pool->lock);
    return r;
}
