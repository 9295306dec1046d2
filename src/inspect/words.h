/*
 * words.h - numbers and states of a family for a person
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WORDS_H
#define MPROC_WORDS_H

#include "inspect/picture.h"

/* "1.5 MiB", "12 min 04 s": in `out`, which is returned. */
const char *mproc__say_bytes(uint64_t bytes, char out[32]);
const char *mproc__say_span(double seconds, char out[32]);

/* "fork", "waits": a word each, at most 10 and 8 letters. */
const char *mproc__say_method(uint32_t method);
const char *mproc__say_state(const struct mproc__seen_member *m);

/* The words for one thing or for so many: "thread waits", "threads wait". */
const char *mproc__say_many(uint64_t n, const char *one, const char *many);

/* For how long a thread has waited: ", for 1.6 s"; nothing if it is not known. */
void mproc__say_waited(FILE *out, const struct mproc__picture *p, const struct mproc__seen_wait *w);

/* Of a member, or of a family: how many threads wait for what is not known; nothing if none do. */
void mproc__say_unnoted(FILE *out, const char *before, int threads);

#endif
