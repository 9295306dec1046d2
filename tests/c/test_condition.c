/*
 * test_condition.c - the condition: over both locks, in order, and with dead waiters
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/object.h"
#include "made.h"
#include "members.h"
#include "stopped.h"

#include <errno.h>

struct scene {
    mproc_condition *condition;
    mproc_rlock *lock;
    uint64_t gone; /* how many waits ended with 0 */
    uint64_t last; /* the number of the waiter whose wait ended last */
    uint64_t number;
};

static struct scene *stage(void) {
    struct scene *s = mproc_calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->condition = made_condition();
    s->lock = made_rlock();
    CHECK(s->condition != NULL && s->lock != NULL);
    return s;
}

static void strike(struct scene *s) {
    CHECK_OK(mproc_condition_check(s->condition, NULL, 0));
    CHECK_EQ(mproc_condition_waiting(s->condition), 0);
    (void)mproc_reap();
    mproc_drop(s->condition);
    mproc_drop(s->lock);
    mproc_free(s);
}

static void acquire(struct scene *s) {
    CHECK_OK(mproc_rlock_acquire(s->lock, MPROC_FOREVER));
}

static void release(struct scene *s) {
    CHECK_OK(mproc_rlock_release(s->lock));
}

static void wait_twice_locked(void *arg) {
    struct scene *s = arg;
    acquire(s);
    acquire(s);
    uint64_t me = ++s->number;
    CHECK_OK(mproc_condition_wait(s->condition, s->lock, MPROC_FOREVER));
    CHECK_EQ(mproc_rlock_depth(s->lock), 2);
    s->gone++;
    s->last = me;
    release(s);
    release(s);
}

/* Starts a child that waits, and returns when it sleeps in its wait. */
static pid_t start(struct scene *s, unsigned waiting) {
    pid_t pid = child_fork(wait_twice_locked, s);
    while (mproc_condition_waiting(s->condition) < waiting) {
        usleep(200);
    }
    wait_for_futex(pid);
    return pid;
}

static void notify(struct scene *s, unsigned n) {
    acquire(s);
    mproc_condition_notify(s->condition, n);
    release(s);
}

TEST(condition_wait_needs_the_lock) {
    struct scene *s = stage();
    CHECK_EQ(mproc_condition_wait(s->condition, s->lock, 0), MPROC_ENOTHELD);
    CHECK_EQ(mproc_condition_wait(s->condition, s->condition, 0), MPROC_EOTHER);
    strike(s);
}

