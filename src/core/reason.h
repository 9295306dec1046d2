/*
 * reason.h - why the calling thread could not join a family, in words
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_REASON_H
#define MPROC_REASON_H

#include "system/base.h"

/* What mproc_join_reason(code) says from now on in this thread. Returns the code. */
int mproc__reason_say(int code, const char *format, ...) MPROC__PRINTF(2, 3);
void mproc__reason_forget(void);

#endif
