/*
 * fixture.h - the family in which an operation of the library is killed
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CRASH_FIXTURE_H
#define CRASH_FIXTURE_H

#include "crash.h"

#include <stddef.h>
#include <sys/types.h>

#include "mproc.h"

/* Every survivor is the first member of a family of its own. */
extern const struct crash_fixture crash_family;

#define CRASH_MAIN(ops)                                                                            \
    int main(int argc, char **argv) {                                                              \
        return crash_main(&crash_family, (ops), sizeof(ops) / sizeof((ops)[0]), argc, argv);       \
    }

/* A wait that takes longer than this is stuck, in ns. */
#define CRASH_SOON (10 * MPROC_SEC)

/* Verifies an object by its own _check function, which gets `why, sizeof why`. */
#define crash_check(call)                                                                          \
    do {                                                                                           \
        char why[256] = "";                                                                        \
        if ((call) != 0) {                                                                         \
            crash_fail(__FILE__, __LINE__, "%s: %s", #call, why);                                  \
        }                                                                                          \
    } while (0)

/* Bytes and blocks of the arena in use. */
size_t crash_used(void);
size_t crash_blocks(void);

/* Memory of the arena, zero-filled; never fails. */
void *crash_calloc(size_t size);

/* Waits until a process sleeps on a futex. */
void crash_wait_asleep(pid_t pid);

/* Calls something as a thread of a process of which other threads have all hands, and one of them
 * waits with the hand that is shared. */
void crash_without_hands(void (*run)(void *), void *arg);

/* Kills the family's watcher, the survivor's only child. The laboratory waits for all orphans, and
 * the watcher waits for the survivor; so call this when the object has been destroyed. */
void crash_end_watcher(void);

/* Runs a helper that is killed in the middle of what it does, and waits for its end. */
void crash_casualty(void (*run)(void *), void *arg);
/* The helper calls this where it is to be killed. */
_Noreturn void crash_die_here(void);

#endif
