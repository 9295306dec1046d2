/*
 * pool.h - the inside of pools: what ticket.c, pool.c, task.c, map.c and worker.c share
 *
 * SPDX-License-Identifier: MIT
 *
 * How a pool works stands in pool.c.
 */
#ifndef MPROC_POOL_H
#define MPROC_POOL_H

#include <pthread.h>

#include "core/join.h"
#include "core/make.h"
#include "process/function.h"

/* A reply's code: the order was cancelled before it was begun. */
#define MPROC__POOL_SKIPPED INT32_MIN

/* ---------------------------------------------------------------- in the arena */

struct mproc__block {
    uint64_t next; /* struct mproc__block * */
    uint64_t pad;  /* what follows is 16-byte aligned, as every block is */
};

enum mproc__worker_state { MPROC__WORKER_NEW = 0, MPROC__WORKER_READY, MPROC__WORKER_KNOWN };

struct mproc__pool_shared {
    struct mproc__object object;
    struct mproc__guard guard;
    struct mproc__undo log[4];
    uint64_t blocks; /* struct mproc__block * */
    uint64_t tasks;  /* mproc_taskq *, with holds of its own */
    uint64_t init;   /* struct mproc__pool_function *, or 0 */
    uint64_t init_arg;
    uint64_t max_tasks;
    uint32_t ready[]; /* enum mproc__worker_state, by seat */
};

/* A function of orders, named once. */
struct mproc__pool_function {
    uint64_t index; /* for what a worker remembers of it */
    struct mproc__function_ref ref;
};

enum mproc__cell_state {
    MPROC__CELL_PENDING = 0,
    MPROC__CELL_STARTED = 1,
    MPROC__CELL_CANCELLED = 2
};

struct mproc__map_shared {
    uint64_t function;
    uint64_t in, in_size;
    uint64_t out, out_size;
    uint64_t n, chunk;
    uint64_t taper; /* 0: all chunks are of one size; otherwise `chunk` is the smallest */
    uint64_t context;
    uint32_t cancelled;
};

/* How many items the chunk has that begins at `first`. */
static inline uint64_t mproc__map_chunk(const struct mproc__map_shared *map, uint64_t first) {
    uint64_t left = map->n - first, size = map->chunk;
    if (map->taper != 0 && left / map->taper > size) {
        size = left / map->taper;
    }
    return left < size ? left : size;
}

enum mproc__order_kind { MPROC__ORDER_TASK = 1, MPROC__ORDER_CHUNK = 2 };

struct mproc__order {
    uint64_t kind;
    uint64_t function; /* of a task: struct mproc__pool_function *, and its bytes follow */
    uint64_t subject;  /* a task's cell, uint32_t *; a chunk's struct mproc__map_shared * */
    uint64_t number;   /* a task's room for the result; a chunk's first item */
};

struct mproc__reply {
    int32_t code;
    int32_t pid; /* followed by a task's result */
};

static_assert(sizeof(struct mproc__order) % 16 == 0, "a task's bytes are aligned");
static_assert((sizeof(uint64_t) + sizeof(struct mproc__reply)) % 16 == 0, "a result is aligned");

struct mproc__seat_arg {
    struct mproc__pool_shared *shared;
    unsigned seat;
};

/* ---------------------------------------------------------------- the owner's */

enum mproc__pool_state {
    MPROC__POOL_OPEN,
    MPROC__POOL_CLOSED,
    MPROC__POOL_TERMINATED,
    MPROC__POOL_BROKEN
};

struct mproc_task {
    mproc_pool *pool; /* looked at only while it is not done */
    uint64_t ticket;
    uint32_t done; /* what follows is constant once it is set: SYNC(task.done) */
    mproc_task_error error;
    mproc_message message; /* of a large result */
    void *data;
    size_t size;
};

/* A map under way, on its caller's stack. */
struct mproc__map {
    struct mproc__map_shared *shared;
    size_t next;            /* first item that is not in an order yet */
    size_t finished;        /* items in chunks that succeeded */
    size_t open;            /* chunks that are out */
    mproc_task_error error; /* of the foremost chunk that failed; code 0: none has */
};

enum mproc__slip_kind { MPROC__SLIP_EMPTY = 0, MPROC__SLIP_TASK, MPROC__SLIP_CHUNK };

