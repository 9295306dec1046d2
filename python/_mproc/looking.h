/*
 * looking.h - whether to look for a message for a while before sleeping
 *
 * SPDX-License-Identifier: MIT
 *
 * Being woken takes 10 to 60 us, the more the idler the machine; a peer that is at work answers
 * sooner than that. But it may be on our very CPU, which no descriptor tells, and then looking
 * keeps it from answering; or others need the CPU; or it has nothing to say for long. So what
 * counts is success. After looks in vain, waits are slept through before the next one: 1, 3, 7, ...
 * 63 of them. A look that is rewarded leads to another, and takes one step of that back: where
 * looks mostly fail, one stroke of luck does not bring them back.
 */
#ifndef MPROC_PYTHON_LOOKING_H
#define MPROC_PYTHON_LOOKING_H

#define LOOKING_NS 50000 /* of one look */
#define LOOKING_MOST 6   /* steps */

/* What lately came of it; zeros are a fresh start. */
struct looking {
    unsigned char steps; /* looks in vain, less those that were not */
    unsigned char rest;  /* waits to sleep through */
};

/* Asked once a wait: whether to look. */
static inline int looking_pays(struct looking *looking) {
    if (looking->rest == 0) {
        return 1;
    }
    looking->rest--;
    return 0;
}

static inline void looking_learn(struct looking *looking, int in_vain) {
    if (!in_vain) {
        looking->steps -= looking->steps > 0;
        return;
    }
    looking->steps += looking->steps < LOOKING_MOST;
    looking->rest = (unsigned char)((1U << looking->steps) - 1);
}

#endif
