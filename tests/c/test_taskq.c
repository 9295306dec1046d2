/*
 * test_taskq.c - the engine under the pools: tickets, seats, and workers that die
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/join.h"
#include "core/member.h"
#include "made.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static mproc_taskq *taskq_of(unsigned seats) {
    mproc_taskq *tasks = made_taskq(seats);
    CHECK(tasks != NULL);
    return tasks;
}

static void check(mproc_taskq *tasks) {
    char why[256] = "";
    int r = mproc_taskq_check(tasks, why, sizeof why);
    CHECK_STR(why, "");
    CHECK_OK(r);
}

static uint64_t put(mproc_taskq *tasks, const void *bytes, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)bytes, size};
    uint64_t ticket = UINT64_MAX;
    CHECK_OK(mproc_taskq_put(tasks, &piece, 1, &ticket));
    return ticket;
}

static int finish(mproc_taskq *tasks, unsigned seat, const void *bytes, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)bytes, size};
    return mproc_taskq_finish(tasks, seat, &piece, 1);
}

static void collect(mproc_taskq *tasks, uint64_t ticket, const void *bytes, size_t size) {
    char room[64];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t got = UINT64_MAX;
    CHECK_OK(mproc_taskq_collect(tasks, &message, &got, MPROC_FOREVER));
    CHECK_EQ(got, ticket);
    CHECK_EQ(message.size, size);
    CHECK_MEM(message.data, bytes, size);
    mproc_message_drop(&message);
}

/* Takes a task and hands its bytes in as the result. 0 or MPROC_ECLOSED. */
static int echo_one(mproc_taskq *tasks, unsigned seat) {
    char room[64];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    int r = mproc_taskq_take(tasks, seat, &message, &ticket, MPROC_FOREVER);
    if (r == 0) {
        CHECK_OK(finish(tasks, seat, message.data, message.size));
        mproc_message_drop(&message);
    }
    return r;
}

TEST(taskq_tickets_go_out_and_come_back) {
    mproc_taskq *tasks = taskq_of(1);
    uint64_t ticket = 99;
    CHECK_EQ(put(tasks, "one", 3), 0);
    CHECK_EQ(put(tasks, "", 0), 1);
    CHECK_EQ(mproc_taskq_waiting(tasks), 2);
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_EQ(mproc_taskq_current(tasks, 0, &ticket), 0);
    CHECK_OK(echo_one(tasks, 0));
    CHECK_OK(echo_one(tasks, 0));
    CHECK_EQ(mproc_taskq_waiting(tasks), 0);
    collect(tasks, 0, "one", 3);
    collect(tasks, 1, "", 0);
    check(tasks);
    mproc_drop(tasks);
}

TEST(taskq_large_tasks_and_results) {
    enum { SIZE = 200000 };
    mproc_taskq *tasks = taskq_of(1);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    char *bytes = malloc(SIZE);
    uint64_t ticket;
    memset(bytes, 5, SIZE);
    put(tasks, bytes, SIZE);
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_OK(echo_one(tasks, 0));
    CHECK_OK(mproc_taskq_collect(tasks, &message, &ticket, 0));
    CHECK_EQ(message.size, SIZE);
    CHECK_MEM(message.data, bytes, SIZE);
    mproc_message_drop(&message);
    free(bytes);
    mproc_drop(tasks);
}

TEST(taskq_seats) {
    mproc_taskq *tasks = taskq_of(2);
    uint64_t ticket = 99;
    mproc_taskq *none = NULL;
    CHECK_EQ(mproc_taskq_new(&none, 0), -EINVAL);
    CHECK_EQ(mproc_taskq_new(&none, MPROC_SEATS_MAX + 1), -EINVAL);
    CHECK(none == NULL);
    CHECK_EQ(mproc_taskq_join(tasks, 2), -EINVAL);
    CHECK_OK(mproc_taskq_join(tasks, 1));
    CHECK_EQ(mproc_taskq_join(tasks, 1), -EBUSY);
    CHECK_EQ(mproc_taskq_current(tasks, 2, &ticket), 0);
    CHECK_EQ(mproc_taskq_worker_died(tasks, 0, &ticket), 0); /* nobody has joined there */
    CHECK_EQ(mproc_taskq_worker_died(tasks, 2, &ticket), -EINVAL);
    CHECK_EQ(ticket, 99);
    mproc_drop(tasks);
}

