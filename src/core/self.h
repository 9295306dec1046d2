/*
 * self.h - who the calling thread is
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SELF_H
#define MPROC_SELF_H

#include "system/base.h"

struct mproc__slot;

/* What the process is. Threads of tests may be members of their own. */
struct mproc__self {
    uint64_t token;
    struct mproc__slot *slot;
    uint32_t taken; /* hands that have a thread: a bit each */
    uint32_t pad;
};

extern MPROC__HIDDEN struct mproc__self mproc__process_self;
extern MPROC__HIDDEN MPROC__THREAD struct mproc__self *mproc__thread_self; /* NULL: the process */
extern MPROC__HIDDEN MPROC__THREAD uint64_t mproc__thread_id; /* 0: not asked yet, or forked */

static inline struct mproc__self *mproc__self(void) {
    return mproc__likely(mproc__thread_self == NULL) ? &mproc__process_self : mproc__thread_self;
}

/* The calling member's token and slot (member.h). Only in a member. */
static inline uint64_t mproc__self_token(void) {
    return mproc__self()->token;
}

static inline struct mproc__slot *mproc__self_slot(void) {
    return mproc__self()->slot;
}

/* Asks the system, and remembers. */
uint64_t mproc__thread_ask(void);

/* pid << 32 | thread id of the caller. */
static inline uint64_t mproc__self_thread(void) {
    return mproc__likely(mproc__thread_id != 0) ? mproc__thread_id : mproc__thread_ask();
}

/* getpid(), remembered: it is asked for with every look at a child. */
static inline pid_t mproc__self_pid(void) {
    return (pid_t)(mproc__self_thread() >> 32);
}

#endif
