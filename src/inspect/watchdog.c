/*
 * watchdog.c - a looker that tells when somebody has waited too long: `mproc watch`
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A picture is taken now and then. What is told: threads that are stuck, ones that
 * wait for a lock, and ones that wait for a stopped member, when they have waited for so long; each
 * wait once. An idle worker waits as long, but for nothing that somebody holds.
 *
 * Whose descriptor of the arena is locked (flock) is the family's watchdog. The kernel gives that
 * up when it dies, so another one may follow. It has no place in the arena, and its end is no
 * member's business.
 */
#include "inspect/watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/place.h"
#include "inspect/show.h"
#include "inspect/stacks.h"
#include "inspect/words.h"
#include "system/os.h"
#include "system/os_tool.h"

#define USUALLY (10 * MPROC_SEC)
#define TOLD_MOST 1024
#define STACKS_MOST 16
#define PROCESSES 65536
#define SLICE 100 /* ms, between looks whether the family lives */

struct watch {
    const struct mproc__watchdog *what;
    struct mproc__outside arena;
    struct mproc__picture picture;
    int groups;
    FILE *out;
    struct told {
        uint64_t token;
        uint32_t thread;
        int64_t since;
    } told[TOLD_MOST]; /* a ring */
    unsigned ntold;
};

bool mproc__watchdog_read(const char *text, struct mproc__watchdog *out) {
    char *end = NULL;
    double seconds = (double)USUALLY / 1e9;
    if (strcmp(text, "abort") != 0) {
        seconds = strtod(text, &end);
        if (end == text || !(seconds >= 1e-9 && seconds < 1e9) ||
            !(*end == 0 || strcmp(end, "=abort") == 0)) {
            return false;
        }
    }
    out->after = (int64_t)(seconds * 1e9);
    out->abort = out->abort || end == NULL || *end != 0;
    return true;
}

/* ---------------------------------------------------------------- what is to be told */

static bool is_worth(const struct mproc__picture *p, const struct mproc__seen_wait *w) {
    int holder = mproc__blamed(p, w);
    enum mproc__kind kind = w->object >= 0 ? p->objects[w->object].kind : MPROC__KIND_NONE;
    bool stopped = holder >= 0 && holder != w->member && p->members[holder].os.state == 'T';
    bool lock = (kind == MPROC__KIND_LOCK || kind == MPROC__KIND_RLOCK) && holder >= 0;
    return w->stuck || (stopped && !w->timed) || (lock && w->role == MPROC__AWAITS_IT);
}

static bool is_told(const struct watch *watch, const struct told *wait) {
    for (unsigned i = 0; i < watch->ntold && i < TOLD_MOST; i++) {
        const struct told *t = &watch->told[i];
        if (t->token == wait->token && t->thread == wait->thread && t->since == wait->since) {
            return true;
        }
    }
    return false;
}

/* Notes it, whatever its age; false: it has been told. */
static bool is_new(struct watch *watch, const struct mproc__seen_wait *w) {
    struct told wait = {watch->picture.members[w->member].token, w->thread, w->since};
    if (is_told(watch, &wait)) {
        return false;
    }
    watch->told[watch->ntold++ % TOLD_MOST] = wait;
    return true;
}

static bool is_long(const struct watch *watch, const struct mproc__seen_wait *w) {
    return watch->picture.now - w->since >= watch->what->after;
}

/* ---------------------------------------------------------------- telling it */

static void tell_wait(const struct watch *watch, const struct mproc__seen_wait *w) {
    char name[MPROC__SAY];
    fprintf(watch->out, "  %s ", mproc__say_thread(&watch->picture, w->member, w->thread, name));
    mproc__say_wait(watch->out, &watch->arena, &watch->picture, w);
    mproc__say_waited(watch->out, &watch->picture, w);
    fputs("\n", watch->out);
}

/* Of the locks that those wait for who are told of, each once. */
static void tell_holders(const struct mproc__show *show, const bool *fresh) {
    const struct mproc__picture *p = show->picture;
    for (int i = 0; i < p->nwaits; i++) {
        int object = fresh[i] ? p->waits[i].object : -1;
        bool first = object >= 0 && mproc__picture_held(p, object) >= 0;
        for (int before = 0; before < i && first; before++) {
            first = !fresh[before] || p->waits[before].object != object;
        }
        if (first) {
            mproc__show_holder(show, object);
            fputs("\n", show->out);
        }
    }
}

static void tell_stacks(const struct mproc__show *show, const bool *concerned) {
    int n = 0;
    for (int i = 0; i < show->picture->nmembers; i++) {
        if (concerned[i] && show->picture->members[i].lives && n++ < STACKS_MOST) {
            mproc__show_stack(show, i, false);
        }
    }
    if (n > STACKS_MOST) {
        int left = n - STACKS_MOST;
        fprintf(show->out, "... and the stacks of %d more %s are left out\n", left,
                mproc__say_many((uint64_t)left, "process", "processes"));
    }
}

static void tell(struct watch *watch, const bool *fresh) {
    const struct mproc__picture *p = &watch->picture;
    const struct mproc__show show = {watch->out, &watch->arena, p, watch->groups, NULL};
    bool *concerned = calloc((size_t)p->nmembers + 1, sizeof *concerned);
    fprintf(watch->out, "mproc: somebody has waited for %.1f s or longer in the ",
            (double)watch->what->after / 1e9);
    mproc__show_head(&show);
    mproc__show_troubles(&show);
    for (int i = 0; i < p->nwaits; i++) {
        int holder = fresh[i] ? mproc__blamed(p, &p->waits[i]) : -1;
        if (fresh[i] && !p->waits[i].stuck) {
            tell_wait(watch, &p->waits[i]);
        }
        if (fresh[i] && concerned != NULL) {
            concerned[p->waits[i].member] = true;
            concerned[holder >= 0 ? holder : p->nmembers] = true;
        }
    }
    tell_holders(&show, fresh);
    if (concerned != NULL) {
        tell_stacks(&show, concerned);
    }
    free(concerned);
    fflush(watch->out);
}

