/*
 * wait.c - what a thread waits for, and since when: for those who look from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A thread that has looked in vain and is going to sleep writes a note into its hand:
 * the address that it waits for. Beside it, in the member's slot, stand the thread's number and the
 * time. The library itself never reads a note. A wait inside another one, as of a signal's handler
 * that runs between two slices, leaves the outer note as it is. Threads that share a hand leave no
 * note: they are counted while they wait.
 *
 * Shared state.
 *   hand->waits   0, or the address, odd if the wait has an end of its own. The hand's thread
 *                 writes it; the reaper clears it.
 *   slot->since, slot->waiter   as old as the note, and written before it by the same thread. A
 *                 looker reads the note before and after them.
 *   slot->unnoted   how many threads wait without a note, by atomic steps of those threads. One
 *                 that is cancelled in its wait stays counted, and one whose signal's handler waits
 *                 inside of its wait is counted twice meanwhile; a looker counts no more than there
 *                 are threads. The reaper clears it.
 *
 * Invariant: a thread that is in no wait has no note. A child that is forked inside a wait has a
 * slot of its own, and leaves its parent's note alone.
 *
 * If a member dies here: the reaper clears the note with the hand.
 */
#include "core/wait.h"

#include "core/token.h"
#include "core/trace.h"

MPROC__THREAD const void *mproc__wait_behind_fd;

/* For a record of what happens (trace.c): the wait begins or ends. */
static void trace(enum mproc__trace_event event, uint64_t word) {
    if (mproc__unlikely(mproc__trace_on() != 0)) {
        mproc__trace_write(mproc__trace_what(event, 0, (const void *)(uintptr_t)word), 0);
    }
}

static struct mproc__hand *note(struct mproc__hand *hand, uint64_t word, int64_t since) {
    struct mproc__slot *slot = mproc__self_slot();
    ptrdiff_t i = hand - slot->hands;
    mproc__poke64(&slot->since[i], (uint64_t)since);
    mproc__poke32(&slot->waiter[i], (uint32_t)(mproc__self_thread() & UINT32_MAX));
    mproc__program_order();
    mproc__poke64(&hand->waits, word);
    trace(MPROC__TRACE_WAIT, word);
    return hand;
}

static uint64_t word_of(const void *what, int64_t deadline) {
    return (uint64_t)(uintptr_t)what | (deadline != MPROC__NEVER ? MPROC__WAIT_TIMED : 0);
}

struct mproc__hand *mproc__wait_resume(const void *what, int64_t deadline, int64_t since) {
    struct mproc__hand *hand = mproc__hand_own();
    if (hand == NULL || hand->waits != 0) {
        return NULL;
    }
    return note(hand, word_of(what, deadline), since);
}

/* A thread that has no hand of its own waits from now on, or does no more. */
static struct mproc__hand *count_unnoted(uint32_t step) {
    struct mproc__slot *slot = mproc__self_slot();
    (void)mproc__add32(&slot->unnoted, step);
    return &slot->hands[MPROC__SHARED_HAND];
}

struct mproc__hand *mproc__wait_begin(const void *what, int64_t deadline) {
    return mproc__hand_own() != NULL ? mproc__wait_resume(what, deadline, mproc__os_now())
                                     : count_unnoted(1);
}

struct mproc__hand *mproc__wait_begin_fd(int fd, int64_t deadline) {
    struct mproc__hand *hand = mproc__thread_hand;
    if (hand == NULL || hand->waits != 0) {
        return NULL;
    }
    uint64_t word = mproc__wait_behind_fd != NULL
                        ? word_of(mproc__wait_behind_fd, deadline)
                        : (uint64_t)fd << 2 | MPROC__WAIT_FD | word_of(NULL, deadline);
    return note(hand, word, mproc__os_now());
}

void mproc__wait_end(struct mproc__hand *noted) {
    if (noted != NULL && noted == mproc__thread_hand) {
        trace(MPROC__TRACE_WAIT_END, mproc__peek64(&noted->waits));
        mproc__poke64(&noted->waits, 0);
    } else if (noted != NULL && noted == &mproc__self_slot()->hands[MPROC__SHARED_HAND]) {
        (void)count_unnoted(UINT32_MAX);
    }
}

struct mproc__wait_pause mproc__wait_pause(void) {
    struct mproc__wait_pause paused = {.hand = mproc__thread_hand};
    if (paused.hand == NULL || paused.hand->waits == 0) {
        paused.hand = NULL;
        return paused;
    }
    const struct mproc__slot *slot = mproc__self_slot();
    paused.waits = paused.hand->waits;
    paused.since = mproc__peek64(&slot->since[paused.hand - slot->hands]);
    trace(MPROC__TRACE_WAIT_END, paused.waits);
    mproc__poke64(&paused.hand->waits, 0);
    return paused;
}

void mproc__wait_go_on(const struct mproc__wait_pause *paused) {
    if (paused->hand != NULL && paused->hand == mproc__thread_hand) {
        (void)note(paused->hand, paused->waits, (int64_t)paused->since);
    }
}
