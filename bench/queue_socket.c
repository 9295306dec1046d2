/*
 * queue_socket.c - the queue's peers socketpair(): datagrams, and a stream with lengths in it
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel.h"

static int sockets[2]; /* the child's end, the parent's end */

static int end_of(int way, bool putting) {
    return sockets[(way == CHANNEL_UP) == putting ? 0 : 1];
}

static const char *open_sockets(int type) {
    return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sockets) == 0 ? NULL : "socketpair failed";
}

static const char *open_datagram(size_t size) {
    if (size > 65536) {
        return "its messages are smaller (the socket's buffer)";
    }
    return open_sockets(SOCK_DGRAM);
}

static void put_datagram(int way, const void *lent, size_t size) {
    if (send(end_of(way, true), lent, size, 0) != (ssize_t)size) {
        bench_die("send");
    }
}

static void get_datagram(int way, void *room, size_t size) {
    if (recv(end_of(way, false), room, size, 0) != (ssize_t)size) {
        bench_die("recv");
    }
}

static const char *open_stream(size_t size) {
    (void)size;
    return open_sockets(SOCK_STREAM);
}

/* Messages in a stream need a length before them. */
static void put_stream(int way, const void *lent, size_t size) {
    uint32_t length = (uint32_t)size;
    struct iovec pieces[2] = {{&length, sizeof length}, {(void *)(uintptr_t)lent, size}};
    size_t left = size + sizeof length;
    ssize_t n = writev(end_of(way, true), pieces, 2);
    while (n > 0 && (left -= (size_t)n) > 0) {
        n = write(end_of(way, true), (const char *)lent + (size - left), left);
    }
    if (n <= 0) {
        bench_die("writev");
    }
}

static void get_stream(int way, void *room, size_t size) {
    uint32_t length;
    int fd = end_of(way, false);
    if (recv(fd, &length, sizeof length, MSG_WAITALL) != sizeof length || length != size ||
        recv(fd, room, size, MSG_WAITALL) != (ssize_t)size) {
        bench_die("recv");
    }
}

static void close_sockets(void) {
    close(sockets[0]);
    close(sockets[1]);
}

const struct channel channel_datagram = {"Unix datagram socketpair",
                                         open_datagram,
                                         NULL,
                                         put_datagram,
                                         get_datagram,
                                         NULL,
                                         close_sockets,
                                         NULL};
const struct channel channel_stream = {
    "Unix stream socketpair", open_stream, NULL, put_stream, get_stream, NULL, close_sockets, NULL};
