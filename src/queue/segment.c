/*
 * segment.c - the segments of a queue: the next one, and the one that is drained
 *
 * SPDX-License-Identifier: MIT
 *
 * Each is at least twice as large as the one before it, up to LAST, so that a queue of few messages
 * costs little, and one of many goes on seldom. One that a consumer has drained becomes the tail's
 * spare, so a queue in balance allocates nothing.
 */
#include "queue/segment.h"
#include "core/heap.h"

#define LAST ((size_t)65536)

size_t mproc__queue_segment_next_size(size_t size, size_t need) {
    size_t wanted = 4 * (need + sizeof(struct mproc__queue_segment));
    size *= 2;
    while (size < wanted) {
        size *= 2;
    }
    return size < LAST ? size : LAST;
}

int mproc__queue_segment_new(struct mproc__hand *hand, size_t size, uint64_t *word) {
    int r = mproc__heap_alloc(hand, size, word);
    if (r == 0) {
        mproc__queue_segment_at(*word)->next = 0;
        mproc__queue_segment_at(*word)->size = size;
    }
    return r;
}

void mproc__queue_segment_append(mproc_queue *queue, uint64_t *word) {
    uint64_t fresh = *word;
    uint64_t old = queue->tail_segment;
    mproc__queue_segment_at(fresh)->next = 0;
    if (queue->tail_offset + sizeof(struct mproc__record) <= mproc__queue_segment_at(old)->size) {
        mproc__record_at(old, queue->tail_offset)->kind =
            MPROC__RECORD_END; /* behind the last record: nobody's */
    }
    mproc__guard_set(&queue->tail, &mproc__queue_segment_at(old)->next, fresh);
    mproc__guard_set(&queue->tail, &queue->tail_segment, fresh);
    mproc__guard_set(&queue->tail, &queue->tail_offset, sizeof(struct mproc__queue_segment));
    mproc__guard_set(&queue->tail, word, 0);
}

void mproc__queue_segment_recycle(mproc_queue *queue, struct mproc__hand *hand) {
    if (mproc__guard_enter_timed(&queue->tail, hand)) {
        uint64_t spare = queue->spare;
        if (spare == 0 ||
            mproc__queue_segment_at(spare)->size < mproc__queue_segment_at(hand->block)->size) {
            mproc__guard_set(&queue->tail, &queue->spare, hand->block);
            mproc__guard_set(&queue->tail, &hand->block, spare);
        }
        mproc__guard_leave(&queue->tail, hand);
    }
    mproc__heap_free(hand, &hand->block);
}
