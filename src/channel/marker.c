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

#define DRAINING 100000             /* ns between two looks whether the kernel has been drained */
#define STALLED 5000                /* ns in which a receiver at work has read something */
#define PATIENCE (10 * MPROC_MSEC)  /* of the sender of a large message */
#define MUCH ((int)MPROC__RING / 4) /* unread bytes of a pipe, which keep a receiver busy */
#define PATIENCE_AHEAD MPROC_MSEC   /* of the sender who is so far ahead */

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

/* Of a socket it tells what memory they take, which is several times as much for small messages. */
static bool is_much(const struct mproc__way *way, int left) {
    return left >= (way->socket ? 4 * MUCH : MUCH);
}

/* Looks for as long as a receiver on another CPU reads on. How many bytes are left. */
static int look_at_drain(const struct mproc__end *e) {
    int left = unread(e), before = left;
    int64_t end = mproc__os_now() + STALLED;
    while (left > 0 && !mproc__way_is_here(&e->way->receiver_cpu) && mproc__os_now() < end) {
        left = unread(e);
        if (left < before) {
            before = left;
            end = mproc__os_now() + STALLED;
        }
    }
    return left;
}

/* Sleeps for as long as the receiver, which may share its CPU with this thread, has read something
 * within `patience`. It wakes the sender when it has read all. */
static int sleep_until_drained(const struct mproc__end *e, int64_t patience) {
    struct mproc__eventcount *room = &e->way->room;
    int left = unread(e), before = left;
    int64_t end = mproc__os_now() + patience;
    while (left > 0 && mproc__os_now() < end) {
        uint32_t seen = mproc__eventcount_announce(room);
        if (unread(e) > 0) {
            (void)mproc__eventcount_sleep(room, seen, DRAINING);
        }
        left = unread(e);
        if (left < before) {
            before = left;
            end = mproc__os_now() + patience;
        }
    }
    return left;
}

/* How many bytes the kernel has left that the receiver has not read. A stream that has begun with
 * bytes would never get into the ring while its sender is ahead: so a sender that is patient waits,
 * as long as the receiver reads on. One that is far ahead, or has a large message, sleeps if it has
 * to: the receiver has enough to do meanwhile. */
static int drain(const struct mproc__end *e, bool patient, bool large) {
    int left = patient ? look_at_drain(e) : unread(e);
    if (left > 0 && large) {
        return sleep_until_drained(e, PATIENCE);
    }
    return patient && is_much(e->way, left) ? sleep_until_drained(e, PATIENCE_AHEAD) : left;
}

/* The receiver is busy, or no other thread reads: it need not invite for a while. On this CPU it
 * only waits for its turn, which comes when this sender is far enough ahead to sleep. */
static void decline(struct mproc__way *way, int left) {
    if (is_much(way, left) || !mproc__way_is_here(&way->receiver_cpu)) {
        mproc__poke32(&way->declined, MPROC__DECLINED);
        (void)mproc__way_change_state(way, MPROC__INVITED, 0);
    }
}

static int send_marker(const struct mproc__end *e) {
    return mproc__os_send_now(e->fd, marker, MPROC__MARKER_SIZE, e->fd);
}

bool mproc__marker_put(const struct mproc__end *e, bool patient, bool large) {
    struct mproc__way *way = e->way;
    int left = drain(e, patient, large);
    if (left != 0) {
        if (patient) {
            decline(way, left);
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
    mproc__poke64(&way->sender, mproc__self_token());
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
