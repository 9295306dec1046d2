/*
 * bsemaphore.c - the bounded semaphore: it knows which member took its permits
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Most of the time only one member has permits. Then one word says which member and
 * how many, and acquiring and releasing are one compare-and-swap each. When a second member takes a
 * permit, or a thread goes to sleep, the word becomes SHARED. Then each member that has permits has
 * an entry with their number in a ledger under a robust mutex, and the word holds their sum. If a
 * member dies under the mutex, the next owner adds the sum up anew. When the last permit has come
 * back and no thread sleeps, the word alone counts again. So every change is one store, and needs
 * no undo record. A release takes from the caller's own permits or, if it has none, from another
 * member's: permits may be passed on.
 *
 * Shared state.
 *   bound, most  constant.
 *   word     Not SHARED: 0, or the token of the member that has permits and their number; any
 *            thread changes it by compare-and-swap. SHARED: the permits taken; under the mutex. It
 *            becomes SHARED by a compare-and-swap under the mutex, and is changed back by a store
 *            under it.
 *   ledger   entry.number: permits of the member entry.token; under the mutex. Means nothing, and
 *            may be anything, while the word is not SHARED. entry.seen: ns of mproc__os_now(), when
 *            a thread that found no permit saw first that the member has these; 0: none has. A
 *            member that takes a permit clears it before. It is for those who look from outside.
 *   permits  an event count, under the mutex. A sleeper that gets a permit announces those behind
 *            it again, and wakes the next one if there are more permits.
 *   changer  The thread that changed the number last: a hint.
 *
 * Invariants.
 *   B1  At most bound permits are taken; while the mutex is free and the word SHARED, the sum of
 *       the entries' numbers.
 *   B2  An entry with a number has a token.
 *   B3  While the mutex is free and `permits` has sleepers, the word is SHARED.
 *   B4  While the word is SHARED, a member has taken no permit since its entry's `seen`, which is
 *       0 or a time that has been.
 *
 * If a member dies here: see B1. Its permits are given back by the next thread that finds none
 * left.
 */
#include "core/eventcount.h"
#include "core/facts.h"
#include "core/kinds.h"
#include "core/ledger.h"
#include "core/look.h"
#include "core/make.h"
#include "core/trace_ring.h"
#include "core/wait.h"
#include "source.h"
#include "system/os.h"

#define SHARED UINT64_C(0x80000000)
#define ONE                                                                                        \
    UINT64_C(0x10000) /* a permit in a word that is not SHARED; tokens leave these bits free */
#define MOST UINT64_C(0x7fff)

struct mproc_bsemaphore {
    struct mproc__object object;
    _Alignas(MPROC__LINE) uint64_t word;
    struct mproc__mutex mutex;
    uint32_t bound;
    uint32_t most; /* permits that a word which is not SHARED counts */
    struct mproc__eventcount permits;
    struct mproc__peer changer;
    struct mproc__ledger ledger;
};

void mproc__bsemaphore_destroy(struct mproc__hand *hand, void *object) {
    mproc__ledger_destroy(hand, &((mproc_bsemaphore *)object)->ledger);
}

static int fill(struct mproc__hand *hand, void *object, const void *arg) {
    mproc_bsemaphore *semaphore = object;
    unsigned bound = *(const unsigned *)arg;
    (void)hand;
    semaphore->bound = bound;
    semaphore->most = bound < MOST ? bound : (uint32_t)MOST;
    mproc__peer_init(&semaphore->changer);
    return 0;
}

int mproc_bsemaphore_new(mproc_bsemaphore **out, unsigned bound) {
    if (bound > MPROC_SEMAPHORE_MAX) {
        return -EINVAL;
    }
    return mproc__object_build(out, MPROC__KIND_BSEMAPHORE, sizeof(mproc_bsemaphore), fill, &bound);
}

/* ---------------------------------------------------------------- the word */

