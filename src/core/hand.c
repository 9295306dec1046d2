/*
 * hand.c - what one thread has in its hands
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A member's slot has a row of hands, each a cache line. A thread takes a free one
 * with its first call and keeps it until it ends. A thread that finds none free shares the last
 * hand with its likes, under a lock of the process, for the length of one call. That call may wait,
 * for a member that is stopped, say. fork() must not wait for it: the last hand but one is kept for
 * forks, and a thread works with that one, whatever hand it has, from the first handler of fork()
 * to the last.
 *
 * Shared state.
 *   hands   the member's own; the reaper's once the member is dead.
 *   taken   which hands have a thread: private to the process, by compare-and-swap.
 *
 * Invariants.
 *   H1  The hand that is kept for forks is empty while no thread of the member forks.
 *   H2  A thread has at most one hand, and one that it has is no other thread's, but for the shared
 *       one and the one for forks, which have a lock each.
 *
 * If a member dies here: a move is three stores, in this order: `moving` names the target, the
 * target gets the block, the source is emptied. The reaper looks at `moving` and empties the source
 * if the target has the block already.
 */
#include "core/hand.h"

#include <pthread.h>

#include "core/token.h"

#define FORK_HAND (MPROC__HANDS - 2) /* for a thread that forks; under `fork` */

MPROC__THREAD struct mproc__hand *mproc__thread_hand;
_Alignas(512) struct mproc__fork_locks mproc__fork_locks = {
    .joining = PTHREAD_MUTEX_INITIALIZER,
    .fork = PTHREAD_MUTEX_INITIALIZER,
    .holds = PTHREAD_MUTEX_INITIALIZER,
    .pages = PTHREAD_MUTEX_INITIALIZER,
    .template = PTHREAD_MUTEX_INITIALIZER,
    .hand = PTHREAD_MUTEX_INITIALIZER,
    .turn = PTHREAD_MUTEX_INITIALIZER,
};
static_assert(sizeof(struct mproc__fork_locks) <= 512, "they are in one page");
static pthread_key_t hand_key;

/* ---------------------------------------------------------------- taking and returning */

struct mproc__hand *mproc__hand_own(void) {
    struct mproc__self *me = mproc__self();
    uint32_t taken = mproc__load32(&me->taken);
    while (mproc__thread_hand == NULL) {
        uint32_t free = ~taken & ((1u << FORK_HAND) - 1);
        if (free == 0) {
            break;
        }
        uint32_t i = (uint32_t)__builtin_ctz(free);
        if (mproc__cas32(&me->taken, &taken, taken | 1u << i)) { /* SYNC(hand.taken) */
            mproc__thread_hand = &me->slot->hands[i];
            pthread_setspecific(hand_key, mproc__thread_hand);
        }
    }
    return mproc__thread_hand;
}

struct mproc__hand *mproc__hand_take(void) {
    struct mproc__hand *hand = mproc__hand_own();
    if (hand == NULL) {
        pthread_mutex_lock(&mproc__fork_locks.hand);
        hand = &mproc__self()->slot->hands[MPROC__SHARED_HAND];
    }
    return hand;
}

void mproc__hand_return_shared(void) {
    pthread_mutex_unlock(&mproc__fork_locks.hand);
}

static void return_hand(void *hand) {
    struct mproc__self *me = mproc__self();
    ptrdiff_t i = (struct mproc__hand *)hand - me->slot->hands;
    if (i >= 0 && i < MPROC__HANDS) {
        mproc__poke64(&me->slot->hands[i].waits, 0); /* it may have been cancelled in a wait */
        /* SYNC(hand.taken): what it did with the hand, before another thread takes it. */
        (void)mproc__clear32(&me->taken, 1u << i);
    }
    mproc__thread_hand = NULL;
}

/* ---------------------------------------------------------------- moving a block */

void mproc__hand_move(struct mproc__hand *hand, uint64_t *from, uint64_t *to) {
    mproc__poke64(&hand->moving, (uint64_t)(uintptr_t)to);
    mproc__program_order();
    mproc__poke64(to, *from);
    mproc__program_order();
    mproc__poke64(from, 0);
    mproc__program_order();
    mproc__poke64(&hand->moving, 0);
}

void mproc__hand_finish_move(struct mproc__hand *dead) {
    uint64_t *to = (uint64_t *)(uintptr_t)dead->moving;
    if (to == NULL) {
        return;
    }
    if (to != &dead->block && dead->block == *to) {
        mproc__poke64(&dead->block, 0);
    }
    if (to != &dead->unheld && dead->unheld == *to) {
        mproc__poke64(&dead->unheld, 0);
    }
    if (to != &dead->node && dead->node == *to) {
        mproc__poke64(&dead->node, 0);
    }
    if (to != &dead->run && dead->run == *to) {
        mproc__poke64(&dead->run, 0);
    }
    mproc__poke64(&dead->moving, 0);
}

/* ---------------------------------------------------------------- threads that begin, end, fork */

void mproc__hands_init(void) {
    pthread_key_create(&hand_key, return_hand);
}

void mproc__hand_leave(void) {
    if (mproc__thread_hand != NULL) {
        return_hand(mproc__thread_hand);
        pthread_setspecific(hand_key, NULL);
    }
}

void mproc__hand_forget(void) {
    pthread_setspecific(hand_key, NULL);
    mproc__thread_hand = NULL;
}

struct mproc__hand *mproc__hand_fork_begin(void) {
    pthread_mutex_lock(&mproc__fork_locks.fork);
    mproc__fork_locks.set_aside = mproc__thread_hand;
    if (mproc__table != NULL) {
        mproc__thread_hand = &mproc__self()->slot->hands[FORK_HAND];
    }
    return mproc__table != NULL ? mproc__thread_hand : NULL;
}

void mproc__hand_fork_end(void) {
    mproc__thread_hand = mproc__fork_locks.set_aside;
    pthread_mutex_unlock(&mproc__fork_locks.fork);
}

/* Nobody can give back what another thread of the parent had. */
void mproc__hand_fork_end_in_child(void) {
    mproc__hand_forget();
    pthread_mutex_init(&mproc__fork_locks.hand, NULL);
    pthread_mutex_unlock(&mproc__fork_locks.fork);
}

/* ---------------------------------------------------------------- checking */

int mproc__hand_check(char *why, size_t size) {
    pthread_mutex_lock(&mproc__fork_locks.fork);
    const struct mproc__hand *h = &mproc__self()->slot->hands[FORK_HAND];
    bool empty = (h->guard | h->block | h->node | h->run | h->unheld | h->message | h->moving |
                  h->waits) == 0;
    pthread_mutex_unlock(&mproc__fork_locks.fork);
    return empty ? 0 : mproc__corrupt(why, size, "H1: the hand that is kept for forks is in use");
}
