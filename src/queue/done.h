/*
 * done.h - which of a queue's messages have been worked on
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_DONE_H
#define MPROC_QUEUE_DONE_H

#include "queue/state.h"

static inline uint64_t mproc__queue_done(const mproc_queue *queue) {
    return mproc__load64(&queue->done); /* SYNC(queue.done) */
}

/* How many messages a shutdown has dropped. */
uint64_t mproc__queue_dropped(const mproc_queue *queue);

/* Whether all that was put has been reported done, or dropped. */
bool mproc__queue_all_done(const mproc_queue *queue);

#endif
