/*
 * heap.h - memory of the arena: allocation is a transfer into a word
 *
 * SPDX-License-Identifier: MIT
 *
 * A block moves between the heap and a word of the arena in one step: either it is free and the
 * word is as it was, or it is allocated and the word holds its address. So no death can lose a
 * block: there is always a word that names it, and the reaper of the word's owner frees the block.
 */
#ifndef MPROC_HEAP_H
#define MPROC_HEAP_H

#include "core/chunk.h"

#define MPROC__CLASSES 40
#define MPROC__CLASS_UNDO 16

/* One size class; its own cache lines, since each class is its own contention. */
struct mproc__class {
    struct mproc__guard guard;
    uint64_t partial; /* chunk number + 1: list of chunks that have room; 0: none */
    struct mproc__undo log[MPROC__CLASS_UNDO];
    uint64_t pad[2];
};

struct mproc__heap {
    struct mproc__class classes[MPROC__CLASSES];
};

void mproc__heap_init(struct mproc__heap *all);
/* From now on this is the family's; NULL: there is none any more. */
void mproc__heap_enter(struct mproc__heap *all);

/* Bytes of the largest block that there can ever be. */
size_t mproc__heap_most(void);
/* Can there ever be a block of that size? */
bool mproc__heap_can_have(size_t size);

/* Allocates into *word, which must be 0 and the caller's own. -ENOMEM, MPROC_ETOOBIG. */
int mproc__heap_alloc(struct mproc__hand *hand, size_t size, uint64_t *word);

/* The same for a caller that must not wait for a thread that is stopped. -ETIMEDOUT: some are, in
 * all sections that would do. */
int mproc__heap_alloc_soon(struct mproc__hand *hand, size_t size, uint64_t *word);

/* Frees the block whose address *word holds, and sets *word to 0. 0 in *word is ignored. */
void mproc__heap_free(struct mproc__hand *hand, uint64_t *word);

/* The same for any address of the arena, which may be none of a block: what a cheap look finds to
 * be none, or to be free already, is left alone. */
void mproc__heap_free_given(struct mproc__hand *hand, void *owned);

/* Bytes that each block of a size class has. */
size_t mproc__heap_class_size(unsigned class);

/* Bytes that a block really has. */
size_t mproc__heap_size(const void *block);

/* Could that be a block's address? A block that was freed a moment ago may pass. */
bool mproc__heap_has(const void *pointer);

/* Blocks that are allocated, and the bytes that they really have. */
void mproc__heap_count(size_t *blocks, size_t *bytes);

/* All invariants, of the chunks too. MPROC_ECORRUPT. */
int mproc__heap_check(struct mproc__hand *hand, char *why, size_t size);

#endif
