/*
 * shm_register.h - which named segments the family has made and not unlinked yet
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SHM_REGISTER_H
#define MPROC_SHM_REGISTER_H

#include <sys/types.h>

#include "core/guard.h"
#include "system/os.h"

#define MPROC__SHM_UNDO 8
#define MPROC__SHM_PLACE "/dev/shm"
#define MPROC__SHM_NAME 255 /* shm_open()'s limit, the closing 0 included */
#define MPROC__SHM_PATH (sizeof MPROC__SHM_PLACE + 1 + MPROC__SHM_NAME)

/* A segment that a member of the family has made. A block of the arena. */
struct mproc__segment {
    uint64_t next;  /* struct mproc__segment *, under the register's guard */
    uint64_t inode; /* which file of that name; 0: one that is being made, under a name that was
                       made up for it. Constant once busy was 0 */
    uint64_t
        busy; /* token of the member that is making or unlinking the name right now, whose entry
                       it is meanwhile; 0: the name is there as far as the family knows */
    uint64_t doubt; /* 1: the name was unlinked while the entry was busy; under the guard */
    char name[];    /* without a slash; constant */
};

/* Whether its name is one of a file in MPROC__SHM_PLACE itself. Any other name has got there by
 * mistake, and no file is touched for it. Without a C library, for the watcher. */
static inline bool mproc__segment_is_named(const struct mproc__segment *s) {
    size_t length = 0;
    while (length < MPROC__SHM_NAME && s->name[length] != 0 && s->name[length] != '/') {
        length++;
    }
    bool dots = s->name[0] == '.' && (length == 1 || (length == 2 && s->name[1] == '.'));
    return length > 0 && length < MPROC__SHM_NAME && s->name[length] == 0 && !dots;
}

struct mproc__shms {
    struct mproc__guard guard;
    uint64_t first; /* struct mproc__segment *; under the guard, as the next two */
    uint64_t count; /* entries */
    uint64_t limit; /* of them, before they are reviewed */
    struct mproc__undo log[MPROC__SHM_UNDO];
    struct mproc__mutex starting; /* held while a watcher is started */
    uint32_t watcher;             /* pid of the watcher; 0: none yet */
    uint32_t pad;
    uint64_t since; /* when it was seen to have begun (mproc__os_boot_now()); 0: never */
    struct mproc__os_life life; /* the watcher's; zero until it has begun */
};

/* ---- shm_name.c */

/* As shm_open() does, ignores leading slashes and refuses others. -EINVAL, -ENAMETOOLONG. */
int mproc__shm_name_clean(const char *name, char out[MPROC__SHM_NAME]);

/* Writes and returns the path of a clean name. */
const char *mproc__shm_path(const char *name, char path[MPROC__SHM_PATH]);

/* The inode of the file that has the name now, 0: there is none. */
uint64_t mproc__shm_inode(const char *name);

/* ---- shm_register.c */

void mproc__shms_init(struct mproc__shms *all);
/* From now on this is the family's; NULL: there is none any more. */
void mproc__shms_enter(struct mproc__shms *all);

/* Puts right what a dead member left half linked or unlinked. Only for its reaper. */
void mproc__shms_reap(struct mproc__hand *hand, uint64_t token);

int mproc__shms_check(char *why, size_t size);

/* Enters a file whose name is about to be there, or that is there and not yet ours; the entry is
 * the caller's until it is settled. *out is NULL if the file is ours already. -ENOMEM. */
int mproc__segment_enter(struct mproc__hand *hand, const char *name, uint64_t inode,
                         struct mproc__segment **out);

/* The file of an entry that is the caller's has its name. */
void mproc__segment_settle(struct mproc__hand *hand, struct mproc__segment *owned, uint64_t inode);

/* An entry that is the caller's goes. */
void mproc__segment_drop(struct mproc__hand *hand, struct mproc__segment *owned);

/* An entry that is the caller's stays or goes, as its file does. */
void mproc__segment_review(struct mproc__hand *hand, struct mproc__segment *owned);

/* Makes the entry of a name the caller's. NULL: there is none, or whoever is at it is told to look
 * again before it says that the name is there. */
struct mproc__segment *mproc__segment_claim(struct mproc__hand *hand, const char *name);

/* Takes out the entry of a file that has lost its name; one that is busy stays. */
void mproc__segment_forget(struct mproc__hand *hand, const char *name, uint64_t inode);

#endif
