/*
 * test_process.c - starting children by every method, their ends, and what is left
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "children.h"
#include "core/family.h"
#include "deny.h"
#include "made.h"
#include "methods.h"
#include "process/process.h"
#include "system/bare_call.h"
#include "system/os.h"
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static mproc_process *start(mproc_method method, mproc_main_fn fn, const void *arg, size_t size) {
    mproc_process_options options = {.method = method};
    mproc_process *process = NULL;
    CHECK_OK(mproc_process_start(&process, fn, arg, size, &options));
    return process;
}

static int finish(mproc_process *process) {
    int code = 9999;
    CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(process, &code));
    CHECK_OK(mproc_process_drop(process));
    return code;
}

static void nothing_more_happens(int number) {
    (void)number;
}

/* ---------------------------------------------------------------- what a child gets */

static int check_bytes(void *arg, size_t size) {
    const unsigned char *p = arg;
    size_t n;
    CHECK(mproc_child_args(&n) == arg);
    CHECK_EQ(n, size);
    CHECK_EQ((uintptr_t)arg % 16, 0);
    CHECK(mproc_in_arena(arg));
    for (size_t i = 0; i < size; i++) {
        CHECK_EQ(p[i], (unsigned char)(i * 7));
    }
    return (int)(size % 251);
}

TEST_METHODS(process_gets_bytes) {
    static const size_t sizes[] = {1, 15, 100, 4096, 100000};
    for (size_t i = 0; i < 5; i++) {
        unsigned char *bytes = malloc(sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++) {
            bytes[j] = (unsigned char)(j * 7);
        }
        mproc_process *p = start(method, check_bytes, bytes, sizes[i]);
        free(bytes);
        CHECK_EQ(finish(p), sizes[i] % 251);
    }
}

struct report {
    pid_t pid, parent;
    uint64_t serial;
    int runs;
    char name[64];
    mproc_method method;
};

static int fill_report(void *arg, size_t size) {
    struct report *out = arg;
    mproc_member self;
    CHECK_EQ(size, 0);
    CHECK_OK(mproc_self(&self));
    CHECK_EQ(self.pid, getpid());
    CHECK_EQ(self.parent, getppid());
    *out = (struct report){getpid(), getppid(), self.serial, out->runs + 1, "", self.method};
    memcpy(out->name, self.name, sizeof out->name);
    return 0;
}

TEST_METHODS(process_gets_an_arena_pointer) {
    struct report *r = mproc_calloc(1, sizeof *r);
    mproc_process_options options = {.method = method, .name = "Ada"};
    mproc_process *p;
    CHECK_OK(mproc_process_start(&p, fill_report, r, 0, &options));
    CHECK_EQ(finish(p), 0);
    CHECK_EQ(r->parent, getpid());
    CHECK_NE(r->pid, getpid());
    CHECK_EQ(r->runs, 1);
    CHECK_EQ(r->method, method);
    CHECK_STR(r->name, "Ada");
    CHECK_OK(
        mproc_process_start(&p, fill_report, r, 0, &(mproc_process_options){.method = method}));
    CHECK_EQ(r->runs + (mproc_process_pid(p) <= 0), r->runs);
    pid_t pid = mproc_process_pid(p);
    CHECK_EQ(finish(p), 0);
    CHECK_EQ(r->pid, pid);
    CHECK_EQ(r->runs, 2);
    CHECK(strncmp(r->name, "Process-", 8) == 0);
    mproc_free(r);
}

static int no_args(void *arg, size_t size) {
    size_t n = 7;
    CHECK(arg == NULL && size == 0);
    CHECK(mproc_child_args(&n) == NULL && n == 0);
    CHECK(mproc_child_args(NULL) == NULL);
    return 42;
}

TEST_METHODS(process_gets_nothing) {
    CHECK_EQ(finish(start(method, no_args, NULL, 0)), 42);
    CHECK(mproc_child_args(NULL) == NULL); /* the first member was given nothing either */
}

TEST(process_long_names_are_cut) {
    struct report *r = mproc_calloc(1, sizeof *r);
    char name[100];
    memset(name, 'n', sizeof name - 1);
    name[99] = 0;
    mproc_process *p;
    CHECK_OK(mproc_process_start(&p, fill_report, r, 0, &(mproc_process_options){.name = name}));
    CHECK_EQ(finish(p), 0);
    name[63] = 0;
    CHECK_STR(r->name, name);
    mproc_free(r);
}

static int write_to_fd(void *arg, size_t size) {
    const int *fds = arg;
    (void)size;
    CHECK_EQ(write(fds[0], "x", 1), 1);
    CHECK_EQ(fcntl(fds[1], F_GETFD), -1); /* not passed: closed by exec */
    return 0;
}

TEST(process_spawn_passes_descriptors) {
    int ends[2], other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char byte;
    mproc_process *p;
    CHECK_OK(mproc_pipe_new(ends, 0));
    int arg[2] = {ends[1], other};
    mproc_process_options o = {.method = MPROC_SPAWN, .fds = &ends[1], .nfds = 1};
    CHECK_OK(mproc_process_start(&p, write_to_fd, arg, sizeof arg, &o));
    close(ends[1]);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK_EQ(finish(p), 0);
    CHECK_EQ(read(ends[0], &byte, 1), 0); /* no other process has the other end */
    close(ends[0]);
    close(other);
}

/* What a child has been given is its own: a grandchild that gets nothing has nothing. */
static int list_none(void *arg, size_t size) {
    (void)arg, (void)size;
    return (int)mproc_child_fds(NULL, 0);
}

static int list_and_fork(void *arg, size_t size) {
    int fds[3] = {-1, -1, -1};
    mproc_process *p;
    (void)arg, (void)size;
    CHECK_EQ(mproc_child_fds(NULL, 0), 3);
    CHECK_EQ(mproc_child_fds(fds, 2), 3);
    CHECK_EQ(fds[2], -1);
    CHECK_EQ(mproc_child_fds(fds, 3), 3);
    for (int i = 0; i < 3; i++) {
        char byte = (char)('a' + i);
        CHECK_EQ(write(fds[i], &byte, 1), 1);
    }
    CHECK_OK(mproc_process_start(&p, list_none, NULL, 0, NULL));
    CHECK_EQ(finish(p), 0);
    return 0;
}

TEST_METHODS(process_lists_descriptors) {
    int ends[2];
    char bytes[3];
    mproc_process *p;
    CHECK_EQ(mproc_child_fds(NULL, 0), 0);
    CHECK_OK(mproc_pipe_new(ends, 0));
    const int given[3] = {ends[1], ends[1], ends[1]};
    mproc_process_options o = {.method = method, .fds = given, .nfds = 3};
    CHECK_OK(mproc_process_start(&p, list_and_fork, NULL, 0, &o));
    CHECK_EQ(finish(p), 0);
    CHECK_EQ(read(ends[0], bytes, 3), 3);
    CHECK(memcmp(bytes, "abc", 3) == 0);
    CHECK_EQ(mproc_child_fds(NULL, 0), 0);
    close(ends[0]);
    close(ends[1]);
}

/* Its own standard streams, the arena's descriptor, and what `arg` names. */
static int check_descriptors(void *arg, size_t size) {
    const int *given = arg;
    for (int fd = 3; fd < 1024; fd++) {
        bool known = fd == mproc__family_fd();
        for (size_t i = 0; i < size / sizeof *given; i++) {
            known = known || fd == given[i];
        }
        CHECK_EQ(fcntl(fd, F_GETFD) != -1, known);
    }
    return 0;
}

/* Descriptors of a program that knows nothing of close-on-exec; [0] and [2] are given. */
static void open_some(int fds[5]) {
    for (int i = 0; i < 5; i++) {
        fds[i] = fcntl(STDIN_FILENO, F_DUPFD, 20 + 100 * (4 - i));
        CHECK_GE(fds[i], 20 + 100 * (4 - i));
    }
    fds[1] = dup2(STDIN_FILENO, 900);
}

TEST(process_spawn_inherits_nothing_else) {
    int fds[5];
    mproc_process *p;
    open_some(fds);
    const int given[3] = {fds[0], fds[2], fds[0]};
    mproc_process_options o = {.method = MPROC_SPAWN, .fds = given, .nfds = 3};
    CHECK_OK(mproc_process_start(&p, check_descriptors, given, sizeof given, &o));
    CHECK_EQ(finish(p), 0);
    for (int i = 3; i < 1000; i++) {
        if (i != mproc__family_fd()) {
            close(i);
        }
    }
}

static int check_forkservers(void *arg, size_t size) {
    int given[2];
    (void)arg;
    (void)size;
    CHECK_EQ(mproc_child_fds(given, 2), 2);
    return check_descriptors(given, sizeof given);
}

TEST(process_templates_inherit_nothing_else) {
    int fds[5];
    mproc_process *p;
    open_some(fds);
    const int given[2] = {fds[0], fds[2]};
    mproc_process_options o = {.method = MPROC_FORKSERVER, .fds = given, .nfds = 2};
    CHECK_OK(mproc_process_start(&p, check_forkservers, NULL, 0, &o));
    CHECK_EQ(finish(p), 0);
    mproc__template_stop_default();
    for (int i = 3; i < 1000; i++) {
        if (i != mproc__family_fd()) {
            close(i);
        }
    }
}

static int check_environment(void *arg, size_t size) {
    (void)arg;
    (void)size;
    CHECK_STR(getenv("COLOUR"), "blue");
    CHECK(getenv("HOME") == NULL);
    CHECK(getenv("MPROC_FAMILY") == NULL);
    return 5;
}

