/*
 * table.h - the dict's insides: shards, buckets, entries
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DICT_TABLE_H
#define MPROC_DICT_TABLE_H

#include "core/eventcount.h"
#include "core/object.h"

#define MPROC__DICT_SHARDS 16   /* writers of different ones never meet; more only make it larger */
#define MPROC__DICT_FIRST 8     /* buckets that a shard has in itself, and at the least */
#define MPROC__DICT_SEGMENTS 27 /* piece k > 0 has 4 << k buckets: 2^29 together, times 16 */
#define MPROC__DICT_UNDO 32

/* An entry. Nothing of it but `next` changes once a bucket leads to it. Behind it stand the key and
 * the value, or the object in which a large value is, and then the key. */
struct mproc__dict_entry {
    uint64_t next;
    uint64_t rank;    /* entries are in the order of their ranks; a new value keeps the rank */
    uint64_t version; /* the shard's, which published it: no two of a shard have the same */
    uint64_t size;    /* of the value */
    uint32_t hash;
    uint16_t key_size;
    uint16_t large; /* 1: the first 8 bytes behind it are a struct mproc__object * */
    unsigned char bytes[];
};

/* One that a thread has locked. The key follows. */
struct mproc__dict_lock {
    uint64_t next;
    uint64_t token;  /* of the member */
    uint64_t thread; /* pid << 32 | thread id */
    uint64_t depth;
    uint64_t dead_token; /* of the last one that died with it; 0: none has */
    uint64_t dead_thread;
    uint64_t key_size;
    unsigned char bytes[];
};

struct mproc__dict_shard {
    /* every writer's line, and every reader's */
    _Alignas(MPROC__LINE) struct mproc__guard guard;
    uint64_t version;
    uint64_t buckets;
    uint64_t generation;

    uint64_t count;
    uint64_t taken;
    uint64_t newest;
    uint64_t splits;
    uint64_t merges;
    uint64_t spare; /* struct mproc__dict_entry * */
    uint64_t locks; /* struct mproc__dict_lock *: list */
    uint64_t pad;
    struct mproc__eventcount changed;  /* threads wait for a change of a key */
    struct mproc__eventcount unlocked; /* threads wait for a key's lock */

    uint64_t segments[MPROC__DICT_SEGMENTS];
    uint64_t first[MPROC__DICT_FIRST];
    struct mproc__undo log[MPROC__DICT_UNDO];
};

struct mproc_dict {
    struct mproc__object object;
    uint64_t seed;
    _Alignas(MPROC__LINE) uint64_t generation; /* read by all, changed by clear() */
    struct mproc__eventcount changed;          /* threads wait for any change */
    _Alignas(MPROC__LINE) uint64_t next_rank;  /* by an atomic addition */
    _Alignas(MPROC__LINE) struct mproc__dict_shard shards[MPROC__DICT_SHARDS];
};

/* A key with its hash. */
struct mproc__dict_key {
    const void *data;
    size_t size;
    uint64_t hash;
};

/* The key is not too long. */
void mproc__dict_key_of(const mproc_dict *dict, const void *data, size_t size,
                        struct mproc__dict_key *out);

/* What every call with a key asks first. MPROC_EOTHER: no dict; MPROC_ETOOBIG. */
int mproc__dict_key_for(const mproc_dict *dict, const void *data, size_t size,
                        struct mproc__dict_key *out);

static inline struct mproc__dict_shard *mproc__dict_shard_of(const mproc_dict *dict,
                                                             const struct mproc__dict_key *key) {
    return (struct mproc__dict_shard *)(uintptr_t)&dict->shards[key->hash >> 60];
}

/* ---- entries */

static inline struct mproc__dict_entry *mproc__dict_entry_at(uint64_t word) {
    return (struct mproc__dict_entry *)(uintptr_t)word;
}

static inline const unsigned char *mproc__dict_entry_key(const struct mproc__dict_entry *e) {
    return e->bytes + (e->large ? sizeof(uint64_t) : 0);
}

