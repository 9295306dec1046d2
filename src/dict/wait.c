/*
 * wait.c - waiting for a change of a dict
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A waiter for one key sleeps on the event count of the key's shard, and looks at the
 * entry's version whenever something in the shard has changed. A waiter for any change sleeps on
 * that of the dict, and looks at the sum of all versions, none of which ever goes down.
 *
 * If a member dies here: nothing is changed. A member that dies between its change and its wake
 * costs the sleepers a slice.
 */
#include "core/wait.h"
#include "dict/read.h"

/* What is waited for: a key's version, or that of the dict. */
struct watch {
    mproc_dict *dict;
    const struct mproc__dict_key *key; /* NULL: any change */
    struct mproc__eventcount *event;
};

static uint64_t version_of_all(const mproc_dict *dict) {
    uint64_t sum = mproc__load64(&dict->generation); /* SYNC(dict.generation) */
    for (int i = 0; i < MPROC__DICT_SHARDS; i++) {
        /* SYNC(dict.version) */
        sum += (mproc__load64(&dict->shards[i].version) + 1) & ~UINT64_C(1);
    }
    return sum;
}

static uint64_t version_now(const struct watch *watch) {
    struct mproc__dict_look look;
    if (watch->key == NULL) {
        return version_of_all(watch->dict);
    }
    int r = mproc__dict_read(watch->dict, NULL, watch->key, NULL, 0, &look);
    return r == -ENOENT ? 0 : look.version;
}

static int wait_for(const struct watch *watch, uint64_t *version, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    for (;;) {
        uint32_t seen = mproc__eventcount_announce(watch->event);
        uint64_t now = version_now(watch);
        if (now != *version) {
            *version = now;
            return 0;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        if (mproc__eventcount_sleep(watch->event, seen, slice) == -EINTR) {
            return -EINTR;
        }
    }
}

int mproc_dict_wait(mproc_dict *dict, const void *key, size_t key_size, uint64_t *version,
                    int64_t timeout) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, key != NULL ? key_size : 0, &k);
    if (r != 0) {
        return r;
    }
    struct watch watch = {dict, NULL, &dict->changed};
    if (key != NULL) {
        watch.key = &k;
        watch.event = &mproc__dict_shard_of(dict, &k)->changed;
    }
    uint64_t now = version_now(&watch);
    if (now != *version) {
        *version = now;
        return 0;
    }
    if (timeout == 0) {
        return -ETIMEDOUT;
    }
    int64_t deadline = mproc__deadline(timeout);
    struct mproc__hand *noted = mproc__wait_begin(dict, deadline);
    r = wait_for(&watch, version, deadline);
    mproc__wait_end(noted);
    return r;
}
