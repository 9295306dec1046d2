/*
 * barrier.c - a number of parties that wait for each other, again and again
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The parties come in generations. A party that waits has an entry in a ledger, with
 * the number of its generation, and sleeps on `phase`. The last party to come opens the barrier:
 * one store to `phase` begins the next generation and says how the one before it ended. So a party
 * need not wait until the others have left. A party may be so slow to leave that a second
 * generation comes to its end meanwhile. It finds the end of its own generation in its entry:
 * whoever changes the phase again first writes it there ("settles" it).
 *
 *     phase:  generation << 2 | BROKEN: nobody can wait | FAILED: the one before was broken
 *
 * If there is an action, the last party runs it between its arrival and the opening. Meanwhile that
 * party is the `actor`, and no party leaves.
 *
 * A party may wait with a ticket, and no thread that sleeps: it looks whether the phase has
 * changed, and bells ring when it does.
 *
 * Shared state.
 *   parties  constant.
 *   phase    Written under the mutex. Waiters read it and sleep on its low half without the mutex:
 *            it only grows within their generation and the next, and the settled entry covers the
 *            rest.
 *   ledger   A party that comes sets entry.number (its generation) and then entry.token, under the
 *            mutex. entry.word goes from WAITING to PASSED or FAILING under the mutex; the party
 *            that leaves sets it to 0 and then the token to 0, without the mutex. entry.seen says
 *            when the party was last awake: a hint. GONE: its party, which waited with a ticket,
 *            has left while the action ran; whoever needs room clears the entry once that is over.
 *   arrived  Parties of this generation that wait, the actor included. Written under the mutex; a
 *            reader without it gets a number that was true a moment ago.
 *   given_up 0, or a generation: a party of it has left although it could not have the mutex,
 *            because a stopped thread has it. Set without the mutex, by such a party before it
 *            clears its entry. Whoever has the mutex next breaks the barrier and clears it.
 *   actor    Token of the member whose thread runs the action of generation `acting`.
 *   opener   The party that opened the barrier last: a hint.
 *   bells    As bell.c says.
 *
 * Invariants.
 *   A1  While the mutex is free and given_up is 0, arrived is the number of entries that are
 *       WAITING in this generation, plus one if there is an actor, and at most parties; without an
 *       actor less than parties.
 *   A2  No entry that waits is of a generation yet to come, or older than the one before.
 *
 * If a member dies here. Under the mutex: the next owner counts `arrived` anew. Waiting or acting:
 * the barrier is broken. The other parties find the dead one when a slice ends, or when they try
 * with their tickets. So do those who only ask. The last party to come finds it if its entry has
 * not been touched for longer than a slice. After the phase's store and before the wake-up: a
 * sleeper's slice ends, and a descriptor ticks.
 */
#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/ledger.h"
#include "core/look.h"
#include "core/make.h"
#include "core/wait.h"
#include "source.h"
#include "system/os.h"
#include "ticket.h"

#define FAILED UINT64_C(1)
#define BROKEN UINT64_C(2)
#define GENERATION 2            /* shift */
#define STILL (60 * MPROC_MSEC) /* ns: longer than a slice; a living party touches its entry */
#define GONE UINT64_MAX         /* as `seen` */
#define LOOK_AT 4               /* entries that a sleeper looks at after each slice */
#define GLANCE (5 * MPROC_MSEC) /* for that look, which can be left out */

enum state { WAITING = 1, PASSED = 2, FAILING = 3 };

struct mproc_barrier {
    struct mproc__object object;
    struct mproc__mutex mutex;
    uint64_t phase;
    uint64_t actor;
    uint64_t acting;
    struct mproc__peer opener;
    uint32_t parties;
    uint32_t arrived;
    uint32_t turn; /* which entry to look at next */
    uint32_t bells;
    uint64_t given_up;
    struct mproc__ledger ledger;
};

void mproc__barrier_destroy(struct mproc__hand *hand, void *object) {
    mproc__ledger_destroy(hand, &((mproc_barrier *)object)->ledger);
}

static int fill(struct mproc__hand *hand, void *object, const void *parties) {
    mproc_barrier *barrier = object;
    (void)hand;
    barrier->parties = *(const unsigned *)parties;
    barrier->phase = UINT64_C(1) << GENERATION;
    mproc__peer_init(&barrier->opener);
    return 0;
}

