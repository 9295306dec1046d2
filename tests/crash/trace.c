/*
 * trace.c - one process under ptrace: record what it runs, run it to an instruction, kill it there
 *
 * SPDX-License-Identifier: MIT
 *
 * The window is what a process runs between two marks, each of which is an int3. One run is
 * recorded by single steps. Later runs are killed after k instructions, and k single steps each
 * would take too long. So the recording gives each k an anchor: an index up to k whose instruction
 * has not run often before. A breakpoint is set at that instruction and passed as often as it ran
 * before; the few steps that remain are single steps. A run that takes another path than the
 * recorded one (fewer rounds of a spin loop, say) reaches the end mark early. It is reported as
 * stray, and the caller repeats it by single steps alone.
 *
 * A system call is one instruction, and so is each round of a rep-prefixed one. The kernel stops a
 * process that is made inside the window before its first instruction. Such a process is let go at
 * once, or kept for a caller that traces it.
 *
 * Linux on x86-64 only: this file knows the int3, its address, and where the registers are.
 */
#include "trace.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

extern const char trace_at_begin[], trace_at_end[];

/* The labels are the addresses after the marks: in the trap the instruction pointer is there. */
__asm__(".text\n"
        ".globl trace_mark_begin, trace_mark_end, trace_at_begin, trace_at_end\n"
        ".type trace_mark_begin, @function\n"
        "trace_mark_begin:\n\tint3\ntrace_at_begin:\n\tret\n"
        ".size trace_mark_begin, . - trace_mark_begin\n"
        ".type trace_mark_end, @function\n"
        "trace_mark_end:\n\tint3\ntrace_at_end:\n\tret\n"
        ".size trace_mark_end, . - trace_mark_end\n");

static void fatal(const char *what) {
    fprintf(stderr, "crash laboratory: %s: %s\n", what, strerror(errno));
    _Exit(70);
}

uint64_t trace_rip(const struct tracee *tracee) {
    errno = 0;
    long rip = ptrace(PTRACE_PEEKUSER, tracee->pid, offsetof(struct user_regs_struct, rip), 0);
    if (errno != 0) {
        fatal("reading the instruction pointer");
    }
    return (uint64_t)rip;
}

static void set_rip(const struct tracee *tracee, uint64_t rip) {
    if (ptrace(PTRACE_POKEUSER, tracee->pid, offsetof(struct user_regs_struct, rip), rip) != 0) {
        fatal("setting the instruction pointer");
    }
}

void trace_me(void) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) {
        fatal("PTRACE_TRACEME");
    }
}

static void write_text(pid_t pid, uint64_t at, long text) {
    if (ptrace(PTRACE_POKETEXT, pid, at, text) != 0) {
        fatal("changing the text of a process");
    }
}

static void set_trap(struct tracee *tracee, uint64_t rip) {
    errno = 0;
    tracee->text = ptrace(PTRACE_PEEKTEXT, tracee->pid, rip, 0);
    if (errno != 0) {
        fatal("reading the text of a process");
    }
    tracee->trap = rip;
    write_text(tracee->pid, rip, (tracee->text & ~0xffL) | 0xcc);
}

static void clear_trap(struct tracee *tracee) {
    write_text(tracee->pid, tracee->trap, tracee->text);
    tracee->trap = 0;
}

static int wait_for(pid_t pid) {
    int status;
    while (waitpid(pid, &status, __WALL) < 0) {
        if (errno != EINTR) {
            fatal("waitpid");
        }
    }
    return status;
}

/* A newborn process is stopped before its first instruction. It has a copy of the breakpoint, or
 * shares its text with its parent until the parent goes on. A trap there would end it. */
static void take_newborn(struct tracee *tracee, int event) {
    unsigned long pid = 0;
    if (ptrace(PTRACE_GETEVENTMSG, tracee->pid, 0, &pid) != 0) {
        fatal("PTRACE_GETEVENTMSG");
    }
    wait_for((pid_t)pid);
    if (tracee->trap != 0) {
        write_text((pid_t)pid, tracee->trap, tracee->text);
        if (event == PTRACE_EVENT_VFORK) {
            write_text(tracee->pid, tracee->trap, tracee->text);
        }
    }
    if (tracee->keep_newborn && tracee->newborn == 0) {
        tracee->newborn = (pid_t)pid;
    } else if (ptrace(PTRACE_DETACH, (pid_t)pid, 0, 0) != 0 && errno != ESRCH) {
        fatal("PTRACE_DETACH");
    }
}