TEST(taskq_counts_pieces) {
    mproc_taskq *tasks = taskq_of(1);
    char room[16];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    CHECK_EQ(mproc_taskq_put(tasks, NULL, -1, &ticket), -EINVAL);
    CHECK_EQ(mproc_taskq_waiting(tasks), 0);
    CHECK_OK(mproc_taskq_put(tasks, NULL, 0, &ticket));
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_OK(mproc_taskq_take(tasks, 0, &message, &ticket, 0));
    CHECK_EQ(mproc_taskq_finish(tasks, 0, NULL, -1), -EINVAL);
    CHECK_EQ(mproc_taskq_current(tasks, 0, &ticket), 1); /* it still has the task */
    CHECK_OK(mproc_taskq_finish(tasks, 0, NULL, 0));
    CHECK_OK(mproc_taskq_collect(tasks, &message, &ticket, 0));
    mproc_message_drop(&message);
    mproc_drop(tasks);
}

TEST(taskq_notices_come_after_the_results) {
    mproc_taskq *tasks = taskq_of(1);
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket = 99;
    put(tasks, "a", 1);
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_OK(echo_one(tasks, 0));
    CHECK_OK(mproc_taskq_notify(tasks));
    CHECK_OK(mproc_taskq_collect(tasks, &message, &ticket, 0));
    CHECK_EQ(ticket, 0);
    mproc_message_drop(&message);
    ticket = 99;
    CHECK_EQ(mproc_taskq_collect(tasks, &message, &ticket, MPROC_FOREVER), -EAGAIN);
    CHECK_EQ(ticket, 99);
    CHECK_EQ(mproc_taskq_collect(tasks, &message, &ticket, 0), -ETIMEDOUT);
    mproc_drop(tasks);
}

static void *notify(void *tasks) {
    CHECK_OK(mproc_taskq_notify(tasks));
    return NULL;
}

TEST(taskq_a_notice_wakes_who_waits) {
    mproc_taskq *tasks = taskq_of(1);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t ticket;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, notify, tasks), 0);
    CHECK_EQ(mproc_taskq_collect(tasks, &message, &ticket, MPROC_FOREVER), -EAGAIN);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    mproc_drop(tasks);
}

