/*
 * put.h - what committing has of putting
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_PUT_H
#define MPROC_QUEUE_PUT_H

#include "queue/state.h"

/* Whether no block can have a message of so many bytes that takes so many buffers along. */
bool mproc__queue_too_big(size_t size, size_t nbuffers);

/* Puts the message object in *block, which gives it away, without waiting. 0; -EAGAIN: full;
 * -ETIMEDOUT: the tail was not to be entered; MPROC_ECLOSED; -ENOMEM. */
int mproc__queue_put_object(mproc_queue *queue, struct mproc__hand *hand, uint64_t *block,
                            size_t size);

/* Puts a copy of the bytes, in an object of its own, without waiting. As the one above. */
int mproc__queue_put_copy(mproc_queue *queue, struct mproc__hand *hand, const struct iovec *piece);

#endif
