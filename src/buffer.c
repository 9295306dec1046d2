/*
 * buffer.c - memory of the arena that lives as long as somebody holds it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A header and the bytes stand in one block. The bytes are the program's: the library
 * neither clears nor reads them. Members hold a buffer as any object, and so do messages that take
 * it along (core/parcel.c).
 *
 * Shared state.
 *   size, head   constant once made.
 *   bytes        the program's.
 *
 * Invariants.
 *   B1  The bytes lie in the buffer's block.
 *   B2  Those of object.c, O5 among them.
 *
 * If a member dies here: its holds are given back, and the bytes are as it left them.
 */
#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/make.h"

struct mproc_buffer {
    struct mproc__object object;
    uint64_t size;
    uint64_t head; /* bytes of the block before those of the program */
    uint64_t pad[6];
};

static_assert(sizeof(struct mproc_buffer) == 2 * MPROC__LINE,
              "the bytes are as aligned as the block");

#define LARGE ((size_t)32768) /* from here on the bytes begin a page: a view maps them (view.c) */

struct plan {
    size_t size;
    size_t head;
};

static int fill(struct mproc__hand *hand, void *object, const void *arg) {
    (void)hand;
    const struct plan *plan = arg;
    mproc_buffer *buffer = object;
    buffer->size = plan->size;
    buffer->head = plan->head;
    return 0;
}

int mproc_buffer_new(mproc_buffer **out, size_t size) {
    const struct plan plan = {size, size < LARGE ? sizeof(mproc_buffer) : MPROC__BUFFER_PAGE};
    if (size > SIZE_MAX - plan.head) {
        return MPROC_ETOOBIG;
    }
    return mproc__object_build(out, MPROC__KIND_BUFFER, plan.head + size, fill, &plan);
}

void *mproc_buffer_data(mproc_buffer *buffer) {
    return mproc__expect(buffer, MPROC__KIND_BUFFER) ? (char *)buffer + buffer->head : NULL;
}

size_t mproc_buffer_size(const mproc_buffer *buffer) {
    return mproc__expect(buffer, MPROC__KIND_BUFFER) ? buffer->size : 0;
}

int mproc_buffer_check(mproc_buffer *buffer, char *why, size_t size) {
    if (!mproc__object_is(buffer, MPROC__KIND_BUFFER)) {
        return mproc__corrupt(why, size, "B: %p is no buffer", (void *)buffer);
    }
    size_t room = mproc__heap_size(buffer);
    if (buffer->head < sizeof *buffer || buffer->head > room ||
        buffer->size > room - buffer->head) {
        return mproc__corrupt(why, size, "B1: %llu bytes", (unsigned long long)buffer->size);
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__object_check(hand, buffer, why, size);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__buffer_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_buffer *buffer = copy;
    if (size < sizeof *buffer) {
        return false;
    }
    out->bytes = buffer->size;
    return true;
}
