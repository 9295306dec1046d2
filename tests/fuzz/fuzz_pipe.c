/*
 * fuzz_pipe.c - frames of arbitrary bytes, in arbitrary pieces
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The first byte chooses reading or writing. A kernel of this file's own stands in for
 * os.h's read, write and poll: it hands out the input in pieces of one to many bytes, and says in
 * between that nothing is there (EAGAIN), that a signal came (EINTR), that the peer has gone or has
 * reset the stream. So no call ever sleeps, and each of its answers is at every place.
 *
 * What must hold. Frames are those that a decoder of a few lines finds in the same bytes. A call
 * that says -EINTR has moved no byte. MPROC_EEOF stands between two frames only, MPROC_EFRAME
 * within one. What is written, gathered from its pieces, is the header and the bytes, all of them,
 * once.
 */
#include "fuzz.h"

#include <errno.h>
#include <poll.h>
#include <sys/uio.h>

#include "mproc.h"
#include "system/os.h"

#define END 1000000 /* a descriptor that only the kernel below knows */
#define BODY_MAX 4096

static struct feed answers; /* what the kernel does next; used up: whole pieces, no signals */
static struct feed stream;  /* bytes to be read */
static size_t moved;        /* by the current call */
static bool was_reset; /* the kernel has said so: where the stream ends, the decoder cannot know */
static uint8_t written[2 * BODY_MAX];
static size_t written_size;

ssize_t __wrap_mproc__os_read(int fd, void *out, size_t size);
ssize_t __wrap_mproc__os_read_now(int fd, void *out, size_t size);
ssize_t __wrap_mproc__os_write_quiet(int fd, const struct iovec *pieces, int n);
int __wrap_mproc__os_poll(struct pollfd *polls, size_t n, int64_t timeout);

/* How many bytes move now: 1 to size, or an error. */
static ssize_t next_piece(size_t size) {
    uint8_t answer = answers.left > 0 ? feed_byte(&answers) : 0x7f;
    switch (answer) {
    case 0xff: return -EAGAIN;
    case 0xfe: return -EINTR;
    case 0xfd: was_reset = true; return -ECONNRESET;
    default: break;
    }
    size_t piece = answer == 0x7f ? size : answer % 16 + 1u;
    return (ssize_t)(piece < size ? piece : size);
}

ssize_t __wrap_mproc__os_read(int fd, void *out, size_t size) {
    MUST(fd == END && size > 0);
    ssize_t n = next_piece(size);
    if (n < 0) {
        return n;
    }
    n = (size_t)n < stream.left ? n : (ssize_t)stream.left;
    moved += feed_bytes(&stream, out, (size_t)n);
    return n;
}

ssize_t __wrap_mproc__os_read_now(int fd, void *out, size_t size) {
    return __wrap_mproc__os_read(fd, out, size);
}

int __wrap_mproc__os_poll(struct pollfd *polls, size_t n, int64_t timeout) {
    MUST(n == 1 && polls[0].fd == END && timeout < 0);
    polls[0].revents = polls[0].events;
    return answers.left > 0 && feed_byte(&answers) % 4 == 0 ? -EINTR : 1;
}

ssize_t __wrap_mproc__os_write_quiet(int fd, const struct iovec *pieces, int n) {
    size_t all = 0;
    MUST(fd == END && n > 0);
    for (int i = 0; i < n; i++) {
        all += pieces[i].iov_len;
    }
    MUST(all > 0);
    ssize_t r = next_piece(all);
    if (r < 0) {
        return r;
    }
    size_t left = (size_t)r;
    for (int i = 0; left > 0; i++) {
        size_t part = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        MUST(part <= sizeof written - written_size);
        if (part > 0) {
            memcpy(written + written_size, pieces[i].iov_base, part);
        }
        written_size += part;
        left -= part;
    }
    moved += (size_t)r;
    return r;
}

/* ---------------------------------------------------------------- reading */

/* What stands at the head of the bytes: the size of a frame and how long its header is, or an
 * error. */
