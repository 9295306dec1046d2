/*
 * receive.c - receiving from a channel, waiting for what can be received, and going plain
 *
 * SPDX-License-Identifier: MIT
 *
 * When a receiver looks, invites its sender, naps and sleeps stands in channel.c.
 */
#include <string.h>

#include "channel/marker.h"
#include "channel/passing.h"
#include "channel/ring.h"
#include "channel/sides.h"
#include "core/heap.h"
#include "core/parcel.h"
#include "core/wait.h"

#define SPIN_PAUSES 6 /* between two looks at most; one takes 17 ns */
#define STEPS_MOST 6
#define NAP (2 * MPROC_MSEC)    /* of a receiver, which then lets the kernel wake it */
#define SLICE (50 * MPROC_MSEC) /* of a receiver that sleeps at a pipe */
#define NEAR MPROC_SEC          /* of a receiver of large messages, before the kernel wakes it */

/* What is in the hand becomes the member's, and the caller's. */
static void hand_over(struct mproc__hand *hand, mproc_message *message) {
    struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->message;
    mproc__object_adopt(hand, &hand->message);
    message->block = object;
    message->data = mproc__parcel_payload(object);
}

/* Under `receivers`, with an offer: as mproc__ring_take(). */
static MPROC__NOINLINE int take_large(struct mproc__way *way, mproc_message *message, bool boxed) {
    struct mproc__hand *hand = mproc__hand_get();
    size_t most = boxed ? SIZE_MAX : message->room_size;
    int r = mproc__offer_take(&way->offer, hand, most, &message->size);
    if (r == 0) {
        hand_over(hand, message);
        mproc__way_note_receiver(way, true);
        mproc__offer_call(&way->offer);
    }
    mproc__hand_put(hand);
    return r == -EMSGSIZE ? MPROC_CHANNEL_LARGER : r;
}

/* The same for whatever comes next. `boxed`: a large message may stay in its block. */
static int take(struct mproc__way *way, mproc_message *message, bool boxed) {
    return mproc__offer_is_next(&way->offer, way->head) ? take_large(way, message, boxed)
                                                        : mproc__ring_take(way, message);
}

/* A peer on this CPU cannot send while this thread looks. */
static bool may_look(const struct mproc__way *way) {
    return mproc__peek32(&way->rest) == 0 && !mproc__way_is_here(&way->sender_cpu);
}

static bool count_down(uint32_t *hint) {
    uint32_t left = mproc__peek32(hint);
    mproc__poke32(hint, left > 0 ? left - 1 : 0);
    return left > 0;
}

static bool was_declined(struct mproc__way *way) {
    return count_down(&way->declined);
}

/* Under `receivers`. Whether this side sends bytes on the other way. A member that died doing so
 * sends no more. */
static bool is_uninviting(struct mproc__way *way) {
    uint64_t by = mproc__peek64(&way->uninviting);
    if (by != 0 && mproc__token_dead(by)) {
        mproc__poke64(&way->uninviting, 0);
        return false;
    }
    return by != 0;
}

/* Under `receivers`, without a ring. */
static void invite(struct mproc__way *way) {
    if (is_uninviting(way)) {
        return;
    }
    mproc__way_set_receiver(way, mproc__self_token());
    mproc__poke32(&way->receiver_cpu, (uint32_t)mproc__os_cpu());
    (void)mproc__way_change_state(way, 0, MPROC__INVITED);
}

/* Under `receivers`: 0 and the other results of receiving; -EAGAIN. While it reads bytes no
 * invitation stands, so it cannot read a marker. */
static int receive(const struct mproc__end *e, mproc_message *message, bool boxed) {
    struct mproc__way *way = e->way;
    uint32_t state = mproc__way_state(way);
    if (state & MPROC__IN_RING) {
        return state & MPROC__PASSING ? -EAGAIN : take(way, message, boxed);
    }
    int r = state & MPROC__MARK ? mproc__marker_remove(e) : 0;
    if (r != 0 || (state & MPROC__MARKING) || !mproc__way_uninvite(way)) {
        return r != 0 ? r : -EAGAIN;
    }
    r = mproc_pipe_try_size(e->fd, &message->size);
    bool large = r == 0 && message->size > MPROC__RING_MOST;
    if (r == 0) {
        mproc__poke32(&way->large, large);
    }
    if (r == -EAGAIN || large || (r == 0 && !was_declined(way))) {
        invite(way);
    }
    if (r == -EAGAIN) { /* a sender may sleep until all has been read */
        mproc__full_fence();
        mproc__eventcount_wake(&way->room);
    }
    return r == 0 ? MPROC_CHANNEL_BODY : r == -EINTR ? -EAGAIN : r;
}

