/*
 * mutex.c - a robust mutex: one 64-bit word in the arena
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The word is 0 or names its owner; the kernel's futex sleeps on its low half.
 * Acquiring is one compare-and-swap, releasing one exchange. A waiter first spins: briefly, only
 * while the owner was last seen on another CPU, and for as long as spinning paid lately. For a
 * user's lock it makes REST and more pauses between two looks, which leaves the cache line to the
 * owner. Then the waiter marks the word and sleeps, in slices. After each slice it looks whether
 * the owner still lives.
 *
 * A user's lock is fair in the long run. (The library's own sections are too short for that to
 * pay.) Normally the first thread that tries gets the lock, which is what makes it fast: a sleeper
 * that is woken needs 5 to 20 us to come, and another thread may have had the lock a hundred times
 * meanwhile. But a sleeper that has waited for STARVING says so in the word. The next release then
 * keeps the mutex for the sleepers that starve, and wakes one of them: no other thread gets it
 * before. When no such sleeper is there any more, the release frees the mutex after all. So from
 * its first look past STARVING on, a waiter loses only to others that starve as well. A thread that
 * got the mutex begins anew, so each waiter costs at most one hand-over in each such span.
 *
 *     free --cas--> owned --release--> free
 *                     |
 *                     +--release, a sleeper starves--> kept --by one that starves--> owned
 *
 * Shared state.
 *   word   Any thread that acquires, releases or marks it changes it by an atomic
 *          read-modify-write. An owner that holds it briefly releases it by a store. While it is
 *          kept, its high half is the time at which that began, in ms. A look without the mutex is
 *          safe: every decision that follows from one is a compare-and-swap against what was seen.
 *   since  Of a user's lock: ns of mproc__os_now(). It is only raised, by compare-and-swap, and
 *          only by threads that wait or have waited. The library itself never reads it: it is for
 *          those who look from outside. Who gets the mutex at once writes nothing, and need not: a
 *          mutex that nobody had to wait for has no mark, and `since` does not count then.
 *
 * Invariants.
 *   M1  The low 16 bits are 0 exactly when nobody owns it; then the whole low half is 0 or KEPT.
 *   M2  While a thread sleeps on it, bit 31 is set, or another thread is about to wake a sleeper,
 *       or died before it did: then the slice ends that last sleep.
 *   M3  While it is kept, a sleeper that starves was woken and is on its way, or another thread is
 *       about to wake it or to free the mutex, or one of these died. In the last case a sleeper
 *       takes it when its slice ends, because it has waited long enough then, and any other thread
 *       after KEEP.
 *   M4  A word that says BRIEF is never marked, and changed by nobody but its owner while that
 *       lives.
 *   M5  While a user's lock is owned and bit 31 is set, it has been owned since `since`, or
 *       earlier: the mark and the owner go together. Who sets the mark has raised `since` before,
 *       to the present. (If it has no CPU in between, and the same thread has released and acquired
 *       the mutex meanwhile, `since` is too early by that time.)
 *
 * If a member dies here.
 *   Before its compare-and-swap: nothing has happened. As owner: the next waiter finds the token
 *   dead and swaps its own in; one of several waiters wins. Between release and wake: M2, M3.
 *   A thread that ends as owner of a user's lock is noticed in the same way, by the holder's word.
 */
#include "core/mutex.h"

#include "core/spin.h"
#include "core/wait.h"
#include "system/atomic.h"
#include "system/os.h"

#define WAITERS MPROC__MUTEX_WAITERS
#define STARVED MPROC__MUTEX_STARVED
#define BRIEF MPROC__MUTEX_BRIEF
#define KEPT (WAITERS | STARVED) /* and no owner */
#define CPU_MASK MPROC__MUTEX_CPU
#define LOW UINT64_C(0xffffffff)
#define STARVING MPROC_MSEC /* a hand-over costs some 15 us: once in that time they are cheap */
#define STALLED (10 * MPROC_MSEC) /* a thousand sections */
#define KEEP 10                   /* ms: a woken sleeper that lives has come by then */
#define GUARD_SLICE MPROC_MSEC    /* an owner in a section that long is dead, or has no CPU */
#define REST 32                   /* pauses, 1 us: time for a dozen sections */
#define REST_MOST 256             /* 6 us: still little beside a sleep */
#define CLOCK 16                  /* pauses: a look at the clock costs about one */

