/*
 * errors.h - what the lines of test_errors.c are made with
 *
 * SPDX-License-Identifier: MIT
 *
 * PROVOKE(function, code) { ... } returns what the function said; it runs in a process and a family
 * of its own, so it may use up or break what it likes. CANNOT(function, code, why) is for a code
 * that cannot be provoked there.
 */
#ifndef MPROC_TEST_ERRORS_H
#define MPROC_TEST_ERRORS_H

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/family.h"
#include "deny.h"
#include "made.h"
#include "test.h"

/* ---------------------------------------------------------------- lines */

struct line {
    const char *function;
    const char *name;
    int code;
    int (*provoke)(void); /* NULL: cannot be provoked */
    const char *why;
    struct line *next;
};

void errors_add(struct line *line);

/* The timeout of calls that a signal is to end: a negative one, which all mean the same. */
extern int64_t without_end;

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define LINE_OF(tag, function, name, code, run, why)                                               \
    __attribute__((constructor)) static void JOIN(add_, tag)(void) {                               \
        static struct line line = {function, name, code, run, why, NULL};                          \
        errors_add(&line);                                                                         \
    }

/* tag: what no other line of the file has. `name` is the code's: <errno.h> has macros, so that a
 * macro which hands a code on hands its number on. */
#define PROVOKE_AS(tag, function, name, code)                                                      \
    static int JOIN(run_, tag)(void);                                                              \
    LINE_OF(tag, function, name, code, JOIN(run_, tag), NULL)                                      \
    static int JOIN(run_, tag)(void)

#define PROVOKE(function_, code_) PROVOKE_AS(__LINE__, #function_, #code_, code_)

#define CANNOT(function_, code_, why_) LINE_OF(__LINE__, #function_, #code_, code_, NULL, why_)

/* ---------------------------------------------------------------- means */

enum { CLOSED_FD = 999 };

static inline void begin(void) {
    char name[] = "errors", *argv[] = {name, NULL};
    CHECK_OK(mproc_init(1, argv));
}

/* A family whose arena is soon full. */
static inline void begin_small(void) {
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "1048576", 1));
    begin();
}

/* Every size class, so that none has a block left. */
static inline void fill_arena(void) {
    for (size_t size = 65536; size >= 16; size -= size > 128 ? size / 16 : 8) {
        while (mproc_alloc(size) != NULL) {
        }
    }
}

static inline void no_descriptors(void) {
    const struct rlimit none = {0, 0};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
}

static inline void no_address_space(void) {
    const struct rlimit none = {1, 1};
    CHECK_OK(setrlimit(RLIMIT_AS, &none));
}

/* malloc() has nothing left. */
static inline void no_malloc(void) {
    no_address_space();
    for (size_t size = 65536; size >= 16; size /= 2) {
        void *volatile p;
        do {
            p = malloc(size);
        } while (p != NULL);
    }
}

static inline void no_processes(void) {
    deny_clone(EAGAIN);
}

static inline void ring(int signal) {
    (void)signal;
}

/* From now on a signal handler runs every 5 ms. */
static inline void interrupt(void) {
    struct sigaction action = {.sa_handler = ring};
    const struct itimerval often = {{0, 5000}, {0, 5000}};
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    CHECK_OK(setitimer(ITIMER_REAL, &often, NULL));
}

static inline pid_t fork_child(void) {
    pid_t parent = getpid(), pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) {
        _exit(1);
    }
    return pid;
}

static inline _Noreturn void stay(void) {
    for (;;) {
        pause();
    }
}

/* A child that runs a function and dies of SIGKILL. */
static inline void die_after(void (*run)(void *), void *arg) {
    int status;
    pid_t pid = fork_child();
    if (pid == 0) {
        run(arg);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
}

/* A child that has run a function when this returns, and lives on. */
static inline void live_after(void (*run)(void *), void *arg) {
    int ends[2];
    char byte;
    CHECK_OK(pipe(ends));
    if (fork_child() == 0) {
        run(arg);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        stay();
    }
    CHECK_EQ(read(ends[0], &byte, 1), 1);
}

/* Children that run a function, in which they stay. */
static inline void crowd(void (*run)(void *), void *arg, int n) {
    for (int i = 0; i < n; i++) {
        if (fork_child() == 0) {
            run(arg);
            stay();
        }
    }
}

/* What a function says in a forked child. */
static inline int in_child(int (*run)(void *), void *arg) {
    int *result =
        mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    CHECK(result != MAP_FAILED);
    pid_t pid = fork_child();
    if (pid == 0) {
        *result = run(arg);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    return *result;
}

/* There is no room for another descriptor of the library's in the family. */
static inline void take_all_bells(void) {
    for (int i = 0; i < MPROC__BELLS; i++) {
        mproc__family->bells.rows[i].owner = mproc__self_token();
    }
}

#define PROVOKE_FD(function, code_, make, refuse, ask)                                             \
    PROVOKE_AS(JOIN(function, JOIN(_, code_)), #function, "-" #code_, -code_) {                    \
        void *object = make;                                                                       \
        refuse;                                                                                    \
        return ask;                                                                                \
    }

/* The errors that each function for a descriptor of an object has; `ask` asks `object` for it. */
#define PROVOKE_FDS(function, make, ask)                                                           \
    PROVOKE_FD(function, EMFILE, make, no_descriptors(), ask)                                      \
    PROVOKE_FD(function, ENFILE, make, deny(SYS_socket, -1, ENFILE), ask)                          \
    PROVOKE_FD(function, ENOMEM, make, deny(SYS_epoll_create1, -1, ENOMEM), ask)                   \
    PROVOKE_FD(function, ENOSPC, make, take_all_bells(), ask)

#endif
