/*
 * os_linux.c - os.h for Linux: the only file with raw system calls
 *
 * SPDX-License-Identifier: MIT
 *
 * Works from Linux 5.4 on; what came later is probed when it is used.
 */
#include "system/os.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system/atomic.h"
#include "system/bare_call.h"
#include "system/proc_stat.h"

/* Linux' generic numbers; old C libraries do not name them. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100
#endif

#define DESCRIPTOR_WORDS                                                                           \
    256 /* of a thread's descriptor, to be searched; glibc's has 576 on x86-64 */

static int result(long r) {
    return r < 0 ? -errno : (int)r;
}

static struct timespec *to_timespec(int64_t ns, struct timespec *out) {
    if (ns < 0) {
        return NULL;
    }
    out->tv_sec = (time_t)(ns / 1000000000);
    out->tv_nsec = (long)(ns % 1000000000);
    return out;
}

/* ---------------------------------------------------------------- time and place */

int64_t mproc__os_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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
    long r = syscall(SYS_futex, word, FUTEX_WAIT, expected, to_timespec(timeout, &t), NULL, 0);
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
    const struct timespec *end = to_timespec(timeout < 0 ? timeout : mproc__os_now() + timeout, &t);
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, end, NULL, classes);
    return r == 0 || errno == EAGAIN ? 0 : -errno;
}

int mproc__os_futex_wake_of(uint32_t *word, int n, uint32_t classes) {
    long r = syscall(SYS_futex, word, FUTEX_WAKE_BITSET, n, NULL, NULL, classes);
    return r < 0 ? 0 : (int)r;
}

/* ---------------------------------------------------------------- memory */

int mproc__os_memory_new(const char *name, size_t size) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)size) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int mproc__os_memory_map(int fd, void *address, size_t size) {
    void *p = mmap(address, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    if (p != address) { /* a kernel before 4.17 takes the flag for a hint */
        munmap(p, size);
        return -EEXIST;
    }
    return 0;
}

bool mproc__os_memory_is(int fd, size_t size) {
    struct stat s;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstat(fd, &s) == 0 &&
           (uint64_t)s.st_size == size;
}

int mproc__os_memory_unmap(void *address, size_t size) {
    return result(munmap(address, size));
}

int mproc__os_memory_commit(int fd, size_t offset, size_t size) {
    int r;
    do {
        r = result(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size));
    } while (r == -EINTR);
    return r;
}

/* ---- populating: clearing pages is the work, so two threads do it in little more than half the time */

#define POPULATE_STEP ((size_t)2 << 20) /* what a thread takes at a time */
#define POPULATE_SHARE                                                                             \
    ((size_t)16 << 20) /* from here on: some 10 ms, a hundred times a thread's start */

struct populate {
    int fd;
    char *address;
    size_t size;
    uint64_t next;  /* offset of what nobody has taken yet */
    uint64_t error; /* errno */
};

/* Pages that the file has already cost an eighth less to map than those that a fault has to find. Kernels
 * before 5.14 know no populating: there the mapping gets them when they are touched. EFAULT is what would
 * have been a SIGBUS. */
static int populate_step(const struct populate *work, size_t at, size_t size) {
    int r = mproc__os_memory_commit(work->fd, at, size);
    if (r == 0 && madvise(work->address + at, size, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
        r = errno == EFAULT ? -ENOSPC : -errno;
    }
    return r;
}

static void *populate_steps(void *arg) {
    struct populate *work = arg;
    size_t at;
    while (mproc__load64(&work->error) == 0 &&
           (at = (size_t)mproc__add64(&work->next, POPULATE_STEP)) < work->size) {
        size_t left = work->size - at;
        int r = populate_step(work, at, left < POPULATE_STEP ? left : POPULATE_STEP);
        if (r != 0) {
            mproc__store64(&work->error, (uint64_t)-r);
        }
    }
    return NULL;
}

/* The helper sees no signals, and is gone when this returns. */
static void populate_with_helper(struct populate *work) {
    sigset_t all, before;
    pthread_t helper;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&helper, NULL, populate_steps, work);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)populate_steps(work);
    if (r == 0) {
        pthread_join(helper, NULL);
    }
}

int mproc__os_memory_populate(int fd, void *address, size_t size) {
    struct populate work = {fd, address, size, 0, 0};
    if (size >= POPULATE_SHARE && mproc__os_cpus() > 1) {
        populate_with_helper(&work);
    } else {
        (void)populate_steps(&work);
    }
    return -(int)work.error;
}

int mproc__os_memory_release(void *address, size_t size) {
    return result(madvise(address, size, MADV_REMOVE));
}

int mproc__os_close_on_exec(int fd) {
    return result(fcntl(fd, F_SETFD, FD_CLOEXEC));
}

