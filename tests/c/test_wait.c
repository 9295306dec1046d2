/*
 * test_wait.c - waits that end because the program's runtime has found a signal
 *
 * SPDX-License-Identifier: MIT
 *
 * No signal is sent here: the hook says that one has come, as a runtime does whose handler has only
 * noted it. Each wait would last for ever otherwise.
 */
#include "made.h"
#include "test.h"

#include <errno.h>
#include <unistd.h>

#define LOOKS 3 /* the hook finds the signal at this look */

static unsigned looks;

static int find_signal(void) {
    return ++looks >= LOOKS;
}

static int find_nothing(void) {
    looks++;
    return 0;
}

static void expect_interrupted(int r) {
    CHECK_EQ(r, -EINTR);
    CHECK_EQ(looks, LOOKS);
    looks = 0;
}

TEST(wait_hook_ends_a_wait_for_each_noun) {
    mproc_queue *queue = made_queue(1);
    mproc_event *event = made_event();
    mproc_semaphore *semaphore = made_semaphore(0);
    mproc_bsemaphore *bsemaphore = made_bsemaphore(1);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);

    CHECK_OK(mproc_bsemaphore_acquire(bsemaphore, 0));
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_queue_get(queue, &message, MPROC_FOREVER));
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    expect_interrupted(mproc_queue_put(queue, "y", 1, MPROC_FOREVER));
    expect_interrupted(mproc_queue_join(queue, MPROC_FOREVER));
    expect_interrupted(mproc_event_wait(event, MPROC_FOREVER));
    expect_interrupted(mproc_semaphore_acquire(semaphore, MPROC_FOREVER));
    expect_interrupted(mproc_bsemaphore_acquire(bsemaphore, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_OK(mproc_bsemaphore_release(bsemaphore));
    CHECK_EQ(mproc_queue_count(queue), 1);
    mproc_drop(queue);
    mproc_drop(event);
    mproc_drop(semaphore);
    mproc_drop(bsemaphore);
}

TEST(wait_hook_ends_a_wait_for_a_lock) {
    mproc_lock *lock = made_lock(0);
    CHECK_OK(mproc_lock_acquire(lock, 0));
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_lock_acquire(lock, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_OK(mproc_lock_release(lock));
    CHECK_OK(mproc_lock_check(lock, NULL, 0));
    mproc_drop(lock);
}

TEST(wait_hook_ends_a_wait_for_a_condition_with_the_lock_held) {
    mproc_condition *condition = made_condition();
    mproc_rlock *lock = made_rlock();
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_condition_wait(condition, lock, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_EQ(mproc_rlock_depth(lock), 1);
    CHECK_EQ(mproc_condition_waiting(condition), 0);
    CHECK_OK(mproc_rlock_release(lock));
    mproc_drop(condition);
    mproc_drop(lock);
}

TEST(wait_hook_ends_a_wait_at_a_barrier_which_stays_whole) {
    mproc_barrier *barrier = made_barrier(2);
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_barrier_wait(barrier, MPROC_FOREVER, NULL));
    mproc_wait_hook(NULL);
    CHECK(!mproc_barrier_broken(barrier));
    CHECK_EQ(mproc_barrier_waiting(barrier), 0);
    mproc_drop(barrier);
}

static int sleep_for_ever(void *arg, size_t size) {
    (void)arg, (void)size;
    while (pause() < 0) { /* until it is killed */
    }
    return 0;
}

TEST(wait_hook_ends_a_wait_for_a_process) {
    mproc_process *child;
    CHECK_OK(mproc_process_start(&child, sleep_for_ever, NULL, 0, NULL));
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_process_join(child, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_OK(mproc_process_kill(child));
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_drop(child));
}

TEST(wait_hook_that_finds_nothing_changes_no_timeout) {
    mproc_event *event = made_event();
    mproc_wait_hook(find_nothing);
    CHECK_EQ(mproc_event_wait(event, 50 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(looks, 1);
    mproc_wait_hook(NULL);
    mproc_drop(event);
}

TEST(wait_hook_is_not_asked_by_a_mere_try) {
    mproc_queue *queue = made_queue(0);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    mproc_wait_hook(find_nothing);
    CHECK_EQ(mproc_queue_get(queue, &message, 0), -ETIMEDOUT);
    CHECK_EQ(looks, 0);
    mproc_wait_hook(NULL);
    mproc_drop(queue);
}
