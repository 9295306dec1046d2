/*
 * lock.c - locks of keys
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A locked key has a record in its shard's list, with the thread that has locked it;
 * a key that is not locked has none. So two keys never share a lock, and as many may be locked as
 * there is memory for. Whether a key is in the dict makes no difference.
 *
 * Shared state. The list and the records are under the shard's guard.
 *
 * Invariants.
 *   D8  No two records of a shard have the same key; depth >= 1.
 *
 * If a member dies here: a record that is not linked yet, or not any more, is in the hand. The
 * record of a dead owner stays until somebody wants the key's lock, and takes it over with the
 * record. Waiters look after each slice whether the owner still lives, and also while locks of
 * other keys of the shard come and go, which wake them before a slice ends.
 */
#include <string.h>

#include "core/heap.h"
#include "core/token.h"
#include "core/wait.h"
#include "dict/table.h"

static struct mproc__dict_lock *lock_at(uint64_t word) {
    return (struct mproc__dict_lock *)(uintptr_t)word;
}

static void set(struct mproc__dict_shard *shard, uint64_t *word, uint64_t value) {
    mproc__dict_put_word(shard, word, value);
}

/* The word that leads to the key's record; 0 stands in it if there is none. */
static uint64_t *find(struct mproc__dict_shard *shard, const struct mproc__dict_key *key) {
    uint64_t *link = &shard->locks;
    while (*link != 0) {
        struct mproc__dict_lock *lock = lock_at(*link);
        if (lock->key_size == key->size && memcmp(lock->bytes, key->data, key->size) == 0) {
            break;
        }
        link = &lock->next;
    }
    return link;
}

static bool is_mine(const struct mproc__dict_lock *lock) {
    return lock->token == mproc__self_token() && lock->thread == mproc__self_thread();
}

/* ---------------------------------------------------------------- locking */

#define LOOK_AGAIN MPROC__SLICE_FIRST /* the first slice of those that nobody wakes */

/* Whose lock it is that the caller waits for. */
struct owner {
    uint64_t token;
    uint64_t thread;
    bool dead;      /* that one has died: the lock may be taken from it */
    int64_t looked; /* when that was asked */
};

/* In the section. 0; -EOWNERDEAD; -EBUSY: another thread has it, *owner says which; -EAGAIN: a
 * record is needed in the hand. */
static int try_lock(struct mproc__dict_shard *shard, struct mproc__hand *hand,
                    const struct mproc__dict_key *key, struct owner *owner) {
    uint64_t *link = find(shard, key);
    struct mproc__dict_lock *lock = lock_at(*link);
    if (lock == NULL && hand->block == 0) {
        return -EAGAIN;
    }
    if (lock == NULL) {
        lock_at(hand->block)->next = shard->locks;
        set(shard, &shard->locks, hand->block);
        set(shard, &hand->block, 0);
        return 0;
    }
    if (is_mine(lock)) {
        set(shard, &lock->depth, lock->depth + 1);
        return 0;
    }
    if (owner->dead && lock->token == owner->token && lock->thread == owner->thread) {
        set(shard, &lock->dead_token, lock->token);
        set(shard, &lock->dead_thread, lock->thread);
        set(shard, &lock->token, mproc__self_token());
        set(shard, &lock->thread, mproc__self_thread());
        set(shard, &lock->depth, 1);
        return -EOWNERDEAD;
    }
    owner->token = lock->token;
    owner->thread = lock->thread;
    owner->dead = false;
    return -EBUSY;
}

static int make_record(struct mproc__hand *hand, const struct mproc__dict_key *key) {
    int r = mproc__heap_alloc(hand, sizeof(struct mproc__dict_lock) + key->size, &hand->block);
    if (r == 0) {
        struct mproc__dict_lock *lock = lock_at(hand->block);
        *lock = (struct mproc__dict_lock){
            0, mproc__self_token(), mproc__self_thread(), 1, 0, 0, key->size};
        if (key->size != 0) {
            memcpy(lock->bytes, key->data, key->size);
        }
    }
    return r;
}

