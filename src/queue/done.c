/*
 * done.c - reports of what has been worked on, and waiting for the last one
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/done.h"
#include "core/wait.h"
#include "queue/wait.h"

/* The number is written before the section commits, which makes head and tail the same for good;
 * when it is put back, head and tail differ. */
uint64_t mproc__queue_dropped(const mproc_queue *queue) {
    uint64_t n = mproc__load64(&queue->dropped); /* SYNC(queue.dropped) */
    bool committed =
        n == 0 || (!mproc__queue_has_item(queue) && mproc__load64(&queue->dropped) == n);
    return committed ? n : 0;
}

bool mproc__queue_all_done(const mproc_queue *queue) {
    uint64_t done = mproc__queue_done(queue) + mproc__queue_dropped(queue);
    return done == mproc__queue_tail_ticket(queue);
}

int mproc_queue_task_done(mproc_queue *queue) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    uint64_t done = mproc__queue_done(queue);
    do {
        if (done + mproc__queue_dropped(queue) >= mproc__queue_tail_ticket(queue)) {
            return MPROC_EDONE;
        }
        /* SYNC(queue.done): what was done with a message, before it counts as done. */
    } while (!mproc__cas64(&queue->done, &done, done + 1));
    mproc__fence_after_rmw(); /* the count, before the look at `sleepers` */
    if (mproc__eventcount_awaited(&queue->idle) && mproc__queue_all_done(queue)) {
        mproc__eventcount_wake_all(&queue->idle);
    }
    return 0;
}

int mproc_queue_join(mproc_queue *queue, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    struct mproc__queue_side side = {mproc__queue_all_done, &queue->idle, &queue->consumer_cpu,
                                     false, false};
    return mproc__queue_all_done(queue)
               ? 0
               : mproc__queue_await(queue, &side, mproc__deadline(timeout));
}
