/*
 * object.h - shared objects with holds: who keeps what alive
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OBJECT_H
#define MPROC_OBJECT_H

#include "base.h"

enum mproc__kind {
    MPROC__KIND_NONE = 0,
    MPROC__KIND_MESSAGE,
    MPROC__KIND_LOCK,
    MPROC__KIND_QUEUE,
    MPROC__KIND_POOL,
    MPROC__KIND_BLOCK, /* plain memory with holds */
    MPROC__KINDS
};

/* One member's holds on one object. */
struct mproc__hold {
    uint64_t object; /* struct mproc__object *, 0: this record is not in use */
    uint64_t token;
    uint64_t count;
    uint64_t next_of_object;
    uint64_t next_of_member;
    uint64_t prev_of_member;
};

/* Starts every object of the arena. */
struct mproc__object {
    uint32_t magic;
    uint32_t kind;
    uint64_t holds; /* struct mproc__hold *: list, under the registry's guard */
    struct mproc__hold first; /* room for one record without an allocation */
};

/* Makes an object of `size` bytes (header included) and gives the caller its first hold. `init` fills
 * the rest before anyone can see it; the memory behind the header is not cleared. NULL: no memory. */
void *mproc__object_new(enum mproc__kind kind, size_t size, int (*init)(void *object, void *arg),
                        void *arg);

/* An object (complete but for holds) in *word, a hand's word, becomes the caller's; *word becomes 0. */
void mproc__object_adopt(uint64_t *word);
/* The caller's only hold on the object moves into *word (a hand's word). */
void mproc__object_disown(void *object, uint64_t *word);

/* Copies all holds of the calling member for the child that `token` names. */
int mproc__holds_inherit(uint64_t token);
int mproc__hold_for_token(uint64_t token, void *object);
/* Gives back all holds of a slot. Only for the reaper and the leaving member itself. */
void mproc__holds_clear(uint64_t token);

/* What destroys the insides of an object of a kind; must be restartable: it empties words one by one. */
typedef void (*mproc__destroy_fn)(void *object);
extern const mproc__destroy_fn mproc__destroyers[MPROC__KINDS];
void mproc__object_destroy(uint64_t *word);

#endif