TEST(process_spawn_environment) {
    const char *env[] = {"COLOUR=blue", "MPROC_FAMILY=1:2:3:4", NULL};
    mproc_process *p;
    CHECK_OK(mproc_process_start(&p, check_environment, NULL, 0,
                                 &(mproc_process_options){.method = MPROC_SPAWN, .envp = env}));
    CHECK_EQ(finish(p), 5);
}

/* ---------------------------------------------------------------- ends */

static int end_as_told(void *arg, size_t size) {
    int what = *(int *)arg;
    (void)size;
    if (what < 0) {
        raise(-what);
    }
    return what;
}

TEST_METHODS(process_exit_codes) {
    static const int codes[][2] = {{0, 0},    {1, 1},   {255, 255},           {256, 0},
                                   {300, 44}, {-9, -9}, {-SIGTERM, -SIGTERM}, {-SIGUSR2, -SIGUSR2}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        CHECK_EQ(finish(start(method, end_as_told, &codes[i][0], sizeof(int))), codes[i][1]);
    }
}

static int wait_for_byte(void *arg, size_t size) {
    char byte;
    int *ends = arg;
    (void)size;
    close(ends[1]);
    return read(ends[0], &byte, 1) == 1 ? 0 : 1;
}

/* Starts a forked child that waits until release() or until the pipe ends. */
static mproc_process *start_waiting(int ends[2]) {
    CHECK_OK(mproc_pipe_new(ends, 0));
    return start(MPROC_FORK, wait_for_byte, ends, 2 * sizeof(int));
}

static void release(int ends[2]) {
    CHECK_EQ(write(ends[1], "x", 1), 1);
    close(ends[0]);
    close(ends[1]);
}

