/*
 * ring.c - the ring of a channel's way: messages in the wire format, in memory
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works, who writes which word, and the invariants: channel.c.
 */
#include "channel/ring.h"

#include <string.h>

#include "core/heap.h"

/* memcpy(), without the call for the shortest messages: two words that may overlap. */
static inline void copy(char *to, const char *from, size_t size) {
    if (size > 16 || size < 4) {
        memcpy(to, from, size);
    } else if (size >= 8) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + size - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + size - 4, &last, 4);
    }
}

/* Whether so many bytes of the ring are in one piece. */
static inline bool in_one_piece(uint64_t at, size_t size) {
    return at % MPROC__RING + size <= MPROC__RING;
}

static uint64_t write_bytes(const struct mproc__way *way, uint64_t at, const void *from,
                            size_t size) {
    size_t first = MPROC__RING - at % MPROC__RING;
    if (size > 0 && size <= first) {
        copy(mproc__ring_at(way, at), from, size);
    } else if (size > 0) {
        memcpy(mproc__ring_at(way, at), from, first);
        memcpy(mproc__ring_at(way, 0), (const char *)from + first, size - first);
    }
    return at + size;
}

static void read_bytes(const struct mproc__way *way, uint64_t at, void *out, size_t size) {
    size_t first = MPROC__RING - at % MPROC__RING;
    if (size > 0 && size <= first) {
        copy(out, mproc__ring_at(way, at), size);
    } else if (size > 0) {
        memcpy(out, mproc__ring_at(way, at), first);
        memcpy((char *)out + first, mproc__ring_at(way, 0), size - first);
    }
}

bool mproc__ring_has_room(struct mproc__way *way, size_t size) {
    if (way->tail + size - way->head_seen > MPROC__RING) {
        mproc__poke64(&way->head_seen, mproc__load64(&way->head)); /* SYNC(channel.head) */
    }
    return way->tail + size - way->head_seen <= MPROC__RING;
}

void mproc__ring_put(struct mproc__way *way, const struct iovec *pieces, int n, size_t size) {
    unsigned char header[MPROC__RING_HEADER] = {(unsigned char)(size >> 24),
                                                (unsigned char)(size >> 16),
                                                (unsigned char)(size >> 8), (unsigned char)size};
    uint64_t at = way->tail + MPROC__RING_HEADER;
    if (mproc__likely(in_one_piece(way->tail, MPROC__RING_HEADER))) {
        memcpy(mproc__ring_at(way, way->tail), header, MPROC__RING_HEADER);
    } else {
        (void)write_bytes(way, way->tail, header, MPROC__RING_HEADER);
    }
    for (int i = 0; i < n; i++) {
        at = write_bytes(way, at, pieces[i].iov_base, pieces[i].iov_len);
    }
    mproc__poke32(&way->sender_cpu, (uint32_t)mproc__os_cpu());
    mproc__store64(&way->tail, at); /* SYNC(channel.tail): the message, before its end. COMMIT */
}

static inline size_t next_size(const struct mproc__way *way, uint64_t at) {
    unsigned char h[MPROC__RING_HEADER];
    if (mproc__likely(in_one_piece(at, MPROC__RING_HEADER))) {
        memcpy(h, mproc__ring_at(way, at), MPROC__RING_HEADER);
    } else {
        read_bytes(way, at, h, MPROC__RING_HEADER);
    }
    return (size_t)h[0] << 24 | (size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3];
}

size_t mproc__ring_next_size(const struct mproc__way *way, uint64_t at) {
    return next_size(way, at);
}

/* Whether a message of that size can stand at the head: the ring may be scribbled over. */
static inline bool can_be(const struct mproc__way *way, size_t size) {
    uint64_t there = way->tail_seen - way->head;
    return there <= MPROC__RING && size <= MPROC__RING_MOST && MPROC__RING_HEADER + size <= there;
}

/* True: it has moved. */
static inline bool look_at_tail(struct mproc__way *way) {
    mproc__poke64(&way->tail_seen, mproc__load64(&way->tail)); /* SYNC(channel.tail) */
    mproc__way_found = way->tail_seen - way->head;
    return mproc__way_found != 0;
}

int mproc__ring_take(struct mproc__way *way, mproc_message *message) {
    if (way->tail_seen == way->head && !look_at_tail(way)) {
        return -EAGAIN;
    }
    size_t size = next_size(way, way->head);
    if (mproc__unlikely(!can_be(way, size))) {
        return MPROC_EFRAME;
    }
    message->size = size;
    if (size > message->room_size) {
        return MPROC_CHANNEL_LARGER;
    }
    read_bytes(way, way->head + MPROC__RING_HEADER, message->room, size);
    message->data = message->room;
    mproc__way_note_receiver(way, false);
    /* SYNC(channel.head): the message has been read, before its room is free. COMMIT */
    mproc__store64(&way->head, way->head + MPROC__RING_HEADER + size);
    return 0;
}

int mproc__ring_need(struct mproc__way *way) {
    if (way->ring != 0) {
        return 0;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__heap_alloc(hand, MPROC__RING, &hand->block);
    if (r == 0) {
        mproc__hand_move(hand, &hand->block, &way->ring);
    }
    mproc__hand_put(hand);
    return r;
}