static void on_event(struct tracee *tracee, int event) {
    if (event == PTRACE_EVENT_VFORK_DONE) {
        if (tracee->trap != 0) {
            set_trap(tracee, tracee->trap);
        }
    } else if (event == PTRACE_EVENT_EXEC) {
        tracee->trap = 0;
    } else {
        take_newborn(tracee, event);
    }
}

static bool sleeps(uint64_t number, uint64_t verb) {
    int command = (int)verb & FUTEX_CMD_MASK;
    return number == SYS_futex && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET);
}

static struct user_regs_struct registers(const struct tracee *tracee) {
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, tracee->pid, 0, &regs) != 0) {
        fatal("PTRACE_GETREGS");
    }
    return regs;
}

/* The victim is about to sleep for the first time: does what will end the sleep. */
static void help(struct tracee *tracee) {
    void (*meanwhile)(void *) = tracee->meanwhile;
    tracee->meanwhile = NULL;
    if (meanwhile != NULL) { /* a victim that was helped before is not stopped there again */
        meanwhile(tracee->arg);
    }
}

/* Goes on by `request` to the next trap. Signals are passed on. A process that has to be helped
 * out of a sleep is stopped at its system calls, too: it may come to its sleep by another path
 * than the recorded one, because how long it looks before it sleeps depends on timing.
 * TRACE_ASLEEP: the process was helped and is inside the call. */
static enum trace_end go(struct tracee *tracee, int request) {
    int signal = 0;
    for (;;) {
        if (request == PTRACE_CONT && tracee->meanwhile != NULL) {
            request = PTRACE_SYSCALL;
        }
        if (ptrace(request, tracee->pid, 0, signal) != 0 && errno != ESRCH) {
            fatal("resuming a process");
        }
        if (tracee->turns != NULL) {
            __atomic_fetch_add(tracee->turns, 1, __ATOMIC_RELAXED);
        }
        int status = wait_for(tracee->pid);
        if (!WIFSTOPPED(status)) {
            tracee->status = status;
            return TRACE_GONE;
        }
        if (status >> 8 == SIGTRAP) {
            return TRACE_HERE;
        }
        if (status >> 8 == (SIGTRAP | 0x80)) {
            struct user_regs_struct regs = registers(tracee);
            if ((int64_t)regs.rax == -ENOSYS && sleeps(regs.orig_rax, regs.rsi)) {
                help(tracee);
                return TRACE_ASLEEP;
            }
            signal = 0;
            continue;
        }
        signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
        if (signal == 0) {
            on_event(tracee, status >> 16);
            if (tracee->newborn != 0) {
                return TRACE_BORN;
            }
        }
    }
}

static void set_options(pid_t pid) {
    long options = PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC |
                   PTRACE_O_TRACESYSGOOD;
    if (ptrace(PTRACE_SETOPTIONS, pid, 0, options) != 0) {
        fatal("PTRACE_SETOPTIONS");
    }
}

static bool at_mark(uint64_t rip, const char *mark) {
    return rip == (uint64_t)(uintptr_t)mark;
}

static enum trace_end run_to_begin(struct tracee *tracee) {
    while (!at_mark(trace_rip(tracee), trace_at_begin)) {
        if (go(tracee, PTRACE_CONT) == TRACE_GONE) {
            return TRACE_GONE;
        }
    }
    return TRACE_HERE;
}

enum trace_end trace_begin(struct tracee *tracee) {
    int status = wait_for(tracee->pid);
    tracee->at = 0;
    tracee->newborn = 0;
    tracee->trap = 0;
    if (!WIFSTOPPED(status)) {
        tracee->status = status;
        return TRACE_GONE;
    }
    set_options(tracee->pid);
    return run_to_begin(tracee);
}

