/*
 * watch.h - a watch's inside: a descriptor that tells by itself
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_WATCH_H
#define MPROC_WATCH_H

#include "system/base.h"

/* Arms a request, and makes the descriptor readable if its operation would succeed now. */
int mproc__watch_arm_or_tell(mproc_watch *watch, int number);

/* Makes the descriptor readable. */
void mproc__watch_tell(const mproc_watch *watch);

#endif
