/*
 * ledger.c - the members that take part: a growing list of entries inside an object
 *
 * SPDX-License-Identifier: MIT
 *
 * If a member dies here: a page is in its hand until it is the last page's `next`
 * (mproc__hand_move).
 */
#include "core/ledger.h"

#include <string.h>

#include "core/heap.h"

struct mproc__entry *mproc__ledger_free(struct mproc__ledger *ledger) {
    struct mproc__cursor c = mproc__ledger_start(ledger);
    struct mproc__entry *e = mproc__ledger_next(&c);
    /* SYNC(entry.token): its owner has done with the fields, before they are another's. */
    while (e != NULL && mproc__load64(&e->token) != 0) {
        e = mproc__ledger_next(&c);
    }
    return e;
}

static uint64_t *last_link(struct mproc__ledger *ledger) {
    uint64_t *link = &ledger->next;
    while (mproc__load64(link) != 0) {
        link = &((struct mproc__ledger *)(uintptr_t)*link)->next;
    }
    return link;
}

int mproc__ledger_grow(struct mproc__ledger *ledger) {
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__heap_alloc(hand, sizeof *ledger, &hand->block);
    if (r == 0) {
        memset((void *)(uintptr_t)hand->block, 0, sizeof *ledger);
        mproc__program_order();
        mproc__hand_move(hand, &hand->block, last_link(ledger));
    }
    mproc__hand_put(hand);
    return r;
}

void mproc__ledger_destroy(struct mproc__hand *hand, struct mproc__ledger *ledger) {
    while (ledger->next != 0) {
        uint64_t *link = &ledger->next;
        uint64_t *after = &((struct mproc__ledger *)(uintptr_t)*link)->next;
        while (*after != 0) {
            link = after;
            after = &((struct mproc__ledger *)(uintptr_t)*link)->next;
        }
        mproc__heap_free(hand, link);
    }
}
