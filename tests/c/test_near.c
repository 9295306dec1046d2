/*
 * test_near.c - producers of large messages stay near their consumers, and never wait for them
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <sched.h>

#include "made.h"
#include "members.h"
#include "queue/near.h"
#include "system/os.h"

#define LARGE ((size_t)64 << 10)
#define NEAR 16 /* messages of LARGE bytes: 1 MiB */
#define STREAM 1000

static char bytes[8 * LARGE];
static cpu_set_t anywhere;

/* This thread, and the children that it forks from now on. The CPU is one with a large cache. */
static void stay_here(void) {
    cpu_set_t here;
    mproc__queue_near = NEAR * LARGE;
    CHECK_OK(sched_getaffinity(0, sizeof anywhere, &anywhere));
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    CHECK_OK(sched_setaffinity(0, sizeof here, &here));
}

static void put(mproc_queue *q, size_t size, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(mproc_queue_put(q, bytes, size, MPROC_FOREVER));
    }
}

static void get(mproc_queue *q, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(q, &m, MPROC_FOREVER));
        mproc_message_drop(&m);
    }
}

/* A thread does not nap if it has taken the last message itself. */
static void take_one(void *queue) {
    get(queue, 1);
}

static void get_elsewhere(mproc_queue *q) {
    child_join(child_fork(take_one, q));
}

/* A thread that naps announces itself, and nobody takes that back as long as nobody gets. */
static int napped(mproc_queue *q) {
    int r = (int)mproc__load32(&q->near.sleepers);
    mproc__store32(&q->near.sleepers, 0);
    return r;
}

/* `n` messages of `size` bytes are in it, and one has been taken, on this CPU. */
static mproc_queue *made_near(size_t bound, size_t size, unsigned n) {
    mproc_queue *q = made_queue(bound);
    stay_here();
    put(q, size, 1);
    get_elsewhere(q);
    put(q, size, n);
    CHECK_EQ(napped(q), n > NEAR);
    return q;
}

static void drop(mproc_queue *q) {
    mproc_reap();
    mproc_drop(q);
    CHECK_OK(sched_setaffinity(0, sizeof anywhere, &anywhere));
}

TEST(near_producer_naps_when_it_is_far_ahead) {
    mproc_queue *q = made_near(0, LARGE, NEAR);
    put(q, LARGE, 1);
    CHECK_EQ(napped(q), 1);
    CHECK_EQ(mproc_queue_count(q), NEAR + 1);
    drop(q);
}

/* Otherwise naps cost more than they gain. */
TEST(near_producer_naps_where_the_cache_is_large) {
    uint64_t cache = mproc__os_cache_own();
    mproc_queue *q = made_near(0, LARGE, NEAR);
    mproc__queue_near = MPROC__NEAR_UNKNOWN;
    put(q, LARGE, 1);
    CHECK_EQ(mproc__queue_near, cache >= (2 << 20) ? cache / 2 : 0);
    (void)napped(q);
    get_elsewhere(q);
    mproc__queue_near = 0;
    put(q, LARGE, 2 * NEAR);
    CHECK_EQ(napped(q), 0);
    drop(q);
}

TEST(near_producer_naps_once_as_long_as_nobody_gets) {
    mproc_queue *q = made_near(64, LARGE, NEAR);
    put(q, LARGE, 1);
    CHECK_EQ(napped(q), 1);
    put(q, LARGE, 64 - NEAR - 1);
    CHECK_EQ(napped(q), 0);
    drop(q);
}

/* Nobody gets in a nap, but somebody does between two of them, as where batches are announced by
 * other means. */
TEST(near_naps_in_vain_become_rare) {
    mproc_queue *q = made_near(0, LARGE, 2 * NEAR);
    int naps = 0;
    for (int chance = 0; chance < 14; chance++) {
        get_elsewhere(q);
        put(q, LARGE, 1);
        naps += napped(q);
    }
    CHECK_EQ(naps, 3); /* behind the first: 1 is left out, then 3, then 7 */
    drop(q);
}

static void take_in_a_nap(void *arg) {
    mproc_queue *q = arg;
    while (mproc__load32(&q->near.sleepers) == 0) {
        sched_yield();
    }
    get(q, 1);
}

