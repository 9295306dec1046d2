/*
 * member.c - how a process becomes a member: its starter reserves a slot, the process adopts it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A starter reserves a slot for its child (UNBORN), copies or takes the child's holds
 * into it, then starts the child, which adopts the slot (LIVE). reaper.c frees it (DYING, FREE).
 *
 * Shared state.
 *   slot->state   FREE -> CLAIMED by compare-and-swap of the starter, which the state then names;
 *                 CLAIMED -> UNBORN by it; UNBORN -> LIVE by the child, by compare-and-swap,
 *                 because a reaper may take the slot of a dead starter's child.
 *   slot->*       the starter's until the child adopts, the child's until it dies.
 *   slot->pid     of a child by fork(): by compare-and-swap from a number of its own, since the
 *                 child may have lived and died already.
 *   serial        is added to. Numbers may be left out.
 *   top           grows by compare-and-swap.
 *
 * A birth waits for nobody: it enters no section, so no member that is stopped can keep a fork()
 * from returning.
 *
 * Invariants: P1 and P2 of token.c, P3 of reaper.c.
 *
 * If a member dies here: what it has CLAIMED its reaper frees. A reservation bears the token of its
 * starter, and is reaped like a member once that is dead. A child that dies while it adopts is
 * UNBORN with its pid, or LIVE.
 */
#include "core/member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/reaper.h"

#define LOOK_AFTER 2 /* slots that every birth looks at */

/* ---------------------------------------------------------------- reserving */

static void raise_top(uint32_t number) {
    uint64_t top = mproc__peek64(&mproc__table->top);
    while (top <= number && !mproc__cas64(&mproc__table->top, &top, (uint64_t)number + 1)) {
    }
}

/* A free slot becomes the caller's. Its number, or MPROC__MEMBERS. Low ones first: they are
 * warm. */
static uint32_t claim(uint64_t parent) {
    uint64_t claimed = mproc__slot_claimed(mproc__token_number(parent));
    for (uint32_t i = 0; i < MPROC__MEMBERS; i++) {
        uint64_t free = MPROC__SLOT_FREE;
        uint64_t *state = &mproc__table->slots[i].state;
        if (i >= mproc__table_top()) {
            raise_top(i);
        }
        /* SYNC(slot.state) */
        if (mproc__peek64(state) == free && mproc__cas64(state, &free, claimed)) {
            return i;
        }
    }
    return MPROC__MEMBERS;
}

static int reserve(uint64_t parent, uint64_t *token) {
    uint32_t i = claim(parent);
    if (i == MPROC__MEMBERS) {
        return MPROC_EMEMBERS;
    }
    struct mproc__slot *slot = &mproc__table->slots[i];
    *token = mproc__token(i, mproc__add64(&mproc__members->serial, 1) + 1);
    mproc__poke64(&slot->parent, parent);
    /* SYNC(slot.state): its starter, before it is a child's. */
    mproc__store64(&slot->state, mproc__token_state(*token, MPROC__SLOT_UNBORN));
    return 0;
}

/* Perhaps no thread waits for a member that was forked by hand and died: each birth looks at a
 * few. It does not wait for a member that is stopped. */
static void look_after_some(void) {
    bool whole = true;
    for (int i = 0; whole && i < LOOK_AFTER; i++) {
        uint64_t turn = mproc__add64(&mproc__members->hint, 1);
        whole = mproc__reap_slot_soon((uint32_t)(turn % mproc__table_top()));
    }
}

/* All slots are in use: a few of their members may have ended. */
static bool look_after_all(void) {
    uint32_t top = mproc__table_top(), left = 0;
    for (uint32_t i = 0; i < top && mproc__reap_slot_soon(i); i++) {
        left += (mproc__peek64(&mproc__table->slots[i].state) & 0xff) == MPROC__SLOT_FREE;
    }
    return left != 0;
}

int mproc__member_expect(const char *name, mproc_method method, unsigned flags, uint64_t *token) {
    look_after_some();
    int r = reserve(mproc__self_token(), token);
    if (r == MPROC_EMEMBERS && look_after_all()) {
        r = reserve(mproc__self_token(), token);
    }
    if (r == 0) {
        struct mproc__slot *slot = mproc__token_slot(*token);
        slot->method = method;
        slot->flags = flags;
        slot->ppid = mproc__os_pid();
        strncpy(slot->name, name, sizeof slot->name - 1); /* the rest is zero */
    }
    return r;
}

