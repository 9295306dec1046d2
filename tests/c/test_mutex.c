/*
 * test_mutex.c - the robust mutex: one word
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <sys/time.h>

#include "members.h"

struct room {
    struct mproc__mutex mutex;
    uint64_t ready;
    uint64_t count; /* changed under the mutex, without atomics */
};

static struct room *make(void) {
    struct room *r = mproc_calloc(1, sizeof *r);
    CHECK(r != NULL);
    return r;
}

static int acquire(struct room *r, int64_t timeout) {
    return mproc__mutex_acquire(&r->mutex, timeout, MPROC__FOR_USER, NULL);
}

TEST(mutex_acquire_release) {
    struct room *r = make();
    CHECK_EQ(mproc__mutex_owner(&r->mutex), 0);
    CHECK_EQ(mproc__mutex_release(&r->mutex), MPROC_ENOTHELD);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(acquire(r, i == 0 ? 0 : i == 1 ? MPROC_SEC : MPROC_FOREVER));
        CHECK_EQ(mproc__mutex_owner(&r->mutex), mproc__self_token());
        CHECK_OK(mproc__mutex_release(&r->mutex));
    }
    CHECK_EQ(mproc__mutex_release(&r->mutex), MPROC_ENOTHELD);
    CHECK_EQ(r->mutex.word, 0);
    mproc_free(r);
}

