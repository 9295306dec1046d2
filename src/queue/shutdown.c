/*
 * shutdown.c - the end of a queue for all: close, and shut down
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/clear.h"
#include "queue/done.h"

/* Under the tail's guard: a put that has not seen it has published its message already. So a
 * consumer that sees `closed` and then an empty queue has seen all messages. */
void mproc_queue_close(mproc_queue *queue) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&queue->tail, hand);
    mproc__store32(&queue->closed, 1); /* SYNC(queue.closed): the last put, before the flag */
    mproc__guard_leave(&queue->tail, hand);
    mproc__hand_put(hand);
    mproc__full_fence();
    mproc__eventcount_wake_all(&queue->items);
    mproc__eventcount_wake_all(&queue->room);
}

/* All messages are out at once: the commit is the head's ticket, as for any that are taken. The
 * queue is closed, so that the tail stands still. */
static void cut(struct mproc__hand *hand, mproc_queue *queue) {
    struct mproc__guard *guard = &queue->head;
    mproc__guard_enter(guard, hand);
    mproc__queue_look_at_tail(queue);
    uint64_t n = mproc__queue_there(queue);
    if (n > 0) {
        mproc__guard_set(guard, &queue->cut_segment, queue->head_segment);
        mproc__guard_set(guard, &queue->cut_offset, queue->head_offset);
        mproc__guard_set(guard, &queue->cut_left, n);
        mproc__guard_save(guard, &queue->dropped);
        mproc__store64(&queue->dropped, n); /* SYNC(queue.dropped) */
        mproc__guard_set(guard, &queue->head_bytes, queue->tail_bytes);
        mproc__guard_set(guard, &queue->head_segment, queue->tail_segment);
        mproc__guard_set(guard, &queue->head_offset, queue->tail_offset);
        /* SYNC(queue.head_ticket) */
        mproc__guard_publish(guard, &queue->head_ticket, queue->tail_seen);
    }
    mproc__guard_leave(guard, hand);
}

void mproc_queue_shutdown(mproc_queue *queue, int immediate) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return;
    }
    mproc_queue_close(queue);
    if (!immediate) {
        return;
    }
    struct mproc__hand *hand = mproc__hand_get();
    cut(hand, queue);
    mproc__queue_clear_cut(hand, queue);
    mproc__hand_put(hand);
    mproc__full_fence();
    if (mproc__queue_all_done(queue)) {
        mproc__eventcount_wake_all(&queue->idle);
    }
    mproc__eventcount_wake_all(&queue->room);
}
