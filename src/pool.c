/*
 * pool.c - worker processes that take tasks from a queue
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The owner puts orders into a task queue (taskq.c), the workers put replies; a dead
 * worker's seat names the one ticket that died with it. There is no thread: whoever waits for a task,
 * a map or the end pumps, that is, collects replies and books them, for everybody; further threads of
 * the owner that wait meanwhile sleep until the pumping one has news or leaves. The pump wakes at least
 * every 50 ms to look whether a worker has ended; such a worker is mourned and replaced.
 *
 * A ticket stands for a task or for a chunk of a map; open tickets are in a ring, by number. A task that
 * may be cancelled has a cell: the worker that starts it and the owner that cancels it meet there in a
 * compare-and-swap. A cancelled order still travels to a worker, which skips it.
 *
 * Shared state: struct shared, an object of the arena, held by the owner and each worker.
 *   blocks      memory of the pool: function names, slabs of cells, maps and copies of their arrays;
 *               a list, changed by the owner under `guard`, freed with the object.
 *   ready[i]    0 before a worker of seat i is started, by the owner; 1 when its init is done, by it.
 *   the rest    constant once the first worker is started.
 * In blocks: a cell by compare-and-swap; map->cancelled from 0 to 1 by the owner; an array's items by the
 * worker whose chunk they are in; all else constant once an order names it.
 *
 * Private state of the owner: struct mproc_pool, under `lock`, which is never held while waiting (but for
 * the end of killed workers). A task is private too; once `done` is set it does not need its pool.
 *
 * Invariants.
 *   W1  The open slips are exactly those in [base, top) that are not EMPTY; slip `base` is open, or
 *       base == top.
 *   W2  Cells in use are as many as open slips of tasks.
 *   W3  Each block of the list is in the arena.
 *
 * If a worker dies here: before its order is claimed, nothing; with the order, its ticket fails; in a map
 * some items of its chunk may be written. If the owner dies: the workers end with it, and the arena's
 * objects go with the last hold.
 *
 * A worker that ends before it is ready did not take a task and would not do so the next time. After
 * STILLBORN_SPARE more of them than there are seats, without one that became ready, the pool is broken:
 * this is what keeps a failing init from forking for ever.
 *
 * What it does not do: per-task timeouts, retries, priorities.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "family.h"
#include "function.h"
#include "kinds.h"
#include "object.h"
#include "os.h"

#define SEATS_MAX 65535
#define STILLBORN_SPARE 8
#define CHUNKS_A_WORKER                                                                            \
    4 /* of a map: enough that an uneven one does not leave a worker idle long */
#define CHUNKS_AHEAD 1024     /* of a map that are queued at most: bounds the queue's memory */
#define BATCH 256             /* replies that are booked before a waiter looks whether his came */
#define LOOK_LEAST MPROC_MSEC /* between two looks at the workers */
#define LOOK_MOST (10 * MPROC_MSEC) /* the same, while replies come in */
#define CELLS 1024                  /* a slab's: a page */
#define ROOM 8192         /* what a queue keeps inline; larger messages bring their own memory */
#define SKIPPED INT32_MIN /* a reply's code: the order was cancelled before it was begun */

/* Exit codes of a worker that ends by itself, beside what init returned. */
#define EXIT_SEAT 125
#define EXIT_FUNCTION 127

/* ---------------------------------------------------------------- in the arena */

struct block {
    _Alignas(MPROC__LINE) uint64_t next; /* struct block * */
};

struct shared {
    struct mproc__object object;
    struct mproc__guard guard;
    struct mproc__undo log[4];
    uint64_t blocks; /* struct block * */
    uint64_t tasks;  /* mproc_taskq *, with holds of its own */
    uint64_t init;   /* struct function *, or 0 */
    uint64_t init_arg;
    uint64_t max_tasks;
    uint32_t ready[];
};

/* A function of orders, named once. */
struct function {
    uint64_t index; /* for what a worker remembers of it */
    struct mproc__function_ref ref;
};

enum cell_state { CELL_PENDING = 0, CELL_STARTED = 1, CELL_CANCELLED = 2 };

struct shared_map {
    uint64_t function;
    uint64_t in, in_size;
    uint64_t out, out_size;
    uint64_t n, chunk;
    uint64_t context;
    uint32_t cancelled;
};

enum order_kind { ORDER_TASK = 1, ORDER_CHUNK = 2 };

struct order {
    uint64_t kind;
    uint64_t function; /* of a task: struct function *, and its bytes follow */
    uint64_t subject;  /* a task's cell, uint32_t *; a chunk's struct shared_map * */
    uint64_t number;   /* a task's room for the result; a chunk's first item */
};

struct reply {
    int32_t code;
    int32_t pid; /* followed by a task's result */
};

static_assert(sizeof(struct order) % 16 == 0, "a task's bytes are aligned");
static_assert((sizeof(uint64_t) + sizeof(struct reply)) % 16 == 0, "a result is aligned");

struct seat_arg {
    struct shared *shared;
    unsigned seat;
};

/* ---------------------------------------------------------------- the owner's */

enum pool_state { POOL_OPEN, POOL_CLOSED, POOL_TERMINATED, POOL_BROKEN };

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
struct map {
    struct shared_map *shared;
    size_t next;            /* first item that is not in an order yet */
    size_t finished;        /* items in chunks that succeeded */
    size_t open;            /* chunks that are out */
    mproc_task_error error; /* of the foremost chunk that failed; code 0: none has */
};

