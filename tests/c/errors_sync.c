/*
 * errors_sync.c - errors of locks, semaphores, events, conditions, barriers
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/object.h"
#include "errors.h"

static char room[64];

/* ---------------------------------------------------------------- lock */

static int new_lock(unsigned undo) {
    mproc_lock *lock;
    return mproc_lock_new(&lock, undo);
}

static void take_lock(void *lock) {
    CHECK_OK(mproc_lock_acquire(lock, MPROC_FOREVER));
}

static mproc_lock *lock_taken(void) {
    mproc_lock *lock = made_lock(0);
    take_lock(lock);
    return lock;
}

PROVOKE(mproc_lock_new, -EINVAL) {
    return new_lock(4097);
}

PROVOKE(mproc_lock_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return new_lock(0);
}

PROVOKE(mproc_lock_acquire, -EOWNERDEAD) {
    mproc_lock *lock = made_lock(0);
    die_after(take_lock, lock);
    return mproc_lock_acquire(lock, MPROC_FOREVER);
}

PROVOKE(mproc_lock_acquire, -ETIMEDOUT) {
    return mproc_lock_acquire(lock_taken(), 0);
}

PROVOKE(mproc_lock_acquire, -EINTR) {
    mproc_lock *lock = lock_taken();
    interrupt();
    return mproc_lock_acquire(lock, without_end);
}

PROVOKE(mproc_lock_release, MPROC_ENOTHELD) {
    return mproc_lock_release(made_lock(0));
}

PROVOKE(mproc_lock_save, -ENOSPC) {
    return mproc_lock_save(lock_taken(), mproc_calloc(1, 8));
}

PROVOKE(mproc_lock_save, MPROC_ENOTHELD) {
    return mproc_lock_save(made_lock(1), mproc_calloc(1, 8));
}

PROVOKE(mproc_lock_rollback, MPROC_ENOTHELD) {
    return mproc_lock_rollback(made_lock(1));
}

PROVOKE(mproc_lock_check, MPROC_ECORRUPT) {
    return mproc_lock_check((mproc_lock *)(void *)made_event(), NULL, 0);
}

/* ---------------------------------------------------------------- recursive lock */

static void take_rlock(void *lock) {
    CHECK_OK(mproc_rlock_acquire(lock, MPROC_FOREVER));
}

static mproc_rlock *rlock_of_another(void) {
    mproc_rlock *lock = made_rlock();
    live_after(take_rlock, lock);
    return lock;
}

PROVOKE(mproc_rlock_new, -ENOMEM) {
    mproc_rlock *lock;
    begin_small();
    fill_arena();
    return mproc_rlock_new(&lock);
}

PROVOKE(mproc_rlock_acquire, -EOWNERDEAD) {
    mproc_rlock *lock = made_rlock();
    die_after(take_rlock, lock);
    return mproc_rlock_acquire(lock, MPROC_FOREVER);
}

PROVOKE(mproc_rlock_acquire, -ETIMEDOUT) {
    return mproc_rlock_acquire(rlock_of_another(), 0);
}

PROVOKE(mproc_rlock_acquire, -EINTR) {
    mproc_rlock *lock = rlock_of_another();
    interrupt();
    return mproc_rlock_acquire(lock, without_end);
}

/* Where the lock counts: the word that says 77 after so many acquires. */
static uint32_t *depth_of(mproc_rlock *lock) {
    uint32_t *words = (uint32_t *)(void *)lock, *found = NULL;
    for (int i = 0; i < 77; i++) {
        take_rlock(lock);
    }
    for (size_t i = sizeof(struct mproc__object) / 4; i < 32; i++) {
        if (words[i] == 77) {
            CHECK(found == NULL);
            found = &words[i];
        }
    }
    CHECK(found != NULL);
    return found;
}

PROVOKE(mproc_rlock_acquire, -EOVERFLOW) {
    mproc_rlock *lock = made_rlock();
    *depth_of(lock) = UINT32_MAX;
    return mproc_rlock_acquire(lock, 0);
}

PROVOKE(mproc_rlock_release, MPROC_ENOTHELD) {
    return mproc_rlock_release(made_rlock());
}

PROVOKE(mproc_rlock_load, -EBUSY) {
    return mproc_rlock_load(rlock_of_another(), 8, mproc_calloc(1, 8), room);
}

PROVOKE(mproc_rlock_store, -EBUSY) {
    return mproc_rlock_store(rlock_of_another(), 8, mproc_calloc(1, 8), room);
}

PROVOKE(mproc_rlock_check, MPROC_ECORRUPT) {
    return mproc_rlock_check((mproc_rlock *)(void *)made_event(), NULL, 0);
}

