/*
 * condition.c - waiting, with a lock released meanwhile, until somebody notifies
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each waiter has an entry in a ledger, with a word of its own to sleep on and a
 * number that tells which waiter came first. notify marks the first waiters and wakes them; a
 * marked waiter leaves by itself. A waiter that gives up (time, signal) takes its lock again before
 * it leaves. So no thread that notifies under the lock can fall between, and if one did so in time
 * the wait has succeeded after all.
 *
 *     free --wait--> WAITING --before sleeping--> ASLEEP --notify--> NOTIFIED --its own--> free
 *      |                             |                                  |
 *      |                             +--time is over, the mutex's owner stopped--> LEFT
 *      +-----begin------------> WATCHED ----------------notify----------+
 *
 * A waiter may do without a thread that sleeps: its entry is WATCHED, and a ticket says which it
 * is. Then `told` grows with the notification, and bells ring.
 *
 * Shared state.
 *   ledger   The waiter sets entry.token and entry.number under the mutex. Once NOTIFIED it sets
 *            the token to 0 without the mutex, because no other thread changes such an entry while
 *            it lives; otherwise under it. The waiter turns entry.word from WAITING to ASLEEP; it
 *            turns to NOTIFIED under the mutex. The waiter reads its word without the mutex, and
 *            sleeps on it. A waiter that cannot have the mutex in the end turns its word to LEFT;
 *            whoever has the mutex next forgets the entry.
 *   waiting  How many entries wait. Written under the mutex. notify reads it without: the program's
 *            lock orders that look behind every wait that the notification is for.
 *   order    The last number given; under the mutex.
 *   told     Grows with each notification of a WATCHED entry, and when an owner of the mutex has
 *            died that may have made one. Written under the mutex, read without.
 *   bells    As bell.c says.
 *   notifier The thread that notified last: a hint.
 *
 * Invariants.
 *   C1  While the mutex is free, waiting is the number of entries with a token whose word is
 *       WAITING, ASLEEP, WATCHED or LEFT.
 *   C2  An entry with a token has one of the five states.
 *
 * If a member dies here. Under the mutex: the next owner counts `waiting` anew. A dead waiter is
 * forgotten by the first thread that comes across it. If it was NOTIFIED and had not left yet, the
 * notification goes on to another waiter: sleepers look for such entries after each slice, and
 * those that wait with a ticket when they ask, or when their descriptor ticks. A member that dies
 * between its notification and its ring: `told` has grown by then, or grows when that tick takes
 * the mutex. The lock that a dead one waited with is repaired by its next owner, as any lock.
 */
#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/ledger.h"
#include "core/look.h"
#include "core/make.h"
#include "core/wait.h"
#include "lock.h"
#include "source.h"
#include "system/os.h"
#include "ticket.h"

#define BATCH 32 /* sleepers woken for each time that the mutex is taken */

#define GLANCE (5 * MPROC_MSEC) /* for a look at the others, which can be left out */

enum state { WAITING = 1, ASLEEP = 2, NOTIFIED = 3, LEFT = 4, WATCHED = 5 };

struct mproc_condition {
    struct mproc__object object;
    _Alignas(MPROC__LINE) struct mproc__mutex mutex;
    uint64_t order;
    uint32_t waiting;
    uint32_t bells;
    uint32_t told;
    uint32_t pad;
    struct mproc__peer notifier;
    struct mproc__ledger ledger;
};

void mproc__condition_destroy(struct mproc__hand *hand, void *object) {
    mproc__ledger_destroy(hand, &((mproc_condition *)object)->ledger);
}

static int fill(struct mproc__hand *hand, void *object, const void *unused) {
    mproc_condition *condition = object;
    (void)hand, (void)unused;
    mproc__peer_init(&condition->notifier);
    return 0;
}

int mproc_condition_new(mproc_condition **out) {
    return mproc__object_build(out, MPROC__KIND_CONDITION, sizeof(mproc_condition), fill, NULL);
}

/* ---------------------------------------------------------------- under the mutex */

static bool counts(const struct mproc__entry *e) {
    uint32_t state = mproc__load32(&e->word);
    return mproc__load64(&e->token) != 0 && state != 0 && state != NOTIFIED;
}

static bool has_left(const struct mproc__entry *e) {
    return mproc__load64(&e->token) != 0 && mproc__load32(&e->word) == LEFT;
}

static uint32_t count(mproc_condition *condition) {
    struct mproc__cursor c = mproc__ledger_start(&condition->ledger);
    uint32_t n = 0;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        n += counts(e);
    }
    return n;
}

