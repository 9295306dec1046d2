/*
 * queue.c - first in, first out, many producers, many consumers, any size
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Messages stand one behind the other in a chain of segments, as in a log: producers
 * append at the tail under one guard, consumers take at the head under another, so that one of each
 * never meet. Both count what they did in tickets: tail - head is what is in the queue. A message
 * up to INLINE_MAX is copied into the segment; a larger one is an object of its own, and a pointer
 * to it stands there, and so is one that takes buffers along. A drained segment becomes the tail's
 * spare, so a queue in balance allocates nothing.
 *
 * Many at once. A put or a get of several messages is the section for the first one, in which the
 * others follow before the ticket is published. They stay in its segment, bring or take one large
 * message at most, and are BATCH_BYTES or little more. So the section saves no more words than that
 * of one message, moves one block, and keeps others out hardly longer.
 *
 *     head segment                        tail segment
 *     [next|size| taken | rec | rec |END]->[next|size| rec | rec | free ...]
 *                        ^ head_offset                            ^ tail_offset
 *
 * Cache lines. Each costs what two cores are apart: 20 to 250 ns. A message moves the lines of its
 * record to the consumer, and back when a segment is used again; nothing else, while the consumer
 * knows of more messages and the producer of more room. A look at the other side's ticket moves one
 * more line there and, with the next message, back. So a consumer that keeps up with a stream waits
 * a moment before it looks (let_gather), and a producer of a full queue before it goes on (linger).
 *
 * Shared state.
 *   tail_*, spare   Producers write them, under `tail`. Any thread reads tail_ticket without the
 *                   guard: its store publishes the record, so what lies before the ticket is whole.
 *   head_*          Consumers write them, under `head`. Any thread reads head_ticket without the
 *                   guard: its store gives room, and a reader that sees an old one only waits a
 *                   little longer.
 *   *_cpu           Where the last put or get ran: a hint for deciding whether spinning can help.
 *   head_seen       The producers' copy of head_ticket, looked up when the queue seems full. Never
 *                   ahead.
 *   tail_seen       The consumers' copy of tail_ticket. With it they read the producers' cache line
 *                   only when they have caught up. Never ahead.
 *   items, room, idle   Event counts (core/eventcount.h).
 *   bound, most_bytes   Constant.
 *   tail_bytes, head_bytes   How many bytes have been put and taken, if most_bytes is not 0: with
 *                   the tickets, but read by producers before the head's is published. After a
 *                   death there they may have put a message more than they should.
 *   closed          Goes from 0 to 1, under `tail`. From then on nobody changes tail_*.
 *   cut_*, dropped  Written under `head`: what a shutdown has taken out all at once, of a queue
 *                   that is closed. cut_left records, from (cut_segment, cut_offset) on, are still
 *                   to be destroyed, and then the segments before head_segment. Any thread reads
 *                   `dropped`, the number of all.
 *   done            How many messages were reported done: by compare-and-swap, which is its commit.
 *
 * Invariants.
 *   Q1  head_seen <= head_ticket <= tail_seen <= tail_ticket.
 *   Q2  From (head_segment, head_offset) there are exactly tail_ticket - head_ticket records, each
 *       whole in its segment, and behind the last is (tail_segment, tail_offset).
 *   Q3  A BLOCK record names a message object without holds, plain or a parcel (core/parcel.c).
 *   Q4  bound == 0, or tail_ticket - head_ticket <= bound.
 *   Q5  done + dropped <= tail_ticket.
 *   Q6  cut_left <= dropped; with any of them the queue is closed and empty.
 *   Q7  head_bytes <= tail_bytes; most_bytes == 0, or bound != 0.
 *
 * If a member dies here. Writing or reading a record changes nothing. The section's saved words
 * (offsets, segments, hands' words) are put back unless its ticket was published: of messages that
 * are put or taken together, all are or none. Between publishing and waking: a sleeper's slice
 * ends. What a shutdown has taken out and not destroyed yet is destroyed by the next one, or with
 * the queue. A large message is in the producer's hand, in the queue, or in the consumer's hand.
 *
 * What it does not do: priority, peeking, removal from the middle.
 */
#include <string.h>
#include <sys/uio.h>

#include "core/eventcount.h"
#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/make.h"
#include "core/parcel.h"
#include "core/spin.h"
#include "core/trace_ring.h"
#include "core/wait.h"
#include "queue.h"
#include "source.h"
#include "system/os.h"
#include "system/pieces.h"

/* Above this size, copying under the guard costs more than an allocation. */
#define INLINE_MAX ((size_t)MPROC_MESSAGE_INLINE)
#define FIRST_SEGMENT ((size_t)1024)
#define LAST_SEGMENT ((size_t)65536)
#define QUEUE_UNDO 8
#define SPIN_PAUSES 6    /* between two looks at most; one takes 17 ns */
#define STREAM_PAUSES 16 /* more than these, when a stream is drained */
#define AHEAD                                                                                      \
    ((uint64_t)512 << 10) /* bytes in the queue: what comes now is written to cold memory */
#define BATCH_BYTES ((size_t)16384) /* so much, and no other message follows */
#define GATHER_LEAST 4              /* so many messages found by one look are a stream */
#define GATHER_PAUSES 64            /* of a consumer before its next look at most: 1 us */
#define FETCH_AHEAD 8               /* messages */
#define FETCH_MOST ((size_t)512)    /* bytes of a record; the CPU does it for longer ones */
#define LINGER_LOOKS 8              /* of a producer for more than one free place */
#define LINGER_PAUSES 16            /* between two of them */

enum record_kind { RECORD_END = 0, RECORD_INLINE = 1, RECORD_BLOCK = 2 };

struct record {
    uint32_t size; /* of an inline payload, which follows */
    uint32_t kind;
};

struct block_record {
    struct record record;
    uint64_t message; /* struct mproc__object *, followed by the payload */
    uint64_t size;
};

struct segment {
    uint64_t next;
    uint64_t size; /* bytes of the segment, this header included */
};

struct mproc_queue {
    struct mproc__object object;

    /* the producers' lines */
    _Alignas(MPROC__LINE) struct mproc__guard tail;
    uint64_t tail_segment;
    uint64_t tail_offset;
    uint64_t tail_ticket;
    uint64_t head_seen;
    uint64_t spare;
    uint64_t tail_bytes;
    uint32_t producer_cpu; /* of the last put: is it worth spinning for the next? */
    struct mproc__undo tail_log[QUEUE_UNDO];

    /* the consumers' lines */
    _Alignas(MPROC__LINE) struct mproc__guard head;
    uint64_t head_segment;
    uint64_t head_offset;
    uint64_t head_ticket;
    uint64_t tail_seen;
    uint64_t head_bytes;
    uint32_t consumer_cpu;
    struct mproc__undo head_log[QUEUE_UNDO];
    uint64_t cut_segment;
    uint64_t cut_offset;
    uint64_t cut_left;
    uint64_t dropped;

    /* read by all, seldom written */
    _Alignas(MPROC__LINE) struct mproc__eventcount items;
    struct mproc__eventcount room;
    uint64_t bound;
    uint64_t most_bytes; /* 0: no bound; with one, `bound` is not 0 either */
    uint32_t closed;

    /* of threads that report what is done, and that wait for that */
    _Alignas(MPROC__LINE) uint64_t done;
    struct mproc__eventcount idle;
};

static struct segment *segment_at(uint64_t word) {
    return (struct segment *)(uintptr_t)word;
}

static struct record *record_at(uint64_t segment, uint64_t offset) {
    return (struct record *)(uintptr_t)(segment + offset);
}

static size_t padded(size_t size) {
    return (size + 7) & ~(size_t)7;
}

/* memcpy(), without the call for the smallest: two words, which may overlap. A size of 0 needs no
 * addresses. */
static inline void copy(char *to, const char *from, size_t size) {
    if (size >= 8 && size <= 16) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else if (size > 0) {
        memcpy(to, from, size);
    }
}

/* ---------------------------------------------------------------- waiting */

/* The tail's ticket; 0: there is no message. The head is looked at first: if the tail is the same
 * after that, the queue is empty then, however many consumers there are. */
