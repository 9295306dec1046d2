/*
 * drain.h - records of what a family does, read out of its rings from outside
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DRAIN_H
#define MPROC_DRAIN_H

#include "core/trace.h"
#include "inspect/outside.h"

struct mproc__drain;

/* Records of a ring that have not been seen before, the oldest first, after `lost` that were
 * written over before they were read. All is a copy, and may be rubbish of a broken program. */
typedef void (*mproc__drain_fn)(void *sink, unsigned ring, const struct mproc__trace_record *lent,
                                size_t n, uint64_t lost);

/* What is in the rings already is left out. -ENOMEM; MPROC_ECORRUPT, -EIO. */
int mproc__drain_new(struct mproc__drain **out, const struct mproc__outside *arena);
/* From now on what is in the rings counts as not seen. */
void mproc__drain_rewind(struct mproc__drain *drain);
void mproc__drain_drop(struct mproc__drain *owned);

/* Hands in what has come since the last call; returns how many records, or -EIO, MPROC_ECORRUPT. */
int64_t mproc__drain(struct mproc__drain *drain, mproc__drain_fn fn, void *sink);

/* Records that were lost because their threads had no ring, since the beginning. */
uint64_t mproc__drain_without_ring(const struct mproc__drain *drain);

#endif
