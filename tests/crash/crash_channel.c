/*
 * crash_channel.c - the channel, killed after each instruction of a send, a receive, a change-over
 *
 * SPDX-License-Identifier: MIT
 *
 * A message that was sent is received, once and in order, whatever way the survivor goes to it: by
 * receiving, by asking for the bytes from the receiver's side, or from the sender's. Every message
 * is its number, and bytes that depend on it.
 */
#include "fixture.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define SMALL ((size_t)40)
#define LARGE ((size_t)10000) /* too large for the ring */
#define ROOM ((size_t)12000)

enum way_out { BY_RECV, BY_RECEIVERS_BYTES, BY_SENDERS_BYTES };

/* In crash_room(). Side 1 sends, side 0 receives. */
struct scene {
    mproc_channel *channel;
    int ends[2];
    int duplex;
    unsigned first, next; /* numbers of the messages that are on their way */
    unsigned sends;       /* how many the victim sends */
    unsigned takes;       /* how many it receives */
    enum way_out out;
    unsigned char bytes[ROOM];
};

static struct scene *scene(void) {
    return crash_room();
}

/* ---------------------------------------------------------------- messages */

static void fill(unsigned char *bytes, unsigned number, size_t size) {
    memset(bytes, (int)(number * 7), size);
    memcpy(bytes, &number, sizeof number);
}

static void send_one(struct scene *s, unsigned number, size_t size) {
    fill(s->bytes, number, size);
    if (mproc_channel_send(s->channel, 1, s->ends[1], s->bytes, size) != 0) {
        abort();
    }
}

static unsigned number_of(const unsigned char *bytes, size_t size) {
    unsigned char want[ROOM];
    unsigned number;
    crash_require(size == SMALL || size == LARGE);
    memcpy(&number, bytes, sizeof number);
    fill(want, number, size);
    crash_require(memcmp(want, bytes, size) == 0);
    return number;
}

static unsigned rest_of_message(int end, size_t size) {
    unsigned char bytes[ROOM];
    crash_require(size <= sizeof bytes);
    crash_equal(mproc_pipe_recv_body(end, bytes, size), 0);
    return number_of(bytes, size);
}

/* The number of the next message; 0: there is none. */
static unsigned receive(const struct scene *s) {
    unsigned char bytes[ROOM];
    size_t size = 0;
    if (mproc_channel_poll(s->channel, 0, s->ends[0], 0) == 0) {
        return 0;
    }
    int r = mproc_channel_recv(s->channel, 0, s->ends[0], bytes, sizeof bytes, &size);
    crash_require(r == 0 || r == MPROC_CHANNEL_BODY);
    return r == 0 ? number_of(bytes, size) : rest_of_message(s->ends[0], size);
}

static unsigned receive_raw(const struct scene *s) {
    size_t size = 0;
    if (mproc_pipe_poll(s->ends[0], 0) == 0) {
        return 0;
    }
    crash_equal(mproc_pipe_recv_size(s->ends[0], &size), 0);
    return rest_of_message(s->ends[0], size);
}

/* ---------------------------------------------------------------- setting up */

static struct scene *make(int duplex) {
    struct scene *s = scene();
    memset(s, 0, sizeof *s);
    s->duplex = duplex;
    s->first = s->next = 1;
    crash_equal(mproc_channel_new(&s->channel, s->ends, duplex), 0);
    return s;
}

static void invite(struct scene *s) {
    size_t size;
    crash_equal(mproc_channel_try_recv(s->channel, 0, s->ends[0], s->bytes, ROOM, &size), -EAGAIN);
}

static void send_some(struct scene *s, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        send_one(s, s->next++, SMALL);
    }
}

static void to_quiet(struct scene *s) {
    (void)s;
}

static void to_ring(struct scene *s) {
    invite(s);
    send_some(s, 3);
}

static void to_empty_ring(struct scene *s) {
    to_ring(s);
    while (s->first < s->next) {
        crash_equal(receive(s), s->first++);
    }
}

