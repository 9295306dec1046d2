/*
 * show.h - pictures of families as text, JSON, graphs and a page
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
    int groups;                          /* of threads that are stuck: mproc__blame() */
    const struct mproc__picture *before; /* an earlier one, for rates; NULL: there is none */
};

typedef void (*mproc__show_fn)(const struct mproc__show *show);

void mproc__show_ps(const struct mproc__show *show);
void mproc__show_locks(const struct mproc__show *show);
void mproc__show_queues(const struct mproc__show *show);

/* The sentence that each begins with; its deadlocks, and waits for members that are stopped. */
void mproc__show_head(const struct mproc__show *show);
void mproc__show_troubles(const struct mproc__show *show);

/* An object, and who has it since when, as far as that is known; without an end of the line. */
void mproc__show_holder(const struct mproc__show *show, int object);

/* A pool by its task queue: how far it is, and a line for each task that a worker has: which, by
 * whom, for how long. */
void mproc__show_pool(const struct mproc__show *show, int object);

/* Where the waiting threads of one member are, and of all that live, as far as they have said it
 * themselves. How many threads that is. */
int mproc__show_places(const struct mproc__show *show, int member);
void mproc__show_all_places(const struct mproc__show *show);

/* Who waits for whom. */
void mproc__show_graph(const struct mproc__show *show);
void mproc__show_dot(const struct mproc__show *show);
void mproc__show_svg(const struct mproc__show *show);

/* What the threads did last, as far as it was recorded: a drawing and a sentence of a page. */
void mproc__show_strip(const struct mproc__show *show);

/* A page for several families. */
void mproc__show_html_begin(FILE *out);
void mproc__show_html(const struct mproc__show *show);
void mproc__show_html_end(FILE *out);

/* All that the three say, as one JSON object; and without the brace at its end, for who adds to
 * it. */
void mproc__show_json(const struct mproc__show *show);
void mproc__show_json_begin(const struct mproc__show *show);
/* A text of any bytes, with its quotes; a key behind others. */
void mproc__json_string(FILE *out, const char *text);
void mproc__json_key(FILE *out, const char *name);

#endif
