/*
 * crash_barrier.c - the barrier, killed after each instruction of wait, open, abort and reset
 *
 * SPDX-License-Identifier: MIT
 *
 * All parties pass, or none does. The wait of a helper that waited beside the victim ends in
 * any case, and afterwards the barrier, when it is reset, works as before.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

struct side {
    pid_t helper;
    int result; /* of the helper's wait */
};

static struct side *side(void) {
    return crash_room();
}

static void *make(void) {
    mproc_barrier *barrier = made_barrier(2);
    crash_require(barrier != NULL);
    return barrier;
}

static void wait_beside(void *barrier) {
    side()->result = mproc_barrier_wait(barrier, CRASH_SOON, NULL);
    if (side()->result != 0 && side()->result != MPROC_EBROKEN) {
        exit(2);
    }
}

static void *make_with_waiter(void) {
    mproc_barrier *barrier = make();
    side()->helper = crash_helper(wait_beside, barrier);
    crash_wait_asleep(side()->helper);
    crash_equal(mproc_barrier_waiting(barrier), 1);
    return barrier;
}

/* ---- windows */

static void wait(void *barrier) {
    int r = mproc_barrier_wait(barrier, CRASH_SOON, NULL);
    if (r != 0 && r != MPROC_EBROKEN) {
        abort();
    }
}

/* Waits beside the victim. The wait must be short, for the victim stands still meanwhile. */
static void come_too(void *barrier) {
    int r = mproc_barrier_wait(barrier, 100 * MPROC_MSEC, NULL);
    crash_require(r == 0 || r == MPROC_EBROKEN);
}

static void wait_in_vain(void *barrier) {
    if (mproc_barrier_wait(barrier, 3 * MPROC_MSEC, NULL) != MPROC_EBROKEN) {
        abort();
    }
}

static void act(void *barrier) {
    if (mproc_barrier_arrive(barrier, CRASH_SOON, NULL) != 1 || mproc_barrier_open(barrier) != 0) {
        abort();
    }
}

static void break_it(void *barrier) {
    mproc_barrier_abort(barrier);
}

static void reset(void *barrier) {
    mproc_barrier_reset(barrier);
}

/* ---- afterwards */

static void use(void *barrier) {
    crash_check(mproc_barrier_check(barrier, why, sizeof why));
    mproc_barrier_reset(barrier);
    crash_equal(mproc_barrier_broken(barrier), 0);
    crash_equal(mproc_barrier_waiting(barrier), 0);
    for (int i = 0; i < 3; i++) {
        pid_t other = crash_helper(wait_beside, barrier);
        crash_equal(mproc_barrier_wait(barrier, CRASH_SOON, NULL), 0);
        crash_helper_join(other);
        crash_equal(side()->result, 0);
    }
    crash_check(mproc_barrier_check(barrier, why, sizeof why));
}

/* If the victim died before it arrived, another party has to arrive in its place. */
static void verify_last(void *barrier) {
    if (!crash_returned() && mproc_barrier_waiting(barrier) == 1) {
        wait(barrier);
    }
    crash_helper_join(side()->helper);
    if (crash_returned()) {
        crash_equal(side()->result, 0);
    }
    use(barrier);
}

/* A helper whose wait was ended by abort or reset must not have passed. */
static void verify_ended(void *barrier) {
    if (!crash_returned()) {
        mproc_barrier_abort(barrier);
    }
    crash_helper_join(side()->helper);
    crash_equal(side()->result, MPROC_EBROKEN);
    use(barrier);
}

static void drop(void *barrier) {
    mproc_drop(barrier);
}

static const struct crash_op ops[] = {
    {.name = "barrier wait (the last to come)",
     .setup = make_with_waiter,
     .operate = wait,
     .verify = verify_last,
     .teardown = drop},
    {.name = "barrier arrive and open",
     .setup = make_with_waiter,
     .operate = act,
     .verify = verify_last,
     .teardown = drop},
    {.name = "barrier wait (the first to come)",
     .setup = make,
     .operate = wait,
     .meanwhile = come_too,
     .verify = use,
     .teardown = drop},
    {.name = "barrier wait (timeout)",
     .setup = make,
     .operate = wait_in_vain,
     .verify = use,
     .teardown = drop},
    {.name = "barrier abort",
     .setup = make_with_waiter,
     .operate = break_it,
     .verify = verify_ended,
     .teardown = drop},
    {.name = "barrier reset",
     .setup = make_with_waiter,
     .operate = reset,
     .verify = verify_ended,
     .teardown = drop},
};

CRASH_MAIN(ops)
