/*
 * queue_zmq.c - the queue's peer ZeroMQ: a PAIR over ipc, a Unix socket with two threads; or a mesh
 * of PUSH and PULL, in which each producer is connected with each consumer
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <unistd.h>

#include "channel.h"

#if BENCH_ZMQ
#include <zmq.h>

static char address[64];
static void *context, *socket_;

static const char *open_zmq(size_t size) {
    (void)size;
    snprintf(address, sizeof address, "ipc://@mproc-bench-%d", (int)getpid());
    return NULL;
}

/* A context does not survive fork(): each side makes its own. */
static void enter_zmq(bool child) {
    context = zmq_ctx_new();
    socket_ = zmq_socket(context, ZMQ_PAIR);
    int depth = CHANNEL_DEPTH;
    zmq_setsockopt(socket_, ZMQ_SNDHWM, &depth, sizeof depth);
    zmq_setsockopt(socket_, ZMQ_RCVHWM, &depth, sizeof depth);
    if ((child ? zmq_connect(socket_, address) : zmq_bind(socket_, address)) != 0) {
        bench_die("zmq: connect or bind");
    }
}

static void put_zmq(int way, const void *lent, size_t size) {
    (void)way;
    if (zmq_send(socket_, lent, size, 0) != (int)size) {
        bench_die("zmq_send");
    }
}

static void get_zmq(int way, void *room, size_t size) {
    (void)way;
    if (zmq_recv(socket_, room, size, 0) != (int)size) {
        bench_die("zmq_recv");
    }
}

static void leave_zmq(bool child) {
    (void)child;
    zmq_close(socket_);
    zmq_ctx_term(context);
}

static void close_zmq(void) {
}

const struct channel channel_zmq = {"ZeroMQ ipc", open_zmq,  enter_zmq, put_zmq,
                                    get_zmq,      leave_zmq, close_zmq, NULL};

/* ---------------------------------------------------------------- a mesh */

static unsigned mesh; /* counts those that were opened: an address is used once */

static const char *open_mesh(size_t size) {
    (void)size;
    mesh++;
    return NULL;
}

static void bind_or_connect(bool producer, unsigned consumer) {
    snprintf(address, sizeof address, "ipc://@mproc-bench-%d-%u-%u", (int)getppid(), mesh,
             consumer);
    if ((producer ? zmq_connect(socket_, address) : zmq_bind(socket_, address)) != 0) {
        bench_die("zmq: connect or bind");
    }
}

static void enter_mesh(bool producer, unsigned index, unsigned consumers) {
    int depth = CHANNEL_DEPTH, when_connected = 1;
    context = zmq_ctx_new();
    socket_ = zmq_socket(context, producer ? ZMQ_PUSH : ZMQ_PULL);
    zmq_setsockopt(socket_, ZMQ_SNDHWM, &depth, sizeof depth);
    zmq_setsockopt(socket_, ZMQ_RCVHWM, &depth, sizeof depth);
    zmq_setsockopt(socket_, ZMQ_IMMEDIATE, &when_connected, sizeof when_connected);
    for (unsigned i = 0; producer && i < consumers; i++) {
        bind_or_connect(true, i);
    }
    if (!producer) {
        bind_or_connect(false, index);
    }
}

const struct channel channel_zmq_mesh = {
    .name = "ZeroMQ ipc, PUSH and PULL",
    .open = open_mesh,
    .put = put_zmq,
    .get = get_zmq,
    .close = close_zmq,
    .enter_crowd = enter_mesh,
};
#else
static const char *absent(size_t size) {
    (void)size;
    return "libzmq3-dev was not there when this was built";
}

const struct channel channel_zmq = {.name = "ZeroMQ ipc", .open = absent};
const struct channel channel_zmq_mesh = {.name = "ZeroMQ ipc, PUSH and PULL", .open = absent};
#endif
