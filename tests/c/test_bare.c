/*
 * test_bare.c - what the watcher's program has instead of a C library
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <unistd.h>

#include "system/os.h"
#include "system/proc_stat.h"
#include "test.h"
#include "watcher/bare_text.h"

/* ---------------------------------------------------------------- text */

TEST_BARE(bare_text_grows_and_is_cut) {
    char bytes[8] = "left";
    struct bare_text text = {0, sizeof bytes, bytes};
    bare_add(&text, "");
    CHECK_STR(bytes, "");
    bare_add(&text, "abc");
    bare_add(&text, "de");
    CHECK_STR(bytes, "abcde");
    bare_add(&text, "fghi");
    CHECK_STR(bytes, "abcdefg");
    bare_add(&text, "j");
    CHECK_STR(bytes, "abcdefg");
    CHECK_EQ(text.used, 7);
}

TEST_BARE(bare_numbers) {
    char bytes[64];
    struct bare_text text = {0, sizeof bytes, bytes};
    bare_add_number(&text, 0);
    bare_add(&text, " ");
    bare_add_number(&text, 1050);
    bare_add(&text, " ");
    bare_add_number(&text, UINT64_MAX);
    CHECK_STR(bytes, "0 1050 18446744073709551615");
}

/* ---------------------------------------------------------------- /proc/PID/stat */

#define FIELDS_4_TO_21 "1 2 3 4 -1 6 7 8 9 10 11 12 13 14 15 16 17 18"

TEST_BARE(stat_line) {
    bool ended = true;
    uint64_t ticks = 0;
    CHECK(mproc__stat_parse("7 (sh) S " FIELDS_4_TO_21 " 4711 99\n", &ended, &ticks));
    CHECK(!ended);
    CHECK_EQ(ticks, 4711);
    CHECK(mproc__stat_parse("7 (a) Z (b) R) Z " FIELDS_4_TO_21 " 5\n", &ended, &ticks));
    CHECK(ended);
    CHECK_EQ(ticks, 5);
    CHECK(mproc__stat_parse("7 () X " FIELDS_4_TO_21 " 5", &ended, &ticks));
    CHECK(ended);
}

TEST_BARE(stat_line_that_is_cut) {
    static const char *const cut[] = {
        "",        "7",        "7 (sh",          "7 (sh)",
        "7 (sh) ", "7 (sh) S", "7 (sh) S 1 2 3", ("7 (sh) S " FIELDS_4_TO_21)};
    bool ended;
    uint64_t ticks;
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        CHECK(!mproc__stat_parse(cut[i], &ended, &ticks));
    }
}

TEST_BARE(stat_of_who_was_there) {
    CHECK(mproc__stat_was_there(10, 100000000, 100));
    CHECK(mproc__stat_was_there(10, 109999999, 100));
    CHECK(!mproc__stat_was_there(11, 109999999, 100));
    CHECK(mproc__stat_was_there(UINT64_C(100000000), UINT64_MAX, 100));
}

TEST_BARE(stat_of_this_process) {
    char text[MPROC__STAT_SIZE] = "";
    bool ended = true;
    uint64_t ticks = 0;
    FILE *f = fopen("/proc/self/stat", "re");
    CHECK(f != NULL && fgets(text, sizeof text, f) != NULL);
    fclose(f);
    CHECK(mproc__stat_parse(text, &ended, &ticks));
    CHECK(!ended);
    CHECK(mproc__stat_was_there(ticks, (uint64_t)mproc__os_boot_now(),
                                (uint64_t)sysconf(_SC_CLK_TCK)));
    CHECK(!mproc__stat_was_there(ticks + 1000000, (uint64_t)mproc__os_boot_now(), 100));
}
