/*
 * feed.c - tasks that wait in the owner are put into the workers' queue
 *
 * SPDX-License-Identifier: MIT
 *
 * They wait there for their turn by priority (rank.c) or for their next try (again.c). All under
 * the pool's lock, by threads that wait and by every submit.
 */
#include "pool/inside.h"
#include "system/os.h"

#define PAUSE_SHORTAGE (10 * MPROC_MSEC) /* when a message could not be put for want of memory */

/* ---------------------------------------------------------------- by priority */

/* False: there is no memory for it now. A message that cannot be put at all fails its task. */
static bool put_first(mproc_pool *pool) {
    struct mproc__extra *first = pool->ranked[0];
    int r = mproc__extra_put(pool, first);
    if (r == -ENOMEM) {
        return false;
    }
    mproc__rank_forget(pool, first);
    if (r != 0) {
        mproc__book_failure_of_held(pool, first, &(mproc_task_error){.code = r});
    }
    return true;
}

void mproc__feed_ranked(mproc_pool *pool) {
    while (pool->ranked_count > 0 && mproc_taskq_waiting(pool->tasks) < pool->options.ahead &&
           put_first(pool)) {
    }
}

/* ---------------------------------------------------------------- by time */

static int try_again(mproc_pool *pool, struct mproc__extra *extra) {
    return pool->options.ahead != 0 ? mproc__rank_add(pool, extra) : mproc__extra_put(pool, extra);
}

void mproc__feed_due(mproc_pool *pool) {
    int64_t now = pool->delayed != NULL ? mproc__os_now() : 0;
    while (pool->delayed != NULL && pool->delayed->due <= now) {
        struct mproc__extra *extra = pool->delayed;
        mproc__extra_forget(pool, extra);
        if (try_again(pool, extra) != 0) {
            mproc__again_delay(pool, extra, PAUSE_SHORTAGE);
            return;
        }
    }
}
