/*
 * test_offer.c - messages that are too large for a channel's ring, and what becomes of an offer
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "channels.h"
#include "children.h"
#include "made.h"
#include "members.h"
#include "system/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MARKER 4 /* bytes in the kernel while a socket's messages are in memory */
#define HUGE_SIZE ((size_t)1000000)

struct pair {
    mproc_channel *channel;
    int ends[2];
    int number; /* which message a child sends */
    size_t buffers;
    int result;
};

static struct pair make(int duplex) {
    struct pair p = {.number = 1};
    CHECK_OK(mproc_channel_new(&p.channel, p.ends, duplex));
    return p;
}

static void check(const struct pair *p) {
    check_channel(p->channel);
}

static void drop(struct pair *p) {
    drop_channel(p->channel, p->ends);
}

static void invite(const struct pair *p) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_channel_try_recv_message(p->channel, 0, p->ends[0], &m), -EAGAIN);
}

static int send_huge(const struct pair *p, int number) {
    char *bytes = malloc(HUGE_SIZE);
    memset(bytes, number, HUGE_SIZE);
    int r = mproc_channel_send(p->channel, 1, p->ends[1], bytes, HUGE_SIZE);
    free(bytes);
    return r;
}

static void check_huge(const char *bytes, int number) {
    CHECK_EQ(bytes[0], number);
    CHECK_MEM(bytes, bytes + 1, HUGE_SIZE - 1);
}

/* The next message. True: it came in a block. */
static bool receive_huge(const struct pair *p, int number) {
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_channel_recv_message(p->channel, 0, p->ends[0], &m);
    CHECK_EQ(m.size, HUGE_SIZE);
    if (r == 0) {
        check_huge(m.data, number);
        mproc_message_drop(&m);
        return true;
    }
    CHECK_EQ(r, MPROC_CHANNEL_BODY);
    char *bytes = malloc(HUGE_SIZE);
    CHECK_OK(mproc_pipe_recv_body(p->ends[0], bytes, HUGE_SIZE));
    check_huge(bytes, number);
    free(bytes);
    return false;
}

static void expect_word(const struct pair *p) {
    char room[8];
    size_t n;
    int r = mproc_channel_recv(p->channel, 0, p->ends[0], room, sizeof room, &n);
    CHECK_EQ(n, 4);
    if (r == MPROC_CHANNEL_BODY) {
        r = mproc_pipe_recv_body(p->ends[0], room, n);
    }
    CHECK_OK(r);
}

static void send_word(const struct pair *p) {
    CHECK_OK(mproc_channel_send(p->channel, 1, p->ends[1], "word", 4));
}

/* ---------------------------------------------------------------- offers, taken */

static void send_and_check(void *arg) {
    const struct pair *p = arg;
    CHECK_EQ(send_huge(p, p->number), p->result);
}

/* A child offers, or is about to, and stays. */
static pid_t offer_by(struct pair *p, void (*send)(void *)) {
    CHECK_EQ(mproc_channel_poll(p->channel, 0, p->ends[0], 0), 0); /* leaves the ring */
    invite(p);
    pid_t pid = child_fork(send, p);
    while (mproc__os_readable(p->ends[0]) != MARKER ||
           mproc_channel_poll(p->channel, 0, p->ends[0], 0) != 1) {
        usleep(200);
    }
    check(p);
    return pid;
}

static pid_t offer_one(struct pair *p) {
    return offer_by(p, send_and_check);
}

TEST(offer_is_received_in_its_block) {
    struct pair p = make(1);
    uint64_t before = blocks();
    pid_t pid = offer_one(&p);
    CHECK(receive_huge(&p, 1));
    child_join(pid);
    CHECK_LE(blocks(), before + 1); /* the ring */
    drop(&p);
}

TEST(offer_is_copied_into_room) {
    struct pair p = make(1);
    char small[8], *room = malloc(HUGE_SIZE);
    size_t n = 0;
    pid_t pid = offer_one(&p);
    CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], small, sizeof small, &n),
             MPROC_CHANNEL_LARGER);
    CHECK_EQ(n, HUGE_SIZE);
    CHECK_OK(mproc_channel_recv(p.channel, 0, p.ends[0], room, HUGE_SIZE, &n));
    check_huge(room, 1);
    child_join(pid);
    free(room);
    drop(&p);
}

#define STREAM 40

static void stream_huge(void *arg) {
    struct pair *p = arg;
    close(p->ends[0]);
    for (int i = 0; i < STREAM; i++) {
        if (i % 5 == 0) {
            send_word(p);
        }
        CHECK_OK(send_huge(p, i));
    }
}

/* Whichever way they come, which is a matter of timing, they are in order, and the end is behind
 * them. */
