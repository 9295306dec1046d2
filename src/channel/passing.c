/*
 * passing.c - the way back: what is in the ring becomes bytes in the kernel
 *
 * SPDX-License-Identifier: MIT
 *
 * How one side alone can do that at any moment stands in channel.c.
 */
#include "channel/passing.h"

#include "channel/flush.h"
#include "channel/marker.h"

/* Under both, with RING. `fd`: what can be written through. Then the way has no ring, and a socket
 * still has the marker. */
static int pass(struct mproc__way *way, int fd) {
    uint32_t state = MPROC__IN_RING | mproc__way_mark(way);
    mproc__way_set_state(way, state | MPROC__PASSING);
    mproc__program_order();
    int r = mproc__flush_ring(way, fd, 0);
    if (r != 0 && r != MPROC_EEOF) {
        mproc__way_set_state(way, state);
        return r;
    }
    mproc__program_order();
    mproc__way_empty_ring(way);
    mproc__way_set_state(way, mproc__way_mark(way));
    mproc__full_fence();
    mproc__eventcount_wake(&way->room);
    mproc__eventcount_wake(&way->items);
    mproc__offer_call(&way->offer);
    return 0;
}

/* Under both, with RING, in a receiver. */
static int pass_by_receiver(const struct mproc__end *e) {
    unsigned char found[MPROC__MARKER_SIZE];
    int fd = -1;
    if (e->way->socket) {
        ssize_t n = mproc__os_peek(e->fd, found, sizeof found, &fd);
        if (fd < 0) {
            return n < 0 ? (int)n : -EMFILE;
        }
    } else {
        fd = mproc__os_pipe_again(e->fd);
        if (fd < 0) {
            return fd;
        }
    }
    int r = pass(e->way, fd);
    mproc__os_close(fd);
    return r;
}

int mproc__passing_by_sender(const struct mproc__end *e) {
    int r = mproc__way_enter_ring(e, true);
    if (r > 0) {
        r = mproc__way_state(e->way) & MPROC__IN_RING ? pass(e->way, e->fd) : 0;
        mproc__way_leave_both(e->way);
    }
    return r;
}

/* Under both, in a receiver. What is in the ring is passed, or stays there. */
static int settle_ring(const struct mproc__end *e, bool passing) {
    if (!(mproc__way_state(e->way) & MPROC__IN_RING)) {
        return 0; /* a sender that died had not got so far */
    }
    if (mproc__way_ring_has(e->way) && passing) {
        return pass_by_receiver(e);
    }
    return mproc__way_has_any(e->way) && !passing ? 0 : mproc__marker_end_ring(e);
}

/* Takes a marker away that has no ring any more. */
static int settle_marker(const struct mproc__end *e) {
    int r = mproc__way_enter_receivers_timed(e->way);
    if (r != 0) {
        return r;
    }
    if ((mproc__way_state(e->way) & (MPROC__MARK | MPROC__IN_RING)) == MPROC__MARK) {
        r = mproc__marker_remove(e);
    }
    mproc__way_release(&e->way->receivers);
    return r;
}

int mproc__passing_settle(const struct mproc__end *e, bool passing) {
    int r = 0;
    if (mproc__way_state(e->way) & (MPROC__IN_RING | MPROC__MARKING)) {
        r = mproc__way_enter_ring(e, false);
        if (r > 0) {
            r = settle_ring(e, passing);
            mproc__way_leave_both(e->way);
        }
    }
    return r == 0 && (mproc__way_state(e->way) & MPROC__MARK) ? settle_marker(e) : r;
}
