/*
 * event.c - a flag that can be waited for
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. All is in one word: the flag, whether a thread may sleep, and how often the flag
 * was set. A waiter is satisfied when the flag is set or was set since it came. So a flag that is
 * set and at once cleared lets all threads go that waited then.
 *
 * Shared state.
 *   word     Any thread, by compare-and-swap.
 *   bells    As bell.c says. A process that waits with a bell sets SLEEPERS.
 *   setter   The thread that set it last: a hint.
 *
 * Invariants.
 *   E1  While a thread sleeps on the word, SLEEPERS is set, or another thread is about to wake all
 *       sleepers, or died before it did: then the slice ends that sleep.
 *
 * If a member dies here: each call has one compare-and-swap that does it. Between that of set() and
 * its wake-up: E1. A dead sleeper costs the next set() one idle wake-up.
 */
#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/look.h"
#include "core/make.h"
#include "core/wait.h"
#include "source.h"
#include "system/os.h"

#define SET 1u
#define SLEEPERS 2u
#define TIMES 4u /* the bits from here on count */

struct mproc_event {
    struct mproc__object object;
    _Alignas(MPROC__LINE) uint32_t word;
    uint32_t bells;
    struct mproc__peer setter;
};

static int fill(struct mproc__hand *hand, void *object, const void *unused) {
    mproc_event *event = object;
    (void)hand, (void)unused;
    mproc__peer_init(&event->setter);
    return 0;
}

int mproc_event_new(mproc_event **out) {
    return mproc__object_build(out, MPROC__KIND_EVENT, sizeof(mproc_event), fill, NULL);
}

int mproc_event_is_set(const mproc_event *event) {
    if (!mproc__expect(event, MPROC__KIND_EVENT)) {
        return 0;
    }
    return (mproc__load32(&event->word) & SET) != 0; /* SYNC(event.word) */
}

void mproc_event_set(mproc_event *event) {
    if (!mproc__expect(event, MPROC__KIND_EVENT)) {
        return;
    }
    uint32_t word = mproc__load32(&event->word);
    mproc__peer_here(&event->setter);
    do {
        if (word & SET) {
            return;
        }
        /* SYNC(event.word): what was done before it was set, before what its waiters do. */
    } while (!mproc__cas32(&event->word, &word, ((word & ~SLEEPERS) + TIMES) | SET));
    if (word & SLEEPERS) {
        mproc__os_futex_wake(&event->word, INT32_MAX);
        mproc__bells_ring(&event->bells);
    }
}

void mproc_event_clear(mproc_event *event) {
    if (!mproc__expect(event, MPROC__KIND_EVENT)) {
        return;
    }
    uint32_t word = mproc__load32(&event->word);
    while ((word & SET) && !mproc__cas32(&event->word, &word, word & ~SET)) {
    }
}

uint32_t mproc_event_times(const mproc_event *event) {
    if (!mproc__expect(event, MPROC__KIND_EVENT)) {
        return 0;
    }
    return mproc__load32(&event->word) / TIMES; /* SYNC(event.word) */
}

static int sleep_slices(mproc_event *event, const struct mproc__look *watch, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    for (;;) {
        uint32_t word = mproc__load32(&event->word); /* SYNC(event.word) */
        if ((word ^ watch->seen) & watch->mask) {
            return 0;
        }
        if (!(word & SLEEPERS) && !mproc__cas32(&event->word, &word, word | SLEEPERS)) {
            continue;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        if (mproc__os_futex_wait(&event->word, word | SLEEPERS, slice) == -EINTR) {
            return -EINTR;
        }
    }
}

static int sleep_noted(mproc_event *event, const struct mproc__look *watch, int64_t deadline) {
    struct mproc__hand *noted = mproc__wait_begin(event, deadline);
    int r = sleep_slices(event, watch, deadline);
    mproc__wait_end(noted);
    return r;
}

int mproc_event_wait(mproc_event *event, int64_t timeout) {
    if (!mproc__expect(event, MPROC__KIND_EVENT)) {
        return MPROC_EOTHER;
    }
    static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};
    uint32_t word = mproc__load32(&event->word);
    if (word & SET) {
        return 0;
    }
    if (timeout == 0) {
        return -ETIMEDOUT;
    }
    struct mproc__look watch = {&event->word, word, ~SLEEPERS, &event->setter};
    int64_t deadline = mproc__deadline(timeout);
    int64_t start = mproc__os_now();
    int r = mproc__look_spin(&watch, &spinning, start) ? 0 : sleep_noted(event, &watch, deadline);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

/* ---------------------------------------------------------------- waiting with a descriptor */

static bool is_set(const void *object) {
    return mproc_event_is_set(object) != 0;
}

static void announce(void *object) {
    mproc_event *event = object;
    uint32_t word = mproc__load32(&event->word);
    while (!(word & (SET | SLEEPERS)) && !mproc__cas32(&event->word, &word, word | SLEEPERS)) {
    }
    mproc__fence_after_rmw();
}

static uint32_t times(const void *event) {
    return mproc_event_times(event);
}

struct mproc__source mproc__event_source(mproc_event *event) {
    return (struct mproc__source){event, &event->bells, announce, is_set, times, NULL};
}

int mproc_event_check(const mproc_event *event, char *why, size_t size) {
    if (!mproc__object_is(event, MPROC__KIND_EVENT)) {
        return mproc__corrupt(why, size, "E: %p is no event", (const void *)event);
    }
    return 0;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__event_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_event *event = copy;
    if (size < sizeof *event) {
        return false;
    }
    out->count = (event->word & SET) != 0;
    return true;
}
