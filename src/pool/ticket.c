/*
 * ticket.c - the owner's books: what each open ticket stands for, and the pool's memory
 *
 * SPDX-License-Identifier: MIT
 *
 * Slips are a ring by ticket number; tickets close in any order, and `base` follows the oldest open one.
 * Blocks of the arena hang on the pool's object, so that they go with it whoever dies. See pool.c.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "core/kinds.h"
#include "pool/pool.h"

#define CELLS 1024 /* a slab's: a page */

/* ---------------------------------------------------------------- blocks */

void *mproc__pool_block_new(struct mproc__pool_shared *shared, size_t size) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__block *block = NULL;
    if (size <= SIZE_MAX - sizeof *block &&
        mproc__heap_alloc(hand, sizeof *block + size, &hand->block) == 0) {
        block = (struct mproc__block *)(uintptr_t)hand->block;
        mproc__guard_enter(&shared->guard, hand);
        block->next = shared->blocks;
        mproc__guard_set(&shared->guard, &shared->blocks, mproc__word(block));
        mproc__guard_set(&shared->guard, &hand->block, 0);
        mproc__guard_leave(&shared->guard, hand);
    }
    mproc__hand_put(hand);
    return block != NULL ? block + 1 : NULL;
}

/* Under the guard: takes what *link names out of the list into the hand. */
static void unlink_block(struct mproc__pool_shared *shared, struct mproc__hand *hand,
                         uint64_t *link) {
    struct mproc__block *block = (struct mproc__block *)(uintptr_t)*link;
    mproc__guard_set(&shared->guard, &hand->block, mproc__word(block));
    mproc__guard_set(&shared->guard, link, block->next);
}

void mproc__pool_block_drop(struct mproc__pool_shared *shared, void *payload) {
    if (payload == NULL) {
        return;
    }
    uint64_t wanted = mproc__word((struct mproc__block *)payload - 1);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&shared->guard, hand);
    uint64_t *link = &shared->blocks;
    while (*link != wanted) {
        link = &((struct mproc__block *)(uintptr_t)*link)->next;
    }
    unlink_block(shared, hand, link);
    mproc__guard_leave(&shared->guard, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__hand_put(hand);
}

void mproc__pool_destroy(struct mproc__hand *hand, void *object) {
    struct mproc__pool_shared *shared = object;
    while (shared->blocks != 0) {
        mproc__guard_enter(&shared->guard, hand);
        unlink_block(shared, hand, &shared->blocks);
        mproc__guard_leave(&shared->guard, hand);
        mproc__heap_free(hand, &hand->block);
    }
}

/* ---------------------------------------------------------------- functions */

int mproc__pool_name(mproc_pool *pool, mproc__function fn, struct mproc__pool_function **out) {
    for (size_t i = 0; i < pool->known_count; i++) {
        if (pool->known[i].fn == fn) {
            *out = pool->known[i].shared;
            return 0;
        }
    }
    struct mproc__function_ref ref;
    int r = mproc__function_name(fn, &ref);
    if (r != 0) {
        return r;
    }
    struct mproc__known *known = realloc(pool->known, (pool->known_count + 1) * sizeof *known);
    if (known == NULL) {
        return -ENOMEM;
    }
    pool->known = known;
    struct mproc__pool_function *function = mproc__pool_block_new(pool->shared, sizeof *function);
    if (function == NULL) {
        return -ENOMEM;
    }
    function->index = pool->known_count;
    function->ref = ref;
    known[pool->known_count++] = (struct mproc__known){fn, function};
    *out = function;
    return 0;
}

/* ---------------------------------------------------------------- cells */

static int add_slab(mproc_pool *pool) {
    size_t total = pool->cells_total + CELLS;
    uint32_t **cells = realloc(pool->cells, total * sizeof *cells);
    if (cells == NULL) {
        return -ENOMEM;
    }
    pool->cells = cells;
    uint32_t *slab = mproc__pool_block_new(pool->shared, CELLS * sizeof *slab);
    if (slab == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < CELLS; i++) {
        cells[pool->cells_free++] = &slab[i];
    }
    pool->cells_total = total;
    return 0;
}

int mproc__cell_take(mproc_pool *pool, uint32_t **out) {
    int r = pool->cells_free > 0 ? 0 : add_slab(pool);
    if (r == 0) {
        *out = pool->cells[--pool->cells_free];
        mproc__store32(*out, MPROC__CELL_PENDING);
    }
    return r;
}

void mproc__cell_give(mproc_pool *pool, uint32_t *cell) {
    pool->cells[pool->cells_free++] = cell;
}

/* ---------------------------------------------------------------- slips */

struct mproc__slip *mproc__slip_at(mproc_pool *pool, uint64_t ticket) {
    if (ticket - pool->base >= pool->top - pool->base) {
        return NULL;
    }
    struct mproc__slip *slip = &pool->slips[ticket & (pool->capacity - 1)];
    return slip->kind != MPROC__SLIP_EMPTY ? slip : NULL;
}

/* Room for one more. */
static int slips_reserve(mproc_pool *pool) {
    if (pool->top - pool->base < pool->capacity) {
        return 0;
    }
    uint64_t capacity = pool->capacity != 0 ? 2 * pool->capacity : 64;
    struct mproc__slip *slips = calloc(capacity, sizeof *slips);
    if (slips == NULL) {
        return -ENOMEM;
    }
    for (uint64_t t = pool->base; t != pool->top; t++) {
        slips[t & (capacity - 1)] = pool->slips[t & (pool->capacity - 1)];
    }
    free(pool->slips);
    pool->slips = slips;
    pool->capacity = capacity;
    return 0;
}

