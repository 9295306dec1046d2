/*
 * views.h - pages of the arena that are one process' own, and fork()
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_VIEWS_H
#define MPROC_VIEWS_H

#include "system/base.h"

/* Pages of the arena; part of a view's handle. */
struct mproc__pages {
    char *start;
    size_t size;
    bool parted; /* mapped privately */
    struct mproc__pages *next;
    struct mproc__pages *prev;
};

/* From now on they are the process' own when it forks. */
void mproc__pages_enlist(struct mproc__pages *pages);

/* From now on they are not. False: they could not be mapped as the arena again, so nobody else may
 * have that memory. */
bool mproc__pages_delist(struct mproc__pages *pages);

/* Before fork(): from now on these pages are the process' own and not the arena's, and no other
 * thread changes the list. */
void mproc__pages_freeze(void);

/* After it, in both processes. */
void mproc__pages_thaw(void);

#endif
