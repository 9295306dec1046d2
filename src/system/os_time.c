/*
 * os_time.c - os.h for Linux: clocks, CPUs, and sleeping on a word of shared memory
 *
 * SPDX-License-Identifier: MIT
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"

/* ---------------------------------------------------------------- time and place */

int64_t mproc__os_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t mproc__os_thread_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t mproc__os_boot_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

pid_t mproc__os_tid(void) {
    return (pid_t)syscall(SYS_gettid);
}

int mproc__os_cpu_asked(void) {
    return sched_getcpu();
}

void mproc__os_yield(void) {
    sched_yield();
}

unsigned mproc__os_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        return n > 0 ? (unsigned)n : 1;
    }
    return (unsigned)CPU_COUNT(&set);
}

/* ---------------------------------------------------------------- sleeping on a word */

int mproc__os_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout) {
    struct timespec t;
    long r = syscall(SYS_futex, word, FUTEX_WAIT, expected, os_timespec(timeout, &t), NULL, 0);
    return r == 0 || errno == EAGAIN ? 0 : -errno;
}

int mproc__os_futex_wake(uint32_t *word, int n) {
    long r = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
    return r < 0 ? 0 : (int)r;
}

/* The system wants a point in time here, where the plain call wants a length. */
int mproc__os_futex_wait_as(const uint32_t *word, uint32_t expected, int64_t timeout,
                            uint32_t classes) {
    struct timespec t;
    const struct timespec *end = os_timespec(timeout < 0 ? timeout : mproc__os_now() + timeout, &t);
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, end, NULL, classes);
    return r == 0 || errno == EAGAIN ? 0 : -errno;
}

int mproc__os_futex_wake_of(uint32_t *word, int n, uint32_t classes) {
    long r = syscall(SYS_futex, word, FUTEX_WAKE_BITSET, n, NULL, NULL, classes);
    return r < 0 ? 0 : (int)r;
}