static int lock_once(struct mproc__dict_shard *shard, const struct mproc__dict_key *key,
                     struct owner *owner) {
    struct mproc__hand *hand = mproc__hand_get();
    int r;
    do {
        mproc__dict_enter(shard, hand);
        r = try_lock(shard, hand, key, owner);
        mproc__dict_leave(shard, hand);
        int e = r == -EAGAIN ? make_record(hand, key) : 0;
        r = e != 0 ? e : r;
    } while (r == -EAGAIN);
    mproc__heap_free(hand, &hand->block);
    mproc__hand_put(hand);
    return r;
}

static void look_at_owner(struct owner *owner) {
    owner->dead =
        mproc__token_dead(owner->token) || mproc__thread_ended(owner->token, owner->thread);
    owner->looked = mproc__os_now();
}

static int wait_for_lock(struct mproc__dict_shard *shard, const struct mproc__dict_key *key,
                         struct owner *owner, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    for (;;) {
        uint32_t seen = mproc__eventcount_announce(&shard->unlocked);
        int r = lock_once(shard, key, owner);
        if (r != -EBUSY) {
            return r;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        r = mproc__eventcount_sleep(&shard->unlocked, seen, slice);
        if (r == -EINTR) {
            return -EINTR;
        }
        if (r == -ETIMEDOUT || mproc__os_now() - owner->looked >= LOOK_AGAIN) {
            look_at_owner(owner);
        }
    }
}

int mproc_dict_lock(mproc_dict *dict, const void *key, size_t key_size, int64_t timeout) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    if (r != 0) {
        return r;
    }
    struct mproc__dict_shard *shard = mproc__dict_shard_of(dict, &k);
    struct owner owner = {0};
    r = lock_once(shard, &k, &owner);
    if (r == -EBUSY) { /* even a mere try gets the lock of a dead owner */
        look_at_owner(&owner);
        int64_t deadline = mproc__deadline(timeout);
        struct mproc__hand *noted = mproc__wait_begin(dict, deadline);
        r = owner.dead || timeout != 0 ? wait_for_lock(shard, &k, &owner, deadline) : -ETIMEDOUT;
        mproc__wait_end(noted);
    }
    return r;
}

void mproc_dict_dead_owner(mproc_dict *dict, const void *key, size_t key_size,
                           mproc_lock_holder *out) {
    struct mproc__dict_key k;
    *out = (mproc_lock_holder){0};
    if (mproc__dict_key_for(dict, key, key_size, &k) != 0) {
        return;
    }
    struct mproc__dict_shard *shard = mproc__dict_shard_of(dict, &k);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__dict_enter(shard, hand);
    const struct mproc__dict_lock *lock = lock_at(*find(shard, &k));
    if (lock != NULL) {
        out->pid = (pid_t)(lock->dead_thread >> 32);
        out->tid = (pid_t)(lock->dead_thread & UINT32_MAX);
        out->serial = lock->dead_token >> 32;
    }
    mproc__dict_leave(shard, hand);
    mproc__hand_put(hand);
}

/* ---------------------------------------------------------------- unlocking */

static int unlock(struct mproc__dict_shard *shard, struct mproc__hand *hand,
                  const struct mproc__dict_key *key) {
    uint64_t *link = find(shard, key);
    struct mproc__dict_lock *lock = lock_at(*link);
    if (lock == NULL || !is_mine(lock)) {
        return MPROC_ENOTHELD;
    }
    if (lock->depth > 1) {
        set(shard, &lock->depth, lock->depth - 1);
    } else {
        set(shard, &hand->block, *link);
        set(shard, link, lock->next);
    }
    return 0;
}

int mproc_dict_unlock(mproc_dict *dict, const void *key, size_t key_size) {
    struct mproc__dict_key k;
    int r = mproc__dict_key_for(dict, key, key_size, &k);
    if (r != 0) {
        return r;
    }
    struct mproc__dict_shard *shard = mproc__dict_shard_of(dict, &k);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__dict_enter(shard, hand);
    r = unlock(shard, hand, &k);
    mproc__dict_leave(shard, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__hand_put(hand);
    mproc__fence_after_rmw(); /* the release, before the look at `sleepers` */
    if (mproc__unlikely(mproc__eventcount_awaited(&shard->unlocked))) {
        mproc__poke32(&shard->unlocked.sleepers, 0);
        mproc__eventcount_wake_all(&shard->unlocked);
    }
    return r;
}
