/*
 * dict.c - keys and values for all members
 *
 * SPDX-License-Identifier: MIT
 *
 * The calls that name a key, and the dict as a whole. How the table works stands in table.c, how it
 * is read without a lock in read.c, how an entry is changed in write.c. Here are also the calls
 * that take more than one step: they read an entry with its version, and change it if it still has
 * that version, again and again until it has. Each time one of them fails another call has got
 * done.
 *
 * What a dict does not do: keep the order sorted by keys, bound its size, outlive its family.
 */
#include <string.h>
#include <sys/uio.h>

#include "core/heap.h"
#include "core/kinds.h"
#include "core/make.h"
#include "core/parcel.h"
#include "dict/read.h"
#include "dict/write.h"

/* ---------------------------------------------------------------- life */

/* A dict whose keys a stranger chooses must not have all of them in one bucket. In the crash
 * laboratory each run has to be like the one before. */
static uint64_t make_seed(const mproc_dict *dict) {
    uint64_t seed;
#ifndef MPROC_POISON
    if (mproc__os_random(&seed, sizeof seed) == 0) {
        return seed;
    }
#endif
    seed = (uint64_t)(uintptr_t)dict;
    return seed * UINT64_C(0x452821e638d01377);
}

static int fill(struct mproc__hand *hand, void *object, const void *unused) {
    mproc_dict *dict = object;
    (void)hand, (void)unused;
    dict->seed = make_seed(dict);
    dict->next_rank = 1;
    for (int i = 0; i < MPROC__DICT_SHARDS; i++) {
        struct mproc__dict_shard *shard = &dict->shards[i];
        mproc__guard_init(&shard->guard, shard->log, MPROC__DICT_UNDO);
        shard->buckets = MPROC__DICT_FIRST;
        shard->segments[0] = (uint64_t)(uintptr_t)shard->first;
    }
    return 0;
}

int mproc_dict_new(mproc_dict **out) {
    return mproc__object_build(out, MPROC__KIND_DICT, sizeof(mproc_dict), fill, NULL);
}

/* A word of the dict's becomes a word of the hand's, and what it names is freed. */
static void free_word(struct mproc__dict_shard *shard, struct mproc__hand *hand, uint64_t *word,
                      uint64_t next) {
    mproc__dict_enter(shard, hand);
    mproc__dict_put_word(shard, &hand->block, *word);
    mproc__dict_put_word(shard, word, next);
    mproc__dict_leave(shard, hand);
    mproc__heap_free(hand, &hand->block);
}

void mproc__dict_destroy(struct mproc__hand *hand, void *object) {
    mproc_dict *dict = object;
    for (int i = 0; i < MPROC__DICT_SHARDS; i++) {
        struct mproc__dict_shard *shard = &dict->shards[i];
        if (shard->buckets == 0) { /* its maker died before it was one */
            return;
        }
        mproc__dict_sweep(dict, shard, hand, true);
        for (int k = 1; k < MPROC__DICT_SEGMENTS; k++) {
            free_word(shard, hand, &shard->segments[k], 0);
        }
        free_word(shard, hand, &shard->spare, 0);
        while (shard->locks != 0) {
            const struct mproc__dict_lock *lock =
                (const struct mproc__dict_lock *)(uintptr_t)shard->locks;
            free_word(shard, hand, &shard->locks, lock->next);
        }
    }
}

/* ---------------------------------------------------------------- reading */

int mproc_dict_get(mproc_dict *dict, const void *key, size_t key_size, mproc_message *message,
                   uint64_t *version) {
    struct mproc__dict_key k;
    struct mproc__dict_look look;
    if (mproc__expect(dict, MPROC__KIND_DICT) &&
        mproc__likely(mproc__dict_glance(dict, key, key_size, message, version) == 0)) {
        return 0;
    }
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    if (r == 0) {
        r = mproc__dict_fetch(dict, &k, message, &look);
    }
    if (r == 0 && version != NULL) {
        *version = look.version;
    }
    return r;
}

int mproc_dict_has(mproc_dict *dict, const void *key, size_t key_size) {
    struct mproc__dict_key k;
    struct mproc__dict_look look;
    return mproc__dict_key_for(dict, key, key_size, &k) == 0 &&
           mproc__dict_read(dict, NULL, &k, NULL, 0, &look) != -ENOENT;
}

/* ---------------------------------------------------------------- changing one entry */

static int set_if(mproc_dict *dict, const void *key, size_t key_size, const void *lent, size_t size,
                  uint64_t version) {
    struct mproc__dict_key k;
    struct iovec piece = {(void *)(uintptr_t)lent, size};
    const mproc_dict_value value = {.pieces = &piece, .n = 1};
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    return r == 0 ? mproc__dict_write(dict, &k, &value, version) : r;
}

