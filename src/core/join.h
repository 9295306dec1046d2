/*
 * join.h - a process becomes a member when it first needs to
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_JOIN_H
#define MPROC_JOIN_H

#include "core/family.h"

extern MPROC__HIDDEN uint32_t
    mproc__family_joined; /* 1: the process is a member, and all is ready */

/* mproc__family_begin(), once in a process: 0 for a member. */
int mproc__family_join(void);

/* In a forked child that could not become a member: forgets the family and unmaps the arena, so
 * that using inherited objects is a clean crash and not a silent corruption. It may found a
 * family. */
void mproc__family_leave(void);

/* Joins on first use, as every `noun_new` does. */
static inline int mproc__family_need(void) {
    /* SYNC(join.family_joined) */
    int r = mproc__likely(mproc__load32(&mproc__family_joined)) ? 0 : mproc__family_join();
    return r < 0 ? r : 0;
}

#endif
