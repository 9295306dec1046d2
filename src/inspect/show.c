/*
 * show.c - pictures of families as text
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/doing.h"
#include "inspect/text.h"
#include "inspect/words.h"
#include "system/os.h"

#define LINES_MOST 1000 /* of a table; then it is said how many there are more */
#define AGES 1e9        /* seconds: too many to be said */

static double seconds(int64_t ns) {
    return (double)ns / 1e9;
}

/* ---------------------------------------------------------------- troubles, which come first */

/* The innermost line of where it is. */
static void say_place(const struct mproc__show *show, const struct mproc__seen_wait *w) {
    char place[MPROC_STACK_MOST + 1];
    const char *stack = mproc__picture_stack(show->picture, w);
    if (*stack != 0) {
        (void)mproc__picture_stack_line(stack, place);
        fputs("    in ", show->out);
        mproc__text_print(show->out, place);
        fputs("\n", show->out);
    }
}

static void say_one(const struct mproc__show *show, const struct mproc__seen_wait *w) {
    char name[MPROC__SAY];
    fprintf(show->out, "  %s ", mproc__say_thread(show->picture, w->member, w->thread, name));
    mproc__say_wait(show->out, show->arena, show->picture, w);
    mproc__say_waited(show->out, show->picture, w);
    fputs("\n", show->out);
    say_place(show, w);
}

static void show_group(const struct mproc__show *show, int group) {
    const struct mproc__picture *p = show->picture;
    int threads = 0, taskq = mproc__starved(p, group);
    for (int i = 0; i < p->nwaits; i++) {
        threads += p->waits[i].group == group && !mproc__doing_is_said(p, i);
    }
    if (taskq >= 0) {
        char what[MPROC__SAY];
        uint64_t workers = mproc__picture_facts(p, taskq)->total;
        uint64_t queued = mproc__picture_facts(p, mproc__picture_inner(p, taskq, 0))->count;
        fprintf(show->out, "DEADLOCK of %d, %s is starved: ", threads,
                mproc__say_object(show->arena, p, taskq, what));
        if (workers == 1) {
            fputs("its only worker has a task that waits", show->out);
        } else {
            fprintf(show->out, "each of its %" PRIu64 " workers has a task that waits", workers);
        }
        fprintf(show->out, ", and no worker is left for the %" PRIu64 " %s queued:\n", queued,
                mproc__say_many(queued, "task that is", "tasks that are"));
    } else if (threads == 1) {
        fputs("DEADLOCK: nobody is left to end this wait:\n", show->out);
    } else {
        fprintf(show->out, "DEADLOCK of %d: they wait for each other, and nobody else can help:\n",
                threads);
    }
    for (int i = 0; i < p->nwaits; i++) {
        if (p->waits[i].group == group && !mproc__doing_is_said(p, i)) {
            say_one(show, &p->waits[i]);
        }
    }
}

static void show_deadlocks(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    for (int i = 0; i < p->nwaits && show->groups > 0; i++) {
        if (p->waits[i].group == i) {
            show_group(show, i);
        }
    }
}

/* Waits for a member that is stopped: it is no deadlock, but does not end by itself either. */
static void show_stopped(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    for (int i = 0; i < p->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        int m = mproc__blamed(p, w);
        if (m >= 0 && m != w->member && p->members[m].lives && p->members[m].os.state == 'T') {
            char name[MPROC__SAY];
            fprintf(show->out, "STOPPED: %s goes on only when it gets SIGCONT, and\n",
                    mproc__say_member(p, m, name));
            say_one(show, w);
        }
    }
}

void mproc__show_troubles(const struct mproc__show *show) {
    show_deadlocks(show);
    show_stopped(show);
}

/* ---------------------------------------------------------------- ps */

void mproc__show_head(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    char used[32], most[32];
    int living = 0;
    pid_t first = 0;
    for (int i = 0; i < p->nmembers; i++) {
        living += p->members[i].lives;
        first = first == 0 && p->members[i].lives ? p->members[i].pid : first;
    }
    fprintf(show->out, "family of %d: %d %s, arena %s", (int)first, living,
            mproc__say_many((uint64_t)living, "member", "members"),
            mproc__say_bytes(p->used, used));
    if (p->limit != 0) {
        fprintf(show->out, " of %s", mproc__say_bytes(p->limit, most));
    }
    fputs("\n", show->out);
}

