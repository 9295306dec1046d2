/*
 * start.c - the records by which the owner and a worker agree about one task
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each open task has a record (struct mproc__start). Records stand in slabs of the
 * pool's memory; those that are free are in a private list of the owner. A record is used again
 * only when its task's ticket is closed: then the worker that had the task has handed in its
 * reply, or is dead, and touches the record no more.
 *
 * Shared state. `state` by compare-and-swap, as its enum says. `seat` and `since` are written by
 * the worker before it swaps PENDING for RUNNING (SYNC(start.state)); the owner reads them after
 * it has seen RUNNING.
 *
 * If a worker dies here: its record says how far it came, but nobody needs that: the worker's seat
 * says that the task died with it.
 */
#include <stdlib.h>

#include "pool/inside.h"

#define SLAB 128 /* records: a page */

static int add_slab(mproc_pool *pool) {
    size_t total = pool->starts_total + SLAB;
    struct mproc__start **starts = realloc(pool->starts, total * sizeof *starts);
    if (starts == NULL) {
        return -ENOMEM;
    }
    pool->starts = starts;
    struct mproc__start *slab = mproc__pool_block_new(pool->place, SLAB * sizeof *slab);
    if (slab == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < SLAB; i++) {
        starts[pool->starts_free++] = &slab[i];
    }
    pool->starts_total = total;
    return 0;
}

int mproc__start_new(mproc_pool *pool, const struct mproc__extra *extra,
                     struct mproc__start **out) {
    int r = pool->starts_free > 0 ? 0 : add_slab(pool);
    if (r == 0) {
        *out = pool->starts[--pool->starts_free];
        mproc__poke64(&(*out)->since, 0);
        if (pool->options.engine != NULL) {
            (*out)->timeout = extra != NULL ? (uint64_t)extra->options.timeout : 0;
            (*out)->memory = extra != NULL ? extra->options.memory : 0;
        }
        mproc__store32(&(*out)->state, MPROC__START_PENDING);
    }
    return r;
}

void mproc__start_drop(mproc_pool *pool, struct mproc__start *start) {
    pool->starts[pool->starts_free++] = start;
}
