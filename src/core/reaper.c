/*
 * reaper.c - what a dead member had is finished, undone and given back
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A member that exits is noticed and reaped exactly as one that was killed: by its
 * parent when that collects its status, or by whoever needs what it held. First the sections that
 * the dead member was in are left, so that its hands are what the last committed section left. Then
 * its hands are emptied. Then its holds, its files and its arguments are given back, and the slot
 * is free.
 *
 * Shared state.
 *   slot->state   UNBORN or LIVE -> DYING by the reaper, by compare-and-swap: an adopting child may
 *                 be faster. DYING -> FREE under the members' guard.
 *   slot->*       the member's until it dies, the reaper's from then on.
 *   reaper        a mutex: members are reaped one after the other.
 *
 * Invariants.
 *   P3  A FREE slot holds nothing: no records, no args, empty hands.
 *
 * If a member dies here: the slot stays DYING, and the reaper mutex has a dead owner. The next
 * reaper goes on: each step empties a word.
 */
#include "core/reaper.h"

#include <string.h>

#include "core/bell.h"
#include "core/heap.h"
#include "core/object.h"
#include "core/shm_register.h"

struct mproc__members *mproc__members;

void mproc__members_init(struct mproc__members *members) {
    mproc__guard_init(&members->guard, members->log, MPROC__MEMBERS_UNDO);
}

void mproc__members_enter(struct mproc__members *members) {
    mproc__members = members;
}

/* ---------------------------------------------------------------- one dead member */

static void leave_sections(struct mproc__hand *mine, struct mproc__slot *slot) {
    for (int i = 0; i < MPROC__HANDS; i++) {
        struct mproc__guard *guard = (struct mproc__guard *)(uintptr_t)slot->hands[i].guard;
        if (guard != NULL) {
            mproc__guard_enter(guard, mine); /* rolls back, or waits for the one that does */
            mproc__guard_leave(guard, mine);
            mproc__poke64(&slot->hands[i].guard, 0);
        }
    }
}

static void empty_hand(struct mproc__hand *mine, struct mproc__hand *dead) {
    mproc__hand_finish_move(dead);
    if (dead->run != 0) {
        mproc__chunks_give(mine, &dead->run);
    }
    mproc__heap_free(mine, &dead->block);
    mproc__heap_free(mine, &dead->node);
    mproc__object_destroy(mine, &dead->unheld);
    mproc__object_release(mine, &dead->message);
    mproc__poke64(&dead->waits, 0);
}

/* All under the guard, so that a look at the table sees a slot whole or not at all. */
static void free_slot(struct mproc__hand *mine, struct mproc__slot *slot) {
    mproc__guard_enter(&mproc__members->guard, mine);
    slot->parent = 0;
    mproc__store_pid(&slot->pid, 0);
    slot->ppid = 0;
    slot->born = 0;
    mproc__os_life_clear(&slot->life);
    slot->args_size = 0;
    mproc__poke32(&slot->exiting, 0);
    slot->method = slot->flags = 0;
    memset(slot->name, 0, sizeof slot->name);
    mproc__guard_set(&mproc__members->guard, &slot->state, MPROC__SLOT_FREE);
    mproc__guard_leave(&mproc__members->guard, mine);
}

/* Under the reaper mutex; the slot is DYING. */
static void reap(struct mproc__hand *mine, struct mproc__slot *slot) {
    uint32_t number = (uint32_t)(slot - mproc__table->slots);
    leave_sections(mine, slot);
    for (int i = 0; i < MPROC__HANDS; i++) {
        empty_hand(mine, &slot->hands[i]);
    }
    mproc__bells_reap(mproc__token(number, slot->state >> 8));
    mproc__holds_clear(mine, slot);
    mproc__shms_reap(mine, mproc__token(number, slot->state >> 8));
    mproc__heap_free(mine, &slot->args);
    free_slot(mine, slot);
}

/* ---------------------------------------------------------------- noticing */

static struct mproc__hand *enter(void) {
    struct mproc__hand *hand = mproc__hand_get();
    (void)mproc__mutex_acquire(&mproc__members->reaper, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    return hand;
}

static void leave(struct mproc__hand *hand) {
    (void)mproc__mutex_release(&mproc__members->reaper);
    mproc__hand_put(hand);
}

void mproc__reap_dead(uint64_t token) {
    struct mproc__hand *hand = enter();
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL) {
        mproc__store64(&slot->state, mproc__token_state(token, MPROC__SLOT_DYING));
        reap(hand, slot);
    }
    leave(hand);
}

/* True: the member has ended, and only a reaper changes its slot from now on. */
static bool set_dying(struct mproc__slot *slot, uint64_t token) {
    uint64_t state = mproc__load64(&slot->state);
    while (state >> 8 == token >> 32) {
        if ((state & 0xff) == MPROC__SLOT_DYING) {
            return true;
        }
        if ((state & 0xff) == MPROC__SLOT_FREE || !mproc__token_dead(token)) {
            return false;
        }
        if (mproc__cas64(&slot->state, &state, mproc__token_state(token, MPROC__SLOT_DYING))) {
            return true;
        }
    }
    return false;
}

bool mproc__reap_if_dead(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL) {
        return true;
    }
    if (!mproc__token_dead(token)) {
        return false;
    }
    struct mproc__hand *hand = enter();
    if (set_dying(slot, token)) {
        reap(hand, slot);
    }
    leave(hand);
    return mproc__token_slot(token) == NULL;
}

/* A member that comes by way of a wrapper may be adopting its place right now. */
static bool take_place(struct mproc__slot *slot, uint64_t token) {
    uint64_t unborn = mproc__token_state(token, MPROC__SLOT_UNBORN);
    return mproc__cas64(&slot->state, &unborn, mproc__token_state(token, MPROC__SLOT_DYING));
}

void mproc__reap_collected(uint64_t token, pid_t pid) {
    struct mproc__slot *slot = mproc__token_slot(token);
    bool wrapped = slot != NULL && (slot->flags & MPROC_WRAPPED) != 0;
    if (wrapped && !take_place(slot, token) && mproc__load_pid(&slot->pid) != pid) {
        (void)mproc__reap_if_dead(token);
    } else {
        mproc__reap_dead(token);
    }
}

bool mproc__reap_slot(uint32_t number) {
    uint64_t state = mproc__load64(&mproc__table->slots[number].state);
    return (state & 0xff) != MPROC__SLOT_FREE &&
           mproc__reap_if_dead(mproc__token(number, state >> 8));
}

size_t mproc_reap(void) {
    size_t found = 0;
    for (uint32_t i = 0; mproc__table != NULL && i < mproc__table_top(); i++) {
        found += mproc__reap_slot(i);
    }
    return found;
}
