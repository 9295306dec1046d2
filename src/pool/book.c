/*
 * book.c - what has become of a ticket is written to its task or its map
 *
 * SPDX-License-Identifier: MIT
 *
 * All under the pool's lock. A ticket is closed once, by a reply, by the death of the worker that
 * had it, or by the end of the pool; a second report of it finds nothing open and is ignored. A
 * task that fails may be tried again (again.c); otherwise it ends here.
 */
#include <stdlib.h>
#include <string.h>

#include "pool/inside.h"

#define BATCH 256 /* replies that are booked before a waiter looks for its own */

/* ---------------------------------------------------------------- tasks */

/* A large result stays where it is, in the arena. */
static int keep_result(mproc_task *task, mproc_message *message) {
    task->size = message->size - sizeof(struct mproc__reply);
    char *bytes = (char *)message->data + sizeof(struct mproc__reply);
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

/* `open` is a closed ticket's copy. */
static void end_task(mproc_pool *pool, struct mproc__open *open, const mproc_task_error *error) {
    if (open->task != NULL) {
        open->task->error = *error;
        open->task->extra = NULL;
        mproc__task_end(pool, open->task);
    }
    if (open->extra != NULL) {
        mproc__extra_drop(pool, open->extra);
    }
}

static void complete(struct mproc__open *open, mproc_task_error *error) {
    error->task = open->number;
    error->tries = open->extra != NULL ? open->extra->tries : 1;
    error->memory = open->extra != NULL ? open->extra->peak : 0;
    if (error->code == -ETIMEDOUT && open->extra != NULL) {
        error->ran = open->extra->ran;
    }
}

static void task_succeeded(mproc_pool *pool, struct mproc__open *open, mproc_message *message,
                           pid_t pid) {
    mproc_task_error error = {.pid = pid};
    complete(open, &error);
    if (open->task != NULL) {
        error.code = keep_result(open->task, message);
    }
    end_task(pool, open, &error);
}

static void task_failed(mproc_pool *pool, struct mproc__open *open, mproc_task_error *error) {
    complete(open, error);
    if (!mproc__again(pool, open, error)) {
        end_task(pool, open, error);
    }
}

/* ---------------------------------------------------------------- chunks */

/* error->task is the item that the worker was at, if it had come so far. */
static void chunk_failed(struct mproc__open *open, mproc_task_error *error) {
    struct mproc__map *map = open->map;
    uint64_t n = mproc__map_chunk(map->shared, open->number);
    if (error->task - open->number >= n) {
        error->task = open->number;
    }
    error->tries = 1;
    map->open--;
    mproc__poke32(&map->shared->cancelled, 1);
    if (map->error.code == 0 || error->task < map->error.task) {
        map->error = *error;
    }
}

static void chunk_done(struct mproc__map *map, uint64_t first) {
    map->open--;
    map->finished += mproc__map_chunk(map->shared, first);
}

/* ---------------------------------------------------------------- reports */

/* Of another kind than a part. */
static void book_failure(mproc_pool *pool, uint64_t ticket, mproc_task_error *error) {
    struct mproc__open open = mproc__open_close(pool, ticket);
    switch (open.kind) {
    case MPROC__OPEN_CHUNK: chunk_failed(&open, error); break;
    case MPROC__OPEN_LEAVE: pool->leaving--; break;
    case MPROC__OPEN_TASK:
        error->code = open.verdict != 0 ? open.verdict : error->code;
        task_failed(pool, &open, error);
        break;
    default: break;
    }
}

void mproc__book_failure(mproc_pool *pool, uint64_t ticket, mproc_task_error error) {
    const struct mproc__open *open = mproc__open_at(pool, ticket);
    if (open == NULL || open->kind == MPROC__OPEN_LANDED) {
        return;
    }
    if (open->kind == MPROC__OPEN_PART) {
        mproc__land_failure(pool, ticket, &error);
    } else {
        book_failure(pool, ticket, &error);
    }
}

static void book_success(mproc_pool *pool, uint64_t ticket, mproc_message *message, pid_t pid) {
    if (mproc__open_at(pool, ticket)->kind == MPROC__OPEN_PART) {
        mproc__land_result(pool, ticket, message);
        return;
    }
    struct mproc__open open = mproc__open_close(pool, ticket);
    switch (open.kind) {
    case MPROC__OPEN_CHUNK: chunk_done(open.map, open.number); break;
    case MPROC__OPEN_LEAVE: pool->leaving--; break;
    case MPROC__OPEN_TASK: task_succeeded(pool, &open, message, pid); break;
    default: break;
    }
}

/* A task that was taken back, or a chunk of a cancelled map: it did not run. The task has ended
 * before. */
static void book_skipped(mproc_pool *pool, uint64_t ticket, pid_t pid) {
    struct mproc__open open = mproc__open_close(pool, ticket);
    if (open.kind == MPROC__OPEN_CHUNK) {
        open.map->open--;
    } else if (open.kind == MPROC__OPEN_LEAVE) {
        mproc__crew_left(pool, pid);
    } else {
        mproc_task_error error = {.code = -ECANCELED};
        end_task(pool, &open, &error);
    }
}

/* Behind the reply of a failed chunk stands the item. */
static uint64_t item_of(const mproc_message *message) {
    uint64_t item = UINT64_MAX;
    if (message->size == sizeof(struct mproc__reply) + sizeof item) {
        memcpy(&item, (const char *)message->data + sizeof(struct mproc__reply), sizeof item);
    }
    return item;
}

/* What an engine's carrier says of a failure goes to its task. */
static void read_detail(mproc_pool *pool, uint64_t ticket, const mproc_message *message,
                        mproc_task_error *error) {
    struct mproc__reply_detail detail;
    if (message->size != sizeof(struct mproc__reply) + sizeof detail) {
        return;
    }
    memcpy(&detail, (const char *)message->data + sizeof(struct mproc__reply), sizeof detail);
    error->task = detail.item;
    error->exitcode = detail.exitcode;
    error->node = detail.node;
    struct mproc__open *open = mproc__open_at(pool, ticket);
    if (open->kind == MPROC__OPEN_TASK && open->extra != NULL) {
        open->extra->ran = detail.ran;
        open->extra->peak = detail.memory;
    }
}

static bool is_awaited(mproc_pool *pool, uint64_t ticket) {
    const struct mproc__open *open = mproc__open_at(pool, ticket);
    return open != NULL && open->kind != MPROC__OPEN_LANDED;
}

static void book_reply(mproc_pool *pool, uint64_t ticket, mproc_message *message) {
    struct mproc__reply reply;
    if (is_awaited(pool, ticket) && message->size >= sizeof reply) {
        memcpy(&reply, message->data, sizeof reply);
        pool->replies++;
        if (reply.code == 0) {
            book_success(pool, ticket, message, reply.pid);
        } else if (reply.code == MPROC__POOL_SKIPPED) {
            book_skipped(pool, ticket, reply.pid);
        } else {
            mproc_task_error error = {.code = reply.code, .pid = reply.pid};
            error.task = item_of(message);
            read_detail(pool, ticket, message, &error);
            mproc__book_failure(pool, ticket, error);
        }
    }
    mproc_message_drop(message);
}

void mproc__book_failure_of_held(mproc_pool *pool, struct mproc__extra *extra,
                                 const mproc_task_error *error) {
    struct mproc__open open = {.task = extra->task, .number = extra->number, .extra = extra};
    mproc_task_error copy = *error;
    complete(&open, &copy);
    end_task(pool, &open, &copy);
    pool->closed++;
}

static void fail_held(mproc_pool *pool, struct mproc__extra *extra, const mproc_task_error *error) {
    mproc__extra_forget(pool, extra);
    mproc__book_failure_of_held(pool, extra, error);
}

void mproc__book_failure_of_all(mproc_pool *pool, mproc_task_error error) {
    for (uint64_t t = pool->base, top = pool->top; t != top; t++) {
        mproc__book_failure(pool, t, error);
    }
    while (pool->delayed != NULL) {
        fail_held(pool, pool->delayed, &error);
    }
    while (pool->ranked_count > 0) {
        fail_held(pool, pool->ranked[pool->ranked_count - 1], &error);
    }
}

/* ---------------------------------------------------------------- what is there */

static void init(struct mproc__replies *replies) {
    replies->messages[0] = (mproc_message)MPROC_MESSAGE_INIT(replies->room, sizeof replies->room);
    for (size_t i = 1; i < MPROC__REPLIES; i++) {
        char *room = replies->rooms[i - 1];
        replies->messages[i] = (mproc_message)MPROC_MESSAGE_INIT(room, sizeof replies->rooms[0]);
    }
}

int mproc__replies_collect(mproc_pool *pool, struct mproc__replies *replies, int64_t timeout) {
    init(replies);
    return mproc__taskq_collect_many(pool->tasks, replies->messages, replies->tickets,
                                     MPROC__REPLIES, &replies->n, &replies->noticed, timeout);
}

static void book_each(mproc_pool *pool, struct mproc__replies *replies) {
    for (size_t i = 0; i < replies->n; i++) {
        book_reply(pool, replies->tickets[i], &replies->messages[i]);
    }
    pool->noticed = pool->noticed && !replies->noticed;
}

/* Is it the result of a part? */
static bool is_result_of_part(mproc_pool *pool, uint64_t ticket, const mproc_message *message) {
    struct mproc__reply reply;
    const struct mproc__open *open = mproc__open_at(pool, ticket);
    if (open == NULL || open->kind != MPROC__OPEN_PART || message->size < sizeof reply) {
        return false;
    }
    memcpy(&reply, message->data, sizeof reply);
    return reply.code == 0;
}

/* Sets the results of parts aside, and books the others. */
static void book_others(mproc_pool *pool, struct mproc__replies *replies) {
    replies->parts = 0;
    for (size_t i = 0; i < replies->n; i++) {
        if (is_result_of_part(pool, replies->tickets[i], &replies->messages[i])) {
            pool->replies++;
            replies->closed[replies->parts] = mproc__open_close(pool, replies->tickets[i]);
            replies->messages[replies->parts++] = replies->messages[i];
        } else {
            book_reply(pool, replies->tickets[i], &replies->messages[i]);
        }
    }
    pool->noticed = pool->noticed && !replies->noticed;
}

/* Without the lock. A callback may wait, and tell of the next ones itself. */
static void tell_each(mproc_pool *pool, struct mproc__replies *replies) {
    while (replies->told < replies->parts) {
        size_t i = replies->told++;
        mproc__land_tell(pool, &replies->closed[i], &replies->messages[i]);
        mproc_message_drop(&replies->messages[i]);
    }
}

static void begin_telling(mproc_pool *pool, struct mproc__replies *replies) {
    replies->told = 0;
    replies->thread = mproc__self_thread();
    replies->outer = pool->telling;
    pool->telling = replies;
}

static void end_telling(mproc_pool *pool, const struct mproc__replies *replies) {
    struct mproc__replies **link = &pool->telling;
    while (*link != replies) {
        link = &(*link)->outer;
    }
    *link = replies->outer;
}

void mproc__book_replies(mproc_pool *pool, struct mproc__replies *replies) {
    book_others(pool, replies);
    if (replies->parts == 0) {
        return;
    }
    mproc__notify_self(pool);
    begin_telling(pool, replies);
    pthread_mutex_unlock(&pool->lock);
    mproc__pool_enter(pool);
    tell_each(pool, replies);
    mproc__pool_leave(pool);
    pthread_mutex_lock(&pool->lock);
    end_telling(pool, replies);
}

static struct mproc__replies *aside(const mproc_pool *pool) {
    struct mproc__replies *replies = pool->telling;
    while (replies != NULL &&
           (replies->thread != mproc__self_thread() || replies->told == replies->parts)) {
        replies = replies->outer;
    }
    return replies;
}

bool mproc__book_has_aside(const mproc_pool *pool) {
    return pool->telling != NULL && aside(pool) != NULL;
}

void mproc__book_tell_aside(mproc_pool *pool) {
    struct mproc__replies *replies;
    while ((replies = aside(pool)) != NULL) {
        pool->closed++;
        pthread_mutex_unlock(&pool->lock);
        tell_each(pool, replies);
        pthread_mutex_lock(&pool->lock);
    }
}

static size_t count(const struct mproc__replies *replies) {
    return replies->n + replies->noticed;
}

void mproc__book_all(mproc_pool *pool) {
    uint64_t left = mproc__taskq_results(pool->tasks);
    if (left == 0) {
        return;
    }
    struct mproc__replies replies;
    while (left > 0 && mproc__replies_collect(pool, &replies, 0) == 0) {
        book_each(pool, &replies);
        left -= count(&replies) < left ? count(&replies) : left;
    }
}

void mproc__book_batch(mproc_pool *pool, struct mproc__replies *replies) {
    size_t n = 0;
    while (n < BATCH && mproc__taskq_results(pool->tasks) > 0 &&
           mproc__replies_collect(pool, replies, 0) == 0) {
        mproc__book_replies(pool, replies);
        n += count(replies);
    }
}
