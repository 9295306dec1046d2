/*
 * pipe.c - messages over descriptors: pipes and socket pairs
 *
 * SPDX-License-Identifier: MIT
 *
 * A message is its length and its bytes: 4 bytes, signed, in network order, up to 2^31 - 1; beyond
 * that -1 in these 4 bytes and the length in 8 more. Any segmentation is legal on a stream: header
 * and bytes are gathered in one write, and whatever the kernel leaves over is written again.
 *
 * Shared state: none of ours; the kernel's stream is all there is.
 *
 * Invariant: a call that returns -EINTR has moved no byte; once the first byte has moved, signals
 * only delay the call. An end may be blocking or not: when the kernel says EAGAIN, wait_for()
 * waits.
 *
 * A signal that comes just before a thread sleeps in read() or write() would be noticed by nobody.
 * So where the runtime looks for signals (mproc_wait_hook()), no thread sleeps there: it reads and
 * writes what can be done at once, and waits by poll(), in slices. A message that has begun and
 * does not go on is given up with MPROC_EFRAME when the hook says so.
 *
 * If a member dies here, its peer reads MPROC_EEOF between two messages and MPROC_EFRAME inside
 * one.
 */
#define _GNU_SOURCE
#include "system/base.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "core/wait.h"
#include "system/os.h"

#define HEADER_MAX 12             /* 4 bytes, or 4 and 8 */
#define PIECES 16                 /* vectors per system call; a message of more takes several */
#define POLLS 64                  /* descriptors that mproc_wait() handles without malloc() */
#define STALLED (50 * MPROC_MSEC) /* a message that has begun and not gone on for so long */

/* What of a message has not been written yet. */
struct sending {
    unsigned char header[HEADER_MAX];
    size_t header_size;
    size_t done; /* bytes written, the header's included */
    size_t total;
    const struct iovec *pieces;
    int count;
};

/* ---------------------------------------------------------------- making */

int mproc_pipe_new(int ends[2], int duplex) {
    int made[2];
    int r = duplex ? mproc__os_socket_pair(made) : mproc__os_pipe_new(made);
    if (r != 0) {
        return r;
    }
    ends[0] = made[0];
    ends[1] = made[1];
    return 0;
}

/* ---------------------------------------------------------------- waiting */

/* As mproc__os_poll(), which waits without end once the thread need not look any more. */
static int poll_slice(struct pollfd *polls, size_t n, struct mproc__slices *slices) {
    int64_t slice = mproc__user_slice(slices);
    if (slice < 0) {
        return slice == -ETIMEDOUT ? 0 : (int)slice;
    }
    if (slices->deaf) {
        slice = slices->deadline == MPROC__NEVER ? -1 : slices->deadline - mproc__os_now();
        slice = slices->deadline != MPROC__NEVER && slice < 0 ? 0 : slice;
    }
    int r = mproc__os_poll(polls, n, slice);
    return r != 0 || slices->deaf ? r : -EAGAIN;
}

static int poll_in_slices(struct pollfd *polls, size_t n, int64_t timeout) {
    struct mproc__slices slices = mproc__slices_until(mproc__deadline(timeout));
    int r = poll_slice(polls, n, &slices);
    if (r == -EAGAIN) {
        struct mproc__hand *noted = mproc__wait_begin_fd(n > 0 ? polls[0].fd : 0, slices.deadline);
        do {
            r = poll_slice(polls, n, &slices);
        } while (r == -EAGAIN);
        mproc__wait_end(noted);
    }
    return r;
}

/* How many of them have an event; -EBADF when one of them is not open. A negative one would be
 * skipped by the kernel: that is not what a caller means. */
static int poll_until(struct pollfd *polls, size_t n, int64_t timeout) {
    for (size_t i = 0; i < n; i++) {
        if (polls[i].fd < 0) {
            return -EBADF;
        }
    }
    int r = timeout != 0 && mproc__hooked() ? poll_in_slices(polls, n, timeout)
                                            : mproc__os_poll(polls, n, timeout);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        if ((polls[i].revents & POLLNVAL) != 0) {
            return -EBADF;
        }
    }
    return r;
}

int mproc_pipe_poll(int end, int64_t timeout) {
    struct pollfd p = {end, POLLIN, 0};
    return poll_until(&p, 1, timeout);
}

