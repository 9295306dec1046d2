/*
 * interrupt.c - the laboratory for signals: one after each instruction of a wait
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A signal handler of the victim only notes that a signal has come, as those of a
 * runtime do, and the hook of mproc_wait_hook() tells the library. The window of a wait begins with
 * its call. It goes on through the first slice of the sleep and what lies between that and the
 * second, and ends in the second sleep: from there on a wait only repeats itself.
 *
 * One victim is stepped through the window, which counts its instructions. Then each point has a
 * victim of its own, a child of the laboratory. It gets k instructions far, up to its first sleep
 * on a futex by a breakpoint and some steps, otherwise by steps alone. Then it is let go with a
 * signal. Or it is let go at its last point without one, and gets the signal in its sleep. The
 * wait has to end with -EINTR. A victim that has not ended after `patience` sleeps on: its signal
 * is *lost*. How long it looks before it sleeps depends on timing, so a point is not always the
 * same instruction; all instructions are points all the same.
 *
 * Whether the laboratory finds a loss is tried at the end of each run: without a hook the signal
 * before the sleep must be lost.
 */
#include "interrupt.h"

#include "fixture.h"
#include "trace.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE 10    /* points of a wait beside those that are always tried */
#define DELICATE 6   /* instructions before a sleep that are always points */
#define WINDOW 60000 /* a window of more instructions is none: the wait never sleeps */
#define SLEEPS 2
#define ENOUGH 5 /* failed points after which a wait is given up */

enum outcome { INTERRUPTED, LOST, ODD };

/* What the victim says; shared. */
struct board {
    int result;
    bool returned;
    volatile sig_atomic_t noted; /* also for the victim's children */
};

/* The window: after how many instructions the victim is at its last sleep, and at each. */
struct window {
    uint32_t count;
    uint32_t sleep[SLEEPS];
};

static struct board *board;
static struct trace way; /* of the wait that is tried, up to its first sleep */
static bool on_futex;    /* that is one: who takes another way is stopped at its own */
static int patience_ms = 10000;
static bool all_points;
static uint32_t share, shares = 1; /* with all points: each shares-th is a point, from share on */
static uint64_t seed;
static volatile sig_atomic_t noted;

/* ---------------------------------------------------------------- victim */

static void note(int number) {
    (void)number;
    board->noted = noted = 1;
}

bool interrupt_has_come(void) {
    return board->noted;
}

static int has_come(void) {
    return noted;
}

static void pass_mark(int number) {
    (void)number;
}

static _Noreturn void be_victim(const struct interrupt_wait *op, void *object, pid_t laboratory) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != laboratory) {
        _exit(1);
    }
    signal(SIGUSR1, note);
    signal(SIGTRAP, pass_mark); /* the end mark of one that is not traced any more */
    if (op->prepare != NULL) {
        op->prepare(object);
    }
    trace_me();
    trace_mark_begin();
    board->result = op->wait(object);
    board->returned = true;
    _exit(0);
}

static struct tracee make_victim(const struct interrupt_wait *op, void *object) {
    pid_t self = getpid();
    board->returned = false;
    board->noted = 0;
    fflush(stdout);
    pid_t pid = fork();
    crash_require(pid >= 0);
    if (pid == 0) {
        be_victim(op, object, self);
    }
    struct tracee victim = {.pid = pid};
    crash_require(trace_begin(&victim) == TRACE_HERE);
    return victim;
}

/* ---------------------------------------------------------------- one point */

static void collect(pid_t pid) {
    int status;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR) {
    }
    (void)mproc_reap();
}

static bool has_ended(pid_t pid) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ready = {.fd = pidfd, .events = POLLIN};
    int r;
    do {
        r = poll(&ready, 1, patience_ms);
    } while (r < 0 && errno == EINTR);
    close(pidfd);
    return r != 0;
}

/* Waits for the victim's end. False: it had to be killed. */
static bool end(pid_t pid) {
    bool ended = has_ended(pid);
    if (!ended) {
        kill(pid, SIGKILL);
    }
    collect(pid);
    return ended;
}

