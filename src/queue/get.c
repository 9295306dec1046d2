/*
 * get.c - taking messages out of a queue
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/parcel.h"
#include "core/wait.h"
#include "queue.h"
#include "queue/batch.h"
#include "queue/bound.h"
#include "queue/near.h"
#include "queue/segment.h"
#include "queue/traced.h"
#include "queue/wait.h"

/* Under the head's guard. Knows the tail's ticket at least as of the last look; `tail` is what the
 * caller saw before it entered, or 0. A second look would take the line from the producer twice. */
static bool empty(mproc_queue *queue, uint64_t tail) {
    if (mproc__queue_there(queue) > 0) {
        return false;
    }
    if (tail > queue->head_ticket) {
        mproc__poke64(&queue->tail_seen, tail);
    } else {
        mproc__queue_look_at_tail(queue);
    }
    mproc__queue_found = mproc__queue_there(queue);
    return mproc__queue_found == 0;
}

/* Under the head's guard, not empty: takes the oldest message, and more if wanted. -EMSGSIZE: there
 * is no room for it. */
static MPROC__INLINE int take(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message,
                              const struct mproc__claim *claim, struct mproc__more *more) {
    size_t size = mproc__record_read(&queue->head, hand, mproc__queue_oldest(queue, hand), message);
    if (mproc__unlikely(size == 0)) {
        return -EMSGSIZE;
    }
    if (mproc__unlikely(queue->most_bytes != 0)) {
        mproc__queue_count_bytes(&queue->head, &queue->head_bytes, message->size);
    }
    uint64_t offset = queue->head_offset + size, n = 1;
    if (more != NULL) {
        offset = mproc__queue_receive_more(queue, hand, offset, more);
        n += more->got;
    }
    mproc__queue_advance(queue, offset, n, claim);
    return 0;
}

/* 0; -EAGAIN: empty; -ETIMEDOUT: the head was not to be entered; -EMSGSIZE as take. */
static MPROC__INLINE int try_take(mproc_queue *queue, struct mproc__hand *hand,
                                  mproc_message *message, const struct mproc__claim *claim,
                                  struct mproc__more *more, uint64_t tail) {
    if (mproc__unlikely(!mproc__guard_enter_timed(&queue->head, hand))) {
        return -ETIMEDOUT;
    }
    int r = empty(queue, tail) ? -EAGAIN : take(queue, hand, message, claim, more);
    if (r == -EMSGSIZE) {
        mproc__guard_rollback(&queue->head); /* a segment may have moved */
    }
    mproc__guard_leave(&queue->head, hand);
    if (mproc__unlikely(hand->block != 0)) {
        mproc__queue_segment_recycle(queue, hand);
    }
    if (r == 0 && queue->bound != 0) {
        mproc__fence_after_rmw();
        mproc__queue_wake(&queue->room, more != NULL ? 1 + more->got : 1);
    }
    return r;
}

/* An inline message for which the caller brought no room is received into an object of its own. */
static int take_boxed(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message,
                      const struct mproc__claim *claim) {
    size_t size = message->size;
    int r = mproc__object_alloc(hand, MPROC__KIND_MESSAGE, mproc__parcel_head(0) + size);
    if (r != 0) {
        return r;
    }
    void *room = mproc__parcel_payload((struct mproc__object *)(uintptr_t)hand->unheld);
    mproc_message boxed = {room, size, NULL, 0, NULL};
    r = try_take(queue, hand, &boxed, claim, NULL, 0);
    if (r == 0) {
        message->size = boxed.size;
        if (boxed.data == boxed.room) {
            mproc__hand_move(hand, &hand->unheld, &hand->message);
        }
    }
    mproc__object_destroy(hand, &hand->unheld);
    return r == -EMSGSIZE ? -EAGAIN : r;
}

/* What is in the hand becomes the member's, and the caller's. */
static MPROC__NOINLINE void hand_over_block(mproc_queue *queue, struct mproc__hand *hand,
                                            mproc_message *message) {
    struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->message;
    mproc__object_adopt(hand, &hand->message);
    message->block = object;
    message->data = mproc__parcel_payload(object);
    mproc__queue_came_near(queue, message->size);
}

