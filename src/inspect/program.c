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
#include "inspect/place.h"
#include "inspect/record.h"
#include "inspect/show.h"
#include "inspect/stacks.h"
#include "inspect/text.h"
#include "inspect/top.h"
#include "inspect/watchdog.h"
#include "system/os.h"

#define FAMILIES_MOST 1024
#define NO_FAMILY "no family of mproc is running that this user may look at\n"
#define RATE_INTERVAL (200 * MPROC_MSEC) /* that a rate is of */
#define EXIT_USAGE 2
#define EXIT_DEADLOCK 3
#define NAMED_MOST 8 /* families, where one of them has to be chosen */

static const char help[] =
    "usage: mproc ps|locks|queues [--json] [PID]\n"
    "       mproc top [--json] [-d SECONDS] [-n ROUNDS] [-o P|M|T|N] [PID]\n"
    "       mproc stacks [--json] [PID]\n"
    "       mproc watch [--after SECONDS[=abort]] [PID]\n"
    "       mproc graph [--json|--dot|--svg] [PID]\n"
    "       mproc report [--json] -o FILE [PID]\n"
    "       mproc record -o FILE [--for SECONDS] [PID]\n"
    "       mproc --help | --version\n"
    "\n"
    "Looks into a running family of mproc: that of the process PID, or all that this\n"
    "user may see. It takes no lock and writes nothing, so it delays no member. What is\n"
    "of one family (top, stacks, watch, record, drawings) needs no PID where only one runs.\n"
    "\n"
    "  ps      the members: start method, state, age, CPU time, private memory, how many\n"
    "          objects each holds, and what it waits for\n"
    "  locks   who holds what and who waits for whom, and for how long; deadlocks first\n"
    "  top     members and queues, live: processor time, memory, messages a second; on a\n"
    "          terminal until q is pressed, sorted by the key that is pressed last\n"
    "  stacks  where each thread of the family is: by py-spy where that is installed, else by\n"
    "          Python 3.14 itself, by an older one if MPROC_STACKS=1 was in the program's\n"
    "          environment, or by eu-stack, gdb or pstack\n"
    "  watch   tells on standard error, with stacks, when a thread has waited 10 s or SECONDS\n"
    "          and is stuck, or waits for a lock; with =abort a deadlock ends the family;\n"
    "          until the family has ended\n"
    "  queues  messages in queues, tasks of pools, with their rates in a fifth of a second,\n"
    "          which functions run, who waits for them; containers, the arena's use, named "
    "segments\n"
    "\n"
    "  graph   who waits for whom: a line for each edge, or for graphviz, or drawn\n"
    "  report  all of it as one page of HTML, for a colleague\n"
    "  record  what the family does, as a timeline for Perfetto (ui.perfetto.dev) or\n"
    "          speedscope: tasks, puts and gets, locks that are held, waits; until the\n"
    "          family ends, or Ctrl-C\n"
    "\n"
    "  --json  all of it as JSON: a list with an object for each family, with rates from queues\n"
    "          and stacks from stacks; from top a line with an object for each picture\n"
    "\n"
    "An object is called by the name that its program has given it, and by its place in the\n"
    "arena: 'lock \"orders\" @2c40'. Where it was made is told if the program ran with\n"
    "MPROC_ORIGIN=1 in its environment.\n"
    "\n"
    "exit status: 0; 1: it could not be looked at, or the output not be written; 2: wrong\n"
    "usage; 3: `locks` has found a deadlock\n";

static const struct verb {
    const char *name;
    mproc__show_fn show;
} verbs[] = {{"ps", mproc__show_ps},         {"locks", mproc__show_locks},
             {"queues", mproc__show_queues}, {"stacks", mproc__show_stacks},
             {"graph", mproc__show_graph},   {"report", mproc__show_html}};

struct request {
    const struct verb *verb;
    mproc__show_fn show; /* the verb's, or that of an option */
    bool json;           /* a list of all families */
    bool drawn;          /* of one family */
    const char *file;    /* NULL: standard output */
    FILE *out;
    pid_t pid;                     /* 0: all families */
    struct mproc__stopped stopped; /* who may be a family's watchdog */
};

