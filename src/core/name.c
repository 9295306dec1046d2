/*
 * name.c - the names that programs give to objects, and where objects were made
 *
 * SPDX-License-Identifier: MIT
 *
 * The public face of label.c, and its check. Shared state and invariants are those of label.c.
 */
#include "core/name.h"

#include <string.h>

#include "core/join.h"
#include "core/label.h"
#include "core/object.h"
#include "system/os.h"

static mproc_origin_fn hook;

/* ---------------------------------------------------------------- names */

static bool may_be_named(const void *pointer) {
    const struct mproc__object *object = pointer;
    return mproc__object_can_be_held(pointer) && object->kind != MPROC__KIND_MESSAGE &&
           object->kind != MPROC__KIND_PARCEL && object->kind != MPROC__KIND_BATCH &&
           mproc_holds(pointer) != 0;
}

int mproc_name(void *object, const char *name) {
    if (!may_be_named(object)) {
        return -EINVAL;
    }
    if (name != NULL && strnlen(name, MPROC_NAME_MOST + 1) > MPROC_NAME_MOST) {
        return -ENAMETOOLONG;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__label_set(hand, object, MPROC__LABEL_NAME, name != NULL ? name : "");
    mproc__hand_put(hand);
    return r;
}

static int read_label(const void *object, enum mproc__label_kind kind, char *out, size_t size) {
    if (!mproc__object_can_be_held(object)) {
        return -EINVAL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int length = mproc__label_read(hand, object, kind, out, size);
    mproc__hand_put(hand);
    return length;
}

int mproc_name_of(const void *object, char *out, size_t size) {
    return read_label(object, MPROC__LABEL_NAME, out, size);
}

/* ---------------------------------------------------------------- origins */

void mproc_origin_hook(mproc_origin_fn where) {
    hook = where;
}

void mproc__name_origin(struct mproc__hand *hand, const void *object, const void *address) {
    char text[MPROC__LABEL_MOST + 1] = "";
    if (hook == NULL || hook(text, sizeof text) != 0) {
        mproc__os_where(address, text, sizeof text);
    }
    text[MPROC__LABEL_MOST] = 0;
    (void)mproc__label_set(hand, object, MPROC__LABEL_ORIGIN, text);
}

int mproc_origin_of(const void *object, char *out, size_t size) {
    return read_label(object, MPROC__LABEL_ORIGIN, out, size);
}

/* ---------------------------------------------------------------- check */

static int check_label(uint64_t number, const struct mproc__label *label, char *why, size_t size) {
    const struct mproc__object *object = (const struct mproc__object *)(uintptr_t)label->object;
    if (!mproc__chunks_contain(object) || mproc__chunk_number(object) != number ||
        (object->magic != MPROC__OBJECT_MAGIC && object->magic != MPROC__OBJECT_DEAD)) {
        return mproc__corrupt(why, size, "N1: the label %p has no object in its chunk",
                              (const void *)label);
    }
    if (label->kind == 0 || label->kind >= MPROC__LABEL_KINDS ||
        *mproc__label_find(object, label->kind) != (uint64_t)(uintptr_t)label) {
        return mproc__corrupt(why, size, "N2: %p has two labels of a kind", (const void *)object);
    }
    if (label->length == 0 || label->length > MPROC__LABEL_MOST ||
        strnlen(label->text, label->length + 1) != label->length) {
        return mproc__corrupt(why, size, "N3: the text of the label %p is not as long as it says",
                              (const void *)label);
    }
    return 0;
}

static const struct mproc__label *label_at(uint64_t word) {
    return (const struct mproc__label *)(uintptr_t)word;
}

static int check_chunk(uint64_t number, char *why, size_t size) {
    int r = 0;
    for (uint64_t at = mproc__chunk(number)->labels; r == 0 && at != 0; at = label_at(at)->next) {
        r = mproc__labels->used == 0 ? mproc__corrupt(why, size, "N4: the first label is not known")
                                     : check_label(number, label_at(at), why, size);
    }
    return r;
}

int mproc__labels_check(struct mproc__hand *hand, char *why, size_t size) {
    uint64_t top = mproc__chunks_top();
    int r = 0;
    mproc__guard_enter(&mproc__labels->guard, hand);
    for (uint64_t i = 0; r == 0 && i < top; i++) {
        r = check_chunk(i, why, size);
    }
    mproc__guard_leave(&mproc__labels->guard, hand);
    return r;
}
