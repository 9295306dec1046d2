/*
 * marker.h - the bytes in the kernel that say: what follows is in the ring
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_MARKER_H
#define MPROC_CHANNEL_MARKER_H

#include "channel/way.h"

/* Under `senders`: goes from INVITED to RING. False: it cannot, and the message goes as bytes. */
bool mproc__marker_put(const struct mproc__end *e, bool patient, bool large);

/* Under `receivers`, with MARK and without a ring: takes the marker away. */
int mproc__marker_remove(const struct mproc__end *e);

/* Under both, with an empty ring: the next message comes as bytes. */
int mproc__marker_end_ring(const struct mproc__end *e);

#endif
