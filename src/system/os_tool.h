/*
 * os_tool.h - other programs that the looker asks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OS_TOOL_H
#define MPROC_OS_TOOL_H

#include <stdio.h>

#include "system/base.h"

/* Runs a program, found as a shell finds it, without a terminal, and copies the first bytes of what
 * it prints on either output, with a 0. It is killed when it takes longer than `timeout`. Returns
 * how many bytes there are; -ENOENT: it is not installed; -ETIMEDOUT; -ECANCELED: it ended with a
 * failure, and `out` says why; -EMFILE, -ENFILE, -EAGAIN, -ENOMEM. */
ssize_t mproc__os_tool(const char *const *argv, char *out, size_t size, int64_t timeout);

/* Copies what can be read from a descriptor until its other end is closed, with a 0; what is more
 * than there is room for is forgotten. Returns how many bytes there are; -ETIMEDOUT: `until` has
 * come. */
ssize_t mproc__os_gather(int fd, char *out, size_t size, int64_t until);

/* What a symbolic link says, with a 0: its bytes, or a negative code. */
ssize_t mproc__os_link(const char *path, char *out, size_t size);

/* Whether two paths lead to one file. */
bool mproc__os_is_same_file(const char *a, const char *b);

/* Whether the caller is the only one that has asked so of that file, by whatever descriptor. It is
 * until it, and those forked from it, have ended. */
bool mproc__os_only_one(int fd);

/* Is that the second word of the process' command line, as a verb of the program mproc is? */
bool mproc__os_runs_verb(pid_t pid, const char *verb);

/* Standard error as a stream of its own, which stays when the caller gives up its three; NULL. */
FILE *mproc__os_tool_keep_errors(void);

#endif
