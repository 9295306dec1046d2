/*
 * heap.c - memory of the arena: allocation is a transfer into a word
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Sizes up to 32 KiB are rounded to one of 40 classes, four per doubling; a class
 * divides chunks into blocks of its size and keeps a list of the chunks that have room (slabs,
 * Bonwick 1994). A free block holds the address of the next one in its first word; blocks never
 * used are not touched ("bump"). Larger sizes are runs of chunks. There are no headers in blocks.
 *
 * A thread that is stopped in a class' section keeps nobody from allocating: after MPROC__PATIENCE
 * the others take a block of another class, a larger one that is aligned as well. Only those wait
 * that find no section free there either, nor that of the chunks, and those that free a block of
 * that class.
 *
 * Shared state. A class' `partial` and the small-block fields of its chunks' descriptions are under
 * the class' guard. A block belongs to whoever has the word that names it.
 *
 * Invariants.
 *   H1  A SMALL chunk of a class is in its partial list exactly when used < capacity.
 *   H2  used + length of the free list == bump <= capacity.
 *   H3  Every free block lies in its chunk at a multiple of the class' size below bump.
 *   H4  A block for a size that a power of two divides, up to a cache line, lies at a multiple of
 *       that. Objects with words for different writers count on it.
 *
 * If a member dies here: the class' undo record puts all back. A chunk on its way between the class
 * and the chunk heap is in the hand's `run`, and its reaper gives it back. A freed block's first
 * word is saved as well, so that a block whose freeing was undone is as it was.
 */
#include "core/heap.h"

#include <string.h>

#define SMALL_MAX ((size_t)32768)
#define FINE_MAX ((size_t)128) /* up to here classes are 16 bytes apart */
#define ELSEWHERE 3u           /* classes that are tried in place of one whose section is held */

static struct mproc__heap *heap;

static struct mproc__class *class_at(unsigned class) {
    return &heap->classes[class];
}

static unsigned class_of(size_t size) {
    if (size <= FINE_MAX) {
        return size <= 16 ? 0 : (unsigned)((size + 15) / 16 - 1);
    }
    unsigned log = 63u - (unsigned)__builtin_clzll(size - 1); /* 2^log <= size - 1 */
    return 8 + (log - 7) * 4 + (unsigned)(((size - 1) >> (log - 2)) & 3);
}

static size_t class_size(unsigned class) {
    if (class < 8) {
        return ((size_t) class + 1) * 16;
    }
    unsigned doubling = (class - 8) / 4, step = (class - 8) % 4;
    return ((size_t)5 + step) << (doubling + 5);
}

/* The power of two that divides the size, a cache line's at most. */
static size_t alignment(size_t size) {
    size_t bits = size | MPROC__LINE;
    return bits & (~bits + 1);
}

static uint64_t capacity(unsigned class) {
    return MPROC__CHUNK / class_size(class);
}

static uint64_t address_of(uint64_t number) {
    return (uint64_t)(uintptr_t)mproc__chunk_address(number);
}

/* ---------------------------------------------------------------- a class' list of chunks */

static void list_push(struct mproc__class *c, uint64_t number) {
    struct mproc__chunk *d = mproc__chunk(number);
    mproc__guard_set(&c->guard, &d->next, c->partial);
    mproc__guard_set(&c->guard, &d->prev, 0);
    if (c->partial != 0) {
        mproc__guard_set(&c->guard, &mproc__chunk(c->partial - 1)->prev, number + 1);
    }
    mproc__guard_set(&c->guard, &c->partial, number + 1);
}

static void list_remove(struct mproc__class *c, uint64_t number) {
    struct mproc__chunk *d = mproc__chunk(number);
    if (d->prev != 0) {
        mproc__guard_set(&c->guard, &mproc__chunk(d->prev - 1)->next, d->next);
    } else {
        mproc__guard_set(&c->guard, &c->partial, d->next);
    }
    if (d->next != 0) {
        mproc__guard_set(&c->guard, &mproc__chunk(d->next - 1)->prev, d->prev);
    }
}

/* ---------------------------------------------------------------- small blocks */

