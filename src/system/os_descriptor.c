/*
 * os_descriptor.c - os.h for Linux: pipes, sockets, and what else is behind a descriptor
 *
 * SPDX-License-Identifier: MIT
 *
 * The calls that a kernel or a kind of descriptor may lack are tried, and what is found is
 * remembered.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100
#endif

/* From where the descriptor stands, with flags. musl has had these calls only since 1.2.5. */
#ifdef __GLIBC__
static ssize_t write_with(int fd, const struct iovec *pieces, int n, int flags) {
    return pwritev2(fd, pieces, n, -1, flags);
}

static ssize_t read_with(int fd, const struct iovec *piece, int flags) {
    return preadv2(fd, piece, 1, -1, flags);
}
#else
static ssize_t write_with(int fd, const struct iovec *pieces, int n, int flags) {
    return syscall(SYS_pwritev2, fd, pieces, n, -1L, -1L, flags);
}

static ssize_t read_with(int fd, const struct iovec *piece, int flags) {
    return syscall(SYS_preadv2, fd, piece, 1, -1L, -1L, flags);
}
#endif

/* ---------------------------------------------------------------- making and closing */

int mproc__os_pipe_new(int ends[2]) {
    return pipe2(ends, O_CLOEXEC) != 0 ? -errno : os_kept_both(ends);
}

static int socket_pair(int type, int ends[2]) {
    int r = socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends);
    return r != 0 ? -errno : os_kept_both(ends);
}

int mproc__os_socket_pair(int ends[2]) {
    return socket_pair(SOCK_STREAM, ends);
}

int mproc__os_packet_pair(int ends[2]) {
    return socket_pair(SOCK_SEQPACKET, ends);
}

