/*
 * state.c - what a pool is doing, as the other files of this folder ask and say it
 *
 * SPDX-License-Identifier: MIT
 *
 * The lowest of the owner's files: it calls none of them. All under the pool's lock, but for enter
 * and leave.
 */
#include "pool/inside.h"
#include "system/os.h"

#define LOOK_LIMITS (10 * MPROC_MSEC) /* between two looks while tasks with limits are open */

/* ---------------------------------------------------------------- the end of tasks */

void mproc__pool_close_tasks(mproc_pool *pool) {
    if (!pool->tasks_closed) {
        pool->tasks_closed = true;
        mproc_taskq_close(pool->tasks);
    }
}

void mproc__pool_close_if_fed(mproc_pool *pool) {
    if (pool->state == MPROC__POOL_CLOSED && pool->feeding == 0) {
        mproc__pool_close_tasks(pool);
    }
}

/* A broken pool tries again when its pause has passed. */
int mproc__pool_refusal(mproc_pool *pool) {
    switch (pool->state) {
    case MPROC__POOL_OPEN: return 0;
    case MPROC__POOL_BROKEN:
        if (pool->starting > 0 || mproc__os_now() < pool->refill_at) {
            return pool->last.code;
        }
        if (pool->tasks_closed) {
            return MPROC_ECLOSED;
        }
        pool->state = MPROC__POOL_OPEN;
        return 0;
    case MPROC__POOL_CLOSED:
    case MPROC__POOL_TERMINATED: break;
    }
    return MPROC_ECLOSED;
}

/* ---------------------------------------------------------------- for threads that wait */

int64_t mproc__pool_due(const mproc_pool *pool) {
    int64_t due = pool->delayed != NULL ? pool->delayed->due : MPROC__NEVER;
    if (pool->limited > 0 && pool->looked + LOOK_LIMITS < due) {
        due = pool->looked + LOOK_LIMITS;
    }
    if (pool->refill_at > pool->looked && pool->refill_at < due) {
        due = pool->refill_at;
    }
    return due;
}

/* ---------------------------------------------------------------- the program's functions */

void mproc__pool_enter(const mproc_pool *pool) {
    if (pool->options.enter != NULL) {
        pool->options.enter(pool->options.enter_arg);
    }
}

void mproc__pool_leave(const mproc_pool *pool) {
    if (pool->options.leave != NULL) {
        pool->options.leave(pool->options.enter_arg);
    }
}