TEST(offer_streams) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        invite(&p);
        pid_t pid = child_fork(stream_huge, &p);
        close(p.ends[1]);
        p.ends[1] = -1;
        for (int i = 0; i < STREAM; i++) {
            if (i % 5 == 0) {
                expect_word(&p);
            }
            receive_huge(&p, i);
        }
        CHECK_EQ(mproc_channel_recv_message(p.channel, 0, p.ends[0], &m), MPROC_EEOF);
        child_join(pid);
        drop(&p);
    }
}

/* Nobody would take it, so it would never be sent: what a pipe takes goes as bytes. */
TEST(offer_is_for_what_a_pipe_does_not_take) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        size_t size = 60000, n;
        char *bytes = calloc(1, size);
        invite(&p);
        CHECK_OK(mproc_channel_send(p.channel, 1, p.ends[1], bytes, size));
        CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], bytes, size, &n), MPROC_CHANNEL_BODY);
        CHECK_EQ(n, size);
        CHECK_OK(mproc_pipe_recv_body(p.ends[0], bytes, size));
        free(bytes);
        drop(&p);
    }
}

TEST(offer_says_from_which_size_on) {
    struct pair p = make(1);
    CHECK_EQ(mproc_channel_offers(p.channel, 1, p.ends[1]), SIZE_MAX);
    invite(&p);
    size_t least = mproc_channel_offers(p.channel, 1, p.ends[1]);
    CHECK_GE(least, 65536);
    CHECK_LE(least, HUGE_SIZE);
    CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
    CHECK_EQ(mproc_channel_offers(p.channel, 1, p.ends[1]), SIZE_MAX);
    drop(&p);
}

TEST(offer_waits_for_another) {
    struct pair p = make(1);
    pid_t first = offer_one(&p);
    p.number = 2;
    pid_t second = child_fork(send_and_check, &p);
    CHECK(receive_huge(&p, 1));
    (void)receive_huge(&p, 2);
    child_join(first);
    child_join(second);
    drop(&p);
}

/* What is sent behind it comes behind it. */
TEST(offer_keeps_its_place) {
    struct pair p = make(1);
    pid_t pid = offer_one(&p);
    send_word(&p);
    CHECK(receive_huge(&p, 1));
    expect_word(&p);
    child_join(pid);
    drop(&p);
}

/* ---------------------------------------------------------------- offers, not taken */

TEST(offer_becomes_bytes_when_a_descriptor_is_asked_for) {
    for (int side = 0; side < 2; side++) {
        struct pair p = make(1);
        char *bytes = malloc(HUGE_SIZE);
        size_t n;
        pid_t pid = offer_one(&p);
        CHECK_OK(mproc_channel_plain(p.channel, side, p.ends[side]));
        if (side == 1) { /* the marker is the receiver's to take away */
            CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
        }
        CHECK_OK(mproc_pipe_recv_size(p.ends[0], &n));
        CHECK_EQ(n, HUGE_SIZE);
        CHECK_OK(mproc_pipe_recv_body(p.ends[0], bytes, n));
        check_huge(bytes, 1);
        child_join(pid);
        free(bytes);
        drop(&p);
    }
}

static void send_interrupted(void *arg) {
    handle_signal(SIGALRM);
    send_and_check(arg);
}

TEST(offer_is_taken_back_after_a_signal) {
    struct pair p = make(1);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    int status;
    p.result = -EINTR;
    pid_t pid = offer_by(&p, send_interrupted);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        kill(pid, SIGALRM);
        usleep(1000);
    }
    CHECK_EQ(status, 0);
    CHECK_EQ(mproc_channel_try_recv_message(p.channel, 0, p.ends[0], &m), -EAGAIN);
    p.result = 0;
    pid = offer_one(&p);
    CHECK(receive_huge(&p, 1));
    child_join(pid);
    drop(&p);
}

static void receive_nothing(void *arg) {
    const struct pair *p = arg;
    close(p->ends[1]);
    invite(p);
    while (mproc__os_readable(p->ends[0]) != MARKER) {
        usleep(200);
    }
    kill(getpid(), SIGKILL);
}

TEST(offer_is_taken_back_from_the_dead) {
    struct pair p = make(1);
    uint64_t before = blocks();
    int status;
    pid_t pid = child_fork(receive_nothing, &p);
    close(p.ends[0]);
    p.ends[0] = -1;
    while (mproc_channel_offers(p.channel, 1, p.ends[1]) == SIZE_MAX) {
        usleep(200);
    }
    CHECK_EQ(send_huge(&p, 1), MPROC_EEOF);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_LE(blocks(), before + 1);
    drop(&p);
}

static struct pair offered_by_the_dead(void) {
    struct pair p = make(1);
    int status;
    pid_t pid = offer_one(&p);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    mproc_reap();
    return p;
}

TEST(offer_of_the_dead_can_be_received) {
    struct pair p = offered_by_the_dead();
    CHECK(receive_huge(&p, 1));
    drop(&p);
}

