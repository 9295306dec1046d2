/*
 * strip.c - what the threads did last, drawn as a line of time for each of them: part of the page
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The rings (core/trace.c) keep the last records of each thread, also when nobody
 * reads them any more. Tasks and waits are made spans of them: a small stack for each ring says
 * which are open. Of all spans the last ones are drawn, on one scale of time. What is still open
 * goes to the end.
 *
 * What it does not do: say what was put and acquired. A recording has that (record.c).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/wait.h"
#include "inspect/blame.h"
#include "inspect/clock.h"
#include "inspect/drain.h"
#include "inspect/show.h"
#include "inspect/text.h"
#include "inspect/words.h"

#define RINGS ((size_t)MPROC__MEMBERS * MPROC__TRACE_HANDS)
#define SPANS_MOST ((size_t)1 << 20) /* that are looked at */
#define DRAWN_MOST 2000
#define LINES_MOST 60 /* threads that are drawn */
#define DEPTH 8       /* spans of a thread within each other */
#define WIDE 760.0    /* of the time; the names of threads stand before it */
#define BEFORE 200
#define HIGH 20 /* of a thread */

struct span {
    uint64_t thread, begin, end;
    uint64_t what; /* of the record that began it */
    bool open;     /* it had not ended */
};

struct stack {
    uint64_t thread;
    unsigned n;
    struct {
        uint64_t what, begin;
    } open[DEPTH];
};

struct strip {
    const struct mproc__show *show;
    struct mproc__clock clock;
    uint64_t now;
    uint64_t latest; /* when the last record was written */
    bool goes_on;    /* somebody records */
    struct span *spans;
    size_t n, room;
    uint64_t threads[LINES_MOST]; /* that are drawn */
    size_t left_out;              /* spans that are not drawn */
    int nthreads;
    struct stack stacks[RINGS];
};

/* ---------------------------------------------------------------- spans */

static void add(struct strip *s, const struct span *span) {
    if (s->n == s->room && s->n < SPANS_MOST) {
        size_t room = s->room == 0 ? 1024 : 2 * s->room;
        struct span *more = realloc(s->spans, room * sizeof *more);
        s->spans = more != NULL ? more : s->spans;
        s->room = more != NULL ? room : s->room;
    }
    if (s->n < s->room) {
        s->spans[s->n++] = *span;
    }
}

static void begin(struct stack *stack, const struct mproc__trace_record *record) {
    if (stack->n < DEPTH) {
        stack->open[stack->n].what = record->what;
        stack->open[stack->n++].begin = record->time;
    }
}

/* Ends the innermost span that such an event begins, and those within it. */
static void end(struct strip *s, struct stack *stack, enum mproc__trace_event event,
                uint64_t time) {
    for (unsigned n = stack->n; n-- > 0;) {
        if (mproc__trace_event_of(stack->open[n].what) == event) {
            const struct span span = {stack->thread, stack->open[n].begin, time,
                                      stack->open[n].what, false};
            if (span.begin <= time) {
                add(s, &span);
            }
            stack->n = n;
            return;
        }
    }
}

static void take(struct strip *s, struct stack *stack, const struct mproc__trace_record *record) {
    if (record->time > s->now) {
        return; /* rubbish, or recorded by another clock */
    }
    s->latest = record->time > s->latest ? record->time : s->latest;
    if (record->thread != stack->thread) {
        stack->thread = record->thread;
        stack->n = 0;
    }
    switch (mproc__trace_event_of(record->what)) {
    case MPROC__TRACE_TASK:
        end(s, stack, MPROC__TRACE_TASK, record->time); /* a thread has one task at a time */
        begin(stack, record);
        break;
    case MPROC__TRACE_WAIT: begin(stack, record); break;
    case MPROC__TRACE_TASK_END: end(s, stack, MPROC__TRACE_TASK, record->time); break;
    case MPROC__TRACE_WAIT_END: end(s, stack, MPROC__TRACE_WAIT, record->time); break;
    default: break;
    }
}

/* A mproc__drain_fn. */
static void take_all(void *strip, unsigned ring, const struct mproc__trace_record *lent, size_t n,
                     uint64_t lost) {
    struct strip *s = strip;
    (void)lost;
    for (size_t i = 0; i < n; i++) {
        take(s, &s->stacks[ring], &lent[i]);
    }
}

/* What has not ended is that of a process that lives. */
static bool lives(const struct strip *s, uint64_t thread) {
    const struct mproc__picture *p = s->show->picture;
    for (int i = 0; i < p->nmembers; i++) {
        if (p->members[i].lives && (uint64_t)p->members[i].pid == thread >> 32) {
            return true;
        }
    }
    return false;
}

