/*
 * again.c - tasks that are tried again after a failure
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. When a task fails so that it may be tried again, its ticket is closed as ever and
 * its extra goes into the list `delayed`, by the time at which the next try may begin. A thread
 * that waits puts the message anew when that has come (feed.c): under another ticket, with another
 * record. So a try is an ordinary ticket, and no reply of an earlier try can be taken for one of a
 * later.
 *
 * Invariant: W4. An extra is named by one open ticket, or it is in `delayed`, in the order of
 * `due`.
 */
#include "pool/inside.h"
#include "system/os.h"

#define PAUSE_MOST (60 * MPROC_SEC)
#define PAUSE_SHORTAGE (10 * MPROC_MSEC)

/* ---------------------------------------------------------------- failing */

static bool is_worth_it(const mproc_task_options *options, int code) {
    bool chosen = code == MPROC_EDIED || code == -ETIMEDOUT;
    for (size_t i = 0; i < sizeof options->retry_on / sizeof options->retry_on[0]; i++) {
        chosen = chosen || (options->retry_on[i] != 0 && options->retry_on[i] == code);
    }
    return chosen;
}

static int64_t pause_of(const struct mproc__extra *extra) {
    int64_t pause = extra->options.pause;
    for (unsigned i = 1; i < extra->tries && pause < PAUSE_MOST; i++) {
        pause *= 2;
    }
    return pause < PAUSE_MOST ? pause : PAUSE_MOST;
}

void mproc__again_delay(mproc_pool *pool, struct mproc__extra *extra, int64_t pause) {
    struct mproc__extra **link = &pool->delayed;
    extra->due = mproc__os_now() + pause;
    while (*link != NULL && (*link)->due <= extra->due) {
        link = &(*link)->next;
    }
    extra->next = *link;
    extra->held = MPROC__HELD_DELAYED;
    *link = extra;
}

bool mproc__again(mproc_pool *pool, const struct mproc__open *open, const mproc_task_error *error) {
    struct mproc__extra *extra = open->extra;
    bool goes_on = pool->state == MPROC__POOL_OPEN || pool->state == MPROC__POOL_CLOSED;
    if (extra == NULL || !goes_on || open->verdict == -ECANCELED ||
        extra->tries > extra->options.retries || !is_worth_it(&extra->options, error->code)) {
        return false;
    }
    extra->task = open->task;
    extra->number = open->number;
    mproc__again_delay(pool, extra, pause_of(extra));
    return true;
}

void mproc__extra_forget(mproc_pool *pool, struct mproc__extra *extra) {
    if (extra->held == MPROC__HELD_RANKED) {
        mproc__rank_forget(pool, extra);
        return;
    }
    struct mproc__extra **link = &pool->delayed;
    while (*link != extra) {
        link = &(*link)->next;
    }
    *link = extra->next;
    extra->held = MPROC__HELD_NOT;
}
