/*
 * watcher_bare.c - the first steps of a watcher or a follower, in the memory of its maker
 *
 * SPDX-License-Identifier: MIT
 *
 * The watcher is there as soon as it has been cloned, and its maker does not wait for more. It must
 * not keep the maker's memory, which would go on to exist when the maker has ended: so it executes
 * a program. The program comes from memory itself, since no file of it need be found. Where the
 * system forbids this (vm.memfd_noexec), the watcher stays where it is and does its work. But then
 * it keeps that memory, and a kernel that kills the maker for lack of memory, or dumps its core,
 * ends the watcher as well. A follower ends then: each keeps one of the places where others begin.
 *
 * Nothing of the C library may be used: its errno, for one, would be the maker's.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/bare_call.h"
#include "watcher/watcher.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define FDS 3           /* those of the program, and the program itself until it is executed */
#define OLD_FDS 0x10000 /* what is closed one by one on old systems */

static long new_file(void) {
    const char *name = "mproc-watcher";
    long fd = bare_call(SYS_memfd_create, BARE_ARG(name), MFD_CLOEXEC | MFD_EXEC, 0, 0, 0, 0);
    if (fd < 0) { /* before Linux 6.3 there is no such flag, and no need of it */
        fd = bare_call(SYS_memfd_create, BARE_ARG(name), MFD_CLOEXEC, 0, 0, 0, 0);
    }
    return fd;
}

static bool write_program(long fd) {
    long size = (long)mproc__watcher_image_size;
    return bare_call(SYS_write, fd, BARE_ARG(mproc__watcher_image), size, 0, 0, 0) == size;
}

static long move_up(long fd) {
    return bare_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FDS, 0, 0, 0);
}

static void close_above(void) {
    if (bare_call(SYS_close_range, FDS, UINT32_MAX, 0, 0, 0, 0) != 0) { /* before Linux 5.9 */
        for (long fd = FDS; fd < OLD_FDS; fd++) {
            (void)bare_call(SYS_close, fd, 0, 0, 0, 0, 0);
        }
    }
}

/* The descriptors become 0, 1, ...; they are moved out of the way first, for they may have any
 * number. The last one is the program, which is closed when it is executed. False: not all is as it
 * should be. */
static bool arrange_fds(long *fds, int n) {
    bool good = true;
    for (int i = 0; i < n; i++) {
        fds[i] = move_up(fds[i]);
        good = good && fds[i] >= 0;
    }
    for (int i = 0; i < n; i++) {
        long flags = i == n - 1 ? O_CLOEXEC : 0;
        (void)bare_call(SYS_close, i, 0, 0, 0, 0, 0);
        good = good && bare_call(SYS_dup3, fds[i], i, flags, 0, 0, 0) >= 0;
    }
    close_above();
    return good;
}

static void execute(int program, const char *name) {
    const char *const argv[] = {name, NULL};
    static const char *const no_environment[] = {NULL};
    (void)bare_call(SYS_execveat, program, BARE_ARG(""), BARE_ARG(argv), BARE_ARG(no_environment),
                    AT_EMPTY_PATH, 0);
}

/* Comes back only if it cannot be. The last descriptor is for the program. */
static void become_program(long *fds, int n, const char *name) {
    long program = new_file();
    bool whole = program >= 0 && write_program(program);
    fds[n - 1] = program;
    if (arrange_fds(fds, n) && whole) {
        execute(n - 1, name);
    }
}

int mproc__follower_begin(void *pidfds) {
    uint64_t both = (uint64_t)(uintptr_t)pidfds;
    long fds[] = {(long)(both >> 32), (long)(both & UINT32_MAX), -1};
    become_program(fds, 3, "mproc-follower");
    for (;;) {
        (void)bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    }
}

int mproc__watcher_begin(void *arena_fd) {
    long fds[] = {(long)(intptr_t)arena_fd, -1};
    become_program(fds, 2, "mproc-watcher");
    (void)bare_call(SYS_close, STDIN_FILENO, 0, 0, 0, 0, 0);
    (void)bare_call(SYS_close, STDOUT_FILENO, 0, 0, 0, 0, 0);
    mproc__watcher_run();
    for (;;) {
        (void)bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    }
}
