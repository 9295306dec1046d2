/*
 * look.c - looking at a word for a while before sleeping on it
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/look.h"

#define LOOKS 16 /* between two looks at the clock and at the peer's place, which cost more */

/* A peer on this CPU cannot run while this thread looks. If this very thread changed the word last,
 * the next change may come from the thread that did so before it. */
static bool beside(const struct mproc__peer *peer) {
    bool myself = mproc__peek64(&peer->thread) == mproc__self_thread();
    return mproc__peek32(myself ? &peer->other_cpu : &peer->cpu) == (uint32_t)mproc__os_cpu();
}

bool mproc__look_spin(const struct mproc__look *look, const struct mproc__spin *spin,
                      int64_t start) {
    int64_t end = start + mproc__spin_budget(spin);
    for (unsigned i = 1;; i++) {
        if (mproc__look_changed(look)) {
            return true;
        }
        if (i % LOOKS == 0 && (beside(look->peer) || mproc__os_now() >= end)) {
            return false;
        }
        mproc__pause();
    }
}
