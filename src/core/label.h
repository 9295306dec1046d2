/*
 * label.h - what people call an object: its name, and where it was made
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LABEL_H
#define MPROC_LABEL_H

#include "core/chunk.h"

enum mproc__label_kind { MPROC__LABEL_NAME = 1, MPROC__LABEL_ORIGIN, MPROC__LABEL_KINDS };

#define MPROC__LABEL_MOST 255 /* bytes of its text */

/* A block of the arena; its text ends in a 0. */
struct mproc__label {
    uint64_t next;   /* of the same chunk: struct mproc__label * */
    uint64_t object; /* struct mproc__object * */
    uint32_t kind;
    uint32_t length;
    char text[];
};

#define MPROC__LABELS_UNDO 8

struct mproc__labels {
    struct mproc__guard guard;
    struct mproc__undo log[MPROC__LABELS_UNDO];
    uint64_t used; /* 1: an object was given a label once */
};

extern MPROC__HIDDEN struct mproc__labels *mproc__labels;
/* Objects of this process are given their origins: MPROC_ORIGIN=1. */
extern MPROC__HIDDEN bool mproc__origins;

void mproc__labels_init(struct mproc__labels *all);
/* From now on these are the family's; NULL: there are none any more. */
void mproc__labels_enter(struct mproc__labels *all);

/* Gives a label to an object that the caller holds; "" takes one away. hand->block and hand->node
 * are 0. -ENOMEM. */
int mproc__label_set(struct mproc__hand *hand, const void *object, enum mproc__label_kind kind,
                     const char *text);

/* Copies a text, cut off at `size` with its 0. How long it is, 0: there is none. */
int mproc__label_read(struct mproc__hand *hand, const void *object, enum mproc__label_kind kind,
                      char *out, size_t size);

/* Under the guard: the word that names the first label of an object, of that kind or of any (0);
 * NULL: it has none. */
uint64_t *mproc__label_find(const void *object, uint32_t kind);

void mproc__labels_take(struct mproc__hand *hand, const void *object);

/* All labels of an object that is being destroyed go. hand->node is 0. */
static inline void mproc__labels_drop(struct mproc__hand *hand, const void *object) {
    if (mproc__unlikely(mproc__peek64(&mproc__labels->used) != 0)) {
        mproc__labels_take(hand, object);
    }
}

#endif
