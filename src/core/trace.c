/*
 * trace.c - what threads do, in rings of the arena: for those who record it from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each thread of a member has a ring of its own, so no two threads ever write to one:
 * a record costs a look at a clock and five stores. A thread remembers where its ring is as long as
 * it has the same hand of the same family. The ring belongs to the place of the thread's
 * hand in the table of members, and stays there. A thread that has the place later goes on in it,
 * so what a dead member did last can still be read. A recorder (src/inspect/record.c) sets `on`,
 * reads the rings by copies again and again, and keeps `until` ahead of the clock. Where it does
 * not any more, because it was killed, the first thread that writes turns it off.
 *
 * Shared state.
 *   on, until    The recorder writes them; a member clears `on` when `until` has passed.
 *   dropped      Any thread adds to it.
 *   rings        Each word is written by the thread that has the hand, once; see trace_ring.c.
 *   ring->next   The thread that has the hand. A record is there when `next` has passed it: that
 *                store is the commit. The record before the oldest one is being written over.
 *   names        A row is taken by a compare-and-swap of its hash. The words of the text are
 *                written then, and by each process that finds the hash, before it first uses the
 *                number: all write the same.
 *
 * Invariants.
 *   R1  Records next - RECORDS + 1 ... next - 1 of a ring are whole.
 *   R2  A word of rings is 0, or names a block as large as a ring.
 *   R3  A number that stands in a record has its text in the row.
 *
 * If a member dies here: its last record is not there, and the next thread in its place writes over
 * it. A row that was taken without a text gets it by the next process that has that name.
 *
 * What it does not do: wait, or keep anybody from anything. What is not read in time is lost, and
 * the reader sees by `next` how much that is.
 */
#include "core/trace.h"

#include <string.h>

static_assert(sizeof(struct mproc__trace_record) == 32, "two records are a cache line");
static_assert(sizeof(struct mproc__trace_name) == 64, "a name is a cache line");
static_assert(MPROC__TRACE_NAMES == 256, "a number of a name is a byte");

struct mproc__trace *mproc__trace;

static uint32_t entered; /* how often this process has entered a family, or left one */

static MPROC__THREAD struct {
    const struct mproc__hand *hand;
    struct mproc__trace_ring *ring;
    uint32_t entered;
} own;

void mproc__trace_enter(struct mproc__trace *trace) {
    mproc__trace = trace;
    mproc__poke32(&entered, mproc__peek32(&entered) + 1);
}

/* ---------------------------------------------------------------- writing */

static uint64_t time_by(uint32_t clock) {
    return clock == MPROC__TRACE_BY_TICKS ? mproc__os_ticks() : (uint64_t)mproc__os_now();
}

/* True: the recorder has not come for so long that it must have died. */
static bool is_over(uint64_t time) {
    if (mproc__likely(time <= mproc__peek64(&mproc__trace->until))) {
        return false;
    }
    mproc__poke32(&mproc__trace->on, MPROC__TRACE_OFF);
    return true;
}

uint64_t mproc__trace_time(void) {
    uint32_t clock = mproc__trace_on();
    uint64_t time = mproc__likely(clock != MPROC__TRACE_OFF) ? time_by(clock) : 0;
    return mproc__likely(time != 0 && !is_over(time)) ? time : 0;
}

uint64_t *mproc__trace_place(void) {
    const struct mproc__hand *hand = mproc__thread_hand;
    const struct mproc__slot *slot = mproc__self_slot();
    if (hand == NULL || hand - slot->hands >= MPROC__TRACE_HANDS) {
        return NULL;
    }
    return &mproc__trace
                ->rings[(slot - mproc__table->slots) * MPROC__TRACE_HANDS + (hand - slot->hands)];
}

static MPROC__NOINLINE struct mproc__trace_ring *find_ring(void) {
    const uint64_t *place = mproc__trace_place();
    struct mproc__trace_ring *ring =
        place != NULL ? (struct mproc__trace_ring *)(uintptr_t)mproc__peek64(place) : NULL;
    if (ring == NULL || mproc__peek64(&ring->magic) != MPROC__TRACE_RING_MAGIC) {
        return NULL;
    }
    own.hand = mproc__thread_hand;
    own.ring = ring;
    own.entered = mproc__peek32(&entered);
    return ring;
}

static inline struct mproc__trace_ring *own_ring(void) {
    bool same = own.ring != NULL && own.hand == mproc__thread_hand &&
                own.entered == mproc__peek32(&entered);
    return mproc__likely(same) ? own.ring : find_ring();
}

struct mproc__trace_ring *mproc__trace_own_ring(void) {
    return own_ring();
}

static inline void write_into(struct mproc__trace_ring *ring, uint64_t what, uint64_t count,
                              uint64_t time) {
    uint64_t n = mproc__peek64(&ring->next);
    struct mproc__trace_record *record = &ring->records[n % MPROC__TRACE_RECORDS];
    mproc__poke64(&record->time, time);
    mproc__poke64(&record->what, what);
    mproc__poke64(&record->thread, mproc__self_thread());
    mproc__poke64(&record->count, count);
    mproc__store_fence(); /* the record, before it counts */
    mproc__poke64(&ring->next, n + 1);
    mproc__store_fence(); /* R1: it counts, before the next one is written over */
}

static inline void append(uint64_t what, uint64_t count, uint64_t time) {
    struct mproc__trace_ring *ring = own_ring();
    if (mproc__unlikely(ring == NULL)) {
        (void)mproc__add64(&mproc__trace->dropped, 1);
        return;
    }
    write_into(ring, what, count, time);
}

void mproc__trace_write_at(uint64_t what, uint64_t count, uint64_t time) {
    append(what, count, time);
}

uint64_t mproc__trace_write(uint64_t what, uint64_t count) {
    uint64_t time = mproc__trace_time();
    if (time != 0) {
        append(what, count, time);
    }
    return time;
}

bool mproc__trace_write_joined(uint64_t what, uint64_t count) {
    struct mproc__trace_ring *ring = own_ring();
    if (mproc__unlikely(ring == NULL || mproc__peek32(&mproc__self()->named) == 0)) {
        return false;
    }
    uint64_t time = mproc__trace_time();
    if (mproc__likely(time != 0)) {
        write_into(ring, what, count, time);
    }
    return true;
}

/* ---------------------------------------------------------------- names */

/* FNV-1a; never 0. */
static uint64_t hash_of(const uint64_t text[MPROC__TRACE_TEXT / 8]) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = 0; i < MPROC__TRACE_TEXT; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash != 0 ? hash : 1;
}

/* Is the row that name's, or can it be made so? */
static bool take_row(struct mproc__trace_name *row, uint64_t hash) {
    uint64_t has = mproc__peek64(&row->hash);
    return has == hash || (has == 0 && (mproc__cas64(&row->hash, &has, hash) || has == hash));
}

unsigned mproc__trace_name(const char *text) {
    uint64_t words[MPROC__TRACE_TEXT / 8] = {0};
    memcpy(words, text, strnlen(text, MPROC__TRACE_TEXT - 1));
    uint64_t hash = hash_of(words);
    for (unsigned i = 1; i < MPROC__TRACE_NAMES; i++) {
        struct mproc__trace_name *row = &mproc__trace->names[i];
        if (take_row(row, hash)) {
            for (size_t w = 0; w < MPROC__TRACE_TEXT / 8; w++) {
                mproc__poke64(&row->text[w], words[w]);
            }
            return i;
        }
    }
    return 0;
}
