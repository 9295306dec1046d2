/*
 * parcel.c - a message that takes objects along
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A message in a queue belongs to no member, so nobody's death may take away what it
 * names. A parcel is a message whose block begins with a record of a hold for each object that it
 * takes along: buffers, and in a dict or list also others. The records stand in the objects' lists
 * beside those of members. They go with the message: when its receiver drops it, when its queue or
 * container is destroyed, or when its maker dies before it is put.
 *
 *     [object | count | hold | hold | ... | payload]
 *
 * Shared state. `count` is constant once the message is a parcel. The records are under the
 * registry's guard (object.c).
 *
 * Invariants.
 *   R1  The records and the payload's start lie in the message's block.
 *   R2  A record in use names a live object of a kind that may go along, and is a message's.
 *
 * If a member dies here: a message becomes a parcel by one store, when all its records are empty.
 * From then on whoever destroys it (a reaper by the dead member's hand) gives back the holds that
 * it has, and passes over the empty records.
 *
 * To destroy a message is a loop, and never a recursion: an object with insides of its own that
 * loses its last record becomes due (object.c).
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

/* What members share and name by its address. A message is nobody's but its receiver's. */
static bool goes_along(const struct mproc__object *object) {
    switch (object->kind) {
    case MPROC__KIND_ARRAY:
    case MPROC__KIND_BARRIER:
    case MPROC__KIND_BSEMAPHORE:
    case MPROC__KIND_BUFFER:
    case MPROC__KIND_CONDITION:
    case MPROC__KIND_DICT:
    case MPROC__KIND_EVENT:
    case MPROC__KIND_LIST:
    case MPROC__KIND_LOCK:
    case MPROC__KIND_QUEUE:
    case MPROC__KIND_RLOCK:
    case MPROC__KIND_SEMAPHORE: return true;
    default: return false;
    }
}

bool mproc__go_along(mproc_buffer *const *objects, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct mproc__object *object = (const void *)objects[i];
        if (!mproc__object_can_be_held(object) || !goes_along(object)) {
            return false;
        }
    }
    return true;
}

void *mproc__parcel_payload(struct mproc__object *message) {
    const struct parcel *parcel = parcel_of(message);
    return (char *)message + mproc__parcel_head(parcel != NULL ? parcel->count : 0);
}

void *mproc__parcel_object(const struct mproc__object *message, size_t i) {
    const struct parcel *parcel = parcel_of(message);
    return parcel != NULL && i < parcel->count ? (void *)(uintptr_t)parcel->attached[i].object
                                               : NULL;
}

mproc_buffer *mproc__parcel_buffer(const struct mproc__object *message, size_t i) {
    void *object = mproc__parcel_object(message, i);
    return object != NULL && mproc__object_looks(object, MPROC__KIND_BUFFER) ? object : NULL;
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
        const struct mproc__object *object = (const void *)(uintptr_t)h->object;
        if (object != NULL && (!mproc__object_can_be_held(object) || !goes_along(object) ||
                               h->token != MPROC__TOKEN_OF_MESSAGES)) {
            return mproc__corrupt(why, size, "R2: object %llu of a message is none that goes along",
                                  (unsigned long long)i);
        }
    }
    return 0;
}
