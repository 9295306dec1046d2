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
 * which a kill cannot divide. From the sender's side the same write goes through its own end. A
 * peer that sleeps in the kernel meanwhile is woken by it; one that looks sees the state.
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
 * message names it. Who has only the descriptor cannot have it: so none is given once a way is
 * plain.
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
 *   receiver   the member that invited or took last; 0: it has closed its end. A hint.
 *   queued     what the kernel says is on its way while only the marker is.
 *   ended      1: the kernel has said that no sender is left, which never changes.
 *   *_cpu      where the sides ran last. Hints.
 *   items      an event count: a receiver that naps waits for the next message.
 *   room       the same for a sender that has found the ring full.
 *   bytes      1: a sender writes to the kernel, so a receiver does not nap. A hint.
 *   uninviting 1: the receiving side sends bytes on the other way, so nobody invites on this one.
 *              Written by the thread that has the other way's `senders`.
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
 * (mend()): no bytes, so there is no marker; a marker; or a marker and more, so the ring's bytes
 * have been passed. The marker that is to be taken away is looked at first: it may be gone already.
 *
 * What it does not do: messages above MESSAGE_MOST that a pipe takes go as bytes, since their
 * sender need not wait, and a ring of such could not be passed to the kernel in one write.
 */
#include <string.h>
#include <sys/uio.h>

#include "channel/luggage.h"
#include "channel/offer.h"
#include "core/eventcount.h"
#include "core/facts.h"
#include "core/heap.h"
#include "core/kinds.h"
#include "core/make.h"
#include "core/mutex.h"
#include "core/parcel.h"
#include "core/wait.h"
#include "system/os.h"
#include "system/pieces.h"

#define RING ((uint64_t)32768) /* half of what a pipe takes, a sixth of a socket */
#define MESSAGE_MOST ((size_t)8192)
#define HEADER 4
#define MARKER_SIZE 4
#define SPIN_PAUSES 6        /* between two looks at most; one takes 17 ns */
#define STREAM_PAUSES 16     /* more than these, when a stream is drained */
#define LINGER (RING / 4)    /* bytes that a sender waits for, once the ring has been full */
#define LOOK 40000           /* ns: no more than two sleeps and wake-ups cost */
#define DRAINING 100000      /* ns between two looks whether the kernel has been drained */
#define LOOK_AT_LARGE 300000 /* ns: what copying a large message takes, often */
#define STALLED 5000         /* ns in which a receiver at work has read something */
#define STEPS_MOST 6
#define DECLINED 31                /* messages */
#define NAP (2 * MPROC_MSEC)       /* of a receiver, which then lets the kernel wake it */
#define PATIENCE (10 * MPROC_MSEC) /* of a sender that finds the ring full */
#define SLICE (50 * MPROC_MSEC)    /* of a receiver that sleeps at a pipe */
#define NEAR MPROC_SEC             /* of a receiver of large messages, before the kernel wakes it */

enum state {
    PLAIN = 1,    /* the ring is not used any more */
    MARK = 2,     /* the kernel has a marker, before all other bytes */
    IN_RING = 4,  /* RING in the comments */
    INVITED = 8,  /* a receiver looks at the ring */
    MARKING = 16, /* a marker is being sent */
    PASSING = 32  /* the ring's bytes are being written behind the marker */
};

static const unsigned char marker[MARKER_SIZE] = {0x80, 'm', 'p', 'r'};

struct way {
    _Alignas(MPROC__LINE) struct mproc__mutex senders;
    uint64_t tail;
    uint64_t head_seen;
    uint32_t sender_cpu;
    uint32_t queued;
    uint64_t kernel_takes;

    _Alignas(MPROC__LINE) struct mproc__mutex receivers;
    uint64_t head;
    uint64_t tail_seen;
    uint64_t receiver;
    uint32_t receiver_cpu;
    uint32_t steps;
    uint32_t rest;
    uint32_t declined;
    uint32_t large;

    _Alignas(MPROC__LINE) uint32_t state;
    uint32_t socket; /* 1; 0: a pipe */
    uint32_t ended;
    uint64_t ring; /* a block of RING bytes; 0: none yet */
    struct mproc__eventcount items;
    struct mproc__eventcount room;
    uint32_t bytes;
    uint32_t uninviting;

    _Alignas(MPROC__LINE) struct mproc__offer offer;
};

struct mproc_channel {
    struct mproc__object object;
    struct way ways[2]; /* by the side that sends */
    struct mproc__luggage luggage;
};

/* One side's end of a way. */
struct end {
    struct way *way;
    int fd;
};

/* Not mproc__expect(): a forked child that is no member has no arena to look at. */
static bool known(const mproc_channel *channel, int side) {
    bool is = mproc__object_is(channel, MPROC__KIND_CHANNEL);
    assert(is || mproc__table == NULL);
    assert(side == 0 || side == 1);
    return is && (side == 0 || side == 1);
}

static struct end sending(mproc_channel *channel, int side, int fd) {
    return (struct end){&channel->ways[side], fd};
}

static struct end receiving(mproc_channel *channel, int side, int fd) {
    return (struct end){&channel->ways[1 - side], fd};
}

/* ---------------------------------------------------------------- the state */

static uint32_t state_of(const struct way *way) {
    return mproc__load32(&way->state); /* SYNC(channel.state) */
}

/* SYNC(channel.state): the marker, the ring's bytes, before the state that tells of them. */
static void set_state(struct way *way, uint32_t state) {
    mproc__store32(&way->state, state);
}

static bool change_state(struct way *way, uint32_t from, uint32_t to) {
    return mproc__cas32(&way->state, &from, to);
}

static bool ring_has(const struct way *way) {
    /* SYNC(channel.tail) */
    return mproc__load64(&way->tail) != mproc__load64(&way->head);
}

/* With RING. */
static bool has_any(const struct way *way) {
    return ring_has(way) || mproc__offer_is_there(&way->offer);
}

static uint32_t mark_of(const struct way *way) {
    return way->socket ? MARK : 0;
}

/* ---------------------------------------------------------------- what a death left */

/* Under `senders`, with RING or MARKING: is the marker in the kernel, and is there more? Negative:
 * the kernel does not tell. */
