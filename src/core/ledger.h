/*
 * ledger.h - the members that take part: a growing list of entries inside an object
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LEDGER_H
#define MPROC_LEDGER_H

#include "system/atomic.h"
#include "system/base.h"

#define MPROC__LEDGER_PAGE 6 /* few objects have more parties at a time */

/* What the fields but `token` mean is the object's to say. */
struct mproc__entry {
    uint64_t token; /* of the member; 0: free */
    uint64_t number;
    uint64_t seen;
    uint32_t word;
    uint32_t pad;
};

/* The first page stands in the object, the others are blocks. They stay until the object goes, so
 * an entry's address is good for as long. */
struct mproc__ledger {
    uint64_t next; /* struct mproc__ledger *; 0: the last page */
    uint64_t pad;
    struct mproc__entry entries[MPROC__LEDGER_PAGE];
};

/* Goes through all entries: for (c = start; (e = next(&c)) != NULL;) */
struct mproc__cursor {
    struct mproc__ledger *page;
    unsigned i;
};

static inline struct mproc__cursor mproc__ledger_start(struct mproc__ledger *ledger) {
    return (struct mproc__cursor){ledger, 0};
}

static inline struct mproc__entry *mproc__ledger_next(struct mproc__cursor *c) {
    if (c->i == MPROC__LEDGER_PAGE) {
        c->page = (struct mproc__ledger *)(uintptr_t)mproc__load64(&c->page->next);
        c->i = 0;
    }
    return c->page != NULL ? &c->page->entries[c->i++] : NULL;
}

/* An entry whose token is 0, or NULL. Under the object's mutex. */
struct mproc__entry *mproc__ledger_free(struct mproc__ledger *ledger);

/* Appends a page of free entries. Under the object's mutex. -ENOMEM. */
int mproc__ledger_grow(struct mproc__ledger *ledger);

struct mproc__hand;

/* Frees all pages but the first; may be resumed by another at any point. */
void mproc__ledger_destroy(struct mproc__hand *hand, struct mproc__ledger *ledger);

#endif
