/*
 * test_member.c - birth, death and the hands of members
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/fork.h"
#include "deny.h"
#include "made.h"
#include "members.h"

#include <sys/resource.h>

static unsigned taken_slots(void) {
    unsigned n = 0;
    for (uint32_t i = 0; i < MPROC__MEMBERS; i++) {
        n += (mproc__load64(&mproc__table->slots[i].state) & 0xff) != MPROC__SLOT_FREE;
    }
    return n;
}

TEST_BARE(member_of_no_family) {
    mproc_member m;
    CHECK_EQ(mproc_self(&m), MPROC_EINIT);
    CHECK_EQ(mproc_members(&m, 1), 0);
    CHECK_EQ(mproc_reap(), 0);
    CHECK(!mproc_in_arena(&m));
}

TEST(member_self) {
    mproc_member m, list[4];
    CHECK_OK(mproc_self(&m));
    CHECK_EQ(m.pid, getpid());
    CHECK_EQ(m.parent, getppid());
    CHECK_EQ(m.method, 0);
    CHECK_STR(m.name, "main");
    CHECK_GT(m.born, 0);
    CHECK_GE(mproc__os_boot_now(), m.born);
    CHECK_EQ(mproc_members(NULL, 0), 1);
    CHECK_EQ(mproc_members(list, 4), 1);
    CHECK_MEM(&list[0], &m, sizeof m);
    CHECK_EQ(taken_slots(), 1);
}

struct note {
    mproc_member self;
    uint64_t ready;
    uint64_t go;
};

static void note_self(void *arg) {
    struct note *n = arg;
    CHECK_OK(mproc_self(&n->self));
    mproc__store64(&n->ready, 1);
    wait_for_word(&n->go, 1);
}

TEST(member_by_a_bare_fork) {
    struct note *n = mproc_calloc(1, sizeof *n);
    mproc_member me, list[4];
    CHECK_OK(mproc_self(&me));
    pid_t pid = child_fork(note_self, n);
    wait_for_word(&n->ready, 1);
    CHECK_EQ(n->self.pid, pid);
    CHECK_EQ(n->self.parent, getpid());
    CHECK_EQ(n->self.method, 0);
    CHECK_GT(n->self.serial, me.serial);
    CHECK_GT(n->self.born, me.born);
    CHECK_EQ(mproc_members(list, 1),
             2); /* returns the number of all members, also when the list is shorter */
    CHECK_EQ(mproc_members(list, 4), 2);
    CHECK_EQ(list[0].pid + list[1].pid, getpid() + pid);
    mproc__store64(&n->go, 1);
    child_join(pid);
    CHECK_EQ(mproc_members(list, 4), 1); /* dead, though not reaped yet */
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(mproc_reap(), 0);
    CHECK_EQ(taken_slots(), 1);
    mproc_free(n);
    check_family();
}

/* ---------------------------------------------------------------- the life word */

static void sleep_as_another_program(void *arg) {
    execl("/bin/sleep", "sleep", "100", (char *)NULL);
    _exit(127);
    (void)arg;
}

static uint64_t token_of(const mproc_member *m) {
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        if (mproc__load64(&mproc__table->slots[i].state) >> 8 == m->serial) {
            return mproc__token(i, m->serial);
        }
    }
    CHECK(false);
    return 0;
}

TEST(member_alive_is_told_by_memory) {
    struct note *n = mproc_calloc(1, sizeof *n);
    pid_t pid = child_fork(note_self, n);
    wait_for_word(&n->ready, 1);
    uint64_t token = token_of(&n->self);
    CHECK(mproc__token_alive(mproc__self_token()));
    CHECK(mproc__token_alive(token));
    CHECK(!mproc__token_alive(token + (UINT64_C(1) << 32))); /* a serial that no member has yet */
    child_kill(pid);
    CHECK(!mproc__token_alive(token));
    CHECK(mproc__token_dead(token));
    CHECK_EQ(mproc_reap(), 1);
    CHECK(!mproc__token_alive(token));
    CHECK(mproc__token_dead(token));
    mproc_free(n);
    check_family();
}

/* A child that is not born counts as dead when its starter is dead. The starter's own starter does
 * not matter, so a circle of starters ends. */
TEST(member_that_starts_itself) {
    uint64_t token;
    CHECK_OK(mproc__member_expect("child", MPROC_SPAWN, 0, &token));
    struct mproc__slot *slot = mproc__token_slot(token);
    uint64_t starter = slot->parent;
    slot->parent = token;
    CHECK(!mproc__token_dead(token));
    slot->parent = starter;
    mproc__reap_dead(token);
    check_family();
}

/* A sandbox may refuse the system call that the life word needs. Then memory tells nothing about
 * the member, and the system is asked. */
