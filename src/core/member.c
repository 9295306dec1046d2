/*
 * member.c - how a process becomes a member: its starter reserves a slot, the process adopts it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A starter reserves a slot for its child (UNBORN), copies or takes the child's holds
 * into it, then starts the child, which adopts the slot (LIVE). reaper.c frees it (DYING, FREE).
 *
 * Shared state.
 *   slot->state   FREE -> UNBORN under the members' guard; UNBORN -> LIVE by the child, by
 *                 compare-and-swap, because a reaper may take the slot of a dead starter's child.
 *   slot->*       the starter's until the child adopts, the child's until it dies.
 *   serial, top   under the members' guard.
 *
 * Invariants: P1 and P2 of token.c, P3 of reaper.c.
 *
 * If a member dies here: a reservation bears the token of its starter, and is reaped like a member
 * once that is dead. A child that dies while it adopts is UNBORN with its pid, or LIVE.
 */
#include "core/member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/reaper.h"

#define LOOK_AFTER 2 /* slots that every birth looks at */

/* ---------------------------------------------------------------- reserving */

/* Under the guard: a free slot's number, or MPROC__MEMBERS. Low ones first: they are warm. */
static uint32_t find_free(void) {
    struct mproc__slot *slots = mproc__table->slots;
    uint32_t i = 0, top = mproc__table_top();
    while (i < top && (mproc__peek64(&slots[i].state) & 0xff) != MPROC__SLOT_FREE) {
        i++;
    }
    return i;
}

static void occupy(uint32_t i, uint64_t parent, uint64_t serial) {
    struct mproc__guard *guard = &mproc__members->guard;
    struct mproc__slot *slot = &mproc__table->slots[i];
    mproc__guard_set(guard, &mproc__members->serial, serial);
    mproc__guard_set(guard, &slot->parent, parent);
    mproc__guard_set(guard, &slot->state, serial << 8 | MPROC__SLOT_UNBORN);
    if (i >= mproc__table->top) {
        mproc__guard_set(guard, &mproc__table->top, i + 1);
    }
}

static int reserve(struct mproc__hand *hand, uint64_t parent, uint64_t *token) {
    mproc__guard_enter(&mproc__members->guard, hand);
    uint32_t i = find_free();
    if (i < MPROC__MEMBERS) {
        uint64_t serial = mproc__members->serial + 1;
        occupy(i, parent, serial);
        *token = mproc__token(i, serial);
    }
    mproc__guard_leave(&mproc__members->guard, hand);
    return i < MPROC__MEMBERS ? 0 : MPROC_EMEMBERS;
}

/* Perhaps no thread waits for a member that was forked by hand and died: each birth looks at a
 * few. */
static void look_after_some(void) {
    for (int i = 0; i < LOOK_AFTER; i++) {
        uint64_t turn = mproc__add64(&mproc__members->hint, 1);
        (void)mproc__reap_slot((uint32_t)(turn % mproc__table_top()));
    }
}

int mproc__member_expect(const char *name, mproc_method method, unsigned flags, uint64_t *token) {
    look_after_some();
    struct mproc__hand *hand = mproc__hand_get();
    int r = reserve(hand, mproc__self_token(), token);
    mproc__hand_put(hand);
    if (r == MPROC_EMEMBERS && mproc_reap() > 0) {
        return mproc__member_expect(name, method, flags, token);
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
        if (pid == MPROC__PID_UNKNOWN || (slot->flags & MPROC_WRAPPED) != 0) {
            pid_t nobody = 0;
            (void)mproc__cas_pid(&slot->pid, &nobody, pid);
        } else {
            mproc__store_pid(&slot->pid, pid);
        }
    }
    mproc__guard_leave(&mproc__members->guard, hand);
    mproc__hand_put(hand);
}

void mproc__member_expected_pid(uint64_t token, pid_t pid) {
    tell_pid(token, pid);
}

void mproc__member_forked(uint64_t token) {
    tell_pid(token, MPROC__PID_UNKNOWN);
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
    struct mproc__hand first = {0}; /* private: no other member is there to reap it */
    uint64_t token;
    int r = reserve(&first, 0, &token);
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