enum slip_kind { SLIP_EMPTY = 0, SLIP_TASK, SLIP_CHUNK };

/* What an open ticket stands for. */
struct slip {
    enum slip_kind kind;
    mproc_task *task; /* NULL: cancelled or dropped, nobody wants it */
    uint32_t *cell;
    struct map *map;
    uint64_t number; /* what errors call it */
};

struct known {
    mproc__function fn;
    struct function *shared;
};

struct mproc_pool {
    pthread_mutex_t lock;
    pid_t owner;
    enum pool_state state;
    struct shared *shared;
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
    mproc_process **process; /* by seat; NULL: none */
    struct pollfd *polls;    /* by seat */

    bool pumping;
    uint32_t followers; /* threads that wait for the pumping one */
    uint32_t news;      /* changes whenever the pump has been at work */

    struct slip *slips; /* by ticket & (capacity - 1) */
    uint64_t capacity;
    uint64_t base, top;
    uint64_t open_tasks;
    uint64_t submitted;

    struct known *known;
    size_t known_count;
    uint32_t **cells; /* that are free */
    size_t cells_free, cells_total;
};

static int work(void *arg, size_t size);
static int look(mproc_pool *pool);
static void stop(mproc_pool *pool, enum pool_state state, const mproc_task_error *why);

static mproc_taskq *tasks_of(const struct shared *shared) {
    return (mproc_taskq *)(uintptr_t)shared->tasks;
}

static uint64_t word_of(const void *pointer) {
    return (uint64_t)(uintptr_t)pointer;
}

/* ---------------------------------------------------------------- blocks */

/* Memory that goes with the pool. Under no lock but the guard. */
static void *block_new(struct shared *shared, size_t size) {
    struct mproc__hand *hand = mproc__hand_get();
    struct block *block = NULL;
    if (size <= SIZE_MAX - sizeof *block &&
        mproc__heap_alloc(hand, sizeof *block + size, &hand->block) == 0) {
        block = (struct block *)(uintptr_t)hand->block;
        mproc__guard_enter(&shared->guard, hand);
        block->next = shared->blocks;
        mproc__guard_set(&shared->guard, &shared->blocks, word_of(block));
        mproc__guard_set(&shared->guard, &hand->block, 0);
        mproc__guard_leave(&shared->guard, hand);
    }
    mproc__hand_put(hand);
    return block != NULL ? block + 1 : NULL;
}

/* Under the guard: takes what *link names out of the list into the hand. */
static void unlink_block(struct shared *shared, struct mproc__hand *hand, uint64_t *link) {
    struct block *block = (struct block *)(uintptr_t)*link;
    mproc__guard_set(&shared->guard, &hand->block, word_of(block));
    mproc__guard_set(&shared->guard, link, block->next);
}

static void block_drop(struct shared *shared, void *payload) {
    if (payload == NULL) {
        return;
    }
    uint64_t wanted = word_of((struct block *)payload - 1);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&shared->guard, hand);
    uint64_t *link = &shared->blocks;
    while (*link != wanted) {
        link = &((struct block *)(uintptr_t)*link)->next;
    }
    unlink_block(shared, hand, link);
    mproc__guard_leave(&shared->guard, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__hand_put(hand);
}

void mproc__pool_destroy(struct mproc__hand *hand, void *object) {
    struct shared *shared = object;
    while (shared->blocks != 0) {
        mproc__guard_enter(&shared->guard, hand);
        unlink_block(shared, hand, &shared->blocks);
        mproc__guard_leave(&shared->guard, hand);
        mproc__heap_free(hand, &hand->block);
    }
}

/* ---------------------------------------------------------------- functions */

/* Under the lock: the function's name in the arena. */
static int name_function(mproc_pool *pool, mproc__function fn, struct function **out) {
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
    struct known *known = realloc(pool->known, (pool->known_count + 1) * sizeof *known);
    if (known == NULL) {
        return -ENOMEM;
    }
    pool->known = known;
    struct function *function = block_new(pool->shared, sizeof *function);
    if (function == NULL) {
        return -ENOMEM;
    }
    function->index = pool->known_count;
    function->ref = ref;
    known[pool->known_count++] = (struct known){fn, function};
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
    uint32_t *slab = block_new(pool->shared, CELLS * sizeof *slab);
    if (slab == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < CELLS; i++) {
        cells[pool->cells_free++] = &slab[i];
    }
    pool->cells_total = total;
    return 0;
}

static int cell_take(mproc_pool *pool, uint32_t **out) {
    int r = pool->cells_free > 0 ? 0 : add_slab(pool);
    if (r == 0) {
        *out = pool->cells[--pool->cells_free];
        mproc__store32(*out, CELL_PENDING);
    }
    return r;
}

static void cell_give(mproc_pool *pool, uint32_t *cell) {
    pool->cells[pool->cells_free++] = cell;
}

/* ---------------------------------------------------------------- slips */

/* The open slip of a ticket, or NULL. */
static struct slip *slip_at(mproc_pool *pool, uint64_t ticket) {
    if (ticket - pool->base >= pool->top - pool->base) {
        return NULL;
    }
    struct slip *slip = &pool->slips[ticket & (pool->capacity - 1)];
    return slip->kind != SLIP_EMPTY ? slip : NULL;
}

