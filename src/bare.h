/*
 * bare.h - what a program has that is linked with no C library: a start, and system calls
 *
 * SPDX-License-Identifier: MIT
 *
 * Such a program is some kilobytes and runs at once: no loader, no relocations, no look at what the
 * processor can do (which alone takes milliseconds in some virtual machines). For other processors than
 * those below the same program is linked with the C library.
 */
#ifndef MPROC_BARE_H
#define MPROC_BARE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

int main(void);

/* ---- system calls: the result, or -errno */

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

#define BARE_START "_start: xor %ebp, %ebp\n and $-16, %rsp\n call bare_start\n hlt\n"

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

#define BARE_START "_start: mov x29, xzr\n bl bare_start\n brk 0\n"

#else

#include <errno.h>
#include <unistd.h>

static inline long bare_call(long n, long a, long b, long c, long d, long e, long f) {
    long r = syscall(n, a, b, c, d, e, f);
    return r == -1 ? -errno : r;
}

#endif

#define BARE_ARG(x) ((long)(uintptr_t)(x))

/* ---- the start; nothing is made of argc and argv, which the system has left on the stack */

#if defined(BARE_START)
__asm__(".text\n.globl _start\n.type _start, %function\n" BARE_START);

_Noreturn void bare_start(void);

__attribute__((used)) _Noreturn void bare_start(void) {
    int code = main();
    for (;;) {
        (void)bare_call(SYS_exit_group, code, 0, 0, 0, 0, 0);
    }
}

/* Compilers call this one by themselves. */
void *memset(void *out, int byte, size_t n);

__attribute__((used)) void *memset(void *out, int byte, size_t n) {
    volatile char *to = out;
    while (n-- > 0) {
        *to++ = (char)byte;
    }
    return out;
}
#endif

#endif
