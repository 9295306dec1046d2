/*
 * inspect.c - what is seen of a family, as data: the public face of picture.c and blame.c
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/handle.h"
#include "inspect/blame.h"
#include "inspect/proof.h"
#include "inspect/show.h"
#include "system/os.h"

/* Between two looks of a process at the same family. */
#define REST_LEAST (5 * MPROC_MSEC)
#define REST_MOST MPROC_SEC
#define REST_SHARE 100 /* times the CPU time that the earlier look took */

struct mproc_inspection {
    uint32_t handle; /* MPROC__HANDLE_INSPECTION */
    int groups;
    struct mproc__outside arena;
    struct mproc__picture picture;
};

#define IS_ONE(seen) mproc__expect_handle((seen), MPROC__HANDLE_INSPECTION)

/* ---------------------------------------------------------------- looking */

/* A look costs a busy family some CPU time, since the looker pushes a member aside, and a few
 * microseconds more: the cache lines that it reads are written at the same moment, and the kernel
 * locks what it tells of a process. Where the family needs all CPUs but for moments, a looker that
 * never sleeps may cost it some percent, at any priority and whatever it does: no CPU is idle, and
 * whom a message wakes has to push it aside. A program that looks again and again would have the
 * family pay that all the time. So a looker rests, longer after a look that took longer. */
static uint64_t last_end, last_rest, last_inode; /* of the process' last look */

static void wait_for_turn(const struct mproc__outside *arena) {
    int64_t rest = (int64_t)mproc__peek64(&last_rest);
    int64_t left = (int64_t)mproc__peek64(&last_end) + rest - mproc__os_now();
    if (left > 0 && left <= rest && mproc__peek64(&last_inode) == arena->inode) {
        (void)mproc__os_poll(NULL, 0, left);
    }
}

/* `took`: CPU time of the look. */
static void end_turn(const struct mproc__outside *arena, int64_t took) {
    int64_t rest = took < REST_MOST / REST_SHARE ? took * REST_SHARE : REST_MOST;
    mproc__poke64(&last_rest, (uint64_t)(rest > REST_LEAST ? rest : REST_LEAST));
    mproc__poke64(&last_end, (uint64_t)mproc__os_now());
    mproc__poke64(&last_inode, arena->inode);
}

/* Looks twice if the first look has found something of which it has to be sure. */
static int look_twice(const struct mproc__outside *arena, struct mproc__picture *out, int *groups) {
    struct mproc__picture earlier;
    int r = mproc__picture_take(arena, &earlier);
    if (r != 0) {
        return r;
    }
    *groups = mproc__blame(&earlier);
    if (*groups == 0) {
        *out = earlier;
        return 0;
    }
    r = mproc__picture_take(arena, out);
    if (r == 0) {
        mproc__prove(arena, out, &earlier);
        *groups = mproc__blame_again(out, &earlier);
    }
    mproc__picture_drop(&earlier);
    return r;
}

int mproc__inspect_take(const struct mproc__outside *arena, struct mproc__picture *out,
                        int *groups) {
    wait_for_turn(arena);
    int64_t began = mproc__os_thread_time();
    int r = look_twice(arena, out, groups);
    end_turn(arena, mproc__os_thread_time() - began);
    return r;
}

int mproc_inspect_new(mproc_inspection **out, pid_t pid) {
    mproc_inspection *seen = calloc(1, sizeof *seen);
    if (seen == NULL) {
        return -ENOMEM;
    }
    int r = mproc__outside_open(pid != 0 ? pid : mproc_pid(), &seen->arena);
    if (r != 0) {
        free(seen);
        return r;
    }
    r = mproc__inspect_take(&seen->arena, &seen->picture, &seen->groups);
    mproc__outside_close(&seen->arena); /* its bounds stay, which words are made with */
    if (r != 0) {
        free(seen);
        return r;
    }
    seen->handle = MPROC__HANDLE_INSPECTION;
    *out = seen;
    return 0;
}

void mproc_inspect_drop(mproc_inspection *owned) {
    if (owned == NULL || !IS_ONE(owned)) {
        return;
    }
    mproc__picture_drop(&owned->picture);
    mproc__handle_wreck(owned);
    free(owned);
}

/* ---------------------------------------------------------------- as text */

static int write_json(const struct mproc__outside *arena, char **out) {
    struct mproc__picture picture;
    struct mproc__show show = {.arena = arena, .picture = &picture};
    char *text = NULL;
    size_t size = 0;
    int r = mproc__inspect_take(arena, &picture, &show.groups);
    if (r != 0) {
        return r;
    }
    show.out = open_memstream(&text, &size);
    if (show.out != NULL) {
        mproc__show_json(&show);
    }
    r = show.out != NULL && fclose(show.out) == 0 ? 0 : -ENOMEM;
    mproc__picture_drop(&picture);
    if (r == 0) {
        *out = text;
    } else {
        free(text);
    }
    return r;
}

int mproc_inspect_json(char **out, pid_t pid) {
    struct mproc__outside arena;
    int r = mproc__outside_open(pid != 0 ? pid : mproc_pid(), &arena);
    if (r == 0) {
        r = write_json(&arena, out);
        mproc__outside_close(&arena);
    }
    return r;
}

const char *mproc_inspect_reason(int code) {
    return mproc__outside_explain(code);
}

int mproc_inspect_families(pid_t *out, size_t cap) {
    return mproc__outside_families(out, cap < INT_MAX ? (int)cap : INT_MAX);
}

