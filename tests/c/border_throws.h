/*
 * border_throws.h - functions of C++ that throw, and one that catches
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BORDER_THROWS_H
#define BORDER_THROWS_H

#include <stdbool.h>

#include "mproc.h"

#ifdef __cplusplus
extern "C" {
#endif

int throws_main(void *arg, size_t size);
int throws_task(const void *in, size_t size, mproc_result *result);
int throws_item(const void *in, void *out, void *context);
int throws_handler(void *arg, const void *in, size_t size, mproc_result *result);
void throws_callback(mproc_task *task, void *arg);
void throws_progress(size_t done, size_t total, void *arg);

/* A word in the arena that counts the frames that were unwound; NULL: none is counted. */
void throws_mark(int *word);

/* True: an exception came out of run(). */
bool catches(void (*run)(void *arg), void *arg);

#ifdef __cplusplus
}
#endif
#endif
