/*
 * update.c - a value is changed by a function
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The function runs in no section, with the value as it was at some moment. What it
 * makes of it is set if the entry still has the version that the function has seen, else the
 * function runs again. The key is locked meanwhile, so that those who update one key do not make
 * each other's work void.
 *
 * If a member dies here: its lock is taken over (lock.c). The dead one has set its value or has
 * not, so the next one need not be told.
 */
#include "dict/read.h"
#include "dict/write.h"

static int update_once(mproc_dict *dict, const struct mproc__dict_key *key, mproc_dict_fn fn,
                       void *arg) {
    char room[1024];
    mproc_message old = MPROC_MESSAGE_INIT(room, sizeof room);
    struct mproc__dict_look look;
    int r = mproc__dict_fetch(dict, key, &old, &look);
    if (r != 0 && r != -ENOENT) {
        return r;
    }
    bool absent = r == -ENOENT;
    mproc_dict_value value = {0};
    r = fn(arg, absent ? NULL : &old, &value);
    if (r == 0) {
        /* The same checks as for any other caller's value. */
        r = mproc_dict_put(dict, key->data, key->size, &value, absent ? 0 : look.version);
    }
    mproc_message_drop(&old);
    return r;
}

int mproc_dict_update(mproc_dict *dict, const void *key, size_t key_size, mproc_dict_fn fn,
                      void *arg) {
    struct mproc__dict_key k;
    int r = mproc_dict_lock(dict, key, key_size, MPROC_FOREVER);
    if (r != 0 && r != -EOWNERDEAD) {
        return r;
    }
    mproc__dict_key_of(dict, key, key_size, &k);
    do {
        r = update_once(dict, &k, fn, arg);
    } while (r == -ESTALE || r == -EEXIST);
    int unlocked = mproc_dict_unlock(dict, key, key_size);
    return r != 0 ? r : unlocked;
}
