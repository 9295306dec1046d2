/*
 * read.c - looking an entry up, without a lock
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A reader notes the shard's version, which has to be even, reads, and looks at the
 * version again: if it is the same, nothing has changed meanwhile (a sequence lock). What it reads
 * in between may be anything, since entries are freed and their blocks used again at any time. So
 * the version is compared before each pointer is followed, and before each size is used. A pointer
 * that was right at that moment leads into the arena, whose memory can always be read.
 *
 * After a few looks in vain the reader takes the shard's guard, and reads the same way; the version
 * cannot change then. So no reader waits longer than any writer.
 *
 * A look at a table that is larger than the caches waits for memory, and the processor begins with
 * the next look meanwhile if it has room for the instructions of both. So what is asked for most
 * has a short way of its own (mproc__dict_glance), which leaves all else to the other.
 *
 * Which entries are there is decided by the generation that the reader has seen first (table.c). A
 * shard of a lower one has nothing in it; one of a higher one was cleared since, and the reader
 * looks again.
 *
 * If a member dies here: nothing is changed but what its hand and its holds name.
 */
#include "dict/read.h"

#include <string.h>

#include "core/parcel.h"
#include "dict/hash.h"

void mproc__dict_open_locked(struct mproc__dict_window *window) {
    window->hand = window->mine != NULL ? window->mine : mproc__hand_get();
    mproc__dict_enter(window->shard, window->hand);
    window->version = window->shard->version;
}

void mproc__dict_close_locked(struct mproc__dict_window *window) {
    mproc__dict_leave(window->shard, window->hand);
    if (window->mine == NULL) {
        mproc__hand_put(window->hand);
    }
    window->hand = NULL;
}

/* ---------------------------------------------------------------- one look; -EAGAIN: not whole */

static int read_value(const struct mproc__dict_shard *shard, uint64_t version,
                      const struct mproc__dict_entry *e, void *room, size_t most,
                      struct mproc__dict_look *out) {
    uint64_t seen = e->version, rank = e->rank, size = e->size;
    struct mproc__object *large = mproc__dict_entry_large(e);
    uint64_t taken = mproc__peek64(&shard->taken);
    const unsigned char *value = mproc__dict_entry_value(e);
    if (!mproc__dict_still(shard, version)) {
        return -EAGAIN;
    }
    *out = (struct mproc__dict_look){seen, rank, size, large, taken};
    if (mproc__unlikely(large != NULL)) {
        return 0;
    }
    if (mproc__unlikely(size > most)) {
        return -ENOBUFS;
    }
    if (size != 0) {
        memcpy(room, value, size);
    }
    return mproc__dict_still(shard, version) ? 0 : -EAGAIN;
}

/* From 8 to 16 bytes: two loads a side, which may overlap, cost less than a call. */
static bool is_short(size_t size) {
    return size - 8 <= 8;
}

static bool is_equal_short(const unsigned char *a, const unsigned char *b, size_t size) {
    return ((mproc__dict_word_at(a) ^ mproc__dict_word_at(b)) |
            (mproc__dict_word_at(a + size - 8) ^ mproc__dict_word_at(b + size - 8))) == 0;
}

static bool is_equal(const unsigned char *a, const unsigned char *b, size_t size) {
    return is_short(size) ? is_equal_short(a, b, size) : memcmp(a, b, size) == 0;
}

/* Has it that key? What it says counts only if the version has not changed. */
static bool is_key(const struct mproc__dict_shard *shard, uint64_t version,
                   const struct mproc__dict_entry *e, const struct mproc__dict_key *key) {
    return e->hash == (uint32_t)key->hash && e->key_size == key->size &&
           mproc__dict_still(shard, version) &&
           is_equal(mproc__dict_entry_key(e), key->data, key->size);
}

/* 0: *bucket is the address of the hash's bucket, which may be followed. */
static int find_bucket(const struct mproc__dict_shard *shard, uint64_t version, uint32_t hash,
                       const uint64_t **bucket) {
    uint64_t n = mproc__peek64(&shard->buckets);
    *bucket = mproc__dict_bucket(shard, mproc__dict_index(n, hash));
    return mproc__dict_still(shard, version) ? 0 : -EAGAIN;
}

/* Where key and value are is known when the entry's first line is there. The next two are fetched
 * at the same time, so that a reader waits for memory once and not twice. It may be no entry at
 * all: an address that cannot be read is passed over. */
static void fetch_lines(const struct mproc__dict_entry *e) {
    __builtin_prefetch((const void *)((uintptr_t)e + MPROC__LINE));
    __builtin_prefetch((const void *)((uintptr_t)e + 2 * MPROC__LINE));
}

static int look_once(const mproc_dict *dict, const struct mproc__dict_shard *shard,
                     uint64_t version, const struct mproc__dict_key *key, void *room, size_t most,
                     struct mproc__dict_look *out) {
    uint64_t generation = mproc__load64(&dict->generation); /* SYNC(dict.generation) */
    uint64_t shards = mproc__peek64(&shard->generation);
    if (mproc__unlikely(shards != generation)) {
        return shards < generation && mproc__dict_still(shard, version) ? -ENOENT : -EAGAIN;
    }
    const uint64_t *link;
    int r = find_bucket(shard, version, (uint32_t)key->hash, &link);
    while (r == 0) {
        const struct mproc__dict_entry *e = mproc__dict_entry_at(mproc__peek64(link));
        fetch_lines(e);
        if (!mproc__dict_still(shard, version)) {
            return -EAGAIN;
        }
        if (e == NULL) {
            return -ENOENT;
        }
        if (is_key(shard, version, e, key)) {
            return read_value(shard, version, e, room, most, out);
        }
        link = &e->next;
    }
    return r;
}