/* Room for one more. */
static int slips_reserve(mproc_pool *pool) {
    if (pool->top - pool->base < pool->capacity) {
        return 0;
    }
    uint64_t capacity = pool->capacity != 0 ? 2 * pool->capacity : 64;
    struct slip *slips = calloc(capacity, sizeof *slips);
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
static struct slip slip_take(mproc_pool *pool, uint64_t ticket) {
    struct slip *slip = slip_at(pool, ticket);
    struct slip copy = *slip;
    *slip = (struct slip){0};
    while (pool->base != pool->top && slip_at(pool, pool->base) == NULL) {
        pool->base++;
    }
    if (copy.kind == SLIP_TASK) {
        cell_give(pool, copy.cell);
        pool->open_tasks--;
    }
    return copy;
}

/* Puts an order, for which `slip` then stands. */
static int put_order(mproc_pool *pool, const struct order *order, const void *lent, size_t size,
                     struct slip slip, uint64_t *ticket) {
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

/* The task is over. Nothing of it may be touched afterwards: its holder may drop it at once. */
static void task_done(mproc_task *task) {
    mproc__store32(&task->done, 1); /* SYNC(task.done): the result, before the word */
}

static int keep_result(mproc_task *task, mproc_message *message) {
    task->size = message->size - sizeof(struct reply);
    char *bytes = (char *)message->data + sizeof(struct reply);
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

static void chunk_failed(struct map *map, const mproc_task_error *error) {
    mproc__store32(&map->shared->cancelled, 1);
    if (map->error.code == 0 || error->task < map->error.task) {
        map->error = *error;
    }
}

/* The ticket has come to nothing. */
static void book_failure(mproc_pool *pool, uint64_t ticket, mproc_task_error error) {
    if (slip_at(pool, ticket) == NULL) {
        return;
    }
    struct slip slip = slip_take(pool, ticket);
    error.task = slip.number;
    if (slip.kind == SLIP_CHUNK) {
        slip.map->open--;
        chunk_failed(slip.map, &error);
    } else if (slip.task != NULL) {
        slip.task->error = error;
        task_done(slip.task);
    }
}

static void chunk_done(struct map *map, uint64_t first) {
    uint64_t left = map->shared->n - first;
    map->open--;
    map->finished += left < map->shared->chunk ? left : map->shared->chunk;
}

static void book_success(mproc_pool *pool, uint64_t ticket, mproc_message *message, pid_t pid) {
    struct slip slip = slip_take(pool, ticket);
    if (slip.kind == SLIP_CHUNK) {
        chunk_done(slip.map, slip.number);
    } else if (slip.task != NULL) {
        slip.task->error = (mproc_task_error){keep_result(slip.task, message), slip.number, pid, 0};
        task_done(slip.task);
    }
}

static void book_skipped(mproc_pool *pool, uint64_t ticket) {
    struct slip slip = slip_take(pool, ticket);
    if (slip.kind == SLIP_CHUNK) {
        slip.map->open--;
    }
}

static void book_reply(mproc_pool *pool, uint64_t ticket, mproc_message *message) {
    struct reply reply;
    if (slip_at(pool, ticket) != NULL && message->size >= sizeof reply) {
        memcpy(&reply, message->data, sizeof reply);
        if (reply.code == 0) {
            book_success(pool, ticket, message, reply.pid);
        } else if (reply.code == SKIPPED) {
            book_skipped(pool, ticket);
        } else {
            book_failure(pool, ticket, (mproc_task_error){reply.code, 0, reply.pid, 0});
        }
    }
    mproc_message_drop(message);
}

/* ---------------------------------------------------------------- workers */

static int start_worker(mproc_pool *pool, unsigned seat) {
    char name[64];
    struct seat_arg arg = {pool->shared, seat};
    mproc_process_options options = {.name = name, .method = pool->method};
    snprintf(name, sizeof name, "%s-%u", pool->name, pool->started + 1);
    mproc__store32(&pool->shared->ready[seat], 0);
    int r = mproc_process_start(&pool->process[seat], work, &arg, sizeof arg, &options);
    if (r == 0) {
        pool->polls[seat].fd = mproc_process_sentinel(pool->process[seat]);
        pool->started++;
        pool->alive++;
    }
    return r;
}

/* Counts ends without a task; true: too many. */
static bool too_many_stillborn(mproc_pool *pool, bool ready) {
    pool->stillborn = ready ? 0 : pool->stillborn + 1;
    return pool->stillborn > pool->seats + STILLBORN_SPARE;
}

/* The worker has ended: its task fails, its seat is free. False: not collectable yet. */
static bool bury_worker(mproc_pool *pool, unsigned seat, int task_code, mproc_task_error *how) {
    mproc_process *process = pool->process[seat];
    int exitcode = 0;
    uint64_t ticket;
    if (mproc_process_exitcode(process, &exitcode) != 0) {
        return false;
    }
    *how = (mproc_task_error){task_code, 0, mproc_process_pid(process),
                              task_code == MPROC_EDIED ? exitcode : 0};
    if (mproc_taskq_mourn(pool->tasks, seat, &ticket) == 1) {
        book_failure(pool, ticket, *how);
    }
    (void)mproc_process_close(process);
    pool->process[seat] = NULL;
    pool->polls[seat].fd = -1;
    pool->alive--;
    return true;
}

/* Workers that are missing are wanted while tasks may come or are waiting. */
static bool wants_workers(const mproc_pool *pool) {
    return pool->state == POOL_OPEN ||
           (pool->state == POOL_CLOSED &&
            (!pool->tasks_closed || mproc_taskq_waiting(pool->tasks) > 0));
}

/* A start that fails is tried again at the next look; without any worker it counts as an end. */
static void fill_seats(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats && wants_workers(pool); i++) {
        int r = pool->process[i] == NULL ? start_worker(pool, i) : 0;
        if (r != 0 && pool->alive == 0 && too_many_stillborn(pool, false)) {
            mproc_task_error why = {r, 0, 0, 0};
            stop(pool, POOL_BROKEN, &why);
        }
    }
}

static void notice_ready(mproc_pool *pool) {
    for (unsigned i = 0; pool->stillborn > 0 && i < pool->seats; i++) {
        if (pool->process[i] != NULL && mproc__load32(&pool->shared->ready[i])) {
            pool->stillborn = 0;
        }
    }
}

/* Under the lock: notices workers that have ended, and replaces them. Returns how many there were. */
static int look(mproc_pool *pool) {
    int found = 0;
    pool->looked = mproc__os_now();
    if (pool->alive > 0 && poll(pool->polls, pool->seats, 0) > 0) {
        notice_ready(pool);
        for (unsigned i = 0; i < pool->seats && pool->alive > 0; i++) {
            mproc_task_error how;
            bool ready = mproc__load32(&pool->shared->ready[i]) != 0;
            if (pool->process[i] == NULL || pool->polls[i].revents == 0 ||
                !bury_worker(pool, i, MPROC_EDIED, &how)) {
                continue;
            }
            found++;
            if (too_many_stillborn(pool, ready)) {
                stop(pool, POOL_BROKEN, &how);
            }
        }
    }
    if (pool->alive < pool->seats) {
        fill_seats(pool);
    }
    return found;
}

static void look_if_due(mproc_pool *pool, int64_t interval) {
    if (mproc__os_now() - pool->looked >= interval) {
        (void)look(pool);
    }
}

/* ---------------------------------------------------------------- stopping */

static void drain_replies(mproc_pool *pool) {
    _Alignas(16) char room[ROOM];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    while (mproc_taskq_collect(pool->tasks, &message, &ticket, 0) == 0) {
        book_reply(pool, ticket, &message);
        message = (mproc_message)MPROC_MESSAGE_INIT(room, sizeof room);
    }
}

static void kill_workers(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] != NULL) {
            (void)mproc_process_kill(pool->process[i]);
        }
    }
}

