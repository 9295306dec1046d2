/*
 * made.h - constructors for tests: an object held once, or NULL
 *
 * SPDX-License-Identifier: MIT
 *
 * For tests that do not care why an object could not be made.
 */
#ifndef MPROC_TEST_MADE_H
#define MPROC_TEST_MADE_H

#include <stddef.h>

#include "mproc.h"

#define MADE(noun, parameters, arguments)                                                          \
    static inline mproc_##noun *made_##noun parameters {                                           \
        mproc_##noun *made = NULL;                                                                 \
        return mproc_##noun##_new arguments == 0 ? made : NULL;                                    \
    }

MADE(lock, (unsigned undo), (&made, undo))
MADE(rlock, (void), (&made))
MADE(semaphore, (unsigned value), (&made, value))
MADE(bsemaphore, (unsigned bound), (&made, bound))
MADE(event, (void), (&made))
MADE(condition, (void), (&made))
MADE(barrier, (unsigned parties), (&made, parties))
MADE(array, (mproc_type type, size_t n), (&made, type, n))
MADE(buffer, (size_t size), (&made, size))
MADE(queue, (uint64_t bound), (&made, bound))
MADE(dict, (void), (&made))
MADE(list, (void), (&made))
MADE(taskq, (unsigned seats), (&made, seats))

#undef MADE

#endif
