/*
 * errors_dict.c - errors of dicts
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "errors.h"

#include <sys/uio.h>

#define TOO_LONG (MPROC_DICT_KEY_MAX + 1)

static char bytes[100000];
static mproc_message message;
static mproc_dict_snapshot *snapshot;

/* "k" is there, with 8,000 bytes. */
static mproc_dict *filled(void) {
    mproc_dict *dict = made_dict();
    CHECK_OK(mproc_dict_set(dict, "k", 1, bytes, 8000));
    return dict;
}

static mproc_dict *starved(void) {
    begin_small();
    mproc_dict *dict = filled();
    fill_arena();
    return dict;
}

static int set(mproc_dict *dict, size_t key_size, size_t size) {
    return mproc_dict_set(dict, bytes, key_size, bytes, size);
}

static int put(mproc_dict *dict, size_t key_size, int n, uint64_t version) {
    struct iovec piece = {bytes, sizeof bytes};
    const mproc_dict_value value = {.pieces = &piece, .n = n};
    return mproc_dict_put(dict, key_size == 1 ? "k" : bytes, key_size, &value, version);
}

PROVOKE(mproc_dict_new, -ENOMEM) {
    mproc_dict *dict;
    begin_small();
    fill_arena();
    return mproc_dict_new(&dict);
}

PROVOKE(mproc_dict_get, -ENOENT) {
    return mproc_dict_get(made_dict(), "k", 1, &message, NULL);
}

PROVOKE(mproc_dict_get, -ENOMEM) {
    return mproc_dict_get(starved(), "k", 1, &message, NULL);
}

PROVOKE(mproc_dict_get, MPROC_ETOOBIG) {
    return mproc_dict_get(made_dict(), bytes, TOO_LONG, &message, NULL);
}

PROVOKE(mproc_dict_set, -ENOMEM) {
    return set(starved(), 10, 7000);
}

PROVOKE(mproc_dict_set, MPROC_ETOOBIG) {
    return set(made_dict(), TOO_LONG, 1);
}

PROVOKE(mproc_dict_insert, -EEXIST) {
    return mproc_dict_insert(filled(), "k", 1, bytes, 1);
}

PROVOKE(mproc_dict_insert, -ENOMEM) {
    return mproc_dict_insert(starved(), "l", 1, bytes, 7000);
}

PROVOKE(mproc_dict_insert, MPROC_ETOOBIG) {
    return mproc_dict_insert(made_dict(), "k", 1, bytes, (size_t)1 << 60);
}

PROVOKE(mproc_dict_replace, -ESTALE) {
    return mproc_dict_replace(filled(), "k", 1, "x", 1, "y", 1);
}

PROVOKE(mproc_dict_replace, -ENOENT) {
    return mproc_dict_replace(made_dict(), "k", 1, "x", 1, "y", 1);
}

PROVOKE(mproc_dict_replace, -ENOMEM) {
    begin_small();
    mproc_dict *dict = made_dict();
    CHECK_OK(mproc_dict_set(dict, "k", 1, "x", 1));
    fill_arena();
    return mproc_dict_replace(dict, "k", 1, "x", 1, bytes, 7000);
}

PROVOKE(mproc_dict_replace, MPROC_ETOOBIG) {
    return mproc_dict_replace(made_dict(), bytes, TOO_LONG, "x", 1, "y", 1);
}

PROVOKE(mproc_dict_put, -EEXIST) {
    return put(filled(), 1, 1, 0);
}

PROVOKE(mproc_dict_put, -ESTALE) {
    return put(filled(), 1, 1, 12345);
}

PROVOKE(mproc_dict_put, -ENOMEM) {
    return put(starved(), 1, 1, MPROC_DICT_ANY);
}

PROVOKE(mproc_dict_put, MPROC_ETOOBIG) {
    return put(made_dict(), TOO_LONG, 1, MPROC_DICT_ANY);
}

PROVOKE(mproc_dict_put, -EINVAL) {
    return put(made_dict(), 1, -1, MPROC_DICT_ANY);
}

PROVOKE(mproc_dict_delete, -ENOENT) {
    return mproc_dict_delete(made_dict(), "k", 1, MPROC_DICT_ANY);
}

PROVOKE(mproc_dict_delete, -ESTALE) {
    return mproc_dict_delete(filled(), "k", 1, 12345);
}

PROVOKE(mproc_dict_delete, MPROC_ETOOBIG) {
    return mproc_dict_delete(made_dict(), bytes, TOO_LONG, MPROC_DICT_ANY);
}

PROVOKE(mproc_dict_pop, -ENOENT) {
    return mproc_dict_pop(made_dict(), "k", 1, &message);
}

PROVOKE(mproc_dict_pop, -ENOMEM) {
    return mproc_dict_pop(starved(), "k", 1, &message);
}

PROVOKE(mproc_dict_pop, MPROC_ETOOBIG) {
    return mproc_dict_pop(made_dict(), bytes, TOO_LONG, &message);
}

PROVOKE(mproc_dict_popitem, -ENOENT) {
    return mproc_dict_popitem(made_dict(), &message, &message);
}

