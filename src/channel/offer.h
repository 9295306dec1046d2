/*
 * offer.h - a message too large for a ring, which its sender offers beside it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_OFFER_H
#define MPROC_CHANNEL_OFFER_H

#include "core/eventcount.h"
#include "core/guard.h"

#define MPROC__OFFER_UNDO 4

/* What its words are stands in offer.c. */
struct mproc__offer {
    struct mproc__guard guard;
    uint64_t message;
    uint64_t size;
    uint64_t at;
    uint64_t serial;
    uint64_t sender;
    struct mproc__eventcount taken;
    struct mproc__undo log[MPROC__OFFER_UNDO];
};

void mproc__offer_init(struct mproc__offer *offer);

/* ---- the sender, who is alone */

/* Offers the message object in hand->unheld, whose payload has `size` bytes and which comes behind
 * the ring's first `at` bytes. Returns the offer's name. There must be none. */
uint64_t mproc__offer_make(struct mproc__offer *offer, struct mproc__hand *hand, size_t size,
                           uint64_t at);

/* Takes that offer back into hand->unheld. False: it has been taken. */
bool mproc__offer_retract(struct mproc__offer *offer, struct mproc__hand *hand, uint64_t name);

/* Whether that offer still stands. */
bool mproc__offer_stands(const struct mproc__offer *offer, uint64_t name);

/* Throws away what a dead sender has offered. False: the sender of an offer lives. */
bool mproc__offer_clear(struct mproc__offer *offer);

/* ---- the receiver, who is alone */

/* Whether something is offered, behind whatever the ring has. */
bool mproc__offer_is_there(const struct mproc__offer *offer);

/* Whether it is to be received next, when `head` bytes of the ring have been taken. */
bool mproc__offer_is_next(const struct mproc__offer *offer, uint64_t head);

/* Moves it into hand->message. -EAGAIN: it has been retracted; -EMSGSIZE: it is larger than `most`,
 * and *size says how large. */
int mproc__offer_take(struct mproc__offer *offer, struct mproc__hand *hand, size_t most,
                      size_t *size);

/* ---- anybody */

/* Has the sender look again. */
void mproc__offer_call(struct mproc__offer *offer);

/* When nobody uses it any more. */
void mproc__offer_destroy(struct mproc__offer *offer, struct mproc__hand *hand);

int mproc__offer_check(struct mproc__offer *offer, char *why, size_t size);

#endif
