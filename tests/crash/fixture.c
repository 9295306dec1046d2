/*
 * fixture.c - the family in which an operation of the library is killed
 *
 * SPDX-License-Identifier: MIT
 */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/hand.h"
#include "core/token.h"

static void open_family(int argc, char **argv) {
    int r = mproc_init(argc, argv);
    if (r != 0) {
        crash_fail(__FILE__, __LINE__, "mproc_init: %s", mproc_strerror(r));
    }
}

static void reap(void) {
    mproc_reap();
}

static void check(void) {
    crash_check(mproc_arena_check(why, sizeof why));
    crash_check(mproc_member_check(why, sizeof why));
}

static uint64_t level(char *out, size_t size) {
    mproc_arena_stats stats;
    mproc_arena_stat(&stats);
    size_t members = mproc_members(NULL, 0);
    snprintf(out, size, "%zu bytes in %zu blocks, %zu members", stats.used, stats.blocks, members);
    return stats.used ^ (uint64_t)stats.blocks << 36 ^ (uint64_t)members << 56;
}

const struct crash_fixture crash_family = {open_family, reap, check, level};

size_t crash_used(void) {
    mproc_arena_stats stats;
    mproc_arena_stat(&stats);
    return stats.used;
}

size_t crash_blocks(void) {
    mproc_arena_stats stats;
    mproc_arena_stat(&stats);
    return stats.blocks;
}

void *crash_calloc(size_t size) {
    void *block = mproc_calloc(1, size);
    crash_require(block != NULL);
    return block;
}

void crash_wait_asleep(pid_t pid) {
    char path[64];
    long number = -1;
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    while (number != SYS_futex) {
        FILE *file = fopen(path, "re");
        crash_require(file != NULL);
        if (fscanf(file, "%ld", &number) != 1) {
            number = -1;
        }
        fclose(file);
        nanosleep(&(struct timespec){0, 200000}, NULL);
    }
}

void crash_die_here(void) {
    kill(getpid(), SIGKILL);
    abort();
}

void crash_casualty(void (*run)(void *), void *arg) {
    int status;
    pid_t pid = crash_helper(run, arg);
    while (waitpid(pid, &status, 0) < 0) {
        crash_require(errno == EINTR);
    }
    crash_require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void crash_without_hands(void (*run)(void *), void *arg) {
    struct mproc__self *me = mproc__self();
    mproc__hand_leave();
    uint32_t taken = mproc__load32(&me->taken);
    mproc__store32(&me->taken, UINT32_MAX);
    pthread_mutex_lock(&mproc__fork_locks.hand);
    run(arg);
    pthread_mutex_unlock(&mproc__fork_locks.hand);
    mproc__store32(&me->taken, taken);
}

void crash_end_watcher(void) {
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    crash_require(children != NULL);
    while (fscanf(children, "%d", &pid) == 1) {
        kill(pid, SIGKILL);
    }
    fclose(children);
}
