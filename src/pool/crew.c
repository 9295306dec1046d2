/*
 * crew.c - a pool's workers as the owner sees them: started, looked after, replaced
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each seat has at most one worker. A look (under the pool's lock) asks the workers'
 * sentinels which of them have ended. For each such worker the task queue tells which ticket died
 * with it, that ticket fails, and the seat is free. Free seats get new workers as long as tasks
 * may come.
 *
 * A worker is started without the lock, for a start function of the program may do anything:
 * `starting` keeps the seat meanwhile. A pool that was stopped in the meantime kills the worker at
 * once.
 *
 * A worker that is too many takes a message that tells it to leave; `leaving` counts the messages
 * that are open and the workers that have taken one and not ended yet.
 *
 * Workers that end before they are ready are counted (restarts.c). After too many the pool goes on
 * with the workers that it has and tries again every REFILL_PAUSE. If it has none, and they are
 * hopeless, it is broken: what is open fails, and nothing can be put until a pause has passed,
 * which is doubled each time. So a pool recovers from a shortage. With options.patience a worker
 * that cannot be started is no such end: the pool breaks when there has been none for so long.
 *
 * A fragile pool is given up when a worker dies by itself: what is open fails, and the workers that
 * are left end, without being replaced, when they have done what they have.
 *
 * Invariant: W5. pool->alive counts the seats with a process, whose sentinel is in polls[];
 * starting those that a thread is about to fill; ended_count those whose process waits for `end`.
 */
#include <stdio.h>

#include "pool/engine.h"
#include "system/os.h"

#define REFILL_PAUSE MPROC_SEC /* between starts that are not likely to succeed */
#define LOOK_END (10 * MPROC_MSEC)
#define BREAKS_MOST 6 /* doublings of the pause */

/* ---------------------------------------------------------------- starting */

static int start_own(mproc_pool *pool, unsigned seat, mproc_process **out) {
    char name[64];
    struct mproc__worker_arg arg = {pool->place, seat};
    mproc_process_options options = {
        .name = name, .method = pool->options.method, .setup = pool->options.setup};
    snprintf(name, sizeof name, "%s-%u", pool->name, pool->started + 1);
    return mproc_process_start(out, mproc__worker_main, &arg, sizeof arg, &options);
}

static int start_by_program(mproc_pool *pool, unsigned seat, mproc_process **out) {
    mproc__pool_enter(pool);
    int r = pool->options.start(pool->options.start_arg, pool->place, seat, out);
    mproc__pool_leave(pool);
    return r == 0 && *out == NULL ? -EINVAL : r > 0 ? -EINVAL : r;
}

static bool is_stopped(const mproc_pool *pool) {
    return pool->state == MPROC__POOL_TERMINATED || pool->state == MPROC__POOL_BROKEN;
}

static void welcome(mproc_pool *pool, unsigned seat, mproc_process *process) {
    pool->crew[seat].process = process;
    pool->polls[seat].fd = mproc_process_sentinel(process);
    pool->alive++;
    pool->started++;
    mproc__notify_watch(pool, pool->polls[seat].fd);
    if (is_stopped(pool)) {
        (void)mproc_process_kill(process);
    }
}

/* The lock is open meanwhile. */
static int start_worker(mproc_pool *pool, unsigned seat) {
    mproc_process *process = NULL;
    mproc__store32(&mproc__taskq_seat(pool->tasks, seat)->state, MPROC__WORKER_NEW);
    pool->used = seat < pool->used ? pool->used : seat + 1;
    pool->crew[seat].starting = true;
    pool->starting++;
    pthread_mutex_unlock(&pool->lock);
    int r = pool->options.start != NULL ? start_by_program(pool, seat, &process)
                                        : start_own(pool, seat, &process);
    pthread_mutex_lock(&pool->lock);
    pool->starting--;
    pool->crew[seat].starting = false;
    if (r == 0) {
        welcome(pool, seat, process);
    }
    return r;
}

int mproc__crew_start(mproc_pool *pool) {
    int r = 0;
    if (pool->options.engine != NULL) {
        return mproc__engine_begin(pool);
    }
    for (unsigned i = 0; r == 0 && i < pool->target; i++) {
        r = start_worker(pool, i);
    }
    return r;
}

