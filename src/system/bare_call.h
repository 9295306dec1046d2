/*
 * bare_call.h - system calls without a C library
 *
 * SPDX-License-Identifier: MIT
 *
 * For a program that has none, and for processes that share another one's memory, its errno
 * included. For other processors than those below they are the C library's all the same.
 */
#ifndef MPROC_BARE_CALL_H
#define MPROC_BARE_CALL_H

#include <stdint.h>
#include <sys/syscall.h>

/* The result, or -errno. */
#if defined(__x86_64__)

static inline long bare_call(long n, long a, long b, long c, long d, long e, long f) {
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

#elif defined(__aarch64__)

static inline long bare_call(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else

#include <errno.h>
#include <unistd.h>

static inline long bare_call(long n, long a, long b, long c, long d, long e, long f) {
    long r = syscall(n, a, b, c, d, e, f);
    return r == -1 ? -errno : r;
}

#endif

#define BARE_ARG(x) ((long)(uintptr_t)(x))

#endif
