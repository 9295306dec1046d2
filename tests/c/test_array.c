/*
 * test_array.c - shared arrays: types, elements, ranges, atomic operations, locks and deaths
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(const mproc_array *array) {
    char why[200] = "";
    if (mproc_array_check(array, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

static mproc_array *make(mproc_type type, size_t n) {
    mproc_array *array = made_array(type, n);
    CHECK(array != NULL);
    return array;
}

static pid_t fork_and(void (*run)(mproc_array *array), mproc_array *array) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        run(array);
        _exit(0);
    }
    return pid;
}

static int status_of(pid_t pid) {
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    mproc_reap(); /* no handle notices the end of a child of fork() */
    return status;
}

TEST(array_of_every_type) {
    static const size_t sizes[] = {0, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 0};
    for (int type = 0; type < 12; type++) {
        CHECK_EQ(mproc_type_size((mproc_type)type), sizes[type]);
        if (sizes[type] == 0) {
            mproc_array *none = NULL;
            CHECK_EQ(mproc_array_new(&none, (mproc_type)type, 1), -EINVAL);
            CHECK(none == NULL);
            continue;
        }
        mproc_array *array = make((mproc_type)type, 1000);
        unsigned char in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[9] = {0};
        CHECK_EQ(mproc_array_count(array), 1000);
        CHECK_EQ(mproc_array_type(array), type);
        CHECK_OK(mproc_array_get(array, 999, out));
        CHECK_MEM(out, "\0\0\0\0\0\0\0\0", 8);
        CHECK_OK(mproc_array_set(array, 999, in));
        CHECK_OK(mproc_array_get(array, 999, out));
        CHECK_MEM(out, in, sizes[type]);
        CHECK_EQ(out[sizes[type]], 0);
        CHECK_MEM((char *)mproc_array_data(array) + 999 * sizes[type], in, sizes[type]);
        check(array);
        mproc_drop(array);
    }
}

TEST(array_has_no_elements_outside) {
    int32_t value = 1, values[4] = {1, 2, 3, 4};
    int64_t old;
    mproc_array *array = make(MPROC_INT32, 3);
    CHECK_EQ(mproc_array_get(array, 3, &value), -ERANGE);
    CHECK_EQ(mproc_array_set(array, SIZE_MAX, &value), -ERANGE);
    CHECK_EQ(mproc_array_read(array, 0, 4, values), -ERANGE);
    CHECK_EQ(mproc_array_read(array, 4, 0, values), -ERANGE);
    CHECK_EQ(mproc_array_write(array, 2, SIZE_MAX, values), -ERANGE);
    CHECK_EQ(mproc_array_add(array, 3, 1, NULL), -ERANGE);
    CHECK_EQ(mproc_array_exchange(array, 3, 1, NULL), -ERANGE);
    CHECK_EQ(mproc_array_compare_exchange(array, 3, &old, 1), -ERANGE);
    CHECK_OK(mproc_array_read(array, 3, 0, values));
    CHECK_EQ(value, 1);
    check(array);
    mproc_drop(array);
    mproc_array *none = NULL;
    CHECK_EQ(mproc_array_new(&none, MPROC_INT32, SIZE_MAX / 4), MPROC_ETOOBIG);
    CHECK_EQ(mproc_array_new(&none, MPROC_DOUBLE, (size_t)1 << 50), MPROC_ETOOBIG);
    CHECK(none == NULL);
    mproc_drop(make(MPROC_INT8, 0));
}

TEST(array_in_bulk) {
    double in[1000], out[1000] = {0};
    mproc_array *array = make(MPROC_DOUBLE, 100000);
    for (int i = 0; i < 1000; i++) {
        in[i] = i / 3.;
    }
    CHECK_OK(mproc_array_write(array, 99000, 1000, in));
    CHECK_OK(mproc_array_read(array, 99000, 1000, out));
    CHECK_MEM(out, in, sizeof in);
    CHECK_EQ((uintptr_t)mproc_array_data(array) % 64, 0);
    check(array);
    mproc_drop(array);
}

TEST(array_is_zero_though_its_memory_was_used) {
    for (int i = 0; i < 20; i++) {
        mproc_array *array = make(MPROC_UINT8, 50000);
        unsigned char *data = mproc_array_data(array);
        for (int k = 0; k < 50000; k++) {
            CHECK_EQ(data[k], 0);
        }
        memset(data, 0xff, 50000);
        mproc_drop(array);
    }
}

/* ---------------------------------------------------------------- atomic operations */

TEST(array_adds_and_wraps) {
    int64_t old;
    mproc_array *array = make(MPROC_INT8, 2);
    CHECK_OK(mproc_array_add(array, 1, 127, &old));
    CHECK_EQ(old, 0);
    CHECK_OK(mproc_array_add(array, 1, 1, &old));
    CHECK_EQ(old, 127);
    CHECK_OK(mproc_array_add(array, 1, 0, &old));
    CHECK_EQ(old, -128);
    CHECK_OK(mproc_array_add(array, 0, 0, &old));
    CHECK_EQ(old, 0);
    mproc_drop(array);
    array = make(MPROC_UINT16, 1);
    CHECK_OK(mproc_array_add(array, 0, -1, NULL));
    CHECK_OK(mproc_array_exchange(array, 0, 5, &old));
    CHECK_EQ(old, 65535);
    mproc_drop(array);
    array = make(MPROC_UINT64, 1);
    CHECK_OK(mproc_array_add(array, 0, -1, NULL));
    CHECK_OK(mproc_array_exchange(array, 0, INT64_MIN, &old));
    CHECK_EQ(old, -1);
    mproc_drop(array);
}

