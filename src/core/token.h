/*
 * token.h - which member the caller is, and which members live
 *
 * SPDX-License-Identifier: MIT
 *
 * A token names a member for ever. The table of members stands in the arena; this file reads it.
 * reaper.c and member.c change it.
 */
#ifndef MPROC_TOKEN_H
#define MPROC_TOKEN_H

#include "core/hand.h"
#include "system/os.h"

#ifndef MPROC__MEMBERS      /* the fuzzers have fewer, for tables that are soon walked */
#define MPROC__MEMBERS 4096 /* slots; a slot is half a page, touched only when used */
#endif
#define MPROC__HANDS 24 /* one for each of 22 threads of a member; see hand.c for the last two */
#define MPROC__SHARED_HAND (MPROC__HANDS - 1) /* of threads that find none free; under a lock */

enum mproc__slot_state {
    MPROC__SLOT_FREE = 0,
    MPROC__SLOT_UNBORN = 1, /* reserved by `parent` for a child that has not come yet */
    MPROC__SLOT_LIVE = 2,
    MPROC__SLOT_DYING = 3,  /* being reaped, by whoever holds the reaper mutex */
    MPROC__SLOT_CLAIMED = 4 /* about to be UNBORN, by the member that mproc__slot_claimed() names */
};

/* A member's place in the table. */
struct mproc__slot {
    uint64_t state;  /* serial << 8 | enum mproc__slot_state */
    uint64_t parent; /* token of the member that reserved it */
    int32_t pid;     /* while UNBORN: 0 or mproc__pid_coming(), or the child's as soon as its
                        starter knows it, or MPROC__PID_UNKNOWN */
    int32_t ppid;
    uint64_t born;  /* when the process adopted the slot (mproc__os_boot_now()) */
    uint64_t holds; /* struct mproc__hold *: list, under the registry's guard */
    uint64_t args;  /* block with what the starter gave, freed with the slot; 0: none */
    uint64_t args_size;
    uint32_t method; /* mproc_method, 0: bare fork or the family's first */
    uint32_t flags;  /* mproc_process_flags, and CAME_WRAPPED */
    char name[64];
    struct mproc__os_life life; /* of the process' first thread; zero while UNBORN */
    uint32_t exiting;   /* 0, or EXITING | the exit code that the member is about to end with */
    uint32_t by_thread; /* 1: another thread than its starter's first one has started it */
    uint64_t since[MPROC__HANDS];  /* of the hand's wait (mproc__os_now()) */
    uint32_t waiter[MPROC__HANDS]; /* the thread that waits */
    uint64_t estate;  /* what is still to be copied of the holds of `parent`: see object.c */
    uint64_t heirs;   /* 1: a child's `estate` may be of this member's holds */
    uint64_t spare;   /* a record that the copying did not need, freed with the slot */
    uint32_t unnoted; /* threads that wait and have no hand to note it in: see wait.c */
    uint32_t left;    /* serial of the slot's last member that said it was about to end */
    uint32_t pad[2];
    struct mproc__hand hands[MPROC__HANDS];
};

#define MPROC__EXITING 0x100u

/* In slot->flags, besides those of its starter: a wrapper has started the member's process, whose
 * parent is not the starter. */
#define MPROC__CAME_WRAPPED 0x100u

/* fork() by anybody has been made: there is a child, but only the child knows its pid. */
#define MPROC__PID_UNKNOWN (-1)

/* fork() is about to be made for the child of that token, or has been: another number for each
 * token, so that a starter that comes late changes no other child's. It says as little as 0. */
static inline pid_t mproc__pid_coming(uint64_t token) {
    return -2 - (pid_t)(token >> 32 & 0x3fffffff);
}

struct mproc__table {
    uint64_t top; /* slots below were used at least once; grows under the members' guard */
    uint64_t pad[7];
    struct mproc__slot slots[MPROC__MEMBERS];
};

/* The family's table of members, in the arena. NULL: this process is no member yet. */
extern MPROC__HIDDEN struct mproc__table *mproc__table;

