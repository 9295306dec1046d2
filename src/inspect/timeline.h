/*
 * timeline.h - records as events of Chrome's trace format, which Perfetto and speedscope show
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TIMELINE_H
#define MPROC_TIMELINE_H

#include "core/trace.h"
#include "inspect/outside.h"

struct mproc__timeline;

/* How the records' times become nanoseconds. */
struct mproc__timeline_scale {
    uint64_t zero;  /* what is 0 in the events */
    double each_ns; /* nanoseconds of one unit */
};

/* -ENOMEM. */
int mproc__timeline_new(struct mproc__timeline **out, const struct mproc__outside *arena,
                        const struct mproc__timeline_scale *scale);
void mproc__timeline_drop(struct mproc__timeline *owned);

/* Records of ring `number`: a mproc__drain_fn. The sink is a timeline. */
void mproc__timeline_add(void *timeline, unsigned number, const struct mproc__trace_record *lent,
                         size_t n, uint64_t lost);

/* Whatever members that have ended were doing ended now; `all`: whatever any was doing. */
void mproc__timeline_end(struct mproc__timeline *timeline, uint64_t time, bool all);

/* The events that came since the last call, each `,\n` and an object, but none before the very
 * first: lent until the next call of any of these functions. *size is 0 if there are none. */
const char *mproc__timeline_take(struct mproc__timeline *timeline, size_t *size);

/* Events that were lost in rings; whether memory has run out, and events with it. */
uint64_t mproc__timeline_lost(const struct mproc__timeline *timeline);
bool mproc__timeline_failed(const struct mproc__timeline *timeline);

#endif
