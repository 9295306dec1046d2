/*
 * bench_looker.c - what a family notices of a looker that takes one picture after the other
 *
 * SPDX-License-Identifier: MIT
 *
 * The looker is a process of its own, which begins anew as soon as it is done; it does all that
 * `mproc locks` does before it prints. What it costs others has two parts: the CPU that it takes,
 * as every process does, and the cache lines that it reads while the family writes them. The second
 * part is asked for here, and is told from the first one in two ways.
 *
 *   The looker has a CPU of its own, always: where there are two, both sides of the work share the
 *       other one.
 *   It takes turns with one that looks at a twin, which has the same objects, and does nothing:
 *       whatever the two lookers do to caches, memory and kernel is the same, except for those
 *       lines.
 *
 * With a third CPU the two sides have a CPU each. On two CPUs that is measured as well: there the
 * looker is on the CPU of one of them, and the other side waits for it all the longer. What counts
 * then is the difference from the looker at the twin.
 *
 * Rounds are short and many, and the order of a round is changed each time. Looks begin before the
 * clock does. What is measured is the CPU time that both sides of the family took, and how long the
 * work took: that has the looker's own CPU time in it where the looker shares a CPU. With other
 * work on the machine, `chrt -r 50` keeps that away.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

#define OPERATIONS 1000000 /* of a run */
#define ROUNDS_MAX 999

enum beside { NOBODY, LOOKER, TWIN, BESIDE };

static const char *const names[BESIDE] = {"nobody looks", "beside a looker at full speed",
                                          "beside a looker at a twin"};

static mproc_lock *lock;
static mproc_queue *queue;
static pid_t twin;
static struct {
    double took[2]; /* CPU time of the two sides */
    uint64_t looks;
} * shared;

struct work {
    void (*side)(bool child);
    bool apart; /* the sides have a CPU each */
};

struct figures {
    double values[BESIDE][ROUNDS_MAX];  /* ns of an operation, of CPU time */
    double elapsed[BESIDE][ROUNDS_MAX]; /* ns of an operation, by the clock */
    double looked[BESIDE];              /* looks in all rounds, and the seconds they took */
    double seconds[BESIDE];
};

/* ---------------------------------------------------------------- who is beside */

static uint64_t looks(void) {
    return __atomic_load_n(&shared->looks, __ATOMIC_RELAXED);
}

static void count_look(void) {
    __atomic_store_n(&shared->looks, looks() + 1, __ATOMIC_RELAXED);
}

static void look_on(pid_t pid) {
    for (;;) {
        mproc_inspection *seen;
        if (mproc_inspect_new(&seen, pid) == 0) {
            mproc_inspect_drop(seen);
            count_look();
        }
    }
}

/* Among real-time processes (chrt -r 50) it would have what they leave. */
static void go_before_the_others(void) {
    struct sched_param param;
    if (sched_getparam(0, &param) == 0 && param.sched_priority > 0) {
        param.sched_priority++;
        (void)sched_setscheduler(0, SCHED_RR, &param);
    }
}

static pid_t start(enum beside beside) {
    if (beside == NOBODY) {
        return 0;
    }
    pid_t family = getpid(), pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        bench_pin(bench_cpus() > 2 ? 2 : 1);
        go_before_the_others();
        look_on(beside == TWIN ? twin : family);
    }
    uint64_t before = looks();
    while (looks() < before + 2) {
        usleep(100);
    }
    return pid;
}

static void stop(pid_t pid) {
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

/* ---------------------------------------------------------------- what the two do */

static void stream(bool child) {
    char room[64];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        int r = child ? mproc_queue_put(queue, "sixteen bytes...", 16, MPROC_FOREVER)
                      : mproc_queue_get(queue, &message, MPROC_FOREVER);
        if (r != 0) {
            bench_die("mproc_queue_put");
        }
    }
}

/* Each side does half of the operations. */
static void contend(bool child) {
    (void)child;
    for (uint64_t i = 0; i < OPERATIONS / 2; i++) {
        if (mproc_lock_acquire(lock, MPROC_FOREVER) != 0 || mproc_lock_release(lock) != 0) {
            bench_die("mproc_lock_acquire");
        }
    }
}