/* Classes of sleepers. */
enum { PATIENT = 1, STARVES = 2 };

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the futex is the word's low half");

static uint32_t *futex_of(struct mproc__mutex *mutex) {
    return (uint32_t *)(void *)&mutex->word;
}

static uint64_t token_of(uint64_t word) {
    return mproc__mutex_token(word);
}

static bool is_kept(uint64_t word) {
    return (word & LOW) == KEPT;
}

static uint64_t now_ms(void) {
    return (uint64_t)(mproc__os_now() / MPROC_MSEC) & LOW;
}

/* Kept for so long that the sleeper it is for must be dead. */
static bool kept_in_vain(uint64_t word) {
    return is_kept(word) && ((now_ms() - (word >> 32)) & LOW) >= KEEP;
}

static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};

/* While this thread spins, an owner on the same CPU cannot run. If the owner is this very member,
 * the lock may be a signal, which another member will release: lock.c may know from where. A mutex
 * that is kept has no owner: its next one is being woken, and spinning does not speed that up. */
static bool spinning_may_pay(uint64_t word, uint64_t mine) {
    return !is_kept(word) && (word == 0 || (word & CPU_MASK) != (mine & CPU_MASK) ||
                              token_of(word) == token_of(mine));
}

/* Pauses until the next look. Each look takes the cache line from the owner, whose next step then
 * waits for it: two threads that want a lock again and again would fetch the line with every
 * section. A waiter that looks seldom, and ever less often, lets the owner have dozens of sections
 * in a row. That pays most on CPUs that are far from each other. It is useless where the owner will
 * not want the lock again at once: when the lock is a signal, after notify(), and in a section of
 * the library. */
static unsigned pauses_to_look(uint64_t word, uint64_t mine, enum mproc__mutex_for whom,
                               unsigned *rest) {
    if (whom != MPROC__FOR_USER || token_of(word) == token_of(mine)) {
        return 1;
    }
    unsigned pauses = *rest;
    *rest = pauses < REST_MOST ? 2 * pauses : pauses;
    return pauses;
}

static bool spin(struct mproc__mutex *mutex, uint64_t mine, int64_t start,
                 enum mproc__mutex_for whom) {
    int64_t end = start + mproc__spin_budget(&spinning);
    unsigned since = 0; /* pauses since the last look at the clock */
    unsigned rest = REST;
    for (;;) {
        uint64_t word = mproc__peek64(&mutex->word);
        if (word == 0 && mproc__cas64(&mutex->word, &word, mine)) { /* SYNC(mutex.word) */
            return true;
        }
        unsigned pauses = pauses_to_look(word, mine, whom, &rest);
        if (!spinning_may_pay(word, mine) || (since >= CLOCK && mproc__os_now() >= end)) {
            return false;
        }
        since = since >= CLOCK ? pauses : since + pauses;
        while (pauses-- > 0) {
            mproc__pause();
        }
    }
}

/* M5. */
static void raise_since(uint64_t *since, int64_t now) {
    uint64_t was = mproc__peek64(since);
    while (was < (uint64_t)now && !mproc__cas64(since, &was, (uint64_t)now)) {
    }
}

bool mproc__mutex_since_is_past(const uint64_t *since) {
    uint64_t at = mproc__peek64(since);
    return at <= (uint64_t)mproc__os_now();
}

/* The caller has seen that the mutex is owned, or that it is free, and is about to change that. */
static void note_held(const struct mproc__holder *holder) {
    if (holder != NULL) {
        raise_since(holder->since, mproc__os_now());
    }
}

