/*
 * parcel.c - a message that takes buffers along
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A message in a queue belongs to no member, so nobody's death may take away what it
 * names. A parcel is a message whose block begins with a record of a hold for each of its buffers.
 * The records stand in the buffers' lists beside those of members. They go with the message: when
 * its receiver drops it, when its queue is destroyed, or when its maker dies before it is put.
 *
 *     [object | count | hold | hold | ... | payload]
 *
 * Shared state. `count` is constant once the message is a parcel. The records are under the
 * registry's guard (object.c).
 *
 * Invariants.
 *   R1  The records and the payload's start lie in the message's block.
 *   R2  A record in use names a live buffer, and is a message's.
 *
 * If a member dies here: a message becomes a parcel by one store, when all its records are empty.
 * From then on whoever destroys it (a reaper by the dead member's hand) gives back the holds that
 * it has, and passes over the empty records.
 *
 * What it does not do: hold objects that have insides of their own. So to destroy a message is a
 * loop, and never a recursion.
 */
#include "core/parcel.h"

#include "core/heap.h"
#include "core/kinds.h"

struct parcel {
    struct mproc__object object;
    uint64_t count;
    uint64_t pad;
    struct mproc__hold attached[];
};

static const struct parcel *parcel_of(const struct mproc__object *message) {
    return message->kind == MPROC__KIND_PARCEL ? (const struct parcel *)(const void *)message
                                               : NULL;
}

/* Large blocks begin with a page, and so does the memory that malloc() gives for large data, up to
 * its 16 bytes and the interpreter's 32. A copy to a place that is less than a cache line further
 * in its page than where it comes from takes up to twice as long: each load seems to wait for the
 * store before it. So a payload stands two lines behind the beginning. */
#define PLAIN_HEAD ((size_t)2 * MPROC__LINE)

static_assert(sizeof(struct mproc__object) <= PLAIN_HEAD, "the payload is behind the object");

size_t mproc__parcel_head(size_t n) {
    size_t size = sizeof(struct parcel) + n * sizeof(struct mproc__hold);
    return n == 0 ? PLAIN_HEAD : (size + MPROC__LINE - 1) & ~(MPROC__LINE - 1);
}

static_assert(sizeof(struct parcel) + sizeof(struct mproc__hold) > PLAIN_HEAD - MPROC__LINE,
              "the same holds for a parcel's payload");

/* Its destructor is the parcel's from here on. */
static struct parcel *become_parcel(struct mproc__hand *hand, size_t n) {
    struct parcel *parcel = (struct parcel *)(uintptr_t)hand->unheld;
    parcel->count = n;
    memset(parcel->attached, 0, n * sizeof *parcel->attached);
    mproc__program_order();
    mproc__poke32(&parcel->object.kind, MPROC__KIND_PARCEL);
    return parcel;
}

int mproc__parcel_make(struct mproc__hand *hand, mproc_buffer *const *buffers, size_t n,
                       size_t size) {
    int r = mproc__object_alloc(hand, MPROC__KIND_MESSAGE, mproc__parcel_head(n) + size);
    if (r != 0 || n == 0) {
        return r;
    }
    struct parcel *parcel = become_parcel(hand, n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = mproc__object_attach(hand, buffers[i], &parcel->attached[i]);
    }
    if (r != 0) {
        mproc__object_destroy(hand, &hand->unheld);
    }
    return r;
}

bool mproc__are_buffers(mproc_buffer *const *buffers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!mproc__expect(buffers[i], MPROC__KIND_BUFFER)) {
            return false;
        }
    }
    return true;
}

void *mproc__parcel_payload(struct mproc__object *message) {
    const struct parcel *parcel = parcel_of(message);
    return (char *)message + mproc__parcel_head(parcel != NULL ? parcel->count : 0);
}

mproc_buffer *mproc__parcel_buffer(const struct mproc__object *message, size_t i) {
    const struct parcel *parcel = parcel_of(message);
    return parcel != NULL && i < parcel->count
               ? (mproc_buffer *)(uintptr_t)parcel->attached[i].object
               : NULL;
}

void mproc__parcel_destroy(struct mproc__hand *hand, void *object) {
    struct parcel *parcel = object;
    for (uint64_t i = 0; i < parcel->count; i++) {
        mproc__object_detach(hand, &parcel->attached[i]);
    }
}

int mproc__parcel_check(const struct mproc__object *message, char *why, size_t size) {
    const struct parcel *parcel = parcel_of(message);
    if (parcel == NULL) {
        return 0;
    }
    if (parcel->count > mproc__heap_size(message) / sizeof(struct mproc__hold) ||
        mproc__parcel_head(parcel->count) > mproc__heap_size(message)) {
        return mproc__corrupt(why, size, "R1: a message with %llu buffers",
                              (unsigned long long)parcel->count);
    }
    for (uint64_t i = 0; i < parcel->count; i++) {
        const struct mproc__hold *h = &parcel->attached[i];
        if (h->object != 0 &&
            (!mproc__object_is((void *)(uintptr_t)h->object, MPROC__KIND_BUFFER) ||
             h->token != MPROC__TOKEN_OF_MESSAGES)) {
            return mproc__corrupt(why, size, "R2: buffer %llu of a message is none",
                                  (unsigned long long)i);
        }
    }
    return 0;
}
