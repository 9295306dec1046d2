/*
 * bench_watch.c - event loops that talk to each other: round trips by a descriptor
 *
 * SPDX-License-Identifier: MIT
 *
 * Two processes send 16 bytes to and fro. Each sleeps in poll(), as an event loop does, and has one
 * descriptor there: that of a queue, of a pipe, of a Unix datagram socket. A pipe and a socket are
 * the kernel's own, and tell by themselves; a queue that nobody waits for by a descriptor is beside
 * them.
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

#define SIZE 16

static mproc_queue *queues[2]; /* by the side that gets */

static void sleep_at(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    if (poll(&one, 1, -1) != 1) {
        bench_die("poll");
    }
}

static void put(mproc_queue *queue, const char *text) {
    if (mproc_queue_put(queue, text, SIZE, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_put");
    }
}

static int try_get(mproc_queue *queue, int64_t timeout) {
    char room[SIZE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    return mproc_queue_get(queue, &message, timeout);
}

static void get_by_descriptor(mproc_queue *queue) {
    while (try_get(queue, 0) != 0) {
        sleep_at(mproc_queue_fd(queue, MPROC_WATCH_GET));
    }
}

static void get(mproc_queue *queue) {
    if (try_get(queue, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_get");
    }
}

static void talk(void (*take)(mproc_queue *), bool child, uint64_t n) {
    const char text[SIZE] = "";
    for (uint64_t i = 0; i < n; i++) {
        if (!child) {
            put(queues[1], text);
        }
        take(queues[child]);
        if (child) {
            put(queues[0], text);
        }
    }
}

static void by_descriptor(void *arg, bool child, uint64_t n) {
    (void)arg;
    talk(get_by_descriptor, child, n);
}

static void asleep(void *arg, bool child, uint64_t n) {
    (void)arg;
    talk(get, child, n);
}

/* ends[side]: what it reads and what it writes */
struct ends {
    int in[2], out[2];
};

static void exchange(void *arg, bool child, uint64_t n) {
    const struct ends *ends = arg;
    char text[SIZE] = "";
    for (uint64_t i = 0; i < n; i++) {
        if (!child && write(ends->out[0], text, SIZE) != SIZE) {
            bench_die("write");
        }
        sleep_at(ends->in[child]);
        if (read(ends->in[child], text, SIZE) != SIZE ||
            (child && write(ends->out[1], text, SIZE) != SIZE)) {
            bench_die("read");
        }
    }
}

static double run_queue(void *arg, uint64_t n) {
    const struct bench_pair pair = {NULL, by_descriptor, NULL, 0, 1};
    return bench_run_pair(&pair, arg, n);
}

static double run_asleep(void *arg, uint64_t n) {
    const struct bench_pair pair = {NULL, asleep, NULL, 0, 1};
    return bench_run_pair(&pair, arg, n);
}

static double run_ends(void *arg, uint64_t n) {
    const struct bench_pair pair = {NULL, exchange, NULL, 0, 1};
    return bench_run_pair(&pair, arg, n);
}

int main(int argc, char **argv) {
    struct ends pipes, sockets;
    int to[2], from[2], pair[2];
    if (mproc_init(argc, argv) != 0 || mproc_queue_new(&queues[0], 0) != 0 ||
        mproc_queue_new(&queues[1], 0) != 0 || pipe(to) != 0 || pipe(from) != 0 ||
        socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) {
        bench_die("setting up");
    }
    pipes = (struct ends){{from[0], to[0]}, {to[1], from[1]}};
    sockets = (struct ends){{pair[0], pair[1]}, {pair[0], pair[1]}};
    const struct bench_contender contenders[] = {
        {"mproc queue, poll()", run_queue, NULL, true},
        {"mproc queue, asleep in get", run_asleep, NULL, true},
        {"pipe, poll()", run_ends, &pipes, false},
        {"Unix datagrams, poll()", run_ends, &sockets, false},
    };
    const struct bench_table table = {
        "round trip between two event loops",   "us",   1e6,  false, contenders,
        sizeof contenders / sizeof *contenders, {0, 0}, false};
    bench_heading("waiting with a descriptor");
    bench_compare(&table);
    return 0;
}
