/*
 * queue.h - the queue's inside: messages that move together with a word
 *
 * SPDX-License-Identifier: MIT
 *
 * A pool must know which task a worker had when it died. So a message can be taken, or put, in one
 * step with a change of a word: the claim. Dying in between is impossible.
 */
#ifndef MPROC_QUEUE_H
#define MPROC_QUEUE_H

#include "core/guard.h"

struct mproc__claim {
    uint64_t *word; /* in the arena; NULL: no claim */
    uint64_t value; /* put: what it becomes; get: set by the call to the message's ticket + 1 */
};

/* What is put: bytes in n pieces, and buffers that go along. */
struct mproc__load {
    const struct iovec *pieces;
    int n;
    mproc_buffer *const *buffers;
    size_t nbuffers;
};

/* As mproc_queue_put_with; the buffers are known to be such. */
int mproc__queue_put_load(mproc_queue *queue, const struct mproc__load *load, int64_t timeout,
                          const struct mproc__claim *claim, uint64_t *ticket);

/* As mproc_queue_putv; *ticket (may be NULL) is the message's number, counted from 0. */
int mproc__queue_put(mproc_queue *queue, const struct iovec *lent, int n, int64_t timeout,
                     const struct mproc__claim *claim, uint64_t *ticket);

/* As mproc_queue_put_many, without a timeout; each message begins with `head`, and *ticket is the
 * first one's number. */
int mproc__queue_put_many(mproc_queue *queue, const struct iovec *head, const struct iovec *lent,
                          size_t n, size_t *put, uint64_t *ticket);

/* A queue inside another object: made into *word (0 before), destroyed with mproc__object_destroy;
 * it has no holds of its own. */
int mproc__queue_make(struct mproc__hand *hand, uint64_t bound, uint64_t *word);

/* As mproc_queue_get. */
int mproc__queue_get(mproc_queue *queue, mproc_message *message, int64_t timeout,
                     const struct mproc__claim *claim);

#endif
