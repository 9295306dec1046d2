/*
 * test.c - main() of every test program: runs each test in a process of its own
 *
 * SPDX-License-Identifier: MIT
 *
 * The runner is no member of any family. It is the subreaper of all processes that the tests start,
 * so a process that outlives its test becomes its child. Such a process has the rest of the test's
 * time to end; otherwise the test has failed. The watchdog is here, too, and leaves SIGALRM to the
 * tests.
 */
#define _GNU_SOURCE
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 4096

/* Tests of parts that need no arena are linked without one. */
#pragma weak mproc_init
#pragma weak mproc_arena_stat
#pragma weak mproc_members
#pragma weak mproc_reap
/* A program defines this if it has tests that start it with arguments. */
#pragma weak test_started_main

struct baseline {
    unsigned char fds[FDS_MAX];
    size_t used, blocks, members;
};

static struct test *tests, **tests_end = &tests;

static bool selected(const struct test *test, int argc, char **argv);
static const char *run_one(const struct test *test, int64_t deadline, char *why, size_t size);
static void run_in_child(const struct test *test);
static bool collect(pid_t pid, int64_t deadline, int *status);
static int kill_leftovers(int64_t deadline);
static bool has_family(const struct test *test);
static void take_baseline(const struct test *test, struct baseline *out);
static void check_leaks(const struct test *test, const struct baseline *before);
static int64_t now(void);
static int64_t test_timeout(void);

void test_register(struct test *test) {
    *tests_end = test;
    tests_end = &test->next;
}

int main(int argc, char **argv) {
    unsigned number = 0, passed = 0, failed = 0, skipped = 0;
    sigset_t child;

    if (getenv("MPROC_FAMILY") != NULL && argc > 1 && test_started_main != NULL) {
        return test_started_main(argc, argv);
    }
    if (getenv("MPROC_FAMILY") != NULL && mproc_init != NULL) {
        return mproc_init(argc, argv) == 0 ? 0 : TEST_FAILED; /* a spawned child ends in there */
    }
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (const struct test *t = tests; t != NULL; t = t->next) {
        if (!selected(t, argc, argv)) {
            continue;
        }
        char why[128] = "";
        const char *verdict = run_one(t, now() + test_timeout(), why, sizeof why);
        printf("%s %u - %s%s\n", verdict, ++number, t->name, why);
        fflush(stdout);
        if (strcmp(verdict, "ok") != 0) {
            failed++;
        } else if (strstr(why, "SKIP") != NULL) {
            skipped++;
        } else {
            passed++;
        }
    }
    if (number == 0) {
        printf("# no test is named so\n");
        failed++;
    }
    printf("%u passed, %u failed", passed, failed);
    printf(skipped != 0 ? ", %u skipped\n" : "\n", skipped);
    return failed != 0;
}

