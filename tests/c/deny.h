/*
 * deny.h - makes chosen system calls fail in the calling process, for good (seccomp)
 *
 * SPDX-License-Identifier: MIT
 *
 * With it a test sees what an older kernel would answer, or one that is short of something.
 */
#ifndef MPROC_TEST_DENY_H
#define MPROC_TEST_DENY_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "test.h"

/* The system call `number` fails with `error`; first >= 0: only if its first argument is that. */
static inline void deny(long number, long first, int error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | (first < 0 ? BPF_JGE : BPF_JEQ) | BPF_K, first < 0 ? 0 : (unsigned)first,
                 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        test_skip("no system call filters here");
    }
}

/* Mounts an empty /proc for this process and its children; false if it may not mount one. */
static inline bool deny_proc(void) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/proc", "tmpfs", 0, NULL) == 0;
}

/* From now on no new process can be made. */
static inline void deny_clone(int error) {
    deny(SYS_clone, -1, error);
    deny(435 /* clone3 */, -1, error);
}

#endif
