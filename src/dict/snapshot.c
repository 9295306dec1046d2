/*
 * snapshot.c - a copy of a dict's entries, in their order
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The shards are scanned one after the other, and each entry is copied into private
 * memory; large values are lent by a hold each. Then the entries are sorted by rank. One that was
 * seen twice, or with its old value and with a new one, is there twice, and the first goes.
 *
 * What is found in a bucket is void when the look at it was in vain. Memory is never asked for
 * inside of a look, which may be in a section: a look that finds too little ends, and is begun
 * again when there is more.
 *
 * If a member dies here: its holds are given back as any.
 */
#include <stdlib.h>
#include <string.h>

#include "core/handle.h"
#include "core/parcel.h"
#include "dict/scan.h"

#define FIRST_ITEMS 64
#define FIRST_BYTES 8192

struct item {
    uint64_t rank;
    size_t at; /* in the bytes: the key, and a small value behind it */
    size_t key_size;
    size_t size;
    struct mproc__object *large; /* or NULL */
    uint64_t taken;              /* as in struct mproc__dict_look; until the hold is taken */
};

struct mproc_dict_snapshot {
    uint32_t kind; /* MPROC__HANDLE_SNAPSHOT */
    uint32_t values;
    struct item *items;
    size_t n, most;
    char *bytes;
    size_t used, room;
    /* Where the bucket that is looked at began. */
    size_t first_item, first_byte;
    size_t wanted; /* bytes that were missing; 0: none */
};

/* ---------------------------------------------------------------- looking */

static void begin(void *arg) {
    mproc_dict_snapshot *s = arg;
    s->n = s->first_item;
    s->used = s->first_byte;
    s->wanted = 0;
}

/* -ENOBUFS: `end` gets more memory. */
static int visit(void *arg, const struct mproc__dict_shard *shard, uint64_t version,
                 const struct mproc__dict_entry *e) {
    mproc_dict_snapshot *s = arg;
    struct item item = {e->rank,
                        s->used,
                        e->key_size,
                        e->size,
                        mproc__dict_entry_large(e),
                        mproc__peek64(&shard->taken)};
    const unsigned char *from = mproc__dict_entry_key(e);
    if (!mproc__dict_still(shard, version)) {
        return -EAGAIN;
    }
    size_t size = item.key_size + (item.large == NULL && s->values ? item.size : 0);
    if (s->n == s->most || size > s->room - s->used) {
        s->wanted = size + 1;
        return -ENOBUFS;
    }
    memcpy(s->bytes + s->used, from, size);
    s->items[s->n++] = item;
    s->used += size;
    return mproc__dict_still(shard, version) ? 0 : -EAGAIN;
}

static void *larger(void *old, size_t size, size_t *room, size_t least, size_t each) {
    size_t most = *room;
    while (most < size + least) {
        most *= 2;
    }
    void *p = most != *room ? realloc(old, most * each) : old;
    *room = p != NULL ? most : *room;
    return p;
}

static int grow(mproc_dict_snapshot *s) {
    void *items = larger(s->items, s->n, &s->most, 1, sizeof *s->items);
    s->items = items != NULL ? items : s->items;
    void *bytes = larger(s->bytes, s->used, &s->room, s->wanted, 1);
    s->bytes = bytes != NULL ? bytes : s->bytes;
    return items != NULL && bytes != NULL ? -EAGAIN : -ENOMEM;
}

static void drop_large(const mproc_dict_snapshot *s, size_t first, size_t end) {
    for (size_t i = first; s->values && i < end; i++) {
        (void)mproc_drop(s->items[i].large);
    }
}

/* Takes the holds on the bucket's large values. */
static int hold_large(mproc_dict_snapshot *s, struct mproc__dict_shard *shard) {
    for (size_t i = s->first_item; s->values && i < s->n; i++) {
        mproc_message unused;
        struct mproc__dict_look look = {.large = s->items[i].large, .taken = s->items[i].taken};
        int r = look.large != NULL ? mproc__dict_lend(shard, &look, &unused) : 0;
        if (r != 0) {
            drop_large(s, s->first_item, i);
            s->n = s->first_item;
            return r == -ESTALE ? -EAGAIN : r;
        }
    }
    return 0;
}

static int end(void *arg, struct mproc__dict_shard *shard) {
    mproc_dict_snapshot *s = arg;
    int r = s->wanted != 0 ? grow(s) : hold_large(s, shard);
    if (r == 0) {
        s->first_item = s->n;
        s->first_byte = s->used;
    }
    return r;
}

/* ---------------------------------------------------------------- putting in order */

/* Of one rank, what was seen later is behind. */
static int by_rank(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return x->at < y->at ? -1 : x->at > y->at;
}

static void put_in_order(mproc_dict_snapshot *s) {
    size_t kept = 0;
    qsort(s->items, s->n, sizeof *s->items, by_rank);
    for (size_t i = 0; i < s->n; i++) {
        if (i + 1 < s->n && s->items[i].rank == s->items[i + 1].rank) {
            drop_large(s, i, i + 1);
        } else {
            s->items[kept++] = s->items[i];
        }
    }
    s->n = kept;
}

/* ---------------------------------------------------------------- the handle */

static int take(mproc_dict_snapshot *s, mproc_dict *dict) {
    const struct mproc__dict_visitor visitor = {begin, visit, end, s};
    int r = 0;
    for (int i = 0; r == 0 && i < MPROC__DICT_SHARDS; i++) {
        r = mproc__dict_scan(dict, &dict->shards[i], &visitor);
    }
    if (r == 0) {
        put_in_order(s);
    } else {
        s->n = s->first_item; /* those of the bucket in between are not held */
    }
    return r;
}

int mproc_dict_snapshot_new(mproc_dict_snapshot **out, mproc_dict *dict, int values) {
    if (!mproc__expect(dict, MPROC__KIND_DICT)) {
        return MPROC_EOTHER;
    }
    mproc_dict_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->kind = MPROC__HANDLE_SNAPSHOT;
    s->values = values != 0;
    s->most = FIRST_ITEMS;
    s->room = FIRST_BYTES;
    s->items = malloc(s->most * sizeof *s->items);
    s->bytes = malloc(s->room);
    int r = s->items != NULL && s->bytes != NULL ? take(s, dict) : -ENOMEM;
    if (r == 0) {
        *out = s;
    } else {
        mproc_dict_snapshot_drop(s);
    }
    return r;
}

size_t mproc_dict_snapshot_count(const mproc_dict_snapshot *snapshot) {
    return mproc__expect_handle(snapshot, MPROC__HANDLE_SNAPSHOT) ? snapshot->n : 0;
}

int mproc_dict_snapshot_item(const mproc_dict_snapshot *snapshot, size_t i, mproc_dict_item *out) {
    if (!mproc__expect_handle(snapshot, MPROC__HANDLE_SNAPSHOT)) {
        return MPROC_EOTHER;
    }
    if (i >= snapshot->n) {
        return -EINVAL;
    }
    const struct item *item = &snapshot->items[i];
    char *key = snapshot->bytes + item->at;
    *out = (mproc_dict_item){.key = key, .key_size = item->key_size};
    if (snapshot->values) {
        void *data =
            item->large != NULL ? mproc__parcel_payload(item->large) : key + item->key_size;
        out->value = (mproc_message){NULL, 0, data, item->size, item->large};
    }
    return 0;
}

void mproc_dict_snapshot_drop(mproc_dict_snapshot *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_SNAPSHOT)) {
        return;
    }
    drop_large(owned, 0, owned->n);
    mproc__handle_wreck(owned);
    free(owned->items);
    free(owned->bytes);
    free(owned);
}
