/*
 * guard.h - a short critical section that a death undoes
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_GUARD_H
#define MPROC_GUARD_H

#include "core/hand.h"
#include "core/mutex.h"
#include "system/atomic.h"

struct mproc__undo {
    uint64_t *word;
    uint64_t old;
};

struct mproc__guard {
    struct mproc__mutex mutex;
    uint32_t count; /* entries of log that are in force; 0 is the commit point */
    uint32_t capacity;
    struct mproc__undo *log; /* in the arena */
    uint64_t *decider;       /* NULL, or a word whose change from `undecided` is the commit */
    uint64_t undecided;
};

void mproc__guard_init(struct mproc__guard *guard, struct mproc__undo *log, uint32_t capacity);

/* For mproc__guard_enter: waits for the mutex, which the caller has tried to get as `mine`. */
void mproc__guard_wait(struct mproc__guard *guard, uint64_t mine);

/* Enters the section; rolls back first what a dead member left behind. Waits as long as it takes: a
 * section is some hundred instructions. A thread is in one section at a time; its hand names it. */
static inline void mproc__guard_enter(struct mproc__guard *guard, struct mproc__hand *hand) {
    uint64_t mine = mproc__mutex_mine(), word = 0;
    mproc__poke64(&hand->guard, (uint64_t)(uintptr_t)guard);
    mproc__program_order();
    /* SYNC(mutex.word) */
    if (mproc__unlikely(!mproc__cas64(&guard->mutex.word, &word, mine))) {
        mproc__guard_wait(guard, mine);
    }
}

/* Commits by publishing: changes a word that others read without the guard. They may act on the new
 * value at once, so its store must be the commit itself: from then on nothing is rolled back. At
 * most once a section, as its last change. */
static inline void mproc__guard_publish(struct mproc__guard *guard, uint64_t *word,
                                        uint64_t value) {
    guard->undecided = mproc__peek64(word);
    mproc__program_order();
    guard->decider = word;
    mproc__program_order();
    mproc__store64(word, value); /* all changes, before the word; its readers' tag says which */
    mproc__program_order();
}

/* Commits and leaves. */
static inline void mproc__guard_leave(struct mproc__guard *guard, struct mproc__hand *hand) {
    mproc__program_order();
    mproc__poke32(&guard->count, 0); /* the commit, unless a word was published */
    mproc__program_order();
    guard->decider = NULL;
    mproc__program_order();
    (void)mproc__mutex_release(&guard->mutex);
    mproc__program_order();
    mproc__poke64(&hand->guard, 0);
}

/* What the calling thread's timed call has been given, for mproc__guard_enter_timed. */
extern MPROC__HIDDEN MPROC__THREAD int64_t mproc__guard_patience;

/* For mproc__guard_enter_within: as mproc__guard_wait. False: not for as long as that. */
bool mproc__guard_wait_within(struct mproc__guard *guard, struct mproc__hand *hand, uint64_t mine,
                              int64_t patience);

/* As mproc__guard_enter. False: another thread has been in the section for as long as that. The
 * caller is in no section then. */
static inline bool mproc__guard_enter_within(struct mproc__guard *guard, struct mproc__hand *hand,
                                             int64_t patience) {
    uint64_t mine = mproc__mutex_mine(), word = 0;
    mproc__poke64(&hand->guard, (uint64_t)(uintptr_t)guard);
    mproc__program_order();
    /* SYNC(mutex.word) */
    return mproc__likely(mproc__cas64(&guard->mutex.word, &word, mine)) ||
           mproc__guard_wait_within(guard, hand, mine, patience);
}

/* As mproc__guard_enter. False: another thread has been in the section for longer than the caller's
 * timeout, and for 0.1 s: it is stopped, or starved. The caller is in no section then. */
static inline bool mproc__guard_enter_timed(struct mproc__guard *guard, struct mproc__hand *hand) {
    uint64_t mine = mproc__mutex_mine(), word = 0;
    mproc__poke64(&hand->guard, (uint64_t)(uintptr_t)guard);
    mproc__program_order();
    /* SYNC(mutex.word) */
    return mproc__likely(mproc__cas64(&guard->mutex.word, &word, mine)) ||
           mproc__guard_wait_within(guard, hand, mine, mproc__patience(mproc__guard_patience));
}

/*
 * Work that may be left at the border of any section, because another thread does not leave the one
 * that is wanted next: `work` does what a reaper does, which another can finish. False: it was left
 * after a wait of `patience` ns. The hand that it worked with is as a member's that died there.
 */
bool mproc__guard_attempt(void (*work)(void *arg), void *arg, int64_t patience);

/* Puts all saved words back; the section goes on. */
static inline void mproc__guard_rollback(struct mproc__guard *guard) {
    for (uint32_t i = mproc__peek32(&guard->count); i-- > 0;) {
        mproc__poke64(guard->log[i].word, guard->log[i].old);
    }
    mproc__program_order();
    mproc__poke32(&guard->count, 0);
}

void mproc__guard_overflow(const struct mproc__guard *guard);

/* Saves an aligned 8-byte word of the arena before it is changed. */
static inline void mproc__guard_save(struct mproc__guard *guard, void *word) {
    uint32_t n = guard->count;
    if (mproc__unlikely(n == guard->capacity)) {
        mproc__guard_overflow(guard);
    }
    guard->log[n].word = (uint64_t *)word;
    guard->log[n].old = mproc__peek64((uint64_t *)word);
    mproc__program_order();
    mproc__poke32(&guard->count, n + 1);
    mproc__program_order();
}

/* Saves a word, then changes it. */
static inline void mproc__guard_set(struct mproc__guard *guard, uint64_t *word, uint64_t value) {
    mproc__guard_save(guard, word);
    mproc__poke64(word, value);
}

#endif
