/*
 * wait.h - waiting for a message or for room, and waking who does
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_WAIT_H
#define MPROC_QUEUE_WAIT_H

#include "core/spin.h"
#include "queue/state.h"

#define MPROC__GATHER_LEAST 4   /* so many messages found by one look are a stream */
#define MPROC__GATHER_PAUSES 64 /* of a consumer before its next look at most: 1 us */

/* What one side waits for, and where the other side was last seen. */
struct mproc__queue_side {
    bool (*ready)(const mproc_queue *queue);
    struct mproc__eventcount *event;
    const uint32_t *peer_cpu;
    bool ends_on_close; /* there is no use in waiting for a closed queue */
    bool streams;       /* a consumer of messages; a producer of tasks waits for their results */
};

struct mproc__queue_side mproc__queue_consumers(mproc_queue *queue);
struct mproc__queue_side mproc__queue_producers(mproc_queue *queue);

/* The queue that this thread got from last, if it has put nothing since: it drains a stream, and is
 * not at one end of a dialogue. */
extern MPROC__HIDDEN MPROC__THREAD const mproc_queue *mproc__queue_draining;

/* How many messages the last look of this thread at a tail found. */
extern MPROC__HIDDEN MPROC__THREAD uint64_t mproc__queue_found;

/* Wakes a sleeper for each of n messages or free places. */
static inline void mproc__queue_wake(struct mproc__eventcount *event, uint64_t n) {
    do {
        mproc__eventcount_wake(event);
    } while (--n > 0 && mproc__eventcount_awaited(event));
}

static inline void mproc__queue_pause(unsigned pauses) {
    for (unsigned i = 0; i < pauses; i++) {
        mproc__pause();
    }
}

/* Nothing but yielding keeps the two sides of a queue without a bound together, when they have one
 * CPU. A bound does so by itself: a full queue puts its producers to sleep, an empty one its
 * consumers, and each turn moves as many messages as the queue holds. A thread that yields there as
 * well comes back, or is woken, after a handful of messages, since a scheduler that counts a yield
 * as CPU time used lets those that have slept go before the producers. */
static inline bool mproc__queue_may_yield(const mproc_queue *queue) {
    return queue->bound == 0;
}

/* Waits until the side is ready or the queue is closed. No hand is held meanwhile. -ETIMEDOUT,
 * -EINTR. */
int mproc__queue_await(const mproc_queue *queue, const struct mproc__queue_side *side,
                       int64_t deadline);

/* Room, for a message of that kind, is waited for, then tried again: somebody else may have been
 * faster. A *deadline below 0 is set. As mproc__queue_await. */
int mproc__queue_await_room(mproc_queue *queue, bool large, int64_t timeout, int64_t *deadline);

/* True: the last look found several messages, they have been taken, and the producers, which the
 * bound does not stop, bring more. */
static inline bool mproc__queue_streams(const mproc_queue *queue) {
    return mproc__queue_found >= MPROC__GATHER_LEAST && mproc__queue_draining == queue &&
           mproc__peek64(&queue->tail_seen) == mproc__peek64(&queue->head_ticket) &&
           (queue->bound == 0 || mproc__queue_found < queue->bound / 4);
}

/* Each look at the tail's ticket takes its line from the producer, which takes it back with the
 * next put. A consumer that keeps up with a stream would look for a few messages each time: it
 * waits a moment, as long as the last look found many, and finds more. One that found a single
 * message says that the next one is to be looked for at once. */
static inline void mproc__queue_let_gather(const mproc_queue *queue) {
    if (mproc__queue_streams(queue)) {
        mproc__queue_pause(mproc__queue_found < MPROC__GATHER_PAUSES ? (unsigned)mproc__queue_found
                                                                     : MPROC__GATHER_PAUSES);
    }
}

#endif
