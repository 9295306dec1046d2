/*
 * inside.h - the inside of pools: what the files of this folder share
 *
 * SPDX-License-Identifier: MIT
 *
 * How a pool works stands in pool.c. The files, lower ones first: taskq.c, tasks out and results
 * back; memory.c and start.c, the pool's memory in the arena; open.c, which tasks are open;
 * state.c, what the pool is doing; notify.c, the descriptor; worker.c, the worker's side; land.c,
 * parts that have ended; callback.c, extra.c, rank.c and again.c, a task's end, its options, its
 * priority and its further tries; leave.c, workers that are too many; book.c, what came back;
 * feed.c, tasks that wait in the owner; limits.c, tasks that are ended; crew.c, the workers as the
 * owner sees them; wait.c, waiting and collecting; task.c, map.c and pool.c, the functions of
 * mproc.h.
 */
#ifndef MPROC_POOL_INSIDE_H
#define MPROC_POOL_INSIDE_H

#include <pthread.h>

#include "core/handle.h"
#include "core/join.h"
#include "core/make.h"
#include "pool/taskq.h"
#include "process/function.h"
#include "system/os.h"

/* A reply's code: the task was taken back before it was begun. */
#define MPROC__POOL_SKIPPED INT32_MIN
/* A worker ends so, whose owner is about to kill it. */
#define MPROC__EXIT_KILLED 126

/* ---------------------------------------------------------------- in the arena */

struct mproc__block {
    uint64_t next; /* struct mproc__block * */
    uint64_t pad;  /* what follows is 16-byte aligned, as every block is */
};

#define MPROC__ADDRESS_MAX 24

struct mproc_workplace {
    struct mproc__object object;
    struct mproc__guard guard;
    struct mproc__undo log[4];
    uint64_t blocks; /* struct mproc__block * */
    uint64_t tasks;  /* mproc_taskq *, inside this object */
    uint64_t
        init; /* struct mproc__pool_function *, or 0; what follows is for workers of worker.c */
    uint64_t init_arg;
    uint64_t exit; /* likewise */
    uint64_t exit_arg;
    uint64_t handler; /* struct mproc__pool_function *, or 0 */
    uint64_t handler_arg;
    uint64_t max_tasks;
    uint32_t left;         /* 1: the engine's carrier serves the pool no more */
    uint32_t armed;        /* 1: who hands in a result next is to write to the socket */
    uint32_t address_size; /* of the socket; 0: there is none */
    char address[MPROC__ADDRESS_MAX];
};

/* A function that tasks name, written once. */
struct mproc__pool_function {
    uint64_t index; /* for what a worker remembers of it */
    struct mproc__function_ref ref;
};

/*
 * Where owner and worker agree about one open task, by compare-and-swap. The worker: PENDING ->
 * RUNNING -> FINISHED. The owner: PENDING -> CANCELLED, RUNNING -> ENDING. So a task is begun or
 * taken back, and its worker hands in a result or is killed, never both.
 */
enum mproc__start_state {
    MPROC__START_PENDING = 0,
    MPROC__START_RUNNING,
    MPROC__START_FINISHED,
    MPROC__START_CANCELLED,
    MPROC__START_ENDING
};

