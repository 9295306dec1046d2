/*
 * guard.c - a short critical section that a death undoes
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A guard is a robust mutex and an undo record. Inside the section every word is
 * saved before it is changed; setting `count` to 0 is the commit. A thread that takes the mutex
 * from a dead owner puts the saved words back, newest first, before anything else. This one
 * mechanism makes every shared mutation of the core all-or-nothing: PostgreSQL and SQLite call such
 * a record an undo or rollback journal.
 *
 * Shared state, all written under the mutex only:
 *   count      entries of log in force.
 *   log[i]     written before count is raised above i.
 *
 * Invariants.
 *   G1  While the mutex is free, count is 0.
 *   G2  For i < count, log[i].word is an aligned word of the arena, and log[i].old its value when
 *       the section first saved it (or a later save, which an earlier entry precedes).
 *
 * A section that publishes a word commits by that very store. The next owner after a death looks
 * whether the word has changed; if so it lets everything stand.
 *
 * If a member dies here: before count is raised the word is unchanged; after it, the next owner
 * puts it back; dying while putting back is harmless, since count stays and the same values are
 * written again. After count = 0 all changes stand.
 *
 * If a member is stopped here, nobody else enters until it goes on. A caller that must not wait
 * for that enters with a patience of its own, or makes an attempt: a wait in vain leaves the
 * attempt from wherever it is, always outside of any section, as a death would.
 *
 * What it does not do: nest. A thread is in one section at a time (its hand has one `guard`), so a
 * reaper can finish with a dead member's sections before it reads the member's hands.
 */
#include "core/guard.h"

#include <setjmp.h>

void mproc__guard_init(struct mproc__guard *guard, struct mproc__undo *log, uint32_t capacity) {
    guard->mutex.word = 0;
    guard->count = 0;
    guard->capacity = capacity;
    guard->log = log;
    guard->decider = NULL;
}

void mproc__guard_overflow(const struct mproc__guard *guard) {
    mproc__panic("G2: a section saves more than %u words", guard->capacity);
}

/* What the dead owner left: done if it had published, undone otherwise. */
static void settle(struct mproc__guard *guard) {
    if (guard->decider != NULL && mproc__peek64(guard->decider) != guard->undecided) {
        mproc__poke32(&guard->count, 0);
    } else {
        mproc__guard_rollback(guard);
    }
    mproc__program_order();
    guard->decider = NULL;
}

/* The innermost attempt of the calling thread; NULL: there is none, and waits have no end. */
static MPROC__THREAD struct attempt {
    jmp_buf border;
    int64_t patience;
} * attempt;

void mproc__guard_wait(struct mproc__guard *guard, uint64_t mine) {
    int64_t patience = attempt != NULL ? attempt->patience : MPROC_FOREVER;
    int r = mproc__mutex_wait(&guard->mutex, mine, patience, MPROC__FOR_SECTION, NULL, NULL);
    if (r == -EOWNERDEAD) {
        settle(guard);
    } else if (r == -ETIMEDOUT) {
        longjmp(attempt->border, 1);
    }
}

/* Nothing of a frame that is left is needed: all that the work has begun stands in the arena. */
bool mproc__guard_attempt(void (*work)(void *arg), void *arg, int64_t patience) {
    struct attempt mine = {.patience = patience}, *outer = attempt;
    attempt = &mine;
    bool whole = setjmp(mine.border) == 0;
    if (whole) {
        work(arg);
    }
    attempt = outer; /* of the call that a signal's handler interrupts, which forks by itself */
    return whole;
}

bool mproc__guard_wait_within(struct mproc__guard *guard, struct mproc__hand *hand, uint64_t mine,
                              int64_t patience) {
    int r = mproc__mutex_wait(&guard->mutex, mine, patience, MPROC__FOR_SECTION, NULL, NULL);
    if (r == -EOWNERDEAD) {
        settle(guard);
    }
    if (r != -ETIMEDOUT) {
        return true;
    }
    mproc__program_order();
    mproc__poke64(&hand->guard, 0);
    return false;
}

MPROC__THREAD int64_t mproc__guard_patience;