/* Under the guard: the child may have lived and died already, and its slot must not be another's by
 * the time the pid is written. A child that has said its pid already keeps it, if the starter does
 * not know it, or knows only a wrapper's. */
static void tell_pid(uint64_t token, pid_t pid) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&mproc__members->guard, hand);
    struct mproc__slot *slot = mproc__token_slot(token);
    uint64_t unborn = mproc__token_state(token, MPROC__SLOT_UNBORN);
    if (slot != NULL && mproc__load64(&slot->state) == unborn) {
        if ((slot->flags & MPROC_WRAPPED) != 0) {
            pid_t nobody = 0;
            (void)mproc__cas_pid(&slot->pid, &nobody, pid);
        } else {
            mproc__store_pid(&slot->pid, pid);
        }
    }
    mproc__guard_leave(&mproc__members->guard, hand);
    mproc__hand_put(hand);
}

/* The child has said its pid itself by now, or ended, or its starter says it here. Without the
 * guard: no other child has that number in its slot. */
static void tell_forked(struct mproc__slot *slot, uint64_t token, pid_t pid) {
    pid_t coming = mproc__pid_coming(token);
    (void)mproc__cas_pid(&slot->pid, &coming, pid);
}

void mproc__member_expected_pid(uint64_t token, pid_t pid) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL && slot->method == MPROC_FORK) {
        tell_forked(slot, token, pid);
    } else if (slot != NULL) {
        tell_pid(token, pid);
    }
}

void mproc__member_forking(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL) {
        mproc__store_pid(&slot->pid, mproc__pid_coming(token));
    }
}

void mproc__member_forked(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL) {
        tell_forked(slot, token, MPROC__PID_UNKNOWN);
    }
}

void mproc__member_not_forked(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL) {
        tell_forked(slot, token, 0);
    }
}

/* ---------------------------------------------------------------- adopting */

static void become(uint64_t token) {
    mproc__process_self.token = token;
    mproc__process_self.slot = &mproc__table->slots[mproc__token_number(token)];
    mproc__process_self.taken = 0;
    mproc__process_self.named = 0;
    mproc__thread_self = NULL;
    mproc__thread_hand = NULL;
    mproc__thread_id = 0;
}

static void identify(struct mproc__slot *slot) {
    slot->born = mproc__os_boot_now();
    slot->ppid = mproc__os_parent_pid();
    mproc__store_pid(&slot->pid, mproc__os_pid()); /* SYNC(slot.pid): its parent, before its pid */
}

int mproc__member_adopt(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    uint64_t state = mproc__token_state(token, MPROC__SLOT_UNBORN);
    if (slot == NULL || mproc__load64(&slot->state) != state) {
        return MPROC_ESTRANGER;
    }
    identify(slot);
    if (mproc__os_tid() == mproc__os_pid()) { /* other threads may end before their process */
        mproc__os_life_begin(&slot->life);
    }
    /* SYNC(slot.state): its pid and the sign of its life, before it is LIVE. */
    if (!mproc__cas64(&slot->state, &state, mproc__token_state(token, MPROC__SLOT_LIVE))) {
        return MPROC_ESTRANGER;
    }
    become(token);
    return 0;
}

int mproc__member_found(void) {
    uint64_t token;
    int r = reserve(0, &token);
    if (r == 0) {
        snprintf(mproc__token_slot(token)->name, sizeof((struct mproc__slot *)0)->name, "main");
        r = mproc__member_adopt(token);
    }
    return r;
}

/* ---------------------------------------------------------------- threads as members */

int mproc__thread_becomes_member(void) {
    uint64_t token;
    int r = mproc__member_expect("thread", (mproc_method)0, 0, &token);
    if (r != 0) {
        return r;
    }
    struct mproc__self *me = calloc(1, sizeof *me);
    if (me == NULL) {
        return -ENOMEM;
    }
    mproc__hand_leave();
    me->token = token;
    me->slot = &mproc__table->slots[mproc__token_number(token)];
    identify(me->slot);
    mproc__store64(&me->slot->state, mproc__token_state(token, MPROC__SLOT_LIVE));
    mproc__thread_self = me;
    return 0;
}

void mproc__thread_leaves(void) {
    struct mproc__self *me = mproc__thread_self;
    mproc__hand_leave();
    mproc__thread_self = NULL;
    mproc__reap_dead(me->token);
    free(me);
}
