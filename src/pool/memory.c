/*
 * memory.c - a pool's memory in the arena, and the names of functions that stand in it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Blocks hang on the workplace in a list, so that they go with it whoever dies last.
 * The owner makes and drops them; nobody else changes the list. A function is named once
 * (process/function.h): its name stays in a block, and the owner remembers which address has which
 * name.
 *
 * Shared state: place->blocks and the blocks' `next`, changed under place->guard.
 *
 * Invariant: W3 (see pool.c). A block is in the list, or in the hand of the thread that makes or
 * drops it.
 *
 * If the owner dies here: the guard puts the list and the hand back, or leaves both changed; the
 * reaper frees what is in the hand.
 */
#include <stdlib.h>

#include "core/facts.h"
#include "core/kinds.h"
#include "pool/inside.h"

static struct mproc__block *block_at(uint64_t word) {
    return (struct mproc__block *)(uintptr_t)word;
}

/* ---------------------------------------------------------------- blocks */

static void link_block(mproc_workplace *place, struct mproc__hand *hand) {
    mproc__guard_enter(&place->guard, hand);
    block_at(hand->block)->next = place->blocks;
    mproc__guard_set(&place->guard, &place->blocks, hand->block);
    mproc__guard_set(&place->guard, &hand->block, 0);
    mproc__guard_leave(&place->guard, hand);
}

void *mproc__pool_block_new(mproc_workplace *place, size_t size) {
    struct mproc__block *block = NULL;
    if (size > SIZE_MAX - sizeof *block) {
        return NULL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    if (mproc__heap_alloc(hand, sizeof *block + size, &hand->block) == 0) {
        block = block_at(hand->block);
        link_block(place, hand);
    }
    mproc__hand_put(hand);
    return block != NULL ? block + 1 : NULL;
}

/* Under the guard: takes what *link names out of the list into the hand. */
static void unlink_block(mproc_workplace *place, struct mproc__hand *hand, uint64_t *link) {
    struct mproc__block *block = block_at(*link);
    mproc__guard_set(&place->guard, &hand->block, mproc__word(block));
    mproc__guard_set(&place->guard, link, block->next);
}

void mproc__pool_block_drop(mproc_workplace *place, void *payload) {
    if (payload == NULL) {
        return;
    }
    uint64_t wanted = mproc__word((struct mproc__block *)payload - 1);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&place->guard, hand);
    uint64_t *link = &place->blocks;
    while (*link != wanted) {
        link = &block_at(*link)->next;
    }
    unlink_block(place, hand, link);
    mproc__guard_leave(&place->guard, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__hand_put(hand);
}

void mproc__pool_destroy(struct mproc__hand *hand, void *object) {
    mproc_workplace *place = object;
    while (place->blocks != 0) {
        mproc__guard_enter(&place->guard, hand);
        unlink_block(place, hand, &place->blocks);
        mproc__guard_leave(&place->guard, hand);
        mproc__heap_free(hand, &hand->block);
    }
    mproc__object_destroy(hand, &place->tasks);
}

int mproc__pool_blocks_check(mproc_workplace *place, char *why, size_t size) {
    int r = 0;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&place->guard, hand);
    for (uint64_t b = place->blocks; r == 0 && b != 0;) {
        if (!mproc_in_arena(block_at(b))) {
            r = mproc__corrupt(why, size, "W3: block %p is not in the arena", (void *)block_at(b));
        } else {
            b = block_at(b)->next;
        }
    }
    mproc__guard_leave(&place->guard, hand);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- functions */

static struct mproc__pool_function *known_name(const mproc_pool *pool, mproc__function fn) {
    for (size_t i = 0; i < pool->known_count; i++) {
        if (pool->known[i].fn == fn) {
            return pool->known[i].shared;
        }
    }
    return NULL;
}

/* Room for one more. */
static int reserve_known(mproc_pool *pool) {
    size_t size = (pool->known_count + 1) * sizeof *pool->known;
    struct mproc__known *known = realloc(pool->known, size);
    if (known == NULL) {
        return -ENOMEM;
    }
    pool->known = known;
    return 0;
}

int mproc__pool_name(mproc_pool *pool, mproc__function fn, struct mproc__pool_function **out) {
    struct mproc__function_ref ref;
    *out = known_name(pool, fn);
    if (*out != NULL) {
        return 0;
    }
    int r = mproc__function_name(fn, &ref);
    if (r == 0) {
        r = reserve_known(pool);
    }
    if (r != 0) {
        return r;
    }
    struct mproc__pool_function *function = mproc__pool_block_new(pool->place, sizeof *function);
    if (function == NULL) {
        return -ENOMEM;
    }
    *function = (struct mproc__pool_function){pool->known_count, ref};
    pool->known[pool->known_count++] = (struct mproc__known){fn, function};
    *out = function;
    return 0;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__pool_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_workplace *place = copy;
    if (size < sizeof *place) {
        return false;
    }
    out->inside[0] = place->tasks;
    return true;
}
