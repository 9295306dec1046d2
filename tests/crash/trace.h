/*
 * trace.h - one process under ptrace: record what it runs, run it to an instruction, kill it there
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CRASH_TRACE_H
#define CRASH_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Longest operation that can be recorded, in instructions. */
#define TRACE_MAX (1u << 21)

/* rip[i] is the next instruction after i instructions of the window; rip[count] is the end mark. */
struct trace {
    uint32_t count;
    uint32_t sleep; /* index of the first system call that may sleep on a futex, or TRACE_NONE */
    uint64_t rip[TRACE_MAX];
    uint32_t anchor[TRACE_MAX]; /* trace_anchors(): index up to i that a breakpoint gets to, */
    uint32_t hits[TRACE_MAX];   /*   and how often the breakpoint is hit on the way; 0: none set */
};

#define TRACE_NONE UINT32_MAX

enum trace_end {
    TRACE_HERE,  /* stopped where it should */
    TRACE_STRAY, /* took another path than the recorded one: reached the end mark early */
    TRACE_GONE,  /* the process has ended by itself */
    TRACE_BORN,  /* stopped where it makes a process that is kept */
    TRACE_ASLEEP /* stopped in its first sleep, and helped out of it */
};

/* The process that is traced. */
struct tracee {
    pid_t pid;
    uint32_t at;       /* instructions run since the begin mark */
    uint32_t *turns;   /* how often it was resumed, for who watches; NULL: nobody does */
    int status;        /* TRACE_GONE: as waitpid gave it */
    bool keep_newborn; /* hold a process made in the window; otherwise it is let go at once */
    pid_t newborn;     /* that process, at its first instruction; 0: none */
    uint64_t trap;     /* where a breakpoint is set, 0: nowhere; and the text that is under it */
    long text;
    void (*meanwhile)(void *); /* to be called when it is about to sleep first; NULL: has been */
    void *arg;
};

/* In the traced process: the marks around the window. */
void trace_mark_begin(void);
void trace_mark_end(void);

/* In the traced process, before the begin mark. */
void trace_me(void);

/* Waits until the process is at its begin mark. */
enum trace_end trace_begin(struct tracee *tracee);

/* Lets a process that is at its begin mark run until it makes a process. From then on that newborn
 * is traced, which is before its first instruction, and the parent is let go. `marked`: the
 * newborn has a begin mark of its own and runs up to it. */
enum trace_end trace_newborn(struct tracee *tracee, bool marked);

/* Single-steps to the end mark and records each step. TRACE_STRAY: the run is too long. */
enum trace_end trace_record(struct tracee *tracee, struct trace *trace);

/* Computes trace->anchor, the cheapest way to each index. With a split a second part begins at the
 * first sleep, and a run to a later index goes exactly to the sleep first. */
void trace_anchors(struct trace *trace, bool split_at_sleep);

/* Runs up to `point` instructions; with `naive` by single steps alone. With `meanwhile` the
 * instructions after the first sleep are counted from the sleep, whatever path led there. */
enum trace_end trace_run(struct tracee *tracee, const struct trace *trace, uint32_t point,
                         bool naive);

/* The address of the next instruction. */
uint64_t trace_rip(const struct tracee *tracee);

/* One instruction further. */
enum trace_end trace_step(struct tracee *tracee);

/* Whether the next instruction is a system call that sleeps on a futex or waits for descriptors. */
bool trace_about_to_wait(const struct tracee *tracee);
/* Whether it is one that sleeps on a futex: who has `meanwhile` is stopped there. */
bool trace_about_to_sleep(const struct tracee *tracee);

/* Lets the process go. */
void trace_release(const struct tracee *tracee);
/* The same; it gets a signal before its next instruction. */
void trace_release_with(const struct tracee *tracee, int signal);

#endif
