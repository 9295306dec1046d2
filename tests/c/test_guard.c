/*
 * test_guard.c - sections that a death undoes
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "members.h"

enum { UNDO = 6, WORDS = 6 };

struct room {
    struct mproc__guard guard;
    struct mproc__undo log[UNDO];
    uint64_t words[WORDS];
    uint64_t ready;
};

static struct room *make(void) {
    struct room *r = mproc_calloc(1, sizeof *r);
    CHECK(r != NULL);
    mproc__guard_init(&r->guard, r->log, UNDO);
    for (uint64_t i = 0; i < WORDS; i++) {
        r->words[i] = 100 + i;
    }
    return r;
}

static void enter(struct room *r) {
    mproc__guard_enter(&r->guard, mproc__hand_get());
}

static void leave(struct room *r) {
    mproc__guard_leave(&r->guard, mproc__hand_get());
}

static void expect(struct room *r, uint64_t first) {
    enter(r);
    for (uint64_t i = 0; i < WORDS; i++) {
        CHECK_EQ(r->words[i], first + i);
    }
    CHECK_EQ(r->guard.count, 0);
    leave(r);
}

static void change(struct room *r, uint64_t first, int n) {
    for (int i = 0; i < n; i++) {
        mproc__guard_set(&r->guard, &r->words[i], first + (uint64_t)i);
    }
}

TEST(guard_commits) {
    struct room *r = make();
    enter(r);
    CHECK_EQ(mproc__mutex_owner(&r->guard.mutex), mproc__self_token());
    CHECK_EQ(mproc__hand_get()->guard, (uintptr_t)&r->guard);
    change(r, 200, WORDS);
    leave(r);
    CHECK_EQ(mproc__mutex_owner(&r->guard.mutex), 0);
    CHECK_EQ(mproc__hand_get()->guard, 0);
    expect(r, 200);
    mproc_free(r);
}

TEST(guard_rolls_back_on_request_and_goes_on) {
    struct room *r = make();
    enter(r);
    change(r, 200, 3);
    mproc__guard_rollback(&r->guard);
    CHECK_EQ(r->words[1], 101);
    change(r, 300, WORDS);
    leave(r);
    expect(r, 300);
    mproc_free(r);
}

TEST(guard_undoes_the_oldest_value_of_a_word_saved_twice) {
    struct room *r = make();
    enter(r);
    for (uint64_t i = 0; i < UNDO; i++) {
        mproc__guard_set(&r->guard, &r->words[0], i);
    }
    mproc__guard_rollback(&r->guard);
    leave(r);
    expect(r, 100);
    mproc_free(r);
}

static void die_inside(void *arg) {
    struct room *r = arg;
    enter(r);
    change(r, 200, (int)r->ready);
    raise(SIGKILL);
}

TEST(guard_undoes_what_the_killed_left) {
    for (uint64_t n = 0; n <= WORDS; n++) {
        struct room *r = make();
        int status;
        r->ready = n;
        pid_t pid = child_fork(die_inside, r);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(WTERMSIG(status), SIGKILL);
        if (n % 2 == 0) {
            CHECK_EQ(mproc_reap(), 1); /* the reaper finishes the section */
            CHECK_EQ(mproc__mutex_owner(&r->guard.mutex), 0);
        }
        expect(r, 100);
        mproc_reap();
        mproc_free(r);
    }
}

static void die_published(void *arg) {
    struct room *r = arg;
    enter(r);
    change(r, 200, WORDS - 1);
    mproc__guard_publish(&r->guard, &r->words[WORDS - 1], 200 + WORDS - 1);
    raise(SIGKILL);
}

TEST(guard_keeps_what_was_published) {
    struct room *r = make();
    int status;
    pid_t pid = child_fork(die_published, r);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    expect(r, 200);
    CHECK(r->guard.decider == NULL);
    mproc_reap();
    mproc_free(r);
}

/* The decider of an earlier section says nothing about a later one. */
TEST(guard_forgets_its_decider) {
    struct room *r = make();
    int status;
    enter(r);
    mproc__guard_publish(&r->guard, &r->words[0], 100);
    leave(r);
    CHECK(r->guard.decider == NULL);
    r->ready = 3;
    pid_t pid = child_fork(die_inside, r);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    expect(r, 100);
    mproc_reap();
    mproc_free(r);
}

static void save_too_much(void *arg) {
    struct room *r = arg;
    enter(r);
    for (int i = 0; i <= UNDO; i++) {
        mproc__guard_save(&r->guard, &r->words[0]);
    }
}

TEST(guard_full_is_our_own_bug) {
    struct room *r = make();
    child_aborts(save_too_much, r);
    mproc_reap();
    expect(r, 100);
    mproc_free(r);
}

static void count_up(void *arg) {
    struct room *r = arg;
    for (int i = 0; i < 3000; i++) {
        enter(r);
        change(r, r->words[0] + 1, WORDS);
        leave(r);
    }
}

TEST(guard_among_processes) {
    struct room *r = make();
    pid_t kids[3];
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(count_up, r);
    }
    count_up(r);
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    expect(r, 100 + 4 * 3000);
    mproc_reap();
    mproc_free(r);
}

TEST(guard_among_threads_as_members) {
    struct room *r = make();
    struct member_thread threads[3];
    for (int i = 0; i < 3; i++) {
        threads[i] = (struct member_thread){count_up, r, 0};
    }
    member_threads_run(threads, 3);
    expect(r, 100 + 3 * 3000);
    mproc_free(r);
}

static void change_for_ever(void *arg) {
    struct room *r = arg;
    for (;;) {
        enter(r);
        mproc__store64(&r->ready,
                       r->ready +
                           1); /* not saved, so it also counts the sections that were undone */
        change(r, r->words[0] + 1, WORDS);
        leave(r);
    }
}

TEST(guard_all_or_nothing_under_random_kills) {
    struct room *r = make();
    for (unsigned round = 0; round < 100; round++) {
        uint64_t before = mproc__load64(&r->ready);
        pid_t a = child_fork(change_for_ever, r), b = child_fork(change_for_ever, r);
        wait_for_word(&r->ready, before + 1);
        usleep(round * 41 % 700);
        child_kill(a);
        child_kill(b);
        enter(r); /* puts back what the killed members had changed */
        leave(r);
        expect(r, r->words[0]);
        CHECK_EQ(mproc_reap(), 2);
    }
    mproc_free(r);
}
