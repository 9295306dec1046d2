/*
 * send.c - sending over a channel: into the ring, as bytes, or as an offer
 *
 * SPDX-License-Identifier: MIT
 *
 * Which of the three a message takes, and when a sender waits, stands in channel.c.
 */
#include <sys/uio.h>

#include "channel/marker.h"
#include "channel/passing.h"
#include "channel/ring.h"
#include "channel/sides.h"
#include "core/heap.h"
#include "core/parcel.h"
#include "core/wait.h"
#include "system/pieces.h"

#define LINGER (MPROC__RING / 4)   /* bytes that a sender waits for, once the ring has been full */
#define PATIENCE (10 * MPROC_MSEC) /* of a sender that finds the ring full */
#define STEP_BACK 64               /* messages that are sent as bytes before the receiver's turn */

/* How large a message may be that a sender has sent though nobody receives: so much fits into the
 * kernel. (The last piece that a socket takes may exceed its room.) */
static uint64_t kernel_takes(const struct mproc__end *e) {
    uint64_t bytes = mproc__peek64(&e->way->kernel_takes);
    if (bytes == 0) {
        int room = e->way->socket ? mproc__os_socket_room(e->fd) : mproc__os_pipe_room(e->fd);
        bytes = room <= 0 ? UINT64_MAX : e->way->socket ? 2 * (uint64_t)room : (uint64_t)room;
        mproc__poke64(&e->way->kernel_takes, bytes);
    }
    return bytes;
}

static bool has_much_room(const struct mproc__way *way) {
    /* SYNC(channel.tail), SYNC(channel.head) */
    return mproc__load64(&way->tail) - mproc__load64(&way->head) <= MPROC__RING - LINGER;
}

/* True: there is room for several messages. */
static bool linger(const struct mproc__way *way) {
    int64_t end = mproc__os_now() + MPROC__LOOK;
    for (unsigned i = 0;; i++) {
        if (has_much_room(way)) {
            return true;
        }
        if (i % 8 == 0 && (mproc__way_is_here(&way->receiver_cpu) || mproc__os_now() >= end)) {
            return false;
        }
        mproc__way_pause(MPROC__STREAM_PAUSES);
    }
}

/* Waits for room in the ring, but not for long: the kernel's is there, too. 1: there is some; 0;
 * -EINTR. */
static int await_room(struct mproc__way *way) {
    if (linger(way)) {
        return 1;
    }
    uint32_t seen = mproc__eventcount_announce(&way->room);
    int r = has_much_room(way) ? 0 : mproc__eventcount_sleep(&way->room, seen, PATIENCE);
    return r == -EINTR ? r : has_much_room(way);
}

static bool receiver_lives(const struct mproc__way *way) {
    uint64_t token = mproc__peek64(&way->receiver);
    return token != 0 && mproc__token_alive(token);
}

/* Whether nobody is left who could receive. What has come from there is made bytes first: a marker
 * keeps the other side's descriptor open. */
static int is_gone(mproc_channel *channel, int side, int fd) {
    struct mproc__end in = mproc__channel_receiving(channel, side, fd);
    struct pollfd p = {fd, 0, 0};
    int r = in.way->socket ? mproc__passing_settle(&in, true) : 0;
    if (r == 0) {
        r = mproc__os_poll(&p, 1, 0);
    }
    return r < 0 ? r : r > 0 ? MPROC_EEOF : 0;
}

/* What is sent. */
struct outgoing {
    const struct iovec *pieces;
    int n;
    size_t size;
    mproc_buffer *const *buffers; /* that the message takes along: then it never goes as bytes */
    size_t nbuffers;
    bool patient;
    bool asked;    /* somebody is left who could receive */
    bool as_bytes; /* it is large, and is not offered */
    void *block;   /* a large message, held by this member; NULL: there is none yet, or any more */
    uint64_t name; /* of the offer */
    struct mproc__end in; /* the sender's own */
};

/* Why a message did not get into the ring. */
enum refusal {
    AS_BYTES = 1, /* there is no ring */
    TOO_LARGE,    /* there is one, and the message has to go as bytes */
    NO_BLOCK,     /* there is one, and the message needs a block */
    NO_ROOM,
    NOBODY,   /* perhaps: the kernel has to be asked */
    BUSY,     /* another sender offers a large message */
    OFFERED,  /* it waits to be taken */
    RETRACTED /* it waits no more */
};

static bool is_large(const struct outgoing *out) {
    return out->size > MPROC__RING_MOST || out->nbuffers > 0;
}

