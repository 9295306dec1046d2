/*
 * crash.c - the crash laboratory: kill or stop a process after each instruction of an operation
 *
 * SPDX-License-Identifier: MIT
 *
 * There are three processes. The *laboratory* goes through the table and the kill points. For each
 * point it forks a *survivor*. The survivor makes a fresh fixture and the object, forks the
 * *victim*, traces it through the window (trace.c) and kills it. Then it checks, uses and destroys
 * the object, and compares what is in use with what was in use before. A survivor that fails, dies
 * or hangs is one failed kill point: the laboratory prints which, prints where the victim was, and
 * goes on.
 *
 * A hang is told by the time that the survivor and the victim could have run: what either of them
 * has waited for a processor is added to the patience. That begins anew with each turn of the
 * victim, since on a busy machine the kernel may take a tick for one, which neither waits for. So
 * such a machine makes no hangs, and whatever sleeps or spins too long is found all the same.
 *
 * Shared state: one anonymous mapping, `board`. The laboratory writes what is to be done before it
 * forks the survivor. The survivor writes the rest, which the laboratory reads after its end.
 *
 * The survivor notices the victim's end in one of three ways, for each is another path through the
 * code under test: it reaps and checks first and then uses the object; or it uses the object first,
 * so that the code of the object has to notice; or it reaps while the victim is still a zombie. The
 * ways take turns. With --all each point is run in all three.
 *
 * An operation with a `beside` is not killed. At the point the victim stands still, as a member
 * does that was stopped by a signal or a debugger. The survivor makes its calls, which have to
 * return, and then the victim goes on to its end, which has to be a good one.
 */
#include "crash.h"

#include "trace.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROOM 65536
#define SAMPLE 1000 /* points of an operation that is too long for all of them */
#define ALWAYS 3000 /* an operation of up to so many instructions is killed at each */
#define ENOUGH 5    /* failed points after which an operation is given up */
#define WAYS 3
#define LOOK_MS 200 /* between two looks at a survivor */

enum way { REAP_FIRST, USE_FIRST, ZOMBIE };

enum mode {
    RECORD,    /* step to the end, record, let the victim exit */
    KILL,      /* run to the point, kill */
    KILL_NAIVE /* the same without breakpoints */
};

struct board {
    enum mode mode;
    enum way way;
    uint32_t point;
    uint64_t rip;
    pid_t victim;       /* while it is traced */
    uint32_t turns;     /* how often it was resumed */
    int64_t starved_ms; /* that it had waited for a processor when it was killed */
    bool returned;
    bool strayed;
    bool recorded;
    bool went_on; /* the victim was stopped only: it ends by itself */
    const char *phase;
    char why[512];
    struct trace trace;
    char room[ROOM];
};

static struct board *board;
static const struct crash_fixture *fixture;
static bool all_points;
static bool all_ways; /* at each point */
static long one_point = -1;
static uint64_t seed;
static int patience_ms = 20000;
static int arg_count;
static char **arg_values;

/* ---------------------------------------------------------------- survivor */

/* Outside of a survivor: what is wrong ends the program. */
static _Noreturn void fail_plainly(const char *file, int line, const char *format, va_list args) {
    printf("%s:%d: ", file, line);
    vprintf(format, args);
    printf("\n0 passed, 1 failed\n");
    fflush(stdout);
    _exit(1);
}

void crash_fail(const char *file, int line, const char *format, ...) {
    va_list args;
    const char *base = strrchr(file, '/');
    if (board == NULL) {
        va_start(args, format);
        fail_plainly(base ? base + 1 : file, line, format, args);
    }
    int n = snprintf(board->why, sizeof board->why, "%s:%d: ", base ? base + 1 : file, line);
    va_start(args, format);
    vsnprintf(board->why + n, sizeof board->why - (size_t)n, format, args);
    va_end(args);
    _exit(1);
}

#define require_os(call)                                                                           \
    do {                                                                                           \
        if (!(call)) {                                                                             \
            crash_fail(__FILE__, __LINE__, "%s: %s", #call, strerror(errno));                      \
        }                                                                                          \
    } while (0)

void *crash_no_object(void) {
    return NULL;
}

void crash_nothing(void *object) {
    (void)object;
}

bool crash_returned(void) {
    return board->returned;
}

void *crash_room(void) {
    return board->room;
}

static void child_of_survivor(pid_t survivor) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != survivor) {
        _exit(1);
    }
}

