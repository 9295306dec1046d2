/*
 * proof.c - what the kernel says of threads that seem to be stuck
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A thread that has been woken keeps its note until it runs, which may take a while
 * on a busy machine, and as long as somebody likes if it is stopped. What has woken it may be gone:
 * an event that was set and cleared, a notification. So a thread is stuck only if the kernel says
 * that it sleeps, and its note is the same after that: then it was asleep when the objects were
 * looked at. One that is stopped is stuck if its object tells for itself that nothing has come.
 *
 * A thread that waits runs the handlers of signals, which may set an event or put a message. No
 * handler counts that nearly every program has, or that only looks after the program itself.
 */
#include "inspect/proof.h"

#include <signal.h>

#include "inspect/find.h"
#include "inspect/since.h"
#include "system/os.h"

#define PAUSES 20 /* of a look, for threads that run at this moment and may sleep on */

#define BIT(number) (UINT64_C(1) << ((number)-1))

/* Children of the library handle MPROC_PARENT_SIGNAL, Python SIGINT; `mproc stacks` asks by SIGURG,
 * line editors handle SIGWINCH, profilers SIGPROF; the C library has the first two of those behind
 * the others; the rest are faults. */
#define NEVER_COUNT                                                                                \
    (BIT(MPROC_PARENT_SIGNAL) | BIT(SIGINT) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGPROF) |         \
     BIT(32) | BIT(33) | BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGABRT) |   \
     BIT(SIGTRAP) | BIT(SIGSYS) | BIT(SIGPIPE) | BIT(SIGXFSZ))

/* Would what it waits for be seen in the object until the thread has taken it? */
static bool stays_seen(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    enum mproc__kind kind = w->object >= 0 ? p->objects[w->object].kind : MPROC__KIND_NONE;
    return w->object < 0 || kind == MPROC__KIND_LOCK || kind == MPROC__KIND_RLOCK ||
           kind == MPROC__KIND_QUEUE || kind == MPROC__KIND_POOL;
}

static uint64_t handled(pid_t pid) {
    char status[48];
    snprintf(status, sizeof status, "/proc/%d/status", (int)pid);
    return mproc__os_signals(status, "SigCgt") & ~NEVER_COUNT;
}

/* A child that was forked has its parent's handler of SIGALRM, but no alarm that will come. One
 * that was started otherwise has no handlers but its own. */
static bool handles(const struct mproc__picture *p, const struct mproc__seen_member *m) {
    uint64_t signals = m->lives ? handled(m->pid) : 0;
    bool forked = m->method != MPROC_SPAWN && m->method != MPROC_FORKSERVER;
    int parent = forked && signals == BIT(SIGALRM) ? mproc__picture_member(p, m->parent) : -1;
    return parent >= 0 ? (handled(p->members[parent].pid) & BIT(SIGALRM)) == 0 : signals != 0;
}

static bool sleeps(const struct mproc__picture *p, const struct mproc__seen_wait *w, int *pauses) {
    pid_t pid = p->members[w->member].pid;
    int state = mproc__os_thread_state(pid, (pid_t)w->thread);
    while ((state == 'R' || state == 'D') && *pauses > 0) {
        (*pauses)--;
        (void)mproc__os_poll(NULL, 0, MPROC_MSEC);
        state = mproc__os_thread_state(pid, (pid_t)w->thread);
    }
    return state == 'S' || ((state == 'T' || state == 't') && stays_seen(p, w));
}

void mproc__prove(const struct mproc__outside *arena, struct mproc__picture *later,
                  const struct mproc__picture *earlier) {
    int pauses = PAUSES;
    for (int i = 0; i < later->nwaits; i++) {
        struct mproc__seen_wait *w = &later->waits[i];
        int m = mproc__picture_member(earlier, later->members[w->member].token);
        int before = mproc__picture_wait(earlier, m, w->thread);
        if (before >= 0 && earlier->waits[before].stuck && !mproc__seen_wait_ends(w)) {
            w->woken = !sleeps(later, w, &pauses) || !mproc__still_waits(arena, w);
        }
    }
    for (int i = 0; i < later->nmembers; i++) {
        struct mproc__seen_member *m = &later->members[i];
        m->handles = handles(later, m);
    }
}
