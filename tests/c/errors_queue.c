/*
 * errors_queue.c - errors of queues and pipes
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "errors.h"

#include <fcntl.h>
#include <sys/uio.h>

static const int closed_fd = CLOSED_FD;
static char room[64];
static size_t size_seen;

/* ---------------------------------------------------------------- queue */

static mproc_queue *queue_closed(void) {
    mproc_queue *queue = made_queue(0);
    mproc_queue_close(queue);
    return queue;
}

static mproc_queue *queue_full(void) {
    mproc_queue *queue = made_queue(1);
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    return queue;
}

static mproc_queue *queue_starved(void) {
    begin_small();
    mproc_queue *queue = made_queue(0);
    fill_arena();
    return queue;
}

static int put(mproc_queue *queue, size_t size, int64_t timeout) {
    static char bytes[100000];
    return mproc_queue_put(queue, bytes, size, timeout);
}

static int putv(mproc_queue *queue, size_t size, int64_t timeout) {
    static char bytes[100000];
    struct iovec piece = {bytes, size};
    return mproc_queue_putv(queue, &piece, 1, timeout);
}

static int get(mproc_queue *queue, int64_t timeout) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    return mproc_queue_get(queue, &message, timeout);
}

PROVOKE(mproc_queue_new, -ENOMEM) {
    mproc_queue *queue;
    begin_small();
    fill_arena();
    return mproc_queue_new(&queue, 0);
}

PROVOKE(mproc_queue_put, MPROC_ECLOSED) {
    return put(queue_closed(), 1, MPROC_FOREVER);
}

PROVOKE(mproc_queue_put, -ETIMEDOUT) {
    return put(queue_full(), 1, 0);
}

PROVOKE(mproc_queue_put, -EINTR) {
    mproc_queue *queue = queue_full();
    interrupt();
    return put(queue, 1, without_end);
}

PROVOKE(mproc_queue_put, MPROC_ETOOBIG) {
    return put(made_queue(0), (size_t)1 << 60, 0);
}

PROVOKE(mproc_queue_put, -ENOMEM) {
    return put(queue_starved(), 100000, 0);
}

PROVOKE(mproc_queue_putv, MPROC_ECLOSED) {
    return putv(queue_closed(), 1, MPROC_FOREVER);
}

PROVOKE(mproc_queue_putv, -ETIMEDOUT) {
    return putv(queue_full(), 1, 0);
}

PROVOKE(mproc_queue_putv, -EINTR) {
    mproc_queue *queue = queue_full();
    interrupt();
    return putv(queue, 1, without_end);
}

PROVOKE(mproc_queue_putv, MPROC_ETOOBIG) {
    return putv(made_queue(0), (size_t)1 << 60, 0);
}

PROVOKE(mproc_queue_putv, -ENOMEM) {
    return putv(queue_starved(), 100000, 0);
}

PROVOKE(mproc_queue_putv, -EINVAL) {
    return mproc_queue_putv(made_queue(0), NULL, -1, 0);
}

static int put_with(mproc_queue *queue, size_t size, int64_t timeout) {
    static char bytes[100000];
    struct iovec piece = {bytes, size};
    mproc_buffer *buffer = made_buffer(1);
    return mproc_queue_put_with(queue, &piece, 1, &buffer, 1, timeout);
}

PROVOKE(mproc_queue_put_with, MPROC_ECLOSED) {
    return put_with(queue_closed(), 1, MPROC_FOREVER);
}

PROVOKE(mproc_queue_put_with, -ETIMEDOUT) {
    return put_with(queue_full(), 1, 0);
}

PROVOKE(mproc_queue_put_with, -EINTR) {
    mproc_queue *queue = queue_full();
    interrupt();
    return put_with(queue, 1, without_end);
}

PROVOKE(mproc_queue_put_with, MPROC_ETOOBIG) {
    return put_with(made_queue(0), (size_t)1 << 60, 0);
}

PROVOKE(mproc_queue_put_with, -ENOMEM) {
    begin_small();
    mproc_queue *queue = made_queue(0);
    mproc_buffer *buffer = made_buffer(1);
    struct iovec piece = {room, sizeof room};
    fill_arena();
    return mproc_queue_put_with(queue, &piece, 1, &buffer, 1, 0);
}

