/*
 * bsemaphore.c - the bounded semaphore: it knows who took its permits
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A robust mutex around a ledger: each member that has permits has an entry with their
 * number. The ledger is the truth; `taken`, its sum, is kept beside it for speed and added up anew when
 * somebody died under the mutex. So every change is one store, and needs no undo record. A release
 * takes from the caller's own entry, or if that has none, from another's: permits may be passed on.
 *
 * Shared state.
 *   bound    constant.
 *   ledger   entry.number: permits of the member entry.token; under the mutex.
 *   taken    written under the mutex, read by anybody.
 *   signal, sleepers   an event count: a sleeper sets `sleepers` under the mutex and sleeps while `signal`
 *            is what it was; who gives permits clears `sleepers` and changes `signal`. A sleeper that gets
 *            a permit sets `sleepers` again and wakes the next one if there are more.
 *
 * Invariants.
 *   B1  While the mutex is free, taken is the sum of the entries' numbers, and at most bound.
 *   B2  An entry with a number has a token.
 *
 * If a member dies here: see B1. Its permits are given back by whoever finds none left: at once if the
 * member has been reaped, else after a slice, or after some tries.
 */
#include "family.h"
#include "kinds.h"
#include "ledger.h"
#include "os.h"
#include "watch.h"

#define DEATH_CHECK_TRIES 1024 /* asking costs 15 us, a failed try 50 ns */

struct mproc_bsemaphore {
    struct mproc__object object;
    struct mproc__mutex mutex;
    uint32_t bound;
    uint32_t taken;
    uint32_t signal;
    uint32_t sleepers;
    struct mproc__peer changer;
    struct mproc__ledger ledger;
};

void mproc__bsemaphore_destroy(struct mproc__hand *hand, void *object) {
    mproc__ledger_destroy(hand, &((mproc_bsemaphore *)object)->ledger);
}

mproc_bsemaphore *mproc_bsemaphore_new(unsigned bound) {
    if (bound > MPROC_SEMAPHORE_MAX) {
        return NULL;
    }
    mproc_bsemaphore *semaphore = mproc__object_new(MPROC__KIND_BSEMAPHORE, sizeof *semaphore);
    if (semaphore != NULL) {
        semaphore->bound = bound;
        mproc__peer_init(&semaphore->changer);
    }
    return semaphore;
}

/* ---------------------------------------------------------------- under the mutex */

static uint64_t sum(mproc_bsemaphore *semaphore) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    uint64_t total = 0;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        total += e->number;
    }
    return total;
}

static void enter(mproc_bsemaphore *semaphore) {
    if (mproc__mutex_acquire(&semaphore->mutex, MPROC_FOREVER, false, NULL) == -EOWNERDEAD) {
        mproc__poke32(&semaphore->taken, (uint32_t)sum(semaphore));
    }
}

static void leave(mproc_bsemaphore *semaphore) {
    (void)mproc__mutex_release(&semaphore->mutex);
}

/* Sets an entry's number: the commit. */
static void put_down(mproc_bsemaphore *semaphore, struct mproc__entry *e, uint64_t number) {
    uint32_t taken = semaphore->taken + (uint32_t)(number - e->number);
    mproc__program_order();
    mproc__poke64(&e->number, number);
    mproc__program_order();
    mproc__poke32(&semaphore->taken, taken);
    mproc__peer_here(&semaphore->changer);
}

/* The entry of the member, or one without permits, or NULL. */
static struct mproc__entry *entry_of(mproc_bsemaphore *semaphore, uint64_t token) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    struct mproc__entry *empty = NULL;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (e->token == token) {
            return e;
        }
        if (empty == NULL && e->number == 0) {
            empty = e;
        }
    }
    return empty;
}

/* Any entry with permits, or NULL. */
static struct mproc__entry *debtor(mproc_bsemaphore *semaphore) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    struct mproc__entry *e = mproc__ledger_next(&c);
    while (e != NULL && e->number == 0) {
        e = mproc__ledger_next(&c);
    }
    return e;
}

/* Gives the permits of the dead back; asks the system about the others only if told so. */
static bool forgive(mproc_bsemaphore *semaphore, bool ask) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    bool found = false;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (e->number != 0 && e->token != mproc__self_token() &&
            (mproc__token_slot(e->token) == NULL || (ask && mproc__token_dead(e->token)))) {
            put_down(semaphore, e, 0);
            found = true;
        }
    }
    return found;
}

/* 0; -EAGAIN: there is none; -ENOMEM. */
static int take(mproc_bsemaphore *semaphore) {
    if (semaphore->taken >= semaphore->bound) {
        return -EAGAIN;
    }
    uint64_t token = mproc__self_token();
    struct mproc__entry *e = entry_of(semaphore, token);
    while (mproc__unlikely(e == NULL)) {
        int r = mproc__ledger_grow(&semaphore->ledger);
        if (r != 0) {
            return r;
        }
        e = entry_of(semaphore, token);
    }
    mproc__poke64(&e->token, token);
    put_down(semaphore, e, e->number + 1);
    return 0;
}

