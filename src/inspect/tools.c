/*
 * tools.c - where the threads of a process are, as installed tools say
 *
 * SPDX-License-Identifier: MIT
 *
 * A tool's exit status does not say whether it has told stacks: gdb ends well when it may not look
 * at the process, and eu-stack fails when it has told all frames but one. So the answer is read: it
 * is one if it has a frame, or, from py-spy, a thread. What a tool prints before its first thread,
 * and of what it loads meanwhile, is taken out. What has no frame is the tool's own words of why.
 */
#include "inspect/tools.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "inspect/text.h"
#include "system/os.h"
#include "system/os_tool.h"

#define PATIENCE (30 * MPROC_SEC)

/* ---------------------------------------------------------------- what is a stack */

static bool begins(const char *line, const char *with) {
    return strncmp(line, with, strlen(with)) == 0;
}

/* "#0  0x00007f... in read ()"; of an older pstack "0x00007f...: read". Before its stacks gdb
 * prints a line like that, too: where the process is that it comes to. */
static bool is_frame(const char *line, const char *tool) {
    return (line[0] == '#' && isdigit((unsigned char)line[1])) ||
           (strcmp(tool, "pstack") == 0 && begins(line, "0x"));
}

/* Of gdb, py-spy, eu-stack, and both of the last ones' processes. */
static bool is_head(const char *line) {
    return begins(line, "Thread ") || begins(line, "TID ") || begins(line, "PID ") ||
           begins(line, "Process ");
}

static bool is_noise(const char *line) {
    return begins(line, "[New LWP") || begins(line, "[Inferior") || begins(line, "warning:") ||
           begins(line, "[Thread debugging") || begins(line, "Using host lib");
}

static const char *line_behind(const char *line) {
    size_t n = strcspn(line, "\n");
    return line + n + (line[n] != 0);
}

static bool has_stacks(const char *text, const char *tool) {
    bool threads_are_enough = strcmp(tool, "py-spy") == 0;
    for (const char *line = text; *line != 0; line = line_behind(line)) {
        if (is_frame(line, tool) || (threads_are_enough && begins(line, "Thread "))) {
            return true;
        }
    }
    return false;
}

static void leave_stacks(char *text, const char *tool) {
    char *to = text;
    bool begun = false;
    for (const char *line = text, *next; *line != 0; line = next) {
        next = line_behind(line);
        begun = begun || is_head(line) || is_frame(line, tool);
        if (begun && *line != '\n' && !is_noise(line)) {
            memmove(to, line, (size_t)(next - line));
            to += next - line;
        }
    }
    *to = 0;
}

/* ---------------------------------------------------------------- asking */

static void explain(const char *tool, ssize_t code, char *text, char why[MPROC__TOOLS_WHY]) {
    size_t n = strlen(why);
    const char *words = mproc__text_last_line(text);
    const char *reason = code == -ETIMEDOUT ? "it has not ended within 30 s"
                         : *words != 0      ? words
                         : code < 0         ? "it has failed"
                                            : "it has printed nothing";
    if (code != -ENOENT) {
        snprintf(why + n, MPROC__TOOLS_WHY - n, "%s%s: %.160s", n > 0 ? "; " : "", tool, reason);
    }
}

static bool ask(const char *const *tool, char *text, size_t size, char why[MPROC__TOOLS_WHY]) {
    *text = 0;
    ssize_t r = mproc__os_tool(tool, text, size, PATIENCE);
    bool said = r != -ETIMEDOUT && has_stacks(text, tool[0]);
    if (said) {
        leave_stacks(text, tool[0]);
    } else {
        explain(tool[0], r, text, why);
    }
    return said;
}

const char *mproc__tools_ask_python(pid_t pid, char *text, size_t size,
                                    char why[MPROC__TOOLS_WHY]) {
    char number[16];
    const char *const spy[] = {"py-spy", "dump", "--pid", number, NULL};
    snprintf(number, sizeof number, "%d", (int)pid);
    return ask(spy, text, size, why) ? "py-spy" : NULL;
}

const char *mproc__tools_ask_c(pid_t pid, char *text, size_t size, char why[MPROC__TOOLS_WHY]) {
    char number[16];
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
    static const char *const names[] = {"eu-stack", "gdb", "pstack"};
    const char *const *const tools[] = {elfutils, gdb, pstack};
    snprintf(number, sizeof number, "%d", (int)pid);
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        if (ask(tools[i], text, size, why)) {
            return names[i];
        }
    }
    return NULL;
}
