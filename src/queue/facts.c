/*
 * facts.c - what a picture tells of a queue, from a copy of its memory
 *
 * SPDX-License-Identifier: MIT
 *
 * Nothing here is trusted: the copy may have been taken in the middle of a change.
 */
#include "core/facts.h"
#include "queue/state.h"

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
    return sizeof(struct mproc__queue_segment);
}

/* Bytes of the message whose record is there; 0 and *length 0: there is no whole record. */
static uint64_t record_facts(const char *at, size_t left, uint64_t *length) {
    struct mproc__block_record b = {{0, MPROC__RECORD_END}, 0, 0};
    *length = 0;
    memcpy(&b.record, at, sizeof b.record);
    if (b.record.kind == MPROC__RECORD_INLINE && mproc__record_inline(b.record.size) <= left) {
        *length = mproc__record_inline(b.record.size);
        return b.record.size;
    }
    if (b.record.kind == MPROC__RECORD_BLOCK && sizeof b <= left) {
        memcpy(&b, at, sizeof b);
        *length = sizeof b;
        return b.size;
    }
    return 0;
}

uint64_t mproc__queue_segment(const void *copy, size_t size, uint64_t offset, uint64_t *left,
                              uint64_t *bytes) {
    struct mproc__queue_segment segment;
    if (size < sizeof segment) {
        return 0;
    }
    memcpy(&segment, copy, sizeof segment);
    size = segment.size < size ? (size_t)segment.size : size;
    while (*left > 0 && offset <= size && size - offset >= sizeof(struct mproc__record)) {
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