pid_t crash_helper(void (*run)(void *), void *arg) {
    pid_t self = getpid();
    pid_t pid = fork();
    require_os(pid >= 0);
    if (pid == 0) {
        child_of_survivor(self);
        run(arg);
        exit(0);
    }
    return pid;
}

void crash_helper_join(pid_t helper) {
    int status;
    while (waitpid(helper, &status, 0) < 0) {
        require_os(errno == EINTR);
    }
    if (status != 0) {
        crash_fail(__FILE__, __LINE__, "a helper ended with wait status %#x", (unsigned)status);
    }
}

void crash_orphans(void) {
    while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR) {
    }
    require_os(errno == ECHILD);
}

void crash_newborn_done(void) {
    trace_mark_end();
}

static int open_files(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    require_os(dir != NULL);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

/* Tracer and tracee take turns: on one CPU a turn costs a third of what it costs across two. */
static void stay_on_one_cpu(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void pass_mark(int number) {
    (void)number;
}

static pid_t make_victim(const struct crash_op *op, void *object) {
    pid_t self = getpid();
    pid_t pid = fork();
    require_os(pid >= 0);
    if (pid == 0) {
        child_of_survivor(self);
        if (op->newborn || op->beside != NULL) {
            signal(SIGTRAP, pass_mark); /* others that come to the end mark are not traced */
        }
        if (op->prepare != NULL) {
            op->prepare(object);
        }
        if (op->marked) {
            setenv("CRASH_MARK", "1", 1);
        }
        trace_me();
        trace_mark_begin();
        op->operate(object);
        if (!op->newborn) {
            trace_mark_end();
        }
        exit(0);
    }
    return pid;
}

/* How long a process has waited for a processor; 0: there is no such process. */
static int64_t starved_ms(pid_t pid) {
    char path[64];
    unsigned long long ran, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = pid != 0 ? fopen(path, "re") : NULL;
    if (file != NULL && fscanf(file, "%llu %llu", &ran, &waited) != 2) {
        waited = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return (int64_t)(waited / 1000000);
}

static void kill_victim(struct tracee *victim) {
    board->rip = trace_rip(victim);
    board->starved_ms = starved_ms(victim->pid);
    board->victim = 0;
    require_os(kill(victim->pid, SIGKILL) == 0);
}

/* It stands still while the survivor does what it does beside a stopped member. */
static void stop_victim(const struct crash_op *op, void *object, struct tracee *victim) {
    board->rip = trace_rip(victim);
    board->phase = "going on beside the stopped victim";
    op->beside(object);
    board->returned = board->went_on = true;
    trace_release(victim);
}

/* Traces the window and ends the victim. False: it went another way; nothing has been learnt. */
static bool end_victim(const struct crash_op *op, void *object, struct tracee *victim) {
    enum trace_end end = trace_begin(victim);
    if (end == TRACE_HERE && op->newborn) {
        end = trace_newborn(victim, op->marked);
    }
    if (end != TRACE_HERE) {
        crash_fail(__FILE__, __LINE__, "the victim ended before its window, wait status %#x",
                   (unsigned)victim->status);
    }
    victim->meanwhile = op->meanwhile;
    victim->arg = object;
    board->phase = "stepping through the operation";
    if (board->mode == RECORD) {
        end = trace_record(victim, &board->trace);
        board->recorded = end == TRACE_HERE;
    } else {
        end = trace_run(victim, &board->trace, board->point, board->mode == KILL_NAIVE);
    }
    if (end == TRACE_GONE) {
        crash_fail(__FILE__, __LINE__, "the victim ended by itself, wait status %#x",
                   (unsigned)victim->status);
    }
    board->returned =
        board->mode == RECORD || board->point == board->trace.count || end == TRACE_STRAY;
    if (board->mode == RECORD && end == TRACE_HERE) {
        trace_release(victim);
        return true;
    }
    if (op->beside != NULL) {
        stop_victim(op, object, victim);
    } else {
        kill_victim(victim);
    }
    if (end == TRACE_STRAY) {
        board->strayed = true;
        return board->mode == KILL_NAIVE || op->beside != NULL;
    }
    return true;
}

static void collect(pid_t pid, int options) {
    siginfo_t info;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL | options) != 0) {
        if (errno == ECHILD) {
            return; /* verify() waits for all processes */
        }
        require_os(errno == EINTR);
    }
    if (board->went_on && info.si_pid == pid &&
        (info.si_code != CLD_EXITED || info.si_status != 0)) {
        crash_fail(__FILE__, __LINE__, "the victim went on and ended with code %d, status %d",
                   info.si_code, info.si_status);
    }
}

/* A newborn victim is the child of another process, and that one collects it. */
static void collect_victim(const struct crash_op *op, pid_t pid, int options) {
    collect(pid, op->newborn ? 0 : options);
}

static void notice(const struct crash_op *op, void *object, pid_t pid) {
    board->phase = "waiting for the victim's end";
    collect_victim(op, pid, board->way == ZOMBIE ? WNOWAIT : 0);
    if (board->way != USE_FIRST) {
        board->phase = "reaping and checking";
        fixture->reap();
        fixture->check();
    }
    board->phase = "verifying and using the object";
    op->verify(object);
    board->phase = "reaping and checking after use";
    fixture->reap();
    fixture->check();
    if (board->way == ZOMBIE && !op->newborn) {
        collect(pid, 0);
    }
}

static void compare_levels(uint64_t before, const char *words, int files) {
    char now[256];
    if (fixture->level(now, sizeof now) != before) {
        crash_fail(__FILE__, __LINE__, "left over: %s before, %s after", words, now);
    }
    crash_equal(open_files(), files);
}

static _Noreturn void survive(const struct crash_op *op) {
    char words[256];
    stay_on_one_cpu();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    board->phase = "setting up";
    fixture->open(arg_count, arg_values);
    uint64_t before = fixture->level(words, sizeof words);
    int files = open_files();
    void *object = op->setup();
    fixture->check();
    struct tracee victim = {.pid = make_victim(op, object), .turns = &board->turns};
    board->victim = victim.pid;
    if (!end_victim(op, object, &victim)) {
        exit(0);
    }
    notice(op, object, victim.pid);
    board->phase = "tearing down";
    op->teardown(object);
    crash_orphans();
    fixture->reap();
    fixture->check();
    compare_levels(before, words, files);
    board->phase = "exiting";
    exit(0);
}

/* ---------------------------------------------------------------- laboratory */

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How long a survivor may still take; `since`: when the victim was last seen to be resumed. */
static int64_t patience_left(pid_t pid, int64_t since) {
    int64_t starved = board->starved_ms + starved_ms(pid) + starved_ms(board->victim);
    return since + patience_ms + starved - now_ms();
}

/* Waits for the end of a survivor; kills one that hangs and returns false. */
static bool patient_wait(pid_t pid, int *status) {
    int64_t since = now_ms();
    uint32_t turns = 0;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ready = {.fd = pidfd, .events = POLLIN};
    int64_t left;
    int r;
    do {
        uint32_t now = __atomic_load_n(&board->turns, __ATOMIC_RELAXED);
        since = now != turns ? now_ms() : since;
        turns = now;
        left = patience_left(pid, since);
        r = left > 0 ? poll(&ready, 1, left < LOOK_MS ? (int)left : LOOK_MS) : 0;
    } while (r < 0 || (r == 0 && left > 0));
    close(pidfd);
    if (r == 0) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
    }
    return r != 0;
}

