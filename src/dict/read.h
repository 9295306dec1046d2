/*
 * read.h - looking an entry up, without a lock
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DICT_READ_H
#define MPROC_DICT_READ_H

#include "dict/table.h"

/* What a look at an entry has found. */
struct mproc__dict_look {
    uint64_t version;
    uint64_t rank;
    size_t size;                 /* of the value */
    struct mproc__object *large; /* NULL: a small one */
    uint64_t taken;              /* the shard's, when `large` was in it */
};

/* Looks the key's entry up. A small value is copied to `room`. `hand` is the caller's if it has one
 * already, or NULL. -ENOENT; -ENOBUFS: there are only `most` bytes of room, and out->size is what
 * there should be. */
int mproc__dict_read(mproc_dict *dict, struct mproc__hand *hand, const struct mproc__dict_key *key,
                     void *room, size_t most, struct mproc__dict_look *out);

/* The same with the value as a message: small ones in its room or in a block, large ones lent.
 * -ENOENT, -ENOMEM. */
int mproc__dict_fetch(mproc_dict *dict, const struct mproc__dict_key *key, mproc_message *message,
                      struct mproc__dict_look *out);

/* The same for what is asked for most: a key of 8 to 16 bytes that is there, whose value is small
 * and fits into the room. It takes so few instructions that the processor begins with the next look
 * while this one waits for memory. -EAGAIN: mproc__dict_fetch() knows. version: may be NULL. */
int mproc__dict_glance(const mproc_dict *dict, const void *key, size_t size, mproc_message *message,
                       uint64_t *version);

/* A hold on the large value that a look has found, as a message. -ESTALE: it is not in the dict any
 * more; -ENOMEM. */
int mproc__dict_lend(struct mproc__dict_shard *shard, const struct mproc__dict_look *look,
                     mproc_message *message);

/* Is what was read from the shard since it had that (even) version whole? */
static inline bool mproc__dict_still(const struct mproc__dict_shard *shard, uint64_t version) {
    mproc__load_fence(); /* SYNC(dict.version): what was read, before the last look. */
    return mproc__likely(mproc__peek64(&shard->version) == version);
}

/*
 * A look at a shard: what reads it between `open` and `close` reads it again as long as `close`
 * returns true. The first few looks take no lock, and have to ask mproc__dict_still() before each
 * pointer that they follow. Then the guard is taken, so that no reader starves.
 */
struct mproc__dict_window {
    struct mproc__dict_shard *shard;
    struct mproc__hand *mine; /* the caller's; NULL: it has none */
    struct mproc__hand *hand; /* NULL: without the guard */
    uint64_t version;
    int tries;
};

static inline struct mproc__dict_window mproc__dict_window(struct mproc__dict_shard *shard,
                                                           struct mproc__hand *mine) {
    return (struct mproc__dict_window){shard, mine, NULL, 0, 0};
}

void mproc__dict_open_locked(struct mproc__dict_window *window);
void mproc__dict_close_locked(struct mproc__dict_window *window);

#if defined(__SANITIZE_THREAD__)
#define MPROC__DICT_TRIES 0 /* bytes that are read while they are written: it would be right */
#else
#define MPROC__DICT_TRIES 8
#endif

static inline void mproc__dict_open(struct mproc__dict_window *window) {
    /* SYNC(dict.version) */
    window->version = mproc__load64(&window->shard->version);
    while (window->version & 1 && window->tries < MPROC__DICT_TRIES) {
        mproc__pause();
        window->tries++;
        window->version = mproc__load64(&window->shard->version);
    }
    if (mproc__unlikely(window->tries++ >= MPROC__DICT_TRIES)) {
        mproc__dict_open_locked(window);
    }
}

/* `again`: what was read was not whole. Returns whether it is to be read again. */
static inline bool mproc__dict_close(struct mproc__dict_window *window, bool again) {
    if (mproc__unlikely(window->hand != NULL)) {
        mproc__dict_close_locked(window);
    }
    return again;
}

#endif
