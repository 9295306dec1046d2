/*
 * test_witness.c - a forked child whose parent ends before it has run
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/witness.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "core/family.h"
#include "deny.h"
#include "made.h"
#include "members.h"

#define REOPENED 4

static bool newborns_stop, newborns_close;
static int reopened[REOPENED];

static void close_and_reopen(void) {
    for (int fd = 3; fd < 64; fd++) {
        close(fd);
    }
    for (int i = 0; i < REOPENED; i++) {
        reopened[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

static void stop_before_birth(void) {
    if (newborns_stop) {
        raise(SIGSTOP);
    }
    if (newborns_close) {
        close_and_reopen();
    }
}

/* In a child, before the library's own handler: that one is registered by a constructor, too. */
__attribute__((constructor(101))) static void register_stop(void) {
    pthread_atfork(NULL, NULL, stop_before_birth);
}

static unsigned taken_slots(void) {
    unsigned n = 0;
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        n += (mproc__load64(&mproc__table->slots[i].state) & 0xff) != MPROC__SLOT_FREE;
    }
    return n;
}

/* ---------------------------------------------------------------- double forks */

struct story {
    mproc_queue *queue;
    uint64_t came;
};

static void come(void *arg) {
    struct story *s = arg;
    mproc_member me;
    CHECK_OK(mproc_self(&me));
    CHECK_OK(mproc_queue_put(s->queue, &me.pid, sizeof me.pid, 0));
    mproc__add64(&s->came, 1);
}

/* The process in the middle ends without a word of its child. */
static void fork_and_leave(void *arg) {
    (void)child_fork(come, arg);
}

static void fork_one_that_stops(void *arg) {
    newborns_stop = true;
    fork_and_leave(arg);
}

static struct story *begin(void) {
    struct story *s = mproc_calloc(1, sizeof *s);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    s->queue = made_queue(0);
    return s;
}

