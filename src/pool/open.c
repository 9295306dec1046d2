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

/* Room for one more. */
static int reserve(mproc_pool *pool) {
    if (pool->top - pool->base < pool->capacity) {
        return 0;
    }
    uint64_t capacity = pool->capacity != 0 ? 2 * pool->capacity : 64;
    struct mproc__open *open = calloc(capacity, sizeof *open);
    if (open == NULL) {
        return -ENOMEM;
    }
    for (uint64_t t = pool->base; t != pool->top; t++) {
        open[t & (capacity - 1)] = *entry_at(pool, t);
    }
    free(pool->open);
    pool->open = open;
    pool->capacity = capacity;
    return 0;
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
