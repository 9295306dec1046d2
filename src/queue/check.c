/*
 * check.c - the invariants of a queue, as state.h numbers them
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/parcel.h"
#include "queue/done.h"

static int check_record(const struct mproc__record *record, size_t *size, char *why,
                        size_t why_size) {
    if (record->kind == MPROC__RECORD_INLINE) {
        *size = mproc__record_inline(record->size);
        return record->size <= MPROC__RECORD_MOST ? 0
                                                  : mproc__corrupt(why, why_size,
                                                                   "Q2: an inline record of "
                                                                   "%u bytes",
                                                                   record->size);
    }
    const struct mproc__block_record *b = (const struct mproc__block_record *)(const void *)record;
    const struct mproc__object *o = (const struct mproc__object *)(uintptr_t)b->message;
    *size = sizeof *b;
    if (record->kind != MPROC__RECORD_BLOCK || !mproc_in_arena(o) ||
        o->magic != MPROC__OBJECT_MAGIC ||
        (o->kind != MPROC__KIND_MESSAGE && o->kind != MPROC__KIND_PARCEL) || o->holds != 0) {
        return mproc__corrupt(why, why_size, "Q3: a record of kind %u", record->kind);
    }
    return mproc__parcel_check(o, why, why_size);
}

/* Under the head's guard: what is behind the tickets seen here can only grow. */
static int check_records(mproc_queue *queue, uint64_t n, char *why, size_t size) {
    uint64_t segment = queue->head_segment, offset = queue->head_offset;
    while (n > 0) {
        if (!mproc__queue_segment_fits(segment, offset, sizeof(struct mproc__record)) ||
            mproc__record_at(segment, offset)->kind == MPROC__RECORD_END) {
            segment = mproc__queue_segment_at(segment)->next;
            offset = sizeof(struct mproc__queue_segment);
            if (segment == 0) {
                return mproc__corrupt(why, size, "Q2: %llu records are missing",
                                      (unsigned long long)n);
            }
            continue;
        }
        size_t length;
        int r = check_record(mproc__record_at(segment, offset), &length, why, size);
        if (r != 0) {
            return r;
        }
        offset += length;
        if (offset > mproc__queue_segment_at(segment)->size) {
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
    uint64_t tail = mproc__queue_tail_ticket(queue), n = tail - queue->head_ticket;
    int r = 0;
    uint64_t head_seen = mproc__peek64(&queue->head_seen); /* may grow, but not beyond the head */
    if (head_seen > queue->head_ticket || queue->head_ticket > queue->tail_seen ||
        queue->tail_seen > tail) {
        r = mproc__corrupt(why, size, "Q1: seen %llu, head %llu, seen %llu, tail %llu",
                           (unsigned long long)head_seen, (unsigned long long)queue->head_ticket,
                           (unsigned long long)queue->tail_seen, (unsigned long long)tail);
    } else if (mproc__queue_done(queue) + mproc__queue_dropped(queue) > tail) {
        r = mproc__corrupt(why, size, "Q5: more done than put");
    } else if (queue->cut_left > queue->dropped ||
               (queue->dropped > 0 && (n > 0 || !mproc__queue_is_closed(queue)))) {
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