int mproc_wait(const int *fds, size_t n, unsigned char *ready, int64_t timeout) {
    struct pollfd few[POLLS], *polls = few;
    int r;

    if (n > POLLS && (polls = calloc(n, sizeof *polls)) == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        polls[i] = (struct pollfd){fds[i], POLLIN, 0};
    }
    r = poll_until(polls, n, timeout);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        ready[i] = polls[i].revents != 0;
    }
    if (polls != few) {
        free(polls);
    }
    return r;
}

/* Before the first byte. 0: try again; -EINTR. */
static int wait_for(int end, short events) {
    struct pollfd p = {end, events, 0};
    struct mproc__hand *noted = mproc__wait_begin_fd(end, MPROC__NEVER);
    int r = poll_until(&p, 1, MPROC_FOREVER);
    mproc__wait_end(noted);
    return r < 0 ? r : 0;
}

/* Behind the first byte: signals are of no interest while the message goes on. 0: try again;
 * MPROC_EFRAME: it does not go on, and is given up. */
static int wait_stubbornly(int end, short events) {
    struct pollfd p = {end, events, 0};
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    int64_t begin = mproc__os_now();
    int r;
    for (;;) {
        slices.begun = slices.begun && mproc__os_now() - begin >= STALLED;
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return MPROC_EFRAME;
        }
        r = mproc__os_poll(&p, 1, mproc__hooked() && !slices.deaf ? slice : -1);
        if (r != 0 && r != -EINTR) {
            return r < 0 ? r : (p.revents & POLLNVAL) != 0 ? -EBADF : 0;
        }
    }
}

static int wait_further(int end, short events, bool begun) {
    if (!begun) {
        return wait_for(end, events);
    }
    struct mproc__hand *noted = mproc__wait_begin_fd(end, MPROC__NEVER);
    int r = wait_stubbornly(end, events);
    mproc__wait_end(noted);
    return r;
}

static ssize_t read_some(int end, void *out, size_t size) {
    return mproc__hooked() ? mproc__os_read_now(end, out, size) : mproc__os_read(end, out, size);
}

static ssize_t write_some(int end, const struct iovec *pieces, int n) {
    return mproc__hooked() ? mproc__os_write_now(end, pieces, n)
                           : mproc__os_write_quiet(end, pieces, n);
}

/* ---------------------------------------------------------------- sending */

static size_t put_header(unsigned char *out, size_t size) {
    uint64_t length = size;
    size_t n = 4;
    if (size > INT32_MAX) {
        memset(out, 0xff, 4);
        out += 4;
        n = 8;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (unsigned char)(length >> (8 * (n - 1 - i)));
    }
    return n == 8 ? HEADER_MAX : n;
}

/* The next pieces to write, behind what is done; returns their number. */
static int gather(const struct sending *s, struct iovec *out) {
    size_t skip = s->done;
    int n = 0;
    if (skip < s->header_size) {
        out[n].iov_base = (void *)(uintptr_t)(s->header + skip);
        out[n++].iov_len = s->header_size - skip;
        skip = 0;
    } else {
        skip -= s->header_size;
    }
    for (int i = 0; i < s->count && n < PIECES; i++) {
        size_t length = s->pieces[i].iov_len;
        if (skip >= length) {
            skip -= length;
            continue;
        }
        out[n].iov_base = (char *)s->pieces[i].iov_base + skip;
        out[n++].iov_len = length - skip;
        skip = 0;
    }
    return n;
}

int mproc_pipe_sendv(int end, const struct iovec *lent, int n) {
    struct sending s = {.pieces = lent, .count = n};
    size_t size = 0;

    if (n < 0) {
        return -EINVAL;
    }
    for (int i = 0; i < n; i++) {
        if (lent[i].iov_len > SSIZE_MAX - HEADER_MAX - size) {
            return -EINVAL;
        }
        size += lent[i].iov_len;
    }
    s.header_size = put_header(s.header, size);
    s.total = s.header_size + size;
    while (s.done < s.total) {
        struct iovec pieces[PIECES];
        ssize_t r = write_some(end, pieces, gather(&s, pieces));
        if (r >= 0) {
            s.done += (size_t)r;
            continue;
        }
        if (r == -EAGAIN) {
            r = wait_further(end, POLLOUT, s.done > 0);
        }
        if (r < 0 && !(r == -EINTR && s.done > 0)) {
            return r == -EPIPE || r == -ECONNRESET ? MPROC_EEOF : (int)r;
        }
    }
    return 0;
}

