/*
 * snapshot.c - a copy of a list's elements, all of one moment
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The elements are copied into private memory in one section; large values are lent,
 * by holds that are taken after it. Memory is never asked for in a section: a look that finds too
 * little says how much there should be, and there is another look. So is there if a large value has
 * gone before it was held.
 *
 * If a member dies here: its holds are given back as any.
 */
#include <stdlib.h>

#include "core/handle.h"
#include "core/parcel.h"
#include "list/slice.h"

struct item {
    size_t at; /* in the bytes */
    size_t size;
    struct mproc__object *large; /* or NULL */
};

struct mproc_list_snapshot {
    uint32_t kind; /* MPROC__HANDLE_LIST_SNAPSHOT */
    struct item *items;
    size_t n, most;
    char *bytes;
    size_t used, room;
    uint64_t version; /* of the list, at that moment */
    uint64_t taken;
};

/* ---------------------------------------------------------------- looking */

static uint64_t index_of(const struct mproc__list_range *range, uint64_t i) {
    return range->start + i * (uint64_t)range->step;
}

static size_t bytes_of(const mproc_list *list, const struct mproc__list_range *range) {
    size_t sum = 0;
    for (uint64_t i = 0; i < range->count; i++) {
        const struct mproc__list_item *item = mproc__list_item(&list->body, index_of(range, i));
        sum += mproc__list_item_large(item) ? 0 : mproc__list_item_size(item);
    }
    return sum;
}

static void copy_item(mproc_list_snapshot *s, const struct mproc__list_item *item) {
    struct item *to = &s->items[s->n++];
    *to = (struct item){s->used, mproc__list_item_size(item), NULL};
    if (mproc__list_item_large(item)) {
        to->large = (struct mproc__object *)(uintptr_t)*mproc__list_item_word(item);
    } else if (to->size != 0) {
        memcpy(s->bytes + s->used, item->bytes, to->size);
        s->used += to->size;
    }
}

/* In the section. False: s->n and s->used are what there has to be room for. */
static bool look(mproc_list_snapshot *s, const mproc_list *list, const int64_t bounds[3]) {
    struct mproc__list_range range =
        mproc__list_range(bounds[0], bounds[1], bounds[2], list->body.count);
    size_t bytes = bytes_of(list, &range);
    s->n = range.count;
    s->used = bytes;
    if (range.count > s->most || bytes > s->room) {
        return false;
    }
    s->n = s->used = 0;
    for (uint64_t i = 0; i < range.count; i++) {
        copy_item(s, mproc__list_item(&list->body, index_of(&range, i)));
    }
    s->version = list->version;
    s->taken = list->taken;
    return true;
}

static int grow(mproc_list_snapshot *s) {
    s->most = s->n + s->n / 8;
    s->room = s->used + s->used / 8;
    free(s->items);
    free(s->bytes);
    s->items = malloc((s->most + 1) * sizeof *s->items);
    s->bytes = malloc(s->room + 1);
    s->n = 0;
    return s->items != NULL && s->bytes != NULL ? 0 : -ENOMEM;
}

static void drop_large(const mproc_list_snapshot *s, size_t end) {
    for (size_t i = 0; i < end; i++) {
        (void)mproc_drop(s->items[i].large);
    }
}

static int hold_large(mproc_list_snapshot *s, const mproc_list *list, struct mproc__hand *hand) {
    for (size_t i = 0; i < s->n; i++) {
        struct mproc__object *large = s->items[i].large;
        int r = large != NULL ? mproc__list_lend(list, hand, s->taken, large) : 0;
        if (r != 0) {
            drop_large(s, i);
            s->n = 0;
            return r;
        }
    }
    return 0;
}

static int take(mproc_list_snapshot *s, mproc_list *list, const int64_t bounds[3]) {
    struct mproc__hand *hand = mproc__hand_get();
    int r;
    do {
        mproc__list_enter(list, hand);
        bool whole = look(s, list, bounds);
        mproc__list_leave(list, hand);
        r = whole ? hold_large(s, list, hand) : grow(s);
        r = r == 0 && !whole ? -ESTALE : r;
    } while (r == -ESTALE);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- the handle */

int mproc_list_snapshot_new(mproc_list_snapshot **out, mproc_list *list, int64_t start,
                            int64_t stop, int64_t step) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    if (step == 0) {
        return -EINVAL;
    }
    mproc_list_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->kind = MPROC__HANDLE_LIST_SNAPSHOT;
    int r = take(s, list, (int64_t[]){start, stop, step});
    if (r == 0) {
        *out = s;
    } else {
        mproc_list_snapshot_drop(s);
    }
    return r;
}

size_t mproc_list_snapshot_count(const mproc_list_snapshot *snapshot) {
    return mproc__expect_handle(snapshot, MPROC__HANDLE_LIST_SNAPSHOT) ? snapshot->n : 0;
}

uint64_t mproc_list_snapshot_version(const mproc_list_snapshot *snapshot) {
    return mproc__expect_handle(snapshot, MPROC__HANDLE_LIST_SNAPSHOT) ? snapshot->version : 0;
}

int mproc_list_snapshot_item(const mproc_list_snapshot *snapshot, size_t i, mproc_message *out) {
    if (!mproc__expect_handle(snapshot, MPROC__HANDLE_LIST_SNAPSHOT)) {
        return MPROC_EOTHER;
    }
    if (i >= snapshot->n) {
        return -EINVAL;
    }
    const struct item *item = &snapshot->items[i];
    void *data =
        item->large != NULL ? mproc__parcel_payload(item->large) : snapshot->bytes + item->at;
    *out = (mproc_message){NULL, 0, data, item->size, item->large};
    return 0;
}

void mproc_list_snapshot_drop(mproc_list_snapshot *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_LIST_SNAPSHOT)) {
        return;
    }
    drop_large(owned, owned->n);
    mproc__handle_wreck(owned);
    free(owned->items);
    free(owned->bytes);
    free(owned);
}

/* ---------------------------------------------------------------- searching */

static bool is_equal(const struct mproc__list_item *item, const void *bytes, size_t size) {
    if (mproc__list_item_size(item) != size) {
        return false;
    }
    const void *data = item->bytes;
    if (mproc__list_item_large(item)) {
        struct mproc__object *large =
            (struct mproc__object *)(uintptr_t)*mproc__list_item_word(item);
        if (mproc__parcel_object(large, 0) != NULL) {
            return false; /* with objects it equals no mere bytes */
        }
        data = mproc__parcel_payload(large);
    }
    return size == 0 || memcmp(data, bytes, size) == 0;
}

int mproc_list_find(mproc_list *list, const void *bytes, size_t size, int64_t start, int64_t stop,
                    uint64_t *out) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = -ENOENT;
    mproc__list_enter(list, hand);
    struct mproc__list_range range = mproc__list_range(start, stop, 1, list->body.count);
    for (uint64_t i = 0; r != 0 && i < range.count; i++) {
        if (is_equal(mproc__list_item(&list->body, range.start + i), bytes, size)) {
            *out = range.start + i;
            r = 0;
        }
    }
    mproc__list_leave(list, hand);
    mproc__hand_put(hand);
    return r;
}
