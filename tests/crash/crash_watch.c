/*
 * crash_watch.c - waiting with a descriptor: who arms, who rings and who waits is killed
 *
 * SPDX-License-Identifier: MIT
 *
 * A helper waits with a descriptor while the victim does what it waits for. Wherever the victim is
 * killed, the helper comes to its end: told by the victim, by the survivor, or by the timer.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* In crash_room(). */
struct scene {
    void *object;
    pid_t helper;
    uint32_t armed;
    mproc_watch *watch; /* the victim's */
};

static struct scene *scene(void) {
    return crash_room();
}

static void put(void *queue) {
    if (mproc_queue_put(queue, "x", 1, MPROC_FOREVER) != 0) {
        abort();
    }
}

static int get(mproc_queue *queue) {
    char room[16];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_queue_get(queue, &message, 0);
    if (r == 0) {
        mproc_message_drop(&message);
    }
    return r;
}

static int acquire(mproc_lock *lock) {
    int r = mproc_lock_acquire(lock, MPROC_MSEC / 10);
    return r == -EOWNERDEAD ? 0 : r;
}

static int pass(mproc_event *event) {
    return mproc_event_wait(event, 0);
}

static int permit(mproc_semaphore *semaphore) {
    return mproc_semaphore_acquire(semaphore, 0);
}

