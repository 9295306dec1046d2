/*
 * trace_ring.c - a thread gets the ring in which it says what it does
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared state: a word of trace->rings for each hand of each slot, written by the thread that has
 * the hand. The block moves from the heap into the word in one step, and is never freed: it serves
 * the next thread in that place, and the next recording. Rings may have half of the arena. `magic`
 * says that `next` has been set. self->named is private to the process; two of its threads may say
 * its name at a time, which does no harm.
 *
 * If a member dies here: the word is 0, or names a block without its magic. The next thread in that
 * place makes a ring of it.
 */
#include <string.h>

#include "core/heap.h"
#include "core/trace_ring.h"

#define RING_CHUNKS (sizeof(struct mproc__trace_ring) / MPROC__CHUNK)

static_assert(sizeof(struct mproc__trace_ring) == RING_CHUNKS * MPROC__CHUNK, "no byte is wasted");

static_assert(MPROC__TRACE_PIECES * MPROC__TRACE_PIECE >= sizeof((struct mproc__slot *)0)->name,
              "a name is said whole");

static void begin(struct mproc__trace_ring *ring) {
    mproc__poke64(&ring->next, 0);
    mproc__store_fence();
    mproc__poke64(&ring->magic, MPROC__TRACE_RING_MAGIC);
}

/* The slot's name is its member's only as long as that lives. */
static void say_name(struct mproc__self *self) {
    char name[MPROC__TRACE_PIECES * MPROC__TRACE_PIECE] = {0};
    memcpy(name, self->slot->name, sizeof self->slot->name);
    for (unsigned i = 0; i < MPROC__TRACE_PIECES; i++) {
        uint64_t address = 0, count;
        memcpy(&address, name + i * MPROC__TRACE_PIECE, MPROC__TRACE_PIECE - sizeof count);
        memcpy(&count, name + (i + 1) * MPROC__TRACE_PIECE - sizeof count, sizeof count);
        mproc__trace_write(
            mproc__trace_what(MPROC__TRACE_MEMBER, i, (const void *)(uintptr_t)address), count);
    }
    mproc__poke32(&self->named, 1);
}

/* There may be no memory: then nothing is recorded of this thread, and that is counted. What a
 * recorder has begun must not take the memory that the program needs. */
void mproc__trace_join(void) {
    struct mproc__hand *hand = mproc__hand_own();
    uint64_t *place = mproc__trace_place();
    if (place == NULL) {
        return;
    }
    if (mproc__peek64(place) == 0 && mproc__chunks_have_half(RING_CHUNKS)) {
        (void)mproc__heap_alloc(hand, sizeof(struct mproc__trace_ring), place);
    }
    struct mproc__trace_ring *ring = (struct mproc__trace_ring *)(uintptr_t)mproc__peek64(place);
    if (ring != NULL && mproc__peek64(&ring->magic) != MPROC__TRACE_RING_MAGIC) {
        begin(ring);
    }
    if (ring != NULL && mproc__peek32(&mproc__self()->named) == 0) {
        say_name(mproc__self());
    }
}

bool mproc__trace_joined(void) {
    return mproc__peek32(&mproc__self()->named) != 0 && mproc__trace_own_ring() != NULL;
}

void mproc__trace_done(enum mproc__trace_event event, unsigned kind, const void *object,
                       uint64_t count) {
    uint64_t what = mproc__trace_what(event, kind, object);
    if (mproc__unlikely(!mproc__trace_write_joined(what, count))) {
        mproc__trace_join();
        mproc__trace_write(what, count);
    }
}

/* ---------------------------------------------------------------- checking */

/* Only rings that have been taken: the table itself is mostly pages that nobody has touched. */
static int check_rings(uint32_t slot, char *why, size_t size) {
    for (uint32_t i = slot * MPROC__TRACE_HANDS; i < (slot + 1) * MPROC__TRACE_HANDS; i++) {
        uint64_t at = mproc__peek64(&mproc__trace->rings[i]);
        const void *ring = (const void *)(uintptr_t)at;
        if (at != 0 &&
            (!mproc__heap_has(ring) || mproc__heap_size(ring) < sizeof(struct mproc__trace_ring))) {
            return mproc__corrupt(why, size, "R2: ring %u is at %p", i, ring);
        }
    }
    return 0;
}

int mproc__trace_check(char *why, size_t size) {
    uint32_t clock = mproc__trace_on();
    int r = clock <= MPROC__TRACE_BY_TICKS ? 0 : mproc__corrupt(why, size, "R: clock %u", clock);
    for (uint32_t slot = 0; r == 0 && slot < mproc__table_top(); slot++) {
        r = check_rings(slot, why, size);
    }
    return r;
}