/* False: the mutex is not to be had within that time, because its owner is stopped. */
static bool enter_within(mproc_condition *condition, int64_t patience) {
    int r = mproc__mutex_acquire(&condition->mutex, patience, MPROC__FOR_SECTION, NULL);
    if (r == -EOWNERDEAD) {
        mproc__poke32(&condition->waiting, count(condition));
        mproc__poke32(&condition->told, condition->told + 1);
    }
    return r != -ETIMEDOUT;
}

static void enter(mproc_condition *condition) {
    (void)enter_within(condition, MPROC_FOREVER);
}

static void leave(mproc_condition *condition) {
    (void)mproc__mutex_release(&condition->mutex);
}

/* Takes a waiter out of the ledger. */
static void forget(mproc_condition *condition, struct mproc__entry *e) {
    mproc__store64(&e->token, 0);
    mproc__program_order();
    mproc__poke32(&condition->waiting, condition->waiting - 1);
}

/* The waiter that came first and is not known to be dead, or NULL. */
static struct mproc__entry *first(mproc_condition *condition) {
    struct mproc__cursor c = mproc__ledger_start(&condition->ledger);
    struct mproc__entry *oldest = NULL;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (!counts(e)) {
            continue;
        }
        if (has_left(e) || mproc__token_slot(e->token) == NULL) {
            forget(condition, e);
        } else if (oldest == NULL || e->number < oldest->number) {
            oldest = e;
        }
    }
    return oldest;
}

/* What the waiter was. ASLEEP: the caller wakes it. LEFT: it is not notified. */
static uint32_t notify(mproc_condition *condition, struct mproc__entry *e) {
    uint32_t state = mproc__load32(&e->word);
    /* SYNC(waiter.word): the notification, before the entry is given back. */
    while (state != LEFT && !mproc__cas32(&e->word, &state, NOTIFIED)) {
    }
    if (state == LEFT) {
        forget(condition, e);
        return LEFT;
    }
    mproc__program_order();
    mproc__poke32(&condition->waiting, condition->waiting - 1);
    if (state == WATCHED) {
        mproc__poke32(&condition->told, condition->told + 1);
    }
    return state;
}

/* Notifies up to n waiters. Those that the caller has to wake go to `asleep`, which has room for
 * n. */
static unsigned notify_some(mproc_condition *condition, unsigned n, struct mproc__entry **asleep) {
    unsigned sleepers = 0;
    struct mproc__entry *e;
    while (n > 0 && (e = first(condition)) != NULL) {
        uint32_t state = notify(condition, e);
        if (state == ASLEEP) {
            asleep[sleepers++] = e;
        }
        n -= state != LEFT;
    }
    return sleepers;
}

/* Rings if some were notified that wait with a descriptor. */
static void ring(mproc_condition *condition, uint32_t told) {
    if (mproc__unlikely(told != mproc__peek32(&condition->told))) {
        mproc__full_fence();
        mproc__bells_ring(&condition->bells);
    }
}

/* Forgets waiters that have left, and dead ones: those that were notified and, if `all`, those that
 * wait. */
static void audit(mproc_condition *condition, bool all) {
    struct mproc__cursor c = mproc__ledger_start(&condition->ledger);
    uint32_t told = condition->told;
    struct mproc__entry *next;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        uint64_t token = mproc__load64(&e->token);
        bool notified = mproc__load32(&e->word) == NOTIFIED;
        if (has_left(e)) {
            forget(condition, e);
            continue;
        }
        if (token == 0 || token == mproc__self_token() || !(notified || all) ||
            !mproc__token_dead(token)) {
            continue;
        }
        if (!notified) {
            forget(condition, e);
            continue;
        }
        if (notify_some(condition, 1, &next) == 1) {
            mproc__os_futex_wake(&next->word, 1);
        }
        mproc__store64(&e->token, 0);
    }
    ring(condition, told);
}

/* ---------------------------------------------------------------- waiting */

static struct mproc__entry *room(mproc_condition *condition) {
    struct mproc__entry *e = mproc__ledger_free(&condition->ledger);
    if (e == NULL) {
        audit(condition, true);
        e = mproc__ledger_free(&condition->ledger);
    }
    if (e == NULL && mproc__ledger_grow(&condition->ledger) == 0) {
        e = mproc__ledger_free(&condition->ledger);
    }
    return e;
}

