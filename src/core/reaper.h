/*
 * reaper.h - what a dead member had is finished, undone and given back
 *
 * SPDX-License-Identifier: MIT
 *
 * Death is the only exit that there is; an orderly one is noticed in the same way.
 */
#ifndef MPROC_REAPER_H
#define MPROC_REAPER_H

#include "core/guard.h"
#include "core/token.h"

#define MPROC__MEMBERS_UNDO 8

/* The bookkeeping of the table of members, in the arena. */
struct mproc__members {
    struct mproc__guard guard;  /* reserving and freeing slots */
    struct mproc__mutex reaper; /* held while a dead member is reaped */
    uint64_t serial;            /* the last one given */
    uint64_t hint;              /* which slot a birth looks at next */
    struct mproc__undo log[MPROC__MEMBERS_UNDO];
};

/* The family's; NULL: this process is no member yet. */
extern MPROC__HIDDEN struct mproc__members *mproc__members;

void mproc__members_init(struct mproc__members *members);
void mproc__members_enter(struct mproc__members *members);

/* Reaps that member if the system says that it has ended. True: it is gone (by whomever's
 * doing). */
bool mproc__reap_if_dead(uint64_t token);

/* The same when the caller knows that the member has ended: it has collected the child's status, or
 * never started it. */
void mproc__reap_dead(uint64_t token);

/* The same of a started process that was collected: a wrapper's member lives on, and is left
 * alone. One that has not joined yet finds its place gone. */
void mproc__reap_collected(uint64_t token, pid_t pid);

/* Looks at one slot, and reaps its member if that has ended. True: it has reaped. */
bool mproc__reap_slot(uint32_t number);

/* The same two for callers that wait for no stopped member: what is in its way is left to the next
 * reaper. False: something was. */
void mproc__reap_dead_soon(uint64_t token);
bool mproc__reap_slot_soon(uint32_t number);

#endif
