/*
 * state.h - what a queue consists of: its two ends, and what all of its users look at
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared state.
 *   tail_*, spare   Producers write them, under `tail`. Any thread reads tail_ticket without the
 *                   guard: its store publishes the record, so what lies before the ticket is whole.
 *   head_*          Consumers write them, under `head`. Any thread reads head_ticket without the
 *                   guard: its store gives room, and a reader that sees an old one only waits a
 *                   little longer.
 *   *_cpu           Where the last put or get ran: a hint for deciding whether spinning can help.
 *   head_seen       The producers' copy of head_ticket, looked up when the queue seems full. Never
 *                   ahead.
 *   tail_seen       The consumers' copy of tail_ticket. With it they read the producers' cache line
 *                   only when they have caught up. Never ahead.
 *   items, room, idle, near   Event counts (core/eventcount.h); of `near` see near.c.
 *   bound, most_bytes   Constant.
 *   tail_bytes, head_bytes   How many bytes have been put and taken, if most_bytes is not 0: with
 *                   the tickets, but read by producers before these are published. After a death
 *                   of a consumer there they may have put a message more than they should; after
 *                   that of a producer see bound.h.
 *   closed          Goes from 0 to 1, under `tail`. From then on nobody changes tail_*.
 *   cut_*, dropped  Written under `head`: what a shutdown has taken out all at once, of a queue
 *                   that is closed. cut_left records, from (cut_segment, cut_offset) on, are still
 *                   to be destroyed, and then the segments before head_segment. Any thread reads
 *                   `dropped`, the number of all.
 *   done            How many messages were reported done: by compare-and-swap, which is its commit.
 *
 * Invariants.
 *   Q1  head_seen <= head_ticket <= tail_seen <= tail_ticket.
 *   Q2  From (head_segment, head_offset) there are exactly tail_ticket - head_ticket records, each
 *       whole in its segment, and behind the last is (tail_segment, tail_offset).
 *   Q3  A BLOCK record names a message object without holds, plain or a parcel (core/parcel.c).
 *   Q4  bound == 0, or tail_ticket - head_ticket <= bound.
 *   Q5  done + dropped <= tail_ticket.
 *   Q6  cut_left <= dropped; with any of them the queue is closed and empty.
 *   Q7  head_bytes <= tail_bytes; most_bytes == 0, or bound != 0.
 */
#ifndef MPROC_QUEUE_STATE_H
#define MPROC_QUEUE_STATE_H

#include "core/eventcount.h"
#include "core/kinds.h"
#include "queue.h"
#include "queue/record.h"
#include "system/os.h"

#define MPROC__QUEUE_UNDO 8

struct mproc_queue {
    struct mproc__object object;

    /* the producers' lines */
    _Alignas(MPROC__LINE) struct mproc__guard tail;
    uint64_t tail_segment;
    uint64_t tail_offset;
    uint64_t tail_ticket;
    uint64_t head_seen;
    uint64_t spare;
    uint64_t tail_bytes;
    uint32_t producer_cpu; /* of the last put: is it worth spinning for the next? */
    struct mproc__undo tail_log[MPROC__QUEUE_UNDO];

    /* the consumers' lines */
    _Alignas(MPROC__LINE) struct mproc__guard head;
    uint64_t head_segment;
    uint64_t head_offset;
    uint64_t head_ticket;
    uint64_t tail_seen;
    uint64_t head_bytes;
    uint32_t consumer_cpu;
    struct mproc__undo head_log[MPROC__QUEUE_UNDO];
    uint64_t cut_segment;
    uint64_t cut_offset;
    uint64_t cut_left;
    uint64_t dropped;

    /* read by all, seldom written */
    _Alignas(MPROC__LINE) struct mproc__eventcount items;
    struct mproc__eventcount room;
    struct mproc__eventcount near;
    uint64_t bound;
    uint64_t most_bytes; /* 0: no bound; with one, `bound` is not 0 either */
    uint32_t closed;

    /* of threads that report what is done, and that wait for that */
    _Alignas(MPROC__LINE) uint64_t done;
    struct mproc__eventcount idle;
};

static inline uint64_t mproc__queue_head_ticket(const mproc_queue *queue) {
    return mproc__load64(&queue->head_ticket); /* SYNC(queue.head_ticket) */
}

/* How many messages are in it, by what a producer knows of its own end. */
static inline uint64_t mproc__queue_inside(const mproc_queue *queue) {
    return mproc__peek64(&queue->tail_ticket) - mproc__queue_head_ticket(queue);
}

/* Is that CPU, of the last put or get, the caller's? */
static inline bool mproc__queue_is_here(const uint32_t *cpu) {
    return mproc__peek32(cpu) == (uint32_t)mproc__os_cpu();
}

static inline uint64_t mproc__queue_tail_ticket(const mproc_queue *queue) {
    return mproc__load64(&queue->tail_ticket); /* SYNC(queue.tail_ticket) */
}

/* The tail's ticket; 0: there is no message. The head is looked at first: if the tail is the same
 * after that, the queue is empty then, however many consumers there are. */
static inline uint64_t mproc__queue_item_seen(const mproc_queue *queue) {
    uint64_t head = mproc__queue_head_ticket(queue);
    uint64_t tail = mproc__queue_tail_ticket(queue);
    return tail != head ? tail : 0;
}

static inline bool mproc__queue_has_item(const mproc_queue *queue) {
    return mproc__queue_item_seen(queue) != 0;
}

static inline bool mproc__queue_is_closed(const mproc_queue *queue) {
    return mproc__load32(&queue->closed); /* SYNC(queue.closed) */
}

/* ---- the head, of which an end knows as much as it has seen */

/* Under the head's guard: how many messages there are, as of the last look. */
static inline uint64_t mproc__queue_there(const mproc_queue *queue) {
    return queue->tail_seen - queue->head_ticket;
}

static inline void mproc__queue_look_at_tail(mproc_queue *queue) {
    uint64_t tail = mproc__queue_tail_ticket(queue);
    mproc__poke64(&queue->tail_seen, tail);
}

/* Under the head's guard, not empty: the oldest record. A drained segment moves into
 * hand->block. */
static inline struct mproc__record *mproc__queue_oldest(mproc_queue *queue,
                                                        struct mproc__hand *hand) {
    uint64_t segment = queue->head_segment;
    if (mproc__record_is_here(segment, queue->head_offset)) {
        return mproc__record_at(segment, queue->head_offset);
    }
    uint64_t next = mproc__queue_segment_at(segment)->next;
    mproc__guard_set(&queue->head, &queue->head_segment, next);
    mproc__guard_set(&queue->head, &queue->head_offset, sizeof(struct mproc__queue_segment));
    mproc__guard_set(&queue->head, &hand->block, segment);
    return mproc__record_at(next, sizeof(struct mproc__queue_segment));
}

/* Under the head's guard: n records, up to this offset, are taken. */
static MPROC__INLINE void mproc__queue_advance(mproc_queue *queue, uint64_t offset, uint64_t n,
                                               const struct mproc__claim *claim) {
    uint64_t ticket = queue->head_ticket;
    mproc__guard_set(&queue->head, &queue->head_offset, offset);
    if (claim != NULL && claim->word != NULL) {
        mproc__guard_set(&queue->head, claim->word, ticket + 1);
    }
    mproc__poke32(&queue->consumer_cpu, mproc__mutex_cpu(&queue->head.mutex));
    /* SYNC(queue.head_ticket): the records have been read, before their places count as free. */
    mproc__guard_publish(&queue->head, &queue->head_ticket, ticket + n);
}

#endif
