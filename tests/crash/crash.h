/*
 * crash.h - the crash laboratory: kill or stop a process after each instruction of an operation
 *
 * SPDX-License-Identifier: MIT
 *
 * docs/crash.md explains the method. A test is a table of operations. Each function of an operation
 * runs either in the *victim* (the process that is killed) or in the *survivor* (its parent and
 * tracer). Every kill point has a survivor and a fixture of its own.
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
    void (*meanwhile)(void *); /* survivor: when the victim first goes to sleep; may be NULL */
    void (*verify)(void *);    /* survivor: is the object whole, and does it still work? */
    void (*teardown)(void *);  /* survivor: afterwards nothing is left */
    unsigned sample;           /* about how many points, unless all are; 0: as docs/crash.md says */
    /* Survivor: the victim is not killed but stopped at the point, this is called, and then the
     * victim goes on to its end. */
    void (*beside)(void *);
    /* The victim is the process that operate() makes. Its window goes from its first instruction
     * to its crash_newborn_done(). */
    bool newborn;
    bool marked; /* the newborn's window begins at a mark: it sees CRASH_MARK in its environment */
};

/* What is set up around an operation; all of these run in the survivor. */
struct crash_fixture {
    void (*open)(int argc, char **argv);       /* the first thing that is called */
    void (*reap)(void);                        /* notices the victim's death */
    void (*check)(void);                       /* verifies invariants that always hold */
    uint64_t (*level)(char *out, size_t size); /* what is in use: a sum, and in words */
};

/* Runs the table; returns the exit code of the program. Last line: N passed, N failed. */
int crash_main(const struct crash_fixture *fixture, const struct crash_op *ops, size_t n, int argc,
               char **argv);

/* The same without a command line and without the last line, for tests of the laboratory itself.
 * Returns how many operations failed. */
size_t crash_run(const struct crash_fixture *fixture, const struct crash_op *ops, size_t n);
/* A survivor that takes longer than this hangs; the default is 20,000. */
void crash_patience(int milliseconds);

/* ---- for the functions of an operation */

/* For operations without an object to make, and without anything to verify or to tear down. */
void *crash_no_object(void);
void crash_nothing(void *object);

/* Whether the victim was killed after the end of the window; then the effect must be there. */
bool crash_returned(void);

/* 64 KiB of zero-filled memory that survivor and victim share, outside of the fixture. */
void *crash_room(void);

/* The window of a newborn victim ends where it calls this. */
void crash_newborn_done(void);

/* Forks a helper of the survivor; it is killed with the survivor at the latest. */
pid_t crash_helper(void (*run)(void *), void *arg);
/* Waits until the helper has ended; any exit code but 0 fails the operation. */
void crash_helper_join(pid_t helper);

/* Waits for the end of all processes that the victim left behind. */
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