/* A sender that sleeps is woken when there is room for much. */
static void leave_receivers(struct mproc__way *way, int received) {
    mproc__way_release(&way->receivers);
    mproc__fence_after_rmw(); /* the head, before the look at `sleepers` */
    if (received == 0 && mproc__eventcount_awaited(&way->room) &&
        mproc__peek64(&way->tail) - mproc__peek64(&way->head) <= MPROC__RING / 2) {
        mproc__eventcount_wake(&way->room);
    }
}

static bool may_have(const struct mproc__way *way) {
    uint32_t state = mproc__way_state(way);
    return (state & MPROC__PLAIN) ||
           ((state & (MPROC__IN_RING | MPROC__PASSING)) == MPROC__IN_RING &&
            mproc__way_has_any(way));
}

/* A sender that has not seen the invitation sends bytes. While one is marking, what can be read is
 * its marker. If that sender has died, only a thread that takes `senders` ends that state: who took
 * the marker for a message would look for it for ever. */
static bool has_bytes(const struct mproc__end *e) {
    return !(mproc__way_state(e->way) & (MPROC__IN_RING | MPROC__MARKING)) &&
           mproc__os_readable(e->fd) > 0;
}

/* True: there may be a message. A receiver that drains a stream leaves time between looks, in which
 * the sender gets several messages done. */
static bool look(const struct mproc__end *e) {
    const struct mproc__way *way = e->way;
    unsigned pauses = mproc__way_draining == way ? MPROC__STREAM_PAUSES : 0;
    unsigned most = pauses + SPIN_PAUSES;
    mproc__way_draining = way;
    int64_t end =
        mproc__os_now() + (mproc__peek32(&way->large) ? MPROC__LOOK_AT_LARGE : MPROC__LOOK);
    for (unsigned i = 0;; i++) {
        mproc__way_pause(pauses);
        if (may_have(way) || (i % 8 == 0 && has_bytes(e))) {
            return true;
        }
        if (i % 8 == 7 && (mproc__way_is_here(&way->sender_cpu) || mproc__os_now() >= end)) {
            return false;
        }
        pauses = pauses < most ? pauses + 1 : pauses;
    }
}

/* Success decides whether the next waits begin with a look. */
static void learn(struct mproc__way *way, bool seen) {
    uint32_t steps = mproc__peek32(&way->steps);
    if (seen) {
        mproc__poke32(&way->steps, steps > 0 ? steps - 1 : 0);
        return;
    }
    steps = steps < STEPS_MOST ? steps + 1 : steps;
    mproc__poke32(&way->steps, steps);
    mproc__poke32(&way->rest, (1U << steps) - 1);
}

static bool look_first(const struct mproc__end *e) {
    struct mproc__way *way = e->way;
    if (!may_look(way)) {
        (void)count_down(&way->rest);
        return may_have(way);
    }
    bool seen = look(e);
    if (seen || !mproc__way_is_here(&way->sender_cpu)) {
        learn(way, seen);
    }
    return seen;
}

/* Sleeps for a little while, where a sender that has the ring or is invited to it wakes. 1: there
 * may be a message; 0; -EINTR. */
static int nap(const struct mproc__end *e) {
    struct mproc__way *way = e->way;
    uint32_t seen = mproc__eventcount_announce(&way->items);
    if (may_have(way) || has_bytes(e)) {
        return 1;
    }
    if (mproc__peek32(&way->bytes) != 0) {
        return 0;
    }
    int r = mproc__eventcount_sleep(&way->items, seen, NAP);
    return r == -EINTR ? r : r == 0 || may_have(way) || has_bytes(e);
}

/* Whether the kernel wakes who sleeps there when a message comes. At a socket the marker does. At a
 * pipe no invitation may stand, and no sender may be about to accept one. */
static bool is_quiet(struct mproc__way *way) {
    uint32_t state = mproc__way_state(way);
    return way->socket || state == 0 || (state & MPROC__PLAIN) ||
           (state == MPROC__INVITED && mproc__way_change_state(way, MPROC__INVITED, 0));
}

/* How long to sleep in the kernel. Another receiver of the same pipe may invite its sender
 * meanwhile, and then leave messages in the ring. */
