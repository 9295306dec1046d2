/*
 * stack.c - where a waiting thread is, in the words of its runtime: for those who look from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A wait that does not end asks the runtime's hook between two slices of its sleep
 * (mproc_wait_hook()). There the runtime writes down where the thread is, as Python does, and takes
 * that back when the thread is awake again. So a wait that ends within its first slices, of 50 ms,
 * writes nothing, and what need not wait does not either. A looker needs no right over the process
 * and no symbols of it: the words are in the arena.
 *
 * Shared state. All of it is written before the object has a holder, and never again.
 *   owner, thread   The member and its thread whose words they are.
 *   at              When they were written (mproc__os_now()): the last ones of a thread count.
 *   length, text    The words, which end in a 0 that is not counted.
 *
 * Invariants.
 *   S1  The text is as long as `length` says, at most MPROC_STACK_MOST bytes.
 *   S2  The object is large enough for it.
 *
 * If a member dies here: before it holds the object, its reaper destroys that with the hand; later
 * it gives back the hold, and with it the object goes. A child that was forked meanwhile has a hold
 * on the words, too, as on all objects, until it ends. They are not its own, and say so.
 *
 * What it does not do: take memory that the program may need. Where half of the arena is in use, no
 * words are written.
 */
#include <string.h>

#include "core/join.h"
#include "core/make.h"
#include "core/stack.h"

static_assert(sizeof(mproc_stack) == 96, "the words begin behind a cache line and a half");

static int fill(struct mproc__hand *hand, void *object, const void *words) {
    mproc_stack *stack = object;
    (void)hand;
    stack->owner = mproc__self_token();
    stack->thread = mproc__self_thread() & UINT32_MAX;
    stack->at = mproc__os_now();
    stack->length = strnlen(words, MPROC_STACK_MOST);
    memcpy(stack->text, words, stack->length);
    return 0;
}

static size_t size_for(const char *words) {
    return sizeof(mproc_stack) + strnlen(words, MPROC_STACK_MOST) + 1;
}

int mproc_stack_new(mproc_stack **out, const char *words) {
    /* SYNC(join.family_joined) */
    if (!mproc__load32(&mproc__family_joined)) {
        return -ENOENT;
    }
    if (!mproc__chunks_have_half(1)) {
        return -ENOMEM;
    }
    return mproc__object_build(out, MPROC__KIND_STACK, size_for(words), fill, words);
}

int mproc_stack_check(const mproc_stack *stack, char *why, size_t size) {
    if (!mproc__object_is(stack, MPROC__KIND_STACK)) {
        return mproc__corrupt(why, size, "S: %p is no stack", (const void *)stack);
    }
    if (stack->length > MPROC_STACK_MOST ||
        mproc__heap_size(stack) < sizeof *stack + stack->length + 1) {
        return mproc__corrupt(why, size, "S2: %u bytes of words are too many",
                              (unsigned)stack->length);
    }
    return strnlen(stack->text, stack->length + 1) == stack->length
               ? 0
               : mproc__corrupt(why, size, "S1: the words are not %u bytes long",
                                (unsigned)stack->length);
}
