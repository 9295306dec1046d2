/*
 * traced.h - users' puts and gets in the record of what happens
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_TRACED_H
#define MPROC_QUEUE_TRACED_H

#include "core/trace_ring.h"
#include "queue/state.h"

/* A user's call has put or got so many messages, if r is 0. Returns r. */
static inline int mproc__queue_traced(const mproc_queue *queue, enum mproc__trace_event event,
                                      int r, uint64_t n) {
    if (mproc__likely(r == 0)) {
        mproc__traced(event, MPROC__KIND_QUEUE, queue, n);
    }
    return r;
}

#endif
