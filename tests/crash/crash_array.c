/*
 * crash_array.c - shared arrays, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * An element is old or new. A range that was being written may be partly new; then the next
 * member to use the array is told of a dead holder.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

#define COUNT 40
#define OLD 0x1111111111111111
#define NEW 0x2222222222222222

static void *make(void) {
    mproc_array *array = made_array(MPROC_INT64, COUNT);
    crash_require(array != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        ((int64_t *)mproc_array_data(array))[i] = OLD;
    }
    return array;
}

static void unmake(void *array) {
    mproc_drop(array);
}

static int64_t *numbers(void *array) {
    return mproc_array_data(array);
}

/* Uses the array after the kill; returns whether the victim died holding the lock. */
static bool inherit(void *array) {
    int64_t value, number = 5;
    int r = mproc_array_get(array, 0, &value);
    crash_require(r == 0 || r == -EOWNERDEAD);
    crash_equal(mproc_array_set(array, COUNT - 1, &number), 0);
    crash_equal(mproc_array_get(array, COUNT - 1, &number), 0);
    crash_equal(number, 5);
    crash_check(mproc_array_check(array, why, sizeof why));
    return r == -EOWNERDEAD;
}

static void victim_does(int r) {
    if (r != 0) {
        abort();
    }
}

/* ---- one element */

static void set_one(void *array) {
    int64_t value = NEW;
    victim_does(mproc_array_set(array, 0, &value));
}

static void verify_one(void *array) {
    int64_t value = numbers(array)[0];
    crash_require(value == OLD || value == NEW);
    bool died_holding = inherit(array);
    if (crash_returned()) {
        crash_require(value == NEW && !died_holding);
    }
    crash_equal(numbers(array)[1], OLD);
}

static void get_one(void *array) {
    int64_t value;
    victim_does(mproc_array_get(array, 0, &value));
}

static void verify_unchanged(void *array) {
    bool died_holding = inherit(array);
    crash_require(!(crash_returned() && died_holding));
    for (size_t i = 0; i < COUNT - 1; i++) {
        crash_equal(numbers(array)[i], OLD);
    }
}

/* Does what `with value.get_lock(): value.value += n` does. */
static void update_one(void *array) {
    int64_t value;
    victim_does(mproc_rlock_acquire(mproc_array_lock(array), CRASH_SOON));
    victim_does(mproc_array_get(array, 0, &value));
    value += NEW - OLD;
    victim_does(mproc_array_set(array, 0, &value));
    victim_does(mproc_rlock_release(mproc_array_lock(array)));
}

/* ---- a range */

static void write_range(void *array) {
    int64_t values[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = NEW;
    }
    victim_does(mproc_array_write(array, 0, COUNT - 1, values));
}

static void verify_range(void *array) {
    size_t new = 0;
    for (size_t i = 0; i < COUNT - 1; i++) {
        crash_require(numbers(array)[i] == OLD || numbers(array)[i] == NEW);
        new += numbers(array)[i] == NEW;
    }
    bool died_holding = inherit(array);
    crash_require(new == 0 || new == COUNT - 1 || died_holding);
    if (crash_returned()) {
        crash_require(new == COUNT - 1 && !died_holding);
    }
}

/* ---- without the lock */

static void add(void *array) {
    victim_does(mproc_array_add(array, 0, NEW - OLD, NULL));
}

static void exchange(void *array) {
    victim_does(mproc_array_exchange(array, 0, NEW, NULL));
}

static void compare_exchange(void *array) {
    int64_t expected = OLD;
    victim_does(mproc_array_compare_exchange(array, 0, &expected, NEW) - 1);
}

static void store(void *array) {
    int64_t value = NEW;
    victim_does(mproc_atomic_store(sizeof value, numbers(array), &value));
}

static void load(void *array) {
    int64_t value;
    victim_does(mproc_atomic_load(sizeof value, numbers(array), &value));
    if (value != OLD) {
        abort();
    }
}

static void verify_atomic(void *array) {
    verify_one(array);
    crash_require(!inherit(array));
}

/* ---- birth and end */

static void new_array(void *unused) {
    (void)unused;
    if (made_array(MPROC_DOUBLE, COUNT) == NULL) {
        abort();
    }
}

static void new_and_drop(void *unused) {
    (void)unused;
    mproc_drop(made_array(MPROC_DOUBLE, COUNT));
}

static void verify_gone(void *unused) {
    (void)unused;
    void *array = make();
    inherit(array);
    unmake(array);
}

static const struct crash_op ops[] = {
    {.name = "array set",
     .setup = make,
     .operate = set_one,
     .verify = verify_one,
     .teardown = unmake},
    {.name = "array get and set under its lock",
     .setup = make,
     .operate = update_one,
     .verify = verify_one,
     .teardown = unmake},
    {.name = "array get",
     .setup = make,
     .operate = get_one,
     .verify = verify_unchanged,
     .teardown = unmake},
    {.name = "array write",
     .setup = make,
     .operate = write_range,
     .verify = verify_range,
     .teardown = unmake},
    {.name = "array add",
     .setup = make,
     .operate = add,
     .verify = verify_atomic,
     .teardown = unmake},
    {.name = "array exchange",
     .setup = make,
     .operate = exchange,
     .verify = verify_atomic,
     .teardown = unmake},
    {.name = "array compare and exchange",
     .setup = make,
     .operate = compare_exchange,
     .verify = verify_atomic,
     .teardown = unmake},
    {.name = "array store",
     .setup = make,
     .operate = store,
     .verify = verify_atomic,
     .teardown = unmake},
    {.name = "array load",
     .setup = make,
     .operate = load,
     .verify = verify_unchanged,
     .teardown = unmake},
    {.name = "array new",
     .setup = crash_no_object,
     .operate = new_array,
     .verify = verify_gone,
     .teardown = crash_nothing},
    {.name = "array new, drop",
     .setup = crash_no_object,
     .operate = new_and_drop,
     .verify = verify_gone,
     .teardown = crash_nothing},
};

CRASH_MAIN(ops)
