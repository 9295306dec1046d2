/*
 * write.c - one entry is set, inserted, added to or taken out
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A change is one section of the key's shard. What it needs is in the hand before: a
 * block for the entry, and the object of a large value with all its bytes. A small value is copied
 * into the entry in the section. A replaced entry stays with the shard as its spare, and the next
 * one of about that size is written into it. So values that are replaced again and again cost no
 * allocation, and no section but their own.
 *
 * If a member dies here: the entry's block and the large value are in its hand until the section is
 * committed, and what it took out is in its hand afterwards. The bytes of a spare are nobody's.
 */
#include "dict/write.h"

#include <string.h>

#include "core/heap.h"
#include "core/parcel.h"
#include "dict/number.h"
#include "system/pieces.h"

#define SPARE_MOST 1024 /* bytes of an entry that is kept for the next one */

/* What is to be written. */
struct change {
    const struct mproc__dict_key *key;
    const struct iovec *pieces;
    int n;
    size_t size; /* of the value */
    bool large;  /* the value is in hand->unheld */
    uint64_t wanted;
    /* For add(): the number, and the value that comes of it. */
    const int64_t *delta;
    int64_t number;
    unsigned char bytes[MPROC__NUMBER_MOST];
    struct iovec piece;
};

static void set(struct mproc__dict_shard *shard, uint64_t *word, uint64_t value) {
    mproc__dict_put_word(shard, word, value);
}

/* ---------------------------------------------------------------- judging */

static int judge_version(const struct mproc__dict_entry *old, uint64_t wanted) {
    uint64_t version = old != NULL ? old->version : 0;
    if (wanted == MPROC_DICT_ANY || wanted == version) {
        return 0;
    }
    return wanted == 0 ? -EEXIST : -ESTALE;
}

/* The value is the sum, the absent one counts as 0. */
static int judge_number(const struct mproc__dict_entry *old, struct change *change) {
    change->number = 0;
    if (old != NULL && (old->large || !mproc__number_read(mproc__dict_entry_value(old), old->size,
                                                          &change->number))) {
        return -EINVAL;
    }
    if (__builtin_add_overflow(change->number, *change->delta, &change->number)) {
        return -EOVERFLOW;
    }
    change->size = mproc__number_write(change->bytes, change->number);
    change->piece = (struct iovec){change->bytes, change->size};
    return 0;
}

static int judge(const struct mproc__dict_entry *old, struct change *change) {
    return change->delta != NULL ? judge_number(old, change) : judge_version(old, change->wanted);
}

/* ---------------------------------------------------------------- an entry's block */

static size_t size_of(const struct change *change) {
    return sizeof(struct mproc__dict_entry) + change->key->size +
           (change->large           ? sizeof(uint64_t)
            : change->delta != NULL ? MPROC__NUMBER_MOST
                                    : change->size);
}

static bool suits(uint64_t spare, size_t need) {
    if (spare == 0) {
        return false;
    }
    size_t size = mproc__heap_size(mproc__dict_entry_at(spare));
    return need <= size && size <= need + need / 4 + 16;
}

/* The word that gives a block for the entry away: the hand's, or the shard's spare one. NULL: there
 * is none. */
static uint64_t *source(struct mproc__dict_shard *shard, struct mproc__hand *hand,
                        const struct change *change) {
    if (hand->block != 0) {
        return &hand->block;
    }
    return suits(shard->spare, size_of(change)) ? &shard->spare : NULL;
}

static void compose(struct mproc__dict_entry *e, const struct change *change,
                    const struct mproc__hand *hand) {
    unsigned char *to = e->bytes;
    e->size = change->size;
    e->hash = (uint32_t)change->key->hash;
    e->key_size = (uint16_t)change->key->size;
    e->large = change->large;
    if (change->large) {
        memcpy(to, &hand->unheld, sizeof hand->unheld);
        to += sizeof hand->unheld;
    }
    if (change->key->size != 0) {
        memcpy(to, change->key->data, change->key->size);
        to += change->key->size;
    }
    for (int i = 0; !change->large && i < change->n; i++) {
        if (change->pieces[i].iov_len != 0) {
            memcpy(to, change->pieces[i].iov_base, change->pieces[i].iov_len);
            to += change->pieces[i].iov_len;
        }
    }
}

/* ---------------------------------------------------------------- the section */

/* The entry that was replaced goes where the new one's block came from, so that the next one finds
 * it, or into the hand, if it is too large to be kept. */
static void put_away(struct mproc__dict_shard *shard, struct mproc__hand *hand, uint64_t *from,
                     uint64_t old) {
    bool keep = old != 0 && mproc__heap_size(mproc__dict_entry_at(old)) <= SPARE_MOST;
    if (from == &shard->spare) {
        set(shard, &shard->spare, keep ? old : 0);
        if (old != 0 && !keep) {
            set(shard, &hand->block, old);
        }
    } else if (keep && shard->spare == 0) {
        set(shard, &shard->spare, old);
        set(shard, &hand->block, 0);
    } else {
        set(shard, &hand->block, old);
    }
}

static void count_new(mproc_dict *dict, struct mproc__dict_shard *shard,
                      struct mproc__dict_entry *e) {
    e->rank = mproc__add64(&dict->next_rank, 1);
    set(shard, &shard->newest, e->rank);
    set(shard, &shard->count, shard->count + 1);
    mproc__dict_split(shard);
}