static uint32_t taken_in(uint64_t word) {
    return (uint32_t)(word & SHARED ? word & (SHARED - 1) : word / ONE & MOST);
}

static uint32_t taken(const mproc_bsemaphore *semaphore) {
    return taken_in(mproc__load64(&semaphore->word));
}

/* The member that has permits, 0: none has. */
static uint64_t token_in(uint64_t word) {
    return word & ~(MOST * ONE);
}

/* 0; -EAGAIN: there is none; -EBUSY: it takes the ledger to know. */
static inline int take_alone(mproc_bsemaphore *semaphore) {
    uint64_t mine = mproc__self_token();
    uint64_t word = mproc__load64(&semaphore->word);
    do {
        bool others = word != 0 && token_in(word) != mine;
        if (mproc__unlikely((word & SHARED) || others || taken_in(word) == semaphore->most)) {
            bool full = !(word & SHARED) && taken_in(word) == semaphore->bound;
            return full && (!others || mproc__token_alive(token_in(word))) ? -EAGAIN : -EBUSY;
        }
        /* SYNC(bsemaphore.word): what was done with a permit, before what is done with it next. */
    } while (!mproc__cas64(&semaphore->word, &word, (word | mine) + ONE));
    return 0;
}

/* As take_alone(); MPROC_ENOTHELD. */
static inline int release_alone(mproc_bsemaphore *semaphore) {
    uint64_t word = mproc__load64(&semaphore->word);
    mproc__peer_here(&semaphore->changer);
    do {
        if (mproc__unlikely(word == 0 || (word & SHARED))) {
            return word == 0 ? MPROC_ENOTHELD : -EBUSY;
        }
        /* SYNC(bsemaphore.word) */
    } while (!mproc__cas64(&semaphore->word, &word, taken_in(word) == 1 ? 0 : word - ONE));
    return 0;
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

/* From the word into the ledger, which counts as soon as the word says so. */
static void share(mproc_bsemaphore *semaphore) {
    uint64_t word = mproc__load64(&semaphore->word);
    while (!(word & SHARED)) {
        struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
        for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
            mproc__poke64(&e->number, 0);
        }
        semaphore->ledger.entries[0].token = token_in(word);
        semaphore->ledger.entries[0].number = taken_in(word);
        mproc__poke64(&semaphore->ledger.entries[0].seen, 0);
        mproc__program_order();
        if (mproc__cas64(&semaphore->word, &word, SHARED | taken_in(word))) {
            return;
        }
    }
}

/* The word is SHARED from here on. False: the mutex is not to be had within that time, because its
 * owner is stopped. */
static bool enter_within(mproc_bsemaphore *semaphore, int64_t patience) {
    int r = mproc__mutex_acquire(&semaphore->mutex, patience, MPROC__FOR_SECTION, NULL);
    if (r == -ETIMEDOUT) {
        return false;
    }
    if (r == -EOWNERDEAD && (mproc__load64(&semaphore->word) & SHARED)) {
        mproc__store64(&semaphore->word, SHARED | sum(semaphore));
    }
    assert(!mproc__eventcount_awaited(&semaphore->permits) ||
           (mproc__load64(&semaphore->word) & SHARED));
    share(semaphore);
    return true;
}

static void enter(mproc_bsemaphore *semaphore) {
    (void)enter_within(semaphore, MPROC_FOREVER);
}

static void leave(mproc_bsemaphore *semaphore) {
    if (mproc__peek64(&semaphore->word) == SHARED &&
        !mproc__eventcount_awaited(&semaphore->permits)) {
        mproc__store64(&semaphore->word, 0);
    }
    (void)mproc__mutex_release(&semaphore->mutex);
}

