/*
 * backlog.c - records as they were copied, until there is time to put them in words
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. What a round copied out of a ring is a lump: a head, and the records behind it.
 * Lumps stand one behind the other in blocks, and the blocks in a ring; the oldest lump may have
 * been handed in by a part. A block's pages are asked for all at once when the block is made: one
 * by one, at the first write to each, they would cost more than the copies. So a recorder that
 * begins has its first block before the family is recorded. The only block that is left stays.
 */
#include "inspect/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_PAGE 65536 /* of any machine */

struct lump {
    uint64_t lost;
    unsigned ring;
    size_t n;
    struct mproc__trace_record records[];
};

#define LUMP_MOST (sizeof(struct lump) + MPROC__TRACE_RECORDS * sizeof(struct mproc__trace_record))

static_assert(LUMP_MOST <= MPROC__BACKLOG_BLOCK, "a ring full has room in a block");

struct block {
    char *bytes; /* NULL: not made */
    size_t used;
};

struct mproc__backlog {
    uint64_t first, last; /* the blocks with the oldest lump and the newest, counted on and on */
    size_t at, done;      /* where the oldest lump is in its block; records of it handed in */
    struct block blocks[MPROC__BACKLOG_BLOCKS];
};

static struct block *block_of(struct mproc__backlog *b, uint64_t i) {
    return &b->blocks[i % MPROC__BACKLOG_BLOCKS];
}

static bool make_block(struct block *block) {
    block->bytes = aligned_alloc(LARGEST_PAGE, MPROC__BACKLOG_BLOCK);
    if (block->bytes != NULL) {
        (void)mproc__os_memory_secure(block->bytes, MPROC__BACKLOG_BLOCK); /* or by faults */
    }
    return block->bytes != NULL;
}

int mproc__backlog_new(struct mproc__backlog **out) {
    struct mproc__backlog *b = calloc(1, sizeof *b);
    if (b == NULL || !make_block(&b->blocks[0])) {
        free(b);
        return -ENOMEM;
    }
    *out = b;
    return 0;
}

void mproc__backlog_drop(struct mproc__backlog *owned) {
    for (size_t i = 0; i < MPROC__BACKLOG_BLOCKS; i++) {
        free(owned->blocks[i].bytes);
    }
    free(owned);
}

/* The block in which the next lump goes; NULL: there is none. */
static struct block *block_for(struct mproc__backlog *b, size_t size) {
    struct block *block = block_of(b, b->last);
    if (block->used + size <= MPROC__BACKLOG_BLOCK) {
        return block;
    }
    block = block_of(b, b->last + 1);
    if (mproc__backlog_is_full(b) || !make_block(block)) {
        return NULL;
    }
    b->last++;
    return block;
}

static struct lump *lump_at(const struct block *block, size_t at) {
    return (struct lump *)(void *)(block->bytes + at);
}

bool mproc__backlog_add(struct mproc__backlog *b, unsigned ring,
                        const struct mproc__trace_record *lent, size_t n, uint64_t lost) {
    const size_t size = sizeof(struct lump) + n * sizeof *lent;
    struct block *block = block_for(b, size);
    if (block == NULL) {
        return false;
    }
    struct lump *lump = lump_at(block, block->used);
    block->used += size;
    lump->lost = lost;
    lump->ring = ring;
    lump->n = n;
    memcpy(lump->records, lent, n * sizeof *lent);
    return true;
}

/* The oldest lump has been handed in whole. */
static void forget_lump(struct mproc__backlog *b, const struct lump *lump) {
    struct block *block = block_of(b, b->first);
    b->at += sizeof *lump + lump->n * sizeof *lump->records;
    b->done = 0;
    if (b->at < block->used) {
        return;
    }
    b->at = 0;
    block->used = 0;
    if (b->first < b->last) {
        free(block->bytes);
        block->bytes = NULL;
        b->first++;
    }
}

/* How many records it has handed in. */
static size_t take_some(struct mproc__backlog *b, size_t most, mproc__drain_fn fn, void *sink) {
    const struct lump *lump = lump_at(block_of(b, b->first), b->at);
    size_t n = lump->n - b->done < most ? lump->n - b->done : most;
    fn(sink, lump->ring, lump->records + b->done, n, b->done == 0 ? lump->lost : 0);
    b->done += n;
    if (b->done == lump->n) {
        forget_lump(b, lump);
    }
    return n;
}

void mproc__backlog_take(struct mproc__backlog *b, size_t most, mproc__drain_fn fn, void *sink) {
    for (size_t n = 0; n < most && !mproc__backlog_is_empty(b);) {
        n += take_some(b, most - n, fn, sink);
    }
}

bool mproc__backlog_is_empty(const struct mproc__backlog *b) {
    return b->first == b->last && b->blocks[b->first % MPROC__BACKLOG_BLOCKS].used == 0;
}

bool mproc__backlog_is_full(const struct mproc__backlog *b) {
    return b->last - b->first == MPROC__BACKLOG_BLOCKS - 1;
}