enum trace_end trace_newborn(struct tracee *tracee, bool marked) {
    tracee->keep_newborn = true;
    enum trace_end end = go(tracee, PTRACE_CONT);
    if (end != TRACE_BORN) {
        return end == TRACE_HERE ? TRACE_STRAY : end;
    }
    trace_release(tracee);
    tracee->pid = tracee->newborn;
    tracee->newborn = 0;
    tracee->keep_newborn = false;
    set_options(tracee->pid);
    return marked ? run_to_begin(tracee) : TRACE_HERE;
}

static enum trace_end step(struct tracee *tracee) {
    enum trace_end end = go(tracee, PTRACE_SINGLESTEP);
    if (end == TRACE_HERE) {
        tracee->at++;
    }
    return end;
}

/* Whether the next instruction is a system call; its registers then. */
static bool about_to_call(const struct tracee *tracee, uint64_t rip,
                          struct user_regs_struct *regs) {
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, tracee->pid, rip, 0);
    if (errno != 0 || (text & 0xffff) != 0x050f) { /* syscall */
        return false;
    }
    *regs = registers(tracee);
    return true;
}

static bool about_to_sleep(const struct tracee *tracee, uint64_t rip) {
    struct user_regs_struct regs;
    return about_to_call(tracee, rip, &regs) && sleeps(regs.rax, regs.rsi);
}

bool trace_about_to_wait(const struct tracee *tracee) {
    struct user_regs_struct regs;
    return about_to_call(tracee, trace_rip(tracee), &regs) &&
           (sleeps(regs.rax, regs.rsi) || regs.rax == SYS_ppoll);
}

bool trace_about_to_sleep(const struct tracee *tracee) {
    return about_to_sleep(tracee, trace_rip(tracee));
}

enum trace_end trace_step(struct tracee *tracee) {
    return step(tracee);
}

enum trace_end trace_record(struct tracee *tracee, struct trace *trace) {
    trace->sleep = TRACE_NONE;
    for (;;) {
        uint64_t rip = trace_rip(tracee);
        trace->count = tracee->at;
        trace->rip[tracee->at] = rip;
        if (at_mark(rip, trace_at_end)) {
            return TRACE_HERE;
        }
        if (tracee->at == TRACE_MAX - 1) {
            return TRACE_STRAY;
        }
        if (trace->sleep == TRACE_NONE && about_to_sleep(tracee, rip)) {
            trace->sleep = tracee->at;
            if (tracee->meanwhile != NULL) {
                help(tracee);
            }
        }
        if (step(tracee) == TRACE_GONE) {
            return TRACE_GONE;
        }
    }
}

/* A hash table with open addressing: how often each address has been seen. */
struct seen {
    struct seen_one {
        uint64_t rip;
        uint32_t times;
    } * slot;
    uint64_t mask;
};