/* True: somebody is to be woken, after leaving. */
static bool call_sleepers(mproc_bsemaphore *semaphore) {
    if (mproc__likely(semaphore->sleepers == 0)) {
        return false;
    }
    mproc__poke32(&semaphore->sleepers, 0);
    mproc__store32(&semaphore->signal, semaphore->signal + 1);
    return true;
}

/* ---------------------------------------------------------------- acquiring */

static int try_now(mproc_bsemaphore *semaphore) {
    static _Thread_local unsigned tries;
    enter(semaphore);
    int r = take(semaphore);
    if (r == -EAGAIN && forgive(semaphore, ++tries % DEATH_CHECK_TRIES == 0)) {
        r = take(semaphore);
    }
    leave(semaphore);
    return r;
}

/* A sleeper's look: takes a permit and passes the call on, or says that it will sleep. */
static int look(mproc_bsemaphore *semaphore, bool ask, uint32_t *seen) {
    enter(semaphore);
    if (ask) {
        (void)forgive(semaphore, true);
    }
    int r = take(semaphore);
    mproc__poke32(&semaphore->sleepers, 1);
    bool wake = r == 0 && semaphore->taken < semaphore->bound && call_sleepers(semaphore);
    *seen = semaphore->signal;
    leave(semaphore);
    if (wake) {
        mproc__os_futex_wake(&semaphore->signal, 1);
    }
    return r;
}

static int sleep_slices(mproc_bsemaphore *semaphore, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    int slept = 0;
    for (;;) {
        uint32_t seen;
        int r = look(semaphore, slept == -ETIMEDOUT, &seen);
        if (r != -EAGAIN) {
            return r;
        }
        int64_t slice = mproc__slice(&slices);
        if (slice < 0) {
            return -ETIMEDOUT;
        }
        slept = mproc__os_futex_wait(&semaphore->signal, seen, slice);
        if (slept == -EINTR) {
            return -EINTR;
        }
    }
}

/* -EAGAIN: it does not pay to look any longer. */
static int spin(mproc_bsemaphore *semaphore, const struct mproc__spin *spinning, int64_t start) {
    struct mproc__watch watch = {&semaphore->taken, semaphore->bound, UINT32_MAX,
                                 &semaphore->changer};
    int r = -EAGAIN;
    while (r == -EAGAIN && mproc__watch_spin(&watch, spinning, start)) {
        r = try_now(semaphore);
    }
    return r;
}

int mproc_bsemaphore_acquire(mproc_bsemaphore *semaphore, int64_t timeout) {
    static _Thread_local struct mproc__spin spinning = {MPROC__SPIN_FIRST};
    int r = try_now(semaphore);
    if (mproc__likely(r != -EAGAIN)) {
        return r;
    }
    if (timeout == 0) {
        return -ETIMEDOUT;
    }
    int64_t deadline = mproc__deadline(timeout);
    int64_t start = mproc__os_now();
    r = spin(semaphore, &spinning, start);
    if (r == -EAGAIN) {
        r = sleep_slices(semaphore, deadline);
    }
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

/* ---------------------------------------------------------------- releasing and looking */

int mproc_bsemaphore_release(mproc_bsemaphore *semaphore) {
    enter(semaphore);
    struct mproc__entry *e = entry_of(semaphore, mproc__self_token());
    if (e == NULL || e->number == 0) {
        e = debtor(semaphore);
    }
    bool wake = false;
    if (e != NULL) {
        put_down(semaphore, e, e->number - 1);
        wake = call_sleepers(semaphore);
    }
    leave(semaphore);
    if (wake) {
        mproc__os_futex_wake(&semaphore->signal, 1);
    }
    return e != NULL ? 0 : MPROC_ENOTHELD;
}

unsigned mproc_bsemaphore_value(mproc_bsemaphore *semaphore) {
    enter(semaphore);
    bool wake = forgive(semaphore, true) && call_sleepers(semaphore);
    unsigned value = semaphore->bound - semaphore->taken;
    leave(semaphore);
    if (wake) {
        mproc__os_futex_wake(&semaphore->signal, 1);
    }
    return value;
}

unsigned mproc_bsemaphore_bound(const mproc_bsemaphore *semaphore) {
    return semaphore->bound;
}

int mproc_bsemaphore_check(mproc_bsemaphore *semaphore, char *why, size_t size) {
    const struct mproc__object *object = &semaphore->object;
    if (object->magic != MPROC__OBJECT_MAGIC || object->kind != MPROC__KIND_BSEMAPHORE) {
        return mproc__corrupt(why, size, "B: %p is no bounded semaphore", (void *)semaphore);
    }
    int r = 0;
    enter(semaphore);
    if (sum(semaphore) != semaphore->taken || semaphore->taken > semaphore->bound) {
        r = mproc__corrupt(why, size, "B1: %llu taken, %u counted, %u allowed",
                           (unsigned long long)sum(semaphore), semaphore->taken, semaphore->bound);
    }
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    for (struct mproc__entry *e; r == 0 && (e = mproc__ledger_next(&c)) != NULL;) {
        if (e->token == 0 && e->number != 0) {
            r = mproc__corrupt(why, size, "B2: %llu permits of nobody",
                               (unsigned long long)e->number);
        }
    }
    leave(semaphore);
    return r;
}
