/*
 * test_channel.c - messages through the ring, through the kernel, and the change between the two
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "channel/ring.h"
#include "channel/sides.h"
#include "channels.h"
#include "children.h"
#include "core/object.h"
#include "deny.h"
#include "members.h"
#include "system/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MARKER 4 /* bytes in the kernel while a socket's messages are in the ring */
#define LARGE 300000

struct pair {
    mproc_channel *channel;
    int ends[2];
    int duplex;
};

static struct pair make(int duplex) {
    struct pair p = {.duplex = duplex};
    CHECK_OK(mproc_channel_new(&p.channel, p.ends, duplex));
    return p;
}

static void check(const struct pair *p) {
    check_channel(p->channel);
}

static void drop(struct pair *p) {
    drop_channel(p->channel, p->ends);
}

static int send_to(const struct pair *p, int side, const void *data, size_t size) {
    return mproc_channel_send(p->channel, side, p->ends[side], data, size);
}

static int try_recv(const struct pair *p, int side) {
    char room[8];
    size_t n;
    return mproc_channel_try_recv(p->channel, side, p->ends[side], room, sizeof room, &n);
}

/* The next message, from wherever it comes. */
static size_t recv_at(const struct pair *p, int side, void *out, size_t cap) {
    size_t n = SIZE_MAX;
    int r = mproc_channel_recv(p->channel, side, p->ends[side], out, cap, &n);
    CHECK_GE(r, 0);
    CHECK_NE(r, MPROC_CHANNEL_LARGER);
    CHECK_LE(n, cap);
    if (r == MPROC_CHANNEL_BODY) {
        CHECK_OK(mproc_pipe_recv_body(p->ends[side], out, n));
    }
    return n;
}

static void expect(const struct pair *p, int side, const char *text) {
    char room[100];
    CHECK_EQ(recv_at(p, side, room, sizeof room), strlen(text));
    CHECK_MEM(room, text, strlen(text));
}

/* As somebody who has only the descriptor. */
static void expect_raw(int end, const char *text) {
    size_t n = SIZE_MAX;
    char room[100];
    CHECK_OK(mproc_pipe_recv_size(end, &n));
    CHECK_EQ(n, strlen(text));
    CHECK_OK(mproc_pipe_recv_body(end, room, n));
    CHECK_MEM(room, text, n);
}

/* The next messages from side 1 go through the ring: a receiver has looked in vain. */
static void invite(const struct pair *p) {
    CHECK_EQ(try_recv(p, 0), -EAGAIN);
}

static bool in_ring(const struct pair *p) {
    return mproc__os_readable(p->ends[0]) == (p->duplex ? MARKER : 0) &&
           mproc_channel_look(p->channel, 0, p->ends[0]) == 1;
}

/* A channel with two messages from side 1 in the ring. */
static struct pair filled(int duplex) {
    struct pair p = make(duplex);
    invite(&p);
    CHECK_OK(send_to(&p, 1, "one", 3));
    CHECK_OK(send_to(&p, 1, "two", 3));
    CHECK(in_ring(&p));
    return p;
}

/* ---------------------------------------------------------------- messages */

static void carry(int duplex) {
    struct pair p = make(duplex);
    CHECK_OK(send_to(&p, 1, "bytes", 5));
    CHECK_EQ(mproc__os_readable(p.ends[0]), 9);
    expect(&p, 0, "bytes");
    invite(&p);
    CHECK_OK(send_to(&p, 1, "ring", 4));
    CHECK_OK(send_to(&p, 1, NULL, 0));
    CHECK(in_ring(&p));
    check(&p);
    expect(&p, 0, "ring");
    expect(&p, 0, "");
    drop(&p);
}

TEST(channel_carries_messages) {
    carry(0);
    carry(1);
}

TEST(channel_is_one_way_unless_duplex) {
    struct pair p = make(0);
    CHECK_EQ(send_to(&p, 0, "x", 1), -EBADF);
    drop(&p);
}

TEST(channel_goes_both_ways) {
    struct pair p = make(1);
    invite(&p);
    CHECK_EQ(try_recv(&p, 1), -EAGAIN);
    CHECK_OK(send_to(&p, 0, "to one", 6));
    CHECK_OK(send_to(&p, 1, "to zero", 7));
    expect(&p, 1, "to one");
    expect(&p, 0, "to zero");
    drop(&p);
}