/* ---------------------------------------------------------------- what was seen */

void mproc_inspect_total(const mproc_inspection *seen, mproc_inspect_totals *out) {
    *out = (mproc_inspect_totals){0};
    if (IS_ONE(seen)) {
        const struct mproc__picture *p = &seen->picture;
        *out = (mproc_inspect_totals){(size_t)p->nmembers,
                                      (size_t)p->nobjects,
                                      (size_t)p->nwaits,
                                      (size_t)seen->groups,
                                      p->used,
                                      p->limit};
    }
}

static pid_t pid_of(const struct mproc__picture *p, int member) {
    return member >= 0 ? p->members[member].pid : 0;
}

int mproc_inspect_member(const mproc_inspection *seen, size_t i, mproc_inspect_member_seen *out) {
    if (!IS_ONE(seen)) {
        return MPROC_EOTHER;
    }
    const struct mproc__picture *p = &seen->picture;
    if (i >= (size_t)p->nmembers) {
        return -ERANGE;
    }
    const struct mproc__seen_member *m = &p->members[i];
    *out = (mproc_inspect_member_seen){
        .pid = m->pid,
        .parent = pid_of(p, mproc__picture_member(p, m->parent)),
        .method = m->method <= MPROC_FORKSERVER ? (mproc_method)m->method : (mproc_method)0,
        .alive = m->lives,
        .stopped = m->lives && (m->os.state == 'T' || m->os.state == 't'),
        .threads = m->os.threads,
        .stuck = m->stuck,
        .unnoted = (unsigned)m->unnoted,
        .holds = m->holds,
        .age = m->born != 0 ? (int64_t)(p->boot_now - m->born) : 0,
        .cpu = (int64_t)m->os.cpu,
        .private_bytes = m->os.private_bytes};
    memcpy(out->name, m->name, sizeof out->name);
    return 0;
}

/* 0: no object. */
static uint64_t id_of(const mproc_inspection *seen, int object) {
    return object >= 0 ? seen->picture.objects[object].address - seen->arena.base : 0;
}

int mproc_inspect_object(const mproc_inspection *seen, size_t i, mproc_inspect_object_seen *out) {
    if (!IS_ONE(seen)) {
        return MPROC_EOTHER;
    }
    const struct mproc__picture *p = &seen->picture;
    if (i >= (size_t)p->nobjects) {
        return -ERANGE;
    }
    const struct mproc__seen_object *o = &p->objects[i];
    const struct mproc__facts *f = mproc__picture_facts(p, (int)i);
    int64_t held = mproc__picture_held(p, (int)i);
    *out = (mproc_inspect_object_seen){.id = id_of(seen, (int)i),
                                       .within = id_of(seen, o->within),
                                       .kind = mproc__kind_name(o->kind),
                                       .size = o->size,
                                       .count = f->count,
                                       .bound = f->bound,
                                       .total = f->total,
                                       .done = f->done,
                                       .failed = f->failed,
                                       .closed = f->closed,
                                       .held_by = pid_of(p, mproc__picture_member(p, f->owner)),
                                       .held_by_thread = (pid_t)(f->thread & INT32_MAX),
                                       .held_for = held > 0 ? held : 0,
                                       .holders = o->holders,
                                       .name = mproc__picture_name(p, (int)i),
                                       .origin = mproc__picture_origin(p, (int)i)};
    return 0;
}

pid_t mproc_inspect_holder(const mproc_inspection *seen, size_t i, size_t n) {
    if (!IS_ONE(seen)) {
        return MPROC_EOTHER;
    }
    const struct mproc__picture *p = &seen->picture;
    if (i >= (size_t)p->nobjects || n >= p->objects[i].holders) {
        return -ERANGE;
    }
    return pid_of(p, mproc__picture_member(p, p->holders[p->objects[i].first + n]));
}

int mproc_inspect_wait(const mproc_inspection *seen, size_t i, mproc_inspect_wait_seen *out) {
    if (!IS_ONE(seen)) {
        return MPROC_EOTHER;
    }
    const struct mproc__picture *p = &seen->picture;
    if (i >= (size_t)p->nwaits) {
        return -ERANGE;
    }
    const struct mproc__seen_wait *w = &p->waits[i];
    *out = (mproc_inspect_wait_seen){.pid = pid_of(p, w->member),
                                     .thread = (pid_t)w->thread,
                                     .object = id_of(seen, w->object),
                                     .descriptor = w->fd,
                                     .blames = pid_of(p, mproc__blamed(p, w)),
                                     .waited = p->now > w->since ? p->now - w->since : 0,
                                     .timed = w->timed,
                                     .deadlock = w->group,
                                     .stack = mproc__picture_stack(p, w)};
    return 0;
}

int mproc_inspect_words(const mproc_inspection *seen, size_t i, char *out, size_t size) {
    if (!IS_ONE(seen)) {
        return MPROC_EOTHER;
    }
    if (i >= (size_t)seen->picture.nwaits) {
        return -ERANGE;
    }
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (memory == NULL) {
        return -ENOMEM;
    }
    mproc__say_wait(memory, &seen->arena, &seen->picture, &seen->picture.waits[i]);
    int r = fclose(memory) == 0 ? 0 : -ENOMEM;
    if (r == 0) {
        snprintf(out, size, "%s", text);
    }
    free(text);
    return r;
}
