/*
 * show_json.c - pictures of families as JSON
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/show.h"
#include "inspect/text.h"

/* ---------------------------------------------------------------- JSON */

/* A name may be cut off in a character, or be rubbish. What a terminal would obey has fewer than
 * five digits. */
void mproc__json_string(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s != 0;) {
        int n = mproc__text_character(s);
        if (n == 0) {
            fputs("\\ufffd", out);
            n = 1;
        } else if (mproc__text_printable(s) == 0 || *s == '"' || *s == '\\') {
            fprintf(out, "\\u%04x", mproc__text_code(s, n));
        } else {
            fwrite(s, 1, (size_t)n, out);
        }
        s += n;
    }
    fputc('"', out);
}

void mproc__json_key(FILE *out, const char *name) {
    fputs(", ", out);
    mproc__json_string(out, name);
    fputs(": ", out);
}

static void number(FILE *out, const char *name, uint64_t n) {
    mproc__json_key(out, name);
    fprintf(out, "%" PRIu64, n);
}

static void seconds(FILE *out, const char *name, int64_t ns) {
    mproc__json_key(out, name);
    fprintf(out, "%.6f", (double)(ns > 0 ? ns : 0) / 1e9);
}

/* Negative: it is not known. */
static void seconds_or_null(FILE *out, const char *name, int64_t ns) {
    if (ns >= 0) {
        seconds(out, name, ns);
    } else {
        mproc__json_key(out, name);
        fputs("null", out);
    }
}

static void truth(FILE *out, const char *name, bool is) {
    mproc__json_key(out, name);
    fputs(is ? "true" : "false", out);
}

static void text_or_null(FILE *out, const char *name, const char *text) {
    mproc__json_key(out, name);
    if (*text != 0) {
        mproc__json_string(out, text);
    } else {
        fputs("null", out);
    }
}

/* Objects are named by where they are in the arena. */
static uint64_t id(const struct mproc__show *show, int object) {
    return show->picture->objects[object].address - show->arena->base;
}

static void pid(FILE *out, const char *name, const struct mproc__picture *p, int member) {
    mproc__json_key(out, name);
    if (member >= 0) {
        fprintf(out, "%d", (int)p->members[member].pid);
    } else {
        fputs("null", out);
    }
}

/* ---------------------------------------------------------------- what there is */

static void show_member(const struct mproc__show *show, int i) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_member *m = &p->members[i];
    static const char *const methods[] = {"", "fork", "spawn", "forkserver"};
    fprintf(show->out, "%s{\"pid\": %d", i > 0 ? ",\n  " : "", (int)m->pid);
    mproc__json_key(show->out, "name");
    mproc__json_string(show->out, m->name);
    pid(show->out, "parent", p, mproc__picture_member(p, m->parent));
    mproc__json_key(show->out, "method");
    mproc__json_string(show->out, m->method < 4 ? methods[m->method] : "");
    truth(show->out, "alive", m->lives);
    truth(show->out, "stopped", m->lives && (m->os.state == 'T' || m->os.state == 't'));
    seconds(show->out, "age", m->born != 0 ? (int64_t)(p->boot_now - m->born) : 0);
    seconds(show->out, "cpu", (int64_t)m->os.cpu);
    number(show->out, "private_bytes", m->os.private_bytes);
    number(show->out, "threads", m->os.threads > 0 ? (uint64_t)m->os.threads : 0);
    number(show->out, "holds", m->holds);
    number(show->out, "stuck_threads", m->stuck);
    number(show->out, "unnoted_waits", (uint64_t)m->unnoted);
    fputs("}", show->out);
}

static bool is_starved(const struct mproc__picture *p, int object) {
    bool is = false;
    for (int i = 0; i < p->nwaits && !is && p->objects[object].kind == MPROC__KIND_TASKQ; i++) {
        is = p->waits[i].group == i && mproc__starved(p, i) == object;
    }
    return is;
}

static void show_facts(const struct mproc__show *show, int i) {
    const struct mproc__facts *f = mproc__picture_facts(show->picture, i);
    FILE *out = show->out;
    number(out, "count", f->count);
    number(out, "bound", f->bound);
    number(out, "total", f->total);
    number(out, "done", f->done);
    number(out, "failed", f->failed);
    truth(out, "closed", f->closed);
    if (show->picture->objects[i].kind == MPROC__KIND_QUEUE) {
        number(out, "bytes", mproc__picture_queue_bytes(show->arena, show->picture, f));
    } else {
        number(out, "bytes", f->bytes);
    }
    pid(out, "held_by", show->picture, mproc__picture_member(show->picture, f->owner));
    number(out, "held_by_thread", f->thread & UINT32_MAX);
    seconds_or_null(out, "held", mproc__picture_held(show->picture, i));
    truth(out, "starved", is_starved(show->picture, i));
}

