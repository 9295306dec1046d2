/*
 * doing.h - what the threads of a member wait for, and which locks it holds: the end of its line
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DOING_H
#define MPROC_DOING_H

#include "inspect/show.h"

/* Which locks each member holds: there may be a million of them, of which few are held. */
struct mproc__doing {
    int *first; /* of each member, an object; -1: none. NULL: it is not known */
    int *next;  /* behind each object's facts */
};

/* Where there is no memory it says so, in a line, and it is not known. */
void mproc__doing_find(const struct mproc__show *show, struct mproc__doing *out);
void mproc__doing_drop(struct mproc__doing *owned);

/* ": waits for ...; holds ...", or nothing. */
void mproc__doing_say(const struct mproc__show *show, int member, const struct mproc__doing *doing);

/* Has an earlier wait of that member the same words? Of several threads that wait for results of a
 * pool one is enough. */
bool mproc__doing_is_said(const struct mproc__picture *p, int wait);

/* " for 1.6 s or longer"; nothing where it is not known, which is -1. */
void mproc__doing_since(FILE *out, int64_t held);

#endif