static void end_open(struct strip *s) {
    for (size_t i = 0; i < RINGS; i++) {
        const struct stack *stack = &s->stacks[i];
        bool goes_on = stack->n > 0 && lives(s, stack->thread);
        for (unsigned n = 0; n < stack->n && goes_on; n++) {
            const struct span span = {stack->thread, stack->open[n].begin, s->now,
                                      stack->open[n].what, true};
            add(s, &span);
        }
    }
}

/* ---------------------------------------------------------------- choosing */

static int last_first(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    return x->end != y->end ? (x->end < y->end) - (x->end > y->end)
                            : (x->begin > y->begin) - (x->begin < y->begin);
}

static int line_of(struct strip *s, uint64_t thread) {
    for (int i = 0; i < s->nthreads; i++) {
        if (s->threads[i] == thread) {
            return i;
        }
    }
    if (s->nthreads == LINES_MOST) {
        return -1;
    }
    s->threads[s->nthreads] = thread;
    return s->nthreads++;
}

/* The spans that are drawn are the first ones then. Returns when the first of them begins. What is
 * open may have begun long before: it is drawn from there on. */
static uint64_t choose(struct strip *s) {
    uint64_t first = s->now;
    qsort(s->spans, s->n, sizeof *s->spans, last_first);
    s->left_out = s->n > DRAWN_MOST ? s->n - DRAWN_MOST : 0;
    s->n = s->n < DRAWN_MOST ? s->n : DRAWN_MOST;
    for (size_t i = 0; i < s->n; i++) {
        uint64_t from = s->spans[i].open ? s->now : s->spans[i].begin;
        first = from < first ? from : first;
    }
    if (first == s->now && s->n > 0) { /* all are open */
        first = s->spans[s->n - 1].begin;
    }
    return first;
}

/* ---------------------------------------------------------------- drawing */

static const char *say_thread(const struct strip *s, uint64_t thread, char out[MPROC__SAY]) {
    const struct mproc__picture *p = s->show->picture;
    uint64_t pid = thread >> 32, tid = thread & UINT32_MAX;
    char name[20] = "";
    for (int i = 0; i < p->nmembers && *name == 0; i++) {
        if ((uint64_t)p->members[i].pid == pid) {
            mproc__text_clean(p->members[i].name, name, sizeof name);
        }
    }
    if (tid == pid) {
        snprintf(out, MPROC__SAY, "%s %" PRIu64, name, pid);
    } else {
        snprintf(out, MPROC__SAY, "%s %" PRIu64 " thread %" PRIu64, name, pid, tid);
    }
    return out;
}

static void say_task(const struct strip *s, unsigned number, char out[MPROC__SAY]) {
    char name[MPROC__TRACE_TEXT];
    (void)mproc__outside_function(s->show->arena, number, name);
    mproc__text_clean(name[0] != 0 ? name : "a task", out, MPROC__SAY);
}

static void say_wait(const struct strip *s, uint64_t address, char out[MPROC__SAY]) {
    const struct mproc__picture *p = s->show->picture;
    int object = mproc__picture_at(p, address & ~(uint64_t)MPROC__WAIT_TIMED);
    char what[MPROC__SAY] = "an end, or at a descriptor";
    if (object >= 0) {
        mproc__say_object(s->show->arena, p, object, what);
    }
    snprintf(out, MPROC__SAY, "waits for %.*s", MPROC__SAY - 20, what);
}

static const char *so_far(const struct strip *s, const struct span *span) {
    return !span->open ? "" : s->goes_on ? " so far" : ", and its end is not recorded";
}

static void draw_span(struct strip *s, const struct span *span, uint64_t first, double each) {
    int line = line_of(s, span->thread);
    char words[MPROC__SAY], length[32];
    if (line < 0) {
        s->left_out++;
        return;
    }
    bool task = mproc__trace_event_of(span->what) == MPROC__TRACE_TASK;
    uint64_t from = span->begin > first ? span->begin : first;
    double x = BEFORE + (double)(from - first) * each, wide = (double)(span->end - from) * each;
    if (task) {
        say_task(s, mproc__trace_detail_of(span->what), words);
    } else {
        say_wait(s, mproc__trace_address_of(span->what), words);
    }
    fprintf(s->show->out,
            "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" class=\"%s\"><title>", x,
            line * HIGH + (task ? 3 : 7), wide > 0.5 ? wide : 0.5, task ? HIGH - 6 : HIGH - 14,
            task ? "task" : "sleep");
    mproc__text_escaped(s->show->out, words);
    double seconds = (double)(span->end - span->begin) * s->clock.each_ns / 1e9;
    if (seconds < 0.1) {
        fprintf(s->show->out, ", %.1f us%s</title></rect>\n", seconds * 1e6, so_far(s, span));
    } else {
        fprintf(s->show->out, ", %s%s</title></rect>\n", mproc__say_span(seconds, length),
                so_far(s, span));
    }
}

