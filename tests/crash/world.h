/*
 * world.h - a family as the world around an operation of the library
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CRASH_WORLD_H
#define CRASH_WORLD_H

#include "crash.h"

#include <stddef.h>
#include <sys/types.h>

#include "mproc.h"

/* Every survivor is the first member of a family of its own. */
extern const struct crash_world crash_family;

#define CRASH_MAIN(ops)                                                                            \
    int main(int argc, char **argv) {                                                              \
        return crash_main(&crash_family, (ops), sizeof(ops) / sizeof((ops)[0]), argc, argv);       \
    }

/* What is long enough for anybody who is not stuck, in ns. */
#define CRASH_SOON (10 * MPROC_SEC)

/* Verifies an object by its own _check, which is given `why, sizeof why`. */
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

/* The laboratory waits for all orphans, and the family's watcher for the survivor, whose only child it
 * is: to be called when the object is unmade. */
void crash_end_watcher(void);

/* A helper that does something and is killed in the middle of it: waits for its end. */
void crash_casualty(void (*run)(void *), void *arg);
/* To be called by it where it is to be killed. */
_Noreturn void crash_die_here(void);

#endif
