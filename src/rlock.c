/*
 * rlock.c - the recursive lock: its holder may acquire it again
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A robust mutex, the thread that holds it, and how often. The holder is a thread of
 * a process: a forked child does not hold what its parent holds.
 *
 * A single number is read without taking the lock. A reader finds the lock free, reads the number,
 * and sees by `turn` that no thread has taken the lock meanwhile. Then it has read what it would
 * have read under the lock, because a thread that takes the lock changes `turn` before anything
 * that it guards. To write a single number, a thread holds the mutex for that one store.
 *
 * Shared state.
 *   mutex     As mutex.c says.
 *   holder    pid << 32 | thread id. The owner of the mutex writes it, and 0 before it releases.
 *             Any thread may ask whether it is its own: only the thread itself ever writes that
 *             value. When that thread has ended, a waiter writes its own (mutex.c).
 *   depth     Written and read by the owner of the mutex.
 *   turn      How often the lock was taken. The owner of the mutex writes it; readers of a number
 *             compare it before and after.
 *   since     As mutex.c says: when one who had to wait saw that it is held.
 *   dead_*    Written by the thread that acquired the mutex from a dead holder.
 *
 * Invariants.
 *   R1  While the mutex is free, holder and depth are 0.
 *   R2  Only the thread that `holder` names changes depth; a process of the same number that comes
 *       later is another member, which the mutex's token tells.
 *   R3  A thread that holds the mutex for more than one store has changed turn since it acquired
 *       it.
 *   R4  `since` is not in the future.
 *
 * If the holder dies, or its thread ends: the next thread that acquires takes the mutex, sets
 * holder and depth to its own, and is told. A store of a single number has happened or not.
 */
#include "core/facts.h"
#include "core/family.h"
#include "core/make.h"
#include "core/trace_ring.h"
#include "lock.h"

struct mproc_rlock {
    struct mproc__object object;
    _Alignas(MPROC__LINE) struct mproc__mutex mutex;
    uint64_t holder;
    uint32_t depth;
    uint32_t pad;
    uint64_t turn;
    uint64_t dead_thread;
    uint64_t dead_serial;
    uint64_t since;
};

int mproc_rlock_new(mproc_rlock **out) {
    return mproc__object_build(out, MPROC__KIND_RLOCK, sizeof(mproc_rlock), NULL, NULL);
}

int mproc__rlock_make(struct mproc__hand *hand, uint64_t *word) {
    return mproc__object_make(hand, MPROC__KIND_RLOCK, sizeof(mproc_rlock), word);
}

static bool is_mine(const mproc_rlock *lock) {
    return mproc__peek64(&lock->holder) == mproc__self_thread() &&
           mproc__mutex_owner(&lock->mutex) == mproc__self_token();
}

static MPROC__NOINLINE int wait(mproc_rlock *lock, uint64_t mine, int64_t timeout,
                                enum mproc__mutex_for whom) {
    struct mproc__holder holder = {&lock->holder, &lock->since, 0};
    uint64_t dead;
    int r = mproc__mutex_wait(&lock->mutex, mine, timeout, whom, &holder, &dead);
    if (r == -EOWNERDEAD) {
        uint64_t thread = holder.gone != 0 ? holder.gone : mproc__peek64(&lock->holder);
        mproc__poke64(&lock->dead_thread, mproc__lock_late_holder(thread, dead));
        mproc__poke64(&lock->dead_serial, dead >> 32);
    }
    return r;
}

static int take(mproc_rlock *lock, int64_t timeout, enum mproc__mutex_for whom, uint32_t depth) {
    uint64_t mine = mproc__mutex_mine();
    int r = mproc__mutex_try(&lock->mutex, mine) ? 0 : wait(lock, mine, timeout, whom);
    if (mproc__unlikely(r != 0 && r != -EOWNERDEAD)) {
        return r;
    }
    mproc__poke64(&lock->turn, lock->turn + 1);
    mproc__store_fence(); /* SYNC(rlock.turn): the turn, before what is changed in it. */
    mproc__poke64(&lock->holder, mproc__self_thread());
    mproc__poke32(&lock->depth, depth);
    mproc__traced(MPROC__TRACE_ACQUIRE, MPROC__KIND_RLOCK, lock, 0);
    return r;
}

int mproc_rlock_acquire(mproc_rlock *lock, int64_t timeout) {
    if (!mproc__expect(lock, MPROC__KIND_RLOCK)) {
        return MPROC_EOTHER;
    }
    if (!is_mine(lock)) {
        return take(lock, timeout, MPROC__FOR_USER, 1);
    }
    if (lock->depth == UINT32_MAX) {
        return -EOVERFLOW;
    }
    mproc__poke32(&lock->depth, lock->depth + 1);
    return 0;
}

static int give_up(mproc_rlock *lock) {
    mproc__traced(MPROC__TRACE_RELEASE, MPROC__KIND_RLOCK, lock, 0);
    mproc__poke32(&lock->depth, 0);
    mproc__poke64(&lock->holder, 0);
    mproc__program_order();
    return mproc__mutex_release(&lock->mutex);
}