static int64_t slice_of(const struct mproc__way *way, int64_t left) {
    return !way->socket && (left < 0 || left > SLICE) ? SLICE : left;
}

/* The kernel wakes, and tells of the end. 0; or an error. */
static int sleep_long(const struct mproc__end *e) {
    int r = mproc__passing_settle(e, false);
    if (r != 0 || (mproc__way_state(e->way) & MPROC__IN_RING) || !mproc__way_uninvite(e->way) ||
        !is_quiet(e->way)) {
        return r;
    }
    r = mproc_pipe_poll(e->fd, slice_of(e->way, MPROC_FOREVER));
    return r < 0 ? r : 0;
}

/* How long a receiver has been near the ring. */
struct nearness {
    struct mproc__slices slices;
    int64_t end; /* 0: it has not begun */
    struct mproc__hand *noted;
};

/* Large messages take long to make and are slow as bytes: who received one stays where the sender
 * can offer the next, and looks after each slice whether the end has come. */
static bool stays_near(const struct mproc__way *way, struct nearness *near) {
    if (!mproc__peek32(&way->large) || mproc__peek32(&way->bytes) != 0) {
        return false;
    }
    if (near->end == 0) {
        near->end = mproc__os_now() + NEAR;
    }
    return mproc__os_now() < near->end;
}

/* 0: look for a message again; -EINTR. */
static int sleep_near(const struct mproc__end *e, struct nearness *near) {
    struct mproc__way *way = e->way;
    uint32_t seen = mproc__eventcount_announce(&way->items);
    if (may_have(way) || has_bytes(e)) {
        return 0;
    }
    int64_t slice = mproc__user_slice(&near->slices);
    int r = slice < 0 ? (int)slice : mproc__eventcount_sleep(&way->items, seen, slice);
    return r == -EINTR ? r : 0;
}

/* The marker hides the end. So the receiver leaves the ring, and invites its sender anew. */
static int wait_long(const struct mproc__end *e, struct nearness *near) {
    uint32_t state = mproc__way_state(e->way);
    if (!(state & (MPROC__IN_RING | MPROC__INVITED)) || !stays_near(e->way, near)) {
        return sleep_long(e);
    }
    return state & MPROC__IN_RING ? mproc__passing_settle(e, false) : sleep_near(e, near);
}

/* 0: look for a message again. */
static int await(const struct mproc__end *e, struct nearness *near) {
    if (look_first(e)) {
        return 0;
    }
    if (near->noted == NULL) {
        near->noted = mproc__wait_begin(&e->way->items, MPROC__NEVER);
    }
    int r = mproc__way_state(e->way) & (MPROC__INVITED | MPROC__IN_RING) ? nap(e) : 0;
    return r > 0 ? 0 : r < 0 ? r : wait_long(e, near);
}

static bool is_plain(const struct mproc__way *way) {
    return mproc__way_state(way) == MPROC__PLAIN;
}

static int receive_once(const struct mproc__end *e, mproc_message *message, bool boxed) {
    mproc__way_enter_receivers(e->way);
    int r = receive(e, message, boxed);
    leave_receivers(e->way, r);
    return r;
}

static int receive_plain(const struct mproc__end *e, mproc_message *message) {
    mproc__wait_behind_fd = &e->way->items;
    int r = mproc_pipe_recv_size(e->fd, &message->size);
    mproc__wait_behind_fd = NULL;
    return r == 0 ? MPROC_CHANNEL_BODY : r;
}

/* What has been looked for in vain. Until the channel is plain: -EAGAIN. */
static MPROC__NOINLINE int receive_later(const struct mproc__end *e, mproc_message *message,
                                         bool boxed) {
    struct nearness near = {.slices = mproc__slices_until(MPROC__NEVER)};
    int r = -EAGAIN;
    while (r == -EAGAIN && !is_plain(e->way)) {
        r = await(e, &near);
        if (r == 0) {
            r = is_plain(e->way) ? -EAGAIN : receive_once(e, message, boxed);
        }
    }
    mproc__wait_end(near.noted);
    return r;
}

/* The next message, for which it waits. `boxed`: as take(). */
static int receive_next(const struct mproc__end *e, mproc_message *message, bool boxed) {
    int r = -EAGAIN;
    if (mproc__way_state(e->way) != MPROC__INVITED &&
        !is_plain(e->way)) { /* else it has just been looked for */
        r = receive_once(e, message, boxed);
    }
    if (r == -EAGAIN) {
        r = receive_later(e, message, boxed);
    }
    return r == -EAGAIN ? receive_plain(e, message) : r;
}