TEST(process_running_and_ended) {
    int ends[2], code = 77;
    unsigned char ready;
    mproc_process *p = start_waiting(ends);
    int sentinel = mproc_process_sentinel(p);
    CHECK_EQ(mproc_process_exitcode(p, &code), -EAGAIN);
    CHECK_EQ(code, 77);
    CHECK_EQ(mproc_process_join(p, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_process_join(p, MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_wait(&sentinel, 1, &ready, 0), 0);
    CHECK_EQ(mproc_process_drop(p), -EBUSY);
    CHECK_EQ(mproc_process_drop(p), -EBUSY); /* a second time changes nothing */
    CHECK_EQ(mproc_process_signal(p, 0), 0);
    release(ends);
    CHECK_EQ(mproc_wait(&sentinel, 1, &ready, MPROC_FOREVER), 1);
    CHECK_EQ(mproc_process_signal(p, SIGTERM), -ESRCH); /* ended, though not collected */
    CHECK_OK(mproc_process_exitcode(p, &code));
    CHECK_EQ(code, 0);
    CHECK_OK(mproc_process_join(p, 0));
    CHECK_OK(mproc_process_join(p, MPROC_FOREVER));
    CHECK_EQ(mproc_process_signal(p, SIGTERM), -ESRCH);
    CHECK_OK(mproc_process_exitcode(p, &code));
    CHECK_OK(mproc_process_drop(p));
    CHECK_OK(mproc_process_drop(NULL));
}

TEST(process_drop_collects) {
    int ends[2];
    unsigned char ready;
    mproc_process *p = start_waiting(ends);
    int sentinel = mproc_process_sentinel(p);
    release(ends);
    CHECK_EQ(mproc_wait(&sentinel, 1, &ready, MPROC_FOREVER), 1);
    CHECK_OK(mproc_process_drop(p)); /* the harness would find a zombie */
}

static void end_by(int (*call)(mproc_process *), int signal) {
    int ends[2];
    mproc_process *p = start_waiting(ends);
    CHECK_OK(call(p));
    CHECK_EQ(finish(p), -signal);
    close(ends[0]);
    close(ends[1]);
}

TEST(process_signals) {
    end_by(mproc_process_terminate, SIGTERM);
    end_by(mproc_process_kill, SIGKILL);
    end_by(mproc_process_interrupt, SIGINT);
}

TEST(process_drop_gives_all_back) {
    struct report *r = mproc_calloc(1, sizeof *r);
    mproc_process *p = start(MPROC_FORK, fill_report, r, 0);
    CHECK_OK(mproc_process_join(p, MPROC_FOREVER));
    mproc_member all[8];
    CHECK_EQ(mproc_members(all, 8), 1);
    CHECK_OK(mproc_process_drop(p));
    CHECK_OK(mproc_member_check(NULL, 0));
    mproc_free(r);
}

static int add_one(void *arg, size_t size) {
    (void)size;
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
    return 0;
}

static void count_at_exit(void);
static int *exits;

static void count_at_exit(void) {
    __atomic_fetch_add(exits, 1, __ATOMIC_RELAXED);
}

/* A forked child inherits its parent's atexit handlers, but does not run them. */
TEST(process_fork_runs_no_inherited_atexit) {
    pid_t pid = fork();
    if (pid == 0) {
        exits = mproc_calloc(1, sizeof *exits);
        atexit(count_at_exit);
        CHECK_EQ(finish(start(MPROC_FORK, no_args, NULL, 0)), 42);
        CHECK_EQ(*exits, 0);
        mproc_free(exits);
        exits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static int register_atexit(void *arg, size_t size) {
    (void)size;
    exits = arg;
    CHECK_OK(atexit(count_at_exit));
    return 3;
}

TEST(process_spawn_runs_its_own_atexit) {
    int *n = mproc_calloc(1, sizeof *n);
    CHECK_EQ(finish(start(MPROC_SPAWN, register_atexit, n, 0)), 3);
    CHECK_EQ(*n, 1);
    mproc_free(n);
}

static int print_words(void *arg, size_t size) {
    (void)arg;
    (void)size;
    printf("child ");
    return 0;
}

TEST_METHODS(process_output_is_flushed_once) {
    int ends[2], saved = dup(1);
    char text[64] = "";
    CHECK_OK(pipe(ends));
    fflush(stdout);
    dup2(ends[1], 1);
    close(ends[1]);
    printf("parent ");
    mproc_process *p = start(method, print_words, NULL, 0);
    CHECK_EQ(finish(p), 0);
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    mproc__template_stop_default(); /* it has the pipe too */
    size_t n = 0;
    ssize_t r;
    while ((r = read(ends[0], text + n, sizeof text - 1 - n)) > 0) {
        n += (size_t)r;
    }
    close(ends[0]);
    CHECK_STR(text, method == MPROC_FORK ? "parent child " : "child parent ");
}

/* ---------------------------------------------------------------- waiting */

struct joiner {
    mproc_process *process;
    pthread_t thread;
    int result, code;
};

static void *join_in_thread(void *arg) {
    struct joiner *j = arg;
    j->result = mproc_process_join(j->process, MPROC_FOREVER);
    if (j->result == 0) {
        j->result = mproc_process_exitcode(j->process, &j->code);
    }
    return NULL;
}

TEST(process_joined_by_several_threads) {
    int ends[2];
    struct joiner joiners[8];
    mproc_process *p = start_waiting(ends);
    for (int i = 0; i < 8; i++) {
        joiners[i] = (struct joiner){.process = p, .result = 1, .code = 99};
        CHECK_OK(pthread_create(&joiners[i].thread, NULL, join_in_thread, &joiners[i]));
    }
    release(ends);
    for (int i = 0; i < 8; i++) {
        CHECK_OK(pthread_join(joiners[i].thread, NULL));
        CHECK_EQ(joiners[i].result, 0);
        CHECK_EQ(joiners[i].code, 0);
    }
    CHECK_EQ(finish(p), 0);
}

static pthread_t interrupted_thread;

static void *interrupt_until_told(void *arg) {
    int *stop = arg;
    while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
        pthread_kill(interrupted_thread, SIGUSR1);
        usleep(500);
    }
    return NULL;
}

TEST(process_join_is_interrupted) {
    int ends[2], stop = 0;
    pthread_t thread;
    struct sigaction action = {.sa_handler = nothing_more_happens, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    mproc_process *p = start_waiting(ends);
    interrupted_thread = pthread_self();
    CHECK_OK(pthread_create(&thread, NULL, interrupt_until_told, &stop));
    CHECK_EQ(mproc_process_join(p, MPROC_FOREVER), -EINTR);
    CHECK_EQ(mproc_process_join(p, 100 * MPROC_SEC), -EINTR);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    CHECK_OK(pthread_join(thread, NULL));
    release(ends);
    CHECK_EQ(finish(p), 0);
}

TEST(process_joined_by_a_stranger) {
    int ends[2], code, status;
    mproc_process *p = start_waiting(ends);
    pid_t pid = fork();
    if (pid == 0) {
        size_t before = test_open_fds();
        CHECK_EQ(mproc_process_join(p, 0), MPROC_ESTRANGER);
        CHECK_EQ(mproc_process_exitcode(p, &code), MPROC_ESTRANGER);
        CHECK_EQ(mproc_process_signal(p, 0), 0);
        CHECK_OK(mproc_process_drop(p)); /* its copy */
        CHECK_EQ(test_open_fds(), before - 1);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    release(ends);
    CHECK_EQ(finish(p), 0);
}

TEST(process_prepared_by_a_stranger) {
    mproc_process *p;
    int status;
    CHECK_OK(mproc_process_prepare(&p, NULL));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(mproc_process_launch(p, NULL, 0), MPROC_ESTRANGER);
        CHECK_OK(mproc_process_drop(p));
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(mproc_process_drop(p));
}

static void take_status(mproc_process *p) {
    CHECK_EQ(waitpid(mproc_process_pid(p), NULL, 0), mproc_process_pid(p));
}

static int leave(void *arg, size_t size) {
    (void)arg;
    (void)size;
    _exit(7);
}

static int say_and_leave(void *arg, size_t size) {
    (void)arg;
    (void)size;
    mproc_child_exits(9);
    _exit(9);
}

/* The first start by a method may start a template, whose end would count. */
static void warm_up(mproc_method method) {
    CHECK_EQ(finish(start(method, no_args, NULL, 0)), 42);
}

TEST_METHODS(process_status_taken_by_somebody_else) {
    mproc_process *p = start(method, no_args, NULL, 0);
    take_status(p);
    CHECK_EQ(finish(p), 42);
}

/* Before Linux 6.15 nothing but the child's own word is left. */
TEST_METHODS(process_status_that_the_kernel_has_not_kept) {
    warm_up(method);
    deny(SYS_ioctl, -1, ENOTTY);
    mproc_process *p = start(method, no_args, NULL, 0);
    take_status(p);
    CHECK_EQ(finish(p), 42);
    p = start(method, say_and_leave, NULL, 0);
    take_status(p);
    CHECK_EQ(finish(p), 9);
    p = start(method, leave, NULL, 0);
    take_status(p);
    CHECK_EQ(finish(p), 255);
    p = start(method, no_args, NULL, 0); /* a place in the table that had a word keeps none */
    CHECK_EQ(finish(p), 42);
}

TEST(process_with_sigchld_ignored) {
    signal(SIGCHLD, SIG_IGN);
    int ends[2];
    mproc_process *p = start_waiting(ends);
    release(ends);
    CHECK_EQ(finish(p), 0);
    signal(SIGCHLD, SIG_DFL);
}

/* Some of them are gone before their starter can ask for a pidfd. */
static void start_and_finish_many(mproc_method method) {
    for (int i = 0; i < 200; i++) {
        mproc_process *p = start(method, no_args, NULL, 0);
        struct pollfd end = {mproc_process_sentinel(p), POLLIN, 0};
        CHECK_EQ(poll(&end, 1, -1), 1);
        CHECK_EQ(finish(p), 42);
    }
    CHECK_OK(mproc_member_check(NULL, 0));
}

TEST_METHODS(process_starts_with_sigchld_ignored) {
    warm_up(method);
    signal(SIGCHLD, SIG_IGN);
    start_and_finish_many(method);
    signal(SIGCHLD, SIG_DFL);
}

static void *collect_all(void *stop) {
    while (mproc__load32(stop) == 0) {
        (void)waitpid(-1, NULL, WNOHANG);
    }
    return NULL;
}

/* A thread that collects whatever ends, at any moment: more than a handler of SIGCHLD can do. */
TEST_METHODS(process_starts_while_a_thread_reaps) {
    uint32_t stop = 0;
    pthread_t thread;
    warm_up(method);
    CHECK_OK(pthread_create(&thread, NULL, collect_all, &stop));
    start_and_finish_many(method);
    mproc__store32(&stop, 1);
    CHECK_OK(pthread_join(thread, NULL));
}

/* ---------------------------------------------------------------- parents and orphans */

/* Shared by a test, a parent that the test kills, and the parent's child. */
struct orphan {
    mproc_method method;
    unsigned flags;
    int from_thread;
    int to_child[2], to_test[2];
    int told[2]; /* the parent sends the pid of its template, 0 if it has none */
};

/* The child answers each byte until the test closes the pipe; so the test knows that it lives. */
static int echo(void *arg, size_t size) {
    struct orphan *o = arg;
    char byte;
    int in = o->to_child[0], out = o->to_test[1], fds[2];
    (void)size;
    if (mproc_child_fds(fds, 2) == 2) {
        in = fds[0];
        out = fds[1];
    }
    if (o->method == MPROC_FORK) {
        close(o->to_child[1]);
        close(o->to_test[0]);
    }
    pid_t pid = getpid();
    CHECK_EQ(write(out, &pid, sizeof pid), sizeof pid);
    while (read(in, &byte, 1) == 1) {
        CHECK_EQ(write(out, &byte, 1), 1);
    }
    return 0;
}

static void *start_echo(void *arg) {
    struct orphan *o = arg;
    int fds[2] = {o->to_child[0], o->to_test[1]};
    mproc_process *p;
    mproc_process_options options = {.method = o->method, .flags = o->flags, .fds = fds, .nfds = 2};
    CHECK_OK(mproc_process_start(&p, echo, o, sizeof *o, &options));
    return NULL;
}

static void be_the_parent(struct orphan *o) {
    pthread_t thread;
    if (o->from_thread) {
        CHECK_OK(pthread_create(&thread, NULL, start_echo, o));
        CHECK_OK(pthread_join(thread, NULL));
    } else {
        start_echo(o);
    }
    pid_t template_pid = mproc__template_default_pid();
    CHECK_EQ(write(o->told[1], &template_pid, sizeof template_pid), sizeof template_pid);
    close(o->to_child[0]);
    close(o->to_child[1]);
    close(o->to_test[0]);
    close(o->to_test[1]);
    for (;;) {
        pause();
    }
}

static void ping(struct orphan *o) {
    char byte = 0;
    CHECK_EQ(write(o->to_child[1], "p", 1), 1);
    CHECK_EQ(read(o->to_test[0], &byte, 1), 1);
    CHECK_EQ(byte, 'p');
}

/* Starts a parent that starts a child, kills the parent, and checks what the child does. */
static void orphan(mproc_method method, unsigned flags, int from_thread) {
    struct orphan o = {.method = method, .flags = flags, .from_thread = from_thread};
    pid_t child, template_pid;
    int status;
    CHECK_OK(pipe2(o.told, O_CLOEXEC));
    CHECK_OK(pipe2(o.to_child, O_CLOEXEC));
    CHECK_OK(pipe2(o.to_test, O_CLOEXEC));
    pid_t parent = fork();
    if (parent == 0) {
        be_the_parent(&o);
    }
    close(o.to_child[0]);
    close(o.to_test[1]);
    CHECK_EQ(read(o.to_test[0], &child, sizeof child), sizeof child);
    int pidfd = mproc__os_pidfd_open(child);
    CHECK_GE(pidfd, 0);
    ping(&o);
    ping(&o);
    CHECK_EQ(read(o.told[0], &template_pid, sizeof template_pid), sizeof template_pid);
    int template_pidfd = template_pid != 0 ? mproc__os_pidfd_open(template_pid) : -1;
    kill(parent, SIGKILL);
    CHECK_EQ(waitpid(parent, &status, 0), parent);
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    if (flags == MPROC_DETACHED) {
        ping(&o);
        ping(&o);
        CHECK_EQ(mproc__os_pidfd_wait(pidfd, 0), 0);
        close(o.to_child[1]);
        CHECK_EQ(mproc__os_pidfd_wait(pidfd, -1), 1);
    } else {
        CHECK_EQ(mproc__os_pidfd_wait(pidfd, -1), 1);
        close(o.to_child[1]);
    }
    if (template_pidfd >= 0) {
        CHECK_EQ(mproc__os_pidfd_wait(template_pidfd, -1), 1);
        close(template_pidfd);
    }
    close(o.told[0]);
    close(o.told[1]);
    close(o.to_test[0]);
    close(pidfd);
    mproc_reap();
}

TEST_METHODS(process_attached_ends_with_its_parent) {
    orphan(method, 0, 0);
    orphan(method, MPROC_ATTACHED, 0);
}

TEST_METHODS(process_detached_lives_on) {
    orphan(method, MPROC_DETACHED, 0);
}

/* The kernel sends a signal when the starting thread ends and another when its process ends. Only
 * the second one kills the child. */
TEST_METHODS(process_attached_outlives_the_starting_thread) {
    orphan(method, MPROC_ATTACHED, 1);
}

/* ---- the same for children of whom the signal alone is not enough */

/* The child of a parent that is killed: what it is, and how it is seen to live. */
struct follower {
    mproc_method method;
    mproc_main_fn fn;   /* NULL: a shell that does what `script` says */
    const char *script; /* %d: the descriptor to which it writes a line first */
    int from_thread;    /* the thread that starts it ends */
    int lines[2];
};

static void *start_follower(void *arg) {
    struct follower *f = arg;
    char text[200];
    snprintf(text, sizeof text, f->script != NULL ? f->script : "", f->lines[1]);
    const char *argv[] = {"/bin/sh", "-c", text, NULL};
    mproc_process *p;
    mproc_process_options o = {.method = f->method, .fds = &f->lines[1], .nfds = 1};
    o.argv = f->fn == NULL ? argv : NULL;
    CHECK_OK(f->fn != NULL ? mproc_process_start(&p, f->fn, f, sizeof *f, &o)
                           : mproc_process_start(&p, NULL, NULL, 0, &o));
    return NULL;
}

static void be_followed(void *arg) {
    struct follower *f = arg;
    pthread_t thread;
    if (f->from_thread) {
        CHECK_OK(pthread_create(&thread, NULL, start_follower, f));
        CHECK_OK(pthread_join(thread, NULL));
    } else {
        start_follower(f);
    }
    close(f->lines[0]);
    close(f->lines[1]);
    sleep_until_killed();
}

/* Kills a parent when its child, which lives then, has written its pid. The child has to end. */
static void check_follows(struct follower f) {
    char line[16] = "";
    CHECK_OK(mproc_pipe_new(f.lines, 0));
    pid_t parent = child_fork(be_followed, &f);
    close(f.lines[1]);
    for (size_t n = 0; n == 0 || line[n - 1] != '\n'; n++) {
        CHECK_EQ(read(f.lines[0], line + n, 1), 1);
    }
    int pidfd = mproc__os_pidfd_open(atoi(line));
    CHECK_GE(pidfd, 0);
    CHECK_EQ(mproc__os_pidfd_wait(pidfd, 20 * MPROC_MSEC), 0); /* it need not die of the thread */
    child_kill(parent);
    CHECK_EQ(mproc__os_pidfd_wait(pidfd, -1), 1);
    CHECK_EQ(read(f.lines[0], line, 1), 0);
    close(pidfd);
    close(f.lines[0]);
    mproc_reap();
}

TEST(process_program_by_argv_ends_with_its_parent) {
    struct follower f = {.method = MPROC_SPAWN, .script = "echo $$ >/dev/fd/%d; exec sleep 1000"};
    check_follows(f);
    f.script = "trap '' HUP INT TERM; echo $$ >/dev/fd/%d; exec sleep 1000";
    check_follows(f);
    f.from_thread = 1;
    check_follows(f);
}

/* Of a program that nothing would end with its parent, nothing is left. */
/* In the memory of its maker: 1 lets it end. */
static uint32_t orphans_end;

__attribute__((no_sanitize_address)) static int wait_as_an_orphan(void *unused) {
    static const struct timespec pause = {0, MPROC_MSEC};
    (void)unused;
    for (int i = 0; i < 60000 && __atomic_load_n(&orphans_end, __ATOMIC_SEQ_CST) == 0; i++) {
        (void)bare_call(SYS_nanosleep, (long)(uintptr_t)&pause, 0, 0, 0, 0, 0);
    }
    (void)bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    return 0;
}

static void *end_orphans_late(void *unused) {
    usleep(400000);
    __atomic_store_n(&orphans_end, 1, __ATOMIC_SEQ_CST);
    return unused;
}

/* It needs a follower, for which there is no place yet. */
static void start_a_program_meanwhile(void) {
    const char *const argv[] = {"/bin/true", NULL};
    mproc_process_options options = {.flags = MPROC_ATTACHED};
    mproc_process *process = NULL;
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, end_orphans_late, NULL));
    CHECK_OK(mproc_process_start_program(&process, argv, NULL, &options));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(finish(process), 0);
}

/* On a busy machine a follower may take long to execute its program. */
TEST(process_orphans_do_not_wait_for_each_other) {
    uint32_t pids[MPROC__OS_ORPHANS], more;
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (int i = 0; i < MPROC__OS_ORPHANS; i++) {
        CHECK_EQ(mproc__os_orphan(wait_as_an_orphan, NULL, &pids[i]), 0);
    }
    CHECK_EQ(mproc__os_orphan(wait_as_an_orphan, NULL, &more), -EBUSY);
    start_a_program_meanwhile();
    for (int i = 0; i < MPROC__OS_ORPHANS; i++) {
        child_join((pid_t)pids[i]);
    }
    CHECK_EQ(mproc__os_orphan(wait_as_an_orphan, NULL, &more), 0);
    child_join((pid_t)more);
    while (wait(NULL) > 0) { /* the follower */
    }
}

static void start_without_follower(void *unused) {
    (void)unused;
    const char *argv[] = {"/bin/sleep", "1000", NULL};
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    mproc_process *p = NULL;
    deny(SYS_clone, CLONE_VM | CLONE_FILES | CLONE_FS, ENOMEM);
    CHECK_EQ(mproc_process_start(&p, NULL, NULL, 0, &o), -ENOMEM);
    CHECK(p == NULL);
    CHECK_EQ(waitpid(-1, NULL, 0), -1);
    CHECK_EQ(errno, ECHILD);
    o.flags = MPROC_JOINS;
    CHECK_OK(mproc_process_start(&p, NULL, NULL, 0, &o));
    CHECK_OK(mproc_process_kill(p));
    CHECK_EQ(finish(p), -SIGKILL);
}

TEST(process_program_by_argv_is_not_started_without_a_follower) {
    child_join(child_fork(start_without_follower, NULL));
}

/* A line with the child's pid, to the descriptor that it was given. */
static void say_pid(const struct follower *f) {
    int fd = f->lines[1];
    (void)mproc_child_fds(&fd, 1);
    CHECK_GT(dprintf(fd, "%d\n", (int)getpid()), 0);
}

/* Waits in the library for what never comes. */
static int block_all_and_wait(void *arg, size_t size) {
    mproc_event *never = NULL;
    sigset_t all;
    (void)size;
    sigfillset(&all);
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
    CHECK_OK(mproc_event_new(&never));
    say_pid(arg);
    return mproc_event_wait(never, MPROC_FOREVER);
}

TEST_METHODS(process_with_all_signals_blocked_ends_with_its_parent) {
    check_follows((struct follower){.method = method, .fn = block_all_and_wait});
}

static int wait_without_signal(void *arg, size_t size) {
    mproc_event *never = NULL;
    (void)size;
    CHECK_OK(mproc_event_new(&never));
    say_pid(arg);
    return mproc_event_wait(never, MPROC_FOREVER);
}

static void follow_without_prctl(void *arg) {
    const struct follower *f = arg;
    deny(SYS_prctl, PR_SET_PDEATHSIG, EPERM);
    check_follows(*f);
}

TEST_METHODS(process_without_a_parent_signal_ends_with_its_parent) {
    struct follower f = {.method = method, .fn = wait_without_signal};
    child_join(child_fork(follow_without_prctl, &f));
    mproc_reap();
}

/* The kernel forgets the signal of a process that changes its user. */
static int change_user_and_wait(void *arg, size_t size) {
    mproc_event *never = NULL;
    (void)size;
    CHECK_OK(mproc_event_new(&never));
    CHECK_OK(setgid(65534));
    CHECK_OK(setuid(65534));
    say_pid(arg);
    return mproc_event_wait(never, MPROC_FOREVER);
}

TEST_METHODS(process_of_another_user_ends_with_its_parent) {
    if (geteuid() != 0) {
        test_skip("only root may change the user");
    }
    check_follows((struct follower){.method = method, .fn = change_user_and_wait});
}

static int execute_sleep(void *arg, size_t size) {
    (void)size;
    say_pid(arg);
    execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    return 1;
}

TEST_METHODS(process_that_executes_another_ends_with_its_parent) {
    check_follows((struct follower){.method = method, .fn = execute_sleep});
}

/* Becomes a shell that ends when it is told to. */
static int execute_shell(void *arg, size_t size) {
    int in = *(int *)arg;
    char script[64];
    (void)size;
    (void)mproc_child_fds(&in, 1);
    snprintf(script, sizeof script, "echo >&%d; read x <&%d; exit 7", in, in);
    CHECK_OK(fcntl(in, F_SETFD, 0));
    execl("/bin/sh", "sh", "-c", script, (char *)NULL);
    return 1;
}

struct executing {
    mproc_method method;
    int fd;
    pid_t thread;
    mproc_process *child;
};

static void *start_executing(void *arg) {
    struct executing *e = arg;
    mproc_process_options o = {.method = e->method, .fds = &e->fd, .nfds = 1};
    e->thread = (pid_t)syscall(SYS_gettid);
    CHECK_OK(mproc_process_start(&e->child, execute_shell, &e->fd, sizeof e->fd, &o));
    return NULL;
}

/* The end of a thread is no matter of the program that its child has become. The kernel sends the
 * signal before the thread's number is gone. */
TEST_METHODS(process_that_executes_another_outlives_the_starting_thread) {
    pthread_t thread;
    char path[64], byte;
    int ends[2];
    CHECK_OK(mproc_pipe_new(ends, 1));
    struct executing e = {.method = method, .fd = ends[1]};
    mproc__template_stop_default(); /* the thread is to start it */
    CHECK_OK(pthread_create(&thread, NULL, start_executing, &e));
    CHECK_EQ(read(ends[0], &byte, 1), 1); /* it is a shell */
    CHECK_OK(pthread_join(thread, NULL));
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)e.thread);
    while (access(path, F_OK) == 0) {
        usleep(1000);
    }
    CHECK_EQ(write(ends[0], "\n", 1), 1);
    CHECK_EQ(finish(e.child), 7);
    close(ends[0]);
    close(ends[1]);
}

static int is_the_parent_signal_unblocked(void *arg, size_t size) {
    sigset_t set;
    (void)arg;
    (void)size;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    return sigismember(&set, MPROC_PARENT_SIGNAL) ? 1 : sigismember(&set, SIGUSR2) ? 2 : 3;
}

TEST_METHODS(process_attached_with_all_signals_blocked) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    CHECK_EQ(finish(start(method, is_the_parent_signal_unblocked, NULL, 0)), 2);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ---------------------------------------------------------------- other programs */

static int run_program(const char *const *argv) {
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    CHECK_OK(mproc_process_prepare(&p, &o));
    CHECK_OK(mproc_process_launch(p, NULL, 0));
    return finish(p);
}

TEST(process_runs_programs_that_are_no_members) {
    CHECK_EQ(run_program((const char *const[]){"/bin/sh", "-c", "exit 7", NULL}), 7);
    CHECK_EQ(run_program((const char *const[]){"/bin/sh", "-c", "kill -9 $$", NULL}), -9);
    CHECK_OK(mproc_member_check(NULL, 0));
}

TEST(process_starts_a_program_without_a_function) {
    const char *argv[] = {"/bin/sh", "-c", "exit 9", NULL};
    mproc_process *p = NULL;
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    CHECK_OK(mproc_process_start(&p, NULL, "bytes", 5, &o));
    CHECK_EQ(finish(p), 9);
    p = NULL;
    o.argv = NULL; /* a child that is this program again needs a function */
    CHECK_EQ(mproc_process_start(&p, NULL, NULL, 0, &o), -EINVAL);
    o = (mproc_process_options){.method = MPROC_FORK, .argv = argv};
    CHECK_EQ(mproc_process_start(&p, NULL, NULL, 0, &o), -EINVAL);
    CHECK(p == NULL);
}

/* ---------------------------------------------------------------- made by the program itself */

struct made {
    int calls;
    int error; /* what the maker answers instead of making anything */
};

static pid_t fork_counted(void *context) {
    struct made *made = context;
    made->calls++;
    return made->error != 0 ? made->error : fork();
}

/* Its descriptors are those of this process: closed on exec, unless they are to be passed. */
static pid_t spawn_counted(void *context, const mproc_program *program) {
    struct made *made = context;
    made->calls++;
    if (made->error != 0) {
        return made->error;
    }
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < program->nfds; i++) {
            (void)fcntl(program->fds[i], F_SETFD, 0);
        }
        execve(program->path, (char *const *)program->argv, (char *const *)program->envp);
        _exit(126);
    }
    return pid;
}

