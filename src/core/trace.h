/*
 * trace.h - what threads do, in rings of the arena: for those who record it from outside
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TRACE_H
#define MPROC_TRACE_H

#include "core/token.h"

/* Of 32 bytes each: with the ring's head the records are eight chunks. A worker of a pool with
 * tasks of nothing fills it in some 5 ms, and the recorder comes by each 2 ms then. */
#ifndef MPROC__TRACE_RECORDS /* the fuzzers have fewer */
#define MPROC__TRACE_RECORDS 16382
#endif
/* So many threads of a member have rings: the first ones that use the library. With a word for each
 * of its hands the smallest arena (family.c) would be larger than small limits allow. */
#define MPROC__TRACE_HANDS 12
#define MPROC__TRACE_NAMES 256
#define MPROC__TRACE_TEXT 56
#define MPROC__TRACE_RING_MAGIC UINT64_C(0x676e69727063726d)

enum mproc__trace_event {
    MPROC__TRACE_NONE = 0,
    MPROC__TRACE_PUT,
    MPROC__TRACE_GET,
    MPROC__TRACE_ACQUIRE,
    MPROC__TRACE_RELEASE,
    MPROC__TRACE_TASK, /* begins, and ends one; `detail` is its function's name's number, or 0 */
    MPROC__TRACE_TASK_END,
    MPROC__TRACE_WAIT, /* begins; the address is a note, as in a hand (wait.c) */
    MPROC__TRACE_WAIT_END,
    MPROC__TRACE_MEMBER, /* a piece of the member's name; `detail` says which */
    MPROC__TRACE_EVENTS
};

/* What mproc__trace_on() says: which clock the records have. */
enum mproc__trace_clock {
    MPROC__TRACE_OFF = 0,
    MPROC__TRACE_BY_TIME = 1, /* mproc__os_now() */
    MPROC__TRACE_BY_TICKS = 2 /* mproc__os_ticks() */
};

struct mproc__trace_record {
    uint64_t time;
    uint64_t what;   /* event << 56 | detail << 48 | address; see mproc__trace_what() */
    uint64_t thread; /* pid << 32 | thread id */
    uint64_t count;  /* messages that were put or got */
};

struct mproc__trace_ring {
    uint64_t next; /* records that were ever written: record n is at n % RECORDS */
    uint64_t magic;
    uint64_t pad[6];
    struct mproc__trace_record records[MPROC__TRACE_RECORDS];
};

/* A member's name stands in several records: six bytes in each one's address, eight in its
 * count. */
#define MPROC__TRACE_PIECE 14
#define MPROC__TRACE_PIECES 5

/* What a function is called. It is never changed, and never goes. */
struct mproc__trace_name {
    uint64_t hash; /* 0: the row is free */
    uint64_t text[MPROC__TRACE_TEXT / 8];
};

struct mproc__trace {
    uint32_t on; /* enum mproc__trace_clock */
    uint32_t pad;
    uint64_t until;   /* by that clock: then it ends, because its recorder has died */
    uint64_t dropped; /* records for which there was no ring */
    uint64_t more[5];
    struct mproc__trace_name names[MPROC__TRACE_NAMES];  /* row 0 is not used */
    uint64_t rings[MPROC__MEMBERS * MPROC__TRACE_HANDS]; /* struct mproc__trace_ring *, or 0 */
};

/* The family's, in the arena. NULL: this process is no member yet. */
extern MPROC__HIDDEN struct mproc__trace *mproc__trace;

/* From now on that is the family's; NULL: there is none any more. */
void mproc__trace_enter(struct mproc__trace *trace);

/* Is somebody recording? Only in a member. */
static inline uint32_t mproc__trace_on(void) {
    return mproc__peek32(&mproc__trace->on);
}

static inline uint64_t mproc__trace_what(enum mproc__trace_event event, unsigned detail,
                                         const void *address) {
    const uint64_t low = (UINT64_C(1) << 48) - 1;
    return (uint64_t)event << 56 | (uint64_t)(detail & 0xff) << 48 |
           ((uint64_t)(uintptr_t)address & low);
}

static inline enum mproc__trace_event mproc__trace_event_of(uint64_t what) {
    return (enum mproc__trace_event)(what >> 56);
}

static inline unsigned mproc__trace_detail_of(uint64_t what) {
    return what >> 48 & 0xff;
}

static inline uint64_t mproc__trace_address_of(uint64_t what) {
    return what & ((UINT64_C(1) << 48) - 1);
}

/* The time by the clock that is recorded with. 0: nobody records, or not any more. */
uint64_t mproc__trace_time(void);

/* Where the calling thread's ring is noted; NULL: it has none of the hands that have rings. */
uint64_t *mproc__trace_place(void);
/* The calling thread's ring; NULL: it has none, or none that has begun. */
struct mproc__trace_ring *mproc__trace_own_ring(void);

/* Writes a record, if the calling thread has a ring. The call itself looks whether it is to.
 * Returns the record's time; 0: nobody records. */
uint64_t mproc__trace_write(uint64_t what, uint64_t count);
/* The same, in fewer steps, if the calling thread need not join first (core/trace_ring.h). False:
 * it must, and nothing is written. */
bool mproc__trace_write_joined(uint64_t what, uint64_t count);
/* The same with a time that has been. */
void mproc__trace_write_at(uint64_t what, uint64_t count, uint64_t time);

/* The number of a name; 0: there is no room for more. Only in a member. */
unsigned mproc__trace_name(const char *text);

#endif
