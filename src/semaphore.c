/*
 * semaphore.c - a number of permits
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. One word holds the number of permits and a mark: a thread may sleep. Acquiring and
 * releasing are one compare-and-swap each. A release that finds the mark takes it away and wakes
 * one sleeper. A sleeper that gets a permit puts the mark back, since others may still sleep, and
 * wakes the next one if permits are left. So two quick releases wake two sleepers, though only the
 * first release saw the mark.
 *
 * Shared state.
 *   word       Any thread, by compare-and-swap.
 *   bells      As bell.c says. A process that waits with a bell sets the mark.
 *   releaser   The thread that released last: a hint.
 *
 * Invariants.
 *   S1  While a thread sleeps and there are permits, the mark is set, or another thread is about to
 *       wake a sleeper, or died before it did: then the slice ends that sleep.
 *
 * If a member dies here: each call has one compare-and-swap that does it; for wake-ups S1.
 *
 * What it does not do: give the permits of a dead member back. A semaphore counts whatever the
 * program means by it. The thread that releases is often not the one that acquired, so the library
 * cannot know what a dead member owed. A bounded semaphore (bsemaphore.c) knows.
 */
#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/look.h"
#include "core/make.h"
#include "core/trace_ring.h"
#include "core/wait.h"
#include "source.h"
#include "system/os.h"

#define SLEEPERS 1u
#define ONE 2u

struct mproc_semaphore {
    struct mproc__object object;
    _Alignas(MPROC__LINE) uint32_t word;
    uint32_t bells;
    struct mproc__peer releaser;
};

static int fill(struct mproc__hand *hand, void *object, const void *value) {
    mproc_semaphore *semaphore = object;
    (void)hand;
    mproc__poke32(&semaphore->word, *(const unsigned *)value * ONE);
    mproc__peer_init(&semaphore->releaser);
    return 0;
}

int mproc_semaphore_new(mproc_semaphore **out, unsigned value) {
    if (value > MPROC_SEMAPHORE_MAX) {
        return -EINVAL;
    }
    return mproc__object_build(out, MPROC__KIND_SEMAPHORE, sizeof(mproc_semaphore), fill, &value);
}

unsigned mproc_semaphore_value(const mproc_semaphore *semaphore) {
    if (!mproc__expect(semaphore, MPROC__KIND_SEMAPHORE)) {
        return 0;
    }
    return mproc__load32(&semaphore->word) / ONE;
}

/* Takes a permit if there is one, and sets `mark`. *word is what the word was. */
static bool take(mproc_semaphore *semaphore, uint32_t mark, uint32_t *word) {
    *word = mproc__load32(&semaphore->word);
    while (*word >= ONE) {
        if (mproc__cas32(&semaphore->word, word, (*word - ONE) | mark)) { /* SYNC(semaphore.word) */
            return true;
        }
    }
    return false;
}

static int sleep_slices(mproc_semaphore *semaphore, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    for (;;) {
        uint32_t word;
        if (take(semaphore, SLEEPERS, &word)) {
            if (word >= 2 * ONE) {
                mproc__os_futex_wake(&semaphore->word, 1);
            }
            return 0;
        }
        if (!(word & SLEEPERS) && !mproc__cas32(&semaphore->word, &word, SLEEPERS)) {
            continue;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        if (mproc__os_futex_wait(&semaphore->word, SLEEPERS, slice) == -EINTR) {
            return -EINTR;
        }
    }
}

static int sleep_noted(mproc_semaphore *semaphore, int64_t deadline) {
    struct mproc__hand *noted = mproc__wait_begin(semaphore, deadline);
    int r = sleep_slices(semaphore, deadline);
    mproc__wait_end(noted);
    return r;
}

/* True: a permit was taken before it paid to sleep. */
static bool spin(mproc_semaphore *semaphore, const struct mproc__spin *spinning, int64_t start) {
    struct mproc__look watch = {&semaphore->word, 0, ~SLEEPERS, &semaphore->releaser};
    uint32_t word;
    while (mproc__look_spin(&watch, spinning, start)) {
        if (take(semaphore, 0, &word)) {
            return true;
        }
    }
    return false;
}

static MPROC__NOINLINE int wait(mproc_semaphore *semaphore, int64_t timeout) {
    static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};
    if (timeout == 0) {
        return -ETIMEDOUT;
    }
    int64_t deadline = mproc__deadline(timeout);
    int64_t start = mproc__os_now();
    int r = spin(semaphore, &spinning, start) ? 0 : sleep_noted(semaphore, deadline);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

int mproc_semaphore_acquire(mproc_semaphore *semaphore, int64_t timeout) {
    if (!mproc__expect(semaphore, MPROC__KIND_SEMAPHORE)) {
        return MPROC_EOTHER;
    }
    uint32_t word;
    int r = mproc__likely(take(semaphore, 0, &word)) ? 0 : wait(semaphore, timeout);
    if (mproc__likely(r == 0)) {
        mproc__traced(MPROC__TRACE_ACQUIRE, MPROC__KIND_SEMAPHORE, semaphore, 0);
    }
    return r;
}

int mproc_semaphore_release(mproc_semaphore *semaphore) {
    if (!mproc__expect(semaphore, MPROC__KIND_SEMAPHORE)) {
        return MPROC_EOTHER;
    }
    uint32_t word = mproc__load32(&semaphore->word);
    mproc__peer_here(&semaphore->releaser);
    do {
        if (word / ONE == MPROC_SEMAPHORE_MAX) {
            return -EOVERFLOW;
        }
        /* SYNC(semaphore.word): what the releaser did, before what the acquirer does. */
    } while (!mproc__cas32(&semaphore->word, &word, (word & ~SLEEPERS) + ONE));
    if (mproc__unlikely(word & SLEEPERS)) {
        mproc__os_futex_wake(&semaphore->word, 1);
        mproc__bells_ring(&semaphore->bells);
    }
    mproc__traced(MPROC__TRACE_RELEASE, MPROC__KIND_SEMAPHORE, semaphore, 0);
    return 0;
}

/* ---------------------------------------------------------------- waiting with a descriptor */

static bool has_permit(const void *object) {
    return mproc_semaphore_value(object) > 0;
}

static void announce(void *object) {
    mproc_semaphore *semaphore = object;
    uint32_t word = mproc__load32(&semaphore->word);
    while (word == 0 && !mproc__cas32(&semaphore->word, &word, SLEEPERS)) {
    }
    mproc__fence_after_rmw();
}

struct mproc__source mproc__semaphore_source(mproc_semaphore *semaphore) {
    return (struct mproc__source){semaphore, &semaphore->bells, announce, has_permit, NULL, NULL};
}

int mproc_semaphore_check(const mproc_semaphore *semaphore, char *why, size_t size) {
    if (!mproc__object_is(semaphore, MPROC__KIND_SEMAPHORE)) {
        return mproc__corrupt(why, size, "S: %p is no semaphore", (const void *)semaphore);
    }
    return 0;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__semaphore_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_semaphore *semaphore = copy;
    if (size < sizeof *semaphore) {
        return false;
    }
    out->count = semaphore->word / ONE;
    return true;
}
