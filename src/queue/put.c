/*
 * put.c - putting messages into a queue
 *
 * SPDX-License-Identifier: MIT
 *
 * A small message has the fast way: one section, in which its record is written and its ticket
 * published. A large one is made into an object of its own before, while no guard is held.
 */
#include "queue/put.h"
#include "core/family.h"
#include "core/parcel.h"
#include "core/wait.h"
#include "queue.h"
#include "queue/batch.h"
#include "queue/bound.h"
#include "queue/near.h"
#include "queue/segment.h"
#include "queue/traced.h"
#include "queue/wait.h"
#include "system/os.h"
#include "system/pieces.h"

#define AHEAD                                                                                      \
    ((uint64_t)512 << 10)        /* bytes in the queue: what comes now is written to cold memory */
#define FETCH_AHEAD 8            /* messages */
#define FETCH_MOST ((size_t)512) /* bytes of a record; the CPU does it for longer ones */

/* What is to be appended: bytes in pieces, or the message object in *block. */
struct outgoing {
    const struct iovec *pieces;
    int n;
    size_t size;
    uint64_t *block;
    const struct mproc__claim *claim;
    struct mproc__followers *followers; /* NULL: none */
    mproc_buffer *const *buffers;       /* that the message takes along */
    size_t nbuffers;
};

bool mproc__queue_too_big(size_t size, size_t nbuffers) {
    size_t head;
    return __builtin_mul_overflow(nbuffers, sizeof(struct mproc__hold), &head) ||
           size > SIZE_MAX / 2 || head > SIZE_MAX / 4 ||
           !mproc__heap_can_have(size + mproc__parcel_head(nbuffers));
}

static inline bool is_inline(const struct outgoing *out) {
    return out->size <= MPROC__RECORD_MOST && out->nbuffers == 0;
}

static inline size_t record_size(const struct outgoing *out) {
    return out->block != NULL ? sizeof(struct mproc__block_record)
                              : mproc__record_inline(out->size);
}

/* The lines that a message some way behind this one will take are another core's, which has read
 * what was there before. A write to one would be waited for by the atomic step that follows it. */
static inline void fetch_ahead(const mproc_queue *queue, size_t need) {
    uint64_t offset = queue->tail_offset + FETCH_AHEAD * need;
    if (need <= FETCH_MOST && mproc__queue_segment_fits(queue->tail_segment, offset, need)) {
        for (size_t i = 0; i < need; i += MPROC__LINE) {
            mproc__fetch_to_write(queue->tail_segment + offset + i);
        }
    }
}

static MPROC__INLINE void write_record(mproc_queue *queue, const struct outgoing *out) {
    struct mproc__record *record = mproc__record_at(queue->tail_segment, queue->tail_offset);
    if (out->block == NULL) {
        fetch_ahead(queue, mproc__record_inline(out->size));
        mproc__record_write(record, out->pieces, out->n, out->size);
        return;
    }
    struct mproc__block_record *b = (struct mproc__block_record *)(void *)record;
    record->size = 0;
    record->kind = MPROC__RECORD_BLOCK;
    b->message = *out->block;
    b->size = out->size;
    mproc__guard_set(&queue->tail, out->block, 0);
}

/* Under the tail's guard: appends and publishes. */
static MPROC__INLINE uint64_t append(mproc_queue *queue, const struct outgoing *out) {
    uint64_t ticket = queue->tail_ticket, n = 1;
    uint64_t offset = queue->tail_offset + record_size(out);
    write_record(queue, out);
    if (out->followers != NULL) {
        offset = mproc__queue_write_followers(queue, offset, out->followers);
        n += out->followers->put;
    }
    mproc__guard_set(&queue->tail, &queue->tail_offset, offset);
    if (out->claim != NULL && out->claim->word != NULL) {
        mproc__guard_set(&queue->tail, out->claim->word, out->claim->value);
    }
    if (mproc__unlikely(queue->most_bytes != 0)) {
        mproc__queue_count_bytes(&queue->tail, &queue->tail_bytes, out->size);
    }
    mproc__poke32(&queue->producer_cpu, mproc__mutex_cpu(&queue->tail.mutex));
    /* SYNC(queue.tail_ticket): the records, before the ticket that says they are there. */
    mproc__guard_publish(&queue->tail, &queue->tail_ticket, ticket + n);
    return ticket;
}

/* A producer that is far ahead of the consumers, judged by a message's size, yields its CPU: a
 * consumer may wait for it. */