/* Sets an entry's number: the commit. */
static void put_down(mproc_bsemaphore *semaphore, struct mproc__entry *e, uint64_t number) {
    uint64_t word = mproc__peek64(&semaphore->word) + number - e->number;
    mproc__peer_here(&semaphore->changer);
    mproc__program_order();
    mproc__poke64(&e->number, number);
    mproc__program_order();
    mproc__store64(&semaphore->word, word);
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
static struct mproc__entry *any_holder(mproc_bsemaphore *semaphore) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    struct mproc__entry *e = mproc__ledger_next(&c);
    while (e != NULL && e->number == 0) {
        e = mproc__ledger_next(&c);
    }
    return e;
}

/* Is it an entry with permits whose member may have died? A look at memory. */
static bool is_doubtful(const struct mproc__entry *e) {
    return e->number != 0 && e->token != mproc__self_token() && !mproc__token_alive(e->token);
}

/* Gives the permits of the dead back. `trying`: the system is asked seldom. */
static bool forgive(mproc_bsemaphore *semaphore, bool trying) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    bool found = false, ask = !trying, decided = !trying;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (!is_doubtful(e)) {
            continue;
        }
        ask = decided ? ask : mproc__token_may_ask(semaphore);
        decided = true;
        if (mproc__token_slot(e->token) == NULL || (ask && mproc__token_dead(e->token))) {
            put_down(semaphore, e, 0);
            found = true;
        }
    }
    return found;
}

/* 0; -EAGAIN: there is none; -ENOMEM. */
static int take(mproc_bsemaphore *semaphore) {
    if (taken(semaphore) >= semaphore->bound) {
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
    mproc__poke64(&e->seen, 0);
    mproc__program_order();
    put_down(semaphore, e, e->number + 1);
    return 0;
}

/* A thread that is going to sleep has the time to look at a clock. */
static void note_holders(mproc_bsemaphore *semaphore) {
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (e->number != 0 && e->seen == 0) {
            mproc__poke64(&e->seen, (uint64_t)mproc__os_now());
        }
    }
}

/* True: somebody is to be woken, after leaving. */
static bool call_sleepers(mproc_bsemaphore *semaphore) {
    return mproc__eventcount_call_locked(&semaphore->permits);
}

static void leave_and_wake(mproc_bsemaphore *semaphore, bool wake) {
    leave(semaphore);
    if (wake) {
        mproc__eventcount_wake_called(&semaphore->permits);
    }
}

/* ---------------------------------------------------------------- acquiring */

static MPROC__NOINLINE int try_shared(mproc_bsemaphore *semaphore, int64_t timeout) {
    if (!enter_within(semaphore, mproc__patience(timeout))) {
        return -ETIMEDOUT;
    }
    int r = take(semaphore);
    if (r == -EAGAIN && forgive(semaphore, true)) {
        r = take(semaphore);
    }
    leave(semaphore);
    return r;
}

static int try_now(mproc_bsemaphore *semaphore, int64_t timeout) {
    int r = take_alone(semaphore);
    return mproc__likely(r != -EBUSY) ? r : try_shared(semaphore, timeout);
}

/* A sleeper's look: takes a permit and passes the call on, or says that it will sleep. `woken`: no
 * slice has ended, and where permits come and go none may for long. */
static int look(mproc_bsemaphore *semaphore, bool woken, uint32_t *seen, int64_t deadline) {
    if (!enter_within(semaphore, mproc__patience(mproc__until(deadline)))) {
        return -ETIMEDOUT;
    }
    (void)forgive(semaphore, woken);
    int r = take(semaphore);
    if (r == -EAGAIN) {
        note_holders(semaphore);
    }
    mproc__eventcount_announce_locked(&semaphore->permits);
    bool wake = r == 0 && taken(semaphore) < semaphore->bound && call_sleepers(semaphore);
    *seen = mproc__eventcount_seen_locked(&semaphore->permits);
    leave_and_wake(semaphore, wake);
    return r;
}

