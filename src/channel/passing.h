/*
 * passing.h - the way back: what is in the ring becomes bytes in the kernel
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_PASSING_H
#define MPROC_CHANNEL_PASSING_H

#include "channel/way.h"

/* The sender's way out of the ring. */
int mproc__passing_by_sender(const struct mproc__end *e);

/* In a receiver: the kernel has all messages and nothing else, unless some are in the ring and are
 * not passed. */
int mproc__passing_settle(const struct mproc__end *e, bool passing);

#endif
