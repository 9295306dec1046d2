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
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
MADE(set, (void), (&made))
MADE(list, (void), (&made))
MADE(taskq, (unsigned seats), (&made, seats))
MADE(stack, (const char *words), (&made, words))

/* One node, of transport_sockets.c, and that is this machine. */
static inline mproc_engine *made_engine(void) {
    mproc_engine *made = NULL;
    char directory[] = "/tmp/mproc-test-engine.XXXXXX";
    if (mkdtemp(directory) == NULL || setenv("MPROC_TEST_DIRECTORY", directory, 1) != 0 ||
        setenv("MPROC_TEST_RANK", "0", 1) != 0 || setenv("MPROC_TEST_RANKS", "1", 1) != 0) {
        return NULL;
    }
    int r = mproc_engine_new(&made, "sockets", NULL);
    char file[64];
    snprintf(file, sizeof file, "%s/rank0", directory);
    return unlink(file) == 0 && rmdir(directory) == 0 && r == 0 ? made : NULL;
}

#undef MADE

#endif