static bool is_verb(const struct request *request, const char *name) {
    return strcmp(request->verb->name, name) == 0;
}

/* ---------------------------------------------------------------- a family */

/* Rates are differences of two looks. */
static int look_before(const struct mproc__outside *arena, struct mproc__picture *out) {
    int r = mproc__picture_take(arena, out);
    if (r == 0) {
        (void)mproc__os_poll(NULL, 0, RATE_INTERVAL);
    }
    return r;
}

/* Whoever counts on a watchdog hears that it is stopped, on standard error, whatever is shown. */
static void warn_of_watchdog(const struct mproc__outside *arena,
                             const struct mproc__stopped *stopped) {
    pid_t pid = mproc__watchdog_stopped(arena, stopped);
    if (pid != 0) {
        fprintf(stderr,
                "mproc: the family's watchdog, process %d, is stopped: it tells of nothing until "
                "it gets SIGCONT (kill -CONT %d)\n",
                (int)pid, (int)pid);
    }
}

/* The same, of the family of a process. */
static void warn_of_watchdog_of(pid_t pid) {
    struct mproc__outside arena;
    struct mproc__stopped stopped;
    if (mproc__outside_open(pid, &arena) == 0) {
        mproc__watchdog_find_stopped(&stopped);
        warn_of_watchdog(&arena, &stopped);
        mproc__outside_close(&arena);
    }
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
    struct mproc__picture before = {0};
    bool rates = is_verb(request, "queues");
    r = rates ? look_before(&arena, &before) : 0;
    r = r == 0 ? mproc__inspect_take(&arena, &picture, &groups) : r;
    if (r == 0) {
        mproc__places_resolve(&picture);
        if (rates) {
            mproc__picture_compare(&picture, &before);
        }
        const struct mproc__show show = {request->out, &arena, &picture, groups,
                                         rates ? &before : NULL};
        fputs(n > 0 ? (request->json ? ",\n" : "\n") : "", request->out);
        request->show(&show);
        warn_of_watchdog(&arena, &request->stopped);
        mproc__picture_drop(&picture);
    }
    mproc__picture_drop(&before);
    mproc__outside_close(&arena);
    return r == 0 ? groups : r;
}

static void complain(pid_t pid, int code) {
    fprintf(stderr, "mproc: %d: %s\n", (int)pid, mproc__outside_explain(code));
}

static void complain_of_file(FILE *errors, const char *name, int code) {
    fputs("mproc: ", errors);
    mproc__text_print(errors, name);
    bool of_file = code == -EACCES || code == -EPERM || code == -ENOENT || code == -EBUSY ||
                   code == -ENODEV; /* of a process they would say something else */
    fprintf(errors, ": %s\n", of_file ? mproc_strerror(code) : mproc__outside_explain(code));
}

/* How many there are, or an error that has been told. */
static int find_families(pid_t pids[FAMILIES_MOST]) {
    int n = mproc__outside_families(pids, FAMILIES_MOST);
    if (n < 0) {
        fprintf(stderr, "mproc: /proc: %s\n", mproc__outside_explain(n));
    }
    return n;
}

