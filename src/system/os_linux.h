/*
 * os_linux.h - what the files that implement os.h share: results, times, numbers
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OS_LINUX_H
#define MPROC_OS_LINUX_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

/* What a system call returned, as os.h has it. */
static inline int os_result(long r) {
    return r < 0 ? -errno : (int)r;
}

/* The first number that is none of standard input, output and error. */
#define OS_FIRST_KEPT 3

/* What a system call returned that made a descriptor, as os.h has it. A program that was started
 * without standard input, output or error gets their numbers from the system for whatever it opens
 * next. The library must not keep anything there, because what the program writes to its standard
 * error would go into it. So such a descriptor gets another number. */
static inline int os_kept(long made) {
    int fd = os_result(made);
    if (fd < 0 || fd >= OS_FIRST_KEPT) {
        return fd;
    }
    int kept = os_result(fcntl(fd, F_DUPFD_CLOEXEC, OS_FIRST_KEPT));
    (void)close(fd);
    return kept == -EINVAL ? -EMFILE : kept; /* what it says when the limit is that low */
}

/* The same for the two ends of something, when the call that made them has succeeded. */
static inline int os_kept_both(int ends[2]) {
    int first = os_kept(ends[0]), second = os_kept(ends[1]);
    if (first >= 0 && second >= 0) {
        ends[0] = first;
        ends[1] = second;
        return 0;
    }
    (void)close(first >= 0 ? first : second);
    return first < 0 ? first : second;
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