TEST(array_compares_and_exchanges) {
    static const mproc_type types[] = {MPROC_INT8,   MPROC_UINT8, MPROC_INT16, MPROC_UINT16,
                                       MPROC_UINT32, MPROC_INT32, MPROC_INT64, MPROC_UINT64};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        mproc_array *array = make(types[i], 1);
        int64_t expected = 7, old;
        CHECK_EQ(mproc_array_compare_exchange(array, 0, &expected, 9), 0);
        CHECK_EQ(expected, 0);
        CHECK_EQ(mproc_array_compare_exchange(array, 0, &expected, 100), 1);
        CHECK_EQ(expected, 0);
        CHECK_OK(mproc_array_exchange(array, 0, 1, &old));
        CHECK_EQ(old, 100);
        mproc_drop(array);
    }
    mproc_array *array = make(MPROC_INT8, 1);
    int64_t expected = 256; /* its low byte is the number that is there */
    CHECK_EQ(mproc_array_compare_exchange(array, 0, &expected, 1), 0);
    CHECK_EQ(expected, 0);
    mproc_drop(array);
}

TEST(array_of_no_integers_has_no_atomic_operations) {
    int64_t expected = 0;
    char bytes[16] = {0};
    mproc_array *array = make(MPROC_DOUBLE, 1);
    CHECK_EQ(mproc_array_add(array, 0, 1, NULL), -EINVAL);
    CHECK_EQ(mproc_array_exchange(array, 0, 1, NULL), -EINVAL);
    CHECK_EQ(mproc_array_compare_exchange(array, 0, &expected, 1), -EINVAL);
    mproc_drop(array);
    CHECK_EQ(mproc_atomic_add((mproc_type)0, bytes, 1, NULL), -EINVAL);
    CHECK_EQ(mproc_atomic_add(MPROC_INT64, bytes + 1, 1, NULL), -EINVAL);
}

