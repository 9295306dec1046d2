/*
 * blame.c - who waits for whom: threads that nobody will wake any more
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. At first each thread that waits without a timeout is taken to be stuck. Then those
 * are struck off that somebody could wake: a lock's waiter if the thread that holds the lock is not
 * stuck, a joiner if the first thread of the child is not, and any other waiter if a member that
 * has the object has a thread which is not stuck. That is done again until nothing changes. What is
 * left can only be woken by each other, so by nobody (a greatest fixed point; Knapp, *Deadlock
 * detection in distributed databases*, 1987, calls it the AND-OR model). Threads that blame each
 * other make a group.
 *
 * What it does not know. A thread that sleeps elsewhere than in mproc (a socket, a pipe, the
 * program's own locks) counts as one that may act. So does one of a process that has more threads
 * than wait, or, but for locks of others, that handles signals. So a deadlock that leads through
 * such a thread is not found; what is found is one, but for a lock that some other thread than its
 * holder is to release.
 */
#include "inspect/blame.h"

#include <string.h>

#include "inspect/text.h"
#include "system/os.h"

#define SETTLED MPROC_SEC /* who has slept so long would have been woken by what had come before */
#define ROUNDS 1000       /* no chain of threads that wait for each other is as long */

/* ---------------------------------------------------------------- who could act */

static bool is_stuck(const struct mproc__picture *p, int member, uint32_t thread) {
    int w = mproc__picture_wait(p, member, thread);
    return w >= 0 && p->waits[w].stuck;
}

/* Has that member a thread that is not stuck? */
static bool can_act(const struct mproc__picture *p, int member) {
    const struct mproc__seen_member *m = &p->members[member];
    bool hidden = m->os.threads == 0; /* the kernel does not say what it does */
    return m->lives && (hidden || (uint32_t)m->os.threads > m->stuck);
}

/* The first member of which that is so and that has the object. What is under way may be had by any
 * of them. -1: there is none. */
static int find_holder(const struct mproc__picture *p, int object,
                       bool (*is_so)(const struct mproc__picture *p, int member)) {
    const struct mproc__seen_object *o = &p->objects[mproc__picture_outer(p, object)];
    uint64_t n = o->under_way ? (uint64_t)p->nmembers : o->holders;
    for (uint64_t i = 0; i < n; i++) {
        int m = o->under_way ? (int)i : mproc__picture_member(p, p->holders[o->first + i]);
        if (m >= 0 && is_so(p, m)) {
            return m;
        }
    }
    return -1;
}

/* Could a member that has the object do something with it? */
static bool anybody_can(const struct mproc__picture *p, int object) {
    return find_holder(p, object, can_act) >= 0;
}

/* A handler of a signal runs in a thread that waits. */
static bool handles(const struct mproc__picture *p, int member) {
    return p->members[member].lives && p->members[member].handles;
}

/* The first thread of a process ends it. */
static bool can_end(const struct mproc__picture *p, int member) {
    const struct mproc__seen_member *m = &p->members[member];
    return !m->lives || !is_stuck(p, member, (uint32_t)m->pid);
}

int mproc__blamed(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    if (w->target >= 0) {
        return w->target;
    }
    return mproc__picture_member(p, mproc__picture_facts(p, w->object)->owner);
}

/* Has the thread that waits for the lock got it already? */
static bool is_own(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    uint32_t thread = (uint32_t)mproc__picture_facts(p, w->object)->thread;
    return mproc__blamed(p, w) == w->member && thread == w->thread;
}

/* A dead holder's lock is taken over. A thread that waits for a lock of its own waits for a
 * signal, as any other member may give. */
static bool lock_will_come(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    const struct mproc__facts *facts = mproc__picture_facts(p, w->object);
    int owner = mproc__blamed(p, w);
    uint32_t thread = (uint32_t)facts->thread;
    if (owner < 0 || !p->members[owner].lives) {
        return true;
    }
    return is_own(p, w) ? anybody_can(p, w->object) : !is_stuck(p, owner, thread);
}

/* Is what it waits for there already, so that it is about to go on? */
static bool has_come(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    const struct mproc__facts *f = mproc__picture_facts(p, w->object);
    switch (p->objects[w->object].kind) {
    case MPROC__KIND_QUEUE:
        return w->role == MPROC__AWAITS_ROOM   ? f->bound == 0 || f->count < f->bound || f->closed
               : w->role == MPROC__AWAITS_DONE ? f->done == f->total
                                               : f->count != 0 || f->closed;
    case MPROC__KIND_EVENT:
    case MPROC__KIND_SEMAPHORE:
    case MPROC__KIND_BSEMAPHORE: return f->count != 0;
    case MPROC__KIND_BARRIER: return f->count >= f->bound;
    case MPROC__KIND_CONDITION: return false;
    case MPROC__KIND_POOL: {
        int results = mproc__picture_inner(p, w->object, 1);
        return results < 0 || mproc__picture_facts(p, results)->count != 0;
    }
    default: return p->now - w->since < SETTLED; /* cannot be seen, as what a socket has */
    }
}

