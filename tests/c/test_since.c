/*
 * test_since.c - since when a lock is held, a task runs, a message is there, as a look tells it
 *
 * SPDX-License-Identifier: MIT
 *
 * The looker is the test itself. What it says is a time from which on the lock is held, or an
 * earlier one: it is compared with times that the test has taken around what it did.
 */
#include "children.h"
#include "core/wait.h"
#include "inspect/blame.h"
#include "inspect/show.h"
#include "made.h"
#include "members.h"
#include "pool/taskq.h"

#include <pthread.h>

/* A lock, of either kind. */
struct held {
    mproc_lock *lock;
    mproc_rlock *rlock;
    mproc_event *event;
};

static int acquire(const struct held *held, int64_t timeout) {
    return held->lock != NULL ? mproc_lock_acquire(held->lock, timeout)
                              : mproc_rlock_acquire(held->rlock, timeout);
}

static void release(const struct held *held) {
    CHECK_OK(held->lock != NULL ? mproc_lock_release(held->lock)
                                : mproc_rlock_release(held->rlock));
}

static void drop(const struct held *held) {
    char why[128] = "";
    CHECK_OK(held->lock != NULL ? mproc_lock_check(held->lock, why, sizeof why)
                                : mproc_rlock_check(held->rlock, why, sizeof why));
    (void)mproc_reap();
    mproc_drop(held->lock != NULL ? (void *)held->lock : (void *)held->rlock);
    mproc_drop(held->event);
    check_family();
}

/* Of one picture: since when the lock is held, 0: it is not known; and how many threads wait. */
struct sight {
    int64_t now, since, first_wait;
    int waits;
};

static struct sight look(const struct held *held) {
    struct mproc__outside arena;
    struct mproc__picture p;
    struct sight sight = {0};
    const void *lock = held->lock != NULL ? (void *)held->lock : (void *)held->rlock;
    CHECK_OK(mproc__outside_open(getpid(), &arena));
    CHECK_OK(mproc__picture_take(&arena, &p));
    int object = mproc__picture_at(&p, (uint64_t)(uintptr_t)lock);
    CHECK_GE(object, 0);
    int64_t for_ns = mproc__picture_held(&p, object);
    sight.now = p.now;
    sight.since = for_ns >= 0 ? p.now - for_ns : 0;
    sight.waits = p.nwaits;
    sight.first_wait = p.nwaits > 0 ? p.waits[0].since : 0;
    mproc__picture_drop(&p);
    mproc__outside_close(&arena);
    return sight;
}

static struct sight look_until(const struct held *held, int waits) {
    struct sight sight = look(held);
    while (sight.waits != waits) {
        usleep(1000);
        sight = look(held);
    }
    return sight;
}

static void acquire_and_keep(void *arg) {
    CHECK_OK(acquire(arg, MPROC_FOREVER));
    sleep_until_killed();
}

static void acquire_and_wait(void *arg) {
    const struct held *held = arg;
    CHECK_OK(acquire(held, MPROC_FOREVER));
    CHECK_OK(mproc_event_wait(held->event, MPROC_FOREVER));
}

/* Until the lock is held since a time that is known: it may be marked a moment after the note. What
 * is noted after the picture was begun is told as that moment: another one has its own. */
static struct sight look_until_known(const struct held *held) {
    struct sight sight = look(held);
    while (sight.since == 0 || sight.since == sight.now) {
        usleep(1000);
        sight = look(held);
    }
    return sight;
}

/* ---------------------------------------------------------------- by those who wait for it */

static void expect_since_a_waiter(const struct held *held) {
    int64_t before = mproc__os_now();
    CHECK_OK(acquire(held, 0));
    CHECK_EQ(look(held).since, 0); /* nobody has had to wait */
    pid_t waiter = child_fork(acquire_and_keep, (void *)(uintptr_t)held);
    (void)look_until(held, 1);
    struct sight first = look_until_known(held), second = look(held);
    CHECK_GE(first.since, before);
    CHECK_GE(first.now, first.since);
    CHECK_EQ(first.since, second.since); /* it has not changed hands, and the time stays */
    child_kill(waiter);
    release(held);
    (void)mproc_reap();
    CHECK_OK(acquire(held, 0));
    CHECK_EQ(look(held).since, 0); /* another time, and again nobody waits */
    release(held);
}

