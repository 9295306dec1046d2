/*
 * trace_ring.h - a thread gets the ring in which it says what it does, and says it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TRACE_RING_H
#define MPROC_TRACE_RING_H

#include "core/trace.h"

/* Whether the rings are where rings can be: MPROC_ECORRUPT and words. */
int mproc__trace_check(char *why, size_t size);

/* Gives the calling thread a ring if it has none, and says its member's name if nobody has. Not in
 * a section. */
void mproc__trace_join(void);

/* Need it not be called? */
bool mproc__trace_joined(void);

/* What has just been done with an object: an event of a user's call. Not in a section. */
void mproc__trace_done(enum mproc__trace_event event, unsigned kind, const void *object,
                       uint64_t count);

/* The same, if somebody records. */
static inline void mproc__traced(enum mproc__trace_event event, unsigned kind, const void *object,
                                 uint64_t count) {
    if (mproc__unlikely(mproc__trace_on() != 0)) {
        mproc__trace_done(event, kind, object, count);
    }
}

#endif
