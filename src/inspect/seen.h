/*
 * seen.h - what a picture of a family has in it
 *
 * SPDX-License-Identifier: MIT
 *
 * All is private memory of the looker, and every number in it has been judged: indexes are in their
 * arrays, names end.
 */
#ifndef MPROC_SEEN_H
#define MPROC_SEEN_H

#include <stdio.h>
#include <string.h>

#include "core/facts.h"
#include "inspect/outside.h"

#define MPROC__READS_MOST 4000000 /* records of holds, and labels: some seconds */

struct mproc__seen_member {
    uint64_t token;
    uint64_t parent; /* token */
    uint64_t born;
    pid_t pid; /* 0, or less: not known */
    uint32_t method;
    enum mproc__slot_state state;
    char name[sizeof((struct mproc__slot *)0)->name];
    bool lives; /* there is a process, and it has not ended */
    struct mproc__os_seen os;
    uint64_t holds; /* objects that it holds */
    int first_wait; /* of its threads' waits, which stand together */
    int nwaits;
    uint32_t stuck; /* threads that wait for what nobody will do */
    int unnoted;    /* threads that wait and have noted nothing: it has more than notes */
    bool handles;   /* signals, so that it may do something while all its threads wait: proof.h */
};

struct mproc__seen_object {
    uint64_t address;
    uint64_t size; /* of its block */
    enum mproc__kind kind;
    int facts;      /* in picture->facts, -1: they are all zero */
    int within;     /* the object that it belongs to, -1: none */
    uint64_t first; /* tokens of its holders: in picture->holders */
    uint64_t holders;
    uint32_t name; /* in picture->texts, 0: it has none */
    uint32_t origin;
    bool under_way; /* it is in a message, or a container, and any member may get it there */
};

/* What a thread of a queue or pool waits for. */
enum mproc__seen_role {
    MPROC__AWAITS_IT, /* the object itself: a lock, a permit, an event, a message, an end */
    MPROC__AWAITS_ROOM,
    MPROC__AWAITS_DONE,
    MPROC__AWAITS_SECTION, /* a thread that is in a section of the object */
    MPROC__AWAITS_FD,      /* what comes at a descriptor, which may be anything */
    MPROC__AWAITS_BELL,    /* it is no thread that waits, but an event loop, among other things */
};

struct mproc__seen_wait {
    int member;
    uint32_t thread;
    uint64_t address; /* as noted */
    int64_t since;    /* mproc__os_now() */
    bool timed;
    enum mproc__seen_role role;
    int object;    /* -1: a member, or a descriptor */
    int target;    /* a member whose end, or whose section's, is awaited; -1 */
    int fd;        /* the descriptor; -1 */
    uint32_t slot; /* of the table of members, and the hand in it, in which it is noted */
    uint32_t hand;
    uint64_t note;    /* what stands there; 0: nothing does */
    bool stuck;       /* nobody will end it: see blame.h */
    bool woken;       /* it is about to go on, as far as is known: see proof.h */
    int handler;      /* a member that may end it by a signal's handler, and nobody else can; -1 */
    int group;        /* one wait of those that are stuck with each other, the same for all; -1 */
    uint32_t stack;   /* in picture->texts, 0: nothing is known */
    int64_t stack_at; /* when that was written */
};

/* What a thread of a member has written down of itself: see src/stack.c. */
struct mproc__seen_stack {
    uint64_t owner, thread;
    int64_t at;
    uint32_t text;
};

/* A task that a worker of a pool has. */
struct mproc__seen_task {
    int tasks;       /* the task queue, an object */
    uint64_t worker; /* token */
    uint64_t ticket;
    int64_t since; /* mproc__os_now() at which it had it already; 0: not known */
    uint32_t name; /* of its function, in picture->texts; 0: not known */
};

struct mproc__seen_segment {
    char name[MPROC__SHM_NAME];
};

struct mproc__picture {
    struct mproc__seen_member *members;
    struct mproc__seen_object *objects; /* by address */
    struct mproc__seen_wait *waits;
    struct mproc__facts *facts;
    struct mproc__seen_segment *segments;
    struct mproc__seen_stack *stacks;
    struct mproc__seen_task *tasks; /* those of a task queue together, and queues by address */
    uint64_t *holders;
    char *texts;               /* "" is the first; each ends in a 0 */
    struct mproc__bell *bells; /* that are armed */
    int *by_slot;              /* members by the number of their slots, -1: none */
    int nmembers, nobjects, nwaits, nfacts, nsegments, nbells, nstacks, ntasks;
    uint64_t nholders, ntexts;
    uint64_t reads;    /* records of holders that are not in their object, and labels */
    int64_t now;       /* mproc__os_now() */
    uint64_t boot_now; /* mproc__os_boot_now() */
    uint64_t span, limit, used, warm; /* bytes of the arena */
    uint64_t blocks, bytes;           /* allocated, and how large they are */
    uint64_t of_kind[MPROC__KINDS], bytes_of_kind[MPROC__KINDS]; /* kind 0: without a kind */
};

/* What an object is called, where it was made: "" if it is not known. */
static inline const char *mproc__picture_name(const struct mproc__picture *p, int object) {
    return &p->texts[p->objects[object].name];
}

static inline const char *mproc__picture_origin(const struct mproc__picture *p, int object) {
    return &p->texts[p->objects[object].origin];
}

/* Copies the first line of a stack, without its end; the next line, "" after the last one. */
static inline const char *mproc__picture_stack_line(const char *stack,
                                                    char line[MPROC_STACK_MOST + 1]) {
    size_t n = strcspn(stack, "\n");
    snprintf(line, MPROC_STACK_MOST + 1, "%.*s", (int)n, stack);
    return stack + n + (stack[n] != 0);
}

/* Where the thread of a wait is, a line for each call: "" if it is not known. */
static inline const char *mproc__picture_stack(const struct mproc__picture *p,
                                               const struct mproc__seen_wait *w) {
    return &p->texts[w->stack];
}

/* Will what it waits for certainly go on, as far as the waiter's kind of wait tells? */
static inline bool mproc__seen_wait_ends(const struct mproc__seen_wait *w) {
    return w->timed || w->role >= MPROC__AWAITS_SECTION;
}

#endif
