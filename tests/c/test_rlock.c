/*
 * test_rlock.c - the recursive lock: levels, its owner, and the death of its holder
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/object.h"
#include "made.h"
#include "members.h"

#include <errno.h>

static mproc_rlock *make(void) {
    mproc_rlock *lock = made_rlock();
    CHECK(lock != NULL);
    return lock;
}

static void drop(mproc_rlock *lock) {
    CHECK_OK(mproc_rlock_check(lock, NULL, 0));
    (void)mproc_reap();
    mproc_drop(lock);
}

TEST(rlock_is_held_as_often_as_it_was_acquired) {
    mproc_rlock *lock = make();
    CHECK_EQ(mproc_rlock_depth(lock), 0);
    for (unsigned i = 1; i <= 3; i++) {
        CHECK_OK(mproc_rlock_acquire(lock, i == 1 ? MPROC_FOREVER : 0));
        CHECK_EQ(mproc_rlock_depth(lock), i);
    }
    for (unsigned i = 3; i-- > 0;) {
        CHECK_OK(mproc_rlock_release(lock));
        CHECK_EQ(mproc_rlock_depth(lock), i);
    }
    CHECK_EQ(mproc_rlock_release(lock), MPROC_ENOTHELD);
    drop(lock);
}

TEST(rlock_tells_its_owner) {
    mproc_rlock *lock = make();
    mproc_lock_holder holder;
    mproc_rlock_owner(lock, &holder);
    CHECK_EQ(holder.pid, 0);
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    mproc_rlock_owner(lock, &holder);
    CHECK_EQ(holder.pid, getpid());
    CHECK_EQ(holder.tid, mproc__os_tid());
    CHECK_NE(holder.serial, 0);
    mproc_rlock_dead_owner(lock, &holder);
    CHECK_EQ(holder.pid, 0);
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

static void find_taken(void *arg) {
    CHECK_EQ(mproc_rlock_depth(arg), 0);
    CHECK_EQ(mproc_rlock_acquire(arg, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_rlock_acquire(arg, MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_rlock_release(arg), MPROC_ENOTHELD);
}

static void *find_taken_in_thread(void *arg) {
    find_taken(arg);
    return NULL;
}

TEST(rlock_is_not_a_forked_childs) {
    mproc_rlock *lock = make();
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    child_join(child_fork(find_taken, lock));
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

TEST(rlock_is_not_another_threads) {
    mproc_rlock *lock = make();
    pthread_t thread;
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    CHECK_OK(pthread_create(&thread, NULL, find_taken_in_thread, lock));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(mproc_rlock_depth(lock), 1);
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

static void acquire_twice(void *arg) {
    CHECK_OK(mproc_rlock_acquire(arg, MPROC_FOREVER));
    CHECK_OK(mproc_rlock_acquire(arg, MPROC_FOREVER));
}

TEST(rlock_of_a_dead_holder_goes_to_one_who_is_told) {
    mproc_rlock *lock = make();
    mproc_lock_holder dead;
    pid_t pid = child_fork(acquire_twice, lock);
    child_join(pid);
    CHECK_EQ(mproc_rlock_acquire(lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_EQ(mproc_rlock_depth(lock), 1);
    mproc_rlock_dead_owner(lock, &dead);
    CHECK_EQ(dead.pid, pid);
    CHECK_OK(mproc_rlock_acquire(lock, MPROC_FOREVER));
    CHECK_OK(mproc_rlock_release(lock));
    CHECK_OK(mproc_rlock_release(lock));
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

static void wait_for_it(void *arg) {
    int r = mproc_rlock_acquire(arg, MPROC_FOREVER);
    CHECK(r == 0 || r == -EOWNERDEAD);
    CHECK_OK(mproc_rlock_release(arg));
    _exit(r == 0 ? 0 : 42);
}

static void acquire_and_sleep(void *arg) {
    CHECK_OK(mproc_rlock_acquire(arg, MPROC_FOREVER));
    sleep_until_killed();
}

TEST(rlock_holder_killed_while_two_wait) {
    mproc_rlock *lock = make();
    mproc_lock_holder holder = {0};
    pid_t pid = child_fork(acquire_and_sleep, lock), waiting[2];
    while (holder.pid != pid) {
        mproc_rlock_owner(lock, &holder);
    }
    for (int i = 0; i < 2; i++) {
        waiting[i] = child_fork(wait_for_it, lock);
        wait_for_futex(waiting[i]);
    }
    child_kill(pid);
    int told = 0;
    for (int i = 0; i < 2; i++) {
        int status;
        CHECK_EQ(waitpid(waiting[i], &status, 0), waiting[i]);
        CHECK(WIFEXITED(status));
        told += WEXITSTATUS(status) == 42;
        CHECK(WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0);
    }
    CHECK_EQ(told, 1);
    drop(lock);
}

static void acquire_interrupted(void *arg) {
    handle_signal(SIGUSR1);
    CHECK_EQ(mproc_rlock_acquire(arg, MPROC_FOREVER), -EINTR);
    CHECK_EQ(mproc_rlock_depth(arg), 0);
}

TEST(rlock_acquire_ends_when_a_handler_ran) {
    mproc_rlock *lock = make();
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    pid_t pid = child_fork(acquire_interrupted, lock);
    child_interrupt(pid);
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

/* ---- single numbers */