static void to_full_ring(struct scene *s) {
    struct iovec piece = {s->bytes, SMALL};
    to_ring(s);
    do {
        fill(s->bytes, s->next, SMALL);
        s->next++;
    } while (mproc_channel_try_sendv(s->channel, 1, s->ends[1], &piece, 1) == 0);
    s->next--;
}

/* The sender has passed the ring's bytes, and the marker stands before them. */
static void to_passed(struct scene *s) {
    to_ring(s);
    send_one(s, s->next++, LARGE);
}

/* ---------------------------------------------------------------- operations */

static void send_small(void *arg) {
    struct scene *s = arg;
    send_one(s, s->next, SMALL);
}

static void send_large(void *arg) {
    struct scene *s = arg;
    send_one(s, s->next, LARGE);
}

static void take_one(void *arg) {
    struct scene *s = arg;
    size_t size;
    if (mproc_channel_recv(s->channel, 0, s->ends[0], s->bytes, ROOM, &size) != 0) {
        abort();
    }
}

static void poll_one(void *arg) {
    const struct scene *s = arg;
    if (mproc_channel_poll(s->channel, 0, s->ends[0], 0) != (s->first < s->next)) {
        abort();
    }
}

static void receivers_bytes(void *arg) {
    const struct scene *s = arg;
    if (mproc_channel_plain(s->channel, 0, s->ends[0]) != 0) {
        abort();
    }
}

static void senders_bytes(void *arg) {
    const struct scene *s = arg;
    if (mproc_channel_plain(s->channel, 1, s->ends[1]) != 0) {
        abort();
    }
}

static void leave(void *arg) {
    const struct scene *s = arg;
    mproc_channel_leave(s->channel, 0);
    close(s->ends[0]);
}

/* The survivor makes room for the victim, which sleeps. */
static void take_meanwhile(void *arg) {
    struct scene *s = arg;
    for (unsigned left = (s->next - s->first) / 4; s->next - s->first > left; s->first++) {
        crash_equal(receive(s), s->first);
    }
}

/* The survivor wakes the victim, which sleeps in vain. */
static void send_meanwhile(void *arg) {
    struct scene *s = arg;
    send_one(s, s->next, SMALL);
    s->sends = 1;
}

/* ---------------------------------------------------------------- verifying */

static unsigned next_by(const struct scene *s) {
    return s->out == BY_RECEIVERS_BYTES ? receive_raw(s) : receive(s);
}

static void change(const struct scene *s) {
    if (s->out == BY_RECEIVERS_BYTES) {
        crash_equal(mproc_channel_plain(s->channel, 0, s->ends[0]), 0);
    } else if (s->out == BY_SENDERS_BYTES) {
        crash_equal(mproc_channel_plain(s->channel, 1, s->ends[1]), 0);
    }
}

/* All messages are there, once and in order; the victim's was sent or not, was taken or not. */
static void account(struct scene *s) {
    unsigned got = next_by(s), expected = s->first;
    if (s->takes > 0 && got != expected) {
        expected++;
    }
    crash_require(!crash_returned() || expected == s->first + s->takes);
    while (got != 0) {
        crash_equal(got, expected++);
        got = next_by(s);
    }
    crash_require(expected == s->next + s->sends || (expected == s->next && !crash_returned()));
}

static void verify(void *arg) {
    struct scene *s = arg;
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
    change(s);
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
    account(s);
    for (unsigned i = 0; i < 3; i++) { /* it still works */
        send_one(s, 100 + i, i == 1 ? LARGE : SMALL);
        crash_equal(next_by(s), 100 + i);
    }
    crash_equal(next_by(s), 0);
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
}

/* A receiver that is killed takes what it had read of the kernel's bytes with it. */
static void verify_sleeper(void *arg) {
    struct scene *s = arg;
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
    crash_equal(mproc_channel_plain(s->channel, 0, s->ends[0]), 0);
    send_one(s, 100, SMALL);
    crash_equal(mproc_channel_poll(s->channel, 0, s->ends[0], CRASH_SOON), 1);
}

