/*
 * watcher.h - the process that outlives a family
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WATCHER_H
#define MPROC_WATCHER_H

#include <stddef.h>
#include <stdint.h>

/* mproc__os_orphan(), which waits while too many are on their way: -EAGAIN, -ENOMEM. */
int mproc__orphan_start(int (*run)(void *arg), void *arg, uint32_t *where);

/* Sees to it that the family has its watcher. -EAGAIN, -ENOMEM. */
int mproc__watcher_need(void);

/* Starts a process that ends the one of that pidfd, by SIGKILL, when the caller's has ended.
 * -EAGAIN, -ENOMEM, -EMFILE. */
int mproc__follower_start(int pidfd);

/* ---- without the C library */

/* What a watcher does that still shares its maker's memory: it becomes the program, or is a watcher
 * as it is. Does not return. */
int mproc__watcher_begin(void *arena_fd);

/* Watches the family until it has ended, and unlinks what it left. */
void mproc__watcher_run(void);

/* The same for a follower: becomes the program with those two pidfds, packed into the pointer. */
int mproc__follower_begin(void *pidfds);

/* Waits for the end of one of two processes, of which 0 and 1 are pidfds; then ends the second. */
void mproc__follower_run(void);

extern const unsigned char mproc__watcher_image[]; /* the program, made by embed.py */
extern const size_t mproc__watcher_image_size;

#endif