/* From now on that table is the family's; NULL: there is none any more. */
void mproc__table_enter(struct mproc__table *table);

/* ---- tokens */

/* Slot number + 1 in the low 16 bits, serial in the high 32; the bits between are 0 and left to
 * mutex.c. */
static inline uint64_t mproc__token(uint32_t slot, uint64_t serial) {
    return serial << 32 | (slot + 1);
}

static inline uint32_t mproc__token_number(uint64_t token) {
    return (uint32_t)(token & 0xffff) - 1;
}

/* What slot->state is while the token's member is in that state. */
static inline uint64_t mproc__token_state(uint64_t token, enum mproc__slot_state state) {
    return token >> 32 << 8 | (uint64_t)state;
}

/* What slot->state is while the member in the slot of that number makes it its child's. */
static inline uint64_t mproc__slot_claimed(uint32_t number) {
    return (uint64_t)(number + 1) << 40 | MPROC__SLOT_CLAIMED;
}

/* Slots from this number on were never used: looking at them would only touch new pages. */
static inline uint32_t mproc__table_top(void) {
    return (uint32_t)mproc__peek64(&mproc__table->top);
}

/* The slot of a token, or NULL when its member is gone and reaped. */
static inline struct mproc__slot *mproc__token_slot(uint64_t token) {
    uint32_t number = mproc__token_number(token);
    if (number >= MPROC__MEMBERS) {
        return NULL;
    }
    struct mproc__slot *slot = &mproc__table->slots[number];
    uint64_t state = mproc__load64(&slot->state); /* SYNC(slot.state) */
    return state >> 8 == token >> 32 && (state & 0xff) != MPROC__SLOT_FREE ? slot : NULL;
}

/* True: that member lives, which a look at memory has told. False: it does not, or the system has
 * to be asked. */
bool mproc__token_alive(uint64_t token);

/* True when the member has ended, orderly or not. "No" is a look at memory; "yes" costs some 15
 * us. */
bool mproc__token_dead(uint64_t token);

/* True: that member, which has ended, had said before that it was about to end. The family knows it
 * until the next such member of its slot has ended. */
bool mproc__token_left(uint64_t token);

/* For calls that only try, which must be cheap: may the calling thread ask the system now about
 * members, for the sake of that object? At once, but about the same object a millisecond later at
 * the earliest. */
bool mproc__token_may_ask(const void *about);

/* True when a thread (pid << 32 | thread id) of that living member, or of one that died while it
 * took something from it, has ended for all that can be known here. */
bool mproc__thread_ended(uint64_t token, uint64_t thread);

/* ---- the caller */

/* What the process is. Threads of tests may be members of their own. */
struct mproc__self {
    uint64_t token;
    struct mproc__slot *slot;
    uint32_t taken; /* hands that have a thread: a bit each */
    uint32_t named; /* 1: its name stands in one of its rings (trace_ring.c) */
};

extern MPROC__HIDDEN struct mproc__self mproc__process_self;
extern MPROC__HIDDEN MPROC__THREAD struct mproc__self *mproc__thread_self; /* NULL: the process */
extern MPROC__HIDDEN MPROC__THREAD uint64_t mproc__thread_id; /* 0: not asked yet, or forked */

static inline struct mproc__self *mproc__self(void) {
    return mproc__likely(mproc__thread_self == NULL) ? &mproc__process_self : mproc__thread_self;
}

/* The calling member's token and slot. Only in a member. */
static inline uint64_t mproc__self_token(void) {
    return mproc__self()->token;
}

static inline struct mproc__slot *mproc__self_slot(void) {
    return mproc__self()->slot;
}

/* Asks the system, and remembers. */
uint64_t mproc__thread_ask(void);

/* pid << 32 | thread id of the caller. */
static inline uint64_t mproc__self_thread(void) {
    return mproc__likely(mproc__thread_id != 0) ? mproc__thread_id : mproc__thread_ask();
}

/* getpid(), remembered: it is asked for with every look at a child. */
static inline pid_t mproc__self_pid(void) {
    return (pid_t)(mproc__self_thread() >> 32);
}

#endif
