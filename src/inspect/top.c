/*
 * top.c - a family that is looked at again and again: `mproc top`
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each round takes a picture, as the other verbs do, and compares it with that of the
 * round before: so processor time and messages become rates. The text is made whole, then cut to
 * the screen.
 */
#include "inspect/top.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/doing.h"
#include "inspect/show.h"
#include "inspect/text.h"
#include "inspect/words.h"
#include "system/os.h"
#include "system/os_terminal.h"

#define HEADING '\v'    /* begins a line that stands out */
#define QUEUES_MOST 200 /* and pools */
#define CTRL(key) ((key)&0x1f)

struct look {
    struct mproc__picture picture;
    int groups;
    bool taken;
};

struct top {
    const struct mproc__top *what;
    struct mproc__outside arena;
    struct look now, before;
    char order;
    int *output;
    bool ends; /* somebody has asked for it */
};

/* What the table of members has a line for. */
struct line {
    int member;
    double percent; /* of a CPU, since the look before */
    char order;
};

bool mproc__top_sorts(char order) {
    return order != 0 && strchr("PMTN", order) != NULL;
}

/* ---------------------------------------------------------------- rates */

/* Seconds from the look before to this one; 0: there was none. */
static double seconds_between(const struct top *top) {
    return top->before.taken ? (double)(top->now.picture.now - top->before.picture.now) / 1e9 : 0;
}

static double percent_of(const struct top *top, const struct mproc__seen_member *m) {
    const struct mproc__picture *before = &top->before.picture;
    double seconds = seconds_between(top);
    int then = seconds > 0 ? mproc__picture_member(before, m->token) : -1;
    if (then < 0) {
        return 0;
    }
    double used = (double)m->os.cpu - (double)before->members[then].os.cpu;
    return used > 0 ? used / 1e7 / seconds : 0;
}

static const struct mproc__facts *facts_before(const struct top *top, int object) {
    return seconds_between(top) > 0
               ? mproc__picture_facts_before(&top->now.picture, &top->before.picture, object)
               : NULL;
}

/* ---------------------------------------------------------------- members */

static int compare(double a, double b) {
    return (a < b) - (a > b); /* the largest first */
}

static const struct mproc__picture *sorted; /* qsort() gives no argument along */

static int by_order(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    const struct mproc__seen_member *m = &sorted->members[x->member];
    const struct mproc__seen_member *n = &sorted->members[y->member];
    int r = 0;
    switch (x->order) {
    case 'P': r = compare(x->percent, y->percent); break;
    case 'M': r = compare((double)m->os.private_bytes, (double)n->os.private_bytes); break;
    case 'T': r = compare((double)m->os.cpu, (double)n->os.cpu); break;
    default: break;
    }
    return r != 0 ? r : (m->pid > n->pid) - (m->pid < n->pid);
}

static void show_line(const struct mproc__show *show, const struct line *line,
                      const struct mproc__doing *doing) {
    const struct mproc__picture *p = show->picture;
    const struct mproc__seen_member *m = &p->members[line->member];
    char name[MPROC__SAY], cpu[32], memory[32];
    mproc__say_member(p, line->member, name);
    strrchr(name, '(')[-1] = 0; /* the pid stands before it */
    fprintf(show->out, "%8d %-10s %-8s %6.1f %12s %9s %6" PRIu64 "  %s", (int)m->pid,
            mproc__say_method(m->method), mproc__say_state(m), line->percent,
            mproc__say_span((double)m->os.cpu / 1e9, cpu),
            mproc__say_bytes(m->os.private_bytes, memory), m->holds, name);
    mproc__doing_say(show, line->member, doing);
    fputs("\n", show->out);
}

static void show_members(const struct mproc__show *show, const struct top *top) {
    static struct line lines[MPROC__MEMBERS];
    int n = show->picture->nmembers;
    struct mproc__doing doing;
    for (int i = 0; i < n; i++) {
        lines[i] = (struct line){i, percent_of(top, &show->picture->members[i]), top->order};
    }
    sorted = show->picture;
    qsort(lines, (size_t)n, sizeof *lines, by_order);
    mproc__doing_find(show, &doing);
    fprintf(show->out,
            "%c     PID METHOD     STATE      %%CPU          CPU   PRIVATE  HOLDS  NAME\n",
            HEADING);
    for (int i = 0; i < n; i++) {
        show_line(show, &lines[i], &doing);
    }
    mproc__doing_drop(&doing);
}

/* ---------------------------------------------------------------- queues */

