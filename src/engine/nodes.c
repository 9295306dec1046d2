/*
 * nodes.c - the nodes of an engine, as the carrier with rank 0 sees them
 *
 * SPDX-License-Identifier: MIT
 *
 * Node 0 is this machine, whose agent is reached through a queue; the others are ranks of the
 * transport. A node that is lost stays so.
 */
#include "engine/inside.h"

#define PIECES_MOST 8

/* The head, and what follows it. */
static int gather(struct iovec all[PIECES_MOST], const struct mproc__wire *head,
                  const struct iovec *pieces, int n) {
    all[0] = (struct iovec){(void *)(uintptr_t)head, sizeof *head};
    for (int i = 0; i < n; i++) {
        all[i + 1] = pieces[i];
    }
    return n + 1;
}

int mproc__node_send(struct mproc__nodes *nodes, unsigned node, const struct mproc__wire *head,
                     const struct iovec *pieces, int n) {
    assert(n < PIECES_MOST);
    if (nodes->all[node].lost) {
        return MPROC_EDIED;
    }
    struct iovec all[PIECES_MOST];
    int count = gather(all, head, pieces, n);
    return node == 0 ? mproc_queue_putv(nodes->down, all, count, MPROC_FOREVER)
                     : nodes->transport->send(node, all, count);
}

unsigned mproc__nodes_workers(const struct mproc__nodes *nodes) {
    unsigned workers = 0;
    for (unsigned i = 0; i < nodes->n; i++) {
        workers += nodes->all[i].workers;
    }
    return workers;
}
