/*
 * wait.h - what a thread waits for, and since when: for those who look from outside
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WAIT_H
#define MPROC_WAIT_H

#include "core/hand.h"

#define MPROC__WAIT_TIMED 1u /* in a note: the wait has an end of its own */

/* The calling thread is about to sleep until something about `what` happens, or until `deadline`:
 * an even address inside an object of the arena, or a member's slot. Returns where it is noted, for
 * mproc__wait_end(). NULL: nowhere, because the thread waits for something else already, or has no
 * hand of its own. */
struct mproc__hand *mproc__wait_begin(const void *what, int64_t deadline);

void mproc__wait_end(struct mproc__hand *noted);

#endif
