/*
 * wait.c - waiting for a message or for room
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/wait.h"

#include "queue/bound.h"
#include "queue/wait.h"
#include "system/os.h"

#define SPIN_PAUSES 6    /* between two looks at most; one takes 17 ns */
#define STREAM_PAUSES 16 /* more than these, when a stream is drained */
#define LINGER_LOOKS 8   /* of a producer for more than one free place */
#define LINGER_PAUSES 16 /* between two of them */

MPROC__THREAD const mproc_queue *mproc__queue_draining;
MPROC__THREAD uint64_t mproc__queue_found;

static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};

struct mproc__queue_side mproc__queue_consumers(mproc_queue *queue) {
    return (struct mproc__queue_side){mproc__queue_has_item, &queue->items, &queue->producer_cpu,
                                      true, true};
}

static bool has_room(const mproc_queue *queue) {
    return mproc__queue_has_room((mproc_queue *)(uintptr_t)queue, NULL);
}

struct mproc__queue_side mproc__queue_producers(mproc_queue *queue) {
    return (struct mproc__queue_side){has_room, &queue->room, &queue->consumer_cpu, true, false};
}

static bool settled(const mproc_queue *queue, const struct mproc__queue_side *side) {
    return side->ready(queue) || (side->ends_on_close && mproc__queue_is_closed(queue));
}

/* On the same CPU the peer cannot run while this thread spins. */
static bool peer_is_here(const struct mproc__queue_side *side) {
    return mproc__queue_is_here(side->peer_cpu);
}

static bool drains(const mproc_queue *queue, const struct mproc__queue_side *side) {
    bool stream = side->event == &queue->items && mproc__queue_draining == queue;
    mproc__queue_draining = side->event == &queue->items ? queue : mproc__queue_draining;
    return stream;
}

/* True: settled. The clock and the peer's place are looked at once in a while. Each look at the
 * other side's ticket takes the cache line away from it. In a dialogue the first look counts. A
 * consumer that drains a stream leaves time between looks, in which the producer gets several
 * messages done. */
static bool spin(const mproc_queue *queue, const struct mproc__queue_side *side, int64_t start,
                 bool stream) {
    int64_t end = start + mproc__spin_budget(&spinning);
    unsigned pauses = stream ? STREAM_PAUSES : 0, most = pauses + SPIN_PAUSES;
    for (unsigned i = 0;; i++) {
        mproc__queue_pause(pauses);
        if (settled(queue, side)) {
            return true;
        }
        if (i % 8 == 0 && (peer_is_here(side) || mproc__os_now() >= end)) {
            return false;
        }
        pauses = pauses < most ? pauses + 1 : pauses;
    }
}

/* True: settled. A consumer that sleeps is woken by the next message, and takes the producer's CPU
 * from it for that one message, again and again. A consumer that yields finds more of them. */
static bool yield(const mproc_queue *queue, const struct mproc__queue_side *side, bool stream) {
    if (!stream || !side->streams || !mproc__queue_may_yield(queue) || !peer_is_here(side)) {
        return false;
    }
    mproc__os_yield();
    return settled(queue, side);
}

static int sleep_slices(const mproc_queue *queue, const struct mproc__queue_side *side,
                        int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    for (;;) {
        uint32_t seen = mproc__eventcount_announce(side->event);
        if (settled(queue, side)) {
            return 0;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        if (mproc__eventcount_sleep(side->event, seen, slice) == -EINTR) {
            return -EINTR;
        }
    }
}

static int sleep_noted(const mproc_queue *queue, const struct mproc__queue_side *side,
                       int64_t deadline) {
    struct mproc__hand *noted = mproc__wait_begin(side->event, deadline);
    int r = sleep_slices(queue, side, deadline);
    mproc__wait_end(noted);
    return r;
}

int mproc__queue_await(const mproc_queue *queue, const struct mproc__queue_side *side,
                       int64_t deadline) {
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    int64_t start = mproc__os_now();
    bool stream = drains(queue, side);
    bool there = spin(queue, side, start, stream) || yield(queue, side, stream);
    int r = there ? 0 : sleep_noted(queue, side, deadline);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

/* ---------------------------------------------------------------- room */

static bool has_few_places(const mproc_queue *queue) {
    return mproc__queue_inside(queue) > queue->bound - queue->bound / 4;
}

/* A producer that goes on at the first free place meets the consumer at every message, and each
 * time one takes the other's line away. A moment later there is room for several. */
static void linger(const mproc_queue *queue, const struct mproc__queue_side *side) {
    for (int looks = 0; looks < LINGER_LOOKS; looks++) {
        if (!has_few_places(queue) || peer_is_here(side)) {
            return;
        }
        mproc__queue_pause(LINGER_PAUSES);
    }
}

/* The same for large messages on one CPU: the producer has woken in the consumer's place, would put
 * one, and sleep again. The consumer goes on first. (Small ones take less time than the yield.) */
static void step_back(const mproc_queue *queue, const struct mproc__queue_side *side) {
    if (has_few_places(queue) && peer_is_here(side)) {
        mproc__os_yield();
    }
}

int mproc__queue_await_room(mproc_queue *queue, bool large, int64_t timeout, int64_t *deadline) {
    if (*deadline < 0) {
        *deadline = mproc__deadline(timeout);
    }
    struct mproc__queue_side side = mproc__queue_producers(queue);
    int r = mproc__queue_await(queue, &side, *deadline);
    if (r == 0 && large) {
        step_back(queue, &side);
    }
    if (r == 0) {
        linger(queue, &side);
    }
    return r;
}

/* ---------------------------------------------------------------- without taking */

/* Sleeps until a message is there. Whoever slept may have been woken in a consumer's place. */
static int await_item(mproc_queue *queue, int64_t deadline) {
    struct mproc__queue_side side = mproc__queue_consumers(queue);
    int r = sleep_slices(queue, &side, deadline);
    mproc__eventcount_wake(&queue->items);
    return r;
}

int mproc_queue_wait(mproc_queue *queue, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    int64_t deadline = mproc__deadline(timeout);
    while (!mproc__queue_has_item(queue)) {
        if (mproc__queue_is_closed(queue)) {
            return MPROC_ECLOSED;
        }
        int r = timeout == 0 ? -ETIMEDOUT : await_item(queue, deadline);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}
