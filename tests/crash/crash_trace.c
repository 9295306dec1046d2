/*
 * crash_trace.c - records of what threads do, killed after each instruction of writing one
 *
 * SPDX-License-Identifier: MIT
 *
 * A record is there whole or not at all, whoever writes it and whoever comes after it.
 */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/object.h"
#include "core/trace_ring.h"

#define COUNT 77

static void *make(void) {
    mproc__poke64(&mproc__trace->until, UINT64_MAX);
    mproc__store32(&mproc__trace->on, MPROC__TRACE_BY_TIME);
    return crash_calloc(64);
}

static void write_one(void *object) {
    mproc__trace_done(MPROC__TRACE_PUT, MPROC__KIND_QUEUE, object, COUNT);
}

static void name_one(void *object) {
    (void)object;
    if (mproc__trace_name("a function") != 1) {
        abort();
    }
}

static struct mproc__trace_ring *ring_at(uint32_t i) {
    return (struct mproc__trace_ring *)(uintptr_t)mproc__trace->rings[i];
}

/* Records that are there, all of them whole. */
static uint64_t records(const void *object) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < mproc__table_top() * MPROC__TRACE_HANDS; i++) {
        const struct mproc__trace_ring *ring = ring_at(i);
        uint64_t next = ring != NULL && ring->magic == MPROC__TRACE_RING_MAGIC ? ring->next : 0;
        for (uint64_t k = 0; k < next; k++) {
            const struct mproc__trace_record *r = &ring->records[k];
            if (mproc__trace_event_of(r->what) == MPROC__TRACE_MEMBER) {
                continue;
            }
            n++;
            crash_require(r->time != 0 && r->count == COUNT && r->thread != 0);
            crash_require(r->what ==
                          mproc__trace_what(MPROC__TRACE_PUT, MPROC__KIND_QUEUE, object));
        }
    }
    return n;
}

static void verify(void *object) {
    uint64_t before = records(object);
    crash_require(before <= 1 && (before == 1 || !crash_returned()));
    crash_check(mproc__trace_check(why, sizeof why));
    pid_t other = crash_helper(write_one, object); /* perhaps in the dead one's place */
    crash_helper_join(other);
    crash_equal(records(object), before + 1);
    crash_equal(mproc__trace->dropped, 0);
}

static void verify_name(void *object) {
    name_one(object);
    crash_equal(strcmp((const char *)mproc__trace->names[1].text, "a function"), 0);
    crash_equal(mproc__trace->names[2].hash, 0);
}

static void drop(void *object) {
    mproc__store32(&mproc__trace->on, MPROC__TRACE_OFF);
    struct mproc__hand *hand = mproc__hand_get();
    for (uint32_t i = 0; i < mproc__table_top() * MPROC__TRACE_HANDS; i++) {
        mproc__heap_free(hand, &mproc__trace->rings[i]);
    }
    mproc__trace_enter(mproc__trace); /* threads remember where theirs were */
    mproc__hand_put(hand);
    memset(mproc__trace->names, 0, 2 * sizeof *mproc__trace->names);
    mproc_free(object);
}

static void twice(void *object) {
    write_one(object);
    write_one(object);
}

static void verify_twice(void *object) {
    uint64_t n = records(object);
    crash_require(n <= 2 && (n == 2 || !crash_returned()));
}

static const struct crash_op ops[] = {
    {.name = "trace: a thread's first record",
     .setup = make,
     .operate = write_one,
     .verify = verify,
     .teardown = drop},
    {.name = "trace: two records",
     .setup = make,
     .operate = twice,
     .verify = verify_twice,
     .teardown = drop},
    {.name = "trace: a name",
     .setup = make,
     .operate = name_one,
     .verify = verify_name,
     .teardown = drop},
};

CRASH_MAIN(ops)
