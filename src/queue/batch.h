/*
 * batch.h - several messages that are put or taken by one section
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_BATCH_H
#define MPROC_QUEUE_BATCH_H

#include "queue/state.h"

/* Messages of a piece each that go behind another one, with the same publish, if they can. */
struct mproc__followers {
    const struct iovec *head; /* before each piece; NULL: nothing */
    const struct iovec *pieces;
    size_t n;
    size_t put; /* set by the call */
};

/* Messages that are taken behind another one, with the same publish, as far as they can be. */
struct mproc__more {
    mproc_message *messages;
    size_t n;
    size_t got; /* set by the call */
};

/* Under the tail's guard: writes them from `offset` on, where they are nobody's yet; returns the
 * offset behind them. */
uint64_t mproc__queue_write_followers(mproc_queue *queue, uint64_t offset,
                                      struct mproc__followers *followers);

/* Under the head's guard: takes messages from `offset` on, a large one as the last; returns the
 * offset behind them. */
uint64_t mproc__queue_receive_more(mproc_queue *queue, struct mproc__hand *hand, uint64_t offset,
                                   struct mproc__more *more);

#endif
