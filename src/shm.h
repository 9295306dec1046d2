/*
 * shm.h - named segments and the family's register of those that it made
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SHM_H
#define MPROC_SHM_H

#include "guard.h"

#define MPROC__SHM_UNDO 8

/* A segment that a member of the family has made. A block of the arena. */
struct mproc__segment {
    uint64_t next;  /* struct mproc__segment *, under the register's guard */
    uint64_t inode; /* which file of that name; 0: one that is being made, under a name that was
                       made up for it. Constant once busy was 0 */
    uint64_t
        busy; /* token of the member that is making or unlinking the name right now, whose entry
                       it is meanwhile; 0: the name is there as far as the family knows */
    uint64_t
        doubt;   /* 1: somebody has unlinked the name while the entry was busy; under the guard */
    char name[]; /* without a slash; constant */
};

struct mproc__shms {
    struct mproc__guard guard;
    uint64_t first; /* struct mproc__segment *; under the guard */
    struct mproc__undo log[MPROC__SHM_UNDO];
    struct mproc__mutex starting; /* held while a watcher is started */
    uint64_t watcher;             /* pid of the watcher, written by its starter; 0: none yet */
    uint32_t life; /* the watcher's sign of life, see os.h; 0: it has not begun yet */
    uint32_t pad;
};

void mproc__shms_init(void);

/* Puts right what a dead member left half linked or unlinked. Only for its reaper. */
void mproc__shms_reap(struct mproc__hand *hand, uint64_t token);

/* For the watcher, once no member is left: unlinks what is still there and calls `tell` for each. */
void mproc__shms_unlink_all(void (*tell)(void *arg, const char *name), void *arg);

/* mproc_shm_create(); a segment with contents (`size` bytes; NULL: zeros) is not found without them, and
 * has its pages. */
int mproc__shm_make(mproc_shm **out, const char *name, const void *contents, size_t size,
                    const mproc_shm_options *options);

int mproc__shms_check(char *why, size_t size);

/* ---- watcher.c */

/* Sees to it that the family has its watcher. -EAGAIN, -ENOMEM. */
int mproc__watcher_need(void);

#endif