static inline void hand_over(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message) {
    if (mproc__unlikely(hand->message != 0)) {
        hand_over_block(queue, hand, message);
    }
}

static MPROC__INLINE int get_once(mproc_queue *queue, mproc_message *message,
                                  const struct mproc__claim *claim, struct mproc__more *more,
                                  uint64_t tail) {
    struct mproc__hand *hand = mproc__hand_get();
    int r = try_take(queue, hand, message, claim, more, tail);
    while (mproc__unlikely(r == -EMSGSIZE)) {
        r = take_boxed(queue, hand, message, claim);
        r = r == -EAGAIN && mproc__queue_has_item(queue)
                ? try_take(queue, hand, message, claim, more, 0)
                : r;
    }
    if (r == 0) { /* what is in the hand is the last */
        bool first = more == NULL || more->got == 0;
        hand_over(queue, hand, first ? message : &more->messages[more->got - 1]);
    }
    mproc__hand_put(hand);
    return r;
}

/* Waits for the first message alone if more are wanted. A queue that is seen to be empty is not
 * entered: a consumer that catches up looks twice before it waits. */
static MPROC__INLINE int get_in(mproc_queue *queue, mproc_message *message, int64_t timeout,
                                const struct mproc__claim *claim, struct mproc__more *more) {
    int64_t deadline = -1;
    mproc__guard_patience = timeout;
    mproc__queue_let_gather(queue);
    for (;;) {
        bool closed = mproc__queue_is_closed(queue);
        uint64_t tail = mproc__queue_item_seen(queue);
        if (tail != 0) {
            mproc_message got = mproc__record_unread(message);
            int r = get_once(queue, &got, claim, more, tail);
            if (mproc__likely(r == 0)) {
                *message = got;
            }
            if (mproc__likely(r != -EAGAIN)) {
                return r;
            }
        }
        mproc__queue_found = 0;
        if (closed) { /* it was closed before it was found empty: nothing can come */
            return MPROC_ECLOSED;
        }
        if (deadline < 0) {
            deadline = mproc__deadline(timeout);
        }
        struct mproc__queue_side side = mproc__queue_consumers(queue);
        side.streams = claim == NULL;
        int r = mproc__queue_await(queue, &side, deadline);
        if (r != 0) {
            return r;
        }
    }
}

int mproc__queue_get(mproc_queue *queue, mproc_message *message, int64_t timeout,
                     const struct mproc__claim *claim) {
    return get_in(queue, message, timeout, claim, NULL);
}

/* An inline message that is probably there, in few instructions. 0; or an error as try_take, after
 * which nothing has happened. */
static inline int get_fast(mproc_queue *queue, mproc_message *message) {
    if (mproc__peek64(&queue->tail_seen) == mproc__peek64(&queue->head_ticket)) {
        return -EAGAIN;
    }
    mproc_message got = mproc__record_unread(message);
    struct mproc__hand *hand = mproc__hand_get();
    int r = try_take(queue, hand, &got, NULL, NULL, 0);
    if (mproc__likely(r == 0)) {
        hand_over(queue, hand, &got);
        *message = got;
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_queue_get(mproc_queue *queue, mproc_message *message, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    mproc__guard_patience = timeout;
    int r = get_fast(queue, message);
    if (mproc__unlikely(r != 0) && r != -ETIMEDOUT) {
        r = mproc__queue_get(queue, message, timeout, NULL);
    }
    return mproc__queue_traced(queue, MPROC__TRACE_GET, r, 1);
}

int mproc_queue_get_many(mproc_queue *queue, mproc_message *messages, size_t n, size_t *got,
                         int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (n == 0) {
        *got = 0;
        return 0;
    }
    struct mproc__more more = {messages + 1, n - 1, 0};
    int r = get_in(queue, messages, timeout, NULL, &more);
    if (r == 0) {
        *got = 1 + more.got;
    }
    return mproc__queue_traced(queue, MPROC__TRACE_GET, r, 1 + more.got);
}
