/*
 * member.h - how a process becomes a member: its starter reserves a slot, the process adopts it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MEMBER_H
#define MPROC_MEMBER_H

#include "core/token.h"

/* Reserves a slot for a child of the caller, UNBORN, without holds. *token names the child-to-be.
 * MPROC_EMEMBERS. */
int mproc__member_expect(const char *name, mproc_method method, unsigned flags, uint64_t *token);

/* The starter tells which pid the child has. */
void mproc__member_expected_pid(uint64_t token, pid_t pid);

/* fork() is about to be made for that child; has been made: it is there, or dead, and only itself
 * knows its pid; has failed. None of them waits for anybody. */
void mproc__member_forking(uint64_t token);
void mproc__member_forked(uint64_t token);
void mproc__member_not_forked(uint64_t token);

/* In the child: becomes that member. MPROC_ESTRANGER: the reservation is gone. */
int mproc__member_adopt(uint64_t token);

/* The first member of a new family. */
int mproc__member_found(void);

/* ---- threads as members, for tests under ThreadSanitizer */

int mproc__thread_becomes_member(void);
void mproc__thread_leaves(void);

#endif