int mproc_barrier_new(mproc_barrier **out, unsigned parties) {
    if (parties == 0) {
        return -EINVAL;
    }
    return mproc__object_build(out, MPROC__KIND_BARRIER, sizeof(mproc_barrier), fill, &parties);
}

static uint64_t generation(uint64_t phase) {
    return phase >> GENERATION;
}

static uint32_t *futex_of(mproc_barrier *barrier) {
    return (uint32_t *)(void *)&barrier->phase; /* little-endian, as mutex.c asserts */
}

/* ---------------------------------------------------------------- under the mutex */

static bool waits(const struct mproc__entry *e, uint64_t of) {
    return mproc__load64(&e->token) != 0 && mproc__load32(&e->word) == WAITING && e->number == of;
}

static bool acts(const mproc_barrier *barrier) {
    return barrier->actor != 0 && barrier->acting == generation(barrier->phase);
}

static uint32_t count(mproc_barrier *barrier) {
    struct mproc__cursor c = mproc__ledger_start(&barrier->ledger);
    uint32_t n = acts(barrier);
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        n += waits(e, generation(barrier->phase));
    }
    return n;
}

static void leave(mproc_barrier *barrier) {
    (void)mproc__mutex_release(&barrier->mutex);
}

static void wake(mproc_barrier *barrier) {
    mproc__os_futex_wake(futex_of(barrier), INT32_MAX);
    mproc__full_fence();
    mproc__bells_ring(&barrier->bells);
}

/* Writes the end of the generation before into the entries of parties that have not left yet. */
static void settle(mproc_barrier *barrier) {
    struct mproc__cursor c = mproc__ledger_start(&barrier->ledger);
    uint64_t before = generation(barrier->phase) - 1;
    uint32_t end = barrier->phase & FAILED ? FAILING : PASSED;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        uint32_t state = WAITING;
        if (waits(e, before)) {
            (void)mproc__cas32(&e->word, &state, end); /* SYNC(party.word) */
        }
    }
}

/* Ends this generation: the commit. `flags` of the phase: how it ended, how the next one begins. */
static void advance(mproc_barrier *barrier, uint64_t flags) {
    settle(barrier);
    mproc__peer_here(&barrier->opener);
    mproc__program_order();
    /* SYNC(barrier.phase): what the parties did, before they pass. */
    mproc__store64(&barrier->phase, (generation(barrier->phase) + 1) << GENERATION | flags);
    mproc__program_order();
    mproc__poke64(&barrier->actor, 0);
    mproc__poke32(&barrier->arrived, 0);
}

/* A party has given up without the mutex. In its generation, or in the next if the barrier has
 * opened meanwhile, that breaks the barrier; the others see it at the end of their slices. An
 * action that runs decides instead, as ever. */
static MPROC__NOINLINE void break_for(mproc_barrier *barrier, uint64_t given_up) {
    uint64_t now = generation(barrier->phase);
    bool late = given_up != now && given_up + 1 != now;
    if (late || acts(barrier) || (barrier->phase & BROKEN)) {
        mproc__poke32(&barrier->arrived, count(barrier));
    } else {
        advance(barrier, FAILED | BROKEN);
    }
    mproc__program_order();
    (void)mproc__cas64(&barrier->given_up, &given_up, 0); /* SYNC(barrier.given_up) */
}

/* False: the mutex is not to be had within that time, because its owner is stopped. */
static bool enter_within(mproc_barrier *barrier, int64_t patience) {
    int r = mproc__mutex_acquire(&barrier->mutex, patience, MPROC__FOR_SECTION, NULL);
    if (r == -ETIMEDOUT) {
        return false;
    }
    if (r == -EOWNERDEAD) {
        mproc__poke32(&barrier->arrived, count(barrier));
    }
    uint64_t given_up = mproc__load64(&barrier->given_up); /* SYNC(barrier.given_up) */
    if (mproc__unlikely(given_up != 0)) {
        break_for(barrier, given_up);
    }
    return true;
}

static void enter(mproc_barrier *barrier) {
    (void)enter_within(barrier, MPROC_FOREVER);
}

/* Is that a dead party of this generation? The system is asked only about a party that has not
 * touched its entry since `before`. */
static bool dead(const mproc_barrier *barrier, struct mproc__entry *e, int64_t before) {
    return waits(e, generation(barrier->phase)) && e->token != mproc__self_token() &&
           (mproc__token_slot(e->token) == NULL ||
            ((int64_t)mproc__peek64(&e->seen) < before && mproc__token_dead(e->token)));
}

