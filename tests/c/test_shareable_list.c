/*
 * test_shareable_list.c - lists in named segments: items, bad input, several at a time, deaths
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/atomic.h"

static mproc_item integer(int64_t value) {
    return (mproc_item){.kind = MPROC_ITEM_INT, .integer = value};
}

static mproc_item number(double value) {
    return (mproc_item){.kind = MPROC_ITEM_FLOAT, .number = value};
}

static mproc_item truth(bool value) {
    return (mproc_item){.kind = MPROC_ITEM_BOOL, .integer = value};
}

static mproc_item text(const char *value) {
    return (mproc_item){.kind = MPROC_ITEM_STR, .data = value, .size = strlen(value)};
}

static mproc_item bytes(const char *value) {
    return (mproc_item){.kind = MPROC_ITEM_BYTES, .data = value, .size = strlen(value)};
}

static mproc_shm *make(const mproc_item *items, size_t n) {
    mproc_shm *list;
    CHECK_OK(mproc_shareable_list_create(&list, NULL, items, n, NULL));
    return list;
}

static void drop(mproc_shm *list) {
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(list)));
    mproc_shm_drop(list);
}

static void check(mproc_shm *list) {
    char why[200] = "";
    if (mproc_shareable_list_check(list, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

static void expect(mproc_shm *list, size_t i, mproc_item want) {
    char room[256];
    mproc_item got;
    CHECK_OK(mproc_shareable_list_get(list, i, &got, room, sizeof room));
    CHECK_EQ(got.kind, want.kind);
    CHECK_EQ(got.integer, want.integer); /* also when the item is no int: then these are its bits */
    CHECK_EQ(got.size, want.size);
    if (want.size > 0) {
        CHECK_MEM(got.data, want.data, want.size);
    }
}

static void set(mproc_shm *list, size_t i, mproc_item item) {
    CHECK_OK(mproc_shareable_list_set(list, i, &item));
}

static void expect_format(mproc_shm *list, size_t i, const char *want) {
    char format[9];
    CHECK_OK(mproc_shareable_list_format(list, i, format));
    CHECK_STR(format, want);
}

TEST(list_holds_all_kinds) {
    mproc_item none = {0}, items[] = {text("howdy"),
                                      bytes("HoWdY"),
                                      number(-273.154),
                                      integer(INT64_MIN),
                                      none,
                                      truth(true),
                                      text("xxxxxxxxx"),
                                      text(""),
                                      bytes(""),
                                      bytes("12345678"),
                                      truth(false),
                                      text("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9")};
    static const char *const formats[] = {"8s",  "8s", "d",  "q",   "xxxxxx?x", "xxxxxxx?",
                                          "16s", "8s", "8s", "16s", "xxxxxxx?", "16s"};
    const size_t n = sizeof items / sizeof *items;
    size_t length, room;
    mproc_shm *list = make(items, n), *other;
    CHECK_OK(mproc_shm_open(&other, mproc_shm_name(list)));
    CHECK_OK(mproc_shareable_list_length(other, &length));
    CHECK_EQ(length, n);
    for (size_t i = 0; i < n; i++) {
        expect(other, i, items[i]);
        expect_format(other, i, formats[i]);
    }
    CHECK_OK(mproc_shareable_list_room(list, 6, &room));
    CHECK_EQ(room, 16);
    check(list);
    mproc_shm_drop(other);
    drop(list);
}

TEST(list_items_change_also_their_kind) {
    mproc_item items[] = {integer(1), text("a text of many bytes"), bytes("8 bytes!")}, none = {0};
    mproc_shm *list = make(items, 3);
    mproc_item values[] = {integer(-1),      number(0.5), truth(true), none,
                           text("12345678"), bytes("x"),  text(""),    text("seven b")};
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 3; i++) {
            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                set(list, i, values[v]);
                expect(list, i, values[v]);
                check(list);
            }
        }
    }
    set(list, 1, text("another text of 24 bytes"));
    expect(list, 1, text("another text of 24 bytes"));
    set(list, 1, text("a shorter one"));
    expect(list, 1, text("a shorter one"));
    expect_format(list, 1, "24s");
    expect(list, 0, values[7]);
    drop(list);
}