int mproc_dict_set(mproc_dict *dict, const void *key, size_t key_size, const void *lent,
                   size_t size) {
    return set_if(dict, key, key_size, lent, size, MPROC_DICT_ANY);
}

int mproc_dict_insert(mproc_dict *dict, const void *key, size_t key_size, const void *lent,
                      size_t size) {
    return set_if(dict, key, key_size, lent, size, 0);
}

int mproc_dict_put(mproc_dict *dict, const void *key, size_t key_size,
                   const mproc_dict_value *value, uint64_t version) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    if (r == 0 && !mproc__go_along(value->buffers, value->nbuffers)) {
        r = MPROC_EOTHER;
    }
    if (r == 0 && value->n < 0) {
        r = -EINVAL;
    }
    return r == 0 ? mproc__dict_write(dict, &k, value, version) : r;
}

int mproc_dict_delete(mproc_dict *dict, const void *key, size_t key_size, uint64_t version) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    return r == 0 ? mproc__dict_remove(dict, &k, version) : r;
}

/* ---------------------------------------------------------------- two steps and a version */

/* -ESTALE: it has another value; otherwise *version is that of `old`. */
static int compare(mproc_dict *dict, const void *key, size_t key_size, const void *old,
                   size_t old_size, uint64_t *version) {
    char room[256];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_dict_get(dict, key, key_size, &message, version);
    if (r == 0) {
        bool same =
            message.size == old_size && (old_size == 0 || memcmp(message.data, old, old_size) == 0);
        bool more = mproc_message_object(&message, 0) != NULL; /* equal to no mere bytes */
        r = same && !more ? 0 : -ESTALE;
        mproc_message_drop(&message);
    }
    return r;
}

int mproc_dict_replace(mproc_dict *dict, const void *key, size_t key_size, const void *old,
                       size_t old_size, const void *lent, size_t size) {
    int r;
    do {
        uint64_t version;
        r = compare(dict, key, key_size, old, old_size, &version);
        if (r != 0) {
            return r;
        }
        r = set_if(dict, key, key_size, lent, size, version);
    } while (r == -ESTALE);
    return r;
}

static int pop_once(mproc_dict *dict, const struct mproc__dict_key *key, mproc_message *message) {
    struct mproc__dict_look look;
    mproc_message got = MPROC_MESSAGE_INIT(message->room, message->room_size);
    int r = mproc__dict_fetch(dict, key, &got, &look);
    if (r != 0) {
        return r;
    }
    r = mproc__dict_remove(dict, key, look.version);
    if (r == 0) {
        *message = got;
    } else {
        mproc_message_drop(&got);
    }
    return r == -ENOENT ? -ESTALE : r; /* somebody else was faster: is there a new one? */
}

int mproc_dict_pop(mproc_dict *dict, const void *key, size_t key_size, mproc_message *message) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    if (r == 0) {
        do {
            r = pop_once(dict, &k, message);
        } while (r == -ESTALE);
    }
    return r;
}

/* ---------------------------------------------------------------- the dict as a whole */

/* As any reader: a member that died may have counted what it has not done. */
static uint64_t count_in(const mproc_dict *dict, struct mproc__dict_shard *shard) {
    struct mproc__dict_window window = mproc__dict_window(shard, NULL);
    uint64_t n;
    do {
        mproc__dict_open(&window);
        n = mproc__dict_stale(dict, shard) ? 0 : mproc__peek64(&shard->count);
    } while (mproc__dict_close(&window, !mproc__dict_still(shard, window.version)));
    return n;
}

uint64_t mproc_dict_count(const mproc_dict *dict) {
    uint64_t n = 0;
    if (!mproc__expect(dict, MPROC__KIND_DICT)) {
        return 0;
    }
    for (int i = 0; i < MPROC__DICT_SHARDS; i++) {
        n += count_in(dict, (struct mproc__dict_shard *)(uintptr_t)&dict->shards[i]);
    }
    return n;
}

void mproc_dict_clear(mproc_dict *dict) {
    if (!mproc__expect(dict, MPROC__KIND_DICT)) {
        return;
    }
    struct mproc__hand *hand = mproc__hand_get();
    /* SYNC(dict.generation): the commit. */
    (void)mproc__add64(&dict->generation, 1);
    for (int i = 0; i < MPROC__DICT_SHARDS; i++) {
        mproc__dict_sweep(dict, &dict->shards[i], hand, false);
        mproc__dict_tell(dict, &dict->shards[i]);
    }
    mproc__hand_put(hand);
}