static bool any_dead(mproc_barrier *barrier, int64_t now) {
    struct mproc__cursor c = mproc__ledger_start(&barrier->ledger);
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (dead(barrier, e, now - STILL)) {
            return true;
        }
    }
    return false;
}

/* Looks at the actor or, in turn, at some of the parties that wait. */
static bool some_dead(mproc_barrier *barrier) {
    if (acts(barrier)) {
        return barrier->actor != mproc__self_token() && mproc__token_dead(barrier->actor);
    }
    struct mproc__cursor c = mproc__ledger_start(&barrier->ledger);
    uint32_t n = barrier->arrived, i = 0;
    if (n == 0) {
        return false;
    }
    uint32_t first = barrier->turn % n;
    barrier->turn = first + LOOK_AT;
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        if (!waits(e, generation(barrier->phase))) {
            continue;
        }
        if ((i + n - first) % n < LOOK_AT && dead(barrier, e, INT64_MAX)) {
            return true;
        }
        i++;
    }
    return false;
}

/* ---------------------------------------------------------------- coming and going */

static void forget_dead(mproc_barrier *barrier) {
    struct mproc__cursor c = mproc__ledger_start(&barrier->ledger);
    for (struct mproc__entry *e; (e = mproc__ledger_next(&c)) != NULL;) {
        uint64_t token = mproc__load64(&e->token);
        bool gone = mproc__peek64(&e->seen) == GONE;
        if (token != 0 && !waits(e, generation(barrier->phase)) &&
            (gone || (token != mproc__self_token() && mproc__token_dead(token)))) {
            mproc__store64(&e->token, 0);
        }
    }
}

static struct mproc__entry *room(mproc_barrier *barrier) {
    struct mproc__entry *e = mproc__ledger_free(&barrier->ledger);
    if (e == NULL) {
        forget_dead(barrier);
        e = mproc__ledger_free(&barrier->ledger);
    }
    if (e == NULL && mproc__ledger_grow(&barrier->ledger) == 0) {
        e = mproc__ledger_free(&barrier->ledger);
    }
    return e;
}

static void touch(struct mproc__entry *e) {
    mproc__poke64(&e->seen, (uint64_t)mproc__os_now());
}

static int enlist(mproc_barrier *barrier, struct mproc__entry **out) {
    struct mproc__entry *e = room(barrier);
    if (e == NULL) {
        return -ENOMEM;
    }
    e->number = generation(barrier->phase);
    touch(e);
    mproc__store32(&e->word, WAITING);
    mproc__program_order();
    mproc__store64(&e->token, mproc__self_token()); /* from here on it has come */
    mproc__program_order();
    mproc__poke32(&barrier->arrived, barrier->arrived + 1);
    *out = e;
    return 0;
}

/* The last party has come. It opens the barrier or, if there is an action, becomes the actor: 1. */
static int complete(mproc_barrier *barrier, bool action) {
    if (any_dead(barrier, mproc__os_now())) {
        advance(barrier, FAILED | BROKEN);
        return MPROC_EBROKEN;
    }
    if (!action) {
        advance(barrier, 0);
        return 0;
    }
    mproc__poke64(&barrier->actor, mproc__self_token());
    mproc__program_order();
    mproc__poke64(&barrier->acting, generation(barrier->phase));
    mproc__program_order();
    mproc__poke32(&barrier->arrived, barrier->arrived + 1);
    return 1;
}

/* Gives up in that generation, without the mutex. */
static void say_given_up(mproc_barrier *barrier, uint64_t of) {
    mproc__store64(&barrier->given_up, of); /* SYNC(barrier.given_up) */
    mproc__full_fence();
}

/* The caller comes to the barrier. 0: it passed; 1: it is the actor; MPROC_EBROKEN; -ENOMEM.
 * -ETIMEDOUT: the mutex is not to be had. -EAGAIN: its entry *out waits. If that is NULL, all
 * parties have come already and are about to pass: then the caller tries again once the phase has
 * changed. */
