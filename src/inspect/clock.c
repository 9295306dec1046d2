/*
 * clock.c - the clock that records of a family have
 *
 * SPDX-License-Identifier: MIT
 *
 * The processor's counter costs a third of the system's clock, but has a speed of its own, which is
 * measured against that.
 */
#include "inspect/clock.h"

#define CALIBRATION (5 * MPROC_MSEC) /* the counter's speed, to some millionths */

struct mproc__clock mproc__clock_choose(void) {
    struct mproc__clock clock = {MPROC__TRACE_BY_TIME, 1};
    if (mproc__os_ticks_steady()) {
        clock.which = MPROC__TRACE_BY_TICKS;
        int64_t since = mproc__os_now();
        uint64_t first = mproc__clock_now(&clock);
        (void)mproc__os_poll(NULL, 0, CALIBRATION);
        int64_t ns = mproc__os_now() - since;
        clock.each_ns = (double)ns / (double)(mproc__clock_now(&clock) - first);
    }
    return clock;
}
