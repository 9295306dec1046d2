/*
 * flush.h - what is in a ring is written to a descriptor
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_FLUSH_H
#define MPROC_CHANNEL_FLUSH_H

#include "channel/way.h"

/* Under `senders`, with RING, while the head stands still and the kernel has room: writes what the
 * ring has, but for the first `done` bytes, which the kernel has already. MPROC_EEOF: nobody will
 * ever read it, or the ring's counts are scribbled over. Another error: nothing was written. */
int mproc__flush_ring(const struct mproc__way *way, int fd, size_t done);

#endif
