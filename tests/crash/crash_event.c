/*
 * crash_event.c - the event, killed after each instruction of set, clear and wait
 *
 * SPDX-License-Identifier: MIT
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

static pid_t *helper(void) {
    return crash_room();
}

static void *make(void) {
    mproc_event *event = made_event();
    crash_require(event != NULL);
    return event;
}

static void *make_set(void) {
    mproc_event *event = make();
    mproc_event_set(event);
    return event;
}

static void wait_for_set(void *event) {
    if (mproc_event_wait(event, CRASH_SOON) != 0) {
        exit(2);
    }
}

static void *make_with_sleeper(void) {
    mproc_event *event = make();
    *helper() = crash_helper(wait_for_set, event);
    crash_wait_asleep(*helper());
    return event;
}

static void set(void *event) {
    mproc_event_set(event);
}

static void clear(void *event) {
    mproc_event_clear(event);
}

static void wait(void *event) {
    if (mproc_event_wait(event, CRASH_SOON) != 0) {
        abort();
    }
}

static void wait_in_vain(void *event) {
    if (mproc_event_wait(event, 3 * MPROC_MSEC) != -ETIMEDOUT) {
        abort();
    }
}

/* The event still works. */
static void use(void *event) {
    crash_check(mproc_event_check(event, why, sizeof why));
    mproc_event_set(event);
    crash_equal(mproc_event_wait(event, 0), 0);
    mproc_event_clear(event);
    crash_equal(mproc_event_wait(event, MPROC_MSEC), -ETIMEDOUT);
}

static void verify_set(void *event) {
    if (crash_returned()) {
        crash_equal(mproc_event_is_set(event), 1);
    }
    use(event);
}

static void verify_clear(void *event) {
    if (crash_returned()) {
        crash_equal(mproc_event_is_set(event), 0);
    }
    use(event);
}

/* The sleeper goes on when the event is set, by the victim or by the survivor. */
static void verify_sleeper(void *event) {
    if (!mproc_event_is_set(event)) {
        crash_require(!crash_returned());
        mproc_event_set(event);
    }
    crash_helper_join(*helper());
    use(event);
}

static void drop(void *event) {
    mproc_drop(event);
}

static const struct crash_op ops[] = {
    {.name = "event set", .setup = make, .operate = set, .verify = verify_set, .teardown = drop},
    {.name = "event clear",
     .setup = make_set,
     .operate = clear,
     .verify = verify_clear,
     .teardown = drop},
    {.name = "event set (another sleeps)",
     .setup = make_with_sleeper,
     .operate = set,
     .verify = verify_sleeper,
     .teardown = drop},
    {.name = "event wait",
     .setup = make,
     .operate = wait,
     .meanwhile = set,
     .verify = use,
     .teardown = drop},
    {.name = "event wait (timeout)",
     .setup = make,
     .operate = wait_in_vain,
     .verify = use,
     .teardown = drop},
};

CRASH_MAIN(ops)