static void show_member(const struct mproc__show *show, int member, int depth,
                        const struct mproc__doing *doing) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_member *m = &p->members[member];
    char name[MPROC__SAY], age[32], cpu[32], memory[32];
    double born = m->born != 0 ? seconds((int64_t)(p->boot_now - m->born)) : 0;
    mproc__say_member(p, member, name);
    strrchr(name, '(')[-1] = 0; /* the pid stands before it */
    fprintf(show->out, "%8d %-10s %-8s %12s %12s %9s %6" PRIu64 "  %*s%s", (int)m->pid,
            mproc__say_method(m->method), mproc__say_state(m), mproc__say_span(born, age),
            mproc__say_span(seconds((int64_t)m->os.cpu), cpu),
            mproc__say_bytes(m->os.private_bytes, memory), m->holds, 2 * depth, "", name);
    mproc__doing_say(show, member, doing);
    fputs("\n", show->out);
}

/* Slots are given again, so a parent's may come behind its child's; and a scribbled one may be its
 * own ancestor: each member is shown once. */
static void show_tree(const struct mproc__show *show, uint64_t parent, int depth, bool *shown,
                      const struct mproc__doing *doing) {
    const struct mproc__picture *p = show->picture;
    for (int i = 0; i < p->nmembers; i++) {
        bool orphan = parent == 0 && mproc__picture_member(p, p->members[i].parent) < 0;
        if (!shown[i] && (orphan || (parent != 0 && p->members[i].parent == parent))) {
            shown[i] = true;
            show_member(show, i, depth < 20 ? depth : 20, doing);
            if (depth < 100) {
                show_tree(show, p->members[i].token, depth + 1, shown, doing);
            }
        }
    }
}

static void show_members(const struct mproc__show *show, const struct mproc__doing *doing) {
    static bool shown[MPROC__MEMBERS];
    memset(shown, 0, sizeof shown);
    fputs("     PID METHOD     STATE             AGE          CPU   PRIVATE  HOLDS  NAME\n",
          show->out);
    show_tree(show, 0, 0, shown, doing);
    for (int i = 0; i < show->picture->nmembers; i++) {
        if (!shown[i]) {
            show_member(show, i, 0, doing);
        }
    }
}

void mproc__show_ps(const struct mproc__show *show) {
    struct mproc__doing doing;
    mproc__show_head(show);
    mproc__show_troubles(show);
    mproc__doing_find(show, &doing);
    show_members(show, &doing);
    mproc__doing_drop(&doing);
}

/* ---------------------------------------------------------------- locks */

static bool is_lock(enum mproc__kind kind) {
    return kind == MPROC__KIND_LOCK || kind == MPROC__KIND_RLOCK || kind == MPROC__KIND_SEMAPHORE ||
           kind == MPROC__KIND_BSEMAPHORE || kind == MPROC__KIND_EVENT ||
           kind == MPROC__KIND_CONDITION || kind == MPROC__KIND_BARRIER ||
           kind == MPROC__KIND_QUEUE;
}

/* Permits of a bounded semaphore that members have. */
static uint64_t taken_of(const struct mproc__picture *p, int object) {
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    return p->objects[object].kind == MPROC__KIND_BSEMAPHORE ? f->bound - f->count : 0;
}

static bool is_held(const struct mproc__picture *p, int object) {
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    return f->owner != 0 || taken_of(p, object) != 0 ||
           (p->objects[object].kind == MPROC__KIND_BARRIER && f->count != 0);
}

static void show_holders(const struct mproc__show *show, int object) {
    const struct mproc__facts *f = mproc__picture_facts(show->picture, object);
    char name[MPROC__SAY];
    if (f->owner != 0) {
        int m = mproc__picture_member(show->picture, f->owner);
        fprintf(show->out, ", held by %s",
                mproc__say_thread(show->picture, m, (uint32_t)f->thread, name));
        mproc__doing_since(show->out, mproc__picture_held(show->picture, object));
    }
    uint64_t others = taken_of(show->picture, object);
    for (int i = 0; i < MPROC__FACTS_TAKERS; i++) {
        if (f->takers[i].token != 0) {
            others -= f->takers[i].permits < others ? f->takers[i].permits : others;
            int m = mproc__picture_member(show->picture, f->takers[i].token);
            fprintf(show->out, ", %" PRIu64 " taken by %s", f->takers[i].permits,
                    mproc__say_member(show->picture, m, name));
            mproc__doing_since(show->out, mproc__picture_taken(show->picture, object, i));
        }
    }
    if (others > 0) {
        fprintf(show->out, ", %" PRIu64 " taken by others", others);
    }
}

/* The waits for each object, the longest first: there may be a million objects and thousands of
 * waits. */
struct waiters {
    int *first; /* of each object; -1: none */
    int *next;  /* behind each wait */
};