TEST(channel_message_that_does_not_fit_stays) {
    struct pair p = make(1);
    char room[20];
    size_t n = 0;
    invite(&p);
    CHECK_OK(send_to(&p, 1, "too large", 9));
    CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], room, 5, &n), MPROC_CHANNEL_LARGER);
    CHECK_EQ(n, 9);
    expect(&p, 0, "too large");
    drop(&p);
}

TEST(channel_try_send_waits_for_nothing) {
    struct pair p = make(1);
    struct iovec pieces[2] = {{(char *)"ab", 2}, {(char *)"c", 1}};
    CHECK_EQ(mproc_channel_try_sendv(p.channel, 1, p.ends[1], pieces, 2), -EAGAIN);
    invite(&p);
    CHECK_OK(mproc_channel_try_sendv(p.channel, 1, p.ends[1], pieces, 2));
    CHECK_EQ(mproc_channel_try_sendv(p.channel, 1, p.ends[1], pieces, -1), -EINVAL);
    expect(&p, 0, "abc");
    drop(&p);
}

/* ---------------------------------------------------------------- any order of anything */

struct model {
    struct pair p;
    unsigned seed;
    uint64_t sent, received;
    size_t inside; /* bytes that have been sent and not received */
    char *bytes;
};

static unsigned dice(struct model *m, unsigned n) {
    return (unsigned)rand_r(&m->seed) % n;
}

static size_t some_size(struct model *m) {
    switch (dice(m, 6)) {
    case 0: return 8 + dice(m, 9000);
    case 1: return 8 + dice(m, 20000);
    default: return 8 + dice(m, 60);
    }
}

/* Number and size tell which message it is. */
static void send_one(struct model *m) {
    size_t size = some_size(m);
    if (m->inside + size > 40000) {
        return; /* nobody would receive while it blocks */
    }
    uint64_t head = m->sent++ << 32 | size;
    memcpy(m->bytes, &head, 8);
    memset(m->bytes + 8, (int)(m->sent & 0xff), size - 8);
    CHECK_OK(send_to(&m->p, 1, m->bytes, size));
    m->inside += size;
}

static void judge(struct model *m, size_t n) {
    uint64_t head;
    memcpy(&head, m->bytes, 8);
    CHECK_EQ(head >> 32, m->received++);
    CHECK_EQ(head & 0xffffffff, n);
    for (size_t i = 8; i < n; i++) {
        CHECK_EQ((unsigned char)m->bytes[i], m->received & 0xff);
    }
    m->inside -= n;
}

static void receive_one(struct model *m) {
    if (m->inside > 0) {
        judge(m, recv_at(&m->p, 0, m->bytes, LARGE));
    } else {
        CHECK_EQ(try_recv(&m->p, 0), -EAGAIN);
    }
}

static void step(struct model *m) {
    switch (dice(m, 8)) {
    case 0:
    case 1:
    case 2: send_one(m); break;
    case 3:
    case 4:
    case 5: receive_one(m); break;
    case 6: CHECK_EQ(mproc_channel_poll(m->p.channel, 0, m->p.ends[0], 0), m->inside > 0); break;
    default:
        CHECK_EQ(mproc_channel_look(m->p.channel, 0, m->p.ends[0]) == 1 ||
                     mproc_pipe_poll(m->p.ends[0], 0) == 1,
                 m->inside > 0);
    }
}

static void go_plain(struct model *m, int side) {
    CHECK_OK(mproc_channel_plain(m->p.channel, side, m->p.ends[side]));
    check(&m->p);
    if (side == 0 && m->inside > 0) { /* now the descriptor has all of it */
        size_t n;
        CHECK_OK(mproc_pipe_recv_size(m->p.ends[0], &n));
        CHECK_OK(mproc_pipe_recv_body(m->p.ends[0], m->bytes, n));
        judge(m, n);
    }
}

static void play(unsigned seed) {
    struct model m = {.p = make((int)(seed & 1)), .seed = seed, .bytes = malloc(LARGE)};
    unsigned steps = 20 + dice(&m, 200);
    for (unsigned i = 0; i < steps; i++) {
        step(&m);
        check(&m.p);
    }
    go_plain(&m, (int)dice(&m, 2));
    for (unsigned i = 0; i < 20; i++) {
        step(&m);
    }
    while (m.inside > 0) {
        receive_one(&m);
    }
    free(m.bytes);
    drop(&m.p);
}