static void end_family(const struct watch *watch) {
    fputs("mproc: the family is ended, as it has asked for\n", watch->out);
    fflush(watch->out);
    for (int i = 0; i < watch->picture.nmembers; i++) {
        const struct mproc__seen_member *m = &watch->picture.members[i];
        int fd = m->lives ? mproc__os_pidfd_open(m->pid) : -1;
        if (fd >= 0) {
            (void)mproc__os_pidfd_signal(fd, m->pid, SIGABRT);
            mproc__os_close(fd);
        }
    }
}

/* Is another wait of its deadlock told? */
static bool is_of_told(const struct mproc__picture *p, const bool *fresh, int wait) {
    bool told = false;
    for (int i = 0; i < p->nwaits && p->waits[wait].stuck && !told; i++) {
        told = fresh[i] && p->waits[i].stuck && p->waits[i].group == p->waits[wait].group;
    }
    return told;
}

/* Whether there is a deadlock that is told now. Its last wait may have just begun: it is told with
 * the oldest. */
static bool look(struct watch *watch) {
    const struct mproc__picture *p = &watch->picture;
    bool *fresh = calloc((size_t)p->nwaits + 1, sizeof *fresh), any = false, stuck = false;
    for (int i = 0; fresh != NULL && i < p->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        fresh[i] = is_long(watch, w) && is_worth(p, w) && is_new(watch, w);
        any = any || fresh[i];
        stuck = stuck || (fresh[i] && w->stuck);
    }
    for (int i = 0; stuck && i < p->nwaits; i++) {
        fresh[i] = fresh[i] || (is_of_told(p, fresh, i) && is_new(watch, &p->waits[i]));
    }
    if (any) {
        mproc__places_resolve(&watch->picture);
        tell(watch, fresh);
    }
    free(fresh);
    return stuck;
}

/* ---------------------------------------------------------------- as long as it lives */

/* Until the next look, or nobody is left of those who were seen. */
static void rest(const struct watch *watch) {
    int64_t part = watch->what->after / 4;
    int64_t until = mproc__os_now() + (part < 5 * MPROC_SEC ? part : 5 * MPROC_SEC);
    do {
        (void)mproc__os_poll(NULL, 0, SLICE * MPROC_MSEC);
    } while (mproc__os_now() < until && mproc__picture_lives(&watch->picture));
}

static int go_on(struct watch *watch) {
    bool alive = true;
    while (alive) {
        int r = mproc__inspect_take(&watch->arena, &watch->picture, &watch->groups);
        if (r != 0) {
            return r;
        }
        alive = mproc__picture_lives(&watch->picture);
        if (alive && look(watch) && watch->what->abort) {
            end_family(watch);
            alive = false;
        }
        if (alive) {
            rest(watch);
        }
        mproc__picture_drop(&watch->picture);
    }
    return 0;
}

static int run(const struct mproc__watchdog *what, struct watch *watch) {
    watch->out = stderr;
    if (what->behind) {
        watch->out = mproc__os_tool_keep_errors();
        mproc__os_go_behind();
    }
    return watch->out != NULL ? go_on(watch) : -ENOMEM;
}

static bool is_stopped(pid_t pid) {
    struct mproc__os_seen seen;
    return mproc__os_runs_verb(pid, "watch") && mproc__os_process_see(pid, &seen) == 0 &&
           (seen.state == 'T' || seen.state == 't');
}

void mproc__watchdog_find_stopped(struct mproc__stopped *out) {
    const int most = sizeof out->pids / sizeof *out->pids;
    pid_t *pids = malloc(PROCESSES * sizeof *pids);
    int n = pids != NULL ? mproc__os_processes(pids, PROCESSES) : 0;
    out->n = 0;
    for (int i = 0; i < n && i < PROCESSES && out->n < most; i++) {
        if (is_stopped(pids[i])) {
            out->pids[out->n++] = pids[i];
        }
    }
    free(pids);
}

/* A watchdog has a descriptor of the arena, as other lookers have, and its verb. It reads the arena
 * and never maps it, which every member does: a program with an argument `watch` of its own is a
 * member. The program's file would not tell, since a family may be watched by another copy of mproc
 * than the one that looks: the package has one, and `make install` installs one. */
static bool watches(pid_t pid, const struct mproc__outside *arena) {
    uint64_t mapped;
    if (mproc__os_memory_mapped(pid, MPROC__ARENA_NAME, &mapped) == 0) {
        return false;
    }
    int fd = mproc__os_memory_open(pid, arena->inode);
    if (fd >= 0) {
        mproc__os_close(fd);
    }
    return fd >= 0;
}

pid_t mproc__watchdog_stopped(const struct mproc__outside *arena,
                              const struct mproc__stopped *among) {
    for (int i = 0; i < among->n; i++) {
        if (watches(among->pids[i], arena)) {
            return among->pids[i];
        }
    }
    return 0;
}

int mproc__watchdog(const struct mproc__watchdog *what) {
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->what = what;
    int r = mproc__outside_open(what->pid, &watch->arena);
    if (r == 0) {
        bool mine = mproc__os_only_one(watch->arena.fd);
        pid_t pid = mine && what->behind ? mproc__os_fork() : 0;
        r = pid < 0 ? pid : pid == 0 && mine ? run(what, watch) : mine || what->behind ? 0 : -EBUSY;
        mproc__outside_close(&watch->arena);
    }
    free(watch);
    return r;
}
