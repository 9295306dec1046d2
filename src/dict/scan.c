/*
 * scan.c - every entry of a dict, while others change it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The buckets of a shard are looked at from the last to the first, a few at a time,
 * as read.c looks at one. In between the shard may grow and shrink, which moves entries.
 *
 * A merge moves entries from the last bucket to a lower one. That one has not been looked at yet,
 * or the last one has. A split moves entries to a new bucket behind the last one, and the new
 * buckets are looked at in the end. So an entry is missed only if it went up and came down again.
 * That takes a split and a merge during one scan. The shard counts both, and the scan begins anew.
 * Between a split and a merge half of all entries are deleted, so that cannot go on for long.
 *
 * popitem looks for the highest rank. Each shard has a bound for its ranks, `newest`, which
 * deletions leave as it is. The shard with the highest bound is scanned. If its highest rank is the
 * bound, that entry is the newest of all, else the bound is lowered, and the next shard is tried.
 */
#include "dict/scan.h"

#include <string.h>

#include "core/parcel.h"
#include "dict/write.h"

#define STEP 16 /* buckets that one look goes over */

/* ---------------------------------------------------------------- some buckets */

/* Which buckets: so many from that number on, or the one of a hash. */
struct place {
    uint64_t index, n;
    uint32_t hash;
    bool by_hash;
};

static int walk(const struct mproc__dict_shard *shard, uint64_t version, const uint64_t *link,
                const struct mproc__dict_visitor *visitor) {
    for (;;) {
        const struct mproc__dict_entry *e = mproc__dict_entry_at(mproc__peek64(link));
        if (!mproc__dict_still(shard, version)) {
            return -EAGAIN;
        }
        int r = e != NULL ? visitor->visit(visitor->arg, shard, version, e) : 0;
        if (r != 0 || e == NULL) {
            return r;
        }
        link = &e->next;
    }
}

/* What the buckets lead to is fetched into the cache, wherever that is. */
static int walk_all(const struct mproc__dict_shard *shard, uint64_t version, uint64_t first,
                    uint64_t end, const struct mproc__dict_visitor *visitor) {
    const uint64_t *buckets[STEP];
    for (uint64_t i = first; i < end; i++) {
        buckets[i - first] = mproc__dict_bucket(shard, i);
    }
    if (!mproc__dict_still(shard, version)) {
        return -EAGAIN;
    }
    for (uint64_t i = 0; i < end - first; i++) {
        uintptr_t entry = (uintptr_t)mproc__dict_entry_at(mproc__peek64(buckets[i])); /* or 0 */
        __builtin_prefetch((const void *)entry);
        /* Often in the next line. */
        __builtin_prefetch((const void *)(entry + sizeof(struct mproc__dict_entry)));
    }
    int r = 0;
    for (uint64_t i = 0; r == 0 && i < end - first; i++) {
        r = walk(shard, version, buckets[i], visitor);
    }
    return r;
}

static int look_once(const mproc_dict *dict, const struct mproc__dict_shard *shard,
                     uint64_t version, const struct place *place,
                     const struct mproc__dict_visitor *visitor) {
    uint64_t generation = mproc__load64(&dict->generation); /* SYNC(dict.generation) */
    uint64_t shards = mproc__peek64(&shard->generation), n = mproc__peek64(&shard->buckets);
    uint64_t first = place->by_hash ? mproc__dict_index(n, place->hash) : place->index;
    uint64_t end = first + (place->by_hash ? 1 : place->n);
    visitor->begin(visitor->arg);
    if (shards != generation) {
        return shards < generation && mproc__dict_still(shard, version) ? 0 : -EAGAIN;
    }
    if (!mproc__dict_still(shard, version)) {
        return -EAGAIN;
    }
    return first < n ? walk_all(shard, version, first, end < n ? end : n, visitor) : 0;
}

static int scan_place(const mproc_dict *dict, struct mproc__dict_shard *shard,
                      const struct place *place, const struct mproc__dict_visitor *visitor) {
    int r;
    do {
        struct mproc__dict_window window = mproc__dict_window(shard, NULL);
        do {
            mproc__dict_open(&window);
            r = look_once(dict, shard, window.version, place, visitor);
        } while (mproc__dict_close(&window, r == -EAGAIN));
        if ((r == 0 || r == -ENOBUFS) && visitor->end != NULL) {
            r = visitor->end(visitor->arg, shard);
        }
    } while (r == -EAGAIN);
    return r;
}