static uint64_t item_seen(const mproc_queue *queue) {
    uint64_t head = mproc__load64(&queue->head_ticket);
    uint64_t tail = mproc__load64(&queue->tail_ticket); /* SYNC(queue.tail_ticket) */
    return tail != head ? tail : 0;
}

static bool has_item(const mproc_queue *queue) {
    return item_seen(queue) != 0;
}

/* The taken ones are looked at first, so that they are never more. */
static uint64_t bytes_in(const mproc_queue *queue) {
    uint64_t head = mproc__load64(&queue->head_bytes); /* SYNC(queue.bytes) */
    return mproc__load64(&queue->tail_bytes) - head;   /* SYNC(queue.bytes) */
}

static bool has_too_many_bytes(const mproc_queue *queue) {
    return queue->most_bytes != 0 && bytes_in(queue) >= queue->most_bytes;
}

static bool has_room(const mproc_queue *queue) {
    return queue->bound == 0 ||
           (mproc__load64(&queue->tail_ticket) - mproc__load64(&queue->head_ticket) <
                queue->bound &&
            !has_too_many_bytes(queue));
}

/* By what the producers knew last, and without the guard: a guess. */
static bool seems_full(const mproc_queue *queue) {
    return queue->bound != 0 &&
           mproc__peek64(&queue->tail_ticket) - mproc__peek64(&queue->head_seen) >= queue->bound;
}

/* Under the tail's guard: how many messages the bound leaves room for, as of the last look. */
static uint64_t places(const mproc_queue *queue) {
    return queue->bound - (queue->tail_ticket - queue->head_seen);
}

static void look_at_head(mproc_queue *queue) {
    uint64_t head = mproc__load64(&queue->head_ticket); /* SYNC(queue.head_ticket) */
    mproc__poke64(&queue->head_seen, head);
}

/* Under the tail's guard. Knows the head's ticket at least as of the last look. */
static bool full(mproc_queue *queue) {
    if (queue->bound == 0 || has_too_many_bytes(queue)) {
        return queue->bound != 0;
    }
    if (places(queue) > 0) {
        return false;
    }
    look_at_head(queue);
    return places(queue) == 0;
}

/* Wakes a sleeper for each of n messages or free places. */
static inline void wake(struct mproc__eventcount *event, uint64_t n) {
    do {
        mproc__eventcount_wake(event);
    } while (--n > 0 && mproc__eventcount_awaited(event));
}

/* What one side waits for, and where the other side was last seen. */
struct side {
    bool (*ready)(const mproc_queue *queue);
    struct mproc__eventcount *event;
    const uint32_t *peer_cpu;
    bool ends_on_close; /* there is no use in waiting for a closed queue */
    bool streams;       /* a consumer of messages; a producer of tasks waits for their results */
};

static struct side consumer_side(mproc_queue *queue) {
    return (struct side){has_item, &queue->items, &queue->producer_cpu, true, true};
}

static struct side producer_side(mproc_queue *queue) {
    return (struct side){has_room, &queue->room, &queue->consumer_cpu, true, false};
}

static bool settled(const mproc_queue *queue, const struct side *side) {
    return side->ready(queue) || (side->ends_on_close && mproc__load32(&queue->closed));
}

static MPROC__THREAD struct mproc__spin spinning = {MPROC__SPIN_FIRST};

/* On the same CPU the peer cannot run while this thread spins. */
static bool peer_is_here(const struct side *side) {
    return mproc__peek32(side->peer_cpu) == (uint32_t)mproc__os_cpu();
}

static void pause_for(unsigned pauses) {
    for (unsigned i = 0; i < pauses; i++) {
        mproc__pause();
    }
}

/* The queue that this thread got from last, if it has put nothing since: it drains a stream, and is
 * not at one end of a dialogue. */
static MPROC__THREAD const mproc_queue *draining;

/* How many messages the last look of this thread at a tail found. */
static MPROC__THREAD uint64_t found;

static bool drains(const mproc_queue *queue, const struct side *side) {
    bool stream = side->event == &queue->items && draining == queue;
    draining = side->event == &queue->items ? queue : draining;
    return stream;
}

/* True: settled. The clock and the peer's place are looked at once in a while. Each look at the
 * other side's ticket takes the cache line away from it. In a dialogue the first look counts. A
 * consumer that drains a stream leaves time between looks, in which the producer gets several
 * messages done. */
static bool spin(const mproc_queue *queue, const struct side *side, int64_t start, bool stream) {
    int64_t end = start + mproc__spin_budget(&spinning);
    unsigned pauses = stream ? STREAM_PAUSES : 0, most = pauses + SPIN_PAUSES;
    for (unsigned i = 0;; i++) {
        pause_for(pauses);
        if (settled(queue, side)) {
            return true;
        }
        if (i % 8 == 0 && (peer_is_here(side) || mproc__os_now() >= end)) {
            return false;
        }
        pauses = pauses < most ? pauses + 1 : pauses;
    }
}

/* Nothing but yielding keeps the two sides of a queue without a bound together, when they have one
 * CPU. A bound does so by itself: a full queue puts its producers to sleep, an empty one its
 * consumers, and each turn moves as many messages as the queue holds. A thread that yields there as
 * well comes back, or is woken, after a handful of messages, since a scheduler that counts a yield
 * as CPU time used lets those that have slept go before the producers. */
static bool may_yield(const mproc_queue *queue) {
    return queue->bound == 0;
}

/* True: settled. A consumer that sleeps is woken by the next message, and takes the producer's CPU
 * from it for that one message, again and again. A consumer that yields finds more of them. */
static bool yield(const mproc_queue *queue, const struct side *side, bool stream) {
    if (!stream || !side->streams || !may_yield(queue) || !peer_is_here(side)) {
        return false;
    }
    mproc__os_yield();
    return settled(queue, side);
}

static int sleep_slices(const mproc_queue *queue, const struct side *side, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    for (;;) {
        uint32_t seen = mproc__eventcount_announce(side->event);
        if (settled(queue, side)) {
            return 0;
        }
        int64_t slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        if (mproc__eventcount_sleep(side->event, seen, slice) == -EINTR) {
            return -EINTR;
        }
    }
}

static int sleep_noted(const mproc_queue *queue, const struct side *side, int64_t deadline) {
    struct mproc__hand *noted = mproc__wait_begin(side->event, deadline);
    int r = sleep_slices(queue, side, deadline);
    mproc__wait_end(noted);
    return r;
}

/* Waits until the side is ready or the queue is closed. No hand is held meanwhile. */
static int wait(const mproc_queue *queue, const struct side *side, int64_t deadline) {
    if (deadline == 0) {
        return -ETIMEDOUT;
    }
    int64_t start = mproc__os_now();
    bool stream = drains(queue, side);
    bool there = spin(queue, side, start, stream) || yield(queue, side, stream);
    int r = there ? 0 : sleep_noted(queue, side, deadline);
    mproc__spin_learn(&spinning, mproc__os_now() - start);
    return r;
}

/* ---------------------------------------------------------------- segments */

/* The size that the segment after one of `size` bytes has, to take a record of `need` bytes. */
static size_t next_size(size_t size, size_t need) {
    size_t wanted = 4 * (need + sizeof(struct segment));
    size *= 2;
    while (size < wanted) {
        size *= 2;
    }
    return size < LAST_SEGMENT ? size : LAST_SEGMENT;
}

static bool fits(uint64_t segment, uint64_t offset, size_t need) {
    return offset + need <= segment_at(segment)->size;
}

/* Under the tail's guard: goes on in an empty segment, which *word gives away. */
static MPROC__NOINLINE void append_segment(mproc_queue *queue, uint64_t *word) {
    uint64_t fresh = *word;
    uint64_t old = queue->tail_segment;
    segment_at(fresh)->next = 0;
    if (queue->tail_offset + sizeof(struct record) <= segment_at(old)->size) {
        record_at(old, queue->tail_offset)->kind =
            RECORD_END; /* behind the last record: nobody's */
    }
    mproc__guard_set(&queue->tail, &segment_at(old)->next, fresh);
    mproc__guard_set(&queue->tail, &queue->tail_segment, fresh);
    mproc__guard_set(&queue->tail, &queue->tail_offset, sizeof(struct segment));
    mproc__guard_set(&queue->tail, word, 0);
}