/* Runs one survivor; returns whether all was well or the victim strayed. */
static bool try_once(const struct crash_op *op, enum mode mode, uint32_t point, enum way way) {
    int status = 0;
    board->mode = mode;
    board->way = way;
    board->point = point;
    board->rip = 0;
    board->victim = 0;
    board->turns = 0;
    board->starved_ms = 0;
    board->returned = board->strayed = board->recorded = board->went_on = false;
    board->phase = "starting";
    board->why[0] = 0;
    memset(board->room, 0, sizeof board->room);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        survive(op);
    }
    if (pid < 0) {
        snprintf(board->why, sizeof board->why, "fork: %s", strerror(errno));
        return false;
    }
    if (!patient_wait(pid, &status)) {
        snprintf(board->why, sizeof board->why, "no end after %d ms that it could run: a hang",
                 patience_ms);
    } else if (status != 0 && board->why[0] == 0) {
        snprintf(board->why, sizeof board->why, "the survivor ended with wait status %#x",
                 (unsigned)status);
    }
    return board->why[0] == 0;
}

static bool try_point(const struct crash_op *op, uint32_t point, enum way way, uint32_t *strays) {
    bool good = try_once(op, KILL, point, way);
    if (good && board->strayed) {
        ++*strays;
        good = try_once(op, KILL_NAIVE, point, way);
    }
    return good;
}

