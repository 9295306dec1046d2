/*
 * watchdog.h - a looker that tells when somebody has waited too long: `mproc watch`
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WATCHDOG_H
#define MPROC_WATCHDOG_H

#include "inspect/outside.h"

struct mproc__watchdog {
    pid_t pid;     /* a member of the family */
    int64_t after; /* ns that a wait may take */
    bool abort;    /* a family with a deadlock is ended by SIGABRT */
    bool behind;   /* goes on in a process of its own */
};

/* Reads "10", "abort" or "2.5=abort". */
bool mproc__watchdog_read(const char *text, struct mproc__watchdog *out);

/* Watches until the family has ended: 0. Of two that watch one family the second has nothing to do.
 * The errors of mproc__outside_open(); -ENOMEM. */
int mproc__watchdog(const struct mproc__watchdog *what);

/* The processes of the machine that may be watchdogs and are stopped, of whatever family. */
struct mproc__stopped {
    int n;
    pid_t pids[1024]; /* more are not looked for */
};
void mproc__watchdog_find_stopped(struct mproc__stopped *out);

/* The pid of the family's watchdog, if that is one of these: it tells nothing then. 0: there is
 * none, or it is not stopped, or this user may not see it. */
pid_t mproc__watchdog_stopped(const struct mproc__outside *arena,
                              const struct mproc__stopped *among);

#endif
