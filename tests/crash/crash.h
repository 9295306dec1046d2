/*
 * crash.h - the crash laboratory: kill a process after each instruction of an operation
 *
 * SPDX-License-Identifier: MIT
 *
 * docs/crash.md tells the method. A test is a table of operations. Each of their functions runs either
 * in the *victim* (the process that is killed) or in the *survivor* (its parent, which also is the
 * tracer); every kill point has a survivor and a world of its own.
 */
#ifndef CRASH_H
#define CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct crash_op {
    const char *name;
    void *(*setup)(void);      /* survivor: makes what the operation works on */
    void (*prepare)(void *);   /* victim, before the window; may be NULL */
    void (*operate)(void *);   /* victim: the window */
    void (*meanwhile)(void *); /* survivor: when the victim is about to sleep first; may be NULL */
    void (*verify)(void *);    /* survivor: is the object whole, and does it go on working? */
    void (*teardown)(void *);  /* survivor: afterwards nothing is left */
    unsigned sample; /* about so many points unless all are asked for; 0: as docs/crash.md says */
    bool newborn;    /* the process that operate() makes is the victim, from its first
                                   instruction to its crash_newborn_done() */
    bool marked;     /* its window begins at a mark: it sees CRASH_MARK in its environment */
};

/* What surrounds an operation; all run in the survivor. */
struct crash_world {
    void (*open)(int argc, char **argv);       /* before anything else */
    void (*reap)(void);                        /* notices the victim's death */
    void (*check)(void);                       /* verifies the invariants that hold at any time */
    uint64_t (*level)(char *out, size_t size); /* sums up what is in use, and words it */
};

/* Runs the table; returns the exit code of the program. Last line: N passed, N failed. */
int crash_main(const struct crash_world *world, const struct crash_op *ops, size_t n, int argc,
               char **argv);

/* The same without command line and without a closing line, for tests of the laboratory itself:
 * returns how many operations failed. */
size_t crash_run(const struct crash_world *world, const struct crash_op *ops, size_t n);
/* A survivor that takes longer hangs: 20,000 unless told. */
void crash_patience(int milliseconds);

/* ---- for the functions of an operation */

/* Was the window passed to its end before the kill? Then what it did must have happened. */
bool crash_returned(void);

/* Zero-filled memory that survivor and victim share, outside of the world: 64 KiB. */
void *crash_room(void);

/* Newborn operations: the newborn's window ends here. */
void crash_newborn_done(void);

/* Forks a process that helps (survivor only); it is killed with the survivor at the latest. */
pid_t crash_helper(void (*run)(void *), void *arg);
/* Waits until the helper has ended; anything but exit code 0 fails the operation. */
void crash_helper_join(pid_t helper);

/* Waits for all processes that the victim left behind. */
void crash_orphans(void);

/* Fails the kill point and ends the survivor. */
_Noreturn void crash_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define crash_require(condition)                                                                   \
    ((condition) ? (void)0 : crash_fail(__FILE__, __LINE__, "not true: %s", #condition))

#define crash_equal(got, want)                                                                     \
    do {                                                                                           \
        long long crash_got = (long long)(got), crash_want = (long long)(want);                    \
        if (crash_got != crash_want) {                                                             \
            crash_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, crash_got, crash_want);   \
        }                                                                                          \
    } while (0)

#endif
