/*
 * queue_mproc.c - the queue itself, one for all who put and get, beside its peers
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "channel.h"
#include "mproc.h"

static mproc_queue *queue;

static const char *open_queue(size_t size) {
    if (mproc_queue_new(&queue, channel_depth(size)) != 0) {
        bench_die("mproc_queue_new");
    }
    return NULL;
}

static void put_queue(int way, const void *lent, size_t size) {
    (void)way;
    if (mproc_queue_put(queue, lent, size, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_put");
    }
}

/* Copied out, as by the peers. */
static void get_queue(int way, void *room, size_t size) {
    (void)way;
    mproc_message m = MPROC_MESSAGE_INIT(room, size);
    if (mproc_queue_get(queue, &m, MPROC_FOREVER) != 0 || m.size != size) {
        bench_die("mproc_queue_get");
    }
    if (m.block != NULL) {
        memcpy(room, m.data, size);
    }
    mproc_message_drop(&m);
}

static void close_queue(void) {
    mproc_reap();
    mproc_drop(queue);
}

const struct channel channel_mproc = {"mproc queue", open_queue, NULL,        put_queue,
                                      get_queue,     NULL,       close_queue, NULL};
