/*
 * test_bsemaphore.c - the bounded semaphore: permits between members, and those of the dead
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/heap.h"
#include "core/object.h"
#include "made.h"
#include "members.h"
#include "stopped.h"

#include <errno.h>

static mproc_bsemaphore *make(unsigned value) {
    mproc_bsemaphore *semaphore = made_bsemaphore(value);
    CHECK(semaphore != NULL);
    return semaphore;
}

static void drop(mproc_bsemaphore *semaphore) {
    (void)mproc_reap();
    mproc_drop(semaphore);
}

TEST(bsemaphore_counts) {
    mproc_bsemaphore *semaphore = make(2);
    CHECK_EQ(mproc_bsemaphore_bound(semaphore), 2);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 2);
    CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, MPROC_FOREVER));
    CHECK_EQ(mproc_bsemaphore_acquire(semaphore, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 0);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 2);
    CHECK_OK(mproc_bsemaphore_check(semaphore, NULL, 0));
    drop(semaphore);
}

TEST(bsemaphore_has_a_highest_bound) {
    mproc_bsemaphore *none = NULL;
    CHECK_EQ(mproc_bsemaphore_new(&none, MPROC_SEMAPHORE_MAX + 1), -EINVAL);
    CHECK(none == NULL);
    mproc_bsemaphore *semaphore = make(MPROC_SEMAPHORE_MAX);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    CHECK_EQ(mproc_bsemaphore_value(semaphore), MPROC_SEMAPHORE_MAX - 1);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    drop(semaphore);
}

static void release_once(void *arg) {
    CHECK_OK(mproc_bsemaphore_release(arg));
}

TEST(bsemaphore_is_released_by_anybody) {
    mproc_bsemaphore *semaphore = make(1);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    child_join(child_fork(release_once, semaphore));
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 1);
    CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    drop(semaphore);
}

TEST(bsemaphore_acquire_lasts_its_timeout) {
    mproc_bsemaphore *semaphore = make(0); /* a bound of 0 is allowed, though useless */
    int64_t start = mproc__os_now();
    CHECK_EQ(mproc_bsemaphore_acquire(semaphore, 20 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - start, 20 * MPROC_MSEC);
    drop(semaphore);
}

static void acquire_once(void *arg) {
    CHECK_OK(mproc_bsemaphore_acquire(arg, MPROC_FOREVER));
}

static void acquire_and_sleep(void *arg) {
    CHECK_OK(mproc_bsemaphore_acquire(arg, MPROC_FOREVER));
    sleep_until_killed();
}

static void acquire_and_release(void *arg) {
    CHECK_OK(mproc_bsemaphore_acquire(arg, MPROC_FOREVER));
    CHECK_OK(mproc_bsemaphore_release(arg));
}

static void await_value(mproc_bsemaphore *semaphore, uint32_t value) {
    while (mproc_bsemaphore_value(semaphore) != value) {
        usleep(200);
    }
}

TEST(bsemaphore_release_wakes_as_many_as_it_gives) {
    mproc_bsemaphore *semaphore = make(4);
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    }
    for (int i = 0; i < 4; i++) {
        pids[i] = child_fork(acquire_and_sleep, semaphore);
    }
    for (int i = 0; i < 4; i++) {
        wait_for_futex(pids[i]);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_OK(mproc_bsemaphore_release(semaphore));
    }
    await_value(semaphore, 0);
    for (int i = 0; i < 4; i++) {
        child_kill(pids[i]);
        CHECK_EQ(mproc_bsemaphore_value(semaphore), i + 1);
    }
    CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    drop(semaphore);
}

TEST(bsemaphore_forgets_dead_waiters) {
    mproc_bsemaphore *semaphore = make(1);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    pid_t dead = child_fork(acquire_once, semaphore);
    pid_t living = child_fork(acquire_and_release, semaphore);
    wait_for_futex(dead);
    wait_for_futex(living);
    child_kill(dead);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    child_join(living);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 1);
    drop(semaphore);
}

TEST(bsemaphore_gives_back_what_a_dead_member_took) {
    mproc_bsemaphore *semaphore = make(2);
    pid_t pid = child_fork(acquire_and_sleep, semaphore);
    await_value(semaphore, 1);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    pid_t waiting = child_fork(acquire_and_release, semaphore);
    wait_for_futex(waiting);
    CHECK_OK(kill(pid, SIGKILL)); /* the waiter notices it, though nobody collects the process */
    child_join(waiting);
    child_kill(pid);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 1);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    drop(semaphore);
}

