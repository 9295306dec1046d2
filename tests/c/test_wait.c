/*
 * test_wait.c - waits that end because the program's runtime has found a signal
 *
 * SPDX-License-Identifier: MIT
 *
 * No signal is sent here: the hook says that one has come, as a runtime does whose handler has only
 * noted it. Each wait would last for ever otherwise.
 */
#include "children.h"
#include "core/heap.h"
#include "core/token.h"
#include "core/wait.h"
#include "made.h"
#include "process/process.h"
#include "test.h"

#include <errno.h>
#include <unistd.h>

#define LOOKS 3 /* the hook finds the signal at this look */

static unsigned looks;
static struct mproc__hand note; /* of the hand that waited, when the hook ran last */
static uint32_t noted_thread;
static uint64_t noted_since;

static int find_signal(void) {
    ptrdiff_t i = mproc__thread_hand - mproc__self_slot()->hands;
    if (mproc__thread_hand != NULL) {
        note = *mproc__thread_hand;
        noted_thread = mproc__self_slot()->waiter[i];
        noted_since = mproc__self_slot()->since[i];
    }
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

TEST(wait_hook_ends_a_wait_for_descriptors) {
    int ends[2], fds[1];
    size_t size;
    unsigned char ready;
    CHECK_OK(mproc_pipe_new(ends, 1));
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_pipe_poll(ends[0], MPROC_FOREVER));
    expect_interrupted(mproc_wait(ends, 1, &ready, MPROC_FOREVER));
    expect_interrupted(mproc_pipe_recv_size(ends[0], &size));
    expect_interrupted(mproc_pipe_recv_fds(ends[0], fds, 1, &size));
    mproc_wait_hook(NULL);
    close(ends[0]);
    close(ends[1]);
}

/* A message of which a part has come, or has been sent, does not go on. */
TEST(wait_hook_ends_a_wait_within_a_message) {
    static char large[1 << 22];
    char body[8];
    size_t size;
    for (int duplex = 0; duplex < 2; duplex++) {
        int ends[2];
        CHECK_OK(mproc_pipe_new(ends, duplex));
        mproc_wait_hook(find_signal);
        looks = 0;
        CHECK_EQ(write(ends[1], "\0\0", 2), 2);
        CHECK_EQ(mproc_pipe_recv_size(ends[0], &size), MPROC_EFRAME);
        CHECK_EQ(looks, LOOKS);
        looks = 0;
        CHECK_EQ(write(ends[1], "abc", 3), 3);
        CHECK_EQ(mproc_pipe_recv_body(ends[0], body, sizeof body), MPROC_EFRAME);
        looks = 0;
        CHECK_EQ(mproc_pipe_send(ends[1], large, sizeof large), MPROC_EFRAME);
        CHECK_EQ(looks, LOOKS);
        looks = 0;
        mproc_wait_hook(NULL);
        close(ends[0]);
        close(ends[1]);
    }
}

static int send_large(void *arg, size_t size) {
    static char large[1 << 22];
    (void)size;
    mproc_wait_hook(find_nothing);
    return mproc_pipe_send(*(int *)arg, large, sizeof large);
}

TEST(wait_hook_lets_messages_of_any_size_through) {
    static char body[1 << 22];
    for (int duplex = 0; duplex < 2; duplex++) {
        int ends[2];
        size_t size;
        mproc_process *child;
        CHECK_OK(mproc_pipe_new(ends, duplex));
        CHECK_OK(mproc_process_start(&child, send_large, &ends[1], sizeof ends[1], NULL));
        mproc_wait_hook(find_nothing);
        CHECK_OK(mproc_pipe_recv_size(ends[0], &size));
        CHECK_EQ(size, sizeof body);
        CHECK_OK(mproc_pipe_recv_body(ends[0], body, size));
        mproc_wait_hook(NULL);
        CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
        int code = -1;
        CHECK_OK(mproc_process_exitcode(child, &code));
        CHECK_EQ(code, 0);
        CHECK_OK(mproc_process_drop(child));
        close(ends[0]);
        close(ends[1]);
    }
}

static int task_for_ever(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return sleep_for_ever(NULL, 0);
}