static void show_queue(FILE *out, const struct top *top, int object) {
    const struct mproc__picture *p = &top->now.picture;
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    const struct mproc__facts *before = facts_before(top, object);
    char what[MPROC__SAY], bytes[32], oldest[32];
    double put = 0, got = 0;
    if (before != NULL && f->total >= before->total) {
        put = (double)(f->total - before->total) / seconds_between(top);
        got = put - ((double)f->count - (double)before->count) / seconds_between(top);
    }
    int64_t age = mproc__picture_oldest(p, object);
    fprintf(out, "%10" PRIu64 " %10s %10.0f %10.0f %12s  %s%s\n", f->count,
            mproc__say_bytes(mproc__picture_queue_bytes(&top->arena, p, f), bytes), put,
            got > 0 ? got : 0, age >= 0 ? mproc__say_span((double)age / 1e9, oldest) : "-",
            mproc__say_object(&top->arena, p, object, what) + 4, f->closed ? ", closed" : "");
}

static void say_left_out(FILE *out, int n, const char *one, const char *many) {
    if (n > QUEUES_MOST) {
        int left = n - QUEUES_MOST;
        fprintf(out, "... and %d more %s\n", left, mproc__say_many((uint64_t)left, one, many));
    }
}

/* Those of a pool stand in its line. */
static void show_queues(FILE *out, const struct top *top) {
    const struct mproc__picture *p = &top->now.picture;
    int n = 0;
    for (int i = 0; i < p->nobjects; i++) {
        bool own = p->objects[i].kind == MPROC__KIND_QUEUE && p->objects[i].within < 0;
        if (!own || n++ >= QUEUES_MOST) {
            continue;
        }
        if (n == 1) {
            fprintf(out, "%c  MESSAGES      BYTES      PUT/S      GOT/S       OLDEST  QUEUE\n",
                    HEADING);
        }
        show_queue(out, top, i);
    }
    say_left_out(out, n, "queue", "queues");
}

static void show_pools(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    int n = 0;
    for (int i = 0; i < p->nobjects; i++) {
        if (p->objects[i].kind == MPROC__KIND_TASKQ && n++ < QUEUES_MOST) {
            fputc(HEADING, show->out);
            mproc__show_pool(show, i);
        }
    }
    say_left_out(show->out, n, "pool", "pools");
}

static void show_all(FILE *out, const struct top *top) {
    const struct mproc__picture *before = top->before.taken ? &top->before.picture : NULL;
    const struct mproc__show show = {out, &top->arena, &top->now.picture, top->now.groups, before};
    mproc__show_head(&show);
    mproc__show_troubles(&show);
    show_members(&show, top);
    show_queues(out, top);
    show_pools(&show);
}

/* As one line: strings have no line feeds in them. */
static void show_data(FILE *out, const struct top *top) {
    const struct mproc__picture *before = top->before.taken ? &top->before.picture : NULL;
    char *text = NULL;
    size_t size;
    struct mproc__show show = {open_memstream(&text, &size), &top->arena, &top->now.picture,
                               top->now.groups, before};
    if (show.out == NULL) {
        return;
    }
    mproc__show_json(&show);
    fclose(show.out);
    for (char *at = text; at != NULL && (at = strchr(at, '\n')) != NULL;) {
        *at = ' ';
    }
    fputs(text != NULL ? text : "", out);
    free(text);
}

/* ---------------------------------------------------------------- the screen */

/* A line, cut to so many characters. Returns where the next one begins. */
static const char *draw_line(const char *text, int columns) {
    bool stands_out = *text == HEADING;
    text += stands_out;
    fputs(stands_out ? "\033[7m" : "", stdout);
    while (*text != '\n' && *text != 0) {
        int plain = mproc__text_printable((const unsigned char *)text);
        int size = plain > 0 ? plain : 1;
        if (columns-- > 0) {
            printf("%.*s", size, plain > 0 ? text : "?");
        }
        text += size;
    }
    fputs(stands_out ? "\033[0m" : "", stdout);
    fputs(columns > 0 ? "\033[K\n" : "\n", stdout); /* in a full line it would take the last one */
    return text + (*text == '\n');
}

static int count_lines(const char *text) {
    int n = 0;
    for (; *text != 0; text++) {
        n += *text == '\n';
    }
    return n;
}