TEST(channel_keeps_order_whatever_is_done) {
    for (unsigned seed = 1; seed <= 300; seed++) {
        play(seed);
    }
}

/* ---------------------------------------------------------------- plain */

static void plain(int duplex, int side) {
    struct pair p = filled(duplex);
    CHECK_OK(mproc_channel_plain(p.channel, side, p.ends[side]));
    check(&p);
    CHECK_OK(send_to(&p, 1, "three", 5));
    if (side == 0) {
        CHECK_EQ(mproc_pipe_poll(p.ends[0], 0), 1);
        expect_raw(p.ends[0], "one");
        expect_raw(p.ends[0], "two");
        CHECK_OK(mproc_pipe_send(p.ends[1], "four", 4));
        expect_raw(p.ends[0], "three");
    } else {
        CHECK_OK(mproc_pipe_send(p.ends[1], "four", 4)); /* by a stranger */
        expect(&p, 0, "one");
        CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
        expect_raw(p.ends[0], "two");
        expect_raw(p.ends[0], "three");
    }
    expect(&p, 0, "four");
    CHECK_OK(mproc_channel_plain(p.channel, side, p.ends[side]));
    CHECK_EQ(mproc_pipe_poll(p.ends[0], 0), 0);
    drop(&p);
}

TEST(channel_plain_from_either_side) {
    for (int duplex = 0; duplex < 2; duplex++) {
        plain(duplex, 0);
        plain(duplex, 1);
    }
}

static void die_after_sending(void *arg) {
    const struct pair *p = arg;
    CHECK_OK(send_to(p, 1, "one", 3));
    CHECK_OK(send_to(p, 1, "two", 3));
    CHECK(in_ring(p));
    kill(getpid(), SIGKILL);
}

/* Its messages were in the ring, and its end is closed. */
static struct pair left_by_the_dead(int duplex) {
    struct pair p = make(duplex);
    int status;
    invite(&p);
    pid_t pid = child_fork(die_after_sending, &p);
    close(p.ends[1]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    p.ends[1] = -1;
    return p;
}

TEST(channel_plain_when_the_sender_is_dead) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = left_by_the_dead(duplex);
        size_t n;
        CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
        expect_raw(p.ends[0], "one");
        expect_raw(p.ends[0], "two");
        CHECK_EQ(mproc_pipe_recv_size(p.ends[0], &n), MPROC_EEOF);
        drop(&p);
    }
}

TEST(channel_plain_without_a_number_for_a_descriptor) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = filled(duplex);
        struct rlimit before, none;
        CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
        none = (struct rlimit){3, before.rlim_max};
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
        CHECK_EQ(mproc_channel_plain(p.channel, 0, p.ends[0]), -EMFILE);
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
        check(&p);
        expect(&p, 0, "one"); /* all is as before */
        CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
        expect_raw(p.ends[0], "two");
        drop(&p);
    }
}

/* ---------------------------------------------------------------- the end */

TEST(channel_ends_behind_the_last_message) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = left_by_the_dead(duplex);
        char room[8];
        size_t n;
        expect(&p, 0, "one");
        expect(&p, 0, "two");
        CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], MPROC_FOREVER), 1);
        CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], room, 8, &n), MPROC_EEOF);
        CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 0), 1);
        drop(&p);
    }
}

static void talk_and_die(void *arg) {
    struct pair *p = arg;
    close(p->ends[0]);
    for (;;) {
        char room[8];
        size_t n = recv_at(p, 1, room, sizeof room);
        if (room[0] == 'd') {
            kill(getpid(), SIGKILL);
        }
        CHECK_OK(send_to(p, 1, room, n));
    }
}

/* Both ways have been in the ring; side 1 is killed. */
static struct pair abandoned(void) {
    struct pair p = make(1);
    int status;
    pid_t pid = child_fork(talk_and_die, &p);
    close(p.ends[1]);
    for (int i = 0; i < 50; i++) {
        CHECK_OK(send_to(&p, 0, "hello", 5));
        expect(&p, 0, "hello");
    }
    CHECK_OK(send_to(&p, 0, "die", 3));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    p.ends[1] = -1;
    return p;
}