/* The slip is closed: its copy says what to do, and is all that is left of it. */
static struct mproc__slip slip_take(mproc_pool *pool, uint64_t ticket) {
    struct mproc__slip *slip = mproc__slip_at(pool, ticket);
    struct mproc__slip copy = *slip;
    *slip = (struct mproc__slip){0};
    while (pool->base != pool->top && mproc__slip_at(pool, pool->base) == NULL) {
        pool->base++;
    }
    if (copy.kind == MPROC__SLIP_TASK) {
        mproc__cell_give(pool, copy.cell);
        pool->open_tasks--;
    }
    return copy;
}

int mproc__order_put(mproc_pool *pool, const struct mproc__order *order, const void *lent,
                     size_t size, struct mproc__slip slip, uint64_t *ticket) {
    struct iovec pieces[2] = {{(void *)(uintptr_t)order, sizeof *order},
                              {(void *)(uintptr_t)lent, size}};
    int r = slips_reserve(pool);
    if (r == 0) {
        r = mproc_taskq_put(pool->tasks, pieces, 2, ticket);
    }
    if (r == 0) {
        assert(*ticket == pool->top);
        pool->slips[*ticket & (pool->capacity - 1)] = slip;
        pool->top++;
    }
    return r;
}

/* ---------------------------------------------------------------- booking */

static int keep_result(mproc_task *task, mproc_message *message) {
    task->size = message->size - sizeof(struct mproc__reply);
    char *bytes = (char *)message->data + sizeof(struct mproc__reply);
    if (message->block != NULL) {
        task->message = *message;
        task->data = bytes;
        *message = (mproc_message){NULL, 0, NULL, 0, NULL};
        return 0;
    }
    task->data = malloc(task->size + 1); /* an empty result has an address too */
    if (task->data == NULL) {
        return -ENOMEM;
    }
    memcpy(task->data, bytes, task->size);
    return 0;
}

static void chunk_failed(struct mproc__map *map, const mproc_task_error *error) {
    mproc__store32(&map->shared->cancelled, 1);
    if (map->error.code == 0 || error->task < map->error.task) {
        map->error = *error;
    }
}

void mproc__book_failure(mproc_pool *pool, uint64_t ticket, mproc_task_error error) {
    if (mproc__slip_at(pool, ticket) == NULL) {
        return;
    }
    struct mproc__slip slip = slip_take(pool, ticket);
    error.task = slip.number;
    if (slip.kind == MPROC__SLIP_CHUNK) {
        slip.map->open--;
        chunk_failed(slip.map, &error);
    } else if (slip.task != NULL) {
        slip.task->error = error;
        mproc__task_done(slip.task);
    }
}

static void chunk_done(struct mproc__map *map, uint64_t first) {
    map->open--;
    map->finished += mproc__map_chunk(map->shared, first);
}

static void book_success(mproc_pool *pool, uint64_t ticket, mproc_message *message, pid_t pid) {
    struct mproc__slip slip = slip_take(pool, ticket);
    if (slip.kind == MPROC__SLIP_CHUNK) {
        chunk_done(slip.map, slip.number);
    } else if (slip.task != NULL) {
        slip.task->error = (mproc_task_error){keep_result(slip.task, message), slip.number, pid, 0};
        mproc__task_done(slip.task);
    }
}

static void book_skipped(mproc_pool *pool, uint64_t ticket) {
    struct mproc__slip slip = slip_take(pool, ticket);
    if (slip.kind == MPROC__SLIP_CHUNK) {
        slip.map->open--;
    }
}

void mproc__book_reply(mproc_pool *pool, uint64_t ticket, mproc_message *message) {
    struct mproc__reply reply;
    if (mproc__slip_at(pool, ticket) != NULL && message->size >= sizeof reply) {
        memcpy(&reply, message->data, sizeof reply);
        if (reply.code == 0) {
            book_success(pool, ticket, message, reply.pid);
        } else if (reply.code == MPROC__POOL_SKIPPED) {
            book_skipped(pool, ticket);
        } else {
            mproc__book_failure(pool, ticket, (mproc_task_error){reply.code, 0, reply.pid, 0});
        }
    }
    mproc_message_drop(message);
}

/* ---------------------------------------------------------------- check */

int mproc__slips_check(const mproc_pool *pool, char *why, size_t size) {
    uint64_t tasks = 0;
    for (uint64_t t = pool->base; t != pool->top; t++) {
        tasks += pool->slips[t & (pool->capacity - 1)].kind == MPROC__SLIP_TASK;
    }
    if (pool->base != pool->top &&
        pool->slips[pool->base & (pool->capacity - 1)].kind == MPROC__SLIP_EMPTY) {
        return mproc__corrupt(why, size, "W1: slip %llu is not open",
                              (unsigned long long)pool->base);
    }
    if (tasks != pool->open_tasks || pool->cells_total - pool->cells_free != tasks) {
        return mproc__corrupt(why, size, "W2: %llu tasks are open, %llu counted, %zu cells in use",
                              (unsigned long long)tasks, (unsigned long long)pool->open_tasks,
                              pool->cells_total - pool->cells_free);
    }
    return 0;
}

int mproc__pool_blocks_check(struct mproc__pool_shared *shared, char *why, size_t size) {
    int r = 0;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&shared->guard, hand);
    for (uint64_t b = shared->blocks; r == 0 && b != 0;) {
        const struct mproc__block *block = (const struct mproc__block *)(uintptr_t)b;
        if (!mproc_in_arena(block)) {
            r = mproc__corrupt(why, size, "W3: block %p is not in the arena", (const void *)block);
        } else {
            b = block->next;
        }
    }
    mproc__guard_leave(&shared->guard, hand);
    mproc__hand_put(hand);
    return r;
}
