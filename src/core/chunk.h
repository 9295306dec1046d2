/*
 * chunk.h - the arena's big pieces: runs of 64 KiB chunks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHUNK_H
#define MPROC_CHUNK_H

#include "core/guard.h"

#define MPROC__CHUNK_SHIFT 16
#define MPROC__CHUNK ((size_t)1 << MPROC__CHUNK_SHIFT)
#define MPROC__CHUNK_BINS 64
#define MPROC__CHUNK_UNDO 48

enum mproc__chunk_kind {
    MPROC__CHUNK_VIRGIN = 0, /* never used, or the inside of a run */
    MPROC__CHUNK_RUN = 1,    /* first chunk of an allocated run */
    MPROC__CHUNK_SMALL = 2,  /* divided into blocks of one size class */
    MPROC__CHUNK_WARM = 3,   /* first chunk of a free run whose pages are resident */
    MPROC__CHUNK_COLD = 4,   /* first chunk of a free run whose pages were given back */
    MPROC__CHUNK_TAIL = 5    /* last chunk of a free run of two or more: tells its length */
};

/* A chunk's description, apart from the chunk, so that big blocks are aligned and untouched. */
struct mproc__chunk {
    uint64_t state; /* kind | class << 8 | length of the run << 16 */
    uint64_t next;  /* free runs: of the bin; small: of the class; chunk number + 1 */
    uint64_t prev;
    uint64_t free;   /* small: address of the first free block */
    uint64_t used;   /* small: blocks that are allocated */
    uint64_t bump;   /* small: blocks that were ever allocated; those behind are untouched */
    uint64_t labels; /* of the objects that begin in it: struct mproc__label *, see label.c */
    uint64_t pad;
};

struct mproc__chunks {
    struct mproc__guard guard;
    uint64_t table;                      /* address of the first description; constant */
    uint64_t first;                      /* address of the first chunk; constant */
    uint64_t room;                       /* chunks that there are; may fall */
    uint64_t limit;                      /* chunks that may be in use; 0: not looked up yet */
    uint64_t strict;                     /* 1: a run's pages are fetched when it is taken */
    uint64_t top;                        /* chunks below were used at least once */
    uint64_t used;                       /* chunks in allocated runs */
    uint64_t warm;                       /* chunks in warm free runs */
    uint64_t bins[2][MPROC__CHUNK_BINS]; /* warm, cold: first run, by length; chunk number + 1 */
    struct mproc__undo log[MPROC__CHUNK_UNDO];
};

static inline uint64_t mproc__chunk_state(unsigned kind, unsigned class, uint64_t length) {
    return kind | (uint64_t) class << 8 | length << 16;
}

static inline unsigned mproc__chunk_kind(uint64_t state) {
    return state & 0xff;
}

static inline unsigned mproc__chunk_class(uint64_t state) {
    return state >> 8 & 0xff;
}

static inline uint64_t mproc__chunk_length(uint64_t state) {
    return state >> 16;
}

/* Lays out: descriptions from `table` on, chunks from the next multiple of their size up to `end`,
 * of which `limit` may be in use at a time; 0: as many as the system's memory allows. */
void mproc__chunks_init(struct mproc__chunks *all, uint64_t table, uint64_t end, uint64_t limit);
/* From now on these are the family's; NULL: there are none any more. */
void mproc__chunks_enter(struct mproc__chunks *all);

/* Takes a run of n chunks into *word, which must be 0. -ENOMEM; -ETIMEDOUT: another thread does not
 * leave the section. */
int mproc__chunks_take(struct mproc__hand *hand, uint64_t n, uint64_t *word);

/* Gives the run in *word back, and sets *word to 0. */
void mproc__chunks_give(struct mproc__hand *hand, uint64_t *word);

/* From now on no chunk behind that address is used, but those that were already. Returns the end of
 * what may be used. */
uint64_t mproc__chunks_bound(struct mproc__hand *hand, uint64_t end);

/* Is that the address of a byte of a chunk that was used at least once? */
bool mproc__chunks_contain(const void *address);
/* Chunks below this number were used at least once. */
uint64_t mproc__chunks_top(void);
/* Chunks that may be in use. Outside of any section: the first call of a family reads files. */
uint64_t mproc__chunks_limit(void);
/* Would less than half of what may be used be in use with so many chunks more? */
bool mproc__chunks_have_half(uint64_t n);
/* Is the limit as high as that? Looks it up only for many. */
bool mproc__chunks_may_have(uint64_t n);
/* Bytes of free memory kept resident for reuse. */
size_t mproc__chunks_warm(void);

uint64_t mproc__chunk_number(const void *address);
void *mproc__chunk_address(uint64_t number);
struct mproc__chunk *mproc__chunk(uint64_t number);

int mproc__chunks_check(struct mproc__hand *hand, char *why, size_t size);

#endif
