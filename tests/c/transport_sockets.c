/*
 * transport_sockets.c - libmproc_sockets: the ranks of an engine are processes of this machine
 *
 * SPDX-License-Identifier: MIT
 *
 * For tests of engines without an MPI. The environment has MPROC_TEST_RANK, MPROC_TEST_RANKS, and
 * MPROC_TEST_DIRECTORY, where rank 0 listens; each other rank is connected to it, and only to it. A
 * message is its size and its bytes. What a socket has no room for waits here. For a message of
 * more than MPROC_TEST_MOST bytes there is no memory.
 */
#define _GNU_SOURCE
#include "engine/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct pending {
    struct pending *next;
    size_t size, done;
    char bytes[];
};

struct peer {
    int fd;
    struct pending *first, **last;
    uint64_t size; /* of the message that is coming */
    size_t head;   /* bytes of its size that have come */
    char *bytes;
    size_t done;
};

static struct peer *peers;
static unsigned rank, ranks;

static struct sockaddr_un address(void) {
    struct sockaddr_un out = {.sun_family = AF_UNIX};
    snprintf(out.sun_path, sizeof out.sun_path, "%s/rank0", getenv("MPROC_TEST_DIRECTORY"));
    return out;
}

static void take(unsigned from, int fd) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    peers[from].fd = fd;
    peers[from].last = &peers[from].first;
}

static int accept_all(void) {
    struct sockaddr_un at = address();
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 64) == 0
                ? 0
                : -errno;
    for (unsigned i = 1; r == 0 && i < ranks; i++) {
        unsigned who = 0;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        r = fd >= 0 && recv(fd, &who, sizeof who, MSG_WAITALL) == sizeof who && who < ranks ? 0
                                                                                            : -EIO;
        if (r == 0) {
            take(who, fd);
        }
    }
    close(listener);
    return r;
}

static int connect_to_first(void) {
    struct sockaddr_un at = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int i = 0; i < 1000; i++) {
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
            take(0, fd);
            return send(fd, &rank, sizeof rank, MSG_NOSIGNAL) == sizeof rank ? 0 : -EIO;
        }
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return -ETIMEDOUT;
}

static int open_sockets(struct mproc__transport_place *out, char *why, size_t size) {
    rank = (unsigned)atoi(getenv("MPROC_TEST_RANK"));
    ranks = (unsigned)atoi(getenv("MPROC_TEST_RANKS"));
    if (getenv("MPROC_TEST_FAILS") != NULL) {
        snprintf(why, size, "it was to fail");
        return -EIO;
    }
    *out = (struct mproc__transport_place){rank, ranks, ranks};
    peers = calloc(ranks, sizeof *peers);
    for (unsigned i = 0; peers != NULL && i < ranks; i++) {
        peers[i].fd = -1;
    }
    snprintf(why, size, "no connection");
    return peers == NULL ? -ENOMEM : rank == 0 ? accept_all() : connect_to_first();
}

static int flush(struct peer *peer) {
    while (peer->first != NULL) {
        struct pending *first = peer->first;
        ssize_t n =
            send(peer->fd, first->bytes + first->done, first->size - first->done, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN ? 0 : -errno;
        }
        first->done += (size_t)n;
        if (first->done == first->size) {
            peer->first = first->next;
            peer->last = peer->first != NULL ? peer->last : &peer->first;
            free(first);
        }
    }
    return 0;
}

static int send_sockets(unsigned to, const struct iovec *pieces, int n) {
    uint64_t total = 0;
    for (int i = 0; i < n; i++) {
        total += pieces[i].iov_len;
    }
    const char *most = getenv("MPROC_TEST_MOST");
    bool large = most != NULL && total > strtoull(most, NULL, 10);
    struct pending *out = large ? NULL : malloc(sizeof *out + sizeof total + total);
    if (out == NULL) {
        return -ENOMEM;
    }
    *out = (struct pending){.size = sizeof total + total};
    char *at = memcpy(out->bytes, &total, sizeof total);
    at += sizeof total;
    for (int i = 0; i < n; i++) {
        if (pieces[i].iov_len != 0) {
            memcpy(at, pieces[i].iov_base, pieces[i].iov_len);
            at += pieces[i].iov_len;
        }
    }
    *peers[to].last = out;
    peers[to].last = &out->next;
    return flush(&peers[to]);
}

/* 1: a whole message has come; 0: not yet; -1: the peer has ended. */
static int read_some(struct peer *peer) {
    for (;;) {
        bool head = peer->head < sizeof peer->size;
        char *to = head ? (char *)&peer->size + peer->head : peer->bytes + peer->done;
        size_t want = head ? sizeof peer->size - peer->head : peer->size - peer->done;
        ssize_t n = want != 0 ? recv(peer->fd, to, want, 0) : 0;
        if (n < 0 || (n == 0 && want != 0)) {
            return n < 0 && errno == EAGAIN ? 0 : -1;
        }
        peer->head += head ? (size_t)n : 0;
        peer->done += head ? 0 : (size_t)n;
        if (head && peer->head == sizeof peer->size) {
            peer->bytes = malloc(peer->size + 1);
            peer->done = 0;
        }
        if (peer->head == sizeof peer->size && peer->done == peer->size) {
            return 1;
        }
    }
}

/* A peer that has ended is as silent as one whose cable was cut. */
static int receive_sockets(unsigned *from, void **bytes, size_t *size) {
    for (unsigned i = 0; i < ranks; i++) {
        struct peer *peer = &peers[i];
        int r = peer->fd >= 0 ? read_some(peer) : 0;
        if (peer->fd >= 0) {
            (void)flush(peer);
        }
        if (r == 1) {
            *from = i;
            *bytes = peer->bytes;
            *size = peer->size;
            peer->bytes = NULL;
            peer->head = peer->done = 0;
            return 1;
        }
        if (r < 0) {
            close(peer->fd);
            peer->fd = -1;
        }
    }
    return 0;
}

static void close_sockets(bool graceful) {
    (void)graceful;
    for (unsigned i = 0; i < ranks; i++) {
        struct peer *peer = &peers[i];
        for (int k = 0; k < 100 && peer->fd >= 0 && peer->first != NULL && flush(peer) == 0; k++) {
            nanosleep(&(struct timespec){0, 10000000}, NULL);
        }
        if (peer->fd >= 0) {
            close(peer->fd);
        }
        while (peer->first != NULL) {
            struct pending *next = peer->first->next;
            free(peer->first);
            peer->first = next;
        }
        free(peer->bytes);
    }
    free(peers);
}

__attribute__((visibility("default"))) const struct mproc__transport *mproc_transport(void);

const struct mproc__transport *mproc_transport(void) {
    static const struct mproc__transport transport = {.version = MPROC__TRANSPORT_VERSION,
                                                      .open = open_sockets,
                                                      .send = send_sockets,
                                                      .receive = receive_sockets,
                                                      .close = close_sockets};
    static const struct mproc__transport other = {.version = MPROC__TRANSPORT_VERSION + 1};
    return getenv("MPROC_TEST_VERSION") != NULL ? &other : &transport;
}
