/*
 * name.h - where objects were made, and a look at all labels
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_NAME_H
#define MPROC_NAME_H

#include "core/hand.h"

/* Notes where an object was made that nobody else has seen yet: what the program's hook says, or
 * else the address of the code. It stays without when there is no memory. */
void mproc__name_origin(struct mproc__hand *hand, const void *object, const void *address);

/* The invariants of label.c. MPROC_ECORRUPT. */
int mproc__labels_check(struct mproc__hand *hand, char *why, size_t size);

#endif
