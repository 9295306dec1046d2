/*
 * stack.h - where a waiting thread is, in the words of its runtime: as it stands in the arena
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CORE_STACK_H
#define MPROC_CORE_STACK_H

#include "core/object.h"

/* The fields and invariants are in src/stack.c. */
struct mproc_stack {
    struct mproc__object object;
    uint64_t owner;
    uint64_t thread;
    int64_t at;
    uint64_t length;
    char text[];
};

#endif
