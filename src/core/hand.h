/*
 * hand.h - what one thread has in its hands
 *
 * SPDX-License-Identifier: MIT
 *
 * A hand says enough for a reaper to finish or undo what its thread was doing. A thread takes a
 * hand when it first enters the library. `guard` is set before a guard is entered and cleared after
 * it is left. The other words hold blocks that are on their way between two places: they move from
 * word to word inside guarded sections only, so each block is always in exactly one place.
 */
#ifndef MPROC_HAND_H
#define MPROC_HAND_H

#include <pthread.h>

#include "system/atomic.h"
#include "system/base.h"

/* The locks that fork() takes, and those that another thread of the parent may have had and that
 * are new in the child. In one place: parent and child write to them when the child is there, and
 * each would copy a page for each lock otherwise. What takes one of the first kind waits for
 * nobody while it has it: fork() must not wait for what other threads wait for. */
struct mproc__fork_locks {
    pthread_mutex_t joining;  /* join.c: the process becomes a member */
    pthread_mutex_t fork;     /* hand.c: a thread forks */
    pthread_mutex_t holds;    /* object.c: the process' holds change */
    pthread_mutex_t pages;    /* views.c: its list of pages changes */
    pthread_mutex_t template; /* process/template.c: its default template changes */
    /* fork() does not take these. */
    pthread_mutex_t hand; /* hand.c: a thread has the shared hand */
    pthread_mutex_t turn; /* process/template.c: a thread uses the default template */
    /* Under `fork`: the hand that the thread which forks had before; NULL: it had none. */
    struct mproc__hand *set_aside;
};
extern MPROC__HIDDEN struct mproc__fork_locks mproc__fork_locks;

struct mproc__hand {
    uint64_t guard;   /* struct mproc__guard * */
    uint64_t block;   /* a block on its way */
    uint64_t node;    /* a hold record on its way */
    uint64_t run;     /* a chunk run on its way between a size class and the chunk heap */
    uint64_t unheld;  /* an object without holds: being made or being destroyed */
    uint64_t message; /* a message on its way between a queue and a member */
    uint64_t moving;  /* uint64_t *: where mproc__hand_move moves a block to */
    uint64_t waits;   /* an address that the thread waits for, 0: it does not (wait.c) */
};

/* The calling thread's; NULL: it has none yet, or shares one. */
extern MPROC__HIDDEN MPROC__THREAD struct mproc__hand *mproc__thread_hand;

struct mproc__hand *mproc__hand_take(void);
void mproc__hand_return_shared(void);

/* The calling thread's own, taken if there is one left; NULL: it has to share one. */
struct mproc__hand *mproc__hand_own(void);

static inline struct mproc__hand *mproc__hand_get(void) {
    struct mproc__hand *hand = mproc__thread_hand;
    return mproc__likely(hand != NULL) ? hand : mproc__hand_take();
}

static inline void mproc__hand_put(const struct mproc__hand *hand) {
    if (mproc__unlikely(hand != mproc__thread_hand)) {
        mproc__hand_return_shared();
    }
}

/* Moves a block from a word of the hand (not `message`) to another word, outside of any section.
 * For an instant both name it; `moving` tells the reaper which of the two counts. */
void mproc__hand_move(struct mproc__hand *hand, uint64_t *from, uint64_t *to);

/* For the reaper: a move that was cut short between its two stores is finished. */
void mproc__hand_finish_move(struct mproc__hand *dead);

/* ---- threads that begin, end, fork */

/* Once, before any thread takes a hand: a hand goes back when its thread ends. */
void mproc__hands_init(void);

/* The calling thread has no hand from now on; the one that it had is free. */
void mproc__hand_leave(void);

/* In a new process that was not made by fork(): the hand that the calling thread had was the
 * parent's. */
void mproc__hand_forget(void);

/* Around fork(): until its end the calling thread works with the hand that is kept for forks. It
 * waits for other threads that fork, and for nobody else. NULL: the process is no member. */
struct mproc__hand *mproc__hand_fork_begin(void);
void mproc__hand_fork_end(void);
/* The same end in the child, which has no hand yet and whose shared hand nobody has. */
void mproc__hand_fork_end_in_child(void);

/* Whether the hand that is kept for forks is empty while no thread forks. */
int mproc__hand_check(char *why, size_t size);

#endif
