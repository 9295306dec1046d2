/*
 * near.h - producers of large messages that stay near the consumers on their CPU
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_NEAR_H
#define MPROC_QUEUE_NEAR_H

#include "queue/state.h"

/* So many bytes may producers be ahead of consumers on their CPU. 0: as many as they like.
 * MPROC__NEAR_UNKNOWN: nobody has asked the system yet. A test sets it. */
#define MPROC__NEAR_UNKNOWN UINT64_MAX
extern MPROC__HIDDEN uint64_t mproc__queue_near;

/* A large message of `size` bytes is about to be put, and no hand is held. The thread may nap: for
 * a millisecond at most, for no longer than `timeout` ns if that is not negative. */
void mproc__queue_stay_near(mproc_queue *queue, size_t size, int64_t timeout);

/* A large message of `size` bytes has been taken. Ends the naps of producers that are near now. */
void mproc__queue_came_near(mproc_queue *queue, size_t size);

#endif
