/*
 * test_barrier.c - the barrier: generations, breaking, actions, and dead parties
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/object.h"
#include "made.h"
#include "members.h"
#include "stopped.h"

#include <errno.h>

struct scene {
    mproc_barrier *barrier;
    uint64_t passed, broken, indices; /* the indices they got: a bit for each */
};

static struct scene *stage(unsigned parties) {
    struct scene *s = mproc_calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->barrier = made_barrier(parties);
    CHECK(s->barrier != NULL);
    return s;
}

static void strike(struct scene *s) {
    CHECK_OK(mproc_barrier_check(s->barrier, NULL, 0));
    (void)mproc_reap();
    mproc_drop(s->barrier);
    mproc_free(s);
}

static void wait_once(void *arg) {
    struct scene *s = arg;
    unsigned index = 99;
    int r = mproc_barrier_wait(s->barrier, MPROC_FOREVER, &index);
    CHECK(r == 0 || r == MPROC_EBROKEN);
    CHECK_EQ(r == 0, index != 99);
    mproc__add64(r == 0 ? &s->passed : &s->broken, 1);
    if (r == 0) {
        mproc__add64(&s->indices, UINT64_C(1) << index);
    }
}

/* Starts a child that waits, and returns when it sleeps in its wait. */
static pid_t start(struct scene *s) {
    unsigned before = mproc_barrier_waiting(s->barrier);
    pid_t pid = child_fork(wait_once, s);
    while (mproc_barrier_waiting(s->barrier) == before) {
        usleep(200);
    }
    wait_for_futex(pid);
    return pid;
}

TEST(barrier_needs_parties) {
    mproc_barrier *none = NULL;
    CHECK_EQ(mproc_barrier_new(&none, 0), -EINVAL);
    CHECK(none == NULL);
}

TEST(barrier_of_one_never_waits) {
    struct scene *s = stage(1);
    unsigned index = 99;
    CHECK_EQ(mproc_barrier_parties(s->barrier), 1);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(mproc_barrier_wait(s->barrier, 0, &index));
        CHECK_EQ(index, 0);
        CHECK_OK(mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL));
    }
    strike(s);
}

TEST(barrier_lets_all_pass_when_the_last_has_come) {
    struct scene *s = stage(9); /* more parties than the first page has entries */
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        pids[i] = start(s);
        CHECK_EQ(mproc_barrier_waiting(s->barrier), i + 1);
        CHECK_OK(mproc_barrier_check(s->barrier, NULL, 0));
    }
    CHECK_EQ(s->passed, 0);
    wait_once(s);
    for (int i = 0; i < 8; i++) {
        child_join(pids[i]);
    }
    CHECK_EQ(s->passed, 9);
    CHECK_EQ(s->indices, 0x1ff);
    CHECK_EQ(mproc_barrier_waiting(s->barrier), 0);
    strike(s);
}

TEST(barrier_breaks_when_time_passes) {
    struct scene *s = stage(3);
    pid_t pid = start(s);
    int64_t begun = mproc__os_now();
    CHECK_EQ(mproc_barrier_wait(s->barrier, 20 * MPROC_MSEC, NULL), MPROC_EBROKEN);
    CHECK_GE(mproc__os_now() - begun, 20 * MPROC_MSEC);
    child_join(pid);
    CHECK_EQ(s->broken, 1);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 1);
    CHECK_EQ(mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL), MPROC_EBROKEN);
    mproc_barrier_reset(s->barrier);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 0);
    strike(s);
}

TEST(barrier_abort_and_reset) {
    struct scene *s = stage(2);
    pid_t pid = start(s);
    mproc_barrier_abort(s->barrier);
    mproc_barrier_abort(s->barrier);
    child_join(pid);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 1);
    mproc_barrier_reset(s->barrier);
    pid = start(s);
    mproc_barrier_reset(s->barrier);
    child_join(pid);
    CHECK_EQ(s->broken, 2);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 0);
    pid = start(s);
    wait_once(s);
    child_join(pid);
    CHECK_EQ(s->passed, 2);
    strike(s);
}

TEST(barrier_the_last_acts_before_all_pass) {
    struct scene *s = stage(2);
    pid_t pid = start(s);
    unsigned index = 99;
    CHECK_EQ(mproc_barrier_open(s->barrier),
             MPROC_EBROKEN); /* the caller is not the one that opens it */
    CHECK_EQ(mproc_barrier_arrive(s->barrier, MPROC_FOREVER, &index), 1);
    CHECK_EQ(index, 1);
    CHECK_EQ(mproc_barrier_waiting(s->barrier), 2);
    CHECK_OK(mproc_barrier_check(s->barrier, NULL, 0));
    pid_t early = child_fork(wait_once, s); /* it belongs to the next generation */
    wait_for_futex(early);
    CHECK_EQ(s->passed, 0);
    CHECK_OK(mproc_barrier_open(s->barrier));
    child_join(pid);
    CHECK_EQ(s->passed, 1);
    wait_once(s);
    child_join(early);
    CHECK_EQ(s->passed, 3);
    strike(s);
}

