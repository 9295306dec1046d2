/*
 * picture.h - what a family looks like at one moment, as far as it can be seen without stopping it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PICTURE_H
#define MPROC_PICTURE_H

#include "inspect/find.h"
#include "inspect/seen.h"
#include "inspect/since.h"

/* Draws it. -ENOMEM; MPROC_ECORRUPT: the arena's tables are overwritten; -EIO. */
int mproc__picture_take(const struct mproc__outside *arena, struct mproc__picture *out);
void mproc__picture_drop(struct mproc__picture *owned);

/* Is one of the members that were seen still there? */
bool mproc__picture_lives(const struct mproc__picture *p);

/* Bytes of the messages in a queue, as far as they can be counted. */
uint64_t mproc__picture_queue_bytes(const struct mproc__outside *arena,
                                    const struct mproc__picture *p,
                                    const struct mproc__facts *queue);

#endif