/* Under the tail's guard: makes sure that a record of `need` bytes fits. False: a segment is
 * missing, and *size is what it should have. */
static inline bool make_room(mproc_queue *queue, struct mproc__hand *hand, size_t need,
                             size_t *size) {
    if (mproc__likely(fits(queue->tail_segment, queue->tail_offset, need))) {
        return true;
    }
    if (queue->spare != 0 && fits(queue->spare, sizeof(struct segment), need)) {
        append_segment(queue, &queue->spare);
        return true;
    }
    if (hand->block != 0) {
        append_segment(queue, &hand->block);
        return true;
    }
    *size = next_size(segment_at(queue->tail_segment)->size, need);
    return false;
}

static MPROC__NOINLINE int new_segment(struct mproc__hand *hand, size_t size, uint64_t *word) {
    int r = mproc__heap_alloc(hand, size, word);
    if (r == 0) {
        segment_at(*word)->next = 0;
        segment_at(*word)->size = size;
    }
    return r;
}

/* A producer that is far ahead of the consumers, judged by a message's size, yields its CPU: a
 * consumer may wait for it. */
static void stay_near(const mproc_queue *queue, size_t need) {
    uint64_t in = mproc__peek64(&queue->tail_ticket) - mproc__load64(&queue->head_ticket);
    if (may_yield(queue) && in > AHEAD / need) {
        mproc__os_yield();
    }
}

/* The drained segment in hand->block becomes the spare one if it is the larger. */
static MPROC__NOINLINE void recycle(mproc_queue *queue, struct mproc__hand *hand) {
    if (mproc__guard_enter_timed(&queue->tail, hand)) {
        uint64_t spare = queue->spare;
        if (spare == 0 || segment_at(spare)->size < segment_at(hand->block)->size) {
            mproc__guard_set(&queue->tail, &queue->spare, hand->block);
            mproc__guard_set(&queue->tail, &hand->block, spare);
        }
        mproc__guard_leave(&queue->tail, hand);
    }
    mproc__heap_free(hand, &hand->block);
}

/* ---------------------------------------------------------------- put */

/* For a record of what happens: a user's call has put or got so many messages. */
static inline int traced(const mproc_queue *queue, enum mproc__trace_event event, int r,
                         uint64_t n) {
    if (mproc__likely(r == 0)) {
        mproc__traced(event, MPROC__KIND_QUEUE, queue, n);
    }
    return r;
}

/* Messages of a piece each that go behind another one, with the same publish, if they can. */
struct followers {
    const struct iovec *head; /* before each piece; NULL: nothing */
    const struct iovec *pieces;
    size_t n;
    size_t put; /* set by the call */
};

/* What is to be appended: bytes in pieces, or the message object in *block. */
struct outgoing {
    const struct iovec *pieces;
    int n;
    size_t size;
    uint64_t *block;
    const struct mproc__claim *claim;
    struct followers *followers;  /* NULL: none */
    mproc_buffer *const *buffers; /* that the message takes along */
    size_t nbuffers;
};

static bool too_big(size_t size, size_t nbuffers) {
    size_t head;
    return __builtin_mul_overflow(nbuffers, sizeof(struct mproc__hold), &head) ||
           size > SIZE_MAX / 2 || head > SIZE_MAX / 4 ||
           !mproc__heap_can_have(size + mproc__parcel_head(nbuffers));
}

static inline bool is_inline(const struct outgoing *out) {
    return out->size <= INLINE_MAX && out->nbuffers == 0;
}

static inline void gather(char *out, const struct iovec *pieces, int n) {
    for (int i = 0; i < n; i++) {
        copy(out, pieces[i].iov_base, pieces[i].iov_len);
        out += pieces[i].iov_len;
    }
}

static inline size_t inline_size(size_t size) {
    return sizeof(struct record) + padded(size);
}

static inline size_t record_size(const struct outgoing *out) {
    return out->block != NULL ? sizeof(struct block_record) : inline_size(out->size);
}

static inline void write_inline(struct record *record, const struct iovec *pieces, int n,
                                size_t size) {
    record->size = (uint32_t)size;
    record->kind = RECORD_INLINE;
    gather((char *)(record + 1), pieces, n);
}

/* The lines that a message some way behind this one will take are another core's, which has read
 * what was there before. A write to one would be waited for by the atomic step that follows it. */
static inline void fetch_ahead(const mproc_queue *queue, size_t need) {
    uint64_t offset = queue->tail_offset + FETCH_AHEAD * need;
    if (need <= FETCH_MOST && fits(queue->tail_segment, offset, need)) {
        for (size_t i = 0; i < need; i += MPROC__LINE) {
            mproc__fetch_to_write(queue->tail_segment + offset + i);
        }
    }
}

static MPROC__INLINE void write_record(mproc_queue *queue, const struct outgoing *out) {
    struct record *record = record_at(queue->tail_segment, queue->tail_offset);
    if (out->block == NULL) {
        fetch_ahead(queue, inline_size(out->size));
        write_inline(record, out->pieces, out->n, out->size);
        return;
    }
    struct block_record *b = (struct block_record *)(void *)record;
    record->size = 0;
    record->kind = RECORD_BLOCK;
    b->message = *out->block;
    b->size = out->size;
    mproc__guard_set(&queue->tail, out->block, 0);
}

/* Under the tail's guard: how many of n messages the bound lets in behind the one that is being
 * appended. */
static size_t places_behind(mproc_queue *queue, size_t n) {
    if (queue->bound == 0) {
        return n;
    }
    if (queue->most_bytes != 0) { /* one at a time, and each is looked at */
        return 0;
    }
    if (places(queue) <= n) {
        look_at_head(queue);
    }
    return places(queue) <= n ? (size_t)places(queue) - 1 : n;
}

/* Under the tail's guard: writes them from `offset` on, where they are nobody's yet; returns the
 * offset behind them. */
static uint64_t write_followers(mproc_queue *queue, uint64_t offset, struct followers *followers) {
    size_t n = places_behind(queue, followers->n), i = 0;
    uint64_t most = queue->tail_offset + BATCH_BYTES;
    const struct iovec *head = followers->head;
    size_t more = head != NULL ? head->iov_len : 0;
    for (; i < n && offset < most; i++) {
        size_t size = followers->pieces[i].iov_len + more;
        struct iovec all[2] = {followers->pieces[i], {NULL, 0}};
        if (size > INLINE_MAX || !fits(queue->tail_segment, offset, inline_size(size))) {
            break;
        }
        if (head != NULL) {
            all[1] = all[0];
            all[0] = *head;
        }
        write_inline(record_at(queue->tail_segment, offset), all, head != NULL ? 2 : 1, size);
        offset += inline_size(size);
    }
    followers->put = i;
    return offset;
}

static MPROC__NOINLINE void count_bytes(struct mproc__guard *guard, uint64_t *word, size_t size) {
    uint64_t bytes = mproc__peek64(word) + size;
    mproc__guard_save(guard, word);
    mproc__store64(word, bytes); /* SYNC(queue.bytes) */
}

/* Under the tail's guard: appends and publishes. */
static MPROC__INLINE uint64_t append(mproc_queue *queue, const struct outgoing *out) {
    uint64_t ticket = queue->tail_ticket, n = 1;
    uint64_t offset = queue->tail_offset + record_size(out);
    write_record(queue, out);
    if (out->followers != NULL) {
        offset = write_followers(queue, offset, out->followers);
        n += out->followers->put;
    }
    mproc__guard_set(&queue->tail, &queue->tail_offset, offset);
    if (out->claim != NULL && out->claim->word != NULL) {
        mproc__guard_set(&queue->tail, out->claim->word, out->claim->value);
    }
    if (mproc__unlikely(queue->most_bytes != 0)) {
        count_bytes(&queue->tail, &queue->tail_bytes, out->size);
    }
    mproc__poke32(&queue->producer_cpu, mproc__mutex_cpu(&queue->tail.mutex));
    /* SYNC(queue.tail_ticket): the records, before the ticket that says they are there. */
    mproc__guard_publish(&queue->tail, &queue->tail_ticket, ticket + n);
    return ticket;
}