/* Prints where the victim stood, as precisely as addr2line can tell. */
static void print_place(uint64_t rip) {
    Dl_info info;
    char command[4352];
    char line[1024];
    if (rip == 0 || dladdr((void *)(uintptr_t)rip, &info) == 0) {
        printf("    at %#llx\n", (unsigned long long)rip);
        return;
    }
    uint64_t offset = rip - (uint64_t)(uintptr_t)info.dli_fbase;
    printf("    at %s+%#llx %s\n", info.dli_fname, (unsigned long long)offset,
           info.dli_sname != NULL ? info.dli_sname : "");
    snprintf(command, sizeof command, "addr2line -i -f -p -s -e '%s' %#llx 2>/dev/null",
             info.dli_fname[0] == '/' ? info.dli_fname : "/proc/self/exe",
             (unsigned long long)offset);
    if (strncmp(info.dli_fname, "/", 1) != 0) {
        char exe[4096];
        ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[n < 0 ? 0 : n] = 0;
        snprintf(command, sizeof command, "addr2line -i -f -p -s -e '%.4000s' %#llx 2>/dev/null",
                 exe, (unsigned long long)offset);
    }
    FILE *tool = popen(command, "r"); /* NOLINT(cert-env33-c): the names are our own */
    while (tool != NULL && fgets(line, sizeof line, tool) != NULL) {
        printf("       %s", line);
    }
    if (tool != NULL) {
        pclose(tool);
    }
}

static void print_failure(const struct crash_op *op, const char *where) {
    static const char *const ways[WAYS] = {"reap first", "use first", "zombie"};
    printf("  FAILED %s, %s, %s, while %s:\n    %s\n", op->name, where, ways[board->way],
           board->phase, board->why);
    print_place(board->rip);
}

static uint64_t random_below(uint64_t n) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

static uint32_t gcd(uint32_t a, uint32_t b) {
    return b == 0 ? a : gcd(b, a % b);
}

/* The rounds in the middle of a long string instruction differ only in the byte they are at: the
 * first two and the last are points for all of them. */
static bool within_run(const struct trace *trace, uint32_t k) {
    const uint64_t *rip = &trace->rip[k];
    return k >= 3 && k < trace->count && rip[0] == rip[-1] && rip[0] == rip[-2] && rip[0] == rip[1];
}

/* The distance between the points of a sample, coprime to the number of points, so that no loop of
 * the code can hide a point. */
static uint32_t choose_stride(const struct crash_op *op, uint32_t n) {
    uint32_t sample = op->sample != 0 ? op->sample : SAMPLE;
    uint32_t stride = all_points || n <= (op->sample != 0 ? sample : ALWAYS) ? 1 : n / sample;
    while (stride > 1 && gcd(stride, n) != 1) {
        stride++;
    }
    return stride;
}

static uint32_t count_points(const struct trace *trace) {
    uint32_t n = 0;
    for (uint32_t k = 1; k <= trace->count; k++) {
        n += !within_run(trace, k);
    }
    return n;
}

/* Chooses points: sets pick[k] for each k to be run. A sample also has the first run of every
 * instruction, unless the operation asks for fewer points. */
static uint32_t choose(const struct crash_op *op, const struct trace *trace, unsigned char *pick) {
    uint32_t chosen = 0, i = 0, stride = choose_stride(op, count_points(trace));
    uint32_t offset = (uint32_t)random_below(stride);
    for (uint32_t k = 1; k <= trace->count; k++) {
        if (within_run(trace, k)) {
            continue;
        }
        bool first = k <= 3 || (trace->anchor[k] == k && trace->hits[k] == 1);
        pick[k] = i++ % stride == offset || (first && op->sample == 0) || k == trace->count;
        chosen += pick[k];
    }
    return chosen;
}

/* A victim that goes on ends in one way only. */
static uint32_t ways_of(const struct crash_op *op) {
    return all_ways && op->beside == NULL ? WAYS : 1;
}

