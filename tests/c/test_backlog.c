/*
 * test_backlog.c - copies of records, laid by and handed in
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/backlog.h"
#include "test.h"

static struct mproc__backlog *backlog;
static struct mproc__trace_record records[MPROC__TRACE_RECORDS];
static uint64_t added, taken; /* records; each has its number as its time */
static uint64_t lost;         /* that was handed in */
static size_t parts;

static bool add_lump(unsigned ring, size_t n, uint64_t l) {
    for (size_t i = 0; i < n; i++) {
        records[i] = (struct mproc__trace_record){.time = added + i, .thread = ring};
    }
    bool kept = mproc__backlog_add(backlog, ring, records, n, l);
    added += kept ? n : 0;
    return kept;
}

static void check_part(void *sink, unsigned ring, const struct mproc__trace_record *lent, size_t n,
                       uint64_t l) {
    CHECK(sink == &taken);
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(lent[i].time, taken + i);
        CHECK_EQ(lent[i].thread, ring);
    }
    taken += n;
    lost += l;
    parts++;
}

static void take(size_t most) {
    mproc__backlog_take(backlog, most, check_part, &taken);
}

static void begin(void) {
    added = taken = lost = parts = 0;
    CHECK_OK(mproc__backlog_new(&backlog));
    CHECK(mproc__backlog_is_empty(backlog));
}

TEST(backlog_hands_in_lumps_by_parts) {
    begin();
    CHECK(add_lump(1, 10, 0));
    CHECK(add_lump(2, 5, 7));
    take(4);
    CHECK(taken == 4 && parts == 1);
    take(7); /* the rest of the first, and one of the second, which says what was lost */
    CHECK(taken == 11 && parts == 3 && lost == 7);
    CHECK(add_lump(3, 1, 0));
    take(SIZE_MAX);
    CHECK(taken == 16 && parts == 5 && lost == 7);
    CHECK(mproc__backlog_is_empty(backlog));
    take(SIZE_MAX);
    CHECK_EQ(parts, 5);
    mproc__backlog_drop(backlog);
}

TEST(backlog_keeps_what_was_lost_without_a_record) {
    begin();
    CHECK(add_lump(1, 0, 3));
    CHECK(!mproc__backlog_is_empty(backlog));
    take(1);
    CHECK(lost == 3 && parts == 1);
    CHECK(mproc__backlog_is_empty(backlog));
    mproc__backlog_drop(backlog);
}

TEST(backlog_is_full_and_has_room_again) {
    begin();
    while (add_lump(1, MPROC__TRACE_RECORDS, 1)) {
    }
    CHECK(mproc__backlog_is_full(backlog));
    CHECK(added > (uint64_t)3 << 20);
    take(MPROC__BACKLOG_BLOCK / sizeof *records); /* a block's and more */
    CHECK(!mproc__backlog_is_full(backlog));
    CHECK(add_lump(1, MPROC__TRACE_RECORDS, 1));
    take(SIZE_MAX);
    CHECK(taken == added && lost == added / MPROC__TRACE_RECORDS);
    CHECK(mproc__backlog_is_empty(backlog));
    mproc__backlog_drop(backlog);
}

TEST(backlog_goes_around_its_blocks) {
    begin();
    for (unsigned i = 0; taken < (uint64_t)10 << 20; i++) {
        CHECK(add_lump(i % 7, 1 + i * 37 % MPROC__TRACE_RECORDS, i % 3));
        take(1 + i * 41 % MPROC__TRACE_RECORDS);
    }
    take(SIZE_MAX);
    CHECK_EQ(taken, added);
    mproc__backlog_drop(backlog);
}
