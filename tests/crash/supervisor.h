/*
 * supervisor.h - a process that keeps children busy and kills some of them at random
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CRASH_SUPERVISOR_H
#define CRASH_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "mproc.h"
#include "system/atomic.h"

/* Reads --seconds and --seed, prints both, joins a family, and notes what is in use. Returns the
 * seconds. */
double supervisor_begin(int argc, char **argv, const char *name, double seconds);

/* Prints what is wrong and ends the program; the last line counts one failure. */
_Noreturn void supervisor_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails unless r is 0. */
void supervisor_require(int r, const char *what);

/* Verifies an object by its own _check function, which gets `why, sizeof why`. */
#define supervisor_check(call)                                                                     \
    do {                                                                                           \
        char why[256] = "";                                                                        \
        if ((call) != 0) {                                                                         \
            supervisor_fail("%s: %s", #call, why);                                                 \
        }                                                                                          \
    } while (0)

/* Seconds since supervisor_begin(). */
double supervisor_elapsed(void);
void supervisor_nap(uint64_t us);

/* A random number below n; the same numbers from the same seed. */
uint64_t supervisor_random_below(uint64_t n);

/* A name on /dev/shm of this program's run; `out` has room for 64 bytes. */
void supervisor_name(char *out, const char *suffix);

/* Zero-filled memory of the arena. */
void *supervisor_calloc(size_t size);

/* Forks a child that dies with its supervisor. */
pid_t supervisor_fork(void);
/* Whether a child has ended; its status stays there. */
bool supervisor_ended(pid_t pid);
/* Waits for the end of a child; false if it has not ended after that many seconds. */
bool supervisor_await_end(pid_t pid, int seconds);

/* What a child says by its exit code, unless all is well (0). A program's own codes begin at
 * CHILD_FINDINGS. */
enum { CHILD_STUCK = 10, CHILD_ODD_RESULT, CHILD_UNEQUAL, CHILD_FINDINGS };

/* In a child: ends it if a call had another result than 0. */
void child_expect(int r);

/* Waits for the end of a child. Returns NULL if it ended with exit code 0, or by the supervisor's
 * SIGKILL (`killed`); then *by_us says which. Otherwise returns what it found; `own` words the
 * program's own codes. */
const char *supervisor_judge(pid_t pid, bool killed, bool *by_us, const char *const *own,
                             unsigned n_own);

/* The function of the kernel in which a process sleeps; `out` has room for 64 bytes. */
void supervisor_where(pid_t pid, char *out);

/* Fails if bytes, blocks, members, descriptors or names on /dev/shm are in use that were not in
 * use at supervisor_begin(). Otherwise prints that the run has passed and returns 0. */
int supervisor_end(void);

#endif