/* Turns the run of one chunk in hand->run into a chunk of the class. */
static void adopt_chunk(struct mproc__hand *hand, struct mproc__class *c, unsigned class) {
    uint64_t number = mproc__chunk_number((void *)(uintptr_t)hand->run);
    struct mproc__chunk *d = mproc__chunk(number);
    mproc__guard_set(&c->guard, &d->state, mproc__chunk_state(MPROC__CHUNK_SMALL, class, 1));
    mproc__guard_set(&c->guard, &d->free, 0);
    mproc__guard_set(&c->guard, &d->used, 0);
    mproc__guard_set(&c->guard, &d->bump, 0);
    list_push(c, number);
    mproc__guard_set(&c->guard, &hand->run, 0);
}

/* 1: the class' section is not to be had any more, and the whole chunk is in *word. */
static MPROC__NOINLINE int refill(struct mproc__hand *hand, struct mproc__class *c, unsigned class,
                                  uint64_t *word) {
    int r = mproc__chunks_take(hand, 1, &hand->run);
    if (r != 0) {
        return r;
    }
    if (!mproc__guard_enter_within(&c->guard, hand, MPROC__PATIENCE)) {
        mproc__hand_move(hand, &hand->run, word);
        return 1;
    }
    if (c->partial == 0) {
        adopt_chunk(hand, c, class);
    }
    mproc__guard_leave(&c->guard, hand);
    if (hand->run != 0) { /* another thread was faster */
        mproc__chunks_give(hand, &hand->run);
    }
    return 0;
}

static void pop_block(struct mproc__class *c, unsigned class, uint64_t *word) {
    uint64_t number = c->partial - 1;
    struct mproc__chunk *d = mproc__chunk(number);
    uint64_t block = d->free;
    if (block != 0) {
        mproc__guard_set(&c->guard, &d->free, *(uint64_t *)(uintptr_t)block);
    } else {
        block = address_of(number) + d->bump * class_size(class);
        mproc__guard_set(&c->guard, &d->bump, d->bump + 1);
    }
    mproc__guard_set(&c->guard, &d->used, d->used + 1);
    if (d->used == capacity(class)) {
        list_remove(c, number);
    }
    mproc__guard_set(&c->guard, word, block);
}

/* -ETIMEDOUT: another thread does not leave a section that is needed. */
static int alloc_small(struct mproc__hand *hand, unsigned class, uint64_t *word) {
    struct mproc__class *c = class_at(class);
    for (;;) {
        if (mproc__unlikely(!mproc__guard_enter_within(&c->guard, hand, MPROC__PATIENCE))) {
            return -ETIMEDOUT;
        }
        bool found = c->partial != 0;
        if (mproc__likely(found)) {
            pop_block(c, class, word);
        }
        mproc__guard_leave(&c->guard, hand);
        if (mproc__likely(found)) {
            return 0;
        }
        int r = refill(hand, c, class, word);
        if (r != 0) {
            return r == 1 ? 0 : r;
        }
    }
}

/* A thread is stopped in the section of that size's class: blocks of the next ones that are aligned
 * as well do, or a whole chunk. */
static MPROC__NOINLINE int alloc_elsewhere(struct mproc__hand *hand, size_t size, uint64_t *word) {
    unsigned tried = 0;
    for (unsigned next = class_of(size) + 1; next < MPROC__CLASSES && tried < ELSEWHERE; next++) {
        if (class_size(next) % alignment(size) != 0) {
            continue;
        }
        int r = alloc_small(hand, next, word);
        if (r != -ETIMEDOUT) {
            return r;
        }
        tried++;
    }
    return mproc__chunks_take(hand, 1, word);
}

static MPROC__INLINE void free_small(struct mproc__hand *hand, uint64_t number, unsigned class,
                                     uint64_t *word) {
    struct mproc__class *c = class_at(class);
    struct mproc__chunk *d = mproc__chunk(number);
    mproc__guard_enter(&c->guard, hand);
    uint64_t block = *word;
    assert((block - address_of(number)) % class_size(class) == 0 && d->used > 0);
    mproc__guard_set(&c->guard, (uint64_t *)(uintptr_t)block, d->free);
    mproc__guard_set(&c->guard, &d->free, block);
    if (d->used == capacity(class)) {
        list_push(c, number);
    }
    mproc__guard_set(&c->guard, &d->used, d->used - 1);
    mproc__guard_set(&c->guard, word, 0);
    /* An empty chunk goes back unless it is the class' only one with room: no thrashing at the
     * edge. */
    if (d->used == 0 && (d->next != 0 || d->prev != 0)) {
        list_remove(c, number);
        mproc__guard_set(&c->guard, &d->state, mproc__chunk_state(MPROC__CHUNK_RUN, 0, 1));
        mproc__guard_set(&c->guard, &hand->run, address_of(number));
    }
    mproc__guard_leave(&c->guard, hand);
    if (mproc__unlikely(hand->run != 0)) {
        mproc__chunks_give(hand, &hand->run);
    }
}

