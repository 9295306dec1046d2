/*
 * way.c - one direction of a channel: its locks, and what a death in them left
 *
 * SPDX-License-Identifier: MIT
 *
 * channel.c says what the kernel has in which state.
 */
#include "channel/way.h"

#include "channel/flush.h"

MPROC__THREAD const struct mproc__way *mproc__way_draining;
MPROC__THREAD uint64_t mproc__way_found;

/* ---------------------------------------------------------------- what a death left */

/* Under `senders`, with RING or MARKING: is the marker in the kernel, and is there more? Negative:
 * the kernel does not tell. */
struct found {
    bool marker;
    bool more;
    size_t bytes; /* of a pipe: so much is there */
};

static int find(const struct mproc__end *e, bool sender, struct found *found) {
    const struct mproc__way *way = e->way;
    int n = way->socket && sender ? mproc__os_unread(e->fd) : mproc__os_readable(e->fd);
    if (n < 0) {
        return n;
    }
    if (!way->socket) {
        *found = (struct found){true, n > 0, (size_t)n};
    } else if (sender) {
        *found = (struct found){n > 0, (uint32_t)n > way->queued, 0};
    } else {
        *found = (struct found){n > 0, n > MPROC__MARKER_SIZE, 0};
    }
    return 0;
}

/* Under `senders`, with PASSING, which keeps the head where it is: the kernel has a part of what is
 * in the ring, or all of it, and gets the rest. Of a socket it is all (channel/flush.c). */
static int pass_rest(const struct mproc__end *e, bool sender, const struct found *found) {
    struct mproc__way *way = e->way;
    int fd = e->fd, r = 0;
    if (!way->socket && found->bytes < way->tail - way->head) {
        fd = sender ? fd : mproc__os_pipe_again(fd);
        r = fd >= 0 ? mproc__flush_ring(way, fd, found->bytes) : fd;
    }
    if (fd >= 0 && fd != e->fd) {
        mproc__os_close(fd);
    }
    if (r == 0 || r == MPROC_EEOF) {
        mproc__way_empty_ring(way);
        mproc__way_set_state(way, mproc__way_mark(way));
        r = 0;
    }
    return r;
}

/* Under `senders`, whose last owner died. */
static int mend(const struct mproc__end *e, bool sender) {
    struct mproc__way *way = e->way;
    uint32_t state = mproc__way_state(way);
    struct found found;
    if (!(state & (MPROC__IN_RING | MPROC__MARKING))) {
        return 0;
    }
    int r = find(e, sender, &found);
    if (r != 0) {
        return r;
    }
    if (state & MPROC__MARKING) {
        mproc__way_set_state(way, way->socket && found.marker ? MPROC__MARK : 0);
    } else if (!found.marker) {
        mproc__way_set_state(way, 0); /* it was taken away, as the ring was empty */
    } else if ((state & MPROC__PASSING) && found.more) {
        r = pass_rest(e, sender, &found);
    } else {
        mproc__way_set_state(way, MPROC__IN_RING | mproc__way_mark(way));
    }
    return r;
}

/* ---------------------------------------------------------------- locks */

MPROC__THREAD int64_t mproc__way_patience = MPROC_FOREVER;

/* 0; -EOWNERDEAD: acquired, too; -ETIMEDOUT; -EINTR. */
static int acquire(struct mproc__mutex *mutex, int64_t timeout, enum mproc__mutex_for whom) {
    return mproc__mutex_acquire(mutex, timeout, whom, NULL);
}

bool mproc__way_enter_left(struct mproc__mutex *mutex) {
    return acquire(mutex, 0, MPROC__FOR_USER_ALWAYS) != -ETIMEDOUT;
}

static int enter_senders(const struct mproc__end *e, bool sender, int64_t timeout,
                         enum mproc__mutex_for whom) {
    struct mproc__mutex *mutex = &e->way->senders;
    uint64_t dead;
    int r = mproc__mutex_acquire(mutex, timeout, whom, &dead);
    if (r == -EOWNERDEAD) {
        r = mend(e, sender);
        if (r != 0) {
            mproc__mutex_give_back(mutex, dead);
        }
    }
    return r;
}

int mproc__way_enter_senders(const struct mproc__end *e, bool sender, bool always) {
    return enter_senders(e, sender, MPROC_FOREVER,
                         always ? MPROC__FOR_USER_ALWAYS : MPROC__FOR_USER);
}

void mproc__way_enter_receivers(struct mproc__way *way) {
    (void)acquire(&way->receivers, MPROC_FOREVER, MPROC__FOR_USER_ALWAYS);
}

int mproc__way_enter_receivers_timed(struct mproc__way *way) {
    int r = acquire(&way->receivers, mproc__way_patience, MPROC__FOR_USER_ALWAYS);
    return r == -ETIMEDOUT ? r : 0;
}

int mproc__way_enter_ring(const struct mproc__end *e, bool sender) {
    int r = mproc__way_enter_receivers_timed(e->way);
    if (r != 0) {
        return r;
    }
    if (mproc__way_state(e->way) & (MPROC__IN_RING | MPROC__MARKING)) {
        r = enter_senders(e, sender, mproc__way_patience, MPROC__FOR_USER_ALWAYS);
        r = r == 0 ? 1 : r;
    }
    if (r <= 0) {
        mproc__way_release(&e->way->receivers);
    }
    return r;
}

void mproc__way_leave_both(struct mproc__way *way) {
    mproc__way_release(&way->senders);
    mproc__way_release(&way->receivers);
}
