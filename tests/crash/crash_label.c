/*
 * crash_label.c - names of objects, killed after each instruction that gives or takes one
 *
 * SPDX-License-Identifier: MIT
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char first[] = "orders", second[] = "orders that wait for their bill, of this year";

static void *make(void) {
    mproc_lock *lock = made_lock(0);
    crash_require(lock != NULL);
    return lock;
}

static void *make_named(void) {
    mproc_lock *lock = make();
    crash_equal(mproc_name(lock, first), 0);
    return lock;
}

static void require(int code) {
    if (code != 0) {
        abort();
    }
}

static void give(void *lock) {
    require(mproc_name(lock, first));
}

static void change(void *lock) {
    require(mproc_name(lock, second));
}

static void take(void *lock) {
    require(mproc_name(lock, NULL));
}

/* The object is the victim's alone: what its death leaves is the reaper's. */
static void *room_for_lock(void) {
    return crash_calloc(sizeof(mproc_lock *));
}

static void make_own(void *room) {
    require(mproc_lock_new((mproc_lock **)room, 0));
    require(mproc_name(*(mproc_lock **)room, first));
}

static void drop_own(void *room) {
    require(mproc_drop(*(mproc_lock **)room));
}

static void nothing_is_left(void *room) {
    mproc_free(room);
    crash_equal(crash_blocks(), 0);
    crash_end_watcher();
}

/* Its name is one of the two, whole; after the end it is the second. */
static void verify(void *lock, const char *before, const char *after) {
    char got[MPROC_NAME_MOST + 1];
    int n = mproc_name_of(lock, got, sizeof got);
    crash_equal(n, strlen(got));
    crash_require(strcmp(got, after) == 0 || (!crash_returned() && strcmp(got, before) == 0));
    crash_check(mproc_arena_check(why, sizeof why));
    crash_equal(mproc_name(lock, "used"), 0);
    crash_equal(mproc_name_of(lock, got, sizeof got), 4);
}

static void verify_give(void *lock) {
    verify(lock, "", first);
}

static void verify_change(void *lock) {
    verify(lock, first, second);
}

static void verify_take(void *lock) {
    verify(lock, first, "");
}

static void teardown(void *lock) {
    mproc_drop(lock);
    crash_equal(crash_blocks(), 0);
    crash_end_watcher();
}

#define OP(name_, setup_, prepare_, operate_, verify_, teardown_)                                  \
    {                                                                                              \
        .name = (name_), .setup = (setup_), .prepare = (prepare_), .operate = (operate_),          \
        .verify = (verify_), .teardown = (teardown_)                                               \
    }

static const struct crash_op ops[] = {
    OP("give", make, NULL, give, verify_give, teardown),
    OP("change", make_named, NULL, change, verify_change, teardown),
    OP("take", make_named, NULL, take, verify_take, teardown),
    OP("drop", room_for_lock, make_own, drop_own, crash_nothing, nothing_is_left),
};

CRASH_MAIN(ops)
