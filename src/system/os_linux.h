/*
 * os_linux.h - what the files that implement os.h share: results, times, numbers
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OS_LINUX_H
#define MPROC_OS_LINUX_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What a system call returned, as os.h has it. */
static inline int os_result(long r) {
    return r < 0 ? -errno : (int)r;
}

/* NULL: no end. */
static inline struct timespec *os_timespec(int64_t ns, struct timespec *out) {
    if (ns < 0) {
        return NULL;
    }
    out->tv_sec = (time_t)(ns / 1000000000);
    out->tv_nsec = (long)(ns % 1000000000);
    return out;
}

#endif
