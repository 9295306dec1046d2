/*
 * members.h - the members of a family, in a picture
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MEMBERS_H
#define MPROC_MEMBERS_H

#include "inspect/seen.h"

/* The event loops that wait for something, which those of members are told by later. -EFAULT, -EIO,
 * -ENOMEM. */
int mproc__see_bells(const struct mproc__outside *arena, struct mproc__picture *p);

/* The members of a family, and what their threads wait for, as they have noted it. The same. */
int mproc__see_members(const struct mproc__outside *arena, struct mproc__picture *p);

#endif