/* What a screen has no room for is counted in the last line but one, where there are so many. */
static int draw(const char *text, char order) {
    int rows, columns;
    char more[40];
    mproc__os_terminal_size(&rows, &columns);
    fputs("\033[H", stdout);
    int room = rows - 1, lines = count_lines(text);
    int shown = lines > room && room > 1 ? room - 1 : room;
    for (int i = 0; *text != 0 && i < shown; i++) {
        text = draw_line(text, columns);
    }
    if (shown < room && lines > room) {
        int left = lines - shown; /* two at least: its own line would have had room for one */
        snprintf(more, sizeof more, "... and %d more lines\n", left);
        (void)draw_line(more, columns);
    }
    printf("\r\033[J\033[7m%.*s\033[0m", columns,
           order == 'P'   ? " q quit   order: [P]rocessor  M memory  T time  N pid "
           : order == 'M' ? " q quit   order: P processor  [M]emory  T time  N pid "
           : order == 'T' ? " q quit   order: P processor  M memory  [T]ime  N pid "
                          : " q quit   order: P processor  M memory  T time  [N] pid ");
    return fflush(stdout) == 0 ? 0 : -errno;
}

/* Where it is no terminal: a picture, and an empty line. */
static int print(const char *text) {
    for (; *text != 0; text++) {
        if (*text != HEADING) {
            fputc(*text, stdout);
        }
    }
    fputs("\n", stdout);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -errno;
}

/* ---------------------------------------------------------------- as long as it lives */

static void forget(struct look *look) {
    if (look->taken) {
        mproc__picture_drop(&look->picture);
    }
}

static int take(struct top *top) {
    forget(&top->before);
    top->before = top->now;
    top->now = (struct look){0};
    int r = mproc__inspect_take(&top->arena, &top->now.picture, &top->now.groups);
    top->now.taken = r == 0;
    if (r == 0 && top->before.taken) {
        mproc__picture_compare(&top->now.picture, &top->before.picture);
    }
    return r;
}

static int show(const struct top *top, bool screen) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return -ENOMEM;
    }
    (top->what->json ? show_data : show_all)(out, top);
    if (fclose(out) != 0) {
        free(text);
        return -ENOMEM;
    }
    int r = screen ? draw(text, top->order) : print(text);
    *top->output = r;
    free(text);
    return r;
}

/* Does what the keys say until it is time for the next look; true: what is shown has changed. */
static bool obey(struct top *top, int64_t until) {
    int64_t left = until - mproc__os_now();
    int key = mproc__os_terminal_key(left > 0 ? left : 0);
    char order = (char)(key >= 'a' && key <= 'z' ? key - 'a' + 'A' : key);
    if (key == MPROC__TERMINAL_LEFT || order == 'Q' || key == CTRL('C')) {
        top->ends = true;
    } else if (key == MPROC__TERMINAL_STOP || key == CTRL('Z')) {
        mproc__os_terminal_stop();
    } else if (key > 0 && mproc__top_sorts(order)) {
        top->order = order;
        return true;
    }
    return key <= 0 && mproc__os_now() < until; /* the size, or it was away */
}

static int rest(struct top *top, bool screen) {
    int64_t until = mproc__os_now() + top->what->every;
    int r = 0;
    while (r == 0 && !top->ends && mproc__os_now() < until) {
        if (!screen) {
            (void)mproc__os_poll(NULL, 0, until - mproc__os_now());
        } else if (obey(top, until)) {
            r = show(top, screen);
        }
    }
    return r;
}

/* -ECHILD: the family has ended. */
static int go_on(struct top *top, bool screen) {
    for (int round = 1;; round++) {
        int r = take(top);
        if (r == 0 && !mproc__picture_lives(&top->now.picture)) {
            r = -ECHILD;
        }
        r = r == 0 ? show(top, screen) : r;
        if (r != 0 || round == top->what->rounds) {
            return r;
        }
        r = rest(top, screen);
        if (r != 0 || top->ends) {
            return r;
        }
    }
}

int mproc__top(const struct mproc__top *what, int *output) {
    struct top top = {.what = what, .order = what->order, .output = output};
    *output = 0;
    int r = mproc__outside_open(what->pid, &top.arena);
    if (r != 0) {
        return r;
    }
    bool screen = !what->json && mproc__os_terminal_is() && mproc__os_terminal_begin() == 0;
    r = go_on(&top, screen);
    if (screen) {
        mproc__os_terminal_end();
    }
    if (r == -ECHILD) {
        fputs(what->json ? "" : "the family has ended\n", stdout);
        r = *output = fflush(stdout) == 0 ? 0 : -errno;
    }
    forget(&top.now);
    forget(&top.before);
    mproc__outside_close(&top.arena);
    return r;
}
