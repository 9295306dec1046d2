/*
 * kinds.h - what destroys the insides of each kind of object
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_KINDS_H
#define MPROC_KINDS_H

struct mproc__hand;

void mproc__barrier_destroy(struct mproc__hand *hand, void *object);
void mproc__bsemaphore_destroy(struct mproc__hand *hand, void *object);
void mproc__channel_destroy(struct mproc__hand *hand, void *object);
void mproc__array_destroy(struct mproc__hand *hand, void *object);
void mproc__condition_destroy(struct mproc__hand *hand, void *object);
void mproc__dict_destroy(struct mproc__hand *hand, void *object);
void mproc__list_batch_destroy(struct mproc__hand *hand, void *object);
void mproc__list_destroy(struct mproc__hand *hand, void *object);
void mproc__lock_destroy(struct mproc__hand *hand, void *object);
void mproc__queue_destroy(struct mproc__hand *hand, void *object);
void mproc__taskq_destroy(struct mproc__hand *hand, void *object);
void mproc__parcel_destroy(struct mproc__hand *hand, void *object);
void mproc__pool_destroy(struct mproc__hand *hand, void *object);

#endif
