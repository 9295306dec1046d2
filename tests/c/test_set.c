/*
 * test_set.c - every call of a set; its order, its waits, and what it is beside a dict
 *
 * SPDX-License-Identifier: MIT
 *
 * What several members do at once is in test_set_histories.c. Growth and limits are a dict's.
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"

static void drop_and_check(mproc_set *set) {
    char why[256] = "";
    if (mproc_set_check(set, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
    mproc_drop(set);
    (void)mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

static void add(mproc_set *set, const char *element) {
    CHECK_OK(mproc_set_add(set, element, strlen(element)));
}

static bool has(mproc_set *set, const char *element) {
    return mproc_set_has(set, element, strlen(element)) != 0;
}

TEST(set_elements_come_and_go) {
    mproc_set *set = made_set();
    CHECK_EQ(mproc_set_count(set), 0);
    CHECK(!has(set, "a"));
    add(set, "a");
    add(set, "");
    CHECK_EQ(mproc_set_add(set, "a", 1), -EEXIST);
    CHECK_EQ(mproc_set_count(set), 2);
    CHECK(has(set, "a") && has(set, "") && !has(set, "aa"));
    CHECK_OK(mproc_set_remove(set, "a", 1));
    CHECK_EQ(mproc_set_remove(set, "a", 1), -ENOENT);
    CHECK(!has(set, "a"));
    add(set, "a");
    mproc_set_clear(set);
    CHECK_EQ(mproc_set_count(set), 0);
    CHECK(!has(set, "a") && !has(set, ""));
    add(set, "a");
    drop_and_check(set);
}

TEST(set_elements_are_as_long_as_keys) {
    static char element[MPROC_DICT_KEY_MAX + 1];
    mproc_set *set = made_set();
    CHECK_OK(mproc_set_add(set, element, MPROC_DICT_KEY_MAX));
    CHECK_EQ(mproc_set_add(set, element, sizeof element), MPROC_ETOOBIG);
    CHECK_EQ(mproc_set_remove(set, element, sizeof element), MPROC_ETOOBIG);
    CHECK(!mproc_set_has(set, element, sizeof element));
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_set_pop(set, &m));
    CHECK_EQ(m.size, MPROC_DICT_KEY_MAX);
    CHECK_MEM(m.data, element, m.size);
    mproc_message_drop(&m);
    drop_and_check(set);
}

TEST(set_pop_takes_the_newest) {
    mproc_set *set = made_set();
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    add(set, "a");
    add(set, "b");
    CHECK_EQ(mproc_set_add(set, "a", 1), -EEXIST); /* it keeps its place */
    for (const char *left = "ba"; *left != '\0'; left++) {
        CHECK_OK(mproc_set_pop(set, &m));
        CHECK_EQ(m.size, 1);
        CHECK_MEM(m.data, left, 1);
        mproc_message_drop(&m);
    }
    CHECK_EQ(mproc_set_pop(set, &m), -ENOENT);
    drop_and_check(set);
}

/* Those of a set that Python has made have values. */
TEST(set_looks_at_no_values) {
    static char large[20000];
    mproc_set *set = made_set();
    mproc_dict *dict = (mproc_dict *)(void *)set;
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_dict_set(dict, "none", 4, "\xc0", 1));
    CHECK_OK(mproc_dict_set(dict, "long", 4, large, 5000));
    CHECK_OK(mproc_dict_set(dict, "large", 5, large, sizeof large));
    CHECK(has(set, "none") && has(set, "long") && has(set, "large"));
    CHECK_EQ(mproc_set_add(set, "none", 4), -EEXIST);
    for (size_t size = 5; mproc_set_count(set) > 0; size = 4) {
        CHECK_OK(mproc_set_pop(set, &m));
        CHECK_EQ(m.size, size);
        mproc_message_drop(&m);
    }
    drop_and_check(set);
}

TEST(set_snapshot_is_in_order) {
    mproc_set *set = made_set();
    mproc_dict_snapshot *s;
    mproc_dict_item item;
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK_OK(mproc_set_add(set, &i, sizeof i));
    }
    CHECK_OK(mproc_set_snapshot_new(&s, set));
    mproc_set_clear(set);
    CHECK_EQ(mproc_dict_snapshot_count(s), 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK_OK(mproc_dict_snapshot_item(s, i, &item));
        CHECK_EQ(item.key_size, sizeof i);
        CHECK_MEM(item.key, &i, sizeof i);
        CHECK_EQ(item.value.size, 0);
    }
    mproc_dict_snapshot_drop(s);
    drop_and_check(set);
}

static void add_x(void *set) {
    add(set, "x");
}

TEST(set_wait_for_an_element_and_for_any) {
    mproc_set *set = made_set();
    uint64_t version = 0, any = 0;
    CHECK_EQ(mproc_set_wait(set, "x", 1, &version, 0), -ETIMEDOUT);
    CHECK(mproc_set_wait(set, NULL, 0, &any, 0) == 0 || any == 0);
    add(set, "y");
    CHECK_OK(mproc_set_wait(set, NULL, 0, &any, 0));
    CHECK_EQ(mproc_set_wait(set, "x", 1, &version, 0), -ETIMEDOUT);
    pid_t child = child_fork(add_x, set);
    CHECK_OK(mproc_set_wait(set, "x", 1, &version, MPROC_FOREVER));
    CHECK_NE(version, 0);
    child_join(child);
    CHECK_OK(mproc_set_remove(set, "x", 1));
    CHECK_OK(mproc_set_wait(set, "x", 1, &version, 0));
    CHECK_EQ(version, 0);
    drop_and_check(set);
}
