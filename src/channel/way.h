/*
 * way.h - one direction of a channel
 *
 * SPDX-License-Identifier: MIT
 *
 * What its words are, and what holds of them, stands in channel.c.
 */
#ifndef MPROC_CHANNEL_WAY_H
#define MPROC_CHANNEL_WAY_H

#include "channel/offer.h"
#include "core/eventcount.h"
#include "core/mutex.h"
#include "system/os.h"

#define MPROC__STREAM_PAUSES 16     /* between two looks at a stream; one takes 17 ns */
#define MPROC__GATHER_LEAST 64      /* bytes found by one look: several small messages, a stream */
#define MPROC__GATHER_BYTES 16      /* for each of which a receiver pauses before its next look */
#define MPROC__GATHER_PAUSES 64     /* but no more: 1 us */
#define MPROC__LOOK 40000           /* ns: no more than two sleeps and wake-ups cost */
#define MPROC__LOOK_AT_LARGE 300000 /* ns: what copying a large message takes, often */
#define MPROC__DECLINED 31          /* messages before the next invitation, once one was in vain */

enum {
    MPROC__PLAIN = 1,    /* the ring is not used any more */
    MPROC__MARK = 2,     /* the kernel has a marker, before all other bytes */
    MPROC__IN_RING = 4,  /* RING in the comments */
    MPROC__INVITED = 8,  /* a receiver looks at the ring */
    MPROC__MARKING = 16, /* a marker is being sent */
    MPROC__PASSING = 32  /* the ring's bytes are being written behind the marker */
};

struct mproc__way {
    _Alignas(MPROC__LINE) struct mproc__mutex senders;
    uint64_t tail;
    uint64_t head_seen;
    uint32_t sender_cpu;
    uint32_t queued;
    uint64_t kernel_takes;
    uint64_t sender;

    _Alignas(MPROC__LINE) struct mproc__mutex receivers;
    uint64_t head;
    uint64_t tail_seen;
    uint32_t receiver_cpu;
    uint32_t steps;
    uint32_t rest;
    uint32_t declined;
    uint32_t large;

    _Alignas(MPROC__LINE) uint32_t state;
    uint32_t socket; /* 1; 0: a pipe */
    uint32_t ended;
    uint32_t bytes;
    uint64_t ring; /* a block of RING bytes; 0: none yet */
    struct mproc__eventcount items;
    struct mproc__eventcount room;
    uint64_t uninviting;
    uint64_t receiver; /* here, since each message's sender reads it */

    _Alignas(MPROC__LINE) struct mproc__offer offer;
};

/* The way that this thread received from last, if it has sent nothing since: it drains a stream,
 * and is not at one end of a dialogue. */
extern MPROC__HIDDEN MPROC__THREAD const struct mproc__way *mproc__way_draining;

/* How many bytes the last look of this thread at a tail found. */
extern MPROC__HIDDEN MPROC__THREAD uint64_t mproc__way_found;

/* One side's end of a way. */
struct mproc__end {
    struct mproc__way *way;
    int fd;
};

#define MPROC__MARKER_SIZE 4

/* ---- the state */

static inline uint32_t mproc__way_state(const struct mproc__way *way) {
    return mproc__load32(&way->state); /* SYNC(channel.state) */
}

/* SYNC(channel.state): the marker, the ring's bytes, before the state that tells of them. */
static inline void mproc__way_set_state(struct mproc__way *way, uint32_t state) {
    mproc__store32(&way->state, state);
}

static inline bool mproc__way_change_state(struct mproc__way *way, uint32_t from, uint32_t to) {
    return mproc__cas32(&way->state, &from, to);
}

static inline bool mproc__way_ring_has(const struct mproc__way *way) {
    /* SYNC(channel.tail) */
    return mproc__load64(&way->tail) != mproc__load64(&way->head);
}

/* With RING. */
static inline bool mproc__way_has_any(const struct mproc__way *way) {
    return mproc__way_ring_has(way) || mproc__offer_is_there(&way->offer);
}