struct found {
    bool marker;
    bool more;
};

static int find(const struct end *e, bool sender, struct found *found) {
    const struct way *way = e->way;
    int n = way->socket && sender ? mproc__os_unread(e->fd) : mproc__os_readable(e->fd);
    if (n < 0) {
        return n;
    }
    if (!way->socket) {
        *found = (struct found){true, n > 0};
    } else if (sender) {
        *found = (struct found){n > 0, (uint32_t)n > way->queued};
    } else {
        *found = (struct found){n > 0, n > MARKER_SIZE};
    }
    return 0;
}

/* All that is in the ring is somebody else's now. */
static void empty_ring(struct way *way) {
    mproc__poke64(&way->tail_seen, way->tail);
    mproc__store64(&way->head, way->tail); /* SYNC(channel.head) */
    mproc__program_order();
}

/* Under `senders`, whose last owner died. */
static int mend(const struct end *e, bool sender) {
    struct way *way = e->way;
    uint32_t state = state_of(way);
    struct found found;
    if (!(state & (IN_RING | MARKING))) {
        return 0;
    }
    int r = find(e, sender, &found);
    if (r != 0) {
        return r;
    }
    if (state & MARKING) {
        set_state(way, way->socket && found.marker ? MARK : 0);
    } else if (!found.marker) {
        set_state(way, 0); /* it was taken away, as the ring was empty */
    } else if ((state & PASSING) && found.more) {
        empty_ring(way);
        set_state(way, mark_of(way));
    } else {
        set_state(way, IN_RING | mark_of(way));
    }
    return 0;
}

/* ---------------------------------------------------------------- locks */

static void release(struct mproc__mutex *mutex) {
    (void)mproc__mutex_release(mutex);
}

static int acquire(struct mproc__mutex *mutex, enum mproc__mutex_for whom) {
    return mproc__mutex_acquire(mutex, MPROC_FOREVER, whom, NULL);
}

/* -EINTR, unless `always`. A dead owner's half-done work is mended. */
static int enter_senders(const struct end *e, bool sender, bool always) {
    struct mproc__mutex *mutex = &e->way->senders;
    int r = acquire(mutex, always ? MPROC__FOR_USER_ALWAYS : MPROC__FOR_USER);
    if (r == -EOWNERDEAD) {
        r = mend(e, sender);
        if (r != 0) {
            release(mutex);
        }
    }
    return r;
}

/* What a dead owner left of its work is mended by the next thread that has `senders`, too. */
static void enter_receivers(struct way *way) {
    (void)acquire(&way->receivers, MPROC__FOR_USER_ALWAYS);
}

/* Both, if there is a ring: 1. 0: there is none, and nothing is held: a sender may have `senders`
 * then until the kernel takes its bytes, and must not keep a receiver waiting. */
static int enter_ring(const struct end *e, bool sender) {
    enter_receivers(e->way);
    int r = 0;
    if (state_of(e->way) & (IN_RING | MARKING)) {
        r = enter_senders(e, sender, true);
        r = r == 0 ? 1 : r;
    }
    if (r <= 0) {
        release(&e->way->receivers);
    }
    return r;
}

static void leave_locks(struct way *way) {
    release(&way->senders);
    release(&way->receivers);
}

/* ---------------------------------------------------------------- the ring */

static char *ring_at(const struct way *way, uint64_t at) {
    return (char *)(uintptr_t)way->ring + at % RING;
}

/* Whether so many bytes of the ring are in one piece. */
static inline bool in_one_piece(uint64_t at, size_t size) {
    return at % RING + size <= RING;
}

static uint64_t write_bytes(const struct way *way, uint64_t at, const void *from, size_t size) {
    size_t first = RING - at % RING;
    if (size > 0 && size <= first) {
        memcpy(ring_at(way, at), from, size);
    } else if (size > 0) {
        memcpy(ring_at(way, at), from, first);
        memcpy(ring_at(way, 0), (const char *)from + first, size - first);
    }
    return at + size;
}

static void read_bytes(const struct way *way, uint64_t at, void *out, size_t size) {
    size_t first = RING - at % RING;
    if (size > 0 && size <= first) {
        memcpy(out, ring_at(way, at), size);
    } else if (size > 0) {
        memcpy(out, ring_at(way, at), first);
        memcpy((char *)out + first, ring_at(way, 0), size - first);
    }
}

/* Under `senders`. As far as the sender knows. */
static bool has_room(struct way *way, size_t size) {
    if (way->tail + size - way->head_seen > RING) {
        mproc__poke64(&way->head_seen, mproc__load64(&way->head)); /* SYNC(channel.head) */
    }
    return way->tail + size - way->head_seen <= RING;
}

/* Under `senders`, where there is room. */
static void put(struct way *way, const struct iovec *pieces, int n, size_t size) {
    unsigned char header[HEADER] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                                    (unsigned char)(size >> 8), (unsigned char)size};
    uint64_t at = way->tail + HEADER;
    if (mproc__likely(in_one_piece(way->tail, HEADER))) {
        memcpy(ring_at(way, way->tail), header, HEADER);
    } else {
        (void)write_bytes(way, way->tail, header, HEADER);
    }
    for (int i = 0; i < n; i++) {
        at = write_bytes(way, at, pieces[i].iov_base, pieces[i].iov_len);
    }
    mproc__poke32(&way->sender_cpu, (uint32_t)mproc__os_cpu());
    mproc__store64(&way->tail, at); /* SYNC(channel.tail): the message, before its end. COMMIT */
}

static size_t next_size(const struct way *way, uint64_t at) {
    unsigned char h[HEADER];
    if (mproc__likely(in_one_piece(at, HEADER))) {
        memcpy(h, ring_at(way, at), HEADER);
    } else {
        read_bytes(way, at, h, HEADER);
    }
    return (size_t)h[0] << 24 | (size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3];
}

/* Under `receivers`. */
static void note_receiver(struct way *way, bool large) {
    mproc__poke64(&way->receiver, mproc__self_token());
    mproc__poke32(&way->receiver_cpu, (uint32_t)mproc__os_cpu());
    if (mproc__unlikely(mproc__peek32(&way->large) != large)) {
        mproc__poke32(&way->large, large);
    }
}

