/*
 * bare.h - the start of a program that is linked with no C library
 *
 * SPDX-License-Identifier: MIT
 *
 * Such a program is some kilobytes and runs at once: no loader, no relocations, no look at what the
 * processor can do (which alone takes milliseconds in some virtual machines). For other processors
 * than those below the same program is linked with the C library.
 */
#ifndef MPROC_BARE_H
#define MPROC_BARE_H

#include <stddef.h>

#include "system/bare_call.h"

int main(void);

/* ---- the start; nothing is made of argc and argv, which the system has left on the stack */

#if defined(__x86_64__)
#define BARE_START "_start: xor %ebp, %ebp\n and $-16, %rsp\n call bare_start\n hlt\n"
#elif defined(__aarch64__)
#define BARE_START "_start: mov x29, xzr\n bl bare_start\n brk 0\n"
#endif

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
void *memset(void *s, int c, size_t n);

__attribute__((used)) void *memset(void *s, int c, size_t n) {
    volatile char *to = s;
    while (n-- > 0) {
        *to++ = (char)c;
    }
    return s;
}
#endif

#endif
