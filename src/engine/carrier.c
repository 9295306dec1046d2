/*
 * carrier.c - the process that carries messages between the machines of an engine
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each machine has a carrier, a child of the process that called mproc_engine_new(),
 * and an agent, a child of the carrier. The carrier alone uses the transport, with one thread, and
 * forks nothing after the transport has begun: a library such as an MPI minds both. The carrier
 * with rank 0 serves the program's pools (far.c); the others pass on what rank 0 and their agent
 * say to each other.
 *
 * A transport cannot be slept on together with a queue. So the carrier looks at all of its ways;
 * when nothing has come for a while it sleeps on its agent's queue, for a millisecond at most.
 *
 * Ends. A node says something at least once a second. Rank 0 takes a node for lost when it has
 * heard nothing for `silence`, unless it was itself away meanwhile; its tasks fail, and the others
 * go on. A node that hears nothing of rank 0 for three times as long ends. A carrier whose agent
 * has ended says so and ends. If the process that started a carrier dies, the carrier ends with it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/inside.h"
#include "process/process.h"
#include "system/os.h"

#define LOOKS 200 /* without anything to do, before it sleeps */
#define NAP_LEAST (MPROC_MSEC / 20)
#define NAP_MOST MPROC_MSEC
#define AWAY (2 * MPROC_SEC)      /* between two looks: it was stopped, and has heard nobody */
#define QUIT_MOST (5 * MPROC_SEC) /* that an agent has to end */

static const char engine_version = MPROC__WIRE_VERSION; /* its address is this library's */

struct carrier {
    const struct mproc__carrier_arg *arg;
    const struct mproc__transport *transport;
    struct mproc__transport_place place;
    mproc_process *agent;
    struct mproc__nodes nodes;     /* rank 0 */
    struct mproc__far_pools pools; /* rank 0 */
    int64_t now, told, heard;      /* heard: of rank 0, by the others */
    bool begun, ends, broken;
};

/* ---------------------------------------------------------------- news for main */

static int tell_main(const struct carrier *c, int code, const char *why) {
    struct mproc__engine_news news = {.code = code,
                                      .rank = c->place.rank,
                                      .nodes = c->place.ranks,
                                      .workers = mproc__nodes_workers(&c->nodes)};
    snprintf(news.why, sizeof news.why, "%s", why);
    return mproc_queue_put(c->arg->ways.news, &news, sizeof news, MPROC_FOREVER);
}

/* ---------------------------------------------------------------- nodes */

/* CPUs of a machine that several ranks share are dealt out to them. */
static unsigned workers_of(uint64_t said, unsigned ranks_here) {
    uint64_t share = ranks_here > 1 ? said / ranks_here : said;
    return share != 0 ? (unsigned)share : 1;
}

static void greet(struct carrier *c, unsigned node, const struct mproc__wire *head) {
    struct mproc__node *all = c->nodes.all;
    if (all[node].workers == 0 && head->version == MPROC__WIRE_VERSION && head->count != 0) {
        all[node].workers = (unsigned)head->count;
        c->nodes.present++;
    }
}

/* What a node has said to rank 0. */
static void hear(struct carrier *c, unsigned node, const void *bytes, size_t size) {
    const struct mproc__wire *head = bytes;
    if (node >= c->nodes.n || size < sizeof *head) {
        return;
    }
    c->nodes.all[node].heard = c->now;
    switch (head->kind) {
    case MPROC__WIRE_HELLO: greet(c, node, head); break;
    case MPROC__WIRE_LOST: mproc__far_lose(&c->pools, node); break;
    case MPROC__WIRE_REPLY:
        mproc__far_reply(&c->pools, node, head, head + 1, size - sizeof *head);
        break;
    default: break;
    }
}

static void look_at_nodes(struct carrier *c) {
    for (unsigned i = 0; i < c->nodes.n; i++) {
        struct mproc__node *node = &c->nodes.all[i];
        if (!node->lost && c->now - node->heard > c->arg->silence) {
            mproc__far_lose(&c->pools, i);
        }
    }
}

static void forgive(struct carrier *c) {
    for (unsigned i = 0; i < c->nodes.n; i++) {
        c->nodes.all[i].heard = c->now;
    }
    c->heard = c->now;
}

/* ---------------------------------------------------------------- what comes */

/* To rank 0, which this is not. */
static bool say_to_first(const struct carrier *c, const void *bytes, size_t size) {
    const struct iovec piece = {(void *)(uintptr_t)bytes, size};
    return c->transport->send(0, &piece, 1) == 0;
}

/* What rank 0 has said to this node: for its agent. */
static void pass_down(struct carrier *c, const void *bytes, size_t size) {
    const struct mproc__wire *head = bytes;
    c->heard = c->now;
    if (size >= sizeof *head && head->kind == MPROC__WIRE_QUIT) {
        c->ends = true;
    } else if (size >= sizeof *head && head->kind != MPROC__WIRE_BEAT) {
        c->broken = mproc_queue_put(c->arg->ways.down, bytes, size, MPROC_FOREVER) != 0;
    }
}

