/*
 * check.c - the invariants of a dict
 *
 * SPDX-License-Identifier: MIT
 *
 * They stand in table.c and lock.c. A shard is checked under its guard, which keeps its writers out
 * for as long as that takes: a check is for tests.
 */
#include <string.h>

#include "core/heap.h"
#include "core/parcel.h"
#include "dict/table.h"

/* What is checked, and where the finding goes. */
struct report {
    const mproc_dict *dict;
    const struct mproc__dict_shard *shard;
    char *why;
    size_t size;
};

static int check_large(const struct report *to, const struct mproc__dict_entry *e) {
    const struct mproc__object *o = mproc__dict_entry_large(e);
    if (o == NULL) {
        return e->size <= MPROC_MESSAGE_INLINE
                   ? 0
                   : mproc__corrupt(to->why, to->size, "D6: %llu bytes in an entry",
                                    (unsigned long long)e->size);
    }
    if (!(mproc__object_is(o, MPROC__KIND_MESSAGE) || mproc__object_is(o, MPROC__KIND_PARCEL)) ||
        o->first.object != (uint64_t)(uintptr_t)o || o->first.token != MPROC__TOKEN_OF_MESSAGES) {
        return mproc__corrupt(to->why, to->size, "D6: %p is no large value", (const void *)o);
    }
    return mproc__parcel_check(o, to->why, to->size);
}

static bool is_twin(const struct mproc__dict_entry *a, const struct mproc__dict_entry *b) {
    return a->version == b->version || a->rank == b->rank ||
           (a->key_size == b->key_size &&
            memcmp(mproc__dict_entry_key(a), mproc__dict_entry_key(b), a->key_size) == 0);
}

static int check_entry(const struct report *to, const struct mproc__dict_entry *e, uint64_t i) {
    struct mproc__dict_key key = {0};
    bool good = mproc__heap_has(e) && e->key_size <= MPROC_DICT_KEY_MAX;
    if (good) {
        mproc__dict_key_of(to->dict, mproc__dict_entry_key(e), e->key_size, &key);
    }
    if (!good || (uint32_t)key.hash != e->hash ||
        mproc__dict_shard_of(to->dict, &key) != to->shard ||
        mproc__dict_index(to->shard->buckets, e->hash) != i) {
        return mproc__corrupt(to->why, to->size, "D2: %p in bucket %llu", (const void *)e,
                              (unsigned long long)i);
    }
    if (e->rank > to->shard->newest || e->rank >= mproc__peek64(&to->dict->next_rank) ||
        e->version > to->shard->version || e->version == 0) {
        return mproc__corrupt(to->why, to->size, "D5: rank %llu, version %llu",
                              (unsigned long long)e->rank, (unsigned long long)e->version);
    }
    for (uint64_t next = e->next; next != 0; next = mproc__dict_entry_at(next)->next) {
        if (is_twin(e, mproc__dict_entry_at(next))) {
            return mproc__corrupt(to->why, to->size, "D3: two entries of one key");
        }
    }
    return check_large(to, e);
}

static int check_buckets(const struct report *to) {
    uint64_t n = 0;
    int r = 0;
    for (uint64_t i = 0; r == 0 && i < to->shard->buckets; i++) {
        if (to->shard->segments[mproc__dict_segment(i)] == 0) {
            return mproc__corrupt(to->why, to->size, "D1: no piece for bucket %llu",
                                  (unsigned long long)i);
        }
        uint64_t word = *mproc__dict_bucket(to->shard, i);
        for (; r == 0 && word != 0; word = mproc__dict_entry_at(word)->next) {
            r = check_entry(to, mproc__dict_entry_at(word), i);
            n++;
        }
    }
    if (r == 0 && n != to->shard->count) {
        r = mproc__corrupt(to->why, to->size, "D4: %llu entries, and a count of %llu",
                           (unsigned long long)n, (unsigned long long)to->shard->count);
    }
    return r;
}

static const struct mproc__dict_lock *lock_at(uint64_t word) {
    return (const struct mproc__dict_lock *)(uintptr_t)word;
}

static int check_locks(const struct report *to) {
    for (uint64_t i = to->shard->locks; i != 0; i = lock_at(i)->next) {
        const struct mproc__dict_lock *a = lock_at(i);
        bool good = mproc__heap_has(a) && a->depth >= 1;
        for (uint64_t j = good ? a->next : 0; j != 0; j = lock_at(j)->next) {
            const struct mproc__dict_lock *b = lock_at(j);
            good = good &&
                   (a->key_size != b->key_size || memcmp(a->bytes, b->bytes, a->key_size) != 0);
        }
        if (!good) {
            return mproc__corrupt(to->why, to->size, "D8: a lock's record at %p", (const void *)a);
        }
    }
    return 0;
}

static int check_shard(const struct report *to) {
    const struct mproc__dict_shard *shard = to->shard;
    if (shard->buckets < MPROC__DICT_FIRST ||
        shard->segments[0] != (uint64_t)(uintptr_t)shard->first) {
        return mproc__corrupt(to->why, to->size, "D1: %llu buckets",
                              (unsigned long long)shard->buckets);
    }
    if (shard->generation > mproc__peek64(&to->dict->generation)) {
        return mproc__corrupt(to->why, to->size, "D7: generation %llu",
                              (unsigned long long)shard->generation);
    }
    int r = check_buckets(to);
    return r == 0 ? check_locks(to) : r;
}

int mproc_dict_check(mproc_dict *dict, char *why, size_t size) {
    if (!mproc__object_is(dict, MPROC__KIND_DICT)) {
        return mproc__corrupt(why, size, "D: %p is no dict", (void *)dict);
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = 0;
    for (int i = 0; r == 0 && i < MPROC__DICT_SHARDS; i++) {
        struct report to = {dict, &dict->shards[i], why, size};
        mproc__dict_enter(&dict->shards[i], hand);
        r = check_shard(&to);
        mproc__dict_leave(&dict->shards[i], hand);
    }
    mproc__hand_put(hand);
    return r;
}
