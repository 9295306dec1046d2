/*
 * spin.h - how long to look before sleeping
 *
 * SPDX-License-Identifier: MIT
 *
 * Sleeping and being woken costs 5 to 20 us here, looking again costs nothing but the CPU: so a
 * waiter looks for a while first, as long as waiting lately took, when that was short. It learns
 * from every wait, those that ended in sleep too: else a budget that once became too small would
 * never grow again. When waits are long (WORTH) it hardly looks at all, and leaves the CPU to the
 * thread that it waits for.
 */
#ifndef MPROC_SPIN_H
#define MPROC_SPIN_H

#include "system/atomic.h"
#include "system/os.h"

#define MPROC__SPIN_LEAST 500   /* ns: always worth it, if the peer is on another CPU */
#define MPROC__SPIN_MOST 40000  /* ns: no more than two sleeps and wake-ups cost */
#define MPROC__SPIN_WORTH 60000 /* ns: a longer wait should have been slept through at once */
#define MPROC__SPIN_FIRST 10000 /* ns */

/* A thread's own running average of how long it waited, in ns. */
struct mproc__spin {
    int64_t average;
};

static inline int64_t mproc__spin_budget(const struct mproc__spin *spin) {
    int64_t budget = 2 * spin->average + MPROC__SPIN_LEAST;
    return budget < MPROC__SPIN_MOST ? budget : MPROC__SPIN_MOST;
}

static inline void mproc__spin_learn(struct mproc__spin *spin, int64_t waited) {
    if (waited <= MPROC__SPIN_WORTH) {
        spin->average += (waited - spin->average) / 4;
    } else {
        spin->average -= spin->average / 8;
    }
}

#endif
