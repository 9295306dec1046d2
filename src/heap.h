/*
 * heap.h - memory of the arena: allocation is a transfer into a word
 *
 * SPDX-License-Identifier: MIT
 *
 * A block moves between the heap and a word of the arena in one step: either it is free and the word
 * is as it was, or it is allocated and the word holds its address. So no death can lose a block: there
 * is always a word that names it, and who inherits the word frees the block.
 */
#ifndef MPROC_HEAP_H
#define MPROC_HEAP_H

#include "base.h"

/* Allocates into *word, which must be 0 and the caller's own. -ENOMEM. */
int mproc__heap_alloc(size_t size, uint64_t *word);

/* Frees the block whose address *word holds, and sets *word to 0. 0 in *word is ignored. */
void mproc__heap_free(uint64_t *word);

/* Bytes that a block really has. */
size_t mproc__heap_size(const void *block);

#endif