/* Makes sure that the owner will wake a sleeper, in the end the caller. An owner that holds it
 * briefly is about to leave anyway. False: the word has changed. */
static bool announce(struct mproc__mutex *mutex, uint64_t *word, bool starving) {
    if (*word & BRIEF) {
        return true;
    }
    uint64_t marked = *word | WAITERS | (starving ? STARVED : 0);
    if (marked != *word && !mproc__cas64(&mutex->word, word, marked)) {
        return false;
    }
    *word = marked;
    return true;
}

void mproc__mutex_mark(struct mproc__mutex *mutex, uint64_t *since) {
    uint64_t word = mproc__load64(&mutex->word);
    do {
        if (word != 0 && (word & WAITERS) == 0) {
            raise_since(since, mproc__os_now());
        }
    } while (word != 0 && !announce(mutex, &word, false));
    mproc__full_fence();
}

/* Its thread has ended, and its process has not: takes the mutex from them. First the holder's
 * word, by which one of several waiters wins; if that one dies now, the word names its thread,
 * which has ended, too. Then the mutex. A lock that any thread may release can be released
 * meanwhile, and even be taken by another thread of that process: that one gets it back. */
static bool take_from_ended(struct mproc__mutex *mutex, uint64_t *word, uint64_t mine,
                            struct mproc__holder *holder) {
    uint64_t owner = token_of(*word), self = mproc__self_thread();
    uint64_t thread = mproc__load64(holder->word);
    if (thread == 0 || !mproc__thread_ended(owner, thread)) {
        return false;
    }
    uint64_t expected = thread;
    if (!mproc__cas64(holder->word, &expected, self)) {
        return false;
    }
    note_held(holder);
    uint64_t before = *word;
    while (!mproc__cas64(&mutex->word, &before, mine | WAITERS)) {
        if (token_of(before) != owner) {
            return false;
        }
    }
    if (mproc__load64(holder->word) != self) {
        uint64_t taken = mine | WAITERS;
        (void)mproc__cas64(&mutex->word, &taken, before);
        return false;
    }
    *word = before;
    holder->gone = thread;
    return true;
}

/* True: acquired from a dead owner, or from one whose thread has ended. *word names it. */
static bool take_from_dead(struct mproc__mutex *mutex, uint64_t *word, uint64_t mine,
                           struct mproc__holder *holder) {
    uint64_t owner = token_of(*word);
    if (owner == 0) {
        return false;
    }
    if (mproc__token_dead(owner)) {
        note_held(holder);
        return mproc__cas64(&mutex->word, word, mine | WAITERS);
    }
    return holder != NULL && holder->word != NULL && take_from_ended(mutex, word, mine, holder);
}

static int (*stall_leave)(void);
static void (*stall_back)(void);

void mproc_stall_hook(int (*leave)(void), void (*back)(void)) {
    stall_back = back;
    stall_leave = leave;
}

/* A section is left within microseconds, unless its owner does not run: a runtime may want its own
 * lock for others meanwhile. It has that lock again before the mutex is looked at: whoever has the
 * mutex never waits for the runtime's. */
static int sleep_once(struct mproc__mutex *mutex, uint64_t word, int64_t slice, uint32_t class,
                      bool stalled) {
    bool left = stalled && stall_leave != NULL && stall_leave() != 0;
    int r = mproc__os_futex_wait_as(futex_of(mutex), (uint32_t)word, slice, class);
    if (left) {
        stall_back();
    }
    return r;
}

/* One round of waiting: 0: look again; 1: acquired from a dead owner (*word names it); or an
 * error. */
