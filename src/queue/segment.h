/*
 * segment.h - the segments of a queue: the next one, and the one that is drained
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_SEGMENT_H
#define MPROC_QUEUE_SEGMENT_H

#include "queue/state.h"

/* Bytes of a queue's first one. */
#define MPROC__SEGMENT_FIRST ((size_t)1024)

/* The size that the segment after one of `size` bytes has, to take a record of `need` bytes. */
size_t mproc__queue_segment_next_size(size_t size, size_t need);

/* Makes an empty segment in *word. -ENOMEM. */
int mproc__queue_segment_new(struct mproc__hand *hand, size_t size, uint64_t *word);

/* Under the tail's guard: goes on in an empty segment, which *word gives away. */
void mproc__queue_segment_append(mproc_queue *queue, uint64_t *word);

/* Under the tail's guard: makes sure that a record of `need` bytes fits. False: a segment is
 * missing, and *size is what it should have. */
static inline bool mproc__queue_segment_make_room(mproc_queue *queue, struct mproc__hand *hand,
                                                  size_t need, size_t *size) {
    if (mproc__likely(mproc__queue_segment_fits(queue->tail_segment, queue->tail_offset, need))) {
        return true;
    }
    if (queue->spare != 0 &&
        mproc__queue_segment_fits(queue->spare, sizeof(struct mproc__queue_segment), need)) {
        mproc__queue_segment_append(queue, &queue->spare);
        return true;
    }
    if (hand->block != 0) {
        mproc__queue_segment_append(queue, &hand->block);
        return true;
    }
    *size =
        mproc__queue_segment_next_size(mproc__queue_segment_at(queue->tail_segment)->size, need);
    return false;
}

/* The drained segment in hand->block becomes the spare one if it is the larger. */
void mproc__queue_segment_recycle(mproc_queue *queue, struct mproc__hand *hand);

#endif
