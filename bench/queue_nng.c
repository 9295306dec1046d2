/*
 * queue_nng.c - the queue's peer nng: a pair over a Unix socket, with threads; or a mesh of push
 * and pull, in which each producer is connected with each consumer
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <unistd.h>

#include "channel.h"

#if BENCH_NNG
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>

static char address[64];
static nng_socket socket_;

static const char *open_nng(size_t size) {
    (void)size;
    snprintf(address, sizeof address, "abstract://mproc-bench-nng-%d", (int)getpid());
    return NULL;
}

static void set_depth(void) {
    (void)nng_socket_set_int(socket_, NNG_OPT_SENDBUF, CHANNEL_DEPTH);
    (void)nng_socket_set_int(socket_, NNG_OPT_RECVBUF, CHANNEL_DEPTH);
    (void)nng_socket_set_size(socket_, NNG_OPT_RECVMAXSZ, 0);
}

static void bind_or_connect(bool binds) {
    int flags = binds ? 0 : NNG_FLAG_NONBLOCK; /* such a dialer tries until somebody listens */
    int r = binds ? nng_listen(socket_, address, NULL, 0) : nng_dial(socket_, address, NULL, flags);
    if (r != 0) {
        bench_die(nng_strerror(r));
    }
}

/* Each side makes its own socket after the fork, which its threads would not survive. */
static void enter_nng(bool child) {
    if (nng_pair0_open(&socket_) != 0) {
        bench_die("nng_pair0_open");
    }
    set_depth();
    bind_or_connect(!child);
}

static void put_nng(int way, const void *lent, size_t size) {
    (void)way;
    if (nng_send(socket_, (void *)(uintptr_t)lent, size, 0) != 0) {
        bench_die("nng_send");
    }
}

static void get_nng(int way, void *room, size_t size) {
    size_t got = size;
    (void)way;
    if (nng_recv(socket_, room, &got, 0) != 0 || got != size) {
        bench_die("nng_recv");
    }
}

static void leave_nng(bool child) {
    (void)child;
    nng_close(socket_);
}

static void close_nng(void) {
}

const struct channel channel_nng = {
    .name = "nng pair",
    .open = open_nng,
    .enter = enter_nng,
    .put = put_nng,
    .get = get_nng,
    .leave = leave_nng,
    .close = close_nng,
};

/* ---------------------------------------------------------------- a mesh */

static unsigned mesh; /* counts those that were opened: an address is used once */

static const char *open_mesh(size_t size) {
    (void)size;
    mesh++;
    return NULL;
}

static void enter_mesh(bool producer, unsigned index, unsigned consumers) {
    int r = producer ? nng_push0_open(&socket_) : nng_pull0_open(&socket_);
    if (r != 0) {
        bench_die(nng_strerror(r));
    }
    set_depth();
    for (unsigned i = 0; i < consumers; i++) {
        if (producer || i == index) {
            snprintf(address, sizeof address, "abstract://mproc-bench-nng-%d-%u-%u", (int)getppid(),
                     mesh, i);
            bind_or_connect(!producer);
        }
    }
}

const struct channel channel_nng_mesh = {
    .name = "nng, push and pull",
    .open = open_mesh,
    .put = put_nng,
    .get = get_nng,
    .close = close_nng,
    .enter_crowd = enter_mesh,
};
#else
static const char *absent(size_t size) {
    (void)size;
    return "libnng-dev was not there when this was built";
}

const struct channel channel_nng = {.name = "nng pair", .open = absent};
const struct channel channel_nng_mesh = {.name = "nng, push and pull", .open = absent};
#endif
