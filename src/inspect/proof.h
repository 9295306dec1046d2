/*
 * proof.h - what the kernel says of threads that seem to be stuck
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PROOF_H
#define MPROC_PROOF_H

#include "inspect/picture.h"

/* Asks about threads of `later` that seemed to be stuck in the earlier picture: sets `woken` of
 * their waits, and `handles` of all members if there are such threads. */
void mproc__prove(const struct mproc__outside *arena, struct mproc__picture *later,
                  const struct mproc__picture *earlier);

#endif