static int decode(struct feed at, uint64_t *size, size_t *header) {
    uint64_t length = 0;
    size_t first = at.left < 4 ? at.left : 4, n = 4;
    bool longer = first == 4 && memcmp(at.at, "\xff\xff\xff\xff", 4) == 0;
    if (first == 0) {
        return MPROC_EEOF;
    }
    if (first < 4 || (longer && at.left < 12)) {
        return MPROC_EFRAME;
    }
    n = longer ? 8 : 4;
    for (size_t i = 0; i < n; i++) {
        length = length << 8 | at.at[(longer ? 4 : 0) + i];
    }
    *size = length;
    *header = longer ? 12 : 4;
    return length > (longer ? (uint64_t)INT64_MAX : INT32_MAX) ? MPROC_EFRAME : 0;
}

static bool is_error_of_reading(int r) {
    return r == MPROC_EEOF || r == MPROC_EFRAME || r == -EINTR || r == -EAGAIN;
}

static int read_header(bool try, size_t *size) {
    moved = 0;
    int r = try ? mproc_pipe_try_size(END, size) : mproc_pipe_recv_size(END, size);
    MUST(r == 0 || is_error_of_reading(r));
    MUST(r != -EAGAIN || try);
    MUST((r != -EINTR && r != -EAGAIN) || moved == 0);
    MUST(r != MPROC_EEOF || moved == 0);
    return r;
}

static int read_body(size_t size) {
    static uint8_t body[BODY_MAX];
    struct feed before = stream;
    int r;
    do {
        moved = 0;
        r = mproc_pipe_recv_body(END, body, size);
        MUST(r == 0 || r == MPROC_EFRAME || (r == -EINTR && moved == 0));
    } while (r == -EINTR);
    MUST((r == 0) == (before.left >= size) || was_reset);
    MUST(r != 0 || size == 0 || memcmp(body, before.at, size) == 0);
    return r;
}

/* One frame; false: there will be no other. */
static bool read_frame(bool try) {
    struct feed before = stream;
    uint64_t expected = 0;
    size_t header = 0, size = 0;
    int found = decode(before, &expected, &header), r;
    do {
        r = read_header(try, &size);
    } while (r == -EINTR || r == -EAGAIN);
    if (r != 0) {
        MUST(found == r || was_reset);
        return false;
    }
    MUST(found == 0 && size == expected && before.left - stream.left == header);
    return size <= BODY_MAX ? read_body(size) == 0 : false;
}

static void read_all(struct feed *input) {
    size_t n = feed_byte(input);
    answers = (struct feed){input->at, n < input->left ? n : input->left};
    stream = (struct feed){input->at + answers.left, input->left - answers.left};
    was_reset = false;
    bool try = feed_byte(&answers) & 1;
    while (read_frame(try)) {
    }
}

/* ---------------------------------------------------------------- writing */

static void write_one(struct feed *input) {
    struct iovec pieces[40];
    int n = (int)feed_below(input, 40);
    size_t size = 0, plan = feed_byte(input);
    answers = (struct feed){input->at, plan < input->left ? plan : input->left};
    const uint8_t *bytes = input->at;
    for (int i = 0; i < n; i++) {
        size_t part = input->left > 0 ? feed_byte(input) : 0, most = input->left;
        pieces[i] = (struct iovec){(void *)(uintptr_t)bytes, part < most ? part : most};
        size += pieces[i].iov_len;
        if (size > BODY_MAX) {
            n = i;
            size -= pieces[i].iov_len;
        }
    }
    moved = written_size = 0;
    int r = mproc_pipe_sendv(END, pieces, n);
    MUST(r == 0 || r == MPROC_EEOF || (r == -EINTR && moved == 0));
    if (r != 0) {
        return;
    }
    MUST(written_size == 4 + size && written[0] == 0 && written[1] == 0);
    MUST((size_t)(written[2] << 8 | written[3]) == size);
    const uint8_t *at = written + 4;
    for (int i = 0; i < n; i++) {
        MUST(pieces[i].iov_len == 0 || memcmp(at, pieces[i].iov_base, pieces[i].iov_len) == 0);
        at += pieces[i].iov_len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed input = {data, size};
    if (feed_byte(&input) % 4 == 3) {
        write_one(&input);
    } else {
        read_all(&input);
    }
    return 0;
}