static bool selected(const struct test *test, int argc, char **argv) {
    if (argc < 2) {
        return (test->flags & TEST_HIDDEN) == 0;
    }
    for (int i = 1; i < argc; i++) {
        if ((test->flags & TEST_HIDDEN) != 0 ? strcmp(test->name, argv[i]) == 0
                                             : strstr(test->name, argv[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Prints "ok" or "not ok", the name, and why. */
static const char *run_one(const struct test *test, int64_t deadline, char *why, size_t size) {
    int status = 0, left;
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        snprintf(why, size, " # cannot fork: %s", strerror(errno));
        return "not ok";
    }
    if (pid == 0) {
        run_in_child(test);
    }
    bool in_time = collect(pid, deadline, &status);
    if (!in_time) {
        kill(pid, SIGKILL);
        collect(pid, INT64_MAX, &status);
    }
    left = kill_leftovers(in_time && status == 0 ? deadline : 0);
    if (!in_time) {
        snprintf(why, size, " # did not end within its time");
    } else if (WIFSIGNALED(status)) {
        snprintf(why, size, " # ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) == TEST_SKIPPED && left == 0) {
        snprintf(why, size, " # SKIP");
        return "ok";
    } else if (WEXITSTATUS(status) != 0) {
        snprintf(why, size, " # exit code %d", WEXITSTATUS(status));
    } else if (left != 0) {
        snprintf(why, size, " # left %d running process(es) behind", left);
    } else {
        return "ok";
    }
    return "not ok";
}

static void run_in_child(const struct test *test) {
    struct baseline before;
    sigset_t child;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
    if (has_family(test)) {
        static char name[] = "test", *argv[] = {name, NULL};
        int r = mproc_init(1, argv);
        if (r != 0) {
            test_fail(test->file, test->line, "mproc_init(): %d", r);
        }
    }
    take_baseline(test, &before);
    test->run();
    check_leaks(test, &before);
    fflush(NULL);
    exit(0);
}

/* Waits for one child; SIGCHLD is blocked here, so sigtimedwait() sleeps until any child ends. */
static bool collect(pid_t pid, int64_t deadline, int *status) {
    for (;;) {
        pid_t r = waitpid(pid, status, WNOHANG);
        if (r == pid || (r < 0 && errno == ECHILD)) {
            return true;
        }
        int64_t left = deadline == INT64_MAX ? MPROC_SEC : deadline - now();
        if (left <= 0) {
            return false;
        }
        sigset_t child;
        struct timespec ts = {left / MPROC_SEC, left % MPROC_SEC};
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigtimedwait(&child, NULL, &ts);
    }
}

/* Waits until the deadline for adopted processes to end, then kills them; returns how many it
 * killed. */
static int kill_leftovers(int64_t deadline) {
    int killed = 0;
    for (;;) {
        siginfo_t info = {0};
        int status;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) != 0) {
            return killed; /* ECHILD: nobody is left */
        }
        if (info.si_pid != 0) {
            continue;
        }
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        FILE *f = fopen(path, "r");
        pid_t first = f != NULL && fgets(line, sizeof line, f) != NULL ? atoi(line) : 0;
        if (f != NULL) {
            fclose(f);
        }
        if (first <= 0) {
            return killed + 1; /* a process is left that this kernel does not name */
        }
        if (!collect(first, deadline, &status)) {
            kill(first, SIGKILL);
            collect(first, INT64_MAX, &status);
            killed++;
        }
    }
}

static void each_fd(void (*visit)(int fd, void *arg), void *arg) {
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(dir)) {
            visit(atoi(e->d_name), arg);
        }
    }
    closedir(dir);
}

static void note_fd(int fd, void *arg) {
    struct baseline *b = arg;
    if (fd < FDS_MAX) {
        b->fds[fd] = 1;
    }
}

static bool has_family(const struct test *test) {
    return (test->flags & TEST_NO_FAMILY) == 0 && mproc_init != NULL;
}

/* Asking for the level of the arena would found a family in a test that has none. */
static void take_baseline(const struct test *test, struct baseline *out) {
    memset(out, 0, sizeof *out);
    each_fd(note_fd, out);
    if (has_family(test) && mproc_arena_stat != NULL) {
        mproc_arena_stats s;
        mproc_arena_stat(&s);
        out->used = s.used;
        out->blocks = s.blocks;
        out->members = mproc_members(NULL, 0);
    }
}

static size_t count_entries(const char *path) {
    size_t n = 0;
    DIR *dir = opendir(path);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

/* ThreadSanitizer has up to two threads of its own, one since the fork, one since the first
 * thread. */
static size_t own_threads(void) {
    size_t emulators = getenv("MPROC_TEST_EMULATED") != NULL ? 1 : 0;
    return emulators + (TEST_TSAN ? 3 : 1);
}

/* Naps before each look but the first. False: what is looked for should have ended by now, for
 * three seconds have passed, and enough looks on a machine that gives this process few. */
static bool look_again(int looks, int64_t end) {
    usleep(looks != 0 ? 1000 : 0);
    return looks < 100 || now() < end;
}

/* The kernel lists a joined thread for a short while. */
static bool threads_end(void) {
    int64_t end = now() + 3 * MPROC_SEC;
    bool left = true;
    for (int looks = 0; left && look_again(looks, end); looks++) {
        left = count_entries("/proc/self/task") > own_threads();
    }
    return !left;
}

/* The template of a parent that was killed ends a moment after it, as its children do. */
static void members_end(const struct test *test, const struct baseline *before) {
    if (!has_family(test) || mproc_members == NULL || mproc_reap == NULL) {
        return;
    }
    int64_t end = now() + 3 * MPROC_SEC;
    bool left = true;
    for (int looks = 0; left && look_again(looks, end); looks++) {
        left = mproc_members(NULL, 0) > before->members;
    }
    mproc_reap();
}

/* A test that began without a family may have founded one, which stays as long as the process. */
static bool may_stay(const struct test *test, const char *target) {
    return (test->flags & TEST_NO_FAMILY) != 0 && strncmp(target, "/memfd:mproc ", 13) == 0;
}

static void check_leaks(const struct test *test, const struct baseline *before) {
    static struct baseline after;
    if (!threads_end()) {
        test_fail(test->file, test->line, "left a thread running");
    }
    siginfo_t info = {0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0) {
        test_fail(test->file, test->line, "left a child behind (ended: %d)", (int)info.si_pid);
    }
    members_end(test, before);
    take_baseline(test, &after);
    for (int fd = 0; fd < FDS_MAX; fd++) {
        if (after.fds[fd] && !before->fds[fd]) {
            char path[64], target[128] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            if (readlink(path, target, sizeof target - 1) > 0 && !may_stay(test, target)) {
                test_fail(test->file, test->line, "left descriptor %d open: %s", fd, target);
            }
        }
    }
    if (after.used != before->used || after.blocks != before->blocks) {
        test_fail(test->file, test->line, "arena: %zu bytes in %zu blocks before, %zu in %zu after",
                  before->used, before->blocks, after.used, after.blocks);
    }
}

void test_fail(const char *file, int line, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *name = strrchr(file, '/');
    printf("# %s:%d: %s\n", name != NULL ? name + 1 : file, line, text);
    fflush(NULL);
    _exit(TEST_FAILED);
}

void test_skip(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("# skipped: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(NULL);
    _exit(TEST_SKIPPED);
}

void test_check_str(const char *file, int line, const char *what, const char *a, const char *b) {
    if (a == NULL || b == NULL || strcmp(a, b) != 0) {
        test_fail(file, line, "%s: \"%s\", expected \"%s\"", what, a != NULL ? a : "(NULL)",
                  b != NULL ? b : "(NULL)");
    }
}

void test_check_mem(const char *file, int line, const char *what, const void *a, const void *b,
                    size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++) {
        if (x[i] != y[i]) {
            test_fail(file, line, "%s: byte %zu of %zu is %02x, expected %02x", what, i, size, x[i],
                      y[i]);
        }
    }
}

static void count_fd(int fd, void *arg) {
    (void)fd;
    ++*(size_t *)arg;
}

size_t test_open_fds(void) {
    size_t n = 0;
    each_fd(count_fd, &n);
    return n;
}

size_t test_mappings(void) {
    size_t n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    for (int c = f != NULL ? fgetc(f) : EOF; c != EOF; c = fgetc(f)) {
        n += c == '\n';
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

size_t test_arena_used(void) {
    mproc_arena_stats s;
    mproc_arena_stat(&s);
    return s.used;
}

static int64_t now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * MPROC_SEC + ts.tv_nsec;
}

static int64_t test_timeout(void) {
    const char *text = getenv("MPROC_TEST_TIMEOUT");
    int seconds = text != NULL ? atoi(text) : 0;
    return (seconds > 0 ? seconds : 60) * MPROC_SEC;
}
