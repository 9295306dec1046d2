/*
 * errors_channel.c - errors of channels
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "errors.h"

#include <fcntl.h>
#include <sys/uio.h>

static const int closed_fd = CLOSED_FD;
static mproc_channel *channel;
static int ends[2];
static char room[64];
static size_t size_seen;

/* ---------------------------------------------------------------- channels */

static void make(int duplex) {
    CHECK_OK(mproc_channel_new(&channel, ends, duplex));
}

/* From then on side 1 - side sends into the ring. */
static void invite(int side) {
    CHECK_EQ(mproc_channel_try_recv(channel, side, ends[side], room, sizeof room, &size_seen),
             -EAGAIN);
}

static void send_to(int side) {
    CHECK_OK(mproc_channel_send(channel, side, ends[side], "x", 1));
}

/* There is a message from side 1 in the ring. */
static void filled(int duplex) {
    make(duplex);
    invite(0);
    send_to(1);
}

/* Nothing more goes into it. */
static void stuffed(void) {
    static char bytes[4096];
    make(0);
    invite(0);
    CHECK_OK(mproc_channel_plain(channel, 1, ends[1]));
    CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    while (write(ends[1], bytes, sizeof bytes) > 0 || write(ends[1], bytes, 1) > 0) {
    }
}

/* Both ways are in the ring, side 1 has left, and there is no number for another descriptor. */
static void left_without_descriptors(void) {
    make(1);
    invite(0);
    invite(1);
    send_to(0);
    send_to(1);
    mproc_channel_leave(channel, 1);
    no_descriptors();
}

static int send_x(int side, int end) {
    return mproc_channel_send(channel, side, end, "x", 1);
}

static int sendv_x(int side, int end) {
    struct iovec piece = {(char *)"x", 1};
    return mproc_channel_sendv(channel, side, end, &piece, 1);
}

static int recv_at(int side, int end) {
    return mproc_channel_recv(channel, side, end, room, sizeof room, &size_seen);
}

static int try_recv_at(int side, int end) {
    return mproc_channel_try_recv(channel, side, end, room, sizeof room, &size_seen);
}

/* ---------------------------------------------------------------- lines */

static int new_channel(int duplex) {
    return mproc_channel_new(&channel, ends, duplex);
}

PROVOKE(mproc_channel_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return new_channel(1);
}

PROVOKE(mproc_channel_new, -EMFILE) {
    begin();
    no_descriptors();
    return new_channel(1);
}

PROVOKE(mproc_channel_new, -ENFILE) {
    begin();
    deny(SYS_pipe2, -1, ENFILE);
    return new_channel(0);
}

PROVOKE(mproc_channel_send, MPROC_EEOF) {
    filled(1);
    mproc_channel_leave(channel, 0);
    close(ends[0]);
    return send_x(1, ends[1]);
}

PROVOKE(mproc_channel_send, -EINTR) {
    stuffed();
    interrupt();
    return send_x(1, ends[1]);
}

PROVOKE(mproc_channel_send, -EINVAL) {
    make(0);
    return mproc_channel_send(channel, 1, ends[1], "x", SIZE_MAX / 2 + 1);
}

PROVOKE(mproc_channel_send, -EMFILE) {
    left_without_descriptors();
    return send_x(0, ends[0]);
}

PROVOKE(mproc_channel_send, -EBADF) {
    make(0);
    return send_x(1, closed_fd);
}

PROVOKE(mproc_channel_sendv, MPROC_EEOF) {
    make(0);
    close(ends[0]);
    return sendv_x(1, ends[1]);
}

PROVOKE(mproc_channel_sendv, -EINTR) {
    stuffed();
    interrupt();
    return sendv_x(1, ends[1]);
}

PROVOKE(mproc_channel_sendv, -EINVAL) {
    make(0);
    return mproc_channel_sendv(channel, 1, ends[1], NULL, -1);
}

PROVOKE(mproc_channel_sendv, -EMFILE) {
    left_without_descriptors();
    return sendv_x(0, ends[0]);
}

PROVOKE(mproc_channel_sendv, -EBADF) {
    make(0);
    return sendv_x(1, closed_fd);
}

static int send_buffer(int side, int end, int n) {
    struct iovec piece = {(char *)"x", 1};
    mproc_buffer *buffer = made_buffer(10);
    return mproc_channel_send_with(channel, side, end, &piece, n, &buffer, 1);
}

PROVOKE(mproc_channel_send_with, -EAGAIN) {
    make(1);
    return send_buffer(1, ends[1], 1);
}

PROVOKE(mproc_channel_send_with, -ENOMEM) {
    begin_small();
    mproc_buffer *buffer = made_buffer(10);
    make(1);
    invite(0);
    fill_arena();
    return mproc_channel_send_with(channel, 1, ends[1], NULL, 0, &buffer, 1);
}

PROVOKE(mproc_channel_send_with, MPROC_EEOF) {
    filled(1);
    mproc_channel_leave(channel, 0);
    close(ends[0]);
    return send_buffer(1, ends[1], 1);
}

PROVOKE(mproc_channel_send_with, -EINTR) {
    make(1);
    invite(0);
    interrupt();
    return send_buffer(1, ends[1], 1);
}

PROVOKE(mproc_channel_send_with, -EINVAL) {
    make(1);
    return send_buffer(1, ends[1], -1);
}

PROVOKE(mproc_channel_send_with, -EMFILE) {
    left_without_descriptors();
    return send_buffer(0, ends[0], 1);
}

PROVOKE(mproc_channel_send_with, -EBADF) {
    left_without_descriptors();
    return send_buffer(0, closed_fd, 1);
}

