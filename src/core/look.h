/*
 * look.h - looking at a word for a while before sleeping on it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LOOK_H
#define MPROC_LOOK_H

#include "core/spin.h"
#include "core/token.h"
#include "system/base.h"

/* Which thread changed a word last, and where it ran: hints about the thread that will change it
 * next. Every thread that changes the word writes them. */
struct mproc__peer {
    uint64_t thread;
    uint32_t cpu;
    uint32_t other_cpu; /* where the last one before it ran that was another */
};

static inline void mproc__peer_init(struct mproc__peer *peer) {
    mproc__poke32(&peer->cpu, UINT32_MAX);
    mproc__poke32(&peer->other_cpu, UINT32_MAX);
}

/* The caller is about to change the word. */
static inline void mproc__peer_here(struct mproc__peer *peer) {
    uint64_t thread = mproc__self_thread();
    if (mproc__unlikely(mproc__peek64(&peer->thread) != thread)) {
        mproc__poke32(&peer->other_cpu, mproc__peek32(&peer->cpu));
        mproc__poke64(&peer->thread, thread);
    }
    mproc__poke32(&peer->cpu, (uint32_t)mproc__os_cpu());
}

/* What is looked at: *word, as long as its bits in `mask` are those of `seen`. */
struct mproc__look {
    const uint32_t *word;
    uint32_t seen;
    uint32_t mask;
    const struct mproc__peer *peer;
};

static inline bool mproc__look_changed(const struct mproc__look *look) {
    return ((mproc__load32(look->word) ^ look->seen) & look->mask) != 0;
}

/* Looks for as long as `spin` says that it pays. True: the word has changed. The caller tells
 * `spin` how long the wait was in the end, sleep included. */
bool mproc__look_spin(const struct mproc__look *look, const struct mproc__spin *spin,
                      int64_t start);

#endif
