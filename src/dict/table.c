/*
 * table.c - the dict's insides: shards, buckets, entries
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A dict is sixteen tables, its shards, and a bit of a key's hash says which. Each
 * has a guard and everything else of its own, so a change never concerns two of them. A shard is an
 * array of buckets, which grows and shrinks by one bucket at a time (linear hashing): an insertion
 * splits two buckets at most. There are two for each entry, since each further entry of a bucket is
 * one more that a reader waits for. The array lies in pieces, each as large as all before it, so
 * that nothing is ever copied. A bucket is a list of entries. An entry is a block that does not
 * change once it is linked. A new value is a new entry in the old one's place, so that its commit
 * is one store for readers, who take no lock (read.c).
 *
 * Shared state. All of a shard is written under its guard.
 *   version     Even: the shard is whole. Odd: it is being changed, or a member died while it
 *               changed it. Goes up only. Its store at a change's end publishes the change.
 *   buckets     How many there are.
 *   segments    Where they are; 0: that piece is not there. Piece 0 is in the shard.
 *   count       Entries.
 *   taken       Goes up when an entry with a large value is unlinked (see below).
 *   newest      No entry of the shard has a higher rank.
 *   splits, merges  How many buckets were ever split, and merged again: for scan.c.
 *   generation  The dict's, when the shard was last empty because of a clear().
 *   spare       An entry that was replaced lately, for the next one of its size; 0: none.
 *   locks       See lock.c.
 * dict->generation goes up by an atomic addition, which is the commit of clear(). All that is in a
 * shard of a lower generation is not there any more. It is freed by the thread that cleared, and if
 * that died, by the next writer of the shard. dict->next_rank is an atomic counter.
 *
 * Invariants.
 *   D1  8 <= buckets, and each bucket's piece is there.
 *   D2  An entry is in the bucket that its hash belongs to, and its key has that hash.
 *   D3  No two entries of a shard have the same key, version or rank.
 *   D4  count is the number of entries.
 *   D5  An entry's rank is at most `newest` and less than next_rank. Its version is at most the
 *       shard's.
 *   D6  A large value is a message object with the dict's hold (core/object.c), a plain one or a
 *       parcel.
 *   D7  generation <= dict->generation.
 *
 * Large values, and values that bring buffers, are objects. A reader takes a hold on the object
 * without the shard's guard. Nothing else keeps the object alive, so the reader has to know that it
 * was in the dict at a moment when nobody could have released it. `taken` says so: it goes up
 * before the dict's hold is given back under the registry's guard, and the reader compares it under
 * that same guard.
 *
 * If a member dies here: the guard puts the words back, unless the version was published. A rolled
 * back change leaves an odd version behind. Readers take the guard then, and whoever enters next
 * raises the version, so that a reader which has seen a part of that change does not find its own
 * version again. What a change takes out is in the hand. A piece that was added and is not used yet
 * stays; a piece that could be given back is given back by a later change.
 */
#include "dict/table.h"

#include <string.h>

#include "core/heap.h"
#include "core/kinds.h"
#include "dict/hash.h"

#define PER_ENTRY 2    /* buckets */
#define SPLIT_MOST 20  /* entries of a bucket that is split: their links have to fit into the log */
#define SPLIT_BOTH 16  /* entries of both, where one insertion splits two */
#define SWEEP_STEP 256 /* empty buckets that a section passes over */

/* ---------------------------------------------------------------- hashing */

/* The first n bytes, 8 at most, and zeros behind them. `before`: so many more can be read in front
 * of them, so that one load does where a copy of n bytes would go by the stack. */
