/*
 * task.c - one task of a pool: submitted, waited for, cancelled
 *
 * SPDX-License-Identifier: MIT
 *
 * A task is private memory of the owner. Its holder and whoever books its end, under the pool's
 * lock, meet at `state`: as long as it is OPEN the task is changed under the lock only; afterwards
 * what it ended with is constant. A task without a callback goes from OPEN to DONE. One with a
 * callback is ENDED until that has returned: its thread sees the result already, others wait. If
 * it is dropped meanwhile, it is freed when the callback has returned.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "core/parcel.h"
#include "pool/inside.h"
#include "system/os.h"

/* ---------------------------------------------------------------- submitting */

/* What is put, and with what. */
struct request {
    struct mproc__task_message head;
    struct mproc__load load;
    const mproc_task_options *options; /* may be NULL */
};

static bool is_plain(const mproc_task_options *o) {
    return o == NULL || (o->timeout == 0 && o->memory == 0 && o->retries == 0);
}

static int check_options(const mproc_pool *pool, const mproc_task_options *o) {
    bool good = o == NULL || (o->timeout >= 0 && o->pause >= 0 &&
                              (o->priority == 0 || mproc__peek32(&pool->options.ahead) != 0) &&
                              (o->nbuffers == 0 || pool->options.engine == NULL) &&
                              mproc__are_buffers(o->buffers, o->nbuffers));
    return good ? 0 : -EINVAL;
}

static struct mproc__load load_of(const struct iovec *lent, int n, const mproc_task_options *o) {
    return o == NULL ? (struct mproc__load){lent, n, NULL, 0}
                     : (struct mproc__load){lent, n, o->buffers, o->nbuffers};
}

static int put_task(mproc_pool *pool, struct request *q, struct mproc__extra *extra,
                    mproc_task *task) {
    struct mproc__open open = {
        .kind = MPROC__OPEN_TASK, .number = pool->submitted, .task = task, .extra = extra};
    int r = mproc__start_new(pool, extra, &open.start);
    if (r != 0) {
        return r;
    }
    q->head.subject = mproc__word(open.start);
    r = mproc__open_put(pool, &q->head, &q->load, &open, &task->ticket);
    if (r != 0) {
        mproc__start_drop(pool, open.start);
        return r;
    }
    task->extra = extra;
    task->error.task = pool->submitted++;
    return 0;
}

/* It waits for its turn, in a pool with priorities. */
static int hold_task(mproc_pool *pool, struct mproc__extra *extra, mproc_task *task) {
    extra->task = task;
    extra->number = pool->submitted;
    int r = mproc__rank_add(pool, extra);
    if (r == 0) {
        task->extra = extra;
        task->error.task = pool->submitted++;
        mproc__feed_ranked(pool);
    }
    return r;
}

static int put_or_hold(mproc_pool *pool, struct request *q, struct mproc__extra *extra,
                       mproc_task *task) {
    bool ranked = pool->options.ahead != 0;
    int r = 0;
    if (ranked || extra->options.retries != 0) {
        r = mproc__extra_keep(extra, &q->head, &q->load);
    }
    if (r == 0 && ranked) {
        return hold_task(pool, extra, task);
    }
    extra->tries = 1;
    return r == 0 ? put_task(pool, q, extra, task) : r;
}

static int put_task_with_extra(mproc_pool *pool, struct request *q, mproc_task *task) {
    static const mproc_task_options none = {0};
    const mproc_task_options *options = q->options != NULL ? q->options : &none;
    struct mproc__extra *extra = mproc__extra_new(pool, options);
    if (extra == NULL) {
        return -ENOMEM;
    }
    q->head.flags = options->timeout != 0 ? MPROC__MESSAGE_TIMED : 0;
    int r = put_or_hold(pool, q, extra, task);
    if (r != 0) {
        mproc__extra_drop(pool, extra);
    }
    return r;
}

/* Under the lock; fn: NULL for mere bytes. */
static int put_under_lock(mproc_pool *pool, mproc__function fn, struct request *q,
                          mproc_task *task) {
    struct mproc__pool_function *function = NULL;
    int r = mproc__pool_refusal(pool);
    if (r == 0 && fn != NULL) {
        r = mproc__pool_name(pool, fn, &function);
    }
    if (r != 0) {
        return r;
    }
    q->head.function = mproc__word(function);
    return is_plain(q->options) && pool->options.ahead == 0 ? put_task(pool, q, NULL, task)
                                                            : put_task_with_extra(pool, q, task);
}

