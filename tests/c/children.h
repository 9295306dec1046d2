/*
 * children.h - forked children of a test, and how a test waits until they have come somewhere
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TEST_CHILDREN_H
#define MPROC_TEST_CHILDREN_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/atomic.h"
#include "test.h"

/* Forks a child that runs a function and ends; a failed check ends it with TEST_FAILED. */
static inline pid_t child_fork(void (*run)(void *), void *arg) {
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

/* Waits for the end of a child, whose exit status must be 0. */
static inline void child_join(pid_t pid) {
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* Kills a child and waits for its end. */
static inline void child_kill(pid_t pid) {
    int status;
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
}

/* Runs a function in a child, which must end by SIGABRT: an assertion or a panic. */
static inline void child_aborts(void (*run)(void *), void *arg) {
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

/* Sleeps until somebody kills the caller. */
static inline void sleep_until_killed(void) {
    for (;;) {
        pause();
    }
}

static inline void ignore_signal(int number) {
    (void)number;
}

/* From now on the signal interrupts blocking calls of this process, and does nothing else. */
static inline void handle_signal(int number) {
    struct sigaction action = {.sa_handler = ignore_signal};
    CHECK_OK(sigaction(number, &action, NULL));
}

/* Sends this process a signal once per interval, as a profiler's timer does; 0 ends it. */
static inline void signal_every(int microseconds) {
    const struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    handle_signal(SIGALRM);
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
}

/* ---- waiting for a child */

/* Sleeps until a word of the arena is at least as large as the value. */
static inline void wait_for_word(const uint64_t *word, uint64_t at_least) {
    while (mproc__load64(word) < at_least) {
        usleep(200);
    }
}

/* Sleeps until the process sleeps in a futex call, which is where a waiting caller of mproc is. */
static inline void wait_for_futex(pid_t pid) {
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

/* Signals a child (SIGUSR1) that sleeps in a wait until it has ended; its status must be 0. One
 * signal may come between two slices of the wait, where it interrupts nothing, and an emulator
 * sleeps in futexes of its own, also before the child's wait. */
static inline void child_interrupt(pid_t pid) {
    bool emulated = getenv("MPROC_TEST_EMULATED") != NULL;
    int status = 0;
    pid_t ended = 0;
    wait_for_futex(pid);
    do {
        CHECK_OK(kill(pid, SIGUSR1));
        usleep(emulated ? 100000 : 1000);
        ended = waitpid(pid, &status, WNOHANG);
    } while (ended == 0);
    CHECK_EQ(ended, pid);
    CHECK_EQ(status, 0);
}

#endif
