/*
 * scan.h - every entry of a dict, while others change it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DICT_SCAN_H
#define MPROC_DICT_SCAN_H

#include "dict/read.h"

/* What is done with the entries of some buckets, which are looked at together. */
struct mproc__dict_visitor {
    /* Before the first one, and before the first one again when the look at the buckets was in
     * vain: what was seen of them is void. */
    void (*begin)(void *arg);
    /* One entry, which is anything at all unless mproc__dict_still(): as in read.c, a size is
     * used when that has been asked. It may be in a section. -EAGAIN: the entry has changed. Any
     * other code but 0 ends the scan. */
    int (*visit)(void *arg, const struct mproc__dict_shard *shard, uint64_t version,
                 const struct mproc__dict_entry *e);
    /* After the last one, outside of sections. -EAGAIN: the buckets are looked at again. May
     * be NULL. */
    int (*end)(void *arg, struct mproc__dict_shard *shard);
    void *arg;
};

/* Visits all entries of a shard in no order. One that is there all the time is visited at least
 * once, and may be twice. 0, or what the visitor ends it with. */
int mproc__dict_scan(const mproc_dict *dict, struct mproc__dict_shard *shard,
                     const struct mproc__dict_visitor *visitor);

/* The same for the one bucket that a hash belongs to. */
int mproc__dict_scan_hash(const mproc_dict *dict, struct mproc__dict_shard *shard, uint32_t hash,
                          const struct mproc__dict_visitor *visitor);

#endif
