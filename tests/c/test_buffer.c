/*
 * test_buffer.c - buffers: their bytes, their holders, and messages that take them along
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/object.h"
#include "made.h"
#include "members.h"

#include <sys/uio.h>

#define LARGE ((size_t)1 << 20)

static void check(mproc_buffer *buffer) {
    char why[200] = "";
    if (mproc_buffer_check(buffer, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

static mproc_buffer *make(size_t size, char content) {
    mproc_buffer *buffer = made_buffer(size);
    CHECK(buffer != NULL);
    memset(mproc_buffer_data(buffer), content, size);
    return buffer;
}

static void put_with(mproc_queue *queue, const char *text, mproc_buffer *const *buffers, size_t n) {
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    CHECK_OK(mproc_queue_put_with(queue, &piece, 1, buffers, n, 0));
}

static mproc_message get(mproc_queue *queue) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_queue_get(queue, &m, MPROC_SEC));
    return m;
}

static void check_queue(mproc_queue *queue) {
    char why[200] = "";
    if (mproc_queue_check(queue, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

TEST(buffer_of_every_size) {
    static const size_t sizes[] = {0, 1, 100, 32640, 32641, 65408, 65409, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mproc_buffer *buffer = make(sizes[i], 'b');
        CHECK_EQ(mproc_buffer_size(buffer), sizes[i]);
        CHECK_EQ((uintptr_t)mproc_buffer_data(buffer) % (sizes[i] < 65536 ? 16 : 128), 0);
        CHECK(mproc_in_arena(mproc_buffer_data(buffer)));
        check(buffer);
        mproc_drop(buffer);
    }
    CHECK_EQ(test_arena_used(), 0);
}

TEST(buffer_that_is_too_large) {
    mproc_buffer *buffer = NULL;
    CHECK_EQ(mproc_buffer_new(&buffer, SIZE_MAX), MPROC_ETOOBIG);
    CHECK_EQ(mproc_buffer_new(&buffer, (size_t)1 << 60), MPROC_ETOOBIG);
    CHECK(buffer == NULL);
}

/* Nobody waits for the pages that it used to be asked for again. */
TEST(buffer_large_goes_back_to_the_system) {
    mproc_arena_stats before, after;
    mproc_arena_stat(&before);
    size_t size = before.limit / 16;
    mproc_buffer *buffer = made_buffer(size);
    CHECK(buffer != NULL);
    memset(mproc_buffer_data(buffer), 1, 4096);
    mproc_drop(buffer);
    mproc_arena_stat(&after);
    CHECK_EQ(after.used, before.used);
    CHECK(after.warm < size);
}