/* Under `receivers`: 0; MPROC_CHANNEL_LARGER; -EAGAIN: the ring is empty. */
static int take_small(struct way *way, mproc_message *message) {
    if (way->tail_seen == way->head) {
        mproc__poke64(&way->tail_seen, mproc__load64(&way->tail)); /* SYNC(channel.tail) */
        if (way->tail_seen == way->head) {
            return -EAGAIN;
        }
    }
    size_t size = message->size = next_size(way, way->head);
    if (size > message->room_size) {
        return MPROC_CHANNEL_LARGER;
    }
    read_bytes(way, way->head + HEADER, message->room, size);
    message->data = message->room;
    note_receiver(way, false);
    /* SYNC(channel.head): the message has been read, before its room is free. COMMIT */
    mproc__store64(&way->head, way->head + HEADER + size);
    return 0;
}

/* What is in the hand becomes the member's, and the caller's. */
static void hand_over(struct mproc__hand *hand, mproc_message *message) {
    struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->message;
    mproc__object_adopt(hand, &hand->message);
    message->block = object;
    message->data = mproc__parcel_payload(object);
}

/* Under `receivers`, with an offer: as take_small(). */
static MPROC__NOINLINE int take_large(struct way *way, mproc_message *message, bool boxed) {
    struct mproc__hand *hand = mproc__hand_get();
    size_t most = boxed ? SIZE_MAX : message->room_size;
    int r = mproc__offer_take(&way->offer, hand, most, &message->size);
    if (r == 0) {
        hand_over(hand, message);
        note_receiver(way, true);
        mproc__offer_call(&way->offer);
    }
    mproc__hand_put(hand);
    return r == -EMSGSIZE ? MPROC_CHANNEL_LARGER : r;
}

/* The same for whatever comes next. `boxed`: a large message may stay in its block. */
static int take(struct way *way, mproc_message *message, bool boxed) {
    return mproc__offer_is_next(&way->offer, way->head) ? take_large(way, message, boxed)
                                                        : take_small(way, message);
}

