/*
 * wait.h - what a thread waits for, and since when: for those who look from outside
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WAIT_H
#define MPROC_WAIT_H

#include "core/hand.h"

#define MPROC__WAIT_TIMED 1u /* in a note: the wait has an end of its own */
#define MPROC__WAIT_FD 2u    /* it is no address: from bit 2 on, a descriptor that is polled */

/* The calling thread is about to sleep until something about `what` happens, or until `deadline`:
 * an even address inside an object of the arena, or a member's slot. Returns where it is noted, for
 * mproc__wait_end(). NULL: nowhere, because the hand has the note of another wait of the thread. A
 * thread that has no hand of its own is counted, and the hand that it shares is returned. Nothing
 * tells then that it waits already: a wait inside of another one counts it once more. */
struct mproc__hand *mproc__wait_begin(const void *what, int64_t deadline);

void mproc__wait_end(struct mproc__hand *noted);

/* The same for a thread that has waited since then, by slices of its own; one that has no hand is
 * not counted: NULL. */
struct mproc__hand *mproc__wait_resume(const void *what, int64_t deadline, int64_t since);

/* The same for a thread that sleeps at a descriptor, also in a process that is no member. */
struct mproc__hand *mproc__wait_begin_fd(int fd, int64_t deadline);

/* What a thread waits for that sleeps at a descriptor by the functions of pipe.c; NULL: for that
 * descriptor. */
extern MPROC__HIDDEN MPROC__THREAD const void *mproc__wait_behind_fd;

/* A thread that waits is about to run code of the program: it does not wait meanwhile. */
struct mproc__wait_pause {
    struct mproc__hand *hand;
    uint64_t waits, since;
};
struct mproc__wait_pause mproc__wait_pause(void);
void mproc__wait_go_on(const struct mproc__wait_pause *paused);

#endif
