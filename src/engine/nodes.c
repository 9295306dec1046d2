/*
 * nodes.c - the nodes of an engine, as the carrier with rank 0 sees them
 *
 * SPDX-License-Identifier: MIT
 *
 * Node 0 is this machine, whose agent is reached through a queue; the others are ranks of the
 * transport. A node that is lost stays so.
 */
#include "engine/inside.h"

#include <string.h>

#define PIECES_MOST 8

static int send_here(struct mproc__nodes *nodes, const struct mproc__wire *head,
                     const struct iovec *pieces, int n) {
    struct iovec all[PIECES_MOST] = {{(void *)(uintptr_t)head, sizeof *head}};
    memcpy(all + 1, pieces, (size_t)n * sizeof *pieces);
    return mproc_queue_putv(nodes->down, all, n + 1, MPROC_FOREVER);
}

static int send_there(struct mproc__nodes *nodes, unsigned node, const struct mproc__wire *head,
                      const struct iovec *pieces, int n) {
    struct iovec all[PIECES_MOST] = {{(void *)(uintptr_t)head, sizeof *head}};
    memcpy(all + 1, pieces, (size_t)n * sizeof *pieces);
    return nodes->transport->send(node, all, n + 1);
}

int mproc__node_send(struct mproc__nodes *nodes, unsigned node, const struct mproc__wire *head,
                     const struct iovec *pieces, int n) {
    assert(n < PIECES_MOST);
    if (nodes->all[node].lost) {
        return MPROC_EDIED;
    }
    return nodes->all[node].here ? send_here(nodes, head, pieces, n)
                                 : send_there(nodes, node, head, pieces, n);
}

unsigned mproc__nodes_workers(const struct mproc__nodes *nodes) {
    unsigned workers = 0;
    for (unsigned i = 0; i < nodes->n; i++) {
        workers += nodes->all[i].workers;
    }
    return workers;
}

void mproc__process_finish(mproc_process *owned, int64_t patience) {
    if (owned == NULL) {
        return;
    }
    int r = mproc_process_join(owned, patience);
    if (r != 0) {
        (void)mproc_process_kill(owned);
    }
    while (r != 0 && r != MPROC_ESTRANGER) {
        r = mproc_process_join(owned, MPROC_FOREVER);
    }
    (void)mproc_process_drop(owned);
}
