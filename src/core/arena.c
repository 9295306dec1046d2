/*
 * arena.c - memory of the arena for the program
 *
 * SPDX-License-Identifier: MIT
 *
 * The public face of heap.c. A block moves from the heap into the hand and from there to the
 * program. From then on it is the program's: no member's death frees it.
 */
#include <string.h>

#include "core/heap.h"
#include "core/join.h"
#include "core/name.h"
#include "core/trace_ring.h"

void *mproc_alloc(size_t size) {
    if (size == 0 || mproc__family_need() != 0) {
        return NULL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    void *block = NULL;
    if (mproc__heap_alloc(hand, size, &hand->block) == 0) {
        block = (void *)(uintptr_t)hand->block;
        mproc__poke64(&hand->block, 0); /* from here on it is the program's */
    }
    mproc__hand_put(hand);
    return block;
}

void *mproc_calloc(size_t n, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        return NULL;
    }
    void *block = mproc_alloc(total);
    return block == NULL ? NULL : memset(block, 0, total);
}

void mproc_free(void *owned) {
    if (owned == NULL) {
        return;
    }
    assert(mproc__heap_has(owned)); /* before a hand names it, which its reaper would free */
    if (!mproc_in_arena(owned)) {
        return;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__heap_free_given(hand, owned);
    mproc__hand_put(hand);
}

int mproc_in_arena(const void *pointer) {
    return mproc__family != NULL &&
           (uint64_t)(uintptr_t)pointer - mproc__family->base < mproc__family->mapped;
}

void mproc_copy(void *to, const void *from, size_t size) {
    mproc__os_memory_copy(to, from, size);
}

void mproc_arena_fit(uint64_t space) {
    if (mproc__family != NULL) {
        mproc__family_fit(space);
    }
}

void mproc_arena_stat(mproc_arena_stats *out) {
    memset(out, 0, sizeof *out);
    if (mproc__family_need() != 0) {
        return;
    }
    uint64_t top = mproc__chunks_top();
    mproc__heap_count(&out->blocks, &out->used);
    out->span = mproc__family->mapped;
    out->limit = mproc__heap_most();
    out->warm = mproc__chunks_warm();
    out->high_water =
        (uint64_t)(uintptr_t)mproc__chunk_address(top) - (uint64_t)(uintptr_t)mproc__family;
}

int mproc_arena_check(char *why, size_t size) {
    int r = mproc__family_need();
    if (r != 0) {
        return r;
    }
    struct mproc__hand *hand = mproc__hand_get();
    r = mproc__heap_check(hand, why, size);
    r = r == 0 ? mproc__labels_check(hand, why, size) : r;
    r = r == 0 ? mproc__trace_check(why, size) : r;
    mproc__hand_put(hand);
    return r;
}