static int sleep_slices(mproc_bsemaphore *semaphore, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    int slept = 0;
    for (;;) {
        uint32_t seen;
        int r = look(semaphore, slept == 0, &seen, deadline);
        if (r != -EAGAIN) {
            return r;
        }
        if (slept == -EINTR) { /* after a look: signals may come more often than slices end */
            return -EINTR;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice == -ETIMEDOUT && slept == 0) { /* spinning has taken all the time */
            slept = -ETIMEDOUT;
            continue;
        }
        if (slice < 0) {
            return (int)slice;
        }
        slept = mproc__eventcount_sleep(&semaphore->permits, seen, slice);
    }
}

/* -EAGAIN: it does not pay to look any longer. */
static int spin(mproc_bsemaphore *semaphore, const struct mproc__spin *spinning, int64_t start,
                int64_t timeout) {
    struct mproc__look watch = {(const uint32_t *)(void *)&semaphore->word, 0, UINT32_MAX,
                                &semaphore->changer};
    int r;
    do {
        watch.seen = mproc__load32(watch.word);
        r = try_now(semaphore, timeout);
    } while (r == -EAGAIN && mproc__look_spin(&watch, spinning, start));
    return r;
}

static MPROC__NOINLINE int wait(mproc_bsemaphore *semaphore, int64_t timeout) {
    static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};
    if (timeout == 0) {
        return -ETIMEDOUT;
    }
    int64_t deadline = mproc__deadline(timeout);
    int64_t start = mproc__os_now();
    int r = spin(semaphore, &spinning, start, timeout);
    if (r == -EAGAIN) {
        struct mproc__hand *noted = mproc__wait_begin(semaphore, deadline);
        r = sleep_slices(semaphore, deadline);
        mproc__wait_end(noted);
    }
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

int mproc_bsemaphore_acquire(mproc_bsemaphore *semaphore, int64_t timeout) {
    if (!mproc__expect(semaphore, MPROC__KIND_BSEMAPHORE)) {
        return MPROC_EOTHER;
    }
    int r = try_now(semaphore, timeout);
    r = mproc__likely(r != -EAGAIN) ? r : wait(semaphore, timeout);
    if (mproc__likely(r == 0)) {
        mproc__traced(MPROC__TRACE_ACQUIRE, MPROC__KIND_BSEMAPHORE, semaphore, 0);
    }
    return r;
}

/* ---------------------------------------------------------------- releasing and looking */

static MPROC__NOINLINE int release_shared(mproc_bsemaphore *semaphore) {
    enter(semaphore);
    struct mproc__entry *e = entry_of(semaphore, mproc__self_token());
    if (e == NULL || e->number == 0) {
        e = any_holder(semaphore);
    }
    bool wake = false;
    if (e != NULL) {
        put_down(semaphore, e, e->number - 1);
        wake = call_sleepers(semaphore);
    }
    leave_and_wake(semaphore, wake);
    return e != NULL ? 0 : MPROC_ENOTHELD;
}

int mproc_bsemaphore_release(mproc_bsemaphore *semaphore) {
    if (!mproc__expect(semaphore, MPROC__KIND_BSEMAPHORE)) {
        return MPROC_EOTHER;
    }
    int r = release_alone(semaphore);
    r = mproc__likely(r != -EBUSY) ? r : release_shared(semaphore);
    if (mproc__likely(r == 0)) {
        mproc__traced(MPROC__TRACE_RELEASE, MPROC__KIND_BSEMAPHORE, semaphore, 0);
    }
    return r;
}

static unsigned value_shared(mproc_bsemaphore *semaphore) {
    enter(semaphore);
    bool wake = forgive(semaphore, false) && call_sleepers(semaphore);
    unsigned value = semaphore->bound - taken(semaphore);
    leave_and_wake(semaphore, wake);
    return value;
}

unsigned mproc_bsemaphore_value(mproc_bsemaphore *semaphore) {
    if (!mproc__expect(semaphore, MPROC__KIND_BSEMAPHORE)) {
        return 0;
    }
    uint64_t word = mproc__load64(&semaphore->word);
    bool known = !(word & SHARED) && (word == 0 || mproc__token_alive(token_in(word)));
    return known ? semaphore->bound - taken_in(word) : value_shared(semaphore);
}