static pid_t spawn_nothing(void *context, const mproc_program *program) {
    (void)context, (void)program;
    return 0;
}

static int start_made(mproc_process **p, mproc_method method, const mproc_process_maker *maker) {
    mproc_process_options o = {.method = method, .maker = maker};
    return mproc_process_start(p, end_as_told, &(int){7}, sizeof(int), &o);
}

TEST_METHODS(process_made_by_the_program) {
    struct made made = {0};
    mproc_process_maker maker = {fork_counted, spawn_counted, &made};
    mproc_process *p = NULL;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(start_made(&p, method, &maker));
        CHECK_EQ(finish(p), 7);
    }
    CHECK_EQ(made.calls, method == MPROC_FORKSERVER ? 0 : 2); /* the default template is not its */
    CHECK_OK(mproc_member_check(NULL, 0));
}

TEST_METHODS(process_that_the_program_does_not_make) {
    struct made made = {.error = -EPERM};
    mproc_process_maker maker = {fork_counted, spawn_counted, &made};
    mproc_process *p = NULL;
    if (method == MPROC_FORKSERVER) {
        return;
    }
    CHECK_EQ(start_made(&p, method, &maker), -EPERM);
    CHECK(p == NULL);
    if (method == MPROC_SPAWN) { /* a result that is no pid */
        maker.spawn = spawn_nothing;
        CHECK_EQ(start_made(&p, method, &maker), -EINVAL);
    }
    pid_t other = fork(); /* is not taken for the child that was to be */
    if (other == 0) {
        _exit(3);
    }
    int status;
    CHECK_EQ(waitpid(other, &status, 0), other);
    CHECK_EQ(WEXITSTATUS(status), 3);
    CHECK_EQ(finish(start(method, end_as_told, &(int){7}, sizeof(int))), 7);
    CHECK_OK(mproc_member_check(NULL, 0));
}

