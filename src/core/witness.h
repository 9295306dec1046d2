/*
 * witness.h - a forked child shows that it is there before it has said so
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WITNESS_H
#define MPROC_WITNESS_H

#include "system/os.h"

/* From now on that descriptor is the arena's file; -1: there is none. */
void mproc__witness_enter(int fd);

/* Before fork(): a descriptor by which the child of that token is known until it, and every process
 * that has inherited it, has closed it. Negative: there can be none, see witness.c. */
int mproc__witness_new(uint64_t token);

/* Closes it, if there is one and its number is still its own. */
void mproc__witness_leave(int witness);

/* Is there a process that has the witness of that token? False also when this process cannot know,
 * because it has closed the arena's descriptor. */
bool mproc__witness_stands(uint64_t token);

#endif
