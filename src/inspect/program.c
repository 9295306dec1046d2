/*
 * program.c - mproc(1): a look into living families from outside
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/show.h"

#define FAMILIES_MOST 1024
#define EXIT_USAGE 2
#define EXIT_DEADLOCK 3

static const char help[] =
    "usage: mproc ps|locks|queues [--json] [PID]\n"
    "\n"
    "Looks into a running family of mproc: that of the process PID, or all that this\n"
    "user may see. It takes no lock and writes nothing, so it delays no member.\n"
    "\n"
    "  ps      the members: start method, state, age, CPU time, private memory, how many\n"
    "          objects each holds, and what it waits for\n"
    "  locks   who holds what and who waits for whom, and for how long; deadlocks first\n"
    "  queues  messages in queues, tasks of pools, the arena's use, named segments\n"
    "\n"
    "  --json  all of the three as JSON: a list with an object for each family\n"
    "\n"
    "An object is named by its place in the arena, as in 'lock @2c40'.\n"
    "\n"
    "exit status: 0; 1: it could not be looked at; 2: wrong usage; 3: `locks` has found a\n"
    "deadlock\n";

static const struct verb {
    const char *name;
    mproc__show_fn show;
} verbs[] = {{"ps", mproc__show_ps}, {"locks", mproc__show_locks}, {"queues", mproc__show_queues}};

struct request {
    const struct verb *verb;
    bool json;
    pid_t pid; /* 0: all families */
};

/* ---------------------------------------------------------------- a family */

/* Two pictures: what is said to be stuck has not moved from the first to the second. */
static int take(const struct mproc__outside *arena, struct mproc__picture *out, int *groups) {
    struct mproc__picture earlier;
    int r = mproc__picture_take(arena, &earlier);
    if (r != 0) {
        return r;
    }
    *groups = mproc__blame(&earlier);
    r = mproc__picture_take(arena, out);
    if (r == 0) {
        *groups = mproc__blame_again(out, &earlier);
    }
    mproc__picture_drop(&earlier);
    return r;
}

/* How many deadlocks there are, or an error. */
static int look(const struct request *request, pid_t pid, int n) {
    struct mproc__outside arena;
    struct mproc__picture picture;
    int groups = 0;
    int r = mproc__outside_open(pid, &arena);
    if (r != 0) {
        return r;
    }
    r = take(&arena, &picture, &groups);
    if (r == 0) {
        const struct mproc__show show = {stdout, &arena, &picture, groups};
        fputs(n > 0 ? (request->json ? ",\n" : "\n") : "", stdout);
        if (request->json) {
            mproc__show_json(&show);
        } else {
            request->verb->show(&show);
        }
        mproc__picture_drop(&picture);
    }
    mproc__outside_close(&arena);
    return r == 0 ? groups : r;
}

static void complain(pid_t pid, int code) {
    fprintf(stderr, "mproc: %d: %s\n", (int)pid, mproc__outside_explain(code));
}

/* One that has ended meanwhile is left out. */
static int look_at_all(const struct request *request) {
    pid_t pids[FAMILIES_MOST];
    int n = mproc__outside_families(pids, FAMILIES_MOST), shown = 0, deadlocks = 0;
    if (n < 0) {
        fprintf(stderr, "mproc: /proc: %s\n", mproc_strerror(n));
        return n;
    }
    for (int i = 0; i < n && i < FAMILIES_MOST; i++) {
        int r = look(request, pids[i], shown);
        if (r >= 0) {
            shown++;
            deadlocks += r;
        } else if (r != -ESRCH && r != -ENOENT) {
            complain(pids[i], r);
        }
    }
    if (shown == 0 && !request->json) {
        puts("no family of mproc is running that this user may look at");
    }
    return deadlocks;
}

static int look_at_one(const struct request *request) {
    int r = look(request, request->pid, 0);
    if (r < 0) {
        complain(request->pid, r);
    }
    return r;
}

/* ---------------------------------------------------------------- arguments */

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static bool read_pid(const char *text, pid_t *pid) {
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    *pid = (pid_t)n;
    return *text != 0 && *end == 0 && errno == 0 && n > 0 && n <= INT_MAX;
}

static bool read_arguments(int argc, char **argv, struct request *out) {
    *out = (struct request){argc > 1 ? find_verb(argv[1]) : NULL, false, 0};
    bool good = out->verb != NULL;
    for (int i = 2; i < argc && good; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            out->json = true;
        } else {
            good = out->pid == 0 && read_pid(argv[i], &out->pid);
        }
    }
    return good;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return argc == 2 && strcmp(argv[1], "help") == 0;
}

int main(int argc, char **argv) {
    struct request request;
    if (wants_help(argc, argv)) {
        fputs(help, stdout);
        return 0;
    }
    if (!read_arguments(argc, argv, &request)) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    fputs(request.json ? "[" : "", stdout);
    int r = request.pid != 0 ? look_at_one(&request) : look_at_all(&request);
    fputs(request.json ? "]\n" : "", stdout);
    if (fflush(stdout) != 0) {
        return 1;
    }
    bool locks = strcmp(request.verb->name, "locks") == 0;
    return r < 0 ? 1 : r > 0 && locks ? EXIT_DEADLOCK : 0;
}
