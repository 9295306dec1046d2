/*
 * errors_list.c - errors of lists
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "errors.h"

#include <sys/uio.h>

#define HUGE ((size_t)1 << 60)

static char bytes[100000];
static mproc_message message;
static mproc_list_snapshot *snapshot;
static uint64_t order[2] = {0, 0};

/* Three elements, of 8,000 bytes. */
static mproc_list *filled(void) {
    mproc_list *list = made_list();
    for (int i = 0; i < 3; i++) {
        CHECK_OK(mproc_list_append(list, bytes, 8000));
    }
    return list;
}

static mproc_list *starved(void) {
    begin_small();
    mproc_list *list = filled();
    fill_arena();
    return list;
}

static mproc_list_value *value(size_t size, int n) {
    static struct iovec piece;
    static mproc_list_value made;
    piece = (struct iovec){bytes, size};
    made = (mproc_list_value){.pieces = &piece, .n = n};
    return &made;
}

PROVOKE(mproc_list_new, -ENOMEM) {
    mproc_list *list;
    begin_small();
    fill_arena();
    return mproc_list_new(&list);
}

PROVOKE(mproc_list_get, -ERANGE) {
    return mproc_list_get(made_list(), 0, &message, NULL);
}

PROVOKE(mproc_list_get, -ENOMEM) {
    return mproc_list_get(starved(), 0, &message, NULL);
}

PROVOKE(mproc_list_set, -ERANGE) {
    return mproc_list_set(made_list(), 0, bytes, 1);
}

PROVOKE(mproc_list_set, -ENOMEM) {
    return mproc_list_set(starved(), 0, bytes, 7000);
}

PROVOKE(mproc_list_set, MPROC_ETOOBIG) {
    return mproc_list_set(filled(), 0, bytes, HUGE);
}

PROVOKE(mproc_list_put, -ESTALE) {
    return mproc_list_put(filled(), 0, value(1, 1), 12345);
}

PROVOKE(mproc_list_put, -ERANGE) {
    return mproc_list_put(made_list(), 0, value(1, 1), MPROC_LIST_ANY);
}

PROVOKE(mproc_list_put, -ENOMEM) {
    return mproc_list_put(starved(), 0, value(9000, 1), MPROC_LIST_ANY);
}

PROVOKE(mproc_list_put, MPROC_ETOOBIG) {
    return mproc_list_put(filled(), 0, value(HUGE, 1), MPROC_LIST_ANY);
}

PROVOKE(mproc_list_put, -EINVAL) {
    return mproc_list_put(filled(), 0, value(1, -1), MPROC_LIST_ANY);
}

PROVOKE(mproc_list_append, -ENOMEM) {
    return mproc_list_append(starved(), bytes, 7000);
}

PROVOKE(mproc_list_append, MPROC_ETOOBIG) {
    return mproc_list_append(made_list(), bytes, HUGE);
}

PROVOKE(mproc_list_insert, -ENOMEM) {
    return mproc_list_insert(starved(), 1, bytes, 7000);
}

PROVOKE(mproc_list_insert, MPROC_ETOOBIG) {
    return mproc_list_insert(made_list(), 0, bytes, HUGE);
}

PROVOKE(mproc_list_insert_value, -ENOMEM) {
    return mproc_list_insert_value(starved(), 0, value(7000, 1));
}

PROVOKE(mproc_list_insert_value, MPROC_ETOOBIG) {
    return mproc_list_insert_value(made_list(), 0, value(HUGE, 1));
}

PROVOKE(mproc_list_insert_value, -EINVAL) {
    return mproc_list_insert_value(made_list(), 0, value(1, -1));
}

PROVOKE(mproc_list_extend, -ENOMEM) {
    return mproc_list_extend(starved(), value(7000, 1), 1);
}

PROVOKE(mproc_list_extend, MPROC_ETOOBIG) {
    return mproc_list_extend(made_list(), value(HUGE, 1), 1);
}

PROVOKE(mproc_list_extend, -EINVAL) {
    return mproc_list_extend(made_list(), value(1, -1), 1);
}

PROVOKE(mproc_list_delete, -ERANGE) {
    return mproc_list_delete(made_list(), 0, MPROC_LIST_ANY);
}

PROVOKE(mproc_list_delete, -ESTALE) {
    return mproc_list_delete(filled(), 0, 12345);
}

PROVOKE(mproc_list_delete, -ENOMEM) {
    return mproc_list_delete(starved(), 1, MPROC_LIST_ANY);
}

PROVOKE(mproc_list_pop, -ERANGE) {
    return mproc_list_pop(made_list(), 0, &message);
}

PROVOKE(mproc_list_pop, -ENOMEM) {
    return mproc_list_pop(starved(), 0, &message);
}

PROVOKE(mproc_list_assign, -ERANGE) {
    return mproc_list_assign(filled(), 0, 3, 2, value(1, 1), 1);
}

PROVOKE(mproc_list_assign, -EINVAL) {
    return mproc_list_assign(filled(), 0, 3, 0, value(1, 1), 1);
}

PROVOKE(mproc_list_assign, -ENOMEM) {
    return mproc_list_assign(starved(), 0, 1, 1, value(7000, 1), 1);
}

PROVOKE(mproc_list_assign, MPROC_ETOOBIG) {
    return mproc_list_assign(filled(), 0, 1, 1, value(HUGE, 1), 1);
}

PROVOKE(mproc_list_cut, -EINVAL) {
    return mproc_list_cut(filled(), 0, 1, 0);
}

PROVOKE(mproc_list_cut, -ENOMEM) {
    return mproc_list_cut(starved(), 0, 1, 1);
}

PROVOKE(mproc_list_swap, -ERANGE) {
    return mproc_list_swap(filled(), 0, 3);
}

PROVOKE(mproc_list_reverse, -ENOMEM) {
    return mproc_list_reverse(starved());
}

PROVOKE(mproc_list_arrange, -ESTALE) {
    return mproc_list_arrange(filled(), order, 1, MPROC_LIST_ANY);
}

PROVOKE(mproc_list_arrange, -EINVAL) {
    return mproc_list_arrange(filled(), order, 2, MPROC_LIST_ANY);
}

PROVOKE(mproc_list_arrange, -ENOMEM) {
    return mproc_list_arrange(starved(), order, 1, MPROC_LIST_ANY);
}

PROVOKE(mproc_list_find, -ENOENT) {
    return mproc_list_find(filled(), "x", 1, 0, INT64_MAX, &order[1]);
}

PROVOKE(mproc_list_clear, -ENOMEM) {
    return mproc_list_clear(starved());
}

PROVOKE(mproc_list_snapshot_new, -EINVAL) {
    return mproc_list_snapshot_new(&snapshot, filled(), 0, 1, 0);
}

PROVOKE(mproc_list_snapshot_item, -EINVAL) {
    CHECK_OK(mproc_list_snapshot_new(&snapshot, filled(), 0, INT64_MAX, 1));
    return mproc_list_snapshot_item(snapshot, 3, &message);
}

PROVOKE(mproc_list_snapshot_new, -ENOMEM) {
    mproc_list *list = filled();
    no_malloc();
    return mproc_list_snapshot_new(&snapshot, list, 0, 1, 1);
}

PROVOKE(mproc_list_check, MPROC_ECORRUPT) {
    return mproc_list_check((mproc_list *)(void *)made_lock(0), NULL, 0);
}
