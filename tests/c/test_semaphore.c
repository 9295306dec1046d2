/*
 * test_semaphore.c - the semaphore: permits between members
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/object.h"
#include "made.h"
#include "members.h"

#include <errno.h>

static mproc_semaphore *make(unsigned value) {
    mproc_semaphore *semaphore = made_semaphore(value);
    CHECK(semaphore != NULL);
    return semaphore;
}

static void drop(mproc_semaphore *semaphore) {
    (void)mproc_reap();
    mproc_drop(semaphore);
}

TEST(semaphore_counts) {
    mproc_semaphore *semaphore = make(2);
    CHECK_EQ(mproc_semaphore_value(semaphore), 2);
    CHECK_OK(mproc_semaphore_acquire(semaphore, 0));
    CHECK_OK(mproc_semaphore_acquire(semaphore, MPROC_FOREVER));
    CHECK_EQ(mproc_semaphore_acquire(semaphore, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_semaphore_value(semaphore), 0);
    for (unsigned i = 1; i <= 4; i++) {
        CHECK_OK(mproc_semaphore_release(semaphore));
        CHECK_EQ(mproc_semaphore_value(semaphore), i);
    }
    CHECK_OK(mproc_semaphore_check(semaphore, NULL, 0));
    drop(semaphore);
}

TEST(semaphore_has_a_highest_value) {
    mproc_semaphore *none = NULL;
    CHECK_EQ(mproc_semaphore_new(&none, MPROC_SEMAPHORE_MAX + 1), -EINVAL);
    CHECK(none == NULL);
    mproc_semaphore *semaphore = make(MPROC_SEMAPHORE_MAX);
    CHECK_EQ(mproc_semaphore_release(semaphore), -EOVERFLOW);
    CHECK_EQ(mproc_semaphore_value(semaphore), MPROC_SEMAPHORE_MAX);
    CHECK_OK(mproc_semaphore_acquire(semaphore, 0));
    CHECK_OK(mproc_semaphore_release(semaphore));
    drop(semaphore);
}

TEST(semaphore_acquire_lasts_its_timeout) {
    mproc_semaphore *semaphore = make(0);
    int64_t start = mproc__os_now();
    CHECK_EQ(mproc_semaphore_acquire(semaphore, 20 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - start, 20 * MPROC_MSEC);
    drop(semaphore);
}

static void acquire_once(void *arg) {
    CHECK_OK(mproc_semaphore_acquire(arg, MPROC_FOREVER));
}

static void release_once(void *arg) {
    CHECK_OK(mproc_semaphore_release(arg));
}

TEST(semaphore_release_wakes_as_many_as_it_gives) {
    mproc_semaphore *semaphore = make(0);
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = child_fork(acquire_once, semaphore);
    }
    for (int i = 0; i < 4; i++) {
        wait_for_futex(pids[i]);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_OK(mproc_semaphore_release(semaphore));
    }
    for (int i = 0; i < 4; i++) {
        child_join(pids[i]);
    }
    CHECK_EQ(mproc_semaphore_value(semaphore), 0);
    drop(semaphore);
}

TEST(semaphore_forgets_dead_waiters) {
    mproc_semaphore *semaphore = make(0);
    pid_t dead = child_fork(acquire_once, semaphore), living = child_fork(acquire_once, semaphore);
    wait_for_futex(dead);
    wait_for_futex(living);
    child_kill(dead);
    CHECK_OK(mproc_semaphore_release(semaphore));
    child_join(living);
    CHECK_EQ(mproc_semaphore_value(semaphore), 0);
    drop(semaphore);
}

/* mproc.h says so: the permit may have been meant as a signal. */
TEST(semaphore_keeps_what_a_dead_member_took) {
    mproc_semaphore *semaphore = make(1);
    child_join(child_fork(acquire_once, semaphore));
    CHECK_EQ(mproc_semaphore_acquire(semaphore, 0), -ETIMEDOUT);
    drop(semaphore);
}

static void acquire_interrupted(void *arg) {
    handle_signal(SIGUSR1);
    CHECK_EQ(mproc_semaphore_acquire(arg, MPROC_FOREVER), 0);
    CHECK_EQ(mproc_semaphore_acquire(arg, MPROC_FOREVER), -EINTR);
}

TEST(semaphore_acquire_ends_when_a_handler_ran) {
    mproc_semaphore *semaphore = make(1);
    pid_t pid = child_fork(acquire_interrupted, semaphore);
    while (mproc_semaphore_value(semaphore) != 0) {
        usleep(200);
    }
    child_interrupt(pid);
    CHECK_EQ(mproc_semaphore_value(semaphore), 0);
    drop(semaphore);
}

TEST(semaphore_check_names_what_is_wrong) {
    mproc_semaphore *semaphore = make(1);
    CHECK_BREAKS(&((struct mproc__object *)(void *)semaphore)->kind, 0,
                 mproc_semaphore_check(semaphore, why, sizeof why), "S");
    drop(semaphore);
}

TEST(semaphore_stress_room) {
    mproc_semaphore *semaphore = make(3);
    contend(semaphore, acquire_once, release_once, 3);
    CHECK_EQ(mproc_semaphore_value(semaphore), 3);
    drop(semaphore);
}