int mproc__dict_scan_hash(const mproc_dict *dict, struct mproc__dict_shard *shard, uint32_t hash,
                          const struct mproc__dict_visitor *visitor) {
    const struct place place = {.hash = hash, .by_hash = true};
    return scan_place(dict, shard, &place, visitor);
}

/* ---------------------------------------------------------------- one shard */

/* From the last of the n buckets to the first one that is wanted. */
static int scan_down(const mproc_dict *dict, struct mproc__dict_shard *shard, uint64_t n,
                     uint64_t first, const struct mproc__dict_visitor *visitor) {
    int r = 0;
    while (r == 0 && n > first) {
        uint64_t step = n - first < STEP ? n - first : STEP;
        const struct place place = {.index = n -= step, .n = step};
        r = scan_place(dict, shard, &place, visitor);
    }
    return r;
}

int mproc__dict_scan(const mproc_dict *dict, struct mproc__dict_shard *shard,
                     const struct mproc__dict_visitor *visitor) {
    uint64_t splits, merges;
    int r;
    do {
        splits = mproc__peek64(&shard->splits), merges = mproc__peek64(&shard->merges);
        mproc__load_fence(); /* SYNC(dict.version): the counts, before what is counted. */
        uint64_t done = 0, n = mproc__peek64(&shard->buckets);
        do {
            r = scan_down(dict, shard, n, done, visitor);
            done = n;
            n = mproc__peek64(&shard->buckets);
        } while (r == 0 && n > done);
    } while (r == 0 && splits != mproc__peek64(&shard->splits) &&
             merges != mproc__peek64(&shard->merges));
    return r;
}

/* ---------------------------------------------------------------- the newest entry */

/* The two highest ranks of a shard; 0: there is none. */
struct newest {
    uint64_t rank, next;
    uint32_t hash; /* of the first one */
};

/* What the scan has found so far, and with the bucket that is looked at. */
struct search {
    struct newest before, now;
};

static void search_begin(void *arg) {
    struct search *search = arg;
    search->now = search->before;
}

static int search_visit(void *arg, const struct mproc__dict_shard *shard, uint64_t version,
                        const struct mproc__dict_entry *e) {
    struct newest *now = &((struct search *)arg)->now;
    uint64_t rank = e->rank;
    (void)shard, (void)version;
    if (rank > now->rank) {
        *now = (struct newest){rank, now->rank, e->hash};
    } else if (rank > now->next && rank != now->rank) {
        now->next = rank;
    }
    return 0;
}

static int search_end(void *arg, struct mproc__dict_shard *shard) {
    struct search *search = arg;
    (void)shard;
    search->before = search->now;
    return 0;
}

static struct newest search(const mproc_dict *dict, struct mproc__dict_shard *shard) {
    struct search all = {0};
    const struct mproc__dict_visitor visitor = {search_begin, search_visit, search_end, &all};
    (void)mproc__dict_scan(dict, shard, &visitor);
    return all.before;
}

/* No entry has been inserted since the bound was `seen`: it may be as low as `rank`. */
static void lower_bound(struct mproc__dict_shard *shard, uint64_t seen, uint64_t rank) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__dict_enter(shard, hand);
    if (shard->newest == seen) {
        mproc__dict_put_word(shard, &shard->newest, rank);
    }
    mproc__dict_leave(shard, hand);
    mproc__hand_put(hand);
}

/* The shard with the highest bound; NULL: all are empty. */
static struct mproc__dict_shard *highest(mproc_dict *dict) {
    struct mproc__dict_shard *best = NULL;
    for (int i = 0; i < MPROC__DICT_SHARDS; i++) {
        struct mproc__dict_shard *shard = &dict->shards[i];
        if (!mproc__dict_stale(dict, shard) && mproc__peek64(&shard->newest) != 0 &&
            (best == NULL || mproc__peek64(&shard->newest) > mproc__peek64(&best->newest))) {
            best = shard;
        }
    }
    return best;
}

/* ---------------------------------------------------------------- taking it out */