static int try_once(const struct mproc__end *e, mproc_message *message, bool boxed) {
    if (!mproc__mutex_try(&e->way->receivers, mproc__mutex_mine()) &&
        !mproc__way_enter_left(&e->way->receivers)) {
        return -EAGAIN;
    }
    int r = receive(e, message, boxed);
    leave_receivers(e->way, r);
    return r;
}

/* Whether what a dead member left may be in the way: its half-done work, or its marker, which hides
 * the end. A receiver that waits goes through the kernel in the end, and settles it there. One that
 * tries does not. */
static bool may_be_left(const struct mproc__way *way) {
    uint32_t state = mproc__way_state(way);
    if (state & (MPROC__MARKING | MPROC__PASSING)) {
        return true;
    }
    uint64_t sender = mproc__peek64(&way->sender);
    return (state & MPROC__IN_RING) && (sender == 0 || mproc__token_dead(sender)) &&
           !mproc__way_has_any(way);
}

/* As mproc__passing_settle(). -EAGAIN: a thread that lives is at work. */
static int settle_now(const struct mproc__end *e) {
    int64_t before = mproc__way_patience;
    mproc__way_patience = 0;
    int r = mproc__passing_settle(e, false);
    mproc__way_patience = before;
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

static int try_next(const struct mproc__end *e, mproc_message *message, bool boxed) {
    mproc__way_let_gather(e->way);
    int r = try_once(e, message, boxed);
    if (r == -EAGAIN && mproc__unlikely(may_be_left(e->way))) {
        r = settle_now(e);
        r = r == 0 ? try_once(e, message, boxed) : r;
    }
    return r;
}

/* What has come, for a caller that has room for it. */
static int unbox(mproc_message *message, int r, size_t *size) {
    if (r >= 0) {
        *size = message->size;
    }
    if (r == 0 && message->block != NULL) {
        mproc__os_memory_copy(message->room, message->data, message->size);
        (void)mproc_drop(message->block);
    }
    return r;
}

int mproc_channel_recv_message(mproc_channel *channel, int side, int fd, mproc_message *message) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end e = mproc__channel_receiving(channel, side, fd);
    return receive_next(&e, message, true);
}

int mproc_channel_try_recv_message(mproc_channel *channel, int side, int fd,
                                   mproc_message *message) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end e = mproc__channel_receiving(channel, side, fd);
    return try_next(&e, message, true);
}

int mproc_channel_recv(mproc_channel *channel, int side, int fd, void *room, size_t room_size,
                       size_t *size) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end e = mproc__channel_receiving(channel, side, fd);
    mproc_message message = MPROC_MESSAGE_INIT(room, room_size);
    return unbox(&message, receive_next(&e, &message, false), size);
}

int mproc_channel_try_recv(mproc_channel *channel, int side, int fd, void *room, size_t room_size,
                           size_t *size) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end e = mproc__channel_receiving(channel, side, fd);
    mproc_message message = MPROC_MESSAGE_INIT(room, room_size);
    return unbox(&message, try_next(&e, &message, false), size);
}

/* ---------------------------------------------------------------- waiting */

/* One of a large message is worth a marker, which wakes who polls. */
static void invite_large(struct mproc__way *way) {
    if (way->socket && mproc__peek32(&way->large) && mproc__way_state(way) == 0 &&
        mproc__way_enter_receivers_timed(way) == 0) {
        invite(way);
        mproc__way_release(&way->receivers);
    }
}

static bool may_have_here(const struct mproc__way *way) {
    return mproc__way_ring_has(way) ||
           ((mproc__way_state(way) & MPROC__IN_RING) != 0 && mproc__offer_is_there(&way->offer));
}

/* The end comes behind what is in the ring, where another receiver may have invited a sender since.
 * An empty ring has to go first: a receiver that took it for the end would look for ever. */
static bool has_ended(const struct mproc__way *way) {
    return mproc__peek32(&way->ended) && !(mproc__way_state(way) & MPROC__IN_RING);
}

/* 1: there is a message in memory, or the end has come; 0: the kernel has the next one, as far as
 * can be seen. */
static int look_behind(const struct mproc__end *e) {
    if (may_have_here(e->way) || has_ended(e->way)) {
        return 1;
    }
    mproc__poke32(&e->way->declined, MPROC__DECLINED); /* it would come and go with each message */
    int r = mproc__passing_settle(e, false);
    if (r == 0) {
        invite_large(e->way);
    }
    return r == 0 && may_have_here(e->way) ? 1 : r;
}