/* Where a small value is. */
static inline const unsigned char *mproc__dict_entry_value(const struct mproc__dict_entry *e) {
    return e->bytes + e->key_size;
}

/* The object of a large value; NULL: the value is small. */
static inline struct mproc__object *mproc__dict_entry_large(const struct mproc__dict_entry *e) {
    return e->large ? (struct mproc__object *)(uintptr_t)mproc__peek64(
                          (const uint64_t *)(const void *)e->bytes)
                    : NULL;
}

/* ---- buckets, under the guard or as read.c does */

/* Which of n buckets a hash belongs to: as many bits of it as there are numbers for, and one bit
 * less where that bucket has not been split off yet (linear hashing, Litwin 1980). */
static inline uint64_t mproc__dict_index(uint64_t n, uint32_t hash) {
    uint64_t top = UINT64_C(1) << (63 - __builtin_clzll(n));
    uint64_t i = hash & (2 * top - 1);
    return i < n ? i : i - top;
}

/* The piece that bucket i is in. */
static inline unsigned mproc__dict_segment(uint64_t i) {
    return i < MPROC__DICT_FIRST ? 0 : 61u - (unsigned)__builtin_clzll(i);
}

/* The first bucket of a piece, and, but for piece 0, how many it has. */
static inline uint64_t mproc__dict_base(unsigned segment) {
    return segment == 0 ? 0 : UINT64_C(4) << segment;
}

static inline uint64_t *mproc__dict_bucket(const struct mproc__dict_shard *shard, uint64_t i) {
    unsigned segment = mproc__dict_segment(i);
    return (uint64_t *)(uintptr_t)mproc__peek64(&shard->segments[segment]) +
           (i - mproc__dict_base(segment));
}

/* ---- sections */

/* Enters. Afterwards the shard is as its last change left it, and its version is even. */
void mproc__dict_enter(struct mproc__dict_shard *shard, struct mproc__hand *hand);
void mproc__dict_leave(struct mproc__dict_shard *shard, struct mproc__hand *hand);

/* The version that the change will have, once the section begins one. Readers wait from then on. */
uint64_t mproc__dict_begin(struct mproc__dict_shard *shard);
/* Commits it: the section's last change. */
void mproc__dict_publish(struct mproc__dict_shard *shard);
/* After the section: tells those who wait for a change. */
void mproc__dict_tell(mproc_dict *dict, struct mproc__dict_shard *shard);

static inline void mproc__dict_put_word(struct mproc__dict_shard *shard, uint64_t *word,
                                        uint64_t value) {
    mproc__guard_set(&shard->guard, word, value);
}

/* The word that leads to the key's entry; 0 stands in it if there is none. */
uint64_t *mproc__dict_find(const struct mproc__dict_shard *shard,
                           const struct mproc__dict_key *key);

/* Is what is in the shard older than the last clear()? */
bool mproc__dict_stale(const mproc_dict *dict, const struct mproc__dict_shard *shard);

/* Inside a change: *link no longer leads to its entry, whose large value goes into the hand. The
 * caller says where the entry goes. */
void mproc__dict_unlink(struct mproc__dict_shard *shard, struct mproc__hand *hand, uint64_t *link,
                        uint64_t next);

/* Inside a change: two buckets more, or four less, where it is time and can be done. */
void mproc__dict_split(struct mproc__dict_shard *shard);
void mproc__dict_merge(struct mproc__dict_shard *shard);

/* Outside of sections: memory for the buckets that come next, as far as there is any; memory that
 * is not needed any more goes back; what the hand got in a change goes where it belongs. */
void mproc__dict_extend(struct mproc__dict_shard *shard, struct mproc__hand *hand);
void mproc__dict_trim(struct mproc__dict_shard *shard, struct mproc__hand *hand);
void mproc__dict_discard(struct mproc__hand *hand);

/* Outside of sections: frees what is older than the last clear(); all: everything. */
void mproc__dict_sweep(mproc_dict *dict, struct mproc__dict_shard *shard, struct mproc__hand *hand,
                       bool all);

#endif
