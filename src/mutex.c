/*
 * mutex.c - a robust mutex: one 64-bit word in the arena
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The word is 0 or names its owner; the kernel's futex sleeps on its low half. Acquiring
 * is one compare-and-swap, releasing one exchange. A waiter first spins: briefly, only while the owner
 * was last seen on another CPU, and as long as spinning paid lately. Then it marks the word and
 * sleeps, in slices; after each it looks whether the owner still lives.
 *
 * Shared state.
 *   word   whoever acquires, releases or marks it, always by an atomic read-modify-write.
 *
 * Invariants.
 *   M1  The low 16 bits are 0 exactly when the whole word is 0.
 *   M2  While a thread sleeps on it, bit 31 is set, or somebody is about to wake, or died about to: the
 *       slice ends that last sleep.
 *
 * If a member dies here.
 *   Before its compare-and-swap: nothing has happened. As owner: the next waiter finds the token dead
 *   and swaps its own in; one of several waiters wins. Between release and wake: M2.
 */
#include "mutex.h"

#include "atomic.h"
#include "member.h"
#include "os.h"
#include "spin.h"

#define WAITERS UINT64_C(0x80000000)
#define CPU_SHIFT 16
#define CPU_MASK UINT64_C(0x7fff0000)
#define GUARD_SLICE MPROC_MSEC /* who is in a section that long is dead, or has no CPU */
#define DEATH_CHECK_TRIES 1024 /* asking costs 15 us, a failed try 10 ns */

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the futex is the word's low half");

static uint32_t *futex_of(struct mproc__mutex *mutex) {
    return (uint32_t *)(void *)&mutex->word;
}

static uint64_t cpu_bits(void) {
    return ((uint64_t)(uint32_t)mproc__os_cpu() << CPU_SHIFT) & CPU_MASK;
}

static uint64_t token_of(uint64_t word) {
    return word & ~(WAITERS | CPU_MASK);
}

static _Thread_local struct mproc__spin spinning = {MPROC__SPIN_FIRST};

static bool spin(struct mproc__mutex *mutex, uint64_t mine, int64_t start) {
    int64_t end = start + mproc__spin_budget(&spinning);
    for (unsigned i = 1;; i++) {
        uint64_t word = mproc__peek64(&mutex->word);
        if (word == 0 && mproc__cas64(&mutex->word, &word, mine)) {
            return true;
        }
        /* On this CPU the owner cannot run while this thread does. If the owner is this very member, the
         * lock may be a signal, which another one will release: where from is not known. */
        if (word != 0 && (word & CPU_MASK) == (mine & CPU_MASK) &&
            token_of(word) != token_of(mine)) {
            return false;
        }
        if (i % 16 == 0 && mproc__os_now() >= end) {
            return false;
        }
        mproc__pause();
    }
}

/* Makes sure that the owner will wake somebody. False: the word has changed meanwhile. */
static bool announce(struct mproc__mutex *mutex, uint64_t *word) {
    if (*word & WAITERS) {
        return true;
    }
    if (!mproc__cas64(&mutex->word, word, *word | WAITERS)) {
        return false;
    }
    *word |= WAITERS;
    return true;
}

/* One round of waiting: 0: look again; 1: acquired from a dead owner (*word names it); or an error. */
static int wait_slice(struct mproc__mutex *mutex, uint64_t *word, uint64_t mine,
                      struct mproc__slices *slices, bool interruptible) {
    int64_t slice = mproc__slice(slices);
    if (slice < 0) {
        return -ETIMEDOUT;
    }
    int r = mproc__os_futex_wait(futex_of(mutex), (uint32_t)*word, slice);
    if (r == -EINTR && interruptible) {
        return -EINTR;
    }
    if (r == -ETIMEDOUT && mproc__token_dead(token_of(*word)) &&
        mproc__cas64(&mutex->word, word, mine | WAITERS)) {
        return 1;
    }
    return 0;
}

static int bereave(uint64_t word, uint64_t *mourned) {
    if (mourned != NULL) {
        *mourned = token_of(word);
    }
    return -EOWNERDEAD;
}

/* A try must be cheap, so it asks the system whether the owner lives only now and then; that the owner
 * has been reaped it sees at once. */
static int acquire_now(struct mproc__mutex *mutex, uint64_t mine, uint64_t *mourned) {
    static _Thread_local unsigned tries;
    uint64_t word = mproc__load64(&mutex->word);
    while (word == 0) {
        if (mproc__cas64(&mutex->word, &word, mine)) {
            return 0;
        }
    }
    bool dead = mproc__token_slot(token_of(word)) == NULL ||
                (++tries % DEATH_CHECK_TRIES == 0 && mproc__token_dead(token_of(word)));
    if (dead && mproc__cas64(&mutex->word, &word, mine | WAITERS)) {
        return bereave(word, mourned);
    }
    return -ETIMEDOUT;
}

static int acquire_sleeping(struct mproc__mutex *mutex, uint64_t mine, int64_t deadline,
                            bool interruptible, uint64_t *mourned) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    if (!interruptible) {
        slices.next = GUARD_SLICE;
    }
    for (;;) {
        uint64_t word = mproc__load64(&mutex->word);
        if (word == 0) {
            /* Others may sleep still: keep the mark, at the price of one idle wake. */
            if (mproc__cas64(&mutex->word, &word, mine | WAITERS)) {
                return 0;
            }
            continue;
        }
        if (!announce(mutex, &word)) {
            continue;
        }
        int r = wait_slice(mutex, &word, mine, &slices, interruptible);
        if (r != 0) {
            return r == 1 ? bereave(word, mourned) : r;
        }
    }
}

static MPROC__NOINLINE int acquire_slow(struct mproc__mutex *mutex, uint64_t mine, int64_t timeout,
                                        bool interruptible, uint64_t *mourned) {
    if (timeout == 0) {
        return acquire_now(mutex, mine, mourned);
    }
    int64_t start = mproc__os_now();
    int64_t deadline = mproc__deadline(timeout);
    int r = spin(mutex, mine, start)
                ? 0
                : acquire_sleeping(mutex, mine, deadline, interruptible, mourned);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

int mproc__mutex_acquire(struct mproc__mutex *mutex, int64_t timeout, bool interruptible,
                         uint64_t *mourned) {
    uint64_t mine = mproc__self_token() | cpu_bits();
    uint64_t word = 0;
    if (mproc__likely(mproc__cas64(&mutex->word, &word, mine))) {
        return 0;
    }
    return acquire_slow(mutex, mine, timeout, interruptible, mourned);
}

int mproc__mutex_release(struct mproc__mutex *mutex) {
    uint64_t word = mproc__exchange64(&mutex->word, 0);
    if (mproc__unlikely(word == 0)) {
        return MPROC_ENOTHELD;
    }
    if (mproc__unlikely(word & WAITERS)) {
        mproc__os_futex_wake(futex_of(mutex), 1);
    }
    return 0;
}

uint64_t mproc__mutex_owner(const struct mproc__mutex *mutex) {
    return token_of(mproc__load64(&mutex->word));
}
