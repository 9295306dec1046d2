/*
 * find.h - looking things up in a picture
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FIND_H
#define MPROC_FIND_H

#include "inspect/seen.h"

/* The member of a token, the wait of a thread; -1: there is none. */
int mproc__picture_member(const struct mproc__picture *p, uint64_t token);
int mproc__picture_wait(const struct mproc__picture *p, int member, uint32_t thread);

/* The object that an address lies in; -1: none. */
int mproc__picture_at(const struct mproc__picture *p, uint64_t address);

/* Never NULL. */
const struct mproc__facts *mproc__picture_facts(const struct mproc__picture *p, int object);
/* The facts of an object as they were in an earlier picture; NULL: it was not there. */
const struct mproc__facts *mproc__picture_facts_before(const struct mproc__picture *p,
                                                       const struct mproc__picture *before,
                                                       int object);
/* The outermost object that an object belongs to: it has the holders. */
int mproc__picture_outer(const struct mproc__picture *p, int object);
/* Of a pool its queue of tasks, 0, and of results, 1; -1: there is none. */
int mproc__picture_inner(const struct mproc__picture *p, int pool, int which);

const char *mproc__kind_name(enum mproc__kind kind);

#endif
