/*
 * reason.c - why the calling thread could not join a family, in words
 *
 * SPDX-License-Identifier: MIT
 *
 * A code such as -ENOMEM does not say which of several limits is in the way. The text is each
 * thread's own: a thread that reads it cannot meet one that tries again meanwhile.
 */
#include "core/reason.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local int reason_code; /* what was returned for that reason; 0: nothing */
static _Thread_local char reason[256];

int mproc__reason_say(int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    reason_code = code;
    return code;
}

void mproc__reason_forget(void) {
    reason_code = 0;
}

const char *mproc_join_reason(int code) {
    return code != 0 && code == reason_code ? reason : "";
}