TEST(channel_send_to_the_dead_fails_at_once) {
    struct pair p = abandoned();
    CHECK_EQ(send_to(&p, 0, "x", 1), MPROC_EEOF);
    char room[8];
    size_t n;
    CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], room, 8, &n), MPROC_EEOF);
    drop(&p);
}

static void answer_and_die(void *arg) {
    const struct pair *p = arg;
    close(p->ends[0]);
    CHECK_OK(send_to(p, 1, "x", 1));
    usleep(20000); /* in which the parent has filled the kernel, or has not: it fails either way */
    kill(getpid(), SIGKILL);
}

/* The marker that the dead one has left must not keep its end open. */
static void send_until_it_fails(bool plain) {
    struct pair p = make(1);
    int r = 0, status;
    invite(&p);
    pid_t pid = child_fork(answer_and_die, &p);
    close(p.ends[1]);
    p.ends[1] = -1;
    if (plain) {
        CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
    }
    while (r == 0) {
        r = send_to(&p, 0, "hello", 5);
    }
    CHECK_EQ(r, MPROC_EEOF);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    drop(&p);
}

TEST(channel_blocked_sender_hears_of_a_death) {
    send_until_it_fails(false);
    send_until_it_fails(true);
}

TEST(channel_bytes_to_the_dead_fail_at_once) {
    struct pair p = make(1);
    int status;
    invite(&p);
    pid_t pid = child_fork(answer_and_die, &p);
    close(p.ends[1]);
    p.ends[1] = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(mproc__os_readable(p.ends[0]), MARKER);
    CHECK_EQ(send_to(&p, 0, "hello", 5), MPROC_EEOF);
    expect(&p, 0, "x");
    drop(&p);
}

TEST(channel_send_to_a_closed_end_fails_at_once) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = filled(duplex);
        mproc_channel_leave(p.channel, 0);
        close(p.ends[0]);
        p.ends[0] = -1;
        CHECK_EQ(send_to(&p, 1, "x", 1), MPROC_EEOF);
        CHECK_OK(mproc_channel_plain(p.channel, 1, p.ends[1]));
        CHECK_EQ(send_to(&p, 1, "x", 1), MPROC_EEOF);
        drop(&p);
    }
}

static void receive_word(void *arg) {
    expect(arg, 0, "word");
}

/* A copy of an end in another member is somebody. */
TEST(channel_send_to_a_closed_end_with_a_copy) {
    struct pair p = make(1);
    invite(&p);
    CHECK_OK(send_to(&p, 1, "word", 4));
    int copy = dup(p.ends[0]);
    mproc_channel_leave(p.channel, 0);
    close(p.ends[0]);
    p.ends[0] = copy;
    CHECK_OK(send_to(&p, 1, "word", 4));
    child_join(child_fork(receive_word, &p));
    child_join(child_fork(receive_word, &p));
    drop(&p);
}

/* ---------------------------------------------------------------- streams */

#define STREAM 20000

struct stream {
    struct pair p;
    size_t size;
    int flip; /* after which message each side goes plain: by 1 sender, 2 receiver, 3 both */
};

static void send_stream(void *arg) {
    struct stream *s = arg;
    char *bytes = calloc(1, s->size);
    close(s->p.ends[0]);
    for (uint64_t i = 0; i < STREAM; i++) {
        memcpy(bytes, &i, 8);
        CHECK_OK(send_to(&s->p, 1, bytes, s->size));
        if ((s->flip & 1) && i == STREAM / 3) {
            CHECK_OK(mproc_channel_plain(s->p.channel, 1, s->p.ends[1]));
        }
    }
    free(bytes);
}

static void stream(int duplex, size_t size, int flip) {
    struct stream s = {make(duplex), size, flip};
    char *bytes = calloc(1, s.size);
    size_t n;
    pid_t pid = child_fork(send_stream, &s);
    close(s.p.ends[1]);
    s.p.ends[1] = -1;
    for (uint64_t i = 0; i < STREAM; i++) {
        uint64_t got;
        CHECK_EQ(recv_at(&s.p, 0, bytes, size), size);
        memcpy(&got, bytes, 8);
        CHECK_EQ(got, i);
        if ((s.flip & 2) && i == STREAM / 2) {
            CHECK_OK(mproc_channel_plain(s.p.channel, 0, s.p.ends[0]));
        }
    }
    CHECK_EQ(mproc_channel_recv(s.p.channel, 0, s.p.ends[0], bytes, size, &n), MPROC_EEOF);
    child_join(pid);
    free(bytes);
    drop(&s.p);
}