static const char style[] =
    "<style>rect.task{fill:#4a6fa5}rect.sleep{fill:#d9a441}text.who{font:12px sans-serif;"
    "text-anchor:start}text.when{font:11px sans-serif;text-anchor:end;fill:#555}</style>\n";

/* Enough lines for the threads that the spans have. */
static int count_lines(struct strip *s) {
    for (size_t i = 0; i < s->n; i++) {
        (void)line_of(s, s->spans[i].thread);
    }
    return s->nthreads;
}

static void draw(struct strip *s) {
    FILE *out = s->show->out;
    uint64_t first = choose(s);
    int high = count_lines(s) * HIGH + 24;
    double units = (double)(s->now - first), each = units > 0 ? WIDE / units : 0;
    char words[MPROC__SAY];
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\">\n",
            BEFORE + (int)WIDE, high, BEFORE + (int)WIDE);
    fputs(style, out);
    for (int i = 0; i < s->nthreads; i++) {
        fprintf(out, "<text x=\"0\" y=\"%d\" class=\"who\">", i * HIGH + 14);
        mproc__text_escaped(out, say_thread(s, s->threads[i], words));
        fputs("</text>\n", out);
    }
    for (size_t i = s->n; i-- > 0;) {
        draw_span(s, &s->spans[i], first, each);
    }
    fprintf(out,
            "<text x=\"%d\" y=\"%d\" class=\"when\">%.6f s%s: tasks blue, waits yellow</text>\n"
            "</svg>\n",
            BEFORE + (int)WIDE, high - 8, units * s->clock.each_ns / 1e9,
            s->goes_on ? " until now" : ", before the recording ended");
    if (s->left_out > 0) {
        fprintf(out, "<p>%zu more %s drawn.</p>\n", s->left_out,
                mproc__say_many(s->left_out, "task or wait is recorded than is",
                                "tasks and waits are recorded than are"));
    }
}

/* ---------------------------------------------------------------- looking */

/* Is there a ring at all? */
static bool is_traced(const struct mproc__outside *arena) {
    uint64_t rings[MPROC__TRACE_HANDS], top = 0;
    uint64_t at =
        arena->base + offsetof(struct mproc__family, trace) + offsetof(struct mproc__trace, rings);
    (void)mproc__outside_read(arena, arena->base + offsetof(struct mproc__family, table.top), &top,
                              sizeof top);
    for (uint64_t i = 0; i < top && i < MPROC__MEMBERS; i++) {
        if (mproc__outside_read(arena, at + i * sizeof rings, rings, sizeof rings) != 0) {
            return false;
        }
        for (int n = 0; n < MPROC__TRACE_HANDS; n++) {
            if (rings[n] != 0) {
                return true;
            }
        }
    }
    return false;
}

static void look(struct strip *s) {
    struct mproc__drain *drain;
    uint32_t on = MPROC__TRACE_OFF;
    (void)mproc__outside_read(s->show->arena,
                              s->show->arena->base + offsetof(struct mproc__family, trace) +
                                  offsetof(struct mproc__trace, on),
                              &on, sizeof on);
    s->goes_on = on != MPROC__TRACE_OFF;
    s->clock = mproc__clock_choose();
    if (mproc__drain_new(&drain, s->show->arena) != 0) {
        return;
    }
    mproc__drain_rewind(drain);
    s->now = mproc__clock_now(&s->clock);
    (void)mproc__drain(drain, take_all, s);
    mproc__drain_drop(drain);
    s->now = s->goes_on ? s->now : s->latest; /* what came later is not known */
    end_open(s);
}

void mproc__show_strip(const struct mproc__show *show) {
    struct strip *s = is_traced(show->arena) ? calloc(1, sizeof *s) : NULL;
    if (s != NULL) {
        s->show = show;
        look(s);
    }
    if (s != NULL && s->n > 0) {
        draw(s);
    } else {
        fputs("<p>Nothing is recorded of it: MPROC_TRACE=FILE in the program's environment, or "
              "<code>mproc record</code>, has the threads write what they do.</p>\n",
              show->out);
    }
    if (s != NULL) {
        free(s->spans);
        free(s);
    }
}