static uint64_t bytes_at(const unsigned char *p, size_t n, size_t before) {
    if (n == sizeof(uint64_t)) {
        return mproc__dict_word_at(p);
    }
    if (n != 0 && before + n >= sizeof(uint64_t)) {
        return mproc__dict_word_at(p + n - sizeof(uint64_t)) >> 8 * (sizeof(uint64_t) - n);
    }
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

static uint64_t hash_of(uint64_t seed, const unsigned char *p, size_t size) {
    uint64_t hash = mproc__dict_hash_begin(seed, size);
    for (; size > 16; size -= 16, p += 16) {
        hash = mproc__dict_mix(mproc__dict_word_at(p) ^ seed ^ MPROC__DICT_PI1,
                               mproc__dict_word_at(p + 8) ^ hash);
    }
    size_t low = size < 8 ? size : 8;
    return mproc__dict_hash_end(hash, seed, bytes_at(p, low, 0),
                                bytes_at(p + low, size - low, low));
}

void mproc__dict_key_of(const mproc_dict *dict, const void *data, size_t size,
                        struct mproc__dict_key *out) {
    data = size != 0 ? data : "";
    *out = (struct mproc__dict_key){data, size, hash_of(dict->seed, data, size)};
}

int mproc__dict_key_for(const mproc_dict *dict, const void *data, size_t size,
                        struct mproc__dict_key *out) {
    if (!mproc__expect(dict, MPROC__KIND_DICT)) {
        return MPROC_EOTHER;
    }
    if (size > MPROC_DICT_KEY_MAX) {
        return MPROC_ETOOBIG;
    }
    mproc__dict_key_of(dict, data, size, out);
    return 0;
}

/* ---------------------------------------------------------------- sections */

void mproc__dict_enter(struct mproc__dict_shard *shard, struct mproc__hand *hand) {
    mproc__guard_enter(&shard->guard, hand);
    if (mproc__unlikely(shard->version & 1)) {
        /* SYNC(dict.version): what was put back, before readers look again. */
        mproc__store64(&shard->version, shard->version + 1);
    }
}

void mproc__dict_leave(struct mproc__dict_shard *shard, struct mproc__hand *hand) {
    mproc__guard_leave(&shard->guard, hand);
}

uint64_t mproc__dict_begin(struct mproc__dict_shard *shard) {
    mproc__poke64(&shard->version, shard->version + 1);
    mproc__store_fence(); /* SYNC(dict.version): that it changes, before it does. */
    mproc__program_order();
    return shard->version + 1;
}

void mproc__dict_publish(struct mproc__dict_shard *shard) {
    /* SYNC(dict.version): the change, before the version that says that it is whole. */
    mproc__guard_publish(&shard->guard, &shard->version, shard->version + 1);
}

/* There may be more sleepers than one, and none of them announces the others again. */
static void wake_all(struct mproc__eventcount *count) {
    if (mproc__unlikely(mproc__eventcount_awaited(count))) {
        mproc__poke32(&count->sleepers, 0);
        mproc__eventcount_wake_all(count);
    }
}

void mproc__dict_tell(mproc_dict *dict, struct mproc__dict_shard *shard) {
    mproc__fence_after_rmw(); /* the change, before the look at `sleepers` */
    wake_all(&shard->changed);
    wake_all(&dict->changed);
}

static void set(struct mproc__dict_shard *shard, uint64_t *word, uint64_t value) {
    mproc__dict_put_word(shard, word, value);
}

static uint64_t word_of(const void *pointer) {
    return (uint64_t)(uintptr_t)pointer;
}

/* ---------------------------------------------------------------- entries */

uint64_t *mproc__dict_find(const struct mproc__dict_shard *shard,
                           const struct mproc__dict_key *key) {
    uint32_t hash = (uint32_t)key->hash;
    uint64_t *link = mproc__dict_bucket(shard, mproc__dict_index(shard->buckets, hash));
    for (; *link != 0; link = &mproc__dict_entry_at(*link)->next) {
        const struct mproc__dict_entry *e = mproc__dict_entry_at(*link);
        if (e->hash == hash && e->key_size == key->size &&
            memcmp(mproc__dict_entry_key(e), key->data, key->size) == 0) {
            break;
        }
    }
    return link;
}

bool mproc__dict_stale(const mproc_dict *dict, const struct mproc__dict_shard *shard) {
    /* SYNC(dict.generation) */
    return mproc__unlikely(mproc__load64(&dict->generation) != shard->generation);
}

void mproc__dict_unlink(struct mproc__dict_shard *shard, struct mproc__hand *hand, uint64_t *link,
                        uint64_t next) {
    struct mproc__object *large = mproc__dict_entry_large(mproc__dict_entry_at(*link));
    if (large != NULL) {
        set(shard, &hand->message, word_of(large));
        set(shard, &shard->taken, shard->taken + 1);
    }
    set(shard, link, next);
}

void mproc__dict_discard(struct mproc__hand *hand) {
    mproc__heap_free(hand, &hand->block);
    if (mproc__unlikely(hand->message != 0)) {
        mproc__object_release(hand, &hand->message);
    }
}

/* ---------------------------------------------------------------- buckets */

static uint64_t length(uint64_t word) {
    uint64_t n = 0;
    for (; word != 0; word = mproc__dict_entry_at(word)->next) {
        n++;
    }
    return n;
}

/* Deals a bucket's entries out to itself and to the new one, by the bit that tells the two apart.
 * Only links that change are saved; nobody reads the new bucket yet. */
static void deal(struct mproc__dict_shard *shard, uint64_t *low, uint64_t *high, uint64_t bit) {
    uint64_t *tails[2] = {low, high};
    mproc__poke64(high, 0);
    for (uint64_t word = *low; word != 0;) {
        struct mproc__dict_entry *e = mproc__dict_entry_at(word);
        unsigned side = (e->hash & bit) != 0;
        uint64_t next = e->next;
        if (*tails[side] != word) {
            set(shard, tails[side], word);
        }
        tails[side] = &e->next;
        word = next;
    }
    for (int side = 0; side < 2; side++) {
        if (*tails[side] != 0) {
            set(shard, tails[side], 0);
        }
    }
}

/* Has the shard fewer buckets than it should have, if it has that many? */
static bool is_time_to_grow(const struct mproc__dict_shard *shard, uint64_t n) {
    return PER_ENTRY * mproc__peek64(&shard->count) > n;
}

/* Splits a bucket that has `most` entries or fewer, and returns how many it had; more than `most`:
 * none was split. */
static uint64_t split_one(struct mproc__dict_shard *shard, uint64_t most) {
    uint64_t n = shard->buckets, top = UINT64_C(1) << (63 - __builtin_clzll(n));
    unsigned segment = mproc__dict_segment(n);
    if (!is_time_to_grow(shard, n) || segment >= MPROC__DICT_SEGMENTS ||
        shard->segments[segment] == 0) {
        return most + 1;
    }
    uint64_t *low = mproc__dict_bucket(shard, n - top), had = length(*low);
    if (had <= most) {
        deal(shard, low, mproc__dict_bucket(shard, n), top);
        set(shard, &shard->buckets, n + 1);
        set(shard, &shard->splits, shard->splits + 1);
    }
    return had;
}

void mproc__dict_split(struct mproc__dict_shard *shard) {
    uint64_t had = split_one(shard, SPLIT_MOST);
    if (had <= SPLIT_BOTH) {
        (void)split_one(shard, SPLIT_BOTH - had);
    }
}

static void merge_one(struct mproc__dict_shard *shard) {
    uint64_t n = shard->buckets - 1;
    if (n < MPROC__DICT_FIRST || 2 * PER_ENTRY * shard->count > n) {
        return;
    }
    uint64_t top = UINT64_C(1) << (63 - __builtin_clzll(n));
    uint64_t *tail = mproc__dict_bucket(shard, n - top);
    while (*tail != 0) {
        tail = &mproc__dict_entry_at(*tail)->next;
    }
    uint64_t moved = *mproc__dict_bucket(shard, n);
    if (moved != 0) {
        set(shard, tail, moved);
    }
    set(shard, &shard->buckets, n);
    set(shard, &shard->merges, shard->merges + 1);
}

/* As many as an entry has at most, so that there are never more all the way down. */
void mproc__dict_merge(struct mproc__dict_shard *shard) {
    for (int i = 0; i < 2 * PER_ENTRY; i++) {
        merge_one(shard);
    }
}

/* ---------------------------------------------------------------- pieces */

void mproc__dict_extend(struct mproc__dict_shard *shard, struct mproc__hand *hand) {
    uint64_t n = mproc__peek64(&shard->buckets);
    unsigned segment = mproc__dict_segment(n);
    if (mproc__likely(!is_time_to_grow(shard, n) || segment >= MPROC__DICT_SEGMENTS ||
                      mproc__peek64(&shard->segments[segment]) != 0)) {
        return;
    }
    if (mproc__heap_alloc(hand, mproc__dict_base(segment) * sizeof(uint64_t), &hand->block) != 0) {
        return; /* the buckets get longer, and the next insertion tries again */
    }
    mproc__dict_enter(shard, hand);
    if (shard->segments[segment] == 0) {
        set(shard, &shard->segments[segment], hand->block);
        set(shard, &hand->block, 0);
    }
    mproc__dict_leave(shard, hand);
    mproc__heap_free(hand, &hand->block);
}

/* The piece behind the last one that has buckets, if it is there, and if buckets are not about to
 * come into it again; 0: none. */
static unsigned idle_segment(const struct mproc__dict_shard *shard) {
    uint64_t n = mproc__peek64(&shard->buckets);
    unsigned next = mproc__dict_segment(n - 1 + n / 4) + 1;
    return next < MPROC__DICT_SEGMENTS && mproc__peek64(&shard->segments[next]) != 0 ? next : 0;
}

void mproc__dict_trim(struct mproc__dict_shard *shard, struct mproc__hand *hand) {
    while (mproc__unlikely(idle_segment(shard) != 0)) {
        mproc__dict_enter(shard, hand);
        unsigned segment = idle_segment(shard);
        if (segment != 0) {
            (void)mproc__dict_begin(shard); /* a reader may be on its way to it */
            set(shard, &hand->block, shard->segments[segment]);
            set(shard, &shard->segments[segment], 0);
            mproc__dict_publish(shard);
        }
        mproc__dict_leave(shard, hand);
        mproc__heap_free(hand, &hand->block);
    }
}

/* ---------------------------------------------------------------- sweeping */

/* Inside a change: takes empty buckets away from the end; the last one that is left, or one of the
 * first ones, which has entries. NULL: the shard is empty. */
static uint64_t *last_bucket(struct mproc__dict_shard *shard) {
    uint64_t n = shard->buckets;
    uint64_t least = n > 2 * SWEEP_STEP ? n - SWEEP_STEP : n / 2; /* one piece falls idle at most */
    while (n > least && n > MPROC__DICT_FIRST && *mproc__dict_bucket(shard, n - 1) == 0) {
        n--;
    }
    if (n != shard->buckets) {
        set(shard, &shard->buckets, n);
    }
    for (uint64_t i = n; n == MPROC__DICT_FIRST && i-- > 0;) {
        if (shard->first[i] != 0) {
            return &shard->first[i];
        }
    }
    return n > MPROC__DICT_FIRST ? mproc__dict_bucket(shard, n - 1) : NULL;
}

/* Takes one entry out, or says that there is none any more: the shard is empty, and as new. */
static bool sweep_one(mproc_dict *dict, struct mproc__dict_shard *shard, struct mproc__hand *hand) {
    (void)mproc__dict_begin(shard);
    uint64_t *bucket = last_bucket(shard);
    if (bucket == NULL) {
        set(shard, &shard->newest, 0);
        set(shard, &shard->generation, mproc__peek64(&dict->generation));
    } else if (*bucket != 0) {
        uint64_t e = *bucket;
        mproc__dict_unlink(shard, hand, bucket, mproc__dict_entry_at(e)->next);
        set(shard, &hand->block, e);
        set(shard, &shard->count, shard->count - 1);
    }
    mproc__dict_publish(shard);
    return bucket != NULL;
}

void mproc__dict_sweep(mproc_dict *dict, struct mproc__dict_shard *shard, struct mproc__hand *hand,
                       bool all) {
    bool more;
    do {
        mproc__dict_enter(shard, hand);
        more = (all || mproc__dict_stale(dict, shard)) && sweep_one(dict, shard, hand);
        mproc__dict_leave(shard, hand);
        mproc__dict_discard(hand);
        mproc__dict_trim(shard, hand);
    } while (more);
}
