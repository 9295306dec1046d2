/*
 * worker.c - a pool's worker: takes tasks, runs them, hands in replies
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A worker joins in a seat and takes messages from the task queue. Calls and chunks
 * it runs itself; mere bytes are given to the handler, or to the runtime that works step by step.
 * It remembers the functions that it has found, and keeps its room for results. Its hold keeps the
 * pool's memory if the owner dies first.
 *
 * A task's record (struct mproc__start) is moved twice: to RUNNING before the task begins, and to
 * FINISHED before its result is handed in. If the first fails, the owner has taken the task back,
 * and it is skipped. If the second fails, the owner is about to kill this process: the result is
 * thrown away, and the worker ends. What happens when it dies: see pool.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "core/border.h"
#include "core/parcel.h"
#include "core/trace_ring.h"
#include "pool/inside.h"
#include "system/os.h"

/* Exit codes of a worker that ends by itself, beside what init returned. */
#define EXIT_SEAT 125
#define EXIT_FUNCTION 127

#define FIRST_ROOM 256

/* Bytes that are kept from task to task, so that they are allocated once. */
struct mproc_result {
    char *bytes;
    size_t size, cap;
};

/* What is recorded of the task in hand, while somebody records (core/trace.h). */
struct tracing {
    uint64_t took;      /* when it was taken; 0: nothing is recorded of it */
    uint64_t ended;     /* when the task before it has; 0: that is recorded, or nothing of it */
    bool begun;         /* its beginning is written */
    mproc__function fn; /* that was named last, and the number of its name */
    unsigned fn_name;
    char text[MPROC__TRACE_TEXT]; /* that the runtime has named last, and its number */
    unsigned text_name;
};

struct mproc_worker {
    uint32_t handle; /* MPROC__HANDLE_WORKER */
    mproc_workplace *place;
    mproc_taskq *tasks;
    struct mproc__seat *line;
    unsigned seat;
    int socket; /* notify.c; -1: not made yet */
    uint64_t done;
    bool fails;                 /* the runtime has said so of the task in hand */
    mproc__function *functions; /* by struct mproc__pool_function's index; NULL: not found yet */
    size_t count;
    struct mproc_result result;
    const struct mproc__task_message *head; /* of the task in hand; NULL: none */
    mproc_message message;                  /* that it came in */
    struct tracing tracing;
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
};

/* ---------------------------------------------------------------- results */

static int reserve(mproc_result *result, size_t size) {
    size_t need, cap = result->cap != 0 ? result->cap : FIRST_ROOM;
    if (__builtin_add_overflow(result->size, size, &need)) {
        return -ENOMEM;
    }
    if (need <= result->cap && result->bytes != NULL) { /* nothing has an address, too */
        return 0;
    }
    while (cap < need && !__builtin_mul_overflow(cap, 2, &cap)) {
    }
    char *bytes = realloc(result->bytes, cap < need ? need : cap);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    result->bytes = bytes;
    result->cap = cap;
    return 0;
}

void *mproc_result_room(mproc_result *result, size_t size) {
    if (reserve(result, size) != 0) {
        return NULL;
    }
    void *room = result->bytes + result->size;
    result->size += size;
    return room;
}

int mproc_result_write(mproc_result *result, const void *lent, size_t size) {
    void *room = mproc_result_room(result, size);
    if (room == NULL) {
        return -ENOMEM;
    }
    if (size > 0) {
        memcpy(room, lent, size);
    }
    return 0;
}

/* ---------------------------------------------------------------- functions */