static inline uint32_t mproc__way_mark(const struct mproc__way *way) {
    return way->socket ? MPROC__MARK : 0;
}

/* All that is in the ring is somebody else's now. */
static inline void mproc__way_empty_ring(struct mproc__way *way) {
    mproc__poke64(&way->tail_seen, way->tail);
    mproc__store64(&way->head, way->tail); /* SYNC(channel.head) */
    mproc__program_order();
}

static inline bool mproc__way_is_here(const uint32_t *cpu) {
    return mproc__peek32(cpu) == (uint32_t)mproc__os_cpu();
}

/* Under `receivers`. The word stands in a line that all messages' senders and receivers read: it is
 * written only when it changes. */
static inline void mproc__way_set_receiver(struct mproc__way *way, uint64_t token) {
    if (mproc__unlikely(mproc__peek64(&way->receiver) != token)) {
        mproc__poke64(&way->receiver, token);
    }
}

/* Under `receivers`. */
static inline void mproc__way_note_receiver(struct mproc__way *way, bool large) {
    mproc__way_set_receiver(way, mproc__self_token());
    mproc__poke32(&way->receiver_cpu, (uint32_t)mproc__os_cpu());
    if (mproc__unlikely(mproc__peek32(&way->large) != large)) {
        mproc__poke32(&way->large, large);
    }
}

static inline void mproc__way_pause(unsigned pauses) {
    for (unsigned i = 0; i < pauses; i++) {
        mproc__pause();
    }
}

/* Under no lock: a hint. True: the last look found several messages, all of them have been taken,
 * and more are on their way. */
static inline bool mproc__way_streams(const struct mproc__way *way) {
    return mproc__way_found >= MPROC__GATHER_LEAST && mproc__way_draining == way &&
           mproc__peek64(&way->tail_seen) == mproc__peek64(&way->head);
}

/* Each look at the tail takes its line from the sender, which takes it back with the next message.
 * A receiver that keeps up with a stream would look for a few messages each time. It waits a moment
 * instead, as long as the last look found many, and finds more. If that found a single message, the
 * next one is looked for at once. */
static inline void mproc__way_let_gather(const struct mproc__way *way) {
    if (mproc__way_streams(way)) {
        uint64_t pauses = mproc__way_found / MPROC__GATHER_BYTES;
        mproc__way_pause(pauses < MPROC__GATHER_PAUSES ? (unsigned)pauses : MPROC__GATHER_PAUSES);
    }
}

/* False: the sender has accepted already. */
static inline bool mproc__way_uninvite(struct mproc__way *way) {
    return !(mproc__way_state(way) & MPROC__INVITED) ||
           mproc__way_change_state(way, MPROC__INVITED, 0);
}

/* ---- locks */

/* -EINTR, unless `always`. A dead owner's half-done work is mended. `sender`: the caller has the
 * end that sends. */
int mproc__way_enter_senders(const struct mproc__end *e, bool sender, bool always);

/* What a dead owner left of its work is mended by the next thread that has `senders`, too. */
void mproc__way_enter_receivers(struct mproc__way *way);

/* Without waiting. True: its owner had died, as far as a mere try can tell, and the caller has it;
 * or it was free after all. */
bool mproc__way_enter_left(struct mproc__mutex *mutex);

/* How long the calling thread waits for a lock in the two functions below: for ever, but in a poll
 * with a timeout. The thread that has the lock may be stopped. */
extern MPROC__HIDDEN MPROC__THREAD int64_t mproc__way_patience;

/* 0; -ETIMEDOUT. */
int mproc__way_enter_receivers_timed(struct mproc__way *way);

/* Both, if there is a ring: 1. 0: there is none, and nothing is held: a sender may have `senders`
 * then until the kernel takes its bytes, and must not keep a receiver waiting. -ETIMEDOUT. */
int mproc__way_enter_ring(const struct mproc__end *e, bool sender);

static inline void mproc__way_release(struct mproc__mutex *mutex) {
    (void)mproc__mutex_release(mutex);
}

void mproc__way_leave_both(struct mproc__way *way);

#endif
