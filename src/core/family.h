/*
 * family.h - the arena's first bytes: what all members share
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FAMILY_H
#define MPROC_FAMILY_H

#include "core/heap.h"
#include "core/member.h"
#include "core/object.h"
#include "shm.h"
#include "system/atomic.h"
#include "system/base.h"

/* A child learns of its family by this environment variable: "fd:base:span:token:starter", all
 * hex. It is removed on attaching, and means nothing to a process whose reservation is not there. */
#define MPROC__ENV "MPROC_FAMILY"
#define MPROC__ENV_MAX 128

#define MPROC__MAGIC UINT64_C(0x3130636f72706d00) /* "\0mproc01" in memory order */

struct mproc__family {
    uint64_t magic;
    uint64_t base;   /* address of this structure */
    uint64_t span;   /* bytes mapped from it */
    uint64_t layout; /* sizeof this structure: members of another build are refused */
    uint64_t chunk0; /* address of the first chunk; constant */
    struct mproc__registry registry;
    struct mproc__members members;
    struct mproc__chunks chunks;
    struct mproc__shms shms;
    _Alignas(MPROC__LINE) struct mproc__heap heap;
    struct mproc__slot slots[MPROC__MEMBERS];
    /* followed by one struct mproc__chunk per chunk, then, chunk-aligned, the chunks */
};

extern struct mproc__family *mproc__family; /* NULL: no member yet */
extern uint32_t mproc__family_joined;       /* 1: the process is a member, and all is ready */

/* Makes the process a member: of its starter's family if the environment names one, of a new one
 * otherwise. 1: came as a started child; 0; or an error. Idempotent. -ESRCH: came as a child whose
 * starter has died meanwhile; such a process should end. */
int mproc__family_join(void);

/* The arena's descriptor, to be passed to a spawned child. */
int mproc__family_fd(void);

/* In a forked child that could not become a member: forgets the family and unmaps the arena, so that
 * using inherited objects is a clean crash and not a silent corruption. */
void mproc__family_forget(void);

/* Words "MPROC_FAMILY=..." for a child. */
void mproc__family_describe(uint64_t token, char out[MPROC__ENV_MAX]);

/* Slots from this number on were never used: looking at them would only touch new pages. */
static inline uint32_t mproc__members_seen(void) {
    return (uint32_t)mproc__load64(&mproc__family->members.top);
}

/* The slot of a token, or NULL when its member is gone and reaped. */
static inline struct mproc__slot *mproc__token_slot(uint64_t token) {
    uint32_t number = mproc__token_number(token);
    if (number >= MPROC__MEMBERS) {
        return NULL;
    }
    struct mproc__slot *slot = &mproc__family->slots[number];
    uint64_t state = mproc__load64(&slot->state);
    return state >> 8 == token >> 32 && (state & 0xff) != MPROC__SLOT_FREE ? slot : NULL;
}

/* Joins on first use, as every `noun_new` does. */
static inline int mproc__family_need(void) {
    int r = mproc__likely(mproc__load32(&mproc__family_joined)) ? 0 : mproc__family_join();
    return r < 0 ? r : 0;
}

#endif