TEST(offer_of_the_dead_goes_with_its_channel) {
    uint64_t before = blocks();
    struct pair p = offered_by_the_dead();
    drop(&p);
    CHECK_LE(blocks(), before + 1); /* a size class may keep a chunk's record */
}

TEST(offer_of_the_dead_is_no_bytes) {
    struct pair p = offered_by_the_dead();
    CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
    CHECK_EQ(mproc_pipe_poll(p.ends[0], 0), 0);
    send_word(&p);
    expect_word(&p);
    drop(&p);
}

/* It stands when the receiver has left the ring, and is thrown away before there is a new one. */
TEST(offer_of_the_dead_makes_way) {
    struct pair p = offered_by_the_dead();
    static char bytes[10000];
    size_t n;
    CHECK_OK(mproc_channel_send(p.channel, 1, p.ends[1], bytes, sizeof bytes));
    CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], bytes, sizeof bytes, &n),
             MPROC_CHANNEL_BODY);
    CHECK_OK(mproc_pipe_recv_body(p.ends[0], bytes, n));
    p.number = 2;
    pid_t pid = offer_one(&p);
    CHECK(receive_huge(&p, 2));
    child_join(pid);
    drop(&p);
}

/* ---------------------------------------------------------------- buffers */

static int send_buffer(const struct pair *p, mproc_buffer *const *buffers, size_t n) {
    struct iovec piece = {(void *)(uintptr_t) "text", 4};
    return mproc_channel_send_with(p->channel, 1, p->ends[1], &piece, 1, buffers, n);
}

static void send_with_buffer(void *arg) {
    const struct pair *p = arg;
    mproc_buffer *buffer = made_buffer(100);
    memset(mproc_buffer_data(buffer), 'b', 100);
    CHECK_EQ(send_buffer(p, &buffer, 1), p->result);
    CHECK_EQ(mproc_holds(buffer), 1);
    CHECK_OK(mproc_drop(buffer));
}

TEST(offer_takes_buffers_along) {
    struct pair p = make(1);
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    pid_t pid = offer_by(&p, send_with_buffer);
    CHECK_OK(mproc_channel_recv_message(p.channel, 0, p.ends[0], &m));
    child_join(pid);
    CHECK_EQ(m.size, 4);
    CHECK_MEM(m.data, "text", 4);
    mproc_buffer *buffer = mproc_message_buffer(&m, 0);
    CHECK_EQ(mproc_buffer_size(buffer), 100);
    CHECK_EQ(((char *)mproc_buffer_data(buffer))[99], 'b');
    mproc_message_drop(&m);
    drop(&p);
}

TEST(offer_with_buffers_is_no_bytes) {
    struct pair p = make(1);
    mproc_buffer *buffer = made_buffer(100);
    CHECK_EQ(send_buffer(&p, &buffer, 1), -EAGAIN);
    p.result = -EAGAIN;
    pid_t pid = offer_by(&p, send_with_buffer);
    CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
    child_join(pid);
    CHECK_EQ(mproc_pipe_poll(p.ends[0], 0), 0);
    CHECK_EQ(send_buffer(&p, &buffer, 1), -EAGAIN);
    CHECK_OK(mproc_drop(buffer));
    drop(&p);
}

/* ---------------------------------------------------------------- memory, forks */

static void send_in_the_end(void *arg) {
    const struct pair *p = arg;
    CHECK_OK(send_huge(p, 1));
}

TEST_BARE(offer_that_finds_no_memory_goes_as_bytes) {
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "1048576", 1));
    CHECK_OK(mproc__family_join());
    struct pair p = make(1);
    invite(&p);
    pid_t pid = child_fork(send_in_the_end, &p);
    CHECK(!receive_huge(&p, 1));
    child_join(pid);
    drop(&p);
}

static uint32_t forked_enough;

static void *fork_often(void *unused) {
    while (!mproc__load32(&forked_enough)) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        (void)waitpid(pid, &status, 0);
    }
    return unused;
}

static void stream_beside_forks(void *arg) {
    struct pair *p = arg;
    pthread_t thread;
    close(p->ends[0]);
    CHECK_OK(pthread_create(&thread, NULL, fork_often, NULL));
    for (int i = 0; i < STREAM; i++) {
        CHECK_OK(send_huge(p, i));
    }
    mproc__store32(&forked_enough, 1);
    CHECK_OK(pthread_join(thread, NULL));
}

/* A child that is forked while its parent makes a message holds the message's block, too. */
TEST(offer_is_made_beside_forks) {
    struct pair p = make(1);
    invite(&p);
    pid_t pid = child_fork(stream_beside_forks, &p);
    for (int i = 0; i < STREAM; i++) {
        (void)receive_huge(&p, i);
    }
    child_join(pid);
    drop(&p);
}
