/*
 * objects.h - the objects of a family, in a picture
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OBJECTS_H
#define MPROC_OBJECTS_H

#include "inspect/seen.h"

#define MPROC__OBJECT_BYTES 16384 /* of one that are looked at: a task queue's seats are the most */

/* What a block is by its first bytes, and whether more of it has to be copied: messages and the
 * like are counted, and that is all. */
enum mproc__kind mproc__kind_of(const char *bytes, size_t size);
bool mproc__is_looked_at(const char *bytes, size_t size);

/* Adds so many blocks of that size to the sums. */
void mproc__count_blocks(struct mproc__picture *p, enum mproc__kind kind, uint64_t size,
                         uint64_t n);

/* A block of which `size` bytes have been copied: what it says, and who holds it. -ENOMEM. */
int mproc__see_block(const struct mproc__outside *arena, struct mproc__picture *p, uint64_t address,
                     uint64_t block, const char *bytes, size_t size);

#endif