/* Of a bounded semaphore: the first ones that have permits, as many as it has in itself. */
static void show_takers(const struct mproc__show *show, int semaphore) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__facts *f = mproc__picture_facts(p, semaphore);
    const char *before = "";
    mproc__json_key(show->out, "takers");
    fputs("[", show->out);
    for (int i = 0; i < MPROC__FACTS_TAKERS; i++) {
        int m = f->takers[i].token != 0 ? mproc__picture_member(p, f->takers[i].token) : -1;
        if (m >= 0) {
            fprintf(show->out, "%s{\"pid\": %d", before, (int)p->members[m].pid);
            number(show->out, "permits", f->takers[i].permits);
            seconds_or_null(show->out, "held", mproc__picture_taken(p, semaphore, i));
            fputs("}", show->out);
            before = ", ";
        }
    }
    fputs("]", show->out);
}

/* Of a task queue. */
static void show_tasks(const struct mproc__show *show, int tasks) {
    const struct mproc__picture *p = show->picture;
    const char *before = "";
    mproc__json_key(show->out, "tasks");
    fputs("[", show->out);
    for (int i = 0; i < p->ntasks; i++) {
        const struct mproc__seen_task *task = &p->tasks[i];
        int m = task->tasks == tasks ? mproc__picture_member(p, task->worker) : -1;
        if (m >= 0) {
            fprintf(show->out, "%s{\"pid\": %d", before, (int)p->members[m].pid);
            number(show->out, "ticket", task->ticket);
            text_or_null(show->out, "function", &p->texts[task->name]);
            seconds_or_null(show->out, "running", mproc__picture_running(p, task));
            fputs("}", show->out);
            before = ", ";
        }
    }
    fputs("]", show->out);
}

static void show_object(const struct mproc__show *show, int i) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_object *o = &p->objects[i];
    const char *before = "";
    fprintf(show->out, "%s{\"id\": %" PRIu64, i > 0 ? ",\n  " : "", id(show, i));
    mproc__json_key(show->out, "kind");
    mproc__json_string(show->out, mproc__kind_name(o->kind));
    text_or_null(show->out, "name", mproc__picture_name(p, i));
    text_or_null(show->out, "origin", mproc__picture_origin(p, i));
    number(show->out, "size", o->size);
    mproc__json_key(show->out, "within");
    if (o->within >= 0) {
        fprintf(show->out, "%" PRIu64, id(show, o->within));
    } else {
        fputs("null", show->out);
    }
    show_facts(show, i);
    mproc__json_key(show->out, "members");
    fputs("[", show->out);
    for (uint64_t n = 0; n < o->holders; n++) {
        int m = mproc__picture_member(p, p->holders[o->first + n]);
        if (m >= 0) {
            fprintf(show->out, "%s%d", before, (int)p->members[m].pid);
            before = ", ";
        }
    }
    fputs("]", show->out);
    if (o->kind == MPROC__KIND_QUEUE) {
        seconds_or_null(show->out, "oldest", mproc__picture_oldest(p, i));
    } else if (o->kind == MPROC__KIND_TASKQ) {
        show_tasks(show, i);
    } else if (o->kind == MPROC__KIND_BSEMAPHORE) {
        show_takers(show, i);
    }
    fputs("}", show->out);
}

static void say_as_string(const struct mproc__show *show, const struct mproc__seen_wait *w) {
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (memory != NULL) {
        mproc__say_wait(memory, show->arena, show->picture, w);
        fclose(memory);
    }
    mproc__json_string(show->out, text != NULL ? text : "");
    free(text);
}

/* A list of lines, the innermost first. */
static void show_stack(const struct mproc__show *show, const struct mproc__seen_wait *w) {
    const char *at = mproc__picture_stack(show->picture, w);
    char line[MPROC_STACK_MOST + 1];
    mproc__json_key(show->out, "stack");
    if (*at == 0) {
        fputs("null", show->out);
        return;
    }
    for (const char *before = "["; *at != 0; before = ", ") {
        at = mproc__picture_stack_line(at, line);
        fputs(before, show->out);
        mproc__json_string(show->out, line);
    }
    fputs("]", show->out);
}