static bool receive_one(struct carrier *c) {
    unsigned from;
    void *bytes;
    size_t size;
    int r = c->place.ranks > 1 ? c->transport->receive(&from, &bytes, &size) : 0;
    if (r == 1) {
        if (c->place.rank == 0) {
            hear(c, from, bytes, size);
        } else {
            pass_down(c, bytes, size);
        }
        free(bytes);
    }
    c->broken = c->broken || r < 0;
    return r == 1;
}

/* What the agent has said. */
static bool take_one_up(struct carrier *c) {
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    if (mproc_queue_get(c->arg->ways.up, &message, 0) != 0) {
        return false;
    }
    if (c->place.rank == 0) {
        hear(c, 0, message.data, message.size);
    } else {
        bool sent = say_to_first(c, message.data, message.size);
        c->broken = (!sent && !c->ends) || c->broken; /* at the end nobody waits for it */
    }
    mproc_message_drop(&message);
    return true;
}

static void obey(struct carrier *c, const struct mproc__engine_order *order) {
    switch (order->kind) {
    case MPROC__ORDER_POOL:
        if (mproc__far_new(&c->pools, order) != 0) {
            c->broken = true; /* without memory for that, main is told by the end of this process */
        }
        break;
    case MPROC__ORDER_DROP: mproc__far_drop(&c->pools, order->pool); break;
    case MPROC__ORDER_KILL: mproc__far_kill(&c->pools, order->pool, order->seat); break;
    case MPROC__ORDER_QUIT: c->ends = true; break;
    default: break;
    }
}

static bool take_one_order(struct carrier *c) {
    struct mproc__engine_order order;
    mproc_message message = MPROC_MESSAGE_INIT(&order, sizeof order);
    if (mproc_queue_get(c->arg->ways.orders, &message, 0) != 0) {
        return false;
    }
    obey(c, message.data);
    mproc_message_drop(&message);
    return true;
}

/* ---------------------------------------------------------------- time */

/* Rank 0 to all others; of this machine the agent's own beats are known. */
static void say_to_others(struct carrier *c, uint32_t kind) {
    const struct mproc__wire head = {.kind = kind};
    for (unsigned i = 1; c->place.rank == 0 && i < c->nodes.n; i++) {
        (void)mproc__node_send(&c->nodes, i, &head, NULL, 0);
    }
}

static void say_lost(struct carrier *c) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_LOST};
    if (c->place.rank == 0) {
        mproc__far_lose(&c->pools, 0);
    } else {
        (void)say_to_first(c, &head, sizeof head);
        c->ends = c->broken = true;
    }
}

static void look_at_agent(struct carrier *c) {
    int code;
    bool known = c->place.rank == 0 && c->nodes.all[0].lost;
    if (!known && mproc_process_exitcode(c->agent, &code) != -EAGAIN) {
        say_lost(c);
    }
}

/* Once a second. */
static void look_around(struct carrier *c) {
    bool away = c->now - c->told > AWAY;
    c->told = c->now;
    if (away) {
        forgive(c);
    }
    say_to_others(c, MPROC__WIRE_BEAT);
    look_at_agent(c);
    if (c->place.rank == 0) {
        look_at_nodes(c);
        c->ends = c->ends || c->nodes.present == 0;
    } else if (c->now - c->heard > 3 * c->arg->silence) {
        c->ends = c->broken = true;
    }
}

/* ---------------------------------------------------------------- the loop */

static bool work(struct carrier *c) {
    bool worked = false;
    for (int i = 0; i < 64 && receive_one(c); i++) {
        worked = true;
    }
    for (int i = 0; i < 64 && take_one_up(c); i++) {
        worked = true;
    }
    if (c->place.rank == 0 && c->begun) {
        while (take_one_order(c)) {
            worked = true;
        }
        worked = mproc__far_feed(&c->pools) || worked;
    }
    c->now = mproc__os_now();
    if (c->begun && c->now - c->told >= MPROC__BEAT) {
        look_around(c);
    }
    return worked;
}

/* True: the agent has said something. */
static bool nap(const struct carrier *c, int64_t most) {
    return mproc_queue_wait(c->arg->ways.up, most) == 0;
}

static void rest(const struct carrier *c, unsigned idle) {
    int64_t most = NAP_LEAST << (idle - LOOKS < 5 ? idle - LOOKS : 5);
    if (idle < LOOKS) {
        mproc__os_yield();
    } else {
        (void)nap(c, most < NAP_MOST ? most : NAP_MOST);
    }
}

/* Rank 0 may have left before the last words of this node's agent could be sent to it: then it has
 * said so. */
static void hear_the_last(struct carrier *c) {
    if (c->place.rank == 0 || c->ends || !c->broken) {
        return;
    }
    while (!c->ends && receive_one(c)) {
    }
    c->broken = !c->ends;
}

/* Works once, or rests. *idle: how often in turn there was nothing to do. */
static void turn(struct carrier *c, unsigned *idle) {
    *idle = work(c) ? 0 : *idle + 1;
    if (*idle > 0) {
        rest(c, *idle);
    }
}