TEST(channel_streams) {
    for (int duplex = 0; duplex < 2; duplex++) {
        stream(duplex, 8, 0);
        stream(duplex, 700, 0);
    }
}

static void send_large(void *arg) {
    struct pair *p = arg;
    char *bytes = calloc(1, LARGE);
    for (int i = 0; i < 20; i++) {
        bytes[0] = (char)i;
        CHECK_OK(send_to(p, 1, bytes, LARGE));
        expect(p, 1, "go on");
    }
    free(bytes);
}

/* More than the kernel takes, to a receiver that looks or naps. */
TEST(channel_carries_large_messages) {
    struct pair p = make(1);
    char *bytes = calloc(1, LARGE);
    pid_t pid = child_fork(send_large, &p);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(recv_at(&p, 0, bytes, LARGE), LARGE);
        CHECK_EQ(bytes[0], i);
        CHECK_OK(send_to(&p, 0, "go on", 5));
    }
    child_join(pid);
    free(bytes);
    drop(&p);
}

TEST(channel_streams_while_sides_go_plain) {
    for (int flip = 1; flip <= 3; flip++) {
        stream(0, 8, flip);
        stream(1, 100, flip);
    }
}

/* ---------------------------------------------------------------- streams that begin with bytes */

static uint32_t state_of(const struct pair *p) {
    return mproc__way_state(&p->channel->ways[1]);
}

/* This thread, and the children that it forks from now on. Returns where they could run before. */
static cpu_set_t stay_here(void) {
    cpu_set_t before, here;
    CHECK_OK(sched_getaffinity(0, sizeof before, &before));
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    CHECK_OK(sched_setaffinity(0, sizeof here, &here));
    return before;
}

/* The receiver waits for its turn on the same CPU: that it reads nothing meanwhile says nothing. */
TEST(channel_invitation_stands_on_one_cpu) {
    cpu_set_t before = stay_here();
    struct pair p = make(1);
    CHECK_OK(send_to(&p, 1, "one", 3));
    CHECK_OK(send_to(&p, 1, "two", 3));
    expect(&p, 0, "one");
    CHECK_EQ(state_of(&p), MPROC__INVITED);
    CHECK_OK(send_to(&p, 1, "three", 5));
    CHECK_EQ(state_of(&p), MPROC__INVITED);
    expect(&p, 0, "two");
    expect(&p, 0, "three");
    CHECK_OK(send_to(&p, 1, "four", 4));
    CHECK(in_ring(&p));
    expect(&p, 0, "four");
    drop(&p);
    CHECK_OK(sched_setaffinity(0, sizeof before, &before));
}

#define AHEAD 200     /* messages, which a pipe and a socket take */
#define AHEAD_SIZE 96 /* bytes of one */

static void receive_to_the_end(void *arg) {
    const struct pair *p = arg;
    uint64_t got[AHEAD_SIZE / 8] = {0};
    for (uint64_t i = 0; got[0] != UINT64_MAX; i++) {
        CHECK_EQ(recv_at(p, 0, got, sizeof got), sizeof got);
        CHECK(got[0] == i || got[0] == UINT64_MAX);
    }
}

static void send_number(const struct pair *p, uint64_t number) {
    uint64_t message[AHEAD_SIZE / 8] = {number};
    CHECK_OK(send_to(p, 1, message, sizeof message));
}

/* A sender that is far ahead sleeps until its receiver has read all, and goes on in the ring. */
static void catch_up(int duplex) {
    cpu_set_t before = stay_here();
    struct pair p = make(duplex);
    uint64_t sent = 0;
    while (sent < AHEAD) {
        send_number(&p, sent++);
    }
    CHECK_EQ(state_of(&p), 0);
    pid_t pid = child_fork(receive_to_the_end, &p);
    while (!(state_of(&p) & MPROC__IN_RING)) {
        send_number(&p, sent++);
    }
    send_number(&p, UINT64_MAX);
    child_join(pid);
    drop(&p);
    CHECK_OK(sched_setaffinity(0, sizeof before, &before));
}

TEST(channel_stream_gets_into_the_ring_on_one_cpu) {
    catch_up(0);
    catch_up(1);
}

