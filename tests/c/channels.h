/*
 * channels.h - what tests of channels have in common
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TESTS_CHANNELS_H
#define MPROC_TESTS_CHANNELS_H

#include <mproc.h>
#include <unistd.h>

#include "test.h"

/* Fails the test if an invariant does not hold. */
static inline void check_channel(mproc_channel *channel) {
    char why[200] = "";
    if (mproc_channel_check(channel, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

/* Checks a channel, closes both ends and drops it. */
static inline void drop_channel(mproc_channel *owned, const int ends[2]) {
    check_channel(owned);
    close(ends[0]);
    close(ends[1]);
    mproc_drop(owned);
}

/* The number of the arena's blocks, without those of members that have died. */
static inline uint64_t blocks(void) {
    mproc_arena_stats stats;
    mproc_reap();
    mproc_arena_stat(&stats);
    return stats.blocks;
}

#endif