int mproc__os_event_new(void) {
    return os_kept(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int mproc__os_event_new_set(void) {
    return os_result(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
}

bool mproc__os_descriptor_is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

int mproc__os_descriptor_copy(int fd) {
    int r = os_result(fcntl(fd, F_DUPFD_CLOEXEC, OS_FIRST_KEPT));
    return r == -EINVAL ? -EMFILE : r; /* what it says when no number at all is allowed */
}

/* A descriptor that is the right one already may be close-on-exec. */
int mproc__os_descriptor_over(int fd, int to) {
    return fd == to ? os_result(fcntl(fd, F_SETFD, 0)) : dup2(fd, to) < 0 ? -errno : 0;
}

int mproc__os_close_on_exec(int fd) {
    return os_result(fcntl(fd, F_SETFD, FD_CLOEXEC));
}

void mproc__os_close(int fd) {
    (void)close(fd);
}

void mproc__os_shutdown(int socket) {
    (void)shutdown(socket, SHUT_RDWR);
}

/* ---------------------------------------------------------------- waiting */

/* A mere look costs a fifth less without a clock and a signal mask to see to. */
/* The kernel says EINTR also to a caller that does not wait, if a signal is pending. Nothing was
 * interrupted then: the handler has run, and the look is made again. */
static int poll_now(struct pollfd *polls, size_t n) {
    int r;
    do {
        r = os_result(poll(polls, (nfds_t)n, 0));
    } while (r == -EINTR);
    return r;
}

int mproc__os_poll(struct pollfd *polls, size_t n, int64_t timeout) {
    struct timespec t;
    if (timeout == 0) {
        return poll_now(polls, n);
    }
    return os_result(ppoll(polls, (nfds_t)n, os_timespec(timeout, &t), NULL));
}

/* ---------------------------------------------------------------- bytes */

ssize_t mproc__os_read(int fd, void *out, size_t size) {
    ssize_t r = read(fd, out, size);
    return r < 0 ? -errno : r;
}

/* A pipe has no MSG_NOSIGNAL: SIGPIPE is held off this thread, and what the write raised is taken
 * away unless one was pending before. (A signal that another process sends meanwhile is lost with
 * it.) */
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

/* The kernel does not know a call or a flag of it; a filter of system calls says so by EPERM. */
static bool is_unknown(int error) {
    return error == EOPNOTSUPP || error == ENOSYS || error == EPERM;
}

/* By a flag of one write. -EOPNOTSUPP: the kernel does not know it for this descriptor. */
static ssize_t write_flagged(int fd, const struct iovec *pieces, int n, int flags,
                             uint32_t *unknown) {
    if (mproc__peek32(unknown) != 0) {
        return -EOPNOTSUPP;
    }
    ssize_t r = write_with(fd, pieces, n, flags);
    if (r < 0 && is_unknown(errno)) {
        mproc__poke32(unknown, 1);
        return -EOPNOTSUPP;
    }
    return r < 0 ? -errno : r;
}

static ssize_t write_to_socket(int fd, const struct iovec *pieces, int n, int flags) {
    struct msghdr message = {0};
    message.msg_iov = (struct iovec *)(uintptr_t)pieces; /* only read from */
    message.msg_iovlen = (size_t)n;
    ssize_t r = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
    return r < 0 ? -errno : r;
}

ssize_t mproc__os_write_quiet(int fd, const struct iovec *pieces, int n) {
    static uint32_t unknown; /* RWF_NOSIGNAL is Linux 6.18's; threads that race write the same */
    ssize_t r = write_flagged(fd, pieces, n, RWF_NOSIGNAL, &unknown);
    if (r == -EOPNOTSUPP) {
        r = write_to_socket(fd, pieces, n, 0);
    }
    return r == -ENOTSOCK ? write_masked(fd, pieces, n) : r;
}

/* A pipe that is writable takes PIPE_BUF bytes without waiting. */
static ssize_t write_to_pipe_now(int fd, const struct iovec *pieces, int n) {
    struct pollfd p = {fd, POLLOUT, 0};
    if (mproc__os_poll(&p, 1, 0) == 0) {
        return -EAGAIN;
    }
    int first = 0;
    while (first < n - 1 && pieces[first].iov_len == 0) {
        first++;
    }
    struct iovec piece = pieces[first];
    piece.iov_len = piece.iov_len < PIPE_BUF ? piece.iov_len : PIPE_BUF;
    return write_masked(fd, &piece, 1);
}

ssize_t mproc__os_write_now(int fd, const struct iovec *pieces, int n) {
    static uint32_t unknown;
    ssize_t r = write_flagged(fd, pieces, n, RWF_NOSIGNAL | RWF_NOWAIT, &unknown);
    if (r == -EOPNOTSUPP) {
        r = write_to_socket(fd, pieces, n, MSG_DONTWAIT);
    }
    return r == -ENOTSOCK ? write_to_pipe_now(fd, pieces, n) : r;
}

ssize_t mproc__os_read_now(int fd, void *out, size_t size) {
    static uint32_t no_flag; /* pipes and sockets know RWF_NOWAIT since about Linux 6.4 */
    ssize_t r;
    if (mproc__peek32(&no_flag) == 0) {
        struct iovec piece = {out, size};
        r = read_with(fd, &piece, RWF_NOWAIT);
        if (r >= 0 || !is_unknown(errno)) {
            return r < 0 ? -errno : r;
        }
        mproc__poke32(&no_flag, 1);
    }
    r = recv(fd, out, size, MSG_DONTWAIT);
    if (r < 0 && errno == ENOTSOCK) {
        struct pollfd p = {fd, POLLIN, 0};
        if (mproc__os_poll(&p, 1, 0) == 0) {
            return -EAGAIN;
        }
        r = read(fd, out, size);
    }
    return r < 0 ? -errno : r;
}

/* ---------------------------------------------------------------- bytes with descriptors */

union passed {
    struct cmsghdr align;
    char room[CMSG_SPACE(MPROC__OS_FDS_MAX * sizeof(int))];
};

static void attach_fds(struct msghdr *message, union passed *passed, const int *fds, size_t n) {
    memset(passed, 0, sizeof *passed);
    message->msg_control = passed;
    message->msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
}

/* musl takes no more than a kilobyte along. On 64 bits its structures are the kernel's, with the
 * upper halves of lengths as padding, which is zero here. */
static ssize_t send_passing(int socket, const struct msghdr *message, int flags) {
#ifdef __GLIBC__
    return sendmsg(socket, message, flags);
#else
    return syscall(SYS_sendmsg, socket, message, flags);
#endif
}

int mproc__os_send(int socket, const void *lent, size_t size, const int *fds, size_t n) {
    union passed passed;
    struct iovec piece = {(void *)(uintptr_t)lent, size}; /* only read from */
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (n > 0) {
        attach_fds(&message, &passed, fds, n);
    }
    return send_passing(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static size_t detach_fds(struct msghdr *message, int *out) {
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(out, CMSG_DATA(c), n * sizeof(int));
        }
    }
    return n;
}

/* Gives those received other numbers, where need be; false: some are lost, and *n is what is left
 * of them. */
static bool keep_all(int *fds, size_t *n) {
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        int fd = os_kept(fds[i]);
        if (fd >= 0) {
            fds[kept++] = fd;
        }
    }
    bool all = kept == *n;
    *n = kept;
    return all;
}

ssize_t mproc__os_receive(int socket, void *out, size_t size, int fds[MPROC__OS_FDS_MAX], size_t *n,
                          bool *lost) {
    union passed passed;
    struct iovec piece = {out, size};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &passed,
                             .msg_controllen = sizeof passed};
    ssize_t r = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (r < 0) {
        return -errno;
    }
    *n = detach_fds(&message, fds);
    *lost = (message.msg_flags & MSG_CTRUNC) != 0;
    *lost |= !keep_all(fds, n);
    return r;
}

ssize_t mproc__os_peek(int socket, void *out, size_t size, int *fd) {
    union passed passed;
    struct iovec piece = {out, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    int received[MPROC__OS_FDS_MAX];
    if (fd != NULL) {
        message.msg_control = &passed;
        message.msg_controllen = CMSG_SPACE(sizeof(int));
    }
    ssize_t r = recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (r < 0) {
        return -errno;
    }
    if (fd != NULL) {
        int got = detach_fds(&message, received) == 1 ? os_kept(received[0]) : -1;
        bool lost = got < -1 || (message.msg_flags & MSG_CTRUNC) != 0;
        *fd = got < 0 ? -1 : got;
        return lost ? -EMFILE : r;
    }
    return r;
}

int mproc__os_send_now(int socket, const void *lent, size_t size, int fd) {
    union passed passed;
    struct iovec piece = {(void *)(uintptr_t)lent, size}; /* only read from */
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    attach_fds(&message, &passed, &fd, 1);
    return send_passing(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* ---------------------------------------------------------------- how much there is */

int mproc__os_readable(int fd) {
    int n = 0;
    return ioctl(fd, FIONREAD, &n) != 0 ? -errno : n;
}

int mproc__os_unread(int socket) {
    int n = 0;
    return ioctl(socket, SIOCOUTQ, &n) != 0 ? -errno : n;
}

int mproc__os_socket_room(int socket) {
    int n = 0;
    socklen_t size = sizeof n;
    return getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &n, &size) != 0 ? -errno : n;
}

int mproc__os_pipe_room(int fd) {
    return os_result(fcntl(fd, F_GETPIPE_SZ));
}

int mproc__os_pipe_again(int fd) {
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return os_kept(open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY));
}

/* ---------------------------------------------------------------- mailboxes, watches, timers */

/* The system makes up an address when only its family is given. */
int mproc__os_mailbox_new(char *address, size_t cap, uint32_t *size) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t length = sizeof name;
    int fd = os_kept(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0) {
        return fd;
    }
    int r = os_result(bind(fd, (struct sockaddr *)&name, sizeof name.sun_family));
    if (r == 0) {
        r = os_result(getsockname(fd, (struct sockaddr *)&name, &length));
    }
    size_t n = length - offsetof(struct sockaddr_un, sun_path);
    if (r == 0 && n > cap) {
        r = -ENOBUFS;
    }
    if (r != 0) {
        close(fd);
        return r;
    }
    memcpy(address, name.sun_path, n);
    *size = (uint32_t)n;
    return fd;
}

static int send_byte(int fd, const char *address, uint32_t size) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    memcpy(name.sun_path, address, size);
    ssize_t n;
    do {
        n = sendto(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&name, length);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* A program that closes descriptors under us, or puts another one in the place of ours, costs a
 * socket. */
void mproc__os_mailbox_send(int *fd, const char *address, uint32_t size) {
    for (int i = 0; i < 2; i++) {
        if (*fd < 0) {
            *fd = os_kept(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        }
        int r = *fd >= 0 ? send_byte(*fd, address, size) : 0;
        if (r == 0 || r == -EAGAIN || r == -ECONNREFUSED) {
            return;
        }
        *fd = -1; /* not ours any more */
    }
}

void mproc__os_mailbox_ring(const char *address, uint32_t size) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        (void)send_byte(fd, address, size);
        close(fd);
    }
}

void mproc__os_mailbox_drain(int fd) {
    char bytes[64];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0 || errno == EINTR) {
    }
}

int mproc__os_watch_new(void) {
    return os_kept(epoll_create1(EPOLL_CLOEXEC));
}

int mproc__os_watch_add(int watch, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return os_result(epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event));
}

int mproc__os_watch_remove(int watch, int fd) {
    struct epoll_event event = {0};
    return os_result(epoll_ctl(watch, EPOLL_CTL_DEL, fd, &event));
}

int mproc__os_timer_new(void) {
    return os_kept(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

int mproc__os_timer_set(int timer, int64_t when) {
    struct itimerspec spec = {{0, 0}, {0, 0}};
    if (when >= 0) {
        (void)os_timespec(when > 0 ? when : 1, &spec.it_value);
    }
    return os_result(timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL));
}
