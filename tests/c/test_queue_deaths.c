/*
 * test_queue_deaths.c - queues whose member died between two instructions
 *
 * SPDX-License-Identifier: MIT
 *
 * Each test makes by hand what such a death leaves, and goes straight to the call that a program
 * makes, with nobody else there who would mend it first.
 */
#include "children.h"
#include "made.h"
#include "queue/bound.h"

#include <errno.h>

#define BOUND 1000            /* bytes */
#define LARGE ((size_t)20000) /* bytes of a message that has a block of its own */

static mproc_queue *make(void) {
    mproc_queue *queue = made_queue(0);
    CHECK(queue != NULL);
    CHECK_OK(mproc_queue_bound_bytes(queue, BOUND));
    return queue;
}

static void drop(mproc_queue *queue) {
    char why[200] = "";
    if (mproc_queue_check(queue, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
    (void)mproc_reap();
    mproc_drop(queue);
}

/* It has counted its message's bytes, and has not published it. */
static void die_in_a_put(void *arg) {
    mproc_queue *queue = arg;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&queue->tail, hand);
    mproc__queue_count_bytes(&queue->tail, &queue->tail_bytes, BOUND);
    kill(getpid(), SIGKILL);
}

/* An empty queue, whose bytes say that it is full. */
static mproc_queue *left(void) {
    mproc_queue *queue = make();
    int status;
    pid_t pid = child_fork(die_in_a_put, queue);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    return queue;
}

static int put_large(mproc_queue *queue, int64_t timeout) {
    static char bytes[LARGE];
    return mproc_queue_put(queue, bytes, sizeof bytes, timeout);
}

TEST(queue_put_of_a_large_message_after_a_death_in_a_put) {
    mproc_queue *queue = left();
    CHECK_OK(put_large(queue, MPROC_FOREVER));
    drop(queue);
}

TEST(queue_put_without_waiting_after_a_death_in_a_put) {
    mproc_queue *queue = left();
    CHECK_OK(put_large(queue, 0));
    drop(queue);
}

/* A program that asks before it puts. */
TEST(queue_bytes_after_a_death_in_a_put) {
    mproc_queue *queue = left();
    CHECK_EQ(mproc_queue_bytes(queue, NULL), 0);
    drop(queue);
}

/* A program that puts when a descriptor says that there is room. */
TEST(queue_is_ready_for_a_watch_after_a_death_in_a_put) {
    mproc_queue *queue = left();
    mproc_watch *watch;
    CHECK_OK(mproc_watch_new(&watch));
    int number = mproc_watch_add(watch, queue, MPROC_WATCH_PUT);
    CHECK_GE(number, 0);
    CHECK_EQ(mproc_watch_arm(watch, number), 1);
    mproc_watch_drop(watch);
    drop(queue);
}

static void put_and_end(void *arg) {
    CHECK_OK(put_large(arg, MPROC_FOREVER));
}

/* It sleeps already when the other one dies. */
TEST(queue_sleeper_gets_room_after_a_death_in_a_put) {
    mproc_queue *queue = make();
    char room[LARGE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(put_large(queue, 0));
    pid_t sleeping = child_fork(put_and_end, queue);
    wait_for_futex(sleeping);
    pid_t dying = child_fork(die_in_a_put, queue);
    CHECK_EQ(waitpid(dying, NULL, 0), dying);
    CHECK_OK(mproc_queue_get(queue, &message, 0));
    mproc_message_drop(&message);
    child_join(sleeping);
    drop(queue);
}

/* A producer that lives, in the same place, is waited for by nobody who asks. */
TEST(queue_bytes_beside_a_producer_that_lives) {
    mproc_queue *queue = make();
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&queue->tail, hand);
    mproc__queue_count_bytes(&queue->tail, &queue->tail_bytes, BOUND);
    CHECK_EQ(mproc_queue_bytes(queue, NULL), BOUND);
    mproc__guard_rollback(&queue->tail);
    mproc__guard_leave(&queue->tail, hand);
    mproc__hand_put(hand);
    CHECK_EQ(mproc_queue_bytes(queue, NULL), 0);
    drop(queue);
}
