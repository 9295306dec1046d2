/*
 * crash_set.c - sets, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * An element is there or it is not, and all others are as they were. How a table grows and shrinks
 * is crash_dict.c's.
 */
#include "../c/made.h"
#include "fixture.h"

#include <stdlib.h>

#define OTHERS 3u
#define WANTED 1000u
#define MORE 60u /* elements in each of the shards */

static bool there_before;

static void add(mproc_set *set, uint32_t element) {
    crash_equal(mproc_set_add(set, &element, sizeof element), 0);
}

static bool has(mproc_set *set, uint32_t element) {
    return mproc_set_has(set, &element, sizeof element) != 0;
}

static void *without(void) {
    mproc_set *set = made_set();
    crash_require(set != NULL);
    for (uint32_t i = 0; i < OTHERS; i++) {
        add(set, i);
    }
    there_before = false;
    return set;
}

static void *with(void) {
    mproc_set *set = without();
    add(set, WANTED);
    there_before = true;
    return set;
}

static void unmake(void *set) {
    mproc_drop(set);
}

/* ---- what is there afterwards */

static void expect(mproc_set *set, bool others, bool wanted) {
    crash_check(mproc_set_check(set, why, sizeof why));
    crash_equal(mproc_set_count(set), (others ? OTHERS : 0) + wanted);
    for (uint32_t i = 0; i < OTHERS; i++) {
        crash_equal(has(set, i), others);
    }
    crash_equal(has(set, WANTED), wanted);
}

/* It works still. */
static void use(mproc_set *set) {
    uint32_t wanted = WANTED;
    for (uint32_t i = WANTED + 1; i <= WANTED + MORE; i++) {
        add(set, i);
    }
    for (uint32_t i = WANTED + 1; i <= WANTED + MORE; i++) {
        crash_equal(mproc_set_remove(set, &i, sizeof i), 0);
    }
    if (!has(set, WANTED)) {
        add(set, WANTED);
    }
    crash_equal(mproc_set_remove(set, &wanted, sizeof wanted), 0);
    crash_check(mproc_set_check(set, why, sizeof why));
}

static void verify_added(void *set) {
    bool wanted = has(set, WANTED);
    crash_require(wanted || !crash_returned());
    expect(set, true, wanted);
    use(set);
}

static void verify_removed(void *set) {
    bool wanted = has(set, WANTED);
    crash_require(!(wanted && crash_returned()));
    expect(set, true, wanted);
    use(set);
}

static void verify_same(void *set) {
    expect(set, true, there_before);
    use(set);
}

static void verify_cleared(void *set) {
    bool there = has(set, WANTED);
    crash_require(!(there && crash_returned()));
    expect(set, there, there);
    use(set);
}

static void verify_new(void *unused) {
    (void)unused;
    void *set = with();
    verify_same(set);
    unmake(set);
}

/* ---- operations */

static void victim_does(int r) {
    if (r != 0) {
        abort();
    }
}

static void operate_add(void *set) {
    uint32_t wanted = WANTED;
    victim_does(mproc_set_add(set, &wanted, sizeof wanted));
}

static void operate_add_in_vain(void *set) {
    uint32_t wanted = WANTED;
    victim_does(mproc_set_add(set, &wanted, sizeof wanted) + EEXIST);
}

static void operate_has(void *set) {
    uint32_t wanted = WANTED;
    victim_does(mproc_set_has(set, &wanted, sizeof wanted) == 0);
}

static void operate_remove(void *set) {
    uint32_t wanted = WANTED;
    victim_does(mproc_set_remove(set, &wanted, sizeof wanted));
}

static void operate_pop(void *set) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_set_pop(set, &m));
    mproc_message_drop(&m);
}

static void operate_snapshot(void *set) {
    mproc_dict_snapshot *s;
    victim_does(mproc_set_snapshot_new(&s, set));
    mproc_dict_snapshot_drop(s);
}

static void operate_clear(void *set) {
    mproc_set_clear(set);
}

static void operate_new_and_drop(void *unused) {
    (void)unused;
    mproc_set *set = made_set();
    victim_does(set == NULL);
    victim_does(mproc_drop(set));
}

#define OP(name_, setup_, operate_, verify_)                                                       \
    {                                                                                              \
        .name = "set " name_, .setup = (setup_), .operate = (operate_), .verify = (verify_),       \
        .teardown = unmake, .sample = 80                                                           \
    }

static const struct crash_op ops[] = {
    OP("add", without, operate_add, verify_added),
    OP("add (in vain)", with, operate_add_in_vain, verify_same),
    OP("has", with, operate_has, verify_same),
    OP("remove", with, operate_remove, verify_removed),
    OP("pop", with, operate_pop, verify_removed),
    OP("snapshot", with, operate_snapshot, verify_same),
    OP("clear", with, operate_clear, verify_cleared),
    {.name = "set new, drop",
     .setup = crash_no_object,
     .operate = operate_new_and_drop,
     .verify = verify_new,
     .teardown = crash_nothing,
     .sample = 100},
};

CRASH_MAIN(ops)
