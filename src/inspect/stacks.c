/*
 * stacks.c - where the threads of a family's members are
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Threads that wait in the library, and whose runtime says where they are, have
 * written it into the arena (src/stack.c). For the others, the first one is asked that says
 * something: py-spy for processes of Python, their interpreter itself (interpreter.h), then
 * eu-stack of the elfutils, gdb, or pstack for the stacks of C, as far as they are installed
 * (tools.h). The tools stop the process for a moment, and the interpreter runs some code in it;
 * nothing else here does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/interpreter.h"
#include "inspect/show.h"
#include "inspect/stacks.h"
#include "inspect/text.h"
#include "inspect/tools.h"
#include "system/os.h"
#include "system/os_tool.h"

#define TEXT ((size_t)1 << 20)
#define WHY 400
#define NONE                                                                                       \
    "no others can be had: py-spy (for Python), eu-stack, gdb or pstack must be installed, "       \
    "and may be kept from looking at other processes (ptrace_scope)"
#define REASON (sizeof NONE + 100 + WHY + MPROC__TOOLS_WHY)

static bool is_python(pid_t pid) {
    char path[64], program[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    const char *name =
        mproc__os_link(path, program, sizeof program) > 0 ? strrchr(program, '/') : NULL;
    return name != NULL && strstr(name, "python") != NULL;
}

/* What has been asked of one process. */
struct asked {
    const char *by; /* who has said something, in `text`; NULL: nobody */
    char *text;
    char why[WHY];                /* then: why its interpreter does not say it, */
    char tools[MPROC__TOOLS_WHY]; /* and why those tools do not that are installed */
};

static void ask_interpreter(const struct mproc__seen_member *m, struct asked *asked) {
    struct mproc__os_seen now;
    int r = mproc__os_process_see(m->pid, &now);
    if (r != 0 || now.state == 'Z' || now.state == 'X') {
        snprintf(asked->why, WHY, "it has ended");
    } else if (now.state == 'T') {
        snprintf(asked->why, WHY, "it is stopped, and answers once it goes on (kill -CONT %d)",
                 (int)m->pid);
    } else {
        asked->by = mproc__interpreter_ask(m->pid, asked->text, TEXT);
        snprintf(asked->why, WHY, "%.300s", asked->by != NULL ? "" : asked->text);
    }
}

/* Asks what is installed or allowed, the best one first, until one says something of a process. */
static void ask(const struct mproc__seen_member *m, bool runs_code, struct asked *asked) {
    bool python = mproc__interpreter_is(m->pid);
    *asked->text = asked->why[0] = asked->tools[0] = 0;
    asked->by = python || is_python(m->pid)
                    ? mproc__tools_ask_python(m->pid, asked->text, TEXT, asked->tools)
                    : NULL;
    if (asked->by == NULL && python && runs_code) {
        ask_interpreter(m, asked);
    }
    if (asked->by == NULL) {
        asked->by = mproc__tools_ask_c(m->pid, asked->text, TEXT, asked->tools);
    }
}

static void print(FILE *out, char *text) {
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        fputs("  ", out);
        mproc__text_print(out, line);
        fputs("\n", out);
    }
}

/* Why nobody has said anything: what there could be, and what those have said that there are. */
static void explain(const struct asked *asked, const char *separator, char out[REASON]) {
    const char *interpreter = asked->why[0] != 0 ? "its interpreter does not say it: " : "";
    const char *tools = asked->tools[0] != 0 ? "what tools have said: " : "";
    snprintf(out, REASON, NONE "%s%s%s%s%s%s", *interpreter != 0 ? separator : "", interpreter,
             asked->why, *tools != 0 ? separator : "", tools, asked->tools);
}

static void print_reason(FILE *out, const struct asked *asked) {
    char reason[REASON];
    explain(asked, "\n", reason);
    print(out, reason);
}

void mproc__show_stack(const struct mproc__show *show, int member, bool runs_code) {
    FILE *out = show->out;
    const struct mproc__picture *p = show->picture;
    char name[MPROC__SAY];
    struct asked asked = {.text = malloc(TEXT)};
    fprintf(out, "stacks of %s:\n", mproc__say_member(p, member, name));
    int places = mproc__show_places(show, member);
    if (asked.text == NULL) {
        fputs("  there is no memory\n", out);
        return;
    }
    fflush(out); /* an answer may take a while */
    ask(&p->members[member], runs_code, &asked);
    if (asked.by != NULL) {
        print(out, asked.text);
    } else if (places < p->members[member].os.threads) {
        print_reason(out, &asked);
    }
    free(asked.text);
}

void mproc__show_stacks(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    mproc__show_head(show);
    for (int i = 0; i < p->nmembers; i++) {
        if (p->members[i].lives) {
            mproc__show_stack(show, i, true);
            fflush(show->out);
        }
    }
}

/* ---------------------------------------------------------------- as data */

static void list_lines(FILE *out, char *text) {
    const char *separator = "";
    fputs("[", out);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        fputs(separator, out);
        mproc__json_string(out, line);
        separator = ", ";
    }
    fputs("]", out);
}

/* What threads that wait have said themselves stands with their waits. */
static void list_stack(FILE *out, const struct mproc__seen_member *m, char *text) {
    struct asked asked = {.text = text};
    char reason[REASON];
    fprintf(out, "{\"pid\": %d", (int)m->pid);
    mproc__json_key(out, "tool");
    if (text != NULL) {
        ask(m, true, &asked);
    }
    if (asked.by != NULL) {
        mproc__json_string(out, asked.by);
        mproc__json_key(out, "lines");
        list_lines(out, text);
        mproc__json_key(out, "reason");
        fputs("null}", out);
    } else {
        explain(&asked, "; ", reason);
        fputs("null, \"lines\": [], \"reason\": ", out);
        mproc__json_string(out, text != NULL ? reason : "there is no memory");
        fputs("}", out);
    }
}

void mproc__show_stacks_json(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    const char *separator = "";
    char *text = malloc(TEXT);
    mproc__show_json_begin(show);
    mproc__json_key(show->out, "stacks");
    fputs("[", show->out);
    for (int i = 0; i < p->nmembers; i++) {
        if (p->members[i].lives) {
            fputs(separator, show->out);
            list_stack(show->out, &p->members[i], text);
            separator = ",\n  ";
        }
    }
    fputs("]}", show->out);
    free(text);
}