/* Waits until the process sleeps in one of the system calls that wait. */
static void await_sleep(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    for (;;) {
        long number = -1;
        FILE *file = fopen(path, "re");
        crash_require(file != NULL);
        if (fscanf(file, "%ld", &number) != 1) {
            number = -1;
        }
        fclose(file);
        if (number == SYS_futex || number == SYS_ppoll) {
            return;
        }
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
}

/* Waits for the end of a victim that is let go, and makes the object ready for another one. */
static bool finish(const struct interrupt_wait *op, void *object, pid_t pid) {
    bool ended = end(pid);
    if (ended && op->verify != NULL) {
        op->verify(object);
    }
    return ended;
}

static void do_nothing(void *unused) {
    (void)unused;
}

/* Makes a victim and has it get `point` instructions far. One that takes another way sleeps before
 * it comes to the breakpoint, which it is stopped at: then another one does without. */
static bool bring_victim(const struct interrupt_wait *op, void *object, const struct window *window,
                         uint32_t point, struct tracee *victim) {
    uint32_t near = point < window->sleep[0] ? point : window->sleep[0];
    *victim = make_victim(op, object);
    victim->meanwhile = do_nothing;
    enum trace_end got = trace_run(victim, &way, near, !on_futex);
    if (got == TRACE_STRAY) {
        trace_release_with(victim, SIGUSR1); /* not killed: a barrier, for one, would break */
        (void)finish(op, object, victim->pid);
        *victim = make_victim(op, object);
        got = TRACE_HERE;
    }
    while (got == TRACE_HERE && victim->at < point) {
        got = trace_step(victim);
    }
    return got == TRACE_HERE;
}

/* Delivers the signal after `point` instructions; behind the last one: in the sleep. */
static enum outcome try_point(const struct interrupt_wait *op, void *object,
                              const struct window *window, uint32_t point) {
    bool asleep = point > window->count;
    struct tracee victim;
    if (!bring_victim(op, object, window, asleep ? window->sleep[0] : point, &victim)) {
        return ODD;
    }
    trace_release_with(&victim, asleep ? 0 : SIGUSR1);
    if (asleep) {
        await_sleep(victim.pid);
        kill(victim.pid, SIGUSR1);
    }
    if (!finish(op, object, victim.pid)) {
        return LOST;
    }
    return board->returned && board->result == -EINTR ? INTERRUPTED : ODD;
}

/* ---------------------------------------------------------------- one wait */

/* Steps a victim into its last sleep. False: it never gets there. */
static bool measure(const struct interrupt_wait *op, void *object, struct window *window) {
    struct tracee victim = make_victim(op, object);
    unsigned sleeps = 0;
    bool good = true;
    while (good && sleeps < SLEEPS) {
        way.rip[victim.at] = trace_rip(&victim);
        if (trace_about_to_wait(&victim)) {
            on_futex = sleeps == 0 ? trace_about_to_sleep(&victim) : on_futex;
            window->sleep[sleeps++] = victim.at;
        }
        if (sleeps < SLEEPS) {
            good = trace_step(&victim) == TRACE_HERE && victim.at < WINDOW;
        }
    }
    window->count = victim.at;
    way.count = window->sleep[0] + 1; /* what is there is no end mark, and never an anchor */
    way.sleep = TRACE_NONE;
    trace_anchors(&way, false);
    trace_release_with(&victim, SIGUSR1);
    (void)end(victim.pid);
    if (op->verify != NULL) {
        op->verify(object);
    }
    return good;
}

static bool is_delicate(const struct window *window, uint32_t point) {
    for (unsigned i = 0; i < SLEEPS; i++) {
        if (point <= window->sleep[i] + 1 && point + DELICATE > window->sleep[i]) {
            return true;
        }
    }
    return point <= 1 || point > window->count;
}

static uint64_t random_below(uint64_t n) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

static void print_failure(const struct interrupt_wait *op, uint32_t point, enum outcome outcome) {
    printf("  FAILED %s, signal after instruction %u: ", op->name, point);
    if (outcome == LOST) {
        printf("lost, the wait sleeps on\n");
    } else {
        printf("the call %s %d\n", board->returned ? "returned" : "ended the process;",
               board->result);
    }
}

static bool try_points(const struct interrupt_wait *op, void *object, const struct window *window) {
    uint32_t tried = 0, lost = 0, odd = 0;
    uint32_t stride = all_points ? shares : window->count / SAMPLE + 1;
    uint32_t offset = all_points ? share : (uint32_t)random_below(stride);
    for (uint32_t k = 0; k <= window->count + 1 && lost + odd < ENOUGH; k++) {
        if (k % stride != offset && (all_points || !is_delicate(window, k))) {
            continue;
        }
        enum outcome outcome = try_point(op, object, window, k);
        tried++;
        lost += outcome == LOST;
        odd += outcome == ODD;
        if (outcome != INTERRUPTED) {
            print_failure(op, k, outcome);
        }
    }
    printf("%-44s %6u signal points", op->name, tried);
    if (tried != window->count + 2) {
        printf(", a sample of %u", window->count + 2);
    }
    printf(", %u lost%s\n", lost, lost + odd != 0 ? "  FAILED" : "");
    return lost + odd == 0;
}

static bool run_wait(const struct interrupt_wait *op) {
    struct window window = {0};
    mproc_wait_hook(has_come);
    void *object = op->setup();
    bool good = measure(op, object, &window);
    if (good) {
        good = try_points(op, object, &window);
    } else {
        printf("  FAILED %s: it does not sleep %d times within %d instructions\n", op->name, SLEEPS,
               WINDOW);
    }
    op->teardown(object);
    return good;
}

/* ---------------------------------------------------------------- the laboratory itself */

/* Without a hook a signal just before the sleep is lost: it has to be found out. */
static bool finds_a_loss(const struct interrupt_wait *op) {
    struct window window = {0};
    int patience = patience_ms;
    mproc_wait_hook(NULL);
    void *object = op->setup();
    patience_ms = 500;
    bool found =
        measure(op, object, &window) && try_point(op, object, &window, window.sleep[0]) == LOST;
    patience_ms = patience;
    op->teardown(object);
    printf("%-44s %s\n", "without a hook a signal is lost", found ? "and missed" : "  FAILED");
    return found;
}

static bool read_share(const char *words) {
    char *end;
    share = (uint32_t)strtoul(words, &end, 10);
    shares = *end == '/' ? (uint32_t)strtoul(end + 1, &end, 10) : 0;
    return *end == '\0' && share < shares;
}

static bool parse(int argc, char **argv, char ***names) {
    int i = 1;
    all_points = getenv("CRASH_ALL") != NULL;
    seed = (uint64_t)time(NULL);
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--all") == 0) {
            all_points = true;
        } else if (strcmp(argv[i], "--share") == 0 && i + 1 < argc && read_share(argv[i + 1])) {
            all_points = true;
            i++;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 0);
        } else {
            printf("usage: %s [--all] [--share I/N] [--seed N] [NAME...]\n", argv[0]);
            return false;
        }
    }
    *names = argv + i;
    printf("seed %llu\n", (unsigned long long)seed);
    return true;
}

static bool wanted(const char *name, char **names) {
    bool any = names[0] != NULL;
    for (; *names != NULL; names++) {
        if (strstr(name, *names) != NULL) {
            return true;
        }
    }
    return !any;
}

int interrupt_main(const struct interrupt_wait *waits, size_t n, int argc, char **argv) {
    char **names;
    size_t passed = 0, failed = 0;
    if (!parse(argc, argv, &names)) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    crash_family.open(argc, argv);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    crash_require(board != MAP_FAILED);
    for (size_t i = 0; i < n; i++) {
        if (wanted(waits[i].name, names)) {
            bool good = run_wait(&waits[i]);
            passed += good;
            failed += !good;
        }
    }
    bool found = finds_a_loss(&waits[0]);
    passed += found;
    failed += !found;
    crash_family.check();
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed != 0;
}