static void await_end(mproc_process *process) {
    int r;
    do {
        r = mproc_process_join(process, MPROC_FOREVER);
    } while (r == -EINTR);
}

static void close_tasks(mproc_pool *pool) {
    if (!pool->tasks_closed) {
        pool->tasks_closed = true;
        mproc_taskq_close(pool->tasks);
    }
}

/*
 * Under the lock: kills the workers, waits for their end, and fails every open ticket with why->code.
 * They are dead when it returns: nobody writes into the arrays of a map any more.
 */
static void stop(mproc_pool *pool, enum pool_state state, const mproc_task_error *why) {
    mproc_task_error error = *why, how;
    pool->state = state;
    pool->last = error;
    close_tasks(pool);
    kill_workers(pool);
    drain_replies(pool);
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] != NULL) {
            await_end(pool->process[i]);
            (void)bury_worker(pool, i, error.code, &how);
        }
    }
    drain_replies(pool);
    while (pool->base != pool->top) {
        book_failure(pool, pool->base, error);
    }
}

/* ---------------------------------------------------------------- waiting */

/* Under the lock: everybody who waits looks again. */
static void spread_news(mproc_pool *pool) {
    mproc__add32(&pool->news, 1);
    if (pool->followers > 0) {
        (void)mproc__os_futex_wake(&pool->news, INT32_MAX);
    }
}

/* Another thread pumps: waits for its news. 0, -ETIMEDOUT, -EINTR. */
static int follow(mproc_pool *pool, int64_t timeout) {
    uint32_t seen = mproc__load32(&pool->news);
    pool->followers++;
    pthread_mutex_unlock(&pool->lock);
    int r = timeout > 0 ? mproc__os_futex_wait(&pool->news, seen, timeout) : -ETIMEDOUT;
    pthread_mutex_lock(&pool->lock);
    pool->followers--;
    return r;
}

/* The sentinel of a worker, any: who waits for the end of all waits for that of each. */
static int some_sentinel(const mproc_pool *pool) {
    unsigned i = 0;
    while (i < pool->seats && pool->process[i] == NULL) {
        i++;
    }
    return i < pool->seats ? mproc_process_sentinel(pool->process[i]) : -1;
}

/* Nothing but ends can come. Without the lock: if the worker is buried by another thread meanwhile, and
 * the descriptor is another's, this costs a slice. 0, -ETIMEDOUT, -EINTR. */