TEST(barrier_abort_ends_an_action) {
    struct scene *s = stage(2);
    pid_t pid = start(s);
    CHECK_EQ(mproc_barrier_arrive(s->barrier, MPROC_FOREVER, NULL), 1);
    mproc_barrier_abort(s->barrier);
    child_join(pid);
    CHECK_EQ(s->broken, 1);
    CHECK_EQ(mproc_barrier_open(s->barrier), MPROC_EBROKEN);
    strike(s);
}

TEST(barrier_breaks_when_a_waiter_dies) {
    struct scene *s = stage(3);
    pid_t dying = start(s), living = start(s);
    CHECK_OK(kill(dying, SIGKILL));
    child_join(living);
    CHECK_EQ(s->broken, 1);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 1);
    CHECK_EQ(waitpid(dying, NULL, 0), dying);
    strike(s);
}

static void wait_among_signals(void *arg) {
    struct scene *s = arg;
    int r = -EINTR;
    signal_every(300);
    while (r == -EINTR) {
        r = mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL);
    }
    signal_every(0);
    CHECK_EQ(r, MPROC_EBROKEN);
}

/* A profiler's signals come more often than slices end, so no slice ends by itself. */
TEST(barrier_breaks_when_a_waiter_dies_among_signals) {
    struct scene *s = stage(3);
    pid_t dying = start(s), living = child_fork(wait_among_signals, s);
    CHECK_OK(kill(dying, SIGKILL));
    child_join(living);
    CHECK_EQ(waitpid(dying, NULL, 0), dying);
    strike(s);
}

TEST(barrier_the_last_to_come_finds_the_dead) {
    struct scene *s = stage(2);
    child_kill(start(s));
    (void)mproc_reap();
    CHECK_EQ(mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL), MPROC_EBROKEN);
    strike(s);
}

/* Nobody reaps the dead party. The last to come notices the death because a living party would
 * have given a sign of life in the meantime. */
TEST(barrier_the_last_to_come_finds_those_who_are_still) {
    struct scene *s = stage(2);
    child_kill(start(s));
    int64_t begun = mproc__os_now();
    while (mproc__os_now() - begun < 100 * MPROC_MSEC) {
        usleep(10000);
    }
    CHECK_EQ(mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL), MPROC_EBROKEN);
    strike(s);
}

static void act_and_die(void *arg) {
    struct scene *s = arg;
    CHECK_EQ(mproc_barrier_arrive(s->barrier, MPROC_FOREVER, NULL), 1);
    raise(SIGKILL);
}

TEST(barrier_breaks_when_the_actor_dies) {
    struct scene *s = stage(2);
    pid_t pid = start(s), actor = child_fork(act_and_die, s);
    CHECK_EQ(waitpid(actor, NULL, 0), actor);
    child_join(pid);
    CHECK_EQ(s->broken, 1);
    strike(s);
}

/* ---------------------------------------------------------------- programs that only try */

/* With no limit of its own: what never ends is ended by the test's time. */
static int try_until_end(struct scene *s, mproc_ticket *ticket) {
    int r = -EAGAIN;
    while (r == -EAGAIN) {
        r = mproc_barrier_try(s->barrier, ticket);
    }
    return r;
}

TEST(barrier_try_finds_a_dead_waiter) {
    struct scene *s = stage(3);
    mproc_ticket ticket;
    pid_t dying = start(s);
    CHECK_EQ(mproc_barrier_begin(s->barrier, 0, &ticket), -EAGAIN);
    CHECK_EQ(mproc_barrier_try(s->barrier, &ticket), -EAGAIN);
    child_kill(dying);
    CHECK_EQ(try_until_end(s, &ticket), MPROC_EBROKEN);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 1);
    strike(s);
}

/* A program that is no party may wait for one of these, too. */
TEST(barrier_breaks_for_one_that_only_asks) {
    struct scene *s = stage(2);
    child_kill(start(s));
    while (mproc_barrier_broken(s->barrier) == 0) {
    }
    mproc_barrier_reset(s->barrier);
    child_kill(start(s));
    while (mproc_barrier_waiting(s->barrier) > 0) {
    }
    strike(s);
}