static int submit(mproc_pool *pool, mproc__function fn, struct request *q, mproc_task **out) {
    mproc_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return -ENOMEM;
    }
    task->handle = MPROC__HANDLE_TASK;
    task->pool = pool;
    if (q->options != NULL) {
        task->callback = q->options->done;
        task->callback_arg = q->options->done_arg;
    }
    pthread_mutex_lock(&pool->lock);
    int r = put_under_lock(pool, fn, q, task);
    if (r == 0 && task->extra != NULL) {
        mproc__notify_due(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (r != 0) {
        free(task);
        return r;
    }
    *out = task;
    return 0;
}

int mproc_pool_submit(mproc_pool *pool, mproc_task_fn fn, const void *lent, size_t size,
                      const mproc_task_options *options, mproc_task **out) {
    struct iovec piece = {(void *)(uintptr_t)lent, size};
    struct request q = {{.kind = MPROC__MESSAGE_CALL}, load_of(&piece, 1, options), options};
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    if (fn == NULL || (lent == NULL && size != 0) || check_options(pool, options) != 0) {
        return -EINVAL;
    }
    return submit(pool, (mproc__function)fn, &q, out);
}

static bool is_handled(const mproc_pool *pool) {
    return pool->options.handler != NULL || pool->options.start != NULL;
}

int mproc_pool_put(mproc_pool *pool, const struct iovec *lent, int n,
                   const mproc_task_options *options, mproc_task **out) {
    struct request q = {{.kind = MPROC__MESSAGE_BYTES}, load_of(lent, n, options), options};
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    if (!is_handled(pool) || n < 0 || (lent == NULL && n != 0) ||
        check_options(pool, options) != 0) {
        return -EINVAL;
    }
    return submit(pool, NULL, &q, out);
}

/* ---------------------------------------------------------------- parts */

/* Why no part can be put; under the lock if it is 0. */
static int open_for_parts(mproc_pool *pool) {
    int r = mproc__pool_door(pool);
    if (r != 0) {
        return r;
    }
    if (pool->options.part == NULL || !is_handled(pool)) {
        return -EINVAL;
    }
    pthread_mutex_lock(&pool->lock);
    r = pool->options.ahead != 0 ? -EBUSY : mproc__pool_refusal(pool);
    if (r != 0) {
        pthread_mutex_unlock(&pool->lock);
    }
    return r;
}

static int put_part(mproc_pool *pool, const struct mproc__load *load, void *parts, size_t part) {
    static const struct mproc__task_message head = {.kind = MPROC__MESSAGE_PART};
    uint64_t ticket;
    struct mproc__open open = {
        .kind = MPROC__OPEN_PART, .number = pool->submitted, .part = part, .parts = parts};
    int r = mproc__open_put(pool, &head, load, &open, &ticket);
    pool->submitted += r == 0;
    return r;
}

int mproc_pool_put_part(mproc_pool *pool, const struct iovec *lent, int n, void *parts,
                        size_t part) {
    const struct mproc__load load = {lent, n, NULL, 0};
    if (n < 0 || (lent == NULL && n != 0)) {
        return -EINVAL;
    }
    int r = open_for_parts(pool);
    if (r == 0) {
        r = put_part(pool, &load, parts, part);
        pthread_mutex_unlock(&pool->lock);
    }
    return r;
}

int mproc_pool_put_parts(mproc_pool *pool, const struct iovec *lent, size_t n, void *parts,
                         size_t first, size_t *put) {
    size_t some = 0;
    *put = 0;
    int r = open_for_parts(pool);
    if (r != 0) {
        return r;
    }
    for (; r == 0 && *put < n; *put += some) {
        some = 0;
        r = mproc__open_put_parts(pool, lent + *put, n - *put, first + *put, parts, &some);
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

/* ---------------------------------------------------------------- waiting */

static bool is_task(const mproc_task *task) {
    return mproc__expect_handle(task, MPROC__HANDLE_TASK);
}

static bool are_tasks(mproc_task *const *tasks, size_t n) {
    size_t i = 0;
    while (i < n && is_task(tasks[i])) {
        i++;
    }
    return i == n;
}

/* The thread that is in the task's callback sees it as done. */
static bool is_done_here(const mproc_task *task) {
    uint32_t state = mproc__load32(&task->state); /* SYNC(task.state) */
    return state == MPROC__TASK_DONE ||
           (state == MPROC__TASK_ENDED && mproc__peek64(&task->caller) == mproc__self_thread());
}

/* Under the lock. A task whose callback another thread is in is waited for at its own word. */
static int wait_for(mproc_pool *pool, mproc_task *task, struct mproc__slices *slices) {
    if (mproc__load32(&task->state) == MPROC__TASK_OPEN) {
        return mproc__pool_wait(pool, slices);
    }
    mproc__pool_deliver(pool);
    int64_t slice = mproc__slice(slices);
    pthread_mutex_unlock(&pool->lock);
    int r = slice < 0 ? -ETIMEDOUT : mproc__os_futex_wait(&task->state, MPROC__TASK_ENDED, slice);
    pthread_mutex_lock(&pool->lock);
    return r == -ETIMEDOUT && slice >= 0 ? mproc__pool_signalled(pool, slices) : r;
}

/* The one of a set that is waited for if any will do. A thread that waits for another one's
 * callback to return does not collect, so it is no task in its callback if another one is open. */
static mproc_task *open_one(mproc_task *const *tasks, size_t n) {
    size_t i = 0;
    while (i < n && mproc__load32(&tasks[i]->state) != MPROC__TASK_OPEN) {
        i++;
    }
    return tasks[i < n ? i : 0];
}

/* Waits under the lock until the tasks from `first` on are done; with `any` until one is, whose
 * index is *first then. */
static int wait_for_tasks(mproc_pool *pool, mproc_task *const *tasks, size_t n, bool any,
                          int64_t timeout, size_t *first) {
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    int r = 0;
    for (;;) {
        size_t i = any ? 0 : *first;
        while (i < n && is_done_here(tasks[i]) != any) {
            i++;
        }
        *first = i;
        if (any ? i < n : i == n) {
            return 0;
        }
        if (r != 0) {
            return r;
        }
        r = wait_for(pool, any ? open_one(tasks, n) : tasks[i], &slices);
    }
}

static int check_set(mproc_task *const *tasks, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (tasks[i]->pool != tasks[0]->pool) {
            return -EINVAL;
        }
    }
    return 0;
}

static int wait_for_set(mproc_task *const *tasks, size_t n, bool any, int64_t timeout,
                        size_t *first) {
    int r = check_set(tasks, n);
    if (r != 0) {
        return r;
    }
    mproc_pool *pool = tasks[0]->pool;
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    pthread_mutex_lock(&pool->lock);
    r = wait_for_tasks(pool, tasks, n, any, timeout, first);
    pthread_mutex_unlock(&pool->lock);
    return r;
}

/* Those at the front that are done do not need their pool any more. */
static size_t skip_done(mproc_task *const *tasks, size_t n) {
    size_t i = 0;
    while (i < n && is_done_here(tasks[i])) {
        i++;
    }
    return i;
}

int mproc_task_wait(mproc_task *task, int64_t timeout) {
    return mproc_task_wait_all(&task, 1, timeout);
}

int mproc_task_wait_all(mproc_task *const *tasks, size_t n, int64_t timeout) {
    if (!are_tasks(tasks, n)) {
        return MPROC_EOTHER;
    }
    size_t done = skip_done(tasks, n), first = 0;
    return done == n ? 0 : wait_for_set(tasks + done, n - done, false, timeout, &first);
}

int mproc_task_wait_any(mproc_task *const *tasks, size_t n, int64_t timeout, size_t *index) {
    size_t first = 0;
    if (n == 0) {
        return -EINVAL;
    }
    if (!are_tasks(tasks, n)) {
        return MPROC_EOTHER;
    }
    while (first < n && !is_done_here(tasks[first])) {
        first++;
    }
    int r = first < n ? 0 : wait_for_set(tasks, n, true, timeout, &first);
    if (r == 0) {
        *index = first;
    }
    return r;
}

/* ---------------------------------------------------------------- how it ended */

int mproc_task_is_done(const mproc_task *task) {
    return is_task(task) && is_done_here(task);
}

int mproc_task_result(mproc_task *task, const void **data, size_t *size) {
    if (!is_task(task)) {
        return MPROC_EOTHER;
    }
    if (!is_done_here(task)) {
        return -EAGAIN;
    }
    if (task->error.code == 0) {
        *data = task->data;
        *size = task->size;
    }
    return task->error.code;
}

mproc_buffer *mproc_task_buffer(const mproc_task *task, size_t i) {
    return is_task(task) && is_done_here(task) ? mproc_message_buffer(&task->message, i) : NULL;
}

void mproc_task_failure(const mproc_task *task, mproc_task_error *out) {
    if (!is_task(task)) {
        return;
    }
    *out = is_done_here(task) ? task->error
                              : (mproc_task_error){.code = -EAGAIN, .task = task->error.task};
}

/* A text in the making; what does not fit is cut off. */
struct text {
    char *out;
    size_t size, used;
};

MPROC__PRINTF(2, 3) static void say(struct text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->out + text->used, text->size - text->used, format, args);
    va_end(args);
    size_t left = text->size - text->used;
    text->used += n < 0 ? 0 : (size_t)n < left ? (size_t)n : left;
}

static void say_what(struct text *text, const mproc_task_error *e) {
    switch (e->code) {
    case -ETIMEDOUT: say(text, "timed out after %.3f s", (double)e->ran / 1e9); break;
    case -ECANCELED: say(text, "cancelled"); break;
    case MPROC_EMEMORY:
        say(text, "%s: %.1f MiB", mproc_strerror(e->code), (double)e->memory / 1048576);
        break;
    default:
        if (e->code > 0) {
            say(text, "its function returned %d", e->code);
        } else {
            say(text, "%s", mproc_strerror(e->code));
        }
    }
}

static void say_who(struct text *text, const mproc_task_error *e) {
    if (e->pid == 0) {
        return;
    }
    say(text, " (worker %d", (int)e->pid);
    if (e->code == MPROC_EDIED && e->exitcode < 0) {
        say(text, ", signal %d", -e->exitcode);
    } else if (e->code == MPROC_EDIED) {
        say(text, ", exit code %d", e->exitcode);
    }
    say(text, ")");
}

const char *mproc_task_error_text(const mproc_task_error *error, char *out, size_t size) {
    struct text text = {out, size, 0};
    say(&text, "task %llu: ", (unsigned long long)error->task);
    say_what(&text, error);
    say_who(&text, error);
    if (error->tries > 1) {
        say(&text, ", try %u", error->tries);
    }
    return out;
}

/* ---------------------------------------------------------------- ending */

/* ---------------------------------------------------------------- cancelling */

static void end_cancelled(mproc_pool *pool, mproc_task *task, unsigned tries) {
    task->error.code = -ECANCELED;
    task->error.tries = tries;
    task->extra = NULL;
    pool->closed++;
    mproc__task_end(pool, task);
}

/* Under the lock, open: takes it back if no worker has begun it. */
static bool take_back(mproc_pool *pool, mproc_task *task) {
    struct mproc__extra *extra = task->extra;
    if (extra != NULL && extra->held != MPROC__HELD_NOT) {
        unsigned tries = extra->tries;
        mproc__extra_forget(pool, extra);
        end_cancelled(pool, task, tries);
        mproc__extra_drop(pool, extra);
        return true;
    }
    struct mproc__open *open = mproc__open_at(pool, task->ticket);
    if (!mproc__start_move(open->start, MPROC__START_PENDING, MPROC__START_CANCELLED)) {
        return false;
    }
    open->task = NULL;
    open->verdict = -ECANCELED;
    end_cancelled(pool, task, extra != NULL ? extra->tries - 1 : 0);
    return true;
}

static int cancel(mproc_task *task, bool running) {
    if (!is_task(task)) {
        return MPROC_EOTHER;
    }
    if (mproc__load32(&task->state) != MPROC__TASK_OPEN) {
        return -EBUSY;
    }
    mproc_pool *pool = task->pool;
    if (mproc__pool_is_stranger(pool)) {
        return MPROC_ESTRANGER;
    }
    int r = -EBUSY;
    pthread_mutex_lock(&pool->lock);
    if (mproc__load32(&task->state) == MPROC__TASK_OPEN) {
        bool done = take_back(pool, task);
        if (!done && running) {
            done = mproc__limit_end(pool, mproc__open_at(pool, task->ticket), -ECANCELED);
        }
        r = done ? 0 : -EBUSY;
        mproc__pool_news(pool);
    }
    mproc__pool_deliver(pool);
    pthread_mutex_unlock(&pool->lock);
    return r;
}

int mproc_task_cancel(mproc_task *task) {
    return cancel(task, false);
}

int mproc_task_kill(mproc_task *task) {
    return cancel(task, true);
}

/* ---------------------------------------------------------------- dropping */

/* Under the lock, not done. True: it may be freed. */
static bool disclaim(mproc_pool *pool, mproc_task *task) {
    if (mproc__load32(&task->state) == MPROC__TASK_ENDED) {
        task->dropped = true;
        return false;
    }
    if (task->extra != NULL) {
        task->extra->task = NULL;
    }
    if (task->extra == NULL || task->extra->held == MPROC__HELD_NOT) {
        mproc__open_at(pool, task->ticket)->task = NULL;
    }
    return true;
}

void mproc_task_drop(mproc_task *owned) {
    bool may_free = true;
    if (owned == NULL || !is_task(owned)) {
        return;
    }
    if (!mproc__task_is_done(owned) && !mproc__pool_is_stranger(owned->pool)) {
        mproc_pool *pool = owned->pool;
        pthread_mutex_lock(&pool->lock);
        may_free = mproc__task_is_done(owned) || disclaim(pool, owned);
        pthread_mutex_unlock(&pool->lock);
    }
    if (may_free) {
        mproc__task_free(owned);
    }
}