TEST(list_without_items) {
    size_t n = 1;
    mproc_item item;
    mproc_shm *list = make(NULL, 0);
    CHECK_OK(mproc_shareable_list_length(list, &n));
    CHECK_EQ(n, 0);
    CHECK_EQ(mproc_shareable_list_get(list, 0, &item, NULL, 0), -ERANGE);
    check(list);
    drop(list);
}

TEST(list_refuses_bad_input) {
    size_t n;
    char room[16], format[9];
    mproc_item items[] = {integer(7), text("seven b")}, item = integer(5);
    mproc_shm *list = make(items, 2), *none = NULL;
    CHECK_EQ(mproc_shareable_list_get(list, 2, &item, room, sizeof room), -ERANGE);
    CHECK_EQ(mproc_shareable_list_set(list, SIZE_MAX, &item), -ERANGE);
    CHECK_EQ(mproc_shareable_list_room(list, 2, &n), -ERANGE);
    CHECK_EQ(mproc_shareable_list_format(list, 2, format), -ERANGE);
    CHECK_EQ(mproc_shareable_list_get(list, 1, &item, room, 6), -ENOBUFS);
    CHECK_EQ(item.integer, 5);
    item = text("nine byte");
    CHECK_EQ(mproc_shareable_list_set(list, 0, &item), -EMSGSIZE);
    item.size = 10000000;
    CHECK_EQ(mproc_shareable_list_set(list, 1, &item), -EMSGSIZE);
    CHECK_EQ(mproc_shareable_list_create(&none, NULL, &item, 1, NULL), -EMSGSIZE);
    item.kind = (enum mproc_item_kind)99;
    CHECK_EQ(mproc_shareable_list_set(list, 0, &item), -EINVAL);
    CHECK_EQ(mproc_shareable_list_create(&none, NULL, &item, 1, NULL), -EINVAL);
    CHECK_EQ(mproc_shareable_list_create(&none, "a/b", items, 2, NULL), -EINVAL);
    CHECK_EQ(mproc_shareable_list_create(&none, mproc_shm_name(list), items, 2, NULL), -EEXIST);
    CHECK(none == NULL);
    expect(list, 0, items[0]);
    expect(list, 1, items[1]);
    drop(list);
}

TEST(list_leaves_nothing) {
    mproc_item item = integer(1);
    drop(make(&item, 1));
    size_t used = test_arena_used(), fds = test_open_fds(), mappings = test_mappings();
    for (int i = 0; i < 50; i++) {
        mproc_shm *list = make(&item, 1);
        set(list, 0, truth(true));
        drop(list);
    }
    CHECK_EQ(test_arena_used(), used);
    CHECK_EQ(test_open_fds(), fds);
    CHECK_MAPPINGS(mappings);
}

/* Whatever bytes a segment has, no call reads or writes outside of it. */
TEST(list_of_noise_is_an_error) {
    static const uint64_t noise[] = {0, 8, 16, 24, 800, 960, 1, UINT64_C(1) << 40, UINT64_MAX - 7};
    static const uint64_t lengths[] = {0, 1, 2, 3, 5, 100, UINT64_C(1) << 31, UINT64_C(1) << 63};
    void *data;
    mproc_shm *shm;
    char room[64], format[9];
    CHECK_OK(mproc_shm_create(&shm, NULL, 1000, NULL));
    CHECK_OK(mproc_shm_data(shm, &data));
    uint64_t *words = data;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        words[0] = lengths[rand() % 8];
        for (int i = 1; i < 125; i++) {
            words[i] = noise[rand() % 9];
        }
        size_t n;
        mproc_item item = integer(round);
        if (mproc_shareable_list_length(shm, &n) == 0) {
            for (size_t i = 0; i < n && i < 10; i++) {
                if (mproc_shareable_list_set(shm, i, &item) == 0) {
                    expect(shm, i, item);
                }
                (void)!mproc_shareable_list_get(shm, i, &item, room, sizeof room);
                (void)!mproc_shareable_list_format(shm, i, format);
            }
        }
        (void)!mproc_shareable_list_check(shm, format, sizeof format);
    }
    memset(data, 0xff, 1000);
    CHECK_EQ(mproc_shareable_list_length(shm, (size_t[1]){0}), -EBADMSG);
    drop(shm);
    CHECK_OK(mproc_shm_create(&shm, NULL, 8, NULL));
    CHECK_EQ(mproc_shareable_list_length(shm, (size_t[1]){0}), -EBADMSG);
    drop(shm);
}

