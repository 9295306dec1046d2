/*
 * os_start.c - os.h for Linux: starting processes
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/bare_call.h"
#include "system/os.h"
#include "system/os_linux.h"

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

/* Words of a thread's descriptor that are searched; glibc's has 576 on x86-64. */
#define DESCRIPTOR_WORDS 256

/* ---------------------------------------------------------------- children */

pid_t mproc__os_fork(void) {
    pid_t pid = fork();
    return pid < 0 ? -errno : pid;
}

/* The numbers below a kept one are closed one by one: there is no action for a range. Those that
 * are not open do no harm. */
static int close_below(posix_spawn_file_actions_t *actions, int *next, int kept) {
    int r = 0;
    while (r == 0 && *next < kept) {
        r = posix_spawn_file_actions_addclose(actions, (*next)++);
    }
    *next = kept >= *next ? kept + 1 : *next;
    return r;
}

/* The number after the last descriptor that a program would inherit; `least` if that is more. */
static int after_inherited(int least) {
    DIR *open = opendir("/proc/self/fd");
    for (struct dirent *e; open != NULL && (e = readdir(open)) != NULL;) {
        int fd = atoi(e->d_name), flags = fcntl(fd, F_GETFD);
        least = fd >= least && flags >= 0 && !(flags & FD_CLOEXEC) ? fd + 1 : least;
    }
    if (open != NULL) {
        closedir(open);
    }
    return least;
}

#ifdef __GLIBC_PREREQ
#define HAS_CLOSEFROM_ACTION __GLIBC_PREREQ(2, 34)
#else
#define HAS_CLOSEFROM_ACTION 0 /* another C library than glibc */
#endif

#if HAS_CLOSEFROM_ACTION
/* glibc refuses a number that no descriptor can get any more. What is inherited from there, because
 * the limit was lowered when it was open, could not be closed. */
static int close_from(posix_spawn_file_actions_t *actions, int next) {
    if (next < sysconf(_SC_OPEN_MAX)) {
        return posix_spawn_file_actions_addclosefrom_np(actions, next);
    }
    return after_inherited(next) == next ? 0 : EBADF;
}
#else
/* A descriptor that another thread opens meanwhile is as close-on-exec says. */
static int close_from(posix_spawn_file_actions_t *actions, int next) {
    int r = 0;
    for (int end = after_inherited(next); r == 0 && next < end;) {
        r = posix_spawn_file_actions_addclose(actions, next++);
    }
    return r;
}
#endif

/* In the child: keeps what it is given, and its three standard streams. A dup2() onto itself opens
 * a descriptor for the child that is close-on-exec here. */
static int keep_given(posix_spawn_file_actions_t *actions, const int *fds, size_t n) {
    int next = STDERR_FILENO + 1, r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = posix_spawn_file_actions_adddup2(actions, fds[i], fds[i]);
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = close_below(actions, &next, fds[i]);
    }
    return r == 0 ? close_from(actions, next) : r;
}

/* glibc reports what exec says as posix_spawn()'s result. */
int mproc__os_spawn(const struct mproc__os_spawn *what, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0) {
        return -r;
    }
    r = keep_given(&actions, what->fds, what->nfds);
    if (r == 0) {
        r = posix_spawn(pid, what->path, &actions, NULL, (char *const *)(uintptr_t)what->argv,
                        (char *const *)(uintptr_t)what->envp);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* ---------------------------------------------------------------- siblings */

/* Where the C library keeps this thread's id: recursive and robust mutexes and raise() look there.
 * The kernel knows the place, for glibc gave it to set_tid_address(). A kernel built without
 * checkpoint/restore does not tell: then the id is searched in the thread's descriptor, and must be
 * there exactly once. */
static pid_t *tid_address(pid_t tid) {
    pid_t *place = NULL, *words = (pid_t *)(uintptr_t)pthread_self();
    if (prctl(PR_GET_TID_ADDRESS, &place) == 0 && place != NULL && *place == tid) {
        return place;
    }
    place = NULL;
    for (size_t i = 0; i < DESCRIPTOR_WORDS; i++) {
        if (words[i] == tid) {
            if (place != NULL) {
                return NULL;
            }
            place = &words[i];
        }
    }
    return place;
}

#define SIBLING_FLAGS                                                                              \
    (CLONE_PARENT | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)

/* The child signals its end as the caller does (CLONE_PARENT copies that): by SIGCHLD. */
static long clone_sibling(pid_t *where, pid_t *tid) {
    struct clone_args args = {
        .flags = SIBLING_FLAGS,
        .child_tid = (uint64_t)(uintptr_t)tid,
        .parent_tid = (uint64_t)(uintptr_t)where,
    };
    long r = syscall(SYS_clone3, &args, sizeof args);
    if (r >= 0 || (errno != ENOSYS && errno != EPERM)) {
        return r;
    }
    /* Before Linux 5.3, or a filter of system calls that cannot look into clone3's structure. */
#if defined(__x86_64__)
    return syscall(SYS_clone, SIBLING_FLAGS | SIGCHLD, NULL, where, tid, NULL);
#else /* arm64, riscv, ...: the kernel's CONFIG_CLONE_BACKWARDS */
    return syscall(SYS_clone, SIBLING_FLAGS | SIGCHLD, NULL, where, NULL, tid);
#endif
}

pid_t mproc__os_fork_sibling(pid_t *where) {
    pid_t *tid = tid_address(mproc__os_tid());
    struct robust_list_head *robust = NULL;
    size_t robust_size = 0;

    if (tid == NULL) {
        return -ENOSYS;
    }
    (void)syscall(SYS_get_robust_list, 0, &robust, &robust_size);
    long r = clone_sibling(where, tid);
    if (r < 0) {
        return -errno;
    }
    if (r == 0 && robust != NULL) { /* a clone starts without one, and holds nothing */
        robust->list.next = &robust->list;
        (void)syscall(SYS_set_robust_list, robust, robust_size);
    }
    return (pid_t)r;
}

/* ---------------------------------------------------------------- orphans */

#define ORPHAN_STACK ((size_t)16 << 10)

#if defined(__clang__) || defined(__GNUC__)
#define UNSANITIZED __attribute__((no_sanitize_address, no_sanitize_thread))
#else
#define UNSANITIZED
#endif

/* What an orphan has of its maker until it executes a program or ends. On a busy machine that may
 * take a second, and the next ones are not to wait for it. */
static struct borrowed {
    _Alignas(16) char stack[ORPHAN_STACK];
    uint32_t in_use; /* 1, until the system writes 0 */
    pid_t owner;     /* in a copy of this process no thread uses it */
} borrowed[MPROC__OS_ORPHANS];

/* ThreadSanitizer has a clone() of its own, which a process that shares its maker's memory does not
 * get through. The C library's is there by its other name. */
#ifdef __GLIBC__
extern int __clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);
#define plain_clone __clone
#else
#define plain_clone clone
#endif