struct since {
    int64_t since;
    int wait;
};

static int latest_first(const void *a, const void *b) {
    const struct since *x = a, *y = b;
    return x->since != y->since ? (x->since < y->since) - (x->since > y->since) : y->wait - x->wait;
}

static bool sort_waits(const struct mproc__picture *p, struct waiters *out) {
    struct since *order = malloc(((size_t)p->nwaits + 1) * sizeof *order);
    for (int i = 0; order != NULL && i < p->nwaits; i++) {
        order[i] = (struct since){p->waits[i].since, i};
    }
    if (order != NULL && p->nwaits > 0) {
        qsort(order, (size_t)p->nwaits, sizeof *order, latest_first);
    }
    for (int i = 0; order != NULL && i < p->nwaits; i++) {
        int wait = order[i].wait, object = p->waits[wait].object;
        out->next[wait] = object >= 0 ? out->first[object] : -1;
        if (object >= 0) {
            out->first[object] = wait;
        }
    }
    free(order);
    return order != NULL;
}

static bool find_waiters(const struct mproc__picture *p, struct waiters *out) {
    out->first = malloc(((size_t)p->nobjects + 1) * sizeof *out->first);
    out->next = malloc(((size_t)p->nwaits + 1) * sizeof *out->next);
    if (out->first == NULL || out->next == NULL) {
        return false;
    }
    for (int i = 0; i < p->nobjects; i++) {
        out->first[i] = -1;
    }
    return sort_waits(p, out);
}

static void free_waiters(struct waiters *owned) {
    free(owned->first);
    free(owned->next);
}

static void show_waiters(const struct mproc__show *show, int object,
                         const struct waiters *waiters) {
    for (int w = waiters->first[object]; w >= 0; w = waiters->next[w]) {
        say_one(show, &show->picture->waits[w]);
    }
}

void mproc__show_holder(const struct mproc__show *show, int object) {
    char what[MPROC__SAY];
    fprintf(show->out, "%s", mproc__say_object(show->arena, show->picture, object, what) + 4);
    show_holders(show, object);
}

static void show_lock(const struct mproc__show *show, int object, const struct waiters *waiters) {
    mproc__show_holder(show, object);
    fputs("\n", show->out);
    show_waiters(show, object, waiters);
}

static void show_joins(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    bool any = false;
    for (int i = 0; i < p->nwaits; i++) {
        if (p->waits[i].object < 0 && p->waits[i].target >= 0) {
            fputs(any ? "" : "ends of processes\n", show->out);
            any = true;
            say_one(show, &p->waits[i]);
        }
    }
}

/* Whatever they wait for, they are not among those that are shown. */
static void show_unnoted(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    char name[MPROC__SAY];
    for (int i = 0; i < p->nmembers; i++) {
        if (p->members[i].unnoted > 0) {
            fprintf(show->out, "%s: ", mproc__say_member(p, i, name));
            mproc__say_unnoted(show->out, "", p->members[i].unnoted);
            fputs("\n", show->out);
        }
    }
}

static void show_held(const struct mproc__show *show, const struct waiters *waiters) {
    const struct mproc__picture *p = show->picture;
    int shown = 0, more = 0;
    for (int i = 0; i < p->nobjects; i++) {
        if (is_lock(p->objects[i].kind) && (is_held(p, i) || waiters->first[i] >= 0)) {
            if (shown++ < LINES_MOST) {
                show_lock(show, i, waiters);
            } else {
                more++;
            }
        }
    }
    show_joins(show);
    if (more > 0) {
        fprintf(show->out, "... and %d more\n", more);
    }
    show_unnoted(show);
}

void mproc__show_locks(const struct mproc__show *show) {
    struct waiters waiters;
    mproc__show_head(show);
    mproc__show_troubles(show);
    if (find_waiters(show->picture, &waiters)) {
        show_held(show, &waiters);
    } else {
        fputs("  there is no memory to say who waits\n", show->out);
    }
    free_waiters(&waiters);
}

/* ---------------------------------------------------------------- where they wait */

static void show_place(const struct mproc__show *show, const struct mproc__seen_wait *w) {
    char line[MPROC_STACK_MOST + 1];
    const char *at = mproc__picture_stack(show->picture, w);
    fprintf(show->out, "  thread %u ", (unsigned)w->thread);
    mproc__say_wait(show->out, show->arena, show->picture, w);
    fputs("\n", show->out);
    while (*at != 0) {
        at = mproc__picture_stack_line(at, line);
        fputs("    ", show->out);
        mproc__text_print(show->out, line);
        fputs("\n", show->out);
    }
}