/* A marker may have come meanwhile, and another thread may have taken what was in the ring. */
static bool is_stale(const struct mproc__way *way) {
    return (mproc__way_state(way) & MPROC__IN_RING) && !mproc__way_has_any(way);
}

/* As mproc_pipe_poll(); while nobody else has the descriptors, their end is remembered. */
static int poll_end(const struct mproc__end *e, int64_t timeout) {
    struct pollfd p = {e->fd, POLLIN, 0};
    int r = mproc__os_poll(&p, 1, 0);
    if (r > 0 && (p.revents & POLLHUP) != 0 && !(mproc__way_state(e->way) & MPROC__PLAIN)) {
        mproc__poke32(&e->way->ended, 1);
    }
    return r > 0 && (p.revents & POLLNVAL) == 0 ? 1 : mproc_pipe_poll(e->fd, timeout);
}

static int64_t left_until(int64_t deadline) {
    int64_t left = deadline > 0 ? deadline - mproc__os_now() : deadline;
    return deadline > 0 && left < 0 ? 0 : left;
}

/* As mproc_channel_poll(). -ETIMEDOUT: another thread is in the way of looking, and is stopped or
 * starved. */
static int poll_until(const struct mproc__end *e, int64_t deadline) {
    bool over;
    int r;
    do {
        int64_t left = left_until(deadline);
        over = left == 0;
        mproc__way_patience = mproc__patience(left);
        r = look_behind(e);
        mproc__way_patience = MPROC_FOREVER; /* a signal's handler may use channels meanwhile */
        if (r == 0 && (over || is_quiet(e->way))) {
            r = poll_end(e, slice_of(e->way, left));
        }
    } while ((r == 0 && !over) || (r == 1 && is_stale(e->way)));
    return r;
}

int mproc_channel_poll(mproc_channel *channel, int side, int fd, int64_t timeout) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end e = mproc__channel_receiving(channel, side, fd);
    int r = poll_until(&e, timeout > 0 ? mproc__os_now() + timeout : timeout);
    return r == -ETIMEDOUT ? 0 : r;
}

/* ---------------------------------------------------------------- plain */

/* Ends the use of the ring, once the way has none. False: it has one. */
static bool end_ring(struct mproc__way *way) {
    for (;;) {
        uint32_t state = mproc__way_state(way);
        if (state & MPROC__PLAIN) {
            return true;
        }
        if (state & (MPROC__IN_RING | MPROC__MARKING)) {
            return false;
        }
        if (mproc__way_change_state(way, state, (state & MPROC__MARK) | MPROC__PLAIN)) {
            mproc__fence_after_rmw(); /* the state, before the look at `sleepers` */
            mproc__eventcount_wake_all(&way->items);
            return true;
        }
    }
}

/* A sender that is marking has `senders`: the one who waits for that finds the ring. */
static int plain_to_send(const struct mproc__end *e) {
    int r = 0;
    while (r == 0 && !end_ring(e->way)) {
        r = mproc__passing_by_sender(e);
    }
    return r;
}

static int plain_to_receive(const struct mproc__end *e) {
    int r = 0;
    while (r == 0 && !end_ring(e->way)) {
        r = mproc__passing_settle(e, true);
    }
    return r == 0 ? mproc__passing_settle(e, true)
                  : r; /* the sender's side may have left a marker */
}

int mproc_channel_look(mproc_channel *channel, int side, int fd) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end e = mproc__channel_receiving(channel, side, fd);
    int r = look_behind(&e);
    if (r == 0 && !e.way->socket) {
        r = plain_to_receive(&e); /* no marker would tell of what comes into the ring */
    }
    return r;
}

int mproc_channel_plain(mproc_channel *channel, int side, int fd) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct mproc__end out = mproc__channel_sending(channel, side, fd),
                      in = mproc__channel_receiving(channel, side, fd);
    int r = plain_to_send(&out);
    return r == 0 ? plain_to_receive(&in) : r;
}

void mproc_channel_leave(mproc_channel *channel, int side) {
    if (mproc__channel_known(channel, side)) {
        mproc__poke64(&channel->ways[1 - side].receiver, 0);
        mproc__poke64(&channel->ways[side].sender, 0);
        mproc__full_fence();
        mproc__eventcount_wake(&channel->ways[side].items);
        mproc__offer_call(&channel->ways[1 - side].offer);
    }
}
