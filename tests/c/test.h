/*
 * test.h - the test harness: every test is a process and a family of its own
 *
 * SPDX-License-Identifier: MIT
 *
 *     TEST(queue_keeps_order) { ... CHECK_EQ(mproc_queue_count(q), 3); ... }
 *
 * A test registers itself. test.c has main(): it forks a process for each test, gives it a family
 * of its own (TEST_BARE: none), watches its time, and afterwards looks for descriptors, threads,
 * children, arena bytes, and descendants that do not end. A check that fails ends its process with
 * TEST_FAILED, so a failed check in a forked child shows in its exit code.
 *
 * Arguments are parts of names: only tests whose name contains one of them run. The environment
 * variable MPROC_TEST_TIMEOUT is the number of seconds a test may take (default 60).
 */
#ifndef MPROC_TEST_H
#define MPROC_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mproc.h"

/* 1 where the tests are built with AddressSanitizer, or with ThreadSanitizer; gcc and clang say it
 * in different ways. */
#if defined(__has_feature)
#define TEST_ASAN __has_feature(address_sanitizer)
#define TEST_TSAN __has_feature(thread_sanitizer)
#else
#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#else
#define TEST_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#else
#define TEST_TSAN 0
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TEST_FAILED 101
#define TEST_SKIPPED 102

enum test_flags {
    TEST_NO_FAMILY = 1, /* the test's process is no member when the test begins */
    TEST_HIDDEN = 2     /* runs only when an argument is its whole name */
};

struct test {
    const char *name;
    const char *file;
    int line;
    unsigned flags;
    void (*run)(void);
    struct test *next;
};

void test_register(struct test *test);
void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void test_skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Optional, in a test program: main() of a started child that has arguments. */
int test_started_main(int argc, char **argv);

/* What a test may want to compare before and after. */
size_t test_open_fds(void);
size_t test_mappings(void);
size_t test_arena_used(void);

/* The next number of a generator that is the same everywhere (xorshift, Marsaglia 2003). */
static inline uint64_t test_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#define TEST__MAKE(name_, flags_)                                                                  \
    static void test_run_##name_(void);                                                            \
    __attribute__((constructor)) static void test_add_##name_(void) {                              \
        static struct test test = {#name_, __FILE__, __LINE__, (flags_), test_run_##name_, NULL};  \
        test_register(&test);                                                                      \
    }                                                                                              \
    static void test_run_##name_(void)

#define TEST(name_) TEST__MAKE(name_, 0)
#define TEST_BARE(name_) TEST__MAKE(name_, TEST_NO_FAMILY)
/* For tests that must fail, or that need somebody's hand: another test runs them by name. */
#define TEST_ON_DEMAND(name_) TEST__MAKE(name_, TEST_HIDDEN)
#define TEST_BARE_ON_DEMAND(name_) TEST__MAKE(name_, TEST_HIDDEN | TEST_NO_FAMILY)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_fail(__FILE__, __LINE__, "%s", #condition);                                       \
        }                                                                                          \
    } while (0)

#define TEST__COMPARE(a, op, b, text)                                                              \
    do {                                                                                           \
        long long test_a = (long long)(a), test_b = (long long)(b);                                \
        if (!(test_a op test_b)) {                                                                 \
            test_fail(__FILE__, __LINE__, "%s: %lld, %lld", text, test_a, test_b);                 \
        }                                                                                          \
    } while (0)

/* Integers of any type that a long long can hold. */
#define CHECK_EQ(a, b) TEST__COMPARE(a, ==, b, #a " == " #b)
#define CHECK_NE(a, b) TEST__COMPARE(a, !=, b, #a " != " #b)
#define CHECK_LT(a, b) TEST__COMPARE(a, <, b, #a " < " #b)
#define CHECK_LE(a, b) TEST__COMPARE(a, <=, b, #a " <= " #b)
#define CHECK_GT(a, b) TEST__COMPARE(a, >, b, #a " > " #b)
#define CHECK_GE(a, b) TEST__COMPARE(a, >=, b, #a " >= " #b)

/* The process has as many mappings as before. A sanitizer's allocator maps memory when it likes:
 * there only a larger leak fails. */
#define CHECK_MAPPINGS(before)                                                                     \
    do {                                                                                           \
        if (TEST_ASAN || TEST_TSAN) {                                                              \
            CHECK_LE(test_mappings(), (before) + 10);                                              \
        } else {                                                                                   \
            CHECK_EQ(test_mappings(), before);                                                     \
        }                                                                                          \
    } while (0)

/* The call returned 0. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        int test_r = (call);                                                                       \
        if (test_r != 0) {                                                                         \
            test_fail(__FILE__, __LINE__, "%s: %d", #call, test_r);                                \
        }                                                                                          \
    } while (0)

#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a, (a), (b))
#define CHECK_MEM(a, b, size) test_check_mem(__FILE__, __LINE__, #a, (a), (b), (size))

void test_check_str(const char *file, int line, const char *what, const char *a, const char *b);
void test_check_mem(const char *file, int line, const char *what, const void *a, const void *b,
                    size_t size);

#ifdef __cplusplus
}
#endif
#endif