/* ---------------------------------------------------------------- ends that come too early */

static void count_end(mproc_pool *pool, uint32_t state) {
    bool replied = pool->replies != pool->replies_before;
    if (state == MPROC__WORKER_READY) {
        mproc_restarts_ready(&pool->restarts);
    } else if (state == MPROC__WORKER_NEW) {
        mproc_restarts_ended(&pool->restarts, replied);
    } else if (replied) {
        pool->restarts.useless = 0;
    }
    pool->replies_before = pool->replies;
}

static bool too_many_early_ends(const mproc_pool *pool) {
    return pool->restarts.early > mproc__restarts_most(pool->target);
}

static uint32_t state_of(const mproc_pool *pool, unsigned seat) {
    return mproc__load32(&mproc__taskq_seat(pool->tasks, seat)->state); /* SYNC(seat.state) */
}

/* A worker that became ready ends the count. */
static void notice_ready(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->used; i++) {
        if (pool->crew[i].process != NULL && state_of(pool, i) == MPROC__WORKER_READY) {
            mproc__store32(&mproc__taskq_seat(pool->tasks, i)->state, MPROC__WORKER_KNOWN);
            mproc_restarts_ready(&pool->restarts);
            pool->breaks = 0;
        }
    }
}

static bool somebody_is_ready(const mproc_pool *pool) {
    unsigned i = 0;
    while (i < pool->used &&
           (pool->crew[i].process == NULL || state_of(pool, i) == MPROC__WORKER_NEW)) {
        i++;
    }
    return i < pool->used;
}

/* Nothing is put until the pause has passed; see mproc__pool_refusal(). One early end suffices
 * then. */
static void break_if_hopeless(mproc_pool *pool, const mproc_task_error *why) {
    if (is_stopped(pool) || !mproc_restarts_hopeless(&pool->restarts, pool->target) ||
        somebody_is_ready(pool)) {
        return;
    }
    mproc__crew_stop(pool, MPROC__POOL_BROKEN, why);
    pool->refill_at = mproc__os_now() + (REFILL_PAUSE << pool->breaks);
    pool->breaks = pool->breaks < BREAKS_MOST ? pool->breaks + 1 : pool->breaks;
    mproc__restarts_set(&pool->restarts, mproc__restarts_most(pool->target));
}

/* ---------------------------------------------------------------- ending */

/* Whose end the program wants to hear of waits for mproc__pool_deliver(). */
static void part_with(mproc_pool *pool, unsigned seat) {
    struct mproc__crew *crew = &pool->crew[seat];
    mproc__notify_forget(pool, pool->polls[seat].fd);
    if (pool->options.end != NULL) {
        crew->ended = crew->process;
        pool->ended_count++;
    } else {
        (void)mproc_process_drop(crew->process);
    }
    pool->leaving -= crew->leaves;
    crew->leaves = false;
    crew->process = NULL;
    pool->polls[seat].fd = -1;
    pool->alive--;
}

/* How a worker ended; fatal: a fragile pool is given up for it. */
struct end {
    mproc_task_error how;
    bool fatal;
};

/* Neither did the pool end the worker, nor is the task one that may cost workers. */
static bool is_fatal_for(const struct mproc__open *open) {
    if (open == NULL || open->kind != MPROC__OPEN_TASK) {
        return true;
    }
    bool tried_again = open->extra != NULL && open->extra->options.retries != 0;
    return open->verdict == 0 && !tried_again;
}

/* The worker has ended: its task fails with `code`, its seat is free. False: not collectable
 * yet. */
static bool collect_worker(mproc_pool *pool, unsigned seat, int code, struct end *end) {
    mproc_process *process = pool->crew[seat].process;
    mproc_task_error *how = &end->how;
    int exitcode = 0;
    uint64_t ticket;
    if (mproc_process_exitcode(process, &exitcode) != 0) {
        return false;
    }
    *how = (mproc_task_error){.code = code, .pid = mproc_process_pid(process)};
    how->exitcode = code == MPROC_EDIED ? exitcode : 0;
    end->fatal = exitcode != 0;
    if (mproc_taskq_worker_died(pool->tasks, seat, &ticket) == 1) {
        end->fatal = is_fatal_for(mproc__open_at(pool, ticket));
        how->task = mproc__peek64(&mproc__taskq_seat(pool->tasks, seat)->item);
        mproc__taskq_count_failure(pool->tasks, seat, ticket);
        mproc__book_failure(pool, ticket, *how);
    }
    part_with(pool, seat);
    return true;
}