static int remember(mproc_worker *w, uint64_t index) {
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

static int find_function(mproc_worker *w, uint64_t word, mproc__function *out) {
    const struct mproc__pool_function *function = (struct mproc__pool_function *)(uintptr_t)word;
    int r = remember(w, function->index);
    if (r == 0 && w->functions[function->index] == NULL) {
        r = mproc__function_find(&function->ref, &w->functions[function->index]);
    }
    if (r == 0) {
        *out = w->functions[function->index];
    }
    return r;
}

/* ---------------------------------------------------------------- what is recorded */

/* A task that was there already begins when the one before it has ended, and its beginning is the
 * record of both: so a busy worker looks at the clock once for each task, and writes once. */
static MPROC__NOINLINE void trace_took(mproc_worker *w) {
    w->tracing.took = w->tracing.ended != 0 ? w->tracing.ended : mproc__trace_time();
    if (mproc__unlikely(!mproc__trace_joined())) {
        mproc__trace_join();
    }
}

static MPROC__NOINLINE void trace_begin(mproc_worker *w, unsigned name) {
    if (!w->tracing.begun) {
        mproc__trace_write_at(mproc__trace_what(MPROC__TRACE_TASK, name, w->place), 0,
                              w->tracing.took);
        w->tracing.begun = true;
        w->tracing.ended = 0;
    }
}

/* No task follows at once that would say it. */
static MPROC__NOINLINE void trace_ended(mproc_worker *w) {
    mproc__trace_write_at(mproc__trace_what(MPROC__TRACE_TASK_END, 0, w->place), 0,
                          w->tracing.ended);
    w->tracing.ended = 0;
}

static MPROC__NOINLINE void trace_end(mproc_worker *w, bool skipped) {
    if (!skipped || w->tracing.begun) {
        trace_begin(w, 0);
        w->tracing.ended = mproc__trace_time();
    } else if (w->tracing.ended != 0) {
        trace_ended(w);
    }
    w->tracing.took = 0;
    w->tracing.begun = false;
}

/* As the program exports it, or as its place in the file. */
static unsigned name_of_function(const struct mproc__function_ref *ref, mproc__function fn) {
    char text[MPROC__TRACE_TEXT];
    void *address;
    memcpy(&address, &fn, sizeof address);
    const char *symbol = mproc__os_symbol_at(address);
    if (symbol != NULL) {
        return mproc__trace_name(symbol);
    }
    snprintf(text, sizeof text, "%.*s+0x%" PRIx64, (int)(sizeof text / 2),
             ref->object[0] != 0 ? ref->object : "program", ref->offset);
    return mproc__trace_name(text);
}

static bool is_traced(const mproc_worker *w) {
    return mproc__unlikely(w->tracing.took != 0);
}

/* The task in hand is that function's, and the one before was not, or is recorded. */
static MPROC__NOINLINE void tell_function(mproc_worker *w, uint64_t word, mproc__function fn) {
    const struct mproc__pool_function *function = (struct mproc__pool_function *)(uintptr_t)word;
    if (w->tracing.fn != fn) {
        w->tracing.fn_name = name_of_function(&function->ref, fn);
        w->tracing.fn = fn;
        mproc__poke32(&w->line->name, w->tracing.fn_name);
    }
    if (is_traced(w)) {
        trace_begin(w, w->tracing.fn_name);
    }
}

/* A worker mostly runs one function, whose name stays in its seat. */
static inline void say_function(mproc_worker *w, uint64_t word, mproc__function fn) {
    if (is_traced(w) || mproc__unlikely(w->tracing.fn != fn)) {
        tell_function(w, word, fn);
    }
}

/* The task in hand is bytes: only the runtime knows what it does with them. */
static void forget_function(mproc_worker *w) {
    if (mproc__unlikely(w->tracing.fn != NULL)) {
        w->tracing.fn = NULL;
        mproc__poke32(&w->line->name, 0);
    }
}

/* ---------------------------------------------------------------- beginning and finishing */

static struct mproc__start *start_of(const struct mproc__task_message *head) {
    return (struct mproc__start *)(uintptr_t)head->subject;
}

/* False: the owner has taken it back. */
static bool begin(const mproc_worker *w) {
    struct mproc__start *start = start_of(w->head);
    mproc__poke32(&start->seat, w->seat);
    if ((w->head->flags & MPROC__MESSAGE_TIMED) != 0) {
        mproc__poke64(&start->since, (uint64_t)mproc__os_now());
    }
    /* SYNC(start.state): who and since when, before it runs. */
    return mproc__start_move(start, MPROC__START_PENDING, MPROC__START_RUNNING);
}

static bool is_seated(const mproc_worker *w) {
    return mproc__peek64(&w->line->token) == mproc__self_token();
}

/* 0; -ECANCELED: the owner is about to kill this process; MPROC_ESTRANGER: a task has forked, and
 * this is the child, which has no say in it. */
static int may_finish(const mproc_worker *w) {
    struct mproc__start *start = start_of(w->head);
    if (!is_seated(w)) {
        return MPROC_ESTRANGER;
    }
    if (w->head->kind == MPROC__MESSAGE_PART) {
        return 0;
    }
    bool may = mproc__start_move(start, MPROC__START_RUNNING, MPROC__START_FINISHED) ||
               mproc__load32(&start->state) == MPROC__START_FINISHED;
    return may ? 0 : -ECANCELED;
}

static void forget_task(mproc_worker *w) {
    w->head = NULL;
    w->fails = false;
    if (w->message.block != NULL) {
        mproc_message_drop(&w->message);
    }
}

/* Before there is a result by which somebody knows of it. */
static void count_failure(mproc_worker *w, int code) {
    bool failed = w->fails || (code != 0 && code != MPROC__POOL_SKIPPED);
    if (mproc__unlikely(failed)) {
        mproc__taskq_count_failure(w->tasks, w->seat, mproc__peek64(&w->line->claim) - 1);
    }
}

static int hand_in(mproc_worker *w, int code, const struct mproc__load *whole) {
    if (!is_seated(w)) {
        return MPROC_ESTRANGER;
    }
    count_failure(w, code);
    return mproc__taskq_finish(w->tasks, w->seat, whole);
}

/* Hands in the reply, and forgets the task. -ENOMEM, MPROC_ETOOBIG: it still has it. */
static int reply_load(mproc_worker *w, int code, const struct mproc__load *load) {
    int n = load->n;
    struct mproc__reply head = {code, mproc__self_pid()};
    struct iovec pieces[8], *all = pieces;
    if (n > 7 && (all = malloc(((size_t)n + 1) * sizeof *all)) == NULL) {
        return -ENOMEM;
    }
    all[0] = (struct iovec){&head, sizeof head};
    if (n > 0) {
        memcpy(all + 1, load->pieces, (size_t)n * sizeof *all);
    }
    const struct mproc__load whole = {all, n + 1, load->buffers, load->nbuffers};
    if (is_traced(w)) {
        trace_end(w, code == MPROC__POOL_SKIPPED);
    }
    int r = hand_in(w, code, &whole);
    if (all != pieces) {
        free(all);
    }
    if (r == 0) {
        mproc__notify_owner(w->place, &w->socket);
        w->done += code != MPROC__POOL_SKIPPED;
        forget_task(w);
    }
    return r;
}

static int reply(mproc_worker *w, int code, const struct iovec *lent, int n) {
    const struct mproc__load load = {lent, n, NULL, 0};
    return reply_load(w, code, &load);
}

/* A result for which there is no memory fails the task; if not even that can be said, the worker
 * ends and says it so. */
static int reply_bytes(mproc_worker *w, int code, const void *bytes, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)bytes, size};
    int r = reply(w, code, &piece, 1);
    return (r == -ENOMEM || r == MPROC_ETOOBIG) && size > 0 ? reply(w, r, NULL, 0) : r;
}

