/*
 * kin.h - what the tests of the core share: children, threads that play members, words to meet at
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KIN_H
#define KIN_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/join.h"
#include "core/member.h"
#include "system/atomic.h"
#include "system/os.h"
#include "test.h"

/* ---- processes */

/* A bare fork() that runs a function and ends; a failed check ends it with TEST_FAILED. */
static inline pid_t kin_fork(void (*run)(void *), void *arg) {
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        run(arg);
        fflush(stdout);
        _exit(0);
    }
    return pid;
}

/* Collects a child that must end well. */
static inline void kin_join(pid_t pid) {
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static inline void kin_kill(pid_t pid) {
    int status;
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
}

/* Runs a function in a child that must end by SIGABRT: an assertion or a panic. */
static inline void kin_aborts(void (*run)(void *), void *arg) {
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(1);
        }
        signal(SIGABRT, SIG_DFL);
        run(arg);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* For ever, until somebody kills the caller. */
static inline void kin_sleep(void) {
    for (;;) {
        pause();
    }
}

static inline void kin_ignore(int number) {
    (void)number;
}

/* From now on the signal ends blocking calls of this process, and does nothing else. */
static inline void kin_handle(int number) {
    struct sigaction action = {.sa_handler = kin_ignore};
    CHECK_OK(sigaction(number, &action, NULL));
}

/* A profiler's timer: a signal to this process so often; 0: no more. */
static inline void kin_signal_every(int microseconds) {
    const struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    kin_handle(SIGALRM);
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
}

/* ---- words to meet at */

/* Sleeps until a word of the arena has reached the value. */
static inline void kin_await(const uint64_t *word, uint64_t at_least) {
    while (mproc__load64(word) < at_least) {
        usleep(200);
    }
}

/* Sleeps until the process sleeps inside a futex call: it waits for something of ours. */
static inline void kin_await_futex(pid_t pid) {
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/wchan", (int)pid);
    while (strstr(text, "futex") == NULL) {
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        if (fgets(text, sizeof text, f) == NULL) {
            text[0] = 0;
        }
        fclose(f);
        usleep(200);
    }
}

/* ---- threads that play members */

struct kin_thread {
    void (*run)(void *);
    void *arg;
    pthread_t thread;
};

static inline void *kin_thread_main(void *arg) {
    struct kin_thread *t = arg;
    CHECK_OK(mproc__thread_becomes_member());
    t->run(t->arg);
    mproc__thread_leaves();
    return NULL;
}

static inline void kin_threads_run(struct kin_thread *threads, size_t n) {
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(pthread_create(&threads[i].thread, NULL, kin_thread_main, &threads[i]));
    }
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(pthread_join(threads[i].thread, NULL));
    }
}

/* A room whose door lets so many in at a time. */
struct kin_room {
    void *door;
    void (*enter)(void *door), (*leave)(void *door);
    uint64_t limit, inside, visits;
};

#define KIN_VISITS 2000
#define KIN_CROWD 6

static inline void kin_visit(void *arg) {
    struct kin_room *room = arg;
    for (int i = 0; i < KIN_VISITS; i++) {
        room->enter(room->door);
        CHECK_LE(mproc__add64(&room->inside, 1), room->limit - 1);
        mproc__add64(&room->visits, 1);
        mproc__add64(&room->inside, (uint64_t)-1);
        room->leave(room->door);
    }
}

/* Many come and go at once: there are never more than `limit` inside, and nobody is left out. */
static inline void kin_crowd(void *door, void (*enter)(void *door), void (*leave)(void *door),
                             uint64_t limit) {
    struct kin_room room = {door, enter, leave, limit, 0, 0};
    struct kin_thread threads[KIN_CROWD];
    for (int i = 0; i < KIN_CROWD; i++) {
        threads[i] = (struct kin_thread){.run = kin_visit, .arg = &room};
    }
    kin_threads_run(threads, KIN_CROWD);
    CHECK_EQ(room.visits, KIN_CROWD * KIN_VISITS);
}

/* ---- invariants */

static inline void kin_check(void) {
    char why[256] = "";
    if (mproc_arena_check(why, sizeof why) != 0 || mproc_member_check(why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

/* Stores a wrong value into a word, expects a check to name the invariant, puts the word back. */
#define KIN_BREAKS(word, value, call, name)                                                        \
    do {                                                                                           \
        char why[256] = "";                                                                        \
        __typeof__(*(word)) kept = *(word);                                                        \
        *(word) = (value);                                                                         \
        int broken = (call);                                                                       \
        *(word) = kept;                                                                            \
        CHECK_EQ(broken, MPROC_ECORRUPT);                                                          \
        if (strncmp(why, name, strlen(name)) != 0) {                                               \
            test_fail(__FILE__, __LINE__, "%s was expected, not: %s", name, why);                  \
        }                                                                                          \
        CHECK_OK(call);                                                                            \
    } while (0)

/* A generator that is the same everywhere (xorshift, Marsaglia 2003). */
static inline uint64_t kin_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
