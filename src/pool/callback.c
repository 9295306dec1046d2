/*
 * callback.c - what a task's end does in the owner, and the end of its handle
 *
 * SPDX-License-Identifier: MIT
 *
 * A task with a callback is ENDED until its callback has returned, and DONE from then on: other
 * threads see it as done only then.
 */
#include <stdlib.h>

#include "core/border.h"
#include "pool/inside.h"
#include "system/os.h"

/* Under the lock. */
void mproc__task_end(mproc_pool *pool, mproc_task *task) {
    mproc__notify_self(pool);
    if (task->callback == NULL) {
        mproc__store32(&task->state, MPROC__TASK_DONE); /* SYNC(task.state): the result, before */
        return;
    }
    task->next = NULL;
    *pool->ended_end = task;
    pool->ended_end = &task->next;
    mproc__store32(&task->state, MPROC__TASK_ENDED);
}

void mproc__task_free(mproc_task *owned) {
    if (owned->message.block != NULL) {
        mproc_message_drop(&owned->message);
    } else {
        free(owned->data);
    }
    mproc__handle_wreck(owned);
    free(owned);
}

static int call_back(void *arg) {
    mproc_task *task = arg;
    task->callback(task, task->callback_arg);
    return 0;
}

/* The word may be gone when sleepers are woken: then nobody sleeps there. */
void mproc__task_call(mproc_pool *pool, mproc_task *task) {
    mproc__poke64(&task->caller, mproc__self_thread()); /* for that thread itself */
    (void)mproc__border(call_back, task);
    pthread_mutex_lock(&pool->lock);
    bool dropped = task->dropped;
    uint32_t *word = &task->state;
    if (!dropped) {
        mproc__store32(word, MPROC__TASK_DONE); /* SYNC(task.state) */
    }
    pthread_mutex_unlock(&pool->lock);
    if (dropped) {
        mproc__task_free(task);
    } else {
        (void)mproc__os_futex_wake(word, INT32_MAX);
    }
}