static void show_wait(const struct mproc__show *show, int i) {
    static const char *const roles[] = {"it", "room", "done", "section", "descriptor", "loop"};
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_wait *w = &p->waits[i];
    fprintf(show->out, "%s{\"pid\": %d", i > 0 ? ",\n  " : "", (int)p->members[w->member].pid);
    number(show->out, "thread", w->thread);
    mproc__json_key(show->out, "object");
    if (w->object >= 0) {
        fprintf(show->out, "%" PRIu64, id(show, w->object));
    } else {
        fputs("null", show->out);
    }
    mproc__json_key(show->out, "for");
    mproc__json_string(show->out, w->object < 0 && w->target >= 0 ? "end" : roles[w->role]);
    mproc__json_key(show->out, "descriptor");
    fprintf(show->out, w->fd >= 0 ? "%d" : "null", w->fd);
    pid(show->out, "blames", p, mproc__blamed(p, w));
    seconds(show->out, "waited", p->now - w->since);
    truth(show->out, "timed", w->timed);
    mproc__json_key(show->out, "deadlock");
    fprintf(show->out, w->group >= 0 ? "%d" : "null", w->group);
    mproc__json_key(show->out, "words");
    say_as_string(show, w);
    show_stack(show, w);
    fputs("}", show->out);
}

static void show_arena(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    fprintf(show->out, "{\"used\": %" PRIu64, p->used);
    number(show->out, "limit", p->limit);
    number(show->out, "warm", p->warm);
    number(show->out, "blocks", p->blocks);
    number(show->out, "bytes", p->bytes);
    mproc__json_key(show->out, "kinds");
    fputs("{", show->out);
    const char *before = "";
    for (int kind = 0; kind < MPROC__KINDS; kind++) {
        if (p->of_kind[kind] != 0) {
            fprintf(show->out, "%s\"%s\": {\"blocks\": %" PRIu64 ", \"bytes\": %" PRIu64 "}",
                    before, mproc__kind_name((enum mproc__kind)kind), p->of_kind[kind],
                    p->bytes_of_kind[kind]);
            before = ", ";
        }
    }
    fputs("}}", show->out);
}

static void show_all(const struct mproc__show *show, const char *name, int n,
                     void (*one)(const struct mproc__show *show, int i)) {
    mproc__json_key(show->out, name);
    fputs("[\n  ", show->out);
    for (int i = 0; i < n; i++) {
        one(show, i);
    }
    fputs("]", show->out);
}

static void show_segment(const struct mproc__show *show, int i) {
    fputs(i > 0 ? ", " : "", show->out);
    mproc__json_string(show->out, show->picture->segments[i].name);
}

/* ---------------------------------------------------------------- what changes */

static double rate(uint64_t now, uint64_t before, double time) {
    return now > before ? (double)(now - before) / time : 0;
}

static void show_member_rates(const struct mproc__show *show, double time) {
    const struct mproc__picture *p = show->picture;
    const char *separator = "";
    for (int i = 0; i < p->nmembers; i++) {
        const struct mproc__seen_member *m = &p->members[i];
        int then = mproc__picture_member(show->before, m->token);
        if (then >= 0) {
            uint64_t cpu = show->before->members[then].os.cpu;
            fprintf(show->out, "%s{\"pid\": %d, \"cpu\": %.4f}", separator, (int)m->pid,
                    rate(m->os.cpu, cpu, time * 1e9));
            separator = ", ";
        }
    }
}

static void show_queue_rates(const struct mproc__show *show, double time) {
    const struct mproc__picture *p = show->picture;
    const char *separator = "";
    for (int i = 0; i < p->nobjects; i++) {
        const struct mproc__facts *f = mproc__picture_facts(p, i);
        const struct mproc__facts *then = p->objects[i].kind == MPROC__KIND_QUEUE
                                              ? mproc__picture_facts_before(p, show->before, i)
                                              : NULL;
        if (then != NULL) {
            fprintf(show->out, "%s{\"id\": %" PRIu64 ", \"put\": %.1f, \"got\": %.1f}", separator,
                    id(show, i), rate(f->total, then->total, time),
                    rate(f->total - f->count, then->total - then->count, time));
            separator = ", ";
        }
    }
}

/* By an earlier picture, if there is one. */
static void show_rates(const struct mproc__show *show) {
    double time = show->before != NULL ? (double)(show->picture->now - show->before->now) / 1e9 : 0;
    mproc__json_key(show->out, "rates");
    if (time <= 0) {
        fputs("null", show->out);
        return;
    }
    fprintf(show->out, "{\"seconds\": %.6f, \"members\": [", time);
    show_member_rates(show, time);
    fputs("], \"queues\": [", show->out);
    show_queue_rates(show, time);
    fputs("]}", show->out);
}

void mproc__show_json_begin(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    fprintf(show->out, "{\"deadlocks\": %d", show->groups);
    mproc__json_key(show->out, "arena");
    show_arena(show);
    show_all(show, "members", p->nmembers, show_member);
    show_all(show, "waits", p->nwaits, show_wait);
    show_all(show, "objects", p->nobjects, show_object);
    show_all(show, "segments", p->nsegments, show_segment);
    show_rates(show);
}

void mproc__show_json(const struct mproc__show *show) {
    mproc__show_json_begin(show);
    fputs("}", show->out);
}
