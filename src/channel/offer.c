/*
 * offer.c - a message too large for a ring, which its sender offers beside it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The message is a block of the arena (core/parcel.c). Its sender puts the block here
 * and stays until a receiver has taken it, as a sender stays in write() until a pipe has taken the
 * last of so many bytes. So there is one offer at a time, its memory is bounded, and a sender that
 * must change its mind (somebody wants the descriptor, nobody receives any more, a signal) takes
 * the offer back and has sent nothing.
 *
 * Shared state.
 *   message   the block, a message without holds; 0: nothing is offered. It comes from a hand and
 *             goes into one, in a section of `guard`. Its change is published: it is the commit.
 *   size      of the payload. With the rest, written before the message and read behind it.
 *   at        which bytes of the ring come before it.
 *   serial    the number of this offer.
 *   sender    the member that offers.
 *   taken     an event count: who offers, or wants to, waits here.
 *
 * Invariants.
 *   F1  `message` is 0 or a live message without holds, of which `size` bytes lie in its block.
 *
 * If a member dies here: before the message is published, it is in the hand that it was in. An
 * offer whose sender has died stands: a receiver may take it, the next sender throws it away. That
 * sender's call had not returned.
 */
#include "channel/offer.h"

#include "core/heap.h"
#include "core/object.h"
#include "core/parcel.h"
#include "core/token.h"

void mproc__offer_init(struct mproc__offer *offer) {
    mproc__guard_init(&offer->guard, offer->log, MPROC__OFFER_UNDO);
}

bool mproc__offer_is_there(const struct mproc__offer *offer) {
    return mproc__load64(&offer->message) != 0; /* SYNC(offer.message) */
}

bool mproc__offer_stands(const struct mproc__offer *offer, uint64_t name) {
    return mproc__offer_is_there(offer) && mproc__peek64(&offer->serial) == name;
}

void mproc__offer_call(struct mproc__offer *offer) {
    mproc__full_fence(); /* what has changed, before the look at `sleepers` */
    if (mproc__eventcount_awaited(&offer->taken)) {
        mproc__eventcount_wake_all(&offer->taken);
    }
}

/* ---------------------------------------------------------------- moving the message */

/* In the section: SYNC(offer.message), the message's bytes and words before its address. */
static void publish(struct mproc__offer *offer, uint64_t message) {
    mproc__guard_publish(&offer->guard, &offer->message, message);
}

uint64_t mproc__offer_make(struct mproc__offer *offer, struct mproc__hand *hand, size_t size,
                           uint64_t at) {
    mproc__guard_enter(&offer->guard, hand);
    mproc__poke64(&offer->size, size);
    mproc__poke64(&offer->at, at);
    mproc__poke64(&offer->sender, mproc__self_token());
    uint64_t name = mproc__peek64(&offer->serial) + 1;
    mproc__poke64(&offer->serial, name);
    uint64_t message = hand->unheld;
    mproc__guard_set(&offer->guard, &hand->unheld, 0);
    publish(offer, message);
    mproc__guard_leave(&offer->guard, hand);
    return name;
}

/* Under the guard. */
static void move_out(struct mproc__offer *offer, uint64_t *to) {
    mproc__guard_set(&offer->guard, to, offer->message);
    publish(offer, 0);
}

bool mproc__offer_retract(struct mproc__offer *offer, struct mproc__hand *hand, uint64_t name) {
    mproc__guard_enter(&offer->guard, hand);
    bool stands = offer->message != 0 && offer->serial == name;
    if (stands) {
        move_out(offer, &hand->unheld);
    }
    mproc__guard_leave(&offer->guard, hand);
    return stands;
}

int mproc__offer_take(struct mproc__offer *offer, struct mproc__hand *hand, size_t most,
                      size_t *size) {
    mproc__guard_enter(&offer->guard, hand);
    int r = offer->message == 0 ? -EAGAIN : 0;
    *size = (size_t)offer->size;
    if (r == 0 && *size > most) {
        r = -EMSGSIZE;
    }
    if (r == 0) {
        move_out(offer, &hand->message);
    }
    mproc__guard_leave(&offer->guard, hand);
    return r;
}

bool mproc__offer_clear(struct mproc__offer *offer) {
    if (!mproc__offer_is_there(offer)) {
        return true;
    }
    if (!mproc__token_dead(mproc__peek64(&offer->sender))) {
        return false;
    }
    struct mproc__hand *hand = mproc__hand_get();
    (void)mproc__offer_retract(offer, hand, mproc__peek64(&offer->serial));
    mproc__object_destroy(hand, &hand->unheld);
    mproc__hand_put(hand);
    return true;
}

bool mproc__offer_is_next(const struct mproc__offer *offer, uint64_t head) {
    return mproc__unlikely(mproc__offer_is_there(offer)) &&
           (int64_t)(head - mproc__peek64(&offer->at)) >= 0;
}

void mproc__offer_destroy(struct mproc__offer *offer, struct mproc__hand *hand) {
    mproc__object_destroy(hand, &offer->message);
}

/* ---------------------------------------------------------------- check */

/* Under the guard. */
static int check_message(const struct mproc__offer *offer, char *why, size_t size) {
    struct mproc__object *message = (struct mproc__object *)(uintptr_t)offer->message;
    if (!mproc__object_is(message, MPROC__KIND_MESSAGE) &&
        !mproc__object_is(message, MPROC__KIND_PARCEL)) {
        return mproc__corrupt(why, size, "F1: %p is offered, and no message", (void *)message);
    }
    int r = mproc__parcel_check(message, why, size);
    if (r != 0) {
        return r;
    }
    size_t head = (size_t)((char *)mproc__parcel_payload(message) - (char *)message);
    if (message->holds != 0 || offer->size > mproc__heap_size(message) - head) {
        return mproc__corrupt(why, size, "F1: %llu bytes are offered",
                              (unsigned long long)offer->size);
    }
    return 0;
}

int mproc__offer_check(struct mproc__offer *offer, char *why, size_t size) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&offer->guard, hand);
    int r = offer->message != 0 ? check_message(offer, why, size) : 0;
    mproc__guard_leave(&offer->guard, hand);
    mproc__hand_put(hand);
    return r;
}
