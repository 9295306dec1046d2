/*
 * crash_offer.c - messages that stay in memory beside a channel's ring, killed after each
 * instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * A message that takes a buffer along is offered, taken, or taken back. It is received once or
 * never; its buffer goes with its last holder, whoever that is.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE ((size_t)200)

/* In crash_room(). Side 1 sends, side 0 receives. */
struct scene {
    mproc_channel *channel;
    int ends[2];
    uint32_t received;
    bool plain;
    pid_t helper;
};

static struct scene *scene(void) {
    return crash_room();
}

/* ---------------------------------------------------------------- messages */

static int send_one(const struct scene *s) {
    struct iovec piece = {(void *)(uintptr_t) "text", 4};
    mproc_buffer *buffer = made_buffer(SIZE);
    if (buffer == NULL) {
        abort();
    }
    memset(mproc_buffer_data(buffer), 'b', SIZE);
    int r = mproc_channel_send_with(s->channel, 1, s->ends[1], &piece, 1, &buffer, 1);
    if (mproc_drop(buffer) != 0) {
        abort();
    }
    return r;
}

static void is_whole(mproc_message *m) {
    mproc_buffer *buffer = mproc_message_buffer(m, 0);
    crash_equal(m->size, 4);
    crash_require(memcmp(m->data, "text", 4) == 0);
    crash_equal(mproc_buffer_size(buffer), SIZE);
    const char *bytes = mproc_buffer_data(buffer);
    crash_require(bytes[0] == 'b' && memcmp(bytes, bytes + 1, SIZE - 1) == 0);
}

static int receive_one(const struct scene *s) {
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    if (mproc_channel_poll(s->channel, 0, s->ends[0], 0) == 0) {
        return 0;
    }
    crash_equal(mproc_channel_recv_message(s->channel, 0, s->ends[0], &m), 0);
    is_whole(&m);
    mproc_message_drop(&m);
    return 1;
}

/* ---------------------------------------------------------------- setting up */

static void invite(const struct scene *s) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    crash_equal(mproc_channel_try_recv_message(s->channel, 0, s->ends[0], &m), -EAGAIN);
}

static void *make(void) {
    struct scene *s = scene();
    memset(s, 0, sizeof *s);
    crash_equal(mproc_channel_new(&s->channel, s->ends, 1), 0);
    invite(s);
    return s;
}

static void *make_to_be_plain(void) {
    struct scene *s = make();
    s->plain = true;
    return s;
}

static void offer_for_ever(void *arg) {
    (void)send_one(arg);
}

/* A helper stays by its offer. */
static void *make_offered(void) {
    struct scene *s = make();
    s->helper = crash_helper(offer_for_ever, s);
    crash_wait_asleep(s->helper);
    crash_equal(mproc_channel_poll(s->channel, 0, s->ends[0], CRASH_SOON), 1);
    return s;
}

/* The helper has died, and its offer stands beside no ring. */
static void *make_left(void) {
    struct scene *s = make_offered();
    static char bytes[10000];
    size_t n;
    kill(s->helper, SIGKILL);
    crash_equal(waitpid(s->helper, NULL, 0), s->helper);
    (void)mproc_reap();
    crash_equal(mproc_channel_send(s->channel, 1, s->ends[1], bytes, sizeof bytes), 0);
    crash_equal(mproc_channel_recv(s->channel, 0, s->ends[0], bytes, sizeof bytes, &n),
                MPROC_CHANNEL_BODY);
    crash_equal(mproc_pipe_recv_body(s->ends[0], bytes, n), 0);
    invite(s);
    return s;
}

/* ---------------------------------------------------------------- operations */

static void offer(void *arg) {
    const struct scene *s = arg;
    if (send_one(s) != (s->plain ? -EAGAIN : 0)) {
        abort();
    }
}

static void take(void *arg) {
    const struct scene *s = arg;
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    if (mproc_channel_recv_message(s->channel, 0, s->ends[0], &m) != 0) {
        abort();
    }
    mproc_message_drop(&m);
}

static void receive_meanwhile(void *arg) {
    struct scene *s = arg;
    s->received += (uint32_t)receive_one(s);
}

static void go_plain_meanwhile(void *arg) {
    const struct scene *s = arg;
    crash_equal(mproc_channel_plain(s->channel, 0, s->ends[0]), 0);
}

/* ---------------------------------------------------------------- verifying */

static void check(const struct scene *s) {
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
}

static void send_small(const struct scene *s) {
    char room[8];
    size_t n;
    crash_equal(mproc_channel_send(s->channel, 1, s->ends[1], "x", 1), 0);
    int r = mproc_channel_recv(s->channel, 0, s->ends[0], room, sizeof room, &n);
    crash_equal(n, 1);
    if (r == MPROC_CHANNEL_BODY) {
        crash_equal(mproc_pipe_recv_body(s->ends[0], room, 1), 0);
    }
}

/* It came once, or never if its sender is dead. */
static void verify_offer(void *arg) {
    struct scene *s = arg;
    check(s);
    while (receive_one(s)) {
        s->received++;
    }
    crash_require(s->received <= 1);
    crash_require(!crash_returned() || s->received == !s->plain);
    send_small(s);
    check(s);
}

/* The survivor gets what the victim has not. */
static void verify_take(void *arg) {
    struct scene *s = arg;
    check(s);
    int left = receive_one(s);
    crash_require(!left || !crash_returned());
    crash_helper_join(s->helper);
    crash_equal(receive_one(s), 0);
    send_small(s);
    check(s);
}

static void teardown(void *arg) {
    const struct scene *s = arg;
    close(s->ends[0]);
    close(s->ends[1]);
    crash_equal(mproc_drop(s->channel), 0);
}

#define OP(title, setup_, operate_, meanwhile_, verify_)                                           \
    {                                                                                              \
        .name = "offer " title, .setup = setup_, .operate = operate_, .meanwhile = meanwhile_,     \
        .verify = verify_, .teardown = teardown, .sample = 30                                      \
    }

static const struct crash_op ops[] = {
    OP("taken", make, offer, receive_meanwhile, verify_offer),
    OP("taken back", make_to_be_plain, offer, go_plain_meanwhile, verify_offer),
    OP("beside that of the dead", make_left, offer, receive_meanwhile, verify_offer),
    OP("take", make_offered, take, NULL, verify_take),
};

CRASH_MAIN(ops)
