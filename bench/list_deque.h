/*
 * list_deque.h - what bench_list.c does with a list, and with its peer
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_LIST_DEQUE_H
#define BENCH_LIST_DEQUE_H

#include "bench.h"

#define LIST_VALUE ((size_t)100)

#ifdef __cplusplus
extern "C" {
#endif

struct list_store {
    const char *name;
    void (*open)(void);
    void (*append)(const void *value);
    void (*get)(int64_t i, void *room);
    void (*insert)(int64_t i, const void *value);
    void (*remove)(int64_t i);
};

extern const struct list_store store_deque;

#ifdef __cplusplus
}
#endif
#endif