TEST(list_item_of_an_unknown_format) {
    void *data;
    mproc_item item = integer(1);
    char room[8], why[100];
    mproc_shm *list = make(&item, 1);
    CHECK_OK(mproc_shm_data(list, &data));
    memcpy((char *)data + 32, "12345678", 8); /* length, two offsets, a slot */
    CHECK_EQ(mproc_shareable_list_get(list, 0, &item, room, sizeof room), -EPROTO);
    CHECK_EQ(mproc_shareable_list_check(list, why, sizeof why), MPROC_ECORRUPT);
    expect_format(list, 0, "12345678");
    drop(list);
}

/* A writer whose name belongs to no process is not waited for: it would never finish. */
TEST(list_of_an_owner_that_is_no_process) {
    void *data;
    mproc_item items[2] = {integer(1), text("before")}, got;
    char room[32];
    mproc_shm *list = make(items, 2);
    CHECK_OK(mproc_shm_data(list, &data));
    size_t saved =
        8; /* bytes after the head of the last part; the head has 64: magic, room, owner, ... */
    uint64_t *last = (uint64_t *)(void *)((char *)data + mproc_shm_size(list) - 64 - saved);
    CHECK_EQ(last[1], saved);
    last[2] = 5;
    items[1] = text("after");
    CHECK_OK(mproc_shareable_list_set(list, 1, &items[1]));
    last[2] = 5;
    last[3] |= 1; /* and a change of an item that does not exist is under way */
    last[4] = 2;
    CHECK_OK(mproc_shareable_list_get(list, 0, &got, room, sizeof room));
    CHECK_EQ(got.integer, 1);
    drop(list);
}

/* ---------------------------------------------------------------- several at a time */

#define LONG_TEXT 200

/* An item that is a text of one repeated letter, or an int. A torn item is neither. */
static mproc_item pattern(unsigned round, char room[LONG_TEXT]) {
    if (round % 5 == 4) {
        return integer(round % 16);
    }
    memset(room, 'a' + (int)(round % 16), LONG_TEXT);
    mproc_item item = {.kind = round % 2 ? MPROC_ITEM_STR : MPROC_ITEM_BYTES, .data = room};
    item.size = round % 3 == 0 ? LONG_TEXT : 100 + round % 100;
    return item;
}

static void expect_pattern(const mproc_item *item) {
    const char *t = item->data;
    if (item->kind == MPROC_ITEM_INT) {
        CHECK(item->integer >= 0 && item->integer < 16);
        return;
    }
    CHECK(item->kind == MPROC_ITEM_STR || item->kind == MPROC_ITEM_BYTES);
    CHECK_GE(item->size, 100);
    for (size_t i = 0; i < item->size; i++) {
        CHECK_EQ(t[i], t[0]);
    }
}

static void change_for_ever(mproc_shm *list, uint64_t *count) {
    char room[LONG_TEXT];
    for (unsigned round = 0;; round++) {
        mproc_item item = pattern(round, room);
        if (mproc_shareable_list_set(list, round % 2, &item) != 0) {
            _exit(1);
        }
        mproc__add64(count, 1);
    }
}