/* Tries until the operation succeeds, and sleeps at the descriptor in between. */
#define UNTIL(attempt, descriptor)                                                                 \
    do {                                                                                           \
        struct pollfd one = {descriptor, POLLIN, 0};                                               \
        while ((attempt) != 0) {                                                                   \
            __atomic_store_n(&scene()->armed, 1, __ATOMIC_SEQ_CST);                                \
            if (poll(&one, 1, 10000) != 1 || (descriptor) != one.fd) {                             \
                exit(2);                                                                           \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void wait_for_message(void *queue) {
    UNTIL(get(queue), mproc_queue_fd(queue, MPROC_WATCH_GET));
}

static void wait_for_lock(void *lock) {
    UNTIL(acquire(lock), mproc_lock_fd(lock));
}

static void wait_for_event(void *event) {
    UNTIL(pass(event), mproc_event_fd(event));
}

static void wait_for_permit(void *semaphore) {
    UNTIL(permit(semaphore), mproc_semaphore_fd(semaphore));
}

static int notified(mproc_condition *condition, const mproc_ticket *ticket) {
    return mproc_condition_notified(condition, ticket) == 1 ? 0 : -EAGAIN;
}

static void wait_for_notice(void *condition) {
    mproc_ticket ticket;
    if (mproc_condition_begin(condition, &ticket) != 0) {
        exit(2);
    }
    UNTIL(notified(condition, &ticket), mproc_condition_fd(condition, &ticket));
    (void)mproc_condition_end(condition, &ticket);
}

/* 0 in the end, also of a barrier that broke. */
static int try(mproc_barrier *barrier, mproc_ticket *ticket) {
    int r = mproc_barrier_try(barrier, ticket);
    return r == MPROC_EBROKEN ? 0 : r;
}

static void wait_for_party(void *barrier) {
    mproc_ticket ticket;
    int r = mproc_barrier_begin(barrier, 0, &ticket);
    if (r == -EAGAIN) {
        UNTIL(try(barrier, &ticket), mproc_barrier_fd(barrier, &ticket));
    } else if (r != 0 && r != MPROC_EBROKEN) {
        exit(2);
    }
}

static void *with_helper(void *object, void (*run)(void *)) {
    crash_require(object != NULL);
    scene()->object = object;
    scene()->helper = crash_helper(run, object);
    while (__atomic_load_n(&scene()->armed, __ATOMIC_SEQ_CST) == 0) {
        usleep(100);
    }
    return object;
}

static void *make_queue_waited_for(void) {
    return with_helper(made_queue(0), wait_for_message);
}

static void *make_event_waited_for(void) {
    return with_helper(made_event(), wait_for_event);
}

static void *make_semaphore_waited_for(void) {
    return with_helper(made_semaphore(0), wait_for_permit);
}

/* Any process may release it. */
static void *make_lock_waited_for(void) {
    mproc_lock *lock = made_lock(0);
    crash_require(lock != NULL);
    crash_equal(mproc_lock_acquire(lock, 0), 0);
    return with_helper(lock, wait_for_lock);
}

static void *make_condition_waited_for(void) {
    return with_helper(made_condition(), wait_for_notice);
}

static void *make_barrier_waited_for(void) {
    return with_helper(made_barrier(2), wait_for_party);
}

static void notify(void *condition) {
    mproc_condition_notify(condition, 1);
}

static void pass_too(void *barrier) {
    int r = mproc_barrier_wait(barrier, MPROC_SEC, NULL);
    if (r != 0 && r != MPROC_EBROKEN) {
        abort();
    }
}

static void set(void *event) {
    mproc_event_set(event);
}

static void release(void *semaphore) {
    (void)mproc_semaphore_release(semaphore);
}

static void release_lock(void *lock) {
    (void)mproc_lock_release(lock);
}

/* If the victim may not have put it, the survivor does. */
static void verify_message(void *queue) {
    if (!crash_returned()) {
        put(queue);
    }
    crash_helper_join(scene()->helper);
    while (get(queue) == 0) {
    }
    crash_check(mproc_queue_check(queue, why, sizeof why));
}

static void verify_event(void *event) {
    crash_require(mproc_event_is_set(event) || !crash_returned());
    mproc_event_set(event);
    crash_helper_join(scene()->helper);
}

static void verify_semaphore(void *semaphore) {
    if (!crash_returned()) {
        (void)mproc_semaphore_release(semaphore);
    }
    crash_helper_join(scene()->helper);
}

static void verify_lock(void *lock) {
    if (!crash_returned()) {
        (void)mproc_lock_release(lock);
    }
    crash_helper_join(scene()->helper);
    crash_check(mproc_lock_check(lock, why, sizeof why));
}

static void verify_condition(void *condition) {
    if (!crash_returned()) {
        mproc_condition_notify(condition, 1);
    }
    crash_helper_join(scene()->helper);
    crash_equal(mproc_condition_waiting(condition), 0);
    crash_check(mproc_condition_check(condition, why, sizeof why));
}

/* If the victim has not come, another one does. */
static void verify_barrier(void *barrier) {
    if (!crash_returned()) {
        (void)!mproc_barrier_wait(barrier, 300 * MPROC_MSEC, NULL);
    }
    crash_helper_join(scene()->helper);
    mproc_barrier_reset(barrier);
    crash_check(mproc_barrier_check(barrier, why, sizeof why));
}

/* ---- the victim is the one that waits */

static void *make_condition(void) {
    mproc_condition *condition = made_condition();
    crash_require(condition != NULL);
    return condition;
}

static void begin_and_end(void *condition) {
    mproc_ticket ticket;
    if (mproc_condition_begin(condition, &ticket) != 0 ||
        mproc_condition_end(condition, &ticket) != -ETIMEDOUT) {
        abort();
    }
}

/* Wherever it was killed, it waits no more, and the next one is notified. */
static void use_condition(void *condition) {
    mproc_ticket ticket;
    crash_equal(mproc_condition_waiting(condition), 0);
    crash_equal(mproc_condition_begin(condition, &ticket), 0);
    mproc_condition_notify(condition, 1);
    crash_equal(mproc_condition_end(condition, &ticket), 0);
    crash_check(mproc_condition_check(condition, why, sizeof why));
}

static void *make_barrier(void) {
    mproc_barrier *barrier = made_barrier(2);
    crash_require(barrier != NULL);
    return barrier;
}

static void come_and_go(void *barrier) {
    mproc_ticket ticket;
    if (mproc_barrier_begin(barrier, 0, &ticket) != -EAGAIN ||
        mproc_barrier_end(barrier, &ticket) != -EAGAIN) {
        abort();
    }
}

static void come_and_go_while_it_acts(void *barrier) {
    mproc_ticket ticket, actor;
    if (mproc_barrier_begin(barrier, 1, &ticket) != -EAGAIN ||
        mproc_barrier_begin(barrier, 1, &actor) != 1 || mproc_barrier_end(barrier, &ticket) != 0 ||
        mproc_barrier_open(barrier) != 0) {
        abort();
    }
}

/* The survivor comes twice: it passes, or is told that the victim has died. */
static void use_barrier(void *barrier) {
    mproc_ticket one, two;
    mproc_barrier_reset(barrier);
    crash_check(mproc_barrier_check(barrier, why, sizeof why));
    crash_equal(mproc_barrier_begin(barrier, 0, &one), -EAGAIN);
    crash_equal(mproc_barrier_begin(barrier, 0, &two), 0);
    crash_equal(mproc_barrier_try(barrier, &one), 0);
    crash_check(mproc_barrier_check(barrier, why, sizeof why));
}

static void *make_queue(void) {
    mproc_queue *queue = made_queue(0);
    crash_require(queue != NULL);
    return queue;
}

static void prepare_watch(void *queue) {
    if (mproc_watch_new(&scene()->watch) != 0 ||
        mproc_watch_add(scene()->watch, queue, MPROC_WATCH_GET) != 0) {
        abort();
    }
}

static void prepare_armed(void *queue) {
    prepare_watch(queue);
    if (mproc_watch_arm(scene()->watch, 0) != 0) {
        abort();
    }
}

static void add(void *queue) {
    if (mproc_watch_add(scene()->watch, queue, MPROC_WATCH_PUT) != 1) {
        abort();
    }
}

static void arm(void *queue) {
    (void)queue;
    if (mproc_watch_arm(scene()->watch, 0) != 0) {
        abort();
    }
}

static void end(void *queue) {
    (void)queue;
    mproc_watch_drop(scene()->watch);
}

/* Nothing of the victim is in the way, and nothing is left of it. */
static void use(void *queue) {
    put(queue);
    crash_equal(get(queue), 0);
    crash_equal(mproc_holds(queue), 1);
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_check(mproc_member_check(why, sizeof why));
}

static void drop(void *object) {
    mproc_drop(object);
}

static const struct crash_op ops[] = {
    {.name = "watch put (another waits with a descriptor)",
     .setup = make_queue_waited_for,
     .operate = put,
     .verify = verify_message,
     .teardown = drop,
     .sample = 16},
    {.name = "watch set (another waits with a descriptor)",
     .setup = make_event_waited_for,
     .operate = set,
     .verify = verify_event,
     .teardown = drop,
     .sample = 16},
    {.name = "watch release (another waits with a descriptor)",
     .setup = make_semaphore_waited_for,
     .operate = release,
     .verify = verify_semaphore,
     .teardown = drop,
     .sample = 16},
    {.name = "watch release of a lock (another waits with a descriptor)",
     .setup = make_lock_waited_for,
     .operate = release_lock,
     .verify = verify_lock,
     .teardown = drop,
     .sample = 16},
    {.name = "watch notify (another waits with a descriptor)",
     .setup = make_condition_waited_for,
     .operate = notify,
     .verify = verify_condition,
     .teardown = drop,
     .sample = 16},
    {.name = "watch pass a barrier (another waits with a descriptor)",
     .setup = make_barrier_waited_for,
     .operate = pass_too,
     .verify = verify_barrier,
     .teardown = drop,
     .sample = 16},
    {.name = "watch ticket of a condition",
     .setup = make_condition,
     .operate = begin_and_end,
     .verify = use_condition,
     .teardown = drop},
    {.name = "watch ticket of a barrier",
     .setup = make_barrier,
     .operate = come_and_go,
     .verify = use_barrier,
     .teardown = drop},
    {.name = "watch ticket of a barrier (given up while it acts)",
     .setup = make_barrier,
     .operate = come_and_go_while_it_acts,
     .verify = use_barrier,
     .teardown = drop},
    {.name = "watch add",
     .setup = make_queue,
     .prepare = prepare_watch,
     .operate = add,
     .verify = use,
     .teardown = drop},
    {.name = "watch arm",
     .setup = make_queue,
     .prepare = prepare_watch,
     .operate = arm,
     .verify = use,
     .teardown = drop},
    {.name = "watch drop",
     .setup = make_queue,
     .prepare = prepare_armed,
     .operate = end,
     .verify = use,
     .teardown = drop},
};

CRASH_MAIN(ops)