static int has_given(void *arg, size_t size) {
    int fd = -1;
    (void)arg, (void)size;
    return mproc_child_fds(&fd, 1) == 1 && fcntl(fd, F_GETFD) >= 0 ? 0 : 1;
}

static int spawn_error(const char *path) {
    const char *argv[] = {path, NULL};
    mproc_process *p = NULL;
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    int r = mproc_process_start(&p, no_args, "bytes", 5, &o);
    CHECK(p == NULL);
    return r;
}

TEST(process_program_cannot_be_executed) {
    CHECK_EQ(spawn_error("/nonexistent/program"), -ENOENT);
    CHECK_EQ(spawn_error("/dev/null"), -EACCES);
    CHECK_EQ(spawn_error("/etc/passwd/x"), -ENOTDIR);
}

TEST_METHODS(process_descriptor_that_is_not_open) {
    int fd = 777;
    mproc_process *p;
    mproc_process_options o = {.method = method, .fds = &fd, .nfds = 1};
    CHECK_EQ(mproc_process_start(&p, no_args, NULL, 0, &o), -EBADF);
    mproc__template_stop_default();
}

/* What another descriptor is, at the last number that is allowed from now on. */
static int made_last(int fd) {
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 1000; /* what the test has inherited has lower numbers */
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    CHECK_EQ(dup3(fd, 999, O_CLOEXEC), 999);
    return 999;
}

/* There is no number after it that could be closed. */
TEST_METHODS(process_last_descriptor_of_all) {
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC), last = made_last(nothing);
    mproc_process *p;
    mproc_process_options o = {.method = method, .fds = &last, .nfds = 1};
    CHECK_OK(mproc_process_start(&p, has_given, NULL, 0, &o));
    CHECK_EQ(finish(p), 0);
    mproc__template_stop_default();
    close(nothing);
    close(last);
}

/* A spawned child would get what is open beyond the limit as well. */
TEST(process_last_descriptor_and_one_beyond) {
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC), beyond = dup2(nothing, 1010);
    int last = made_last(nothing);
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN, .fds = &last, .nfds = 1};
    CHECK_EQ(beyond, 1010);
    CHECK_EQ(mproc_process_start(&p, has_given, NULL, 0, &o), -EBADF);
    close(beyond);
    CHECK_OK(mproc_process_start(&p, has_given, NULL, 0, &o));
    CHECK_EQ(finish(p), 0);
    close(nothing);
    close(last);
}

/* Makes a file without a name: a copy of this program whose build-id differs in one byte. */
static int copy_with_other_build_id(void) {
    struct mproc__function_ref ref;
    struct stat st;
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out = memfd_create("copy", 0);
    CHECK_OK(mproc__function_name((mproc__function)no_args, &ref));
    CHECK_OK(fstat(in, &st));
    unsigned char *text = malloc((size_t)st.st_size), *id;
    CHECK_EQ(read(in, text, (size_t)st.st_size), st.st_size);
    id = memmem(text, (size_t)st.st_size, ref.id, ref.id_size);
    CHECK(id != NULL);
    id[0] ^= 0xff;
    for (ssize_t done = 0; done < st.st_size;) {
        ssize_t r = write(out, text + done, (size_t)(st.st_size - done));
        CHECK_GT(r, 0);
        done += r;
    }
    free(text);
    close(in);
    return out;
}

/* Starts a process of `no_args`; its exit code, and what it says on its stderr. */
static int start_and_hear(const mproc_process_options *o, char *text, size_t size) {
    int said = memfd_create("stderr", MFD_CLOEXEC), saved = fcntl(2, F_DUPFD_CLOEXEC, 10);
    mproc_process *p;
    memset(text, 0, size);
    dup2(said, 2);
    CHECK_OK(mproc_process_start(&p, no_args, NULL, 0, o));
    int code = finish(p);
    dup2(saved, 2);
    CHECK_GE(pread(said, text, size - 1, 0), 0);
    close(said);
    close(saved);
    return code;
}

TEST(process_of_another_build) {
    int copy = copy_with_other_build_id();
    char path[64], text[1024];
    const char *argv[] = {path, NULL};
    snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
    CHECK_EQ(
        start_and_hear(
            &(mproc_process_options){.method = MPROC_SPAWN, .argv = argv, .fds = &copy, .nfds = 1},
            text, sizeof text),
        127);
    CHECK(strstr(text, mproc_strerror(MPROC_EBUILD)) != NULL);
    CHECK(strstr(text, "here it has build-id") != NULL);
    close(copy);
}

/* Its structures may be others, so it must not touch the arena at all. */
TEST(process_with_another_version_of_the_library) {
    char text[1024];
    mproc__family->layout++;
    CHECK_EQ(start_and_hear(&(mproc_process_options){.method = MPROC_SPAWN}, text, sizeof text),
             TEST_FAILED); /* of main(), which mproc_init() tells */
    mproc__family->layout--;
    CHECK(strstr(text, "built with another version of mproc") != NULL);
    CHECK_OK(mproc_member_check(text, sizeof text));
}

/* ---------------------------------------------------------------- bad input */

TEST(process_function_that_is_none) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mproc_process *p = NULL;
    mproc_process_options o = {.method = MPROC_SPAWN};
    mproc__function nowhere = (mproc__function)page;
    CHECK_EQ(mproc_process_start(&p, (mproc_main_fn)nowhere, NULL, 0, &o), MPROC_EFUNCTION);
    o.method = MPROC_FORKSERVER;
    CHECK_EQ(mproc_process_start(&p, (mproc_main_fn)nowhere, NULL, 0, &o), MPROC_EFUNCTION);
    CHECK_EQ(mproc_process_start(&p, NULL, NULL, 0, NULL), -EINVAL);
    CHECK(p == NULL);
    munmap(page, 4096);
}

static int prepare_error(mproc_process_options o) {
    mproc_process *p = NULL;
    int r = mproc_process_prepare(&p, &o);
    CHECK(p == NULL);
    return r;
}

