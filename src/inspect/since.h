/*
 * since.h - since when things of a picture are as they are
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SINCE_H
#define MPROC_SINCE_H

#include "inspect/seen.h"

/* Has the thread been in that wait all the time since it was seen? No two have the same time. */
bool mproc__still_waits(const struct mproc__outside *arena, const struct mproc__seen_wait *w);

/* Finds since when locks and permits are held. -ENOMEM. */
int mproc__find_since(const struct mproc__outside *arena, struct mproc__picture *p);

/* For how many ns the owner of a lock is known to have it; -1: nobody has it, or it is unknown. */
int64_t mproc__picture_held(const struct mproc__picture *p, int object);

/* The same of the permits that a taker of a bounded semaphore has. */
int64_t mproc__picture_taken(const struct mproc__picture *p, int object, int taker);

/* For how many ns a queue's oldest message is known to be there; -1: it is unknown, or there is
 * none. */
int64_t mproc__picture_oldest(const struct mproc__picture *p, int queue);
/* For how many ns a task is known to run; -1: it is unknown. */
int64_t mproc__picture_running(const struct mproc__picture *p, const struct mproc__seen_task *task);

/* What an earlier picture had already, so that it is known to be as old: oldest messages, tasks. */
void mproc__picture_compare(struct mproc__picture *p, const struct mproc__picture *before);

#endif