TEST(mutex_held_by_oneself_is_waited_for) {
    struct room *r = make();
    CHECK_OK(acquire(r, 0));
    CHECK_EQ(acquire(r, 0), -ETIMEDOUT);
    int64_t before = mproc__os_now();
    CHECK_EQ(acquire(r, 20 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - before, 20 * MPROC_MSEC);
    CHECK_EQ(mproc__mutex_owner(&r->mutex), mproc__self_token());
    CHECK_OK(mproc__mutex_release(&r->mutex));
    mproc_free(r);
}

static void hold_it(void *arg) {
    struct room *r = arg;
    CHECK_OK(acquire(r, 0));
    r->count = mproc__self_token();
    mproc__store64(&r->ready, 1);
    sleep_until_killed();
}

/* No member reaps the owner: the waiter itself asks the system. */
TEST(mutex_of_a_killed_owner) {
    struct room *r = make();
    uint64_t dead = 0;
    pid_t pid = child_fork(hold_it, r);
    wait_for_word(&r->ready, 1);
    CHECK_EQ(acquire(r, 0), -ETIMEDOUT);
    CHECK_EQ(acquire(r, 5 * MPROC_MSEC), -ETIMEDOUT);
    child_kill(pid);
    CHECK_EQ(mproc__mutex_acquire(&r->mutex, MPROC_FOREVER, MPROC__FOR_SECTION, &dead),
             -EOWNERDEAD);
    CHECK_EQ(dead, r->count);
    CHECK_EQ(mproc__mutex_owner(&r->mutex), mproc__self_token());
    CHECK_OK(mproc__mutex_release(&r->mutex));
    CHECK_OK(acquire(r, 0)); /* only one acquirer is told */
    CHECK_OK(mproc__mutex_release(&r->mutex));
    mproc_reap();
    mproc_free(r);
}

/* An owner that is a zombie is dead: its parent may never collect it. */
TEST(mutex_of_an_uncollected_owner) {
    struct room *r = make();
    siginfo_t info;
    pid_t pid = child_fork(hold_it, r);
    wait_for_word(&r->ready, 1);
    kill(pid, SIGKILL);
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    CHECK_EQ(acquire(r, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc__mutex_release(&r->mutex));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    mproc_reap();
    mproc_free(r);
}

TEST(mutex_tries_find_the_dead_too) {
    for (int reap = 0; reap < 2; reap++) {
        struct room *r = make();
        pid_t pid = child_fork(hold_it, r);
        wait_for_word(&r->ready, 1);
        child_kill(pid);
        CHECK(!reap || mproc_reap() == 1);
        usleep(2000); /* the round before may have asked about an object at the same place */
        CHECK_EQ(acquire(r, 0), -EOWNERDEAD);
        CHECK_OK(mproc__mutex_release(&r->mutex));
        mproc_reap();
        mproc_free(r);
    }
}

/* Tries may come one after the other: about one object they do not ask again within a
 * millisecond. */
TEST(mutex_tries_ask_the_system_seldom) {
    struct mproc__mutex one, other;
    for (int i = 0; i < 100; i++) {
        int64_t begun = mproc__os_now();
        CHECK(mproc__token_may_ask(&one));
        bool again = mproc__token_may_ask(&one);
        CHECK(!again || mproc__os_now() - begun >= MPROC_MSEC);
        CHECK(mproc__token_may_ask(&other));
    }
}

static void wait_for_it(void *arg) {
    struct room *r = arg;
    CHECK_OK(acquire(r, MPROC_FOREVER));
    r->count++;
    CHECK_OK(mproc__mutex_release(&r->mutex));
}

TEST(mutex_sleepers_are_woken) {
    struct room *r = make();
    pid_t kids[3];
    CHECK_OK(acquire(r, 0));
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(wait_for_it, r);
        wait_for_futex(kids[i]);
    }
    CHECK_EQ(r->count, 0);
    CHECK_OK(mproc__mutex_release(&r->mutex));
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    CHECK_EQ(r->count, 3);
    mproc_reap();
    mproc_free(r);
}

/* ---------------------------------------------------------------- signals */

static struct room *signalled;

static void count_signal(int number) {
    (void)number;
    mproc__add64(&signalled->ready, 1);
}

static void wait_signalled(void *arg) {
    struct room *r = arg;
    struct sigaction action = {.sa_handler = count_signal};
    signalled = r;
    CHECK_OK(sigaction(SIGUSR1, &action, NULL));
    CHECK_OK(mproc__mutex_acquire(&r->mutex, MPROC_FOREVER, (enum mproc__mutex_for)r->count, NULL));
    r->count = UINT64_MAX;
    CHECK_OK(mproc__mutex_release(&r->mutex));
}

/* A handler runs at each signal, and the wait goes on. */
TEST(mutex_waits_that_no_signal_ends) {
    const enum mproc__mutex_for whom[] = {MPROC__FOR_SECTION, MPROC__FOR_USER_ALWAYS};
    for (int i = 0; i < 2; i++) {
        struct room *r = make();
        CHECK_OK(acquire(r, 0));
        r->count = whom[i];
        pid_t pid = child_fork(wait_signalled, r);
        for (uint64_t n = 1; n <= 3; n++) {
            wait_for_futex(pid);
            CHECK_OK(kill(pid, SIGUSR1));
            wait_for_word(&r->ready, n);
        }
        wait_for_futex(pid);
        CHECK_OK(mproc__mutex_release(&r->mutex));
        child_join(pid);
        CHECK_EQ(r->count, UINT64_MAX);
        mproc_reap();
        mproc_free(r);
    }
}

static void inherit_signalled(void *arg) {
    struct room *r = arg;
    signal_every(300);
    int e = -EINTR;
    while (e == -EINTR) {
        e = mproc__mutex_acquire(&r->mutex, MPROC_FOREVER, (enum mproc__mutex_for)r->count, NULL);
    }
    signal_every(0);
    CHECK_EQ(e, -EOWNERDEAD);
    CHECK_OK(mproc__mutex_release(&r->mutex));
}

/* A profiler's signals come more often than slices end, so no slice ends by itself. */
TEST(mutex_of_a_killed_owner_among_signals) {
    const enum mproc__mutex_for whom[] = {MPROC__FOR_SECTION, MPROC__FOR_USER,
                                          MPROC__FOR_USER_ALWAYS};
    for (int i = 0; i < 3; i++) {
        struct room *r = make();
        pid_t owner = child_fork(hold_it, r);
        wait_for_word(&r->ready, 1);
        r->count = whom[i];
        pid_t heir = child_fork(inherit_signalled, r);
        child_kill(owner);
        child_join(heir);
        mproc_reap();
        mproc_free(r);
    }
}

/* ---------------------------------------------------------------- owners that do not run */

static struct room *stalled;
static uint64_t away; /* leave() was called more often than back() */

static int leave_runtime(void) {
    CHECK_EQ(away, 0);
    away = 1;
    mproc__add64(&stalled->ready, 1);
    return 1;
}

static void come_back(void) {
    CHECK_EQ(away, 1);
    CHECK_NE(mproc__peek64(&stalled->mutex.word) & ~UINT64_C(0xffffffff),
             mproc__mutex_mine() & ~UINT64_C(0xffffffff)); /* not with the mutex */
    away = 0;
}

static int stay_in_runtime(void) {
    mproc__add64(&stalled->ready, 1);
    return 0;
}

static void wait_stalled(void *arg) {
    struct room *r = arg;
    stalled = r;
    bool leaves = r->count == 1;
    mproc_stall_hook(leaves ? leave_runtime : stay_in_runtime, come_back);
    int e = mproc__mutex_acquire(&r->mutex, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    CHECK(e == 0 || e == -EOWNERDEAD);
    CHECK_EQ(away, 0);
    CHECK_OK(mproc__mutex_release(&r->mutex));
}

TEST(mutex_runtime_gives_its_lock_away_meanwhile) {
    for (int i = 0; i < 3; i++) {
        struct room *r = make();
        pid_t owner = child_fork(hold_it, r);
        wait_for_word(&r->ready, 1);
        CHECK_OK(kill(owner, SIGSTOP));
        r->count = i != 1;
        pid_t waiter = child_fork(wait_stalled, r);
        wait_for_word(&r->ready, 5);
        child_kill(owner);
        child_join(waiter);
        mproc_reap();
        mproc_free(r);
    }
}

static void never(void) {
    CHECK(false);
}

static int never_leave(void) {
    never();
    return 0;
}

/* A user's lock is waited for without the runtime's lock anyway. */
TEST(mutex_of_a_user_has_no_stall) {
    struct room *r = make();
    pid_t owner = child_fork(hold_it, r);
    wait_for_word(&r->ready, 1);
    mproc_stall_hook(never_leave, never);
    CHECK_EQ(mproc__mutex_acquire(&r->mutex, 30 * MPROC_MSEC, MPROC__FOR_USER, NULL), -ETIMEDOUT);
    mproc_stall_hook(NULL, NULL);
    child_kill(owner);
    mproc_reap();
    mproc_free(r);
}

/* ---------------------------------------------------------------- fairness */

#define STARVED UINT64_C(0x40000000)
#define KEPT UINT64_C(0xc0000000)

static void await_starved(struct room *r) {
    while ((mproc__load64(&r->mutex.word) & STARVED) == 0) {
        usleep(200);
    }
}

/* A holder that releases the mutex and wants it again at once has to wait for one that starves, or
 * for as long as the mutex is kept for that one (KEEP of mutex.c, in whole milliseconds). */
TEST(mutex_goes_to_who_starves) {
    struct room *r = make();
    for (uint64_t round = 0; round < 5; round++) {
        CHECK_OK(acquire(r, 0));
        pid_t pid = child_fork(wait_for_it, r);
        await_starved(r);
        CHECK_EQ(r->count, round);
        int64_t released = mproc__os_now();
        CHECK_OK(mproc__mutex_release(&r->mutex));
        while (acquire(r, 0) != 0) {
        }
        CHECK(r->count == round + 1 || mproc__os_now() - released > 9 * MPROC_MSEC);
        CHECK_OK(mproc__mutex_release(&r->mutex));
        child_join(pid);
        CHECK_EQ(r->count, round + 1);
    }
    mproc_reap();
    mproc_free(r);
}

static void wait_in_vain(void *arg) {
    struct room *r = arg;
    int e = MPROC_ENOTHELD;
    while (e != 0 && (mproc__load64(&r->mutex.word) & STARVED) == 0) {
        e = acquire(r, 20 * MPROC_MSEC);
    }
    CHECK_EQ(e, -ETIMEDOUT);
}

/* The waiter that starved is gone and its mark is still there: the mutex is free nevertheless. */
TEST(mutex_is_not_kept_for_nobody) {
    struct room *r = make();
    for (int killed = 0; killed < 2; killed++) {
        CHECK_OK(acquire(r, 0));
        pid_t pid = child_fork(killed ? wait_for_it : wait_in_vain, r);
        await_starved(r);
        if (killed) {
            child_kill(pid);
        } else {
            child_join(pid);
        }
        CHECK((r->mutex.word & STARVED) != 0);
        CHECK_OK(mproc__mutex_release(&r->mutex));
        CHECK_EQ(r->mutex.word, 0);
        CHECK_OK(acquire(r, 0));
        CHECK_OK(mproc__mutex_release(&r->mutex));
        mproc_reap();
    }
    CHECK_EQ(r->count, 0);
    mproc_free(r);
}

/* The mutex was kept for a waiter that died before it took it: in the end others get it. */
TEST(mutex_is_not_kept_for_ever) {
    struct room *r = make();
    for (int tries = 0; tries < 2; tries++) {
        r->mutex.word = (uint64_t)(mproc__os_now() / MPROC_MSEC) << 32 | KEPT;
        CHECK_EQ(mproc__mutex_owner(&r->mutex), 0);
        CHECK_EQ(mproc__mutex_release(&r->mutex), MPROC_ENOTHELD);
        int e = acquire(r, tries ? 0 : MPROC_FOREVER);
        while (e == -ETIMEDOUT) {
            usleep(1000);
            e = acquire(r, 0);
        }
        CHECK_OK(e);
        CHECK_EQ(mproc__mutex_owner(&r->mutex), mproc__self_token());
        CHECK_OK(mproc__mutex_release(&r->mutex));
        CHECK_EQ(r->mutex.word, 0);
    }
    mproc_free(r);
}

/* The child that is killed may have acquired the mutex before. */
static void wait_for_it_or_inherit(void *arg) {
    struct room *r = arg;
    int e = acquire(r, MPROC_FOREVER);
    CHECK(e == 0 || e == -EOWNERDEAD);
    CHECK_OK(mproc__mutex_release(&r->mutex));
}

/* A killed sleeper may be the one that was woken: the other sleepers go on nevertheless. */
TEST(mutex_sleepers_survive_a_killed_one) {
    struct room *r = make();
    for (int round = 0; round < 20; round++) {
        CHECK_OK(acquire(r, 0));
        pid_t a = child_fork(wait_for_it, r), b = child_fork(wait_for_it_or_inherit, r);
        wait_for_futex(a);
        wait_for_futex(b);
        CHECK_OK(mproc__mutex_release(&r->mutex));
        kill(a, SIGKILL);
        CHECK_EQ(waitpid(a, NULL, 0), a);
        child_join(b);
        int e = acquire(r, MPROC_FOREVER);
        CHECK(e == 0 || e == -EOWNERDEAD);
        CHECK_OK(mproc__mutex_release(&r->mutex));
        mproc_reap();
    }
    mproc_free(r);
}

static void hold_it_briefly(void *arg) {
    struct room *r = arg;
    CHECK(mproc__mutex_acquire_briefly(&r->mutex));
    mproc__store64(&r->ready, 1);
    wait_for_word(&r->ready, 2);
    mproc__mutex_release_briefly(&r->mutex);
}

/* The release wakes nobody: a waiter leaves no mark in the word and looks again by itself. */
TEST(mutex_held_briefly_is_waited_for) {
    struct room *r = make();
    pid_t holder = child_fork(hold_it_briefly, r);
    wait_for_word(&r->ready, 1);
    uint64_t word = mproc__load64(&r->mutex.word);
    CHECK(!mproc__mutex_acquire_briefly(&r->mutex));
    CHECK_EQ(acquire(r, 0), -ETIMEDOUT);
    CHECK_EQ(acquire(r, 5 * MPROC_MSEC), -ETIMEDOUT);
    pid_t waiter = child_fork(wait_for_it, r);
    wait_for_futex(waiter);
    CHECK_EQ(mproc__load64(&r->mutex.word), word);
    mproc__store64(&r->ready, 2);
    child_join(holder);
    child_join(waiter);
    CHECK_EQ(r->count, 1);
    mproc_reap();
    mproc_free(r);
}

TEST(mutex_of_a_killed_brief_owner) {
    struct room *r = make();
    pid_t pid = child_fork(hold_it_briefly, r);
    wait_for_word(&r->ready, 1);
    child_kill(pid);
    CHECK_EQ(acquire(r, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc__mutex_release(&r->mutex));
    CHECK(mproc__mutex_acquire_briefly(&r->mutex));
    mproc__mutex_release_briefly(&r->mutex);
    CHECK_EQ(r->mutex.word, 0);
    mproc_reap();
    mproc_free(r);
}

static void add_many(void *arg) {
    struct room *r = arg;
    for (int i = 0; i < 20000; i++) {
        CHECK_OK(acquire(r, MPROC_FOREVER));
        r->count++;
        CHECK_OK(mproc__mutex_release(&r->mutex));
    }
}

TEST(mutex_excludes_processes) {
    struct room *r = make();
    pid_t kids[3];
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(add_many, r);
    }
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    CHECK_EQ(r->count, 60000);
    CHECK_EQ(r->mutex.word, 0);
    mproc_reap();
    mproc_free(r);
}

TEST(mutex_excludes_threads) {
    struct room *r = make();
    struct member_thread threads[4];
    for (int i = 0; i < 4; i++) {
        threads[i] = (struct member_thread){add_many, r, 0};
    }
    member_threads_run(threads, 4);
    CHECK_EQ(r->count, 80000);
    mproc_free(r);
}

/* Several wait for the same dead owner: exactly one of them is told. */
static void inherit(void *arg) {
    struct room *r = arg;
    int e = acquire(r, MPROC_FOREVER);
    CHECK(e == 0 || e == -EOWNERDEAD);
    r->count += e == -EOWNERDEAD;
    CHECK_OK(mproc__mutex_release(&r->mutex));
}

TEST(mutex_has_one_heir) {
    for (int round = 0; round < 20; round++) {
        struct room *r = make();
        pid_t owner = child_fork(hold_it, r), kids[3];
        wait_for_word(&r->ready, 1);
        r->count = 0;
        for (int i = 0; i < 3; i++) {
            kids[i] = child_fork(inherit, r);
        }
        child_kill(owner);
        for (int i = 0; i < 3; i++) {
            child_join(kids[i]);
        }
        CHECK_EQ(r->count, 1);
        mproc_reap();
        mproc_free(r);
    }
}