struct orphan {
    int (*run)(void *arg);
    void *arg;
    uint32_t *where;
    struct borrowed *borrowed;
};

/* In the process between, which ends at once, so that the orphan is one; with a session of its own,
 * so that the orphan never is in the caller's group, whoever kills that. */
static UNSANITIZED int start_orphan(void *arg) {
    struct orphan *orphan = arg;
    int flags = CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
    (void)bare_call(SYS_setsid, 0, 0, 0, 0, 0, 0);
    struct borrowed *its = orphan->borrowed;
    (void)plain_clone(orphan->run, its->stack + sizeof its->stack, flags, orphan->arg,
                      orphan->where, NULL, &its->in_use);
    (void)bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    return 0;
}

/* The one between has no exit signal and is waited for by __WALL: no handler and no wait() of the
 * program sees it. */
static int start_and_wait(struct orphan *orphan) {
    static _Alignas(16) char stack[ORPHAN_STACK];
    pid_t between =
        plain_clone(start_orphan, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_FS, orphan);
    if (between < 0) {
        return -errno;
    }
    while (waitpid(between, NULL, __WALL) < 0 && errno == EINTR) {
    }
    return mproc__load32(orphan->where) != 0 ? 0 : -EAGAIN;
}

/* NULL: there is none. */
static struct borrowed *free_stack(void) {
    pid_t self = getpid();
    for (struct borrowed *b = borrowed; b < borrowed + MPROC__OS_ORPHANS; b++) {
        if (b->owner != self || mproc__load32(&b->in_use) == 0) {
            b->owner = self;
            return b;
        }
    }
    return NULL;
}

int mproc__os_orphan(int (*run)(void *arg), void *arg, uint32_t *where) {
    struct orphan orphan = {run, arg, where, free_stack()};
    sigset_t all, before;
    if (orphan.borrowed == NULL) {
        return -EBUSY;
    }
    mproc__store32(&orphan.borrowed->in_use, 1);
    mproc__store32(where, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = start_and_wait(&orphan);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        mproc__store32(&orphan.borrowed->in_use, 0);
    }
    return r;
}

/* ---------------------------------------------------------------- what a process does to itself */

extern char **environ;

int mproc__os_directory(const char *path) {
    return os_result(chdir(path));
}

bool mproc__os_limits_space(int resource) {
    return resource == RLIMIT_AS;
}

int mproc__os_limit(int resource, uint64_t soft, uint64_t hard) {
    struct rlimit limit = {(rlim_t)soft, (rlim_t)hard};
    return os_result(setrlimit(resource, &limit));
}

int mproc__os_affinity(const uint32_t *cpus, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        most = cpus[i] > most ? cpus[i] : most;
    }
    cpu_set_t *set = CPU_ALLOC(most + 1);
    if (set == NULL) {
        return -ENOMEM;
    }
    size_t size = CPU_ALLOC_SIZE(most + 1);
    CPU_ZERO_S(size, set);
    for (size_t i = 0; i < n; i++) {
        CPU_SET_S(cpus[i], size, set);
    }
    int r = os_result(sched_setaffinity(0, size, set));
    CPU_FREE(set);
    return r;
}

void mproc__os_environment(char **owned) {
    environ = owned;
}