/* 0; -ENOMEM; -ETIMEDOUT: the mutex is not to be had. */
static int enlist(mproc_condition *condition, int64_t timeout, enum state how,
                  struct mproc__entry **out) {
    if (!enter_within(condition, mproc__patience(timeout))) {
        return -ETIMEDOUT;
    }
    struct mproc__entry *e = room(condition);
    if (e != NULL) {
        e->number = ++condition->order;
        mproc__store32(&e->word, how);
        mproc__program_order();
        mproc__store64(&e->token, mproc__self_token());
        mproc__program_order();
        mproc__poke32(&condition->waiting, condition->waiting + 1);
    }
    leave(condition);
    *out = e;
    return e != NULL ? 0 : -ENOMEM;
}

/* Under the mutex. True: it was notified. */
static bool withdraw(mproc_condition *condition, struct mproc__entry *e) {
    bool notified = mproc__load32(&e->word) == NOTIFIED;
    if (!notified) {
        forget(condition, e);
    }
    return notified;
}

/* Without it. From here on the entry is not the waiter's, unless it was notified: true. */
static bool abandon(struct mproc__entry *e) {
    uint32_t state = mproc__load32(&e->word);
    while (state != NOTIFIED && !mproc__cas32(&e->word, &state, LEFT)) { /* SYNC(waiter.word) */
    }
    return state == NOTIFIED;
}

/* True: it was notified. */
static bool delist(mproc_condition *condition, struct mproc__entry *e) {
    bool notified = mproc__load32(&e->word) == NOTIFIED; /* SYNC(waiter.word) */
    if (!notified && enter_within(condition, MPROC__PATIENCE)) {
        notified = withdraw(condition, e);
        leave(condition);
    } else if (!notified) {
        notified = abandon(e);
    }
    if (notified) {
        mproc__store64(&e->token, 0); /* SYNC(entry.token) */
    }
    return notified;
}

static void audit_within(mproc_condition *condition, int64_t patience) {
    if (enter_within(condition, patience)) {
        audit(condition, false);
        leave(condition);
    }
}

static int sleep_slices(mproc_condition *condition, struct mproc__entry *e, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    uint32_t state = WAITING;
    (void)mproc__cas32(&e->word, &state, ASLEEP);
    while (mproc__load32(&e->word) != NOTIFIED) {
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        int r = mproc__os_futex_wait(&e->word, ASLEEP, slice);
        if (r != 0) { /* after a signal too: signals may come more often than slices end */
            audit_within(condition, GLANCE);
        }
        if (r == -EINTR) {
            return -EINTR;
        }
    }
    return 0;
}

static int sleep_noted(mproc_condition *condition, struct mproc__entry *e, int64_t deadline) {
    struct mproc__hand *noted = mproc__wait_begin(condition, deadline);
    int r = sleep_slices(condition, e, deadline);
    mproc__wait_end(noted);
    return r;
}

static int await(mproc_condition *condition, struct mproc__entry *e, int64_t timeout) {
    static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};
    if (timeout == 0) {
        return -ETIMEDOUT;
    }
    int64_t deadline = mproc__deadline(timeout);
    int64_t start = mproc__os_now();
    struct mproc__look watch = {&e->word, WAITING, UINT32_MAX, &condition->notifier};
    int r = mproc__look_spin(&watch, &spinning, start) ? 0 : sleep_noted(condition, e, deadline);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

static int release_all(void *lock, uint32_t *depth) {
    if (mproc__object_is(lock, MPROC__KIND_LOCK)) {
        return mproc__lock_release_all(lock, depth);
    }
    return mproc__object_is(lock, MPROC__KIND_RLOCK) ? mproc__rlock_release_all(lock, depth)
                                                     : MPROC_EOTHER;
}

static int reacquire(void *lock, uint32_t depth) {
    return ((struct mproc__object *)lock)->kind == MPROC__KIND_LOCK
               ? mproc__lock_reacquire(lock, depth)
               : mproc__rlock_reacquire(lock, depth);
}

int mproc_condition_wait(mproc_condition *condition, void *lock, int64_t timeout) {
    if (!mproc__expect(condition, MPROC__KIND_CONDITION)) {
        return MPROC_EOTHER;
    }
    struct mproc__entry *e;
    int r = enlist(condition, timeout, WAITING, &e);
    if (r != 0) {
        return r;
    }
    uint32_t depth;
    r = release_all(lock, &depth);
    if (r != 0) {
        (void)delist(condition, e);
        return r;
    }
    r = await(condition, e, timeout);
    int acquired = reacquire(lock, depth);
    bool notified = delist(condition, e);
    return acquired != 0 ? acquired : notified ? 0 : r;
}

