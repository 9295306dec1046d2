/*
 * crash_queue_straight.c - queues whose survivor goes straight to what a program calls
 *
 * SPDX-License-Identifier: MIT
 *
 * A check of a queue takes its locks, and so mends what a dead member had half done. The survivors
 * here put or get at once, as a program does that knows of no death: by waiting, or by trying
 * between other work. Only at the end do they check.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SMALL ((size_t)64)
#define LARGE ((size_t)20000)
#define THERE 3u          /* messages 0, 1 and 2 are in the queue before the operation */
#define VICTIMS 50u       /* the number of the victim's message */
#define LAST 99u          /* of the survivor's, behind which there is nothing */
#define BOUND (2 * LARGE) /* bytes: with the victim's message the queue is full */

/* In crash_room(). */
struct scene {
    mproc_queue *queue;
    size_t size;    /* of all messages */
    unsigned takes; /* how many the victim gets */
    char bytes[LARGE];
};

static struct scene *scene(void) {
    return crash_room();
}

/* ---- messages */

static int put(unsigned number, int64_t timeout) {
    struct scene *s = scene();
    memset(s->bytes, (int)number, s->size);
    return mproc_queue_put(s->queue, s->bytes, s->size, timeout);
}

static int get(unsigned *number, int64_t timeout) {
    char room[SMALL];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_queue_get(scene()->queue, &message, timeout);
    if (r == 0) {
        const unsigned char *bytes = message.data;
        crash_equal(message.size, scene()->size);
        crash_equal(bytes[0], bytes[message.size - 1]);
        *number = bytes[0];
        mproc_message_drop(&message);
    }
    return r;
}

static void put_by_trying(unsigned number) {
    int r;
    while ((r = put(number, 0)) == -ETIMEDOUT) {
        sched_yield();
    }
    crash_equal(r, 0);
}

static unsigned get_by_trying(void) {
    unsigned number = 0;
    int r;
    while ((r = get(&number, 0)) == -ETIMEDOUT) {
        sched_yield();
    }
    crash_equal(r, 0);
    return number;
}

static void put_by_waiting(unsigned number) {
    crash_equal(put(number, MPROC_FOREVER), 0);
}

static unsigned get_by_waiting(void) {
    unsigned number = 0;
    crash_equal(get(&number, MPROC_FOREVER), 0);
    return number;
}

/* ---- before */

static void *make(size_t size, unsigned takes) {
    struct scene *s = scene();
    s->queue = made_queue(0);
    crash_require(s->queue != NULL);
    s->size = size;
    s->takes = takes;
    for (unsigned i = 0; i < THERE; i++) {
        crash_equal(put(i, CRASH_SOON), 0);
    }
    return s;
}

static void *small_put(void) {
    return make(SMALL, 0);
}

static void *large_put(void) {
    return make(LARGE, 0);
}

/* One message is in the queue. */
static void *bounded_put(void) {
    struct scene *s = scene();
    s->queue = made_queue(0);
    crash_require(s->queue != NULL && mproc_queue_bound_bytes(s->queue, BOUND) == 0);
    s->size = LARGE;
    s->takes = 0;
    crash_equal(put(0, CRASH_SOON), 0);
    return s;
}

static void *small_taken(void) {
    return make(SMALL, 1);
}

static void *large_taken(void) {
    return make(LARGE, 1);
}

/* ---- windows */

static void operate_put(void *object) {
    (void)object;
    if (put(VICTIMS, CRASH_SOON) != 0) {
        abort();
    }
}

static void operate_get(void *object) {
    unsigned number;
    (void)object;
    if (get(&number, CRASH_SOON) != 0 || number != 0) {
        abort();
    }
}

/* ---- afterwards */

/* Messages 0 to 2 are there, without the one that the victim has taken; then its own, if it has put
 * one; then the last. `got`: one that has been taken already. */
static void expect_all(unsigned got, unsigned (*get_one)(void)) {
    const struct scene *s = scene();
    unsigned expected = got == 1 && s->takes == 1 ? 1 : 0;
    crash_require(expected == s->takes || !crash_returned());
    for (; expected < THERE; got = get_one()) {
        crash_equal(got, expected++);
    }
    if (got == VICTIMS) {
        crash_equal(s->takes, 0);
        got = get_one();
    } else {
        crash_require(s->takes == 1 || !crash_returned());
    }
    crash_equal(got, LAST);
    crash_check(mproc_queue_check(s->queue, why, sizeof why));
    crash_equal(mproc_queue_count(s->queue), 0);
}

static void verify_gets(void *object) {
    (void)object;
    unsigned got = get_by_waiting();
    put_by_waiting(LAST);
    expect_all(got, get_by_waiting);
}

static void verify_puts(void *object) {
    (void)object;
    put_by_waiting(LAST);
    expect_all(get_by_waiting(), get_by_waiting);
}

static void verify_tries_to_get(void *object) {
    (void)object;
    unsigned got = get_by_trying();
    put_by_trying(LAST);
    expect_all(got, get_by_trying);
}

static void verify_tries_to_put(void *object) {
    (void)object;
    put_by_trying(LAST);
    expect_all(get_by_trying(), get_by_trying);
}

/* There is room if the victim has put nothing, whatever it has counted. */
static void expect_room(int r) {
    const struct scene *s = scene();
    unsigned got = get_by_waiting();
    crash_equal(got, 0);
    if (r == -ETIMEDOUT) {
        crash_equal(get_by_waiting(), VICTIMS);
    } else {
        crash_equal(r, 0);
        crash_require(!crash_returned());
        crash_equal(get_by_waiting(), LAST);
    }
    crash_equal(mproc_queue_bytes(s->queue, NULL), 0);
    crash_equal(mproc_queue_count(s->queue), 0);
    crash_check(mproc_queue_check(s->queue, why, sizeof why));
}

static void verify_tries_to_put_bounded(void *object) {
    (void)object;
    expect_room(put(LAST, 0));
}

static void verify_asks_and_puts_bounded(void *object) {
    const struct scene *s = object;
    uint64_t most;
    bool room = mproc_queue_bytes(s->queue, &most) < most;
    expect_room(room ? put(LAST, MPROC_FOREVER) : -ETIMEDOUT);
}

static void teardown(void *object) {
    const struct scene *s = object;
    mproc_drop(s->queue);
}

#define OP(title, setup_, operate_, verify_)                                                       \
    {                                                                                              \
        .name = "queue " title, .setup = setup_, .operate = operate_, .verify = verify_,           \
        .teardown = teardown                                                                       \
    }

#define OPS(title, setup, operate)                                                                 \
    OP(title ", then gets", setup, operate, verify_gets),                                          \
        OP(title ", then puts", setup, operate, verify_puts),                                      \
        OP(title ", then tries to get", setup, operate, verify_tries_to_get),                      \
        OP(title ", then tries to put", setup, operate, verify_tries_to_put)

static const struct crash_op ops[] = {
    OPS("put", small_put, operate_put),
    OPS("put (large)", large_put, operate_put),
    OP("put (large, bytes bounded), then tries to put", bounded_put, operate_put,
       verify_tries_to_put_bounded),
    OP("put (large, bytes bounded), then asks and puts", bounded_put, operate_put,
       verify_asks_and_puts_bounded),
    OPS("get", small_taken, operate_get),
    OPS("get (large)", large_taken, operate_get),
};

CRASH_MAIN(ops)
