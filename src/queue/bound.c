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
    return queue->most_bytes != 0 ? mproc__queue_bytes_in(queue) : 0;
}