/* ---------------------------------------------------------------- several at one end */

#define EACH 3000

struct crowd {
    struct pair p;
    uint64_t sum, seen;
};

static void send_each(void *arg) {
    struct crowd *c = arg;
    for (uint64_t i = 1; i <= EACH; i++) {
        CHECK_OK(send_to(&c->p, 1, &i, sizeof i));
    }
}

static void receive_each(void *arg) {
    struct crowd *c = arg;
    for (int i = 0; i < EACH; i++) {
        uint64_t got = 0;
        CHECK_EQ(recv_at(&c->p, 0, &got, sizeof got), sizeof got);
        mproc__add64(&c->sum, got);
        mproc__add64(&c->seen, 1);
    }
}

/* Through the ring only: the kernel's bytes are one reader's at a time, as those of a pipe. */
TEST(channel_has_many_senders) {
    struct crowd *c = mproc_calloc(1, sizeof *c);
    c->p = make(1);
    pid_t senders[3];
    for (int i = 0; i < 3; i++) {
        senders[i] = child_fork(send_each, c);
    }
    for (int i = 0; i < 3; i++) {
        receive_each(c);
    }
    for (int i = 0; i < 3; i++) {
        child_join(senders[i]);
    }
    CHECK_EQ(c->sum, 3 * (uint64_t)EACH * (EACH + 1) / 2);
    drop(&c->p);
    mproc_free(c);
}

/* ---------------------------------------------------------------- what the kernel refuses */

static void through_the_kernel(struct pair *p) {
    invite(p);
    CHECK_OK(send_to(p, 1, "one", 3));
    CHECK_EQ(mproc__os_readable(p->ends[0]), 7);
    expect(p, 0, "one");
    drop(p);
}

TEST(channel_without_enough_room_is_a_pipe) {
    struct pair socket = make(1), pipe = make(0);
    int small = 4096;
    CHECK_OK(setsockopt(socket.ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
    CHECK_GE(fcntl(pipe.ends[1], F_SETPIPE_SZ, 4096), 0);
    through_the_kernel(&socket);
    through_the_kernel(&pipe);
}

static void mark_in_vain(void *arg) {
    (void)arg;
    struct pair p = make(1);
    deny(SYS_sendmsg, -1, ETOOMANYREFS);
    through_the_kernel(&p);
}

TEST(channel_without_a_marker_is_a_pipe) {
    child_join(child_fork(mark_in_vain, NULL));
}

/* ---------------------------------------------------------------- signals and ends */

static void be_interrupted(void *arg) {
    struct pair *p = arg;
    char room[8];
    size_t n;
    signal_every(3000);
    CHECK_EQ(mproc_channel_recv(p->channel, 0, p->ends[0], room, 8, &n), -EINTR);
    CHECK_EQ(mproc_channel_poll(p->channel, 0, p->ends[0], MPROC_FOREVER), -EINTR);
    int r = 0;
    while (r == 0) {
        r = send_to(p, 1, "fill", 4);
    }
    CHECK_EQ(r, -EINTR);
    signal_every(0);
}

TEST(channel_waits_are_interrupted) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        child_join(child_fork(be_interrupted, &p));
        drop(&p);
    }
}

TEST(channel_poll_waits) {
    struct pair p = make(1);
    int64_t begin = mproc__os_now();
    CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 5 * MPROC_MSEC), 0);
    CHECK_GE(mproc__os_now() - begin, 5 * MPROC_MSEC);
    drop(&p);
}

/* ---- beside a stopped member that has one of the locks */

static void stop_as_receiver(void *arg) {
    struct pair *p = arg;
    struct mproc__way *way = mproc__channel_receiving(p->channel, 0, p->ends[0]).way;
    mproc__way_enter_receivers(way);
    raise(SIGSTOP);
    mproc__way_release(&way->receivers);
}

static void stop_as_sender(void *arg) {
    struct pair *p = arg;
    struct mproc__end e = mproc__channel_receiving(p->channel, 0, p->ends[0]);
    CHECK_OK(mproc__way_enter_senders(&e, false, true));
    raise(SIGSTOP);
    mproc__way_release(&e.way->senders);
}