static void acquire_among_signals(void *arg) {
    int r = -EINTR;
    signal_every(300);
    while (r == -EINTR) {
        r = mproc_bsemaphore_acquire(arg, MPROC_FOREVER);
    }
    signal_every(0);
    CHECK_OK(r);
}

/* A profiler's signals come more often than slices end, so no slice ends by itself. */
TEST(bsemaphore_gives_back_what_a_dead_member_took_among_signals) {
    mproc_bsemaphore *semaphore = make(1);
    pid_t pid = child_fork(acquire_and_sleep, semaphore);
    await_value(semaphore, 0);
    pid_t waiting = child_fork(acquire_among_signals, semaphore);
    CHECK_OK(kill(pid, SIGKILL));
    child_join(waiting);
    child_kill(pid);
    drop(semaphore);
}

/* Wakes whoever sleeps on a word of the object, as others do whose permits come and go. */
static void wake(mproc_bsemaphore *semaphore) {
    uint32_t *words = (uint32_t *)(void *)semaphore;
    for (size_t i = 0; i < mproc__heap_size(semaphore) / sizeof *words; i++) {
        mproc__os_futex_wake(&words[i], INT32_MAX);
    }
}

/* A waiter that is woken again and again, in vain, never sleeps for a whole slice. */
TEST(bsemaphore_gives_back_what_a_dead_member_took_among_wakes) {
    mproc_bsemaphore *semaphore = make(1);
    int status = 0;
    pid_t pid = child_fork(acquire_and_sleep, semaphore), ended = 0;
    await_value(semaphore, 0);
    pid_t waiting = child_fork(acquire_once, semaphore);
    wait_for_futex(waiting);
    child_kill(pid);
    while (ended == 0) {
        wake(semaphore);
        ended = waitpid(waiting, &status, WNOHANG);
    }
    CHECK_EQ(ended, waiting);
    CHECK_EQ(status, 0);
    drop(semaphore);
}

TEST(bsemaphore_try_finds_what_a_dead_member_took) {
    mproc_bsemaphore *semaphore = make(1);
    child_join(child_fork(acquire_once, semaphore));
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    drop(semaphore);
}

TEST(bsemaphore_try_finds_one_dead_member_among_several) {
    mproc_bsemaphore *semaphore = make(3);
    pid_t pids[3];
    for (unsigned i = 0; i < 3; i++) {
        pids[i] = child_fork(acquire_and_sleep, semaphore);
        await_value(semaphore, 2 - i);
    }
    CHECK_EQ(mproc_bsemaphore_acquire(semaphore, 0), -ETIMEDOUT);
    child_kill(pids[1]);
    usleep(2000); /* a try may ask again a millisecond after the last one that asked */
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    CHECK_EQ(mproc_bsemaphore_acquire(semaphore, 0), -ETIMEDOUT);
    child_kill(pids[0]);
    child_kill(pids[2]);
    drop(semaphore);
}

/* A wait asks before it gives up, also where no time was left after the spinning. */
TEST(bsemaphore_of_a_dead_member_within_a_nanosecond) {
    mproc_bsemaphore *semaphore = make(1);
    child_join(child_fork(acquire_once, semaphore));
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 1));
    drop(semaphore);
}

TEST(bsemaphore_remembers_many_members) {
    mproc_bsemaphore *semaphore = make(20);
    pid_t pids[20];
    for (int i = 0; i < 20; i++) {
        pids[i] = child_fork(acquire_and_sleep, semaphore);
    }
    await_value(semaphore, 0);
    CHECK_EQ(mproc_bsemaphore_acquire(semaphore, 0), -ETIMEDOUT);
    for (int i = 0; i < 20; i++) {
        child_kill(pids[i]);
    }
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 20);
    CHECK_OK(mproc_bsemaphore_check(semaphore, NULL, 0));
    drop(semaphore);
}

static void acquire_interrupted(void *arg) {
    handle_signal(SIGUSR1);
    CHECK_EQ(mproc_bsemaphore_acquire(arg, MPROC_FOREVER), -EINTR);
}

TEST(bsemaphore_acquire_ends_when_a_handler_ran) {
    mproc_bsemaphore *semaphore = make(1);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    pid_t pid = child_fork(acquire_interrupted, semaphore);
    child_interrupt(pid);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 0);
    drop(semaphore);
}

