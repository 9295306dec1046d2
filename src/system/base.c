/*
 * base.c - errors, panics and deadlines
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/os.h"

const char *mproc_strerror(int code) {
    switch (code) {
    case 0: return "success";
#define MPROC_ERROR_CASE(name, value, message)                                                     \
    case name: return message;
        MPROC_ERRORS(MPROC_ERROR_CASE)
#undef MPROC_ERROR_CASE
    default: return strerror(code < 0 && code != INT32_MIN ? -code : code);
    }
}

/* ---------------------------------------------------------------- what it has to say */

static void (*log_hook)(const char *line);

void mproc_log_hook(void (*hook)(const char *line)) {
    log_hook = hook;
}

/* In one piece: other processes may write to the same file at the same time. */
static void log_line(const char *line) {
    char text[MPROC__LOG_MAX + 16];
    if (log_hook != NULL) {
        log_hook(line);
        return;
    }
    snprintf(text, sizeof text, "mproc: %s\n", line);
    fputs(text, stderr);
    fflush(stderr);
}

void mproc__log(const char *format, ...) {
    char line[MPROC__LOG_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log_line(line);
}

void mproc__panic(const char *format, ...) {
    char what[MPROC__LOG_MAX - 32];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    mproc__log("broken invariant: %s", what);
    abort();
}

int mproc__corrupt(char *why, size_t size, const char *format, ...) {
    if (why != NULL && size > 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(why, size, format, args);
        va_end(args);
    }
    return MPROC_ECORRUPT;
}

static int64_t deadline_from(int64_t now, int64_t timeout) {
    return timeout > MPROC__NEVER - now ? MPROC__NEVER : now + timeout;
}

int64_t mproc__deadline(int64_t timeout) {
    if (timeout < 0) {
        return MPROC__NEVER;
    }
    return timeout == 0 ? 0 : deadline_from(mproc__os_now(), timeout);
}

struct mproc__slices mproc__slices_from(int64_t now, int64_t timeout) {
    int64_t deadline = timeout <= 0 ? mproc__deadline(timeout) : deadline_from(now, timeout);
    struct mproc__slices slices = mproc__slices_until(deadline);
    slices.now = slices.looked = now;
    return slices;
}

int64_t mproc__until(int64_t deadline) {
    int64_t left = deadline == MPROC__NEVER ? MPROC_FOREVER : deadline - mproc__os_now();
    return deadline != MPROC__NEVER && left < 0 ? 0 : left;
}

static void (*every_slice)(void);

void mproc__every_slice(void (*look)(void)) {
    every_slice = look;
}

int64_t mproc__slice(struct mproc__slices *slices) {
    int64_t length = slices->next;
    if (every_slice != NULL && length > MPROC__SLICE_FIRST) {
        every_slice();
    }
    if (slices->deadline != MPROC__NEVER) {
        int64_t left = slices->deadline - (slices->now != 0 ? slices->now : mproc__os_now());
        slices->now = 0;
        if (left <= 0) {
            return -1;
        }
        length = left < length ? left : length;
    }
    slices->next = slices->next < 25 * MPROC_MSEC ? slices->next * 2 : 50 * MPROC_MSEC;
    return length;
}

static int (*wait_hook)(void);

void mproc_wait_hook(int (*hook)(void)) {
    wait_hook = hook;
}

bool mproc__hooked(void) {
    return wait_hook != NULL;
}

bool mproc__signal_seen(struct mproc__slices *slices) {
    if (wait_hook == NULL || slices->deaf) {
        return false;
    }
    int seen = wait_hook();
    slices->deaf = seen < 0;
    return seen > 0;
}

int64_t mproc__user_slice(struct mproc__slices *slices) {
    if (slices->begun && mproc__signal_seen(slices)) {
        return -EINTR;
    }
    int64_t slice = mproc__slice(slices);
    slices->begun = true;
    return slice < 0 ? -ETIMEDOUT : slice;
}