struct mproc__start {
    uint32_t state;
    uint32_t seat;            /* whose worker has begun it; before RUNNING, by the worker */
    uint64_t since;           /* when, if the message is TIMED; likewise */
    uint64_t timeout, memory; /* the task's limits, in a pool on an engine; the owner's */
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

enum mproc__message_kind {
    MPROC__MESSAGE_CALL = 1, /* a function, and its bytes, which follow */
    MPROC__MESSAGE_BYTES,    /* bytes for the handler, which follow */
    MPROC__MESSAGE_PART,     /* the same, but without a record: nobody takes it back or ends it */
    MPROC__MESSAGE_CHUNK,    /* of a map */
    MPROC__MESSAGE_LEAVE     /* who takes it ends */
};

enum mproc__message_flags { MPROC__MESSAGE_TIMED = 1 };

struct mproc__task_message {
    uint32_t kind;
    uint32_t flags;
    uint64_t function; /* of a call: struct mproc__pool_function * */
    uint64_t subject;  /* a task's struct mproc__start *; a chunk's struct mproc__map_shared *; 0 */
    uint64_t first;    /* a chunk's first item */
};

struct mproc__reply {
    int32_t code;
    int32_t pid; /* followed by a task's result, or by the item of a chunk that failed, uint64_t */
};

/* What an engine's carrier says behind the reply of a task that has failed. */
struct mproc__reply_detail {
    uint64_t item;
    int64_t ran;
    uint64_t memory;
    int32_t exitcode;
    uint32_t node;
};

static_assert(sizeof(struct mproc__task_message) % 16 == 0, "a task's bytes are aligned");
static_assert((sizeof(uint64_t) + sizeof(struct mproc__reply)) % 16 == 0, "a result is aligned");

struct mproc__worker_arg {
    mproc_workplace *place;
    unsigned seat;
};

/* ---------------------------------------------------------------- the owner's */

enum mproc__pool_state {
    MPROC__POOL_OPEN,
    MPROC__POOL_CLOSED,
    MPROC__POOL_TERMINATED,
    MPROC__POOL_BROKEN
};

/* Where a task is that has no ticket. */
enum mproc__held { MPROC__HELD_NOT = 0, MPROC__HELD_DELAYED, MPROC__HELD_RANKED };

/* What a task with options brings along. Lives as long as the task has not ended. */
struct mproc__extra {
    mproc_task_options options;
    mproc_task *task; /* as in struct mproc__open, while it waits for the next try */
    uint64_t number;
    unsigned tries;
    bool feeds;                /* its message may be put once more */
    uint64_t peak;             /* bytes of private memory seen */
    int64_t ran;               /* when its time was up, ns */
    int64_t due;               /* when the next try may begin */
    struct mproc__extra *next; /* in pool->delayed */
    enum mproc__held held;
    size_t at;                          /* in pool->ranked */
    struct mproc__task_message message; /* what follows is for a further try */
    char *bytes;
    size_t size;
    mproc_buffer **buffers; /* each held once */
    size_t nbuffers;
};

enum mproc__task_state {
    MPROC__TASK_OPEN = 0,
    MPROC__TASK_ENDED = 1, /* its callback has not returned yet */
    MPROC__TASK_DONE = 2
};

struct mproc_task {
    uint32_t handle;  /* MPROC__HANDLE_TASK */
    mproc_pool *pool; /* looked at only while it is not done */
    uint64_t ticket;  /* while it is open and not held */
    struct mproc__extra *extra;
    uint32_t state; /* what follows is constant from ENDED on: SYNC(task.state) */
    bool dropped;   /* by its callback, or before that returned */
    mproc_task_error error;
    mproc_message message; /* of a large result */
    void *data;
    size_t size;
    void (*callback)(mproc_task *task, void *arg);
    void *callback_arg;
    uint64_t caller;  /* the thread that is in the callback */
    mproc_task *next; /* in pool->ended */
};

/* A map under way, on its caller's stack. */
struct mproc__map {
    struct mproc__map_shared *shared;
    size_t next;            /* first item that is not in a message yet */
    size_t finished;        /* items in chunks that succeeded */
    size_t open;            /* chunks that are out */
    mproc_task_error error; /* of the foremost item that failed; code 0: none has */
};

enum mproc__open_kind {
    MPROC__OPEN_EMPTY = 0,
    MPROC__OPEN_TASK,
    MPROC__OPEN_CHUNK,
    MPROC__OPEN_LEAVE,
    MPROC__OPEN_PART,
    MPROC__OPEN_LANDED /* a part that has ended, and nobody has been told */
};

/* What an open ticket stands for. */
struct mproc__open {
    enum mproc__open_kind kind;
    int verdict;     /* of a task in state ENDING: what it fails with; of a part that has landed */
    uint64_t number; /* what errors call it */
    union {
        struct mproc__start *start;   /* of a task */
        struct mproc__landed *landed; /* of a part that has landed with a result */
        struct mproc__part_error {
            int32_t pid, exitcode;
        } error; /* of one that has landed without */
    };
    union {
        mproc_task *task; /* of a task; NULL: cancelled or dropped, nobody wants it */
        size_t part;      /* as it was put */
    };
    union {
        struct mproc__extra *extra; /* of a task; NULL: it has no options */
        struct mproc__map *map;
        void *parts;
    };
};

/* A part's result on its way to who wants it. */
struct mproc__landed {
    mproc_message message; /* whose block it is in, if that is not NULL; otherwise it follows */
    size_t size;
};
static_assert(sizeof(struct mproc__landed) % 16 == 0, "a part's result is aligned");

struct mproc__known {
    mproc__function fn;
    struct mproc__pool_function *shared;
};

/* A worker, as the owner sees it. */
struct mproc__crew {
    mproc_process *process; /* NULL: none */
    mproc_process *ended;   /* to be given to `end` */
    bool parting;           /* a thread that has left the lock gives it away */
    bool starting;          /* by a thread that has left the lock for it */
    bool leaves;            /* it was told to, and has said so */
};

struct mproc_pool {
    uint32_t handle; /* MPROC__HANDLE_POOL */
    pthread_mutex_t lock;
    pid_t owner;
    enum mproc__pool_state state;
    mproc_workplace *place;
    mproc_taskq *tasks;
    bool tasks_closed;
    unsigned feeding; /* maps that have chunks to put still, and tasks that may be tried again */
    mproc_task_error last; /* why the pool broke */
    mproc_pool_options options;
    char *name;
    uint32_t number; /* engine.c: what its carrier calls it, 0: it does not know it */