PROVOKE(mproc_queue_put_with, -EINVAL) {
    return mproc_queue_put_with(made_queue(0), NULL, -1, NULL, 0, 0);
}

PROVOKE(mproc_queue_get, MPROC_ECLOSED) {
    return get(queue_closed(), MPROC_FOREVER);
}

PROVOKE(mproc_queue_get, -ETIMEDOUT) {
    return get(made_queue(0), 0);
}

PROVOKE(mproc_queue_get, -EINTR) {
    mproc_queue *queue = made_queue(0);
    interrupt();
    return get(queue, without_end);
}

PROVOKE(mproc_queue_get, -ENOMEM) {
    begin_small();
    mproc_queue *queue = made_queue(0);
    CHECK_OK(put(queue, 500, 0));
    fill_arena();
    return get(queue, 0);
}

static int put_many(mproc_queue *queue, size_t size, int64_t timeout) {
    static char bytes[100000];
    struct iovec pieces[2] = {{bytes, size}, {bytes, 1}};
    return mproc_queue_put_many(queue, pieces, 2, &size_seen, timeout);
}

static int get_many(mproc_queue *queue, int64_t timeout) {
    mproc_message messages[2] = {MPROC_MESSAGE_INIT(NULL, 0), MPROC_MESSAGE_INIT(NULL, 0)};
    return mproc_queue_get_many(queue, messages, 2, &size_seen, timeout);
}

PROVOKE(mproc_queue_put_many, MPROC_ECLOSED) {
    return put_many(queue_closed(), 1, MPROC_FOREVER);
}

PROVOKE(mproc_queue_put_many, -ETIMEDOUT) {
    return put_many(queue_full(), 1, 0);
}

PROVOKE(mproc_queue_put_many, -EINTR) {
    mproc_queue *queue = queue_full();
    interrupt();
    return put_many(queue, 1, MPROC_FOREVER);
}

PROVOKE(mproc_queue_put_many, MPROC_ETOOBIG) {
    return put_many(made_queue(0), (size_t)1 << 60, 0);
}

PROVOKE(mproc_queue_put_many, -ENOMEM) {
    return put_many(queue_starved(), 100000, 0);
}

PROVOKE(mproc_queue_get_many, MPROC_ECLOSED) {
    return get_many(queue_closed(), MPROC_FOREVER);
}

PROVOKE(mproc_queue_get_many, -ETIMEDOUT) {
    return get_many(made_queue(0), 0);
}

PROVOKE(mproc_queue_get_many, -EINTR) {
    mproc_queue *queue = made_queue(0);
    interrupt();
    return get_many(queue, MPROC_FOREVER);
}

PROVOKE(mproc_queue_get_many, -ENOMEM) {
    begin_small();
    mproc_queue *queue = made_queue(0);
    CHECK_OK(put(queue, 500, 0));
    fill_arena();
    return get_many(queue, 0);
}

static int reserve(mproc_queue *queue, size_t size) {
    mproc_message message;
    return mproc_queue_reserve(queue, size, &message);
}

PROVOKE(mproc_queue_reserve, MPROC_ECLOSED) {
    return reserve(queue_closed(), 1);
}

PROVOKE(mproc_queue_reserve, MPROC_ETOOBIG) {
    return reserve(made_queue(0), (size_t)1 << 60);
}

PROVOKE(mproc_queue_reserve, -ENOMEM) {
    return reserve(queue_starved(), 100);
}

static mproc_message reservation(mproc_queue *queue) {
    mproc_message message;
    CHECK_OK(mproc_queue_reserve(queue, 100, &message));
    return message;
}

PROVOKE(mproc_queue_commit, MPROC_ECLOSED) {
    mproc_queue *queue = made_queue(0);
    mproc_message message = reservation(queue);
    mproc_queue_close(queue);
    return mproc_queue_commit(queue, &message, MPROC_FOREVER);
}

PROVOKE(mproc_queue_commit, -ETIMEDOUT) {
    mproc_queue *queue = queue_full();
    mproc_message message = reservation(queue);
    return mproc_queue_commit(queue, &message, 0);
}

PROVOKE(mproc_queue_commit, -EINTR) {
    mproc_queue *queue = queue_full();
    mproc_message message = reservation(queue);
    interrupt();
    return mproc_queue_commit(queue, &message, without_end);
}

