/*
 * test_channel_deaths.c - channels whose member died between two instructions
 *
 * SPDX-License-Identifier: MIT
 *
 * Each test makes by hand what such a death leaves, and goes straight to the call that a program
 * makes, with nobody else there who would mend it first.
 */
#define _GNU_SOURCE
#include "channel/ring.h"
#include "channel/sides.h"
#include "channels.h"
#include "children.h"
#include "core/mutex.h"
#include "system/os.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

struct pair {
    mproc_channel *channel;
    int ends[2];
};

static struct pair make(int duplex) {
    struct pair p;
    CHECK_OK(mproc_channel_new(&p.channel, p.ends, duplex));
    return p;
}

static void drop(struct pair *p) {
    drop_channel(p->channel, p->ends);
}

/* On which side 1 sends. */
static struct mproc__way *way_of(const struct pair *p) {
    return &p->channel->ways[1];
}

static int try_recv(const struct pair *p) {
    char room[8];
    size_t n;
    return mproc_channel_try_recv(p->channel, 0, p->ends[0], room, sizeof room, &n);
}

static int recv_one(const struct pair *p) {
    char room[8];
    size_t n;
    return mproc_channel_recv(p->channel, 0, p->ends[0], room, sizeof room, &n);
}

static int send_word(const struct pair *p) {
    return mproc_channel_send(p->channel, 1, p->ends[1], "word", 4);
}

static void invite(const struct pair *p) {
    CHECK_EQ(try_recv(p), -EAGAIN);
}

/* Side 1 has sent a message into the ring. */
static struct pair filled(int duplex) {
    struct pair p = make(duplex);
    invite(&p);
    CHECK_OK(send_word(&p));
    CHECK(mproc__way_state(way_of(&p)) & MPROC__IN_RING);
    return p;
}

/* Side 1 has closed its end and has said so. */
static void leave(struct pair *p) {
    mproc_channel_leave(p->channel, 1);
    close(p->ends[1]);
    p->ends[1] = -1;
}

/* ---------------------------------------------------------------- deaths */

/* What the dead one had: a lock or both, and the state that it set under them; 0: none. */
struct death {
    struct mproc__way *way;
    bool receivers, senders;
    uint32_t state;
};

static void acquire(struct mproc__mutex *mutex) {
    CHECK(mproc__mutex_try(mutex, mproc__mutex_mine()));
}

static void die(void *arg) {
    const struct death *d = arg;
    if (d->receivers) {
        acquire(&d->way->receivers);
    }
    if (d->senders) {
        acquire(&d->way->senders);
    }
    if (d->state != 0) {
        mproc__way_set_state(d->way, d->state);
    }
    kill(getpid(), SIGKILL);
}

static void child_dies(void (*run)(void *), void *arg) {
    int status;
    pid_t pid = child_fork(run, arg);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
}

static void happen(struct death death) {
    child_dies(die, &death);
}

/* ---------------------------------------------------------------- trying */

TEST(channel_try_recv_after_a_receiver_died) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = filled(duplex);
        happen((struct death){way_of(&p), true, false, 0});
        CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 0), 1);
        CHECK_EQ(try_recv(&p), 0);
        drop(&p);
    }
}

/* It had not written the ring's bytes yet. */
TEST(channel_try_recv_after_a_death_in_passing) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = filled(duplex);
        struct mproc__way *way = way_of(&p);
        happen((struct death){way, true, true, mproc__way_state(way) | MPROC__PASSING});
        CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 0), 1);
        CHECK_EQ(try_recv(&p), 0);
        drop(&p);
    }
}

/* It had sent no marker yet. */
TEST(channel_try_recv_after_a_death_in_marking) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        invite(&p);
        happen((struct death){way_of(&p), false, true, MPROC__MARKING});
        leave(&p);
        CHECK_EQ(try_recv(&p), MPROC_EEOF);
        drop(&p);
    }
}

static void send_and_die(void *arg) {
    CHECK_OK(send_word(arg));
    kill(getpid(), SIGKILL);
}

/* The ring is empty, and its marker hides the end. */
TEST(channel_try_recv_tells_of_the_end_of_the_dead) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        invite(&p);
        child_dies(send_and_die, &p);
        close(p.ends[1]);
        p.ends[1] = -1;
        CHECK_EQ(try_recv(&p), 0);
        CHECK_EQ(try_recv(&p), MPROC_EEOF);
        drop(&p);
    }
}

TEST(channel_try_recv_tells_of_an_end_that_was_closed) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = filled(duplex);
        leave(&p);
        CHECK_EQ(try_recv(&p), 0);
        CHECK_EQ(try_recv(&p), MPROC_EEOF);
        drop(&p);
    }
}

/* ---------------------------------------------------------------- polling */

/* One receiver has seen the end while another one invited, and a message came into the ring. */
TEST(channel_poll_of_an_ended_pipe_leaves_the_ring) {
    struct pair p = filled(0);
    close(p.ends[1]);
    p.ends[1] = -1;
    mproc__poke32(&way_of(&p)->ended, 1);
    CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 0), 1);
    CHECK_OK(recv_one(&p));
    CHECK_EQ(mproc_channel_poll(p.channel, 0, p.ends[0], 0), 1);
    CHECK_EQ(recv_one(&p), MPROC_EEOF);
    drop(&p);
}

