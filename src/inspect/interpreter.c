/*
 * interpreter.c - where the threads of a process of Python are, as its interpreter says itself
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Which Python a process runs stands in the name of the extension that it has mapped,
 * and beside that lies the package. From 3.14 on an interpreter takes a script from another one of
 * its version (sys.remote_exec()), which its main thread runs when it comes to a safe point. Waits
 * of mproc come to one every 50 ms, the system's do not. The other one is the file that the process
 * runs itself, so its version and build are the same; it is run only if it is called as an
 * interpreter is, and still lies where it did: a program that has Python in it would do anything
 * but take the options of one. The script is a file of the package, which
 * does not go away: one that runs late finds nobody who listens, and does nothing. An older
 * interpreter tells it where its program has allowed that: see os_answer.c.
 *
 * Neither stops the process. Both run some milliseconds of code in it.
 */
#include "inspect/interpreter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/text.h"
#include "system/os.h"
#include "system/os_answer.h"
#include "system/os_tool.h"

#define EXTENSION "/mproc/_mproc.cpython-3"
#define SCRIPT "_stacks_script.py"
#define FIRST_REMOTE 14 /* Python 3.14 */
#define PATIENCE (5 * MPROC_SEC)
#define PATH 4096
#define WHY 300

/* The package's folder with its slash, and y of Python 3.y. */
static int find_package(pid_t pid, char folder[PATH], int *minor) {
    int r = mproc__os_mapped_path(pid, EXTENSION, folder, PATH);
    if (r == 0) {
        char *end = strstr(folder, EXTENSION);
        *minor = (int)strtol(end + strlen(EXTENSION), NULL, 10);
        end[strlen("/mproc/")] = 0;
    }
    return r;
}

bool mproc__interpreter_is(pid_t pid) {
    char folder[PATH];
    int minor;
    return find_package(pid, folder, &minor) == 0;
}

static const char *explain(ssize_t code) {
    switch (code) {
    case -ESRCH: return "it has ended";
    case -ETIMEDOUT: return "it has not answered for 5 s";
    case -EADDRINUSE: return "somebody else asks it at this moment";
    case -EPERM: return "it is another user's";
    case -ENOTSUP: return "its program has not allowed it (MPROC_STACKS=1 in its environment)";
    default: return mproc_strerror((int)code);
    }
}

/* A program that has Python in it would take the options of an interpreter as its own. */
bool mproc__interpreter_is_called(const char *program, int minor) {
    char version[16];
    const char *slash = strrchr(program, '/'), *name = slash != NULL ? slash + 1 : program;
    size_t n = strlen("python");
    if (strncmp(name, "python", n) != 0) {
        return false;
    }
    name += n;
    n = (size_t)snprintf(version, sizeof version, "3.%d", minor);
    bool full = strncmp(name, version, n) == 0 && !(name[n] >= '0' && name[n] <= '9');
    name += full ? n : name[0] == '3' && name[1] != '.' ? 1 : 0;
    name += strcmp(name, "-dbg") == 0 ? strlen("-dbg")
            : full                    ? strspn(name, "td")
                                      : 0; /* its builds */
    return *name == 0;
}

/* The interpreter whose version and build are the process' own. Returns 0, or -ENOEXEC and why. */
static int find_interpreter(pid_t pid, int minor, char python[PATH], char why[WHY]) {
    char link[48];
    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t r = mproc__os_link(link, python, PATH);
    if (r < 0) {
        snprintf(why, WHY, "%s", explain(r));
    } else if (!mproc__os_is_same_file(link, python)) {
        snprintf(why, WHY, "its program is not at %.200s any more", python);
    } else if (!mproc__interpreter_is_called(python, minor)) {
        snprintf(why, WHY, "its program %.200s is not called as an interpreter, python3.%d", python,
                 minor);
    } else {
        return 0;
    }
    return r < 0 ? (int)r : -ENOEXEC;
}

static ssize_t give_script(pid_t pid, const char *python, const char *folder, char *text,
                           size_t size) {
    static const char program[] = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])";
    char script[PATH + sizeof SCRIPT], number[16];
    snprintf(script, sizeof script, "%s" SCRIPT, folder);
    snprintf(number, sizeof number, "%d", (int)pid);
    const char *const argv[] = {python, "-I", "-S", "-c", program, number, script, NULL};
    return mproc__os_tool(argv, text, size, 2 * PATIENCE);
}

static ssize_t ask_by(pid_t pid, const char *python, const char *folder, char *text, size_t size,
                      char why[WHY]) {
    int ear = mproc__os_ear_new(pid);
    if (ear < 0) {
        snprintf(why, WHY, "%s", explain(ear));
        return ear;
    }
    ssize_t r = give_script(pid, python, folder, text, size);
    if (r == -ECANCELED) {
        snprintf(why, WHY, "%.200s", mproc__text_last_line(text));
    } else {
        r = r >= 0 ? mproc__os_ear_take(ear, pid, text, size, PATIENCE) : r;
        snprintf(why, WHY, "%s%s", explain(r),
                 r == -ETIMEDOUT ? ": its main thread runs no Python" : "");
    }
    mproc__os_close(ear);
    return r;
}

static ssize_t ask_remotely(pid_t pid, int minor, const char *folder, char *text, size_t size,
                            char why[WHY]) {
    char python[PATH];
    if (!mproc__os_is_our_users(pid)) { /* who chose the interpreter that would be run here */
        snprintf(why, WHY, "it is another user's, whose programs are not run");
        return -EPERM;
    }
    int r = find_interpreter(pid, minor, python, why);
    return r == 0 ? ask_by(pid, python, folder, text, size, why) : r;
}

const char *mproc__interpreter_ask(pid_t pid, char *text, size_t size) {
    char folder[PATH], why[WHY] = "";
    int minor = 0;
    ssize_t r = find_package(pid, folder, &minor);
    if (r < 0) {
        snprintf(text, size, "%s", r == -ENOENT ? "it runs no Python" : explain(r));
        return NULL;
    }
    bool remote = minor >= FIRST_REMOTE;
    if (remote && ask_remotely(pid, minor, folder, text, size, why) > 0) {
        return "sys.remote_exec";
    }
    r = mproc__os_answer(pid, text, size, PATIENCE);
    if (r > 0) {
        return "faulthandler";
    }
    snprintf(text, size, "%s%s%sfaulthandler: %s", remote ? "sys.remote_exec: " : "", why,
             remote ? "; " : "", explain(r));
    return NULL;
}
