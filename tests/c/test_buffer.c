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
    static const size_t sizes[] = {0, 1, 100, 32640, 32641, 32767, 32768, 61440, 61441, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mproc_buffer *buffer = make(sizes[i], 'b');
        CHECK_EQ(mproc_buffer_size(buffer), sizes[i]);
        CHECK_EQ((uintptr_t)mproc_buffer_data(buffer) % (sizes[i] < 32768 ? 16 : 4096), 0);
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

TEST(buffer_in_a_message_is_held_elsewhere) {
    mproc_queue *queue = made_queue(0);
    mproc_buffer *buffer = make(300, '0');
    CHECK(!mproc_held_elsewhere(buffer));
    put_with(queue, "", &buffer, 1);
    CHECK(mproc_held_elsewhere(buffer));
    mproc_message m = get(queue);
    mproc_message_drop(&m);
    CHECK(!mproc_held_elsewhere(buffer));
    mproc_drop(buffer);
    mproc_drop(queue);
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

/* ---------------------------------------------------------------- views */

static void write_view(void *view) {
    CHECK_EQ(*(char *)mproc_view_data(view), 'v');
    memset(mproc_view_data(view), 'c', mproc_view_size(view));
}

static void write_view_and_drop(void *view) {
    mproc_view *mine = view;
    write_view(mine);
    mproc_view_drop(mine);
    check_family();
}

static mproc_view *make_view(size_t size) {
    mproc_buffer *buffer = make(size, 'v');
    mproc_view *view = NULL;
    CHECK_OK(mproc_view_new(&view, buffer));
    CHECK_EQ(mproc_holds(buffer), 2);
    mproc_drop(buffer);
    CHECK_EQ(mproc_view_size(view), size);
    CHECK(mproc_view_data(view) == mproc_buffer_data(buffer));
    return view;
}

static void check_contents(const mproc_view *view, char content) {
    const char *bytes = mproc_view_data(view);
    for (size_t i = 0; i < mproc_view_size(view); i += 1000) {
        CHECK_EQ(bytes[i], content);
    }
}

TEST(buffer_view_is_not_shared_with_forked_children) {
    mproc_view *view = make_view(LARGE);
    for (int i = 0; i < 3; i++) {
        child_join(child_fork(i == 1 ? write_view : write_view_and_drop, view));
        mproc_reap();
        check_contents(view, 'v');
    }
    mproc_view_drop(view);
    CHECK_EQ(test_arena_used(), 0);
}

static void look_at_view(void *arg) {
    struct scene *s = arg;
    const char *bytes = mproc_buffer_data(s->buffer);
    wait_for_word(&s->ready, 1);
    CHECK_EQ(bytes[0], 'v');
    CHECK_EQ(bytes[LARGE - 1], 'v');
}

TEST(buffer_view_keeps_what_the_parent_writes_from_children) {
    struct scene *s = make_scene();
    mproc_drop(s->buffer);
    s->buffer = make(LARGE, 'v');
    mproc_view *view = NULL;
    CHECK_OK(mproc_view_new(&view, s->buffer));
    pid_t pid = child_fork(look_at_view, s);
    memset(mproc_view_data(view), 'p', LARGE);
    mproc__store64(&s->ready, 1);
    child_join(pid);
    mproc_reap();
    check_contents(view, 'p');
    mproc_view_drop(view);
    mproc_drop(s->buffer);
    unmake_scene(s);
}

static void write_buffer(void *buffer) {
    memset(mproc_buffer_data(buffer), 'c', mproc_buffer_size(buffer));
}

/* Who has the memory next shares it with everybody. */
TEST(buffer_view_gives_back_memory_that_is_shared) {
    mproc_view *view = make_view(LARGE);
    const char *data = mproc_view_data(view), *other = NULL;
    child_join(child_fork(write_view, view));
    mproc_reap();
    mproc_view_drop(view);
    mproc_buffer *buffers[16];
    for (int i = 0; i < 16; i++) {
        buffers[i] = make(LARGE, 'n');
        child_join(child_fork(write_buffer, buffers[i]));
        const char *bytes = mproc_buffer_data(buffers[i]);
        CHECK_EQ(bytes[0], 'c');
        CHECK_EQ(bytes[LARGE - 1], 'c');
        other = bytes <= data && data < bytes + LARGE ? bytes : other;
    }
    CHECK(other != NULL); /* one of them had that memory */
    for (int i = 0; i < 16; i++) {
        mproc_drop(buffers[i]);
    }
    mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
}

TEST(buffer_views_are_many) {
    mproc_view *some[100];
    for (int i = 0; i < 100; i++) {
        some[i] = make_view(i % 10 == 0 ? 100 : 70000);
    }
    for (int i = 0; i < 100; i += 3) {
        mproc_view_drop(some[i]);
    }
    child_join(child_fork(write_view, some[1]));
    check_contents(some[1], 'v');
    for (int i = 99; i >= 0; i--) {
        if (i % 3 != 0) {
            mproc_view_drop(some[i]);
        }
    }
    mproc_view_drop(NULL);
    mproc_reap();
    check_family();
    CHECK_EQ(test_arena_used(), 0);
}

static void fork_view_without_descriptor(void *unused) {
    (void)unused;
    mproc_view *view = make_view(LARGE), *parted = make_view(LARGE);
    mproc_buffer *buffer = NULL;
    child_join(child_fork(write_view, parted));
    for (int fd = 3; fd < 1000; fd++) {
        close(fd);
    }
    child_join(child_fork(write_view, view));
    check_contents(parted, 'v'); /* still its own */
    mproc_view_drop(parted);     /* which stays held: nobody else is to have the block */
    CHECK_OK(mproc_buffer_new(&buffer, LARGE));
    CHECK_OK(mproc_drop(buffer));
    mproc_view_drop(view);
}

TEST(buffer_view_without_the_arenas_descriptor) {
    child_join(child_fork(fork_view_without_descriptor, NULL));
    mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
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
    check_finds(buffer, (uint64_t *)(void *)(o + 1) + 1, 0, "B1");
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