static void poll_beside(int duplex, void (*stop)(void *)) {
    struct pair p = filled(duplex);
    expect(&p, 0, "one");
    expect(&p, 0, "two");
    CHECK(state_of(&p) & MPROC__IN_RING); /* so a look needs both locks */
    pid_t child = child_fork(stop, &p);
    CHECK_EQ(waitpid(child, NULL, WUNTRACED), child);
    int64_t start = mproc__os_now();
    CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], MPROC_SEC / 5), 0);
    CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 0), 0);
    CHECK_GE(mproc__os_now() - start, MPROC_SEC / 5);
    CHECK_OK(kill(child, SIGCONT));
    child_join(child);
    CHECK_OK(send_to(&p, 1, "three", 5));
    CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], MPROC_FOREVER), 1);
    expect(&p, 0, "three");
    check(&p);
    drop(&p);
}

TEST(channel_poll_ends_beside_a_stopped_member) {
    for (int duplex = 0; duplex < 2; duplex++) {
        poll_beside(duplex, stop_as_receiver);
        poll_beside(duplex, stop_as_sender);
    }
}

static void poll_for_ever(void *arg) {
    const struct pair *p = arg;
    CHECK_EQ(mproc_channel_poll(p->channel, 0, p->ends[0], MPROC_FOREVER), 1);
}

static void receive_for_ever(void *arg) {
    expect(arg, 0, "word");
}

/* Whoever invites the sender, before the wait or during it. */
static void wait_beside_invitations(int duplex, int before, void (*wait)(void *)) {
    struct pair p = make(duplex);
    if (before) {
        invite(&p);
    }
    pid_t pid = child_fork(wait, &p);
    usleep(20000); /* it sleeps, probably */
    if (!before) {
        (void)try_recv(&p, 0);
    }
    CHECK_OK(send_to(&p, 1, "word", 4));
    child_join(pid);
    if (wait == poll_for_ever) {
        expect(&p, 0, "word");
    }
    drop(&p);
}

TEST(channel_wait_hears_of_a_message_wherever_it_comes) {
    for (int i = 0; i < 4; i++) {
        wait_beside_invitations(i & 1, i / 2, poll_for_ever);
        wait_beside_invitations(i & 1, i / 2, receive_for_ever);
    }
}

TEST(channel_descriptor_tells_after_a_look) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        invite(&p);
        CHECK_EQ(mproc_channel_look(p.channel, 0, p.ends[0]), 0);
        CHECK_OK(send_to(&p, 1, "word", 4));
        CHECK_EQ(mproc_pipe_poll(p.ends[0], 0), 1);
        expect(&p, 0, "word");
        drop(&p);
    }
}

/* A receiver takes nothing that its sender cannot have written, and what is passed stays in the
 * ring's bounds. */
static void scribble_header(const char *header) {
    struct pair p = filled(1);
    char *at = mproc__ring_at(&p.channel->ways[1], p.channel->ways[1].head), before[4], room[200];
    size_t n;
    memcpy(before, at, sizeof before);
    memcpy(at, header, sizeof before);
    CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], room, sizeof room, &n), MPROC_EFRAME);
    CHECK_EQ(mproc_channel_check(p.channel, NULL, 0), MPROC_ECORRUPT);
    memcpy(at, before, sizeof before);
    expect(&p, 0, "one");
    expect(&p, 0, "two");
    drop(&p);
}

TEST(channel_stands_a_scribbled_ring) {
    scribble_header("\0\0\0\x64");
    scribble_header("\xff\xff\xff\xff");
}

TEST(channel_stands_scribbled_counts) {
    struct pair p = filled(1);
    char room[200];
    size_t n;
    p.channel->ways[1].tail += 2 * MPROC__RING;
    CHECK_EQ(mproc_channel_try_recv(p.channel, 0, p.ends[0], room, sizeof room, &n), MPROC_EFRAME);
    CHECK_OK(mproc_channel_plain(p.channel, 1, p.ends[1]));
    CHECK_OK(send_to(&p, 1, "goes on", 7));
    expect(&p, 0, "goes on");
    drop(&p);
}

TEST(channel_gives_its_memory_back) {
    mproc_arena_stats before, after;
    struct pair p = filled(1);
    drop(&p);
    mproc_arena_stat(&before);
    for (int i = 0; i < 200; i++) {
        p = filled(i & 1);
        drop(&p);
    }
    mproc_arena_stat(&after);
    CHECK_EQ(after.blocks, before.blocks);
}
