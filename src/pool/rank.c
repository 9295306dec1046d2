/*
 * rank.c - tasks with priorities, which wait in the owner
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The workers' queue is first in, first out. So a pool whose tasks have priorities
 * keeps them in a heap, private memory under the pool's lock, and puts only a few at a time into
 * the queue (options.ahead): the first of the heap, whenever fewer than that wait for a worker. A
 * task's key is its priority, then its number, so that equal ones stay in order, further tries
 * included. A thread that waits feeds the queue after each batch of replies, and so does every
 * submit.
 *
 * Invariant: W6. Each extra of the heap knows its place, and comes before those below it.
 */
#include <stdlib.h>

#include "pool/inside.h"

static bool comes_before(const struct mproc__extra *a, const struct mproc__extra *b) {
    int pa = a->options.priority, pb = b->options.priority;
    return pa != pb ? pa > pb : a->number < b->number;
}

static void set(mproc_pool *pool, size_t at, struct mproc__extra *extra) {
    pool->ranked[at] = extra;
    extra->at = at;
}

static void rise(mproc_pool *pool, size_t at) {
    struct mproc__extra *extra = pool->ranked[at];
    while (at > 0 && comes_before(extra, pool->ranked[(at - 1) / 2])) {
        set(pool, at, pool->ranked[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    set(pool, at, extra);
}

static void sink(mproc_pool *pool, size_t at) {
    struct mproc__extra *extra = pool->ranked[at];
    size_t child = 2 * at + 1;
    while (child < pool->ranked_count) {
        if (child + 1 < pool->ranked_count &&
            comes_before(pool->ranked[child + 1], pool->ranked[child])) {
            child++;
        }
        if (!comes_before(pool->ranked[child], extra)) {
            break;
        }
        set(pool, at, pool->ranked[child]);
        at = child;
        child = 2 * at + 1;
    }
    set(pool, at, extra);
}

int mproc__rank_add(mproc_pool *pool, struct mproc__extra *extra) {
    if (pool->ranked_count == pool->ranked_room) {
        size_t room = pool->ranked_room != 0 ? 2 * pool->ranked_room : 64;
        struct mproc__extra **ranked = realloc(pool->ranked, room * sizeof *ranked);
        if (ranked == NULL) {
            return -ENOMEM;
        }
        pool->ranked = ranked;
        pool->ranked_room = room;
    }
    extra->held = MPROC__HELD_RANKED;
    set(pool, pool->ranked_count++, extra);
    rise(pool, extra->at);
    return 0;
}

void mproc__rank_forget(mproc_pool *pool, struct mproc__extra *extra) {
    size_t at = extra->at;
    struct mproc__extra *last = pool->ranked[--pool->ranked_count];
    extra->held = MPROC__HELD_NOT;
    if (last != extra) {
        set(pool, at, last);
        rise(pool, at);
        sink(pool, last->at);
    }
}

int mproc__rank_check(const mproc_pool *pool, char *why, size_t size) {
    for (size_t i = 0; i < pool->ranked_count; i++) {
        const struct mproc__extra *extra = pool->ranked[i];
        if (extra->at != i || extra->held != MPROC__HELD_RANKED ||
            (i > 0 && comes_before(extra, pool->ranked[(i - 1) / 2]))) {
            return mproc__corrupt(why, size, "W6: task %llu is out of place",
                                  (unsigned long long)extra->number);
        }
    }
    return 0;
}
