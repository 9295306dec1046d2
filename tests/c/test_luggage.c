/*
 * test_luggage.c - buffers that messages of a channel have sent ahead
 *
 * SPDX-License-Identifier: MIT
 */
#include "channels.h"
#include "children.h"
#include "made.h"
#include "members.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MANY 40

struct pair {
    mproc_channel *channel;
    int ends[2];
    uint64_t name;
};

static struct pair make(void) {
    struct pair p = {.name = 0};
    CHECK_OK(mproc_channel_new(&p.channel, p.ends, 1));
    return p;
}

static void drop(struct pair *p) {
    drop_channel(p->channel, p->ends);
}

/* A buffer of one byte is given, which nobody else holds any more. */
static uint64_t give(const struct pair *p, int number) {
    mproc_buffer *buffer = made_buffer(1);
    *(char *)mproc_buffer_data(buffer) = (char)number;
    uint64_t name = 0;
    CHECK_OK(mproc_channel_give(p->channel, 1, &buffer, 1, &name));
    mproc_drop(buffer);
    return name;
}

static void fetch(const struct pair *p, uint64_t name, int number) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_channel_fetch(p->channel, name, &m));
    mproc_buffer *buffer = mproc_message_buffer(&m, 0);
    CHECK_EQ(mproc_buffer_size(buffer), 1);
    CHECK_EQ(*(char *)mproc_buffer_data(buffer), number);
    CHECK_EQ((uintptr_t)mproc_message_buffer(&m, 1), 0);
    mproc_message_drop(&m);
}

static void fetch_none(const struct pair *p, uint64_t name) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_channel_fetch(p->channel, name, &m), -ENOENT);
}

TEST(what_is_given_can_be_fetched_once) {
    struct pair p = make();
    uint64_t before = blocks();
    CHECK_EQ(mproc_channel_given(p.channel), 0);
    uint64_t name = give(&p, 7);
    CHECK(mproc_channel_given(p.channel) != 0);
    check_channel(p.channel);
    fetch_none(&p, name + 1);
    fetch(&p, name, 7);
    fetch_none(&p, name);
    CHECK_EQ(mproc_channel_given(p.channel), 0);
    CHECK_EQ(blocks(), before);
    drop(&p);
}

TEST(several_buffers_of_one_name) {
    struct pair p = make();
    mproc_buffer *buffers[3];
    for (size_t i = 0; i < 3; i++) {
        buffers[i] = made_buffer(i + 1);
    }
    CHECK_OK(mproc_channel_give(p.channel, 0, buffers, 3, &p.name));
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_channel_fetch(p.channel, p.name, &m));
    for (size_t i = 0; i < 3; i++) {
        CHECK(mproc_message_buffer(&m, i) == buffers[i]);
        mproc_drop(buffers[i]);
    }
    mproc_message_drop(&m);
    drop(&p);
}

/* From both ends of the list and from its middle. */
TEST(in_any_order) {
    struct pair p = make();
    uint64_t names[MANY];
    bool fetched[MANY] = {false};
    srand(1);
    for (int i = 0; i < MANY; i++) {
        names[i] = give(&p, i);
    }
    for (int left = MANY; left > 0; left--) {
        int i = rand() % MANY;
        while (fetched[i]) {
            i = (i + 1) % MANY;
        }
        fetch(&p, names[i], i);
        fetched[i] = true;
        check_channel(p.channel);
    }
    fetch(&p, give(&p, 5), 5);
    drop(&p);
}

TEST(what_nobody_fetches_goes_with_the_channel) {
    uint64_t before = blocks();
    struct pair p = make();
    for (int i = 0; i < MANY; i++) {
        (void)give(&p, i);
    }
    drop(&p);
    CHECK_EQ(blocks(), before);
}

TEST(nothing_is_given_to_a_plain_side) {
    struct pair p = make();
    mproc_buffer *buffer = made_buffer(1);
    uint64_t name = give(&p, 3);
    CHECK_OK(mproc_channel_plain(p.channel, 0, p.ends[0]));
    CHECK_EQ(mproc_channel_give(p.channel, 1, &buffer, 1, &p.name), -EAGAIN);
    fetch(&p, name, 3); /* what was given before is still there */
    mproc_drop(buffer);
    drop(&p);
}

static void give_and_end(void *arg) {
    struct pair *p = arg;
    uint64_t name = give(p, 9);
    CHECK_OK(mproc_channel_send(p->channel, 1, p->ends[1], &name, sizeof name));
}

TEST(its_giver_has_ended) {
    struct pair p = make();
    child_join(child_fork(give_and_end, &p));
    (void)mproc_reap();
    uint64_t name;
    size_t size;
    int r = mproc_channel_recv(p.channel, 0, p.ends[0], &name, sizeof name, &size);
    if (r == MPROC_CHANNEL_BODY) {
        r = mproc_pipe_recv_body(p.ends[0], &name, sizeof name);
    }
    CHECK_OK(r);
    fetch(&p, name, 9);
    drop(&p);
}

static void *give_and_fetch(void *arg) {
    const struct pair *p = arg;
    for (int i = 0; i < 2000; i++) {
        uint64_t one = give(p, i % 100), other = give(p, 100);
        fetch(p, one, i % 100);
        fetch(p, other, 100);
    }
    return NULL;
}

TEST(stress) {
    struct pair p = make();
    uint64_t before = blocks();
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, give_and_fetch, &p));
    }
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
    CHECK_EQ(mproc_channel_given(p.channel), 0);
    CHECK(blocks() <= before + 3); /* threads that end give their hands back */
    drop(&p);
}
