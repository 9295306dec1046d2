/*
 * clear.h - destroying what a shutdown has taken out of a queue
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_QUEUE_CLEAR_H
#define MPROC_QUEUE_CLEAR_H

#include "queue/state.h"

void mproc__queue_clear_cut(struct mproc__hand *hand, mproc_queue *queue);

#endif
