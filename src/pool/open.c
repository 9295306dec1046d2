/*
 * open.c - the owner's books: what each open ticket stands for
 *
 * SPDX-License-Identifier: MIT
 *
 * A ring by ticket number, in private memory, under the pool's lock. Tickets are given by the task
 * queue, one after the other; they are closed in any order, and `base` follows the oldest one that
 * is open. Invariants W1 and W2: see pool.c.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "pool/inside.h"

#define PIECES_MAX 1022 /* of a message, beside its head */
#define BATCH 64        /* parts that are put together */

static struct mproc__open *entry_at(const mproc_pool *pool, uint64_t ticket) {
    return &pool->open[ticket & (pool->capacity - 1)];
}

struct mproc__open *mproc__open_at(mproc_pool *pool, uint64_t ticket) {
    if (ticket - pool->base >= pool->top - pool->base) {
        return NULL;
    }
    struct mproc__open *open = entry_at(pool, ticket);
    return open->kind != MPROC__OPEN_EMPTY ? open : NULL;
}

/* Twice the room. */
static int grow(mproc_pool *pool) {
    uint64_t capacity = pool->capacity != 0 ? 2 * pool->capacity : 64;
    struct mproc__open *open = calloc(capacity, sizeof *open);
    uint64_t *landed = malloc(capacity * sizeof *landed);
    if (open == NULL || landed == NULL) {
        free(open);
        free(landed);
        return -ENOMEM;
    }
    for (uint64_t t = pool->base; t != pool->top; t++) {
        open[t & (capacity - 1)] = *entry_at(pool, t);
    }
    for (uint64_t i = 0; i < pool->landed_count; i++) {
        landed[i] = pool->landed[(pool->landed_first + i) & (pool->capacity - 1)];
    }
    free(pool->open);
    free(pool->landed);
    pool->open = open;
    pool->landed = landed;
    pool->landed_first = 0;
    pool->capacity = capacity;
    return 0;
}

static int reserve(mproc_pool *pool) {
    return pool->top - pool->base < pool->capacity ? 0 : grow(pool);
}

static int put_message(mproc_pool *pool, const struct mproc__task_message *head,
                       const struct mproc__load *load, uint64_t *ticket) {
    struct iovec pieces[8], *all = pieces;
    int n = load->n;
    if (n > 7) {
        all = malloc(((size_t)n + 1) * sizeof *all);
        if (all == NULL) {
            return -ENOMEM;
        }
    }
    all[0] = (struct iovec){(void *)(uintptr_t)head, sizeof *head};
    if (n > 0) {
        memcpy(all + 1, load->pieces, (size_t)n * sizeof *all);
    }
    const struct mproc__load whole = {all, n + 1, load->buffers, load->nbuffers};
    int r = mproc__taskq_put(pool->tasks, &whole, ticket);
    if (all != pieces) {
        free(all);
    }
    return r;
}

int mproc__open_put(mproc_pool *pool, const struct mproc__task_message *head,
                    const struct mproc__load *load, const struct mproc__open *open,
                    uint64_t *ticket) {
    static const struct mproc__load nothing = {NULL, 0, NULL, 0};
    const struct mproc__load *what = load != NULL ? load : &nothing;
    int r = what->n >= 0 && what->n <= PIECES_MAX ? reserve(pool) : -EINVAL;
    if (r == 0) {
        r = put_message(pool, head, what, ticket);
    }
    if (r == 0) {
        assert(*ticket == pool->top);
        *entry_at(pool, *ticket) = *open;
        pool->top++;
        pool->open_tasks += open->kind == MPROC__OPEN_TASK;
    }
    return r;
}

static int reserve_many(mproc_pool *pool, size_t n) {
    int r = 0;
    while (r == 0 && pool->top - pool->base + n > pool->capacity) {
        r = grow(pool);
    }
    return r;
}

static void open_part(mproc_pool *pool, size_t part, void *parts) {
    *entry_at(pool, pool->top++) = (struct mproc__open){
        .kind = MPROC__OPEN_PART, .number = pool->submitted++, .part = part, .parts = parts};
}

int mproc__open_put_parts(mproc_pool *pool, const struct iovec *lent, size_t n, size_t first,
                          void *parts, size_t *put) {
    static const struct mproc__task_message message = {.kind = MPROC__MESSAGE_PART};
    const struct iovec head = {(void *)(uintptr_t)&message, sizeof message};
    uint64_t ticket;
    n = n < BATCH ? n : BATCH;
    int r = reserve_many(pool, n);
    if (r == 0) {
        r = mproc__taskq_put_many(pool->tasks, &head, lent, n, put, &ticket);
    }
    if (r == 0) {
        assert(ticket == pool->top);
        for (size_t i = 0; i < *put; i++) {
            open_part(pool, first + i, parts);
        }
    }
    return r;
}

struct mproc__open mproc__open_close(mproc_pool *pool, uint64_t ticket) {
    struct mproc__open *open = mproc__open_at(pool, ticket);
    struct mproc__open copy = *open;
    open->kind = MPROC__OPEN_EMPTY;
    while (pool->base != pool->top && mproc__open_at(pool, pool->base) == NULL) {
        pool->base++;
    }
    if (copy.kind == MPROC__OPEN_TASK) {
        mproc__start_drop(pool, copy.start);
        pool->open_tasks--;
    }
    pool->closed++;
    return copy;
}

int mproc__open_check(const mproc_pool *pool, char *why, size_t size) {
    uint64_t tasks = 0;
    for (uint64_t t = pool->base; t != pool->top; t++) {
        tasks += entry_at(pool, t)->kind == MPROC__OPEN_TASK;
    }
    if (pool->base != pool->top && entry_at(pool, pool->base)->kind == MPROC__OPEN_EMPTY) {
        return mproc__corrupt(why, size, "W1: ticket %llu is not open",
                              (unsigned long long)pool->base);
    }
    if (tasks != pool->open_tasks || pool->starts_total - pool->starts_free != tasks) {
        return mproc__corrupt(why, size, "W2: %llu tasks are open, %llu counted, %zu records used",
                              (unsigned long long)tasks, (unsigned long long)pool->open_tasks,
                              pool->starts_total - pool->starts_free);
    }
    return 0;
}
