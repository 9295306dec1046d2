/*
 * check.c - the invariants of a list
 *
 * SPDX-License-Identifier: MIT
 *
 * They stand in slots.c. A list is checked in one section: a check is for tests.
 */
#include "core/heap.h"
#include "core/parcel.h"
#include "list/inside.h"

static int check_body(const mproc_list *list, char *why, size_t size) {
    const struct mproc__list_body *b = &list->body;
    uint64_t slots = b->chunks * MPROC__LIST_CHUNK;
    const uint64_t *directory = (const uint64_t *)(uintptr_t)b->directory;
    if ((b->chunks & (b->chunks - 1)) != 0 || (b->chunks == 0) != (directory == NULL) ||
        (directory != NULL && (!mproc__heap_has(directory) ||
                               mproc__heap_size(directory) < b->chunks * sizeof(uint64_t)))) {
        return mproc__corrupt(why, size, "E1: %llu chunks", (unsigned long long)b->chunks);
    }
    if ((b->chunks != 0 && b->first >= slots) || b->first % MPROC__LIST_CHUNK + b->count > slots) {
        return mproc__corrupt(why, size, "E2: %llu elements from slot %llu on",
                              (unsigned long long)b->count, (unsigned long long)b->first);
    }
    for (uint64_t i = 0; i < b->count; i++) {
        uint64_t place = ((b->first + i) & (slots - 1)) / MPROC__LIST_CHUNK;
        if (directory == NULL || !mproc__heap_has((const void *)(uintptr_t)directory[place])) {
            return mproc__corrupt(why, size, "E2: no chunk for element %llu",
                                  (unsigned long long)i);
        }
    }
    return 0;
}

static int check_item(const mproc_list *list, uint64_t i, char *why, size_t size) {
    const struct mproc__list_item *item = mproc__list_item(&list->body, i);
    if (!mproc__heap_has(item) || item->serial == 0 || item->serial > list->serial ||
        (!mproc__list_item_large(item) &&
         mproc__list_item_size(item) + sizeof *item > mproc__heap_size(item))) {
        return mproc__corrupt(why, size, "E3: element %llu at %p", (unsigned long long)i,
                              (const void *)item);
    }
    for (uint64_t j = i + 1; j < list->body.count && j < i + 64; j++) {
        if (mproc__list_item(&list->body, j)->serial == item->serial) {
            return mproc__corrupt(why, size, "E3: elements %llu and %llu are one",
                                  (unsigned long long)i, (unsigned long long)j);
        }
    }
    if (!mproc__list_item_large(item)) {
        return 0;
    }
    const struct mproc__object *o =
        (const struct mproc__object *)(uintptr_t)*mproc__list_item_word(item);
    if (!(mproc__object_is(o, MPROC__KIND_MESSAGE) || mproc__object_is(o, MPROC__KIND_PARCEL)) ||
        o->first.object != (uint64_t)(uintptr_t)o || o->first.token != MPROC__TOKEN_OF_MESSAGES) {
        return mproc__corrupt(why, size, "E4: %p is no large value", (const void *)o);
    }
    return mproc__parcel_check(o, why, size);
}

static int check(const mproc_list *list, char *why, size_t size) {
    int r = check_body(list, why, size);
    for (uint64_t i = 0; r == 0 && i < list->body.count; i++) {
        r = check_item(list, i, why, size);
    }
    if (r == 0 && (list->plan != 0 || list->version & 1)) {
        r = mproc__corrupt(why, size, "E5: version %llu, and a plan at %llx",
                           (unsigned long long)list->version, (unsigned long long)list->plan);
    }
    return r;
}

int mproc_list_check(mproc_list *list, char *why, size_t size) {
    if (!mproc__object_is(list, MPROC__KIND_LIST)) {
        return mproc__corrupt(why, size, "E: %p is no list", (void *)list);
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__list_enter(list, hand);
    int r = check(list, why, size);
    mproc__list_leave(list, hand);
    mproc__hand_put(hand);
    return r;
}
