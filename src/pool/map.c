/*
 * map.c - a function over the items of an array, in chunks over a pool
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The chunks are ordinary messages; the caller's thread keeps some of them ahead,
 * and pumps. Arrays that are not in the arena are copied there and back. When a chunk fails the
 * others are told by map->cancelled, and the map ends when none is out: no worker writes into its
 * arrays any more. A signal handler that runs in the caller does the same only if the caller has
 * asked for it: with a periodic signal, a map that is cancelled by each would never come to its
 * end.
 *
 * If a worker dies here: its chunk fails, and with it the map. Some items of the chunk may be
 * written.
 */
#include <string.h>

#include "core/border.h"
#include "pool/inside.h"

#define TAPER 2           /* a chunk is a worker's share of what is left, divided by this */
#define SMALLEST 32       /* but not less than a worker's share of all, divided by this */
#define CHUNKS_AHEAD 1024 /* that are queued at most: bounds the queue's memory */

/* What the caller gave. */
struct request {
    mproc_item_fn fn;
    const void *in;
    void *out;
    size_t in_size, out_size, n;
    mproc_map_options options;
};

static bool overflows(size_t n, size_t size) {
    size_t total;
    return __builtin_mul_overflow(n, size, &total);
}

static int check_request(const struct request *q) {
    bool good = q->fn != NULL && !overflows(q->n, q->in_size) && !overflows(q->n, q->out_size) &&
                (q->in != NULL || q->n * q->in_size == 0) &&
                (q->out != NULL || q->n * q->out_size == 0) &&
                (q->options.context == NULL || mproc_in_arena(q->options.context));
    return good ? 0 : -EINVAL;
}

/* The array itself if the workers see it there, or memory of the pool. 0: no bytes, or no
 * memory. */
static uint64_t shared_array(mproc_pool *pool, const void *array, size_t size) {
    if (mproc_in_arena(array)) {
        return mproc__word(array);
    }
    return size != 0 ? mproc__word(mproc__pool_block_new(pool->place, size)) : 0;
}

static void *copy_of(uint64_t shared, const void *array) {
    return shared != mproc__word(array) ? (void *)(uintptr_t)shared : NULL;
}

/* Guided self-scheduling (Polychronopoulos and Kuck, 1987): large chunks first, which cost little,
 * and small ones in the end, so that no worker is idle for long while another one, or one that
 * shares its CPU with other programs, has work left. Two workers get some 15 chunks. */
static void choose_chunks(const mproc_pool *pool, size_t asked, struct mproc__map_shared *shared) {
    size_t parts = (size_t)pool->target * SMALLEST;
    shared->taper = asked != 0 ? 0 : (uint64_t)pool->target * TAPER;
    shared->chunk = asked != 0 ? asked : shared->n / parts + (shared->n % parts != 0);
}

static int share_map(mproc_pool *pool, const struct request *q, struct mproc__map_shared *shared) {
    size_t in_bytes = q->n * q->in_size, out_bytes = q->n * q->out_size;
    shared->in = shared_array(pool, q->in, in_bytes);
    shared->out = shared_array(pool, q->out, out_bytes);
    if ((shared->in == 0 && in_bytes != 0) || (shared->out == 0 && out_bytes != 0)) {
        return -ENOMEM;
    }
    void *copy = copy_of(shared->in, q->in);
    if (copy != NULL) {
        memcpy(copy, q->in, in_bytes);
    }
    shared->in_size = q->in_size;
    shared->out_size = q->out_size;
    shared->n = q->n;
    shared->context = mproc__word(q->options.context);
    return 0;
}

static void free_map(mproc_pool *pool, const struct request *q, struct mproc__map_shared *shared) {
    mproc__pool_block_drop(pool->place, copy_of(shared->in, q->in));
    mproc__pool_block_drop(pool->place, copy_of(shared->out, q->out));
    mproc__pool_block_drop(pool->place, shared);
}

static bool is_cancelled(const struct mproc__map *map) {
    return mproc__peek32(&map->shared->cancelled) != 0;
}

/* Under the lock: puts chunks as far ahead as is good. */
static int feed(mproc_pool *pool, struct mproc__map *map) {
    int r = 0;
    while (r == 0 && map->next < map->shared->n && map->open < CHUNKS_AHEAD && !is_cancelled(map)) {
        uint64_t ticket;
        struct mproc__task_message head = {
            .kind = MPROC__MESSAGE_CHUNK, .subject = mproc__word(map->shared), .first = map->next};
        struct mproc__open open = {.kind = MPROC__OPEN_CHUNK, .number = map->next, .map = map};
        r = mproc__open_put(pool, &head, NULL, &open, &ticket);
        if (r == 0) {
            map->open++;
            map->next += mproc__map_chunk(map->shared, map->next);
        }
    }
    return r;
}