/* The key of the entry with that rank. */
struct wanted {
    uint64_t rank;
    bool found;
    size_t size;
    unsigned char key[MPROC_DICT_KEY_MAX];
};

static void key_begin(void *arg) {
    ((struct wanted *)arg)->found = false;
}

static int key_visit(void *arg, const struct mproc__dict_shard *shard, uint64_t version,
                     const struct mproc__dict_entry *e) {
    struct wanted *wanted = arg;
    size_t size = e->key_size;
    if (e->rank != wanted->rank) {
        return 0;
    }
    const unsigned char *key = mproc__dict_entry_key(e);
    if (!mproc__dict_still(shard, version)) {
        return -EAGAIN;
    }
    memcpy(wanted->key, key, size);
    wanted->size = size;
    wanted->found = true;
    return mproc__dict_still(shard, version) ? 0 : -EAGAIN;
}

/* Gives the key as a value is given: in the room or in a block. */
static int give_key(const struct wanted *wanted, mproc_message *message) {
    void *to = message->room;
    struct mproc__object *block = NULL;
    if (wanted->size > message->room_size) {
        struct mproc__hand *hand = mproc__hand_get();
        int r = mproc__parcel_make(hand, NULL, 0, wanted->size);
        if (r == 0) {
            block = (struct mproc__object *)(uintptr_t)hand->unheld;
            mproc__object_adopt(hand, &hand->unheld);
        }
        mproc__hand_put(hand);
        if (r != 0) {
            return r;
        }
        to = mproc__parcel_payload(block);
    }
    if (wanted->size != 0) {
        memcpy(to, wanted->key, wanted->size);
    }
    *message = (mproc_message){message->room, message->room_size, to, wanted->size, block};
    return 0;
}

/* The entry with the key of `wanted`, if it is still the one of that rank. -ESTALE: it is not. */
static int take_out(mproc_dict *dict, const struct wanted *wanted, mproc_message *key,
                    mproc_message *value) {
    struct mproc__dict_key k;
    struct mproc__dict_look look;
    mproc__dict_key_of(dict, wanted->key, wanted->size, &k);
    int r = mproc__dict_fetch(dict, &k, value, &look);
    if (r != 0) {
        return r == -ENOENT ? -ESTALE : r;
    }
    r = look.rank == wanted->rank ? give_key(wanted, key) : -ESTALE;
    if (r != 0) {
        mproc_message_drop(value);
        return r;
    }
    r = mproc__dict_remove(dict, &k, look.version);
    if (r != 0) {
        mproc_message_drop(key);
        mproc_message_drop(value);
        return -ESTALE;
    }
    return 0;
}

/* -ESTALE: the newest entry was another one. */
static int pop_newest(mproc_dict *dict, struct mproc__dict_shard *shard, mproc_message *key,
                      mproc_message *value) {
    uint64_t seen = mproc__peek64(&shard->newest);
    struct newest newest = search(dict, shard);
    if (newest.rank < seen) {
        lower_bound(shard, seen, newest.rank);
    }
    if (newest.rank != seen) {
        return -ESTALE;
    }
    struct wanted wanted = {.rank = newest.rank};
    const struct mproc__dict_visitor visitor = {key_begin, key_visit, NULL, &wanted};
    (void)mproc__dict_scan_hash(dict, shard, newest.hash, &visitor);
    int r = wanted.found ? take_out(dict, &wanted, key, value) : -ESTALE;
    if (r == 0) {
        lower_bound(shard, seen, newest.next);
    }
    return r;
}

int mproc_dict_popitem(mproc_dict *dict, mproc_message *key, mproc_message *value) {
    if (!mproc__expect(dict, MPROC__KIND_DICT)) {
        return MPROC_EOTHER;
    }
    int r;
    do {
        struct mproc__dict_shard *shard = highest(dict);
        if (shard == NULL) {
            return -ENOENT;
        }
        mproc_message k = MPROC_MESSAGE_INIT(key->room, key->room_size);
        mproc_message v = MPROC_MESSAGE_INIT(value->room, value->room_size);
        r = pop_newest(dict, shard, &k, &v);
        if (r == 0) {
            *key = k;
            *value = v;
        }
    } while (r == -ESTALE);
    return r;
}