TEST(member_without_a_life_word) {
    struct note *n = mproc_calloc(1, sizeof *n);
    deny(SYS_set_robust_list, -1, ENOSYS);
    pid_t pid = child_fork(note_self, n);
    wait_for_word(&n->ready, 1);
    uint64_t token = token_of(&n->self);
    CHECK(!mproc__token_alive(token));
    CHECK(!mproc__token_dead(token));
    child_kill(pid);
    CHECK(mproc__token_dead(token));
    CHECK_EQ(mproc_reap(), 1);
    mproc_free(n);
}

static void live_without_proc(void *arg) {
    struct note *n = arg;
    CHECK(deny_proc());
    deny(SYS_set_robust_list, -1, ENOSYS);
    pid_t pid = child_fork(note_self, n);
    wait_for_word(&n->ready, 1);
    uint64_t token = token_of(&n->self);
    CHECK(!mproc__token_dead(token));
    child_kill(pid);
    CHECK(mproc__token_dead(token));
    CHECK_EQ(mproc_reap(), 1);
}

/* There may be no /proc, or one that hides processes: a member that cannot be looked at is not
 * dead. */
TEST(member_without_proc) {
    struct note *n = mproc_calloc(1, sizeof *n);
    if (getuid() != 0) {
        test_skip("may not mount a /proc of its own");
    }
    child_join(child_fork(live_without_proc,
                          n)); /* in a child: leak checkers need a /proc when a process ends */
    CHECK_EQ(mproc_reap(), 1);
    mproc_free(n);
}

/* A member that has died is dead also while nobody has collected its status. */
TEST(member_zombie_is_dead) {
    struct note *n = mproc_calloc(1, sizeof *n);
    siginfo_t info;
    pid_t pid = child_fork(note_self, n);
    wait_for_word(&n->ready, 1);
    uint64_t token = token_of(&n->self);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    CHECK(!mproc__token_alive(token));
    CHECK(mproc__token_dead(token));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(mproc_reap(), 1);
    mproc_free(n);
}

/* A member that executes another program under the same pid stays a member and keeps what it
 * holds. */
TEST(member_that_executes_another_program) {
    pid_t pid = child_fork(sleep_as_another_program, NULL);
    mproc_member list[2];
    while (mproc_members(list, 2) != 2) {
        usleep(1000);
    }
    uint64_t token = token_of(list[0].pid == pid ? &list[0] : &list[1]);
    while (mproc__token_alive(token)) {
        usleep(1000);
    }
    CHECK(!mproc__token_dead(token));
    CHECK_EQ(mproc_reap(), 0);
    child_kill(pid);
    CHECK(mproc__token_dead(token));
    CHECK_EQ(mproc_reap(), 1);
}

static void fork_further(void *arg) {
    struct note *n = arg;
    pid_t pid = child_fork(note_self, n + 1);
    note_self(n);
    child_join(pid);
}

TEST(member_of_the_third_generation) {
    struct note *n = mproc_calloc(2, sizeof *n);
    pid_t pid = child_fork(fork_further, n);
    wait_for_word(&n[0].ready, 1);
    wait_for_word(&n[1].ready, 1);
    CHECK_EQ(mproc_members(NULL, 0), 3);
    CHECK_EQ(n[1].self.parent, pid);
    mproc__store64(&n[0].go, 1);
    mproc__store64(&n[1].go, 1);
    child_join(pid);
    CHECK_EQ(mproc_reap(), 2);
    CHECK_EQ(taken_slots(), 1);
    mproc_free(n);
}

static void orphan_maker(void *arg) {
    struct note *n = arg;
    (void)child_fork(note_self, n);
    wait_for_word(&n->ready, 1);
}

/* An orphan stays a member; any member that is left reaps it. */
TEST(member_whose_parent_died) {
    struct note *n = mproc_calloc(1, sizeof *n);
    child_join(child_fork(orphan_maker, n));
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(mproc_members(NULL, 0), 2);
    mproc__store64(&n->go, 1);
    while (mproc_reap() == 0) {
        usleep(1000);
    }
    CHECK_EQ(taken_slots(), 1);
    mproc_free(n);
    check_family();
}

static void nothing(void *arg) {
    (void)arg;
}