/* ---------------------------------------------------------------- waiting without a thread */

int mproc_condition_begin(mproc_condition *condition, mproc_ticket *out) {
    if (!mproc__expect(condition, MPROC__KIND_CONDITION)) {
        return MPROC_EOTHER;
    }
    struct mproc__entry *e;
    int r = enlist(condition, MPROC__PATIENCE, WATCHED, &e);
    if (r == 0) {
        *out = (mproc_ticket){(uint64_t)(uintptr_t)e, mproc__self_token(), 0, 0, 0};
    }
    return r;
}

static bool is_notified(const mproc_ticket *ticket) {
    return mproc__load32(&mproc__ticket_entry(ticket)->word) == NOTIFIED; /* SYNC(waiter.word) */
}

/* A program that only asks may be the only one that could find a dead waiter's notification. */
int mproc_condition_notified(const mproc_condition *condition, const mproc_ticket *ticket) {
    int r = mproc__ticket_door(condition, MPROC__KIND_CONDITION, ticket);
    if (r != 0) {
        return r;
    }
    if (!is_notified(ticket) && mproc__token_may_ask(condition)) {
        audit_within((mproc_condition *)(uintptr_t)condition, 0);
    }
    return is_notified(ticket);
}

int mproc_condition_end(mproc_condition *condition, mproc_ticket *ticket) {
    int r = mproc__ticket_door(condition, MPROC__KIND_CONDITION, ticket);
    if (r != 0) {
        return r;
    }
    r = delist(condition, mproc__ticket_entry(ticket)) ? 0 : -ETIMEDOUT;
    *ticket = (mproc_ticket){0};
    return r;
}

/* Notifications are each for one waiter, who looks at its own ticket; whoever notifies a WATCHED
 * entry rings. */
static uint32_t times_told(const void *object) {
    return mproc__peek32(&((const mproc_condition *)object)->told);
}

static void tend(void *object) {
    audit_within(object, GLANCE);
}

struct mproc__source mproc__condition_source(mproc_condition *condition) {
    return (struct mproc__source){condition, &condition->bells, NULL, NULL, times_told, tend};
}

/* ---------------------------------------------------------------- notifying and looking */

void mproc_condition_notify(mproc_condition *condition, unsigned n) {
    if (!mproc__expect(condition, MPROC__KIND_CONDITION)) {
        return;
    }
    struct mproc__entry *asleep[BATCH];
    mproc__peer_here(&condition->notifier);
    while (n > 0 && mproc__peek32(&condition->waiting) != 0) { /* the user's lock orders it */
        unsigned some = n < BATCH ? n : BATCH;
        enter(condition);
        uint32_t told = condition->told;
        unsigned sleepers = notify_some(condition, some, asleep);
        leave(condition);
        ring(condition, told);
        for (unsigned i = 0; i < sleepers; i++) {
            mproc__os_futex_wake(&asleep[i]->word, 1);
        }
        n -= some;
    }
}

void mproc_condition_notify_all(mproc_condition *condition) {
    mproc_condition_notify(condition, UINT32_MAX);
}

unsigned mproc_condition_waiting(mproc_condition *condition) {
    if (!mproc__expect(condition, MPROC__KIND_CONDITION)) {
        return 0;
    }
    enter(condition);
    audit(condition, true);
    unsigned n = condition->waiting;
    leave(condition);
    return n;
}

int mproc_condition_check(mproc_condition *condition, char *why, size_t size) {
    if (!mproc__object_is(condition, MPROC__KIND_CONDITION)) {
        return mproc__corrupt(why, size, "C: %p is no condition", (void *)condition);
    }
    int r = 0;
    enter(condition);
    if (count(condition) != condition->waiting) {
        r = mproc__corrupt(why, size, "C1: %u wait, %u counted", count(condition),
                           condition->waiting);
    }
    struct mproc__cursor c = mproc__ledger_start(&condition->ledger);
    for (struct mproc__entry *e; r == 0 && (e = mproc__ledger_next(&c)) != NULL;) {
        uint32_t state = mproc__load32(&e->word);
        if (mproc__load64(&e->token) != 0 && (state < WAITING || state > WATCHED)) {
            r = mproc__corrupt(why, size, "C2: an entry in state %u", state);
        }
    }
    leave(condition);
    return r;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__condition_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_condition *condition = copy;
    if (size < sizeof *condition) {
        return false;
    }
    out->count = condition->waiting;
    return true;
}
