/*
 * inside.h - the list's insides: a ring of chunks, items, batches
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LIST_INSIDE_H
#define MPROC_LIST_INSIDE_H

#include <sys/uio.h>

#include "core/object.h"

#define MPROC__LIST_CHUNK ((uint64_t)128) /* slots of a chunk */
#define MPROC__LIST_FIRST ((uint64_t)4)   /* places of a directory, at the least */
#define MPROC__LIST_UNDO 16

/* An element: a block that does not change once a slot leads to it. Behind it stands the value, or
 * the object in which a large value is. */
struct mproc__list_item {
    uint64_t size;   /* of the value, times two; plus 1: it is large */
    uint64_t serial; /* no two elements that a list ever had have the same */
    unsigned char bytes[];
};

/* What has elements: a list, and the batch that carries away those of a list which was cleared. */
struct mproc__list_body {
    uint64_t directory; /* uint64_t[chunks]: a chunk each, or 0; 0: there is none */
    uint64_t chunks;    /* a power of two, or 0 */
    uint64_t first;     /* slot of element 0, less than chunks * MPROC__LIST_CHUNK */
    uint64_t count;
};

enum mproc__list_plan {
    MPROC__LIST_SPLICE = 1, /* `in` comes in the place of `out`; what is on one side moves */
    MPROC__LIST_REWRITE     /* the slots are written anew, with `all` */
};

/* The words of a change of many slots: [in | out | all], items each. */
struct mproc__list_batch {
    struct mproc__object object;
    struct mproc__list_body body; /* of a list that was cleared */
    uint64_t next;                /* struct mproc__list_batch *: in a list's `garbage` */
    uint64_t in, out, all;        /* how many of each */
    uint64_t owned, owned_end;    /* those of the words that the batch owns */
    /* The plan. */
    uint64_t kind;
    uint64_t at;     /* SPLICE: index of the first of `out` */
    uint64_t front;  /* SPLICE: 1: those before it move, else those behind */
    uint64_t staged; /* SPLICE: 1: `out` is complete */
    uint64_t moved;  /* SPLICE: elements that have moved */
    uint64_t words[];
};

struct mproc_list {
    struct mproc__object object;
    _Alignas(MPROC__LINE) struct mproc__guard guard;
    uint64_t version;
    uint64_t taken;
    uint64_t serial; /* the last one that was given */
    struct mproc__list_body body;
    uint64_t plan;    /* struct mproc__list_batch *: it is being carried out; 0: none is */
    uint64_t garbage; /* struct mproc__list_batch *: lists of them, to be destroyed */
    struct mproc__undo log[MPROC__LIST_UNDO];
};

/* ---- items */

static inline struct mproc__list_item *mproc__list_item_at(uint64_t word) {
    return (struct mproc__list_item *)(uintptr_t)word;
}

static inline bool mproc__list_item_large(const struct mproc__list_item *item) {
    return item->size & 1;
}

static inline size_t mproc__list_item_size(const struct mproc__list_item *item) {
    return item->size >> 1;
}

/* The word with the object of a large value. */
static inline uint64_t *mproc__list_item_word(const struct mproc__list_item *item) {
    return (uint64_t *)(uintptr_t)(const void *)item->bytes;
}

/* Makes an element in hand->block, and the object of a large value in hand->unheld; a list gets
 * both in one section. -ENOMEM, MPROC_ETOOBIG; -EINVAL: nobody holds one of the buffers. */
int mproc__list_make_item(struct mproc__hand *hand, const mproc_list_value *value);

/* What a section has taken out, or has not put in, is freed: hand->block and hand->message, and
 * hand->unheld. */
void mproc__list_discard(struct mproc__hand *hand);

/* Frees the element in *word, which a member's death may cut short. */
void mproc__list_free_item(struct mproc__hand *hand, uint64_t *word);

/* ---- batches */

/* Makes one in hand->message, whose first words are new elements. -ENOMEM and the errors of an
 * element; then there is none. */
int mproc__list_make_batch(struct mproc__hand *hand, const mproc_list_value *values, uint64_t in,
                           uint64_t out, uint64_t all);

static inline struct mproc__list_batch *mproc__list_batch_at(uint64_t word) {
    return (struct mproc__list_batch *)(uintptr_t)word;
}

/* ---- slots, under the guard */

/* The slot that is i slots behind element 0; i may be negative. Its chunk is there. */
static inline uint64_t *mproc__list_slot(const struct mproc__list_body *body, uint64_t i) {
    uint64_t slot = (body->first + i) & (body->chunks * MPROC__LIST_CHUNK - 1);
    const uint64_t *directory = (const uint64_t *)(uintptr_t)body->directory;
    return (uint64_t *)(uintptr_t)directory[slot / MPROC__LIST_CHUNK] + slot % MPROC__LIST_CHUNK;
}

static inline struct mproc__list_item *mproc__list_item(const struct mproc__list_body *body,
                                                        uint64_t i) {
    return mproc__list_item_at(*mproc__list_slot(body, i));
}

/* Are there slots for so many more elements before the first one and behind the last one? */
bool mproc__list_has_room(const struct mproc__list_body *body, uint64_t front, uint64_t back);
/* The same for one element, at one end. */
bool mproc__list_has_slot(const struct mproc__list_body *body, bool front);

/* An element at that end was taken out: was it the only one of its chunk? */
bool mproc__list_at_border(const struct mproc__list_body *body, bool front);

/* ---- sections */

/* Enters. Afterwards no change is under way. */
void mproc__list_enter(mproc_list *list, struct mproc__hand *hand);
void mproc__list_leave(mproc_list *list, struct mproc__hand *hand);

static inline void mproc__list_put_word(mproc_list *list, uint64_t *word, uint64_t value) {
    mproc__guard_set(&list->guard, word, value);
}

/* Inside a section, before anything is changed: readers wait from then on. */
void mproc__list_begin(mproc_list *list);
/* Commits: the section's last change. */
void mproc__list_publish(mproc_list *list);

/* Inside a change: the batch in hand->message, whose words and numbers say what is to be done,
 * belongs to the list. Once the section has been left, whoever enters next does it. */
void mproc__list_plan(mproc_list *list, struct mproc__hand *hand);

/* ---- outside of sections */

/* Slots for so many more elements, before the first and behind the last. -ENOMEM. */
int mproc__list_reserve(mproc_list *list, struct mproc__hand *hand, uint64_t front, uint64_t back);

/* After elements were taken out: chunks that are not needed any more go back. */
void mproc__list_trim(mproc_list *list, struct mproc__hand *hand);

/* Destroys what changes have left. */
void mproc__list_sweep(mproc_list *list, struct mproc__hand *hand);

/* Destroys elements, chunks and directory. */
void mproc__list_free_body(struct mproc__hand *hand, struct mproc__list_body *body);

/* ---- indexes */

/* Which of n elements index i is: negative ones count from the end. False: none. */
static inline bool mproc__list_index(int64_t i, uint64_t n, uint64_t *at) {
    *at = i < 0 ? n + (uint64_t)i : (uint64_t)i;
    return *at < n && (i >= 0 || 0 - (uint64_t)i <= n);
}

/* The elements that a slice of n elements has: `count` of them, from `start` on, each `step` behind
 * the one before. */
struct mproc__list_range {
    uint64_t start;
    int64_t step;
    uint64_t count;
};

/* step is not 0. */
struct mproc__list_range mproc__list_range(int64_t start, int64_t stop, int64_t step, uint64_t n);

#endif
