/*
 * bench.c - what every benchmark uses: rounds that alternate, medians, a table
 *
 * SPDX-License-Identifier: MIT
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BENCH_RUN 0.01       /* seconds that a run should take */
#define BENCH_ROUND 0.1      /* seconds after which a round has no further run */
#define RUNS 8               /* of a round, of which the fastest counts */
#define BENCH_SETTLE_US 3000 /* between two rounds: threads that still spin go to sleep */
#define LOOKS 100000         /* at another CPU's side, before a yield: about 0.1 ms */
#define CONTENDERS_MAX 16
#define ROUNDS_MAX 99

static const char *why_not;

void bench_die(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

double bench_cannot(const char *why) {
    why_not = why;
    return -1;
}

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---------------------------------------------------------------- CPUs */

static cpu_set_t allowed;

static void learn_cpus(void) {
    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        bench_die("sched_getaffinity");
    }
}

unsigned bench_cpus(void) {
    learn_cpus();
    return (unsigned)CPU_COUNT(&allowed);
}

void bench_pin(unsigned cpu) {
    unsigned left = cpu % bench_cpus();
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &allowed) && left-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(i, &one);
            (void)sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
}

void bench_unpin(void) {
    learn_cpus();
    (void)sched_setaffinity(0, sizeof allowed, &allowed);
}

/* ---------------------------------------------------------------- two processes */

struct meeting {
    unsigned came;
    bool one_cpu; /* both sides are on one */
};

static unsigned came(struct meeting *m) {
    return __atomic_load_n(&m->came, __ATOMIC_SEQ_CST);
}

static void arrive(struct meeting *m) {
    __atomic_fetch_add(&m->came, 1, __ATOMIC_SEQ_CST);
}

/* Waits by looking, so that neither CPU is asleep when the clock starts, and by yielding at times,
 * for the other side may need this CPU. A yield is dear: while other programs want the CPU, it
 * costs a slice of each. */
static void await(struct meeting *m, unsigned n) {
    for (unsigned looks = 1; came(m) < n; looks++) {
        if (bench_cpus() == 1 || m->one_cpu || looks % LOOKS == 0) {
            sched_yield();
        }
    }
}

/* The parent starts the clock before it arrives, and arrives last: the child cannot have begun. */
static double start_together(struct meeting *m, bool child) {
    if (!child) {
        await(m, 1);
    }
    double start = bench_now();
    arrive(m);
    await(m, 2);
    return start;
}

static void run_side(const struct bench_pair *pair, void *arg, uint64_t n, struct meeting *m,
                     bool child, double *seconds) {
    bench_pin(child ? pair->cpu_of_child : pair->cpu_of_parent);
    if (pair->enter != NULL) {
        pair->enter(arg, child);
    }
    double start = start_together(m, child);
    pair->side(arg, child, n);
    arrive(m);
    await(m, 4);
    if (!child) {
        *seconds = bench_now() - start;
    }
    if (pair->leave != NULL) {
        pair->leave(arg, child);
    }
}

double bench_run_pair(const struct bench_pair *pair, void *arg, uint64_t n) {
    struct meeting *m =
        mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double seconds = 0;
    int status;
    if (m == MAP_FAILED) {
        bench_die("mmap");
    }
    m->one_cpu = pair->cpu_of_parent == pair->cpu_of_child;
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        run_side(pair, arg, n, m, true, &seconds);
        _exit(0);
    }
    run_side(pair, arg, n, m, false, &seconds);
    bench_unpin();
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        errno = ECHILD;
        bench_die("the other side failed");
    }
    munmap(m, sizeof *m);
    return seconds;
}