static int await_sentinel(int fd, int64_t timeout) {
    struct pollfd one = {fd, POLLIN, 0};
    struct timespec ts = {(time_t)(timeout / MPROC_SEC), (long)(timeout % MPROC_SEC)};
    int r = ppoll(&one, 1, &ts, NULL);
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

/* Under the lock: replies that are there already. */
static void book_batch(mproc_pool *pool, char *room) {
    for (int i = 0; i < BATCH; i++) {
        mproc_message message = MPROC_MESSAGE_INIT(room, ROOM);
        uint64_t ticket;
        if (mproc_taskq_collect(pool->tasks, &message, &ticket, 0) != 0) {
            return;
        }
        book_reply(pool, ticket, &message);
    }
}

/* Collects for everybody. As follow(). */
static int pump(mproc_pool *pool, int64_t timeout) {
    _Alignas(16) char room[ROOM];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket = 0;
    bool ending = pool->base == pool->top && pool->state != POOL_OPEN;
    int r, sentinel = some_sentinel(pool);

    pool->pumping = true;
    pthread_mutex_unlock(&pool->lock);
    if (ending) {
        r = await_sentinel(sentinel, timeout);
    } else {
        r = mproc_taskq_collect(pool->tasks, &message, &ticket, timeout);
    }
    pthread_mutex_lock(&pool->lock);
    pool->pumping = false;
    if (r == 0 && !ending) {
        book_reply(pool, ticket, &message);
        book_batch(pool, room);
    }
    look_if_due(pool, ending ? 0 : r == 0 ? LOOK_MOST : LOOK_LEAST);
    spread_news(pool);
    return r;
}

/* Under the lock: one slice of waiting for anything. 0: look again; -ETIMEDOUT, -EINTR. */
static int wait_a_slice(mproc_pool *pool, struct mproc__slices *slices) {
    int64_t slice = mproc__slice(slices);
    int64_t timeout = slice < 0 ? 0 : slice;
    int r = pool->pumping ? follow(pool, timeout) : pump(pool, timeout);
    return r == -ETIMEDOUT && slice >= 0 ? 0 : r;
}

/* ---------------------------------------------------------------- the pool's life */

static bool is_stranger(const mproc_pool *pool) {
    return pool->owner != getpid();
}

static int check_options(const mproc_pool_options *o) {
    bool good = o->workers <= SEATS_MAX && o->method >= 0 && o->method <= MPROC_FORKSERVER &&
                (o->init_arg == NULL || mproc_in_arena(o->init_arg));
    return good ? 0 : -EINVAL;
}

static struct shared *shared_new(unsigned seats) {
    struct mproc__hand *hand = mproc__hand_get();
    struct shared *shared = NULL;
    size_t size = sizeof *shared + seats * sizeof shared->ready[0];
    if (mproc__object_alloc(hand, MPROC__KIND_POOL, size) == 0) {
        shared = (struct shared *)(uintptr_t)hand->doomed;
        mproc__guard_init(&shared->guard, shared->log, sizeof shared->log / sizeof *shared->log);
        mproc__object_adopt(hand, &hand->doomed);
    }
    mproc__hand_put(hand);
    return shared;
}

/* Frees what is the caller's; a stranger's copy of the workers' handles too. */
static void free_pool(mproc_pool *pool) {
    for (unsigned i = 0; pool->process != NULL && i < pool->seats; i++) {
        (void)mproc_process_close(pool->process[i]);
    }
    if (mproc__family != NULL) {
        mproc_drop(pool->tasks);
        mproc_drop(pool->shared);
    }
    free(pool->process);
    free(pool->polls);
    free(pool->name);
    free(pool->slips);
    free(pool->known);
    free(pool->cells);
    free(pool);
}

static int fill_pool(mproc_pool *pool, const mproc_pool_options *o) {
    unsigned seats = o->workers != 0 ? o->workers : mproc__os_cpus();
    pool->owner = getpid();
    pool->method = o->method != 0 ? o->method : MPROC_FORK;
    pool->name = strdup(o->name != NULL ? o->name : "Pool");
    pool->process = calloc(seats, sizeof(mproc_process *));
    pool->polls = calloc(seats, sizeof *pool->polls);
    if (pool->name == NULL || pool->process == NULL || pool->polls == NULL) {
        return -ENOMEM;
    }
    pool->seats = seats;
    for (unsigned i = 0; i < seats; i++) {
        pool->polls[i] = (struct pollfd){-1, POLLIN, 0};
    }
    pool->shared = shared_new(seats);
    pool->tasks = pool->shared != NULL ? mproc_taskq_new(seats) : NULL;
    return pool->tasks != NULL ? 0 : -ENOMEM;
}

static int share_options(mproc_pool *pool, const mproc_pool_options *o) {
    struct function *init = NULL;
    int r = o->init != NULL ? name_function(pool, (mproc__function)o->init, &init) : 0;
    pool->shared->tasks = word_of(pool->tasks);
    pool->shared->init = word_of(init);
    pool->shared->init_arg = word_of(o->init_arg);
    pool->shared->max_tasks = o->max_tasks;
    return r;
}

static int start_all(mproc_pool *pool) {
    int r = 0;
    for (unsigned i = 0; r == 0 && i < pool->seats; i++) {
        r = start_worker(pool, i);
    }
    if (r != 0) {
        stop(pool, POOL_TERMINATED, &(mproc_task_error){-ECANCELED, 0, 0, 0});
    }
    return r;
}

int mproc_pool_new(mproc_pool **out, const mproc_pool_options *options) {
    mproc_pool_options o = options != NULL ? *options : (mproc_pool_options){0};
    int r = check_options(&o);
    if (r != 0 || (r = mproc__family_need()) != 0) {
        return r;
    }
    mproc_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return -ENOMEM;
    }
    r = fill_pool(pool, &o);
    if (r == 0) {
        r = share_options(pool, &o);
    }
    if (r == 0) {
        r = start_all(pool);
    }
    if (r != 0) {
        free_pool(pool);
        return r;
    }
    pthread_mutex_init(&pool->lock, NULL);
    *out = pool;
    return 0;
}