    /* crew.c */
    unsigned seats;
    unsigned used;   /* seats from this number on never had a worker */
    unsigned target; /* workers that are wanted */
    unsigned alive, starting, leaving, ended_count;
    unsigned started; /* workers ever, for their names */
    mproc_restarts restarts;
    uint64_t replies, replies_before; /* ever, and when a worker ended last */
    unsigned breaks;                  /* how often the pool has broken since a worker was ready */
    int64_t looked;
    int64_t refill_at;        /* no worker is started before that */
    struct mproc__crew *crew; /* by seat */
    struct pollfd *polls;     /* by seat */

    /* wait.c */
    uint64_t pumping;   /* the thread that pumps; 0: none */
    uint32_t followers; /* threads that wait for the pumping one */
    uint32_t news;      /* changes whenever the pump has been at work */
    bool noticed;       /* a notice is on its way to the thread that pumps */
    int64_t quiet;      /* since when threads wait and no result has come; 0: nobody has waited */
    uint64_t quiet_replies; /* replies, when `quiet` was set */
    uint64_t closed;        /* tickets that have been closed, and what else ends a collecting */
    bool told;              /* mproc_pool_notify() has been called, and nobody has returned since */
    mproc_task *ended, **ended_end; /* whose callbacks are to be called */

    /* open.c */
    struct mproc__open *open; /* by ticket & (capacity - 1) */
    uint64_t capacity;
    uint64_t base, top;
    uint64_t *landed; /* tickets of parts that have landed, a ring of the same capacity */
    uint64_t landed_first, landed_count;
    struct mproc__replies *telling; /* whose parts are being told of, on the threads' stacks */
    uint64_t open_tasks;
    uint64_t submitted;

    /* again.c, limits.c */
    struct mproc__extra *delayed; /* the one that is due first is first */
    struct mproc__extra **ranked; /* rank.c: a heap */
    size_t ranked_count, ranked_room;
    unsigned limited; /* open tasks with a timeout or a limit of memory */

    /* memory.c, start.c */
    struct mproc__known *known;
    size_t known_count;
    struct mproc__start **starts; /* that are free */
    size_t starts_free, starts_total;