/* Nobody calls mproc_reap(): each birth looks for dead members. */
TEST(member_ten_thousand_forks_leave_nothing) {
    mproc_queue *q = made_queue(0);
    size_t used = test_arena_used(), fds = test_open_fds(), maps = test_mappings();
    unsigned most = 0;
    for (int i = 0; i < 10000; i++) {
        child_join(child_fork(nothing, NULL));
        if (i % 500 == 0) {
            unsigned n = taken_slots();
            most = n > most ? n : most;
        }
    }
    CHECK_LE(most, 8);
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
    CHECK_EQ(test_arena_used(), used);
    CHECK_EQ(test_open_fds(), fds);
    CHECK_MAPPINGS(maps);
    CHECK_EQ(mproc_holds(q), 1);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* The child is killed before or after it has stored its pid. Nobody can tell which, and nothing
 * must stay. */
TEST(member_killed_at_birth) {
    mproc_queue *q = made_queue(0);
    size_t used = test_arena_used();
    for (int i = 0; i < 300; i++) {
        child_kill(child_fork(nothing, NULL));
    }
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
    CHECK_EQ(test_arena_used(), used);
    mproc_drop(q);
    check_family();
}

/* ---------------------------------------------------------------- reservations */

static void expect_no_family(void *arg) {
    mproc_member m;
    (void)arg;
    CHECK_EQ(mproc_self(&m), MPROC_EINIT);
}

TEST(member_table_is_full) {
    static uint64_t tokens[MPROC__MEMBERS];
    uint64_t token = 77;
    size_t n = 0;
    int r;
    while ((r = mproc__member_expect("kid", MPROC_SPAWN, 0, &tokens[n])) == 0) {
        n++;
        CHECK_LT(n, MPROC__MEMBERS);
    }
    CHECK_EQ(r, MPROC_EMEMBERS);
    CHECK_EQ(n, MPROC__MEMBERS - 1);
    CHECK_EQ(mproc__member_expect("kid", MPROC_SPAWN, 0, &token), MPROC_EMEMBERS);
    CHECK_EQ(token, 77);
    check_family();
    child_join(child_fork(expect_no_family,
                          NULL)); /* without a slot, a forked child goes on without a family */
    mproc__reap_dead(tokens[2000]);
    CHECK(mproc__token_slot(tokens[2000]) == NULL);
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &tokens[2000]));
    for (size_t i = 0; i < n; i++) {
        mproc__reap_dead(tokens[i]);
    }
    CHECK_EQ(taken_slots(), 1);
    check_family();
}

static void adopt_it(void *arg) {
    CHECK_EQ(mproc__member_adopt(*(uint64_t *)arg), MPROC_ESTRANGER);
}

TEST(member_reservation_that_is_gone) {
    uint64_t token, other;
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &token));
    CHECK(mproc__token_slot(token) != NULL);
    CHECK(!mproc__token_dead(token));
    CHECK(!mproc__reap_if_dead(token));
    mproc__reap_dead(token);
    mproc__reap_dead(token); /* harmless */
    CHECK(mproc__token_dead(token));
    CHECK(mproc__reap_if_dead(token));
    child_join(child_fork(adopt_it, &token));
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &other)); /* the same slot again */
    CHECK_NE(token, other);
    child_join(child_fork(adopt_it, &token));
    mproc__reap_dead(other);
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
}

static void reserve_and_die(void *arg) {
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, arg));
}

TEST(member_reserved_by_a_dead_starter) {
    uint64_t *token = mproc_calloc(1, 8);
    child_join(child_fork(reserve_and_die, token));
    CHECK(mproc__token_dead(*token));
    mproc_reap();
    mproc_reap(); /* reaps the starter first, then the slot that it had reserved */
    CHECK(mproc__token_slot(*token) == NULL);
    CHECK_EQ(taken_slots(), 1);
    mproc_free(token);
}

TEST(member_that_never_adopted_is_known_by_its_pid) {
    uint64_t token;
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &token));
    pid_t pid = child_fork(nothing, NULL);
    mproc__member_expected_pid(token, pid);
    child_join(pid);
    CHECK(mproc__token_dead(token));
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
}

static void note_name(void *arg) {
    note_self(arg);
}

TEST(member_of_a_chosen_slot) {
    struct note *n = mproc_calloc(1, sizeof *n);
    char name[200];
    uint64_t token;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    CHECK_OK(mproc__member_expect(name, MPROC_FORK, 0, &token));
    mproc__fork_next(token);
    pid_t pid = child_fork(note_name, n);
    wait_for_word(&n->ready, 1);
    CHECK_EQ(n->self.serial, token >> 32);
    CHECK_EQ(n->self.method, MPROC_FORK);
    CHECK_EQ(strlen(n->self.name), 63); /* the name is cut */
    CHECK_EQ(mproc_members(NULL, 0), 2);
    mproc__store64(&n->go, 1);
    child_join(pid);
    mproc__reap_dead(token);
    child_join(child_fork(nothing, NULL)); /* the request was for one fork only */
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
    mproc_free(n);
}

TEST(member_fork_that_fails_leaves_no_slot) {
    struct rlimit all, none = {0, 0};
    if (geteuid() == 0 && setuid(65534) != 0) {
        test_skip("root may always fork, and cannot become somebody else");
    }
    CHECK_OK(getrlimit(RLIMIT_NPROC, &all));
    none.rlim_max = all.rlim_max;
    mproc_queue *q = made_queue(0);
    size_t used = test_arena_used();
    CHECK_OK(setrlimit(RLIMIT_NPROC, &none));
    for (int i = 0; i < 10; i++) {
        errno = 0;
        pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        if (pid > 0) {
            child_join(pid);
            test_skip("the limit on processes is not enforced here");
        }
        CHECK_EQ(errno, EAGAIN);
    }
    CHECK_OK(setrlimit(RLIMIT_NPROC, &all));
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
    CHECK_EQ(test_arena_used(), used);
    mproc_drop(q);
}