size_t mproc__os_memory_total(void) {
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---------------------------------------------------------------- processes */

int mproc__os_pidfd_open(pid_t pid) {
    return result(syscall(SYS_pidfd_open, pid, 0)); /* the kernel sets close-on-exec */
}

int mproc__os_pidfd_wait(int pidfd, int64_t timeout) {
    struct pollfd p = {pidfd, POLLIN, 0};
    struct timespec t;
    int r = timeout == 0 ? poll(&p, 1, 0) : ppoll(&p, 1, to_timespec(timeout, &t), NULL);
    return r < 0 ? -errno : r;
}

int mproc__os_pidfd_signal(int pidfd, int signal) {
    return result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

int mproc__os_descriptor_copy(int fd) {
    int r = result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    return r == -EINVAL ? -EMFILE : r; /* what it says when no number at all is allowed */
}

/* A process whose first thread has ended shows as a zombie though others go on: its pidfd knows. */
static bool has_ended(pid_t pid) {
    int fd = mproc__os_pidfd_open(pid);
    if (fd < 0) {
        return fd == -ESRCH;
    }
    int r = mproc__os_pidfd_wait(fd, 0);
    close(fd);
    return r == 1;
}

static int parse_stat(pid_t pid, const char *text, uint64_t *ticks) {
    bool ended;
    if (!mproc__stat_parse(text, &ended, ticks)) {
        return -ESRCH;
    }
    return ended && has_ended(pid) ? -ESRCH : 0;
}

static int start_ticks(pid_t pid, uint64_t *ticks) {
    char path[32], text[MPROC__STAT_SIZE];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { /* none of that number, or /proc is not there, or hides it */
        return errno == ENOENT && has_ended(pid) ? -ESRCH : -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = 0;
    return parse_stat(pid, text, ticks);
}

int mproc__os_process_is(pid_t pid, uint64_t when) {
    uint64_t ticks = 0;
    int r = start_ticks(pid, &ticks);
    if (r != 0) {
        return r == -ESRCH ? 0 : r;
    }
    return mproc__stat_was_there(ticks, when, (uint64_t)sysconf(_SC_CLK_TCK));
}

/* A sandbox may refuse robust lists; the C library does not tell. */
static bool has_robust_list(void) {
    struct robust_list_head *head = NULL;
    size_t size = 0;
    return syscall(SYS_get_robust_list, 0, &head, &size) == 0 && head != NULL;
}

/* A robust mutex is what the kernel knows of: a thread that ends with one leaves a mark on it. It is
 * taken once and never released; by a try, which is no half of a deadlock for those who look for such. */
void mproc__os_life_begin(struct mproc__os_life *life) {
    pthread_mutexattr_t attr;
    if (!has_robust_list()) {
        return;
    }
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&life->held, &attr);
    (void)pthread_mutex_trylock(&life->held); /* it is free: this is its first life */
}

/* Other C libraries than glibc keep the word elsewhere: there nothing is certain. */
bool mproc__os_life_certain(const struct mproc__os_life *life) {
#ifdef __GLIBC__
    static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "where the word is");
    uint32_t word = mproc__load32(&life->word);
    return (word & FUTEX_TID_MASK) != 0 && (word & FUTEX_OWNER_DIED) == 0;
#else
    (void)life;
    return false;
#endif
}

/* The children of one thread, appended behind the first n. */
static int children_of_task(pid_t parent, const char *task, pid_t *out, int cap, int n) {
    char path[320];
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)parent, task);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return errno == ENOENT && access("/proc/thread-self/children", F_OK) != 0 ? -ENOSYS : n;
    }
    while (fscanf(f, "%d", &child) == 1) {
        if (n < cap) {
            out[n] = child;
        }
        n++;
    }
    fclose(f);
    return n;
}

int mproc__os_process_children(pid_t parent, pid_t *out, int cap) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return -errno;
    }
    int n = 0;
    for (struct dirent *e = readdir(tasks); e != NULL && n >= 0; e = readdir(tasks)) {
        if (e->d_name[0] != '.') {
            n = children_of_task(parent, e->d_name, out, cap, n);
        }
    }
    closedir(tasks);
    return n;
}

/* ---------------------------------------------------------------- starting processes */

/* By pidfd, not by pid: somebody else may have collected the child, and its number come round. */
int mproc__os_process_collect(int pidfd, int *code) {
    siginfo_t info;
    info.si_pid = 0;
    if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) != 0) {
        return -errno;
    }
    if (info.si_pid == 0) {
        return 0;
    }
    *code = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

/* glibc reports what exec says as posix_spawn()'s result, and a dup2() onto itself opens a descriptor
 * for the child that is close-on-exec here. */
