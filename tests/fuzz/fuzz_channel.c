/*
 * fuzz_channel.c - the ring of a channel's way: what a sender puts, and what others scribble there
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. A way with a ring of its own, in private memory. The input is a list of steps: a
 * message is put, one is taken, bytes of the ring are written over, or the sender's count is. A few
 * bits say where in the 64 bits of the counts the ring begins.
 *
 * What must hold. While nothing has been written over, messages come out as they went in, in order,
 * and one is refused only for want of room. Afterwards a taker never reads or writes outside of the
 * ring and its own room, its message is within what the counts say is there, and it ends: each step
 * takes at least a header's bytes, or nothing.
 */
#include "fuzz.h"

#include <errno.h>

#include "channel/ring.h"
#include "mproc.h"

#define MESSAGE_MOST 9000 /* a little more than a ring's message may have */
#define WAITING 9000      /* messages that a full ring can hold */

static char *ring;
static struct mproc__way way;
static bool scribbled;

/* The model: sizes and first bytes of the messages that wait. */
static struct {
    size_t size;
    uint8_t byte;
} waiting[WAITING];
static size_t first, count;

static void put(struct feed *feed) {
    static char bytes[MESSAGE_MOST];
    size_t size = feed_u32(feed) % MPROC__RING_MOST;
    uint8_t byte = feed_byte(feed);
    bool room = mproc__ring_has_room(&way, MPROC__RING_HEADER + size);
    if (!scribbled) {
        MUST(room == (way.tail - way.head + MPROC__RING_HEADER + size <= MPROC__RING));
    }
    if (!room) {
        return;
    }
    memset(bytes, byte, size);
    struct iovec pieces[2] = {{bytes, size / 3}, {bytes + size / 3, size - size / 3}};
    mproc__ring_put(&way, pieces, 2, size);
    if (!scribbled) {
        waiting[(first + count) % WAITING].size = size;
        waiting[(first + count) % WAITING].byte = byte;
        count++;
    }
}

/* What came must be what went in. */
static void compare(int r, const char *room, size_t room_size, size_t size) {
    if (count == 0) {
        MUST(r == -EAGAIN);
        return;
    }
    MUST(size == waiting[first].size);
    if (size > room_size) {
        MUST(r == MPROC_CHANNEL_LARGER);
        return;
    }
    MUST(r == 0);
    for (size_t i = 0; i < size; i++) {
        MUST((uint8_t)room[i] == waiting[first].byte);
    }
    first = (first + 1) % WAITING;
    count--;
}

static void take(struct feed *feed) {
    size_t room_size = feed_u32(feed) % MESSAGE_MOST;
    char *room = malloc(room_size + 1);
    uint64_t head = way.head, tail = way.tail;
    mproc_message message = MPROC_MESSAGE_INIT(room, room_size);
    MUST(room != NULL);
    int r = mproc__ring_take(&way, &message);
    MUST(r == 0 || r == -EAGAIN || r == MPROC_CHANNEL_LARGER || r == MPROC_EFRAME);
    MUST(r != -EAGAIN || head == tail);
    MUST((r == 0) == (way.head != head));
    if (r == 0) {
        MUST(message.size <= room_size && message.data == room);
        MUST(way.head == head + MPROC__RING_HEADER + message.size);
        MUST(way.head - head <= MPROC__RING);
    }
    if (!scribbled) {
        compare(r, room, room_size, message.size);
    }
    free(room);
}

static void scribble(struct feed *feed) {
    scribbled = true;
    size_t at = feed_u32(feed) % MPROC__RING, n = feed_below(feed, 16);
    for (size_t i = 0; i < n; i++) {
        ring[(at + i) % MPROC__RING] = (char)feed_byte(feed);
    }
}

static void scribble_tail(struct feed *feed) {
    scribbled = true;
    way.tail = feed_byte(feed) % 2 ? feed_u64(feed) : way.tail + feed_byte(feed);
}

static void step(struct feed *feed) {
    switch (feed_byte(feed) % 8) {
    case 0: scribble(feed); break;
    case 1: scribble_tail(feed); break;
    case 2:
    case 3:
    case 4: take(feed); break;
    default: put(feed); break;
    }
}

/* Whatever the ring holds, taking comes to an end. */
static void take_the_rest(void) {
    static char room[MPROC__RING_MOST];
    int r = 0;
    for (size_t n = 0; r == 0; n++) {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        MUST(n <= 2 * MPROC__RING / MPROC__RING_HEADER);
        r = mproc__ring_take(&way, &message);
    }
    MUST(r == -EAGAIN || r == MPROC_EFRAME);
    MUST(scribbled || r == -EAGAIN);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    ring = aligned_alloc(64, MPROC__RING); /* what stands outside is the sanitizer's */
    MUST(ring != NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed feed = {data, size};
    memset(ring, 0, MPROC__RING);
    way = (struct mproc__way){.ring = (uintptr_t)ring};
    way.tail = way.head = way.tail_seen = way.head_seen =
        feed_byte(&feed) % 2 ? (uint64_t)0 - feed_u32(&feed) % (2 * MPROC__RING)
                             : feed_u32(&feed) % MPROC__RING;
    scribbled = false;
    first = count = 0;
    while (feed.left > 0) {
        step(&feed);
    }
    take_the_rest();
    return 0;
}