/* 0; -EAGAIN: full; -ETIMEDOUT: the tail was not to be entered; MPROC_ECLOSED; -ENOMEM. */
static MPROC__INLINE int try_append(mproc_queue *queue, struct mproc__hand *hand,
                                    const struct outgoing *out, uint64_t *ticket) {
    size_t need = record_size(out), size = 0;
    int r = 1;
    while (r == 1) {
        if (mproc__unlikely(!mproc__guard_enter_timed(&queue->tail, hand))) {
            r = -ETIMEDOUT;
            break;
        }
        if (mproc__unlikely(mproc__peek32(&queue->closed))) {
            r = MPROC_ECLOSED;
        } else if (mproc__unlikely(full(queue))) {
            r = -EAGAIN;
        } else if (mproc__likely(make_room(queue, hand, need, &size))) {
            *ticket = append(queue, out);
            r = 0;
        }
        mproc__guard_leave(&queue->tail, hand);
        if (r == 1) {
            stay_near(queue, need);
            int e = new_segment(hand, size, &hand->block);
            r = e == 0 ? 1 : e;
        }
    }
    if (mproc__unlikely(hand->block != 0)) { /* another producer was faster */
        mproc__heap_free(hand, &hand->block);
    }
    if (r == 0) {
        mproc__fence_after_rmw(); /* the ticket's store, before the look at `sleepers` */
        wake(&queue->items, out->followers != NULL ? 1 + out->followers->put : 1);
    }
    return r;
}

/* A large message is made when there is room for it: nothing is in the hand while the thread
 * sleeps. */
static int append_large(mproc_queue *queue, struct mproc__hand *hand, struct outgoing *out,
                        uint64_t *ticket) {
    if (!has_room(queue)) {
        return -EAGAIN;
    }
    int r = mproc__parcel_make(hand, out->buffers, out->nbuffers, out->size);
    if (r != 0) {
        return r;
    }
    gather(mproc__parcel_payload((struct mproc__object *)(uintptr_t)hand->unheld), out->pieces,
           out->n);
    out->block = &hand->unheld;
    r = try_append(queue, hand, out, ticket);
    out->block = NULL;
    mproc__object_destroy(hand, &hand->unheld);
    return r;
}

static bool has_few_places(const mproc_queue *queue) {
    uint64_t in = mproc__peek64(&queue->tail_ticket) - mproc__load64(&queue->head_ticket);
    return in > queue->bound - queue->bound / 4;
}

/* A producer that goes on at the first free place meets the consumer at every message, and each
 * time one takes the other's line away. A moment later there is room for several. */
static void linger(const mproc_queue *queue, const struct side *side) {
    for (int looks = 0; looks < LINGER_LOOKS; looks++) {
        if (!has_few_places(queue) || peer_is_here(side)) {
            return;
        }
        pause_for(LINGER_PAUSES);
    }
}

/* The same for large messages on one CPU: the producer has woken in the consumer's place, would put
 * one, and sleep again. The consumer goes on first. (Small ones take less time than the yield.) */
static void step_back(const mproc_queue *queue, const struct side *side) {
    if (has_few_places(queue) && peer_is_here(side)) {
        mproc__os_yield();
    }
}

/* Room is waited for, then tried again: somebody else may have been faster. */
static int await_room(mproc_queue *queue, bool large, int64_t timeout, int64_t *deadline) {
    if (*deadline < 0) {
        *deadline = mproc__deadline(timeout);
    }
    struct side side = producer_side(queue);
    int r = wait(queue, &side, *deadline);
    if (r == 0 && large) {
        step_back(queue, &side);
    }
    if (r == 0) {
        linger(queue, &side);
    }
    return r;
}

/* Waits for room, for the first message alone if others follow it. */
static MPROC__INLINE int put_out(mproc_queue *queue, struct outgoing *out, int64_t timeout,
                                 uint64_t *ticket) {
    int64_t deadline = -1;
    mproc__guard_patience = timeout;
    if (mproc__unlikely(!is_inline(out) && too_big(out->size, out->nbuffers))) {
        return MPROC_ETOOBIG;
    }
    for (;;) {
        struct mproc__hand *hand = mproc__hand_get();
        int r = mproc__likely(is_inline(out)) ? try_append(queue, hand, out, ticket)
                                              : append_large(queue, hand, out, ticket);
        mproc__hand_put(hand);
        if (mproc__likely(r != -EAGAIN)) {
            draining = NULL;
            return r;
        }
        r = await_room(queue, !is_inline(out), timeout, &deadline);
        if (r != 0) {
            return r;
        }
    }
}

int mproc__queue_put(mproc_queue *queue, const struct iovec *lent, int n, int64_t timeout,
                     const struct mproc__claim *claim, uint64_t *ticket) {
    struct outgoing out = {lent, n, mproc__pieces_size(lent, n), NULL, claim, NULL, NULL, 0};
    uint64_t ignored;
    return put_out(queue, &out, timeout, ticket != NULL ? ticket : &ignored);
}

int mproc__queue_put_load(mproc_queue *queue, const struct mproc__load *load, int64_t timeout,
                          const struct mproc__claim *claim, uint64_t *ticket) {
    struct outgoing out = {load->pieces,  load->n,       mproc__pieces_size(load->pieces, load->n),
                           NULL,          claim,         NULL,
                           load->buffers, load->nbuffers};
    uint64_t ignored;
    return put_out(queue, &out, timeout, ticket != NULL ? ticket : &ignored);
}

int mproc_queue_put_with(mproc_queue *queue, const struct iovec *lent, int n,
                         mproc_buffer *const *buffers, size_t nbuffers, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE) || !mproc__are_buffers(buffers, nbuffers)) {
        return MPROC_EOTHER;
    }
    const struct mproc__load load = {lent, n, buffers, nbuffers};
    int r = n >= 0 ? mproc__queue_put_load(queue, &load, timeout, NULL, NULL) : -EINVAL;
    return traced(queue, MPROC__TRACE_PUT, r, 1);
}

int mproc_queue_putv(mproc_queue *queue, const struct iovec *lent, int n, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    int r = n >= 0 ? mproc__queue_put(queue, lent, n, timeout, NULL, NULL) : -EINVAL;
    return traced(queue, MPROC__TRACE_PUT, r, 1);
}

/* A small message that probably has room, in few instructions. Anything but 0: nothing has
 * happened. */