static bool is_for_lock(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    enum mproc__kind kind = p->objects[w->object].kind;
    return kind == MPROC__KIND_LOCK || kind == MPROC__KIND_RLOCK;
}

static bool can_go_on(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    if (mproc__seen_wait_ends(w)) {
        return true;
    }
    if (w->object < 0) {
        return can_end(p, w->target);
    }
    return is_for_lock(p, w) ? lock_will_come(p, w) : has_come(p, w) || anybody_can(p, w->object);
}

/* Of one that nobody else can end. No handler gives back a lock that another thread has. */
static int find_handler(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    bool may = w->object >= 0 && (!is_for_lock(p, w) || is_own(p, w));
    return may ? find_holder(p, w->object, handles) : -1;
}

/* ---------------------------------------------------------------- the fixed point */

static void assume_all(struct mproc__picture *p) {
    for (int i = 0; i < p->nmembers; i++) {
        p->members[i].stuck = 0;
    }
    for (int i = 0; i < p->nwaits; i++) {
        struct mproc__seen_wait *w = &p->waits[i];
        w->stuck = !mproc__seen_wait_ends(w) && !w->woken;
        w->group = w->handler = -1;
        p->members[w->member].stuck += w->stuck;
    }
}

static bool strike_off(struct mproc__picture *p) {
    bool changed = false;
    for (int i = 0; i < p->nwaits; i++) {
        struct mproc__seen_wait *w = &p->waits[i];
        if (w->stuck && can_go_on(p, w)) {
            w->stuck = false;
            p->members[w->member].stuck--;
            changed = true;
        }
    }
    return changed;
}

static void strike_off_all(struct mproc__picture *p) {
    for (int n = 0; n < ROUNDS && strike_off(p); n++) {
    }
}

/* Handlers are looked for last: of a wait that has one nobody else can end it. */
static void settle(struct mproc__picture *p) {
    strike_off_all(p);
    for (int i = 0; i < p->nwaits; i++) {
        struct mproc__seen_wait *w = &p->waits[i];
        w->handler = w->stuck ? find_handler(p, w) : -1;
        if (w->handler >= 0) {
            w->stuck = false;
            p->members[w->member].stuck--;
        }
    }
    strike_off_all(p);
}

/* ---------------------------------------------------------------- groups */

/* While groups are made, `group` names a wait of the same group, and the last one names itself. */
static int last_of(struct mproc__picture *p, int w) {
    while (p->waits[w].group != w) {
        p->waits[w].group = p->waits[p->waits[w].group].group;
        w = p->waits[w].group;
    }
    return w;
}

/* All stuck threads of a member that the wait depends on are of its group. */
static void join_member(struct mproc__picture *p, int w, int member) {
    const struct mproc__seen_member *m = member >= 0 ? &p->members[member] : NULL;
    for (int i = 0; m != NULL && i < m->nwaits; i++) {
        if (p->waits[m->first_wait + i].stuck) {
            p->waits[last_of(p, m->first_wait + i)].group = last_of(p, w);
        }
    }
}

static void join_helpers(struct mproc__picture *p, int i) {
    const struct mproc__seen_wait *w = &p->waits[i];
    int blamed = mproc__blamed(p, w);
    if (blamed >= 0 && blamed != w->member) {
        join_member(p, i, blamed);
    } else if (w->object >= 0) {
        const struct mproc__seen_object *o = &p->objects[mproc__picture_outer(p, w->object)];
        for (uint64_t n = 0; n < o->holders; n++) {
            join_member(p, i, mproc__picture_member(p, p->holders[o->first + n]));
        }
    }
}

static int make_groups(struct mproc__picture *p) {
    int n = 0;
    for (int i = 0; i < p->nwaits; i++) {
        p->waits[i].group = p->waits[i].stuck ? i : -1;
    }
    for (int i = 0; i < p->nwaits; i++) {
        if (p->waits[i].stuck) {
            join_helpers(p, i);
        }
    }
    for (int i = 0; i < p->nwaits; i++) {
        if (p->waits[i].stuck) {
            p->waits[i].group = last_of(p, i);
            n += p->waits[i].group == i;
        }
    }
    return n;
}

int mproc__blame(struct mproc__picture *p) {
    assume_all(p);
    settle(p);
    return make_groups(p);
}

