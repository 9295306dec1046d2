/*
 * object.h - shared objects with holds: which members keep what alive
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OBJECT_H
#define MPROC_OBJECT_H

#include <string.h>

#include "core/chunk.h"
#include "core/guard.h"

enum mproc__kind {
    MPROC__KIND_NONE = 0,
    MPROC__KIND_MESSAGE,
    MPROC__KIND_LOCK,
    MPROC__KIND_QUEUE,
    MPROC__KIND_TASKQ,
    MPROC__KIND_POOL,
    MPROC__KIND_RLOCK,
    MPROC__KIND_EVENT,
    MPROC__KIND_SEMAPHORE,
    MPROC__KIND_BSEMAPHORE,
    MPROC__KIND_ARRAY,
    MPROC__KIND_CONDITION,
    MPROC__KIND_BARRIER,
    MPROC__KIND_BUFFER,
    MPROC__KIND_PARCEL,
    MPROC__KIND_CHANNEL,
    MPROC__KIND_DICT,
    MPROC__KIND_LIST,
    MPROC__KIND_BATCH, /* what a change of many of a list's elements has (src/list) */
    MPROC__KIND_STACK,
    MPROC__KINDS
};

/* One member's holds on one object. */
struct mproc__slot;

struct mproc__hold {
    uint64_t object; /* struct mproc__object *; 0: this record is not in use */
    uint64_t token;
    uint64_t count;
    uint64_t next_of_object;
    uint64_t next_of_member;
    uint64_t prev_of_member;
};

#define MPROC__OBJECT_MAGIC 0x6f626a31u
#define MPROC__OBJECT_DEAD 0x64656164u /* its insides are being destroyed, or have been */

/* Starts every object of the arena, and fills a cache line. Each call reads it (mproc__expect()).
 * An object whose words change often has them in a line of their own: _Alignas(MPROC__LINE). Else
 * they would share one with the header of a neighbour, and each change would take it away. */
struct mproc__object {
    uint32_t magic;
    uint32_t kind;
    uint64_t holds;           /* struct mproc__hold *: list, under the registry's guard */
    struct mproc__hold first; /* room for one record without an allocation */
};

/* Its first bytes say that it is a live object of that kind: one load and one comparison. */
static inline bool mproc__object_looks(const void *pointer, enum mproc__kind kind) {
    uint64_t first;
    memcpy(&first, pointer, sizeof first);
    return first == (MPROC__OBJECT_MAGIC | (uint64_t)kind << 32); /* little-endian, see mutex.c */
}

/* The same for any pointer at all. */
static inline bool mproc__object_is(const void *pointer, enum mproc__kind kind) {
    return mproc__chunks_contain(pointer) && (uintptr_t)pointer % 16 == 0 &&
           mproc__object_looks(pointer, kind);
}

/* What a public function asks of the object that it is given. Debug builds assert that it is one of
 * the kind; release builds do as much as costs nothing, and the function does nothing when it is
 * none. */
#define mproc__expect(pointer, kind)                                                               \
    (assert(mproc__object_is((pointer), (kind))),                                                  \
     mproc__likely(mproc__object_looks((pointer), (kind))))

#define MPROC__REGISTRY_UNDO 16

struct mproc__registry {
    struct mproc__guard guard;
    uint64_t due; /* struct mproc__object *: list of what is to be destroyed; under the guard */
    struct mproc__undo log[MPROC__REGISTRY_UNDO];
};

void mproc__registry_init(struct mproc__registry *all);
/* From now on this is the family's; NULL: there is none any more. */
void mproc__registry_enter(struct mproc__registry *all);

/*
 * Making an object takes two steps. alloc puts an object of `size` bytes, all zero behind the
 * header, into hand->unheld: whatever its maker adds to it is destroyed with it if the maker dies.
 * adopt then gives the caller its first hold and empties the word.
 */