int mproc__show_places(const struct mproc__show *show, int member) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_member *m = &p->members[member];
    int n = 0;
    for (int i = m->first_wait; i < m->first_wait + m->nwaits; i++) {
        if (p->waits[i].stack != 0) {
            show_place(show, &p->waits[i]);
            n++;
        }
    }
    return n;
}

void mproc__show_all_places(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    char name[MPROC__SAY];
    for (int i = 0; i < p->nmembers; i++) {
        const struct mproc__seen_member *m = &p->members[i];
        bool any = false;
        for (int w = m->first_wait; w < m->first_wait + m->nwaits && !any; w++) {
            any = p->waits[w].stack != 0;
        }
        if (any) {
            fprintf(show->out, "%s\n", mproc__say_member(p, i, name));
            (void)mproc__show_places(show, i);
        }
    }
}

/* ---------------------------------------------------------------- queues */

/* Messages a second, put and got; false: it is not known. */
static bool find_rates(const struct mproc__show *show, int queue, double *put, double *got) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__facts *f = mproc__picture_facts(p, queue);
    const struct mproc__facts *before =
        show->before != NULL ? mproc__picture_facts_before(p, show->before, queue) : NULL;
    if (before == NULL || f->total < before->total || p->now <= show->before->now) {
        return false;
    }
    double time = seconds(p->now - show->before->now);
    *put = (double)(f->total - before->total) / time;
    *got = *put - ((double)f->count - (double)before->count) / time;
    *got = *got > 0 ? *got : 0;
    return true;
}

static void show_queue(const struct mproc__show *show, int object, const struct waiters *waiters) {
    const struct mproc__facts *f = mproc__picture_facts(show->picture, object);
    char what[MPROC__SAY], bytes[32];
    double put, got;
    fprintf(show->out, "%s: %" PRIu64 " %s, %s",
            mproc__say_object(show->arena, show->picture, object, what) + 4, f->count,
            mproc__say_many(f->count, "message", "messages"),
            mproc__say_bytes(mproc__picture_queue_bytes(show->arena, show->picture, f), bytes));
    if (f->bound != 0) {
        fprintf(show->out, ", at most %" PRIu64, f->bound);
    }
    fprintf(show->out, "; %" PRIu64 " put so far", f->total);
    if (find_rates(show, object, &put, &got)) {
        fprintf(show->out, "; %.0f put and %.0f got a second", put, got);
    }
    if (mproc__picture_oldest(show->picture, object) >= 0) {
        fprintf(show->out, "; the oldest is there for %s or longer",
                mproc__say_span(seconds(mproc__picture_oldest(show->picture, object)), bytes));
    }
    fputs(f->closed ? "; closed\n" : "\n", show->out);
    show_waiters(show, object, waiters);
}

static void show_task(const struct mproc__show *show, const struct mproc__seen_task *task) {
    const struct mproc__picture *p = show->picture;
    char name[MPROC__SAY], function[MPROC__TRACE_TEXT], span[32];
    int64_t running = mproc__picture_running(p, task);
    int m = mproc__picture_member(p, task->worker);
    mproc__text_clean(task->name != 0 ? &p->texts[task->name] : "a task", function,
                      sizeof function);
    fprintf(show->out, "  %s runs %s", mproc__say_member(p, m, name), function);
    if (running >= 0) {
        fprintf(show->out, ", for %s or longer", mproc__say_span(seconds(running), span));
    }
    fputs("\n", show->out);
}

static void show_tasks(const struct mproc__show *show, int tasks) {
    const struct mproc__picture *p = show->picture;
    for (int i = 0; i < p->ntasks; i++) {
        if (p->tasks[i].tasks == tasks) {
            show_task(show, &p->tasks[i]);
        }
    }
}

/* What its workers have taken and do not have any more, and when all that wait will be. */
static void show_progress(const struct mproc__show *show, int taskq) {
    const struct mproc__picture *p = show->picture;
    int tasks = mproc__picture_inner(p, taskq, 0);
    const struct mproc__facts *f = mproc__picture_facts(p, tasks);
    uint64_t running = mproc__picture_facts(p, taskq)->done, left = f->count + running;
    double put, got = 0;
    char span[32];
    if (tasks < 0) {
        return;
    }
    fprintf(show->out, "; %" PRIu64 " done", f->total > left ? f->total - left : 0);
    if (mproc__picture_facts(p, taskq)->failed != 0) {
        fprintf(show->out, ", of which %" PRIu64 " failed", mproc__picture_facts(p, taskq)->failed);
    }
    if (find_rates(show, tasks, &put, &got)) {
        fprintf(show->out, ", %.0f taken a second", got);
    }
    double time = got > 0 ? (double)f->count / got : 0;
    if (time > 0 && time < AGES) {
        fprintf(show->out, ", %s left", mproc__say_span(time, span));
    }
}