static int skip(mproc_worker *w) {
    return reply(w, MPROC__POOL_SKIPPED, NULL, 0);
}

/* A task's own code is not to be mistaken for ours. */
static int code_of(int code) {
    return code == MPROC__POOL_SKIPPED ? -EINVAL : code;
}

static int finish_result(mproc_worker *w, int code) {
    int r = may_finish(w);
    if (r != 0) {
        return r;
    }
    return reply_bytes(w, code_of(code), w->result.bytes, code == 0 ? w->result.size : 0);
}

/* ---------------------------------------------------------------- running */

static int run_call(void *worker) {
    mproc_worker *w = worker;
    mproc__function fn;
    if (!begin(w)) {
        return skip(w);
    }
    w->result.size = 0;
    int r = find_function(w, w->head->function, &fn);
    if (r == 0) {
        say_function(w, w->head->function, fn);
    }
    if (r == 0) {
        r = ((mproc_task_fn)fn)(w->head + 1, w->message.size - sizeof *w->head, &w->result);
    }
    return finish_result(w, r);
}

/* The seat says which item the worker is at, for the case that it dies of it. Addresses are
 * counted as numbers: items without bytes have the address 0, which is no array. */
static int run_items(struct mproc__seat *line, const struct mproc__map_shared *map,
                     mproc_item_fn fn, uint64_t first) {
    uint64_t end = first + mproc__map_chunk(map, first), i = first;
    uint64_t in = map->in + first * map->in_size, out = map->out + first * map->out_size;
    void *context = (void *)(uintptr_t)map->context;
    int r = 0;
    while (r == 0 && i < end) {
        mproc__poke64(&line->item, i);
        r = fn((const void *)(uintptr_t)in, (void *)(uintptr_t)out, context);
        in += map->in_size;
        out += map->out_size;
        i++;
    }
    return r;
}

