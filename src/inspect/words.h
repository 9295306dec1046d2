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

#endif