PROVOKE(mproc_dict_popitem, -ENOMEM) {
    mproc_message value = MPROC_MESSAGE_INIT(NULL, 0);
    return mproc_dict_popitem(starved(), &message, &value);
}

PROVOKE(mproc_dict_add, -EINVAL) {
    return mproc_dict_add(filled(), "k", 1, 1, NULL);
}

PROVOKE(mproc_dict_add, -EOVERFLOW) {
    mproc_dict *dict = made_dict();
    CHECK_OK(mproc_dict_add(dict, "n", 1, INT64_MAX, NULL));
    return mproc_dict_add(dict, "n", 1, 1, NULL);
}

PROVOKE(mproc_dict_add, -ENOMEM) {
    return mproc_dict_add(starved(), "n", 1, 1, NULL);
}

PROVOKE(mproc_dict_add, MPROC_ETOOBIG) {
    return mproc_dict_add(made_dict(), bytes, TOO_LONG, 1, NULL);
}

PROVOKE(mproc_dict_number, -EINVAL) {
    int64_t number;
    return mproc_dict_number("\xc0", 1, &number);
}

/* ---------------------------------------------------------------- functions, locks, waits */

static int grow(void *size, const mproc_message *old, mproc_dict_value *value) {
    static struct iovec piece;
    (void)old;
    piece = (struct iovec){bytes, *(size_t *)size};
    *value = (mproc_dict_value){.pieces = &piece, .n = 1};
    return 0;
}

static int negate(void *unused, const mproc_message *old, mproc_dict_value *value) {
    (void)unused, (void)old;
    value->n = -1;
    return 0;
}

static void lock(void *dict) {
    CHECK_OK(mproc_dict_lock(dict, "k", 1, 0));
}

static mproc_dict *locked(void) {
    mproc_dict *dict = made_dict();
    live_after(lock, dict);
    return dict;
}

PROVOKE(mproc_dict_update, -EINTR) {
    mproc_dict *dict = locked();
    interrupt();
    return mproc_dict_update(dict, "k", 1, grow, &(size_t){1});
}

PROVOKE(mproc_dict_update, -ENOMEM) {
    begin_small();
    mproc_dict *dict = made_dict();
    CHECK_OK(mproc_dict_lock(dict, "k", 1, 0)); /* memory for that is there */
    fill_arena();
    return mproc_dict_update(dict, "k", 1, grow, &(size_t){7000});
}

PROVOKE(mproc_dict_update, MPROC_ETOOBIG) {
    return mproc_dict_update(made_dict(), "k", 1, grow, &(size_t){(size_t)1 << 60});
}

PROVOKE(mproc_dict_update, -EINVAL) {
    return mproc_dict_update(made_dict(), "k", 1, negate, NULL);
}

PROVOKE(mproc_dict_lock, -EOWNERDEAD) {
    mproc_dict *dict = made_dict();
    die_after(lock, dict);
    return mproc_dict_lock(dict, "k", 1, 0);
}

PROVOKE(mproc_dict_lock, -ETIMEDOUT) {
    return mproc_dict_lock(locked(), "k", 1, 0);
}

PROVOKE(mproc_dict_lock, -EINTR) {
    mproc_dict *dict = locked();
    interrupt();
    return mproc_dict_lock(dict, "k", 1, without_end);
}

PROVOKE(mproc_dict_lock, -ENOMEM) {
    return mproc_dict_lock(starved(), "k", 1, 0);
}

PROVOKE(mproc_dict_lock, MPROC_ETOOBIG) {
    return mproc_dict_lock(made_dict(), bytes, TOO_LONG, 0);
}

PROVOKE(mproc_dict_unlock, MPROC_ENOTHELD) {
    return mproc_dict_unlock(made_dict(), "k", 1);
}

PROVOKE(mproc_dict_unlock, MPROC_ETOOBIG) {
    return mproc_dict_unlock(made_dict(), bytes, TOO_LONG);
}

static int wait_for_none(mproc_dict *dict, size_t key_size, int64_t timeout) {
    uint64_t version = 0;
    return mproc_dict_wait(dict, bytes, key_size, &version, timeout);
}

PROVOKE(mproc_dict_wait, -ETIMEDOUT) {
    return wait_for_none(made_dict(), 1, 0);
}

PROVOKE(mproc_dict_wait, -EINTR) {
    mproc_dict *dict = made_dict();
    interrupt();
    return wait_for_none(dict, 1, without_end);
}

PROVOKE(mproc_dict_wait, MPROC_ETOOBIG) {
    return wait_for_none(made_dict(), TOO_LONG, 0);
}

PROVOKE(mproc_dict_snapshot_new, -ENOMEM) {
    mproc_dict *dict = filled();
    no_malloc();
    return mproc_dict_snapshot_new(&snapshot, dict, 1);
}

PROVOKE(mproc_dict_snapshot_item, -EINVAL) {
    mproc_dict_item item;
    CHECK_OK(mproc_dict_snapshot_new(&snapshot, made_dict(), 1));
    return mproc_dict_snapshot_item(snapshot, 0, &item);
}

PROVOKE(mproc_dict_check, MPROC_ECORRUPT) {
    return mproc_dict_check((mproc_dict *)(void *)made_lock(0), NULL, 0);
}
