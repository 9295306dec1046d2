/*
 * kinds.c - what destroys the insides of each kind of object
 *
 * SPDX-License-Identifier: MIT
 */
#include "object.h"

void mproc__lock_destroy(struct mproc__hand *hand, void *object);
void mproc__queue_destroy(struct mproc__hand *hand, void *object);

const mproc__destroy_fn mproc__destroyers[MPROC__KINDS] = {
    [MPROC__KIND_LOCK] = mproc__lock_destroy,
    [MPROC__KIND_QUEUE] = mproc__queue_destroy,
};
