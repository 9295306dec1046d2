/*
 * fork.h - fork() by anybody makes a member
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FORK_H
#define MPROC_FORK_H

#include <stdbool.h>
#include <stdint.h>

/* The handlers of pthread_atfork(): they reserve a slot and copy the holds before, adopt after. */
void mproc__fork_before(void);
void mproc__fork_after_in_parent(void);
/* False: there is no place in the family for the child. */
bool mproc__fork_after_in_child(void);

/* A starter that wants a certain slot for the child of its next fork() in this thread says so
 * first; it gives up the slot itself if fork() fails. */
void mproc__fork_next(uint64_t token);

/* In the parent, after a fork() of this thread: the child is no member, since there was no memory
 * to copy the holds. */
bool mproc__fork_without_holds(void);

/* In the child of a fork-like call that ran no handlers: adopts, with no holds but those that the
 * starter took in its name. MPROC_ESTRANGER: the reservation is gone. */
int mproc__fork_adopt(uint64_t token);

#endif
