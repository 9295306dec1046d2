/*
 * look.h - whether to look for a message for a while before sleeping
 *
 * SPDX-License-Identifier: MIT
 *
 * To be woken takes 10 to 60 us, the more the idler the machine is; a peer that is at work answers
 * sooner than that. But the peer may be on the waiter's own CPU, which no descriptor tells, and
 * then the look keeps it from answering. Or other processes need the CPU, or the peer has nothing
 * to say for long. So success decides. After looks in vain, some waits are slept through before the
 * next look: 1, 3, 7, ... 63 of them. A look that is rewarded leads to another, and takes one step
 * of that back: where looks mostly fail, a single success does not bring them back.
 */
#ifndef MPROC_PYTHON_LOOK_H
#define MPROC_PYTHON_LOOK_H

#include "threads.h"

#define LOOK_NS 50000 /* how long one look takes */
#define LOOK_MOST 6   /* steps */

/* What came of the last looks; zeros are a fresh start. */
struct look {
    unsigned char steps; /* looks in vain, less those that were not */
    unsigned char rest;  /* waits to sleep through before the next look */
};

/* Whether to look; to be asked once a wait. */
static inline int look_pays(struct look *look) {
    unsigned char rest = THREADS_LOAD(look->rest);
    if (rest == 0) {
        return 1;
    }
    THREADS_STORE(look->rest, rest - 1);
    return 0;
}

static inline void look_learn(struct look *look, int in_vain) {
    unsigned char steps = THREADS_LOAD(look->steps); /* another thread's step may be lost */
    if (!in_vain) {
        THREADS_STORE(look->steps, steps - (steps > 0));
        return;
    }
    steps += steps < LOOK_MOST;
    THREADS_STORE(look->steps, steps);
    THREADS_STORE(look->rest, (unsigned char)((1U << steps) - 1));
}

#endif
