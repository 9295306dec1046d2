/*
 * crash_semaphore.c - both semaphores, killed after each instruction of acquire and release
 *
 * SPDX-License-Identifier: MIT
 *
 * A semaphore has lost a permit or has not. A bounded semaphore has all permits of the dead
 * victim back.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

#define BOUND 2

static pid_t *helper(void) {
    return crash_room();
}

/* ---- the plain one */

static void *make(void) {
    mproc_semaphore *semaphore = made_semaphore(1);
    crash_require(semaphore != NULL);
    return semaphore;
}

static void *make_empty(void) {
    mproc_semaphore *semaphore = made_semaphore(0);
    crash_require(semaphore != NULL);
    return semaphore;
}

static void acquire(void *semaphore) {
    if (mproc_semaphore_acquire(semaphore, CRASH_SOON) != 0) {
        abort();
    }
}

static void release(void *semaphore) {
    if (mproc_semaphore_release(semaphore) != 0) {
        abort();
    }
}

static void *make_with_sleeper(void) {
    mproc_semaphore *semaphore = make_empty();
    *helper() = crash_helper(acquire, semaphore);
    crash_wait_asleep(*helper());
    return semaphore;
}

/* The value is 0: releases a permit and takes it. */
static void use(mproc_semaphore *semaphore) {
    crash_check(mproc_semaphore_check(semaphore, why, sizeof why));
    crash_equal(mproc_semaphore_value(semaphore), 0);
    crash_equal(mproc_semaphore_acquire(semaphore, MPROC_MSEC), -ETIMEDOUT);
    crash_equal(mproc_semaphore_release(semaphore), 0);
    crash_equal(mproc_semaphore_acquire(semaphore, CRASH_SOON), 0);
}

static void verify_acquire(void *object) {
    mproc_semaphore *semaphore = object;
    if (mproc_semaphore_value(semaphore) == 1) {
        crash_require(!crash_returned());
        acquire(semaphore);
    }
    use(semaphore);
}

static void verify_release(void *object) {
    mproc_semaphore *semaphore = object;
    if (mproc_semaphore_value(semaphore) == 1) {
        acquire(semaphore);
    } else {
        crash_require(!crash_returned());
    }
    use(semaphore);
}

/* The survivor has released a permit or not; the victim has taken it or not. */
static void verify_waits(void *object) {
    mproc_semaphore *semaphore = object;
    if (mproc_semaphore_value(semaphore) == 1) {
        acquire(semaphore);
    }
    use(semaphore);
}

static void verify_sleeper(void *object) {
    mproc_semaphore *semaphore = object;
    if (!crash_returned()) {
        release(semaphore); /* this may be the second release */
    }
    crash_helper_join(*helper());
    if (mproc_semaphore_value(semaphore) == 1) {
        acquire(semaphore);
    }
    use(semaphore);
}

/* ---- the bounded one */

static void *make_bounded(void) {
    mproc_bsemaphore *semaphore = made_bsemaphore(BOUND);
    crash_require(semaphore != NULL);
    return semaphore;
}

static void acquire_bounded(void *semaphore) {
    if (mproc_bsemaphore_acquire(semaphore, CRASH_SOON) != 0) {
        abort();
    }
}

static void release_bounded(void *semaphore) {
    if (mproc_bsemaphore_release(semaphore) != 0) {
        abort();
    }
}

static void *make_taken(void) {
    mproc_bsemaphore *semaphore = make_bounded();
    for (int i = 0; i < BOUND; i++) {
        acquire_bounded(semaphore);
    }
    return semaphore;
}

static void give_back(void *semaphore) {
    while (mproc_bsemaphore_value(semaphore) < BOUND) {
        release_bounded(semaphore);
    }
}