static inline int put_fast(mproc_queue *queue, const struct iovec *piece) {
    struct outgoing out = {piece, 1, piece->iov_len, NULL, NULL, NULL, NULL, 0};
    uint64_t ignored;
    if (out.size > INLINE_MAX || seems_full(queue)) {
        return -EAGAIN;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = try_append(queue, hand, &out, &ignored);
    mproc__hand_put(hand);
    return r;
}

int mproc_queue_put(mproc_queue *queue, const void *lent, size_t size, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    struct iovec piece = {(void *)(uintptr_t)lent, size};
    mproc__guard_patience = timeout;
    int r = put_fast(queue, &piece);
    if (mproc__unlikely(r == -EAGAIN)) {
        r = mproc__queue_put(queue, &piece, 1, timeout, NULL, NULL);
    } else {
        draining = NULL;
    }
    return traced(queue, MPROC__TRACE_PUT, r, 1);
}

/* n is not 0. */
int mproc__queue_put_many(mproc_queue *queue, const struct iovec *head, const struct iovec *lent,
                          size_t n, size_t *put, uint64_t *ticket) {
    struct iovec first[2] = {*head, *lent};
    struct followers followers = {head, lent + 1, n - 1, 0};
    struct outgoing out = {first, 2, mproc__pieces_size(first, 2), NULL, NULL, &followers, NULL, 0};
    int r = put_out(queue, &out, MPROC_FOREVER, ticket);
    if (r == 0) {
        *put = 1 + followers.put;
    }
    return r;
}

int mproc_queue_put_many(mproc_queue *queue, const struct iovec *lent, size_t n, size_t *put,
                         int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (n == 0) {
        *put = 0;
        return 0;
    }
    struct followers followers = {NULL, lent + 1, n - 1, 0};
    struct outgoing out = {lent, 1, lent->iov_len, NULL, NULL, &followers, NULL, 0};
    uint64_t ignored;
    int r = put_out(queue, &out, timeout, &ignored);
    if (r == 0) {
        *put = 1 + followers.put;
    }
    return traced(queue, MPROC__TRACE_PUT, r, 1 + followers.put);
}

/* ---------------------------------------------------------------- get */

/* Messages that are taken behind another one, with the same publish, as far as they can be. */
struct more {
    mproc_message *messages;
    size_t n;
    size_t got; /* set by the call */
};

/* Under the head's guard: how many messages there are, as of the last look. */
static uint64_t there(const mproc_queue *queue) {
    return queue->tail_seen - queue->head_ticket;
}

static void look_at_tail(mproc_queue *queue) {
    uint64_t tail = mproc__load64(&queue->tail_ticket); /* SYNC(queue.tail_ticket) */
    mproc__poke64(&queue->tail_seen, tail);
}

/* Under the head's guard. Knows the tail's ticket at least as of the last look; `tail` is what the
 * caller saw before it entered, or 0. A second look would take the line from the producer twice. */
static bool empty(mproc_queue *queue, uint64_t tail) {
    if (there(queue) > 0) {
        return false;
    }
    if (tail > queue->head_ticket) {
        mproc__poke64(&queue->tail_seen, tail);
    } else {
        look_at_tail(queue);
    }
    found = there(queue);
    return found == 0;
}

/* If there is a next record at all: is it here, and not in the next segment? */
static inline bool is_here(uint64_t segment, uint64_t offset) {
    return mproc__likely(fits(segment, offset, sizeof(struct record))) &&
           record_at(segment, offset)->kind != RECORD_END;
}

/* Under the head's guard, not empty: the oldest record. A drained segment moves into
 * hand->block. */
static inline struct record *oldest(mproc_queue *queue, struct mproc__hand *hand) {
    uint64_t segment = queue->head_segment;
    if (is_here(segment, queue->head_offset)) {
        return record_at(segment, queue->head_offset);
    }
    uint64_t next = segment_at(segment)->next;
    mproc__guard_set(&queue->head, &queue->head_segment, next);
    mproc__guard_set(&queue->head, &queue->head_offset, sizeof(struct segment));
    mproc__guard_set(&queue->head, &hand->block, segment);
    return record_at(next, sizeof(struct segment));
}

/* Under the head's guard: n records, up to this offset, are taken. */
static MPROC__INLINE void advance(mproc_queue *queue, uint64_t offset, uint64_t n,
                                  const struct mproc__claim *claim) {
    uint64_t ticket = queue->head_ticket;
    mproc__guard_set(&queue->head, &queue->head_offset, offset);
    if (claim != NULL && claim->word != NULL) {
        mproc__guard_set(&queue->head, claim->word, ticket + 1);
    }
    mproc__poke32(&queue->consumer_cpu, mproc__mutex_cpu(&queue->head.mutex));
    /* SYNC(queue.head_ticket): the records have been read, before their places count as free. */
    mproc__guard_publish(&queue->head, &queue->head_ticket, ticket + n);
}

/* Under the head's guard: moves the record's message to where `message` says; a large one goes into
 * hand->message. The size of the record; 0: inline, but there is no room, and message->size says
 * how much is needed. */
static MPROC__INLINE size_t receive(mproc_queue *queue, struct mproc__hand *hand,
                                    struct record *record, mproc_message *message) {
    if (record->kind == RECORD_BLOCK) {
        struct block_record *b = (struct block_record *)(void *)record;
        message->size = b->size;
        mproc__guard_set(&queue->head, &hand->message, b->message);
        return sizeof *b;
    }
    message->size = record->size;
    if (mproc__unlikely(record->size > message->room_size)) {
        return 0;
    }
    copy(message->room, (const char *)(record + 1), record->size);
    message->data = message->room;
    return inline_size(record->size);
}

/* A message as it is before it is received. */
static inline mproc_message unreceived(const mproc_message *message) {
    return (mproc_message){message->room, message->room_size, NULL, 0, NULL};
}

/* Under the head's guard: how many of n messages there are behind the one that is being taken. */
static size_t there_behind(mproc_queue *queue, size_t n) {
    if (queue->most_bytes != 0) { /* each is counted */
        return 0;
    }
    if (there(queue) <= n) {
        look_at_tail(queue);
    }
    return there(queue) <= n ? (size_t)there(queue) - 1 : n;
}

/* Under the head's guard: takes messages from `offset` on, a large one as the last; returns the
 * offset behind them. */
static uint64_t receive_more(mproc_queue *queue, struct mproc__hand *hand, uint64_t offset,
                             struct more *more) {
    size_t n = there_behind(queue, more->n), i = 0;
    uint64_t segment = queue->head_segment, most = queue->head_offset + BATCH_BYTES;
    for (; i < n && offset < most && hand->message == 0 && is_here(segment, offset); i++) {
        mproc_message got = unreceived(&more->messages[i]);
        size_t size = receive(queue, hand, record_at(segment, offset), &got);
        if (size == 0) {
            break;
        }
        more->messages[i] = got;
        offset += size;
    }
    more->got = i;
    return offset;
}

/* Under the head's guard, not empty: takes the oldest message, and more if wanted. -EMSGSIZE: there
 * is no room for it. */
static MPROC__INLINE int take(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message,
                              const struct mproc__claim *claim, struct more *more) {
    size_t size = receive(queue, hand, oldest(queue, hand), message);
    if (mproc__unlikely(size == 0)) {
        return -EMSGSIZE;
    }
    if (mproc__unlikely(queue->most_bytes != 0)) {
        count_bytes(&queue->head, &queue->head_bytes, message->size);
    }
    uint64_t offset = queue->head_offset + size, n = 1;
    if (more != NULL) {
        offset = receive_more(queue, hand, offset, more);
        n += more->got;
    }
    advance(queue, offset, n, claim);
    return 0;
}

/* 0; -EAGAIN: empty; -ETIMEDOUT: the head was not to be entered; -EMSGSIZE as take. */
static MPROC__INLINE int try_take(mproc_queue *queue, struct mproc__hand *hand,
                                  mproc_message *message, const struct mproc__claim *claim,
                                  struct more *more, uint64_t tail) {
    if (mproc__unlikely(!mproc__guard_enter_timed(&queue->head, hand))) {
        return -ETIMEDOUT;
    }
    int r = empty(queue, tail) ? -EAGAIN : take(queue, hand, message, claim, more);
    if (r == -EMSGSIZE) {
        mproc__guard_rollback(&queue->head); /* a segment may have moved */
    }
    mproc__guard_leave(&queue->head, hand);
    if (mproc__unlikely(hand->block != 0)) {
        recycle(queue, hand);
    }
    if (r == 0 && queue->bound != 0) {
        mproc__fence_after_rmw();
        wake(&queue->room, more != NULL ? 1 + more->got : 1);
    }
    return r;
}

/* An inline message for which the caller brought no room is received into an object of its own. */
static int take_boxed(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message,
                      const struct mproc__claim *claim) {
    size_t size = message->size;
    int r = mproc__object_alloc(hand, MPROC__KIND_MESSAGE, mproc__parcel_head(0) + size);
    if (r != 0) {
        return r;
    }
    void *room = mproc__parcel_payload((struct mproc__object *)(uintptr_t)hand->unheld);
    mproc_message boxed = {room, size, NULL, 0, NULL};
    r = try_take(queue, hand, &boxed, claim, NULL, 0);
    if (r == 0) {
        message->size = boxed.size;
        if (boxed.data == boxed.room) {
            mproc__hand_move(hand, &hand->unheld, &hand->message);
        }
    }
    mproc__object_destroy(hand, &hand->unheld);
    return r == -EMSGSIZE ? -EAGAIN : r;
}

/* What is in the hand becomes the member's, and the caller's. */
static MPROC__NOINLINE void hand_over_block(struct mproc__hand *hand, mproc_message *message) {
    struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->message;
    mproc__object_adopt(hand, &hand->message);
    message->block = object;
    message->data = mproc__parcel_payload(object);
}

static inline void hand_over(struct mproc__hand *hand, mproc_message *message) {
    if (mproc__unlikely(hand->message != 0)) {
        hand_over_block(hand, message);
    }
}

static MPROC__INLINE int get_once(mproc_queue *queue, mproc_message *message,
                                  const struct mproc__claim *claim, struct more *more,
                                  uint64_t tail) {
    struct mproc__hand *hand = mproc__hand_get();
    int r = try_take(queue, hand, message, claim, more, tail);
    while (mproc__unlikely(r == -EMSGSIZE)) {
        r = take_boxed(queue, hand, message, claim);
        r = r == -EAGAIN && has_item(queue) ? try_take(queue, hand, message, claim, more, 0) : r;
    }
    if (r == 0) { /* what is in the hand is the last */
        bool first = more == NULL || more->got == 0;
        hand_over(hand, first ? message : &more->messages[more->got - 1]);
    }
    mproc__hand_put(hand);
    return r;
}

/* True: the last look found several messages, they have been taken, and the producers, which the
 * bound does not stop, bring more. */
static bool streams_in(const mproc_queue *queue) {
    return found >= GATHER_LEAST && draining == queue &&
           mproc__peek64(&queue->tail_seen) == mproc__peek64(&queue->head_ticket) &&
           (queue->bound == 0 || found < queue->bound / 4);
}

/* Each look at the tail's ticket takes its line from the producer, which takes it back with the
 * next put. A consumer that keeps up with a stream would look for a few messages each time: it
 * waits a moment, as long as the last look found many, and finds more. One that found a single
 * message says that the next one is to be looked for at once. */
static void let_gather(const mproc_queue *queue) {
    if (streams_in(queue)) {
        pause_for(found < GATHER_PAUSES ? (unsigned)found : GATHER_PAUSES);
    }
}

/* Waits for the first message alone if more are wanted. A queue that is seen to be empty is not
 * entered: a consumer that catches up looks twice before it waits. */
static MPROC__INLINE int get_in(mproc_queue *queue, mproc_message *message, int64_t timeout,
                                const struct mproc__claim *claim, struct more *more) {
    int64_t deadline = -1;
    mproc__guard_patience = timeout;
    let_gather(queue);
    for (;;) {
        bool closed = mproc__load32(&queue->closed); /* SYNC(queue.closed) */
        uint64_t tail = item_seen(queue);
        if (tail != 0) {
            mproc_message got = unreceived(message);
            int r = get_once(queue, &got, claim, more, tail);
            if (mproc__likely(r == 0)) {
                *message = got;
            }
            if (mproc__likely(r != -EAGAIN)) {
                return r;
            }
        }
        found = 0;
        if (closed) { /* it was closed before it was found empty: nothing can come */
            return MPROC_ECLOSED;
        }
        if (deadline < 0) {
            deadline = mproc__deadline(timeout);
        }
        struct side side = consumer_side(queue);
        side.streams = claim == NULL;
        int r = wait(queue, &side, deadline);
        if (r != 0) {
            return r;
        }
    }
}

int mproc__queue_get(mproc_queue *queue, mproc_message *message, int64_t timeout,
                     const struct mproc__claim *claim) {
    return get_in(queue, message, timeout, claim, NULL);
}

/* An inline message that is probably there, in few instructions. 0; or an error as try_take, after
 * which nothing has happened. */
static inline int get_fast(mproc_queue *queue, mproc_message *message) {
    if (mproc__peek64(&queue->tail_seen) == mproc__peek64(&queue->head_ticket)) {
        return -EAGAIN;
    }
    mproc_message got = unreceived(message);
    struct mproc__hand *hand = mproc__hand_get();
    int r = try_take(queue, hand, &got, NULL, NULL, 0);
    if (mproc__likely(r == 0)) {
        hand_over(hand, &got);
        *message = got;
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_queue_get(mproc_queue *queue, mproc_message *message, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    mproc__guard_patience = timeout;
    int r = get_fast(queue, message);
    if (mproc__unlikely(r != 0) && r != -ETIMEDOUT) {
        r = mproc__queue_get(queue, message, timeout, NULL);
    }
    return traced(queue, MPROC__TRACE_GET, r, 1);
}

int mproc_queue_get_many(mproc_queue *queue, mproc_message *messages, size_t n, size_t *got,
                         int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (n == 0) {
        *got = 0;
        return 0;
    }
    struct more more = {messages + 1, n - 1, 0};
    int r = get_in(queue, messages, timeout, NULL, &more);
    if (r == 0) {
        *got = 1 + more.got;
    }
    return traced(queue, MPROC__TRACE_GET, r, 1 + more.got);
}

void mproc_message_drop(mproc_message *message) {
    mproc_drop(message->block);
    message->block = NULL;
    message->data = NULL;
    message->size = 0;
}

mproc_buffer *mproc_message_buffer(const mproc_message *message, size_t i) {
    return message->block != NULL ? mproc__parcel_buffer(message->block, i) : NULL;
}

/* ---------------------------------------------------------------- reserve and commit */

int mproc_queue_reserve(mproc_queue *queue, size_t size, mproc_message *out) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (mproc__load32(&queue->closed)) {
        return MPROC_ECLOSED;
    }
    if (too_big(size, 0)) {
        return MPROC_ETOOBIG;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__object_alloc(hand, MPROC__KIND_MESSAGE, mproc__parcel_head(0) + size);
    if (r == 0) {
        struct mproc__object *object = (struct mproc__object *)(uintptr_t)hand->unheld;
        mproc__object_adopt(hand, &hand->unheld);
        *out = (mproc_message){NULL, 0, mproc__parcel_payload(object), size, object};
    }
    mproc__hand_put(hand);
    return r;
}

static int commit_object(mproc_queue *queue, struct mproc__hand *hand, size_t size) {
    uint64_t ticket;
    struct outgoing out = {NULL, 0, size, &hand->message, NULL, NULL, NULL, 0};
    int r = try_append(queue, hand, &out, &ticket);
    if (r != 0) {
        mproc__object_adopt(hand, &hand->message);
    }
    return r;
}

/* Others hold the reservation too (a child forked since): they keep it, and the queue gets a
 * copy. */
static int commit_copy(mproc_queue *queue, struct mproc__hand *hand, mproc_message *message) {
    uint64_t ticket;
    struct iovec piece = {message->data, message->size};
    struct outgoing out = {&piece, 1, message->size, NULL, NULL, NULL, NULL, 0};
    return append_large(queue, hand, &out, &ticket);
}

static int commit_once(mproc_queue *queue, mproc_message *message) {
    struct mproc__hand *hand = mproc__hand_get();
    int alone = mproc__object_disown(hand, message->block, &hand->message);
    int r = alone;
    if (alone >= 0) {
        r = alone ? commit_object(queue, hand, message->size) : commit_copy(queue, hand, message);
    }
    mproc__hand_put(hand);
    if (alone == 0 && r == 0) {
        (void)mproc_drop(message->block);
    }
    return r;
}

/* A message in a block of its own, no larger than that: what has been committed already is none. */
static bool is_reservation(const mproc_message *message) {
    struct mproc__object *object = message->block;
    return mproc__object_is(object, MPROC__KIND_MESSAGE) &&
           message->data == mproc__parcel_payload(object) &&
           message->size <= mproc__heap_size(object) - mproc__parcel_head(0);
}

int mproc_queue_commit(mproc_queue *queue, mproc_message *message, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (!is_reservation(message)) {
        return -EINVAL;
    }
    int64_t deadline = -1;
    mproc__guard_patience = timeout;
    int r = commit_once(queue, message);
    while (r == -EAGAIN) {
        r = await_room(queue, true, timeout, &deadline);
        if (r == 0) {
            r = commit_once(queue, message);
        }
    }
    if (r == 0) {
        *message = (mproc_message){NULL, 0, NULL, 0, NULL};
    }
    return traced(queue, MPROC__TRACE_PUT, r, 1);
}

/* ---------------------------------------------------------------- done, and all done */

/* How many messages a shutdown has dropped. The number is written before the section commits, which
 * makes head and tail the same for good; when it is put back, head and tail differ. */
static uint64_t dropped(const mproc_queue *queue) {
    uint64_t n = mproc__load64(&queue->dropped); /* SYNC(queue.dropped) */
    bool committed = n == 0 || (!has_item(queue) && mproc__load64(&queue->dropped) == n);
    return committed ? n : 0;
}

static bool all_done(const mproc_queue *queue) {
    /* SYNC(queue.done) */
    uint64_t done = mproc__load64(&queue->done) + dropped(queue);
    return done == mproc__load64(&queue->tail_ticket);
}

int mproc_queue_task_done(mproc_queue *queue) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    uint64_t done = mproc__load64(&queue->done);
    do {
        if (done + dropped(queue) >= mproc__load64(&queue->tail_ticket)) {
            return MPROC_EDONE;
        }
        /* SYNC(queue.done): what was done with a message, before it counts as done. */
    } while (!mproc__cas64(&queue->done, &done, done + 1));
    mproc__fence_after_rmw(); /* the count, before the look at `sleepers` */
    if (mproc__eventcount_awaited(&queue->idle) && all_done(queue)) {
        mproc__eventcount_wake_all(&queue->idle);
    }
    return 0;
}

int mproc_queue_join(mproc_queue *queue, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    struct side side = {all_done, &queue->idle, &queue->consumer_cpu, false, false};
    return all_done(queue) ? 0 : wait(queue, &side, mproc__deadline(timeout));
}

/* ---------------------------------------------------------------- waiting, without taking */

/* Sleeps until a message is there. Whoever slept may have been woken in a consumer's place. */
static int await_item(mproc_queue *queue, int64_t deadline) {
    struct side side = consumer_side(queue);
    int r = sleep_slices(queue, &side, deadline);
    mproc__eventcount_wake(&queue->items);
    return r;
}

int mproc_queue_wait(mproc_queue *queue, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    int64_t deadline = mproc__deadline(timeout);
    while (!has_item(queue)) {
        if (mproc__load32(&queue->closed)) {
            return MPROC_ECLOSED;
        }
        int r = timeout == 0 ? -ETIMEDOUT : await_item(queue, deadline);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- waiting with a descriptor */

static bool can_get(const void *object) {
    const mproc_queue *queue = object;
    return has_item(queue) || mproc__load32(&queue->closed);
}

static bool can_put(const void *object) {
    const mproc_queue *queue = object;
    return has_room(queue) || mproc__load32(&queue->closed);
}

static bool can_join(const void *object) {
    return all_done(object);
}

static void announce_get(void *queue) {
    (void)mproc__eventcount_announce(&((mproc_queue *)queue)->items);
}

static void announce_put(void *queue) {
    (void)mproc__eventcount_announce(&((mproc_queue *)queue)->room);
}

static void announce_join(void *queue) {
    (void)mproc__eventcount_announce(&((mproc_queue *)queue)->idle);
}

struct mproc__source mproc__queue_source(mproc_queue *queue, mproc_watch_for what) {
    switch (what) {
    case MPROC_WATCH_GET:
        return (struct mproc__source){queue, &queue->items.bells, announce_get, can_get, NULL};
    case MPROC_WATCH_PUT:
        return (struct mproc__source){queue, &queue->room.bells, announce_put, can_put, NULL};
    default:
        return (struct mproc__source){queue, &queue->idle.bells, announce_join, can_join, NULL};
    }
}

/* ---------------------------------------------------------------- life */

static int fill(struct mproc__hand *hand, void *object, const void *bound) {
    mproc_queue *queue = object;
    mproc__guard_init(&queue->tail, queue->tail_log, QUEUE_UNDO);
    mproc__guard_init(&queue->head, queue->head_log, QUEUE_UNDO);
    queue->bound = *(const uint64_t *)bound;
    queue->head_offset = queue->tail_offset = sizeof(struct segment);
    queue->producer_cpu = queue->consumer_cpu = UINT32_MAX;
    int r = new_segment(hand, FIRST_SEGMENT, &hand->block);
    if (r == 0) { /* whole: the destructor follows its segments */
        mproc__hand_move(hand, &hand->block, &queue->head_segment);
        queue->tail_segment = queue->head_segment;
    }
    return r;
}

int mproc_queue_bound_bytes(mproc_queue *queue, uint64_t bytes) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    if (mproc__load64(&queue->tail_ticket) != 0) {
        return -EBUSY;
    }
    queue->most_bytes = bytes;
    queue->bound = queue->bound == 0 && bytes != 0 ? UINT64_MAX : queue->bound;
    return 0;
}

uint64_t mproc_queue_bytes(const mproc_queue *queue, uint64_t *most) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return 0;
    }
    if (most != NULL) {
        *most = queue->most_bytes;
    }
    return queue->most_bytes != 0 ? bytes_in(queue) : 0;
}

int mproc__queue_make(struct mproc__hand *hand, uint64_t bound, uint64_t *word) {
    int r = mproc__object_make(hand, MPROC__KIND_QUEUE, sizeof(mproc_queue), word);
    return r == 0 ? fill(hand, (mproc_queue *)(uintptr_t)*word, &bound) : r;
}

int mproc_queue_new(mproc_queue **out, uint64_t bound) {
    return mproc__object_build(out, MPROC__KIND_QUEUE, sizeof(mproc_queue), fill, &bound);
}

/* Under the head's guard: what a record names goes into the hand, for its destruction. The bytes of
 * the record. */
static size_t take_named(struct mproc__hand *hand, mproc_queue *queue, struct record *record) {
    if (record->kind != RECORD_BLOCK) {
        return inline_size(record->size);
    }
    mproc__guard_set(&queue->head, &hand->message,
                     ((struct block_record *)(void *)record)->message);
    return sizeof(struct block_record);
}

/* Takes a record out and destroys what it names. */
static void discard_one(struct mproc__hand *hand, mproc_queue *queue) {
    mproc__guard_enter(&queue->head, hand);
    size_t size = take_named(hand, queue, oldest(queue, hand));
    advance(queue, queue->head_offset + size, 1, NULL);
    mproc__guard_leave(&queue->head, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__object_destroy(hand, &hand->message);
}

/* Under the head's guard: takes one record out of what was cut off, for its destruction. */
static void cut_one(struct mproc__hand *hand, mproc_queue *queue) {
    uint64_t segment = queue->cut_segment, offset = queue->cut_offset;
    if (!is_here(segment, offset)) {
        mproc__guard_set(&queue->head, &hand->block, segment);
        segment = segment_at(segment)->next;
        offset = sizeof(struct segment);
        mproc__guard_set(&queue->head, &queue->cut_segment, segment);
    }
    size_t size = take_named(hand, queue, record_at(segment, offset));
    mproc__guard_set(&queue->head, &queue->cut_offset, offset + size);
    mproc__guard_set(&queue->head, &queue->cut_left, queue->cut_left - 1);
}

/* Destroys one thing of what was cut off. False: nothing is left. */
static bool clear_one(struct mproc__hand *hand, mproc_queue *queue) {
    bool more = true;
    mproc__guard_enter(&queue->head, hand);
    if (queue->cut_left > 0) {
        cut_one(hand, queue);
    } else if (queue->cut_segment != 0 && queue->cut_segment != queue->head_segment) {
        uint64_t segment = queue->cut_segment;
        mproc__guard_set(&queue->head, &hand->block, segment);
        mproc__guard_set(&queue->head, &queue->cut_segment, segment_at(segment)->next);
    } else {
        mproc__guard_set(&queue->head, &queue->cut_segment, 0);
        more = false;
    }
    mproc__guard_leave(&queue->head, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__object_destroy(hand, &hand->message);
    return more;
}

static void clear_cut(struct mproc__hand *hand, mproc_queue *queue) {
    while (clear_one(hand, queue)) {
    }
}

void mproc__queue_destroy(struct mproc__hand *hand, void *object) {
    mproc_queue *queue = object;
    if (queue->cut_segment != 0) { /* one that was being made may have no guard yet */
        clear_cut(hand, queue);
    }
    while (queue->head_segment != 0 && has_item(queue)) {
        discard_one(hand, queue);
    }
    /* Behind the last record there may be one more, empty segment: the tail's. */
    while (queue->head_segment != 0) {
        mproc__guard_enter(&queue->head, hand);
        mproc__guard_set(&queue->head, &hand->block, queue->head_segment);
        mproc__guard_set(&queue->head, &queue->head_segment, segment_at(queue->head_segment)->next);
        mproc__guard_leave(&queue->head, hand);
        mproc__heap_free(hand, &hand->block);
    }
    mproc__heap_free(hand, &queue->spare);
}

uint64_t mproc_queue_count(const mproc_queue *queue) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return 0;
    }
    uint64_t head = mproc__load64(&queue->head_ticket); /* first, so that it is never the larger */
    return mproc__load64(&queue->tail_ticket) - head;
}

/* Under the tail's guard: a put that has not seen it has published its message already. So a
 * consumer that sees `closed` and then an empty queue has seen all messages. */
void mproc_queue_close(mproc_queue *queue) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&queue->tail, hand);
    mproc__store32(&queue->closed, 1); /* SYNC(queue.closed): the last put, before the flag */
    mproc__guard_leave(&queue->tail, hand);
    mproc__hand_put(hand);
    mproc__full_fence();
    mproc__eventcount_wake_all(&queue->items);
    mproc__eventcount_wake_all(&queue->room);
}

