/*
 * crash_luggage.c - buffers that messages of a channel have sent ahead, killed after each
 * instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * Three were given. Another one is given, or one of the three is fetched, or all go with the
 * channel. Whatever has happened, the list is whole, each name is fetched once or never, and no
 * buffer is left when the channel has gone.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define GIVEN 3

/* In crash_room(). */
struct scene {
    mproc_channel *channel;
    int ends[2];
    uint64_t names[GIVEN];
    unsigned which;
    uint64_t blocks;
};

static struct scene *scene(void) {
    return crash_room();
}

static uint64_t blocks(void) {
    mproc_arena_stats stats;
    (void)mproc_reap();
    mproc_arena_stat(&stats);
    return stats.blocks;
}

static uint64_t give_one(const struct scene *s) {
    mproc_buffer *buffer = made_buffer(8);
    uint64_t name;
    if (buffer == NULL || mproc_channel_give(s->channel, 1, &buffer, 1, &name) != 0 ||
        mproc_drop(buffer) != 0) {
        abort();
    }
    return name;
}

static int fetch_one(const struct scene *s, uint64_t name) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    int r = mproc_channel_fetch(s->channel, name, &m);
    if (r == 0) {
        mproc_message_drop(&m);
    }
    return r;
}

static void *make(void) {
    struct scene *s = scene();
    s->blocks = blocks();
    crash_equal(mproc_channel_new(&s->channel, s->ends, 1), 0);
    for (int i = 0; i < GIVEN; i++) {
        s->names[i] = give_one(s);
    }
    return s;
}

static void *make_for(unsigned which) {
    struct scene *s = make();
    s->which = which;
    return s;
}

static void *make_first(void) {
    return make_for(0);
}
static void *make_middle(void) {
    return make_for(1);
}
static void *make_last(void) {
    return make_for(2);
}

static void give(void *arg) {
    (void)give_one(arg);
}

static void fetch(void *arg) {
    const struct scene *s = arg;
    if (fetch_one(s, s->names[s->which]) != 0) {
        abort();
    }
}

static void check(const struct scene *s) {
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
}

static void verify_give(void *arg) {
    const struct scene *s = arg;
    check(s);
    for (int i = 0; i < GIVEN; i++) {
        crash_equal(fetch_one(s, s->names[i]), 0);
    }
    crash_require(!crash_returned() || mproc_channel_given(s->channel) != 0);
    check(s);
}

/* The victim has it, or another may have it. */
static void verify_fetch(void *arg) {
    const struct scene *s = arg;
    check(s);
    int r = fetch_one(s, s->names[s->which]);
    crash_require(r == -ENOENT || (r == 0 && !crash_returned()));
    for (unsigned i = 0; i < GIVEN; i++) {
        if (i != s->which) {
            crash_equal(fetch_one(s, s->names[i]), 0);
        }
    }
    crash_equal(mproc_channel_given(s->channel), 0);
    check(s);
}

static void teardown(void *arg) {
    const struct scene *s = arg;
    close(s->ends[0]);
    close(s->ends[1]);
    crash_equal(mproc_drop(s->channel), 0);
    crash_equal(blocks(), s->blocks);
}

#define OP(title, setup_, operate_, verify_)                                                       \
    {                                                                                              \
        .name = "luggage " title, .setup = setup_, .operate = operate_, .verify = verify_,         \
        .teardown = teardown, .sample = 30                                                         \
    }

static const struct crash_op ops[] = {
    OP("give", make, give, verify_give),
    OP("fetch first", make_first, fetch, verify_fetch),
    OP("fetch middle", make_middle, fetch, verify_fetch),
    OP("fetch last", make_last, fetch, verify_fetch),
};

CRASH_MAIN(ops)
