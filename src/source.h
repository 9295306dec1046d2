/*
 * source.h - what can be waited for with a descriptor, as each noun offers it to watch.c
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SOURCE_H
#define MPROC_SOURCE_H

#include "core/bell.h"
#include "system/base.h"

struct mproc__source {
    void *object;
    uint32_t *bells; /* the word that bells for it name */
    /* The next change goes the slow way; then a fence. NULL: every change rings. */
    void (*announce)(void *object);
    /* Would the operation succeed now? NULL: only `moment` tells. */
    bool (*ready)(const void *object);
    /* NULL, or what changes whenever it would have succeeded, if only for a moment: whoever came
     * before that has what it waits for */
    uint32_t (*moment)(const void *object);
    /* NULL, or what those who wait do for each other now and then: looking for the dead */
    void (*tend)(void *object);
};

struct mproc__source mproc__lock_source(mproc_lock *lock);
struct mproc__source mproc__semaphore_source(mproc_semaphore *semaphore);
struct mproc__source mproc__bsemaphore_source(mproc_bsemaphore *semaphore);
struct mproc__source mproc__event_source(mproc_event *event);
struct mproc__source mproc__condition_source(mproc_condition *condition);
struct mproc__source mproc__barrier_source(mproc_barrier *barrier);
struct mproc__source mproc__queue_source(mproc_queue *queue, mproc_watch_for what);

#endif
