/*
 * task.c - one task of a pool: submitted, waited for, cancelled
 *
 * SPDX-License-Identifier: MIT
 *
 * A task is private memory of the owner. Its holder and whoever books its end, under the pool's lock, meet
 * at `done`: before, it is changed under the lock only; afterwards it is constant and the holder's alone.
 */
#include <stdlib.h>

#include "pool/pool.h"

void mproc__task_done(mproc_task *task) {
    mproc__store32(&task->done, 1); /* SYNC(task.done): the result, before the word */
}

static int order_task(mproc_pool *pool, struct mproc__order *order, const void *lent, size_t size,
                      mproc_task *task) {
    uint32_t *cell;
    int r = mproc__cell_take(pool, &cell);
    if (r != 0) {
        return r;
    }
    struct mproc__slip slip = {MPROC__SLIP_TASK, task, cell, NULL, pool->submitted};
    order->subject = mproc__word(cell);
    r = mproc__order_put(pool, order, lent, size, slip, &task->ticket);
    if (r != 0) {
        mproc__cell_give(pool, cell);
        return r;
    }
    task->error.task = pool->submitted++;
    pool->open_tasks++;
    return 0;
}

int mproc_pool_submit(mproc_pool *pool, mproc_task_fn fn, const void *lent, size_t size,
                      size_t out_cap, mproc_task **out) {
    struct mproc__pool_function *function;
    if (fn == NULL || (lent == NULL && size != 0)) {
        return -EINVAL;
    }
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    if (out_cap > mproc__family->span) {
        return MPROC_ETOOBIG;
    }
    mproc_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return -ENOMEM;
    }
    task->pool = pool;
    pthread_mutex_lock(&pool->lock);
    int r = mproc__pool_refusal(pool);
    if (r == 0) {
        r = mproc__pool_name(pool, (mproc__function)fn, &function);
    }
    if (r == 0) {
        struct mproc__order order = {MPROC__ORDER_TASK, mproc__word(function), 0, out_cap};
        r = order_task(pool, &order, lent, size, task);
    }
    pthread_mutex_unlock(&pool->lock);
    if (r != 0) {
        free(task);
        return r;
    }
    *out = task;
    return 0;
}

int mproc_task_wait(mproc_task *task, int64_t timeout) {
    if (mproc__task_is_done(task)) {
        return 0;
    }
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    mproc_pool *pool = task->pool;
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    int r = 0;
    pthread_mutex_lock(&pool->lock);
    while (r == 0 && !mproc__task_is_done(task)) {
        r = mproc__pool_wait(pool, &slices);
    }
    pthread_mutex_unlock(&pool->lock);
    return mproc__task_is_done(task) ? 0 : r;
}

int mproc_task_result(mproc_task *task, const void **data, size_t *size) {
    if (!mproc__task_is_done(task)) {
        return -EAGAIN;
    }
    if (task->error.code == 0) {
        *data = task->data;
        *size = task->size;
    }
    return task->error.code;
}

void mproc_task_failure(const mproc_task *task, mproc_task_error *out) {
    *out = mproc__task_is_done(task) ? task->error
                                     : (mproc_task_error){-EAGAIN, task->error.task, 0, 0};
}

/* Under the lock, not done: the owner's half of the meeting at the cell. */
static int withdraw(mproc_pool *pool, mproc_task *task) {
    struct mproc__slip *slip = mproc__slip_at(pool, task->ticket);
    uint32_t state = MPROC__CELL_PENDING;
    if (!mproc__cas32(slip->cell, &state, MPROC__CELL_CANCELLED)) {
        return -EBUSY;
    }
    slip->task = NULL;
    task->error.code = -ECANCELED;
    mproc__task_done(task);
    return 0;
}

int mproc_task_cancel(mproc_task *task) {
    int r = -EBUSY;
    if (mproc__task_is_done(task)) {
        return r;
    }
    mproc_pool *pool = task->pool;
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    pthread_mutex_lock(&pool->lock);
    if (!mproc__task_is_done(task)) {
        r = withdraw(pool, task);
        mproc__pool_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

static void disclaim(mproc_task *task) {
    mproc_pool *pool = task->pool;
    if (mproc__pool_is_stranger(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (!mproc__task_is_done(task)) {
        mproc__slip_at(pool, task->ticket)->task = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
}

void mproc_task_drop(mproc_task *owned) {
    if (owned == NULL) {
        return;
    }
    if (!mproc__task_is_done(owned)) {
        disclaim(owned);
    }
    if (owned->message.block != NULL) {
        mproc_message_drop(&owned->message);
    } else {
        free(owned->data);
    }
    free(owned);
}