/* One that has ended meanwhile is left out. */
static int look_at_all(const struct request *request) {
    pid_t pids[FAMILIES_MOST];
    int n = find_families(pids), shown = 0, deadlocks = 0;
    if (n < 0) {
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
    if (n >= FAMILIES_MOST) {
        fprintf(stderr, "mproc: these are the first %d families: there may be more\n",
                FAMILIES_MOST);
    }
    if (shown == 0 && !request->json) {
        fputs(NO_FAMILY, request->out);
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

/* How many arguments it is; 0: it is none that the verb has. */
static int read_option(struct request *request, const char *name, const char *value) {
    bool graph = is_verb(request, "graph"), report = is_verb(request, "report");
    if (strcmp(name, "--json") == 0 && !request->drawn) {
        request->json = true;
        request->show = is_verb(request, "stacks") ? mproc__show_stacks_json : mproc__show_json;
        return 1;
    }
    if (graph && !request->json && (strcmp(name, "--dot") == 0 || strcmp(name, "--svg") == 0)) {
        request->drawn = true;
        request->show = strcmp(name, "--dot") == 0 ? mproc__show_dot : mproc__show_svg;
        return 1;
    }
    if (report && strcmp(name, "-o") == 0 && value != NULL) {
        request->file = value;
        return 2;
    }
    return request->pid == 0 && read_pid(name, &request->pid);
}

/* Has the option a value, which stands in capitals in the words about a verb's options? */
static bool takes_value(const char *argument, const char *options) {
    const char *at = *argument == '-' ? strstr(options, argument) : NULL;
    size_t n = strlen(argument);
    return at != NULL && at[n] == ' ' && at[n + 1] >= 'A' && at[n + 1] <= 'Z';
}

/* What an argument should have been, or its value. */
static int refuse(const char *verb, char *const *argument, const char *options) {
    const char *value = takes_value(argument[0], options) ? argument[1] : NULL;
    fprintf(stderr, "mproc %s: what is ", verb);
    mproc__text_print(stderr, argument[0]);
    fputs(value != NULL ? " " : "", stderr);
    mproc__text_print(stderr, value != NULL ? value : "");
    fprintf(stderr,
            "? It takes %s, and the pid of one process, from 1 on; mproc --help has the usage\n",
            options);
    return EXIT_USAGE;
}

static int refuse_lack(const char *verb, const char *lack) {
    fprintf(stderr, "mproc %s: %s is missing; mproc --help has the usage\n", verb, lack);
    return EXIT_USAGE;
}

static int refuse_to_choose(const char *verb, const pid_t *pids, int n) {
    fprintf(stderr, "mproc %s: %d families are running: give the pid of a process of one (", verb,
            n);
    for (int i = 0; i < n && i < NAMED_MOST; i++) {
        fprintf(stderr, "%s%d", i > 0 ? ", " : "", (int)pids[i]);
    }
    fprintf(stderr, "%s); `mproc ps` shows them\n", n > NAMED_MOST ? ", ..." : "");
    return EXIT_USAGE;
}

/* Without a pid, what is of one family is of the only one there is. 0, or the exit status of what
 * has been told. */
static int choose_family(const char *verb, pid_t *pid) {
    pid_t pids[FAMILIES_MOST];
    if (*pid != 0) {
        return 0;
    }
    int n = find_families(pids);
    if (n > 1) {
        return refuse_to_choose(verb, pids, n);
    }
    if (n == 0) {
        fprintf(stderr, "mproc %s: %s", verb, NO_FAMILY);
    }
    *pid = n == 1 ? pids[0] : 0;
    return n == 1 ? 0 : 1;
}

static const char *options_of(const struct request *request) {
    return is_verb(request, "graph")    ? "--json, --dot or --svg"
           : is_verb(request, "report") ? "--json, -o FILE"
                                        : "--json";
}

/* 0, or the exit status of what has been told. */
static int read_arguments(int argc, char **argv, struct request *out) {
    *out = (struct request){.verb = argc > 1 ? find_verb(argv[1]) : NULL};
    if (out->verb == NULL) {
        if (argc > 1) {
            fputs("mproc: there is no verb ", stderr);
            mproc__text_print(stderr, argv[1]);
            fputs("; mproc --help has the usage\n", stderr);
        } else {
            fputs(help, stderr);
        }
        return EXIT_USAGE;
    }
    out->show = out->verb->show;
    for (int i = 2, n; i < argc; i += n) {
        n = read_option(out, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (n == 0) {
            return refuse(argv[1], &argv[i], options_of(out));
        }
    }
    if (is_verb(out, "report") && out->file == NULL) {
        return refuse_lack(argv[1], "-o FILE");
    }
    return out->drawn || is_verb(out, "stacks") ? choose_family(argv[1], &out->pid) : 0;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return argc == 2 && strcmp(argv[1], "help") == 0;
}

static int look_at(struct request *request) {
    mproc__watchdog_find_stopped(&request->stopped);
    return request->pid != 0 ? look_at_one(request) : look_at_all(request);
}

/* 0, or why standard output does not have all of it. If it was another flush that failed, the
 * reason is not known any more: one character more is refused for the same one. */
static int end_output(void) {
    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) != 0) {
        (void)fputc('\n', stdout);
        (void)fflush(stdout);
    }
    return ferror(stdout) == 0 ? 0 : errno != 0 ? -errno : -EIO;
}

/* What stands before and behind the families. */
static void list_begin(FILE *out) {
    fputs("[", out);
}

static void list_end(FILE *out) {
    fputs("]\n", out);
}

static void no_frame(FILE *out) {
    (void)out;
}

/* How many deadlocks there are, or an error that has been told. */
static int print(struct request *request) {
    request->out = stdout;
    (request->json ? list_begin : no_frame)(stdout);
    int r = look_at(request);
    (request->json ? list_end : no_frame)(stdout);
    int e = end_output();
    if (e != 0) {
        complain_of_file(stderr, "standard output", e);
    }
    return e != 0 ? e : r;
}

/* The page is made whole before there is a file, so none is lost for one that cannot be had. */
static int write_page(struct request *request) {
    char *page = NULL;
    size_t size = 0;
    request->out = open_memstream(&page, &size);
    if (request->out == NULL) {
        complain_of_file(stderr, request->file, -ENOMEM);
        return -ENOMEM;
    }
    (request->json ? list_begin : mproc__show_html_begin)(request->out);
    int r = look_at(request);
    (request->json ? list_end : mproc__show_html_end)(request->out);
    int e = fclose(request->out) == 0 ? 0 : -ENOMEM;
    if (e == 0 && r >= 0) {
        e = mproc__os_file_save(request->file, page, size);
    }
    if (e != 0) {
        complain_of_file(stderr, request->file, e);
    }
    free(page);
    return e != 0 ? e : r;
}

/* ---------------------------------------------------------------- recording */

/* How many arguments it is; 0: it is none that the verb has. */
static int read_record_option(struct mproc__record *what, const char *name, const char *value) {
    if (strcmp(name, "--behind") == 0) { /* a family that records itself */
        what->behind = true;
        return 1;
    }
    if (strcmp(name, "-o") == 0 && value != NULL) {
        what->path = value;
        return 2;
    }
    if (strcmp(name, "--for") == 0 && value != NULL) {
        char *end;
        what->seconds = strtod(value, &end);
        return *value != 0 && *end == 0 && what->seconds > 0 && what->seconds < 1e9 ? 2 : 0;
    }
    return what->pid == 0 && read_pid(name, &what->pid);
}

static int run_record(int argc, char **argv) {
    struct mproc__record what = {0};
    struct mproc__recorded done;
    for (int i = 2, n; i < argc; i += n) {
        n = read_record_option(&what, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (n == 0) {
            return refuse("record", &argv[i], "-o FILE, --for SECONDS");
        }
    }
    if (what.path == NULL) {
        return refuse_lack("record", "-o FILE");
    }
    int status = choose_family("record", &what.pid);
    if (status != 0) {
        return status;
    }
    if (!what.behind) {
        warn_of_watchdog_of(what.pid);
    }
    int r = mproc__record(&what, &done);
    FILE *errors = done.errors != NULL ? done.errors : stderr;
    if (r != 0 && r != -ECHILD && done.path[0] != 0) {
        complain_of_file(errors, done.path, r);
    } else if (r != 0 && r != -ECHILD) {
        complain(what.pid, r);
    } else if (done.events_lost > 0 && done.errors == NULL) {
        fprintf(stderr,
                "mproc: %llu events are lost: they came faster than they were written, or their "
                "threads have no ring\n",
                (unsigned long long)done.events_lost);
    }
    if (done.errors != NULL) {
        fclose(done.errors);
    }
    return r == 0 ? 0 : 1;
}

/* ---------------------------------------------------------------- watching */

/* How many arguments it is; 0: it is none that the verb has. */
static int read_watch_option(struct mproc__watchdog *what, const char *name, const char *value) {
    if (strcmp(name, "--behind") == 0) { /* a family that has itself watched */
        what->behind = true;
        return 1;
    }
    if (strcmp(name, "--after") == 0 && value != NULL) {
        return mproc__watchdog_read(value, what) ? 2 : 0;
    }
    return what->pid == 0 && read_pid(name, &what->pid);
}

/* A family that has itself watched knows no options, but what is in its environment. */
static int refuse_variable(const char *value) {
    fputs("mproc: MPROC_WATCHDOG is \"", stderr);
    mproc__text_print(stderr, value);
    fputs("\": it takes seconds, as 10 or 2.5, and 10=abort to end the family; nobody watches it\n",
          stderr);
    return EXIT_USAGE;
}

static int run_watch(int argc, char **argv) {
    struct mproc__watchdog what = {.after = 10 * MPROC_SEC};
    for (int i = 2, n; i < argc; i += n) {
        n = read_watch_option(&what, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (n == 0) {
            bool variable = what.behind && strcmp(argv[i], "--after") == 0 && argv[i + 1] != NULL;
            return variable ? refuse_variable(argv[i + 1])
                            : refuse("watch", &argv[i], "--after SECONDS, as 10 or 2.5=abort");
        }
    }
    int status = choose_family("watch", &what.pid);
    if (status != 0) {
        return status;
    }
    int r = mproc__watchdog(&what);
    if (r != 0) {
        complain(what.pid, r);
    }
    if (r == -EBUSY) {
        warn_of_watchdog_of(what.pid);
    }
    return r == 0 ? 0 : 1;
}

/* ---------------------------------------------------------------- live */

/* How many arguments it is; 0: it is none that the verb has. */
static int read_top_option(struct mproc__top *what, const char *name, const char *value) {
    char *end = NULL;
    if (strcmp(name, "-d") == 0 && value != NULL) {
        double seconds = strtod(value, &end);
        what->every = (int64_t)(seconds * (double)MPROC_SEC);
        return *value != 0 && *end == 0 && seconds >= 0.1 && seconds < 1e6 ? 2 : 0;
    }
    if (strcmp(name, "-n") == 0 && value != NULL) {
        long rounds = strtol(value, &end, 10);
        what->rounds = (int)rounds;
        return *value != 0 && *end == 0 && rounds > 0 && rounds <= INT_MAX ? 2 : 0;
    }
    if (strcmp(name, "-o") == 0 && value != NULL) {
        what->order = value[0];
        return mproc__top_sorts(value[0]) && value[1] == 0 ? 2 : 0;
    }
    if (strcmp(name, "--json") == 0) {
        what->json = true;
        return 1;
    }
    return what->pid == 0 && read_pid(name, &what->pid);
}

static int run_top(int argc, char **argv) {
    struct mproc__top what = {.every = MPROC_SEC, .order = 'P'};
    for (int i = 2, n; i < argc; i += n) {
        n = read_top_option(&what, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (n == 0) {
            return refuse(
                "top", &argv[i],
                "--json, -d SECONDS, 0.1 and more, -n ROUNDS, 1 and more, -o P, M, T or N");
        }
    }
    int status = choose_family("top", &what.pid);
    if (status != 0) {
        return status;
    }
    int output, r = mproc__top(&what, &output);
    if (output != 0) {
        complain_of_file(stderr, "standard output", output);
    } else if (r != 0) {
        complain(what.pid, r);
    }
    return r == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct request request;
    if (wants_help(argc, argv)) {
        fputs(help, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("mproc %d.%d.%d\n", MPROC_VERSION_MAJOR, MPROC_VERSION_MINOR, MPROC_VERSION_PATCH);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "record") == 0) {
        return run_record(argc, argv);
    }
    if (argc > 1 && strcmp(argv[1], "watch") == 0) {
        return run_watch(argc, argv);
    }
    if (argc > 1 && strcmp(argv[1], "top") == 0) {
        return run_top(argc, argv);
    }
    int status = read_arguments(argc, argv, &request);
    if (status != 0) {
        return status;
    }
    int r = request.file != NULL ? write_page(&request) : print(&request);
    return r < 0 ? 1 : r > 0 && is_verb(&request, "locks") ? EXIT_DEADLOCK : 0;
}
