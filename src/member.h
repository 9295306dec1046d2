/*
 * member.h - the processes of the family and what each has in its hands
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MEMBER_H
#define MPROC_MEMBER_H

#include "base.h"
#include "mutex.h"

#define MPROC__MEMBERS 4096 /* slots; a slot is a page half, touched only when used */
#define MPROC__HANDS 24     /* threads of a member that can be inside the library without waiting */

/*
 * What one thread has in its hands: enough for a reaper to finish or undo what it was doing. A thread
 * takes one when it first enters the library. `guard` is set before a guard is entered and cleared
 * after it is left. The other words hold blocks that are on their way between two places: they move
 * from word to word inside guarded sections only, so each block is always in exactly one place.
 */
struct mproc__hand {
    uint64_t guard;   /* struct mproc__guard * */
    uint64_t block;   /* a block on its way */
    uint64_t node;    /* a second one */
    uint64_t run;     /* a chunk run on its way between a size class and the chunk heap */
    uint64_t doomed;  /* an object whose last hold is gone: being destroyed */
    uint64_t message; /* a message on its way between a queue and a member */
    uint64_t claim;   /* for queue users: see queue.h */
    uint64_t busy;
};

enum mproc__member_state {
    MPROC__SLOT_FREE = 0,
    MPROC__SLOT_UNBORN = 1, /* reserved by `parent` for a child that has not come yet */
    MPROC__SLOT_LIVE = 2,
    MPROC__SLOT_DYING = 3 /* being reaped, by whoever holds the family's reaper lock */
};

struct mproc__slot {
    uint64_t state;  /* serial << 8 | enum mproc__member_state; changed by compare-and-swap */
    uint64_t parent; /* token of the member that reserved it */
    int32_t pid;     /* while UNBORN: 0, or the child's as soon as its starter knows it */
    int32_t ppid;
    uint64_t start_time;
    uint64_t holds;  /* struct mproc__hold *: list, under the registry's guard */
    uint64_t args;   /* block with what the starter gave, freed with the slot; 0: none */
    uint64_t args_size;
    uint32_t method; /* mproc_method, 0: bare fork or the family's first */
    uint32_t flags;  /* mproc_process_flags */
    char name[64];
    uint64_t reserved[44];
    struct mproc__hand hands[MPROC__HANDS];
};

/* A token names a member for ever: slot number + 1 in the low 31 bits, serial in the high 32. */
static inline uint64_t mproc__token(uint32_t slot, uint32_t serial) {
    return (uint64_t)serial << 32 | (slot + 1);
}

/* The calling member's token. Panics when the process is no member. */
uint64_t mproc__self_token(void);
struct mproc__slot *mproc__self_slot(void);
/* Is the process a member (of any family)? */
bool mproc__is_member(void);

/* True when the member has ended, orderly or not: it holds nothing it should not lose. */
bool mproc__token_dead(uint64_t token);

/* The slot of a token, or NULL when it is another member's by now. */
struct mproc__slot *mproc__token_slot(uint64_t token);

/* ---- birth: the starter reserves, the child adopts */

/* Reserves a slot for a child of the caller, UNBORN, without holds. *token names the child-to-be.
 * MPROC_EMEMBERS. */
int mproc__member_expect(const char *name, mproc_method method, unsigned flags, uint64_t *token);
/* The starter tells which pid the child has. */
void mproc__member_expected_pid(uint64_t token, pid_t pid);
/* Gives the reservation up. */
void mproc__member_unexpect(uint64_t token);
/* In the child: becomes that member. MPROC_ESTRANGER: the reservation is gone. */
int mproc__member_adopt(uint64_t token);
/* The first member of a new family. */
int mproc__member_found(void);

/*
 * fork() by anybody makes a member: the handlers reserve before, adopt after. A starter that wants a
 * certain slot for the child of its next fork() in this thread says so first.
 */
void mproc__member_next_fork(uint64_t token);
/* For fork-like calls that run no handlers (os_fork_sibling): reinitialises what a fork must. */
void mproc__member_after_fork_child(uint64_t token);

/* Orderly exit of the calling member: gives back everything. Called at exit. */
void mproc__member_leave(void);

/* Reaps that member if it has ended. True: it is reaped (by whom ever). */
bool mproc__member_reap(uint64_t token);

/* ---- hands */

/* The calling thread's hand; released by mproc__hand_put (a shared hand may be behind it). */
struct mproc__hand *mproc__hand_get(void);
void mproc__hand_put(struct mproc__hand *hand);

/* Test hook: lets a thread play a member of its own (threads-as-members). */
int mproc__thread_becomes_member(void);
void mproc__thread_leaves(void);

#endif
