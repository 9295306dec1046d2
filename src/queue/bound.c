/*
 * bound.c - how much may be in a queue: messages, and their bytes
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/bound.h"

void mproc__queue_count_bytes(struct mproc__guard *guard, uint64_t *word, size_t size) {
    uint64_t bytes = mproc__peek64(word) + size;
    mproc__guard_save(guard, word);
    mproc__store64(word, bytes); /* SYNC(queue.bytes) */
}

/* A look at memory, unless the owner of the section is dead or leaves that open. */
static bool producer_has_died(const mproc_queue *queue) {
    uint64_t owner = mproc__mutex_owner(&queue->tail.mutex);
    return owner != 0 && mproc__token_dead(owner);
}

void mproc__queue_mend_bytes(mproc_queue *queue, struct mproc__hand *hand) {
    if (mproc__likely(!producer_has_died(queue))) {
        return;
    }
    struct mproc__hand *mine = hand != NULL ? hand : mproc__hand_get();
    if (mproc__guard_enter_within(&queue->tail, mine, MPROC__PATIENCE)) {
        mproc__guard_leave(&queue->tail, mine);
    }
    if (hand == NULL) {
        mproc__hand_put(mine);
    }
}

int mproc_queue_bound_bytes(mproc_queue *queue, uint64_t bytes) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (mproc__queue_tail_ticket(queue) != 0) {
        return -EBUSY;
    }
    queue->most_bytes = bytes;
    queue->bound = queue->bound == 0 && bytes != 0 ? UINT64_MAX : queue->bound;
    return 0;
}

uint64_t mproc_queue_bytes(const mproc_queue *queue, uint64_t *most) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return 0;
    }
    if (most != NULL) {
        *most = queue->most_bytes;
    }
    if (queue->most_bytes == 0) {
        return 0;
    }
    mproc__queue_mend_bytes((mproc_queue *)(uintptr_t)queue, NULL);
    return mproc__queue_bytes_in(queue);
}