int mproc__object_alloc(struct mproc__hand *hand, enum mproc__kind kind, size_t size);
void mproc__object_adopt(struct mproc__hand *hand, uint64_t *word);

/* Makes an object inside another one, in a word of that. It has no holds and goes with the other:
 * that one's destructor destroys it by the word. All zero behind the header. */
int mproc__object_make(struct mproc__hand *hand, enum mproc__kind kind, size_t size,
                       uint64_t *word);

/* The caller's hold on the object goes, the object itself moves into *word, a hand's word: 1.
 * Nothing has happened: 0: other members hold it too; -EINVAL: the caller does not. */
int mproc__object_disown(struct mproc__hand *hand, void *pointer, uint64_t *word);

/* The token in a record that is a message's and no member's (core/parcel.c). */
#define MPROC__TOKEN_OF_MESSAGES UINT64_MAX

/* A message's hold on an object: `record` is zero and stands in the message. -EINVAL: nobody holds
 * the object. */
int mproc__object_attach(struct mproc__hand *hand, void *pointer, struct mproc__hold *record);
/* Gives it back, if the record is in use. With the last hold the object goes, or becomes due, if
 * it has insides. hand->block is 0. */
void mproc__object_detach(struct mproc__hand *hand, struct mproc__hold *record);
/* Destroys what is due, if the hand is empty: otherwise whoever next has an empty one does. */
void mproc__objects_due(struct mproc__hand *hand);
/* Whether the object's list has only records of its own, one a living member. */
int mproc__object_check(struct mproc__hand *hand, const void *pointer, char *why, size_t size);

/*
 * The hold of a container on an object that others may hold, too (src/dict). Keep gives it to an
 * object that nobody else has seen yet; its record is the object's own. What a container lets go
 * moves into a hand's `message`. Release gives back the hold that such an object has, if it has
 * one, and sets *word to 0; with the last hold the object goes. hand->block is 0.
 */
void mproc__object_keep(struct mproc__object *object);
void mproc__object_release(struct mproc__hand *hand, uint64_t *word);

/* A hold for the calling member on an object that was in a container when *word was `value`. The
 * container changes the word before it releases the object. -ESTALE: the word has changed, and
 * nothing else was looked at; -ENOMEM. */
int mproc__hold_while(struct mproc__hand *hand, struct mproc__object *object, const uint64_t *word,
                      uint64_t value);

/* A large buffer's bytes begin a page. */
#define MPROC__BUFFER_PAGE ((size_t)4096)

/* What destroys the insides of an object of a kind. It frees word by word, so that a reaper can go
 * on with it at any point. NULL in the table: nothing is inside. */
typedef void (*mproc__destroy_fn)(struct mproc__hand *hand, void *object);
extern const mproc__destroy_fn mproc__destroyers[MPROC__KINDS];

/* Destroys the object in *word (which has no holds) and sets *word to 0. */
void mproc__object_destroy(struct mproc__hand *hand, uint64_t *word);

/* Around fork(): keeps other threads' holds still. */
void mproc__holds_freeze(void);
void mproc__holds_thaw(void);
/* Copies all holds of the calling member for the child that `token` names, or leaves what cannot be
 * copied at once to be copied later. Frozen. -ENOMEM. */
int mproc__holds_inherit(struct mproc__hand *hand, uint64_t token);
/* Is it a live object that members hold? Any pointer may be asked about. */
bool mproc__object_can_be_held(const void *pointer);
/* -EINVAL: an object that nobody holds; -ENOMEM. */
int mproc__hold_for(struct mproc__hand *hand, uint64_t token, void *pointer);
/* Gives back all holds of a member. Only for its reaper. -ENOMEM: not all, since its children have
 * not inherited them yet. */
int mproc__holds_clear(struct mproc__hand *hand, struct mproc__slot *slot);

int mproc__holds_check(struct mproc__hand *hand, char *why, size_t size);

#endif
