/*
 * backlog.h - records as they were copied, until there is time to put them in words
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BACKLOG_H
#define MPROC_BACKLOG_H

#include "inspect/drain.h"

#define MPROC__BACKLOG_BLOCK ((size_t)4 << 20)
#define MPROC__BACKLOG_BLOCKS 32 /* four million records */

struct mproc__backlog;

/* Has a block already, whose pages are there. -ENOMEM. */
int mproc__backlog_new(struct mproc__backlog **out);
void mproc__backlog_drop(struct mproc__backlog *owned);

/* Keeps a copy of at most a ring full. False: there is no room, or no memory. */
bool mproc__backlog_add(struct mproc__backlog *backlog, unsigned ring,
                        const struct mproc__trace_record *lent, size_t n, uint64_t lost);
/* Hands in the oldest records that it keeps, at most so many, as they came; it keeps them no more.
 * A ring's may come in several parts. */
void mproc__backlog_take(struct mproc__backlog *backlog, size_t most, mproc__drain_fn fn,
                         void *sink);

bool mproc__backlog_is_empty(const struct mproc__backlog *backlog);
/* Has it its last block? */
bool mproc__backlog_is_full(const struct mproc__backlog *backlog);

#endif
