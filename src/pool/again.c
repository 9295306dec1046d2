/*
 * again.c - tasks with options, and tasks that are tried again after a failure
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A task with options has an extra, private memory of the owner. If the task may be
 * tried again, the extra keeps a copy of its message. When the task fails so that it may be tried
 * again, its ticket is closed as ever and the extra goes into the list `delayed`, by the time at
 * which the next try may begin. Whoever waits puts the message anew when that has come: under
 * another ticket, with another record. So a try is an ordinary ticket, and no reply of an earlier
 * try can be taken for one of a later.
 *
 * As long as a task may be tried again, it counts in pool->feeding: a closed pool's queue of tasks
 * stays open for it.
 *
 * Invariant: W4. An extra is named by one open ticket, or it is in `delayed`, in the order of
 * `due`.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "pool/pool.h"
#include "system/os.h"

#define PAUSE_MOST (60 * MPROC_SEC)
#define PAUSE_SHORTAGE (10 * MPROC_MSEC) /* when a message could not be put for want of memory */

static bool is_limited(const struct mproc__extra *extra) {
    return extra->options.timeout != 0 || extra->options.memory != 0;
}

/* May its message be put once more? */
static bool needs_feeding(const mproc_pool *pool, const struct mproc__extra *extra) {
    return extra->options.retries != 0 || pool->options.ahead != 0;
}

/* ---------------------------------------------------------------- life */

struct mproc__extra *mproc__extra_new(mproc_pool *pool, const mproc_task_options *options) {
    struct mproc__extra *extra = calloc(1, sizeof *extra);
    if (extra != NULL) {
        extra->options = *options;
        pool->limited += is_limited(extra);
        pool->feeding += needs_feeding(pool, extra);
    }
    return extra;
}

static size_t total(const struct iovec *lent, int n) {
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(size, lent[i].iov_len, &size)) {
            return SIZE_MAX;
        }
    }
    return size;
}

int mproc__extra_keep(struct mproc__extra *extra, const struct mproc__task_message *head,
                      const struct iovec *lent, int n) {
    size_t size = total(lent, n);
    extra->message = *head;
    if (size == 0) {
        return 0;
    }
    extra->bytes = malloc(size);
    if (extra->bytes == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        if (lent[i].iov_len > 0) {
            memcpy(extra->bytes + extra->size, lent[i].iov_base, lent[i].iov_len);
            extra->size += lent[i].iov_len;
        }
    }
    return 0;
}

void mproc__extra_drop(mproc_pool *pool, struct mproc__extra *owned) {
    pool->limited -= is_limited(owned);
    if (needs_feeding(pool, owned)) {
        pool->feeding--;
        mproc__pool_close_if_fed(pool);
    }
    free(owned->bytes);
    free(owned);
}

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

static void delay(mproc_pool *pool, struct mproc__extra *extra, int64_t pause) {
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
    delay(pool, extra, pause_of(extra));
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

/* ---------------------------------------------------------------- trying again */

int mproc__extra_put(mproc_pool *pool, struct mproc__extra *extra) {
    struct mproc__open open = {
        .kind = MPROC__OPEN_TASK, .number = extra->number, .task = extra->task, .extra = extra};
    struct iovec piece = {extra->bytes, extra->size};
    uint64_t ticket;
    int r = mproc__start_new(pool, &open.start);
    if (r != 0) {
        return r;
    }
    extra->message.subject = mproc__word(open.start);
    r = mproc__open_put(pool, &extra->message, &piece, 1, &open, &ticket);
    if (r != 0) {
        mproc__start_drop(pool, open.start);
        return r;
    }
    if (extra->task != NULL) {
        extra->task->ticket = ticket;
    }
    extra->tries++;
    return 0;
}

static int try_again(mproc_pool *pool, struct mproc__extra *extra) {
    return pool->options.ahead != 0 ? mproc__rank_add(pool, extra) : mproc__extra_put(pool, extra);
}

void mproc__again_due(mproc_pool *pool) {
    int64_t now = pool->delayed != NULL ? mproc__os_now() : 0;
    while (pool->delayed != NULL && pool->delayed->due <= now) {
        struct mproc__extra *extra = pool->delayed;
        mproc__extra_forget(pool, extra);
        if (try_again(pool, extra) != 0) {
            delay(pool, extra, PAUSE_SHORTAGE);
            return;
        }
    }
}