TEST(since_is_known_of_a_lock_that_is_waited_for) {
    const struct held lock = {.lock = made_lock(0)}, rlock = {.rlock = made_rlock()};
    const struct held signal = {.lock = made_lock(0)};
    mproc_lock_any_thread(signal.lock);
    expect_since_a_waiter(&lock);
    expect_since_a_waiter(&rlock);
    expect_since_a_waiter(&signal);
    drop(&lock);
    drop(&rlock);
    drop(&signal);
}

/* The next one knows when it got it. */
static void expect_since_it_was_handed_over(const struct held *held) {
    CHECK_OK(acquire(held, 0));
    pid_t heir = child_fork(acquire_and_keep, (void *)(uintptr_t)held);
    (void)look_until(held, 1);
    int64_t before = mproc__os_now();
    release(held);
    (void)look_until(held, 0);
    struct sight sight = look_until_known(held);
    CHECK_GE(sight.since, before);
    child_kill(heir);
    before = mproc__os_now();
    CHECK_EQ(acquire(held, MPROC_FOREVER), -EOWNERDEAD);
    sight = look(held);
    CHECK(sight.since >= before && sight.since <= sight.now);
    release(held);
}

TEST(since_begins_anew_when_a_lock_goes_to_one_that_waited) {
    const struct held lock = {.lock = made_lock(0)}, rlock = {.rlock = made_rlock()};
    expect_since_it_was_handed_over(&lock);
    expect_since_it_was_handed_over(&rlock);
    drop(&lock);
    drop(&rlock);
}

static void *acquire_and_end(void *arg) {
    CHECK_OK(acquire(arg, 0));
    return NULL;
}