static int arrive(mproc_barrier *barrier, bool action, unsigned *index, struct mproc__entry **out,
                  uint64_t *phase, int64_t timeout) {
    int r = -EAGAIN;
    *out = NULL;
    if (!enter_within(barrier, mproc__patience(timeout))) {
        return -ETIMEDOUT;
    }
    *phase = barrier->phase;
    *index = barrier->arrived;
    bool last = barrier->arrived + 1 == barrier->parties;
    if (barrier->phase & BROKEN) {
        r = MPROC_EBROKEN;
    } else if (last) {
        r = complete(barrier, action);
    } else if (barrier->arrived < barrier->parties) {
        int e = enlist(barrier, out);
        r = e == 0 ? -EAGAIN : e;
    }
    leave(barrier);
    if (last && r != 1) {
        wake(barrier);
    }
    return r;
}

/* Leaves after the phase has changed to `phase`: 0 or MPROC_EBROKEN. */
static int depart(struct mproc__entry *e, uint64_t phase) {
    /* SYNC(party.word): how its generation has ended; WAITING: `phase` says it. */
    uint32_t state = mproc__exchange32(&e->word, 0);
    bool failed = state == WAITING ? (phase & FAILED) != 0 : state == FAILING;
    mproc__store64(&e->token, 0); /* SYNC(entry.token) */
    return failed ? MPROC_EBROKEN : 0;
}

/* Takes a party that waits in this generation out of it. */
static void withdraw(mproc_barrier *barrier, struct mproc__entry *e) {
    mproc__store64(&e->token, 0);
    mproc__program_order();
    mproc__poke32(&barrier->arrived, barrier->arrived - 1);
}

/* A waiter whose time has passed gives up without the mutex. If its generation ends at this very
 * moment, the next one is broken for it. */
static int give_up_alone(mproc_barrier *barrier, struct mproc__entry *e, uint64_t mine) {
    say_given_up(barrier, mine);
    (void)depart(e, mproc__load64(&barrier->phase));
    return MPROC_EBROKEN;
}

/* A waiter gives up: -EINTR, or MPROC_EBROKEN when its time has passed. -EAGAIN: it cannot, because
 * the generation is over, or because all parties have come and the action runs, which decides. */
static int give_up(mproc_barrier *barrier, struct mproc__entry *e, uint64_t mine, int why) {
    if (e == NULL) {
        return why == -EINTR ? why : -EAGAIN;
    }
    int r = -EAGAIN;
    if (!enter_within(barrier, MPROC__PATIENCE)) {
        bool over = generation(mproc__load64(&barrier->phase)) != mine;
        return over || why == -EINTR ? -EAGAIN : give_up_alone(barrier, e, mine);
    }
    if (generation(barrier->phase) == mine && !acts(barrier)) {
        r = why == -ETIMEDOUT ? MPROC_EBROKEN : why;
        withdraw(barrier, e);
        if (why == -ETIMEDOUT) {
            advance(barrier, FAILED | BROKEN);
        }
    }
    leave(barrier);
    if (r == MPROC_EBROKEN) {
        wake(barrier);
    }
    return r;
}

/* After a slice: breaks the barrier if it finds a dead party. */
static void look_round(mproc_barrier *barrier, uint64_t mine, int64_t patience) {
    if (!enter_within(barrier, patience)) {
        return;
    }
    bool broken = generation(barrier->phase) == mine && some_dead(barrier);
    if (broken) {
        advance(barrier, FAILED | BROKEN);
    }
    leave(barrier);
    if (broken) {
        wake(barrier);
    }
}

/* A program that only tries, or asks, may be the only one that could find a dead party. */
static void look_seldom(const mproc_barrier *barrier) {
    uint64_t now = generation(mproc__load64(&barrier->phase));
    if (mproc__token_may_ask(barrier)) {
        look_round((mproc_barrier *)(uintptr_t)barrier, now, 0);
    }
}

/* 0: the phase is no longer what it was. */
static int sleep_slices(mproc_barrier *barrier, struct mproc__entry *e, uint64_t phase,
                        int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    uint64_t mine = generation(phase);
    int r = 0, why;
    while (mproc__load64(&barrier->phase) == phase) { /* SYNC(barrier.phase) */
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            why = (int)slice;
            slices = mproc__slices_until(MPROC__NEVER); /* if an action runs, it decides */
        } else {
            why = mproc__os_futex_wait(futex_of(barrier), (uint32_t)phase, slice);
            if (why != 0) { /* after a signal too: signals may come more often than slices end */
                look_round(barrier, mine, GLANCE);
            }
            if (e != NULL) {
                touch(e);
            }
            if (why != -EINTR) {
                continue;
            }
        }
        r = give_up(barrier, e, mine, why);
        if (r != -EAGAIN) {
            return r;
        }
    }
    return 0;
}