/* As a program that looks for messages between other work. */
static int recv_by_trying(const struct scene *s, void *room, size_t *size) {
    int r;
    while ((r = mproc_channel_try_recv(s->channel, 0, s->ends[0], room, ROOM, size)) == -EAGAIN) {
        sched_yield();
    }
    return r;
}

static int recv_by_waiting(const struct scene *s, void *room, size_t *size) {
    return mproc_channel_recv(s->channel, 0, s->ends[0], room, ROOM, size);
}

static void leave_senders(struct scene *s) {
    mproc_channel_leave(s->channel, 1);
    close(s->ends[1]);
    s->ends[1] = -1;
}

/* The survivor only receives, as a member does that knows of no death: until the stream ends. */
static void until_end(struct scene *s, int (*recv)(const struct scene *, void *, size_t *)) {
    unsigned expected = s->first;
    size_t size;
    int r;
    leave_senders(s);
    while ((r = recv(s, s->bytes, &size)) >= 0) {
        unsigned got = r == 0 ? number_of(s->bytes, size) : rest_of_message(s->ends[0], size);
        if (s->takes > 0 && expected == s->first && got != expected) {
            expected++;
        }
        crash_equal(got, expected++);
    }
    crash_equal(r, MPROC_EEOF);
    crash_require(expected == s->next + s->sends || (expected == s->next && !crash_returned()));
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
}

static void verify_until_end(void *arg) {
    until_end(arg, recv_by_waiting);
}

static void verify_tries(void *arg) {
    until_end(arg, recv_by_trying);
}

static void teardown(void *arg) {
    struct scene *s = arg;
    close(s->ends[0]);
    if (s->ends[1] >= 0) {
        close(s->ends[1]);
    }
    crash_equal(mproc_drop(s->channel), 0);
}

/* ---------------------------------------------------------------- the table */

#define SETUP(name, duplex, prepare, sends_, takes_, out_)                                         \
    static void *name(void) {                                                                      \
        struct scene *s = make(duplex);                                                            \
        prepare(s);                                                                                \
        s->sends = (sends_);                                                                       \
        s->takes = (takes_);                                                                       \
        s->out = (out_);                                                                           \
        return s;                                                                                  \
    }

static void to_invited(struct scene *s) {
    invite(s);
}

