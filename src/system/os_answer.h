/*
 * os_answer.h - what a process says of itself when the looker asks it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OS_ANSWER_H
#define MPROC_OS_ANSWER_H

#include "system/base.h"

/* The name of the memory file of a process that answers a signal: see python/mproc/_stacks.py. */
#define MPROC__ANSWERS "mproc-stacks"

/* The path of the first file that a process has mapped with `part` in its path. -ENOENT: it has
 * none; -ENAMETOOLONG; -ESRCH; -EACCES. */
int mproc__os_mapped_path(pid_t pid, const char *part, char *out, size_t size);

/* Does that process run as the caller's user does? */
bool mproc__os_is_our_users(pid_t pid);

/* A socket at which that process can say something; close-on-exec. -EADDRINUSE: another looker has
 * it at this moment; -EMFILE, -ENOBUFS. */
int mproc__os_ear_new(pid_t pid);
/* Copies what that process says there, with a 0; nobody else is listened to. Returns how many bytes
 * there are; -ETIMEDOUT; -ESRCH: it has ended. */
ssize_t mproc__os_ear_take(int ear, pid_t pid, char *out, size_t size, int64_t timeout);

/* Asks a process by the signal that it has a handler for, and copies what that writes into its
 * memory file, with a 0. No signal is sent to a process that has no such file or no handler; one
 * that executes another program just then ignores it. Returns how many bytes there are; -ENOTSUP:
 * it does not answer signals; -EPERM: it is another user's; -ETIMEDOUT; -ESRCH; -EACCES. */
ssize_t mproc__os_answer(pid_t pid, char *out, size_t size, int64_t timeout);

#endif