static bool was_stuck(const struct mproc__picture *earlier, uint64_t token,
                      const struct mproc__seen_wait *w) {
    int i = mproc__picture_wait(earlier, mproc__picture_member(earlier, token), w->thread);
    return i >= 0 && earlier->waits[i].stuck && earlier->waits[i].since == w->since &&
           earlier->waits[i].address == w->address;
}

int mproc__blame_again(struct mproc__picture *later, const struct mproc__picture *earlier) {
    assume_all(later);
    for (int i = 0; i < later->nwaits; i++) {
        struct mproc__seen_wait *w = &later->waits[i];
        if (w->stuck && !was_stuck(earlier, later->members[w->member].token, w)) {
            w->stuck = false;
            later->members[w->member].stuck--;
        }
    }
    settle(later);
    return make_groups(later);
}

/* ---------------------------------------------------------------- starved pools */

/* The task queue that an object of a pool belongs to, or has. */
static int tasks_of(const struct mproc__picture *p, int object) {
    for (int steps = 0; steps < 4 && object >= 0; steps++) {
        if (p->objects[object].kind == MPROC__KIND_TASKQ) {
            return object;
        }
        if (p->objects[object].kind == MPROC__KIND_POOL) {
            int tasks = mproc__picture_inner(p, object, 0);
            return tasks >= 0 && p->objects[tasks].within >= 0 ? p->objects[tasks].within : -1;
        }
        object = p->objects[object].within;
    }
    return -1;
}

static bool is_starved(const struct mproc__picture *p, int taskq) {
    const struct mproc__facts *f = mproc__picture_facts(p, taskq);
    int tasks = mproc__picture_inner(p, taskq, 0);
    return f->total != 0 && f->done == f->total && tasks >= 0 &&
           mproc__picture_facts(p, tasks)->count != 0;
}

int mproc__starved(const struct mproc__picture *p, int group) {
    for (int i = 0; i < p->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        int taskq = w->group == group ? tasks_of(p, w->object) : -1;
        if (taskq >= 0 && p->objects[taskq].kind == MPROC__KIND_TASKQ && is_starved(p, taskq)) {
            return taskq;
        }
    }
    return -1;
}

/* ---------------------------------------------------------------- in words */

const char *mproc__say_member(const struct mproc__picture *p, int member, char out[MPROC__SAY]) {
    char name[80];
    if (member < 0) {
        return "a process that has ended";
    }
    mproc__text_clean(p->members[member].name, name, sizeof name);
    snprintf(out, MPROC__SAY, "%s (pid %d%s)", name, (int)p->members[member].pid,
             p->members[member].os.state == 'T' ? ", stopped" : "");
    return out;
}

const char *mproc__say_thread(const struct mproc__picture *p, int member, uint32_t thread,
                              char out[MPROC__SAY]) {
    const char *said = mproc__say_member(p, member, out);
    if (member >= 0 && thread != 0 && thread != (uint32_t)p->members[member].pid) {
        size_t end = strlen(out) - 1; /* a parenthesis */
        snprintf(out + end, MPROC__SAY - end, ", thread %u)", (unsigned)thread);
    }
    return said;
}

const char *mproc__say_object(const struct mproc__outside *arena, const struct mproc__picture *p,
                              int object, char out[MPROC__SAY]) {
    char name[MPROC_NAME_MOST + 1], origin[100];
    int outer = mproc__picture_outer(p, object);
    const struct mproc__seen_object *o = &p->objects[outer];
    const char *path = mproc__picture_origin(p, outer), *base = strrchr(path, '/');
    mproc__text_clean(mproc__picture_name(p, outer), name, sizeof name);
    mproc__text_clean(base != NULL ? base + 1 : path, origin, sizeof origin);
    const char *quote = *name != 0 ? "\"" : "", *made = *origin != 0 ? " (made at " : "";
    snprintf(out, MPROC__SAY, "the %s %s%s%s%s@%llx%s%s%s", mproc__kind_name(o->kind), quote, name,
             quote, *name != 0 ? " " : "", (unsigned long long)(o->address - arena->base), made,
             origin, *origin != 0 ? ")" : "");
    return out;
}

/* Those that have the object and are not the waiter: nobody, or who. */
static void say_others(FILE *out, const struct mproc__picture *p,
                       const struct mproc__seen_wait *w) {
    const struct mproc__seen_object *o = &p->objects[mproc__picture_outer(p, w->object)];
    char name[MPROC__SAY];
    int n = 0;
    for (uint64_t i = 0; i < o->holders; i++) {
        int m = mproc__picture_member(p, p->holders[o->first + i]);
        if (m >= 0 && m != w->member && p->members[m].lives && n++ < 4) {
            fprintf(out, "%s%s", n == 1 ? " (others have it: " : ", ",
                    mproc__say_member(p, m, name));
        }
    }
    fputs(n == 0 ? " (no other process has it)" : n > 4 ? ", ...)" : ")", out);
}

