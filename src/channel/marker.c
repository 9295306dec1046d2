/*
 * marker.c - the bytes in the kernel that say: what follows is in the ring
 *
 * SPDX-License-Identifier: MIT
 *
 * When a marker may be put and taken away stands in channel.c. That of a socket carries its
 * sender's descriptor.
 */
#include "channel/marker.h"

#include <string.h>

#include "channel/ring.h"

#define DRAINING 100000            /* ns between two looks whether the kernel has been drained */
#define STALLED 5000               /* ns in which a receiver at work has read something */
#define PATIENCE (10 * MPROC_MSEC) /* of the sender of a large message */

static const unsigned char marker[MPROC__MARKER_SIZE] = {0x80, 'm', 'p', 'r'};

/* Can what the ring holds always be passed to the kernel in one write, by a receiver alone? */
static bool fits(const struct mproc__end *e) {
    if (e->way->socket) {
        return mproc__os_socket_room(e->fd) >= (int)(4 * MPROC__RING);
    }
    int again =
        mproc__os_pipe_room(e->fd) >= (int)(2 * MPROC__RING) ? mproc__os_pipe_again(e->fd) : -1;
    if (again >= 0) {
        mproc__os_close(again);
    }
    return again >= 0;
}

static int unread(const struct mproc__end *e) {
    return e->way->socket ? mproc__os_unread(e->fd) : mproc__os_readable(e->fd);
}

/* Whether the kernel has nothing left that the receiver has not read. A stream that has begun with
 * bytes would never get into the ring while its sender is ahead: so a sender that is patient waits,
 * as long as the receiver reads on. */
static bool is_drained(const struct mproc__end *e, bool patient) {
    int left = unread(e), before = left;
    patient = patient && !mproc__way_is_here(&e->way->receiver_cpu);
    int64_t end = patient && left > 0 ? mproc__os_now() + STALLED : 0;
    while (left > 0 && patient && mproc__os_now() < end) {
        left = unread(e);
        if (left < before) {
            before = left;
            end = mproc__os_now() + STALLED;
        }
    }
    return left == 0;
}

/* The same for a large message, which is worth more patience: the receiver is reading, and may
 * share its CPU with this thread. */
static bool is_drained_soon(const struct mproc__end *e) {
    struct mproc__eventcount *taken = &e->way->offer.taken; /* nobody offers: it only ends sleeps */
    int left = unread(e), before = left;
    int64_t end = mproc__os_now() + PATIENCE;
    while (left > 0 && mproc__os_now() < end) {
        (void)mproc__eventcount_sleep(taken, mproc__peek32(&taken->signal), DRAINING);
        left = unread(e);
        if (left < before) {
            before = left;
            end = mproc__os_now() + PATIENCE;
        }
    }
    return left == 0;
}

static int send_marker(const struct mproc__end *e) {
    return mproc__os_send_now(e->fd, marker, MPROC__MARKER_SIZE, e->fd);
}

bool mproc__marker_put(const struct mproc__end *e, bool patient, bool large) {
    struct mproc__way *way = e->way;
    if (!is_drained(e, patient) && !(large && is_drained_soon(e))) {
        if (patient) { /* the receiver is busy: it need not invite for a while */
            mproc__poke32(&way->declined, MPROC__DECLINED);
            (void)mproc__way_change_state(way, MPROC__INVITED, 0);
        }
        return false;
    }
    if (!mproc__offer_clear(&way->offer)) {
        return false; /* its sender is about to take it back */
    }
    if (way->ring == 0 && (!fits(e) || mproc__ring_need(way) != 0)) {
        (void)mproc__way_change_state(way, MPROC__INVITED, MPROC__PLAIN);
        return false;
    }
    if (!mproc__way_change_state(way, MPROC__INVITED, MPROC__MARKING)) {
        return false;
    }
    int r = way->socket ? send_marker(e) : 0;
    int queued = r == 0 && way->socket ? mproc__os_unread(e->fd) : 0;
    if (r != 0 || queued < 0) {
        mproc__way_set_state(way, r == 0 ? MPROC__MARK : 0);
        return false;
    }
    way->queued = (uint32_t)queued;
    mproc__way_set_state(way, MPROC__IN_RING | mproc__way_mark(way));
    return true;
}

/* Under `receivers`, with MARK: takes the marker away, unless a receiver that died has. */
static int take_marker(const struct mproc__end *e) {
    unsigned char found[MPROC__MARKER_SIZE];
    ssize_t n = mproc__os_peek(e->fd, found, sizeof found, NULL);
    if (n == (ssize_t)sizeof found && memcmp(found, marker, sizeof found) == 0) {
        n = mproc__os_read_now(e->fd, found, sizeof found);
    }
    mproc__program_order();
    return n < 0 && n != -EAGAIN && n != -ECONNRESET ? (int)n : 0;
}

int mproc__marker_remove(const struct mproc__end *e) {
    int r = take_marker(e);
    if (r == 0) {
        (void)mproc__clear32(&e->way->state, MPROC__MARK); /* SYNC(channel.state) */
    }
    return r;
}

int mproc__marker_end_ring(const struct mproc__end *e) {
    struct mproc__way *way = e->way;
    int r = way->socket ? take_marker(e) : 0;
    if (r == 0) {
        mproc__way_set_state(way, 0);
        mproc__offer_call(&way->offer);
    }
    return r;
}