static void notice_end(mproc_pool *pool, unsigned seat) {
    struct end end;
    uint32_t state = state_of(pool, seat);
    if (!collect_worker(pool, seat, MPROC_EDIED, &end)) {
        return;
    }
    if (pool->options.fragile && end.fatal && !is_stopped(pool)) {
        mproc__crew_give_up(pool, &end.how);
        return;
    }
    count_end(pool, state);
    break_if_hopeless(pool, &end.how);
}

/* What a worker has said before it ended is booked first. */
static void notice_ends(mproc_pool *pool) {
    if (pool->alive == 0 || mproc__os_poll(pool->polls, pool->used, 0) <= 0) {
        return;
    }
    mproc__book_all(pool);
    for (unsigned i = 0; i < pool->used; i++) {
        if (pool->crew[i].process != NULL && pool->polls[i].revents != 0) {
            notice_end(pool, i);
        }
    }
}

/* ---------------------------------------------------------------- replacing */

/* Workers that are missing are wanted while tasks may come or are waiting. */
static bool wants_workers(const mproc_pool *pool) {
    return pool->state == MPROC__POOL_OPEN ||
           (pool->state == MPROC__POOL_CLOSED &&
            (!pool->tasks_closed || mproc_taskq_waiting(pool->tasks) > 0));
}

static bool is_short(const mproc_pool *pool) {
    return pool->options.engine == NULL &&
           pool->alive + pool->starting < pool->target + pool->leaving;
}

bool mproc__crew_is_short(const mproc_pool *pool) {
    return wants_workers(pool) && is_short(pool);
}

static bool is_vacant(const struct mproc__crew *crew) {
    return crew->process == NULL && crew->ended == NULL && !crew->starting;
}

/* There is no worker, and none could be started: that counts as an end, or is borne for so long as
 * the program says. */
static void do_without(mproc_pool *pool, int code) {
    if (pool->options.patience == 0) {
        count_end(pool, MPROC__WORKER_NEW);
    } else {
        mproc_restarts_missing(&pool->restarts, pool->target, pool->options.patience);
    }
    break_if_hopeless(pool, &(mproc_task_error){.code = code});
}

/* A start that fails is tried again after a pause, or at the next look when there is no worker at
 * all. False: it has failed. */
static bool refill(mproc_pool *pool, unsigned seat) {
    int r = start_worker(pool, seat);
    if (r != 0 || too_many_early_ends(pool)) {
        pool->refill_at = pool->looked + REFILL_PAUSE;
    }
    if (r != 0 && pool->alive + pool->starting == 0) {
        do_without(pool, r);
    } else {
        mproc_restarts_started(&pool->restarts);
    }
    return r == 0;
}

static void refill_seats(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->seats && is_short(pool) && wants_workers(pool); i++) {
        bool paused = pool->alive > 0 && pool->looked < pool->refill_at;
        if (is_vacant(&pool->crew[i]) && !paused && !refill(pool, i)) {
            return;
        }
    }
}

void mproc__crew_refill(mproc_pool *pool) {
    if (is_short(pool)) {
        refill_seats(pool);
    }
}

/* ---------------------------------------------------------------- stopping */

static void kill_workers(mproc_pool *pool) {
    if (pool->options.engine != NULL) {
        mproc__engine_leave(pool);
    }
    for (unsigned i = 0; i < pool->used; i++) {
        if (pool->crew[i].process != NULL) {
            (void)mproc_process_kill(pool->crew[i].process);
        }
    }
}

/* The lock is held: no hook of the program (mproc_wait_hook()) may run meanwhile. */
static void await_end(mproc_process *process) {
    struct pollfd one = {mproc_process_sentinel(process), POLLIN, 0};
    int code;
    while (mproc_process_exitcode(process, &code) == -EAGAIN) {
        if (mproc__os_poll(&one, 1, LOOK_END) == 1) { /* a tracer may keep the status back */
            (void)mproc__os_poll(NULL, 0, MPROC_MSEC);
        }
    }
}

