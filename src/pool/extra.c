/*
 * extra.c - what a task with options brings along
 *
 * SPDX-License-Identifier: MIT
 *
 * An extra is private memory of the owner and lives as long as its task has not ended. If the task
 * may be put more than once, the extra keeps a copy of its message. As long as that is so, the task
 * counts in pool->feeding: a closed pool's queue of tasks stays open for it.
 *
 * All under the pool's lock.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "pool/inside.h"
#include "system/pieces.h"

static bool is_limited(const struct mproc__extra *extra) {
    return extra->options.timeout != 0 || extra->options.memory != 0;
}

struct mproc__extra *mproc__extra_new(mproc_pool *pool, const mproc_task_options *options) {
    struct mproc__extra *extra = calloc(1, sizeof *extra);
    if (extra != NULL) {
        extra->options = *options;
        pool->limited += is_limited(extra);
        extra->feeds = options->retries != 0 || pool->options.ahead != 0;
        pool->feeding += extra->feeds;
    }
    return extra;
}

static int keep_bytes(struct mproc__extra *extra, const struct iovec *lent, int n) {
    size_t size = mproc__pieces_size(lent, n);
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

static int keep_buffers(struct mproc__extra *extra, mproc_buffer *const *buffers, size_t n) {
    extra->buffers = n > 0 ? calloc(n, sizeof *extra->buffers) : NULL;
    if (n > 0 && extra->buffers == NULL) {
        return -ENOMEM;
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = mproc_hold(buffers[i]);
        if (r == 0) {
            extra->buffers[extra->nbuffers++] = buffers[i];
        }
    }
    return r;
}

int mproc__extra_keep(struct mproc__extra *extra, const struct mproc__task_message *head,
                      const struct mproc__load *load) {
    extra->message = *head;
    int r = keep_bytes(extra, load->pieces, load->n);
    return r == 0 ? keep_buffers(extra, load->buffers, load->nbuffers) : r;
}

void mproc__extra_drop(mproc_pool *pool, struct mproc__extra *owned) {
    pool->limited -= is_limited(owned);
    if (owned->feeds) {
        pool->feeding--;
        mproc__pool_close_if_fed(pool);
    }
    while (owned->nbuffers > 0) {
        (void)mproc_drop(owned->buffers[--owned->nbuffers]);
    }
    free(owned->buffers);
    free(owned->bytes);
    free(owned);
}

int mproc__extra_put(mproc_pool *pool, struct mproc__extra *extra) {
    struct mproc__open open = {
        .kind = MPROC__OPEN_TASK, .number = extra->number, .task = extra->task, .extra = extra};
    struct iovec piece = {extra->bytes, extra->size};
    uint64_t ticket;
    int r = mproc__start_new(pool, extra, &open.start);
    if (r != 0) {
        return r;
    }
    extra->message.subject = mproc__word(open.start);
    const struct mproc__load load = {&piece, 1, extra->buffers, extra->nbuffers};
    r = mproc__open_put(pool, &extra->message, &load, &open, &ticket);
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