TEST(since_is_known_of_a_lock_that_was_an_ended_threads) {
    struct held held = {.lock = made_lock(0)};
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, acquire_and_end, &held));
    CHECK_OK(pthread_join(thread, NULL));
    int64_t before = mproc__os_now();
    CHECK_EQ(acquire(&held, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_GE(look(&held).since, before);
    release(&held);
    drop(&held);
}

static void arm_a_bell(void *arg) {
    const struct held *held = arg;
    mproc_watch *watch;
    CHECK_OK(mproc_watch_new(&watch));
    int number = mproc_watch_add(watch, held->lock, MPROC_WATCH_ACQUIRE);
    CHECK_GE(number, 0);
    CHECK_EQ(mproc_watch_arm(watch, number), 0);
    sleep_until_killed();
}

TEST(since_is_known_of_a_lock_that_an_event_loop_waits_for) {
    struct held held = {.lock = made_lock(0)};
    int64_t before = mproc__os_now();
    CHECK_OK(acquire(&held, 0));
    pid_t pid = child_fork(arm_a_bell, &held);
    struct sight sight = look_until_known(&held);
    CHECK_GE(sight.since, before);
    child_kill(pid);
    release(&held);
    drop(&held);
}

/* ---------------------------------------------------------------- by its holder */

static void expect_since_its_holder_waits(const struct held *held) {
    pid_t holder = child_fork(acquire_and_wait, (void *)(uintptr_t)held);
    (void)look_until(held, 1);
    struct sight sight = look_until_known(held);
    CHECK_EQ(sight.since, sight.first_wait);
    CHECK_GE(sight.now, sight.since);
    child_kill(holder);
}

TEST(since_is_known_of_a_lock_whose_holder_waits) {
    const struct held lock = {.lock = made_lock(0), .event = made_event()};
    const struct held rlock = {.rlock = made_rlock(), .event = made_event()};
    expect_since_its_holder_waits(&lock);
    expect_since_its_holder_waits(&rlock);
    drop(&lock);
    drop(&rlock);
}

/* ---------------------------------------------------------------- what is no time */

TEST(since_a_time_to_come_is_told_by_the_check) {
    char why[128] = "";
    const struct held held = {.lock = made_lock(0), .rlock = NULL};
    mproc_rlock *rlock = made_rlock();
    struct mproc__facts facts = {0};
    /* The word is found by its value: a release that was waited for leaves one. */
    CHECK_OK(acquire(&held, 0));
    pid_t waiter = child_fork(acquire_and_keep, (void *)(uintptr_t)&held);
    (void)look_until(&held, 1);
    int64_t since = look_until_known(&held).since;
    uint64_t *word = (uint64_t *)(void *)held.lock;
    while (*word != (uint64_t)since) {
        word++;
    }
    *word = (uint64_t)(mproc__os_now() + 1000 * MPROC_SEC);
    CHECK_EQ(mproc_lock_check(held.lock, why, sizeof why), MPROC_ECORRUPT);
    CHECK(strncmp(why, "L3", 2) == 0);
    struct sight sight = look(&held);
    CHECK_EQ(sight.since, sight.now); /* the looker does not believe it */
    *word = (uint64_t)since;
    child_kill(waiter);
    release(&held);
    CHECK(mproc__rlock_facts(rlock, 8, &facts) == false);
    mproc_drop(rlock);
    drop(&held);
}

/* ---------------------------------------------------------------- permits */

/* A semaphore with one permit, which the first one of its takers has. */
static struct sight look_at_permit(const mproc_bsemaphore *semaphore) {
    struct mproc__outside arena;
    struct mproc__picture p;
    CHECK_OK(mproc__outside_open(getpid(), &arena));
    CHECK_OK(mproc__picture_take(&arena, &p));
    int object = mproc__picture_at(&p, (uint64_t)(uintptr_t)semaphore);
    CHECK_GE(object, 0);
    int64_t for_ns = mproc__picture_taken(&p, object, 0);
    struct sight sight = {.now = p.now, .since = for_ns >= 0 ? p.now - for_ns : 0};
    sight.waits = p.nwaits;
    sight.first_wait = p.nwaits > 0 ? p.waits[0].since : 0;
    mproc__picture_drop(&p);
    mproc__outside_close(&arena);
    return sight;
}

static struct sight look_until_permit_is_known(const mproc_bsemaphore *semaphore) {
    struct sight sight = look_at_permit(semaphore);
    while (sight.since == 0 || sight.since == sight.now) {
        usleep(1000);
        sight = look_at_permit(semaphore);
    }
    return sight;
}

static void take_permit_and_keep(void *semaphore) {
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, MPROC_FOREVER));
    sleep_until_killed();
}

TEST(since_is_known_of_a_permit_that_is_waited_for) {
    char why[128] = "";
    mproc_bsemaphore *semaphore = made_bsemaphore(1);
    int64_t before = mproc__os_now();
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    CHECK_EQ(look_at_permit(semaphore).since, 0); /* nobody has had to wait */
    pid_t waiter = child_fork(take_permit_and_keep, semaphore);
    struct sight first = look_until_permit_is_known(semaphore), second = look_at_permit(semaphore);
    CHECK_GE(first.since, before);
    CHECK_GE(first.now, first.since);
    CHECK_EQ(first.since, second.since);
    int64_t passed_on = mproc__os_now();
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    while (mproc_bsemaphore_value(semaphore) != 0) {
        usleep(1000);
    }
    struct sight theirs = look_at_permit(semaphore);
    CHECK(theirs.since == 0 || theirs.since >= passed_on); /* another one has it now */
    child_kill(waiter);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, MPROC_FOREVER));
    struct sight mine = look_at_permit(semaphore);
    CHECK(mine.since == 0 || mine.since >= passed_on);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    CHECK_OK(mproc_bsemaphore_check(semaphore, why, sizeof why));
    (void)mproc_reap();
    mproc_drop(semaphore);
    check_family();
}

struct permit {
    mproc_bsemaphore *semaphore;
    mproc_event *event;
};

