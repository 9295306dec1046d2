/*
 * boss.h - what those share who keep a crew of processes busy and kill some at random
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CRASH_BOSS_H
#define CRASH_BOSS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "mproc.h"

/* Reads --seconds and --seed, prints both, joins a family, and notes what is in use. Returns the seconds. */
double boss_begin(int argc, char **argv, const char *name, double seconds);

/* Says what is wrong and ends the program, with a closing line that counts one failure. */
_Noreturn void boss_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails unless r is 0. */
void boss_require(int r, const char *what);

/* Verifies an object by its own _check, which is given `why, sizeof why`. */
#define boss_check(call)                                                                           \
    do {                                                                                           \
        char why[256] = "";                                                                        \
        if ((call) != 0) {                                                                         \
            boss_fail("%s: %s", #call, why);                                                       \
        }                                                                                          \
    } while (0)

/* Seconds since the begin. */
double boss_elapsed(void);
void boss_nap(uint64_t us);

/* The same from the same seed. */
uint64_t boss_random_below(uint64_t n);

/* A name on /dev/shm of this program's run; `out` has room for 64 bytes. */
void boss_name(char *out, const char *suffix);

/* Zero-filled memory of the arena. */
void *boss_calloc(size_t size);

/* A fork; the child dies with its boss. */
pid_t boss_fork(void);
/* Collects a child's status, once it has ended. */
int boss_collect(pid_t pid);
bool boss_ended(pid_t pid);
/* False: it has not ended after that many seconds. */
bool boss_await_end(pid_t pid, int seconds);

/* Where in the system a process sleeps; `out` has room for 64 bytes. */
void boss_where(pid_t pid, char *out);

/* Fails if bytes, blocks, members, descriptors or names on /dev/shm are in use that were not at the
 * begin; then says that all is well. Returns the exit code of the program. */
int boss_end(void);

static inline uint64_t boss_load(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void boss_store(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint64_t boss_add(uint64_t *word, uint64_t n) {
    return __atomic_fetch_add(word, n, __ATOMIC_ACQ_REL);
}

#endif
