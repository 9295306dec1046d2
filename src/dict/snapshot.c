/*
 * snapshot.c - a copy of a dict's entries, in their order
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The shards are scanned one after the other, and each entry is copied into private
 * memory; large values are lent by a hold each. Then the entries are sorted by rank. One that was
 * seen twice, or with its old value and with a new one, is there twice, and the first goes.
 *
 * What is found in buckets is void when the look at it was in vain. Memory is never asked for
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

#define MORE_ITEMS 64     /* for those that come while it is made */
#define BYTES_PER_ITEM 32 /* for a start */
#define AHEAD 8           /* items whose records are fetched into the cache before they are asked */
#define SHORT 64          /* bytes that are copied by words */
#define DIGIT_BITS                                                                                 \
    11 /* of a rank, that one pass of the sort looks at: the counts fit into a cache */

struct item {
    uint64_t rank;
    size_t at; /* its record, in the bytes; a multiple of 8 */
};

/* The key stands behind it, and then a small value; before it, of a large one, where that is. */
struct record {
    size_t size; /* of the value */
    uint32_t key_size;
    uint32_t is_large;
    char bytes[];
};

struct large {
    struct mproc__object *object;
    uint64_t taken; /* as in struct mproc__dict_look; until the hold is taken */
};

struct mproc_dict_snapshot {
    uint32_t kind; /* MPROC__HANDLE_SNAPSHOT */
    uint32_t values;
    struct item *items;
    size_t n, most;
    char *bytes;
    size_t used, room;
    /* Where the buckets that are looked at began. */
    size_t first_item, first_byte, first_large;
    size_t wanted; /* bytes that were missing; 0: none */
    size_t larges; /* items that have a large value, those of these buckets among them */
};

static struct record *record_of(const mproc_dict_snapshot *s, size_t i) {
    return (struct record *)(void *)(s->bytes + s->items[i].at);
}

static struct large *large_of(struct record *record) {
    return (struct large *)(void *)record - 1;
}

/* ---------------------------------------------------------------- looking */

static void begin(void *arg) {
    mproc_dict_snapshot *s = arg;
    s->n = s->first_item;
    s->used = s->first_byte;
    s->larges = s->first_large;
    s->wanted = 0;
}

/* Most entries are short: words are copied, up to the end of the block's last one. */
static void copy(char *to, const unsigned char *from, size_t size) {
    if (size > SHORT) {
        memcpy(to, from, size);
        return;
    }
    for (size_t i = 0; i < size; i += 8) {
        memcpy(to + i, from + i, 8);
    }
}

/* -ENOBUFS: `end` gets more memory. */
static int add(mproc_dict_snapshot *s, uint64_t rank, const struct record *record,
               const struct large *large, const unsigned char *from) {
    size_t before = record->is_large ? sizeof *large : 0;
    size_t size = record->key_size + (!record->is_large && s->values ? record->size : 0);
    size_t whole = (before + sizeof *record + size + 7) & ~(size_t)7;
    if (s->n == s->most || whole > s->room - s->used) {
        s->wanted = whole;
        return -ENOBUFS;
    }
    struct record *to = (struct record *)(void *)(s->bytes + s->used + before);
    *to = *record;
    copy(to->bytes, from, size);
    if (record->is_large) {
        *large_of(to) = *large;
        s->larges++;
    }
    s->items[s->n++] = (struct item){rank, s->used + before};
    s->used += whole;
    return 0;
}

static int visit(void *arg, const struct mproc__dict_shard *shard, uint64_t version,
                 const struct mproc__dict_entry *e) {
    const struct record record = {e->size, e->key_size, e->large};
    const struct large large = {mproc__dict_entry_large(e), mproc__peek64(&shard->taken)};
    const unsigned char *from = mproc__dict_entry_key(e);
    uint64_t rank = e->rank;
    if (!mproc__dict_still(shard, version)) {
        return -EAGAIN;
    }
    int r = add(arg, rank, &record, &large, from);
    return r != 0 || mproc__dict_still(shard, version) ? r : -EAGAIN;
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
    for (size_t i = first; s->values && s->larges != 0 && i < end; i++) {
        struct record *record = record_of(s, i);
        if (record->is_large) {
            (void)mproc_drop(large_of(record)->object);
        }
    }
}

