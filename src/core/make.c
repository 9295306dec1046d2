/*
 * make.c - making an object of the arena, whole or not at all
 *
 * SPDX-License-Identifier: MIT
 *
 * The two steps of object.c in one call, for every `noun_new`: the object, and what fill() puts
 * into it, is in the hand until the caller holds it. If its maker dies in between, its reaper
 * destroys it.
 */
#include "core/make.h"

#include <string.h>

#include "core/join.h"
#include "core/label.h"
#include "core/name.h"

static void *unheld(const struct mproc__hand *hand) {
    return (void *)(uintptr_t)hand->unheld;
}

/* The insides of an object that is still in hand->unheld; what is there of them goes with it. */
static int fill_or_destroy(struct mproc__hand *hand, mproc__fill_fn fill, const void *arg) {
    int r = fill != NULL ? fill(hand, unheld(hand), arg) : 0;
    if (r != 0) {
        mproc__object_destroy(hand, &hand->unheld);
    }
    return r;
}

int mproc__object_build_for(void *out, enum mproc__kind kind, size_t size, mproc__fill_fn fill,
                            const void *arg, const void *where) {
    int r = mproc__family_need();
    if (r != 0) {
        return r;
    }
    struct mproc__hand *hand = mproc__hand_get();
    r = mproc__object_alloc(hand, kind, size);
    if (r == 0) {
        r = fill_or_destroy(hand, fill, arg);
    }
    if (r == 0) {
        void *object = unheld(hand);
        mproc__object_adopt(hand, &hand->unheld);
        if (mproc__unlikely(mproc__origins)) {
            mproc__name_origin(hand, object, where);
        }
        memcpy(out, &object, sizeof object); /* whatever type the caller's pointer has */
    }
    mproc__hand_put(hand);
    return r;
}
