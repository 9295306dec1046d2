/*
 * blame.h - who waits for whom: threads that nobody will wake any more
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BLAME_H
#define MPROC_BLAME_H

#include <stdio.h>

#include "inspect/picture.h"

/* Sets `stuck` and `group` of every wait, and members' `stuck`. Returns how many
 * groups there are. */
int mproc__blame(struct mproc__picture *p);

/* Of a later picture of the same family: only what was stuck in the earlier one, by the same wait,
 * is stuck. So nothing is reported that was put together of words which were never true at once. */
int mproc__blame_again(struct mproc__picture *later, const struct mproc__picture *earlier);

/* Looks, and looks again if somebody seems to be stuck: who is said to be has not moved meanwhile.
 * Sets the number of groups. A process that looks at a family more often than every five
 * milliseconds waits for its turn. The errors of mproc__picture_take(). */
int mproc__inspect_take(const struct mproc__outside *arena, struct mproc__picture *out,
                        int *groups);

/* The member that holds what the thread waits for, or whose end it waits for; -1: no single one. */
int mproc__blamed(const struct mproc__picture *p, const struct mproc__seen_wait *w);

/* The task queue of a pool that a group waits for in vain: each of its workers has a task, and
 * others are queued. -1: there is none. */
int mproc__starved(const struct mproc__picture *p, int group);

#define MPROC__SAY 400 /* bytes of one, with its 0 */

/* A word for a member, and for an object; what is returned may be in `out`. */
const char *mproc__say_member(const struct mproc__picture *p, int member, char out[MPROC__SAY]);
/* The same of one of its threads, which is named if it is not the first one. */
const char *mproc__say_thread(const struct mproc__picture *p, int member, uint32_t thread,
                              char out[MPROC__SAY]);
const char *mproc__say_object(const struct mproc__outside *arena, const struct mproc__picture *p,
                              int object, char out[MPROC__SAY]);

/* "waits for the lock @2c40, which worker-1 (pid 7) holds": what a thread does, for a person. */
void mproc__say_wait(FILE *out, const struct mproc__outside *arena, const struct mproc__picture *p,
                     const struct mproc__seen_wait *w);

#endif