unsigned mproc_bsemaphore_bound(const mproc_bsemaphore *semaphore) {
    if (!mproc__expect(semaphore, MPROC__KIND_BSEMAPHORE)) {
        return 0;
    }
    return semaphore->bound;
}

/* ---------------------------------------------------------------- waiting with a descriptor */

/* Asks the system about those that hold permits: this is looked at seldom. */
static bool has_permit(const void *object) {
    return mproc_bsemaphore_value((mproc_bsemaphore *)(uintptr_t)object) > 0;
}

static void announce(void *object) {
    mproc_bsemaphore *semaphore = object;
    enter(semaphore);
    mproc__eventcount_announce_locked(&semaphore->permits);
    leave(semaphore);
}

struct mproc__source mproc__bsemaphore_source(mproc_bsemaphore *semaphore) {
    return (struct mproc__source){semaphore, &semaphore->permits.bells, announce, has_permit, NULL,
                                  NULL};
}

int mproc_bsemaphore_check(mproc_bsemaphore *semaphore, char *why, size_t size) {
    if (!mproc__object_is(semaphore, MPROC__KIND_BSEMAPHORE)) {
        return mproc__corrupt(why, size, "B: %p is no bounded semaphore", (void *)semaphore);
    }
    int r = 0;
    enter(semaphore);
    if (sum(semaphore) != taken(semaphore) || taken(semaphore) > semaphore->bound) {
        r = mproc__corrupt(why, size, "B1: %u taken, %llu counted, %u allowed", taken(semaphore),
                           (unsigned long long)sum(semaphore), semaphore->bound);
    }
    struct mproc__cursor c = mproc__ledger_start(&semaphore->ledger);
    for (struct mproc__entry *e; r == 0 && (e = mproc__ledger_next(&c)) != NULL;) {
        if (e->token == 0 && e->number != 0) {
            r = mproc__corrupt(why, size, "B2: %llu permits of nobody",
                               (unsigned long long)e->number);
        } else if (e->number != 0 && !mproc__mutex_since_is_past(&e->seen)) {
            r = mproc__corrupt(why, size, "B4: permits that were seen at a time to come");
        }
    }
    leave(semaphore);
    return r;
}

/* ---------------------------------------------------------------- from outside */

static void facts_of_ledger(const struct mproc__ledger *ledger, struct mproc__facts *out) {
    static_assert(MPROC__FACTS_TAKERS == MPROC__LEDGER_PAGE, "a page of the ledger");
    for (unsigned i = 0; i < MPROC__LEDGER_PAGE; i++) {
        out->takers[i].token = ledger->entries[i].number != 0 ? ledger->entries[i].token : 0;
        out->takers[i].permits = ledger->entries[i].number;
        out->takers[i].since = ledger->entries[i].seen;
    }
}

bool mproc__bsemaphore_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_bsemaphore *semaphore = copy;
    if (size < sizeof *semaphore) {
        return false;
    }
    uint32_t gone = taken_in(semaphore->word);
    out->bound = out->count = semaphore->bound;
    if (semaphore->word & SHARED) {
        facts_of_ledger(&semaphore->ledger, out);
        out->more = mproc__bsemaphore_page_facts(&semaphore->ledger, out);
    } else if (gone != 0) {
        out->takers[0].token = token_in(semaphore->word);
        out->takers[0].permits = gone;
        out->count -= gone < out->count ? gone : out->count;
    }
    return true;
}

/* The entries count (B1). The sum in the word is another one while a member changes both, and stays
 * so when it dies there. */
uint64_t mproc__bsemaphore_page_facts(const struct mproc__ledger *copy, struct mproc__facts *out) {
    for (unsigned i = 0; i < MPROC__LEDGER_PAGE; i++) {
        uint64_t permits = copy->entries[i].number;
        out->count -= permits < out->count ? permits : out->count;
    }
    return copy->next;
}
