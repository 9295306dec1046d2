/*
 * channel.c - messages between members through memory, beside a descriptor that tells the truth
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A channel has two sides and a way for each of them to send on. Each side has its
 * end of a socket pair or pipe (mproc_pipe_new()), and the wire format is that of pipe.c. A way
 * begins quiet: all messages are bytes in the kernel. A receiver that looks for a message before it
 * sleeps invites the sender to use the ring, a piece of the arena. The sender accepts when nothing
 * of its own is left in the kernel: it puts a *marker* there, four bytes that begin no message, and
 * from then on writes its messages into the ring, in the wire format too. There is no other state:
 * what is in the kernel is either messages or a marker, and behind the marker nothing.
 *
 *     quiet --receiver looks--> invited --sender marks--> ring
 *       ^                          |                        |
 *       +----receiver sleeps-------+                        |
 *       +----receiver finds the ring empty and nothing offered, takes the marker away
 *       +----somebody passes the ring's bytes to the kernel-+
 *       +----a descriptor is asked for--> plain, for good
 *
 * Nobody sleeps in the library for long. A receiver naps for NAP; then it takes the marker away, so
 * that the next message comes as bytes, and sleeps in the kernel. (At a pipe it looks at the ring
 * again after each SLICE: another receiver may have invited, and no marker wakes anybody.) A sender
 * that finds the ring full waits for PATIENCE; then it passes the ring's bytes to the kernel, and
 * goes on there. So the two sides have the room that a pipe has, and block where a pipe blocks.
 *
 * A receiver that keeps up with a stream of small messages would look at the ring for each of them,
 * and each look takes a cache line from the sender. It leaves the sender a moment, up to 1 us, if
 * its last look found several (way.h). A thread that has sent since then looks at once, since it is
 * at one end of a dialogue.
 *
 * A stream often begins with bytes, as its receiver comes later or shares its CPU with the sender.
 * It gets into the ring when the sender, invited, is so far ahead that its receiver has enough to
 * do: then the sender waits until the kernel has been drained, once, and is woken by the receiver
 * that finds nothing more (channel/marker.c). A receiver that may be on the sender's CPU gets its
 * turn after each STEP_BACK messages that are sent as bytes (channel/send.c).
 *
 * How the end of the other side is noticed. All copies of a descriptor are the kernel's to count:
 * those of killed members, of duplicates, of programs that only inherited it. A receiver sleeps in
 * the kernel, which tells it of the end. A sender into the ring looks whether the member that
 * received last lives (a load), and asks the kernel when it does not, or has closed its end.
 *
 * A marker keeps its sender's descriptor open as long as nobody takes it away. So a side that sends
 * bytes first takes the marker away that the other side has put, and no other comes meanwhile: else
 * a sender would be blocked for ever by a peer that is dead.
 *
 * How the change-over works, at any moment and from either side. The marker of a socket carries the
 * sender's own descriptor. So a receiver alone can make bytes of what is in the ring: it peeks at
 * the marker, gets the descriptor with it, writes the ring's bytes behind the marker, and takes the
 * marker away. A message that is in the ring while its sender computes, or is dead, is not lost to
 * somebody who looks at the descriptor. (A pipe needs no marker: its reading end is opened anew for
 * writing.) The ring is a fraction of what a socket or pipe takes at once, so this is one write,
 * which a kill divides only where a pipe had no memory for all of it: the rest can be told from
 * what the pipe has. From the sender's side the same write goes through its own end. A peer that
 * sleeps in the kernel meanwhile is woken by it; one that looks sees the state.
 *
 * Strangers. A process that is not of the family, or has no Connection that knows the channel, has
 * got its descriptor from one that was asked for, and then the way is plain. A forked child that
 * uses both ends shares the channel: both locks below are for any number of members.
 *
 * Large messages. What a pipe takes without a receiver goes as bytes. What is larger is *offered*
 * beside the ring, in a block of its own (channel/offer.c), and its sender stays until the block
 * has been taken, as it would stay in write(). When the way has no ring any more, the sender takes
 * the offer back and sends bytes. The message has its place behind what the ring had, so nobody
 * need wait until an offer is gone but who has another. A receiver of large messages stays near the
 * ring for NEAR, since it takes long to make one and to write its bytes.
 *
 * Buffers. What a message of bytes takes along is left beside the ways (channel/luggage.c), and the
 * message names it. A process that has only the descriptor cannot fetch it: so none is given once a
 * way is plain.
 *
 * Its parts, each in a file of channel/: sides and their ways (sides.h, way.c: the state, the
 * locks, what a death left), the ring, its flushing, the marker, passing, sending, receiving,
 * offers, luggage.
 * Here is the channel's life.
 *
 * Cost. 1,024 bytes of the arena for a channel, and RING for a way when its first marker is put.
 *
 * Shared state of a way.
 *   senders    a robust mutex. Who has it may send bytes, mark, write into the ring.
 *   receivers  a robust mutex. Who has it may read the beginning of a message, invite, take from
 *              the ring. A thread that needs both takes this one first. It is never held by a
 *              thread that blocks; `senders` is only while the way has no ring.
 *   state      Changed by compare-and-swap. INVITED comes and goes under `receivers`, RING and
 *              MARKING come under `senders` and go under both; MARK goes under `receivers`; PLAIN
 *              never goes.
 *   tail       bytes ever written into the ring. Written under `senders`; read by any thread: its
 *              store is the commit of a message.
 *   head       bytes ever taken. Written under `receivers`; its store is the commit of a receive.
 *   *_seen     the other side's copy of them, never ahead.
 *   receiver   the member that invited or took last; 0: it has closed its end. A hint. Each sender
 *              reads it with each message, so it stands beside the state, and is seldom written.
 *   queued     what the kernel says is on its way while only the marker is.
 *   sender     the member that marked last; 0: it has closed its end. A hint: a receiver that tries
 *              in vain, and never waits, leaves the empty ring of a dead one, which hides the end.
 *   ended      1: the kernel has said that no sender is left, which never changes.
 *   *_cpu      where the sides ran last. Hints.
 *   items      an event count: a receiver that naps waits for the next message.
 *   room       the same for a sender that has found the ring full, or waits for a drained kernel.
 *   bytes      1: a sender writes a large message to the kernel, so a receiver does not nap. A
 *              hint.
 *   uninviting a member of the receiving side that sends bytes on the other way, so nobody invites
 *              on this one while that member lives; 0: none does. Written by the thread that has
 *              the other way's `senders`, and set under `receivers`. Cleared when that has died.
 *   steps, rest   how many looks were in vain lately, and how many waits begin without one before
 *              the next: 1, 3, 7, ... 63. Hints.
 *   declined   how many messages are read as bytes before the next invitation. A hint.
 *   large      1: the message that was received last was a large one. A hint.
 *   kernel_takes   how large a message the kernel takes when nobody receives; 0: not asked yet.
 *   offer      a large message, see channel/offer.c. Made under `senders`, taken under `receivers`.
 *
 * Invariants.
 *   N1  head_seen <= head <= tail_seen <= tail <= head + RING.
 *   N2  From head to tail there are whole messages in the wire format.
 *   N3  head == tail, unless the way has RING.
 *   N4  With RING, the kernel has the marker and nothing else. (A pipe: nothing.)
 *   N5  The state is one of: quiet, INVITED, MARKING, RING, RING and PASSING, PLAIN; with a socket,
 *       RING has MARK, and what was passed has it until a receiver has taken the marker away.
 *
 * If a member dies here. Before the store of tail or head nothing has happened. With MARKING, RING
 * or PASSING half come or gone, the next thread that takes `senders` asks the kernel what it has
 * (channel/way.c): no bytes, so there is no marker; a marker; or a marker and more, so the ring's
 * bytes have been passed. (A pipe may have a part of them, and gets the rest.) The marker that is
 * to be taken away is looked at first: it may be gone already. A receiver that waits takes
 * `senders` before it sleeps in the kernel. One that only tries takes it from a dead owner when
 * such a state is in its way.
 *
 * What it does not do: messages above MPROC__RING_MOST that a pipe takes go as bytes, since their
 * sender need not wait, and a ring of such could not be passed to the kernel in one write.
 */
