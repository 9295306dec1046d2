/*
 * watch.h - looking at a word for a while before sleeping on it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WATCH_H
#define MPROC_WATCH_H

#include "base.h"
#include "spin.h"

/* What is looked at: *word, as long as its bits in `mask` are those of `seen`. `peer_cpu` is where
 * whoever will change it was last: on the same CPU it cannot run while this thread looks. */
struct mproc__watch {
    const uint32_t *word;
    uint32_t seen;
    uint32_t mask;
    const uint32_t *peer_cpu;
};

static inline bool mproc__watch_changed(const struct mproc__watch *watch) {
    return ((mproc__load32(watch->word) ^ watch->seen) & watch->mask) != 0;
}

/* Looks for as long as `spin` says that it pays. True: the word has changed. The caller tells `spin`
 * how long the wait was in the end, sleep included. */
bool mproc__watch_spin(const struct mproc__watch *watch, const struct mproc__spin *spin,
                       int64_t start);

/* Notes where the caller runs, for those who will wait for it. */
static inline void mproc__watch_here(uint32_t *cpu) {
    mproc__poke32(cpu, (uint32_t)mproc__os_cpu());
}

#endif