/* ---------------------------------------------------------------- semaphores */

static int new_semaphore(unsigned value) {
    mproc_semaphore *semaphore;
    return mproc_semaphore_new(&semaphore, value);
}

PROVOKE(mproc_semaphore_new, -EINVAL) {
    return new_semaphore(MPROC_SEMAPHORE_MAX + 1);
}

PROVOKE(mproc_semaphore_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return new_semaphore(1);
}

PROVOKE(mproc_semaphore_acquire, -ETIMEDOUT) {
    return mproc_semaphore_acquire(made_semaphore(0), 0);
}

PROVOKE(mproc_semaphore_acquire, -EINTR) {
    mproc_semaphore *semaphore = made_semaphore(0);
    interrupt();
    return mproc_semaphore_acquire(semaphore, without_end);
}

PROVOKE(mproc_semaphore_release, -EOVERFLOW) {
    return mproc_semaphore_release(made_semaphore(MPROC_SEMAPHORE_MAX));
}

PROVOKE(mproc_semaphore_check, MPROC_ECORRUPT) {
    return mproc_semaphore_check((mproc_semaphore *)(void *)made_event(), NULL, 0);
}

static int new_bsemaphore(unsigned bound) {
    mproc_bsemaphore *semaphore;
    return mproc_bsemaphore_new(&semaphore, bound);
}

PROVOKE(mproc_bsemaphore_new, -EINVAL) {
    return new_bsemaphore(MPROC_SEMAPHORE_MAX + 1);
}

PROVOKE(mproc_bsemaphore_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return new_bsemaphore(1);
}

PROVOKE(mproc_bsemaphore_acquire, -ETIMEDOUT) {
    return mproc_bsemaphore_acquire(made_bsemaphore(0), 0);
}

PROVOKE(mproc_bsemaphore_acquire, -EINTR) {
    mproc_bsemaphore *semaphore = made_bsemaphore(0);
    interrupt();
    return mproc_bsemaphore_acquire(semaphore, without_end);
}

enum { CROWD = 6, PLENTY = 100 }; /* as many as an object has room to note */

static void take_permit(void *semaphore) {
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, MPROC_FOREVER));
}

PROVOKE(mproc_bsemaphore_acquire, -ENOMEM) {
    begin_small();
    mproc_bsemaphore *semaphore = made_bsemaphore(PLENTY);
    crowd(take_permit, semaphore, CROWD);
    while (mproc_bsemaphore_value(semaphore) != PLENTY - CROWD) {
        sched_yield();
    }
    fill_arena();
    return mproc_bsemaphore_acquire(semaphore, 0);
}

PROVOKE(mproc_bsemaphore_release, MPROC_ENOTHELD) {
    return mproc_bsemaphore_release(made_bsemaphore(1));
}

PROVOKE(mproc_bsemaphore_check, MPROC_ECORRUPT) {
    return mproc_bsemaphore_check((mproc_bsemaphore *)(void *)made_event(), NULL, 0);
}

/* ---------------------------------------------------------------- event, condition, barrier */

PROVOKE(mproc_event_new, -ENOMEM) {
    mproc_event *event;
    begin_small();
    fill_arena();
    return mproc_event_new(&event);
}

PROVOKE(mproc_event_wait, -ETIMEDOUT) {
    return mproc_event_wait(made_event(), 0);
}

PROVOKE(mproc_event_wait, -EINTR) {
    mproc_event *event = made_event();
    interrupt();
    return mproc_event_wait(event, without_end);
}

PROVOKE(mproc_event_check, MPROC_ECORRUPT) {
    return mproc_event_check((mproc_event *)(void *)made_lock(0), NULL, 0);
}

PROVOKE(mproc_condition_new, -ENOMEM) {
    mproc_condition *condition;
    begin_small();
    fill_arena();
    return mproc_condition_new(&condition);
}

PROVOKE(mproc_condition_wait, -ETIMEDOUT) {
    return mproc_condition_wait(made_condition(), lock_taken(), 0);
}

PROVOKE(mproc_condition_wait, -EINTR) {
    mproc_condition *condition = made_condition();
    mproc_lock *lock = lock_taken();
    interrupt();
    return mproc_condition_wait(condition, lock, without_end);
}

static void take_and_die(void *lock) {
    take_lock(lock);
    raise(SIGKILL);
}

PROVOKE(mproc_condition_wait, -EOWNERDEAD) {
    mproc_condition *condition = made_condition();
    mproc_lock *lock = lock_taken();
    int r = -ETIMEDOUT;
    crowd(take_and_die, lock, 1); /* it gets the lock while this process waits */
    while (r == -ETIMEDOUT) {
        r = mproc_condition_wait(condition, lock, 20 * MPROC_MSEC);
    }
    return r;
}

