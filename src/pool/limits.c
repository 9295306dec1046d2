/*
 * limits.c - tasks that are ended while they run: on demand, by their timeout, by their memory
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The owner moves the task's record from RUNNING to ENDING and kills the worker. The
 * worker moves it from RUNNING to FINISHED before it hands in a result, and hands in none if it
 * comes too late. So a worker is killed only for the task that it has, never for the next one,
 * which has done nothing wrong; and a task whose result is on the way is not ended. What the task
 * fails with is its ticket's verdict, which counts when the worker's end is noticed (crew.c).
 *
 * Times are looked at by whoever waits, every 10 ms while such tasks are open. A task's time
 * begins when its worker begins it: the worker writes that into the record. The memory that counts
 * is the worker's own: resident pages that are neither a file's nor shared.
 *
 * If the owner dies here, its workers end with it. A worker that finds ENDING ends by itself, if
 * the owner was killed before it could kill.
 */
#include "pool/engine.h"
#include "system/os.h"

bool mproc__limit_end(mproc_pool *pool, struct mproc__open *open, int code) {
    struct mproc__start *start = open->start;
    if (!mproc__start_move(start, MPROC__START_RUNNING, MPROC__START_ENDING)) {
        return false;
    }
    open->verdict = code;
    if (pool->options.engine != NULL) {
        mproc__engine_kill(pool, start->seat);
        return true;
    }
    mproc_process *process = pool->crew[start->seat].process;
    if (process != NULL) {
        (void)mproc_process_kill(process);
    }
    return true;
}

/* ns since the worker began the task; -1: it has not. */
static int64_t running_for(const struct mproc__start *start, int64_t now) {
    if (mproc__load32(&start->state) != MPROC__START_RUNNING) { /* SYNC(start.state) */
        return -1;
    }
    return now - (int64_t)mproc__peek64(&start->since);
}

static bool uses_too_much(mproc_pool *pool, unsigned seat, struct mproc__extra *extra) {
    uint64_t bytes = 0;
    if (mproc__os_process_private(mproc_process_pid(pool->crew[seat].process), &bytes) != 0) {
        return false; /* it is ending, or /proc does not tell */
    }
    extra->peak = bytes > extra->peak ? bytes : extra->peak;
    return bytes > extra->options.memory;
}

static void look_at(mproc_pool *pool, unsigned seat, struct mproc__open *open, int64_t now) {
    struct mproc__extra *extra = open->extra;
    int64_t ran = running_for(open->start, now);
    if (ran < 0) {
        return;
    }
    if (extra->options.timeout != 0 && ran >= extra->options.timeout) {
        extra->ran = ran;
        (void)mproc__limit_end(pool, open, -ETIMEDOUT);
    } else if (extra->options.memory != 0 && uses_too_much(pool, seat, extra)) {
        (void)mproc__limit_end(pool, open, MPROC_EMEMORY);
    }
}

void mproc__limits_look(mproc_pool *pool) {
    int64_t now = mproc__os_now();
    uint64_t ticket;
    for (unsigned i = 0; pool->limited > 0 && i < pool->used; i++) {
        if (pool->crew[i].process == NULL || mproc_taskq_current(pool->tasks, i, &ticket) == 0) {
            continue;
        }
        struct mproc__open *open = mproc__open_at(pool, ticket);
        if (open != NULL && open->kind == MPROC__OPEN_TASK && open->extra != NULL) {
            look_at(pool, i, open, now);
        }
    }
}