static int run_chunk(void *worker) {
    mproc_worker *w = worker;
    const struct mproc__map_shared *map =
        (const struct mproc__map_shared *)(uintptr_t)w->head->subject;
    mproc__function fn;
    if (mproc__peek32(&map->cancelled)) { /* what is not skipped is done for nothing */
        return skip(w);
    }
    mproc__poke64(&w->line->item, w->head->first);
    int r = find_function(w, map->function, &fn);
    if (r == 0) {
        say_function(w, map->function, fn);
    }
    if (r == 0) {
        r = code_of(run_items(w->line, map, (mproc_item_fn)fn, w->head->first));
    }
    uint64_t item = mproc__peek64(&w->line->item);
    return reply_bytes(w, r, &item, r != 0 ? sizeof item : 0);
}

/* Runs what is not for a handler. 1: it is for one, and has begun. */
static int run(mproc_worker *w) {
    switch (w->head->kind) {
    case MPROC__MESSAGE_CALL: return mproc__border(run_call, w);
    case MPROC__MESSAGE_CHUNK: return mproc__border(run_chunk, w);
    case MPROC__MESSAGE_BYTES: forget_function(w); return begin(w) ? 1 : skip(w);
    case MPROC__MESSAGE_PART: forget_function(w); return 1;
    default: break;
    }
    int r = skip(w);
    return r == 0 ? MPROC_ECLOSED : r; /* MPROC__MESSAGE_LEAVE */
}

static int take_message(mproc_worker *w, int64_t timeout) {
    uint64_t ticket;
    w->message = (mproc_message)MPROC_MESSAGE_INIT(w->room, sizeof w->room);
    bool at_once = mproc__unlikely(w->tracing.ended != 0) &&
                   mproc_taskq_take(w->tasks, w->seat, &w->message, &ticket, 0) == 0;
    if (mproc__unlikely(w->tracing.ended != 0) && !at_once) {
        trace_ended(w);
    }
    int r = at_once ? 0 : mproc_taskq_take(w->tasks, w->seat, &w->message, &ticket, timeout);
    w->head = r == 0 ? w->message.data : NULL;
    if (mproc__unlikely(mproc__trace_on() != 0) && r == 0) {
        trace_took(w);
    } else {
        w->tracing.ended = 0;
    }
    return r;
}

/* ---------------------------------------------------------------- step by step */

int mproc_worker_join(mproc_worker **out, mproc_workplace *place, unsigned seat) {
    if (!mproc__expect(place, MPROC__KIND_POOL)) {
        return MPROC_EOTHER;
    }
    mproc_worker *w = malloc(sizeof *w); /* the room need not be touched */
    if (w == NULL) {
        return -ENOMEM;
    }
    memset(w, 0, offsetof(struct mproc_worker, room));
    w->handle = MPROC__HANDLE_WORKER;
    w->place = place;
    w->tasks = mproc__place_tasks(place);
    w->seat = seat;
    w->socket = -1;
    int r = mproc_hold(place);
    if (r == 0) {
        r = mproc_taskq_join(w->tasks, seat);
        if (r != 0) {
            mproc_drop(place);
        }
    }
    if (r != 0) {
        free(w);
        return r;
    }
    w->line = mproc__taskq_seat(w->tasks, seat);
    mproc__poke32(&w->line->name, 0);
    *out = w;
    return 0;
}

