/*
 * record.h - a queue's records, and the segments in which they stand
 *
 * SPDX-License-Identifier: MIT
 *
 * A record is an inline message, or names an object that has a larger one. A producer writes it
 * where it is nobody's yet, a consumer reads it where nobody writes: what orders the two stands in
 * state.h.
 */
#ifndef MPROC_QUEUE_RECORD_H
#define MPROC_QUEUE_RECORD_H

#include <string.h>
#include <sys/uio.h>

#include "core/guard.h"
#include "core/object.h"

/* Above this size, copying under the guard costs more than an allocation. */
#define MPROC__RECORD_MOST ((size_t)MPROC_MESSAGE_INLINE)

enum mproc__record_kind {
    MPROC__RECORD_END = 0,
    MPROC__RECORD_INLINE = 1,
    MPROC__RECORD_BLOCK = 2
};

struct mproc__record {
    uint32_t size; /* of an inline payload, which follows */
    uint32_t kind;
};

struct mproc__block_record {
    struct mproc__record record;
    uint64_t message; /* struct mproc__object *, followed by the payload */
    uint64_t size;
};

struct mproc__queue_segment {
    uint64_t next;
    uint64_t size; /* bytes of the segment, this header included */
};

static inline struct mproc__queue_segment *mproc__queue_segment_at(uint64_t word) {
    return (struct mproc__queue_segment *)(uintptr_t)word;
}

static inline struct mproc__record *mproc__record_at(uint64_t segment, uint64_t offset) {
    return (struct mproc__record *)(uintptr_t)(segment + offset);
}

static inline bool mproc__queue_segment_fits(uint64_t segment, uint64_t offset, size_t need) {
    return offset + need <= mproc__queue_segment_at(segment)->size;
}

/* Of an inline record for so many bytes. */
static inline size_t mproc__record_inline(size_t size) {
    return sizeof(struct mproc__record) + ((size + 7) & ~(size_t)7);
}

/* If there is a next record at all: is it here, and not in the next segment? */
static inline bool mproc__record_is_here(uint64_t segment, uint64_t offset) {
    return mproc__likely(
               mproc__queue_segment_fits(segment, offset, sizeof(struct mproc__record))) &&
           mproc__record_at(segment, offset)->kind != MPROC__RECORD_END;
}

/* ---- what is in a record */

/* memcpy(), without the call for the smallest: two words, which may overlap. A size of 0 needs no
 * addresses. */
static inline void mproc__record_copy(char *to, const char *from, size_t size) {
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

static inline void mproc__record_gather(char *out, const struct iovec *pieces, int n) {
    for (int i = 0; i < n; i++) {
        mproc__record_copy(out, pieces[i].iov_base, pieces[i].iov_len);
        out += pieces[i].iov_len;
    }
}

static inline void mproc__record_write(struct mproc__record *record, const struct iovec *pieces,
                                       int n, size_t size) {
    record->size = (uint32_t)size;
    record->kind = MPROC__RECORD_INLINE;
    mproc__record_gather((char *)(record + 1), pieces, n);
}

/* A message as it is before it is read. */
static inline mproc_message mproc__record_unread(const mproc_message *message) {
    return (mproc_message){message->room, message->room_size, NULL, 0, NULL};
}

/* Under the head's guard: moves the record's message to where `message` says; a large one goes into
 * hand->message. The size of the record; 0: inline, but there is no room, and message->size says
 * how much is needed. */
static MPROC__INLINE size_t mproc__record_read(struct mproc__guard *head, struct mproc__hand *hand,
                                               struct mproc__record *record,
                                               mproc_message *message) {
    if (record->kind == MPROC__RECORD_BLOCK) {
        struct mproc__block_record *b = (struct mproc__block_record *)(void *)record;
        message->size = b->size;
        mproc__guard_set(head, &hand->message, b->message);
        return sizeof *b;
    }
    message->size = record->size;
    if (mproc__unlikely(record->size > message->room_size)) {
        return 0;
    }
    mproc__record_copy(message->room, (const char *)(record + 1), record->size);
    message->data = message->room;
    return mproc__record_inline(record->size);
}

#endif