    /* notify.c */
    int fd, socket, timer;
};

static inline uint64_t mproc__word(const void *pointer) {
    return (uint64_t)(uintptr_t)pointer;
}

static inline mproc_taskq *mproc__place_tasks(const mproc_workplace *place) {
    return (mproc_taskq *)(uintptr_t)place->tasks;
}

static inline bool mproc__pool_is_stranger(const mproc_pool *pool) {
    return pool->owner != mproc__self_pid();
}

/* What the functions for the owner ask first. 0; MPROC_EOTHER: no pool; MPROC_ESTRANGER. */
static inline int mproc__pool_door(const mproc_pool *pool) {
    if (!mproc__expect_handle(pool, MPROC__HANDLE_POOL)) {
        return MPROC_EOTHER;
    }
    return mproc__pool_is_stranger(pool) ? MPROC_ESTRANGER : 0;
}

/* ---- memory.c */

/* Memory that goes with the workplace; under no lock but the guard. NULL: -ENOMEM. */
void *mproc__pool_block_new(mproc_workplace *place, size_t size);
void mproc__pool_block_drop(mproc_workplace *place, void *payload);

/* The function's name in the arena, written once. MPROC_EFUNCTION, -ENOMEM. */
int mproc__pool_name(mproc_pool *pool, mproc__function fn, struct mproc__pool_function **out);

/* Invariant W3. */
int mproc__pool_blocks_check(mproc_workplace *place, char *why, size_t size);

/* ---- start.c */

/* `extra`: of the task, NULL if it has no options. */
int mproc__start_new(mproc_pool *pool, const struct mproc__extra *extra, struct mproc__start **out);
void mproc__start_drop(mproc_pool *pool, struct mproc__start *start);
static inline bool mproc__start_move(struct mproc__start *start, enum mproc__start_state from,
                                     enum mproc__start_state to) {
    uint32_t state = from;
    return mproc__cas32(&start->state, &state, to); /* SYNC(start.state) */
}

/* ---- open.c; all under the lock */

/* What is open under a ticket, or NULL. */
struct mproc__open *mproc__open_at(mproc_pool *pool, uint64_t ticket);

/* Puts a message, its head and what follows (NULL: nothing), for which `open` then stands. */
int mproc__open_put(mproc_pool *pool, const struct mproc__task_message *head,
                    const struct mproc__load *load, const struct mproc__open *open,
                    uint64_t *ticket);

/* The same for n parts of a piece each, from `first` on: at least one and at most all; *put says
 * how many. */
int mproc__open_put_parts(mproc_pool *pool, const struct iovec *lent, size_t n, size_t first,
                          void *parts, size_t *put);

/* The ticket is closed: what it stood for is all that is left of it. */
struct mproc__open mproc__open_close(mproc_pool *pool, uint64_t ticket);

/* Invariants W1 and W2. */
int mproc__open_check(const mproc_pool *pool, char *why, size_t size);

/* ---- state.c; all under the lock, but for enter and leave */

/* Why nothing can be put; 0: it can. */
int mproc__pool_refusal(mproc_pool *pool);
/* No more tasks: workers drain the queue, then end. */
void mproc__pool_close_tasks(mproc_pool *pool);
/* A closed pool's workers may end when nothing will be put any more. */
void mproc__pool_close_if_fed(mproc_pool *pool);
/* When something is to be done although nothing comes; MPROC__NEVER. */
int64_t mproc__pool_due(const mproc_pool *pool);
/* Around what calls functions of the program. */
void mproc__pool_enter(const mproc_pool *pool);
void mproc__pool_leave(const mproc_pool *pool);

/* ---- notify.c */

/* Owner, under the lock. */
void mproc__notify_watch(mproc_pool *pool, int sentinel);
void mproc__notify_forget(mproc_pool *pool, int sentinel);
/* A thread that calls the first is about to collect, and has collected when it calls the second: in
 * between the descriptor says nothing new. Afterwards it is readable as soon as something is to be
 * collected. */
void mproc__notify_disarm(mproc_pool *pool);
void mproc__notify_rearm(mproc_pool *pool);
/* Something may be due earlier than before. */
void mproc__notify_due(mproc_pool *pool);
/* A task has ended: a program that waits for the descriptor is to look for it. */
void mproc__notify_self(mproc_pool *pool);
void mproc__notify_close(mproc_pool *pool);
/* Worker: a result is there. *fd is the worker's socket, -1 at first. */
void mproc__notify_owner(mproc_workplace *place, int *fd);

/* ---- callback.c */

static inline bool mproc__task_is_done(const mproc_task *task) {
    return mproc__load32(&task->state) == MPROC__TASK_DONE; /* SYNC(task.state) */
}

/* Under the lock: the task has ended. If it has no callback, it must not be touched afterwards:
 * its holder may drop it at once. */
void mproc__task_end(mproc_pool *pool, mproc_task *task);
/* The task's callback is called; without the lock. */
void mproc__task_call(mproc_pool *pool, mproc_task *task);
/* The handle goes, and the result with it. */
void mproc__task_free(mproc_task *owned);

/* ---- extra.c; all under the lock */

/* The extra of a task with options. NULL: -ENOMEM. */
struct mproc__extra *mproc__extra_new(mproc_pool *pool, const mproc_task_options *options);
/* Keeps the message for further tries, and holds its buffers. -ENOMEM. */
int mproc__extra_keep(struct mproc__extra *extra, const struct mproc__task_message *head,
                      const struct mproc__load *load);
/* Puts its message, under a new ticket: one more try. -ENOMEM, MPROC_ETOOBIG. */
int mproc__extra_put(mproc_pool *pool, struct mproc__extra *extra);
void mproc__extra_drop(mproc_pool *pool, struct mproc__extra *owned);

/* ---- land.c; all under the lock */

/* The part has its result: the message is taken over or dropped. */
void mproc__land_result(mproc_pool *pool, uint64_t ticket, mproc_message *message);
/* Tells of a part whose ticket is closed, and whose result is in the message. Without the lock,
 * between enter and leave. */
void mproc__land_tell(mproc_pool *pool, const struct mproc__open *closed,
                      const mproc_message *message);
/* The part has failed. */
void mproc__land_failure(mproc_pool *pool, uint64_t ticket, const mproc_task_error *error);
/* Tells of all that have landed; the lock is open meanwhile. */
void mproc__land_deliver(mproc_pool *pool);
/* Invariant W7. */
int mproc__land_check(const mproc_pool *pool, char *why, size_t size);

/* ---- rank.c; all under the lock */

/* The task waits for its turn. -ENOMEM. */
int mproc__rank_add(mproc_pool *pool, struct mproc__extra *extra);
void mproc__rank_forget(mproc_pool *pool, struct mproc__extra *extra);
/* Invariant W6. */
int mproc__rank_check(const mproc_pool *pool, char *why, size_t size);

/* ---- again.c; all under the lock */

/* True: the task that failed so will be tried again, and belongs to `delayed` now. */
bool mproc__again(mproc_pool *pool, const struct mproc__open *open, const mproc_task_error *error);
/* The next try begins after `pause` ns. */
void mproc__again_delay(mproc_pool *pool, struct mproc__extra *extra, int64_t pause);
/* Takes a task out that is held: here, or by its rank. */
void mproc__extra_forget(mproc_pool *pool, struct mproc__extra *extra);

/* ---- leave.c; all under the lock */

/* As many end as are too many. -ENOMEM. */
int mproc__crew_shrink(mproc_pool *pool);
/* The worker of that pid has been told to leave, and ends. */
void mproc__crew_left(mproc_pool *pool, pid_t pid);

/* ---- book.c; all under the lock */

/* Replies that are collected together. */
#define MPROC__REPLIES 32
#define MPROC__REPLY_ROOM 240

struct mproc__replies {
    size_t n;
    bool noticed;
    mproc_message messages[MPROC__REPLIES];
    uint64_t tickets[MPROC__REPLIES];
    /* Of these, the first so many messages are results of parts, and so many have been told of. */
    size_t parts, told;
    struct mproc__open closed[MPROC__REPLIES];
    uint64_t thread;                              /* that tells of them */
    struct mproc__replies *outer;                 /* in pool->telling */
    _Alignas(16) char room[MPROC_MESSAGE_INLINE]; /* of the first */
    char rooms[MPROC__REPLIES - 1][MPROC__REPLY_ROOM];
};

/* Collects what is there, or waits for the first; needs no lock. 0, -ETIMEDOUT, -EINTR, -ENOMEM. */
int mproc__replies_collect(mproc_pool *pool, struct mproc__replies *replies, int64_t timeout);
/* Books them; their messages are dropped. The lock is open meanwhile: of results of parts it is
 * told at once. */
void mproc__book_replies(mproc_pool *pool, struct mproc__replies *replies);
/* Parts that this thread was about to tell of when a callback of it began to wait: it is told of
 * them now. The lock is open meanwhile, between enter and leave. False: there are none. */
bool mproc__book_has_aside(const mproc_pool *pool);
void mproc__book_tell_aside(mproc_pool *pool);
/* Books what is there, and opens no lock for it: results of parts land. */
void mproc__book_all(mproc_pool *pool);
/* Books what is there, or so much of it that a waiter should look for its own again, as
 * mproc__book_replies(). */
void mproc__book_batch(mproc_pool *pool, struct mproc__replies *replies);

/* The ticket has come to nothing. One that is not open is ignored. */
void mproc__book_failure(mproc_pool *pool, uint64_t ticket, mproc_task_error error);

/* The task that has no ticket, and has been forgotten where it was held, has failed. */
void mproc__book_failure_of_held(mproc_pool *pool, struct mproc__extra *extra,
                                 const mproc_task_error *error);

/* Everything that is open fails, what is held included. */
void mproc__book_failure_of_all(mproc_pool *pool, mproc_task_error error);

/* ---- feed.c; all under the lock */

/* Puts those whose turn it is. */
void mproc__feed_ranked(mproc_pool *pool);
/* Puts those whose time has come. */
void mproc__feed_due(mproc_pool *pool);

/* ---- limits.c; all under the lock */

/* Ends the worker that runs the task, which then fails with `code`. False: none runs it. */
bool mproc__limit_end(mproc_pool *pool, struct mproc__open *open, int code);
/* Ends tasks whose time is up, or whose memory is too much. */
void mproc__limits_look(mproc_pool *pool);

/* ---- restarts.c */

/* The ends that may come, one after the other, before so many workers are given up. */
uint32_t mproc__restarts_most(unsigned workers);
/* As if so many had come. */
void mproc__restarts_set(mproc_restarts *restarts, uint32_t ends);

/* ---- crew.c; all under the lock */

/* Starts the first workers. */
int mproc__crew_start(mproc_pool *pool);
/* Notices workers that have ended. */
void mproc__crew_look(mproc_pool *pool);
/* Is a worker to be started? */
bool mproc__crew_is_short(const mproc_pool *pool);
/* Starts those that are missing, in seats whose process has been given away. */
void mproc__crew_refill(mproc_pool *pool);
/* Kills the workers, waits for their end, and fails what is open with why->code. They are dead
 * when it returns: nobody writes into the arrays of a map any more. */
void mproc__crew_stop(mproc_pool *pool, enum mproc__pool_state state, const mproc_task_error *why);
/* Fails what is open; workers that run end by themselves. */
void mproc__crew_give_up(mproc_pool *pool, const mproc_task_error *why);
/* The sentinel of a worker, any; -1. */
int mproc__crew_sentinel(const mproc_pool *pool);
/* Invariant W5. */
int mproc__crew_check(const mproc_pool *pool, char *why, size_t size);

/* ---- wait.c; all under the lock */

/* One slice of waiting for anything; the lock is open meanwhile. 0: look again; -ETIMEDOUT,
 * -EINTR. */
int mproc__pool_wait(mproc_pool *pool, struct mproc__slices *slices);
/* Behind each sleep: has the caller's runtime found a signal? The lock is open meanwhile. 0,
 * -EINTR. */
int mproc__pool_signalled(mproc_pool *pool, struct mproc__slices *slices);
/* Looks after the workers; the lock is open meanwhile. */
void mproc__pool_look(mproc_pool *pool);
/* Every thread that waits looks again. */
void mproc__pool_news(mproc_pool *pool);
/* Calls the callbacks of tasks that have ended, and gives ended processes away; the lock is open
 * meanwhile. */
void mproc__pool_deliver(mproc_pool *pool);

/* ---- worker.c */

/* What a worker of the pool's own runs; arg: struct mproc__worker_arg. */
int mproc__worker_main(void *arg, size_t size);

#endif