/* ---------------------------------------------------------------- mending */

/* The member that finds the death cannot ask the kernel, since its descriptor is closed: the next
 * one has to. */
TEST(channel_is_mended_by_the_next_when_one_cannot) {
    for (int duplex = 0; duplex < 2; duplex++) {
        struct pair p = make(duplex);
        invite(&p);
        happen((struct death){way_of(&p), false, true, MPROC__MARKING});
        CHECK_EQ(mproc_channel_poll(p.channel, 0, 999, 0), -EBADF);
        leave(&p);
        CHECK_EQ(recv_one(&p), MPROC_EEOF);
        drop(&p);
    }
}

/* ---------------------------------------------------------------- passing a part */

/* A pipe that has no memory for all that is in the ring takes a part, and the writer is killed
 * before it has written the rest. */
struct part {
    const struct pair *pair;
    size_t size;
};

static void die_behind_a_part(void *arg) {
    const struct part *part = arg;
    struct mproc__way *way = way_of(part->pair);
    acquire(&way->receivers);
    acquire(&way->senders);
    mproc__way_set_state(way, mproc__way_state(way) | MPROC__PASSING);
    CHECK_EQ(write(part->pair->ends[1], mproc__ring_at(way, way->head), part->size),
             (ssize_t)part->size);
    kill(getpid(), SIGKILL);
}

/* Three messages are in the ring of a pipe, which takes the first `size` bytes. */
static struct pair passed_in_part(size_t size) {
    struct pair p = filled(0);
    CHECK_OK(send_word(&p));
    CHECK_OK(send_word(&p));
    struct part part = {&p, size};
    child_dies(die_behind_a_part, &part);
    return p;
}

#define ALL ((size_t)24)

static void expect_word(const struct pair *p, int r, const char *room) {
    char body[4];
    if (r == MPROC_CHANNEL_BODY) {
        CHECK_OK(mproc_pipe_recv_body(p->ends[0], body, sizeof body));
        room = body;
        r = 0;
    }
    CHECK_OK(r);
    CHECK(memcmp(room, "word", 4) == 0);
}

static void expect_words(const struct pair *p, int n) {
    for (int i = 0; i < n; i++) {
        char room[8];
        size_t size;
        int r = mproc_channel_recv(p->channel, 0, p->ends[0], room, sizeof room, &size);
        CHECK_EQ(size, 4);
        expect_word(p, r, room);
    }
}

/* In the middle of a header, of a message, between two messages, and the last byte. */
static const size_t parts[] = {1, 6, 8, 11, ALL - 1, ALL};
#define PARTS (sizeof parts / sizeof parts[0])

TEST(channel_passes_the_rest_of_a_ring_to_one_that_receives) {
    for (size_t i = 0; i < PARTS; i++) {
        struct pair p = passed_in_part(parts[i]);
        expect_words(&p, 3);
        drop(&p);
    }
}

TEST(channel_passes_the_rest_of_a_ring_to_one_that_tries) {
    for (size_t i = 0; i < PARTS; i++) {
        struct pair p = passed_in_part(parts[i]);
        char room[8];
        size_t size;
        int r = mproc_channel_try_recv(p.channel, 0, p.ends[0], room, sizeof room, &size);
        expect_word(&p, r, room);
        expect_words(&p, 2);
        drop(&p);
    }
}

/* The rest comes before what the next one sends. */
TEST(channel_passes_the_rest_of_a_ring_for_one_that_sends) {
    for (size_t i = 0; i < PARTS; i++) {
        struct pair p = passed_in_part(parts[i]);
        CHECK_OK(send_word(&p));
        expect_words(&p, 4);
        drop(&p);
    }
}

TEST(channel_passes_the_rest_of_a_ring_that_goes_round) {
    struct pair p = filled(0);
    char room[8];
    size_t size;
    CHECK_EQ(recv_one(&p), 0);
    while (way_of(&p)->tail % MPROC__RING != MPROC__RING - 8) {
        CHECK_OK(send_word(&p));
        CHECK_EQ(mproc_channel_recv(p.channel, 0, p.ends[0], room, sizeof room, &size), 0);
    }
    CHECK_OK(send_word(&p));
    CHECK_OK(send_word(&p));
    struct part part = {&p, 6};
    child_dies(die_behind_a_part, &part);
    expect_words(&p, 2);
    drop(&p);
}

/* ---------------------------------------------------------------- hints */

/* More than the kernel takes: it is blocked. */
static void send_much(void *arg) {
    const struct pair *p = arg;
    static char much[1 << 22];
    CHECK_OK(mproc_channel_send(p->channel, 0, p->ends[0], much, sizeof much));
}

/* A side that sends bytes bids nobody to send to it. One that died doing so must not keep the ring
 * from the other members of its side for ever. */
TEST(channel_ring_comes_back_after_a_death_in_sending_bytes) {
    struct pair p = make(1);
    pid_t pid = child_fork(send_much, &p);
    while (mproc__os_readable(p.ends[1]) == 0) {
        sched_yield();
    }
    child_kill(pid);
    invite(&p);
    CHECK_OK(send_word(&p));
    CHECK(mproc__way_state(way_of(&p)) & MPROC__IN_RING);
    CHECK_OK(recv_one(&p));
    drop(&p);
}
