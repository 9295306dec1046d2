/*
 * land.c - parts that have ended, until somebody has been told
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A part has no handle: what comes of it is told to options.part, once. That is a
 * function of the program, so it is called without the pool's lock, and until then the part's entry
 * keeps the result, or why there is none. The tickets of such parts wait in a ring that has as many
 * places as there are entries. So to land takes no memory but for the result, and what finds no
 * memory lands as a failure.
 *
 * Invariant: W7. The tickets in `landed` are those of entries of kind LANDED, each once.
 */
#include <stdlib.h>
#include <string.h>

#include "core/border.h"
#include "pool/inside.h"

#define BATCH 64 /* parts that are told of without looking at the books in between */

/* ---------------------------------------------------------------- landing */

static void land(mproc_pool *pool, uint64_t ticket, int code) {
    struct mproc__open *open = mproc__open_at(pool, ticket);
    open->kind = MPROC__OPEN_LANDED;
    open->verdict = code;
    pool->landed[(pool->landed_first + pool->landed_count++) & (pool->capacity - 1)] = ticket;
    mproc__notify_self(pool);
}

/* A large result stays where it is, in the arena. NULL: no memory. */
static struct mproc__landed *keep(mproc_message *message) {
    size_t size = message->size - sizeof(struct mproc__reply);
    size_t more = message->block != NULL ? 0 : size;
    struct mproc__landed *landed = malloc(sizeof *landed + more);
    if (landed == NULL) {
        return NULL;
    }
    landed->size = size;
    landed->message = *message;
    if (message->block != NULL) {
        *message = (mproc_message){NULL, 0, NULL, 0, NULL};
    } else {
        memcpy(landed + 1, (const char *)message->data + sizeof(struct mproc__reply), size);
    }
    return landed;
}

void mproc__land_result(mproc_pool *pool, uint64_t ticket, mproc_message *message) {
    struct mproc__landed *landed = keep(message);
    if (landed == NULL) {
        mproc__land_failure(pool, ticket, &(mproc_task_error){.code = -ENOMEM});
        return;
    }
    mproc__open_at(pool, ticket)->landed = landed;
    land(pool, ticket, 0);
}

void mproc__land_failure(mproc_pool *pool, uint64_t ticket, const mproc_task_error *error) {
    struct mproc__open *open = mproc__open_at(pool, ticket);
    open->error.pid = error->pid;
    open->error.exitcode = error->exitcode;
    land(pool, ticket, error->code);
}

/* ---------------------------------------------------------------- telling */

struct telling {
    const mproc_pool_options *options;
    const struct mproc__open *open; /* closed */
    const mproc_message *result;    /* NULL: it has failed */
};

static int call(void *arg) {
    const struct telling *telling = arg;
    const mproc_pool_options *o = telling->options;
    const struct mproc__open *open = telling->open;
    mproc_task_error error = {.task = open->number, .tries = 1};
    if (telling->result == NULL) {
        error.code = open->verdict;
        error.pid = open->error.pid;
        error.exitcode = open->error.exitcode;
    }
    o->part(o->part_arg, open->parts, open->part, telling->result, &error);
    return 0;
}

static void tell(mproc_pool *pool, const struct mproc__open *closed, const mproc_message *result) {
    struct telling telling = {&pool->options, closed, result};
    (void)mproc__border(call, &telling);
}

void mproc__land_tell(mproc_pool *pool, const struct mproc__open *closed,
                      const mproc_message *message) {
    mproc_message result = *message;
    result.data = (char *)message->data + sizeof(struct mproc__reply);
    result.size = message->size - sizeof(struct mproc__reply);
    tell(pool, closed, &result);
}

static void tell_landed(mproc_pool *pool, struct mproc__open *open) {
    if (open->verdict != 0) {
        tell(pool, open, NULL);
        return;
    }
    struct mproc__landed *landed = open->landed;
    mproc_message result = landed->message;
    if (result.block == NULL) {
        result.data = landed + 1;
        result.size = landed->size;
        tell(pool, open, &result);
    } else {
        mproc__land_tell(pool, open, &result);
        mproc_message_drop(&landed->message);
    }
    free(landed);
}

/* Takes the oldest ones out of the books. */
static size_t take(mproc_pool *pool, struct mproc__open *taken) {
    size_t n = 0;
    while (n < BATCH && pool->landed_count > 0) {
        uint64_t ticket = pool->landed[pool->landed_first & (pool->capacity - 1)];
        pool->landed_first++;
        pool->landed_count--;
        taken[n++] = mproc__open_close(pool, ticket);
    }
    return n;
}

void mproc__land_deliver(mproc_pool *pool) {
    struct mproc__open taken[BATCH];
    size_t n;
    while ((n = take(pool, taken)) > 0) {
        pthread_mutex_unlock(&pool->lock);
        for (size_t i = 0; i < n; i++) {
            tell_landed(pool, &taken[i]);
        }
        pthread_mutex_lock(&pool->lock);
    }
}

int mproc__land_check(const mproc_pool *pool, char *why, size_t size) {
    uint64_t n = 0;
    for (uint64_t t = pool->base; t != pool->top; t++) {
        n += pool->open[t & (pool->capacity - 1)].kind == MPROC__OPEN_LANDED;
    }
    if (n != pool->landed_count) {
        return mproc__corrupt(why, size, "W7: %llu parts have landed, %llu counted",
                              (unsigned long long)n, (unsigned long long)pool->landed_count);
    }
    return 0;
}
