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
 *   slot->left    the reaper's: the serial of a member that had set `exiting`, before the reaper
 *                 clears that. It outlives the slot's members.
 *   reaper        a mutex: members are reaped one after the other.
 *
 * Invariants.
 *   P3  A FREE slot holds nothing: no records, no args, empty hands.
 *
 * If a member dies here: the slot stays DYING, and the reaper mutex has a dead owner. The next
 * reaper goes on: each step empties a word. What a step has on its way is in a hand of the dead
 * member, not in the reaper's. So a reaper can also leave its work, at the border of a section that
 * a stopped member is in: a birth does, which must not wait for that one.
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

/* Each hand leaves by itself what it was in; a reaper that was left there meets it again. */
static void leave_sections(struct mproc__slot *slot) {
    for (int i = 0; i < MPROC__HANDS; i++) {
        struct mproc__guard *guard = (struct mproc__guard *)(uintptr_t)slot->hands[i].guard;
        if (guard != NULL) {
            /* rolls back, or waits for the one that does */
            mproc__guard_enter(guard, &slot->hands[i]);
            mproc__guard_leave(guard, &slot->hands[i]);
        }
    }
}

/* By itself, so that what is on its way stays with the dead member. What an object that is being
 * destroyed had inside is in `block` and `message`: they come first. */
static void empty_hand(struct mproc__hand *dead) {
    mproc__hand_finish_move(dead);
    if (dead->run != 0) {
        mproc__chunks_give(dead, &dead->run);
    }
    mproc__heap_free(dead, &dead->block);
    mproc__heap_free(dead, &dead->node);
    mproc__object_release(dead, &dead->message);
    mproc__object_destroy(dead, &dead->unheld);
    mproc__poke64(&dead->waits, 0);
}

/* What it was about to reserve for children. */
static void free_claims(uint32_t number) {
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        struct mproc__slot *slot = &mproc__table->slots[i];
        if (mproc__load64(&slot->state) == mproc__slot_claimed(number)) {
            mproc__poke64(&slot->parent, 0);
            mproc__store64(&slot->state, MPROC__SLOT_FREE); /* SYNC(slot.state): it is empty */
        }
    }
}

/* All under the guard, so that a look at the table sees a slot whole or not at all. From the last
 * store on it may be another member's. */
static void free_slot(struct mproc__hand *mine, struct mproc__slot *slot) {
    mproc__guard_enter(&mproc__members->guard, mine);
    slot->parent = 0;
    mproc__store_pid(&slot->pid, 0);
    slot->ppid = 0;
    slot->born = 0;
    mproc__os_life_clear(&slot->life);
    slot->args_size = 0;
    if (slot->exiting != 0) {
        mproc__poke32(&slot->left, (uint32_t)(mproc__peek64(&slot->state) >> 8));
    }
    mproc__store32(&slot->exiting, 0); /* SYNC(slot.exiting) */
    slot->method = slot->flags = 0;
    memset(slot->name, 0, sizeof slot->name);
    slot->unnoted = 0;
    /* SYNC(slot.state): it is empty, before it is free. */
    mproc__guard_publish(&mproc__members->guard, &slot->state, MPROC__SLOT_FREE);
    mproc__guard_leave(&mproc__members->guard, mine);
}

/* Under the reaper mutex; the slot is DYING. False: there was no memory to write down what its
 * children have inherited, and the next reaper goes on. */
static bool reap(struct mproc__hand *mine, struct mproc__slot *slot) {
    uint32_t number = (uint32_t)(slot - mproc__table->slots);
    uint64_t token = mproc__token(number, mproc__peek64(&slot->state) >> 8);
    struct mproc__hand *hand = &slot->hands[0];
    leave_sections(slot);
    free_claims(number);
    for (int i = 0; i < MPROC__HANDS; i++) {
        empty_hand(&slot->hands[i]);
    }
    mproc__bells_reap(token);
    if (mproc__holds_clear(hand, slot) != 0) {
        return false;
    }
    mproc__shms_reap(hand, token);
    mproc__heap_free(hand, &slot->spare);
    mproc__heap_free(hand, &slot->args);
    free_slot(mine, slot);
    return true;
}

