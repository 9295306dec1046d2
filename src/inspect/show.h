/*
 * show.h - pictures of families as text and as JSON
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SHOW_H
#define MPROC_SHOW_H

#include <stdio.h>

#include "inspect/picture.h"

struct mproc__show {
    FILE *out;
    const struct mproc__outside *arena;
    const struct mproc__picture *picture;
    int groups; /* of threads that are stuck: mproc__blame() */
};

typedef void (*mproc__show_fn)(const struct mproc__show *show);

void mproc__show_ps(const struct mproc__show *show);
void mproc__show_locks(const struct mproc__show *show);
void mproc__show_queues(const struct mproc__show *show);

/* All that the three say, as one JSON object. */
void mproc__show_json(const struct mproc__show *show);

#endif