TEST(buffer_goes_with_a_message) {
    mproc_queue *queue = made_queue(0);
    mproc_buffer *sent = make(LARGE, 's');
    put_with(queue, "here it is", &sent, 1);
    check(sent);
    check_queue(queue);
    mproc_message m = get(queue);
    CHECK_EQ(m.size, 10);
    CHECK_MEM(m.data, "here it is", 10);
    CHECK(mproc_message_buffer(&m, 0) == sent);
    CHECK(mproc_message_buffer(&m, 1) == NULL);
    mproc_message_drop(&m);
    CHECK_EQ(mproc_holds(sent), 1);
    check(sent);
    mproc_drop(sent);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(buffer_outlives_its_sender_in_the_queue) {
    mproc_queue *queue = made_queue(0);
    mproc_buffer *two[2] = {make(LARGE, '0'), make(300, '1')};
    put_with(queue, "", two, 2);
    mproc_drop(two[0]);
    mproc_drop(two[1]);
    mproc_message m = get(queue);
    CHECK_EQ(m.size, 0);
    for (size_t i = 0; i < 2; i++) {
        mproc_buffer *buffer = mproc_message_buffer(&m, i);
        CHECK(buffer == two[i]);
        CHECK_EQ(mproc_holds(buffer), 0);
        CHECK_OK(mproc_hold(buffer));
        check(buffer);
        CHECK_EQ(((char *)mproc_buffer_data(buffer))[mproc_buffer_size(buffer) - 1], '0' + i);
    }
    mproc_message_drop(&m);
    check(two[0]);
    mproc_drop(two[0]);
    mproc_drop(two[1]);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(buffer_goes_with_a_queue_that_nobody_reads) {
    mproc_queue *queue = made_queue(0);
    mproc_buffer *buffer = make(LARGE, 'q');
    for (int i = 0; i < 20; i++) {
        mproc_buffer *thrice[3] = {buffer, buffer, buffer};
        put_with(queue, "not for you", thrice, 3);
    }
    mproc_drop(buffer);
    check(buffer);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(buffer_with_a_message_that_is_not_put) {
    mproc_queue *queue = made_queue(1);
    mproc_buffer *buffer = make(LARGE, 'n');
    CHECK_OK(mproc_queue_put(queue, "full", 4, 0));
    CHECK_EQ(mproc_queue_put_with(queue, NULL, 0, &buffer, 1, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_put_with(queue, NULL, -1, &buffer, 1, 0), -EINVAL);
    mproc_queue_close(queue);
    CHECK_EQ(mproc_queue_put_with(queue, NULL, 0, &buffer, 1, 0), -ETIMEDOUT);
    mproc_message m = get(queue);
    mproc_message_drop(&m);
    CHECK_EQ(mproc_queue_put_with(queue, NULL, 0, &buffer, 1, 0), MPROC_ECLOSED);
    check(buffer);
    mproc_drop(buffer);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0);
}

static void put_with_another_kind(void *lock) {
    mproc_buffer *none = lock;
    int r = mproc_queue_put_with(made_queue(0), NULL, 0, &none, 1, 0);
    CHECK_EQ(r, MPROC_EOTHER);
}

TEST(buffer_that_is_none_does_not_go_with_a_message) {
    mproc_lock *lock = made_lock(0);
#ifdef NDEBUG
    put_with_another_kind(lock);
#else
    child_aborts(put_with_another_kind, lock);
    mproc_reap();
#endif
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- other members */

struct scene {
    mproc_queue *queue;
    mproc_buffer *buffer;
    uint64_t ready;
};

static struct scene *make_scene(void) {
    struct scene *s = mproc_calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->queue = made_queue(0);
    s->buffer = make(LARGE, 'p');
    return s;
}

static void unmake_scene(struct scene *s) {
    mproc_drop(s->queue);
    mproc_free(s);
    CHECK_EQ(test_arena_used(), 0);
}

static void take_and_write(void *arg) {
    struct scene *s = arg;
    mproc_message m = get(s->queue);
    memset(mproc_buffer_data(mproc_message_buffer(&m, 0)), 'c', LARGE);
    mproc_message_drop(&m);
}

TEST(buffer_is_shared_by_all_who_have_it) {
    struct scene *s = make_scene();
    pid_t pid = child_fork(take_and_write, s);
    put_with(s->queue, "write", &s->buffer, 1);
    child_join(pid);
    CHECK_EQ(*((char *)mproc_buffer_data(s->buffer) + LARGE - 1), 'c');
    mproc_drop(s->buffer);
    mproc_reap();
    unmake_scene(s);
}

static void take_and_keep(void *arg) {
    struct scene *s = arg;
    mproc_message m = get(s->queue);
    CHECK_OK(mproc_hold(mproc_message_buffer(&m, 0)));
    mproc__store64(&s->ready, 1);
    pause();
}

TEST(buffer_of_a_holder_that_is_killed) {
    struct scene *s = make_scene();
    pid_t pid = child_fork(take_and_keep, s);
    put_with(s->queue, "keep", &s->buffer, 1);
    wait_for_word(&s->ready, 1);
    check(s->buffer);
    child_kill(pid);
    mproc_drop(s->buffer);
    mproc_reap();
    check_family();
    unmake_scene(s);
}

/* ---------------------------------------------------------------- stress */

#define ROUNDS 3000
#define PEERS 4

/* Each takes a message, looks at its buffers, and sends them on with another one. */
static void pass_on(void *arg) {
    struct scene *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        mproc_message m = get(s->queue);
        mproc_buffer *old = mproc_message_buffer(&m, 0), *fresh = make(64, 'f');
        CHECK_OK(mproc_hold(old));
        mproc_message_drop(&m);
        CHECK_EQ(*(char *)mproc_buffer_data(old), 'f');
        mproc_buffer *both[2] = {i % 3 == 0 ? fresh : old, fresh};
        put_with(s->queue, "next", both, 2);
        mproc_drop(old);
        mproc_drop(fresh);
    }
}

TEST(buffer_stress) {
    struct scene *s = make_scene();
    struct member_thread threads[PEERS];
    mproc_drop(s->buffer);
    for (int i = 0; i < PEERS; i++) {
        mproc_buffer *first = make(64, 'f');
        put_with(s->queue, "first", &first, 1);
        mproc_drop(first);
        threads[i] = (struct member_thread){.run = pass_on, .arg = s};
    }
    member_threads_run(threads, PEERS);
    check_queue(s->queue);
    check_family();
    unmake_scene(s);
}

/* ---------------------------------------------------------------- what check finds */

static void check_finds(mproc_buffer *buffer, uint64_t *word, uint64_t wrong, const char *name) {
    char why[200] = "";
    uint64_t right = *word;
    *word = wrong;
    CHECK_EQ(mproc_buffer_check(buffer, why, sizeof why), MPROC_ECORRUPT);
    CHECK_MEM(why, name, strlen(name));
    *word = right;
    check(buffer);
}

TEST(buffer_check_finds_what_is_broken) {
    mproc_buffer *buffer = make(1000, 'x'), *other = make(10, 'y');
    struct mproc__object *o = (struct mproc__object *)buffer;
    check_finds(buffer, (uint64_t *)(void *)(o + 1), 1 << 20, "B1");
    check_finds(buffer, &o->first.object, (uint64_t)(uintptr_t)other, "O5");
    check_finds(buffer, &o->first.count, 0, "O5");
    mproc_drop(buffer);
    mproc_drop(other);
}

TEST(buffer_check_of_a_message_finds_what_is_broken) {
    mproc_queue *queue = made_queue(0);
    mproc_buffer *buffer = make(1000, 'x');
    put_with(queue, "m", &buffer, 1);
    struct mproc__hold *record =
        (struct mproc__hold *)(uintptr_t)((struct mproc__object *)buffer)->holds;
    char why[200] = "";
    record->token = 5;
    CHECK_EQ(mproc_queue_check(queue, why, sizeof why), MPROC_ECORRUPT);
    CHECK_MEM(why, "R2", 2);
    record->token = MPROC__TOKEN_OF_MESSAGES;
    uint64_t *count = (uint64_t *)(void *)record - 2;
    *count = 1000;
    CHECK_EQ(mproc_queue_check(queue, why, sizeof why), MPROC_ECORRUPT);
    CHECK_MEM(why, "R1", 2);
    *count = 1;
    check_queue(queue);
    mproc_drop(buffer);
    mproc_drop(queue);
}
