/*
 * test_label.c - names of objects, and where they were made
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "children.h"
#include "core/label.h"
#include "made.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void expect_name(const void *object, const char *name) {
    char got[MPROC_NAME_MOST + 1];
    CHECK_EQ(mproc_name_of(object, got, sizeof got), (int)strlen(name));
    CHECK_STR(got, name);
}

static void check_labels(void) {
    char why[200] = "";
    CHECK_OK(mproc_arena_check(why, sizeof why));
}

TEST(label_is_given_changed_and_taken_away) {
    mproc_lock *lock = made_lock(0);
    size_t before = test_arena_used();
    expect_name(lock, "");
    CHECK_OK(mproc_name(lock, "orders"));
    expect_name(lock, "orders");
    CHECK_OK(mproc_name(lock, "a longer name, which needs another block of the arena"));
    expect_name(lock, "a longer name, which needs another block of the arena");
    check_labels();
    CHECK_OK(mproc_name(lock, NULL));
    expect_name(lock, "");
    CHECK_OK(mproc_name(lock, "again"));
    CHECK_OK(mproc_name(lock, ""));
    CHECK_EQ(test_arena_used(), before);
    mproc_drop(lock);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(label_goes_with_its_object) {
    mproc_lock *locks[100];
    char name[32];
    for (int i = 0; i < 100; i++) {
        locks[i] = made_lock(0);
        snprintf(name, sizeof name, "lock %d", i);
        CHECK_OK(mproc_name(locks[i], name));
    }
    check_labels();
    for (int i = 0; i < 100; i += 2) {
        mproc_drop(locks[i]);
    }
    check_labels();
    for (int i = 1; i < 100; i += 2) {
        snprintf(name, sizeof name, "lock %d", i);
        expect_name(locks[i], name);
        mproc_drop(locks[i]);
    }
    CHECK_EQ(test_arena_used(), 0);
}

static void *made_channel(void) {
    static int ends[2];
    mproc_channel *channel;
    CHECK_OK(mproc_channel_new(&channel, ends, 1));
    close(ends[0]);
    close(ends[1]);
    return channel;
}

TEST(label_is_for_objects_of_every_kind) {
    void *objects[] = {made_lock(1),       made_rlock(),       made_semaphore(1),
                       made_bsemaphore(1), made_event(),       made_condition(),
                       made_barrier(2),    made_dict(),        made_list(),
                       made_buffer(100),   made_buffer(70000), made_array(MPROC_INT32, 5),
                       made_queue(3),      made_taskq(2),      made_channel()};
    size_t n = sizeof objects / sizeof *objects;
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(mproc_name(objects[i], "it"));
        expect_name(objects[i], "it");
    }
    check_labels();
    for (size_t i = 0; i < n; i++) {
        mproc_drop(objects[i]);
    }
    CHECK_EQ(test_arena_used(), 0);
}

TEST(label_has_a_limit) {
    mproc_event *event = made_event();
    char name[MPROC_NAME_MOST + 2], got[4];
    memset(name, 'x', sizeof name);
    name[MPROC_NAME_MOST + 1] = 0;
    CHECK_EQ(mproc_name(event, name), -ENAMETOOLONG);
    expect_name(event, "");
    name[MPROC_NAME_MOST] = 0;
    CHECK_OK(mproc_name(event, name));
    expect_name(event, name);
    CHECK_EQ(mproc_name_of(event, got, sizeof got), MPROC_NAME_MOST);
    CHECK_STR(got, "xxx");
    CHECK_EQ(mproc_name_of(event, NULL, 0), MPROC_NAME_MOST);
    mproc_drop(event);
}

static void name_what_it_has_not(void *lock) {
    mproc_drop(lock);
    CHECK_EQ(mproc_name(lock, "mine"), -EINVAL);
}

TEST(label_is_refused_for_what_is_no_object_of_the_caller) {
    static uint64_t private[64];
    mproc_lock *lock = made_lock(0);
    void *block = mproc_calloc(1, 200);
    CHECK_EQ(mproc_name(private, "x"), -EINVAL);
    CHECK_EQ(mproc_name(block, "x"), -EINVAL);
    CHECK_EQ(mproc_name(NULL, "x"), -EINVAL);
    CHECK_EQ(mproc_name_of(block, NULL, 0), -EINVAL);
    CHECK_EQ(mproc_origin_of(block, NULL, 0), -EINVAL);
    child_join(child_fork(name_what_it_has_not, lock));
    (void)mproc_reap();
    expect_name(lock, "");
    mproc_free(block);
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- members */

static void name_it(void *lock) {
    CHECK_OK(mproc_name(lock, "from a child"));
}