/* ---------------------------------------------------------------- hands and threads */

enum { CROWD = 40 }; /* more than there are hands */

static void churn(void *arg) {
    uint64_t *sum = arg;
    for (int i = 0; i < 200; i++) {
        void *p = mproc_alloc(48);
        CHECK(p != NULL);
        mproc__add64(sum, 1);
        mproc_free(p);
    }
}

static void *churn_thread(void *arg) {
    churn(arg);
    return NULL;
}

TEST(member_with_more_threads_than_hands) {
    pthread_t threads[CROWD];
    uint64_t sum = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CROWD; i++) {
            CHECK_OK(pthread_create(&threads[i], NULL, churn_thread, &sum));
        }
        for (int i = 0; i < CROWD; i++) {
            CHECK_OK(pthread_join(threads[i], NULL));
        }
    }
    CHECK_EQ(sum, 3 * CROWD * 200);
    check_family();
}

struct crowd {
    mproc_lock *lock;
    uint64_t stop, busy;
};

static void *hold_and_drop(void *arg) {
    struct crowd *c = arg;
    mproc__add64(&c->busy, 1);
    while (!mproc__load64(&c->stop)) {
        CHECK_OK(mproc_hold(c->lock));
        mproc_drop(c->lock);
        mproc__os_yield();
    }
    return NULL;
}

/* While fork() copies, it keeps the member's other threads out of sections, whatever they are
 * doing. */
TEST(member_forks_while_its_threads_are_busy) {
    struct crowd c = {made_lock(0), 0, 0};
    pthread_t threads[CROWD];
    for (int i = 0; i < CROWD; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, hold_and_drop, &c));
    }
    wait_for_word(&c.busy, CROWD);
    for (int i = 0; i < 100; i++) {
        child_join(child_fork(nothing, NULL));
    }
    mproc__store64(&c.stop, 1);
    for (int i = 0; i < CROWD; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
    mproc_reap();
    CHECK_EQ(mproc_holds(c.lock), 1);
    mproc_drop(c.lock);
    check_family();
}

static void use_after_fork(void *arg) {
    churn(arg);
    CHECK_EQ(mproc_members(NULL, 0), 2);
}

static void *fork_from_a_thread(void *arg) {
    child_join(child_fork(use_after_fork, arg));
    return NULL;
}

TEST(member_forked_by_another_thread) {
    pthread_t thread;
    uint64_t sum = 0;
    churn(&sum);
    CHECK_OK(pthread_create(&thread, NULL, fork_from_a_thread, &sum));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(mproc_reap(), 1);
    check_family();
}

static void look_around(void *arg) {
    mproc_member list[16];
    mproc_member self;
    (void)arg;
    CHECK_OK(mproc_self(&self));
    for (int i = 0; i < 50; i++) {
        size_t n = mproc_members(list, 16);
        CHECK_GE(n, 2);
        for (size_t j = 0; j < n && j < 16; j++) {
            CHECK_EQ(list[j].pid, getpid());
            CHECK(strcmp(list[j].name, "main") == 0 || strcmp(list[j].name, "thread") == 0);
        }
        mproc_reap();
        check_family();
    }
}

static void come_and_go(void *arg) {
    uint64_t *sum = arg;
    churn(sum);
}

TEST(member_threads_come_and_go) {
    uint64_t sum = 0;
    for (int round = 0; round < 10; round++) {
        struct member_thread threads[4] = {{look_around, NULL, 0},
                                           {come_and_go, &sum, 0},
                                           {come_and_go, &sum, 0},
                                           {look_around, NULL, 0}};
        member_threads_run(threads, 4);
    }
    CHECK_EQ(taken_slots(), 1);
}

/* ---------------------------------------------------------------- checks see */

#define MEMBERS mproc_member_check(why, sizeof why)

TEST(member_check_sees) {
    uint64_t token;
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &token));
    struct mproc__slot *slot = mproc__token_slot(token);
    uint64_t future = (mproc__family->members.serial + 1) << 8 | MPROC__SLOT_UNBORN;
    CHECK_BREAKS(&slot->state, future, MEMBERS, "P1");
    mproc__reap_dead(token);
    CHECK_BREAKS(&slot->holds, 64, MEMBERS, "P3");
    CHECK_BREAKS(&slot->args, 64, MEMBERS, "P3");
    CHECK_OK(mproc_member_check(NULL, 0));
}
