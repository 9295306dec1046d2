/*
 * since.c - since when things of a picture are as they are
 *
 * SPDX-License-Identifier: MIT
 *
 * A thread that gets a lock at once does not write down when: a look at the clock would be a part
 * of each acquire. Those who wait make it known. A lock says when somebody who had to wait for it
 * saw its owner first (mutex.c, M5). And a thread that waits acquires nothing meanwhile: what it
 * has, it has had since its wait began, if it is in the same wait before and after the lock was
 * looked at. The earlier one counts; both say "since then, or earlier". Of the permits of a bounded
 * semaphore members are known, not threads: one of which all threads wait takes no more.
 */
#include "inspect/since.h"

#include <stdlib.h>

#include "core/member.h"
#include "inspect/find.h"

#define TASKS_TRIED 4096 /* of an earlier picture, for each task: that of other pools, mostly */

/* ---------------------------------------------------------------- since when locks are held */

bool mproc__still_waits(const struct mproc__outside *arena, const struct mproc__seen_wait *w) {
    const uint64_t slot = arena->base + offsetof(struct mproc__family, table.slots) +
                          w->slot * (uint64_t)sizeof(struct mproc__slot);
    uint64_t note = 0, since = 0;
    int r = mproc__outside_read(arena,
                                slot + offsetof(struct mproc__slot, hands) +
                                    w->hand * sizeof(struct mproc__hand) +
                                    offsetof(struct mproc__hand, waits),
                                &note, sizeof note);
    r = r == 0 ? mproc__outside_read(
                     arena, slot + offsetof(struct mproc__slot, since) + w->hand * sizeof since,
                     &since, sizeof since)
               : r;
    return r == 0 && note != 0 && note == w->note && since == (uint64_t)w->since;
}

/* For each wait: 0: not asked yet; 1: it lasts; 2: it does not. */
static bool lasts(const struct mproc__outside *arena, const struct mproc__picture *p, int wait,
                  char *known) {
    if (known[wait] == 0) {
        known[wait] = mproc__still_waits(arena, &p->waits[wait]) ? 1 : 2;
    }
    return known[wait] == 1;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void judge_since(const struct mproc__outside *arena, const struct mproc__picture *p,
                        struct mproc__facts *f, char *known) {
    const uint64_t now = (uint64_t)p->now;
    int m = mproc__picture_member(p, f->owner);
    bool thread_is_its = m >= 0 && f->thread >> 32 == (uint64_t)p->members[m].pid;
    int wait = thread_is_its ? mproc__picture_wait(p, m, (uint32_t)(f->thread & UINT32_MAX)) : -1;
    f->since = f->since < now ? f->since : f->since != 0 ? now : 0;
    if (wait >= 0 && p->waits[wait].since > 0 && (uint64_t)p->waits[wait].since < now &&
        lasts(arena, p, wait, known)) {
        f->since = earlier(f->since, (uint64_t)p->waits[wait].since);
    }
}

/* A member takes nothing while all of its threads wait: since the last one of them began to. 0: one
 * may run. */
static uint64_t all_wait_since(const struct mproc__outside *arena, const struct mproc__picture *p,
                               int member, char *known) {
    const struct mproc__seen_member *m = &p->members[member];
    int64_t since = 0;
    if (m->nwaits != m->os.threads) {
        return 0;
    }
    for (int i = m->first_wait; i < m->first_wait + m->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        if (w->note == 0 || w->since <= 0 || w->since >= p->now || !lasts(arena, p, i, known)) {
            return 0;
        }
        since = w->since > since ? w->since : since;
    }
    return (uint64_t)since;
}

static void judge_takers(const struct mproc__outside *arena, const struct mproc__picture *p,
                         struct mproc__facts *f, char *known) {
    const uint64_t now = (uint64_t)p->now;
    for (int i = 0; i < MPROC__FACTS_TAKERS; i++) {
        int m = f->takers[i].token != 0 ? mproc__picture_member(p, f->takers[i].token) : -1;
        uint64_t seen = f->takers[i].since, waits = m >= 0 ? all_wait_since(arena, p, m, known) : 0;
        f->takers[i].since = earlier(seen < now ? seen : now, waits);
    }
}

int mproc__find_since(const struct mproc__outside *arena, struct mproc__picture *p) {
    char *known = calloc((size_t)p->nwaits + 1, 1);
    if (known == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < p->nfacts; i++) {
        if (p->facts[i].owner != 0) {
            judge_since(arena, p, &p->facts[i], known);
        }
        judge_takers(arena, p, &p->facts[i], known);
    }
    free(known);
    return 0;
}

int64_t mproc__picture_held(const struct mproc__picture *p, int object) {
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    return f->owner != 0 && f->since != 0 ? p->now - (int64_t)f->since : -1;
}

int64_t mproc__picture_taken(const struct mproc__picture *p, int object, int taker) {
    uint64_t since = mproc__picture_facts(p, object)->takers[taker].since;
    return since != 0 ? p->now - (int64_t)since : -1;
}

/* ---------------------------------------------------------------- by two pictures */

int64_t mproc__picture_oldest(const struct mproc__picture *p, int queue) {
    const struct mproc__facts *f = mproc__picture_facts(p, queue);
    bool known = p->objects[queue].kind == MPROC__KIND_QUEUE && f->count != 0 && f->since != 0;
    return known ? p->now - (int64_t)f->since : -1;
}

int64_t mproc__picture_running(const struct mproc__picture *p,
                               const struct mproc__seen_task *task) {
    return task->since != 0 ? p->now - task->since : -1;
}

/* It is mostly where it was. */
static const struct mproc__seen_task *same_task(const struct mproc__picture *before, int first,
                                                const struct mproc__seen_task *task) {
    for (int n = 0; n < before->ntasks && n < TASKS_TRIED; n++) {
        const struct mproc__seen_task *t = &before->tasks[(first + n) % before->ntasks];
        if (t->worker == task->worker && t->ticket == task->ticket) {
            return t;
        }
    }
    return NULL;
}

/* The one that was the oldest then, and nothing has been got since. */
static void compare_queue(struct mproc__picture *p, const struct mproc__picture *before, int i) {
    struct mproc__facts *f = &p->facts[p->objects[i].facts];
    const struct mproc__facts *then = mproc__picture_facts_before(p, before, i);
    if (then != NULL && then->count != 0 && f->count != 0 &&
        then->total - then->count == f->total - f->count) {
        f->since = then->since != 0 ? then->since : (uint64_t)before->now;
    }
}

void mproc__picture_compare(struct mproc__picture *p, const struct mproc__picture *before) {
    for (int i = 0; i < p->nobjects; i++) {
        if (p->objects[i].kind == MPROC__KIND_QUEUE && p->objects[i].facts >= 0) {
            compare_queue(p, before, i);
        }
    }
    for (int i = 0; i < p->ntasks; i++) {
        struct mproc__seen_task *task = &p->tasks[i];
        const struct mproc__seen_task *then = same_task(before, i, task);
        if (then != NULL) {
            int64_t since = then->since != 0 ? then->since : before->now;
            task->since = task->since == 0 || since < task->since ? since : task->since;
        }
    }
}