#include "channel/ring.h"
#include "channel/sides.h"
#include "core/facts.h"
#include "core/heap.h"
#include "core/make.h"
#include "core/parcel.h"

/* ---------------------------------------------------------------- luggage */

/* A parcel that no member holds. */
static int make_luggage(struct mproc__hand *hand, mproc_buffer *const *buffers, size_t n) {
    size_t head;
    if (n == 0 || __builtin_mul_overflow(n, sizeof(struct mproc__hold), &head) ||
        head > SIZE_MAX / 4 ||
        !mproc__heap_can_have(mproc__parcel_head(n) + MPROC__LUGGAGE_PAYLOAD)) {
        return n == 0 ? -EINVAL : -ENOMEM;
    }
    return mproc__parcel_make(hand, buffers, n, MPROC__LUGGAGE_PAYLOAD);
}

int mproc_channel_give(mproc_channel *channel, int side, mproc_buffer *const *buffers, size_t n,
                       uint64_t *name) {
    if (!mproc__channel_known(channel, side) || !mproc__are_buffers(buffers, n)) {
        return MPROC_EOTHER;
    }
    if (mproc__way_state(&channel->ways[side]) & MPROC__PLAIN) {
        return -EAGAIN;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = make_luggage(hand, buffers, n);
    if (r == 0) {
        *name = mproc__luggage_add(&channel->luggage, hand);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_channel_given(const mproc_channel *channel) {
    return mproc__channel_known(channel, 0) && mproc__luggage_is_there(&channel->luggage);
}

int mproc_channel_fetch(mproc_channel *channel, uint64_t name, mproc_message *message) {
    if (!mproc__channel_known(channel, 0)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__luggage_take(&channel->luggage, hand, name);
    if (r == 0) {
        message->block = (void *)(uintptr_t)hand->message;
        mproc__object_adopt(hand, &hand->message);
    }
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- life */

static int fill(struct mproc__hand *hand, void *object, const void *duplex) {
    mproc_channel *channel = object;
    (void)hand;
    for (int i = 0; i < 2; i++) {
        struct mproc__way *way = &channel->ways[i];
        way->socket = *(const int *)duplex != 0;
        way->sender_cpu = way->receiver_cpu = UINT32_MAX;
        mproc__offer_init(&way->offer);
    }
    mproc__luggage_init(&channel->luggage);
    return 0;
}

int mproc_channel_new(mproc_channel **out, int ends[2], int duplex) {
    int made[2];
    int r = mproc_pipe_new(made, duplex);
    if (r != 0) {
        return r;
    }
    r = mproc__object_build(out, MPROC__KIND_CHANNEL, sizeof(mproc_channel), fill, &duplex);
    if (r != 0) {
        mproc__os_close(made[0]);
        mproc__os_close(made[1]);
        return r;
    }
    ends[0] = made[0];
    ends[1] = made[1];
    return 0;
}

void mproc__channel_destroy(struct mproc__hand *hand, void *object) {
    mproc_channel *channel = object;
    for (int i = 0; i < 2; i++) {
        mproc__offer_destroy(&channel->ways[i].offer, hand);
        mproc__heap_free(hand, &channel->ways[i].ring);
    }
    mproc__luggage_destroy(&channel->luggage, hand);
}

/* ---------------------------------------------------------------- check */

static bool state_is_known(const struct mproc__way *way, uint32_t state) {
    uint32_t marked = mproc__way_mark(way);
    return state == 0 || state == MPROC__INVITED || state == MPROC__MARKING ||
           state == (MPROC__IN_RING | marked) ||
           state == (MPROC__IN_RING | marked | MPROC__PASSING) || state == MPROC__PLAIN ||
           (marked != 0 && (state == MPROC__MARK || state == (MPROC__MARK | MPROC__PLAIN)));
}

/* Under `receivers`: the head stands still, and the tail only grows. */
static int check_messages(const struct mproc__way *way, uint64_t tail, char *why, size_t size) {
    for (uint64_t at = way->head; at != tail;) {
        size_t length = mproc__ring_next_size(way, at);
        if (length > MPROC__RING_MOST || tail - at < MPROC__RING_HEADER + length) {
            return mproc__corrupt(why, size, "N2: a message of %zu bytes", length);
        }
        at += MPROC__RING_HEADER + length;
    }
    return 0;
}

/* Under `receivers`. */
static int check_way(const struct mproc__way *way, char *why, size_t size) {
    uint64_t tail = mproc__load64(&way->tail); /* SYNC(channel.tail) */
    uint64_t seen = mproc__peek64(&way->head_seen);
    uint32_t state = mproc__way_state(way);
    if (seen > way->head || way->head > way->tail_seen || way->tail_seen > tail ||
        tail - way->head > MPROC__RING) {
        return mproc__corrupt(why, size, "N1: seen %llu, head %llu, seen %llu, tail %llu",
                              (unsigned long long)seen, (unsigned long long)way->head,
                              (unsigned long long)way->tail_seen, (unsigned long long)tail);
    }
    if (!(state & MPROC__IN_RING) && tail != way->head) {
        return mproc__corrupt(why, size, "N3: messages in no ring");
    }
    if (!state_is_known(way, state)) {
        return mproc__corrupt(why, size, "N5: state %u", state);
    }
    return check_messages(way, tail, why, size);
}

int mproc_channel_check(mproc_channel *channel, char *why, size_t size) {
    if (!mproc__object_is(channel, MPROC__KIND_CHANNEL)) {
        return mproc__corrupt(why, size, "N: %p is no channel", (void *)channel);
    }
    int r = 0;
    for (int i = 0; r == 0 && i < 2; i++) {
        struct mproc__way *way = &channel->ways[i];
        mproc__way_enter_receivers(way);
        r = check_way(way, why, size);
        r = r == 0 ? mproc__offer_check(&way->offer, why, size) : r;
        mproc__way_release(&way->receivers);
    }
    return r == 0 ? mproc__luggage_check(&channel->luggage, why, size) : r;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__channel_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_channel *channel = copy;
    if (size < sizeof *channel) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        const struct mproc__way *way = &channel->ways[i];
        uint64_t bytes = way->tail - way->head;
        out->room_at[i] = (uint32_t)(offsetof(mproc_channel, ways) + (size_t)i * sizeof *way +
                                     offsetof(struct mproc__way, room));
        out->bytes += bytes <= MPROC__RING ? bytes : 0;
    }
    return true;
}