/* All messages are out at once: the commit is the head's ticket, as for any that are taken. The
 * queue is closed, so that the tail stands still. */
static void cut(struct mproc__hand *hand, mproc_queue *queue) {
    struct mproc__guard *guard = &queue->head;
    mproc__guard_enter(guard, hand);
    look_at_tail(queue);
    uint64_t n = there(queue);
    if (n > 0) {
        mproc__guard_set(guard, &queue->cut_segment, queue->head_segment);
        mproc__guard_set(guard, &queue->cut_offset, queue->head_offset);
        mproc__guard_set(guard, &queue->cut_left, n);
        mproc__guard_save(guard, &queue->dropped);
        mproc__store64(&queue->dropped, n); /* SYNC(queue.dropped) */
        mproc__guard_set(guard, &queue->head_bytes, queue->tail_bytes);
        mproc__guard_set(guard, &queue->head_segment, queue->tail_segment);
        mproc__guard_set(guard, &queue->head_offset, queue->tail_offset);
        /* SYNC(queue.head_ticket) */
        mproc__guard_publish(guard, &queue->head_ticket, queue->tail_seen);
    }
    mproc__guard_leave(guard, hand);
}

void mproc_queue_shutdown(mproc_queue *queue, int immediate) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return;
    }
    mproc_queue_close(queue);
    if (!immediate) {
        return;
    }
    struct mproc__hand *hand = mproc__hand_get();
    cut(hand, queue);
    clear_cut(hand, queue);
    mproc__hand_put(hand);
    mproc__full_fence();
    if (all_done(queue)) {
        mproc__eventcount_wake_all(&queue->idle);
    }
    mproc__eventcount_wake_all(&queue->room);
}

