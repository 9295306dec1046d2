/*
 * crash_buffer.c - buffers and the messages that take them along, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * A message that is in the queue has its buffers, whatever happens to who has put it. A buffer goes
 * with its last holder, a member or a message, at whatever instruction that ends.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define SIZE ((size_t)70000)
#define BUFFERS 2

/* In crash_room(). */
struct scene {
    mproc_buffer *buffers[BUFFERS]; /* which the survivor holds, unless the message alone does */
    bool held;
    mproc_message message;
    uint64_t before; /* messages */
};

static struct scene *scene(void) {
    return crash_room();
}

static void victim_does(int r) {
    if (r != 0) {
        abort();
    }
}

static mproc_buffer *new_buffer(int content) {
    mproc_buffer *buffer = made_buffer(SIZE);
    crash_require(buffer != NULL);
    memset(mproc_buffer_data(buffer), content, SIZE);
    return buffer;
}

static void put(mproc_queue *queue, mproc_buffer *const *buffers) {
    struct iovec piece = {(void *)(uintptr_t) "text", 4};
    victim_does(mproc_queue_put_with(queue, &piece, 1, buffers, BUFFERS, CRASH_SOON));
}

static void *make(void) {
    mproc_queue *queue = made_queue(0);
    crash_require(queue != NULL);
    for (int i = 0; i < BUFFERS; i++) {
        scene()->buffers[i] = new_buffer('a' + i);
    }
    scene()->held = true;
    return queue;
}

static void *make_sent(void) {
    mproc_queue *queue = make();
    put(queue, scene()->buffers);
    scene()->before = 1;
    return queue;
}

static void let_go(void) {
    for (int i = 0; i < BUFFERS; i++) {
        crash_equal(mproc_drop(scene()->buffers[i]), 0);
    }
    scene()->held = false;
}

/* Only the message holds them. */
static void *make_sent_away(void) {
    mproc_queue *queue = make_sent();
    let_go();
    return queue;
}

static void unmake(void *queue) {
    if (scene()->held) {
        let_go();
    }
    mproc_drop(queue);
}

/* ---- verdicts */

static void check_buffer(mproc_buffer *buffer, int i) {
    crash_check(mproc_buffer_check(buffer, why, sizeof why));
    crash_equal(mproc_buffer_size(buffer), SIZE);
    crash_equal(*((char *)mproc_buffer_data(buffer) + SIZE - 1), 'a' + i);
}

static void receive(mproc_queue *queue) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    crash_equal(mproc_queue_get(queue, &m, CRASH_SOON), 0);
    crash_equal(m.size, 4);
    crash_require(memcmp(m.data, "text", 4) == 0);
    for (int i = 0; i < BUFFERS; i++) {
        mproc_buffer *buffer = mproc_message_buffer(&m, (size_t)i);
        crash_require(buffer == scene()->buffers[i]);
        check_buffer(buffer, i);
    }
    mproc_message_drop(&m);
}

static void verify_held(void) {
    for (int i = 0; scene()->held && i < BUFFERS; i++) {
        crash_equal(mproc_holds(scene()->buffers[i]), 1);
        check_buffer(scene()->buffers[i], i);
    }
}

static void verify_put(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    uint64_t n = mproc_queue_count(queue);
    crash_require(n <= 1 && (n == 1 || !crash_returned()));
    verify_held();
    if (n == 1) {
        receive(queue);
    }
    verify_held();
    put(queue, scene()->buffers);
    receive(queue);
}

static void verify_get(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    uint64_t n = mproc_queue_count(queue);
    crash_require(n <= 1 && !(n == 1 && crash_returned()));
    verify_held();
    if (n == 1) {
        receive(queue);
    }
    crash_equal(mproc_queue_count(queue), 0);
}

static void verify_put_in_vain(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    verify_held();
}

/* ---- what the victim does */

static void operate_put(void *queue) {
    put(queue, scene()->buffers);
}

static void operate_put_closed(void *queue) {
    if (mproc_queue_put_with(queue, NULL, 0, scene()->buffers, BUFFERS, 0) != MPROC_ECLOSED) {
        abort();
    }
}

/* The victim is the buffers' only holder but for the message. */
static void operate_put_new(void *queue) {
    for (int i = 0; i < BUFFERS; i++) {
        scene()->buffers[i] = new_buffer('a' + i);
    }
    put(queue, scene()->buffers);
}