PROVOKE(mproc_queue_commit, -ENOMEM) {
    begin_small();
    mproc_queue *queue = made_queue(0);
    mproc_message messages[200];
    for (int i = 0; i < 200; i++) {
        messages[i] = reservation(queue);
    }
    fill_arena();
    int r = 0; /* until a segment of the queue is full */
    for (int i = 0; r == 0 && i < 200; i++) {
        r = mproc_queue_commit(queue, &messages[i], 0);
    }
    return r;
}

PROVOKE(mproc_queue_commit, -EINVAL) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    return mproc_queue_commit(made_queue(0), &message, 0);
}

PROVOKE(mproc_queue_wait, MPROC_ECLOSED) {
    return mproc_queue_wait(queue_closed(), MPROC_FOREVER);
}

PROVOKE(mproc_queue_wait, -ETIMEDOUT) {
    return mproc_queue_wait(made_queue(0), 0);
}

PROVOKE(mproc_queue_wait, -EINTR) {
    mproc_queue *queue = made_queue(0);
    interrupt();
    return mproc_queue_wait(queue, without_end);
}

PROVOKE(mproc_queue_task_done, MPROC_EDONE) {
    return mproc_queue_task_done(made_queue(0));
}

PROVOKE(mproc_queue_join, -ETIMEDOUT) {
    return mproc_queue_join(queue_full(), 0);
}

PROVOKE(mproc_queue_join, -EINTR) {
    mproc_queue *queue = queue_full();
    interrupt();
    return mproc_queue_join(queue, without_end);
}

PROVOKE(mproc_queue_check, MPROC_ECORRUPT) {
    return mproc_queue_check((mproc_queue *)(void *)made_lock(0), NULL, 0);
}

/* ---------------------------------------------------------------- pipe */

enum { READ = 0, WRITE = 1 };

static int end_of(int which) {
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, 0));
    return ends[which];
}

static int abandoned(int duplex, int which) {
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, duplex));
    close(ends[1 - which]);
    return ends[which];
}

/* Into which nothing more goes, and from which nobody reads. */
static int stuffed(int duplex) {
    static char bytes[4096];
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, duplex));
    CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    while (write(ends[1], bytes, sizeof bytes) > 0 || write(ends[1], bytes, 1) > 0) {
    }
    return ends[1];
}

/* A stream that has these bytes and then ends. */
static int stream(int duplex, const void *bytes, size_t size) {
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, duplex));
    CHECK_EQ(write(ends[1], bytes, size), size);
    close(ends[1]);
    return ends[0];
}

static int new_pipe(void) {
    int ends[2];
    return mproc_pipe_new(ends, 0);
}

PROVOKE(mproc_pipe_new, -EMFILE) {
    no_descriptors();
    return new_pipe();
}

PROVOKE(mproc_pipe_new, -ENFILE) {
    deny(SYS_pipe2, -1, ENFILE);
    return new_pipe();
}

PROVOKE(mproc_pipe_send, MPROC_EEOF) {
    return mproc_pipe_send(abandoned(0, WRITE), "x", 1);
}

PROVOKE(mproc_pipe_send, -EINTR) {
    int end = stuffed(0);
    interrupt();
    return mproc_pipe_send(end, "x", 1);
}

PROVOKE(mproc_pipe_send, -EINVAL) {
    return mproc_pipe_send(end_of(WRITE), "x", SIZE_MAX / 2 + 1);
}

PROVOKE(mproc_pipe_send, -EBADF) {
    return mproc_pipe_send(closed_fd, "x", 1);
}

static int sendv(int end) {
    char byte = 'x';
    struct iovec piece = {&byte, 1};
    return mproc_pipe_sendv(end, &piece, 1);
}

PROVOKE(mproc_pipe_sendv, MPROC_EEOF) {
    return sendv(abandoned(0, WRITE));
}

PROVOKE(mproc_pipe_sendv, -EINTR) {
    int end = stuffed(0);
    interrupt();
    return sendv(end);
}

PROVOKE(mproc_pipe_sendv, -EINVAL) {
    return mproc_pipe_sendv(end_of(WRITE), NULL, -1);
}

PROVOKE(mproc_pipe_sendv, -EBADF) {
    return sendv(closed_fd);
}

PROVOKE(mproc_pipe_recv_size, MPROC_EEOF) {
    return mproc_pipe_recv_size(abandoned(0, READ), &size_seen);
}

