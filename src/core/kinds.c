/*
 * kinds.c - what destroys the insides of each kind of object
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/kinds.h"

#include "core/object.h"

const mproc__destroy_fn mproc__destroyers[MPROC__KINDS] = {
    [MPROC__KIND_BARRIER] = mproc__barrier_destroy,
    [MPROC__KIND_BSEMAPHORE] = mproc__bsemaphore_destroy,
    [MPROC__KIND_CHANNEL] = mproc__channel_destroy,
    [MPROC__KIND_ARRAY] = mproc__array_destroy,
    [MPROC__KIND_CONDITION] = mproc__condition_destroy,
    [MPROC__KIND_DICT] = mproc__dict_destroy,
    [MPROC__KIND_BATCH] = mproc__list_batch_destroy,
    [MPROC__KIND_LIST] = mproc__list_destroy,
    [MPROC__KIND_LOCK] = mproc__lock_destroy,
    [MPROC__KIND_QUEUE] = mproc__queue_destroy,
    [MPROC__KIND_TASKQ] = mproc__taskq_destroy,
    [MPROC__KIND_PARCEL] = mproc__parcel_destroy,
    [MPROC__KIND_POOL] = mproc__pool_destroy,
};