static int wait_slice(struct mproc__mutex *mutex, uint64_t *word, uint64_t mine,
                      struct mproc__slices *slices, bool starving, bool stalled,
                      enum mproc__mutex_for whom, struct mproc__holder *holder) {
    bool of_user = whom == MPROC__FOR_USER;
    int64_t slice = of_user ? mproc__user_slice(slices) : mproc__slice(slices);
    if (slice < 0) { /* spinning may have taken all the time: nobody has asked yet */
        int end = of_user ? (int)slice : -ETIMEDOUT;
        return end == -ETIMEDOUT && take_from_dead(mutex, word, mine, holder) ? 1 : end;
    }
    if ((*word & BRIEF) && slice > GUARD_SLICE) {
        slice = GUARD_SLICE;
    }
    int r = sleep_once(mutex, *word, slice, starving ? STARVES : PATIENT, stalled);
    /* Asked after a signal, too: signals may come so often that no slice ever ends by itself. */
    if (r != 0 && take_from_dead(mutex, word, mine, holder)) {
        return 1;
    }
    return of_user && r == -EINTR ? -EINTR : 0;
}

static int owner_died(uint64_t word, uint64_t *dead) {
    if (dead != NULL) {
        *dead = token_of(word);
    }
    return -EOWNERDEAD;
}

/* A try must be cheap: the system is asked only if the life word does not tell, and seldom. */
static bool has_died(uint64_t owner, const struct mproc__mutex *mutex) {
    return !mproc__token_alive(owner) &&
           (mproc__token_slot(owner) == NULL ||
            (mproc__token_may_ask(mutex) && mproc__token_dead(owner)));
}

uint64_t mproc__mutex_living_owner(const struct mproc__mutex *mutex) {
    uint64_t owner = mproc__mutex_owner(mutex);
    return owner != 0 && has_died(owner, mutex) && !mproc__token_left(owner) ? 0 : owner;
}

static int acquire_now(struct mproc__mutex *mutex, uint64_t mine,
                       const struct mproc__holder *holder, uint64_t *dead) {
    uint64_t word = mproc__load64(&mutex->word);
    if (token_of(word) == token_of(mine)) {
        return -ETIMEDOUT;
    }
    while (word == 0 || kept_in_vain(word)) {
        if (word != 0) {
            note_held(holder);
        }
        if (mproc__cas64(&mutex->word, &word, word == 0 ? mine : mine | WAITERS)) {
            return 0;
        }
    }
    if (is_kept(word)) {
        return -ETIMEDOUT;
    }
    if (!has_died(token_of(word), mutex)) {
        return -ETIMEDOUT;
    }
    note_held(holder);
    return mproc__cas64(&mutex->word, &word, mine | WAITERS) ? owner_died(word, dead) : -ETIMEDOUT;
}

/* Other threads may still sleep: the mark stays, at the price of one idle wake. */
static bool take(struct mproc__mutex *mutex, uint64_t *word, uint64_t mine, bool starving) {
    return (*word == 0 || (is_kept(*word) && (starving || kept_in_vain(*word)))) &&
           mproc__cas64(&mutex->word, word, mine | WAITERS);
}

static int acquire_in_slices(struct mproc__mutex *mutex, uint64_t mine, int64_t start,
                             int64_t deadline, enum mproc__mutex_for whom,
                             struct mproc__holder *holder, uint64_t *dead) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    bool starving = false, stalled = false;
    if (whom == MPROC__FOR_SECTION) {
        slices.next = GUARD_SLICE;
    }
    for (;;) {
        uint64_t word = mproc__load64(&mutex->word);
        if (token_of(word) == 0 || (word & WAITERS) == 0) {
            note_held(holder);
        }
        if (take(mutex, &word, mine, starving)) {
            return 0;
        }
        if (word == 0 || !announce(mutex, &word, starving)) {
            continue;
        }
        int r = wait_slice(mutex, &word, mine, &slices, starving, stalled, whom, holder);
        if (r != 0) {
            return r == 1 ? owner_died(word, dead) : r;
        }
        int64_t waited = mproc__os_now() - start;
        starving = whom != MPROC__FOR_SECTION && waited >= STARVING;
        stalled = whom == MPROC__FOR_SECTION && waited >= STALLED;
    }
}