struct work {
    struct mproc__hand *mine;
    struct mproc__slot *slot;
};

static void do_reap(void *arg) {
    struct work *work = arg;
    (void)reap(work->mine, work->slot);
}

/* False: another member is in a section that is needed, and does not leave it within `patience`.
 * All that has been done stands in the slot, and the next reaper goes on. */
static bool reap_within(struct mproc__hand *mine, struct mproc__slot *slot, int64_t patience) {
    struct work work = {mine, slot};
    if (patience == MPROC_FOREVER) {
        do_reap(&work);
        return true;
    }
    bool whole = mproc__guard_attempt(do_reap, &work, patience);
    mproc__poke64(&mine->guard, 0);
    return whole;
}

/* ---------------------------------------------------------------- noticing */

/* NULL: another member is reaping, and does not end within `patience`. */
static struct mproc__hand *enter(int64_t patience) {
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__mutex_acquire(&mproc__members->reaper, patience, MPROC__FOR_SECTION, NULL);
    if (r == -ETIMEDOUT) {
        mproc__hand_put(hand);
        return NULL;
    }
    return hand;
}

static void leave(struct mproc__hand *hand) {
    (void)mproc__mutex_release(&mproc__members->reaper);
    mproc__hand_put(hand);
}

static bool reap_known(uint64_t token, int64_t patience) {
    struct mproc__hand *hand = enter(patience);
    if (hand == NULL) {
        return false;
    }
    struct mproc__slot *slot = mproc__token_slot(token);
    bool whole = true;
    if (slot != NULL) {
        mproc__store64(&slot->state, mproc__token_state(token, MPROC__SLOT_DYING));
        whole = reap_within(hand, slot, patience);
    }
    leave(hand);
    return whole;
}

void mproc__reap_dead(uint64_t token) {
    (void)reap_known(token, MPROC_FOREVER);
}

/* Whoever looks at a DYING slot next goes on with it. Another one may be at it already. */
void mproc__reap_dead_soon(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    uint64_t live = mproc__token_state(token, MPROC__SLOT_LIVE);
    uint64_t unborn = mproc__token_state(token, MPROC__SLOT_UNBORN);
    uint64_t dying = mproc__token_state(token, MPROC__SLOT_DYING);
    if (slot != NULL) {
        (void)mproc__cas64(&slot->state, &live, dying);
        (void)mproc__cas64(&slot->state, &unborn, dying);
        (void)reap_known(token, MPROC__PATIENCE);
    }
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

/* False: a wait was in vain. */
static bool reap_dead_within(uint64_t token, int64_t patience) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL || !mproc__token_dead(token)) {
        return true;
    }
    struct mproc__hand *hand = enter(patience);
    if (hand == NULL) {
        return false;
    }
    bool whole = !set_dying(slot, token) || reap_within(hand, slot, patience);
    leave(hand);
    return whole;
}

bool mproc__reap_if_dead(uint64_t token) {
    (void)reap_dead_within(token, MPROC_FOREVER);
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
        (void)reap_dead_within(token, MPROC__PATIENCE);
    } else {
        mproc__reap_dead_soon(token);
    }
}

/* Of the member in a slot; 0: there is none. */
static uint64_t token_in(uint32_t number) {
    uint64_t state = mproc__load64(&mproc__table->slots[number].state);
    unsigned kind = state & 0xff;
    return kind != MPROC__SLOT_FREE && kind != MPROC__SLOT_CLAIMED
               ? mproc__token(number, state >> 8)
               : 0;
}

bool mproc__reap_slot(uint32_t number) {
    uint64_t token = token_in(number);
    return token != 0 && mproc__reap_if_dead(token);
}

bool mproc__reap_slot_soon(uint32_t number) {
    uint64_t token = token_in(number);
    return token == 0 || reap_dead_within(token, MPROC__PATIENCE);
}

size_t mproc_reap(void) {
    size_t found = 0;
    for (uint32_t i = 0; mproc__table != NULL && i < mproc__table_top(); i++) {
        found += mproc__reap_slot(i);
    }
    return found;
}
