/*
 * set.c - elements for all members
 *
 * SPDX-License-Identifier: MIT
 *
 * A set is a dict whose values nobody looks at: its elements are the keys. In memory and for the
 * core there is no difference, so what dict.c and the files beside it say of keys holds for
 * elements, their invariants are those of table.c, and what a death leaves is what it leaves of a
 * dict. A set that Python has made is such a dict, too, and its values are None.
 *
 * What a set does not do: it has no operations on two sets, which could not be one step.
 */
#include "dict/table.h"

static mproc_dict *dict_of(mproc_set *set) {
    return (mproc_dict *)(void *)set;
}

int mproc_set_new(mproc_set **out) {
    mproc_dict *dict;
    int r = mproc_dict_new(&dict);
    if (r == 0) {
        *out = (mproc_set *)(void *)dict;
    }
    return r;
}

int mproc_set_add(mproc_set *set, const void *element, size_t size) {
    return mproc_dict_insert(dict_of(set), element, size, NULL, 0);
}

int mproc_set_has(mproc_set *set, const void *element, size_t size) {
    return mproc_dict_has(dict_of(set), element, size);
}

int mproc_set_remove(mproc_set *set, const void *element, size_t size) {
    return mproc_dict_delete(dict_of(set), element, size, MPROC_DICT_ANY);
}

int mproc_set_pop(mproc_set *set, mproc_message *element) {
    char room[8]; /* for the value that Python gives */
    mproc_message value = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_dict_popitem(dict_of(set), element, &value);
    if (r == 0) {
        mproc_message_drop(&value);
    }
    return r;
}

int mproc_set_wait(mproc_set *set, const void *element, size_t size, uint64_t *version,
                   int64_t timeout) {
    return mproc_dict_wait(dict_of(set), element, size, version, timeout);
}

uint64_t mproc_set_count(const mproc_set *set) {
    return mproc_dict_count((const mproc_dict *)(const void *)set);
}

void mproc_set_clear(mproc_set *set) {
    mproc_dict_clear(dict_of(set));
}

int mproc_set_snapshot_new(mproc_dict_snapshot **out, mproc_set *set) {
    return mproc_dict_snapshot_new(out, dict_of(set), 0);
}

int mproc_set_check(mproc_set *set, char *why, size_t size) {
    return mproc_dict_check(dict_of(set), why, size);
}