static void say_ready(mproc_worker *w) {
    if (mproc__peek32(&w->line->state) == MPROC__WORKER_NEW) {
        /* SYNC(seat.state): its init is done, before it says so. */
        mproc__store32(&w->line->state, MPROC__WORKER_READY);
    }
}

static bool is_worker(const mproc_worker *w) {
    return mproc__expect_handle(w, MPROC__HANDLE_WORKER);
}

/* One message. 0: it is done; 1: it is for the handler, and has begun. */
static int step(mproc_worker *w, int64_t timeout) {
    if (w->head != NULL) {
        return -EINVAL;
    }
    say_ready(w);
    int r = take_message(w, timeout);
    return r == 0 ? run(w) : r;
}

int mproc_worker_take(mproc_worker *w, const void **task, size_t *size, int64_t timeout) {
    if (!is_worker(w)) {
        return MPROC_EOTHER;
    }
    int64_t deadline = timeout > 0 ? mproc__deadline(timeout) : 0;
    int r = step(w, timeout);
    while (r == 0) {
        if (timeout > 0) {
            int64_t left = deadline - mproc__os_now();
            timeout = left > 0 ? left : 0;
        }
        r = step(w, timeout);
    }
    if (r == 1) {
        *task = w->head + 1;
        *size = w->message.size - sizeof *w->head;
    }
    return r == 1 ? 0 : r;
}

static int finish(mproc_worker *w, int code, const struct mproc__load *load) {
    if (w->head == NULL || load->n < 0 || (code != 0 && load->n != 0)) {
        return -EINVAL;
    }
    int r = may_finish(w);
    if (r != 0) {
        return r;
    }
    return reply_load(w, code_of(code), load);
}

int mproc_worker_finish(mproc_worker *w, int code, const struct iovec *lent, int n) {
    const struct mproc__load load = {lent, n, NULL, 0};
    return is_worker(w) ? finish(w, code, &load) : MPROC_EOTHER;
}

int mproc_worker_finish_with(mproc_worker *w, const struct iovec *lent, int n,
                             mproc_buffer *const *buffers, size_t nbuffers) {
    const struct mproc__load load = {lent, n, buffers, nbuffers};
    return is_worker(w) && mproc__are_buffers(buffers, nbuffers) ? finish(w, 0, &load)
                                                                 : MPROC_EOTHER;
}

mproc_buffer *mproc_worker_buffer(const mproc_worker *w, size_t i) {
    return is_worker(w) && w->head != NULL ? mproc_message_buffer(&w->message, i) : NULL;
}

static unsigned name_of_text(mproc_worker *w, const char *function) {
    if (strncmp(w->tracing.text, function, sizeof w->tracing.text - 1) != 0) {
        snprintf(w->tracing.text, sizeof w->tracing.text, "%s", function);
        w->tracing.text_name = mproc__trace_name(w->tracing.text);
    }
    return w->tracing.text_name;
}

void mproc_worker_runs(mproc_worker *w, const char *function) {
    if (!is_worker(w) || w->head == NULL) {
        return;
    }
    unsigned name = function != NULL ? name_of_text(w, function) : 0;
    mproc__poke32(&w->line->name, name);
    if (is_traced(w) && function != NULL) {
        trace_begin(w, name);
    }
}

int mproc_worker_is_traced(const mproc_worker *w) {
    return is_worker(w) && w->head != NULL && (is_traced(w) || mproc__peek32(&w->line->name) == 0);
}

void mproc_worker_fails(mproc_worker *w) {
    if (is_worker(w) && w->head != NULL) {
        w->fails = true;
    }
}

uint64_t mproc_worker_done(const mproc_worker *worker) {
    return is_worker(worker) ? worker->done : 0;
}

void mproc_worker_drop(mproc_worker *owned) {
    if (owned == NULL || !is_worker(owned)) {
        return;
    }
    forget_task(owned);
    if (owned->tracing.ended != 0) {
        trace_ended(owned);
    }
    if (owned->socket >= 0) {
        mproc__os_close(owned->socket);
    }
    mproc_drop(owned->place);
    free(owned->functions);
    free(owned->result.bytes);
    mproc__handle_wreck(owned);
    free(owned);
}