PROVOKE(mproc_condition_wait, MPROC_ENOTHELD) {
    return mproc_condition_wait(made_condition(), made_lock(0), 0);
}

PROVOKE(mproc_condition_wait, MPROC_EOTHER) {
    return mproc_condition_wait(made_condition(), made_event(), 0);
}

struct meeting {
    mproc_condition *condition;
    mproc_lock *lock;
};

static void wait_in(void *arg) {
    struct meeting *meeting = arg;
    take_lock(meeting->lock);
    (void)!mproc_condition_wait(meeting->condition, meeting->lock, MPROC_FOREVER);
}

PROVOKE(mproc_condition_wait, -ENOMEM) {
    begin_small();
    struct meeting meeting = {made_condition(), made_lock(0)};
    crowd(wait_in, &meeting, CROWD);
    while (mproc_condition_waiting(meeting.condition) != CROWD) {
        sched_yield();
    }
    fill_arena();
    take_lock(meeting.lock);
    return mproc_condition_wait(meeting.condition, meeting.lock, 0);
}

PROVOKE(mproc_condition_check, MPROC_ECORRUPT) {
    return mproc_condition_check((mproc_condition *)(void *)made_lock(0), NULL, 0);
}

static int new_barrier(unsigned parties) {
    mproc_barrier *barrier;
    return mproc_barrier_new(&barrier, parties);
}

PROVOKE(mproc_barrier_new, -EINVAL) {
    return new_barrier(0);
}

PROVOKE(mproc_barrier_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return new_barrier(2);
}

PROVOKE(mproc_barrier_wait, MPROC_EBROKEN) {
    return mproc_barrier_wait(made_barrier(2), 0, NULL);
}

PROVOKE(mproc_barrier_wait, -EINTR) {
    mproc_barrier *barrier = made_barrier(2);
    interrupt();
    return mproc_barrier_wait(barrier, without_end, NULL);
}

static void wait_at(void *barrier) {
    (void)!mproc_barrier_wait(barrier, MPROC_FOREVER, NULL);
}

static mproc_barrier *barrier_starved(void) {
    begin_small();
    mproc_barrier *barrier = made_barrier(PLENTY);
    crowd(wait_at, barrier, CROWD);
    while (mproc_barrier_waiting(barrier) != CROWD) {
        sched_yield();
    }
    fill_arena();
    return barrier;
}

PROVOKE(mproc_barrier_wait, -ENOMEM) {
    return mproc_barrier_wait(barrier_starved(), 0, NULL);
}

PROVOKE(mproc_barrier_arrive, MPROC_EBROKEN) {
    return mproc_barrier_arrive(made_barrier(2), 0, NULL);
}

PROVOKE(mproc_barrier_arrive, -EINTR) {
    mproc_barrier *barrier = made_barrier(2);
    interrupt();
    return mproc_barrier_arrive(barrier, without_end, NULL);
}

PROVOKE(mproc_barrier_arrive, -ENOMEM) {
    return mproc_barrier_arrive(barrier_starved(), 0, NULL);
}

PROVOKE(mproc_barrier_open, MPROC_EBROKEN) {
    return mproc_barrier_open(made_barrier(2));
}

PROVOKE(mproc_barrier_check, MPROC_ECORRUPT) {
    return mproc_barrier_check((mproc_barrier *)(void *)made_lock(0), NULL, 0);
}

/* ---------------------------------------------------------------- tickets */

/* What a call says when another process was stopped in the middle of what it does with the object
 * again and again. */
static int behind_stopped(void (*busy)(void *), void *object, int (*call)(void *)) {
    pid_t pid = fork_child();
    int r = 0;
    while (pid == 0) {
        busy(object);
    }
    while (r != -ETIMEDOUT) {
        usleep(100);
        CHECK_OK(kill(pid, SIGSTOP));
        CHECK_EQ(waitpid(pid, NULL, WUNTRACED), pid);
        r = call(object);
        CHECK_OK(kill(pid, SIGCONT));
    }
    CHECK_OK(kill(pid, SIGKILL));
    return r;
}

static mproc_ticket ticket;

static int begin_waiting(void *condition) {
    int r = mproc_condition_begin(condition, &ticket);
    if (r == 0) {
        (void)mproc_condition_end(condition, &ticket);
    }
    return r;
}

static void count_waiting(void *condition) {
    (void)mproc_condition_waiting(condition);
}

PROVOKE(mproc_condition_begin, -ENOMEM) {
    begin_small();
    struct meeting meeting = {made_condition(), made_lock(0)};
    crowd(wait_in, &meeting, CROWD);
    while (mproc_condition_waiting(meeting.condition) != CROWD) {
        sched_yield();
    }
    fill_arena();
    return begin_waiting(meeting.condition);
}

