/*
 * sides.h - a channel, and the ways of each of its sides
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_SIDES_H
#define MPROC_CHANNEL_SIDES_H

#include "channel/luggage.h"
#include "channel/way.h"
#include "core/kinds.h"
#include "core/object.h"

struct mproc_channel {
    struct mproc__object object;
    struct mproc__way ways[2]; /* by the side that sends */
    struct mproc__luggage luggage;
};

/* Not mproc__expect(): a forked child that is no member has no arena to look at. */
static inline bool mproc__channel_known(const mproc_channel *channel, int side) {
    bool is = mproc__object_is(channel, MPROC__KIND_CHANNEL);
    assert(is || mproc__table == NULL);
    assert(side == 0 || side == 1);
    return is && (side == 0 || side == 1);
}

static inline struct mproc__end mproc__channel_sending(mproc_channel *channel, int side, int fd) {
    return (struct mproc__end){&channel->ways[side], fd};
}

static inline struct mproc__end mproc__channel_receiving(mproc_channel *channel, int side, int fd) {
    return (struct mproc__end){&channel->ways[1 - side], fd};
}

#endif
