/*
 * facts.h - what an object of the arena says of itself to those who look from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * A looker has a copy of an object's first bytes, which was made while members changed them: its
 * words may not fit together, and in a broken family they may be anything. So the functions that
 * read facts out of a copy follow no pointer and trust no number. They take no lock, since a copy
 * has nobody who would release it. A copy that is too short for the kind has no facts: false.
 */
#ifndef MPROC_FACTS_H
#define MPROC_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MPROC__FACTS_TAKERS 6 /* as many entries as a ledger has in the object itself */

struct mproc__facts {
    uint64_t owner;  /* token of the member that holds it; 0: none does, or many may */
    uint64_t thread; /* the holder, pid << 32 | thread id; 0: not known */
    uint64_t since;  /* mproc__os_now() at which the owner had it already, or at which a queue's
                        oldest message was there; 0: not known */
    uint64_t count;  /* a queue's messages, permits that are left, parties that have come, waiters
                        of a condition, depth of an rlock, 1: an event that is set, items,
                        entries of a dict */
    uint64_t bound;  /* of a queue, a bounded semaphore, a barrier; 0: none */
    uint64_t total;  /* messages that were ever put, seats of a task queue */
    uint64_t done;   /* messages reported done; of a task queue the seats that have a task */
    uint64_t failed; /* of a task queue the tasks that have failed */
    uint64_t bytes;  /* of a buffer or an array, those of the program */
    uint64_t inside[2];   /* objects that belong to it: tasks and results, a lock; 0: none */
    uint64_t segments[2]; /* of a queue: where its messages begin, segment and offset */
    uint32_t room_at[2];  /* of a queue or channel: where in the object a waiter for room notes */
    uint32_t idle_at;     /* that it waits, and one for all to be done; 0: nowhere */
    bool closed;
    struct {
        uint64_t token, permits;
        uint64_t since;            /* mproc__os_now() at which it had them already; 0: not known */
    } takers[MPROC__FACTS_TAKERS]; /* members that have permits of a bounded semaphore */
    uint64_t more;                 /* of that: where the next page of its ledger is; 0: nowhere */
};

bool mproc__array_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__barrier_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__bsemaphore_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__buffer_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__channel_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__condition_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__event_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__list_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__lock_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__pool_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__queue_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__rlock_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__semaphore_facts(const void *copy, size_t size, struct mproc__facts *out);
bool mproc__taskq_facts(const void *copy, size_t size, struct mproc__facts *out);

/* A worker of a pool. */
struct mproc__seat_facts {
    uint64_t token;
    bool works;      /* it has a task; then: */
    uint64_t ticket; /* of that */
    uint64_t since;  /* mproc__os_now() at which it had it already; 0: not known */
    uint32_t name;   /* the row of core/trace.h that has its function's name; 0: not known */
};

/* Of the copy of a task queue: seat i. False: there is none. */
bool mproc__taskq_seat_facts(const void *copy, size_t size, size_t i,
                             struct mproc__seat_facts *seat);

/* Members of a bounded semaphore that have no room in it are in further pages of its ledger. Of the
 * copy of one: takes their permits off `count`, and returns where the next page is; 0: nowhere. */
struct mproc__ledger;
uint64_t mproc__bsemaphore_page_facts(const struct mproc__ledger *copy, struct mproc__facts *out);

/* A queue's messages are in segments. Of the copy of one, `offset` and `left` messages on: adds the
 * bytes of those that lie there, counts `left` down, and tells where the next segment is; 0: there
 * is none, or the copy is no segment. */
#define MPROC__SEGMENT_MOST ((size_t)65536)
uint64_t mproc__queue_segment(const void *copy, size_t size, uint64_t offset, uint64_t *left,
                              uint64_t *bytes);
/* Where in a segment its messages begin. */
uint64_t mproc__queue_segment_first(void);

/* A dict's entries are counted in its shards. Where in the dict the number is that makes the counts
 * hold; how many looks there are, where each of them is, and what a copy of its bytes says. */
#define MPROC__DICT_LOOK 128
uint64_t mproc__dict_generation_at(void);
unsigned mproc__dict_looks(void);
uint64_t mproc__dict_look_at(unsigned shard);
uint64_t mproc__dict_look_count(const char copy[MPROC__DICT_LOOK], uint64_t generation);

#endif
