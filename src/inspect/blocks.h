/*
 * blocks.h - a walk through all blocks of an arena, for a picture
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BLOCKS_H
#define MPROC_BLOCKS_H

#include "inspect/seen.h"

/* All blocks of the arena that are in use, and the names of objects. -ENOMEM; MPROC_ECORRUPT: the
 * table of chunks is overwritten; -EFAULT, -EIO. */
int mproc__see_heap(const struct mproc__outside *arena, struct mproc__picture *p);

#endif