TEST(process_bad_options) {
    const char *empty[] = {NULL};
    int fd = -1;
    CHECK_EQ(prepare_error((mproc_process_options){.method = (mproc_method)4}), -EINVAL);
    CHECK_EQ(prepare_error((mproc_process_options){.flags = 8}), -EINVAL);
    CHECK_EQ(prepare_error((mproc_process_options){.flags = MPROC_JOINS | MPROC_DETACHED}),
             -EINVAL);
    CHECK_EQ(prepare_error((mproc_process_options){.flags = MPROC_ATTACHED | MPROC_DETACHED}),
             -EINVAL);
    CHECK_EQ(prepare_error((mproc_process_options){.nfds = 1}), -EINVAL);
    CHECK_EQ(prepare_error((mproc_process_options){.nfds = 1, .fds = &fd}), -EINVAL);
    CHECK_EQ(prepare_error((mproc_process_options){.method = MPROC_SPAWN, .argv = empty}), -EINVAL);
}

/* Another program, another environment, and a template are of one method each. */
TEST_METHODS(process_options_of_other_methods) {
    const char *program[] = {"/bin/true", NULL}, *none[] = {NULL};
    mproc_template *template;
    CHECK_OK(mproc_template_new(&template, NULL));
    if (method != MPROC_SPAWN) {
        CHECK_EQ(prepare_error((mproc_process_options){.method = method, .argv = program}),
                 -EINVAL);
        CHECK_EQ(prepare_error((mproc_process_options){.method = method, .envp = none}), -EINVAL);
    }
    if (method != MPROC_FORKSERVER) {
        CHECK_EQ(prepare_error((mproc_process_options){.method = method, .from = template}),
                 -EINVAL);
    }
    mproc_template_drop(template);
}

TEST_METHODS(process_bad_arguments) {
    mproc_process *p = NULL;
    mproc_process_options o = {.method = method};
    int private_memory = 0;
    CHECK_EQ(mproc_process_start(&p, no_args, &private_memory, 0, &o), -EINVAL);
    CHECK_EQ(mproc_process_start(&p, no_args, NULL, 5, &o), -EINVAL);
    CHECK_EQ(mproc_process_start(&p, no_args, "x", SIZE_MAX, &o), MPROC_ETOOBIG);
    CHECK_EQ(mproc_process_start(&p, no_args, "x", (size_t)1 << 50, &o), MPROC_ETOOBIG);
    CHECK(p == NULL);
}

TEST_BARE(process_before_init) {
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN};
    mproc_member self;
    CHECK_EQ(mproc_self(&self), MPROC_EINIT);
    CHECK(mproc_child_args(NULL) == NULL);
    CHECK_EQ(mproc_process_start(&p, no_args, NULL, 0, &o), MPROC_EINIT);
    o.method = MPROC_FORKSERVER;
    CHECK_EQ(mproc_process_start(&p, no_args, NULL, 0, &o), MPROC_EINIT);
    o.method = MPROC_FORK; /* needs nothing of main() */
    CHECK_OK(mproc_process_start(&p, no_args, NULL, 0, &o));
    CHECK_EQ(finish(p), 42);
    CHECK_EQ(mproc_attach(), 0);
    CHECK_EQ(mproc_attach(), 0);
    char name[] = "program", *argv[] = {name, NULL};
    CHECK_OK(mproc_init(1, argv));
    CHECK_EQ(mproc_init(1, argv), MPROC_EAGAIN_INIT);
    CHECK_OK(
        mproc_process_start(&p, no_args, NULL, 0, &(mproc_process_options){.method = MPROC_SPAWN}));
    CHECK_EQ(finish(p), 42);
    close(mproc__family_fd());
}

static int descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        n += fcntl(fd, F_GETFD) != -1;
    }
    return n;
}

static int count_descriptors(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return descriptors();
}

TEST(process_fork_adds_no_descriptor_to_the_child) {
    CHECK_EQ(finish(start(MPROC_FORK, no_args, NULL, 0)), 42);
    int before = descriptors();
    CHECK_EQ(finish(start(MPROC_FORK, count_descriptors, NULL, 0)), before);
    CHECK_EQ(descriptors(), before);
}

static void fork_after_closing(void *arg) {
    (void)arg;
    mproc_queue *q = made_queue(0);
    close(mproc__family_fd());
    int before = descriptors();
    CHECK_EQ(finish(start(MPROC_FORK, count_descriptors, NULL, 0)), before);
    CHECK_EQ(descriptors(), before);
    mproc_drop(q);
}

TEST(process_fork_when_the_arenas_descriptor_is_closed) {
    child_join(child_fork(fork_after_closing, NULL));
}

/* ---------------------------------------------------------------- the system refuses */

TEST_METHODS(process_without_descriptors) {
    struct rlimit old, few;
    mproc_process *p = NULL;
    mproc_process_options o = {.method = method};
    CHECK_EQ(finish(start(method, no_args, NULL, 0)), 42); /* starts the default template */
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
    few = old;
    few.rlim_cur = 0;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
    CHECK_EQ(mproc_process_start(&p, no_args, "x", 1, &o), -EMFILE);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
    CHECK(p == NULL);
}