/* Writers are killed at random, other writers go on, and the reader never sees half an item. */
TEST(list_items_are_whole_while_writers_are_killed) {
    char room[LONG_TEXT], to[LONG_TEXT];
    mproc_item items[] = {pattern(0, room), pattern(0, room)}, got;
    mproc_shm *list = make(items, 2);
    uint64_t *count = mproc_calloc(1, sizeof *count);
    for (int kill_no = 0; kill_no < 60; kill_no++) {
        pid_t writers[2];
        uint64_t before = mproc__load64(count);
        for (int i = 0; i < 2; i++) {
            writers[i] = fork();
            CHECK_GE(writers[i], 0);
            if (writers[i] == 0) {
                change_for_ever(list, count);
            }
        }
        while (mproc__load64(count) < before + 2000) {
            for (size_t i = 0; i < 2; i++) {
                CHECK_OK(mproc_shareable_list_get(list, i, &got, to, sizeof to));
                expect_pattern(&got);
            }
        }
        for (int i = 0; i < 2; i++) {
            kill(writers[i], SIGKILL);
            CHECK_EQ(waitpid(writers[i], NULL, 0), writers[i]);
        }
        CHECK_OK(mproc_shareable_list_get(list, 0, &got, to, sizeof to));
        expect_pattern(&got);
        CHECK_OK(mproc_shareable_list_set(list, 0, &items[0]));
        check(list);
    }
    mproc_free(count);
    drop(list);
}

static void expect_large(mproc_shm *list, size_t i, const mproc_item *want) {
    char *room = malloc(want->size);
    mproc_item got;
    CHECK_OK(mproc_shareable_list_get(list, i, &got, room, want->size));
    CHECK_EQ(got.kind, want->kind);
    CHECK_EQ(got.size, want->size);
    CHECK_MEM(got.data, want->data, want->size);
    free(room);
}

/* Bytes as the standard library writes them, without a record of changes after them. */
TEST(list_of_strangers_is_read_and_written) {
    static const char slots[] = "\7\0\0\0\0\0\0\0hello\0\0\0\0\0\0\0\0\0\0";
    uint64_t head[] = {2, 0, 8, 24};
    void *data;
    mproc_shm *list;
    CHECK_OK(mproc_shm_create(&list, NULL, sizeof head + 24 + 18, NULL));
    CHECK_OK(mproc_shm_data(list, &data));
    memcpy(data, head, sizeof head);
    memcpy((char *)data + sizeof head, slots, 24);
    memcpy((char *)data + sizeof head + 24, "q\0\0\0\0\0\0\00016s\0\0\0\0\0\0\1", 18);
    expect(list, 0, integer(7));
    expect(list, 1, text("hello"));
    check(list);
    set(list, 1, bytes("sixteen bytes ok"));
    set(list, 0, text("eight by"));
    expect(list, 1, bytes("sixteen bytes ok"));
    expect(list, 0, text("eight by"));
    expect_format(list, 0, "8s");
    CHECK_MEM((char *)data + sizeof head, "eight bysixteen bytes ok", 24);
    check(list);
    drop(list);
}

/* The format says where such a text ends: its size, and x for the standard library. */
TEST(list_keeps_zeros_at_the_end_of_a_text) {
    static const char zeros[1000010];
    static const size_t sizes[] = {1, 2, 7, 8, 9, 16, 999999};
    mproc_item two[2] = {bytes("before"), integer(7)};
    mproc_shm *list;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char format[9];
        two[0] = (mproc_item){
            .kind = i % 2 ? MPROC_ITEM_BYTES : MPROC_ITEM_STR, .data = zeros, .size = sizes[i]};
        CHECK_OK(mproc_shareable_list_create(&list, NULL, two, 2, NULL));
        expect_large(list, 0, &two[0]);
        snprintf(format, sizeof format, "%zusx", sizes[i]);
        expect_format(list, 0, format);
        expect(list, 1, integer(7));
        set(list, 0, bytes("x"));
        expect(list, 0, bytes("x"));
        two[0].size = 1;
        set(list, 0, two[0]);
        expect_large(list, 0, &two[0]);
        set(list, 0, (mproc_item){.kind = MPROC_ITEM_STR, .data = "", .size = 0});
        expect(list, 0, text(""));
        check(list);
        drop(list);
    }
    two[0].size = 1000000; /* a format has no room for this */
    CHECK_OK(mproc_shareable_list_create(&list, NULL, two, 2, NULL));
    expect(list, 0, (mproc_item){.kind = two[0].kind, .data = "", .size = 0});
    check(list);
    drop(list);
}
