/*
 * queue.c - first in, first out, many producers, many consumers, any size
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Messages stand one behind the other in a chain of segments, as in a log: producers
 * append at the tail under one guard, consumers take at the head under another, so that one of each
 * never meet. Both count what they did in tickets: tail - head is what is in the queue. A message
 * up to RECORD_MOST is copied into the segment; a larger one is an object of its own, and a pointer
 * to it stands there, and so is one that takes buffers along. A drained segment becomes the tail's
 * spare, so a queue in balance allocates nothing.
 *
 *     head segment                        tail segment
 *     [next|size| taken | rec | rec |END]->[next|size| rec | rec | free ...]
 *                        ^ head_offset                            ^ tail_offset
 *
 * Cache lines. Each costs what two cores are apart: 20 to 250 ns. A message moves the lines of its
 * record to the consumer, and back when a segment is used again; nothing else, while the consumer
 * knows of more messages and the producer of more room. A look at the other side's ticket moves one
 * more line there and, with the next message, back. So a consumer that keeps up with a stream waits
 * a moment before it looks (let_gather), and a producer of a full queue before it goes on (linger).
 *
 * Its parts, each in a file of queue/: the ends and what is shared, with the invariants (state.h),
 * records, segments, the bounds, putting, getting, batches, waiting and waking, reservations,
 * reports of what is done, shutting down, destroying, the check, the facts for a picture. Here is
 * the queue's life.
 *
 * If a member dies here. Writing or reading a record changes nothing. The section's saved words
 * (offsets, segments, hands' words) are put back unless its ticket was published: of messages that
 * are put or taken together, all are or none. Between publishing and waking: a sleeper's slice
 * ends. What a shutdown has taken out and not destroyed yet is destroyed by the next one, or with
 * the queue. A large message is in the producer's hand, in the queue, or in the consumer's hand.
 *
 * What it does not do: priority, peeking, removal from the middle.
 */
#include "queue.h"

#include "core/make.h"
#include "queue/segment.h"

static int fill(struct mproc__hand *hand, void *object, const void *bound) {
    mproc_queue *queue = object;
    mproc__guard_init(&queue->tail, queue->tail_log, MPROC__QUEUE_UNDO);
    mproc__guard_init(&queue->head, queue->head_log, MPROC__QUEUE_UNDO);
    queue->bound = *(const uint64_t *)bound;
    queue->head_offset = queue->tail_offset = sizeof(struct mproc__queue_segment);
    queue->producer_cpu = queue->consumer_cpu = UINT32_MAX;
    int r = mproc__queue_segment_new(hand, MPROC__SEGMENT_FIRST, &hand->block);
    if (r == 0) { /* whole: the destructor follows its segments */
        mproc__hand_move(hand, &hand->block, &queue->head_segment);
        queue->tail_segment = queue->head_segment;
    }
    return r;
}

int mproc__queue_make(struct mproc__hand *hand, uint64_t bound, uint64_t *word) {
    int r = mproc__object_make(hand, MPROC__KIND_QUEUE, sizeof(mproc_queue), word);
    return r == 0 ? fill(hand, (mproc_queue *)(uintptr_t)*word, &bound) : r;
}

int mproc_queue_new(mproc_queue **out, uint64_t bound) {
    return mproc__object_build(out, MPROC__KIND_QUEUE, sizeof(mproc_queue), fill, &bound);
}

uint64_t mproc_queue_count(const mproc_queue *queue) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return 0;
    }
    uint64_t head = mproc__queue_head_ticket(queue); /* first, so that it is never the larger */
    return mproc__queue_tail_ticket(queue) - head;
}
