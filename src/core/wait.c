/*
 * wait.c - what a thread waits for, and since when: for those who look from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A thread that has looked in vain and is going to sleep writes a note into its hand:
 * the address that it waits for. Beside it, in the member's slot, stand the thread's number and the
 * time. The library itself never reads a note. A wait inside another one, as of a signal's handler
 * that runs between two slices, leaves the outer note as it is. Threads that share a hand leave no
 * note.
 *
 * Shared state.
 *   hand->waits   0, or the address, odd if the wait has an end of its own. The hand's thread
 *                 writes it; the reaper clears it.
 *   slot->since, slot->waiter   as old as the note, and written before it by the same thread. A
 *                 looker reads the note before and after them.
 *
 * Invariant: a thread that is in no wait has no note. A child that is forked inside a wait has a
 * slot of its own, and leaves its parent's note alone.
 *
 * If a member dies here: the reaper clears the note with the hand.
 */
#include "core/wait.h"

#include "core/token.h"

struct mproc__hand *mproc__wait_begin(const void *what, int64_t deadline) {
    struct mproc__hand *hand = mproc__hand_own();
    if (hand == NULL || hand->waits != 0) {
        return NULL;
    }
    struct mproc__slot *slot = mproc__self_slot();
    ptrdiff_t i = hand - slot->hands;
    mproc__poke64(&slot->since[i], (uint64_t)mproc__os_now());
    mproc__poke32(&slot->waiter[i], (uint32_t)(mproc__self_thread() & UINT32_MAX));
    mproc__program_order();
    mproc__poke64(&hand->waits,
                  (uint64_t)(uintptr_t)what | (deadline != MPROC__NEVER ? MPROC__WAIT_TIMED : 0));
    return hand;
}

void mproc__wait_end(struct mproc__hand *noted) {
    if (noted != NULL && noted == mproc__thread_hand) {
        mproc__poke64(&noted->waits, 0);
    }
}