/* Runs in a child, for the filter cannot be removed. */
TEST(process_fork_refused) {
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        mproc_process *p = NULL;
        size_t used = test_arena_used();
        deny_clone(EAGAIN);
        CHECK_EQ(mproc_process_start(&p, no_args, "x", 1, NULL), -EAGAIN);
        CHECK(p == NULL);
        CHECK_EQ(test_arena_used(), used);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(process_no_room_in_the_family) {
    static mproc_process *all[5000];
    size_t n = 0;
    int r;
    while ((r = mproc_process_prepare(&all[n], NULL)) == 0) {
        n++;
        CHECK_LT(n, 5000);
    }
    CHECK_EQ(r, MPROC_EMEMBERS);
    CHECK_EQ(n, MPROC__MEMBERS - 1);
    CHECK_OK(mproc_process_drop(all[--n]));
    CHECK_EQ(finish(start(MPROC_FORK, no_args, NULL, 0)), 42);
    while (n > 0) {
        CHECK_OK(mproc_process_drop(all[--n]));
    }
}

/* ---------------------------------------------------------------- two steps */

TEST(process_fork_in_two_steps) {
    mproc_process *p;
    int value = 31;
    CHECK_OK(mproc_process_prepare(&p, NULL));
    CHECK_EQ(mproc_process_pid(p), 0);
    CHECK_EQ(mproc_process_sentinel(p), -1);
    CHECK_EQ(mproc_process_join(p, 0), -EINVAL);
    CHECK_EQ(mproc_process_signal(p, 0), -EINVAL);
    int r = mproc_process_launch(p, &value, sizeof value);
    if (r == MPROC_IN_CHILD) {
        size_t size;
        const int *got = mproc_child_args(&size);
        _exit(size == sizeof value && *got == 31 ? 17 : 18);
    }
    CHECK_OK(r);
    CHECK_EQ(mproc_process_launch(p, NULL, 0), -EINVAL);
    CHECK_EQ(mproc_process_pass(p, 0), -EINVAL);
    CHECK_EQ(finish(p), 17);
}

TEST(process_prepared_and_given_up) {
    mproc_process *p;
    mproc_lock *lock = made_lock(0);
    CHECK_OK(mproc_process_prepare(&p, NULL));
    CHECK_OK(mproc_hold_for(p, lock));
    CHECK_OK(mproc_process_drop(p));
    CHECK_EQ(mproc_holds(lock), 1);
    mproc_drop(lock);
}

static int use_lock(void *arg, size_t size) {
    mproc_lock *lock = *(mproc_lock **)arg;
    (void)size;
    CHECK_EQ(mproc_holds(lock), 1);
    CHECK_OK(mproc_lock_acquire(lock, MPROC_FOREVER));
    CHECK_OK(mproc_lock_release(lock));
    return 4;
}

TEST_METHODS(process_holds_what_it_is_given) {
    mproc_process *p;
    mproc_process_options o = {.method = method};
    mproc_lock *lock = made_lock(0);
    struct mproc__function_ref ref;
    struct mproc__launch what = {MPROC__ARGS_FUNCTION, -1, &ref, &lock, sizeof lock};
    CHECK_OK(mproc__function_name((mproc__function)use_lock, &ref));
    CHECK_OK(mproc_process_prepare(&p, &o));
    if (method != MPROC_FORK) {
        CHECK_OK(mproc_hold_for(p, lock));
    }
    int r = mproc__process_launch(p, &what);
    if (r == MPROC_IN_CHILD) {
        _exit(use_lock(&lock, sizeof lock));
    }
    CHECK_OK(r);
    CHECK_EQ(mproc_hold_for(p, lock), -EINVAL);
    mproc_drop(lock); /* the child's own hold keeps it */
    CHECK_EQ(finish(p), 4);
}

TEST(process_failed_launch_can_be_repeated) {
    const char *argv[] = {"/nonexistent", NULL};
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    CHECK_OK(mproc_process_prepare(&p, &o));
    CHECK_EQ(mproc_process_launch(p, "abc", 3), -ENOENT);
    argv[0] = "/bin/true";
    CHECK_OK(mproc_process_launch(p, "abcdef", 6));
    CHECK_EQ(finish(p), 0);
}

int test_started_main(int argc, char **argv) {
    size_t size = 0;
    CHECK_GE(argc, 2);
    if (strcmp(argv[1], "late") ==
        0) { /* argv[2]: the descriptor to which it writes what mproc_attach() returned */
        char r = (char)('0' + mproc_attach());
        CHECK_EQ(write(atoi(argv[2]), &r, 1), 1);
        return 0;
    }
    bool wrapped = strncmp(argv[1], "wrapped", 7) == 0;
    CHECK_STR(wrapped ? "attach" : argv[1], "attach");
    CHECK_EQ(mproc_attach(), wrapped ? 2 : 1);
    if (strcmp(argv[1], "wrapped-stays") == 0) {
        mproc_lock *lock = (mproc_lock *)(uintptr_t)mproc_child_args(NULL);
        CHECK_OK(mproc_lock_acquire(lock, MPROC_FOREVER));
        CHECK_EQ(write(atoi(argv[2]), "x", 1), 1);
        mproc_semaphore *none = made_semaphore(0);
        return mproc_semaphore_acquire(none, MPROC_FOREVER); /* a wait in which it can notice */
    }
    CHECK_EQ(mproc_attach(), 0);
    const char *bytes = mproc_child_args(&size);
    CHECK_EQ(size, 3);
    CHECK_MEM(bytes, "abc", 3);
    return 55;
}

/* The child is a shell that becomes this program only when its starter is dead. */
static char come_late(unsigned flags, bool starter_dies, const char *exec) {
    int go[2], said[2], status;
    char script[400], self[200] = "", pid[16] = "", r = 0;
    CHECK_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    CHECK_OK(mproc_pipe_new(go, 0));
    CHECK_OK(mproc_pipe_new(said, 0));
    snprintf(script, sizeof script, "echo $$ >/dev/fd/%d; read x </dev/fd/%d; %s %s late %d",
             said[1], go[0], exec, self, said[1]);
    pid_t starter = fork();
    if (starter == 0) {
        const char *argv[] = {"/bin/sh", "-c", script, NULL};
        int fds[2] = {go[0], said[1]};
        mproc_process *p;
        mproc_process_options o = {
            .method = MPROC_SPAWN, .flags = flags, .argv = argv, .fds = fds, .nfds = 2};
        CHECK_OK(mproc_process_prepare(&p, &o));
        CHECK_OK(mproc_process_launch(p, NULL, 0));
        close(go[1]);
        if (!starter_dies) {
            CHECK_OK(mproc_process_join(p, MPROC_FOREVER));
            CHECK_OK(mproc_process_drop(p));
        }
        _exit(0);
    }
    close(said[1]);
    if (starter_dies) {
        CHECK_EQ(waitpid(starter, &status, 0), starter);
    }
    for (char *p = pid; p == pid || p[-1] != '\n'; p++) {
        CHECK_EQ(read(said[0], p, 1), 1);
    }
    int pidfd = mproc__os_pidfd_open(atoi(pid));
    CHECK_EQ(write(go[1], "x\n", 2), 2);
    CHECK_GE(read(said[0], &r, 1), 0); /* end of file: the child has ended without a word */
    if (!starter_dies) {
        CHECK_EQ(waitpid(starter, &status, 0), starter);
    } else {
        CHECK_EQ(mproc__os_pidfd_wait(pidfd, -1), 1);
    }
    mproc_reap();
    close(pidfd);
    close(said[0]);
    close(go[0]);
    close(go[1]);
    return r;
}

TEST(process_starter_died_before_the_child_came) {
    CHECK_EQ(come_late(MPROC_ATTACHED | MPROC_JOINS, false, "exec"), '1');
    CHECK_EQ(come_late(MPROC_ATTACHED | MPROC_JOINS, true, "exec"), 0);
    CHECK_EQ(come_late(MPROC_DETACHED, true, "exec"), '1');
}

/* A grandchild that inherited the environment is a program in its own right. */
TEST(process_environment_of_a_stranger) {
    CHECK_EQ(come_late(MPROC_ATTACHED | MPROC_JOINS, false, ""), '0');
}

static int stay(void *arg, size_t size) {
    (void)arg;
    (void)size;
    sleep_until_killed();
    return 0;
}

/* What a program can still start that has closed every descriptor. */
static void start_without_the_arena(void) {
    mproc_process *p;
    for (int method = MPROC_SPAWN; method <= MPROC_FORKSERVER; method++) {
        mproc_process_options o = {.method = (mproc_method)method};
        CHECK_EQ(mproc_process_start(&p, no_args, NULL, 0, &o), MPROC_EARENA);
    }
    CHECK_EQ(finish(start(MPROC_FORK, no_args, NULL, 0)), 42);
}

static void close_the_arena(void *unused) {
    (void)unused;
    int fd = mproc__family_fd(), others[2];
    CHECK_GE(fd, 0);
    close(fd);
    start_without_the_arena();
    CHECK_EQ(dup2(STDIN_FILENO, fd), fd);
    start_without_the_arena();
    CHECK_OK(mproc_pipe_new(others, false));
    CHECK_EQ(dup2(others[0], fd), fd);
    start_without_the_arena();
    CHECK_EQ(fcntl(fd, F_GETFD), 0); /* it is left alone */
}

TEST(process_starts_without_the_arenas_descriptor) {
    child_join(child_fork(close_the_arena, NULL));
}

/* Puts something else under the number of a running child's pidfd: the child is found all the
 * same. */
static void lose_pidfd(mproc_method method, int other) {
    int code;
    mproc_process *p = start(method, stay, NULL, 0);
    int number = mproc_process_sentinel(p);
    CHECK_EQ(other < 0 ? close(number) : dup2(other, number) - number, 0);
    CHECK_EQ(mproc_process_exitcode(p, &code), -EAGAIN);
    CHECK_EQ(mproc_process_join(p, 0), -ETIMEDOUT);
    CHECK_OK(mproc_process_kill(p));
    CHECK_EQ(finish(p), -SIGKILL);
    if (other >= 0) {
        CHECK_OK(close(number)); /* it was left alone */
    }
}

TEST_METHODS(process_pidfd_closed_by_the_program) {
    int ends[2];
    mproc_process *other = start(method, stay, NULL, 0);
    CHECK_OK(mproc_pipe_new(ends, false));
    lose_pidfd(method, -1);
    lose_pidfd(method, ends[0]);
    lose_pidfd(method, STDIN_FILENO);
    lose_pidfd(method, mproc_process_sentinel(other));
    CHECK_OK(mproc_process_kill(other));
    CHECK_OK(mproc_process_join(other, MPROC_FOREVER));
    int ended = dup(mproc__family_fd()), event = mproc__os_event_new_set();
    lose_pidfd(method, ended);
    lose_pidfd(method, event);
    CHECK_OK(mproc_process_drop(other));
    close(ended);
    close(event);
    close(ends[0]);
    close(ends[1]);
}

/* As if the kernel gave all pidfds one inode: /proc tells whose each is. */
TEST(process_pidfd_that_only_proc_knows) {
    deny(SYS_fstatfs, -1, ENOSYS);
    lose_pidfd(MPROC_FORK, STDIN_FILENO);
    CHECK_EQ(finish(start(MPROC_FORK, no_args, NULL, 0)), 42);
    mproc_process *p = start(MPROC_FORK, no_args, NULL, 0);
    take_status(p);
    CHECK_EQ(finish(p), 42);
}

/* The child has ended and is collected by others, and nothing is left of the pidfd. */
TEST_METHODS(process_pidfd_and_status_lost) {
    mproc_process *p = start(method, no_args, NULL, 0);
    int number = mproc_process_sentinel(p);
    take_status(p);
    CHECK_EQ(dup2(STDIN_FILENO, number), number);
    CHECK_EQ(finish(p), 42);
    CHECK_OK(close(number));
}

/* Its starter's own child never founds a family of its own, whatever closed the descriptor. */
TEST(process_child_without_the_arenas_descriptor) {
    char script[400], self[200] = "";
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    CHECK_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    snprintf(script, sizeof script, "exec 2>/dev/null %d<&-; exec %s", mproc__family_fd(), self);
    CHECK_OK(mproc_process_start(&p, NULL, NULL, 0, &o));
    CHECK_EQ(finish(p), 127);
}

TEST(process_of_another_runtime_attaches) {
    const char *argv[] = {"/proc/self/exe", "attach", NULL};
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN, .argv = argv};
    CHECK_OK(mproc_process_prepare(&p, &o));
    CHECK_OK(mproc_process_launch(p, "abc", 3));
    CHECK_EQ(finish(p), 55);
}

/* ---------------------------------------------------------------- wrappers */

/* A shell has this program as its child. */
static mproc_process *start_wrapped(const char *script, unsigned flags, int said, void *arg) {
    char self[200] = "", text[400];
    const char *argv[] = {"/bin/sh", "-c", text, NULL};
    mproc_process *p;
    mproc_process_options o = {.method = MPROC_SPAWN,
                               .flags = flags | MPROC_WRAPPED,
                               .argv = argv,
                               .fds = &said,
                               .nfds = said >= 0};
    CHECK_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    snprintf(text, sizeof text, script, self, said);
    CHECK_OK(mproc_process_prepare(&p, &o));
    if (arg != NULL) {
        CHECK_OK(mproc_hold_for(p, arg));
    }
    CHECK_OK(mproc_process_launch(p, arg != NULL ? arg : "abc", arg != NULL ? 0 : 3));
    return p;
}

TEST(process_started_by_a_wrapper) {
    const unsigned fates[] = {MPROC_ATTACHED | MPROC_JOINS, MPROC_DETACHED};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(finish(start_wrapped("%s wrapped; exit $?", fates[i], -1, NULL)), 55);
        CHECK_EQ(finish(start_wrapped("sh -c '%s wrapped; exit $?'; exit $?", fates[i], -1, NULL)),
                 55);
        CHECK_EQ(finish(start_wrapped("exec %s attach", fates[i], -1, NULL)), 55);
    }
}