static int give_buffer(mproc_buffer *buffer) {
    uint64_t name;
    return mproc_channel_give(channel, 1, &buffer, 1, &name);
}

PROVOKE(mproc_channel_give, -EAGAIN) {
    make(1);
    CHECK_OK(mproc_channel_plain(channel, 0, ends[0]));
    return give_buffer(made_buffer(10));
}

PROVOKE(mproc_channel_give, -ENOMEM) {
    begin_small();
    mproc_buffer *buffer = made_buffer(10);
    make(1);
    fill_arena();
    return give_buffer(buffer);
}

PROVOKE(mproc_channel_give, -EINVAL) {
    uint64_t name;
    make(1);
    return mproc_channel_give(channel, 1, NULL, 0, &name);
}

PROVOKE(mproc_channel_fetch, -ENOENT) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    make(1);
    return mproc_channel_fetch(channel, 1, &m);
}

PROVOKE(mproc_channel_try_sendv, -EAGAIN) {
    make(0);
    return mproc_channel_try_sendv(channel, 1, ends[1], NULL, 0);
}

PROVOKE(mproc_channel_try_sendv, -EINVAL) {
    make(0);
    return mproc_channel_try_sendv(channel, 1, ends[1], NULL, -1);
}

PROVOKE(mproc_channel_recv, MPROC_EEOF) {
    make(0);
    close(ends[1]);
    return recv_at(0, ends[0]);
}

PROVOKE(mproc_channel_recv, MPROC_EFRAME) {
    make(0);
    CHECK_EQ(write(ends[1], "\0\0", 2), 2);
    close(ends[1]);
    return recv_at(0, ends[0]);
}

PROVOKE(mproc_channel_recv, -EINTR) {
    make(0);
    interrupt();
    return recv_at(0, ends[0]);
}

PROVOKE(mproc_channel_recv, -EBADF) {
    make(0);
    return recv_at(0, closed_fd);
}

PROVOKE(mproc_channel_try_recv, -EAGAIN) {
    make(0);
    return try_recv_at(0, ends[0]);
}

PROVOKE(mproc_channel_try_recv, MPROC_EEOF) {
    make(0);
    close(ends[1]);
    return try_recv_at(0, ends[0]);
}

PROVOKE(mproc_channel_try_recv, MPROC_EFRAME) {
    make(0);
    CHECK_EQ(write(ends[1], "\0\0", 2), 2);
    close(ends[1]);
    return try_recv_at(0, ends[0]);
}

PROVOKE(mproc_channel_try_recv, -EBADF) {
    make(0);
    return try_recv_at(0, closed_fd);
}

static mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);

static int recv_message_at(int side, int end) {
    return mproc_channel_recv_message(channel, side, end, &message);
}

static int try_recv_message_at(int side, int end) {
    return mproc_channel_try_recv_message(channel, side, end, &message);
}

/* The other side ends in the middle of a message. */
static void broken_off(void) {
    make(0);
    CHECK_EQ(write(ends[1], "\0\0", 2), 2);
    close(ends[1]);
}

PROVOKE(mproc_channel_recv_message, MPROC_EEOF) {
    make(0);
    close(ends[1]);
    return recv_message_at(0, ends[0]);
}

PROVOKE(mproc_channel_recv_message, MPROC_EFRAME) {
    broken_off();
    return recv_message_at(0, ends[0]);
}

PROVOKE(mproc_channel_recv_message, -EINTR) {
    make(0);
    interrupt();
    return recv_message_at(0, ends[0]);
}

PROVOKE(mproc_channel_recv_message, -EBADF) {
    make(0);
    return recv_message_at(0, closed_fd);
}

PROVOKE(mproc_channel_try_recv_message, -EAGAIN) {
    make(0);
    return try_recv_message_at(0, ends[0]);
}

PROVOKE(mproc_channel_try_recv_message, MPROC_EEOF) {
    make(0);
    close(ends[1]);
    return try_recv_message_at(0, ends[0]);
}

PROVOKE(mproc_channel_try_recv_message, MPROC_EFRAME) {
    broken_off();
    return try_recv_message_at(0, ends[0]);
}

PROVOKE(mproc_channel_try_recv_message, -EBADF) {
    make(0);
    return try_recv_message_at(0, closed_fd);
}

PROVOKE(mproc_channel_poll, -EINTR) {
    make(0);
    interrupt();
    return mproc_channel_poll(channel, 0, ends[0], without_end);
}

PROVOKE(mproc_channel_poll, -EBADF) {
    make(0);
    return mproc_channel_poll(channel, 0, closed_fd, 0);
}

PROVOKE(mproc_channel_look, -EBADF) {
    filled(1);
    CHECK_OK(try_recv_at(0, ends[0]));
    return mproc_channel_look(channel, 0, closed_fd);
}

PROVOKE(mproc_channel_plain, -EMFILE) {
    filled(1);
    no_descriptors();
    return mproc_channel_plain(channel, 0, ends[0]);
}

PROVOKE(mproc_channel_plain, -EBADF) {
    filled(1);
    return mproc_channel_plain(channel, 0, closed_fd);
}

PROVOKE(mproc_channel_plain, -EACCES) {
    filled(0);
    deny(SYS_openat, -1, EACCES);
    return mproc_channel_plain(channel, 0, ends[0]);
}

PROVOKE(mproc_channel_plain, -ENOENT) {
    filled(0);
    deny(SYS_openat, -1, ENOENT);
    return mproc_channel_plain(channel, 0, ends[0]);
}

PROVOKE(mproc_channel_check, MPROC_ECORRUPT) {
    return mproc_channel_check((mproc_channel *)(void *)made_lock(0), NULL, 0);
}