static int need_ring(struct way *way) {
    if (way->ring != 0) {
        return 0;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__heap_alloc(hand, RING, &hand->block);
    if (r == 0) {
        mproc__hand_move(hand, &hand->block, &way->ring);
    }
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- marking */

/* Can what the ring holds always be passed to the kernel in one write, by a receiver alone? */
static bool fits(const struct end *e) {
    if (e->way->socket) {
        return mproc__os_socket_room(e->fd) >= (int)(4 * RING);
    }
    int again = mproc__os_pipe_room(e->fd) >= (int)(2 * RING) ? mproc__os_pipe_again(e->fd) : -1;
    if (again >= 0) {
        mproc__os_close(again);
    }
    return again >= 0;
}

static int unread(const struct end *e) {
    return e->way->socket ? mproc__os_unread(e->fd) : mproc__os_readable(e->fd);
}

static bool is_here(const uint32_t *cpu) {
    return mproc__peek32(cpu) == (uint32_t)mproc__os_cpu();
}

/* Whether the kernel has nothing left that the receiver has not read. A stream that has begun with
 * bytes would never get into the ring while its sender is ahead: so a sender that is patient waits,
 * as long as the receiver reads on. */
static bool is_drained(const struct end *e, bool patient) {
    int left = unread(e), before = left;
    patient = patient && !is_here(&e->way->receiver_cpu);
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
static bool is_drained_soon(const struct end *e) {
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

/* How large a message may be that a sender has sent though nobody receives: so much fits into the
 * kernel. (The last piece that a socket takes may exceed its room.) */
static uint64_t kernel_takes(const struct end *e) {
    uint64_t bytes = mproc__peek64(&e->way->kernel_takes);
    if (bytes == 0) {
        int room = e->way->socket ? mproc__os_socket_room(e->fd) : mproc__os_pipe_room(e->fd);
        bytes = room <= 0 ? UINT64_MAX : e->way->socket ? 2 * (uint64_t)room : (uint64_t)room;
        mproc__poke64(&e->way->kernel_takes, bytes);
    }
    return bytes;
}

static int send_marker(const struct end *e) {
    return mproc__os_send_now(e->fd, marker, MARKER_SIZE, e->fd);
}

/* Under `senders`: goes from INVITED to RING. False: it cannot, and the message goes as bytes. */
static bool mark(const struct end *e, bool patient, bool large) {
    struct way *way = e->way;
    if (!is_drained(e, patient) && !(large && is_drained_soon(e))) {
        if (patient) { /* the receiver is busy: it need not invite for a while */
            mproc__poke32(&way->declined, DECLINED);
            (void)change_state(way, INVITED, 0);
        }
        return false;
    }
    if (!mproc__offer_clear(&way->offer)) {
        return false; /* its sender is about to take it back */
    }
    if (way->ring == 0 && (!fits(e) || need_ring(way) != 0)) {
        (void)change_state(way, INVITED, PLAIN);
        return false;
    }
    if (!change_state(way, INVITED, MARKING)) {
        return false;
    }
    int r = way->socket ? send_marker(e) : 0;
    int queued = r == 0 && way->socket ? mproc__os_unread(e->fd) : 0;
    if (r != 0 || queued < 0) {
        set_state(way, r == 0 ? MARK : 0);
        return false;
    }
    way->queued = (uint32_t)queued;
    set_state(way, IN_RING | mark_of(way));
    return true;
}

/* Under `receivers`, with MARK: takes the marker away, unless a receiver that died has. */
static int take_marker(const struct end *e) {
    unsigned char found[MARKER_SIZE];
    ssize_t n = mproc__os_peek(e->fd, found, sizeof found, NULL);
    if (n == (ssize_t)sizeof found && memcmp(found, marker, sizeof found) == 0) {
        n = mproc__os_read_now(e->fd, found, sizeof found);
    }
    mproc__program_order();
    return n < 0 && n != -EAGAIN && n != -ECONNRESET ? (int)n : 0;
}

/* The same, without a ring. */
static int unmark(const struct end *e) {
    int r = take_marker(e);
    if (r == 0) {
        (void)mproc__clear32(&e->way->state, MARK); /* SYNC(channel.state) */
    }
    return r;
}

/* Under both, with an empty ring: the next message comes as bytes. */
static int leave_ring(const struct end *e) {
    struct way *way = e->way;
    int r = way->socket ? take_marker(e) : 0;
    if (r == 0) {
        set_state(way, 0);
        mproc__offer_call(&way->offer);
    }
    return r;
}

/* ---------------------------------------------------------------- passing */

static ssize_t write_once(const struct way *way, int fd, const struct iovec *pieces) {
    return way->socket ? mproc__os_write_now(fd, pieces, 2) : mproc__os_write_quiet(fd, pieces, 2);
}

/* Under both, with RING and room for it in the kernel. MPROC_EEOF: nobody will ever read it. */
static int write_ring(const struct way *way, int fd) {
    size_t size = (size_t)(way->tail - way->head), done = 0;
    while (done < size) {
        size_t first = RING - (way->head + done) % RING;
        first = size - done < first ? size - done : first;
        struct iovec pieces[2] = {{ring_at(way, way->head + done), first},
                                  {ring_at(way, 0), size - done - first}};
        ssize_t n = write_once(way, fd, pieces);
        if (n == -EPIPE || n == -ECONNRESET) {
            return MPROC_EEOF;
        }
        if (n < 0 && n != -EINTR && done == 0) {
            return (int)n;
        }
        done += n > 0 ? (size_t)n : 0; /* the kernel has no memory for the rest yet */
    }
    return 0;
}

/* Under both, with RING. `fd`: what can be written through. Then the way has no ring, and a socket
 * still has the marker. */
static int pass(struct way *way, int fd) {
    uint32_t state = IN_RING | mark_of(way);
    set_state(way, state | PASSING);
    mproc__program_order();
    int r = write_ring(way, fd);
    if (r != 0 && r != MPROC_EEOF) {
        set_state(way, state);
        return r;
    }
    mproc__program_order();
    empty_ring(way);
    set_state(way, mark_of(way));
    mproc__full_fence();
    mproc__eventcount_wake(&way->room);
    mproc__eventcount_wake(&way->items);
    mproc__offer_call(&way->offer);
    return 0;
}

/* Under both, with RING, in a receiver. */
static int pass_by_receiver(const struct end *e) {
    unsigned char found[MARKER_SIZE];
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

/* The sender's way out of the ring. */
static int pass_by_sender(const struct end *e) {
    int r = enter_ring(e, true);
    if (r > 0) {
        r = state_of(e->way) & IN_RING ? pass(e->way, e->fd) : 0;
        leave_locks(e->way);
    }
    return r;
}

/* Under both, in a receiver. What is in the ring is passed, or stays there. */
static int settle_ring(const struct end *e, bool passing) {
    if (!(state_of(e->way) & IN_RING)) {
        return 0; /* a sender that died had not got so far */
    }
    if (ring_has(e->way) && passing) {
        return pass_by_receiver(e);
    }
    return has_any(e->way) && !passing ? 0 : leave_ring(e);
}

/* Takes a marker away that has no ring any more. */
static int settle_marker(const struct end *e) {
    int r = 0;
    enter_receivers(e->way);
    if ((state_of(e->way) & (MARK | IN_RING)) == MARK) {
        r = unmark(e);
    }
    release(&e->way->receivers);
    return r;
}

/* In a receiver: the kernel has all messages and nothing else, unless some are in the ring and are
 * not passed. */
static int settle(const struct end *e, bool passing) {
    int r = 0;
    if (state_of(e->way) & (IN_RING | MARKING)) {
        r = enter_ring(e, false);
        if (r > 0) {
            r = settle_ring(e, passing);
            leave_locks(e->way);
        }
    }
    return r == 0 && (state_of(e->way) & MARK) ? settle_marker(e) : r;
}

/* ---------------------------------------------------------------- sending */

static void pause_for(unsigned pauses) {
    for (unsigned i = 0; i < pauses; i++) {
        mproc__pause();
    }
}

static bool has_much_room(const struct way *way) {
    return mproc__load64(&way->tail) - mproc__load64(&way->head) <= RING - LINGER;
}

/* True: there is room for several messages. */
static bool linger(const struct way *way) {
    int64_t end = mproc__os_now() + LOOK;
    for (unsigned i = 0;; i++) {
        if (has_much_room(way)) {
            return true;
        }
        if (i % 8 == 0 && (is_here(&way->receiver_cpu) || mproc__os_now() >= end)) {
            return false;
        }
        pause_for(STREAM_PAUSES);
    }
}

/* Waits for room in the ring, but not for long: the kernel's is there, too. 1: there is some; 0;
 * -EINTR. */
static int await_room(struct way *way) {
    if (linger(way)) {
        return 1;
    }
    uint32_t seen = mproc__eventcount_announce(&way->room);
    int r = has_much_room(way) ? 0 : mproc__eventcount_sleep(&way->room, seen, PATIENCE);
    return r == -EINTR ? r : has_much_room(way);
}

static bool receiver_lives(const struct way *way) {
    uint64_t token = mproc__peek64(&way->receiver);
    return token != 0 && mproc__token_alive(token);
}

/* Whether nobody is left who could receive. What has come from there is made bytes first: a marker
 * keeps the other side's descriptor open. */
static int is_gone(mproc_channel *channel, int side, int fd) {
    struct end in = receiving(channel, side, fd);
    struct pollfd p = {fd, 0, 0};
    int r = in.way->socket ? settle(&in, true) : 0;
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
    struct end in; /* the sender's own */
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
    return out->size > MESSAGE_MOST || out->nbuffers > 0;
}

/* Whether a sender may wait until it is taken: it would wait at a pipe, too. */
static bool can_be_offered(const struct end *e, const struct outgoing *out) {
    return out->nbuffers > 0 || out->size > kernel_takes(e);
}

static bool can_be_block(const struct outgoing *out) {
    size_t head;
    return !__builtin_mul_overflow(out->nbuffers, sizeof(struct mproc__hold), &head) &&
           out->size <= SIZE_MAX / 2 && head <= SIZE_MAX / 4 &&
           mproc__heap_can_have(out->size + mproc__parcel_head(out->nbuffers));
}

static void gather(char *to, const struct iovec *pieces, int n) {
    for (int i = 0; i < n; i++) {
        if (pieces[i].iov_len > 0) {
            memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
            to += pieces[i].iov_len;
        }
    }
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
        gather(mproc__parcel_payload(out->block), out->pieces, out->n);
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
static int prepare(const struct end *e, struct outgoing *out) {
    if (!is_large(out) || out->block != NULL || out->as_bytes ||
        !(state_of(e->way) & (IN_RING | INVITED))) {
        return 0;
    }
    int r = can_be_offered(e, out) ? make_block(out) : -EMSGSIZE;
    out->as_bytes = r != 0;
    return out->nbuffers > 0 ? r : 0;
}

/* Under `senders`, with RING. */
static int offer(struct way *way, struct outgoing *out) {
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
static int try_ring(const struct end *e, struct outgoing *out) {
    struct way *way = e->way;
    uint32_t state = state_of(way);
    bool large = is_large(out);
    if (!(state & IN_RING) &&
        !((!large || out->block != NULL) && state == INVITED && mark(e, out->patient, large))) {
        return AS_BYTES;
    }
    if (!out->asked && !receiver_lives(way)) {
        return NOBODY;
    }
    if (large) {
        return offer(way, out);
    }
    if (!has_room(way, HEADER + out->size)) {
        return NO_ROOM;
    }
    put(way, out->pieces, out->n, out->size);
    return 0;
}

/* False: the sender has accepted already. */
static bool uninvite(struct way *way) {
    return !(state_of(way) & INVITED) || change_state(way, INVITED, 0);
}

/* Before bytes are sent on the other way: no marker is, or comes, in the way of the peer's end. */
static int shut_out_markers(const struct end *in) {
    if (!in->way->socket || state_of(in->way) == PLAIN) {
        return 0;
    }
    enter_receivers(in->way);
    mproc__poke32(&in->way->uninviting, 1);
    (void)uninvite(in->way);
    release(&in->way->receivers);
    return settle(in, true);
}

/* Where a sender is blocked if its messages are not read. So a receiver that naps is woken
 * before. */
static int write_bytes_out(const struct end *e, const struct outgoing *out) {
    int r = shut_out_markers(&out->in);
    if (r == 0) {
        mproc__full_fence();
        mproc__eventcount_wake(&e->way->items);
        mproc__wait_behind_fd = &e->way->room;
        r = mproc_pipe_sendv(e->fd, out->pieces, out->n);
        mproc__wait_behind_fd = NULL;
    }
    mproc__poke32(&out->in.way->uninviting, 0);
    return r;
}

/* Under `senders`. */
static int send_bytes(const struct end *e, const struct outgoing *out) {
    struct way *way = e->way;
    mproc__poke32(&way->sender_cpu, (uint32_t)mproc__os_cpu());
    mproc__poke32(&way->bytes, 1);
    int r = write_bytes_out(e, out);
    mproc__poke32(&way->bytes, 0);
    return r;
}

/* 0: sent; a refusal that has to be dealt with; the errors of sending. */
static int send_in(const struct end *e, struct outgoing *out) {
    int r = enter_senders(e, true, false);
    if (r == 0) {
        r = try_ring(e, out);
        if (r == AS_BYTES) {
            r = out->nbuffers > 0 ? -EAGAIN : send_bytes(e, out);
        }
        release(&e->way->senders);
        mproc__fence_after_rmw(); /* the message, before the look at `sleepers` */
        mproc__eventcount_wake(&e->way->items);
    }
    return r;
}

static int try_send(const struct end *e, struct outgoing *out) {
    if (state_of(e->way) & PLAIN) {
        return out->nbuffers > 0 ? -EAGAIN : write_bytes_out(e, out);
    }
    int r = prepare(e, out);
    return r == 0 ? send_in(e, out) : r;
}

/* ---------------------------------------------------------------- offering */

static bool is_waiting(const struct way *way, const struct outgoing *out) {
    return mproc__offer_stands(&way->offer, out->name) && (state_of(way) & IN_RING) != 0;
}

/* Looks whether it is taken. */
static void look_for_taker(const struct way *way, const struct outgoing *out) {
    int64_t end = mproc__os_now() + LOOK_AT_LARGE;
    while (is_waiting(way, out) && !is_here(&way->receiver_cpu) && mproc__os_now() < end) {
        pause_for(STREAM_PAUSES);
    }
}

/* Sleeps for a slice on what the senders of large messages wait for, unless `over`. 0; -EINTR. */
static int sleep_offered(struct way *way, struct mproc__slices *slices,
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
static bool retract(struct way *way, struct outgoing *out) {
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
    struct way *way = sending(channel, side, fd).way;
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
static int await_turn(struct way *way, struct outgoing *out) {
    struct mproc__slices slices = mproc__slices_until(MPROC__NEVER);
    out->name = 0;
    out->asked = false;
    return sleep_offered(way, &slices, out);
}

/* Deals with it: 0: try again. */
static int after_refusal(mproc_channel *channel, int side, int fd, struct outgoing *out,
                         int refusal) {
    struct end e = sending(channel, side, fd);
    int r = 0;
    switch (refusal) {
    case NOBODY: out->asked = true; return is_gone(channel, side, fd);
    case BUSY: return await_turn(e.way, out);
    case NO_ROOM: r = await_room(e.way); break;
    case TOO_LARGE: break;
    default: return 0;
    }
    return r == 0 ? pass_by_sender(&e) : r < 0 ? r : 0;
}

static int send_out(mproc_channel *channel, int side, int fd, struct outgoing *out) {
    struct end e = sending(channel, side, fd);
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
    if (!known(channel, side) || !mproc__are_buffers(buffers, nbuffers)) {
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
                           .in = receiving(channel, side, fd)};
    int r = send_out(channel, side, fd, &out);
    drop_block(&out);
    return r;
}

int mproc_channel_sendv(mproc_channel *channel, int side, int fd, const struct iovec *lent, int n) {
    return mproc_channel_send_with(channel, side, fd, lent, n, NULL, 0);
}

size_t mproc_channel_offers(mproc_channel *channel, int side, int fd) {
    if (!known(channel, side) || !(state_of(&channel->ways[side]) & (IN_RING | INVITED))) {
        return SIZE_MAX;
    }
    struct end e = sending(channel, side, fd);
    return (size_t)kernel_takes(&e);
}

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
    if (!known(channel, side) || !mproc__are_buffers(buffers, n)) {
        return MPROC_EOTHER;
    }
    if (state_of(&channel->ways[side]) & PLAIN) {
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
    return known(channel, 0) && mproc__luggage_is_there(&channel->luggage);
}

int mproc_channel_fetch(mproc_channel *channel, uint64_t name, mproc_message *message) {
    if (!known(channel, 0)) {
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

int mproc_channel_send(mproc_channel *channel, int side, int fd, const void *lent, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)lent, size}; /* only read from */
    return mproc_channel_sendv(channel, side, fd, &piece, 1);
}

int mproc_channel_try_sendv(mproc_channel *channel, int side, int fd, const struct iovec *lent,
                            int n) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    if (n < 0) {
        return -EINVAL;
    }
    struct end e = sending(channel, side, fd);
    struct outgoing out = {.pieces = lent,
                           .n = n,
                           .size = mproc__pieces_size(lent, n),
                           .in = receiving(channel, side, fd)};
    if (is_large(&out) || !(state_of(e.way) & (IN_RING | INVITED)) ||
        !mproc__mutex_try(&e.way->senders, mproc__mutex_mine())) {
        return -EAGAIN;
    }
    int r = try_ring(&e, &out);
    release(&e.way->senders);
    if (r != 0) {
        return -EAGAIN;
    }
    mproc__fence_after_rmw(); /* the message, before the look at `sleepers` */
    mproc__eventcount_wake(&e.way->items);
    return 0;
}

/* ---------------------------------------------------------------- receiving */

/* A peer on this CPU cannot send while this thread looks. */
static bool may_look(const struct way *way) {
    return mproc__peek32(&way->rest) == 0 && !is_here(&way->sender_cpu);
}

static bool count_down(uint32_t *hint) {
    uint32_t left = mproc__peek32(hint);
    mproc__poke32(hint, left > 0 ? left - 1 : 0);
    return left > 0;
}

static bool was_declined(struct way *way) {
    return count_down(&way->declined);
}

/* Under `receivers`, without a ring. */
static void invite(struct way *way) {
    if (mproc__peek32(&way->uninviting) != 0) {
        return;
    }
    mproc__poke64(&way->receiver, mproc__self_token());
    mproc__poke32(&way->receiver_cpu, (uint32_t)mproc__os_cpu());
    (void)change_state(way, 0, INVITED);
}

/* Under `receivers`: 0 and the other results of receiving; -EAGAIN. While it reads bytes no
 * invitation stands, so it cannot read a marker. */
static int receive(const struct end *e, mproc_message *message, bool boxed) {
    struct way *way = e->way;
    uint32_t state = state_of(way);
    if (state & IN_RING) {
        return state & PASSING ? -EAGAIN : take(way, message, boxed);
    }
    int r = state & MARK ? unmark(e) : 0;
    if (r != 0 || (state & MARKING) || !uninvite(way)) {
        return r != 0 ? r : -EAGAIN;
    }
    r = mproc_pipe_try_size(e->fd, &message->size);
    bool large = r == 0 && message->size > MESSAGE_MOST;
    if (r == 0) {
        mproc__poke32(&way->large, large);
    }
    if (r == -EAGAIN || large || (r == 0 && !was_declined(way))) {
        invite(way);
    }
    return r == 0 ? MPROC_CHANNEL_BODY : r == -EINTR ? -EAGAIN : r;
}

/* A sender that sleeps is woken when there is room for much. */
static void leave_receivers(struct way *way, int received) {
    release(&way->receivers);
    mproc__fence_after_rmw(); /* the head, before the look at `sleepers` */
    if (received == 0 && mproc__eventcount_awaited(&way->room) &&
        mproc__peek64(&way->tail) - mproc__peek64(&way->head) <= RING / 2) {
        mproc__eventcount_wake(&way->room);
    }
}

/* The way that this thread received from last: it drains a stream, and is not at one end of a
 * dialogue. */
static MPROC__THREAD const struct way *draining;

static bool may_have(const struct way *way) {
    uint32_t state = state_of(way);
    return (state & PLAIN) || ((state & (IN_RING | PASSING)) == IN_RING && has_any(way));
}

/* A sender that has not seen the invitation sends bytes. */
static bool has_bytes(const struct end *e) {
    return !(state_of(e->way) & IN_RING) && mproc__os_readable(e->fd) > 0;
}

/* True: there may be a message. A receiver that drains a stream leaves time between looks, in which
 * the sender gets several messages done. */
static bool look(const struct end *e) {
    const struct way *way = e->way;
    unsigned pauses = draining == way ? STREAM_PAUSES : 0, most = pauses + SPIN_PAUSES;
    draining = way;
    int64_t end = mproc__os_now() + (mproc__peek32(&way->large) ? LOOK_AT_LARGE : LOOK);
    for (unsigned i = 0;; i++) {
        pause_for(pauses);
        if (may_have(way) || (i % 8 == 0 && has_bytes(e))) {
            return true;
        }
        if (i % 8 == 7 && (is_here(&way->sender_cpu) || mproc__os_now() >= end)) {
            return false;
        }
        pauses = pauses < most ? pauses + 1 : pauses;
    }
}

/* Success decides whether the next waits begin with a look. */
static void learn(struct way *way, bool seen) {
    uint32_t steps = mproc__peek32(&way->steps);
    if (seen) {
        mproc__poke32(&way->steps, steps > 0 ? steps - 1 : 0);
        return;
    }
    steps = steps < STEPS_MOST ? steps + 1 : steps;
    mproc__poke32(&way->steps, steps);
    mproc__poke32(&way->rest, (1U << steps) - 1);
}

static bool look_first(const struct end *e) {
    struct way *way = e->way;
    if (!may_look(way)) {
        (void)count_down(&way->rest);
        return may_have(way);
    }
    bool seen = look(e);
    if (seen || !is_here(&way->sender_cpu)) {
        learn(way, seen);
    }
    return seen;
}

/* Sleeps for a little while, where a sender that has the ring or is invited to it wakes. 1: there
 * may be a message; 0; -EINTR. */
static int nap(const struct end *e) {
    struct way *way = e->way;
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
static bool is_quiet(struct way *way) {
    uint32_t state = state_of(way);
    return way->socket || state == 0 || (state & PLAIN) ||
           (state == INVITED && change_state(way, INVITED, 0));
}

/* How long to sleep in the kernel. Another receiver of the same pipe may invite its sender
 * meanwhile, and then leave messages in the ring. */
static int64_t slice_of(const struct way *way, int64_t left) {
    return !way->socket && (left < 0 || left > SLICE) ? SLICE : left;
}

/* The kernel wakes, and tells of the end. 0; or an error. */
static int sleep_long(const struct end *e) {
    int r = settle(e, false);
    if (r != 0 || (state_of(e->way) & IN_RING) || !uninvite(e->way) || !is_quiet(e->way)) {
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
static bool stays_near(const struct way *way, struct nearness *near) {
    if (!mproc__peek32(&way->large) || mproc__peek32(&way->bytes) != 0) {
        return false;
    }
    if (near->end == 0) {
        near->end = mproc__os_now() + NEAR;
    }
    return mproc__os_now() < near->end;
}

/* 0: look for a message again; -EINTR. */
static int sleep_near(const struct end *e, struct nearness *near) {
    struct way *way = e->way;
    uint32_t seen = mproc__eventcount_announce(&way->items);
    if (may_have(way) || has_bytes(e)) {
        return 0;
    }
    int64_t slice = mproc__user_slice(&near->slices);
    int r = slice < 0 ? (int)slice : mproc__eventcount_sleep(&way->items, seen, slice);
    return r == -EINTR ? r : 0;
}

/* The marker hides the end. So the receiver leaves the ring, and invites its sender anew. */
static int wait_long(const struct end *e, struct nearness *near) {
    uint32_t state = state_of(e->way);
    if (!(state & (IN_RING | INVITED)) || !stays_near(e->way, near)) {
        return sleep_long(e);
    }
    return state & IN_RING ? settle(e, false) : sleep_near(e, near);
}

/* 0: look for a message again. */
static int await(const struct end *e, struct nearness *near) {
    if (look_first(e)) {
        return 0;
    }
    if (near->noted == NULL) {
        near->noted = mproc__wait_begin(&e->way->items, MPROC__NEVER);
    }
    int r = state_of(e->way) & (INVITED | IN_RING) ? nap(e) : 0;
    return r > 0 ? 0 : r < 0 ? r : wait_long(e, near);
}

static bool is_plain(const struct way *way) {
    return state_of(way) == PLAIN;
}

static int receive_once(const struct end *e, mproc_message *message, bool boxed) {
    enter_receivers(e->way);
    int r = receive(e, message, boxed);
    leave_receivers(e->way, r);
    return r;
}

static int receive_plain(const struct end *e, mproc_message *message) {
    mproc__wait_behind_fd = &e->way->items;
    int r = mproc_pipe_recv_size(e->fd, &message->size);
    mproc__wait_behind_fd = NULL;
    return r == 0 ? MPROC_CHANNEL_BODY : r;
}

/* What has been looked for in vain. Until the channel is plain: -EAGAIN. */
static MPROC__NOINLINE int receive_later(const struct end *e, mproc_message *message, bool boxed) {
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
static int receive_next(const struct end *e, mproc_message *message, bool boxed) {
    int r = -EAGAIN;
    if (state_of(e->way) != INVITED && !is_plain(e->way)) { /* else it has just been looked for */
        r = receive_once(e, message, boxed);
    }
    if (r == -EAGAIN) {
        r = receive_later(e, message, boxed);
    }
    return r == -EAGAIN ? receive_plain(e, message) : r;
}

static int try_next(const struct end *e, mproc_message *message, bool boxed) {
    if (!mproc__mutex_try(&e->way->receivers, mproc__mutex_mine())) {
        return -EAGAIN;
    }
    int r = receive(e, message, boxed);
    leave_receivers(e->way, r);
    return r;
}

/* What has come, for a caller that has room for it. */
static int unbox(mproc_message *message, int r, size_t *size) {
    if (r >= 0) {
        *size = message->size;
    }
    if (r == 0 && message->block != NULL) {
        memcpy(message->room, message->data, message->size);
        (void)mproc_drop(message->block);
    }
    return r;
}

int mproc_channel_recv_message(mproc_channel *channel, int side, int fd, mproc_message *message) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end e = receiving(channel, side, fd);
    return receive_next(&e, message, true);
}

int mproc_channel_try_recv_message(mproc_channel *channel, int side, int fd,
                                   mproc_message *message) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end e = receiving(channel, side, fd);
    return try_next(&e, message, true);
}

int mproc_channel_recv(mproc_channel *channel, int side, int fd, void *room, size_t room_size,
                       size_t *size) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end e = receiving(channel, side, fd);
    mproc_message message = MPROC_MESSAGE_INIT(room, room_size);
    return unbox(&message, receive_next(&e, &message, false), size);
}

int mproc_channel_try_recv(mproc_channel *channel, int side, int fd, void *room, size_t room_size,
                           size_t *size) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end e = receiving(channel, side, fd);
    mproc_message message = MPROC_MESSAGE_INIT(room, room_size);
    return unbox(&message, try_next(&e, &message, false), size);
}

/* ---------------------------------------------------------------- waiting */

/* One of a large message is worth a marker, which wakes who polls. */
static void invite_large(struct way *way) {
    if (way->socket && mproc__peek32(&way->large) && state_of(way) == 0) {
        enter_receivers(way);
        invite(way);
        release(&way->receivers);
    }
}

static bool may_have_here(const struct way *way) {
    return ring_has(way) || ((state_of(way) & IN_RING) != 0 && mproc__offer_is_there(&way->offer));
}

/* 1: there is a message in memory, or the end has come; 0: the kernel has the next one, as far as
 * can be seen. */
static int look_behind(const struct end *e) {
    if (may_have_here(e->way) || mproc__peek32(&e->way->ended)) {
        return 1;
    }
    mproc__poke32(&e->way->declined, DECLINED); /* it would come and go with each message */
    int r = settle(e, false);
    if (r == 0) {
        invite_large(e->way);
    }
    return r == 0 && may_have_here(e->way) ? 1 : r;
}

/* A marker may have come meanwhile, and another thread may have taken what was in the ring. */
static bool is_stale(const struct way *way) {
    return (state_of(way) & IN_RING) && !has_any(way);
}

/* As mproc_pipe_poll(); while nobody else has the descriptors, their end is remembered. */
static int poll_end(const struct end *e, int64_t timeout) {
    struct pollfd p = {e->fd, POLLIN, 0};
    int r = mproc__os_poll(&p, 1, 0);
    if (r > 0 && (p.revents & POLLHUP) != 0 && !(state_of(e->way) & PLAIN)) {
        mproc__poke32(&e->way->ended, 1);
    }
    return r > 0 && (p.revents & POLLNVAL) == 0 ? 1 : mproc_pipe_poll(e->fd, timeout);
}

static int64_t left_until(int64_t deadline) {
    int64_t left = deadline > 0 ? deadline - mproc__os_now() : deadline;
    return deadline > 0 && left < 0 ? 0 : left;
}

int mproc_channel_poll(mproc_channel *channel, int side, int fd, int64_t timeout) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end e = receiving(channel, side, fd);
    int64_t deadline = timeout > 0 ? mproc__os_now() + timeout : timeout;
    bool over;
    int r;
    do {
        int64_t left = left_until(deadline);
        over = left == 0;
        r = look_behind(&e);
        if (r == 0 && (over || is_quiet(e.way))) {
            r = poll_end(&e, slice_of(e.way, left));
        }
    } while ((r == 0 && !over) || (r == 1 && is_stale(e.way)));
    return r;
}

/* ---------------------------------------------------------------- plain */

/* Ends the use of the ring, once the way has none. False: it has one. */
static bool end_ring(struct way *way) {
    for (;;) {
        uint32_t state = state_of(way);
        if (state & PLAIN) {
            return true;
        }
        if (state & (IN_RING | MARKING)) {
            return false;
        }
        if (change_state(way, state, (state & MARK) | PLAIN)) {
            mproc__fence_after_rmw(); /* the state, before the look at `sleepers` */
            mproc__eventcount_wake_all(&way->items);
            return true;
        }
    }
}

/* A sender that is marking has `senders`: the one who waits for that finds the ring. */
static int plain_to_send(const struct end *e) {
    int r = 0;
    while (r == 0 && !end_ring(e->way)) {
        r = pass_by_sender(e);
    }
    return r;
}

static int plain_to_receive(const struct end *e) {
    int r = 0;
    while (r == 0 && !end_ring(e->way)) {
        r = settle(e, true);
    }
    return r == 0 ? settle(e, true) : r; /* the sender's side may have left a marker */
}

int mproc_channel_look(mproc_channel *channel, int side, int fd) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end e = receiving(channel, side, fd);
    int r = look_behind(&e);
    if (r == 0 && !e.way->socket) {
        r = plain_to_receive(&e); /* no marker would tell of what comes into the ring */
    }
    return r;
}

int mproc_channel_plain(mproc_channel *channel, int side, int fd) {
    if (!known(channel, side)) {
        return MPROC_EOTHER;
    }
    struct end out = sending(channel, side, fd), in = receiving(channel, side, fd);
    int r = plain_to_send(&out);
    return r == 0 ? plain_to_receive(&in) : r;
}

void mproc_channel_leave(mproc_channel *channel, int side) {
    if (known(channel, side)) {
        mproc__poke64(&channel->ways[1 - side].receiver, 0);
        mproc__full_fence();
        mproc__eventcount_wake(&channel->ways[side].items);
        mproc__offer_call(&channel->ways[1 - side].offer);
    }
}

/* ---------------------------------------------------------------- life */

static int fill(struct mproc__hand *hand, void *object, const void *duplex) {
    mproc_channel *channel = object;
    (void)hand;
    for (int i = 0; i < 2; i++) {
        struct way *way = &channel->ways[i];
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

static bool state_is_known(const struct way *way, uint32_t state) {
    uint32_t marked = mark_of(way);
    return state == 0 || state == INVITED || state == MARKING || state == (IN_RING | marked) ||
           state == (IN_RING | marked | PASSING) || state == PLAIN ||
           (marked != 0 && (state == MARK || state == (MARK | PLAIN)));
}

/* Under `receivers`: the head stands still, and the tail only grows. */
static int check_messages(const struct way *way, uint64_t tail, char *why, size_t size) {
    for (uint64_t at = way->head; at != tail;) {
        size_t length = next_size(way, at);
        if (length > MESSAGE_MOST || tail - at < HEADER + length) {
            return mproc__corrupt(why, size, "N2: a message of %zu bytes", length);
        }
        at += HEADER + length;
    }
    return 0;
}

/* Under `receivers`. */
static int check_way(const struct way *way, char *why, size_t size) {
    uint64_t tail = mproc__load64(&way->tail), seen = mproc__peek64(&way->head_seen);
    uint32_t state = state_of(way);
    if (seen > way->head || way->head > way->tail_seen || way->tail_seen > tail ||
        tail - way->head > RING) {
        return mproc__corrupt(why, size, "N1: seen %llu, head %llu, seen %llu, tail %llu",
                              (unsigned long long)seen, (unsigned long long)way->head,
                              (unsigned long long)way->tail_seen, (unsigned long long)tail);
    }
    if (!(state & IN_RING) && tail != way->head) {
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
        struct way *way = &channel->ways[i];
        enter_receivers(way);
        r = check_way(way, why, size);
        r = r == 0 ? mproc__offer_check(&way->offer, why, size) : r;
        release(&way->receivers);
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
        const struct way *way = &channel->ways[i];
        uint64_t bytes = way->tail - way->head;
        out->room_at[i] = (uint32_t)(offsetof(mproc_channel, ways) + (size_t)i * sizeof *way +
                                     offsetof(struct way, room));
        out->bytes += bytes <= RING ? bytes : 0;
    }
    return true;
}
