/*
 * ring.h - the ring of a channel's way: messages in the wire format, in memory
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_RING_H
#define MPROC_CHANNEL_RING_H

#include <sys/uio.h>

#include "channel/way.h"

#define MPROC__RING ((uint64_t)32768)   /* half of what a pipe takes, a sixth of a socket */
#define MPROC__RING_MOST ((size_t)8192) /* bytes of a message */
#define MPROC__RING_HEADER 4

/* Makes the ring, if the way has none. -ENOMEM. */
int mproc__ring_need(struct mproc__way *way);

/* Where its byte of that number is. */
static inline char *mproc__ring_at(const struct mproc__way *way, uint64_t at) {
    return (char *)(uintptr_t)way->ring + at % MPROC__RING;
}

/* Under `senders`. As far as the sender knows. */
bool mproc__ring_has_room(struct mproc__way *way, size_t size);

/* Under `senders`, where there is room. */
void mproc__ring_put(struct mproc__way *way, const struct iovec *pieces, int n, size_t size);

/* Of the message that begins there. */
size_t mproc__ring_next_size(const struct mproc__way *way, uint64_t at);

/* Under `receivers`: 0; MPROC_CHANNEL_LARGER; -EAGAIN: the ring is empty; MPROC_EFRAME: no message
 * of this library stands there. */
int mproc__ring_take(struct mproc__way *way, mproc_message *message);

#endif