/* All permits are there, whatever the victim had. */
static void verify_bounded(void *object) {
    mproc_bsemaphore *semaphore = object;
    crash_check(mproc_bsemaphore_check(semaphore, why, sizeof why));
    crash_equal(mproc_bsemaphore_value(semaphore), BOUND);
    crash_equal(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    for (int i = 0; i < BOUND; i++) {
        crash_equal(mproc_bsemaphore_acquire(semaphore, CRASH_SOON), 0);
    }
    crash_equal(mproc_bsemaphore_acquire(semaphore, MPROC_MSEC), -ETIMEDOUT);
    give_back(semaphore);
    crash_check(mproc_bsemaphore_check(semaphore, why, sizeof why));
}

static void verify_waited(void *object) {
    crash_check(mproc_bsemaphore_check(object, why, sizeof why));
    give_back(object);
    verify_bounded(object);
}

static void use_bounded(void *semaphore) {
    if (mproc_bsemaphore_acquire(semaphore, CRASH_SOON) != 0 ||
        mproc_bsemaphore_release(semaphore) != 0) {
        exit(2);
    }
}

/* The victim has all permits. Others get the ones that it released or had when it died. */
static void take_all(void *semaphore) {
    for (int i = 0; i < BOUND; i++) {
        acquire_bounded(semaphore);
    }
}

/* The survivor has all permits, and a helper sleeps. */
static void *make_bounded_with_sleeper(void) {
    void *semaphore = make_bounded();
    take_all(semaphore);
    *helper() = crash_helper(use_bounded, semaphore);
    crash_wait_asleep(*helper());
    return semaphore;
}

static void verify_bounded_sleeper(void *semaphore) {
    if (!crash_returned()) {
        release_bounded(semaphore); /* this may be the second release */
    }
    crash_helper_join(*helper());
    while (mproc_bsemaphore_value(semaphore) < BOUND) {
        release_bounded(semaphore);
    }
    verify_bounded(semaphore);
}

static void verify_heir(void *semaphore) {
    pid_t heir = crash_helper(use_bounded, semaphore);
    crash_helper_join(heir);
    verify_bounded(semaphore);
}

/* Another member, which lives, has a permit: the ledger is needed. */
static void *make_shared(void) {
    mproc_bsemaphore *semaphore = make_bounded();
    acquire_bounded(semaphore);
    return semaphore;
}

static void verify_shared(void *object) {
    mproc_bsemaphore *semaphore = object;
    crash_check(mproc_bsemaphore_check(semaphore, why, sizeof why));
    unsigned value = mproc_bsemaphore_value(semaphore);
    crash_equal(value, BOUND - 1);
    release_bounded(semaphore);
    verify_bounded(semaphore);
}

/* The last of two members that had permits releases them: the word alone counts again. */
static void release_last_two(void *semaphore) {
    release_bounded(semaphore);
    release_bounded(semaphore);
}

static void verify_left(void *object) {
    mproc_bsemaphore *semaphore = object;
    crash_check(mproc_bsemaphore_check(semaphore, why, sizeof why));
    give_back(semaphore);
    verify_bounded(semaphore);
}

static void drop(void *semaphore) {
    mproc_drop(semaphore);
}

static const struct crash_op ops[] = {
    {.name = "semaphore acquire",
     .setup = make,
     .operate = acquire,
     .verify = verify_acquire,
     .teardown = drop},
    {.name = "semaphore release",
     .setup = make_empty,
     .operate = release,
     .verify = verify_release,
     .teardown = drop},
    {.name = "semaphore acquire (waits)",
     .setup = make_empty,
     .operate = acquire,
     .meanwhile = release,
     .verify = verify_waits,
     .teardown = drop},
    {.name = "semaphore release (another sleeps)",
     .setup = make_with_sleeper,
     .operate = release,
     .verify = verify_sleeper,
     .teardown = drop},
    {.name = "bounded semaphore acquire",
     .setup = make_bounded,
     .operate = acquire_bounded,
     .verify = verify_bounded,
     .teardown = drop},
    {.name = "bounded semaphore release",
     .setup = make_bounded,
     .prepare = take_all,
     .operate = release_bounded,
     .verify = verify_heir,
     .teardown = drop},
    {.name = "bounded semaphore release (another sleeps)",
     .setup = make_bounded_with_sleeper,
     .operate = release_bounded,
     .verify = verify_bounded_sleeper,
     .teardown = drop},
    {.name = "bounded semaphore acquire (another has one)",
     .setup = make_shared,
     .operate = acquire_bounded,
     .verify = verify_shared,
     .teardown = drop},
    {.name = "bounded semaphore release (all that two had)",
     .setup = make_shared,
     .prepare = acquire_bounded,
     .operate = release_last_two,
     .verify = verify_left,
     .teardown = drop},
    {.name = "bounded semaphore acquire (waits)",
     .setup = make_taken,
     .operate = acquire_bounded,
     .meanwhile = release_bounded,
     .verify = verify_waited,
     .teardown = drop},
};

CRASH_MAIN(ops)