/* A terminated pool takes no more, nor does a broken one, whose queue is open still. */
static bool may_feed(const mproc_pool *pool) {
    return !pool->tasks_closed && pool->state != MPROC__POOL_BROKEN;
}

struct report {
    const mproc_map_options *options;
    size_t done, total;
};

static int call_progress(void *arg) {
    const struct report *report = arg;
    report->options->progress(report->done, report->total, report->options->progress_arg);
    return 0;
}

static void report_progress(mproc_pool *pool, const struct mproc__map *map,
                            const mproc_map_options *o, size_t *reported) {
    if (o->progress != NULL && map->finished != *reported) {
        struct report report = {o, map->finished, map->shared->n};
        *reported = map->finished;
        pthread_mutex_unlock(&pool->lock);
        (void)mproc__border(call_progress, &report);
        pthread_mutex_lock(&pool->lock);
    }
}

/* Under the lock: until no chunk is out and none is to go. What stops it first is its result. */
static int run_map(mproc_pool *pool, struct mproc__map *map, const mproc_map_options *o) {
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    size_t reported = 0;
    int r = 0;
    for (;;) {
        int e = may_feed(pool) ? feed(pool, map) : 0;
        if (e == 0 && map->open > 0) {
            e = mproc__pool_wait(pool, &slices);
            e = e == -EINTR && !o->stop_on_signal ? 0 : e;
        } else if (e == 0) {
            break;
        }
        if (e != 0) {
            r = r != 0 ? r : e;
            mproc__poke32(&map->shared->cancelled, 1);
        }
        report_progress(pool, map, o, &reported);
    }
    report_progress(pool, map, o, &reported);
    if (map->error.code != 0 || r != 0) {
        return map->error.code != 0 ? map->error.code : r;
    }
    if (map->finished == map->shared->n) {
        return 0;
    }
    return pool->state == MPROC__POOL_BROKEN ? pool->last.code : MPROC_ECLOSED; /* none was out */
}

static int map_under_lock(mproc_pool *pool, const struct request *q, struct mproc__map *map) {
    struct mproc__pool_function *function;
    int r = mproc__pool_refusal(pool);
    if (r == 0) {
        r = mproc__pool_name(pool, (mproc__function)q->fn, &function);
    }
    if (r != 0) {
        return r;
    }
    map->shared->function = mproc__word(function);
    choose_chunks(pool, q->options.chunk, map->shared);
    pool->feeding++;
    r = run_map(pool, map, &q->options);
    pool->feeding--;
    mproc__pool_close_if_fed(pool);
    return r;
}

static int map_items(mproc_pool *pool, const struct request *q, mproc_task_error *error) {
    struct mproc__map map = {0};
    map.shared = mproc__pool_block_new(pool->place, sizeof *map.shared);
    if (map.shared == NULL) {
        return -ENOMEM;
    }
    memset(map.shared, 0, sizeof *map.shared);
    int r = share_map(pool, q, map.shared);
    if (r == 0) {
        pthread_mutex_lock(&pool->lock);
        r = map_under_lock(pool, q, &map);
        pthread_mutex_unlock(&pool->lock);
        *error = map.error;
    }
    const void *copy = r == 0 ? copy_of(map.shared->out, q->out) : NULL;
    if (copy != NULL) {
        memcpy(q->out, copy, q->n * q->out_size);
    }
    free_map(pool, q, map.shared);
    return r;
}

int mproc_pool_map(mproc_pool *pool, mproc_item_fn fn, const void *in, size_t in_size, void *out,
                   size_t out_size, size_t n, const mproc_map_options *options) {
    struct request q = {fn, in, out, in_size, out_size, n, {0}};
    mproc_task_error error = {0};
    if (options != NULL) {
        q.options = *options;
    }
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    r = check_request(&q);
    if (r == 0 && pool->options.engine != NULL && q.options.context != NULL) {
        r = -EINVAL; /* it does not travel */
    }
    if (r == 0) {
        r = map_items(pool, &q, &error);
    }
    if (r != 0 && q.options.error != NULL) {
        error.code = r;
        *q.options.error = error;
    }
    return r;
}