static void collect_workers(mproc_pool *pool, int code) {
    struct end end;
    for (unsigned i = 0; i < pool->used; i++) {
        if (pool->crew[i].process != NULL) {
            await_end(pool->crew[i].process);
            (void)collect_worker(pool, i, code, &end);
        }
    }
}

/* A broken pool's queue stays open, but what is in it has failed. */
void mproc__crew_stop(mproc_pool *pool, enum mproc__pool_state state, const mproc_task_error *why) {
    mproc_task_error error = *why;
    pool->state = state;
    pool->last = error;
    kill_workers(pool);
    mproc__book_all(pool);
    collect_workers(pool, error.code);
    mproc__book_all(pool);
    mproc__taskq_discard(pool->tasks);
    mproc__book_failure_of_all(pool, error);
}

static bool has_chunks(mproc_pool *pool) {
    uint64_t t = pool->base;
    const struct mproc__open *open = NULL;
    while (t != pool->top &&
           ((open = mproc__open_at(pool, t)) == NULL || open->kind != MPROC__OPEN_CHUNK)) {
        t++;
    }
    return t != pool->top;
}

/* What workers hand in for tickets that are closed is ignored. No record is used again, for nothing
 * is put any more. */
void mproc__crew_give_up(mproc_pool *pool, const mproc_task_error *why) {
    mproc_task_error error = *why;
    mproc__pool_close_tasks(pool);
    if (has_chunks(pool)) {
        mproc__crew_stop(pool, MPROC__POOL_BROKEN, &error);
    } else {
        pool->state = MPROC__POOL_BROKEN;
        mproc__book_all(pool);
        mproc__taskq_discard(pool->tasks);
        mproc__book_failure_of_all(pool, (mproc_task_error){.code = -ECANCELED});
    }
    pool->last = error;
    pool->refill_at = MPROC__NEVER;
}

/* ---------------------------------------------------------------- looking */

/* Without its carrier a pool on an engine is broken for good. What it has said is booked first. */
static void look_at_carrier(mproc_pool *pool) {
    mproc_task_error why = {.code = MPROC_EDIED};
    if (is_stopped(pool) || !mproc__engine_has_ended(pool->options.engine, &why.exitcode)) {
        return;
    }
    mproc__book_all(pool);
    mproc__engine_book_seats(pool, &why);
    why.code = MPROC_EENGINE;
    mproc__crew_stop(pool, MPROC__POOL_BROKEN, &why);
    pool->refill_at = MPROC__NEVER;
}

/* For those who look from outside: since when each worker has the task that it has. */
static void note_tasks(mproc_pool *pool) {
    for (unsigned i = 0; i < pool->used; i++) {
        mproc__seat_note(mproc__taskq_seat(pool->tasks, i), pool->looked);
    }
}

void mproc__crew_look(mproc_pool *pool) {
    note_tasks(pool);
    if (pool->options.engine != NULL) {
        look_at_carrier(pool);
        return;
    }
    if (pool->restarts.early > 0) {
        notice_ready(pool);
    }
    notice_ends(pool);
}

int mproc__crew_sentinel(const mproc_pool *pool) {
    unsigned i = 0;
    while (i < pool->used && pool->crew[i].process == NULL) {
        i++;
    }
    return i < pool->used ? mproc_process_sentinel(pool->crew[i].process) : -1;
}

int mproc__crew_check(const mproc_pool *pool, char *why, size_t size) {
    unsigned alive = 0, starting = 0, ended = 0;
    for (unsigned i = 0; i < pool->seats; i++) {
        const struct mproc__crew *crew = &pool->crew[i];
        alive += crew->process != NULL;
        starting += crew->starting;
        ended += crew->ended != NULL;
        if ((pool->polls[i].fd >= 0) != (crew->process != NULL)) {
            return mproc__corrupt(why, size, "W5: seat %u has a process or a sentinel, not both",
                                  i);
        }
    }
    if (alive != pool->alive || starting != pool->starting || ended != pool->ended_count) {
        return mproc__corrupt(why, size,
                              "W5: %u workers and %u starts and %u ends, counted %u, %u, %u", alive,
                              starting, ended, pool->alive, pool->starting, pool->ended_count);
    }
    return 0;
}