static void link_entry(mproc_dict *dict, struct mproc__dict_shard *shard, struct mproc__hand *hand,
                       const struct change *change, uint64_t *link, uint64_t *from) {
    uint64_t old = *link, block = *from;
    struct mproc__dict_entry *e = mproc__dict_entry_at(block);
    uint64_t version = mproc__dict_begin(shard);
    compose(e, change, hand);
    e->version = version;
    e->next = old != 0 ? mproc__dict_entry_at(old)->next : 0;
    put_away(shard, hand, from, old);
    if (change->large) {
        set(shard, &hand->unheld, 0);
    }
    if (old != 0) {
        e->rank = mproc__dict_entry_at(old)->rank;
        mproc__dict_unlink(shard, hand, link, block);
    } else {
        set(shard, link, block);
        count_new(dict, shard, e);
    }
    mproc__dict_publish(shard);
}

/* -EAGAIN: there has to be a block in the hand; -EBUSY: the shard has to be swept. */
static int try_write(mproc_dict *dict, struct mproc__dict_shard *shard, struct mproc__hand *hand,
                     struct change *change) {
    if (mproc__dict_stale(dict, shard)) {
        return -EBUSY;
    }
    uint64_t *link = mproc__dict_find(shard, change->key);
    int r = judge(mproc__dict_entry_at(*link), change);
    if (r != 0) {
        return r;
    }
    uint64_t *from = source(shard, hand, change);
    if (from == NULL) {
        return -EAGAIN;
    }
    link_entry(dict, shard, hand, change, link, from);
    return 0;
}

static int write_in(mproc_dict *dict, struct mproc__hand *hand, struct change *change) {
    struct mproc__dict_shard *shard = mproc__dict_shard_of(dict, change->key);
    int r;
    do {
        mproc__dict_enter(shard, hand);
        r = try_write(dict, shard, hand, change);
        mproc__dict_leave(shard, hand);
        if (r == -EBUSY) {
            mproc__dict_discard(hand);
            mproc__dict_sweep(dict, shard, hand, false);
        }
        if (r == -EAGAIN) {
            int e = mproc__heap_alloc(hand, size_of(change), &hand->block);
            r = e != 0 ? e : r;
        }
    } while (r == -EAGAIN || r == -EBUSY);
    mproc__dict_discard(hand);
    if (r == 0) {
        mproc__dict_extend(shard, hand);
        mproc__dict_tell(dict, shard);
    }
    return r;
}

/* ---------------------------------------------------------------- writing */

/* Makes the object of a large value, in hand->unheld. */
static int make_large(struct mproc__hand *hand, const mproc_dict_value *value, size_t size) {
    if (!mproc__heap_can_have(size + mproc__parcel_head(value->nbuffers))) {
        return MPROC_ETOOBIG;
    }
    int r = mproc__parcel_make(hand, value->buffers, value->nbuffers, size);
    if (r != 0) {
        return r;
    }
    struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->unheld;
    char *to = mproc__parcel_payload(object);
    for (int i = 0; i < value->n; i++) {
        if (value->pieces[i].iov_len != 0) {
            memcpy(to, value->pieces[i].iov_base, value->pieces[i].iov_len);
            to += value->pieces[i].iov_len;
        }
    }
    mproc__object_keep(object);
    return 0;
}

int mproc__dict_write(mproc_dict *dict, const struct mproc__dict_key *key,
                      const mproc_dict_value *value, uint64_t version) {
    struct change change = {.key = key,
                            .pieces = value->pieces,
                            .n = value->n,
                            .size = mproc__pieces_size(value->pieces, value->n),
                            .wanted = version};
    change.large = change.size > MPROC_MESSAGE_INLINE || value->nbuffers != 0;
    if (change.size > SIZE_MAX / 2) {
        return MPROC_ETOOBIG;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = change.large ? make_large(hand, value, change.size) : 0;
    if (r == 0) {
        r = write_in(dict, hand, &change);
        mproc__object_destroy(hand, &hand->unheld);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_dict_add(mproc_dict *dict, const void *key, size_t size, int64_t n, int64_t *sum) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, size, &k);
    if (r != 0) {
        return r;
    }
    struct change change = {.key = &k, .n = 1, .delta = &n};
    change.pieces = &change.piece;
    struct mproc__hand *hand = mproc__hand_get();
    r = write_in(dict, hand, &change);
    mproc__hand_put(hand);
    if (r == 0 && sum != NULL) {
        *sum = change.number;
    }
    return r;
}

int mproc_dict_number(const void *data, size_t size, int64_t *out) {
    return mproc__number_read(data, size, out) ? 0 : -EINVAL;
}

/* ---------------------------------------------------------------- taking out */

static int try_remove(mproc_dict *dict, struct mproc__dict_shard *shard, struct mproc__hand *hand,
                      const struct mproc__dict_key *key, uint64_t wanted) {
    if (mproc__dict_stale(dict, shard)) {
        return -ENOENT;
    }
    uint64_t *link = mproc__dict_find(shard, key), old = *link;
    if (old == 0) {
        return -ENOENT;
    }
    int r = judge_version(mproc__dict_entry_at(old), wanted);
    if (r == 0) {
        (void)mproc__dict_begin(shard);
        mproc__dict_unlink(shard, hand, link, mproc__dict_entry_at(old)->next);
        set(shard, &hand->block, old);
        set(shard, &shard->count, shard->count - 1);
        mproc__dict_merge(shard);
        mproc__dict_publish(shard);
    }
    return r;
}

int mproc__dict_remove(mproc_dict *dict, const struct mproc__dict_key *key, uint64_t version) {
    struct mproc__dict_shard *shard = mproc__dict_shard_of(dict, key);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__dict_enter(shard, hand);
    int r = try_remove(dict, shard, hand, key, version);
    mproc__dict_leave(shard, hand);
    mproc__dict_discard(hand);
    if (r == 0) {
        mproc__dict_trim(shard, hand);
        mproc__dict_tell(dict, shard);
    }
    mproc__hand_put(hand);
    return r;
}