static void *make_closed(void) {
    mproc_queue *queue = make();
    mproc_queue_close(queue);
    return queue;
}

static void *make_empty(void) {
    mproc_queue *queue = made_queue(0);
    crash_require(queue != NULL);
    return queue;
}

static void verify_put_new(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    if (mproc_queue_count(queue) == 1) {
        receive(queue);
    }
}

static void get(void *queue) {
    scene()->message = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_queue_get(queue, &scene()->message, CRASH_SOON));
}

static void operate_get_and_keep(void *queue) {
    get(queue);
    for (size_t i = 0; i < BUFFERS; i++) {
        victim_does(mproc_hold(mproc_message_buffer(&scene()->message, i)));
    }
    mproc_message_drop(&scene()->message);
}

static void operate_drop_message(void *queue) {
    (void)queue;
    mproc_message_drop(&scene()->message);
}

static void keep(void *queue) {
    operate_get_and_keep(queue);
}

static void operate_drop_kept(void *queue) {
    (void)queue;
    for (int i = 0; i < BUFFERS; i++) {
        victim_does(mproc_drop(scene()->buffers[i]));
    }
}

/* A view of what has come, as a receiver makes it. */
static void operate_view(void *queue) {
    mproc_view *view = NULL;
    get(queue);
    victim_does(mproc_view_new(&view, mproc_message_buffer(&scene()->message, 0)));
    mproc_message_drop(&scene()->message);
    mproc_view_drop(view);
}

static void new_and_drop(void *unused) {
    (void)unused;
    mproc_buffer *buffer = made_buffer(SIZE);
    victim_does(buffer == NULL);
    victim_does(mproc_drop(buffer));
}

static void verify_gone(void *unused) {
    (void)unused;
    mproc_drop(new_buffer('n'));
}

/* A queue that only the victim has, with messages in it. */
static void make_own(void *unused) {
    (void)unused;
    mproc_queue *queue = make();
    put(queue, scene()->buffers);
    put(queue, scene()->buffers);
    let_go();
    scene()->message.data = queue;
}

static void operate_drop_own(void *unused) {
    (void)unused;
    victim_does(mproc_drop(scene()->message.data));
}

/* ---- the reaper is killed, too */

static void get_and_die(void *queue) {
    operate_get_and_keep(queue);
    crash_die_here();
}

static void see_one_die(void *queue) {
    crash_casualty(get_and_die, queue);
}

static void operate_reap(void *unused) {
    (void)unused;
    mproc_reap();
}

static void verify_reaped(void *queue) {
    mproc_reap();
    verify_held();
    crash_equal(mproc_queue_count(queue), 0);
}

#define OP(name_, setup_, prepare_, operate_, verify_)                                             \
    {                                                                                              \
        .name = "buffer " name_, .setup = (setup_), .prepare = (prepare_), .operate = (operate_),  \
        .verify = (verify_), .sample = 600, .teardown = unmake                                     \
    }

static const struct crash_op ops[] = {
    {.name = "buffer new, drop",
     .setup = crash_no_object,
     .operate = new_and_drop,
     .verify = verify_gone,
     .teardown = crash_nothing},
    OP("put", make, NULL, operate_put, verify_put),
    OP("put (closed)", make_closed, NULL, operate_put_closed, verify_put_in_vain),
    OP("new, put", make_empty, NULL, operate_put_new, verify_put_new),
    OP("get, hold", make_sent, NULL, operate_get_and_keep, verify_get),
    OP("get, hold (the message's alone)", make_sent_away, NULL, operate_get_and_keep, verify_get),
    OP("message drop (last hold)", make_sent_away, get, operate_drop_message, verify_get),
    OP("drop (last hold)", make_sent_away, keep, operate_drop_kept, verify_get),
    OP("get, view, view drop", make_sent_away, NULL, operate_view, verify_get),
    {.name = "buffer queue drop (last hold, messages with buffers)",
     .setup = crash_no_object,
     .prepare = make_own,
     .operate = operate_drop_own,
     .verify = verify_gone,
     .teardown = crash_nothing},
    OP("reap of a holder", make_sent_away, see_one_die, operate_reap, verify_reaped),
};

CRASH_MAIN(ops)
