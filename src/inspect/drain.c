/*
 * drain.c - records of what a family does, read out of its rings from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A ring is copied from the first record that was not seen to the last that counts.
 * Then its count is read again: a record is whole in the copy if it cannot have been written over
 * by then. The record that is being written does not count yet, and takes the oldest one's place.
 *
 * A count that goes back, or that is ahead by more than any program can write, is a broken
 * program's: the ring is read from there on.
 */
#include "inspect/drain.h"

#include <stdlib.h>
#include <string.h>

#define RINGS ((size_t)MPROC__MEMBERS * MPROC__TRACE_HANDS)
#define HEAD_WORDS 2 /* of a ring: next, magic */

struct mproc__drain {
    const struct mproc__outside *arena;
    uint64_t without_ring; /* when this began */
    uint64_t seen[RINGS];  /* records of each ring that were handed in, or lost */
    uint64_t rings[RINGS]; /* their addresses */
    struct mproc__trace_record copy[MPROC__TRACE_RECORDS];
};

static uint64_t field(const struct mproc__drain *d, size_t offset) {
    return d->arena->base + offset;
}

#define TRACE(name) (offsetof(struct mproc__family, trace) + offsetof(struct mproc__trace, name))

static uint64_t read_without_ring(const struct mproc__drain *d) {
    uint64_t n = 0;
    (void)mproc__outside_read(d->arena, field(d, TRACE(dropped)), &n, sizeof n);
    return n;
}

/* How many rings there can be by now; their addresses are read. */
static int read_rings(struct mproc__drain *d, size_t *n) {
    uint64_t top;
    int r = mproc__outside_read(d->arena, field(d, offsetof(struct mproc__family, table.top)), &top,
                                sizeof top);
    if (r != 0 || top > MPROC__MEMBERS) {
        return r != 0 ? r : MPROC_ECORRUPT;
    }
    *n = (size_t)top * MPROC__TRACE_HANDS;
    return mproc__outside_read(d->arena, field(d, TRACE(rings)), d->rings, *n * sizeof *d->rings);
}

/* How many records were ever written; false: it is no ring, or none yet. */
static bool read_next(const struct mproc__drain *d, size_t ring, uint64_t *next) {
    uint64_t head[HEAD_WORDS];
    if (mproc__outside_read(d->arena, d->rings[ring], head, sizeof head) != 0) {
        return false;
    }
    *next = head[0];
    return head[1] == MPROC__TRACE_RING_MAGIC;
}

/* Copies records first ... next - 1, at most a ring full. */
static int copy(struct mproc__drain *d, size_t ring, uint64_t first, uint64_t next) {
    const uint64_t at = d->rings[ring] + offsetof(struct mproc__trace_ring, records);
    size_t n = (size_t)(next - first), from = (size_t)(first % MPROC__TRACE_RECORDS);
    size_t straight = n < MPROC__TRACE_RECORDS - from ? n : MPROC__TRACE_RECORDS - from;
    int r = mproc__outside_read(d->arena, at + from * sizeof *d->copy, d->copy,
                                straight * sizeof *d->copy);
    return r != 0 || straight == n ? r
                                   : mproc__outside_read(d->arena, at, d->copy + straight,
                                                         (n - straight) * sizeof *d->copy);
}

/* The first record that nobody can have begun to write over when `next` counted. */
static uint64_t oldest(uint64_t next) {
    return next < MPROC__TRACE_RECORDS ? 0 : next - MPROC__TRACE_RECORDS + 1;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* How many records of the ring were handed in. */
static int64_t drain_ring(struct mproc__drain *d, size_t ring, mproc__drain_fn fn, void *sink) {
    uint64_t next, now, seen = d->seen[ring];
    if (!read_next(d, ring, &next) || next == seen) {
        return 0;
    }
    if (next < seen || next - seen > INT64_MAX) {
        d->seen[ring] = next;
        return 0;
    }
    uint64_t first = later(seen, oldest(next));
    if (copy(d, ring, first, next) != 0 || !read_next(d, ring, &now) || now < next) {
        return 0;
    }
    uint64_t whole = later(first, oldest(now));
    whole = whole < next ? whole : next;
    d->seen[ring] = next;
    fn(sink, (unsigned)ring, d->copy + (whole - first), (size_t)(next - whole), whole - seen);
    return (int64_t)(next - whole);
}

int64_t mproc__drain(struct mproc__drain *d, mproc__drain_fn fn, void *sink) {
    size_t n;
    int64_t records = 0;
    int r = read_rings(d, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        records += d->rings[i] != 0 ? drain_ring(d, i, fn, sink) : 0;
    }
    return r != 0 ? r : records;
}

uint64_t mproc__drain_without_ring(const struct mproc__drain *d) {
    uint64_t now = read_without_ring(d);
    return now > d->without_ring ? now - d->without_ring : 0;
}

int mproc__drain_new(struct mproc__drain **out, const struct mproc__outside *arena) {
    struct mproc__drain *d = calloc(1, sizeof *d); /* most of it is never touched */
    if (d == NULL) {
        return -ENOMEM;
    }
    d->arena = arena;
    d->without_ring = read_without_ring(d);
    size_t n;
    int r = read_rings(d, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (d->rings[i] != 0) {
            (void)read_next(d, i, &d->seen[i]);
        }
    }
    if (r != 0) {
        free(d);
        return r;
    }
    *out = d;
    return 0;
}

void mproc__drain_rewind(struct mproc__drain *d) {
    memset(d->seen, 0, sizeof d->seen);
}

void mproc__drain_drop(struct mproc__drain *owned) {
    free(owned);
}