static uint32_t seen_again(struct seen *seen, uint64_t rip) {
    uint64_t i = (rip * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & seen->mask;
    while (seen->slot[i].rip != rip && seen->slot[i].rip != 0) {
        i = (i + 1) & seen->mask;
    }
    seen->slot[i].rip = rip;
    return ++seen->slot[i].times;
}

/* A hit costs as much as three single steps: breakpoint off, step, breakpoint on. So the cost of
 * index i is the smaller of two: the cost of i - 1 and one step, or all the hits of a breakpoint
 * at i. */
void trace_anchors(struct trace *trace, bool split_at_sleep) {
    struct seen seen = {NULL, 1};
    while (seen.mask < 2 * (uint64_t)trace->count + 16) {
        seen.mask <<= 1;
    }
    size_t bytes = seen.mask * sizeof *seen.slot;
    seen.slot = calloc(1, bytes);
    if (seen.slot == NULL) {
        fatal("memory for the anchors");
    }
    seen.mask--;
    uint64_t cost = 0;
    for (uint32_t i = 0; i <= trace->count; i++) {
        bool border = i == 0 || (split_at_sleep && i == trace->sleep);
        if (border) {
            memset(seen.slot, 0, bytes);
        }
        uint32_t times = seen_again(&seen, trace->rip[i]);
        if (border || 3 * (uint64_t)times < cost + 1) {
            trace->anchor[i] = i;
            trace->hits[i] = border ? 0 : times;
            cost = border ? 0 : 3 * (uint64_t)times;
        } else {
            trace->anchor[i] = trace->anchor[i - 1];
            trace->hits[i] = trace->hits[i - 1];
            cost++;
        }
    }
    free(seen.slot);
}

/* Runs to the breakpoint that is set. */
static enum trace_end run_to_trap(struct tracee *tracee) {
    uint64_t rip = tracee->trap;
    enum trace_end end = go(tracee, PTRACE_CONT);
    if (end == TRACE_ASLEEP) {
        clear_trap(tracee); /* it may be let go */
    }
    if (end != TRACE_HERE) {
        return end;
    }
    clear_trap(tracee);
    if (trace_rip(tracee) != rip + 1) {
        return TRACE_STRAY;
    }
    set_rip(tracee, rip);
    return TRACE_HERE;
}

/* Runs to a breakpoint at the anchor for the given index; the end mark is its own breakpoint. */
static enum trace_end leap(struct tracee *tracee, const struct trace *trace, uint32_t index) {
    uint32_t anchor = trace->anchor[index];
    uint64_t rip = trace->rip[anchor];
    enum trace_end end = TRACE_HERE;
    if (anchor == trace->count) {
        end = go(tracee, PTRACE_CONT);
        tracee->at = anchor;
        return end;
    }
    for (uint32_t hits = 0; hits < trace->hits[index] && end == TRACE_HERE; hits++) {
        if (hits != 0) {
            end = go(tracee, PTRACE_SINGLESTEP);
        }
        if (end == TRACE_HERE) {
            set_trap(tracee, rip);
            end = run_to_trap(tracee);
        }
    }
    tracee->at = anchor;
    return end;
}

static enum trace_end step_to(struct tracee *tracee, uint32_t point) {
    enum trace_end end = TRACE_HERE;
    while (end == TRACE_HERE && tracee->at < point) {
        if (tracee->meanwhile != NULL && about_to_sleep(tracee, trace_rip(tracee))) {
            help(tracee);
        }
        end = step(tracee);
        if (end == TRACE_HERE && tracee->at < point && at_mark(trace_rip(tracee), trace_at_end)) {
            end = TRACE_STRAY;
        }
    }
    return end;
}

/* Runs on from inside the call that sleeps. */
static enum trace_end run_on(struct tracee *tracee, const struct trace *trace, uint32_t point) {
    enum trace_end end = TRACE_HERE;
    tracee->at = trace->sleep;
    if (trace->anchor[point] > trace->sleep) {
        end = leap(tracee, trace, point);
    }
    return end == TRACE_HERE ? step_to(tracee, point) : end;
}

/* Runs to a point after the sleep: first to the sleep itself. */
static enum trace_end run_behind(struct tracee *tracee, const struct trace *trace, uint32_t point) {
    enum trace_end end = go(tracee, PTRACE_CONT);
    return end == TRACE_ASLEEP ? run_on(tracee, trace, point)
           : end == TRACE_HERE ? TRACE_STRAY
                               : end;
}

enum trace_end trace_run(struct tracee *tracee, const struct trace *trace, uint32_t point,
                         bool naive) {
    if (naive) {
        return step_to(tracee, point);
    }
    if (tracee->meanwhile != NULL && trace->sleep < point) {
        return run_behind(tracee, trace, point);
    }
    enum trace_end end = TRACE_HERE;
    if (trace->anchor[point] > tracee->at) {
        end = leap(tracee, trace, point);
    }
    if (end == TRACE_HERE) {
        end = step_to(tracee, point);
    }
    return end == TRACE_ASLEEP ? TRACE_STRAY : end;
}

void trace_release_with(const struct tracee *tracee, int signal) {
    if (ptrace(PTRACE_DETACH, tracee->pid, 0, signal) != 0 && errno != ESRCH) {
        fatal("PTRACE_DETACH");
    }
}

void trace_release(const struct tracee *tracee) {
    trace_release_with(tracee, 0);
}
