/*
 * bell.h - telling processes that wait for a descriptor, and not in the library
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BELL_H
#define MPROC_BELL_H

#include "system/atomic.h"
#include "system/base.h"

#define MPROC__BELLS 4096     /* of a family; their pages are touched only when used */
#define MPROC__BELL_ADDRESS 8 /* bytes: the system makes up one of 6 */
#define MPROC__BELL_WANTED 1u /* in an object's word: a bell may be armed */

struct mproc__bell {
    uint64_t owner;  /* token; 0: the row is free */
    uint64_t target; /* uint32_t *: the word of what it waits for; 0: of nothing */
    uint32_t armed;
    uint32_t size;
    char address[MPROC__BELL_ADDRESS];
};

struct mproc__bells {
    uint64_t top; /* rows below were used at least once; never falls */
    uint64_t pad[7];
    struct mproc__bell rows[MPROC__BELLS];
};

/* From now on these are the family's; NULL: there are none any more. */
void mproc__bells_enter(struct mproc__bells *all);

/* ---- who waits */

/* Takes a bell for changes that are told of through *target, which it leaves alone. The mailbox
 * that it rings at has that address. -ENOSPC: the family has no more bells. */
int mproc__bell_take(uint32_t *target, const char *address, uint32_t size,
                     struct mproc__bell **out);
void mproc__bell_give(struct mproc__bell *bell);

/* From now on the next change rings. The caller looks at what it waits for after that. */
void mproc__bell_arm(struct mproc__bell *bell);
/* True: nobody has rung since it was armed, and now nobody will. */
bool mproc__bell_disarm(struct mproc__bell *bell);
bool mproc__bell_armed(const struct mproc__bell *bell);

/* For the reaper: the bells of a dead member are free. */
void mproc__bells_reap(uint64_t token);

int mproc__bells_check(char *why, size_t size);

/* ---- who changes something: its change stands, and a fence is between that and this call */

void mproc__bells_ring_all(uint32_t *target);

/* Rings all bells that are armed for this word. Only slow ways call it: waiting with a bell takes
 * the same mark as sleeping. */
static inline void mproc__bells_ring(uint32_t *target) {
    if (mproc__unlikely(mproc__load32(target) != 0)) { /* SYNC(bell.wanted) */
        mproc__bells_ring_all(target);
    }
}

#endif
