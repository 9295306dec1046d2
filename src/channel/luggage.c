/*
 * luggage.c - buffers that messages have sent ahead, which name them
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A message that goes as bytes cannot hold what it names. So the buffers that it
 * takes along are a parcel (core/parcel.c) without bytes of its own, which its sender puts here
 * before the message leaves. The message has the parcel's name in it, and its receiver takes the
 * parcel by that name. Messages come in order, as a rule, and so the parcel that is looked for is
 * the first; several receivers may have overtaken each other.
 *
 * Shared state, all of it under `guard`.
 *   first     the oldest parcel; 0: there is none. Each has in its payload the next one and its
 *             name.
 *   last      the newest one.
 *   leaving   a parcel that is being destroyed together with the channel.
 *   name      the last parcel's that was added. Names begin somewhere: bytes that merely look like
 *             a name are unlikely to be one.
 *
 * Invariants.
 *   L1  From `first` to `last` there are live parcels without holds, whose names rise.
 *   L2  first == 0, last == 0: both or neither.
 *
 * If a member dies here: a parcel is in one hand or in the list. What a sender has added whose
 * message never left, and what nobody has received, stays as long as the channel.
 */
#include "channel/luggage.h"

#include "core/object.h"
#include "core/parcel.h"

/* What a parcel's payload is. */
struct tag {
    uint64_t next;
    uint64_t name;
};

static_assert(sizeof(struct tag) == MPROC__LUGGAGE_PAYLOAD, "what parcels are made for");

static struct tag *tag_of(uint64_t parcel) {
    return mproc__parcel_payload((struct mproc__object *)(uintptr_t)parcel);
}

void mproc__luggage_init(struct mproc__luggage *luggage) {
    mproc__guard_init(&luggage->guard, luggage->log, MPROC__LUGGAGE_UNDO);
    luggage->name = (uint64_t)mproc__os_now() * UINT64_C(0x9e3779b97f4a7c15) >> 1;
}

uint64_t mproc__luggage_add(struct mproc__luggage *luggage, struct mproc__hand *hand) {
    uint64_t parcel = hand->unheld;
    mproc__guard_enter(&luggage->guard, hand);
    uint64_t name = luggage->name + 1;
    *tag_of(parcel) = (struct tag){0, name};
    mproc__guard_set(&luggage->guard, &luggage->name, name);
    mproc__guard_set(&luggage->guard,
                     luggage->first == 0 ? &luggage->first : &tag_of(luggage->last)->next, parcel);
    mproc__guard_set(&luggage->guard, &luggage->last, parcel);
    mproc__guard_set(&luggage->guard, &hand->unheld, 0);
    mproc__guard_leave(&luggage->guard, hand);
    return name;
}

/* Under the guard. The parcel of that name, and the one before it, which is 0 for the first. */
static uint64_t find(const struct mproc__luggage *luggage, uint64_t name, uint64_t *before) {
    uint64_t parcel = luggage->first;
    *before = 0;
    while (parcel != 0 && tag_of(parcel)->name != name) {
        *before = parcel;
        parcel = tag_of(parcel)->next;
    }
    return parcel;
}

/* Under the guard. */
static void move_out(struct mproc__luggage *luggage, uint64_t parcel, uint64_t before,
                     uint64_t *to) {
    mproc__guard_set(&luggage->guard, before == 0 ? &luggage->first : &tag_of(before)->next,
                     tag_of(parcel)->next);
    if (luggage->last == parcel) {
        mproc__guard_set(&luggage->guard, &luggage->last, before);
    }
    mproc__guard_set(&luggage->guard, to, parcel);
}

int mproc__luggage_take(struct mproc__luggage *luggage, struct mproc__hand *hand, uint64_t name) {
    uint64_t before;
    mproc__guard_enter(&luggage->guard, hand);
    uint64_t parcel = find(luggage, name, &before);
    if (parcel != 0) {
        move_out(luggage, parcel, before, &hand->message);
    }
    mproc__guard_leave(&luggage->guard, hand);
    return parcel != 0 ? 0 : -ENOENT;
}

/* The member that destroys the channel may be killed: another one goes on. */
void mproc__luggage_destroy(struct mproc__luggage *luggage, struct mproc__hand *hand) {
    mproc__object_destroy(hand, &luggage->leaving);
    while (luggage->first != 0) {
        mproc__guard_enter(&luggage->guard, hand);
        move_out(luggage, luggage->first, 0, &luggage->leaving);
        mproc__guard_leave(&luggage->guard, hand);
        mproc__object_destroy(hand, &luggage->leaving);
    }
}

/* ---------------------------------------------------------------- check */

/* Under the guard. */
static int check_list(const struct mproc__luggage *luggage, char *why, size_t size) {
    uint64_t last = 0, name = 0;
    for (uint64_t at = luggage->first; at != 0; last = at, at = tag_of(at)->next) {
        struct mproc__object *parcel = (struct mproc__object *)(uintptr_t)at;
        if (!mproc__object_is(parcel, MPROC__KIND_PARCEL) || parcel->holds != 0) {
            return mproc__corrupt(why, size, "L1: %p is no parcel", (void *)parcel);
        }
        if ((last != 0 && tag_of(at)->name <= name) || tag_of(at)->name > luggage->name) {
            return mproc__corrupt(why, size, "L1: name %llu behind %llu",
                                  (unsigned long long)tag_of(at)->name, (unsigned long long)name);
        }
        name = tag_of(at)->name;
        int r = mproc__parcel_check(parcel, why, size);
        if (r != 0) {
            return r;
        }
    }
    return last == luggage->last ? 0 : mproc__corrupt(why, size, "L2: another one is the last");
}

int mproc__luggage_check(struct mproc__luggage *luggage, char *why, size_t size) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&luggage->guard, hand);
    int r = check_list(luggage, why, size);
    mproc__guard_leave(&luggage->guard, hand);
    mproc__hand_put(hand);
    return r;
}
