/*
 * clock.h - the clock that records of a family have
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CLOCK_H
#define MPROC_CLOCK_H

#include "core/trace.h"

struct mproc__clock {
    uint32_t which; /* enum mproc__trace_clock */
    double each_ns; /* nanoseconds of a unit */
};

/* The best one of this machine: each recorder on it comes to the same. It takes some milliseconds.
 */
struct mproc__clock mproc__clock_choose(void);

static inline uint64_t mproc__clock_now(const struct mproc__clock *clock) {
    return clock->which == MPROC__TRACE_BY_TICKS ? mproc__os_ticks() : (uint64_t)mproc__os_now();
}

#endif