PROVOKE(mproc_condition_begin, -ETIMEDOUT) {
    return behind_stopped(count_waiting, made_condition(), begin_waiting);
}

static mproc_condition *condition_begun(void) {
    mproc_condition *condition = made_condition();
    CHECK_OK(mproc_condition_begin(condition, &ticket));
    return condition;
}

static int look_at_condition(void *condition) {
    return mproc_condition_notified(condition, &ticket);
}

static int end_at_condition(void *condition) {
    return mproc_condition_end(condition, &ticket);
}

static int condition_fd(void *condition) {
    return mproc_condition_fd(condition, &ticket);
}

PROVOKE(mproc_condition_notified, -EINVAL) {
    return look_at_condition(made_condition());
}

PROVOKE(mproc_condition_notified, MPROC_ESTRANGER) {
    return in_child(look_at_condition, condition_begun());
}

PROVOKE(mproc_condition_end, -ETIMEDOUT) {
    return end_at_condition(condition_begun());
}

PROVOKE(mproc_condition_end, -EINVAL) {
    return end_at_condition(made_condition());
}

PROVOKE(mproc_condition_end, MPROC_ESTRANGER) {
    return in_child(end_at_condition, condition_begun());
}

PROVOKE(mproc_condition_fd, -EINVAL) {
    return condition_fd(made_condition());
}

PROVOKE(mproc_condition_fd, MPROC_ESTRANGER) {
    return in_child(condition_fd, condition_begun());
}

static int begin_at_barrier(void *barrier) {
    int r = mproc_barrier_begin(barrier, 0, &ticket);
    if (r == -EAGAIN) {
        (void)mproc_barrier_end(barrier, &ticket);
    }
    return r;
}

static void reset(void *barrier) {
    mproc_barrier_reset(barrier);
}

static mproc_barrier *barrier_begun(void) {
    mproc_barrier *barrier = made_barrier(2);
    CHECK_EQ(mproc_barrier_begin(barrier, 0, &ticket), -EAGAIN);
    return barrier;
}

static mproc_barrier *barrier_aborted(void) {
    mproc_barrier *barrier = barrier_begun();
    mproc_barrier_abort(barrier);
    return barrier;
}

static int try_at_barrier(void *barrier) {
    return mproc_barrier_try(barrier, &ticket);
}

static int end_at_barrier(void *barrier) {
    return mproc_barrier_end(barrier, &ticket);
}

static int barrier_fd(void *barrier) {
    return mproc_barrier_fd(barrier, &ticket);
}

PROVOKE(mproc_barrier_begin, -EAGAIN) {
    return begin_at_barrier(made_barrier(2));
}

PROVOKE(mproc_barrier_begin, MPROC_EBROKEN) {
    return begin_at_barrier(barrier_aborted());
}

PROVOKE(mproc_barrier_begin, -ENOMEM) {
    return begin_at_barrier(barrier_starved());
}

PROVOKE(mproc_barrier_begin, -ETIMEDOUT) {
    return behind_stopped(reset, made_barrier(2), begin_at_barrier);
}

PROVOKE(mproc_barrier_try, -EAGAIN) {
    return try_at_barrier(barrier_begun());
}

PROVOKE(mproc_barrier_try, MPROC_EBROKEN) {
    return try_at_barrier(barrier_aborted());
}

PROVOKE(mproc_barrier_try, -EINVAL) {
    return try_at_barrier(made_barrier(2));
}

PROVOKE(mproc_barrier_try, MPROC_ESTRANGER) {
    return in_child(try_at_barrier, barrier_begun());
}

PROVOKE(mproc_barrier_end, -EAGAIN) {
    return end_at_barrier(barrier_begun());
}

PROVOKE(mproc_barrier_end, MPROC_EBROKEN) {
    return end_at_barrier(barrier_aborted());
}

PROVOKE(mproc_barrier_end, -EINVAL) {
    return end_at_barrier(made_barrier(2));
}

PROVOKE(mproc_barrier_end, MPROC_ESTRANGER) {
    return in_child(end_at_barrier, barrier_begun());
}

PROVOKE(mproc_barrier_fd, -EINVAL) {
    return barrier_fd(made_barrier(2));
}

PROVOKE(mproc_barrier_fd, MPROC_ESTRANGER) {
    return in_child(barrier_fd, barrier_begun());
}

PROVOKE_FDS(mproc_condition_fd, condition_begun(), condition_fd(object))
PROVOKE_FDS(mproc_barrier_fd, barrier_begun(), barrier_fd(object))