static void carry(struct carrier *c) {
    unsigned idle = 0;
    while (!c->ends && !c->broken) {
        turn(c, &idle);
    }
    hear_the_last(c);
}

/* ---------------------------------------------------------------- beginning */

static int start_agent(struct carrier *c) {
    const mproc_process_options options = {.name = "mproc-agent"};
    return mproc_process_start(&c->agent, mproc__agent_main, &c->arg->ways, sizeof c->arg->ways,
                               &options);
}

/* In the directory of this library, where it was installed. Global, for an MPI loads parts of its
 * own that look for its names. NULL: there is none. */
static void *open_beside(const char *file) {
    char path[4096];
    Dl_info self;
    if (dladdr((void *)(uintptr_t)&engine_version, &self) == 0 || self.dli_fname == NULL) {
        return NULL;
    }
    const char *slash = strrchr(self.dli_fname, '/');
    int n = slash != NULL ? (int)(slash - self.dli_fname) : 0;
    snprintf(path, sizeof path, "%.*s/%s", n, self.dli_fname, file);
    return slash != NULL ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL;
}

static int load(struct carrier *c, char *why, size_t size) {
    char file[96];
    snprintf(file, sizeof file, "libmproc_%s.so", c->arg->name);
    void *library = open_beside(file);
    library = library != NULL ? library : dlopen(file, RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        snprintf(why, size, "%s", dlerror());
        return MPROC_EENGINE;
    }
    mproc__transport_fn get = NULL;
    *(void **)&get = dlsym(library, "mproc_transport");
    c->transport = get != NULL ? get() : NULL;
    if (c->transport == NULL || c->transport->version != MPROC__TRANSPORT_VERSION) {
        snprintf(why, size, "%s belongs to another version of mproc", file);
        return MPROC_EENGINE;
    }
    return 0;
}

static int make_nodes(struct carrier *c) {
    unsigned n = c->place.ranks;
    c->nodes = (struct mproc__nodes){.transport = c->transport, .down = c->arg->ways.down, .n = n};
    c->nodes.all = calloc(n, sizeof *c->nodes.all);
    c->pools.nodes = &c->nodes;
    return c->nodes.all != NULL ? 0 : -ENOMEM;
}

/* This node is ready. */
static void say_hello(struct carrier *c) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_HELLO,
                                     .version = MPROC__WIRE_VERSION,
                                     .count = workers_of(mproc__default_workers(), c->place.here)};
    if (c->place.rank == 0) {
        hear(c, 0, &head, sizeof head);
    } else {
        c->broken = !say_to_first(c, &head, sizeof head);
    }
}

/* Rank 0: all nodes have come, or one has not. */
static int await_nodes(struct carrier *c, char *why, size_t size) {
    int64_t end = mproc__os_now() + c->arg->patience;
    unsigned idle = 0, missing = 0;
    while (c->nodes.present < c->nodes.n && !c->broken && c->now < end) {
        turn(c, &idle);
    }
    while (missing < c->nodes.n && c->nodes.all[missing].workers != 0) {
        missing++;
    }
    if (missing < c->nodes.n) {
        snprintf(why, size, "node %u of %u has not come within %.0f s", missing, c->nodes.n,
                 (double)c->arg->patience / 1e9);
        return MPROC_EENGINE;
    }
    return 0;
}

static int begin(struct carrier *c, char *why, size_t size) {
    snprintf(why, size, "no memory, or no process");
    int r = start_agent(c);
    r = r == 0 ? load(c, why, size) : r;
    r = r == 0 ? c->transport->open(&c->place, why, size) : r;
    r = r == 0 ? make_nodes(c) : r;
    if (r != 0) {
        return r;
    }
    c->now = mproc__os_now();
    say_hello(c);
    r = c->place.rank == 0 ? await_nodes(c, why, size) : 0;
    c->now = c->told = mproc__os_now();
    forgive(c);
    c->begun = r == 0;
    return r;
}

/* ---------------------------------------------------------------- the end */

static void end_agent(struct carrier *c) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_QUIT};
    int r = mproc_queue_put(c->arg->ways.down, &head, sizeof head, MPROC_FOREVER);
    mproc__process_finish(c->agent, r == 0 ? QUIT_MOST : 0);
    (void)mproc_process_drop(c->agent);
}

static bool some_are_lost(const struct carrier *c) {
    return c->broken || c->nodes.present < c->nodes.n;
}

int mproc__carrier_main(void *arg, size_t size) {
    struct carrier c = {.arg = arg};
    char why[160] = "";
    assert(size == sizeof *c.arg);
    (void)size;
    int r = begin(&c, why, sizeof why);
    if (tell_main(&c, r, why) == 0 && r == 0) {
        carry(&c);
        say_to_others(&c, MPROC__WIRE_QUIT);
    }
    if (c.agent != NULL) {
        end_agent(&c);
    }
    bool graceful = r == 0 && (c.place.rank == 0 ? !some_are_lost(&c) : !c.broken);
    if (c.transport != NULL && c.begun) {
        c.transport->close(graceful);
    }
    free(c.nodes.all);
    return r == 0 && !c.broken ? 0 : 1;
}