TEST(bsemaphore_check_names_what_is_wrong) {
    mproc_bsemaphore *semaphore = make(1);
    CHECK_BREAKS(&((struct mproc__object *)(void *)semaphore)->kind, 0,
                 mproc_bsemaphore_check(semaphore, why, sizeof why), "B:");
    uint32_t *word = (uint32_t *)(void *)((char *)semaphore + sizeof(struct mproc__object));
    CHECK_BREAKS(word, 0x80000001, mproc_bsemaphore_check(semaphore, why, sizeof why), "B1");
    drop(semaphore);
}

TEST(bsemaphore_check_names_too_many) {
    mproc_bsemaphore *semaphore = make(1);
    uint32_t *word = (uint32_t *)(void *)((char *)semaphore + sizeof(struct mproc__object));
    uint32_t mine = (uint32_t)mproc__self_token();
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    CHECK_BREAKS(word, mine | 0x20000, mproc_bsemaphore_check(semaphore, why, sizeof why), "B1");
    drop(semaphore);
}

/* More permits than the word alone can count: the ledger counts them, and the word again in the
 * end. */
TEST(bsemaphore_of_many_permits) {
    const unsigned many = 0x7fff + 10;
    mproc_bsemaphore *semaphore = make(many);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < many; i++) {
            CHECK_EQ(mproc_bsemaphore_value(semaphore), many - i);
            CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
        }
        CHECK_EQ(mproc_bsemaphore_acquire(semaphore, 0), -ETIMEDOUT);
        CHECK_OK(mproc_bsemaphore_check(semaphore, NULL, 0));
        for (unsigned i = 0; i < many; i++) {
            CHECK_OK(mproc_bsemaphore_release(semaphore));
        }
        CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    }
    drop(semaphore);
}

static void take_two_of_three(void *arg) {
    CHECK_OK(mproc_bsemaphore_acquire(arg, 0));
    CHECK_OK(mproc_bsemaphore_acquire(arg, 0));
    CHECK_EQ(mproc_bsemaphore_acquire(arg, 0), -ETIMEDOUT);
    CHECK_OK(mproc_bsemaphore_release(arg));
}

/* One member has permits, then shares them with another that dies with one, then is alone again. */
TEST(bsemaphore_is_shared_and_alone_again) {
    mproc_bsemaphore *semaphore = make(3);
    for (int round = 0; round < 3; round++) {
        CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
        child_join(child_fork(take_two_of_three, semaphore));
        CHECK_EQ(mproc_bsemaphore_value(semaphore), 2);
        CHECK_OK(mproc_bsemaphore_check(semaphore, NULL, 0));
        CHECK_OK(mproc_bsemaphore_release(semaphore));
        CHECK_EQ(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
        CHECK_EQ(mproc_bsemaphore_value(semaphore), 3);
        (void)mproc_reap();
    }
    drop(semaphore);
}

TEST(bsemaphore_stress_room) {
    mproc_bsemaphore *semaphore = make(3);
    contend(semaphore, acquire_once, release_once, 3);
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 3);
    drop(semaphore);
}

/* ---------------------------------------------------------------- stopped members */

static void hammer(void *arg) {
    for (;;) {
        CHECK_OK(mproc_bsemaphore_acquire(arg, MPROC_FOREVER));
        CHECK_OK(mproc_bsemaphore_release(arg));
    }
}

static void acquire_in_time(void *arg) {
    int r = mproc_bsemaphore_acquire(arg, MPROC_MSEC);
    CHECK(r == 0 || r == -ETIMEDOUT);
    if (r == 0) {
        CHECK_OK(mproc_bsemaphore_release(arg));
    }
}

TEST(bsemaphore_timeouts_end_behind_a_stopped_member) {
    mproc_bsemaphore *semaphore = make(4);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0)); /* two members: the mutex is needed */
    pid_t child = child_fork(hammer, semaphore);
    /* Only a release has no timeout, and is held up now and then. */
    CHECK_LE(stopped_meet(child, 3, acquire_in_time, semaphore), 1);
    child_kill(child);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    CHECK_EQ(mproc_bsemaphore_value(semaphore), 4);
    CHECK_OK(mproc_bsemaphore_check(semaphore, NULL, 0));
    drop(semaphore);
}