int mproc__dict_read(mproc_dict *dict, struct mproc__hand *hand, const struct mproc__dict_key *key,
                     void *room, size_t most, struct mproc__dict_look *out) {
    struct mproc__dict_window window = mproc__dict_window(mproc__dict_shard_of(dict, key), hand);
    int r;
    do {
        mproc__dict_open(&window);
        r = look_once(dict, window.shard, window.version, key, room, most, out);
    } while (mproc__dict_close(&window, r == -EAGAIN));
    return r;
}

/* ---------------------------------------------------------------- at a glance */

/* Hash, size of the key and whether the value is large, as one word. (Little-endian, see
 * mutex.c.) */
static inline uint64_t head_of(const struct mproc__dict_entry *e) {
    return mproc__dict_word_at((const unsigned char *)e + offsetof(struct mproc__dict_entry, hash));
}

static inline uint64_t head_for(uint64_t hash, size_t key_size) {
    return (uint32_t)hash | (uint64_t)key_size << 32;
}

static_assert(offsetof(struct mproc__dict_entry, bytes) ==
                  offsetof(struct mproc__dict_entry, hash) + sizeof(uint64_t),
              "a word has them");

/* A small value that fits into the room, and nothing has changed while it was copied: 0. */
static inline int copy_value(const struct mproc__dict_shard *shard, uint64_t seen,
                             const struct mproc__dict_entry *e, size_t key_size,
                             mproc_message *message, uint64_t *version) {
    uint64_t size = e->size, number = e->version;
    if (mproc__unlikely(!mproc__dict_still(shard, seen) || size > message->room_size)) {
        return -EAGAIN;
    }
    if (mproc__likely(size != 0)) {
        memcpy(message->room, e->bytes + key_size, size);
    }
    if (mproc__unlikely(!mproc__dict_still(shard, seen))) {
        return -EAGAIN;
    }
    message->data = message->room;
    message->size = size;
    message->block = NULL;
    if (version != NULL) {
        *version = number;
    }
    return 0;
}

int mproc__dict_glance(const mproc_dict *dict, const void *key, size_t size, mproc_message *message,
                       uint64_t *version) {
    if (MPROC__DICT_TRIES == 0 || !is_short(size)) {
        return -EAGAIN;
    }
    uint64_t hash = mproc__dict_hash_short(dict->seed, key, size), head = head_for(hash, size);
    const struct mproc__dict_shard *shard = &dict->shards[hash >> 60];
    uint64_t seen = mproc__load64(&shard->version); /* SYNC(dict.version) */
    /* SYNC(dict.generation) */
    if (mproc__unlikely((seen & 1) ||
                        mproc__load64(&dict->generation) != mproc__peek64(&shard->generation))) {
        return -EAGAIN;
    }
    const uint64_t *link;
    int r = find_bucket(shard, seen, (uint32_t)hash, &link);
    while (r == 0) {
        const struct mproc__dict_entry *e = mproc__dict_entry_at(mproc__peek64(link));
        fetch_lines(e);
        if (mproc__unlikely(!mproc__dict_still(shard, seen) || e == NULL)) {
            return -EAGAIN;
        }
        if (head_of(e) == head && mproc__dict_still(shard, seen) &&
            mproc__likely(is_equal_short(e->bytes, key, size))) {
            return copy_value(shard, seen, e, size, message, version);
        }
        link = &e->next;
    }
    return r;
}

/* ---------------------------------------------------------------- a value as a message */

static void describe(mproc_message *message, void *data, size_t size, void *block) {
    message->data = data;
    message->size = size;
    message->block = block;
}

int mproc__dict_lend(struct mproc__dict_shard *shard, const struct mproc__dict_look *look,
                     mproc_message *message) {
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__hold_while(hand, look->large, &shard->taken, look->taken);
    mproc__hand_put(hand);
    if (r == 0) {
        describe(message, mproc__parcel_payload(look->large), look->size, look->large);
    }
    return r;
}

/* A small value that does not fit into the room comes in a block of its own, made before the look
 * that fills it. */
static int read_into_block(mproc_dict *dict, const struct mproc__dict_key *key,
                           mproc_message *message, struct mproc__dict_look *out) {
    struct mproc__hand *hand = mproc__hand_get();
    size_t most = out->size;
    int r = mproc__parcel_make(hand, NULL, 0, most);
    if (r == 0) {
        struct mproc__object *block = (struct mproc__object *)(uintptr_t)hand->unheld;
        void *room = mproc__parcel_payload(block);
        r = mproc__dict_read(dict, hand, key, room, most, out);
        if (r == 0 && out->large == NULL) {
            mproc__object_adopt(hand, &hand->unheld);
            describe(message, room, out->size, block);
        }
        mproc__object_destroy(hand, &hand->unheld);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc__dict_fetch(mproc_dict *dict, const struct mproc__dict_key *key, mproc_message *message,
                      struct mproc__dict_look *out) {
    int r;
    do {
        r = mproc__dict_read(dict, NULL, key, message->room, message->room_size, out);
        if (mproc__likely(r == 0 && out->large == NULL)) {
            describe(message, message->room, out->size, NULL);
            return 0;
        }
        if (r == -ENOBUFS) {
            r = read_into_block(dict, key, message, out);
        }
        if (r == 0 && out->large != NULL) {
            r = mproc__dict_lend(mproc__dict_shard_of(dict, key), out, message);
        }
    } while (r == -ENOBUFS || r == -ESTALE);
    return r;
}