int mproc_pipe_send(int end, const void *lent, size_t size) {
    struct iovec piece;
    piece.iov_base = (void *)(uintptr_t)lent; /* only read from */
    piece.iov_len = size;
    return mproc_pipe_sendv(end, &piece, 1);
}

/* ---------------------------------------------------------------- receiving */

/* MPROC_EEOF: the stream ended before the first byte; MPROC_EFRAME: behind it. begun: the first
 * byte has been read before. */
static int read_all(int end, void *out, size_t size, bool begun) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = read_some(end, (char *)out + done, size - done);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        int r = n == 0 ? MPROC_EEOF : (int)n;
        if (r == -EAGAIN) {
            r = wait_further(end, POLLIN, begun || done > 0);
        } else if (r == -ECONNRESET) {
            r = MPROC_EEOF;
        }
        if (r == MPROC_EEOF && (begun || done > 0)) {
            return MPROC_EFRAME;
        }
        if (r < 0 && !(r == -EINTR && (begun || done > 0))) {
            return r;
        }
    }
    return 0;
}

/* A length, of whose first four bytes n are in h already. */
static int read_size(int end, unsigned char h[8], size_t n, size_t *size) {
    uint64_t length = 0;
    int r = read_all(end, h + n, 4 - n, n > 0);
    if (r != 0) {
        return r;
    }
    if (memcmp(h, "\xff\xff\xff\xff", 4) != 0) {
        length = (uint64_t)h[0] << 24 | (uint64_t)h[1] << 16 | (uint64_t)h[2] << 8 | h[3];
        if (length > INT32_MAX) {
            return MPROC_EFRAME;
        }
    } else {
        r = read_all(end, h, 8, true);
        if (r != 0) {
            return r;
        }
        for (int i = 0; i < 8; i++) {
            length = length << 8 | h[i];
        }
        if (length > SSIZE_MAX) {
            return MPROC_EFRAME;
        }
    }
    *size = (size_t)length;
    return 0;
}

int mproc_pipe_recv_size(int end, size_t *size) {
    unsigned char header[8];
    if (mproc__hooked()) { /* who has looked already comes here to sleep: no second look */
        int r = wait_for(end, POLLIN);
        if (r != 0) {
            return r;
        }
    }
    return read_size(end, header, 0, size);
}

int mproc_pipe_try_size(int end, size_t *size) {
    unsigned char header[8];
    ssize_t n = mproc__os_read_now(end, header, 4);
    if (n <= 0) {
        return n == 0 || n == -ECONNRESET ? MPROC_EEOF : (int)n;
    }
    return read_size(end, header, (size_t)n, size);
}

int mproc_pipe_recv_body(int end, void *out, size_t size) {
    int r = read_all(end, out, size, false);
    return r == MPROC_EEOF ? MPROC_EFRAME : r;
}

/* ---------------------------------------------------------------- descriptors */

/* The one byte of data is the number of descriptors, as Python's multiprocessing.reduction has
 * it. */
int mproc_pipe_send_fds(int end, const int *lent, size_t n) {
    unsigned char byte = (unsigned char)n;
    if (n == 0 || n > MPROC__OS_FDS_MAX) {
        return -EINVAL;
    }
    for (;;) {
        int r = mproc__hooked() ? wait_for(end, POLLOUT) : 0;
        r = r == 0 ? mproc__os_send(end, &byte, 1, lent, n) : r;
        if (r == -EAGAIN) {
            r = wait_for(end, POLLOUT);
            if (r == 0) {
                continue;
            }
        }
        return r == -EPIPE || r == -ECONNRESET ? MPROC_EEOF : r;
    }
}

int mproc_pipe_recv_fds(int end, int *out, size_t cap, size_t *n) {
    int fds[MPROC__OS_FDS_MAX];
    unsigned char byte;
    size_t count;
    bool lost;
    ssize_t r = mproc__hooked() ? wait_for(end, POLLIN) : 0;

    while (r == 0 && (r = mproc__os_receive(end, &byte, 1, fds, &count, &lost)) == -EAGAIN) {
        r = wait_for(end, POLLIN);
    }
    if (r < 0) {
        return r == -ECONNRESET ? MPROC_EEOF : (int)r;
    }
    if (r == 0 || count == 0 || count > cap || lost) {
        for (size_t i = 0; i < count; i++) {
            mproc__os_close(fds[i]);
        }
        return r == 0 ? MPROC_EEOF : MPROC_EFRAME;
    }
    memcpy(out, fds, count * sizeof(int));
    *n = count;
    return 0;
}