static int sleep_noted(mproc_barrier *barrier, struct mproc__entry *e, uint64_t phase,
                       int64_t deadline) {
    struct mproc__hand *noted = mproc__wait_begin(barrier, deadline);
    int r = sleep_slices(barrier, e, phase, deadline);
    mproc__wait_end(noted);
    return r;
}

static int await(mproc_barrier *barrier, struct mproc__entry *e, uint64_t phase, int64_t deadline) {
    static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};
    struct mproc__look watch = {futex_of(barrier), (uint32_t)phase, UINT32_MAX, &barrier->opener};
    int64_t start = mproc__os_now();
    int r = deadline != 0 && mproc__look_spin(&watch, &spinning, start)
                ? 0
                : sleep_noted(barrier, e, phase, deadline);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

static int come(mproc_barrier *barrier, bool action, int64_t timeout, unsigned *index) {
    int64_t deadline = mproc__deadline(timeout);
    unsigned place = 0;
    for (;;) {
        struct mproc__entry *e;
        uint64_t phase;
        int r = arrive(barrier, action, &place, &e, &phase, mproc__until(deadline));
        if (r == -ETIMEDOUT) {
            say_given_up(barrier, generation(mproc__load64(&barrier->phase)));
            return MPROC_EBROKEN;
        }
        if (r == -EAGAIN) {
            r = await(barrier, e, phase, deadline);
            if (r == 0 && e == NULL) {
                continue;
            }
            r = r == 0 ? depart(e, mproc__load64(&barrier->phase)) : r;
        }
        if (r >= 0 && index != NULL) {
            *index = place;
        }
        return r;
    }
}
int mproc_barrier_wait(mproc_barrier *barrier, int64_t timeout, unsigned *index) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return MPROC_EOTHER;
    }
    return come(barrier, false, timeout, index);
}

int mproc_barrier_arrive(mproc_barrier *barrier, int64_t timeout, unsigned *index) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return MPROC_EOTHER;
    }
    return come(barrier, true, timeout, index);
}

/* ---------------------------------------------------------------- waiting without a thread */

bool mproc__barrier_moved(const mproc_barrier *barrier, const mproc_ticket *ticket) {
    return mproc__load64(&barrier->phase) != ticket->phase; /* SYNC(barrier.phase) */
}

/* What arrive() returns; -EAGAIN: the ticket waits. */
static int come_with(mproc_barrier *barrier, mproc_ticket *ticket) {
    struct mproc__entry *e;
    int r = arrive(barrier, ticket->action, &ticket->index, &e, &ticket->phase, MPROC__PATIENCE);
    ticket->entry = (uint64_t)(uintptr_t)e;
    return r;
}

static int ended(mproc_ticket *ticket, int r) {
    if (r != -EAGAIN) {
        ticket->member = 0;
    }
    return r;
}

int mproc_barrier_begin(mproc_barrier *barrier, int action, mproc_ticket *out) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return MPROC_EOTHER;
    }
    *out = (mproc_ticket){0, mproc__self_token(), 0, 0, action != 0};
    return ended(out, come_with(barrier, out));
}

static bool has_moved(mproc_barrier *barrier, const mproc_ticket *ticket) {
    if (!mproc__barrier_moved(barrier, ticket)) {
        look_seldom(barrier);
    }
    return mproc__barrier_moved(barrier, ticket);
}

int mproc_barrier_try(mproc_barrier *barrier, mproc_ticket *ticket) {
    int r = mproc__ticket_door(barrier, MPROC__KIND_BARRIER, ticket);
    if (r != 0) {
        return r;
    }
    if (!has_moved(barrier, ticket)) {
        return -EAGAIN;
    }
    if (ticket->entry == 0) {
        return ended(ticket, come_with(barrier, ticket));
    }
    return ended(ticket, depart(mproc__ticket_entry(ticket), mproc__load64(&barrier->phase)));
}

