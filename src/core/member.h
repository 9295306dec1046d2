/*
 * member.h - the processes of the family and what each has in its hands
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MEMBER_H
#define MPROC_MEMBER_H

#include "core/guard.h"
#include "core/hand.h"
#include "core/self.h"
#include "system/os.h"

#define MPROC__MEMBERS 4096 /* slots; a slot is half a page, touched only when used */
#define MPROC__HANDS 24     /* threads of a member that can be inside the library without waiting */

enum mproc__slot_state {
    MPROC__SLOT_FREE = 0,
    MPROC__SLOT_UNBORN = 1, /* reserved by `parent` for a child that has not come yet */
    MPROC__SLOT_LIVE = 2,
    MPROC__SLOT_DYING = 3 /* being reaped, by whoever holds the reaper mutex */
};

struct mproc__slot {
    uint64_t state;  /* serial << 8 | enum mproc__slot_state */
    uint64_t parent; /* token of the member that reserved it */
    int32_t pid;     /* while UNBORN: 0, or the child's as soon as its starter knows it, or
                        MPROC__PID_UNKNOWN */
    int32_t ppid;
    uint64_t born;  /* when the process adopted the slot (mproc__os_boot_now()) */
    uint64_t holds; /* struct mproc__hold *: list, under the registry's guard */
    uint64_t args;  /* block with what the starter gave, freed with the slot; 0: none */
    uint64_t args_size;
    uint32_t method; /* mproc_method, 0: bare fork or the family's first */
    uint32_t flags;  /* mproc_process_flags */
    char name[64];
    struct mproc__os_life life; /* of the process' first thread; zero while UNBORN */
    uint64_t pad[43];
    struct mproc__hand hands[MPROC__HANDS];
};

/* fork() by anybody has been made: there is a child, but only the child knows its pid. */
#define MPROC__PID_UNKNOWN (-1)

#define MPROC__MEMBERS_UNDO 8

struct mproc__members {
    struct mproc__guard guard;  /* reserving and freeing slots */
    struct mproc__mutex reaper; /* held while a dead member is reaped */
    uint64_t serial;            /* the last one given */
    uint64_t hint;              /* whom to look after next */
    uint64_t top;               /* slots below were used at least once */
    struct mproc__undo log[MPROC__MEMBERS_UNDO];
};

void mproc__members_init(void);

/* A token names a member for ever: slot number + 1 in the low 16 bits, serial in the high 32; the
 * bits between are 0 and left to mutex.c. */
static inline uint64_t mproc__token(uint32_t slot, uint64_t serial) {
    return serial << 32 | (slot + 1);
}

static inline uint32_t mproc__token_number(uint64_t token) {
    return (uint32_t)(token & 0xffff) - 1;
}

/* True: that member lives, which a look at memory has told. False: it does not, or the system has to be
 * asked. */
bool mproc__token_alive(uint64_t token);

/* True when the member has ended, orderly or not. Says no for a look at memory; yes costs some 15 us. */
bool mproc__token_dead(uint64_t token);

/* ---- birth: the starter reserves, the child adopts */

/* Reserves a slot for a child of the caller, UNBORN, without holds. *token names the child-to-be.
 * MPROC_EMEMBERS. */
int mproc__member_expect(const char *name, mproc_method method, unsigned flags, uint64_t *token);
/* The starter tells which pid the child has. */
void mproc__member_expected_pid(uint64_t token, pid_t pid);
/* In the child: becomes that member. MPROC_ESTRANGER: the reservation is gone. */
int mproc__member_adopt(uint64_t token);
/* The first member of a new family. */
int mproc__member_found(void);

/*
 * fork() by anybody makes a member: the handlers reserve and copy the holds before, adopt after. A
 * starter that wants a certain slot for the child of its next fork() in this thread says so first; it
 * gives up the slot itself if fork() fails.
 */
void mproc__member_next_fork(uint64_t token);
/* In the child of a fork-like call that ran no handlers: adopts, with no holds but those that the
 * starter took in its name. */
int mproc__member_after_fork_child(uint64_t token);

/* ---- death: the only exit there is; an orderly one is noticed in the same way */

/* Reaps that member if the system says that it has ended. True: it is gone (by whomever's doing). */
bool mproc__member_reap(uint64_t token);
/* The same when the caller knows it: it has collected the child's status, or never started it. */
void mproc__member_bury(uint64_t token);

/* ---- threads as members, for tests under ThreadSanitizer */

int mproc__thread_becomes_member(void);
void mproc__thread_leaves(void);

#endif