/* For a socket and a pipe, and for each way out. */
#define SETUPS(name, prepare, sends, takes)                                                        \
    SETUP(name##_socket_recv, 1, prepare, sends, takes, BY_RECV)                                   \
    SETUP(name##_socket_receivers, 1, prepare, sends, takes, BY_RECEIVERS_BYTES)                   \
    SETUP(name##_socket_senders, 1, prepare, sends, takes, BY_SENDERS_BYTES)                       \
    SETUP(name##_pipe_recv, 0, prepare, sends, takes, BY_RECV)                                     \
    SETUP(name##_pipe_receivers, 0, prepare, sends, takes, BY_RECEIVERS_BYTES)                     \
    SETUP(name##_pipe_senders, 0, prepare, sends, takes, BY_SENDERS_BYTES)

#define OP_MEANWHILE(title, setup_, operate_, meanwhile_)                                          \
    {                                                                                              \
        .name = "channel " title, .setup = setup_, .operate = operate_, .meanwhile = meanwhile_,   \
        .verify = verify, .teardown = teardown, .sample = 8                                        \
    }

#define OP(title, setup_, operate_) OP_MEANWHILE(title, setup_, operate_, NULL)

/* After each instruction: the states between two of a change-over last for one. */
#define OP_STRAIGHT(title, setup_, operate_, verify_)                                              \
    {                                                                                              \
        .name = "channel " title, .setup = setup_, .operate = operate_, .verify = verify_,         \
        .teardown = teardown                                                                       \
    }

#define OP_UNTIL_END(title, setup, operate)                                                        \
    OP_STRAIGHT(title ", receive until the end", setup, operate, verify_until_end)
#define OP_TRIES(title, setup, operate)                                                            \
    OP_STRAIGHT(title ", try until the end", setup, operate, verify_tries)

#define OPS(title, name, operate)                                                                  \
    OP(title " (socket, receive)", name##_socket_recv, operate),                                   \
        OP(title " (socket, receiver's bytes)", name##_socket_receivers, operate),                 \
        OP(title " (socket, sender's bytes)", name##_socket_senders, operate),                     \
        OP(title " (pipe, receive)", name##_pipe_recv, operate),                                   \
        OP(title " (pipe, receiver's bytes)", name##_pipe_receivers, operate),                     \
        OP(title " (pipe, sender's bytes)", name##_pipe_senders, operate)

SETUPS(quiet, to_quiet, 1, 0)
SETUPS(invited, to_invited, 1, 0)
SETUPS(ring, to_ring, 1, 0)
SETUPS(full, to_ring, 0, 1)
SETUPS(still, to_ring, 0, 0)
SETUPS(empty, to_empty_ring, 0, 0)
SETUPS(passed, to_passed, 0, 0)
SETUP(sleeper, 1, to_empty_ring, 0, 0, BY_RECV)
SETUP(crammed_socket, 1, to_full_ring, 1, 0, BY_RECV)
SETUP(crammed_pipe, 0, to_full_ring, 1, 0, BY_RECV)

static const struct crash_op ops[] = {
    OPS("send as bytes", quiet, send_small),
    OPS("send accepts", invited, send_small),
    OPS("send into ring", ring, send_small),
    OPS("send passes ring", ring, send_large),
    OPS("receive from ring", full, take_one),
    OPS("poll, messages in ring", still, poll_one),
    OPS("poll leaves ring", empty, poll_one),
    OPS("poll takes marker", passed, poll_one),
    OPS("receiver plain", still, receivers_bytes),
    OPS("receiver plain, empty", empty, receivers_bytes),
    OPS("receiver plain, passed", passed, receivers_bytes),
    OPS("sender plain", still, senders_bytes),
    /* After each of its instructions, for two neighbours must not change places: what has been
     * passed is out of the ring before the state says that there is none. */
    {.name = "channel passes",
     .setup = still_pipe_recv,
     .operate = senders_bytes,
     .verify = verify,
     .teardown = teardown},
    OPS("leave", still, leave),
    OP_UNTIL_END("send accepts (socket)", invited_socket_recv, send_small),
    OP_UNTIL_END("send accepts (pipe)", invited_pipe_recv, send_small),
    OP_UNTIL_END("send passes ring (socket)", ring_socket_recv, send_large),
    OP_UNTIL_END("send passes ring (pipe)", ring_pipe_recv, send_large),
    OP_UNTIL_END("sender plain (socket)", still_socket_senders, senders_bytes),
    OP_UNTIL_END("sender plain (pipe)", still_pipe_senders, senders_bytes),
    OP_UNTIL_END("receive from ring (socket)", full_socket_recv, take_one),
    OP_UNTIL_END("receive from ring (pipe)", full_pipe_recv, take_one),
    OP_TRIES("send accepts (socket)", invited_socket_recv, send_small),
    OP_TRIES("send accepts (pipe)", invited_pipe_recv, send_small),
    OP_TRIES("send passes ring (socket)", ring_socket_recv, send_large),
    OP_TRIES("send passes ring (pipe)", ring_pipe_recv, send_large),
    OP_TRIES("receive from ring (socket)", full_socket_recv, take_one),
    OP_TRIES("receive from ring (pipe)", full_pipe_recv, take_one),
    OP("send passes full ring (socket)", crammed_socket, send_small),
    OP("send passes full ring (pipe)", crammed_pipe, send_small),
    OP_MEANWHILE("send sleeps (socket)", crammed_socket, send_small, take_meanwhile),
    OP_MEANWHILE("send sleeps (pipe)", crammed_pipe, send_small, take_meanwhile),
    {.name = "channel receive sleeps",
     .setup = sleeper,
     .operate = take_one,
     .meanwhile = send_meanwhile,
     .verify = verify_sleeper,
     .teardown = teardown,
     .sample = 8},
};

CRASH_MAIN(ops)
