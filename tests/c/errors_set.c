/*
 * errors_set.c - errors of sets
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "errors.h"

static char bytes[MPROC_DICT_KEY_MAX + 1];
static mproc_message message;
static mproc_dict_snapshot *snapshot;

/* The element that it has is a long one, and the arena is full. */
static mproc_set *starved(void) {
    begin_small();
    mproc_set *set = made_set();
    CHECK_OK(mproc_set_add(set, bytes, 7000));
    fill_arena();
    return set;
}

PROVOKE(mproc_set_new, -ENOMEM) {
    mproc_set *set;
    begin_small();
    fill_arena();
    return mproc_set_new(&set);
}

PROVOKE(mproc_set_add, -EEXIST) {
    mproc_set *set = made_set();
    CHECK_OK(mproc_set_add(set, "e", 1));
    return mproc_set_add(set, "e", 1);
}

PROVOKE(mproc_set_add, -ENOMEM) {
    return mproc_set_add(starved(), bytes, 7001);
}

PROVOKE(mproc_set_add, MPROC_ETOOBIG) {
    return mproc_set_add(made_set(), bytes, sizeof bytes);
}

PROVOKE(mproc_set_remove, -ENOENT) {
    return mproc_set_remove(made_set(), "e", 1);
}

PROVOKE(mproc_set_remove, MPROC_ETOOBIG) {
    return mproc_set_remove(made_set(), bytes, sizeof bytes);
}

PROVOKE(mproc_set_pop, -ENOENT) {
    return mproc_set_pop(made_set(), &message);
}

PROVOKE(mproc_set_pop, -ENOMEM) {
    return mproc_set_pop(starved(), &message);
}

static int wait_for_none(mproc_set *set, size_t size, int64_t timeout) {
    uint64_t version = 0;
    return mproc_set_wait(set, bytes, size, &version, timeout);
}

PROVOKE(mproc_set_wait, -ETIMEDOUT) {
    return wait_for_none(made_set(), 1, 0);
}

PROVOKE(mproc_set_wait, -EINTR) {
    mproc_set *set = made_set();
    interrupt();
    return wait_for_none(set, 1, without_end);
}

PROVOKE(mproc_set_wait, MPROC_ETOOBIG) {
    return wait_for_none(made_set(), sizeof bytes, 0);
}

PROVOKE(mproc_set_snapshot_new, -ENOMEM) {
    mproc_set *set = made_set();
    no_malloc();
    return mproc_set_snapshot_new(&snapshot, set);
}

PROVOKE(mproc_set_check, MPROC_ECORRUPT) {
    return mproc_set_check((mproc_set *)(void *)made_lock(0), NULL, 0);
}
