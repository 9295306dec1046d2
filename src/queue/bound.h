/*
 * bound.h - how much may be in a queue: messages, and their bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * The ticket of the head gives room, and the bytes that have been taken before it. A producer
 * counts its bytes before it publishes its message. So one that died in between has counted too
 * many until somebody enters the tail's section. A thread that looks for room without the guard
 * sees that the section's owner is dead, and enters it.
 */
#ifndef MPROC_QUEUE_BOUND_H
#define MPROC_QUEUE_BOUND_H

#include "queue/state.h"

/* The taken ones are looked at first, so that they are never more. */
static inline uint64_t mproc__queue_bytes_in(const mproc_queue *queue) {
    uint64_t head = mproc__load64(&queue->head_bytes); /* SYNC(queue.bytes) */
    return mproc__load64(&queue->tail_bytes) - head;   /* SYNC(queue.bytes) */
}

static inline bool mproc__queue_has_too_many_bytes(const mproc_queue *queue) {
    return queue->most_bytes != 0 && mproc__queue_bytes_in(queue) >= queue->most_bytes;
}

static inline bool mproc__queue_seems_to_have_room(const mproc_queue *queue) {
    return queue->bound == 0 ||
           (mproc__queue_tail_ticket(queue) - mproc__queue_head_ticket(queue) < queue->bound &&
            !mproc__queue_has_too_many_bytes(queue));
}

/* Takes back what a dead producer has counted too many. Under no guard. `hand` is the caller's if
 * it has one already, or NULL. */
void mproc__queue_mend_bytes(mproc_queue *queue, struct mproc__hand *hand);

/* For who waits or tries; the same holds. */
static inline bool mproc__queue_has_room(mproc_queue *queue, struct mproc__hand *hand) {
    bool room = mproc__queue_seems_to_have_room(queue);
    if (mproc__likely(room || queue->most_bytes == 0)) {
        return room;
    }
    mproc__queue_mend_bytes(queue, hand);
    return mproc__queue_seems_to_have_room(queue);
}

/* By what the producers knew last, and without the guard: a guess. */
static inline bool mproc__queue_seems_full(const mproc_queue *queue) {
    return queue->bound != 0 &&
           mproc__peek64(&queue->tail_ticket) - mproc__peek64(&queue->head_seen) >= queue->bound;
}

/* Under the tail's guard: how many messages the bound leaves room for, as of the last look. */
static inline uint64_t mproc__queue_places(const mproc_queue *queue) {
    return queue->bound - (queue->tail_ticket - queue->head_seen);
}

static inline void mproc__queue_look_at_head(mproc_queue *queue) {
    uint64_t head = mproc__queue_head_ticket(queue);
    mproc__poke64(&queue->head_seen, head);
}

/* Under the tail's guard. Knows the head's ticket at least as of the last look. */
static inline bool mproc__queue_full(mproc_queue *queue) {
    if (queue->bound == 0 || mproc__queue_has_too_many_bytes(queue)) {
        return queue->bound != 0;
    }
    if (mproc__queue_places(queue) > 0) {
        return false;
    }
    mproc__queue_look_at_head(queue);
    return mproc__queue_places(queue) == 0;
}

/* Under an end's guard, before its ticket is published: so many bytes more have gone through it. */
void mproc__queue_count_bytes(struct mproc__guard *guard, uint64_t *word, size_t size);

#endif
