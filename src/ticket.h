/*
 * ticket.h - waits that have a ticket and no thread: what conditions and barriers have in common
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TICKET_H
#define MPROC_TICKET_H

#include "core/ledger.h"
#include "core/object.h"
#include "core/token.h"
#include "system/base.h"

/* 0; MPROC_EOTHER: not an object of that kind; -EINVAL: the ticket's wait is over; MPROC_ESTRANGER:
 * it is another member's, whose copy a forked child has. */
static inline int mproc__ticket_door(const void *object, uint32_t kind,
                                     const mproc_ticket *ticket) {
    if (!mproc__expect(object, kind)) {
        return MPROC_EOTHER;
    }
    if (ticket->member == 0) {
        return -EINVAL;
    }
    return ticket->member == mproc__self_token() ? 0 : MPROC_ESTRANGER;
}

/* Where the object keeps the wait. */
static inline struct mproc__entry *mproc__ticket_entry(const mproc_ticket *ticket) {
    return (struct mproc__entry *)(uintptr_t)ticket->entry;
}

/* Is there something to try for the ticket? */
bool mproc__barrier_moved(const mproc_barrier *barrier, const mproc_ticket *ticket);

#endif