static void end(struct story *s) {
    mproc_reap();
    CHECK_EQ(taken_slots(), 1);
    CHECK_EQ(mproc_holds(s->queue), 1);
    mproc_drop(s->queue);
    mproc_free(s);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* Returns the process, whose parent has ended; it is stopped, and has not become a member yet. */
static pid_t stopped_grandchild(struct story *s) {
    int status;
    pid_t middle = child_fork(fork_one_that_stops, s);
    siginfo_t info;
    CHECK_OK(waitid(P_PID, (id_t)middle, &info, WEXITED | WNOWAIT));
    mproc_reap(); /* while its parent's status is not collected */
    child_join(middle);
    pid_t pid = waitpid(-1, &status, WUNTRACED);
    CHECK_GT(pid, 0);
    CHECK(WIFSTOPPED(status));
    return pid;
}

static void nothing(void *arg) {
    (void)arg;
}

static void expect_reopened(void *arg) {
    (void)arg;
    for (int i = 0; i < REOPENED; i++) {
        CHECK_GE(reopened[i], 3);
        CHECK_GE(fcntl(reopened[i], F_GETFD), 0);
    }
}

TEST(witness_whose_number_is_another_files) {
    struct story *s = begin();
    newborns_close = true;
    pid_t pid = child_fork(expect_reopened, NULL);
    newborns_close = false;
    child_join(pid);
    end(s);
}

TEST(witness_of_a_child_that_comes_late) {
    struct story *s = begin();
    pid_t pid = stopped_grandchild(s);
    for (int i = 0; i < 10; i++) {
        child_join(child_fork(nothing, NULL)); /* births reap, and take free slots */
        mproc_reap();
    }
    CHECK_EQ(taken_slots(), 2);
    CHECK_OK(kill(pid, SIGCONT));
    child_join(pid);
    CHECK_EQ(s->came, 1);
    CHECK_EQ(mproc_queue_count(s->queue), 1);
    end(s);
}

TEST(witness_of_a_child_that_never_comes) {
    struct story *s = begin();
    pid_t pid = stopped_grandchild(s);
    mproc_reap();
    CHECK_EQ(taken_slots(), 2);
    child_kill(pid);
    end(s);
}

/* What the child has inherited stays, whoever else has gone. */
TEST(witness_of_the_last_one_that_holds) {
    struct story *s = begin();
    pid_t pid = stopped_grandchild(s);
    mproc_queue *queue = s->queue;
    mproc_reap();
    CHECK_OK(mproc_hold(queue));
    mproc_drop(queue);
    mproc_drop(queue); /* this member's last hold */
    CHECK_OK(kill(pid, SIGCONT));
    child_join(pid);
    CHECK_EQ(s->came, 1);
    mproc_reap();
    mproc_free(s);
    CHECK_EQ(taken_slots(), 1);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* On one CPU the middle process has mostly ended when its child runs first. */
TEST(witness_of_many_double_forks) {
    enum { ROUNDS = 500 };
    struct story *s = begin();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    (void)sched_setaffinity(0, sizeof one, &one); /* or it is a weaker test */
    size_t fds = test_open_fds();
    for (int i = 0; i < ROUNDS; i++) {
        child_join(child_fork(fork_and_leave, s));
        mproc_reap();
    }
    while (wait(NULL) > 0 || errno == EINTR) {
    }
    CHECK_EQ(s->came, ROUNDS);
    CHECK_EQ(mproc_queue_count(s->queue), ROUNDS);
    CHECK_EQ(test_open_fds(), fds);
    end(s);
}

/* ---------------------------------------------------------------- the descriptor */

static void have_as_many(void *arg) {
    CHECK_EQ(test_open_fds(), *(size_t *)arg);
}

TEST(witness_is_closed_on_both_sides) {
    size_t fds = test_open_fds();
    child_join(child_fork(have_as_many, &fds));
    CHECK_EQ(test_open_fds(), fds);
}

TEST(witness_stands_until_it_is_left) {
    uint64_t token = mproc__token(7, 1000000), other = mproc__token(7, 1000001);
    int first = mproc__witness_new(token), second = mproc__witness_new(other);
    CHECK_GE(first, 3);
    CHECK_GE(second, 3);
    CHECK_EQ(fcntl(first, F_GETFD), FD_CLOEXEC);
    int copy = dup(first);
    mproc__witness_leave(first);
    CHECK(mproc__witness_stands(token));
    mproc__witness_leave(copy);
    CHECK(!mproc__witness_stands(token));
    CHECK(mproc__witness_stands(other));
    mproc__witness_leave(second);
    mproc__witness_leave(-EMFILE); /* there was none */
    CHECK(!mproc__witness_stands(other));
}

/* ---------------------------------------------------------------- where there can be none */

static void check_fork_goes_on(void) {
    struct story *s = begin();
    child_join(child_fork(come, s));
    CHECK_EQ(s->came, 1);
    end(s);
}

TEST(witness_without_a_descriptor) {
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    struct story *s = begin();
    int lowest = dup(0);
    CHECK_GE(lowest, 3);
    close(lowest);
    struct rlimit none = {(rlim_t)lowest, limit.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_EQ(mproc__witness_new(mproc__token(1, 1)), -EMFILE);
    child_join(child_fork(come, s));
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    CHECK_EQ(s->came, 1);
    end(s);
}

static void fork_without_proc(void *arg) {
    (void)arg;
    CHECK(deny_proc());
    CHECK_EQ(mproc__witness_new(mproc__token(1, 1)), -ENOENT);
    child_join(child_fork(nothing, NULL));
}

TEST(witness_without_proc) {
    if (getuid() != 0) {
        test_skip("may not mount a /proc of its own");
    }
    child_join(child_fork(fork_without_proc, NULL));
}

TEST(witness_after_the_arena_was_closed) {
    int fd = mproc__family_fd();
    int kept = dup(fd);
    CHECK_GE(kept, 3);
    close(fd);
    CHECK_EQ(mproc__witness_new(mproc__token(1, 1)), -EBADF);
    CHECK(!mproc__witness_stands(mproc__token(1, 1)));
    check_fork_goes_on();
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(other, fd); /* the number is something else's */
    CHECK_EQ(mproc__witness_new(mproc__token(1, 1)), -EBADF);
    check_fork_goes_on();
    CHECK_EQ(dup2(kept, fd), fd);
    close(kept);
}