TEST(taskq_times_out) {
    mproc_taskq *tasks = taskq_of(1);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t ticket;
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_EQ(mproc_taskq_collect(tasks, &message, &ticket, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_taskq_collect(tasks, &message, &ticket, MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_taskq_take(tasks, 0, &message, &ticket, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_taskq_take(tasks, 0, &message, &ticket, MPROC_MSEC), -ETIMEDOUT);
    mproc_drop(tasks);
}

TEST(taskq_finish_without_a_task) {
    mproc_taskq *tasks = taskq_of(1);
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_EQ(finish(tasks, 0, "x", 1), -EINVAL);
    put(tasks, "x", 1);
    CHECK_OK(echo_one(tasks, 0));
    CHECK_EQ(finish(tasks, 0, "x", 1), -EINVAL); /* a result goes in once */
    mproc_drop(tasks);
}

TEST(taskq_closed_is_drained) {
    mproc_taskq *tasks = taskq_of(1);
    uint64_t ticket = 99;
    struct iovec piece = {"x", 1};
    put(tasks, "a", 1);
    mproc_taskq_close(tasks);
    CHECK_EQ(mproc_taskq_put(tasks, &piece, 1, &ticket), MPROC_ECLOSED);
    CHECK_EQ(ticket, 99);
    CHECK_OK(mproc_taskq_join(tasks, 0));
    CHECK_OK(echo_one(tasks, 0));
    CHECK_EQ(echo_one(tasks, 0), MPROC_ECLOSED);
    collect(tasks, 0, "a", 1);
    mproc_drop(tasks);
}

/* ---------------------------------------------------------------- workers in processes */

static pid_t fork_worker(mproc_taskq *tasks, unsigned seat, void (*life)(mproc_taskq *, unsigned)) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        CHECK_OK(mproc_taskq_join(tasks, seat));
        life(tasks, seat);
        _exit(0);
    }
    return pid;
}

static void collect_child(pid_t pid) {
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

static void echo_all(mproc_taskq *tasks, unsigned seat) {
    while (echo_one(tasks, seat) == 0) {
    }
}

static void die_with_task(mproc_taskq *tasks, unsigned seat) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t ticket;
    CHECK_OK(echo_one(tasks, seat));
    CHECK_OK(mproc_taskq_take(tasks, seat, &message, &ticket, MPROC_FOREVER));
    raise(SIGKILL);
}

static void die_without_task(mproc_taskq *tasks, unsigned seat) {
    CHECK_OK(echo_one(tasks, seat));
    raise(SIGKILL);
}

TEST(taskq_a_dead_workers_seat_names_its_task) {
    mproc_taskq *tasks = taskq_of(1);
    uint64_t ticket = 99, has = 98;
    put(tasks, "a", 1);
    put(tasks, "b", 1);
    collect_child(fork_worker(tasks, 0, die_with_task));
    CHECK_EQ(mproc_taskq_current(tasks, 0, &has), 1);
    CHECK_EQ(has, 1);
    CHECK_EQ(mproc_taskq_worker_died(tasks, 0, &ticket), 1);
    CHECK_EQ(ticket, 1);
    CHECK_EQ(mproc_taskq_worker_died(tasks, 0, &ticket), 0);
    collect(tasks, 0, "a", 1);
    check(tasks);
    CHECK_OK(mproc_taskq_join(tasks, 0)); /* the seat is free again */
    mproc_drop(tasks);
}

TEST(taskq_a_dead_worker_without_a_task) {
    mproc_taskq *tasks = taskq_of(1);
    uint64_t ticket = 99;
    put(tasks, "a", 1);
    collect_child(fork_worker(tasks, 0, die_without_task));
    CHECK_EQ(mproc_taskq_worker_died(tasks, 0, &ticket), 0);
    CHECK_EQ(ticket, 99);
    collect(tasks, 0, "a", 1);
    check(tasks);
    mproc_drop(tasks);
}

TEST(taskq_workers_share_the_tasks) {
    enum { TASKS = 5000, WORKERS = 3 };
    mproc_taskq *tasks = taskq_of(WORKERS);
    static unsigned char seen[TASKS];
    pid_t pids[WORKERS];
    uint64_t ticket;
    for (unsigned i = 0; i < WORKERS; i++) {
        pids[i] = fork_worker(tasks, i, echo_all);
    }
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(put(tasks, &i, sizeof i), i);
    }
    mproc_taskq_close(tasks);
    for (int i = 0; i < TASKS; i++) {
        char room[16];
        int value;
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_OK(mproc_taskq_collect(tasks, &message, &ticket, MPROC_FOREVER));
        CHECK_EQ(message.size, sizeof value);
        memcpy(&value, message.data, sizeof value);
        CHECK_EQ(value, ticket);
        CHECK_EQ(seen[value]++, 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        collect_child(pids[i]);
        CHECK_EQ(mproc_taskq_worker_died(tasks, i, &ticket), 0);
    }
    check(tasks);
    mproc_drop(tasks);
}

/* ---------------------------------------------------------------- workers as threads */

struct seat {
    mproc_taskq *tasks;
    unsigned number;
    pthread_t thread;
};

static void *echo_as_member(void *arg) {
    struct seat *s = arg;
    CHECK_OK(mproc__thread_becomes_member());
    CHECK_OK(mproc_taskq_join(s->tasks, s->number));
    echo_all(s->tasks, s->number);
    mproc__thread_leaves();
    return NULL;
}

TEST(taskq_threads_as_members) {
    enum { TASKS = 500 };
    mproc_taskq *tasks = taskq_of(2);
    struct seat seats[2];
    uint64_t ticket;
    for (unsigned i = 0; i < 2; i++) {
        seats[i] = (struct seat){tasks, i, 0};
        CHECK_OK(pthread_create(&seats[i].thread, NULL, echo_as_member, &seats[i]));
    }
    for (int i = 0; i < TASKS; i++) {
        put(tasks, &i, sizeof i);
    }
    mproc_taskq_close(tasks);
    for (int i = 0; i < TASKS; i++) {
        char room[16];
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_OK(mproc_taskq_collect(tasks, &message, &ticket, MPROC_FOREVER));
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK_OK(pthread_join(seats[i].thread, NULL));
        CHECK_EQ(mproc_taskq_worker_died(tasks, i, &ticket), 0);
    }
    check(tasks);
    mproc_drop(tasks);
}