/* What waits for a section has its name in its hand already. */
static int acquire_sleeping(struct mproc__mutex *mutex, uint64_t mine, int64_t start,
                            int64_t deadline, enum mproc__mutex_for whom,
                            struct mproc__holder *holder, uint64_t *dead) {
    struct mproc__hand *noted =
        whom != MPROC__FOR_SECTION ? mproc__wait_begin(mutex, deadline) : NULL;
    int r = acquire_in_slices(mutex, mine, start, deadline, whom, holder, dead);
    mproc__wait_end(noted);
    return r;
}

MPROC__NOINLINE int mproc__mutex_wait(struct mproc__mutex *mutex, uint64_t mine, int64_t timeout,
                                      enum mproc__mutex_for whom, struct mproc__holder *holder,
                                      uint64_t *dead) {
    if (timeout == 0) {
        return acquire_now(mutex, mine, holder, dead);
    }
    int64_t start = mproc__os_now();
    int64_t deadline = mproc__deadline(timeout);
    int r = spin(mutex, mine, start, whom)
                ? 0
                : acquire_sleeping(mutex, mine, start, deadline, whom, holder, dead);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

int mproc__mutex_sleep(struct mproc__mutex *mutex, uint64_t mine, int64_t timeout,
                       enum mproc__mutex_for whom, struct mproc__holder *holder, uint64_t *dead) {
    return acquire_sleeping(mutex, mine, mproc__os_now(), mproc__deadline(timeout), whom, holder,
                            dead);
}

/* Keeps the mutex for a sleeper that starves, or frees it after all if there is none any more.
 * False: the word is another than the caller thinks. */
static bool hand_over(struct mproc__mutex *mutex, uint64_t word) {
    uint64_t kept = now_ms() << 32 | KEPT;
    if (!mproc__cas64(&mutex->word, &word, kept)) {
        return false;
    }
    if (mproc__os_futex_wake_of(futex_of(mutex), 1, STARVES) == 0 &&
        mproc__cas64(&mutex->word, &kept, 0)) {
        mproc__os_futex_wake(futex_of(mutex), 1);
    }
    return true;
}

/* After the mutex was freed with marks. A sleeper that said that it starves while the mutex was
 * being freed gets it too, or has to say so again. */
static void wake(struct mproc__mutex *mutex, uint64_t word) {
    if (word & STARVED) {
        if (hand_over(mutex, 0) || mproc__os_futex_wake_of(futex_of(mutex), 1, STARVES) == 1) {
            return;
        }
    }
    mproc__os_futex_wake(futex_of(mutex), 1);
}

static int release_starved(struct mproc__mutex *mutex, uint64_t word) {
    while (token_of(word) != 0) {
        if (hand_over(mutex, word)) {
            return 0;
        }
        word = mproc__load64(&mutex->word);
    }
    return MPROC_ENOTHELD;
}

/* M2: a sleeper that is not woken looks for the death when its slice ends. */
void mproc__mutex_give_back(struct mproc__mutex *mutex, uint64_t dead) {
    (void)mproc__exchange64(&mutex->word, dead | WAITERS); /* SYNC(mutex.word) */
    mproc__os_futex_wake(futex_of(mutex), 1);
}

MPROC__NOINLINE int mproc__mutex_release_marked(struct mproc__mutex *mutex) {
    uint64_t word = mproc__load64(&mutex->word);
    if (mproc__unlikely(word & STARVED)) {
        return release_starved(mutex, word);
    }
    word = mproc__exchange64(&mutex->word, 0); /* SYNC(mutex.word) */
    if (mproc__unlikely(word == 0)) {
        return MPROC_ENOTHELD;
    }
    if (mproc__unlikely(word & WAITERS)) {
        wake(mutex, word);
    }
    return 0;
}
