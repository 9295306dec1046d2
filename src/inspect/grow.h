/*
 * grow.h - arrays that grow, of which a picture is made
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_GROW_H
#define MPROC_GROW_H

#include "inspect/seen.h"

/* Room for one more behind n elements of `size` bytes; NULL: there is no memory. */
void *mproc__grow(void **array, uint64_t n, size_t size);

#define MPROC__GROW(array, n) mproc__grow((void **)&(array), (uint64_t)(n), sizeof *(array))

/* Adds a text; 0: there is no memory, or no room. */
uint32_t mproc__picture_text(struct mproc__picture *p, const char *text);

#endif