/* ---------------------------------------------------------------- check */

static int check_record(const struct record *record, size_t *size, char *why, size_t why_size) {
    if (record->kind == RECORD_INLINE) {
        *size = inline_size(record->size);
        return record->size <= INLINE_MAX ? 0
                                          : mproc__corrupt(why, why_size,
                                                           "Q2: an inline record of "
                                                           "%u bytes",
                                                           record->size);
    }
    const struct block_record *b = (const struct block_record *)(const void *)record;
    const struct mproc__object *o = (const struct mproc__object *)(uintptr_t)b->message;
    *size = sizeof *b;
    if (record->kind != RECORD_BLOCK || !mproc_in_arena(o) || o->magic != MPROC__OBJECT_MAGIC ||
        (o->kind != MPROC__KIND_MESSAGE && o->kind != MPROC__KIND_PARCEL) || o->holds != 0) {
        return mproc__corrupt(why, why_size, "Q3: a record of kind %u", record->kind);
    }
    return mproc__parcel_check(o, why, why_size);
}

/* Under the head's guard: what is behind the tickets seen here can only grow. */
static int check_records(mproc_queue *queue, uint64_t n, char *why, size_t size) {
    uint64_t segment = queue->head_segment, offset = queue->head_offset;
    while (n > 0) {
        if (!fits(segment, offset, sizeof(struct record)) ||
            record_at(segment, offset)->kind == RECORD_END) {
            segment = segment_at(segment)->next;
            offset = sizeof(struct segment);
            if (segment == 0) {
                return mproc__corrupt(why, size, "Q2: %llu records are missing",
                                      (unsigned long long)n);
            }
            continue;
        }
        size_t length;
        int r = check_record(record_at(segment, offset), &length, why, size);
        if (r != 0) {
            return r;
        }
        offset += length;
        if (offset > segment_at(segment)->size) {
            return mproc__corrupt(why, size, "Q2: a record leaves its segment");
        }
        n--;
    }
    return 0;
}

