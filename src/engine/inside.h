/*
 * inside.h - the inside of engines: what the files of this folder share
 *
 * SPDX-License-Identifier: MIT
 *
 * How an engine works stands in engine.c. The files, lower ones first: nodes.c, which nodes there
 * are and how to reach them; far.c, the tasks of pools that are out on nodes; agent.c, a node's
 * own side; carrier.c, the process that carries messages; engine.c, the functions of mproc.h.
 */
#ifndef MPROC_ENGINE_INSIDE_H
#define MPROC_ENGINE_INSIDE_H

#include "engine/transport.h"
#include "engine/wire.h"
#include "pool/engine.h"

#define MPROC__BEAT MPROC_SEC /* between two signs of life */

/* What the processes of one machine share, by copies of these pointers. */
struct mproc__engine_ways {
    mproc_queue *orders; /* main to carrier */
    mproc_queue *news;   /* carrier to main */
    mproc_queue *down;   /* carrier to agent */
    mproc_queue *up;     /* agent to carrier */
};

/* What the carrier tells main once. */
struct mproc__engine_news {
    int32_t code; /* 0: it has begun */
    uint32_t rank, nodes, workers;
    char why[160];
};

/* What a carrier is started with. */
struct mproc__carrier_arg {
    struct mproc__engine_ways ways;
    int64_t patience, silence;
    char name[64];
};

/* ---- nodes.c; of the carrier with rank 0 */

/* Number 0 is this machine. */
struct mproc__node {
    bool lost;
    unsigned workers; /* 0: it has not come yet */
    int64_t heard;    /* when */
};

struct mproc__nodes {
    const struct mproc__transport *transport;
    mproc_queue *down;
    struct mproc__node *all;
    unsigned n, present;
};

int mproc__node_send(struct mproc__nodes *nodes, unsigned node, const struct mproc__wire *head,
                     const struct iovec *pieces, int n);
unsigned mproc__nodes_workers(const struct mproc__nodes *nodes);

/* ---- far.c; of the carrier with rank 0 */

struct mproc__far;

struct mproc__far_pools {
    struct mproc__nodes *nodes;
    struct mproc__far *first;
};

/* A pool of main's begins; -ENOMEM. */
int mproc__far_new(struct mproc__far_pools *pools, const struct mproc__engine_order *order);
/* It ends: nothing is written to its memory any more. */
void mproc__far_drop(struct mproc__far_pools *pools, uint32_t pool);
/* The task in that seat is to end. */
void mproc__far_kill(struct mproc__far_pools *pools, uint32_t pool, uint32_t seat);
/* Sends what workers have room for. True: there was something. */
bool mproc__far_feed(struct mproc__far_pools *pools);
/* What a node has said; `head` is followed by `size` bytes. */
void mproc__far_reply(struct mproc__far_pools *pools, unsigned node, const struct mproc__wire *head,
                      const void *bytes, size_t size);
/* The node is lost, and what it had fails. */
void mproc__far_lose(struct mproc__far_pools *pools, unsigned node);

/* ---- agent.c */

int mproc__agent_main(void *arg, size_t size);

/* ---- carrier.c */

int mproc__carrier_main(void *arg, size_t size);

#endif