static void take_permit_and_wait(void *arg) {
    const struct permit *permit = arg;
    CHECK_OK(mproc_bsemaphore_acquire(permit->semaphore, 0));
    CHECK_OK(mproc_event_wait(permit->event, MPROC_FOREVER));
}

TEST(since_is_known_of_a_permit_whose_holder_waits) {
    struct permit permit = {made_bsemaphore(1), made_event()};
    pid_t holder = child_fork(take_permit_and_wait, &permit);
    struct sight sight = look_until_permit_is_known(permit.semaphore);
    CHECK_EQ(sight.since, sight.first_wait);
    child_kill(holder);
    (void)mproc_reap();
    mproc_drop(permit.semaphore);
    mproc_drop(permit.event);
    check_family();
}

static void *wait_for_event(void *event) {
    CHECK_OK(mproc_event_wait(event, MPROC_FOREVER));
    return NULL;
}

/* One of two threads waits, and the other one may take a permit at any time. */
TEST(since_is_not_known_of_a_permit_while_a_thread_of_its_holder_runs) {
    mproc_bsemaphore *semaphore = made_bsemaphore(1);
    mproc_event *event = made_event();
    pthread_t thread;
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    CHECK_OK(pthread_create(&thread, NULL, wait_for_event, event));
    while (look_at_permit(semaphore).waits != 1) {
        usleep(1000);
    }
    CHECK_EQ(look_at_permit(semaphore).since, 0);
    mproc_event_set(event);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    mproc_drop(semaphore);
    mproc_drop(event);
    check_family();
}

TEST(since_a_permit_was_seen_in_a_time_to_come_is_told_by_the_check) {
    char why[128] = "";
    mproc_bsemaphore *semaphore = made_bsemaphore(1);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    pid_t waiter = child_fork(take_permit_and_keep, semaphore);
    int64_t since = look_until_permit_is_known(semaphore).since;
    uint64_t *word = (uint64_t *)(void *)semaphore;
    while (*word != (uint64_t)since) {
        word++;
    }
    *word = (uint64_t)(mproc__os_now() + 1000 * MPROC_SEC);
    CHECK_EQ(mproc_bsemaphore_check(semaphore, why, sizeof why), MPROC_ECORRUPT);
    CHECK(strncmp(why, "B4", 2) == 0);
    struct sight sight = look_at_permit(semaphore);
    CHECK_EQ(sight.since, sight.now); /* the looker does not believe it */
    *word = (uint64_t)since;
    child_kill(waiter);
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    (void)mproc_reap();
    mproc_drop(semaphore);
    check_family();
}

/* ---------------------------------------------------------------- of tasks and messages */

static int wait_in_task(const void *in, size_t size, mproc_result *result) {
    (void)size, (void)result;
    mproc_event *event;
    memcpy(&event, in, sizeof event);
    return mproc_event_wait(event, MPROC_FOREVER);
}

/* The only one that runs; the picture is dropped by the caller. */
static struct mproc__seen_task task_seen(struct mproc__picture *p) {
    struct mproc__outside arena;
    CHECK_OK(mproc__outside_open(getpid(), &arena));
    CHECK_OK(mproc__picture_take(&arena, p));
    mproc__outside_close(&arena);
    CHECK_GE(1, p->ntasks);
    return p->ntasks == 1 ? p->tasks[0] : (struct mproc__seen_task){0};
}

static bool is_known(const struct mproc__picture *p, const struct mproc__seen_task *task) {
    return p->ntasks == 1 && task->since != 0 && task->since < p->now && task->name != 0;
}

