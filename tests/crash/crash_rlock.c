/*
 * crash_rlock.c - the recursive lock, killed after each instruction of acquire and release
 *
 * SPDX-License-Identifier: MIT
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pid_t *victim(void) {
    return crash_room();
}

static void *make(void) {
    mproc_rlock *lock = made_rlock();
    crash_require(lock != NULL);
    return lock;
}

static void *make_held(void) {
    mproc_rlock *lock = make();
    crash_equal(mproc_rlock_acquire(lock, CRASH_SOON), 0);
    return lock;
}

static void note_victim(void *object) {
    (void)object;
    *victim() = getpid();
}

static void acquire(void *lock) {
    if (mproc_rlock_acquire(lock, CRASH_SOON) != 0) {
        abort();
    }
}

static void release(void *lock) {
    if (mproc_rlock_release(lock) != 0) {
        abort();
    }
}

static void nest(void *lock) {
    for (int i = 0; i < 3; i++) {
        acquire(lock);
    }
    for (int i = 0; i < 3; i++) {
        release(lock);
    }
}

static void hold(void *lock) {
    note_victim(lock);
    acquire(lock);
}

static void hold_twice(void *lock) {
    hold(lock);
    acquire(lock);
}

static void use(mproc_rlock *lock) {
    mproc_lock_holder holder;
    for (unsigned i = 0; i < 3; i++) {
        crash_equal(mproc_rlock_depth(lock), i);
        crash_equal(mproc_rlock_acquire(lock, CRASH_SOON), 0);
    }
    mproc_rlock_owner(lock, &holder);
    crash_equal(holder.pid, getpid());
    for (unsigned i = 0; i < 3; i++) {
        crash_equal(mproc_rlock_release(lock), 0);
    }
    crash_equal(mproc_rlock_release(lock), MPROC_ENOTHELD);
    crash_check(mproc_rlock_check(lock, why, sizeof why));
}

/* Acquires after the kill; returns whether the victim died holding the lock. */
static bool inherit(mproc_rlock *lock) {
    mproc_lock_holder dead;
    int r = mproc_rlock_acquire(lock, CRASH_SOON);
    crash_require(r == 0 || r == -EOWNERDEAD);
    if (r != 0) {
        mproc_rlock_dead_owner(lock, &dead);
        crash_require(dead.pid == *victim() || dead.pid == 0);
    }
    crash_equal(mproc_rlock_depth(lock), 1);
    crash_check(mproc_rlock_check(lock, why, sizeof why));
    crash_equal(mproc_rlock_release(lock), 0);
    return r != 0;
}

static void verify_acquire(void *lock) {
    bool died_holding = inherit(lock);
    crash_require(died_holding || !crash_returned());
    use(lock);
}

static void verify_inner(void *lock) {
    crash_require(inherit(lock));
    use(lock);
}

static void verify_release(void *lock) {
    bool died_holding = inherit(lock);
    crash_require(!died_holding || !crash_returned());
    use(lock);
}

static void verify_waited(void *lock) {
    while (mproc_rlock_depth(lock) > 0) {
        release(lock);
    }
    verify_acquire(lock);
}

/* ---- single numbers */

static uint64_t *number(void) {
    return (uint64_t *)(void *)crash_room() + 1;
}

static void zero(void *lock) {
    note_victim(lock);
    *number() = 0;
}

static void zero_holding(void *lock) {
    hold(lock);
    *number() = 0;
}

static void store_one(void *lock) {
    uint64_t one = 1;
    if (mproc_rlock_store(lock, sizeof one, number(), &one) != 0) {
        abort();
    }
}

static void load_one(void *lock) {
    uint64_t out = 5;
    if (mproc_rlock_load(lock, sizeof out, number(), &out) != 0 || out != 0) {
        abort();
    }
}

static void verify_store(void *lock) {
    crash_require(*number() == 1 || (*number() == 0 && !crash_returned()));
    verify_release(lock);
}

static void verify_inner_store(void *lock) {
    crash_require(*number() == 1 || (*number() == 0 && !crash_returned()));
    verify_inner(lock);
}

static void verify_load(void *lock) {
    crash_require(!inherit(lock));
    use(lock);
}

/* ---- a thread that has ended */

static void *acquire_and_end(void *lock) {
    acquire(lock);
    return NULL;
}

static void *make_left_behind(void) {
    mproc_rlock *lock = make();
    pthread_t thread;
    crash_equal(pthread_create(&thread, NULL, acquire_and_end, lock), 0);
    crash_equal(pthread_join(thread, NULL), 0);
    return lock;
}

static void take_over(void *lock) {
    if (mproc_rlock_acquire(lock, CRASH_SOON) != -EOWNERDEAD) {
        abort();
    }
}

/* The victim has taken it over, or the survivor does. */
static void verify_taken_over(void *lock) {
    mproc_lock_holder dead;
    crash_equal(mproc_rlock_acquire(lock, CRASH_SOON), -EOWNERDEAD);
    mproc_rlock_dead_owner(lock, &dead);
    crash_require(dead.pid == *victim() || (dead.pid == getpid() && !crash_returned()));
    crash_equal(mproc_rlock_release(lock), 0);
    use(lock);
}

static void drop(void *lock) {
    mproc_drop(lock);
}

static const struct crash_op ops[] = {
    {.name = "rlock acquire",
     .setup = make,
     .prepare = note_victim,
     .operate = acquire,
     .verify = verify_acquire,
     .teardown = drop},
    {.name = "rlock acquire again",
     .setup = make,
     .prepare = hold,
     .operate = acquire,
     .verify = verify_inner,
     .teardown = drop},
    {.name = "rlock release of two",
     .setup = make,
     .prepare = hold_twice,
     .operate = release,
     .verify = verify_inner,
     .teardown = drop},
    {.name = "rlock acquire and release, three levels",
     .setup = make,
     .prepare = note_victim,
     .operate = nest,
     .verify = verify_release,
     .teardown = drop},
    {.name = "rlock release",
     .setup = make,
     .prepare = hold,
     .operate = release,
     .verify = verify_release,
     .teardown = drop},
    {.name = "rlock acquire (its thread has ended)",
     .setup = make_left_behind,
     .prepare = note_victim,
     .operate = take_over,
     .verify = verify_taken_over,
     .teardown = drop},
    {.name = "rlock store",
     .setup = make,
     .prepare = zero,
     .operate = store_one,
     .verify = verify_store,
     .teardown = drop},
    {.name = "rlock store by its holder",
     .setup = make,
     .prepare = zero_holding,
     .operate = store_one,
     .verify = verify_inner_store,
     .teardown = drop},
    {.name = "rlock load",
     .setup = make,
     .prepare = zero,
     .operate = load_one,
     .verify = verify_load,
     .teardown = drop},
    {.name = "rlock acquire (held by another)",
     .setup = make_held,
     .prepare = note_victim,
     .operate = acquire,
     .meanwhile = release,
     .verify = verify_waited,
     .teardown = drop},
};

CRASH_MAIN(ops)
