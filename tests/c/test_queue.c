/*
 * test_queue.c - first in, first out: every size, every number of members, every way to wait
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"

#include <sys/uio.h>

#define INLINE_MAX 8192 /* RECORD_MOST in queue/record.h; sizes around it are tested */
#define MIB ((size_t)1 << 20)

static void check(mproc_queue *q) {
    char why[256] = "";
    if (mproc_queue_check(q, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

/* Fills a message with bytes that depend on its number. */
static void fill(void *out, size_t size, uint64_t number) {
    unsigned char *p = out;
    for (size_t i = 0; i < size; i++) {
        p[i] = (unsigned char)((number + i) * 167 + (i >> 8));
    }
}

static void expect_bytes(const void *data, size_t size, uint64_t number) {
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != (unsigned char)((number + i) * 167 + (i >> 8))) {
            test_fail(__FILE__, __LINE__, "byte %zu of a message of %zu", i, size);
        }
    }
}

static void put(mproc_queue *q, size_t size, uint64_t number) {
    unsigned char *p = malloc(size + 1);
    CHECK(p != NULL);
    fill(p, size, number);
    CHECK_OK(mproc_queue_put(q, p, size, MPROC_FOREVER));
    free(p);
}

/* Gets a message into `room` bytes, or into a block if it has no room there. */
static void get(mproc_queue *q, size_t room, size_t size, uint64_t number) {
    unsigned char *p = malloc(room + 1);
    mproc_message m = MPROC_MESSAGE_INIT(room > 0 ? p : NULL, room);
    CHECK(p != NULL);
    p[room] = 0xee;
    CHECK_OK(mproc_queue_get(q, &m, MPROC_FOREVER));
    CHECK_EQ(m.size, size);
    CHECK_EQ(m.block != NULL, size > INLINE_MAX || size > room);
    CHECK(m.block != NULL ? mproc_in_arena(m.data) : m.data == m.room);
    expect_bytes(m.data, size, number);
    CHECK_EQ(p[room], 0xee);
    mproc_message_drop(&m);
    CHECK(m.data == NULL && m.size == 0 && m.block == NULL);
    free(p);
}

/* ---------------------------------------------------------------- one member */

static const size_t sizes[] = {
    0,          1,     7,     8,     9,     16,      100,           1000,
    1015,       1016,  4096,  8184,  8191,  8192,    8193,          8200,
    32768 - 64, 32768, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 5 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

TEST(queue_messages_of_every_size) {
    mproc_queue *q = made_queue(0);
    for (int i = 0; i < SIZES; i++) {
        put(q, sizes[i], (uint64_t)i);
        CHECK_EQ(mproc_queue_count(q), 1);
        check(q);
        get(q, sizes[i], sizes[i], (uint64_t)i);
        CHECK_EQ(mproc_queue_count(q), 0);
    }
    for (int i = 0; i < SIZES; i++) { /* all in the queue at once */
        put(q, sizes[i], (uint64_t)i);
        check(q);
    }
    CHECK_EQ(mproc_queue_count(q), SIZES);
    for (int i = 0; i < SIZES; i++) {
        get(q, 0, sizes[i], (uint64_t)i);
        check(q);
    }
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

TEST(queue_message_with_nothing_in_it) {
    mproc_queue *q = made_queue(0);
    struct iovec none[2] = {{NULL, 0}, {NULL, 0}};
    CHECK_OK(mproc_queue_put(q, NULL, 0, 0));
    CHECK_OK(mproc_queue_putv(q, NULL, 0, 0));
    CHECK_OK(mproc_queue_putv(q, none, 2, 0));
    for (int i = 0; i < 3; i++) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(q, &m, 0));
        CHECK_EQ(m.size, 0);
        CHECK(m.block == NULL);
        mproc_message_drop(&m);
        mproc_message_drop(&m);
    }
    mproc_drop(q);
}

/* For every small size and a room of about that size: the message is copied or comes in a block. */
TEST(queue_room_too_small_gets_a_block) {
    mproc_queue *q = made_queue(0);
    for (size_t size = 1; size < 40; size++) {
        for (size_t room = size - 1; room <= size + 1; room++) {
            put(q, size, size);
            get(q, room, size, size);
        }
    }
    for (int i = 0; i < 300; i++) { /* also where a segment ends */
        put(q, (size_t)i * 13 % 700, (uint64_t)i);
    }
    for (int i = 0; i < 300; i++) {
        get(q, i % 3 == 0 ? 0 : 350, (size_t)i * 13 % 700, (uint64_t)i);
        check(q);
    }
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

/* malloc(), numpy and the interpreter have large data 16 and 48 bytes behind the beginning of a
 * page. A copy to a place up to a cache line further in its page is slow. */
TEST(queue_large_messages_stand_where_they_are_copied_to_fast) {
    mproc_queue *q = made_queue(0);
    for (size_t size = 64 << 10; size <= 4 * MIB; size *= 2) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        put(q, size, size);
        CHECK_OK(mproc_queue_get(q, &m, MPROC_FOREVER));
        for (uintptr_t source = 16; source <= 48; source += 32) {
            uintptr_t ahead = ((uintptr_t)m.data - source) % 4096;
            CHECK(ahead == 0 || ahead >= 64);
        }
        mproc_message_drop(&m);
    }
    mproc_drop(q);
}

TEST(queue_blocks_outlive_the_queue) {
    mproc_queue *q = made_queue(0);
    mproc_message a = MPROC_MESSAGE_INIT(NULL, 0), b = a;
    put(q, 100, 1);
    put(q, 50000, 2);
    CHECK_OK(mproc_queue_get(q, &a, 0));
    CHECK_OK(mproc_queue_get(q, &b, 0));
    mproc_drop(q);
    expect_bytes(a.data, 100, 1);
    expect_bytes(b.data, 50000, 2);
    mproc_message_drop(&a);
    mproc_message_drop(&b);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(queue_dropped_full) {
    for (int n = 0; n < 400; n += 7) {
        mproc_queue *q = made_queue(0);
        for (int i = 0; i < n; i++) {
            put(q, i % 10 == 9 ? 20000 : (size_t)i, (uint64_t)i);
        }
        for (int i = 0; i < n / 3; i++) {
            get(q, 0, i % 10 == 9 ? 20000 : (size_t)i, (uint64_t)i);
        }
        mproc_drop(q);
        CHECK_EQ(test_arena_used(), 0);
    }
    check_family();
}

/* Segments whose messages were all got are used again: a queue that is not growing takes no more
 * memory. */
TEST(queue_in_balance_allocates_nothing) {
    mproc_queue *q = made_queue(0);
    for (int i = 0; i < 5000; i++) {
        put(q, 90, (uint64_t)i);
    }
    for (int i = 0; i < 5000; i++) {
        get(q, 90, 90, (uint64_t)i);
    }
    size_t used = test_arena_used();
    for (int i = 0; i < 20000; i++) {
        put(q, 90, (uint64_t)i);
        get(q, 90, 90, (uint64_t)i);
        CHECK_LE(test_arena_used(), used + 65536);
    }
    mproc_drop(q);
}

TEST(queue_putv_gathers) {
    mproc_queue *q = made_queue(0);
    for (int i = 0; i < SIZES; i++) {
        unsigned char *p = malloc(sizes[i] + 1);
        struct iovec pieces[20];
        size_t at = 0;
        fill(p, sizes[i], 5);
        for (int j = 0; j < 19; j++) {
            size_t n = j % 4 == 3 ? 0 : (sizes[i] - at) / 3;
            pieces[j] = (struct iovec){n == 0 ? NULL : p + at, n};
            at += n;
        }
        pieces[19] = (struct iovec){p + at, sizes[i] - at};
        CHECK_OK(mproc_queue_putv(q, pieces, 20, 0));
        get(q, sizes[i], sizes[i], 5);
        free(p);
    }
    CHECK_EQ(mproc_queue_putv(q, NULL, -1, 0), -EINVAL);
    CHECK_EQ(mproc_queue_count(q), 0);
    mproc_drop(q);
}

/* ---------------------------------------------------------------- errors */

TEST(queue_outputs_are_written_on_success_only) {
    mproc_queue *q = made_queue(1);
    char room[4] = "abc";
    mproc_message m = {room, 4, room, 77, NULL};
    CHECK_EQ(mproc_queue_get(q, &m, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_get(q, &m, 5 * MPROC_MSEC), -ETIMEDOUT);
    mproc_queue_close(q);
    CHECK_EQ(mproc_queue_get(q, &m, 0), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_reserve(q, 4, &m), MPROC_ECLOSED);
    CHECK(m.room == room && m.room_size == 4 && m.data == room && m.size == 77);
    CHECK_STR(room, "abc");
    mproc_drop(q);
}

TEST(queue_timeouts) {
    mproc_queue *q = made_queue(2);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    int64_t before = mproc__os_now();
    CHECK_EQ(mproc_queue_get(q, &m, 30 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - before, 30 * MPROC_MSEC);
    CHECK_EQ(mproc_queue_get(q, &m, 1), -ETIMEDOUT);
    put(q, 3, 0);
    put(q, 30000, 1);
    CHECK_EQ(mproc_queue_put(q, "x", 1, 0), -ETIMEDOUT);
    before = mproc__os_now();
    CHECK_EQ(mproc_queue_put(q, "x", 1, 30 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - before, 30 * MPROC_MSEC);
    static char large[20000];
    CHECK_EQ(mproc_queue_put(q, large, sizeof large, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_count(q), 2);
    check(q);
    get(q, 3, 3, 0);
    get(q, 0, 30000, 1);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(queue_closed) {
    mproc_queue *q = made_queue(0);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0), kept;
    static char large[20000];
    CHECK_OK(mproc_queue_reserve(q, 10, &kept));
    put(q, 10, 1);
    put(q, 10000, 2);
    mproc_queue_close(q);
    mproc_queue_close(q);
    CHECK_EQ(mproc_queue_put(q, "x", 1, MPROC_FOREVER), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_put(q, large, sizeof large, MPROC_FOREVER), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_reserve(q, 5, &m), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_commit(q, &kept, MPROC_FOREVER), MPROC_ECLOSED);
    CHECK_EQ(kept.size, 10); /* still the caller's */
    mproc_message_drop(&kept);
    CHECK_EQ(mproc_queue_count(q), 2);
    get(q, 10, 10, 1); /* messages that are in the queue can be got */
    get(q, 0, 10000, 2);
    CHECK_EQ(mproc_queue_get(q, &m, MPROC_FOREVER), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_get(q, &m, 0), MPROC_ECLOSED);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

/* A message that the arena can never hold is refused at once, also when the queue is full. */
TEST_BARE(queue_message_too_big) {
    mproc_message m = {NULL, 0, NULL, 9, NULL};
    char byte = 0;
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "8388608", 1));
    CHECK_EQ(mproc__family_join(), 0);
    mproc_queue *q = made_queue(1);
    size_t impossible[] = {(8 << 20) + 1, (size_t)1 << 32, (size_t)1 << 40,
                           SIZE_MAX / 2,  SIZE_MAX - 100,  SIZE_MAX};
    for (int full = 0; full < 2; full++) {
        for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++) {
            CHECK_EQ(mproc_queue_reserve(q, impossible[i], &m), MPROC_ETOOBIG);
            CHECK_EQ(mproc_queue_put(q, &byte, impossible[i], MPROC_FOREVER), MPROC_ETOOBIG);
            struct iovec pieces[2] = {{&byte, impossible[i]}, {&byte, impossible[i]}};
            CHECK_EQ(mproc_queue_putv(q, pieces, 2, MPROC_FOREVER), MPROC_ETOOBIG);
        }
        CHECK_EQ(m.size, 9);
        CHECK_EQ(mproc_queue_count(q), full);
        if (!full) {
            put(q, 1, 0);
        }
    }
    get(q, 1, 1, 0);
    void *half = mproc_alloc(5 << 20);
    CHECK_EQ(mproc_queue_reserve(q, 4 << 20, &m), -ENOMEM); /* not now */
    mproc_free(half);
    CHECK_OK(mproc_queue_reserve(q, 4 << 20, &m));
    mproc_message_drop(&m);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* ---------------------------------------------------------------- many at once */

enum { MANY = 64 };

/* Messages of a put_many: their bytes depend on their numbers. */
struct outgoing {
    struct iovec pieces[MANY];
    size_t n;
};

static void compose(struct outgoing *out, const size_t *each, size_t n, uint64_t number) {
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        out->pieces[i] = (struct iovec){malloc(each[i] + 1), each[i]};
        fill(out->pieces[i].iov_base, each[i], number + i);
    }
}

static void forget(struct outgoing *out) {
    for (size_t i = 0; i < out->n; i++) {
        free(out->pieces[i].iov_base);
    }
}

/* Puts messages of these sizes; returns how many of them one call has put. */
static size_t put_some(mproc_queue *q, const size_t *each, size_t n, uint64_t number) {
    struct outgoing out;
    size_t put = 77;
    compose(&out, each, n, number);
    CHECK_OK(mproc_queue_put_many(q, out.pieces, n, &put, MPROC_FOREVER));
    forget(&out);
    check(q);
    return put;
}

/* Gets up to n messages with `room` bytes for each, which have these sizes; returns how many. */
static size_t get_some(mproc_queue *q, size_t room, const size_t *each, size_t n, uint64_t number) {
    static unsigned char rooms[MANY][INLINE_MAX];
    mproc_message m[MANY];
    size_t got = 77;
    for (size_t i = 0; i < n; i++) {
        m[i] = (mproc_message){rooms[i], room, NULL, 99,
                               &got}; /* what was there before is no matter */
    }
    CHECK_OK(mproc_queue_get_many(q, m, n, &got, MPROC_FOREVER));
    CHECK(got >= 1 && got <= n);
    for (size_t i = 0; i < got; i++) {
        CHECK_EQ(m[i].size, each[i]);
        CHECK_EQ(m[i].block != NULL, each[i] > INLINE_MAX || each[i] > room);
        expect_bytes(m[i].data, m[i].size, number + i);
        mproc_message_drop(&m[i]);
    }
    for (size_t i = got; i < n; i++) { /* what was not got is not touched */
        CHECK(m[i].data == NULL && m[i].size == 99 && m[i].block == &got);
    }
    check(q);
    return got;
}

TEST(queue_many_small_ones_go_together) {
    mproc_queue *q = made_queue(0);
    size_t each[MANY];
    for (size_t i = 0; i < MANY; i++) {
        each[i] = i % 10;
    }
    CHECK_EQ(put_some(q, each, 30, 5), 30);
    CHECK_EQ(mproc_queue_count(q), 30);
    CHECK_EQ(get_some(q, 10, each, 20, 5), 20);
    CHECK_EQ(get_some(q, 10, each, MANY, 25), 10);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

/* All sizes one behind the other: whatever a call does, the rest is done by the next ones. */
TEST(queue_many_of_every_size) {
    for (size_t room = 0; room <= INLINE_MAX; room += room < 16 ? 4 : 511) {
        mproc_queue *q = made_queue(0);
        size_t each[4 * MANY], n = 0, calls = 0;
        for (size_t i = 0; i < 4 * MANY; i++) {
            each[i] = i % 32 < 20 ? i % 32 : sizes[i % (SIZES - 3)];
        }
        for (size_t put = 0; put < 4 * MANY; put += n, calls++) {
            size_t left = 4 * MANY - put;
            n = put_some(q, each + put, left < MANY ? left : MANY, put);
        }
        CHECK_LT(calls, 2 * MANY);
        CHECK_EQ(mproc_queue_count(q), 4 * MANY);
        for (size_t got = 0; got < 4 * MANY; got += n) {
            n = get_some(q, room, each + got, got % 3 == 0 ? MANY : 2, got);
        }
        CHECK_EQ(mproc_queue_count(q), 0);
        mproc_drop(q);
        CHECK_EQ(test_arena_used(), 0);
    }
    check_family();
}

TEST(queue_many_up_to_the_bound) {
    mproc_queue *q = made_queue(5);
    size_t each[MANY] = {0}, put = 77;
    struct outgoing out;
    for (uint64_t i = 0; i < MANY; i += 5) {
        CHECK_EQ(put_some(q, each, 3, i), 3);
        CHECK_EQ(put_some(q, each, 8, i + 3), 2);
        compose(&out, each, 2, 0);
        CHECK_EQ(mproc_queue_put_many(q, out.pieces, 2, &put, 0), -ETIMEDOUT);
        CHECK_EQ(mproc_queue_put_many(q, out.pieces, 2, &put, MPROC_MSEC), -ETIMEDOUT);
        CHECK_EQ(put, 77);
        forget(&out);
        CHECK_EQ(get_some(q, 8, each, 4, i), 4);
        CHECK_EQ(get_some(q, 8, each, 4, i + 4), 1);
    }
    mproc_drop(q);
}

/* A large message is the first of those that are put together, the last of those that are got. */
TEST(queue_many_with_large_ones) {
    mproc_queue *q = made_queue(0);
    const size_t each[] = {10, 9000, 11, 12, 8193, 8193, 8192};
    CHECK_EQ(put_some(q, each, 7, 0), 1);
    CHECK_EQ(put_some(q, each + 1, 6, 1), 3);
    CHECK_EQ(put_some(q, each + 4, 3, 4), 1);
    CHECK_EQ(put_some(q, each + 5, 2, 5), 1);
    CHECK_EQ(put_some(q, each + 6, 1, 6), 1);
    CHECK_EQ(get_some(q, INLINE_MAX, each, 7, 0), 2);
    CHECK_EQ(get_some(q, INLINE_MAX, each + 2, 5, 2), 3);
    CHECK_EQ(get_some(q, INLINE_MAX, each + 5, 2, 5), 1);
    CHECK_EQ(get_some(q, INLINE_MAX, each + 6, 1, 6), 1);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(queue_many_into_rooms_that_are_too_small) {
    mproc_queue *q = made_queue(0);
    const size_t each[] = {4, 5, 4, 5, 5};
    CHECK_EQ(put_some(q, each, 5, 0), 5);
    CHECK_EQ(get_some(q, 4, each, 5, 0), 1);
    CHECK_EQ(get_some(q, 4, each + 1, 4, 1), 1); /* into a block, and so alone */
    CHECK_EQ(get_some(q, 4, each + 2, 3, 2), 1);
    CHECK_EQ(get_some(q, 0, each + 3, 2, 3), 1);
    CHECK_EQ(get_some(q, 5, each + 4, 1, 4), 1);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

/* Others never wait for long: a call stops at some bytes. */
TEST(queue_many_are_not_too_many_bytes) {
    mproc_queue *q = made_queue(0);
    size_t each[MANY];
    for (size_t i = 0; i < MANY; i++) {
        each[i] = 4000;
    }
    for (size_t put = 0; put < MANY;) {
        size_t n = put_some(q, each, MANY - put, put);
        CHECK_LE(n, 5);
        put += n;
    }
    for (size_t got = 0; got < MANY;) {
        size_t n = get_some(q, 4000, each, MANY - got, got);
        CHECK_LE(n, 5);
        got += n;
    }
    mproc_drop(q);
}

TEST(queue_many_of_none) {
    mproc_queue *q = made_queue(1);
    size_t n = 77;
    CHECK_OK(mproc_queue_put_many(q, NULL, 0, &n, MPROC_FOREVER));
    CHECK_EQ(n, 0);
    n = 77;
    CHECK_OK(mproc_queue_get_many(q, NULL, 0, &n, MPROC_FOREVER));
    CHECK_EQ(n, 0);
    mproc_drop(q);
}

TEST(queue_many_errors_leave_all_as_it_was) {
    mproc_queue *q = made_queue(0);
    char byte = 'x';
    struct iovec pieces[3] = {{&byte, 1}, {&byte, (size_t)1 << 60}, {&byte, 1}};
    mproc_message m[2] = {{NULL, 1, NULL, 2, NULL}, {NULL, 3, NULL, 4, NULL}};
    size_t n = 77;
    CHECK_EQ(mproc_queue_get_many(q, m, 2, &n, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_get_many(q, m, 2, &n, MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_put_many(q, pieces + 1, 2, &n, 0), MPROC_ETOOBIG);
    CHECK_EQ(n, 77);
    CHECK_EQ(mproc_queue_count(q), 0);
    CHECK_OK(
        mproc_queue_put_many(q, pieces, 3, &n, 0)); /* another one's error is the next call's */
    CHECK_EQ(n, 1);
    mproc_queue_close(q);
    n = 77;
    CHECK_EQ(mproc_queue_put_many(q, pieces, 1, &n, MPROC_FOREVER), MPROC_ECLOSED);
    mproc_message one = MPROC_MESSAGE_INIT(&byte, 1);
    CHECK_OK(mproc_queue_get(q, &one, 0)); /* what was put before the close */
    CHECK_EQ(mproc_queue_get_many(q, m, 2, &n, MPROC_FOREVER), MPROC_ECLOSED);
    CHECK(n == 77 && m[0].size == 2 && m[1].size == 4);
    mproc_drop(q);
}

/* ---------------------------------------------------------------- reserve and commit */

TEST(queue_reserve_commit_drop) {
    mproc_queue *q = made_queue(2);
    for (int i = 0; i < SIZES; i++) {
        mproc_message m;
        CHECK_OK(mproc_queue_reserve(q, sizes[i], &m));
        CHECK_EQ(m.size, sizes[i]);
        CHECK(mproc_in_arena(m.data));
        CHECK_EQ((uintptr_t)m.data % 8, 0);
        fill(m.data, m.size, 3);
        CHECK_EQ(mproc_queue_count(q), 0);
        CHECK_OK(mproc_queue_commit(q, &m, 0));
        CHECK(m.data == NULL && m.block == NULL);
        mproc_message_drop(&m);
        check(q);
        mproc_message got = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(q, &got, 0));
        CHECK_EQ(got.size, sizes[i]);
        expect_bytes(got.data, got.size, 3);
        mproc_message_drop(&got);
        CHECK_OK(mproc_queue_reserve(q, sizes[i], &m));
        mproc_message_drop(&m); /* given up without a commit */
    }
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

TEST(queue_commits_reservations_only) {
    mproc_queue *q = made_queue(0);
    char room[16];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room), twice;
    CHECK_EQ(mproc_queue_commit(q, &m, 0), -EINVAL);
    CHECK_OK(mproc_queue_reserve(q, 100, &m));
    m.size = 100000; /* a reader would read beyond the block */
    CHECK_EQ(mproc_queue_commit(q, &m, 0), -EINVAL);
    m.size = 100;
    m.data = (char *)m.data + 1;
    CHECK_EQ(mproc_queue_commit(q, &m, 0), -EINVAL);
    m.data = (char *)m.data - 1;
    m.size = 50;
    twice = m;
    CHECK_OK(mproc_queue_commit(q, &m, 0));
    CHECK_EQ(mproc_queue_commit(q, &m, 0), -EINVAL);
    CHECK_EQ(mproc_queue_count(q), 1);
    m = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_queue_get(q, &m, 0));
    CHECK_EQ(m.size, 50);
    mproc_message_drop(&m);
    CHECK_EQ(mproc_queue_commit(q, &twice, 0), -EINVAL); /* its block is gone */
    mproc_drop(q);
}

TEST(queue_commit_to_a_full_queue_keeps_the_reservation) {
    mproc_queue *q = made_queue(1);
    mproc_message m;
    put(q, 8, 1);
    CHECK_OK(mproc_queue_reserve(q, 9000, &m));
    fill(m.data, m.size, 2);
    CHECK_EQ(mproc_queue_commit(q, &m, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_commit(q, &m, 10 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(m.size, 9000);
    check(q);
    get(q, 8, 8, 1);
    CHECK_OK(mproc_queue_commit(q, &m, 0));
    get(q, 0, 9000, 2);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

struct shared {
    mproc_queue *queue;
    mproc_message message;
    uint64_t ready, go;
};

static void commit_it(void *arg) {
    struct shared *s = arg;
    CHECK_OK(mproc_queue_commit(s->queue, &s->message, 0));
    mproc__store64(&s->ready, 1);
}

/* A reservation that a forked child has inherited belongs to both: each may commit it once. */
TEST(queue_reservation_inherited_by_a_child) {
    for (int child_first = 0; child_first < 2; child_first++) {
        mproc_queue *q = made_queue(0);
        struct shared s = {.queue = q};
        CHECK_OK(mproc_queue_reserve(q, 20000, &s.message));
        fill(s.message.data, 20000, 9);
        if (child_first) {
            child_join(child_fork(commit_it, &s));
            check(q);
            CHECK_OK(mproc_queue_commit(q, &s.message, 0));
        } else {
            pid_t pid = child_fork(commit_it, &s);
            CHECK_OK(mproc_queue_commit(q, &s.message, 0));
            child_join(pid);
        }
        CHECK_EQ(mproc_queue_count(q), 2);
        check(q);
        mproc_reap();
        get(q, 0, 20000, 9);
        get(q, 0, 20000, 9);
        mproc_drop(q);
        CHECK_EQ(test_arena_used(), 0);
        check_family();
    }
}

static void reserve_and_die(void *arg) {
    struct shared *s = arg;
    mproc_message m;
    CHECK_OK(mproc_queue_reserve(s->queue, 100, &m));
    CHECK_OK(mproc_queue_reserve(s->queue, 1 << 20, &m));
}

TEST(queue_reservations_of_the_dead_are_given_back) {
    struct shared s = {.queue = made_queue(0)};
    size_t used = test_arena_used();
    child_join(child_fork(reserve_and_die, &s));
    CHECK_GT(test_arena_used(), used);
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(test_arena_used(), used);
    mproc_drop(s.queue);
}

static void get_and_sleep(void *arg) {
    struct shared *s = arg;
    for (int i = 0; i < 2; i++) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(s->queue, &m, MPROC_FOREVER));
    }
    mproc__store64(&s->ready, 1);
    sleep_until_killed();
}

TEST(queue_messages_of_the_dead_are_given_back) {
    struct shared *s = mproc_calloc(1, sizeof *s);
    s->queue = made_queue(0);
    size_t used = test_arena_used();
    put(s->queue, 50, 1);
    put(s->queue, 1 << 20, 2);
    pid_t pid = child_fork(get_and_sleep, s);
    wait_for_word(&s->ready, 1);
    CHECK_EQ(mproc_queue_count(s->queue), 0);
    child_kill(pid);
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(test_arena_used(), used);
    mproc_drop(s->queue);
    mproc_free(s);
}

/* ---------------------------------------------------------------- producers and consumers */

enum { PRODUCERS = 3, CONSUMERS = 3 };

struct item {
    uint32_t producer;
    uint32_t number;
};

struct flow {
    mproc_queue *queue;
    uint32_t items; /* a producer's */
    size_t size_max;
    uint64_t producer; /* the next one's number */
    uint64_t sum, got;
    uint64_t seen[PRODUCERS];
};

static size_t flow_size(const struct flow *f, struct item item) {
    uint64_t r = item.producer * 7919 + item.number * 104729 + 1;
    r ^= r << 13;
    r ^= r >> 7;
    return sizeof item + r % (f->size_max - sizeof item + 1);
}

static void produce(void *arg) {
    struct flow *f = arg;
    struct item item = {(uint32_t)mproc__add64(&f->producer, 1), 0};
    unsigned char *p = malloc(f->size_max);
    CHECK(p != NULL);
    for (; item.number < f->items; item.number++) {
        size_t size = flow_size(f, item);
        memcpy(p, &item, sizeof item);
        fill(p + sizeof item, size - sizeof item, item.number);
        if (item.number % 5 == 4) {
            mproc_message m;
            CHECK_OK(mproc_queue_reserve(f->queue, size, &m));
            memcpy(m.data, p, size);
            CHECK_OK(mproc_queue_commit(f->queue, &m, MPROC_FOREVER));
        } else {
            CHECK_OK(mproc_queue_put(f->queue, p, size, MPROC_FOREVER));
        }
    }
    free(p);
}

/* Each consumer sees each producer's messages in the order in which they were put. */
static void see(struct flow *f, mproc_message *m, uint32_t *next) {
    struct item item;
    memcpy(&item, m->data, sizeof item);
    CHECK_LT(item.producer, PRODUCERS);
    CHECK_GE(item.number, next[item.producer]);
    next[item.producer] = item.number + 1;
    CHECK_EQ(m->size, flow_size(f, item));
    expect_bytes((char *)m->data + sizeof item, m->size - sizeof item, item.number);
    mproc_message_drop(m);
    mproc__add64(&f->seen[item.producer], item.number);
    mproc__add64(&f->got, 1);
}

static void consume(void *arg) {
    struct flow *f = arg;
    uint32_t next[PRODUCERS] = {0};
    unsigned char room[200];
    int r;
    for (;;) {
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        if ((r = mproc_queue_get(f->queue, &m, MPROC_FOREVER)) != 0) {
            break;
        }
        see(f, &m, next);
    }
    CHECK_EQ(r, MPROC_ECLOSED);
}

/* The same with many messages a call. */
static void produce_many(void *arg) {
    struct flow *f = arg;
    uint32_t producer = (uint32_t)mproc__add64(&f->producer, 1);
    struct iovec pieces[8];
    struct item *items = malloc(8 * f->size_max);
    CHECK(items != NULL);
    for (uint32_t number = 0; number < f->items;) {
        size_t n = 0, put;
        for (; n < 8 && number + n < f->items; n++) {
            struct item item = {producer, number + (uint32_t)n};
            char *p = (char *)items + n * f->size_max;
            pieces[n] = (struct iovec){p, flow_size(f, item)};
            memcpy(p, &item, sizeof item);
            fill(p + sizeof item, pieces[n].iov_len - sizeof item, item.number);
        }
        CHECK_OK(mproc_queue_put_many(f->queue, pieces, n, &put, MPROC_FOREVER));
        number += (uint32_t)put;
    }
    free(items);
}

static void consume_many(void *arg) {
    struct flow *f = arg;
    uint32_t next[PRODUCERS] = {0};
    unsigned char rooms[16][200];
    mproc_message m[16];
    size_t got;
    int r;
    for (size_t i = 0; i < 16; i++) {
        m[i] = (mproc_message)MPROC_MESSAGE_INIT(rooms[i], sizeof rooms[i]);
    }
    while ((r = mproc_queue_get_many(f->queue, m, 16, &got, MPROC_FOREVER)) == 0) {
        for (size_t i = 0; i < got; i++) {
            see(f, &m[i], next);
        }
    }
    CHECK_EQ(r, MPROC_ECLOSED);
}

static struct flow *flow_new(uint64_t bound, uint32_t items, size_t size_max) {
    struct flow *f = mproc_calloc(1, sizeof *f);
    CHECK(f != NULL);
    *f = (struct flow){.queue = made_queue(bound), .items = items, .size_max = size_max};
    return f;
}

static void flow_end(struct flow *f, uint64_t producers) {
    CHECK_EQ(f->got, producers * f->items);
    for (uint64_t i = 0; i < producers; i++) {
        CHECK_EQ(f->seen[i], (uint64_t)f->items * (f->items - 1) / 2);
    }
    check(f->queue);
    mproc_reap();
    mproc_drop(f->queue);
    mproc_free(f);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* Some put and get one message a call, others many. */
static void flow_through_processes(uint64_t bound, uint32_t items, size_t size_max) {
    struct flow *f = flow_new(bound, items, size_max);
    pid_t producers[PRODUCERS], consumers[CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++) {
        consumers[i] = child_fork(i == 1 ? consume_many : consume, f);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = child_fork(i == 1 ? produce_many : produce, f);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        child_join(producers[i]);
    }
    mproc_queue_close(f->queue);
    for (int i = 0; i < CONSUMERS; i++) {
        child_join(consumers[i]);
    }
    flow_end(f, PRODUCERS);
}

TEST(queue_of_three_producers_and_three_consumers) {
    flow_through_processes(0, 20000, 100);
}

TEST(queue_of_three_and_three_with_large_messages) {
    flow_through_processes(0, 1500, 30000);
}

TEST(queue_of_three_and_three_bounded) {
    flow_through_processes(1, 2000, 100);
    flow_through_processes(7, 5000, 100);
    flow_through_processes(3, 500, 30000);
}

TEST(queue_of_three_and_three_of_a_mebibyte) {
    flow_through_processes(4, 40, MIB);
}

static void *plain_consume(void *arg) {
    consume(arg);
    return NULL;
}

static void flow_through_threads(uint64_t bound, uint32_t items, size_t size_max) {
    struct flow *f = flow_new(bound, items, size_max);
    pthread_t consumers[CONSUMERS];
    struct member_thread producers[PRODUCERS];
    for (int i = 0; i < CONSUMERS; i++) {
        CHECK_OK(pthread_create(&consumers[i], NULL, plain_consume, f));
    }
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct member_thread){produce, f, 0};
    }
    member_threads_run(producers, PRODUCERS);
    mproc_queue_close(f->queue);
    for (int i = 0; i < CONSUMERS; i++) {
        CHECK_OK(pthread_join(consumers[i], NULL));
    }
    flow_end(f, PRODUCERS);
}

TEST(queue_of_threads_as_members) {
    flow_through_threads(0, 5000, 100);
    flow_through_threads(0, 500, 20000);
    flow_through_threads(2, 1000, 100);
}

static void look(void *arg) {
    struct flow *f = arg;
    for (int i = 0; i < 500; i++) {
        check(f->queue);
        CHECK_LE(mproc_queue_count(f->queue), 3);
    }
}

TEST(queue_checked_while_others_go_on) {
    struct flow *f = flow_new(3, 3000, 9000);
    pthread_t consumer;
    struct member_thread threads[3] = {{produce, f, 0}, {look, f, 0}, {produce, f, 0}};
    CHECK_OK(pthread_create(&consumer, NULL, plain_consume, f));
    member_threads_run(threads, 3);
    mproc_queue_close(f->queue);
    CHECK_OK(pthread_join(consumer, NULL));
    flow_end(f, 2);
}

/* ---------------------------------------------------------------- blocking and closing */

static void get_until_closed(void *arg) {
    struct shared *s = arg;
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_queue_get(s->queue, &m, MPROC_FOREVER), MPROC_ECLOSED);
}

static void put_until_closed(void *arg) {
    struct shared *s = arg;
    CHECK_EQ(mproc_queue_put(s->queue, "y", 1, MPROC_FOREVER), MPROC_ECLOSED);
}

static void commit_until_closed(void *arg) {
    struct shared *s = arg;
    mproc_message m;
    CHECK_OK(mproc_queue_reserve(s->queue, 9, &m));
    CHECK_EQ(mproc_queue_commit(s->queue, &m, MPROC_FOREVER), MPROC_ECLOSED);
    mproc_message_drop(&m);
}

static void close_wakes(struct shared *s, void (*run)(void *)) {
    pid_t kids[3];
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(run, s);
        wait_for_futex(kids[i]);
    }
    mproc_queue_close(s->queue);
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    mproc_reap();
    mproc_drop(s->queue);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(queue_close_wakes_getters) {
    struct shared s = {.queue = made_queue(0)};
    close_wakes(&s, get_until_closed);
}

TEST(queue_close_wakes_putters) {
    struct shared s = {.queue = made_queue(1)};
    put(s.queue, 1, 1);
    close_wakes(&s, put_until_closed);
}

TEST(queue_close_wakes_committers) {
    struct shared s = {.queue = made_queue(1)};
    put(s.queue, 1, 1);
    close_wakes(&s, commit_until_closed);
}

static void get_one(void *arg) {
    struct shared *s = arg;
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_queue_get(s->queue, &m, MPROC_FOREVER));
    mproc__add64(&s->ready, 1);
}

TEST(queue_put_wakes_sleepers_one_by_one) {
    struct shared *s = mproc_calloc(1, sizeof *s);
    s->queue = made_queue(0);
    pid_t kids[3];
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(get_one, s);
        wait_for_futex(kids[i]);
    }
    for (uint64_t i = 1; i <= 3; i++) {
        put(s->queue, 4, i);
        wait_for_word(&s->ready, i);
        CHECK_EQ(s->ready, i);
    }
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    mproc_reap();
    mproc_drop(s->queue);
    mproc_free(s);
}

/* Nobody sleeps on while messages are there: one put of several wakes as many. */
TEST(queue_put_many_wakes_as_many) {
    struct shared *s = mproc_calloc(1, sizeof *s);
    s->queue = made_queue(0);
    const size_t each[3] = {4, 4, 4};
    pid_t kids[3];
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(get_one, s);
        wait_for_futex(kids[i]);
    }
    CHECK_EQ(put_some(s->queue, each, 3, 0), 3);
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    CHECK_EQ(s->ready, 3);
    mproc_reap();
    mproc_drop(s->queue);
    mproc_free(s);
}

static void put_one(void *arg) {
    struct shared *s = arg;
    CHECK_OK(mproc_queue_put(s->queue, "z", 1, MPROC_FOREVER));
}

TEST(queue_get_wakes_putters) {
    struct shared s = {.queue = made_queue(1)};
    pid_t kids[3];
    CHECK_OK(mproc_queue_put(s.queue, "z", 1, 0));
    for (int i = 0; i < 3; i++) {
        kids[i] = child_fork(put_one, &s);
        wait_for_futex(kids[i]);
    }
    for (int i = 0; i < 4; i++) {
        char room[8];
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_OK(mproc_queue_get(s.queue, &m, MPROC_FOREVER));
        CHECK_EQ(room[0], 'z');
    }
    for (int i = 0; i < 3; i++) {
        child_join(kids[i]);
    }
    mproc_reap();
    mproc_drop(s.queue);
}

/* A killed sleeper may be the one that was woken: the next item wakes another one. */
TEST(queue_sleepers_survive_a_killed_one) {
    struct shared *s = mproc_calloc(1, sizeof *s);
    s->queue = made_queue(0);
    for (int round = 0; round < 20; round++) {
        mproc__store64(&s->ready, 0);
        pid_t a = child_fork(get_one, s), b = child_fork(get_one, s);
        wait_for_futex(a);
        wait_for_futex(b);
        child_kill(a);
        put(s->queue, 4, 1);
        child_join(b);
        CHECK_EQ(s->ready, 1);
        CHECK_EQ(mproc_reap(), 2);
    }
    mproc_drop(s->queue);
    mproc_free(s);
}

/* Consumers get all that was put before the close, and only then see the end of the queue. */
static void put_many(void *arg) {
    struct flow *f = arg;
    int r;
    while ((r = mproc_queue_put(f->queue, "abcdefgh", 8, MPROC_FOREVER)) == 0) {
        mproc__add64(&f->sum, 1);
    }
    CHECK_EQ(r, MPROC_ECLOSED);
}

static void get_many(void *arg) {
    struct flow *f = arg;
    char room[8];
    int r;
    for (;;) {
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        r = mproc_queue_get(f->queue, &m, MPROC_FOREVER);
        if (r != 0) {
            break;
        }
        mproc__add64(&f->got, 1);
    }
    CHECK_EQ(r, MPROC_ECLOSED);
}

TEST(queue_close_loses_nothing) {
    for (int round = 0; round < 100; round++) {
        struct flow *f = flow_new(round % 2 ? 4 : 0, 0, 8);
        pid_t putter[2] = {child_fork(put_many, f), child_fork(put_many, f)};
        pid_t getter = child_fork(get_many, f);
        wait_for_word(&f->got, 20);
        mproc_queue_close(f->queue);
        child_join(putter[0]);
        child_join(putter[1]);
        child_join(getter);
        CHECK_EQ(mproc_queue_count(f->queue), 0);
        CHECK_EQ(f->got, f->sum);
        mproc_reap();
        mproc_drop(f->queue);
        mproc_free(f);
    }
}

static void on_signal(int number) {
    (void)number;
}

static void wait_interrupted(struct shared *s, bool putting) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    sigaction(SIGUSR1, &action, NULL);
    CHECK_EQ(putting ? mproc_queue_put(s->queue, "b", 1, MPROC_FOREVER)
                     : mproc_queue_get(s->queue, &m, MPROC_FOREVER),
             -EINTR);
    mproc__store64(&s->ready, 1);
}

static void get_interrupted(void *arg) {
    wait_interrupted(arg, false);
}

static void put_interrupted(void *arg) {
    wait_interrupted(arg, true);
}

TEST(queue_waits_are_interrupted) {
    for (int putting = 0; putting < 2; putting++) {
        struct shared *s = mproc_calloc(1, sizeof *s);
        s->queue = made_queue(1);
        if (putting) {
            CHECK_OK(mproc_queue_put(s->queue, "a", 1, 0));
        }
        pid_t pid = child_fork(putting ? put_interrupted : get_interrupted, s);
        wait_for_futex(pid);
        while (mproc__load64(&s->ready) == 0) { /* a signal may come between two slices */
            kill(pid, SIGUSR1);
            usleep(2000);
        }
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(mproc_queue_count(s->queue), putting);
        check(s->queue);
        mproc_reap();
        mproc_drop(s->queue);
        mproc_free(s);
    }
}

/* ---------------------------------------------------------------- deaths at random */

struct ledger {
    mproc_queue *queue;
    uint64_t put[2]; /* for each producer: numbers below this one have been put */
    uint64_t ready;
};

static void produce_for_ever(void *arg) {
    struct ledger *l = arg;
    static unsigned char bytes[20000];
    for (uint64_t i = 0;; i++) {
        size_t size = i % 7 == 6 ? sizeof bytes : 16 + i % 100;
        memcpy(bytes, &i, sizeof i);
        CHECK_OK(mproc_queue_put(l->queue, bytes, size, MPROC_FOREVER));
        mproc__store64(&l->put[0], i + 1);
    }
}

TEST(queue_join_waits_for_what_was_put) {
    mproc_queue *q = made_queue(0);
    CHECK(q != NULL);
    CHECK_EQ(mproc_queue_join(q, 0), 0);
    CHECK_EQ(mproc_queue_task_done(q), MPROC_EDONE);
    CHECK_EQ(mproc_queue_put(q, "a", 1, 0), 0);
    CHECK_EQ(mproc_queue_join(q, MPROC_MSEC), -ETIMEDOUT);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char room[8];
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_EQ(mproc_queue_get(q, &message, MPROC_FOREVER), 0);
        CHECK_EQ(mproc_queue_task_done(q), 0);
        _exit(0);
    }
    CHECK_EQ(mproc_queue_join(q, MPROC_FOREVER), 0);
    CHECK_EQ(mproc_queue_task_done(q), MPROC_EDONE);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(mproc_reap(), 1);
    mproc_queue_close(q);
    CHECK_EQ(mproc_queue_join(q, 0), 0);
    CHECK_EQ(mproc_queue_check(q, NULL, 0), 0);
    mproc_drop(q);
}

static void get_until_shut(void *arg) {
    struct shared *s = arg;
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_EQ(mproc_queue_get(s->queue, &m, MPROC_FOREVER), MPROC_ECLOSED);
}

static void join_until_shut(void *arg) {
    struct shared *s = arg;
    CHECK_OK(mproc_queue_join(s->queue, MPROC_FOREVER));
}

static void shutdown_wakes(struct shared *s, void (*run)(void *)) {
    pid_t kid = child_fork(run, s);
    wait_for_futex(kid);
    mproc_queue_shutdown(s->queue, 1);
    child_join(kid);
    CHECK_EQ(mproc_queue_count(s->queue), 0);
    check(s->queue);
    mproc_reap();
    mproc_drop(s->queue);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(queue_shutdown_wakes_getters) {
    struct shared s = {.queue = made_queue(0)};
    shutdown_wakes(&s, get_until_shut);
}

TEST(queue_shutdown_wakes_putters) {
    struct shared s = {.queue = made_queue(1)};
    put(s.queue, 1, 1);
    shutdown_wakes(&s, put_until_closed);
}

TEST(queue_shutdown_wakes_who_waits_for_the_end) {
    struct shared s = {.queue = made_queue(0)};
    put(s.queue, 1, 1);
    put(s.queue, 20000, 2);
    shutdown_wakes(&s, join_until_shut);
}

TEST(queue_shutdown_that_is_not_immediate_leaves_what_is_there) {
    mproc_queue *q = made_queue(0);
    put(q, 5, 1);
    mproc_queue_shutdown(q, 0);
    CHECK_EQ(mproc_queue_put(q, "a", 1, 0), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_count(q), 1);
    get(q, 8, 5, 1);
    struct shared s = {.queue = q};
    get_until_shut(&s);
    mproc_drop(q);
}

/* Messages of all kinds, over many segments; one is with a consumer. */
TEST(queue_shutdown_drops_all_that_is_there) {
    mproc_queue *q = made_queue(0);
    struct shared s = {.queue = q};
    for (uint64_t i = 0; i < 100; i++) {
        put(q, i % 3 == 0 ? 20000 : 2000, i);
    }
    get(q, INLINE_MAX, 20000, 0);
    mproc_queue_shutdown(q, 1);
    CHECK_EQ(mproc_queue_count(q), 0);
    check(q);
    get_until_shut(&s);
    CHECK_EQ(mproc_queue_join(q, 0), -ETIMEDOUT); /* for the one that was taken */
    CHECK_OK(mproc_queue_task_done(q));
    CHECK_OK(mproc_queue_join(q, 0));
    CHECK_EQ(mproc_queue_task_done(q), MPROC_EDONE);
    mproc_queue_shutdown(q, 1);
    mproc_queue_shutdown(q, 0);
    check(q);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

static mproc_queue *bounded_by_bytes(uint64_t bound, uint64_t bytes) {
    mproc_queue *q = made_queue(bound);
    CHECK(q != NULL);
    CHECK_OK(mproc_queue_bound_bytes(q, bytes));
    return q;
}

TEST(queue_bound_of_bytes) {
    uint64_t most;
    mproc_queue *q = bounded_by_bytes(0, 100);
    put(q, 60, 1);
    CHECK_EQ(mproc_queue_bytes(q, &most), 60);
    CHECK_EQ(most, 100);
    put(q, 60, 2); /* one message more */
    CHECK_EQ(mproc_queue_put(q, "a", 1, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_put(q, "a", 1, MPROC_MSEC), -ETIMEDOUT);
    get(q, 100, 60, 1);
    CHECK_EQ(mproc_queue_bytes(q, NULL), 60);
    put(q, 20000, 3); /* of any size */
    CHECK_EQ(mproc_queue_put(q, "", 0, 0), -ETIMEDOUT);
    get(q, 10, 60, 2);
    get(q, 0, 20000, 3);
    CHECK_EQ(mproc_queue_bytes(q, NULL), 0);
    put(q, 100, 4);
    check(q);
    mproc_queue_shutdown(q, 1);
    CHECK_EQ(mproc_queue_bytes(q, NULL), 0);
    check(q);
    mproc_drop(q);
    q = made_queue(0);
    CHECK_EQ(mproc_queue_bytes(q, NULL), 0);
    mproc_drop(q);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(queue_bound_of_bytes_beside_one_of_messages) {
    mproc_queue *q = bounded_by_bytes(2, 100);
    put(q, 1, 1);
    put(q, 1, 2);
    CHECK_EQ(mproc_queue_put(q, "a", 1, 0), -ETIMEDOUT);
    mproc_drop(q);
}

TEST(queue_bound_of_bytes_holds_for_many_at_once) {
    mproc_queue *q = bounded_by_bytes(0, 100);
    char text[60] = "";
    struct iovec pieces[5];
    size_t put_now = 0, got = 0;
    for (int i = 0; i < 5; i++) {
        pieces[i] = (struct iovec){text, sizeof text};
    }
    while (mproc_queue_put_many(q, pieces, 5, &put_now, 0) == 0) {
        CHECK_EQ(put_now, 1);
    }
    CHECK_EQ(mproc_queue_count(q), 2);
    mproc_message messages[2] = {MPROC_MESSAGE_INIT(NULL, 0), MPROC_MESSAGE_INIT(NULL, 0)};
    CHECK_OK(mproc_queue_get_many(q, messages, 2, &got, 0));
    CHECK_EQ(got, 1);
    mproc_message_drop(&messages[0]);
    CHECK_EQ(mproc_queue_bytes(q, NULL), 60);
    mproc_drop(q);
}

static void get_slowly(void *arg) {
    struct shared *s = arg;
    for (uint64_t i = 0; i < 300; i++) {
        get(s->queue, INLINE_MAX, i % 7 == 0 ? 20000 : 500, i);
        CHECK(mproc_queue_bytes(s->queue, NULL) < 1000 + 20000);
    }
}

TEST(queue_bound_of_bytes_between_processes) {
    struct shared s = {.queue = bounded_by_bytes(0, 1000)};
    pid_t kid = child_fork(get_slowly, &s);
    for (uint64_t i = 0; i < 300; i++) {
        put(s.queue, i % 7 == 0 ? 20000 : 500, i);
    }
    child_join(kid);
    CHECK_EQ(mproc_queue_bytes(s.queue, NULL), 0);
    check(s.queue);
    mproc_reap();
    mproc_drop(s.queue);
}

TEST(queue_waits_without_taking) {
    mproc_queue *q = made_queue(0);
    CHECK(q != NULL);
    CHECK_EQ(mproc_queue_wait(q, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_wait(q, MPROC_MSEC), -ETIMEDOUT);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_EQ(mproc_queue_put(q, "a", 1, 0), 0);
        _exit(0);
    }
    CHECK_EQ(mproc_queue_wait(q, MPROC_FOREVER), 0);
    CHECK_EQ(mproc_queue_wait(q, 0), 0);
    CHECK_EQ(mproc_queue_count(q), 1);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(mproc_reap(), 1);
    mproc_queue_close(q);
    CHECK_EQ(mproc_queue_wait(q, MPROC_FOREVER), 0);
    char room[8];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_EQ(mproc_queue_get(q, &message, 0), 0);
    CHECK_EQ(mproc_queue_wait(q, MPROC_FOREVER), MPROC_ECLOSED);
    CHECK_EQ(mproc_queue_check(q, NULL, 0), 0);
    mproc_drop(q);
}

static int take_one(void *queue) {
    char room[8];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    return mproc_queue_get(queue, &message, MPROC_FOREVER);
}

/* A thread that waits without taking sleeps beside consumers: one message wakes one of those. */
TEST(queue_wakes_a_consumer_behind_one_that_waits) {
    mproc_queue *q = made_queue(0);
    CHECK(q != NULL);
    for (int round = 0; round < 20; round++) {
        pid_t watcher = fork();
        CHECK(watcher >= 0);
        if (watcher == 0) {
            int r = mproc_queue_wait(q, MPROC_FOREVER);
            _exit(r == 0 ? 0 : 1);
        }
        pid_t consumer = fork();
        CHECK(consumer >= 0);
        if (consumer == 0) {
            _exit(take_one(q) == 0 ? 0 : 1);
        }
        int status;
        CHECK_EQ(mproc_queue_put(q, "a", 1, 0), 0);
        CHECK_EQ(waitpid(consumer, &status, 0), consumer);
        CHECK_EQ(status, 0);
        CHECK_EQ(mproc_queue_put(q, "b", 1, 0), 0); /* the watcher may have come too late for "a" */
        CHECK_EQ(waitpid(watcher, &status, 0), watcher);
        CHECK_EQ(status, 0);
        CHECK_EQ(take_one(q), 0);
        (void)mproc_reap();
    }
    mproc_drop(q);
}

TEST(queue_keeps_what_the_killed_had_put) {
    struct ledger *l = mproc_calloc(1, sizeof *l);
    for (unsigned round = 0; round < 60; round++) {
        l->queue = made_queue(0);
        l->put[0] = 0;
        pid_t pid = child_fork(produce_for_ever, l);
        wait_for_word(&l->put[0], 1 + round % 20);
        usleep(round * 31 % 400);
        child_kill(pid);
        check(l->queue);
        uint64_t n = mproc_queue_count(l->queue);
        CHECK(n == l->put[0] ||
              n ==
                  l->put[0] + 1); /* a killed producer may have put one that it had not noted yet */
        for (uint64_t i = 0; i < n; i++) {
            mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
            uint64_t number;
            CHECK_OK(mproc_queue_get(l->queue, &m, 0));
            CHECK_EQ(m.size, i % 7 == 6 ? 20000 : 16 + i % 100);
            memcpy(&number, m.data, sizeof number);
            CHECK_EQ(number, i);
            mproc_message_drop(&m);
        }
        put(l->queue, 100, 3);
        get(l->queue, 0, 100, 3);
        CHECK_EQ(mproc_reap(), 1);
        mproc_drop(l->queue);
        check_family();
    }
    mproc_free(l);
    CHECK_EQ(test_arena_used(), 0);
}

static void consume_for_ever(void *arg) {
    struct ledger *l = arg;
    mproc__store64(&l->ready, 1);
    for (uint64_t i = 0;; i++) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        uint64_t number;
        CHECK_OK(mproc_queue_get(l->queue, &m, MPROC_FOREVER));
        memcpy(&number, m.data, sizeof number);
        CHECK_EQ(number, i);
        mproc_message_drop(&m);
        mproc__store64(&l->put[1], i + 1);
    }
}

TEST(queue_loses_one_message_with_a_killed_consumer_at_most) {
    enum { N = 3000 };
    struct ledger *l = mproc_calloc(1, sizeof *l);
    static unsigned char bytes[9000];
    for (unsigned round = 0; round < 60; round++) {
        l->queue = made_queue(0);
        l->put[1] = l->ready = 0;
        for (uint64_t i = 0; i < N; i++) {
            memcpy(bytes, &i, sizeof i);
            CHECK_OK(mproc_queue_put(l->queue, bytes, i % 9 == 8 ? sizeof bytes : 50, 0));
        }
        pid_t pid = child_fork(consume_for_ever, l);
        wait_for_word(&l->ready, 1);
        usleep(round * 37 % 1500);
        child_kill(pid);
        check(l->queue);
        uint64_t left = mproc_queue_count(l->queue), taken = l->put[1];
        CHECK(left == N - taken ||
              left == N - taken - 1); /* the killed consumer may have had one in its hands */
        for (uint64_t i = N - left; i < N; i++) {
            mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
            uint64_t number;
            CHECK_OK(mproc_queue_get(l->queue, &m, 0));
            memcpy(&number, m.data, sizeof number);
            CHECK_EQ(number, i);
            mproc_message_drop(&m);
        }
        CHECK_EQ(mproc_reap(), 1);
        mproc_drop(l->queue);
        check_family();
    }
    mproc_free(l);
    CHECK_EQ(test_arena_used(), 0);
}

/* ---------------------------------------------------------------- checks see */

/* The fields of the struct in queue/state.h that are broken here. */
struct inside {
    struct mproc__object object;
    _Alignas(MPROC__LINE) struct mproc__guard tail;
    uint64_t tail_segment, tail_offset, tail_ticket, head_seen, spare;
    uint32_t producer_cpu;
    struct mproc__undo tail_log[8];
    _Alignas(MPROC__LINE) struct mproc__guard head;
    uint64_t head_segment, head_offset, head_ticket, tail_seen;
};

#define QUEUE mproc_queue_check(q, why, sizeof why)

TEST(queue_check_sees) {
    mproc_queue *q = made_queue(3);
    struct inside *in = (struct inside *)(void *)q;
    put(q, 8, 0);
    get(q, 8, 8, 0);
    put(q, 8, 1);
    put(q, 10000, 2);
    CHECK_EQ(in->tail_ticket, 3); /* the struct has the layout of queue/state.h */
    CHECK_EQ(in->head_ticket, 1);
    uint32_t *record = (uint32_t *)(uintptr_t)(in->head_segment + in->head_offset);
    uint64_t *block = (uint64_t *)(uintptr_t)(in->head_segment + in->head_offset + 16);
    CHECK_EQ(record[0], 8);
    CHECK_EQ(record[1], 1);
    CHECK(mproc_in_arena((void *)(uintptr_t)block[1]));
    CHECK_BREAKS(&in->object.magic, 7, QUEUE, "Q");
    CHECK_BREAKS(&in->object.kind, MPROC__KIND_LOCK, QUEUE, "Q");
    CHECK_BREAKS(&in->tail_seen, 9, QUEUE, "Q1");
    CHECK_BREAKS(&in->head_ticket, 5, QUEUE, "Q1");
    CHECK_BREAKS(&in->head_seen, 2, QUEUE, "Q1");
    CHECK_BREAKS(&in->tail_ticket, 9, QUEUE, "Q4");
    CHECK_BREAKS(&record[0], 1 << 20, QUEUE, "Q2");
    CHECK_BREAKS(&record[0], 8000, QUEUE, "Q2");
    CHECK_BREAKS(&record[1], 0, QUEUE, "Q2");
    CHECK_BREAKS(&record[1], 5, QUEUE, "Q3");
    CHECK_BREAKS(&block[1], 64, QUEUE, "Q3");
    struct mproc__object *o = (struct mproc__object *)(uintptr_t)block[1];
    CHECK_BREAKS(&o->magic, 0, QUEUE, "Q3");
    CHECK_BREAKS(&o->kind, MPROC__KIND_LOCK, QUEUE, "Q3");
    CHECK_BREAKS(&o->holds, 64, QUEUE, "Q3");
    CHECK_OK(mproc_queue_check(q, NULL, 0));
    mproc_drop(q);
}

/* ---------------------------------------------------------------- stopped members */

static void put_and_get(void *arg) {
    struct shared *s = arg;
    for (;;) {
        char room[8];
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_OK(mproc_queue_put(s->queue, "x", 1, MPROC_FOREVER));
        CHECK_OK(mproc_queue_get(s->queue, &m, MPROC_FOREVER));
    }
}

static int timed_put(mproc_queue *q) {
    return mproc_queue_put(q, "y", 1, MPROC_MSEC);
}

static int put_without_waiting(mproc_queue *q) {
    return mproc_queue_put(q, "y", 1, 0);
}

static int timed_get(mproc_queue *q) {
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    return mproc_queue_get(q, &m, MPROC_MSEC);
}

static int timed_get_many(mproc_queue *q) {
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    size_t got;
    return mproc_queue_get_many(q, &m, 1, &got, MPROC_MSEC);
}

static pid_t stopped;
static int late;

/* A call has not ended by itself: the next one is looked at. */
static void go_on(int number) {
    (void)number;
    late++;
    (void)kill(stopped, SIGCONT);
}

/* Stops a child again and again until the call has met it inside of the section, of a queue that is
 * neither full nor empty. */
static void meet(mproc_queue *q, pid_t child, int (*call)(mproc_queue *q)) {
    for (unsigned tries = 0;; tries++) {
        usleep(tries % 50); /* or it would not run at all */
        CHECK_OK(kill(child, SIGSTOP));
        CHECK_EQ(waitpid(child, NULL, WUNTRACED), child);
        uint64_t before = mproc_queue_count(q);
        alarm(5);
        int r = call(q);
        alarm(0);
        CHECK(r == 0 || r == -ETIMEDOUT);
        CHECK(r == 0 || mproc_queue_count(q) == before);
        CHECK_OK(kill(child, SIGCONT));
        if (r != 0) {
            return;
        }
        if (before < 8) {
            CHECK_OK(mproc_queue_put(q, "z", 1, MPROC_FOREVER));
        } else if (before > 24) {
            char room[8];
            mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
            CHECK_OK(mproc_queue_get(q, &m, MPROC_FOREVER));
        }
    }
}

TEST(queue_timeouts_end_behind_a_stopped_member) {
    struct shared s = {.queue = made_queue(64)};
    int (*const calls[])(mproc_queue * q) = {timed_put, put_without_waiting, timed_get,
                                             timed_get_many};
    for (int i = 0; i < 16; i++) {
        CHECK_OK(mproc_queue_put(s.queue, "x", 1, 0));
    }
    pid_t child = stopped = child_fork(put_and_get, &s);
    late = 0;
    signal(SIGALRM, go_on);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        meet(s.queue, child, calls[i]);
    }
    signal(SIGALRM, SIG_DFL);
    CHECK_LE(late, 1); /* now and then a child is stopped in the allocator, where no timeout ends */
    check(s.queue);
    child_kill(child);
    mproc_reap();
    check(s.queue);
    mproc_drop(s.queue);
}