/* Takes the holds on the large values of the buckets. */
static int hold_large(mproc_dict_snapshot *s, struct mproc__dict_shard *shard) {
    for (size_t i = s->first_item; s->values && i < s->n; i++) {
        mproc_message unused;
        struct record *record = record_of(s, i);
        if (!record->is_large) {
            continue;
        }
        struct mproc__dict_look look = {.large = large_of(record)->object,
                                        .taken = large_of(record)->taken};
        int r = mproc__dict_lend(shard, &look, &unused);
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
    int r = 0;
    if (s->wanted != 0) {
        r = grow(s);
    } else if (s->larges != s->first_large) {
        r = hold_large(s, shard);
    }
    if (r == 0) {
        s->first_item = s->n;
        s->first_byte = s->used;
        s->first_large = s->larges;
    }
    return r;
}

/* ---------------------------------------------------------------- putting in order */

/* The bits in which ranks, less the lowest one, may differ. */
static unsigned rank_bits(const mproc_dict_snapshot *s, uint64_t *lowest) {
    uint64_t low = UINT64_MAX, high = 0;
    for (size_t i = 0; i < s->n; i++) {
        uint64_t rank = s->items[i].rank;
        low = rank < low ? rank : low;
        high = rank > high ? rank : high;
    }
    *lowest = low;
    return s->n < 2 || low == high ? 0 : 64u - (unsigned)__builtin_clzll(high - low);
}

/* What one pass of the sort looks at: a digit of each rank. */
struct digit {
    uint64_t lowest;
    unsigned shift, bits;
};

static size_t digit_of(const struct digit *digit, const struct item *item) {
    return (item->rank - digit->lowest) >> digit->shift & ((UINT64_C(1) << digit->bits) - 1);
}

/* Deals the items out by a digit. Those of the same digit stay in the order that they were in. */
static void deal(const struct digit *digit, const struct item *from, struct item *to, size_t n) {
    size_t places[1 << DIGIT_BITS], sum = 0;
    memset(places, 0, sizeof *places << digit->bits);
    for (size_t i = 0; i < n; i++) {
        places[digit_of(digit, &from[i])]++;
    }
    for (size_t i = 0; i < (size_t)1 << digit->bits; i++) {
        size_t count = places[i];
        places[i] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) {
        to[places[digit_of(digit, &from[i])]++] = from[i];
    }
}

/* Sorts by rank without comparing: ranks are numbers, and mostly near to each other, so that one
 * or two passes do. Of one rank, what was seen later is behind. */
static int sort(mproc_dict_snapshot *s) {
    struct digit digit = {0, 0, 0};
    unsigned bits = rank_bits(s, &digit.lowest), passes = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
    struct item *other = passes != 0 ? calloc(s->most, sizeof *other) : NULL;
    if (passes != 0 && other == NULL) {
        return -ENOMEM;
    }
    for (unsigned left = passes; left != 0; left--) {
        struct item *sorted = other;
        digit.bits = (bits - digit.shift + left - 1) / left;
        deal(&digit, s->items, sorted, s->n);
        digit.shift += digit.bits;
        other = s->items;
        s->items = sorted;
    }
    free(other);
    return 0;
}

static int put_in_order(mproc_dict_snapshot *s) {
    size_t kept = 0;
    int r = sort(s);
    for (size_t i = 0; r == 0 && i < s->n; i++) {
        if (i + 1 < s->n && s->items[i].rank == s->items[i + 1].rank) {
            drop_large(s, i, i + 1);
        } else if (kept++ != i) {
            s->items[kept - 1] = s->items[i];
        }
    }
    s->n = r == 0 ? kept : s->n;
    return r;
}

/* ---------------------------------------------------------------- the handle */

static int take(mproc_dict_snapshot *s, mproc_dict *dict) {
    const struct mproc__dict_visitor visitor = {begin, visit, end, s};
    int r = 0;
    for (int i = 0; r == 0 && i < MPROC__DICT_SHARDS; i++) {
        r = mproc__dict_scan(dict, &dict->shards[i], &visitor);
    }
    if (r != 0) {
        s->n = s->first_item; /* those of the buckets in between are not held */
        return r;
    }
    return put_in_order(s);
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
    s->most = mproc_dict_count(dict) + MORE_ITEMS;
    s->room = s->most * BYTES_PER_ITEM;
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
    if (i + AHEAD < snapshot->n) {
        __builtin_prefetch(record_of(snapshot, i + AHEAD));
    }
    struct record *record = record_of(snapshot, i);
    struct mproc__object *large = record->is_large ? large_of(record)->object : NULL;
    *out = (mproc_dict_item){.key = record->bytes, .key_size = record->key_size};
    if (snapshot->values) {
        void *data =
            large != NULL ? mproc__parcel_payload(large) : record->bytes + record->key_size;
        out->value = (mproc_message){NULL, 0, data, record->size, large};
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