double bench_apart(double (*run)(void *arg, uint64_t n), void *arg, uint64_t n) {
    double *seconds =
        mmap(NULL, sizeof *seconds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    if (seconds == MAP_FAILED) {
        bench_die("mmap");
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        *seconds = run(arg, n);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        errno = ECHILD;
        bench_die("a run apart failed");
    }
    double result = *seconds;
    munmap(seconds, sizeof *seconds);
    return result;
}

/* ---------------------------------------------------------------- figures */

struct figures {
    uint64_t ops; /* of a round */
    double values[ROUNDS_MAX];
    const char *why_not; /* NULL: it takes part */
};

static unsigned rounds(void) {
    const char *text = getenv("BENCH_ROUNDS");
    int n = text != NULL ? atoi(text) : 5;
    return n < 1 ? 1 : n > ROUNDS_MAX ? ROUNDS_MAX : (unsigned)n;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(const struct figures *f, unsigned n) {
    return n % 2 ? f->values[n / 2] : (f->values[n / 2 - 1] + f->values[n / 2]) / 2;
}

/* The seconds of the fastest run: of one at least, of `runs` at most, none begun after `limit`
 * seconds. Negative if the contender cannot take part. */
static double fastest(const struct bench_contender *c, uint64_t ops, unsigned runs, double limit) {
    double end = bench_now() + limit;
    double best = c->run(c->arg, ops);
    while (--runs > 0 && best >= 0 && bench_now() < end) {
        best = fmin(best, c->run(c->arg, ops));
    }
    return best;
}

/* Finds how many operations fill a run. */
static void calibrate(const struct bench_contender *c, bool sampled, struct figures *f) {
    for (f->ops = 1;; f->ops *= 4) {
        double seconds = fastest(c, f->ops, 3, BENCH_ROUND);
        if (seconds < 0) {
            f->why_not = why_not;
            return;
        }
        if (sampled) {
            return;
        }
        if (seconds >= BENCH_RUN / 4) {
            double ops = (double)f->ops * BENCH_RUN / seconds;
            f->ops = ops < 1 ? 1 : (uint64_t)ops;
            return;
        }
    }
}

static double figure(const struct bench_table *t, uint64_t ops, double seconds) {
    return t->rate ? t->scale * (double)ops / seconds : t->scale * seconds / (double)ops;
}

/* How many times as fast a is as b. */
static double faster(const struct bench_table *t, double a, double b) {
    return t->rate ? a / b : b / a;
}

static void measure(const struct bench_table *t, struct figures *f, unsigned n) {
    for (size_t i = 0; i < t->n; i++) {
        calibrate(&t->contenders[i], t->sampled, &f[i]);
    }
    for (unsigned round = 0; round < n; round++) {
        for (size_t i = 0; i < t->n; i++) {
            const struct bench_contender *c = &t->contenders[i];
            if (f[i].why_not == NULL) {
                usleep(BENCH_SETTLE_US);
                double seconds = fastest(c, f[i].ops, RUNS, BENCH_ROUND);
                f[i].values[round] = figure(t, f[i].ops, seconds);
            }
        }
    }
    for (size_t i = 0; i < t->n; i++) {
        qsort(f[i].values, n, sizeof *f[i].values, ascending);
    }
}

/* ---------------------------------------------------------------- printing */

static void print_row(const struct bench_table *t, const struct figures *all, size_t i,
                      unsigned n) {
    const struct figures *f = &all[i];
    if (f->why_not != NULL) {
        printf("  %-34s %10s   %s\n", t->contenders[i].name, "-", f->why_not);
        return;
    }
    printf("  %-34s %10.4g   (%.4g .. %.4g)", t->contenders[i].name, median(f, n), f->values[0],
           f->values[n - 1]);
    if (!t->contenders[i].ours && all[0].why_not == NULL) {
        printf("   x%.2f", faster(t, median(&all[0], n), median(f, n)));
    }
    printf("\n");
}

/* The index of the best peer, or t->n if there is none. */
static size_t best_peer(const struct bench_table *t, const struct figures *f, unsigned n) {
    size_t best = t->n;
    for (size_t i = 0; i < t->n; i++) {
        if (!t->contenders[i].ours && f[i].why_not == NULL &&
            (best == t->n || faster(t, median(&f[i], n), median(&f[best], n)) > 1)) {
            best = i;
        }
    }
    return best;
}

static void print_verdict(const struct bench_table *t, const struct figures *f, unsigned n) {
    double mine = median(&f[0], n);
    size_t best = best_peer(t, f, n);
    if (t->target.times != 0 && best != t->n) {
        double ratio = faster(t, mine, median(&f[best], n));
        printf("  target: x%.3g of the best peer (%s): x%.2f, %s\n", t->target.times,
               t->contenders[best].name, ratio, ratio >= t->target.times ? "met" : "NOT MET");
    }
    if (t->target.absolute != 0) {
        bool met = t->rate ? mine >= t->target.absolute : mine <= t->target.absolute;
        printf("  target: %s %.4g %s: %.4g, %s\n", t->rate ? "above" : "below", t->target.absolute,
               t->unit, mine, met ? "met" : "NOT MET");
    }
}

void bench_compare(const struct bench_table *t) {
    static struct figures f[CONTENDERS_MAX];
    unsigned n = rounds();
    if (t->n > CONTENDERS_MAX) {
        errno = E2BIG;
        bench_die(t->title);
    }
    memset(f, 0, sizeof f);
    measure(t, f, n);
    printf("\n%s: %s, median of %u rounds (min .. max), x: how many times as fast as the peer\n",
           t->title, t->unit, n);
    for (size_t i = 0; i < t->n; i++) {
        print_row(t, f, i, n);
    }
    if (f[0].why_not == NULL) {
        print_verdict(t, f, n);
    }
    fflush(stdout);
}

void bench_heading(const char *what) {
    struct utsname u;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (uname(&u) != 0) {
        bench_die("uname");
    }
    printf("\n== %s (%u CPUs, %s %s %s)\n", what, bench_cpus(), u.sysname, u.release, u.machine);
}
