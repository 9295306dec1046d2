/*
 * follower_run.c - a process that ends another one when that one's parent has ended
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Its two descriptors are pidfds of the parent and of the child. It sleeps until one
 * of them has ended, sends SIGKILL to the child, and ends. The child may block every signal, or
 * have executed another program. The follower has its maker's rights: a child that has taken
 * another real user than its maker's is not its to kill.
 *
 * It is no member, and knows nothing of the family.
 */
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "system/bare_call.h"
#include "watcher/watcher.h"

#ifndef SYS_pidfd_send_signal /* Linux' generic number; old C libraries do not name it */
#define SYS_pidfd_send_signal 424
#endif

#define PARENT 0
#define CHILD 1

void mproc__follower_run(void) {
    struct pollfd both[] = {{PARENT, POLLIN, 0}, {CHILD, POLLIN, 0}};
    (void)bare_call(SYS_setsid, 0, 0, 0, 0, 0, 0);
    (void)bare_call(SYS_chdir, BARE_ARG("/"), 0, 0, 0, 0, 0);
    (void)bare_call(SYS_prctl, PR_SET_NAME, BARE_ARG("mproc-follower"), 0, 0, 0, 0);
    while (bare_call(SYS_ppoll, BARE_ARG(both), 2, 0, 0, 0, 0) == 0) {
    }
    (void)bare_call(SYS_pidfd_send_signal, CHILD, SIGKILL, 0, 0, 0, 0);
}