/* Whether a sender may wait until it is taken: it would wait at a pipe, too. */
static bool can_be_offered(const struct mproc__end *e, const struct outgoing *out) {
    return out->nbuffers > 0 || out->size > kernel_takes(e);
}

static bool can_be_block(const struct outgoing *out) {
    size_t head;
    return !__builtin_mul_overflow(out->nbuffers, sizeof(struct mproc__hold), &head) &&
           out->size <= SIZE_MAX / 2 && head <= SIZE_MAX / 4 &&
           mproc__heap_can_have(out->size + mproc__parcel_head(out->nbuffers));
}

/* A block that this member holds: nobody waits for it while its bytes are copied. */
static int make_block(struct outgoing *out) {
    if (!can_be_block(out)) {
        return -ENOMEM;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__parcel_make(hand, out->buffers, out->nbuffers, out->size);
    if (r == 0) {
        out->block = (void *)(uintptr_t)hand->unheld;
        mproc__object_adopt(hand, &hand->unheld);
    }
    mproc__hand_put(hand);
    if (r == 0) {
        mproc__pieces_copy(mproc__parcel_payload(out->block), out->pieces, out->n);
    }
    return r;
}

static void drop_block(struct outgoing *out) {
    if (out->block != NULL) {
        (void)mproc_drop(out->block);
        out->block = NULL;
    }
}

/* What is large and probably goes through memory has a block afterwards. An error, only if it
 * cannot go as bytes. */
static int prepare(const struct mproc__end *e, struct outgoing *out) {
    if (!is_large(out) || out->block != NULL || out->as_bytes ||
        !(mproc__way_state(e->way) & (MPROC__IN_RING | MPROC__INVITED))) {
        return 0;
    }
    int r = can_be_offered(e, out) ? make_block(out) : -EMSGSIZE;
    out->as_bytes = r != 0;
    return out->nbuffers > 0 ? r : 0;
}

/* Under `senders`, with RING. */
static int offer(struct mproc__way *way, struct outgoing *out) {
    if (out->block == NULL) {
        return out->as_bytes ? TOO_LARGE : NO_BLOCK;
    }
    if (mproc__offer_is_there(&way->offer)) {
        return BUSY;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int alone = mproc__object_disown(hand, out->block, &hand->unheld);
    if (alone == 1) {
        out->name = mproc__offer_make(&way->offer, hand, out->size, way->tail);
        out->block = NULL;
        mproc__poke32(&way->sender_cpu, (uint32_t)mproc__os_cpu());
    }
    mproc__hand_put(hand);
    if (alone != 1) { /* a child that was forked meanwhile holds it, too */
        drop_block(out);
        return NO_BLOCK;
    }
    return OFFERED;
}

/* Under `senders`. 0: sent; or a refusal. */
static int try_ring(const struct mproc__end *e, struct outgoing *out) {
    struct mproc__way *way = e->way;
    uint32_t state = mproc__way_state(way);
    bool large = is_large(out);
    if (!(state & MPROC__IN_RING) && !((!large || out->block != NULL) && state == MPROC__INVITED &&
                                       mproc__marker_put(e, out->patient, large))) {
        return AS_BYTES;
    }
    if (!out->asked && !receiver_lives(way)) {
        return NOBODY;
    }
    if (large) {
        return offer(way, out);
    }
    if (!mproc__ring_has_room(way, MPROC__RING_HEADER + out->size)) {
        return NO_ROOM;
    }
    mproc__ring_put(way, out->pieces, out->n, out->size);
    return 0;
}

/* Before bytes are sent on the other way: no marker is, or comes, in the way of the peer's end. */
static int shut_out_markers(const struct mproc__end *in) {
    if (!in->way->socket || mproc__way_state(in->way) == MPROC__PLAIN) {
        return 0;
    }
    mproc__way_enter_receivers(in->way);
    mproc__poke64(&in->way->uninviting, mproc__self_token());
    (void)mproc__way_uninvite(in->way);
    mproc__way_release(&in->way->receivers);
    return mproc__passing_settle(in, true);
}

/* Where a sender is blocked if its messages are not read. So a receiver that naps is woken
 * before. */
static int write_bytes_out(const struct mproc__end *e, const struct outgoing *out) {
    int r = shut_out_markers(&out->in);
    if (r == 0) {
        mproc__full_fence();
        mproc__eventcount_wake(&e->way->items);
        mproc__wait_behind_fd = &e->way->room;
        r = mproc_pipe_sendv(e->fd, out->pieces, out->n);
        mproc__wait_behind_fd = NULL;
    }
    mproc__poke64(&out->in.way->uninviting, 0);
    return r;
}

/* Under `senders`. */
static int send_bytes(const struct mproc__end *e, const struct outgoing *out) {
    struct mproc__way *way = e->way;
    mproc__poke32(&way->sender_cpu, (uint32_t)mproc__os_cpu());
    mproc__poke32(&way->bytes, is_large(out)); /* a small one is all there at once, and wakes */
    int r = write_bytes_out(e, out);
    mproc__poke32(&way->bytes, 0);
    return r;
}

/* A stream whose receiver shares this CPU stays one of bytes until the receiver runs, which is when
 * the pipe is full or the sender's time is over. It runs now, finds all that there is, and invites
 * the sender. */
static void let_receive(const struct mproc__way *way) {
    static MPROC__THREAD const struct mproc__way *last;
    static MPROC__THREAD uint32_t sent;
    sent = last == way ? sent + 1 : 1;
    last = way;
    uint32_t cpu = mproc__peek32(&way->receiver_cpu);
    if (sent % STEP_BACK == 0 && (cpu == UINT32_MAX || mproc__way_is_here(&way->receiver_cpu))) {
        mproc__os_yield();
    }
}

/* 0: sent; a refusal that has to be dealt with; the errors of sending. */
static int send_in(const struct mproc__end *e, struct outgoing *out) {
    bool bytes = false;
    int r = mproc__way_enter_senders(e, true, false);
    if (r == 0) {
        r = try_ring(e, out);
        if (r == AS_BYTES) {
            r = out->nbuffers > 0 ? -EAGAIN : send_bytes(e, out);
            bytes = r == 0;
        }
        mproc__way_release(&e->way->senders);
        mproc__fence_after_rmw(); /* the message, before the look at `sleepers` */
        mproc__eventcount_wake(&e->way->items);
    }
    if (bytes) {
        let_receive(e->way);
    }
    return r;
}

static int try_send(const struct mproc__end *e, struct outgoing *out) {
    if (mproc__way_state(e->way) & MPROC__PLAIN) {
        return out->nbuffers > 0 ? -EAGAIN : write_bytes_out(e, out);
    }
    int r = prepare(e, out);
    return r == 0 ? send_in(e, out) : r;
}

/* ---------------------------------------------------------------- offering */

static bool is_waiting(const struct mproc__way *way, const struct outgoing *out) {
    return mproc__offer_stands(&way->offer, out->name) &&
           (mproc__way_state(way) & MPROC__IN_RING) != 0;
}

/* Looks whether it is taken. */
static void look_for_taker(const struct mproc__way *way, const struct outgoing *out) {
    int64_t end = mproc__os_now() + MPROC__LOOK_AT_LARGE;
    while (is_waiting(way, out) && !mproc__way_is_here(&way->receiver_cpu) &&
           mproc__os_now() < end) {
        mproc__way_pause(MPROC__STREAM_PAUSES);
    }
}

/* Sleeps for a slice on what the senders of large messages wait for, unless `over`. 0; -EINTR. */
static int sleep_offered(struct mproc__way *way, struct mproc__slices *slices,
                         const struct outgoing *out) {
    uint32_t seen = mproc__eventcount_announce(&way->offer.taken);
    if (out->name != 0 ? !is_waiting(way, out) : !mproc__offer_is_there(&way->offer)) {
        return 0;
    }
    int64_t slice = mproc__user_slice(slices);
    int r = slice < 0 ? (int)slice : mproc__eventcount_sleep(&way->offer.taken, seen, slice);
    return r == -EINTR ? r : 0;
}

/* It is this member's again. False: it has been taken. */
static bool retract(struct mproc__way *way, struct outgoing *out) {
    struct mproc__hand *hand = mproc__hand_get();
    bool stood = mproc__offer_retract(&way->offer, hand, out->name);
    if (stood) {
        out->block = (void *)(uintptr_t)hand->unheld;
        mproc__object_adopt(hand, &hand->unheld);
        mproc__offer_call(&way->offer); /* who wants to offer another */
    }
    mproc__hand_put(hand);
    return stood;
}

/* Until it has been taken: 0. RETRACTED: there is no ring any more; the errors of sending. */
static int stay_by(mproc_channel *channel, int side, int fd, struct outgoing *out) {
    struct mproc__way *way = mproc__channel_sending(channel, side, fd).way;
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    int r = 0;
    look_for_taker(way, out);
    struct mproc__hand *noted =
        is_waiting(way, out) ? mproc__wait_begin(&way->room, MPROC__NEVER) : NULL;
    while (r == 0 && is_waiting(way, out)) {
        r = sleep_offered(way, &slices, out);
        if (r == 0 && !receiver_lives(way)) {
            r = is_gone(channel, side, fd);
        }
    }
    mproc__wait_end(noted);
    if (!retract(way, out)) {
        return 0;
    }
    return r == 0 ? RETRACTED : r;
}

/* Until the one that another sender offers has been taken: 0; -EINTR. */
static int await_turn(struct mproc__way *way, struct outgoing *out) {
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    out->name = 0;
    out->asked = false;
    return sleep_offered(way, &slices, out);
}

/* Deals with it: 0: try again. */
static int after_refusal(mproc_channel *channel, int side, int fd, struct outgoing *out,
                         int refusal) {
    struct mproc__end e = mproc__channel_sending(channel, side, fd);
    int r = 0;
    switch (refusal) {
    case NOBODY: out->asked = true; return is_gone(channel, side, fd);
    case BUSY: return await_turn(e.way, out);
    case NO_ROOM: r = await_room(e.way); break;
    case TOO_LARGE: break;
    default: return 0;
    }
    return r == 0 ? mproc__passing_by_sender(&e) : r < 0 ? r : 0;
}

static int send_out(mproc_channel *channel, int side, int fd, struct outgoing *out) {
    struct mproc__end e = mproc__channel_sending(channel, side, fd);
    for (;;) {
        int r = try_send(&e, out);
        if (r == OFFERED) {
            r = stay_by(channel, side, fd, out);
        }
        if (r > 0) {
            r = after_refusal(channel, side, fd, out, r);
        } else {
            return r;
        }
        if (r != 0) {
            return r;
        }
    }
}

int mproc_channel_send_with(mproc_channel *channel, int side, int fd, const struct iovec *lent,
                            int n, mproc_buffer *const *buffers, size_t nbuffers) {
    if (!mproc__channel_known(channel, side) || !mproc__are_buffers(buffers, nbuffers)) {
        return MPROC_EOTHER;
    }
    if (n < 0) {
        return -EINVAL;
    }
    struct outgoing out = {.pieces = lent,
                           .n = n,
                           .size = mproc__pieces_size(lent, n),
                           .buffers = buffers,
                           .nbuffers = nbuffers,
                           .patient = true,
                           .in = mproc__channel_receiving(channel, side, fd)};
    int r = send_out(channel, side, fd, &out);
    drop_block(&out);
    mproc__way_draining = NULL;
    return r;
}

int mproc_channel_sendv(mproc_channel *channel, int side, int fd, const struct iovec *lent, int n) {
    return mproc_channel_send_with(channel, side, fd, lent, n, NULL, 0);
}

size_t mproc_channel_offers(mproc_channel *channel, int side, int fd) {
    if (!mproc__channel_known(channel, side) ||
        !(mproc__way_state(&channel->ways[side]) & (MPROC__IN_RING | MPROC__INVITED))) {
        return SIZE_MAX;
    }
    struct mproc__end e = mproc__channel_sending(channel, side, fd);
    return (size_t)kernel_takes(&e);
}

int mproc_channel_send(mproc_channel *channel, int side, int fd, const void *lent, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)lent, size}; /* only read from */
    return mproc_channel_sendv(channel, side, fd, &piece, 1);
}

int mproc_channel_try_sendv(mproc_channel *channel, int side, int fd, const struct iovec *lent,
                            int n) {
    if (!mproc__channel_known(channel, side)) {
        return MPROC_EOTHER;
    }
    if (n < 0) {
        return -EINVAL;
    }
    struct mproc__end e = mproc__channel_sending(channel, side, fd);
    struct outgoing out = {.pieces = lent,
                           .n = n,
                           .size = mproc__pieces_size(lent, n),
                           .in = mproc__channel_receiving(channel, side, fd)};
    if (is_large(&out) || !(mproc__way_state(e.way) & (MPROC__IN_RING | MPROC__INVITED)) ||
        !mproc__mutex_try(&e.way->senders, mproc__mutex_mine())) {
        return -EAGAIN;
    }
    int r = try_ring(&e, &out);
    mproc__way_release(&e.way->senders);
    if (r != 0) {
        return -EAGAIN;
    }
    mproc__fence_after_rmw(); /* the message, before the look at `sleepers` */
    mproc__eventcount_wake(&e.way->items);
    mproc__way_draining = NULL;
    return 0;
}
