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

/* ---- the victim is the one that waits */

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