static const uint64_t all_bits = 0xfedcba9876543210;

/* The calls refuse because the lock is held, and have changed nothing. */
static void find_busy(mproc_rlock *lock, uint64_t *number) {
    uint64_t was = *number, out = 7;
    CHECK_EQ(mproc_rlock_load(lock, 8, number, &out), -EBUSY);
    CHECK_EQ(out, 7);
    CHECK_EQ(mproc_rlock_store(lock, 8, number, &out), -EBUSY);
    CHECK_EQ(*number, was);
}

static void *find_busy_in_thread(void *arg) {
    uint64_t number = 1;
    find_busy(arg, &number);
    return NULL;
}

static void load_and_store(mproc_rlock *lock) {
    for (size_t size = 1; size <= 8; size *= 2) {
        uint64_t number = 0, out = 0;
        CHECK_OK(mproc_rlock_store(lock, size, &number, &all_bits));
        CHECK_OK(memcmp(&number, &all_bits, size));
        CHECK_OK(mproc_rlock_load(lock, size, &all_bits, &out));
        CHECK_EQ(out, number);
    }
}

TEST(rlock_numbers_are_loaded_and_stored_as_if_under_it) {
    mproc_rlock *lock = make();
    pthread_t thread;
    load_and_store(lock);
    CHECK_EQ(mproc_rlock_depth(lock), 0);
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    load_and_store(lock);
    CHECK_EQ(mproc_rlock_depth(lock), 1);
    CHECK_OK(pthread_create(&thread, NULL, find_busy_in_thread, lock));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

TEST(rlock_of_a_dead_holder_is_nobodys) {
    mproc_rlock *lock = make();
    mproc_lock_holder holder;
    child_join(child_fork(acquire_twice, lock));
    mproc_rlock_owner(lock, &holder);
    CHECK(holder.pid == 0 && holder.tid == 0 && holder.serial == 0);
    CHECK_EQ(mproc_rlock_acquire(lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

TEST(rlock_numbers_under_a_dead_holder) {
    mproc_rlock *lock = make();
    uint64_t number = 1;
    child_join(child_fork(acquire_twice, lock));
    find_busy(lock, &number);
    CHECK_EQ(mproc_rlock_acquire(lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc_rlock_release(lock));
    load_and_store(lock);
    drop(lock);
}

TEST(rlock_check_names_what_is_wrong) {
    mproc_rlock *lock = make();
    uint32_t *depth = (uint32_t *)(void *)((char *)lock + sizeof(struct mproc__object) + 16);
    CHECK_BREAKS(&((struct mproc__object *)(void *)lock)->kind, 0,
                 mproc_rlock_check(lock, why, sizeof why), "R:");
    CHECK_BREAKS(depth, 1, mproc_rlock_check(lock, why, sizeof why), "R1");
    CHECK_OK(mproc_rlock_acquire(lock, 0));
    CHECK_BREAKS(depth, 0, mproc_rlock_check(lock, why, sizeof why), "R2");
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

#define ROUNDS 3000
#define CROWD 4

struct sum {
    mproc_rlock *lock;
    uint64_t value; /* not atomic: the lock guards it */
};

static void add(void *arg) {
    struct sum *sum = arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(mproc_rlock_acquire(sum->lock, MPROC_FOREVER));
        uint64_t was = sum->value;
        CHECK_OK(mproc_rlock_acquire(sum->lock, MPROC_FOREVER));
        sum->value = was + 1;
        CHECK_OK(mproc_rlock_release(sum->lock));
        CHECK_OK(mproc_rlock_release(sum->lock));
    }
}

struct scene {
    mproc_rlock *lock;
    uint64_t even;   /* odd only while a member holds the lock */
    uint64_t struck; /* written by a store, never while a member holds the lock */
    uint64_t writers;
};

static void make_odd_and_even(void *arg) {
    struct scene *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(mproc_rlock_acquire(s->lock, MPROC_FOREVER));
        uint64_t struck = mproc__load64(&s->struck);
        mproc__store64(&s->even, s->even + 1);
        for (int k = 0; k < 20; k++) {
            CHECK_EQ(mproc__load64(&s->struck), struck);
        }
        mproc__store64(&s->even, s->even + 1);
        CHECK_OK(mproc_rlock_release(s->lock));
    }
    mproc__add64(&s->writers, (uint64_t)-1);
}

static void load_and_strike(void *arg) {
    struct scene *s = arg;
    for (uint64_t i = 1; mproc__load64(&s->writers) > 0; i++) {
        uint64_t even = 0;
        if (mproc_rlock_load(s->lock, 8, &s->even, &even) == 0) {
            CHECK_EQ(even % 2, 0);
        }
        (void)!mproc_rlock_store(s->lock, 8, &s->struck, &i);
    }
}

TEST(rlock_stress_numbers) {
    struct scene *s = mproc_calloc(1, sizeof *s);
    struct member_thread threads[CROWD];
    s->lock = make();
    s->writers = CROWD / 2;
    for (int i = 0; i < CROWD; i++) {
        threads[i] = (struct member_thread){.run = i % 2 == 0 ? make_odd_and_even : load_and_strike,
                                            .arg = s};
    }
    member_threads_run(threads, CROWD);
    CHECK_EQ(s->even, CROWD / 2 * ROUNDS * 2);
    drop(s->lock);
    mproc_free(s);
}

TEST(rlock_stress_sum) {
    struct sum sum = {make(), 0};
    struct member_thread threads[CROWD];
    for (int i = 0; i < CROWD; i++) {
        threads[i] = (struct member_thread){.run = add, .arg = &sum};
    }
    member_threads_run(threads, CROWD);
    CHECK_EQ(sum.value, CROWD * ROUNDS);
    drop(sum.lock);
}

/* ---------------------------------------------------------------- threads that end */

static void *take_twice(void *arg) {
    CHECK_OK(mproc_rlock_acquire(arg, 0));
    CHECK_OK(mproc_rlock_acquire(arg, 0));
    return NULL;
}

static void end_a_thread_with(mproc_rlock *lock) {
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, take_twice, lock));
    CHECK_OK(pthread_join(thread, NULL));
}

/* The holder's thread has ended. Exactly one waiter is told, and holds the lock once. */
static void inherit(mproc_rlock *lock) {
    mproc_lock_holder dead;
    CHECK_EQ(mproc_rlock_acquire(lock, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_rlock_acquire(lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_EQ(mproc_rlock_depth(lock), 1);
    mproc_rlock_dead_owner(lock, &dead);
    CHECK_NE(dead.tid, mproc__os_tid());
    CHECK_OK(mproc_rlock_check(lock, NULL, 0));
    CHECK_OK(mproc_rlock_release(lock));
    CHECK_OK(mproc_rlock_acquire(lock, MPROC_FOREVER));
    CHECK_OK(mproc_rlock_release(lock));
}

TEST(rlock_of_a_thread_that_has_ended_goes_to_a_waiter) {
    mproc_rlock *lock = make();
    end_a_thread_with(lock);
    inherit(lock);
    drop(lock);
}

static void inherit_in_child(void *arg) {
    inherit(arg);
}

TEST(rlock_of_a_thread_that_has_ended_goes_to_another_process) {
    mproc_rlock *lock = make();
    end_a_thread_with(lock);
    child_join(child_fork(inherit_in_child, lock));
    drop(lock);
}

static void take_over_and_die(void *arg) {
    CHECK_EQ(mproc_rlock_acquire(arg, MPROC_FOREVER), -EOWNERDEAD);
    kill(getpid(), SIGKILL);
}

/* A thread that has taken it over is a holder as any other. */
TEST(rlock_that_was_taken_over_is_taken_over_again) {
    mproc_rlock *lock = make();
    end_a_thread_with(lock);
    pid_t child = child_fork(take_over_and_die, lock);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(mproc_rlock_acquire(lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc_rlock_release(lock));
    drop(lock);
}

#define HEIRS 6

static uint32_t told, inside;

static void *want(void *arg) {
    int r = mproc_rlock_acquire(arg, MPROC_FOREVER);
    CHECK(r == 0 || r == -EOWNERDEAD);
    __atomic_add_fetch(&told, r == -EOWNERDEAD, __ATOMIC_RELAXED);
    CHECK_EQ(__atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED), 1);
    usleep(1000);
    CHECK_EQ(__atomic_sub_fetch(&inside, 1, __ATOMIC_RELAXED), 0);
    CHECK_OK(mproc_rlock_release(arg));
    return NULL;
}

TEST(rlock_of_a_thread_that_has_ended_goes_to_one_of_several) {
    pthread_t heirs[HEIRS];
    for (unsigned round = 0; round < 5; round++) {
        mproc_rlock *lock = make();
        told = 0;
        end_a_thread_with(lock);
        for (unsigned i = 0; i < HEIRS; i++) {
            CHECK_OK(pthread_create(&heirs[i], NULL, want, lock));
        }
        for (unsigned i = 0; i < HEIRS; i++) {
            CHECK_OK(pthread_join(heirs[i], NULL));
        }
        CHECK_EQ(told, 1);
        drop(lock);
    }
}
