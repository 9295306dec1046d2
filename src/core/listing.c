/*
 * listing.c - the public functions that look at the table of members
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared state: only read. A slot that is LIVE stays whole while the members' guard is held.
 */
#include <string.h>

#include "core/bell.h"
#include "core/join.h"
#include "core/object.h"
#include "core/reaper.h"

static void describe(const struct mproc__slot *slot, uint64_t state, mproc_member *out) {
    memset(out, 0, sizeof *out);
    out->pid = slot->pid;
    out->parent = slot->ppid;
    out->serial = state >> 8;
    out->born = slot->born;
    out->method = (mproc_method)slot->method;
    memcpy(out->name, slot->name, sizeof out->name);
    out->name[sizeof out->name - 1] = 0;
}

pid_t mproc_pid(void) {
    return mproc__self_pid();
}

int mproc_self(mproc_member *out) {
    if (mproc__table == NULL) {
        return MPROC_EINIT;
    }
    describe(mproc__self_slot(), mproc__load64(&mproc__self_slot()->state), out);
    return 0;
}

static bool describe_living(struct mproc__hand *hand, uint32_t number, mproc_member *out) {
    struct mproc__slot *slot = &mproc__table->slots[number];
    mproc__guard_enter(&mproc__members->guard, hand);
    uint64_t state = mproc__load64(&slot->state); /* SYNC(slot.state) */
    bool living = (state & 0xff) == MPROC__SLOT_LIVE;
    if (living) {
        describe(slot, state, out);
    }
    mproc__guard_leave(&mproc__members->guard, hand);
    return living && !mproc__token_dead(mproc__token(number, state >> 8));
}

size_t mproc_members(mproc_member *out, size_t cap) {
    if (mproc__table == NULL) {
        return 0;
    }
    size_t n = 0;
    struct mproc__hand *hand = mproc__hand_get();
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        mproc_member one;
        if (describe_living(hand, i, &one)) {
            if (n < cap) {
                out[n] = one;
            }
            n++;
        }
    }
    mproc__hand_put(hand);
    return n;
}

/* ---------------------------------------------------------------- check */

/* It is a free one, which a process may claim meanwhile and begin to use: the caller looks whether
 * it is the same still. */
__attribute__((no_sanitize("thread"))) static bool is_empty(const struct mproc__slot *slot) {
    bool empty = slot->holds == 0 && slot->args == 0 && slot->estate == 0 && slot->spare == 0;
    for (int i = 0; empty && i < MPROC__HANDS; i++) {
        const struct mproc__hand *h = &slot->hands[i];
        empty = h->guard == 0 && h->block == 0 && h->node == 0 && h->run == 0 && h->unheld == 0 &&
                h->message == 0 && h->waits == 0;
    }
    return empty;
}

static int check_slot(uint32_t number, char *why, size_t size) {
    struct mproc__slot *slot = &mproc__table->slots[number];
    uint64_t state = mproc__load64(&slot->state);
    if ((state & 0xff) == MPROC__SLOT_CLAIMED) {
        return 0;
    }
    if ((state & 0xff) != MPROC__SLOT_FREE) {
        return state >> 8 <= mproc__peek64(&mproc__members->serial)
                   ? 0
                   : mproc__corrupt(why, size, "P1: slot %u has a serial of the future", number);
    }
    bool good = is_empty(slot) || mproc__load64(&slot->state) != state;
    return good ? 0 : mproc__corrupt(why, size, "P3: free slot %u holds something", number);
}

int mproc_member_check(char *why, size_t size) {
    int r = mproc__family_need();
    if (r != 0) {
        return r;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&mproc__members->guard, hand);
    for (uint32_t i = 0; r == 0 && i < mproc__table_top(); i++) {
        r = check_slot(i, why, size);
    }
    mproc__guard_leave(&mproc__members->guard, hand);
    if (r == 0) {
        r = mproc__holds_check(hand, why, size);
    }
    if (r == 0) {
        r = mproc__bells_check(why, size);
    }
    if (r == 0) {
        r = mproc__hand_check(why, size);
    }
    mproc__hand_put(hand);
    return r;
}
