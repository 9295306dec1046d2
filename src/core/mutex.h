/*
 * mutex.h - a robust mutex: one 64-bit word in the arena
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MUTEX_H
#define MPROC_MUTEX_H

#include "core/token.h"
#include "system/atomic.h"
#include "system/os.h"

/* 0: free. Otherwise the owner's token (member.h), and in bits that tokens leave free: */
struct mproc__mutex {
    uint64_t word;
};

#define MPROC__MUTEX_WAITERS UINT64_C(0x80000000) /* a thread may sleep */
#define MPROC__MUTEX_STARVED UINT64_C(0x40000000) /* one of the sleepers starves */
#define MPROC__MUTEX_BRIEF UINT64_C(0x20000000)   /* held for a few instructions: never marked */
#define MPROC__MUTEX_CPU UINT64_C(0x1fff0000)     /* where the owner was when it acquired */
#define MPROC__MUTEX_CPU_SHIFT 16
#define MPROC__MUTEX_OWNER UINT64_C(0xffff) /* 0 in a word that is not: kept for one that starves */

/* What the mutex is for, which says how a thread waits for it. */
enum mproc__mutex_for {
    MPROC__FOR_SECTION,     /* a section of the library: too short for a hand-over to pay */
    MPROC__FOR_USER,        /* a user's lock: a starving sleeper is next; -EINTR after a handler */
    MPROC__FOR_USER_ALWAYS, /* the same, whatever handlers run */
};

/* What the word is while the caller owns it. */
static inline uint64_t mproc__mutex_mine(void) {
    uint64_t cpu = (uint64_t)(uint32_t)mproc__os_cpu() << MPROC__MUTEX_CPU_SHIFT;
    return mproc__self_token() | (cpu & MPROC__MUTEX_CPU);
}

/* Where the owner was when it acquired. */
static inline uint32_t mproc__mutex_cpu(const struct mproc__mutex *mutex) {
    return (uint32_t)(mproc__peek64(&mutex->word) & MPROC__MUTEX_CPU) >> MPROC__MUTEX_CPU_SHIFT;
}

/* The thread that holds a user's lock. Waiters look whether it still lives, and say when they have
 * seen that the lock is held. */
struct mproc__holder {
    uint64_t *word;  /* pid << 32 | thread id: the owner writes it; 0 before it releases. NULL:
                        threads do not matter */
    uint64_t *since; /* M5 */
    uint64_t gone;   /* out: the thread that has ended, if the mutex was taken from one */
};

/* After mproc__mutex_try, of which it goes on: 0; -EOWNERDEAD: acquired, and the previous owner
 * died, or its thread ended; -ETIMEDOUT; -EINTR. `dead`, if not NULL, gets the token of the owner.
 * A `holder` of NULL: threads do not matter. */
int mproc__mutex_wait(struct mproc__mutex *mutex, uint64_t mine, int64_t timeout,
                      enum mproc__mutex_for whom, struct mproc__holder *holder, uint64_t *dead);
/* The same, but sleeps at once: the thread that will release it needs this CPU. */
int mproc__mutex_sleep(struct mproc__mutex *mutex, uint64_t mine, int64_t timeout,
                       enum mproc__mutex_for whom, struct mproc__holder *holder, uint64_t *dead);
/* Has its owner, if there is one, go the slow way when it releases it, as if a thread slept.
 * `since`: M5. */
void mproc__mutex_mark(struct mproc__mutex *mutex, uint64_t *since);
/* M5, for checks. */
bool mproc__mutex_since_is_past(const uint64_t *since);
/* The caller has it from a dead owner, and cannot put right what that one left: the next thread
 * gets it from the dead one, too. */
void mproc__mutex_give_back(struct mproc__mutex *mutex, uint64_t dead);
/* The slow way: a thread may wait for it, or it is not held. */
int mproc__mutex_release_marked(struct mproc__mutex *mutex);

