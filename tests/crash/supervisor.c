/*
 * supervisor.c - a process that keeps children busy and kills some of them at random
 *
 * SPDX-License-Identifier: MIT
 */
#include "supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct level {
    mproc_arena_stats arena;
    size_t members;
    unsigned files;
    unsigned names;
};

static const char *program;
static pid_t supervisor;
static uint64_t state;
static struct timespec start;
static struct level before;

/* ---------------------------------------------------------------- words */

void supervisor_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("%s: ", program);
    vprintf(format, args);
    printf("\n0 passed, 1 failed\n");
    va_end(args);
    exit(1);
}

void supervisor_require(int r, const char *what) {
    if (r != 0) {
        supervisor_fail("%s: %s", what, mproc_strerror(r));
    }
}

/* ---------------------------------------------------------------- what is in use */

static unsigned count_entries(const char *path) {
    unsigned n = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        supervisor_fail("%s: %s", path, strerror(errno));
    }
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

void supervisor_name(char *out, const char *suffix) {
    snprintf(out, 64, "mproc-%s-%d-%s", program, (int)supervisor, suffix);
}

static unsigned count_names(void) {
    unsigned n = 0;
    char prefix[64];
    supervisor_name(prefix, "");
    DIR *dir = opendir("/dev/shm");
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static struct level level(void) {
    struct level now = {.members = mproc_members(NULL, 0),
                        .files = count_entries("/proc/self/fd"),
                        .names = count_names()};
    mproc_arena_stat(&now.arena);
    return now;
}

static void print_level(const char *when, const struct level *l) {
    printf("%s: %s: %zu bytes in %zu blocks, %zu members, %u descriptors, %u names\n", program,
           when, l->arena.used, l->arena.blocks, l->members, l->files, l->names);
}

/* ---------------------------------------------------------------- begin and end */

static double parse(int argc, char **argv, double seconds) {
    state = (uint64_t)time(NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            seconds = strtod(argv[++i], NULL);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            state = strtoull(argv[++i], NULL, 0);
        } else {
            printf("usage: %s [--seconds N] [--seed N]\n", argv[0]);
            exit(2);
        }
    }
    return seconds;
}

double supervisor_begin(int argc, char **argv, const char *name, double seconds) {
    program = name;
    supervisor = getpid();
    seconds = parse(argc, argv, seconds);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%s: seed %llu, %g seconds\n", name, (unsigned long long)state, seconds);
    state = state * 2 + 1; /* never 0 */
    supervisor_require(mproc_init(argc, argv), "mproc_init");
    before = level();
    clock_gettime(CLOCK_MONOTONIC, &start);
    return seconds;
}

int supervisor_end(void) {
    struct level now = level();
    if (now.arena.used != before.arena.used || now.arena.blocks != before.arena.blocks ||
        now.members != before.members || now.files != before.files || now.names != before.names) {
        print_level("before", &before);
        print_level("after", &now);
        supervisor_fail("something is left over");
    }
    printf("1 passed, 0 failed\n");
    return 0;
}

/* ---------------------------------------------------------------- time and chance */

double supervisor_elapsed(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
}

void supervisor_nap(uint64_t us) {
    nanosleep(&(struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000}, NULL);
}

uint64_t supervisor_random_below(uint64_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

void *supervisor_calloc(size_t size) {
    void *block = mproc_calloc(1, size);
    if (block == NULL) {
        supervisor_fail("no memory");
    }
    return block;
}

/* ---------------------------------------------------------------- processes */

pid_t supervisor_fork(void) {
    pid_t self = getpid(), pid = fork();
    if (pid < 0) {
        supervisor_fail("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != self) {
            _exit(0);
        }
    }
    return pid;
}

static int collect(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            supervisor_fail("waitpid: %s", strerror(errno));
        }
    }
    return status;
}

void child_expect(int r) {
    if (r == -ETIMEDOUT) {
        _exit(CHILD_STUCK);
    }
    if (r != 0) {
        fprintf(stderr, "%s: %s\n", program, mproc_strerror(r));
        _exit(CHILD_ODD_RESULT);
    }
}

static const char *finding(int code, const char *const *own, unsigned n_own) {
    static const char *const common[] = {"waited in vain", "got an odd result",
                                         "found unequal words"};
    if (code >= CHILD_STUCK && code < CHILD_FINDINGS) {
        return common[code - CHILD_STUCK];
    }
    bool known = code >= CHILD_FINDINGS && code < CHILD_FINDINGS + (int)n_own;
    return known ? own[code - CHILD_FINDINGS] : "ended by itself";
}

const char *supervisor_judge(pid_t pid, bool killed, bool *by_us, const char *const *own,
                             unsigned n_own) {
    int status = collect(pid);
    *by_us = killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (*by_us || status == 0) {
        return NULL;
    }
    printf("%s: process %d has the wait status %#x\n", program, (int)pid, (unsigned)status);
    return finding(WIFEXITED(status) ? WEXITSTATUS(status) : -1, own, n_own);
}

bool supervisor_ended(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

bool supervisor_await_end(pid_t pid, int seconds) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ready = {.fd = pidfd, .events = POLLIN};
    int r;
    do {
        r = poll(&ready, 1, seconds * 1000);
    } while (r < 0 && errno == EINTR);
    close(pidfd);
    return r != 0;
}

void supervisor_where(pid_t pid, char *out) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/wchan", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(out, 64, file) == NULL) {
        snprintf(out, 64, "an unknown place");
    }
    if (file != NULL) {
        fclose(file);
    }
}
