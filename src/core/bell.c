/*
 * bell.c - telling processes that wait for a descriptor, and not in the library
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A thread that sleeps in the library announces itself beside the words that it looks
 * at, and whoever changes those words takes a slow way then, to wake it. A process that waits for a
 * descriptor announces itself in the same way, and has a bell besides: a row in a table of the
 * arena, which says where its mailbox is. So as long as nobody waits with a bell, bells cost
 * nothing, and nothing at all on the fast ways. Each object has a word for each thing that can be
 * waited for; the word says whether a bell may be armed for it, and its address is what the rows of
 * the table name. Whoever changes something rings all bells that are armed for it, and each is
 * disarmed by that: of several that wait one gets what is there, the others look in vain and arm
 * again. A bell that was rung for its own sake alone would be lost with a process that is killed.
 *
 * Shared state.
 *   row->owner    0 -> a token by compare-and-swap of the member that takes the row; back to 0 by
 *                 it or its reaper.
 *   row->target, address, size   the owner's, written while the bell is not armed.
 *   row->armed    1 by the owner, before it looks at what it waits for. 0 by whoever swaps it, and
 *                 who swaps it rings.
 *   the word      of an object: 1 by an owner, after `armed`; 0 by whoever is about to look for
 *                 armed bells.
 *   top           grows by compare-and-swap.
 *
 * Invariants.
 *   W1  A row without an owner has no target and is not armed.
 *   W2  While a bell is armed, the word that it names is 1, or another thread is about to ring it,
 *       or died before it did: then its owner looks anyway when it next ticks (watch.c).
 *   W3  Rows from top on are zero.
 *
 * If a member dies here. As owner: its bells are rung in vain, at the price of a datagram that
 * nobody takes, until a reaper frees its rows. Between its change and its ring, or between its swap
 * of `armed` and the datagram: W2.
 *
 * What it does not do: reach into another network namespace; there W2 says how long it takes.
 */
#include "core/bell.h"

#include <string.h>

#include "core/token.h"
#include "system/os.h"

static_assert(sizeof(struct mproc__bell) == 32, "two rows are a cache line");

static struct mproc__bells *bells;

void mproc__bells_enter(struct mproc__bells *all) {
    bells = all;
}

/* ---------------------------------------------------------------- rows */

static void raise_top(uint64_t number) {
    uint64_t top = mproc__peek64(&bells->top);
    /* SYNC(bell.top): the top, before what a row below it says. */
    while (top <= number && !mproc__cas64(&bells->top, &top, number + 1)) {
    }
}

/* An empty one becomes the caller's; a reaper looks at it from before that on. NULL: there is
 * none. */
static struct mproc__bell *claim(void) {
    for (uint64_t i = 0; i < MPROC__BELLS; i++) {
        struct mproc__bell *row = &bells->rows[i];
        uint64_t nobody = 0;
        if (mproc__peek64(&row->owner) != 0) {
            continue;
        }
        raise_top(i);
        /* SYNC(bell.owner) */
        if (mproc__cas64(&row->owner, &nobody, mproc__self_token())) {
            return row;
        }
    }
    return NULL;
}

/* Word by word, so that a reaper can do it again. */
static void clear(struct mproc__bell *row) {
    mproc__poke64(&row->target, 0);
    mproc__poke32(&row->armed, 0);
    mproc__store64(&row->owner, 0); /* SYNC(bell.owner): it is empty, before it is anybody's */
}

int mproc__bell_take(uint32_t *target, const char *address, uint32_t size,
                     struct mproc__bell **out) {
    struct mproc__bell *row = claim();
    if (row == NULL) {
        return -ENOSPC;
    }
    uint64_t word = 0;
    memcpy(&word, address, size);
    mproc__poke64((uint64_t *)(void *)row->address, word);
    mproc__poke32(&row->size, size);
    /* SYNC(bell.target): the address, before what it is for. */
    mproc__store64(&row->target, (uint64_t)(uintptr_t)target);
    *out = row;
    return 0;
}

void mproc__bell_give(struct mproc__bell *bell) {
    clear(bell);
}

void mproc__bells_reap(uint64_t token) {
    uint64_t top = mproc__load64(&bells->top); /* SYNC(bell.top) */
    for (uint64_t i = 0; i < top; i++) {
        if (mproc__peek64(&bells->rows[i].owner) == token) {
            clear(&bells->rows[i]);
        }
    }
}

/* ---------------------------------------------------------------- arming */

static uint32_t *word_of(const struct mproc__bell *bell) {
    return (uint32_t *)(uintptr_t)mproc__peek64(&bell->target);
}

void mproc__bell_arm(struct mproc__bell *bell) {
    mproc__store32(&bell->armed, 1); /* SYNC(bell.armed): the bell, before the word of the object */
    mproc__full_fence();
    /* SYNC(bell.wanted): the word, before the look at what is waited for. */
    mproc__store32(word_of(bell), MPROC__BELL_WANTED);
    mproc__full_fence();
}

bool mproc__bell_disarm(struct mproc__bell *bell) {
    uint32_t armed = 1;
    return mproc__cas32(&bell->armed, &armed, 0);
}

bool mproc__bell_armed(const struct mproc__bell *bell) {
    return mproc__load32(&bell->armed) != 0;
}

/* ---------------------------------------------------------------- ringing */

/* A process that rings keeps no descriptor. */
static void ring(const struct mproc__bell *bell) {
    char address[MPROC__BELL_ADDRESS];
    uint64_t word = mproc__peek64((const uint64_t *)(const void *)bell->address);
    uint32_t size = mproc__peek32(&bell->size);
    memcpy(address, &word, sizeof address);
    mproc__os_mailbox_ring(address, size < sizeof address ? size : sizeof address);
}

/* A row may become another owner's between the look at its target and the swap. That one is rung
 * then, in vain. */
MPROC__NOINLINE void mproc__bells_ring_all(uint32_t *target) {
    mproc__store32(target, 0);
    mproc__full_fence(); /* SYNC(bell.armed): of two that arm and change, one sees the other */
    uint64_t top = mproc__load64(&bells->top); /* SYNC(bell.top) */
    for (uint64_t i = 0; i < top; i++) {
        struct mproc__bell *row = &bells->rows[i];
        uint64_t word = mproc__load64(&row->target); /* SYNC(bell.target) */
        if (word == (uint64_t)(uintptr_t)target && mproc__bell_disarm(row)) {
            ring(row);
        }
    }
}

/* ---------------------------------------------------------------- check */

/* A row may be taken while this looks at it: then its owner is there at the second look. */
static bool is_nobodys(const struct mproc__bell *row) {
    return mproc__peek64(&row->owner) == 0 &&
           (mproc__peek64(&row->target) != 0 || mproc__peek32(&row->armed) != 0) &&
           mproc__peek64(&row->owner) == 0;
}

/* Of the rows from top on it looks at the first: the others' pages were never touched. */
int mproc__bells_check(char *why, size_t size) {
    uint64_t top = mproc__peek64(&bells->top);
    for (uint64_t i = 0; i < top; i++) {
        if (is_nobodys(&bells->rows[i])) {
            return mproc__corrupt(why, size, "W1: bell %llu has no owner", (unsigned long long)i);
        }
    }
    if (top < MPROC__BELLS && mproc__peek64(&bells->rows[top].owner) != 0 &&
        mproc__peek64(&bells->top) == top) {
        return mproc__corrupt(why, size, "W3: a bell above the %llu known ones",
                              (unsigned long long)top);
    }
    return 0;
}