TEST(since_is_known_of_a_task_when_the_owner_has_looked) {
    mproc_event *event = made_event();
    mproc_pool *pool = NULL;
    mproc_task *task = NULL;
    struct mproc__picture p, later;
    char why[256] = "";
    CHECK_OK(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 1}));
    int64_t before = mproc__os_now();
    CHECK_OK(mproc_pool_submit(pool, wait_in_task, &event, sizeof event, NULL, &task));
    struct mproc__seen_task seen = task_seen(&p);
    while (!is_known(&p, &seen)) {
        mproc__picture_drop(&p);
        CHECK_EQ(mproc_task_wait(task, 20 * MPROC_MSEC), -ETIMEDOUT);
        seen = task_seen(&p);
    }
    CHECK(seen.since >= before && seen.since <= p.now && seen.ticket == 0);
    CHECK(strstr(&p.texts[seen.name], "wait_in_task") != NULL ||
          strstr(&p.texts[seen.name], "+0x") != NULL);
    CHECK_EQ(mproc_task_wait(task, 20 * MPROC_MSEC), -ETIMEDOUT);
    struct mproc__seen_task again = task_seen(&later);
    CHECK(again.since == seen.since && again.worker == seen.worker);
    CHECK_EQ(mproc__picture_running(&later, &again), later.now - seen.since);
    CHECK_OK(mproc_pool_check(pool, why, sizeof why));
    mproc__picture_drop(&p);
    mproc__picture_drop(&later);
    mproc_event_set(event);
    CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
    CHECK_EQ(task_seen(&p).since, 0); /* it is done */
    mproc__picture_drop(&p);
    mproc_task_drop(task);
    mproc_pool_drop(pool);
    mproc_drop(event);
}

static void take_picture(struct mproc__picture *out) {
    (void)task_seen(out);
}

static int queue_in(const struct mproc__picture *p, const mproc_queue *queue) {
    int i = mproc__picture_at(p, (uint64_t)(uintptr_t)queue);
    CHECK_GE(i, 0);
    return i;
}

TEST(since_of_the_oldest_message_is_that_of_the_first_of_two_looks) {
    mproc_queue *queue = made_queue(0);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    struct mproc__picture p[4];
    take_picture(&p[0]);
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    take_picture(&p[1]);
    CHECK_OK(mproc_queue_put(queue, "y", 1, 0));
    take_picture(&p[2]);
    for (int i = 1; i < 3; i++) {
        mproc__picture_compare(&p[i], &p[i - 1]);
    }
    CHECK_EQ(mproc__picture_oldest(&p[1], queue_in(&p[1], queue)), -1); /* it may be new */
    CHECK_EQ(mproc__picture_oldest(&p[2], queue_in(&p[2], queue)), p[2].now - p[1].now);
    CHECK_OK(mproc_queue_get(queue, &message, 0));
    mproc_message_drop(&message);
    take_picture(&p[3]);
    mproc__picture_compare(&p[3], &p[2]);
    CHECK_EQ(mproc__picture_oldest(&p[3], queue_in(&p[3], queue)), -1);
    for (int i = 0; i < 4; i++) {
        mproc__picture_drop(&p[i]);
    }
    mproc_drop(queue);
}

TEST(since_a_task_to_come_is_told_by_the_check) {
    char why[128] = "";
    mproc_taskq *tasks = NULL;
    CHECK_OK(mproc_taskq_new(&tasks, 2));
    struct mproc__seat *seat = mproc__taskq_seat(tasks, 1);
    seat->claim = 5;
    mproc__seat_note(seat, 7 * MPROC_MSEC);
    CHECK_EQ(seat->noted, UINT64_C(8) << MPROC__SEAT_CLAIM_BITS | 5);
    mproc__seat_note(seat, 90 * MPROC_MSEC); /* the same task */
    CHECK_EQ(seat->noted, UINT64_C(8) << MPROC__SEAT_CLAIM_BITS | 5);
    seat->claim = 6;
    mproc__seat_note(seat, mproc__os_now() + 1000 * MPROC_SEC);
    seat->claim = 0;
    CHECK_EQ(mproc_taskq_check(tasks, why, sizeof why), MPROC_ECORRUPT);
    CHECK(strncmp(why, "T3", 2) == 0);
    seat->noted = 0;
    CHECK_OK(mproc_taskq_check(tasks, why, sizeof why));
    seat->name = MPROC__TRACE_NAMES;
    CHECK_EQ(mproc_taskq_check(tasks, why, sizeof why), MPROC_ECORRUPT);
    seat->name = 0;
    mproc_drop(tasks);
}