TEST(wait_hook_ends_a_wait_for_a_task) {
    mproc_pool *pool;
    mproc_task *task;
    CHECK_OK(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 1}));
    CHECK_OK(mproc_pool_submit(pool, task_for_ever, NULL, 0, NULL, &task));
    mproc_wait_hook(find_signal);
    expect_interrupted(mproc_task_wait(task, MPROC_FOREVER));
    expect_interrupted(mproc_pool_collect(pool, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_EQ(mproc_task_is_done(task), 0);
    mproc_pool_terminate(pool);
    mproc_task_drop(task);
    mproc_pool_drop(pool);
}

static int hear_nothing(void) {
    looks++;
    return -1;
}

TEST(wait_hook_asks_a_thread_that_hears_nothing_once) {
    int ends[2];
    mproc_event *event = made_event();
    CHECK_OK(mproc_pipe_new(ends, 0));
    mproc_wait_hook(hear_nothing);
    CHECK_EQ(mproc_event_wait(event, 100 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(looks, 1);
    CHECK_EQ(mproc_pipe_poll(ends[0], 100 * MPROC_MSEC), 0);
    CHECK_EQ(looks, 2);
    mproc_wait_hook(NULL);
    looks = 0;
    mproc_drop(event);
    close(ends[0]);
    close(ends[1]);
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

/* ------------------------------------------------------------ what a waiter says of its wait */

static void expect_noted(const void *first, size_t size, int r) {
    expect_interrupted(r);
    CHECK(note.waits - (uintptr_t)first < size);
    CHECK_EQ(noted_thread, (uint32_t)mproc__os_tid());
    CHECK(noted_since > 0 && noted_since <= (uint64_t)mproc__os_now());
    CHECK_EQ(mproc__thread_hand->waits, 0);
    note.waits = 0;
}

static void expect_noted_at(const void *object, int r) {
    expect_noted(object, mproc__heap_size(object), r);
}

TEST(wait_is_noted_for_each_noun_while_it_lasts) {
    mproc_queue *queue = made_queue(1);
    mproc_event *event = made_event();
    mproc_semaphore *semaphore = made_semaphore(0);
    mproc_bsemaphore *bsemaphore = made_bsemaphore(1);
    mproc_barrier *barrier = made_barrier(2);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);

    CHECK_OK(mproc_bsemaphore_acquire(bsemaphore, 0));
    mproc_wait_hook(find_signal);
    expect_noted_at(queue, mproc_queue_get(queue, &message, MPROC_FOREVER));
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    expect_noted_at(queue, mproc_queue_put(queue, "y", 1, MPROC_FOREVER));
    expect_noted_at(queue, mproc_queue_join(queue, MPROC_FOREVER));
    expect_noted_at(event, mproc_event_wait(event, MPROC_FOREVER));
    expect_noted_at(semaphore, mproc_semaphore_acquire(semaphore, MPROC_FOREVER));
    expect_noted_at(bsemaphore, mproc_bsemaphore_acquire(bsemaphore, MPROC_FOREVER));
    expect_noted_at(barrier, mproc_barrier_wait(barrier, MPROC_FOREVER, NULL));
    mproc_wait_hook(NULL);
    CHECK_OK(mproc_bsemaphore_release(bsemaphore));
    mproc_drop(queue);
    mproc_drop(event);
    mproc_drop(semaphore);
    mproc_drop(bsemaphore);
    mproc_drop(barrier);
}

TEST(wait_for_a_lock_and_with_one_is_noted) {
    mproc_lock *lock = made_lock(0);
    mproc_rlock *rlock = made_rlock();
    mproc_condition *condition = made_condition();
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_OK(mproc_rlock_acquire(rlock, 0));
    mproc_wait_hook(find_signal);
    expect_noted_at(lock, mproc_lock_acquire(lock, MPROC_FOREVER));
    expect_noted_at(condition, mproc_condition_wait(condition, rlock, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_OK(mproc_lock_release(lock));
    CHECK_OK(mproc_rlock_release(rlock));
    mproc_drop(lock);
    mproc_drop(rlock);
    mproc_drop(condition);
}

TEST(wait_for_a_process_is_noted_by_its_slot) {
    mproc_process *child;
    CHECK_OK(mproc_process_start(&child, sleep_for_ever, NULL, 0, NULL));
    const struct mproc__slot *slot = mproc__token_slot(child->token);
    mproc_wait_hook(find_signal);
    expect_noted(slot, 1, mproc_process_join(child, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_OK(mproc_process_kill(child));
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_drop(child));
}

static void wait_for_event(void *event) {
    CHECK_EQ(mproc_event_wait(event, MPROC_FOREVER), 0);
}

TEST(wait_with_a_timeout_says_so) {
    mproc_event *event = made_event();
    mproc_wait_hook(find_signal);
    CHECK_EQ(mproc_event_wait(event, MPROC_SEC * 3600), -EINTR);
    CHECK_EQ(note.waits, (uintptr_t)event | MPROC__WAIT_TIMED);
    looks = 0;
    CHECK_EQ(mproc_event_wait(event, MPROC_FOREVER), -EINTR);
    CHECK_EQ(note.waits, (uintptr_t)event);
    mproc_wait_hook(NULL);
    mproc_drop(event);
}

static mproc_event *inner;

/* What a handler does that runs between two slices. */
static int wait_inside(void) {
    if (++looks == 1) {
        CHECK_EQ(mproc_event_wait(inner, MPROC_MSEC), -ETIMEDOUT);
        note = *mproc__thread_hand;
    }
    return looks >= LOOKS;
}

TEST(wait_inside_a_wait_leaves_the_outer_note) {
    mproc_event *event = made_event();
    inner = made_event();
    mproc_wait_hook(wait_inside);
    expect_interrupted(mproc_event_wait(event, MPROC_FOREVER));
    mproc_wait_hook(NULL);
    CHECK_EQ(note.waits, (uintptr_t)event);
    CHECK_EQ(mproc__thread_hand->waits, 0);
    mproc_drop(event);
    mproc_drop(inner);
}

TEST(wait_of_a_dead_member_is_forgotten_with_it) {
    char why[200];
    mproc_event *event = made_event();
    pid_t pid = child_fork(wait_for_event, event);
    wait_for_futex(pid);
    child_kill(pid);
    CHECK_EQ(mproc_reap(), 1);
    CHECK_OK(mproc_member_check(why, sizeof why)); /* P3 */
    mproc_drop(event);
}
