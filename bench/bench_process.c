/*
 * bench_process.c - a child started and joined: the three methods against fork and posix_spawn
 *
 * SPDX-License-Identifier: MIT
 *
 * The child does nothing. The starting process is small in one table. In the other it has 256 MiB
 * of private memory: fork() has to copy the page tables of that memory, a template process has not.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

#define BALLAST ((size_t)256 << 20)
#define QUIT "MPROC_BENCH_QUIT"

extern char **environ;

static int nothing(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 0;
}

static double start_join(void *arg, uint64_t n) {
    mproc_process_options options = {.method = *(mproc_method *)arg};
    double start = bench_now();
    while (n-- > 0) {
        mproc_process *process;
        int r = mproc_process_start(&process, nothing, NULL, 0, &options);
        if (r == 0) {
            r = mproc_process_join(process, MPROC_FOREVER);
        }
        if (r != 0 || mproc_process_drop(process) != 0) {
            fprintf(stderr, "bench: %s\n", mproc_strerror(r));
            bench_die("mproc_process_start");
        }
    }
    return bench_now() - start;
}

static void collect(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        bench_die("waitpid");
    }
}

/* fork() in a family: its handlers make the child a member, and are part of the cost. */
static double bare_fork(void *arg, uint64_t n) {
    (void)arg;
    double start = bench_now();
    while (n-- > 0) {
        pid_t pid = fork();
        if (pid < 0) {
            bench_die("fork");
        }
        if (pid == 0) {
            _exit(0);
        }
        collect(pid);
    }
    return bench_now() - start;
}

/* fork() without the C library's handlers, so without a family: the time of the kernel alone. */
static double raw_fork(void *arg, uint64_t n) {
    (void)arg;
    double start = bench_now();
    while (n-- > 0) {
        pid_t pid = _Fork();
        if (pid < 0) {
            bench_die("_Fork");
        }
        if (pid == 0) {
            _exit(0);
        }
        collect(pid);
    }
    return bench_now() - start;
}

/* Starts this program again, which ends at once. */
static double bare_spawn(void *arg, uint64_t n) {
    static char path[] = "/proc/self/exe", *argv[] = {path, NULL};
    (void)arg;
    setenv(QUIT, "1", 1);
    double start = bench_now();
    while (n-- > 0) {
        pid_t pid;
        if (posix_spawn(&pid, path, NULL, NULL, argv, environ) != 0) {
            bench_die("posix_spawn");
        }
        collect(pid);
    }
    double seconds = bench_now() - start;
    unsetenv(QUIT);
    return seconds;
}

static void compare(const char *size) {
    static mproc_method methods[] = {MPROC_FORK, MPROC_SPAWN, MPROC_FORKSERVER};
    char title[96];
    struct bench_contender forks[] = {{"mproc, fork", start_join, &methods[0], true},
                                      {"mproc, forkserver", start_join, &methods[2], true},
                                      {"_Fork, waitpid", raw_fork, NULL, false},
                                      {"fork in a family, waitpid", bare_fork, NULL, false}};
    struct bench_contender spawns[] = {{"mproc, spawn", start_join, &methods[1], true},
                                       {"posix_spawn, waitpid", bare_spawn, NULL, false}};
    snprintf(title, sizeof title, "start and join of a copy, %s", size);
    struct bench_table table = {title, "us", 1e6, false, forks, 4, {0, 0}, false};
    bench_compare(&table);
    snprintf(title, sizeof title, "start and join of a fresh program, %s", size);
    table = (struct bench_table){title, "us", 1e6, false, spawns, 2, {0, 0}, false};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    if (getenv(QUIT) != NULL) {
        return 0;
    }
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    bench_heading("process: a child that does nothing");
    compare("small process");
    char *ballast = malloc(BALLAST);
    if (ballast == NULL) {
        bench_die("malloc");
    }
    memset(ballast, 1, BALLAST);
    bench_keep(ballast);
    compare("256 MiB of private memory");
    free(ballast);
    return 0;
}