int mproc__os_spawn(const struct mproc__os_spawn *what, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0) {
        return -r;
    }
    for (size_t i = 0; r == 0 && i < what->nfds; i++) {
        r = posix_spawn_file_actions_adddup2(&actions, what->fds[i], what->fds[i]);
    }
    if (r == 0) {
        r = posix_spawn(pid, what->path, &actions, NULL, (char *const *)(uintptr_t)what->argv,
                        (char *const *)(uintptr_t)what->envp);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

int mproc__os_parent_death_signal(int signal) {
    return result(prctl(PR_SET_PDEATHSIG, signal));
}

/* Where the C library keeps this thread's id: recursive and robust mutexes and raise() look there. The
 * kernel knows the place, for glibc gave it to set_tid_address(). A kernel built without
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

/* What an orphan has of its maker until it executes a program or ends. */
static struct loan {
    _Alignas(16) char stack[ORPHAN_STACK];
    uint32_t lent; /* 1, until the system writes 0 */
    pid_t lender;  /* in a copy of this process nothing is lent */
} loan;

struct birth {
    int (*run)(void *arg);
    void *arg;
    uint32_t *where;
};

/* In the process between, which ends at once, so that the orphan is one; with a session of its own, so that
 * the orphan never is in the caller's group, whoever kills that. */
static UNSANITIZED int bear(void *arg) {
    struct birth *birth = arg;
    int flags = CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
    (void)bare_call(SYS_setsid, 0, 0, 0, 0, 0, 0);
    (void)clone(birth->run, loan.stack + sizeof loan.stack, flags, birth->arg, birth->where, NULL,
                &loan.lent);
    (void)bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    return 0;
}

/* The one between has no exit signal and is waited for by __WALL: no handler and no wait() of the program
 * sees it. */
static int bear_and_wait(struct birth *birth) {
    static _Alignas(16) char stack[ORPHAN_STACK];
    pid_t between = clone(bear, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_FS, birth);
    if (between < 0) {
        return -errno;
    }
    while (waitpid(between, NULL, __WALL) < 0 && errno == EINTR) {
    }
    return mproc__load32(birth->where) != 0 ? 0 : -EAGAIN;
}

int mproc__os_orphan(int (*run)(void *arg), void *arg, uint32_t *where) {
    struct birth birth = {run, arg, where};
    sigset_t all, before;
    if (loan.lender == getpid() && mproc__load32(&loan.lent) != 0) {
        return -EAGAIN;
    }
    loan.lender = getpid();
    mproc__store32(&loan.lent, 1);
    mproc__store32(where, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = bear_and_wait(&birth);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        mproc__store32(&loan.lent, 0);
    }
    return r;
}

/* ---------------------------------------------------------------- streams */

/* A pipe has no MSG_NOSIGNAL: SIGPIPE is held off this thread, and what the write raised is taken away
 * unless one was pending before. (A signal that another process sends meanwhile is lost with it.) */
static ssize_t write_masked(int fd, const struct iovec *pieces, int n) {
    sigset_t sigpipe, before, pending;
    struct timespec none = {0, 0};

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    sigpending(&pending);
    ssize_t r = writev(fd, pieces, n);
    int error = errno;
    if (r < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE)) {
        while (sigtimedwait(&sigpipe, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r < 0 ? -error : r;
}

ssize_t mproc__os_write_quiet(int fd, const struct iovec *pieces, int n) {
    static uint32_t no_flag; /* RWF_NOSIGNAL is Linux 6.18's; threads that race write the same */
    if (mproc__peek32(&no_flag) == 0) {
        ssize_t r = pwritev2(fd, pieces, n, -1, RWF_NOSIGNAL);
        if (r >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) {
            return r < 0 ? -errno : r;
        }
        mproc__poke32(&no_flag, 1);
    }
    struct msghdr message = {0};
    message.msg_iov = (struct iovec *)(uintptr_t)pieces; /* only read from */
    message.msg_iovlen = (size_t)n;
    ssize_t r = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (r >= 0 || errno != ENOTSOCK) {
        return r < 0 ? -errno : r;
    }
    return write_masked(fd, pieces, n);
}

ssize_t mproc__os_read_now(int fd, void *out, size_t size) {
    static uint32_t no_flag; /* pipes and sockets know RWF_NOWAIT since about Linux 6.4 */
    ssize_t r;
    if (mproc__peek32(&no_flag) == 0) {
        struct iovec piece = {out, size};
        r = preadv2(fd, &piece, 1, -1, RWF_NOWAIT);
        if (r >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) {
            return r < 0 ? -errno : r;
        }
        mproc__poke32(&no_flag, 1);
    }
    r = recv(fd, out, size, MSG_DONTWAIT);
    if (r < 0 && errno == ENOTSOCK) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 0) == 0) {
            return -EAGAIN;
        }
        r = read(fd, out, size);
    }
    return r < 0 ? -errno : r;
}

/* ---------------------------------------------------------------- events */

int mproc__os_event_new(void) {
    return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
