/*
 * stopped.h - calls with a timeout that meet a stopped member in the section that they need
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TEST_STOPPED_H
#define MPROC_TEST_STOPPED_H

#include "children.h"
#include "system/os.h"

static pid_t stopped_child;
static int stopped_late;

/* A call has not ended by itself: it is counted, and the child goes on. */
static inline void stopped_go_on(int number) {
    (void)number;
    stopped_late++;
    (void)kill(stopped_child, SIGCONT);
}

/* Stops a child again and again until the call was held up by it, some times, and says how often
 * the call did not end before the child went on. */
static inline int stopped_meet(pid_t child, int times, void (*call)(void *), void *arg) {
    stopped_child = child;
    stopped_late = 0;
    signal(SIGALRM, stopped_go_on);
    for (unsigned tries = 0; times > 0; tries++) {
        usleep(tries % 50); /* or it would not run at all */
        CHECK_OK(kill(child, SIGSTOP));
        CHECK_EQ(waitpid(child, NULL, WUNTRACED), child);
        int64_t start = mproc__os_now();
        alarm(5);
        call(arg);
        alarm(0);
        times -= mproc__os_now() - start >= 50 * MPROC_MSEC; /* half of what it waits at least */
        CHECK_OK(kill(child, SIGCONT));
    }
    signal(SIGALRM, SIG_DFL);
    return stopped_late;
}

#endif