PROVOKE(mproc_pipe_recv_size, MPROC_EFRAME) {
    return mproc_pipe_recv_size(stream(0, "\0\0", 2), &size_seen);
}

PROVOKE(mproc_pipe_recv_size, -EINTR) {
    int end = end_of(READ);
    interrupt();
    return mproc_pipe_recv_size(end, &size_seen);
}

PROVOKE(mproc_pipe_recv_size, -EBADF) {
    return mproc_pipe_recv_size(closed_fd, &size_seen);
}

PROVOKE(mproc_pipe_try_size, -EAGAIN) {
    return mproc_pipe_try_size(end_of(READ), &size_seen);
}

PROVOKE(mproc_pipe_try_size, MPROC_EEOF) {
    return mproc_pipe_try_size(abandoned(0, READ), &size_seen);
}

PROVOKE(mproc_pipe_try_size, MPROC_EFRAME) {
    return mproc_pipe_try_size(stream(0, "\0\0", 2), &size_seen);
}

PROVOKE(mproc_pipe_try_size, -EBADF) {
    return mproc_pipe_try_size(closed_fd, &size_seen);
}

PROVOKE(mproc_pipe_recv_body, MPROC_EFRAME) {
    return mproc_pipe_recv_body(abandoned(0, READ), room, sizeof room);
}

PROVOKE(mproc_pipe_recv_body, -EINTR) {
    int end = end_of(READ);
    interrupt();
    return mproc_pipe_recv_body(end, room, sizeof room);
}

PROVOKE(mproc_pipe_recv_body, -EBADF) {
    return mproc_pipe_recv_body(closed_fd, room, sizeof room);
}

PROVOKE(mproc_pipe_poll, -EINTR) {
    int end = end_of(READ);
    interrupt();
    return mproc_pipe_poll(end, without_end);
}

PROVOKE(mproc_pipe_poll, -EBADF) {
    return mproc_pipe_poll(closed_fd, 0);
}

static const int standard_input = 0;

PROVOKE(mproc_pipe_send_fds, -EINVAL) {
    return mproc_pipe_send_fds(end_of(WRITE), &standard_input, 0);
}

PROVOKE(mproc_pipe_send_fds, MPROC_EEOF) {
    return mproc_pipe_send_fds(abandoned(1, WRITE), &standard_input, 1);
}

PROVOKE(mproc_pipe_send_fds, -EINTR) {
    int end = stuffed(1);
    interrupt();
    return mproc_pipe_send_fds(end, &standard_input, 1);
}

PROVOKE(mproc_pipe_send_fds, -EBADF) {
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, 1));
    return mproc_pipe_send_fds(ends[0], &closed_fd, 1);
}

PROVOKE(mproc_pipe_send_fds, -ENOTSOCK) {
    return mproc_pipe_send_fds(end_of(WRITE), &standard_input, 1);
}

static int receive_fds(int end) {
    int fds[4];
    size_t n;
    return mproc_pipe_recv_fds(end, fds, 4, &n);
}

PROVOKE(mproc_pipe_recv_fds, MPROC_EEOF) {
    return receive_fds(abandoned(1, READ));
}

PROVOKE(mproc_pipe_recv_fds, MPROC_EFRAME) {
    return receive_fds(stream(1, "x", 1));
}

PROVOKE(mproc_pipe_recv_fds, -EINTR) {
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, 1));
    interrupt();
    return receive_fds(ends[0]);
}

PROVOKE(mproc_pipe_recv_fds, -EBADF) {
    return receive_fds(closed_fd);
}

PROVOKE(mproc_pipe_recv_fds, -ENOTSOCK) {
    return receive_fds(end_of(READ));
}

static unsigned char ready[4];

PROVOKE(mproc_wait, -EINTR) {
    int end = end_of(READ);
    interrupt();
    return mproc_wait(&end, 1, ready, without_end);
}

PROVOKE(mproc_wait, -EBADF) {
    return mproc_wait(&closed_fd, 1, ready, 0);
}

PROVOKE(mproc_wait, -ENOMEM) {
    return mproc_wait(&closed_fd, SIZE_MAX / 16, ready, 0);
}

PROVOKE(mproc_queue_bound_bytes, -EBUSY) {
    mproc_queue *queue = made_queue(0);
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    return mproc_queue_bound_bytes(queue, 100);
}
