/*
 * errors_inspect.c - the errors of looking into families
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/family.h"
#include "core/stack.h"
#include "errors.h"

static int look(pid_t pid) {
    mproc_inspection *seen;
    return mproc_inspect_new(&seen, pid);
}

static mproc_inspection *seen_from_inside(void) {
    mproc_inspection *seen = NULL;
    begin();
    CHECK_OK(mproc_inspect_new(&seen, 0));
    return seen;
}

PROVOKE(mproc_inspect_new, -ESRCH) {
    return look(INT32_MAX);
}

CANNOT(mproc_inspect_new, -EACCES, "it takes a second user, whom the tests may not have")

CANNOT(mproc_inspect_new, -ENODEV,
       "it takes a namespace, which the tests may not make; tests/python/test_looker.py does")

PROVOKE(mproc_inspect_new, -ENOENT) {
    return look(0);
}

CANNOT(mproc_inspect_new, -EXDEV,
       "it takes a namespace, which the tests may not make; tests/python/test_looker.py does")

PROVOKE(mproc_inspect_new, MPROC_EARENA) {
    begin();
    closefrom(3);
    return look(0);
}

PROVOKE(mproc_inspect_new, MPROC_EBUILD) {
    begin();
    mproc__family->layout = 1;
    return look(0);
}

PROVOKE(mproc_inspect_new, MPROC_ECORRUPT) {
    begin();
    mproc__family->chunks.table = 1;
    return look(0);
}

/* What the heap has left, too. */
static void no_memory(void) {
    static void *volatile last;
    no_address_space();
    do {
        last = malloc(1000);
    } while (last != NULL);
}

PROVOKE(mproc_inspect_new, -ENOMEM) {
    begin();
    no_memory();
    return look(0);
}

PROVOKE(mproc_inspect_new, -EMFILE) {
    begin();
    no_descriptors();
    return look(0);
}

PROVOKE(mproc_stack_new, -ENOENT) {
    mproc_stack *stack;
    return mproc_stack_new(&stack, "take (shop.py:12)");
}

PROVOKE(mproc_stack_new, -ENOMEM) {
    mproc_stack *stack;
    begin_small();
    fill_arena();
    return mproc_stack_new(&stack, "take (shop.py:12)");
}

PROVOKE(mproc_stack_check, MPROC_ECORRUPT) {
    mproc_stack *stack;
    begin();
    CHECK_OK(mproc_stack_new(&stack, "take (shop.py:12)"));
    stack->length = MPROC_STACK_MOST + 1;
    return mproc_stack_check(stack, NULL, 0);
}

PROVOKE(mproc_inspect_json, -ENOMEM) {
    char *text;
    begin();
    no_memory();
    return mproc_inspect_json(&text, 0);
}

CANNOT(mproc_inspect_families, -ENODEV,
       "it takes a namespace, which the tests may not make; tests/python/test_looker.py does")

PROVOKE(mproc_inspect_families, -ENOMEM) {
    pid_t pid;
    no_memory();
    return mproc_inspect_families(&pid, 1);
}

PROVOKE(mproc_inspect_member, -ERANGE) {
    mproc_inspect_member_seen member;
    return mproc_inspect_member(seen_from_inside(), 1, &member);
}

PROVOKE(mproc_inspect_object, -ERANGE) {
    mproc_inspect_object_seen object;
    return mproc_inspect_object(seen_from_inside(), 1000, &object);
}

PROVOKE(mproc_inspect_holder, -ERANGE) {
    return mproc_inspect_holder(seen_from_inside(), 1000, 0);
}

PROVOKE(mproc_inspect_wait, -ERANGE) {
    mproc_inspect_wait_seen wait;
    return mproc_inspect_wait(seen_from_inside(), 0, &wait);
}

PROVOKE(mproc_inspect_words, -ERANGE) {
    char words[100];
    return mproc_inspect_words(seen_from_inside(), 0, words, sizeof words);
}

CANNOT(mproc_inspect_words, -ENOMEM, "a sentence needs so little that the heap has it")

PROVOKE(mproc_log_deadlocks, -EINVAL) {
    return mproc_log_deadlocks(0, 0);
}

PROVOKE(mproc_log_deadlocks, -ENOENT) {
    setenv("PATH", "", 1);
    return mproc_log_deadlocks(MPROC_SEC, 0);
}