/* ---------------------------------------------------------------- all blocks */

static uint64_t chunks_for(size_t size) {
    return (size >> MPROC__CHUNK_SHIFT) + (size % MPROC__CHUNK != 0);
}

size_t mproc__heap_most(void) {
    return mproc__chunks_limit() << MPROC__CHUNK_SHIFT;
}

bool mproc__heap_can_have(size_t size) {
    return mproc__chunks_may_have(chunks_for(size));
}

int mproc__heap_alloc_soon(struct mproc__hand *hand, size_t size, uint64_t *word) {
    assert(*word == 0);
    if (mproc__likely(size <= SMALL_MAX)) {
        int r = alloc_small(hand, class_of(size), word);
        return mproc__likely(r != -ETIMEDOUT) ? r : alloc_elsewhere(hand, size, word);
    }
    return mproc__heap_can_have(size) ? mproc__chunks_take(hand, chunks_for(size), word)
                                      : MPROC_ETOOBIG;
}

int mproc__heap_alloc(struct mproc__hand *hand, size_t size, uint64_t *word) {
    int r;
    do {
        r = mproc__heap_alloc_soon(hand, size, word);
    } while (mproc__unlikely(r == -ETIMEDOUT));
    return r;
}

/* The block in *word, of the chunk of that number and state. */
static inline void give_back(struct mproc__hand *hand, uint64_t number, uint64_t state,
                             uint64_t *word) {
    if (mproc__chunk_kind(state) == MPROC__CHUNK_SMALL) {
        free_small(hand, number, mproc__chunk_class(state), word);
    } else {
        assert(mproc__chunk_kind(state) == MPROC__CHUNK_RUN && *word == address_of(number));
        mproc__chunks_give(hand, word);
    }
}

void mproc__heap_free(struct mproc__hand *hand, uint64_t *word) {
    if (*word != 0) {
        uint64_t number = mproc__chunk_number((void *)(uintptr_t)*word);
        give_back(hand, number, mproc__peek64(&mproc__chunk(number)->state), word);
    }
}

/* Without the guard, and no further than what is read anyway. */
static inline bool may_be_block(uint64_t address, uint64_t state, const struct mproc__chunk *d) {
    unsigned kind = mproc__chunk_kind(state);
    return kind == MPROC__CHUNK_SMALL ? address % 16 == 0 && mproc__peek64(&d->free) != address
                                      : kind == MPROC__CHUNK_RUN && address % MPROC__CHUNK == 0;
}

void mproc__heap_free_given(struct mproc__hand *hand, void *owned) {
    uint64_t address = (uint64_t)(uintptr_t)owned, number = mproc__chunk_number(owned);
    const struct mproc__chunk *d = mproc__chunk(number);
    uint64_t state = mproc__peek64(&d->state);
    bool good = may_be_block(address, state, d);
    assert(good);
    if (mproc__likely(good)) {
        mproc__poke64(&hand->block, address); /* from here on its reaper would free it */
        give_back(hand, number, state, &hand->block);
    }
}

size_t mproc__heap_size(const void *block) {
    uint64_t state = mproc__peek64(&mproc__chunk(mproc__chunk_number(block))->state);
    return mproc__chunk_kind(state) == MPROC__CHUNK_SMALL
               ? class_size(mproc__chunk_class(state))
               : mproc__chunk_length(state) << MPROC__CHUNK_SHIFT;
}

size_t mproc__heap_class_size(unsigned class) {
    return class_size(class);
}

void mproc__heap_init(struct mproc__heap *all) {
    for (unsigned i = 0; i < MPROC__CLASSES; i++) {
        struct mproc__class *c = &all->classes[i];
        mproc__guard_init(&c->guard, c->log, MPROC__CLASS_UNDO);
    }
}

void mproc__heap_enter(struct mproc__heap *all) {
    heap = all;
}

