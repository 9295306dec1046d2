/*
 * reserve.c - messages that are written in place: reserve and commit
 *
 * SPDX-License-Identifier: MIT
 *
 * A reservation is a message object that its member holds. Committing takes the hold away and puts
 * the object into the queue as it is.
 */
#include "core/heap.h"
#include "core/parcel.h"
#include "queue/near.h"
#include "queue/put.h"
#include "queue/traced.h"
#include "queue/wait.h"

int mproc_queue_reserve(mproc_queue *queue, size_t size, mproc_message *out) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (mproc__queue_is_closed(queue)) {
        return MPROC_ECLOSED;
    }
    if (mproc__queue_too_big(size, 0)) {
        return MPROC_ETOOBIG;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__object_alloc(hand, MPROC__KIND_MESSAGE, mproc__parcel_head(0) + size);
    if (r == 0) {
        struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->unheld;
        mproc__object_adopt(hand, &hand->unheld);
        *out = (mproc_message){NULL, 0, mproc__parcel_payload(object), size, object};
    }
    mproc__hand_put(hand);
    return r;
}

static int commit_object(mproc_queue *queue, struct mproc__hand *hand, size_t size) {
    int r = mproc__queue_put_object(queue, hand, &hand->message, size);
    if (r != 0) {
        mproc__object_adopt(hand, &hand->message);
    }
    return r;
}

/* Others hold the reservation too (a child forked since): they keep it, and the queue gets a
 * copy. */
static int commit_copy(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message) {
    struct iovec piece = {message->data, message->size};
    return mproc__queue_put_copy(queue, hand, &piece);
}

static int commit_once(mproc_queue *queue, mproc_message *message) {
    struct mproc__hand *hand = mproc__hand_get();
    int alone = mproc__object_disown(hand, message->block, &hand->message);
    int r = alone;
    if (alone >= 0) {
        r = alone ? commit_object(queue, hand, message->size) : commit_copy(queue, hand, message);
    }
    mproc__hand_put(hand);
    if (alone == 0 && r == 0) {
        (void)mproc_drop(message->block);
    }
    return r;
}

/* A message in a block of its own, no larger than that: what has been committed already is none. */
static bool is_reservation(const mproc_message *message) {
    struct mproc__object *object = message->block;
    return mproc__object_is(object, MPROC__KIND_MESSAGE) &&
           message->data == mproc__parcel_payload(object) &&
           message->size <= mproc__heap_size(object) - mproc__parcel_head(0);
}

int mproc_queue_commit(mproc_queue *queue, mproc_message *message, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (!is_reservation(message)) {
        return -EINVAL;
    }
    int64_t deadline = -1;
    mproc__guard_patience = timeout;
    mproc__queue_stay_near(queue, message->size, timeout);
    int r = commit_once(queue, message);
    while (r == -EAGAIN) {
        r = mproc__queue_await_room(queue, true, timeout, &deadline);
        if (r == 0) {
            r = commit_once(queue, message);
        }
    }
    if (r == 0) {
        *message = (mproc_message){NULL, 0, NULL, 0, NULL};
    }
    return mproc__queue_traced(queue, MPROC__TRACE_PUT, r, 1);
}