static void say_queue(FILE *out, const struct mproc__seen_wait *w, const char *what,
                      const struct mproc__facts *f) {
    unsigned long long n = f->count;
    if (w->role == MPROC__AWAITS_ROOM) {
        fprintf(out, "waits for room in %s, which has %llu %s of at most %llu", what, n,
                n == 1 ? "message" : "messages", (unsigned long long)f->bound);
    } else if (w->role == MPROC__AWAITS_DONE) {
        n = f->total - f->done;
        fprintf(out, "waits until the messages of %s are done, of which %llu %s not", what, n,
                n == 1 ? "is" : "are");
    } else {
        fprintf(out, "waits for a message of %s, which %s", what, n == 0 ? "is empty" : "has some");
    }
}

static void say_noun(FILE *out, enum mproc__kind kind, const char *what,
                     const struct mproc__facts *f, bool room) {
    unsigned long long n = f->count, bound = f->bound;
    switch (kind) {
    case MPROC__KIND_EVENT: fprintf(out, "waits until %s is set", what); break;
    case MPROC__KIND_SEMAPHORE:
    case MPROC__KIND_BSEMAPHORE:
        fprintf(out, "waits for a permit of %s, which has %llu left", what, n);
        break;
    case MPROC__KIND_CONDITION: fprintf(out, "waits until it is notified by %s", what); break;
    case MPROC__KIND_POOL: fprintf(out, "waits for a result of %s", what); break;
    case MPROC__KIND_DICT: fprintf(out, "waits for a change of %s", what); break;
    case MPROC__KIND_CHANNEL:
        fprintf(out, "waits for %s %s", room ? "room in" : "a message of", what);
        break;
    case MPROC__KIND_BARRIER:
        fprintf(out, "waits at %s, to which %llu of %llu %s come", what, n, bound,
                n == 1 ? "has" : "have");
        break;
    default: fprintf(out, "waits for %s", what);
    }
}

/* A queue inside a pool is one of tasks or of results. */
static void say_pool(FILE *out, const struct mproc__picture *p, const struct mproc__seen_wait *w,
                     const char *what) {
    const struct mproc__facts *f = mproc__picture_facts(p, p->objects[w->object].within);
    bool tasks = f->inside[0] == p->objects[w->object].address;
    fprintf(out, "waits for a %s of %s", tasks ? "task" : "result", what);
}

static void say_handler(FILE *out, const struct mproc__picture *p, const struct mproc__seen_wait *w,
                        const char *what) {
    char name[MPROC__SAY];
    if (w->handler >= 0) {
        fprintf(out, ", which a signal's handler in %s may %s",
                mproc__say_member(p, w->handler, name), what);
    }
}

static void say_object_wait(FILE *out, const struct mproc__outside *arena,
                            const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    char what[MPROC__SAY], name[MPROC__SAY];
    enum mproc__kind kind = p->objects[w->object].kind;
    const struct mproc__facts *f = mproc__picture_facts(p, w->object);
    int owner = mproc__blamed(p, w);
    mproc__say_object(arena, p, w->object, what);
    if (w->role == MPROC__AWAITS_BELL) {
        fprintf(out, "its event loop waits for %s, among other things", what);
        return;
    }
    if (is_for_lock(p, w)) {
        fprintf(out, "waits for %s, which %s holds", what,
                is_own(p, w) ? "it already"
                             : mproc__say_thread(p, owner, (uint32_t)f->thread, name));
        say_handler(out, p, w, "give back");
        return;
    }
    if (kind == MPROC__KIND_QUEUE && p->objects[w->object].within >= 0) {
        say_pool(out, p, w, what);
    } else if (kind == MPROC__KIND_QUEUE) {
        say_queue(out, w, what, f);
    } else {
        say_noun(out, kind, what, f, w->role == MPROC__AWAITS_ROOM);
    }
    say_others(out, p, w);
    say_handler(out, p, w, "do");
}

void mproc__say_wait(FILE *out, const struct mproc__outside *arena, const struct mproc__picture *p,
                     const struct mproc__seen_wait *w) {
    char name[MPROC__SAY];
    if (w->role == MPROC__AWAITS_SECTION) {
        fprintf(out, "waits for %s, which is in the middle of a step",
                mproc__say_member(p, w->target, name));
    } else if (w->role == MPROC__AWAITS_FD) {
        fprintf(out, "waits at the descriptor %d", w->fd);
    } else if (w->object < 0) {
        fprintf(out, "waits for the end of %s", mproc__say_member(p, w->target, name));
    } else {
        say_object_wait(out, arena, p, w);
    }
}