/* The party leaves: its generation goes on without it, unless all have come. */
static int leave_early(mproc_barrier *barrier, struct mproc__entry *e, uint64_t mine) {
    if (!enter_within(barrier, MPROC__PATIENCE)) {
        bool over = generation(mproc__load64(&barrier->phase)) != mine;
        return over ? depart(e, mproc__load64(&barrier->phase)) : give_up_alone(barrier, e, mine);
    }
    int r = 0;
    if (generation(barrier->phase) != mine) {
        r = depart(e, barrier->phase);
    } else if (acts(barrier)) {
        mproc__poke64(&e->seen, GONE);
    } else {
        withdraw(barrier, e);
        r = -EAGAIN;
    }
    leave(barrier);
    return r;
}

int mproc_barrier_end(mproc_barrier *barrier, mproc_ticket *ticket) {
    int r = mproc__ticket_door(barrier, MPROC__KIND_BARRIER, ticket);
    if (r != 0) {
        return r;
    }
    ticket->member = 0;
    return ticket->entry == 0
               ? -EAGAIN
               : leave_early(barrier, mproc__ticket_entry(ticket), generation(ticket->phase));
}

/* Whoever changes it rings. */
static uint32_t low_phase(const void *object) {
    return (uint32_t)mproc__load64(&((const mproc_barrier *)object)->phase);
}

static void tend(void *object) {
    mproc_barrier *barrier = object;
    look_round(barrier, generation(mproc__load64(&barrier->phase)), GLANCE);
}

struct mproc__source mproc__barrier_source(mproc_barrier *barrier) {
    return (struct mproc__source){barrier, &barrier->bells, NULL, NULL, low_phase, tend};
}

/* ---------------------------------------------------------------- opening, breaking, looking */

int mproc_barrier_open(mproc_barrier *barrier) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return MPROC_EOTHER;
    }
    enter(barrier);
    int r = acts(barrier) && barrier->actor == mproc__self_token() ? 0 : MPROC_EBROKEN;
    if (r == 0) {
        advance(barrier, 0);
    }
    leave(barrier);
    wake(barrier);
    return r;
}

void mproc_barrier_abort(mproc_barrier *barrier) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return;
    }
    enter(barrier);
    if (!(barrier->phase & BROKEN)) {
        advance(barrier, FAILED | BROKEN);
    }
    leave(barrier);
    wake(barrier);
}

void mproc_barrier_reset(mproc_barrier *barrier) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return;
    }
    enter(barrier);
    if (barrier->arrived > 0) {
        advance(barrier, FAILED);
    } else {
        mproc__store64(&barrier->phase, barrier->phase & ~BROKEN);
    }
    leave(barrier);
    wake(barrier);
}

int mproc_barrier_broken(const mproc_barrier *barrier) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return 0;
    }
    look_seldom(barrier);
    return (mproc__load64(&barrier->phase) & BROKEN) != 0;
}

unsigned mproc_barrier_waiting(const mproc_barrier *barrier) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return 0;
    }
    look_seldom(barrier);
    return mproc__peek32(&barrier->arrived);
}

unsigned mproc_barrier_parties(const mproc_barrier *barrier) {
    if (!mproc__expect(barrier, MPROC__KIND_BARRIER)) {
        return 0;
    }
    return barrier->parties;
}

int mproc_barrier_check(mproc_barrier *barrier, char *why, size_t size) {
    if (!mproc__object_is(barrier, MPROC__KIND_BARRIER)) {
        return mproc__corrupt(why, size, "A: %p is no barrier", (void *)barrier);
    }
    int r = 0;
    enter(barrier);
    uint64_t now = generation(barrier->phase);
    if (count(barrier) != barrier->arrived ||
        barrier->arrived + !acts(barrier) > barrier->parties) {
        r = mproc__corrupt(why, size, "A1: %u have come, %u counted, of %u", count(barrier),
                           barrier->arrived, barrier->parties);
    }
    struct mproc__cursor c = mproc__ledger_start(&barrier->ledger);
    for (struct mproc__entry *e; r == 0 && (e = mproc__ledger_next(&c)) != NULL;) {
        if (waits(e, e->number) && e->number != now && e->number != now - 1) {
            r = mproc__corrupt(why, size, "A2: a party waits in generation %llu, this is %llu",
                               (unsigned long long)e->number, (unsigned long long)now);
        }
    }
    leave(barrier);
    return r;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__barrier_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_barrier *barrier = copy;
    if (size < sizeof *barrier) {
        return false;
    }
    out->count = barrier->arrived;
    out->bound = barrier->parties;
    return true;
}
