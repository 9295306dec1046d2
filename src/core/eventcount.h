/*
 * eventcount.h - sleeping until another thread has done something
 *
 * SPDX-License-Identifier: MIT
 *
 * An event count (Reed and Kanodia, 1979) stands beside the words that a waiter looks at. A sleeper
 * announces itself, looks at those words once more, and sleeps while `signal` is what it was. A
 * thread that changes the words wakes it.
 *
 * Shared state.
 *   signal     changes with every wake: the futex that sleepers sleep on.
 *   sleepers   1: a thread may sleep. A sleeper sets it. A thread that wakes clears it first, and
 *              sets it again if it woke one, because more may sleep.
 *   bells      as bell.c says: of processes that wait with a descriptor. They announce themselves
 *              as sleepers, too.
 *
 * Invariant: a sleeper sleeps with `sleepers` set, or its slice ends.
 *
 * If a member dies here: a dead sleeper costs one idle wake and is forgotten. A member that dies
 * between its change and its wake costs the sleeper one slice.
 */
#ifndef MPROC_EVENTCOUNT_H
#define MPROC_EVENTCOUNT_H

#include "core/bell.h"
#include "system/atomic.h"
#include "system/base.h"

struct mproc__eventcount {
    uint32_t signal;
    uint32_t sleepers;
    uint32_t bells;
};

/* ---- the sleeper */

/* Announces the caller and returns what to sleep on. The caller looks at its words after that, and
 * calls mproc__eventcount_sleep() if there is nothing for it. */
static inline uint32_t mproc__eventcount_announce(struct mproc__eventcount *count) {
    uint32_t seen = mproc__load32(&count->signal); /* SYNC(eventcount.signal) */
    /* SYNC(eventcount.sleepers): of two that announce and change first, then look, one sees the
     * other. */
    mproc__store32(&count->sleepers, 1);
    mproc__full_fence();
    return seen;
}

/* Sleeps for at most `slice` ns. 0: woken, or something has happened since; -ETIMEDOUT; -EINTR. */
int mproc__eventcount_sleep(const struct mproc__eventcount *count, uint32_t seen, int64_t slice);

/* ---- the other side: it has changed its words, and a fence stands between that change and this */

void mproc__eventcount_wake_one(struct mproc__eventcount *count);
void mproc__eventcount_wake_all(struct mproc__eventcount *count);
/* The same, and none of them is announced any more. */
void mproc__eventcount_wake_sleepers(struct mproc__eventcount *count);

static inline bool mproc__eventcount_awaited(const struct mproc__eventcount *count) {
    return mproc__load32(&count->sleepers) != 0; /* SYNC(eventcount.sleepers) */
}

/* Wakes one sleeper if there may be one. */
static inline void mproc__eventcount_wake(struct mproc__eventcount *count) {
    if (mproc__unlikely(mproc__eventcount_awaited(count))) {
        mproc__eventcount_wake_one(count);
    }
}

/* ---- the same under a mutex that both sides hold when they look and change: without a fence */

static inline void mproc__eventcount_announce_locked(struct mproc__eventcount *count) {
    mproc__poke32(&count->sleepers, 1);
}

/* What to sleep on: read after the caller has looked. */
static inline uint32_t mproc__eventcount_seen_locked(const struct mproc__eventcount *count) {
    return count->signal;
}

/* True: the caller calls mproc__eventcount_wake_called() once it has released the mutex. A sleeper
 * that comes back announces those behind it again. */
static inline bool mproc__eventcount_call_locked(struct mproc__eventcount *count) {
    if (mproc__likely(count->sleepers == 0)) {
        return false;
    }
    mproc__poke32(&count->sleepers, 0);
    mproc__store32(&count->signal, count->signal + 1);
    return true;
}

void mproc__eventcount_wake_called(struct mproc__eventcount *count);

#endif