/* What an open ticket stands for. */
struct mproc__slip {
    enum mproc__slip_kind kind;
    mproc_task *task; /* NULL: cancelled or dropped, nobody wants it */
    uint32_t *cell;
    struct mproc__map *map;
    uint64_t number; /* what errors call it */
};

struct mproc__known {
    mproc__function fn;
    struct mproc__pool_function *shared;
};

struct mproc_pool {
    pthread_mutex_t lock;
    pid_t owner;
    enum mproc__pool_state state;
    struct mproc__pool_shared *shared;
    mproc_taskq *tasks;
    bool tasks_closed;
    unsigned feeding;      /* maps that have chunks to put still */
    mproc_task_error last; /* why the pool broke */

    char *name;
    mproc_method method;
    unsigned seats;
    unsigned alive;
    unsigned started; /* workers ever, for their names */
    unsigned stillborn;
    int64_t looked;
    int64_t refill_at;
    mproc_process **process; /* by seat; NULL: none */
    struct pollfd *polls;    /* by seat */

    bool pumping;
    uint32_t followers; /* threads that wait for the pumping one */
    uint32_t news;      /* changes whenever the pump has been at work */

    struct mproc__slip *slips; /* by ticket & (capacity - 1) */
    uint64_t capacity;
    uint64_t base, top;
    uint64_t open_tasks;
    uint64_t submitted;

    struct mproc__known *known;
    size_t known_count;
    uint32_t **cells; /* that are free */
    size_t cells_free, cells_total;
};

static inline uint64_t mproc__word(const void *pointer) {
    return (uint64_t)(uintptr_t)pointer;
}

static inline mproc_taskq *mproc__pool_tasks(const struct mproc__pool_shared *shared) {
    return (mproc_taskq *)(uintptr_t)shared->tasks;
}

static inline bool mproc__pool_is_stranger(const mproc_pool *pool) {
    return pool->owner != mproc__self_pid();
}

static inline bool mproc__task_is_done(const mproc_task *task) {
    return mproc__load32(&task->done) != 0; /* SYNC(task.done) */
}

/* ---- ticket.c; all under the lock */

/* Memory that goes with the pool; under no lock but the guard. NULL: -ENOMEM. */
void *mproc__pool_block_new(struct mproc__pool_shared *shared, size_t size);
void mproc__pool_block_drop(struct mproc__pool_shared *shared, void *payload);

/* The function's name in the arena, written once. MPROC_EFUNCTION, -ENOMEM. */
int mproc__pool_name(mproc_pool *pool, mproc__function fn, struct mproc__pool_function **out);

int mproc__cell_take(mproc_pool *pool, uint32_t **out);
void mproc__cell_give(mproc_pool *pool, uint32_t *cell);

/* The open slip of a ticket, or NULL. */
struct mproc__slip *mproc__slip_at(mproc_pool *pool, uint64_t ticket);

/* Puts an order, for which `slip` then stands. */
int mproc__order_put(mproc_pool *pool, const struct mproc__order *order, const void *lent,
                     size_t size, struct mproc__slip slip, uint64_t *ticket);

/* What a reply says is booked; the message is dropped. */
void mproc__book_reply(mproc_pool *pool, uint64_t ticket, mproc_message *message);

/* The ticket has come to nothing. One that is not open is ignored. */
void mproc__book_failure(mproc_pool *pool, uint64_t ticket, mproc_task_error error);

/* Invariants W1 and W2, and W3. */
int mproc__slips_check(const mproc_pool *pool, char *why, size_t size);
int mproc__pool_blocks_check(struct mproc__pool_shared *shared, char *why, size_t size);

/* ---- pool.c; all under the lock */

/* Why nothing can be ordered; 0: it can. */
int mproc__pool_refusal(const mproc_pool *pool);

/* One slice of waiting for anything; the lock is open meanwhile. 0: look again; -ETIMEDOUT, -EINTR. */
int mproc__pool_wait(mproc_pool *pool, struct mproc__slices *slices);

/* Everybody who waits looks again. */
void mproc__pool_news(mproc_pool *pool);

/* A closed pool's workers may end when no map has chunks to put any more. */
void mproc__pool_close_if_fed(mproc_pool *pool);

/* ---- task.c */

/* The task is over. Nothing of it may be touched afterwards: its holder may drop it at once. */
void mproc__task_done(mproc_task *task);

/* ---- worker.c */

/* What a worker runs; arg: struct mproc__seat_arg. */
int mproc__worker_main(void *arg, size_t size);

#endif