static void yield_far_ahead(const mproc_queue *queue, size_t need) {
    if (mproc__queue_may_yield(queue) && mproc__queue_inside(queue) > AHEAD / need) {
        mproc__os_yield();
    }
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
        } else if (mproc__unlikely(mproc__queue_full(queue))) {
            r = -EAGAIN;
        } else if (mproc__likely(mproc__queue_segment_make_room(queue, hand, need, &size))) {
            *ticket = append(queue, out);
            r = 0;
        }
        mproc__guard_leave(&queue->tail, hand);
        if (r == 1) {
            yield_far_ahead(queue, need);
            int e = mproc__queue_segment_new(hand, size, &hand->block);
            r = e == 0 ? 1 : e;
        }
    }
    if (mproc__unlikely(hand->block != 0)) { /* another producer was faster */
        mproc__heap_free(hand, &hand->block);
    }
    if (r == 0) {
        mproc__fence_after_rmw(); /* the ticket's store, before the look at `sleepers` */
        mproc__queue_wake(&queue->items, out->followers != NULL ? 1 + out->followers->put : 1);
    }
    return r;
}

/* A large message is made when there is room for it: nothing is in the hand while the thread
 * sleeps. */
static int append_large(mproc_queue *queue, struct mproc__hand *hand, struct outgoing *out,
                        uint64_t *ticket) {
    if (!mproc__queue_has_room(queue, hand)) {
        return -EAGAIN;
    }
    int r = mproc__parcel_make(hand, out->buffers, out->nbuffers, out->size);
    if (r != 0) {
        return r;
    }
    mproc__pieces_copy(mproc__parcel_payload((struct mproc__object *)(uintptr_t)hand->unheld),
                       out->pieces, out->n);
    out->block = &hand->unheld;
    r = try_append(queue, hand, out, ticket);
    out->block = NULL;
    mproc__object_destroy(hand, &hand->unheld);
    return r;
}

/* Waits for room, for the first message alone if others follow it. */
static MPROC__INLINE int put_out(mproc_queue *queue, struct outgoing *out, int64_t timeout,
                                 uint64_t *ticket) {
    int64_t deadline = -1;
    mproc__guard_patience = timeout;
    if (mproc__unlikely(!is_inline(out) && mproc__queue_too_big(out->size, out->nbuffers))) {
        return MPROC_ETOOBIG;
    }
    if (mproc__unlikely(!is_inline(out))) {
        mproc__queue_stay_near(queue, out->size, timeout);
    }
    for (;;) {
        struct mproc__hand *hand = mproc__hand_get();
        int r = mproc__likely(is_inline(out)) ? try_append(queue, hand, out, ticket)
                                              : append_large(queue, hand, out, ticket);
        mproc__hand_put(hand);
        if (mproc__likely(r != -EAGAIN)) {
            mproc__queue_draining = NULL;
            return r;
        }
        r = mproc__queue_await_room(queue, !is_inline(out), timeout, &deadline);
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
    return mproc__queue_traced(queue, MPROC__TRACE_PUT, r, 1);
}

int mproc_queue_putv(mproc_queue *queue, const struct iovec *lent, int n, int64_t timeout) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    int r = n >= 0 ? mproc__queue_put(queue, lent, n, timeout, NULL, NULL) : -EINVAL;
    return mproc__queue_traced(queue, MPROC__TRACE_PUT, r, 1);
}

/* A small message that probably has room, in few instructions. Anything but 0: nothing has
 * happened. */
static inline int put_fast(mproc_queue *queue, const struct iovec *piece) {
    struct outgoing out = {piece, 1, piece->iov_len, NULL, NULL, NULL, NULL, 0};
    uint64_t ignored;
    if (out.size > MPROC__RECORD_MOST || mproc__queue_seems_full(queue)) {
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
        mproc__queue_draining = NULL;
    }
    return mproc__queue_traced(queue, MPROC__TRACE_PUT, r, 1);
}

int mproc__queue_put_object(mproc_queue *queue, struct mproc__hand *hand, uint64_t *block,
                            size_t size) {
    uint64_t ticket;
    struct outgoing out = {NULL, 0, size, block, NULL, NULL, NULL, 0};
    return try_append(queue, hand, &out, &ticket);
}

int mproc__queue_put_copy(mproc_queue *queue, struct mproc__hand *hand, const struct iovec *piece) {
    uint64_t ticket;
    struct outgoing out = {piece, 1, piece->iov_len, NULL, NULL, NULL, NULL, 0};
    return append_large(queue, hand, &out, &ticket);
}

/* ---------------------------------------------------------------- several */

/* n is not 0. */
int mproc__queue_put_many(mproc_queue *queue, const struct iovec *head, const struct iovec *lent,
                          size_t n, size_t *put, uint64_t *ticket) {
    struct iovec first[2] = {*head, *lent};
    struct mproc__followers followers = {head, lent + 1, n - 1, 0};
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
    struct mproc__followers followers = {NULL, lent + 1, n - 1, 0};
    struct outgoing out = {lent, 1, lent->iov_len, NULL, NULL, &followers, NULL, 0};
    uint64_t ignored;
    int r = put_out(queue, &out, timeout, &ignored);
    if (r == 0) {
        *put = 1 + followers.put;
    }
    return mproc__queue_traced(queue, MPROC__TRACE_PUT, r, 1 + followers.put);
}