/* Only one that says that it is the child takes the child's place. */
TEST(process_of_a_wrapper_is_the_one_that_attaches) {
    mproc_process_options o = {.method = MPROC_SPAWN, .flags = MPROC_WRAPPED};
    mproc_process *p;
    CHECK_EQ(mproc_process_prepare(&p, &o), -EINVAL); /* what is it that may be a wrapper? */
    CHECK_EQ(finish(start_wrapped("true; exit 3 %s", MPROC_DETACHED, -1, NULL)), 3);
}

/* A member that outlives its wrapper is left alone, or ends with it. */
static void wrapper_dies(unsigned flags, bool goes) {
    int said[2];
    char x;
    mproc_lock *lock = made_lock(0);
    CHECK_OK(mproc_pipe_new(said, 0));
    mproc_process *p = start_wrapped("%s wrapped-stays %d; exit $?", flags, said[1], lock);
    CHECK_EQ(read(said[0], &x, 1), 1);
    CHECK_OK(mproc_process_kill(p));
    CHECK_EQ(finish(p), -SIGKILL);
    if (!goes) {
        mproc_member all[8];
        CHECK_EQ(mproc_lock_acquire(lock, 0), -ETIMEDOUT);
        CHECK_EQ(mproc_members(all, 8), 2);
        CHECK_OK(kill(all[1].pid, SIGKILL));
    }
    CHECK_EQ(mproc_lock_acquire(lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc_lock_release(lock));
    CHECK_OK(mproc_drop(lock));
    close(said[0]);
    close(said[1]);
}

TEST(process_outlives_its_wrapper) {
    wrapper_dies(MPROC_DETACHED, false);
}

TEST(process_ends_with_its_wrapper) {
    wrapper_dies(MPROC_ATTACHED | MPROC_JOINS, true);
}

/* ---------------------------------------------------------------- signals of its starter */

static volatile sig_atomic_t signals_seen;

static void count_signal(int number) {
    (void)number;
    signals_seen = signals_seen + 1;
}

/* A look that does not wait is not interrupted, whenever a handler runs. */
TEST_METHODS(process_looks_are_not_interrupted) {
    struct sigaction action = {.sa_handler = count_signal};
    mproc_process *p = start(method, stay, NULL, 0);
    int ends[2], code;
    CHECK_OK(mproc_pipe_new(ends, false));
    signal_every(50);
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    while (signals_seen < 3000) {
        CHECK_EQ(mproc_process_join(p, 0), -ETIMEDOUT);
        CHECK_EQ(mproc_process_exitcode(p, &code), -EAGAIN);
        CHECK_OK(mproc_process_signal(p, 0));
        CHECK_EQ(mproc_pipe_poll(ends[0], 0), 0);
        CHECK_EQ(mproc_process_drop(p), -EBUSY);
    }
    signal_every(0);
    close(ends[0]);
    close(ends[1]);
    CHECK_OK(mproc_process_kill(p));
    CHECK_EQ(finish(p), -SIGKILL);
}

/* ---------------------------------------------------------------- many */

static void many(mproc_method method, int n) {
    int *count = mproc_calloc(1, sizeof *count);
    CHECK_EQ(finish(start(method, add_one, count, 0)),
             0); /* what is made only once exists from here on */
    size_t fds = test_open_fds(), maps = test_mappings(), used = test_arena_used();
    for (int i = 0; i < n; i++) {
        mproc_process *p = start(method, add_one, count, 0);
        CHECK_OK(mproc_process_join(p, MPROC_FOREVER));
        CHECK_OK(mproc_process_drop(p));
    }
    CHECK_EQ(*count, n + 1);
    CHECK_EQ(test_open_fds(), fds);
    CHECK_LE(test_mappings(), maps + 10); /* malloc() may take a few; a leak would have n */
    CHECK_EQ(test_arena_used(), used);
    CHECK_OK(mproc_member_check(NULL, 0));
    mproc_free(count);
}

TEST(process_many_forks) {
    many(MPROC_FORK, 10000);
}

TEST(process_many_spawns) {
    many(MPROC_SPAWN, 1000);
}

TEST(process_many_by_a_template) {
    many(MPROC_FORKSERVER, 10000);
    mproc__template_stop_default();
}

TEST_METHODS(process_many_at_once) {
    enum { N = 64 };
    mproc_process *all[N];
    int *count = mproc_calloc(1, sizeof *count);
    for (int i = 0; i < N; i++) {
        all[i] = start(method, add_one, count, 0);
    }
    for (int i = N; i-- > 0;) {
        CHECK_EQ(finish(all[i]), 0);
    }
    CHECK_EQ(*count, N);
    mproc_free(count);
}

/* ---------------------------------------------------------------- no memory for the holds */

static void *blocks; /* those that fill the arena; the first word of each leads to the next */

/* Every size class, so that none has a block left. */
static void fill_up(void) {
    for (size_t size = 65536; size >= 16; size -= size > 128 ? size / 16 : 8) {
        for (void **block; (block = mproc_alloc(size)) != NULL; blocks = block) {
            *block = blocks;
        }
    }
}

static void empty_again(void) {
    while (blocks != NULL) {
        void *block = blocks;
        blocks = *(void **)block;
        mproc_free(block);
    }
}

static int nothing_to_do(void *arg, size_t size) {
    (void)arg, (void)size;
    return 0;
}

/* A full arena, but for a block that a child's arguments fit into; and something to hold. */
static mproc_lock *fill_but_for_arguments(void) {
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "1048576", 1));
    mproc_lock *lock = made_lock(0);
    void *room = mproc_alloc(sizeof(struct mproc__args));
    CHECK(room != NULL);
    fill_up();
    mproc_free(room);
    return lock;
}

TEST_BARE(process_fork_without_memory_for_holds) {
    mproc_process *p = NULL;
    mproc_lock *lock = fill_but_for_arguments();
    CHECK_EQ(mproc_process_start(&p, nothing_to_do, NULL, 0, NULL), -ENOMEM);
    CHECK(p == NULL);
    CHECK_EQ(waitpid(-1, NULL, 0), -1); /* no process is left */
    CHECK_EQ(mproc_members(NULL, 0), 1);
    empty_again();
    CHECK_OK(mproc_process_start(&p, nothing_to_do, NULL, 0, NULL));
    CHECK_EQ(finish(p), 0);
    mproc_drop(lock);
}

static void expect_no_arena(void *arg) {
    uintptr_t page = (uintptr_t)arg & ~(uintptr_t)4095;
    CHECK(!mproc_in_arena(arg));
    CHECK_EQ(msync((void *)page, 4096, MS_ASYNC), -1); /* it is not mapped */
    CHECK_EQ(errno, ENOMEM);
    CHECK_OK(mproc_drop(arg)); /* an outsider's handles hold nothing */
}

static void forget_line(const char *line) {
    CHECK(strstr(line, "holds") != NULL);
}

TEST_BARE(process_bare_fork_without_memory_for_holds) {
    mproc_lock *lock = fill_but_for_arguments();
    mproc_log_hook(forget_line);
    child_join(child_fork(expect_no_arena, lock));
    CHECK_EQ(mproc_members(NULL, 0), 1);
    empty_again();
    mproc_log_hook(NULL);
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- children of others */

static pid_t fork_that_ends_by(int code) {
    pid_t pid = fork();
    if (pid == 0) {
        if (code < 0) {
            raise(-code);
        }
        _exit(code);
    }
    return pid;
}

/* Its status is there for the program, before and after. */
TEST(process_adopted) {
    static const int codes[] = {0, 7, -SIGKILL};
    for (size_t i = 0; i < 3; i++) {
        mproc_process *process = NULL;
        int code = -1, status = -1;
        pid_t pid = fork_that_ends_by(codes[i]);
        CHECK_OK(mproc_process_adopt(&process, pid));
        CHECK_EQ(mproc_process_pid(process), pid);
        CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
        CHECK_OK(mproc_process_exitcode(process, &code));
        CHECK_EQ(code, codes[i]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), codes[i]);
        CHECK_OK(mproc_process_exitcode(process, &code));
        CHECK_OK(mproc_process_drop(process));
        mproc_reap();
    }
}

TEST(process_adopted_and_collected_first) {
    mproc_process *process = NULL;
    int code = -1, status;
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    CHECK_OK(mproc_process_adopt(&process, pid));
    CHECK_EQ(mproc_process_exitcode(process, &code), -EAGAIN);
    CHECK_EQ(mproc_process_drop(process), -EBUSY);
    CHECK_OK(mproc_process_kill(process));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_OK(mproc_process_exitcode(process, &code));
    CHECK(code == 255 || code == -SIGKILL); /* since Linux 6.15 the kernel keeps it */
    CHECK_OK(mproc_process_drop(process));
    mproc_reap();
    CHECK_EQ(mproc_process_adopt(&process, pid), -ESRCH);
}

/* ---------------------------------------------------------------- no pidfds */

static int lines;

static void count_lines(const char *line) {
    CHECK(strstr(line, "pidfd_open(2)") != NULL);
    lines++;
}

TEST(process_says_once_that_pidfds_are_missing) {
    static const int errors[] = {ENOSYS, EPERM};
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        CHECK_GE(pid, 0);
        if (pid == 0) {
            mproc_process *p = NULL;
            mproc_log_hook(count_lines);
            deny(SYS_pidfd_open, -1, errors[i]);
            CHECK_EQ(mproc_process_start(&p, nothing_to_do, NULL, 0, NULL), -errors[i]);
            CHECK_EQ(mproc_process_start(&p, nothing_to_do, NULL, 0, NULL), -errors[i]);
            CHECK_EQ(waitpid(-1, NULL, 0), -1);
            CHECK_EQ(lines, 1);
            _exit(0);
        }
        child_join(pid);
    }
}
