/*
 * bench.h - what every benchmark uses: rounds that alternate, medians, a table
 *
 * SPDX-License-Identifier: MIT
 *
 * A table compares contenders at one thing. First each contender is calibrated: how many operations
 * take 10 ms? Then they take turns, round after round, so that other work of the machine hits all
 * of them. A round is up to eight runs, of which the fastest counts: other programs only ever make
 * a run slower. The table shows the median of the rounds, their range, and how many times as fast
 * as each peer the first contender is. No benchmark fails because of time.
 *
 * Environment: BENCH_ROUNDS, the number of rounds (default 5).
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_contender {
    const char *name;
    /* Does n operations; returns the seconds they took, or bench_cannot(). */
    double (*run)(void *arg, uint64_t n);
    void *arg;
    bool ours; /* whether it is the first contender or a variant of it; the others are peers */
};

struct bench_target {
    double times;    /* at least so many times as fast as the best peer; 0: no target */
    double absolute; /* a rate at least, or a time at most; 0: no target */
};

struct bench_table {
    const char *title;
    const char *unit;
    double scale; /* units of a figure in one operation per second, or in one second */
    bool rate;    /* operations per time; otherwise time per operation */
    const struct bench_contender *contenders;
    size_t n;
    struct bench_target target;
    bool sampled; /* a run takes a time of its own and gives that of n operations: 1 is enough */
};

void bench_compare(const struct bench_table *table);

/* The result of a contender that cannot take part; `why` is a static text. */
double bench_cannot(const char *why);

/* Prints a heading: what the machine is, and what is measured. */
void bench_heading(const char *what);

/* ---- for contenders */

double bench_now(void); /* seconds */
unsigned bench_cpus(void);
/* Pins the caller to a CPU (counted modulo those that it may use); bench_unpin() undoes all. */
void bench_pin(unsigned cpu);
void bench_unpin(void);
/* Keeps the compiler from dropping a value. */
static inline void bench_keep(const void *p) {
    __asm__ volatile("" : : "r"(p) : "memory");
}

/* Two processes: the child runs one side, the caller the other, between two meetings. Each side is
 * pinned to its CPU. The result is the caller's time from the first meeting to the last. */
struct bench_pair {
    void (*enter)(void *arg, bool child); /* before the first meeting, in both; may be NULL */
    void (*side)(void *arg, bool child, uint64_t n);
    void (*leave)(void *arg, bool child); /* may be NULL */
    unsigned cpu_of_parent, cpu_of_child;
};
double bench_run_pair(const struct bench_pair *pair, void *arg, uint64_t n);

/* Runs it in a process of its own, and returns what it returned; not negative. */
double bench_apart(double (*run)(void *arg, uint64_t n), void *arg, uint64_t n);

#ifdef __cplusplus
[[noreturn]]
#else
_Noreturn
#endif
void bench_die(const char *what);

#ifdef __cplusplus
}
#endif
#endif