/* ---------------------------------------------------------------- the loop */

struct handling {
    mproc_worker *worker;
    mproc_handler_fn handler;
    void *arg;
};

static int call_handler(void *arg) {
    const struct handling *h = arg;
    mproc_worker *w = h->worker;
    return h->handler(h->arg, w->head + 1, w->message.size - sizeof *w->head, &w->result);
}

static int handle(mproc_worker *w, mproc_handler_fn handler, void *arg) {
    struct handling h = {w, handler, arg};
    w->result.size = 0;
    if (is_traced(w)) {
        trace_begin(w, 0);
    }
    return finish_result(w, handler != NULL ? mproc__border(call_handler, &h) : -ENOSYS);
}

/* A signal handler that runs while the worker waits does not end it. */
static int work_one(mproc_worker *w, mproc_handler_fn handler, void *arg) {
    int r;
    do {
        r = step(w, MPROC_FOREVER);
    } while (r == -EINTR);
    return r == 1 ? handle(w, handler, arg) : r;
}

static int exit_code(int r) {
    if (r == 0 || r == MPROC_ECLOSED) {
        return 0;
    }
    return r == -ECANCELED ? MPROC__EXIT_KILLED : EXIT_SEAT;
}

static int serve(mproc_worker *w, mproc_handler_fn handler, void *arg, uint64_t max_tasks) {
    int r = 0;
    while (r == 0 && (max_tasks == 0 || w->done < max_tasks)) {
        r = work_one(w, handler, arg);
    }
    return exit_code(r);
}

int mproc_pool_work(mproc_workplace *place, unsigned seat, mproc_handler_fn handler, void *arg,
                    unsigned max_tasks) {
    mproc_worker *w;
    if (mproc_worker_join(&w, place, seat) != 0) {
        return EXIT_SEAT;
    }
    int code = serve(w, handler, arg, max_tasks);
    mproc_worker_drop(w);
    return code;
}

/* ---------------------------------------------------------------- a worker of the pool's own */

/* NULL: the place names none, or it cannot be found, which is said. */
static mproc__function find_own(uint64_t word, int *r) {
    const struct mproc__pool_function *named = (struct mproc__pool_function *)(uintptr_t)word;
    mproc__function fn = NULL;
    *r = named != NULL ? mproc__function_find(&named->ref, &fn) : 0;
    if (*r != 0) {
        mproc__function_complain(&named->ref, *r);
    }
    return fn;
}

static int initialise(const mproc_workplace *place) {
    int r;
    mproc__function fn = find_own(place->init, &r);
    if (r != 0) {
        return EXIT_FUNCTION;
    }
    void *arg = (void *)(uintptr_t)place->init_arg;
    return fn != NULL ? ((int (*)(void *))fn)(arg) : 0;
}

/* A worker that cannot go on does not tidy up either. */
static int leave(const mproc_workplace *place, int code) {
    int r;
    mproc__function fn = code == 0 ? find_own(place->exit, &r) : NULL;
    if (fn != NULL) {
        ((void (*)(void *))fn)((void *)(uintptr_t)place->exit_arg);
    }
    return code;
}

static int serve_place(mproc_worker *w) {
    int r;
    mproc_handler_fn handler = (mproc_handler_fn)find_own(w->place->handler, &r);
    if (r != 0) {
        return EXIT_FUNCTION;
    }
    return serve(w, handler, (void *)(uintptr_t)w->place->handler_arg, w->place->max_tasks);
}

int mproc__worker_main(void *arg, size_t size) {
    const struct mproc__worker_arg *a = arg;
    mproc_worker *w;
    assert(size == sizeof *a);
    (void)size;
    if (mproc_worker_join(&w, a->place, a->seat) != 0) {
        return EXIT_SEAT;
    }
    int code = initialise(w->place);
    if (code == 0) {
        code = leave(w->place, serve_place(w));
    }
    mproc_worker_drop(w);
    return code;
}