int mproc_queue_check(mproc_queue *queue, char *why, size_t size) {
    if (!mproc__object_is(queue, MPROC__KIND_QUEUE)) {
        return mproc__corrupt(why, size, "Q: %p is no queue", (void *)queue);
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&queue->head, hand);
    uint64_t tail = mproc__load64(&queue->tail_ticket), n = tail - queue->head_ticket;
    int r = 0;
    uint64_t head_seen = mproc__peek64(&queue->head_seen); /* may grow, but not beyond the head */
    if (head_seen > queue->head_ticket || queue->head_ticket > queue->tail_seen ||
        queue->tail_seen > tail) {
        r = mproc__corrupt(why, size, "Q1: seen %llu, head %llu, seen %llu, tail %llu",
                           (unsigned long long)head_seen, (unsigned long long)queue->head_ticket,
                           (unsigned long long)queue->tail_seen, (unsigned long long)tail);
    } else if (mproc__load64(&queue->done) + dropped(queue) > tail) {
        r = mproc__corrupt(why, size, "Q5: more done than put");
    } else if (queue->cut_left > queue->dropped ||
               (queue->dropped > 0 && (n > 0 || !mproc__load32(&queue->closed)))) {
        r = mproc__corrupt(why, size, "Q6: %llu of %llu messages are cut off, and %llu are there",
                           (unsigned long long)queue->cut_left, (unsigned long long)queue->dropped,
                           (unsigned long long)n);
    } else if (queue->head_bytes > mproc__peek64(&queue->tail_bytes) ||
               (queue->most_bytes != 0 && queue->bound == 0)) {
        r = mproc__corrupt(why, size, "Q7: more bytes taken than put");
    } else if (queue->bound != 0 && n > queue->bound) {
        r = mproc__corrupt(why, size, "Q4: %llu messages", (unsigned long long)n);
    } else {
        r = check_records(queue, n, why, size);
    }
    mproc__guard_leave(&queue->head, hand);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__queue_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_queue *queue = copy;
    if (size < sizeof *queue) {
        return false;
    }
    out->count = queue->tail_ticket - queue->head_ticket;
    out->bound = queue->bound;
    out->total = queue->tail_ticket;
    out->done = queue->done + queue->dropped;
    out->closed = queue->closed != 0;
    out->segments[0] = queue->head_segment;
    out->segments[1] = queue->head_offset;
    out->room_at[0] = offsetof(mproc_queue, room);
    out->idle_at = offsetof(mproc_queue, idle);
    return true;
}

uint64_t mproc__queue_segment_first(void) {
    return sizeof(struct segment);
}

/* Bytes of the message whose record is there; 0 and *length 0: there is no whole record. */
static uint64_t record_facts(const char *at, size_t left, uint64_t *length) {
    struct block_record b = {{0, RECORD_END}, 0, 0};
    *length = 0;
    memcpy(&b.record, at, sizeof b.record);
    if (b.record.kind == RECORD_INLINE && inline_size(b.record.size) <= left) {
        *length = inline_size(b.record.size);
        return b.record.size;
    }
    if (b.record.kind == RECORD_BLOCK && sizeof b <= left) {
        memcpy(&b, at, sizeof b);
        *length = sizeof b;
        return b.size;
    }
    return 0;
}

uint64_t mproc__queue_segment(const void *copy, size_t size, uint64_t offset, uint64_t *left,
                              uint64_t *bytes) {
    struct segment segment;
    if (size < sizeof segment) {
        return 0;
    }
    memcpy(&segment, copy, sizeof segment);
    size = segment.size < size ? (size_t)segment.size : size;
    while (*left > 0 && offset <= size && size - offset >= sizeof(struct record)) {
        uint64_t length, of_record;
        of_record = record_facts((const char *)copy + offset, size - offset, &length);
        if (length == 0) {
            break;
        }
        *bytes += of_record;
        offset += length;
        *left -= 1;
    }
    return segment.next;
}
