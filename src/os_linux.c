/*
 * os_linux.c - os.h for Linux: the only file with raw system calls
 *
 * SPDX-License-Identifier: MIT
 *
 * Works from Linux 5.4 on; what came later is probed when it is used.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"

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
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100
#endif

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

pid_t mproc__os_tid(void) {
    return (pid_t)syscall(SYS_gettid);
}

int mproc__os_cpu(void) {
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
    int r = ppoll(&p, 1, to_timespec(timeout, &t), NULL);
    return r < 0 ? -errno : r;
}

int mproc__os_pidfd_signal(int pidfd, int signal) {
    return result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
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

/* Field 3 of /proc/PID/stat is the state, field 22 the start time; field 2 may hold anything, spaces
 * and parentheses included, so counting begins behind its last parenthesis. */
static int parse_stat(pid_t pid, const char *text, uint64_t *ticks) {
    const char *p = strrchr(text, ')');
    if (p == NULL || p[1] != ' ') {
        return -ESRCH;
    }
    p += 2;
    if (strchr("ZXx", *p) != NULL && has_ended(pid)) {
        return -ESRCH;
    }
    for (int field = 3; field < 22; field++) {
        p = strchr(p, ' ');
        if (p == NULL) {
            return -ESRCH;
        }
        p++;
    }
    *ticks = strtoull(p, NULL, 10);
    return 0;
}

int mproc__os_process_start_time(pid_t pid, uint64_t *ticks) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = 0;
    return parse_stat(pid, text, ticks);
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

/* ---------------------------------------------------------------- events */

int mproc__os_event_new(void) {
    return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int mproc__os_event_set(int fd) {
    uint64_t one = 1;
    return write(fd, &one, sizeof one) == sizeof one || errno == EAGAIN ? 0 : -errno;
}

int mproc__os_event_clear(int fd) {
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count || errno == EAGAIN ? 0 : -errno;
}
