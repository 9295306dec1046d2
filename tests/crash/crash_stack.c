/*
 * crash_stack.c - where a thread waits, killed after each instruction that says so or takes it back
 *
 * SPDX-License-Identifier: MIT
 */
#include "../c/made.h"
#include "core/stack.h"
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static const char words[] = "take (shop.py:12)\nserve (shop.py:40)";

static void *room(void) {
    return crash_calloc(sizeof(mproc_stack *));
}

static void tell(void *at) {
    mproc_stack *stack = made_stack(words);
    if (stack == NULL || mproc_stack_check(stack, NULL, 0) != 0) {
        abort();
    }
    *(mproc_stack **)at = stack;
}

static void take_back(void *at) {
    if (mproc_drop(*(mproc_stack **)at) != 0) {
        abort();
    }
}

static void tell_and_take_back(void *at) {
    tell(at);
    take_back(at);
}

/* The words are the victim's alone, and go with it. */
static void nothing_is_left(void *at) {
    crash_check(mproc_arena_check(why, sizeof why));
    mproc_free(at);
    crash_equal(crash_blocks(), 0);
    crash_end_watcher();
}

/* Another member has them, too, as a child does that was forked in between: they are whole. */
static void *make_shared(void) {
    mproc_stack **at = room();
    *at = made_stack(words);
    crash_require(*at != NULL);
    return at;
}

static void hold(void *at) {
    if (mproc_hold(*(mproc_stack **)at) != 0) {
        abort();
    }
}

static void verify_shared(void *at) {
    const mproc_stack *stack = *(mproc_stack **)at;
    crash_check(mproc_stack_check(stack, why, sizeof why));
    crash_equal(strcmp(stack->text, words), 0);
}

static void drop_shared(void *at) {
    crash_equal(mproc_drop(*(mproc_stack **)at), 0);
    nothing_is_left(at);
}

#define OP(name_, setup_, prepare_, operate_, verify_, teardown_)                                  \
    {                                                                                              \
        .name = (name_), .setup = (setup_), .prepare = (prepare_), .operate = (operate_),          \
        .verify = (verify_), .teardown = (teardown_)                                               \
    }

static const struct crash_op ops[] = {
    OP("tell", room, NULL, tell, crash_nothing, nothing_is_left),
    OP("take back", room, tell, take_back, crash_nothing, nothing_is_left),
    OP("tell and take back", room, NULL, tell_and_take_back, crash_nothing, nothing_is_left),
    OP("take back what another has", make_shared, hold, take_back, verify_shared, drop_shared),
};

CRASH_MAIN(ops)