static bool try_points(const struct crash_op *op, const unsigned char *pick, uint32_t *strays) {
    uint32_t failures = 0;
    for (uint32_t k = 1; k <= board->trace.count && failures < ENOUGH; k++) {
        for (uint32_t w = 0; pick[k] && w < ways_of(op); w++) {
            enum way way = op->beside != NULL ? REAP_FIRST : (enum way)((k + w) % WAYS);
            if (!try_point(op, k, way, strays)) {
                char where[64];
                snprintf(where, sizeof where, "%s after instruction %u of %u",
                         op->beside != NULL ? "stopped" : "killed", k, board->trace.count);
                print_failure(op, where);
                failures++;
            }
        }
    }
    return failures == 0;
}

/* Runs one operation at all chosen points. */
static bool run_op(const struct crash_op *op) {
    uint32_t strays = 0;
    if (!try_once(op, RECORD, 0, REAP_FIRST) || !board->recorded) {
        if (board->why[0] == 0) {
            snprintf(board->why, sizeof board->why, "longer than %u instructions", TRACE_MAX);
        }
        print_failure(op, "not killed at all");
        return false;
    }
    trace_anchors(&board->trace, op->meanwhile != NULL);
    unsigned char *pick = calloc(board->trace.count + 2, 1);
    if (pick == NULL) {
        return false;
    }
    uint32_t chosen = choose(op, &board->trace, pick);
    if (one_point >= 0) {
        memset(pick, 0, board->trace.count + 1);
        chosen = (uint32_t)one_point <= board->trace.count;
        pick[chosen ? one_point : 0] = (unsigned char)chosen;
    }
    bool good = try_points(op, pick, &strays);
    free(pick);
    printf("%-44s %6u %s points", op->name, chosen, op->beside != NULL ? "stop" : "kill");
    if (chosen != count_points(&board->trace)) {
        printf(", a sample of %u", count_points(&board->trace));
    }
    if (strays != 0) {
        printf(", %u stepped singly", strays);
    }
    printf("%s\n", good ? "" : "  FAILED");
    return good;
}

static void make_board(void) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (board == MAP_FAILED) {
        perror("crash laboratory: mmap");
        exit(70);
    }
}

void crash_patience(int milliseconds) {
    patience_ms = milliseconds;
}

size_t crash_run(const struct crash_fixture *around, const struct crash_op *ops, size_t n) {
    size_t failed = 0;
    if (board == NULL) {
        make_board();
    }
    fixture = around;
    for (size_t i = 0; i < n; i++) {
        failed += !run_op(&ops[i]);
    }
    return failed;
}

static void usage(const char *program) {
    printf("usage: %s [--all | --each] [--seed N] [--point K] [NAME...]\n"
           "  --all    every instruction, each in all ways of noticing the death; so does "
           "CRASH_ALL=1\n"
           "  --each   every instruction, each in one way: they take turns\n"
           "  --seed   which points a long operation is sampled at\n"
           "  --point  this point alone\n"
           "  NAME     only operations whose name contains it\n",
           program);
}

static bool wanted(const struct crash_op *op, char **names) {
    bool any = names[0] != NULL;
    for (; *names != NULL; names++) {
        if (strstr(op->name, *names) != NULL) {
            return true;
        }
    }
    return !any;
}

static bool parse(int argc, char **argv, char ***names) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--all") == 0) {
            all_points = all_ways = true;
        } else if (strcmp(argv[i], "--each") == 0) {
            all_points = true;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--point") == 0 && i + 1 < argc) {
            one_point = strtol(argv[++i], NULL, 0);
        } else {
            return false;
        }
    }
    *names = argv + i;
    return true;
}

int crash_main(const struct crash_fixture *around, const struct crash_op *ops, size_t n, int argc,
               char **argv) {
    char **names;
    size_t passed = 0;
    size_t failed = 0;
    arg_count = argc;
    arg_values = argv;
    all_points = all_ways = getenv("CRASH_ALL") != NULL;
    seed = (uint64_t)time(NULL);
    if (!parse(argc, argv, &names)) {
        usage(argv[0]);
        return 2;
    }
    printf("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < n; i++) {
        if (wanted(&ops[i], names)) {
            bool bad = crash_run(around, &ops[i], 1) != 0;
            passed += !bad;
            failed += bad;
        }
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed != 0;
}