/* On a busy machine the consumer may come too late: then that nap is in vain, too. */
TEST(near_naps_come_back_after_one_that_was_not_in_vain) {
    mproc_queue *q = made_near(0, LARGE, 2 * NEAR);
    do {
        pid_t pid = child_fork(take_in_a_nap, q);
        do {
            get_elsewhere(q);
            put(q, LARGE, 1);
        } while (mproc__load32(&q->near.sleepers) == 0);
        child_join(pid);
        (void)napped(q);
        put(q, LARGE, 1);
    } while (napped(q) == 0);
    drop(q);
}

/* Nobody would end its nap. */
TEST(near_producer_that_is_its_own_consumer_never_naps) {
    mproc_queue *q = made_near(0, LARGE, NEAR);
    for (int i = 0; i < 2; i++) {
        get(q, NEAR);
        put(q, LARGE, 2 * NEAR);
        CHECK_EQ(napped(q), 0);
    }
    drop(q);
}

TEST(near_reservations_are_committed_in_the_same_way) {
    mproc_queue *q = made_near(0, LARGE, NEAR);
    mproc_message m;
    CHECK_OK(mproc_queue_reserve(q, LARGE, &m));
    CHECK_OK(mproc_queue_commit(q, &m, MPROC_FOREVER));
    CHECK_EQ(napped(q), 1);
    drop(q);
}

TEST(near_ends_the_naps_when_half_is_taken) {
    mproc_queue *q = made_near(0, LARGE, NEAR);
    mproc__store32(&q->near.sleepers, 1);
    get(q, NEAR / 2 - 1);
    CHECK_EQ(mproc__load32(&q->near.sleepers), 1);
    get(q, 1);
    CHECK_EQ(mproc__load32(&q->near.sleepers), 0);
    drop(q);
}

TEST(near_is_nothing_for_those_who_only_try_or_are_elsewhere) {
    mproc_queue *q = made_near(0, LARGE, NEAR);
    CHECK_OK(mproc_queue_put(q, bytes, LARGE, 0));
    CHECK_EQ(napped(q), 0);
    q->consumer_cpu++;
    put(q, LARGE, 1);
    CHECK_EQ(napped(q), 0);
    drop(q);
}

TEST(near_is_nothing_for_messages_that_fill_the_cache_or_are_small) {
    mproc_queue *q = made_near(0, sizeof bytes, 4);
    put(q, 1, 3 * NEAR);
    CHECK_EQ(napped(q), 0);
    mproc_message m;
    CHECK_OK(mproc_queue_reserve(q, 0, &m)); /* a block of no bytes */
    CHECK_OK(mproc_queue_commit(q, &m, MPROC_FOREVER));
    CHECK_EQ(napped(q), 0);
    get(q, 4 + 3 * NEAR + 1);
    drop(q);
}

struct stream {
    mproc_queue *queue;
    uint64_t *taken;
};

static void take_stream(void *arg) {
    const struct stream *s = arg;
    for (uint64_t i = 0; i < STREAM; i++) {
        uint64_t number;
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(s->queue, &m, MPROC_FOREVER));
        memcpy(&number, m.data, sizeof number);
        CHECK_EQ(number, i);
        mproc_message_drop(&m);
        (*s->taken)++;
    }
}

static void stream(size_t bound) {
    struct stream s = {made_queue(bound), mproc_calloc(1, sizeof *s.taken)};
    stay_here();
    pid_t pid = child_fork(take_stream, &s);
    for (uint64_t i = 0; i < STREAM; i++) {
        memcpy(bytes, &i, sizeof i);
        put(s.queue, LARGE, 1);
    }
    child_join(pid);
    CHECK_EQ(*s.taken, STREAM);
    mproc_free(s.taken);
    drop(s.queue);
}

TEST(near_streams_on_one_cpu_come_in_order) {
    stream(0);
    stream(64);
}

/* One that is killed in its nap leaves its announcement: the next consumer takes it for a nap. */
static void put_for_ever(void *arg) {
    for (;;) {
        put(arg, LARGE, 1);
    }
}

TEST(near_producer_may_be_killed_in_its_nap) {
    mproc_queue *q = made_queue(64);
    stay_here();
    pid_t pid = child_fork(put_for_ever, q);
    do {
        get(q, 1);
    } while (mproc__load32(&q->near.sleepers) == 0);
    child_kill(pid);
    mproc_reap();
    get(q, (unsigned)mproc_queue_count(q));
    CHECK_EQ(mproc__load32(&q->near.sleepers), 0);
    put(q, LARGE, 64);
    get(q, 64);
    drop(q);
}