TEST(condition_wait_lasts_its_timeout) {
    struct scene *s = stage();
    acquire(s);
    CHECK_EQ(mproc_condition_wait(s->condition, s->lock, 0), -ETIMEDOUT);
    int64_t begun = mproc__os_now();
    CHECK_EQ(mproc_condition_wait(s->condition, s->lock, 20 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - begun, 20 * MPROC_MSEC);
    CHECK_EQ(mproc_rlock_depth(s->lock), 1);
    mproc_condition_notify_all(s->condition);
    release(s);
    strike(s);
}

TEST(condition_notify_goes_by_order) {
    struct scene *s = stage();
    pid_t pids[3];
    for (unsigned i = 0; i < 3; i++) {
        pids[i] = start(s, i + 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(s->gone, i);
        notify(s, 1);
        child_join(pids[i]);
        CHECK_EQ(s->last, i + 1);
    }
    strike(s);
}

TEST(condition_notify_n_and_all) {
    struct scene *s = stage();
    pid_t pids[9]; /* more waiters than the first page has entries */
    for (unsigned i = 0; i < 9; i++) {
        pids[i] = start(s, i + 1);
    }
    notify(s, 2);
    child_join(pids[0]);
    child_join(pids[1]);
    CHECK_EQ(mproc_condition_waiting(s->condition), 7);
    acquire(s);
    mproc_condition_notify_all(s->condition);
    release(s);
    for (unsigned i = 2; i < 9; i++) {
        child_join(pids[i]);
    }
    CHECK_EQ(s->gone, 9);
    strike(s);
}

TEST(condition_notify_passes_the_dead_by) {
    struct scene *s = stage();
    pid_t dead = start(s, 1), living = start(s, 2);
    child_kill(dead);
    (void)mproc_reap();
    notify(s, 1);
    child_join(living);
    strike(s);
}

/* Nobody has noticed yet that the first waiter has died: its notification goes on to the second. */
TEST(condition_notification_of_the_dead_goes_on) {
    struct scene *s = stage();
    pid_t dead = start(s, 1), living = start(s, 2);
    CHECK_OK(kill(dead, SIGKILL));
    CHECK_EQ(waitpid(dead, NULL, 0), dead);
    notify(s, 1);
    child_join(living);
    strike(s);
}

/* The one behind does not wait, but asks between other work. */
TEST(condition_notification_of_the_dead_goes_on_to_one_that_asks) {
    struct scene *s = stage();
    mproc_ticket ticket;
    pid_t dead = start(s, 1);
    CHECK_OK(mproc_condition_begin(s->condition, &ticket));
    child_kill(dead);
    notify(s, 1);
    while (mproc_condition_notified(s->condition, &ticket) == 0) {
    }
    CHECK_OK(mproc_condition_end(s->condition, &ticket));
    strike(s);
}

TEST(condition_counts_the_living) {
    struct scene *s = stage();
    pid_t pid = start(s, 1);
    child_kill(pid);
    CHECK_EQ(mproc_condition_waiting(s->condition), 0);
    strike(s);
}

/* A notification outlives the member that sent it, and the waiter that takes its lock is told of
 * the death. */
static void notify_and_die(void *arg) {
    struct scene *s = arg;
    acquire(s);
    mproc_condition_notify(s->condition, 1);
    raise(SIGKILL);
}

static void wait_for_heritage(void *arg) {
    struct scene *s = arg;
    acquire(s);
    CHECK_EQ(mproc_condition_wait(s->condition, s->lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_EQ(mproc_rlock_depth(s->lock), 1);
    release(s);
}

TEST(condition_wait_inherits_the_lock) {
    struct scene *s = stage();
    pid_t pid = child_fork(wait_for_heritage, s);
    wait_for_futex(pid);
    pid_t dead = child_fork(notify_and_die, s);
    CHECK_EQ(waitpid(dead, NULL, 0), dead);
    child_join(pid);
    strike(s);
}

static void wait_interrupted(void *arg) {
    struct scene *s = arg;
    handle_signal(SIGUSR1);
    acquire(s);
    CHECK_EQ(mproc_condition_wait(s->condition, s->lock, MPROC_FOREVER), -EINTR);
    CHECK_EQ(mproc_rlock_depth(s->lock), 1);
    release(s);
}

TEST(condition_wait_ends_when_a_handler_ran) {
    struct scene *s = stage();
    pid_t pid = child_fork(wait_interrupted, s);
    while (mproc_condition_waiting(s->condition) == 0) {
        usleep(200);
    }
    child_interrupt(pid);
    strike(s);
}

TEST(condition_check_names_what_is_wrong) {
    struct scene *s = stage();
    mproc_condition *c = s->condition;
    uint32_t *waiting = (uint32_t *)(void *)((char *)c + sizeof(struct mproc__object) + 16);
    CHECK_BREAKS(&((struct mproc__object *)(void *)c)->kind, 0,
                 mproc_condition_check(c, why, sizeof why), "C:");
    CHECK_BREAKS(waiting, 1, mproc_condition_check(c, why, sizeof why), "C1");
    strike(s);
}

/* Producers and consumers use a plain lock and a plain number. */
#define ROUNDS 1500
#define PAIRS 3
#define ROOM 4

struct store {
    mproc_condition *changed;
    mproc_lock *lock;
    uint64_t stock, sold; /* plain: the lock guards them */
};

static void trade(struct store *store, int64_t by) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(mproc_lock_acquire(store->lock, MPROC_FOREVER));
        while (by > 0 ? store->stock == ROOM : store->stock == 0) {
            CHECK_OK(mproc_condition_wait(store->changed, store->lock, MPROC_FOREVER));
        }
        store->stock += (uint64_t)by;
        store->sold += by < 0;
        mproc_condition_notify_all(store->changed);
        CHECK_OK(mproc_lock_release(store->lock));
    }
}

static void produce(void *arg) {
    trade(arg, 1);
}

static void consume(void *arg) {
    trade(arg, -1);
}

TEST(condition_stress_store) {
    struct store store = {made_condition(), made_lock(0), 0, 0};
    struct member_thread threads[2 * PAIRS];
    for (int i = 0; i < 2 * PAIRS; i++) {
        threads[i] = (struct member_thread){.run = i % 2 ? produce : consume, .arg = &store};
    }
    member_threads_run(threads, 2 * PAIRS);
    CHECK_EQ(store.stock, 0);
    CHECK_EQ(store.sold, PAIRS * ROUNDS);
    CHECK_OK(mproc_condition_check(store.changed, NULL, 0));
    mproc_drop(store.changed);
    mproc_drop(store.lock);
}

/* ---------------------------------------------------------------- stopped members */

static void count_waiters(void *arg) {
    struct scene *s = arg;
    for (;;) {
        (void)mproc_condition_waiting(s->condition);
    }
}

static void wait_in_time(void *arg) {
    struct scene *s = arg;
    acquire(s);
    CHECK_EQ(mproc_condition_wait(s->condition, s->lock, MPROC_MSEC), -ETIMEDOUT);
    CHECK_OK(mproc_rlock_release(s->lock));
}

TEST(condition_timeouts_end_behind_a_stopped_member) {
    struct scene *s = stage();
    pid_t child = child_fork(count_waiters, s);
    CHECK_EQ(stopped_meet(child, 3, wait_in_time, s), 0);
    child_kill(child);
    strike(s);
}

/* The child waits, and is stopped in the section, which the waiter has to leave without it. */
static void wait_longer(void *arg) {
    struct scene *s = arg;
    acquire(s);
    int r = mproc_condition_wait(s->condition, s->lock, MPROC_FOREVER);
    CHECK(r == 0 || r == -EINTR);
    CHECK_OK(mproc_rlock_release(s->lock));
    mproc__add64(r == 0 ? &s->gone : &s->last, 1);
}

static void leave_alone(void *arg) {
    handle_signal(SIGUSR1);
    wait_longer(arg);
}

TEST(condition_notification_is_not_spent_on_one_that_left) {
    struct scene *s = stage();
    pid_t left = child_fork(leave_alone, s);
    while (mproc_condition_waiting(s->condition) != 1) {
        usleep(200);
    }
    pid_t other = child_fork(wait_longer, s);
    while (mproc_condition_waiting(s->condition) != 2) {
        usleep(200);
    }
    pid_t busy = child_fork(count_waiters, s);
    usleep(100); /* in the section, most of the time */
    CHECK_OK(kill(busy, SIGSTOP));
    CHECK_EQ(waitpid(busy, NULL, WUNTRACED), busy);
    /* It is counted before it sleeps, and a handler that runs in between interrupts nothing. */
    while (mproc__load64(&s->last) == 0) {
        CHECK_OK(kill(left, SIGUSR1));
        usleep(200);
    }
    child_kill(busy);
    child_join(left);
    acquire(s);
    mproc_condition_notify(s->condition, 1);
    CHECK_OK(mproc_rlock_release(s->lock));
    child_join(other);
    CHECK_EQ(s->gone, 1);
    strike(s);
}