void mproc__show_pool(const struct mproc__show *show, int object) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    uint64_t open = 0, back = 0;
    char what[MPROC__SAY];
    for (int i = 0; i < p->nobjects; i++) {
        if (p->objects[i].within == object) {
            open += p->objects[i].address == f->inside[0] ? mproc__picture_facts(p, i)->count : 0;
            back += p->objects[i].address == f->inside[1] ? mproc__picture_facts(p, i)->count : 0;
        }
    }
    fprintf(show->out,
            "%s: %" PRIu64 " %s, %" PRIu64 " of them with a task; %" PRIu64 " %s, %" PRIu64 " %s",
            mproc__say_object(show->arena, p, object, what) + 4, f->total,
            mproc__say_many(f->total, "worker", "workers"), f->done, open,
            mproc__say_many(open, "task waits", "tasks wait"), back,
            mproc__say_many(back, "result waits", "results wait"));
    show_progress(show, object);
    fputs("\n", show->out);
    show_tasks(show, object);
}

static void show_use(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    char bytes[32];
    fprintf(show->out, "memory: %" PRIu64 " %s, %s", p->blocks,
            mproc__say_many(p->blocks, "block", "blocks"), mproc__say_bytes(p->bytes, bytes));
    fprintf(show->out, "; free and warm %s\n", mproc__say_bytes(p->warm, bytes));
    for (int kind = 0; kind < MPROC__KINDS; kind++) {
        if (p->of_kind[kind] != 0) {
            fprintf(show->out, "  %-18s %8" PRIu64 "  %s\n",
                    kind == 0 ? "without a kind" : mproc__kind_name((enum mproc__kind)kind),
                    p->of_kind[kind], mproc__say_bytes(p->bytes_of_kind[kind], bytes));
        }
    }
    for (int i = 0; i < p->nsegments; i++) {
        fputs("segment ", show->out);
        mproc__text_print(show->out, p->segments[i].name);
        fputs("\n", show->out);
    }
}

static void show_container(const struct mproc__show *show, int object) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_object *o = &p->objects[object];
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    char what[MPROC__SAY], bytes[32];
    mproc__say_object(show->arena, p, object, what);
    if (o->kind == MPROC__KIND_BUFFER || o->kind == MPROC__KIND_ARRAY) {
        fprintf(show->out, "%s: %s\n", what + 4, mproc__say_bytes(f->bytes, bytes));
    } else {
        fprintf(show->out, "%s: %" PRIu64 " %s\n", what + 4, f->count,
                o->kind == MPROC__KIND_DICT ? mproc__say_many(f->count, "entry", "entries")
                                            : mproc__say_many(f->count, "item", "items"));
    }
}

static bool is_container(const struct mproc__seen_object *o) {
    return o->within < 0 && (o->kind == MPROC__KIND_DICT || o->kind == MPROC__KIND_LIST ||
                             o->kind == MPROC__KIND_BUFFER || o->kind == MPROC__KIND_ARRAY);
}

/* Queues and pools, then what else has something in it. */
static void show_contents(const struct mproc__show *show, const struct waiters *waiters) {
    const struct mproc__picture *p = show->picture;
    int lines = 0, more = 0;
    for (int i = 0; i < p->nobjects; i++) {
        bool queue = p->objects[i].kind == MPROC__KIND_QUEUE && p->objects[i].within < 0;
        bool pool = p->objects[i].kind == MPROC__KIND_TASKQ;
        if ((queue || pool) && lines++ >= LINES_MOST) {
            more++;
        } else if (queue) {
            show_queue(show, i, waiters);
        } else if (pool) {
            mproc__show_pool(show, i);
        }
    }
    for (int i = 0; i < p->nobjects; i++) {
        if (is_container(&p->objects[i]) && lines++ >= LINES_MOST) {
            more++;
        } else if (is_container(&p->objects[i])) {
            show_container(show, i);
        }
    }
    if (more > 0) {
        fprintf(show->out, "... and %d more\n", more);
    }
}

void mproc__show_queues(const struct mproc__show *show) {
    struct waiters waiters;
    mproc__show_head(show);
    if (find_waiters(show->picture, &waiters)) {
        show_contents(show, &waiters);
    } else {
        fputs("  there is no memory to say who waits\n", show->out);
    }
    free_waiters(&waiters);
    show_use(show);
}