TEST(label_of_one_member_is_seen_by_another) {
    mproc_lock *lock = made_lock(0);
    child_join(child_fork(name_it, lock));
    (void)mproc_reap();
    expect_name(lock, "from a child");
    mproc_drop(lock);
    CHECK_EQ(test_arena_used(), 0);
}

static void make_and_die(void *unused) {
    (void)unused;
    for (int i = 0; i < 10; i++) {
        CHECK_OK(mproc_name(made_lock(0), "nobody's"));
    }
}

TEST(label_of_a_dead_members_object_goes) {
    child_join(child_fork(make_and_die, NULL));
    (void)mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
    check_labels();
}

static void rename_for_ever(void *lock) {
    for (;;) {
        CHECK_OK(mproc_name(lock, "first"));
        CHECK_OK(mproc_name(lock, "the second, which is somewhat longer than that"));
    }
}

TEST(label_that_several_change_is_always_one_of_theirs) {
    mproc_lock *lock = made_lock(0);
    pid_t pids[2];
    char got[MPROC_NAME_MOST + 1];
    CHECK_OK(mproc_name(lock, "first"));
    for (int i = 0; i < 2; i++) {
        pids[i] = child_fork(rename_for_ever, lock);
    }
    for (int i = 0; i < 2000; i++) {
        (void)mproc_name_of(lock, got, sizeof got);
        CHECK(strcmp(got, "first") == 0 || strncmp(got, "the second", 10) == 0);
    }
    for (int i = 0; i < 2; i++) {
        child_kill(pids[i]);
    }
    (void)mproc_reap();
    check_labels();
    mproc_drop(lock);
    CHECK_EQ(test_arena_used(), 0);
}

/* ---------------------------------------------------------------- origins */

static int told_by_program(char *out, size_t size) {
    return snprintf(out, size, "shop.py:12") < 0;
}

static int not_known(char *out, size_t size) {
    (void)out, (void)size;
    return 1;
}

static void make_with_origin(void *unused) {
    char got[300];
    (void)unused;
    setenv("MPROC_ORIGIN", "1", 1);
    mproc_lock *early = made_lock(0); /* joins, if this is no member yet */
    mproc__labels_enter(mproc__labels);
    mproc_lock *lock = made_lock(0);
    mproc_drop(early);
    CHECK_GE(mproc_origin_of(lock, got, sizeof got), 1);
    CHECK(strstr(got, "test_label") != NULL && strstr(got, ")+0x") != NULL && got[0] == '/');
    mproc_origin_hook(told_by_program);
    mproc_event *event = made_event();
    CHECK_EQ(mproc_origin_of(event, got, sizeof got), 10);
    CHECK_STR(got, "shop.py:12");
    CHECK_OK(mproc_name(event, "both")); /* it has a name beside */
    CHECK_EQ(mproc_origin_of(event, NULL, 0), 10);
    expect_name(event, "both");
    mproc_origin_hook(not_known);
    mproc_queue *queue = made_queue(1);
    CHECK_GE(mproc_origin_of(queue, got, sizeof got), 1);
    CHECK(strstr(got, ")+0x") != NULL);
    mproc_origin_hook(NULL);
    mproc_drop(lock);
    mproc_drop(event);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0);
}

static void make_without_origin(void *unused) {
    (void)unused;
    setenv("MPROC_ORIGIN", "0", 1);
    mproc_drop(made_lock(0));
    mproc__labels_enter(mproc__labels);
    mproc_lock *lock = made_lock(0);
    CHECK_EQ(mproc_origin_of(lock, NULL, 0), 0);
    mproc_drop(lock);
}

TEST(label_says_where_an_object_was_made) {
    child_join(child_fork(make_with_origin, NULL));
    child_join(child_fork(make_without_origin, NULL));
}

/* ---------------------------------------------------------------- the check */

static void expect_corrupt(const char *invariant) {
    char why[200] = "";
    CHECK_EQ(mproc_arena_check(why, sizeof why), MPROC_ECORRUPT);
    CHECK(strncmp(why, invariant, strlen(invariant)) == 0);
}

TEST(label_check_finds_what_is_broken) {
    mproc_lock *lock = made_lock(0);
    CHECK_OK(mproc_name(lock, "orders"));
    uint64_t *list = &mproc__chunk(mproc__chunk_number(lock))->labels;
    struct mproc__label *label = (struct mproc__label *)(uintptr_t)*list;
    label->object += MPROC__CHUNK * 1000;
    expect_corrupt("N1");
    label->object -= MPROC__CHUNK * 1000;
    label->kind = 9;
    expect_corrupt("N2");
    label->kind = MPROC__LABEL_NAME;
    label->length = 3;
    expect_corrupt("N3");
    label->length = 6;
    mproc__labels->used = 0;
    expect_corrupt("N4");
    mproc__labels->used = 1;
    check_labels();
    mproc_drop(lock);
}
