/*
 * proc_stat.h - reading a line of /proc/PID/stat, with or without a C library
 *
 * SPDX-License-Identifier: MIT
 *
 * Field 3 is the state, field 22 the start time in ticks since the system's start. Field 2 may hold
 * anything, spaces and parentheses included, so counting begins behind its last parenthesis.
 */
#ifndef MPROC_PROC_STAT_H
#define MPROC_PROC_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MPROC__STAT_SIZE 1024 /* no line is longer */

static inline const char *mproc__stat_behind_name(const char *text) {
    const char *found = NULL;
    for (; *text != 0; text++) {
        found = *text == ')' ? text + 1 : found;
    }
    return found;
}

static inline const char *mproc__stat_next(const char *text) {
    while (*text != 0 && *text != ' ') {
        text++;
    }
    return *text == ' ' ? text + 1 : NULL;
}

/* *ended: the first thread has ended; others may go on. */
static inline bool mproc__stat_parse(const char *text, bool *ended, uint64_t *ticks) {
    const char *p = mproc__stat_behind_name(text);
    p = p != NULL ? mproc__stat_next(p) : NULL;
    if (p == NULL) {
        return false;
    }
    *ended = *p == 'Z' || *p == 'X' || *p == 'x';
    for (int field = 3; field < 22 && p != NULL; field++) {
        p = mproc__stat_next(p);
    }
    *ticks = 0;
    for (; p != NULL && *p >= '0' && *p <= '9'; p++) {
        *ticks = *ticks * 10 + (uint64_t)(*p - '0');
    }
    return p != NULL;
}

/* The kernel rounds start times down to ticks. So the process that had the pid at `when` (ns) shows
 * a start time not later than that moment's tick. A pid does not come round within one tick. */
static inline bool mproc__stat_was_there(uint64_t ticks, uint64_t when, uint64_t ticks_per_second) {
    return ticks <= when / (UINT64_C(1000000000) / ticks_per_second);
}

#endif