/* The one that has come too late waits for an opening that will not come. */
TEST(barrier_try_finds_a_dead_actor) {
    struct scene *s = stage(1);
    mproc_ticket ticket;
    pid_t actor = child_fork(act_and_die, s);
    CHECK_EQ(waitpid(actor, NULL, 0), actor);
    CHECK_EQ(mproc_barrier_begin(s->barrier, 0, &ticket), -EAGAIN);
    CHECK_EQ(try_until_end(s, &ticket), MPROC_EBROKEN);
    strike(s);
}

static void wait_interrupted(void *arg) {
    struct scene *s = arg;
    handle_signal(SIGUSR1);
    CHECK_EQ(mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL), -EINTR);
    CHECK_EQ(mproc_barrier_waiting(s->barrier), 0);
}

TEST(barrier_wait_ends_when_a_handler_ran) {
    struct scene *s = stage(2);
    pid_t pid = child_fork(wait_interrupted, s);
    while (mproc_barrier_waiting(s->barrier) == 0) {
        usleep(200);
    }
    child_interrupt(pid);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 0);
    strike(s);
}

TEST(barrier_check_names_what_is_wrong) {
    struct scene *s = stage(2);
    mproc_barrier *b = s->barrier;
    uint32_t *arrived = (uint32_t *)(void *)((char *)b + sizeof(struct mproc__object) + 52);
    CHECK_BREAKS(&((struct mproc__object *)(void *)b)->kind, 0,
                 mproc_barrier_check(b, why, sizeof why), "A:");
    CHECK_BREAKS(arrived, 1, mproc_barrier_check(b, why, sizeof why), "A1");
    strike(s);
}

/* All parties write, wait, read and wait again. They write plain words, which only the barrier
 * orders. */
#define ROUNDS 1000
#define CROWD 4

struct grid {
    mproc_barrier *barrier;
    uint64_t value[CROWD];
    uint64_t next;
};

static void compute(void *arg) {
    struct grid *grid = arg;
    uint64_t me = mproc__add64(&grid->next, 1);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        grid->value[me] = i;
        CHECK_OK(mproc_barrier_wait(grid->barrier, MPROC_FOREVER, NULL));
        for (int k = 0; k < CROWD; k++) {
            CHECK_EQ(grid->value[k], i);
        }
        CHECK_OK(mproc_barrier_wait(grid->barrier, MPROC_FOREVER, NULL));
    }
}

TEST(barrier_stress_grid) {
    struct grid grid = {made_barrier(CROWD), {0}, 0};
    struct member_thread threads[CROWD];
    for (int i = 0; i < CROWD; i++) {
        threads[i] = (struct member_thread){.run = compute, .arg = &grid};
    }
    member_threads_run(threads, CROWD);
    CHECK_OK(mproc_barrier_check(grid.barrier, NULL, 0));
    mproc_drop(grid.barrier);
}

/* ---------------------------------------------------------------- stopped members */

static void reset_again_and_again(void *arg) {
    struct scene *s = arg;
    for (;;) {
        mproc_barrier_reset(s->barrier);
    }
}

static void wait_in_time(void *arg) {
    struct scene *s = arg;
    CHECK_EQ(mproc_barrier_wait(s->barrier, MPROC_MSEC, NULL), MPROC_EBROKEN);
}

TEST(barrier_timeouts_end_behind_a_stopped_member) {
    struct scene *s = stage(3);
    pid_t child = child_fork(reset_again_and_again, s);
    CHECK_EQ(stopped_meet(child, 3, wait_in_time, s), 0);
    child_kill(child);
    strike(s);
}

/* What a party that gave up without the mutex leaves is put right by whoever has it next. */
TEST(barrier_is_broken_for_one_that_gave_up) {
    struct scene *s = stage(2);
    uint64_t *given_up =
        (uint64_t *)(void *)((char *)s->barrier + sizeof(struct mproc__object) + 64);
    pid_t pid = child_fork(wait_once, s);
    while (mproc_barrier_waiting(s->barrier) == 0) {
        usleep(200);
    }
    *given_up = 1;
    child_join(pid); /* at the end of its slice */
    CHECK_EQ(s->broken, 1);
    CHECK_EQ(mproc_barrier_wait(s->barrier, MPROC_FOREVER, NULL), MPROC_EBROKEN);
    mproc_barrier_reset(s->barrier);
    CHECK_EQ(mproc_barrier_broken(s->barrier), 0);
    *given_up = 1; /* of long ago: nobody has to do with it */
    CHECK_EQ(mproc_barrier_wait(s->barrier, 0, NULL), MPROC_EBROKEN); /* its own time is over */
    CHECK_EQ(*given_up, 0);
    strike(s);
}