int mproc_rlock_release(mproc_rlock *lock) {
    if (!mproc__expect(lock, MPROC__KIND_RLOCK)) {
        return MPROC_EOTHER;
    }
    if (mproc__unlikely(!is_mine(lock))) {
        return MPROC_ENOTHELD;
    }
    if (lock->depth > 1) {
        mproc__poke32(&lock->depth, lock->depth - 1);
        return 0;
    }
    return give_up(lock);
}

int mproc__rlock_release_all(mproc_rlock *lock, uint32_t *depth) {
    if (!is_mine(lock)) {
        return MPROC_ENOTHELD;
    }
    *depth = lock->depth;
    return give_up(lock);
}

int mproc__rlock_reacquire(mproc_rlock *lock, uint32_t depth) {
    return take(lock, MPROC_FOREVER, MPROC__FOR_USER_ALWAYS, depth);
}

/* The turn is read first: a thread that has taken the lock since then is noticed, even if it has
 * released it already. */
static MPROC__INLINE int load(const mproc_rlock *lock, size_t size, const void *at, void *out) {
    uint64_t number, turn = mproc__load64(&lock->turn);
    if (mproc__unlikely(mproc__mutex_owner(&lock->mutex) != 0) && !is_mine(lock)) {
        return -EBUSY;
    }
    mproc__copy_number(&number, at, size);
    if (mproc__unlikely(mproc__peek64(&lock->turn) != turn)) { /* SYNC(rlock.turn): the last look */
        return -EBUSY;
    }
    mproc__copy_number(out, &number, size);
    return 0;
}

int mproc__rlock_load(const mproc_rlock *lock, size_t size, const void *at, void *out) {
    return load(lock, size, at, out);
}

int mproc_rlock_load(const mproc_rlock *lock, size_t size, const void *at, void *out) {
    return mproc__expect(lock, MPROC__KIND_RLOCK) ? load(lock, size, at, out) : MPROC_EOTHER;
}

static MPROC__INLINE int store(mproc_rlock *lock, size_t size, void *at, const void *lent) {
    if (mproc__mutex_acquire_briefly(&lock->mutex)) {
        mproc__copy_number(at, lent, size);
        mproc__mutex_release_briefly(&lock->mutex);
        return 0;
    }
    if (!is_mine(lock)) {
        return -EBUSY;
    }
    mproc__copy_number(at, lent, size);
    return 0;
}

int mproc__rlock_store(mproc_rlock *lock, size_t size, void *at, const void *lent) {
    return store(lock, size, at, lent);
}

int mproc_rlock_store(mproc_rlock *lock, size_t size, void *at, const void *lent) {
    return mproc__expect(lock, MPROC__KIND_RLOCK) ? store(lock, size, at, lent) : MPROC_EOTHER;
}

unsigned mproc_rlock_depth(const mproc_rlock *lock) {
    if (!mproc__expect(lock, MPROC__KIND_RLOCK)) {
        return 0;
    }
    return is_mine(lock) ? lock->depth : 0;
}

static void describe(uint64_t thread, uint64_t serial, mproc_lock_holder *out) {
    out->pid = (pid_t)(thread >> 32);
    out->tid = (pid_t)(thread & 0xffffffff);
    out->serial = serial;
}

void mproc_rlock_owner(const mproc_rlock *lock, mproc_lock_holder *out) {
    if (!mproc__expect(lock, MPROC__KIND_RLOCK)) {
        *out = (mproc_lock_holder){0};
        return;
    }
    uint64_t token = mproc__mutex_living_owner(&lock->mutex);
    describe(token == 0 ? 0 : mproc__peek64(&lock->holder), token >> 32, out);
}

void mproc_rlock_dead_owner(const mproc_rlock *lock, mproc_lock_holder *out) {
    if (!mproc__expect(lock, MPROC__KIND_RLOCK)) {
        *out = (mproc_lock_holder){0};
        return;
    }
    describe(mproc__peek64(&lock->dead_thread), mproc__peek64(&lock->dead_serial), out);
}

int mproc_rlock_check(const mproc_rlock *lock, char *why, size_t size) {
    if (!mproc__object_is(lock, MPROC__KIND_RLOCK)) {
        return mproc__corrupt(why, size, "R: %p is no recursive lock", (const void *)lock);
    }
    if (is_mine(lock) && lock->depth == 0) {
        return mproc__corrupt(why, size, "R2: the calling thread holds it 0 times");
    }
    /* Another member may acquire at any moment: judge only what the mutex says before and after. */
    if (mproc__mutex_owner(&lock->mutex) == 0 && mproc__peek32(&lock->depth) != 0 &&
        mproc__mutex_owner(&lock->mutex) == 0) {
        return mproc__corrupt(why, size, "R1: a free lock is held %u times", lock->depth);
    }
    if (!mproc__mutex_since_is_past(&lock->since)) {
        return mproc__corrupt(why, size, "R4: it is held since a time that is to come");
    }
    return 0;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__rlock_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_rlock *lock = copy;
    if (size < sizeof *lock) {
        return false;
    }
    out->owner = mproc__mutex_token(lock->mutex.word);
    out->thread = out->owner != 0 ? lock->holder : 0;
    out->since = mproc__mutex_since(lock->mutex.word, lock->since);
    out->count = out->owner != 0 ? lock->depth : 0;
    return true;
}
