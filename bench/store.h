/*
 * store.h - one face for everything that keeps values by keys
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef STORE_H
#define STORE_H

#include "bench.h"

#define STORE_KEY 16
#define STORE_VALUE 100

#ifdef __cplusplus
extern "C" {
#endif

struct store {
    const char *name;
    const char *(*open)(uint64_t n); /* an empty one for n entries; or why it cannot be done */
    void (*enter)(bool child);       /* in each process, before it gets and sets; may be NULL */
    void (*get)(const void *key, void *room);
    void (*set)(const void *key, const void *value);
    void (*fill)(const void *key, const void *value); /* many at once; NULL: as set */
    void (*filled)(void);                             /* after the last one; may be NULL */
    void (*leave)(void);                              /* undoes enter; may be NULL */
    void (*close)(void);
};

extern const struct store store_lmdb, store_redis, store_map, store_map_fixed;

#ifdef __cplusplus
}
#endif
#endif
