/*
 * source.c - a queue as what a watch waits for
 *
 * SPDX-License-Identifier: MIT
 */
#include "source.h"
#include "queue/bound.h"
#include "queue/done.h"

static bool can_get(const void *object) {
    const mproc_queue *queue = object;
    return mproc__queue_has_item(queue) || mproc__queue_is_closed(queue);
}

static bool can_put(const void *object) {
    mproc_queue *queue = (mproc_queue *)(uintptr_t)object;
    return mproc__queue_has_room(queue, NULL) || mproc__queue_is_closed(queue);
}

static bool can_join(const void *object) {
    return mproc__queue_all_done(object);
}

static void announce_get(void *queue) {
    (void)mproc__eventcount_announce(&((mproc_queue *)queue)->items);
}

static void announce_put(void *queue) {
    (void)mproc__eventcount_announce(&((mproc_queue *)queue)->room);
}

static void announce_join(void *queue) {
    (void)mproc__eventcount_announce(&((mproc_queue *)queue)->idle);
}

struct mproc__source mproc__queue_source(mproc_queue *queue, mproc_watch_for what) {
    switch (what) {
    case MPROC_WATCH_GET:
        return (struct mproc__source){queue, &queue->items.bells, announce_get, can_get, NULL,
                                      NULL};
    case MPROC_WATCH_PUT:
        return (struct mproc__source){queue, &queue->room.bells, announce_put, can_put, NULL, NULL};
    default:
        return (struct mproc__source){queue, &queue->idle.bells, announce_join, can_join, NULL,
                                      NULL};
    }
}