TEST(array_number_of_every_size_is_stored_and_loaded_alone) {
    static const size_t sizes[] = {1, 2, 4, 8};
    for (size_t k = 0; k < 4; k++) {
        _Alignas(8) unsigned char place[24];
        unsigned char in[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, out[10], untouched[24];
        size_t size = sizes[k];
        memset(place, 0xee, sizeof place);
        memset(untouched, 0xee, sizeof untouched);
        memset(out, 0xee, sizeof out);
        CHECK_OK(mproc_atomic_store(size, place + 8,
                                    in + 1)); /* works in private memory, too, at any address */
        CHECK_MEM(place + 8, in + 1, size);
        CHECK_MEM(place, untouched, 8);
        CHECK_MEM(place + 8 + size, untouched, 16 - size);
        CHECK_OK(mproc_atomic_load(size, place + 8, out + 1));
        CHECK_MEM(out + 1, in + 1, size);
        CHECK_EQ(out[0], 0xee);
        CHECK_EQ(out[1 + size], 0xee);
    }
}

TEST(array_number_is_read_as_the_type_that_it_has) {
    double *number = mproc_alloc(sizeof *number), one = 1.5, two;
    CHECK(number != NULL);
    *number = 0.25;
    CHECK_OK(mproc_atomic_load(sizeof two, number, &two));
    CHECK(two == 0.25);
    CHECK_OK(mproc_atomic_store(sizeof one, number, &one));
    CHECK(*number == 1.5);
    mproc_free(number);
}

TEST(array_number_of_no_size_or_at_a_bad_address) {
    static const size_t none[] = {0, 3, 5, 6, 7, 9, 16, SIZE_MAX};
    _Alignas(16) unsigned char place[16] = {0};
    unsigned char other[16], same[16];
    memset(other, 0xee, sizeof other);
    memset(same, 0xee, sizeof same);
    for (size_t k = 0; k < sizeof none / sizeof *none; k++) {
        CHECK_EQ(mproc_atomic_load(none[k], place, other), -EINVAL);
        CHECK_EQ(mproc_atomic_store(none[k], place, other), -EINVAL);
    }
    for (size_t size = 2; size <= 8; size *= 2) {
        for (size_t off = 1; off < size; off++) {
            CHECK_EQ(mproc_atomic_load(size, place + off, other), -EINVAL);
            CHECK_EQ(mproc_atomic_store(size, place + off, other), -EINVAL);
        }
    }
    CHECK_MEM(other, same, sizeof other);
    CHECK_MEM(place, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", sizeof place);
}

/* The writer writes the text before its number. */
struct letter {
    uint64_t text;
    uint64_t number;
};

static void write_letters(mproc_array *array) {
    struct letter *letter = mproc_array_data(array);
    for (uint64_t i = 1; i <= 100000; i++) {
        uint64_t pattern = i * 0x100000001; /* both halves are the same */
        CHECK_OK(mproc_atomic_store(8, &letter->text, &pattern));
        CHECK_OK(mproc_atomic_store(8, &letter->number, &i));
    }
}

TEST(array_number_comes_whole_and_behind_what_was_written_before) {
    mproc_array *array = make(MPROC_UINT64, 2);
    struct letter *letter = mproc_array_data(array);
    uint64_t number = 0, text;
    pid_t pid = fork_and(write_letters, array);
    while (number < 100000) {
        CHECK_OK(mproc_atomic_load(8, &letter->number, &number));
        CHECK_OK(mproc_atomic_load(8, &letter->text, &text));
        CHECK_EQ(text >> 32, (uint32_t)text);
        CHECK_GE((uint32_t)text, number);
    }
    CHECK_EQ(status_of(pid), 0);
    mproc_drop(array);
}

static void add_many(mproc_array *array) {
    for (int i = 0; i < 20000; i++) {
        CHECK_OK(mproc_array_add(array, (size_t)(i % 3), 1, NULL));
    }
}

TEST(array_loses_no_addition) {
    pid_t pids[4];
    mproc_array *array = make(MPROC_INT32, 3);
    for (int i = 0; i < 4; i++) {
        pids[i] = fork_and(add_many, array);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(status_of(pids[i]), 0);
    }
    int32_t sums[3];
    CHECK_OK(mproc_array_read(array, 0, 3, sums));
    CHECK_EQ(sums[0] + sums[1] + sums[2], 80000);
    mproc_drop(array);
}

/* ---------------------------------------------------------------- the lock */

static void increment_many(mproc_array *array) {
    int64_t value;
    for (int i = 0; i < 5000; i++) {
        CHECK_OK(mproc_rlock_acquire(mproc_array_lock(array), MPROC_FOREVER));
        CHECK_OK(mproc_array_get(array, 0, &value));
        value++;
        CHECK_OK(mproc_array_set(array, 0, &value));
        CHECK_OK(mproc_rlock_release(mproc_array_lock(array)));
    }
}

TEST(array_under_its_lock_loses_no_update) {
    mproc_array *array = make(MPROC_INT64, 1);
    pid_t pid = fork_and(increment_many, array);
    increment_many(array);
    CHECK_EQ(status_of(pid), 0);
    CHECK_EQ(*(int64_t *)mproc_array_data(array), 10000);
    mproc_drop(array);
}

static void die_holding(mproc_array *array) {
    CHECK_OK(mproc_rlock_acquire(mproc_array_lock(array), MPROC_FOREVER));
    kill(getpid(), SIGKILL);
}

TEST(array_tells_once_of_a_holder_that_died) {
    int32_t value = 5;
    mproc_array *array = make(MPROC_INT32, 2);
    CHECK(WIFSIGNALED(status_of(fork_and(die_holding, array))));
    CHECK_EQ(mproc_array_set(array, 0, &value), -EOWNERDEAD);
    CHECK_EQ(*(int32_t *)mproc_array_data(array), 5);
    CHECK_OK(mproc_array_get(array, 0, &value));
    CHECK(WIFSIGNALED(status_of(fork_and(die_holding, array))));
    CHECK_OK(mproc_array_add(array, 0, 1, NULL)); /* needs no lock */
    CHECK_EQ(mproc_array_read(array, 0, 1, &value), -EOWNERDEAD);
    CHECK_EQ(value, 6);
    check(array);
    mproc_drop(array);
}

TEST(array_without_a_lock) {
    int32_t value = 5, read = 0;
    mproc_array *array;
    CHECK_OK(mproc_array_new_raw(&array, MPROC_INT32, 2));
    CHECK(array != NULL && mproc_array_lock(array) == NULL);
    CHECK_OK(mproc_array_write(array, 1, 1, &value));
    CHECK_OK(mproc_array_get(array, 1, &read));
    CHECK_EQ(read, 5);
    check(array);
    mproc_drop(array);
}

/* ---------------------------------------------------------------- holds */

static void make_and_die(mproc_array *array) {
    (void)array;
    for (int i = 0; i < 10; i++) {
        CHECK(made_array(MPROC_DOUBLE, 1000) != NULL);
    }
    kill(getpid(), SIGKILL);
}

TEST(array_of_a_dead_member_goes) {
    size_t before = test_arena_used();
    CHECK(WIFSIGNALED(status_of(fork_and(make_and_die, NULL))));
    CHECK_EQ(test_arena_used(), before);
}

TEST(array_is_found_corrupt) {
    char why[200];
    mproc_array *array = make(MPROC_INT32, 2);
    uint32_t *type = (uint32_t *)(void *)((char *)mproc_array_data(array) - 64);
    CHECK_EQ(*type, MPROC_INT32);
    *type = MPROC_INT64;
    CHECK_EQ(mproc_array_check(array, why, sizeof why), MPROC_ECORRUPT);
    CHECK_MEM(why, "A1", 2);
    *type = MPROC_INT32;
    check(array);
    mproc_drop(array);
}