static double cpu_time(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void side(void *arg, bool child, uint64_t n) {
    (void)n;
    double begun = cpu_time();
    ((const struct work *)arg)->side(child);
    shared->took[child] = cpu_time() - begun;
}

/* ---------------------------------------------------------------- rounds */

static void run(struct work *work, enum beside beside, struct figures *out, unsigned round) {
    const struct bench_pair pair = {NULL, side, NULL, 0, work->apart ? 1 : 0};
    pid_t pid = start(beside);
    uint64_t before = looks();
    double begun = bench_now();
    out->elapsed[beside][round] = bench_run_pair(&pair, work, OPERATIONS) * 1e9 / OPERATIONS;
    out->looked[beside] += (double)(looks() - before);
    out->seconds[beside] += bench_now() - begun;
    stop(pid);
    (void)mproc_reap();
    out->values[beside][round] = (shared->took[0] + shared->took[1]) * 1e9 / OPERATIONS;
}

/* Each order comes in turn: a rotation, and its mirror. */
static enum beside turn(unsigned round, unsigned i) {
    unsigned at = (i + round / 2) % BESIDE;
    return (enum beside)(round % 2 == 0 ? at : BESIDE - 1 - at);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sorted_median(double *values, unsigned n) {
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* The median of the rounds' own ratios, the middle half of them, and all. */
static void print_ratio(const char *what, double values[BESIDE][ROUNDS_MAX], enum beside against,
                        unsigned n) {
    static double ratios[ROUNDS_MAX];
    for (unsigned i = 0; i < n; i++) {
        ratios[i] = (values[LOOKER][i] / values[against][i] - 1) * 100;
    }
    double median = sorted_median(ratios, n);
    printf(
        "  %s: %s, against: %s: %+.1f %% (half of the rounds %+.1f .. %+.1f, all %+.1f .. %+.1f)\n",
        what, names[LOOKER], names[against], median, ratios[n / 4], ratios[n - 1 - n / 4],
        ratios[0], ratios[n - 1]);
}

static void print_row(struct figures *f, enum beside beside, unsigned n) {
    double median = sorted_median(f->values[beside], n);
    const double *values = f->values[beside];
    printf("  %-30s %8.4g   (%.4g .. %.4g, half of the rounds %.4g .. %.4g)", names[beside], median,
           values[0], values[n - 1], values[n / 4], values[n - 1 - n / 4]);
    if (beside != NOBODY) {
        printf("   %.0f looks a second", f->looked[beside] / f->seconds[beside]);
    }
    printf("\n");
}

static void compare(const char *title, void (*work_side)(bool child), bool apart, unsigned n) {
    static struct figures f;
    struct work work = {work_side, apart};
    memset(&f, 0, sizeof f);
    for (unsigned round = 0; round < n; round++) {
        for (unsigned i = 0; i < BESIDE; i++) {
            run(&work, turn(round, i), &f, round);
        }
    }
    printf("\n%s, %s: ns of CPU time, median of %u rounds (min .. max)\n", title,
           apart ? "a CPU for each side" : "both sides on one CPU", n);
    print_ratio("elapsed", f.elapsed, NOBODY, n);
    print_ratio("elapsed", f.elapsed, TWIN, n);
    print_ratio("CPU time", f.values, NOBODY, n);
    print_ratio("CPU time", f.values, TWIN, n);
    for (unsigned i = 0; i < BESIDE; i++) {
        print_row(&f, (enum beside)i, n);
    }
}

/* ---------------------------------------------------------------- the twin */

static void make_objects(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0 || mproc_lock_new(&lock, 0) != 0 ||
        mproc_queue_new(&queue, 1000) != 0) {
        bench_die("mproc_init");
    }
}

/* What the other family does, once, so that the arena is as full, and a second member. Both live
 * until the other family has ended, which has the end of the pipe. */
static int live_as_twin(int argc, char **argv) {
    const struct bench_pair pair = {NULL, side, NULL, 0, 1};
    struct work work = {stream, true};
    char word;
    make_objects(argc, argv);
    (void)bench_run_pair(&pair, &work, OPERATIONS);
    pid_t pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (mproc_lock_acquire(lock, MPROC_FOREVER) != 0 || mproc_lock_release(lock) != 0) {
        bench_die("mproc_lock_acquire");
    }
    if (write(STDOUT_FILENO, ".", 1) != 1 || read(STDIN_FILENO, &word, 1) != 0) {
        bench_die("the twin's pipes");
    }
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0);
    }
    return 0;
}

static void become_twin(char *program, const int live[2], const int ready[2]) {
    char *const argv[] = {program, "twin", NULL};
    if (dup2(live[0], STDIN_FILENO) < 0 || dup2(ready[1], STDOUT_FILENO) < 0) {
        bench_die("dup2");
    }
    close(live[0]);
    close(live[1]);
    close(ready[0]);
    close(ready[1]);
    execv("/proc/self/exe", argv);
    bench_die(program);
}

static void start_twin(char *program) {
    int live[2], ready[2];
    char words[2];
    if (pipe(live) != 0 || pipe(ready) != 0) {
        bench_die("pipe");
    }
    twin = fork();
    if (twin < 0) {
        bench_die("fork");
    }
    if (twin == 0) {
        become_twin(program, live, ready);
    }
    close(live[0]);
    close(ready[1]);
    for (int n = 0; n < 2; n++) { /* both of its members are there */
        if (read(ready[0], &words[n], 1) != 1) {
            bench_die("the twin");
        }
    }
    close(ready[0]);
}

static unsigned rounds(void) {
    const char *text = getenv("BENCH_ROUNDS");
    int n = text != NULL ? atoi(text) : 5;
    return n < 1 ? 1 : n > ROUNDS_MAX ? ROUNDS_MAX : (unsigned)n;
}

static void compare_both(bool apart, unsigned n) {
    compare("queue.thr, a queue's message of 16 B", stream, apart, n);
    compare("sync.contended2, a lock's acquire and release", contend, apart, n);
}

int main(int argc, char **argv) {
    unsigned n = rounds();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        bench_die("mmap");
    }
    if (argc > 1 && strcmp(argv[1], "twin") == 0) {
        return live_as_twin(argc, argv);
    }
    start_twin(argv[0]);
    make_objects(argc, argv);
    bench_heading("a looker beside a family at work");
    if (bench_cpus() < 3) {
        compare_both(false, n);
    }
    compare_both(true, n);
    return 0;
}