/* `mine` is mproc__mutex_mine(). A mere try of a held one writes nothing. */
static inline bool mproc__mutex_try(struct mproc__mutex *mutex, uint64_t mine) {
    uint64_t word = mproc__peek64(&mutex->word);
    /* SYNC(mutex.word): what the last owner did, before what this one does. */
    return mproc__likely(word == 0 && mproc__cas64(&mutex->word, &word, mine));
}

/* Both steps. */
static inline int mproc__mutex_acquire(struct mproc__mutex *mutex, int64_t timeout,
                                       enum mproc__mutex_for whom, uint64_t *dead) {
    uint64_t mine = mproc__mutex_mine();
    return mproc__mutex_try(mutex, mine)
               ? 0
               : mproc__mutex_wait(mutex, mine, timeout, whom, NULL, dead);
}

/* True: it was held, nobody waited for it, and it is free now. */
static inline bool mproc__mutex_release_at_once(struct mproc__mutex *mutex) {
    uint64_t word = mproc__peek64(&mutex->word);
    /* SYNC(mutex.word) */
    return mproc__likely(word != 0 && !(word & (MPROC__MUTEX_WAITERS | MPROC__MUTEX_STARVED)) &&
                         mproc__cas64(&mutex->word, &word, 0));
}

/* 0, or MPROC_ENOTHELD when it is not held. */
static inline int mproc__mutex_release(struct mproc__mutex *mutex) {
    return mproc__mutex_release_at_once(mutex) ? 0 : mproc__mutex_release_marked(mutex);
}

/*
 * Holding a mutex for a few instructions costs one atomic step less: no thread marks the word, so a
 * plain store frees it. A thread that waits looks again soon. False: it is not free. Between the
 * two there must be nothing that can wait or fail.
 */
static inline bool mproc__mutex_acquire_briefly(struct mproc__mutex *mutex) {
    uint64_t word = mproc__peek64(&mutex->word);
    return word == 0 && mproc__cas64(&mutex->word, &word, mproc__mutex_mine() | MPROC__MUTEX_BRIEF);
}

static inline void mproc__mutex_release_briefly(struct mproc__mutex *mutex) {
    mproc__store64(&mutex->word, 0); /* SYNC(mutex.word) */
}

/* A thread that waits for its turn on a busy machine is not stopped: an owner that has no CPU gets
 * one within this time. */
#define MPROC__PATIENCE (100 * MPROC_MSEC)

/* How long a call with that timeout waits for a section whose owner may be stopped. */
static inline int64_t mproc__patience(int64_t timeout) {
    return timeout < 0 || timeout > MPROC__PATIENCE ? timeout : MPROC__PATIENCE;
}

/* The owner's token in a word; 0: it is not held. */
static inline uint64_t mproc__mutex_token(uint64_t word) {
    const uint64_t others =
        MPROC__MUTEX_WAITERS | MPROC__MUTEX_STARVED | MPROC__MUTEX_BRIEF | MPROC__MUTEX_CPU;
    return word & MPROC__MUTEX_OWNER ? word & ~others : 0;
}

/* Of a user's lock that a copy says is held by that word: a time from which on it has been, 0: it
 * is not known, because nobody has had to wait for it (M5). */
static inline uint64_t mproc__mutex_since(uint64_t word, uint64_t since) {
    return mproc__mutex_token(word) != 0 && (word & MPROC__MUTEX_WAITERS) != 0 ? since : 0;
}

static inline uint64_t mproc__mutex_owner(const struct mproc__mutex *mutex) {
    return mproc__mutex_token(mproc__load64(&mutex->word));
}

/* The same for those who only ask: 0 also when the owner was killed, which a look too early does
 * not tell. A member that has come to its end by itself is still named (mproc__token_left()):
 * programs made for multiprocessing see its lock as taken. */
uint64_t mproc__mutex_living_owner(const struct mproc__mutex *mutex);

#endif
