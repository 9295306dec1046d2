/*
 * stacks.c - where the threads of a family's members are
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Threads that wait in the library, and whose runtime says where they are, have
 * written it into the arena (src/stack.c). For the others, programs that are made for it are asked,
 * as far as they are installed: py-spy for processes of Python, else eu-stack of the elfutils, gdb,
 * or pstack. They stop the process for a moment; nothing else here does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/show.h"
#include "inspect/stacks.h"
#include "inspect/text.h"
#include "system/os_tool.h"

#define TEXT ((size_t)1 << 20)
#define PATIENCE (30 * MPROC_SEC)
#define NONE                                                                                       \
    "none can be had: py-spy (for Python), eu-stack, gdb or pstack must be installed, and may be " \
    "kept from looking at other processes (ptrace_scope)"

static bool is_python(pid_t pid) {
    char path[64], program[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    const char *name =
        mproc__os_link(path, program, sizeof program) > 0 ? strrchr(program, '/') : NULL;
    return name != NULL && strstr(name, "python") != NULL;
}

/* The program that has said something; NULL: none has. */
static const char *ask(pid_t pid, char *text) {
    char number[16];
    snprintf(number, sizeof number, "%d", (int)pid);
    const char *const spy[] = {"py-spy", "dump", "--pid", number, NULL};
    const char *const elfutils[] = {"eu-stack", "-p", number, NULL};
    const char *const gdb[] = {"gdb",
                               "--batch",
                               "-nx",
                               "-iex",
                               "set debuginfod enabled off",
                               "-p",
                               number,
                               "-ex",
                               "thread apply all bt 40",
                               NULL};
    const char *const pstack[] = {"pstack", number, NULL};
    static const char *const names[] = {"py-spy", "eu-stack", "gdb", "pstack"};
    const char *const *const tools[] = {spy, elfutils, gdb, pstack};
    *text = 0;
    for (size_t i = is_python(pid) ? 0 : 1; i < sizeof tools / sizeof *tools; i++) {
        if (mproc__os_tool(tools[i], text, TEXT, PATIENCE) > 0) {
            return names[i];
        }
    }
    return NULL;
}

/* Threads' lines only: gdb tells of what it loads, too. */
static bool is_noise(const char *line) {
    return strncmp(line, "[New LWP", 8) == 0 || strncmp(line, "warning:", 8) == 0 ||
           strncmp(line, "[Thread debugging", 17) == 0 ||
           strncmp(line, "Using host lib", 14) == 0 || strncmp(line, "[Inferior", 9) == 0;
}

static void print(FILE *out, char *text) {
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (!is_noise(line)) {
            fputs("  ", out);
            mproc__text_print(out, line);
            fputs("\n", out);
        }
    }
}

void mproc__show_stack(const struct mproc__show *show, int member) {
    FILE *out = show->out;
    const struct mproc__picture *p = show->picture;
    char name[MPROC__SAY], *text = malloc(TEXT);
    fprintf(out, "stacks of %s:\n", mproc__say_member(p, member, name));
    int places = mproc__show_places(show, member);
    if (text == NULL) {
        fputs("  there is no memory\n", out);
    } else if (ask(p->members[member].pid, text) != NULL) {
        print(out, text);
    } else if (places == 0) {
        fputs("  " NONE "\n", out);
    }
    free(text);
}

void mproc__show_stacks(const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    mproc__show_head(show);
    for (int i = 0; i < p->nmembers; i++) {
        if (p->members[i].lives) {
            mproc__show_stack(show, i);
            fflush(show->out);
        }
    }
}

/* ---------------------------------------------------------------- as data */

static void list_lines(FILE *out, char *text) {
    const char *separator = "";
    fputs("[", out);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (!is_noise(line)) {
            fputs(separator, out);
            mproc__json_string(out, line);
            separator = ", ";
        }
    }
    fputs("]", out);
}

/* What threads that wait have said themselves stands with their waits. */
static void list_stack(FILE *out, pid_t pid, char *text) {
    const char *tool = text != NULL ? ask(pid, text) : NULL;
    fprintf(out, "{\"pid\": %d", (int)pid);
    mproc__json_key(out, "tool");
    if (tool != NULL) {
        mproc__json_string(out, tool);
        mproc__json_key(out, "lines");
        list_lines(out, text);
        mproc__json_key(out, "reason");
        fputs("null}", out);
    } else {
        fputs("null, \"lines\": [], \"reason\": ", out);
        mproc__json_string(out, text != NULL ? NONE : "there is no memory");
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
            list_stack(show->out, p->members[i].pid, text);
            separator = ",\n  ";
        }
    }
    fputs("]}", show->out);
    free(text);
}