/* Under the lock: workers may end when no map has chunks to put any more. */
static void close_if_fed(mproc_pool *pool) {
    if (pool->state == POOL_CLOSED && pool->feeding == 0) {
        close_tasks(pool);
    }
}

void mproc_pool_close(mproc_pool *pool) {
    if (is_stranger(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state == POOL_OPEN) {
        pool->state = POOL_CLOSED;
        close_if_fed(pool);
        spread_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

void mproc_pool_terminate(mproc_pool *pool) {
    if (is_stranger(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->state == POOL_OPEN || pool->state == POOL_CLOSED) {
        stop(pool, POOL_TERMINATED, &(mproc_task_error){-ECANCELED, 0, 0, 0});
        spread_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

static bool has_ended(const mproc_pool *pool) {
    return pool->alive == 0 && pool->tasks_closed && pool->base == pool->top;
}

int mproc_pool_join(mproc_pool *pool, int64_t timeout) {
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    if (is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    pthread_mutex_lock(&pool->lock);
    int r = pool->state == POOL_OPEN ? -EBUSY : 0;
    while (r == 0 && !has_ended(pool)) {
        r = wait_a_slice(pool, &slices);
    }
    r = has_ended(pool) ? 0 : r;
    pthread_mutex_unlock(&pool->lock);
    return r;
}

void mproc_pool_drop(mproc_pool *owned) {
    if (owned == NULL) {
        return;
    }
    mproc_pool_terminate(owned);
    if (!is_stranger(owned)) {
        pthread_mutex_destroy(&owned->lock);
    }
    free_pool(owned);
}

size_t mproc_pool_workers(mproc_pool *pool, pid_t *out, size_t cap) {
    size_t n = 0;
    if (is_stranger(pool)) {
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->seats; i++) {
        if (pool->process[i] == NULL) {
            continue;
        }
        if (n < cap) {
            out[n] = mproc_process_pid(pool->process[i]);
        }
        n++;
    }
    pthread_mutex_unlock(&pool->lock);
    return n;
}

/* ---------------------------------------------------------------- one task */

/* Under the lock: why nothing can be ordered. */
static int refusal(const mproc_pool *pool) {
    switch (pool->state) {
    case POOL_OPEN: return 0;
    case POOL_BROKEN: return pool->last.code;
    case POOL_CLOSED:
    case POOL_TERMINATED: break;
    }
    return MPROC_ECLOSED;
}

static int order_task(mproc_pool *pool, struct order *order, const void *lent, size_t size,
                      mproc_task *task) {
    uint32_t *cell;
    int r = cell_take(pool, &cell);
    if (r != 0) {
        return r;
    }
    struct slip slip = {SLIP_TASK, task, cell, NULL, pool->submitted};
    order->subject = word_of(cell);
    r = put_order(pool, order, lent, size, slip, &task->ticket);
    if (r != 0) {
        cell_give(pool, cell);
        return r;
    }
    task->error.task = pool->submitted++;
    pool->open_tasks++;
    return 0;
}

int mproc_pool_submit(mproc_pool *pool, mproc_task_fn fn, const void *lent, size_t size,
                      size_t out_cap, mproc_task **out) {
    struct function *function;
    if (fn == NULL || (lent == NULL && size != 0)) {
        return -EINVAL;
    }
    if (is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    mproc_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return -ENOMEM;
    }
    task->pool = pool;
    pthread_mutex_lock(&pool->lock);
    int r = refusal(pool);
    if (r == 0) {
        r = name_function(pool, (mproc__function)fn, &function);
    }
    if (r == 0) {
        struct order order = {ORDER_TASK, word_of(function), 0, out_cap};
        r = order_task(pool, &order, lent, size, task);
    }
    pthread_mutex_unlock(&pool->lock);
    if (r != 0) {
        free(task);
        return r;
    }
    *out = task;
    return 0;
}

static bool is_done(const mproc_task *task) {
    return mproc__load32(&task->done) != 0; /* SYNC(task.done) */
}

int mproc_task_wait(mproc_task *task, int64_t timeout) {
    if (is_done(task)) {
        return 0;
    }
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    mproc_pool *pool = task->pool;
    if (is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    int r = 0;
    pthread_mutex_lock(&pool->lock);
    while (r == 0 && !is_done(task)) {
        r = wait_a_slice(pool, &slices);
    }
    pthread_mutex_unlock(&pool->lock);
    return is_done(task) ? 0 : r;
}

int mproc_task_result(mproc_task *task, const void **data, size_t *size) {
    if (!is_done(task)) {
        return -EAGAIN;
    }
    if (task->error.code == 0) {
        *data = task->data;
        *size = task->size;
    }
    return task->error.code;
}

void mproc_task_failure(const mproc_task *task, mproc_task_error *out) {
    *out = is_done(task) ? task->error : (mproc_task_error){-EAGAIN, task->error.task, 0, 0};
}

/* Under the lock, not done: the owner's half of the meeting at the cell. */
static int withdraw(mproc_pool *pool, mproc_task *task) {
    struct slip *slip = slip_at(pool, task->ticket);
    uint32_t state = CELL_PENDING;
    if (!mproc__cas32(slip->cell, &state, CELL_CANCELLED)) {
        return -EBUSY;
    }
    slip->task = NULL;
    task->error.code = -ECANCELED;
    task_done(task);
    return 0;
}

int mproc_task_cancel(mproc_task *task) {
    int r = -EBUSY;
    if (is_done(task)) {
        return r;
    }
    mproc_pool *pool = task->pool;
    if (is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    pthread_mutex_lock(&pool->lock);
    if (!is_done(task)) {
        r = withdraw(pool, task);
        spread_news(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

static void disclaim(mproc_task *task) {
    mproc_pool *pool = task->pool;
    if (is_stranger(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (!is_done(task)) {
        slip_at(pool, task->ticket)->task = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
}

void mproc_task_drop(mproc_task *owned) {
    if (owned == NULL) {
        return;
    }
    if (!is_done(owned)) {
        disclaim(owned);
    }
    if (owned->message.block != NULL) {
        mproc_message_drop(&owned->message);
    } else {
        free(owned->data);
    }
    free(owned);
}

/* ---------------------------------------------------------------- map */

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
                (q->in != NULL || q->in_size == 0) && (q->out != NULL || q->out_size == 0) &&
                (q->options.context == NULL || mproc_in_arena(q->options.context));
    return good ? 0 : -EINVAL;
}

/* The array itself if the workers see it there, or memory of the pool. 0: no bytes, or no memory. */
static uint64_t shared_array(mproc_pool *pool, const void *array, size_t size) {
    if (mproc_in_arena(array)) {
        return word_of(array);
    }
    return size != 0 ? word_of(block_new(pool->shared, size)) : 0;
}

static void *copy_of(uint64_t shared, const void *array) {
    return shared != word_of(array) ? (void *)(uintptr_t)shared : NULL;
}

static size_t default_chunk(const mproc_pool *pool, size_t n) {
    size_t parts = (size_t)pool->seats * CHUNKS_A_WORKER;
    return n / parts + (n % parts != 0);
}

static int share_map(mproc_pool *pool, const struct request *q, struct shared_map *shared) {
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
    shared->chunk = q->options.chunk != 0 ? q->options.chunk : default_chunk(pool, q->n);
    shared->context = word_of(q->options.context);
    return 0;
}

static void free_map(mproc_pool *pool, const struct request *q, struct shared_map *shared) {
    block_drop(pool->shared, copy_of(shared->in, q->in));
    block_drop(pool->shared, copy_of(shared->out, q->out));
    block_drop(pool->shared, shared);
}

static bool is_cancelled(const struct map *map) {
    return mproc__load32(&map->shared->cancelled) != 0;
}

/* Under the lock: orders chunks as far ahead as is good. */
static int feed(mproc_pool *pool, struct map *map) {
    int r = 0;
    while (r == 0 && map->next < map->shared->n && map->open < CHUNKS_AHEAD && !is_cancelled(map)) {
        uint64_t ticket, left = map->shared->n - map->next;
        struct order order = {ORDER_CHUNK, map->shared->function, word_of(map->shared), map->next};
        struct slip slip = {SLIP_CHUNK, NULL, NULL, map, map->next};
        r = put_order(pool, &order, NULL, 0, slip, &ticket);
        if (r == 0) {
            map->open++;
            map->next += left < map->shared->chunk ? left : map->shared->chunk;
        }
    }
    return r;
}

static void report_progress(mproc_pool *pool, const struct map *map, const mproc_map_options *o,
                            size_t *reported) {
    if (o->progress != NULL && map->finished != *reported) {
        *reported = map->finished;
        pthread_mutex_unlock(&pool->lock);
        o->progress(*reported, map->shared->n, o->progress_arg);
        pthread_mutex_lock(&pool->lock);
    }
}

/* Under the lock: until no chunk is out and none is to go. What stops it first is its result. */
static int run_map(mproc_pool *pool, struct map *map, const mproc_map_options *o) {
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    size_t reported = 0;
    int r = 0;
    for (;;) {
        int e = pool->tasks_closed ? 0 : feed(pool, map);
        if (e == 0 && map->open > 0) {
            e = wait_a_slice(pool, &slices);
        } else if (e == 0) {
            break;
        }
        if (e != 0) {
            r = r != 0 ? r : e;
            mproc__store32(&map->shared->cancelled, 1);
        }
        report_progress(pool, map, o, &reported);
    }
    report_progress(pool, map, o, &reported);
    if (map->error.code != 0 || r != 0) {
        return map->error.code != 0 ? map->error.code : r;
    }
    return map->finished == map->shared->n ? 0 : MPROC_ECLOSED; /* terminated while none was out */
}

static int map_under_lock(mproc_pool *pool, const struct request *q, struct map *map) {
    struct function *function;
    int r = refusal(pool);
    if (r == 0) {
        r = name_function(pool, (mproc__function)q->fn, &function);
    }
    if (r != 0) {
        return r;
    }
    map->shared->function = word_of(function);
    pool->feeding++;
    r = run_map(pool, map, &q->options);
    pool->feeding--;
    close_if_fed(pool);
    return r;
}

static int map_items(mproc_pool *pool, const struct request *q, mproc_task_error *error) {
    struct map map = {0};
    map.shared = block_new(pool->shared, sizeof *map.shared);
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
    if (is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    int r = check_request(&q);
    if (r == 0) {
        r = map_items(pool, &q, &error);
    }
    if (r != 0 && q.options.error != NULL) {
        error.code = r;
        *q.options.error = error;
    }
    return r;
}

/* ---------------------------------------------------------------- the worker */

struct worker {
    struct shared *shared;
    mproc_taskq *tasks;
    unsigned seat;
    mproc__function *functions; /* by struct function's index; NULL: not found yet */
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

static int find_function(struct worker *w, const struct function *function, mproc__function *out) {
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

static int run_task(struct worker *w, const struct order *order, size_t size, size_t *out_size) {
    mproc__function fn;
    uint32_t state = CELL_PENDING;
    if (!mproc__cas32((uint32_t *)(uintptr_t)order->subject, &state, CELL_STARTED)) {
        return SKIPPED;
    }
    int r = find_function(w, (struct function *)(uintptr_t)order->function, &fn);
    if (r == 0) {
        r = grow_out(w, order->number);
    }
    if (r == 0) {
        r = ((mproc_task_fn)fn)(order + 1, size, w->out, order->number, out_size);
        r = r == SKIPPED ? -EINVAL : r;
    }
    return r == 0 && *out_size > order->number ? -EOVERFLOW : r;
}

static int run_items(const struct shared_map *map, mproc_item_fn fn, uint64_t first) {
    uint64_t left = map->n - first, n = left < map->chunk ? left : map->chunk;
    const char *in = (const char *)(uintptr_t)map->in + first * map->in_size;
    char *out = (char *)(uintptr_t)map->out + first * map->out_size;
    void *context = (void *)(uintptr_t)map->context;
    int r = 0;
    for (uint64_t i = 0; i < n && r == 0; i++) {
        r = fn(in, out, context);
        in += map->in_size;
        out += map->out_size;
    }
    return r == SKIPPED ? -EINVAL : r;
}

static int run_chunk(struct worker *w, const struct order *order) {
    const struct shared_map *map = (const struct shared_map *)(uintptr_t)order->subject;
    mproc__function fn;
    if (mproc__load32(&map->cancelled)) {
        return SKIPPED;
    }
    int r = find_function(w, (struct function *)(uintptr_t)order->function, &fn);
    return r == 0 ? run_items(map, (mproc_item_fn)fn, order->number) : r;
}

/* A result for which there is no memory fails the task; if not even that can be said, the worker ends
 * and says it so. */
static int hand_in(struct worker *w, int code, size_t size) {
    struct reply reply = {code, getpid()};
    struct iovec pieces[2] = {{&reply, sizeof reply}, {w->out, code == 0 ? size : 0}};
    int r = mproc_taskq_finish(w->tasks, w->seat, pieces, 2);
    if (r != 0 && size > 0) {
        return hand_in(w, r, 0);
    }
    return r;
}

static int do_order(struct worker *w, const mproc_message *message) {
    const struct order *order = message->data;
    size_t size = 0;
    int code = order->kind == ORDER_CHUNK
                   ? run_chunk(w, order)
                   : run_task(w, order, message->size - sizeof *order, &size);
    return hand_in(w, code, code == 0 ? size : 0);
}

/* 0: one more was done; MPROC_ECLOSED: there will be none. */
static int do_next(struct worker *w) {
    _Alignas(16) char room[ROOM];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    int r;
    do {
        r = mproc_taskq_claim(w->tasks, w->seat, &message, &ticket, MPROC_FOREVER);
    } while (r == -EINTR);
    if (r == 0) {
        r = do_order(w, &message);
        mproc_message_drop(&message);
    }
    return r;
}

static int initialise(struct worker *w) {
    const struct function *init = (const struct function *)(uintptr_t)w->shared->init;
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
static int work(void *arg, size_t size) {
    const struct seat_arg *seat = arg;
    struct worker w = {.shared = seat->shared, .seat = seat->seat};
    assert(size == sizeof *seat);
    (void)size;
    w.tasks = tasks_of(w.shared);
    if (mproc_hold(w.shared) != 0 || mproc_hold(w.tasks) != 0 ||
        mproc_taskq_sit(w.tasks, w.seat) != 0) {
        return EXIT_SEAT;
    }
    int r = initialise(&w);
    if (r == 0) {
        mproc__store32(&w.shared->ready[w.seat], 1);
        r = serve(&w);
    }
    free(w.functions);
    free(w.out);
    return r;
}

/* ---------------------------------------------------------------- check */

static int check_slips(const mproc_pool *pool, char *why, size_t size) {
    uint64_t tasks = 0;
    for (uint64_t t = pool->base; t != pool->top; t++) {
        tasks += pool->slips[t & (pool->capacity - 1)].kind == SLIP_TASK;
    }
    if (pool->base != pool->top &&
        pool->slips[pool->base & (pool->capacity - 1)].kind == SLIP_EMPTY) {
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

static int check_blocks(struct shared *shared, char *why, size_t size) {
    int r = 0;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&shared->guard, hand);
    for (uint64_t b = shared->blocks; r == 0 && b != 0;) {
        const struct block *block = (const struct block *)(uintptr_t)b;
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

int mproc_pool_check(mproc_pool *pool, char *why, size_t size) {
    if (is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    if (pool->shared->object.magic != MPROC__OBJECT_MAGIC ||
        pool->shared->object.kind != MPROC__KIND_POOL) {
        return mproc__corrupt(why, size, "W: %p is no pool", (void *)pool);
    }
    pthread_mutex_lock(&pool->lock);
    int r = check_slips(pool, why, size);
    pthread_mutex_unlock(&pool->lock);
    if (r == 0) {
        r = check_blocks(pool->shared, why, size);
    }
    return r == 0 ? mproc_taskq_check(pool->tasks, why, size) : r;
}
