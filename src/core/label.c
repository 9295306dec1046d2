/*
 * label.c - what people call an object: its name, and where it was made
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A label is a block of its own. Those of the objects that begin in a chunk hang in a
 * list of the chunk's description. So an object without a label pays nothing for those of others,
 * but one look at `used` when it goes.
 *
 * Shared state: `labels` of the chunks, and all labels, under `guard`. `used` becomes 1 before the
 * family's first label is linked, and stays so. Who destroys an object has seen the last hold go,
 * and whoever gave it a label had one: so it finds `used` set, and no label comes any more.
 *
 * Invariants.
 *   N1  A label hangs in the list of the chunk that its object begins in, and that object lives.
 *   N2  An object has at most one label of each kind.
 *   N3  A text has 1 to MPROC__LABEL_MOST bytes, of which none is 0, and a 0 behind it.
 *   N4  Without `used` there is no label.
 *
 * If a member dies here: a label that is not linked yet is in hand->block, one that is not linked
 * any more in hand->node. The object has the earlier label or the new one, whole. One that dies
 * while it destroys an object has it in its hand still: its reaper takes what labels are left.
 *
 * What it does not do: look a name up.
 */
#include "core/label.h"

#include <stdlib.h>
#include <string.h>

#include "core/heap.h"

struct mproc__labels *mproc__labels;
bool mproc__origins;

void mproc__labels_init(struct mproc__labels *all) {
    mproc__guard_init(&all->guard, all->log, MPROC__LABELS_UNDO);
}

void mproc__labels_enter(struct mproc__labels *all) {
    const char *origin = getenv("MPROC_ORIGIN");
    mproc__labels = all;
    mproc__origins = all != NULL && origin != NULL && *origin != 0 && strcmp(origin, "0") != 0;
}

/* ---------------------------------------------------------------- lists; under the guard */

static struct mproc__label *label_at(uint64_t word) {
    return (struct mproc__label *)(uintptr_t)word;
}

static uint64_t word_of(const void *pointer) {
    return (uint64_t)(uintptr_t)pointer;
}

static void set(uint64_t *word, uint64_t value) {
    mproc__guard_set(&mproc__labels->guard, word, value);
}

static uint64_t *list_of(const void *object) {
    return &mproc__chunk(mproc__chunk_number(object))->labels;
}

uint64_t *mproc__label_find(const void *object, uint32_t kind) {
    uint64_t *link = list_of(object);
    while (*link != 0) {
        struct mproc__label *label = label_at(*link);
        if (label->object == word_of(object) && (kind == 0 || label->kind == kind)) {
            return link;
        }
        link = &label->next;
    }
    return NULL;
}

static void unlink_label(struct mproc__hand *hand, uint64_t *link) {
    uint64_t old = *link;
    set(link, label_at(old)->next);
    set(&hand->node, old);
}

static void link_label(struct mproc__hand *hand, const void *object) {
    uint64_t *list = list_of(object);
    set(&label_at(hand->block)->next, *list);
    set(list, hand->block);
    set(&hand->block, 0);
}

/* ---------------------------------------------------------------- giving and taking */

static void enter(struct mproc__hand *hand) {
    mproc__guard_enter(&mproc__labels->guard, hand);
}

static void leave(struct mproc__hand *hand) {
    mproc__guard_leave(&mproc__labels->guard, hand);
}

/* Into hand->block. */
static int make(struct mproc__hand *hand, const void *object, uint32_t kind, const char *text,
                size_t length) {
    int r = mproc__heap_alloc(hand, sizeof(struct mproc__label) + length + 1, &hand->block);
    if (r == 0) {
        struct mproc__label *label = label_at(hand->block);
        *label = (struct mproc__label){0, word_of(object), kind, (uint32_t)length};
        memcpy(label->text, text, length);
        label->text[length] = 0;
    }
    return r;
}

int mproc__label_set(struct mproc__hand *hand, const void *object, enum mproc__label_kind kind,
                     const char *text) {
    size_t length = strnlen(text, MPROC__LABEL_MOST);
    int r = length != 0 ? make(hand, object, kind, text, length) : 0;
    if (r != 0) {
        return r;
    }
    mproc__poke64(&mproc__labels->used, 1);
    enter(hand);
    uint64_t *old = mproc__label_find(object, kind);
    if (old != NULL) {
        unlink_label(hand, old);
    }
    if (hand->block != 0) {
        link_label(hand, object);
    }
    leave(hand);
    mproc__heap_free(hand, &hand->node);
    return 0;
}

void mproc__labels_take(struct mproc__hand *hand, const void *object) {
    bool more = true;
    while (more) {
        enter(hand);
        uint64_t *link = mproc__label_find(object, 0);
        more = link != NULL;
        if (more) {
            unlink_label(hand, link);
        }
        leave(hand);
        mproc__heap_free(hand, &hand->node);
    }
}

int mproc__label_read(struct mproc__hand *hand, const void *object, enum mproc__label_kind kind,
                      char *out, size_t size) {
    enter(hand);
    uint64_t *link = mproc__label_find(object, kind);
    const struct mproc__label *label = link != NULL ? label_at(*link) : NULL;
    size_t length = label != NULL ? label->length : 0;
    if (size != 0) {
        size_t n = length < size ? length : size - 1;
        memcpy(out, label != NULL ? label->text : "", n);
        out[n] = 0;
    }
    leave(hand);
    return (int)length;
}
