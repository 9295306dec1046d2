/*
 * worker.c - a pool's worker: takes orders, runs them, hands in replies
 *
 * SPDX-License-Identifier: MIT
 *
 * A worker remembers the functions that it has found, and keeps its room for results. Its holds keep the
 * pool's memory if the owner dies first. See pool.c for what happens when it dies.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "pool/pool.h"

/* Exit codes of a worker that ends by itself, beside what init returned. */
#define EXIT_SEAT 125
#define EXIT_FUNCTION 127

struct worker {
    struct mproc__pool_shared *shared;
    mproc_taskq *tasks;
    unsigned seat;
    mproc__function *functions; /* by struct mproc__pool_function's index; NULL: not found yet */
    size_t count;
    char *out; /* room for results, the largest so far */
    size_t out_cap;
};

static int remember(struct worker *w, uint64_t index) {
    if (index < w->count) {
        return 0;
    }
    mproc__function *functions = realloc(w->functions, (index + 1) * sizeof *functions);
    if (functions == NULL) {
        return -ENOMEM;
    }
    while (w->count <= index) {
        functions[w->count++] = NULL;
    }
    w->functions = functions;
    return 0;
}

static int find_function(struct worker *w, const struct mproc__pool_function *function,
                         mproc__function *out) {
    int r = remember(w, function->index);
    if (r != 0) {
        return r;
    }
    if (w->functions[function->index] == NULL) {
        r = mproc__function_find(&function->ref, &w->functions[function->index]);
    }
    if (r == 0) {
        *out = w->functions[function->index];
    }
    return r;
}

/* A task without a result has an address to write nothing to, too. */
static int grow_out(struct worker *w, size_t cap) {
    cap = cap != 0 ? cap : 1;
    if (cap <= w->out_cap) {
        return 0;
    }
    char *out = malloc(cap); /* what was in the old one is of no use */
    if (out == NULL) {
        return -ENOMEM;
    }
    free(w->out);
    w->out = out;
    w->out_cap = cap;
    return 0;
}

static int run_task(struct worker *w, const struct mproc__order *order, size_t size,
                    size_t *out_size) {
    mproc__function fn;
    uint32_t state = MPROC__CELL_PENDING;
    if (!mproc__cas32((uint32_t *)(uintptr_t)order->subject, &state, MPROC__CELL_STARTED)) {
        return MPROC__POOL_SKIPPED;
    }
    int r = find_function(w, (struct mproc__pool_function *)(uintptr_t)order->function, &fn);
    if (r == 0) {
        r = grow_out(w, order->number);
    }
    if (r == 0) {
        r = ((mproc_task_fn)fn)(order + 1, size, w->out, order->number, out_size);
        r = r == MPROC__POOL_SKIPPED ? -EINVAL : r;
    }
    return r == 0 && *out_size > order->number ? -EOVERFLOW : r;
}

/* Addresses are counted as numbers: items without bytes have the address 0, which is no array. */
static int run_items(const struct mproc__map_shared *map, mproc_item_fn fn, uint64_t first) {
    uint64_t n = mproc__map_chunk(map, first);
    uint64_t in = map->in + first * map->in_size, out = map->out + first * map->out_size;
    void *context = (void *)(uintptr_t)map->context;
    int r = 0;
    for (uint64_t i = 0; i < n && r == 0; i++) {
        r = fn((const void *)(uintptr_t)in, (void *)(uintptr_t)out, context);
        in += map->in_size;
        out += map->out_size;
    }
    return r == MPROC__POOL_SKIPPED ? -EINVAL : r;
}

static int run_chunk(struct worker *w, const struct mproc__order *order) {
    const struct mproc__map_shared *map =
        (const struct mproc__map_shared *)(uintptr_t)order->subject;
    mproc__function fn;
    if (mproc__load32(&map->cancelled)) {
        return MPROC__POOL_SKIPPED;
    }
    int r = find_function(w, (struct mproc__pool_function *)(uintptr_t)order->function, &fn);
    return r == 0 ? run_items(map, (mproc_item_fn)fn, order->number) : r;
}

/* A result for which there is no memory fails the task; if not even that can be said, the worker ends
 * and says it so. */
static int hand_in(struct worker *w, int code, size_t size) {
    struct mproc__reply reply = {code, mproc__self_pid()};
    struct iovec pieces[2] = {{&reply, sizeof reply}, {w->out, code == 0 ? size : 0}};
    int r = mproc_taskq_finish(w->tasks, w->seat, pieces, 2);
    if (r != 0 && size > 0) {
        return hand_in(w, r, 0);
    }
    return r;
}

static int do_order(struct worker *w, const mproc_message *message) {
    const struct mproc__order *order = message->data;
    size_t size = 0;
    int code = order->kind == MPROC__ORDER_CHUNK
                   ? run_chunk(w, order)
                   : run_task(w, order, message->size - sizeof *order, &size);
    return hand_in(w, code, code == 0 ? size : 0);
}

/* 0: one more was done; MPROC_ECLOSED: there will be none. */
static int do_next(struct worker *w) {
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    int r;
    do {
        r = mproc_taskq_take(w->tasks, w->seat, &message, &ticket, MPROC_FOREVER);
    } while (r == -EINTR);
    if (r == 0) {
        r = do_order(w, &message);
        mproc_message_drop(&message);
    }
    return r;
}

static int initialise(struct worker *w) {
    const struct mproc__pool_function *init =
        (const struct mproc__pool_function *)(uintptr_t)w->shared->init;
    mproc__function fn;
    if (init == NULL) {
        return 0;
    }
    int r = mproc__function_find(&init->ref, &fn);
    if (r != 0) {
        mproc__function_complain(&init->ref, r);
        return EXIT_FUNCTION;
    }
    return ((int (*)(void *))fn)((void *)(uintptr_t)w->shared->init_arg);
}

static int serve(struct worker *w) {
    uint64_t done = 0;
    int r = 0;
    while (r == 0 && (w->shared->max_tasks == 0 || done < w->shared->max_tasks)) {
        r = do_next(w);
        done++;
    }
    return r == 0 || r == MPROC_ECLOSED ? 0 : EXIT_SEAT;
}

/* A worker's main. Its holds keep the pool's memory if the owner dies first. */
int mproc__worker_main(void *arg, size_t size) {
    const struct mproc__seat_arg *seat = arg;
    struct worker w = {.shared = seat->shared, .seat = seat->seat};
    assert(size == sizeof *seat);
    (void)size;
    w.tasks = mproc__pool_tasks(w.shared);
    if (mproc_hold(w.shared) != 0 || mproc_hold(w.tasks) != 0 ||
        mproc_taskq_join(w.tasks, w.seat) != 0) {
        return EXIT_SEAT;
    }
    int r = initialise(&w);
    if (r == 0) {
        mproc__store32(&w.shared->ready[w.seat], MPROC__WORKER_READY);
        r = serve(&w);
    }
    free(w.functions);
    free(w.out);
    return r;
}