bool mproc__heap_has(const void *pointer) {
    if (!mproc__chunks_contain(pointer)) {
        return false;
    }
    uint64_t offset = (uint64_t)(uintptr_t)pointer % MPROC__CHUNK;
    struct mproc__chunk *d = mproc__chunk(mproc__chunk_number(pointer));
    uint64_t state = mproc__peek64(&d->state);
    if (mproc__chunk_kind(state) == MPROC__CHUNK_SMALL) {
        return offset % class_size(mproc__chunk_class(state)) == 0 && mproc__peek64(&d->used) > 0;
    }
    return mproc__chunk_kind(state) == MPROC__CHUNK_RUN && offset == 0;
}

static void count_chunk(uint64_t number, size_t *blocks, size_t *bytes) {
    struct mproc__chunk *d = mproc__chunk(number);
    uint64_t state = mproc__peek64(&d->state);
    if (mproc__chunk_kind(state) == MPROC__CHUNK_SMALL) {
        uint64_t n = mproc__peek64(&d->used);
        *blocks += n;
        *bytes += n * class_size(mproc__chunk_class(state));
    } else if (mproc__chunk_kind(state) == MPROC__CHUNK_RUN) {
        *blocks += 1;
        *bytes += mproc__chunk_length(state) << MPROC__CHUNK_SHIFT;
    }
}

void mproc__heap_count(size_t *blocks, size_t *bytes) {
    *blocks = *bytes = 0;
    for (uint64_t i = 0, top = mproc__chunks_top(); i < top; i++) {
        count_chunk(i, blocks, bytes);
    }
}

/* ---------------------------------------------------------------- check */

/* In the crash laboratory, which checks the arena after each death: a member that goes on using a
 * block that was freed finds rubbish there. The first word is the free list's. */
static void poison(uint64_t block, size_t size) {
#ifdef MPROC_POISON
    memset((char *)(uintptr_t)block + sizeof(uint64_t), 0xdf, size - sizeof(uint64_t));
#else
    (void)block;
    (void)size;
#endif
}

static int check_free_list(uint64_t number, unsigned class, char *why, size_t size) {
    struct mproc__chunk *d = mproc__chunk(number);
    uint64_t free_blocks = 0;
    for (uint64_t b = d->free; b != 0; b = *(uint64_t *)(uintptr_t)b) {
        uint64_t offset = b - address_of(number);
        if (offset % class_size(class) != 0 || offset / class_size(class) >= d->bump) {
            return mproc__corrupt(why, size, "H3: chunk %llu has a free block at %llx",
                                  (unsigned long long)number, (unsigned long long)b);
        }
        if (++free_blocks > d->bump) {
            break;
        }
        poison(b, class_size(class));
    }
    if (d->used + free_blocks != d->bump || d->bump > capacity(class)) {
        return mproc__corrupt(why, size, "H2: chunk %llu: used %llu, free %llu, bump %llu",
                              (unsigned long long)number, (unsigned long long)d->used,
                              (unsigned long long)free_blocks, (unsigned long long)d->bump);
    }
    return 0;
}

static bool listed(struct mproc__class *c, uint64_t number) {
    uint64_t steps = mproc__chunks_top();
    for (uint64_t i = c->partial; i != 0 && steps-- > 0; i = mproc__chunk(i - 1)->next) {
        if (i == number + 1) {
            return true;
        }
    }
    return false;
}

static int check_class(unsigned class, char *why, size_t size) {
    struct mproc__class *c = class_at(class);
    uint64_t top = mproc__chunks_top();
    for (uint64_t i = 0; i < top; i++) {
        uint64_t state = mproc__peek64(&mproc__chunk(i)->state);
        if (mproc__chunk_kind(state) != MPROC__CHUNK_SMALL || mproc__chunk_class(state) != class) {
            continue;
        }
        int r = check_free_list(i, class, why, size);
        if (r != 0) {
            return r;
        }
        if (listed(c, i) != (mproc__chunk(i)->used < capacity(class))) {
            return mproc__corrupt(why, size, "H1: chunk %llu of class %u", (unsigned long long)i,
                                  class);
        }
    }
    return 0;
}

int mproc__heap_check(struct mproc__hand *hand, char *why, size_t size) {
    int r = mproc__chunks_check(hand, why, size);
    for (unsigned i = 0; r == 0 && i < MPROC__CLASSES; i++) {
        struct mproc__class *c = class_at(i);
        mproc__guard_enter(&c->guard, hand);
        r = check_class(i, why, size);
        mproc__guard_leave(&c->guard, hand);
    }
    return r;
}
