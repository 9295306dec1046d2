/*
 * test_setup.c - what a child does to itself before it runs, by every method
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "methods.h"
#include "pools.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static mproc_process *start(mproc_method method, mproc_main_fn fn,
                            const mproc_process_setup *setup) {
    mproc_process_options options = {.method = method, .setup = setup};
    mproc_process *process = NULL;
    CHECK_OK(mproc_process_start(&process, fn, NULL, 0, &options));
    return process;
}

static int end_of(mproc_process *process) {
    int code = -1000;
    CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(process, &code));
    CHECK_OK(mproc_process_drop(process));
    return code;
}

/* The first CPU that this process may use. */
static unsigned some_cpu(void) {
    cpu_set_t set;
    unsigned cpu = 0;
    CHECK_OK(sched_getaffinity(0, sizeof set, &set));
    while (!CPU_ISSET(cpu, &set)) {
        cpu++;
    }
    return cpu;
}

/* ---------------------------------------------------------------- all of it */

static int look_around(void *arg, size_t size) {
    char directory[4096];
    cpu_set_t set;
    struct rlimit files, core;
    (void)arg, (void)size;
    CHECK(getcwd(directory, sizeof directory) != NULL);
    CHECK_STR(directory, "/");
    CHECK_STR(getenv("MPROC_TEST_A"), "1");
    CHECK_STR(getenv("MPROC_TEST_B"), "x=y");
    CHECK(getenv("HOME") == NULL);
    CHECK_OK(sched_getaffinity(0, sizeof set, &set));
    CHECK_EQ(CPU_COUNT(&set), 1);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &files));
    CHECK(files.rlim_cur == 60 && files.rlim_max == 70);
    CHECK_OK(getrlimit(RLIMIT_CORE, &core));
    CHECK_EQ(core.rlim_cur, 0);
    CHECK_EQ(mproc_child_fds(NULL, 0), 0);
    return 21;
}

TEST_METHODS(setup_of_a_child) {
    const char *const environment[] = {"MPROC_TEST_A=1", "MPROC_TEST_B=x=y", NULL};
    unsigned cpu = some_cpu();
    mproc_limit limits[] = {{RLIMIT_NOFILE, 60, 70}, {RLIMIT_CORE, 0, 0}};
    mproc_process_setup setup = {.directory = "/",
                                 .environment = environment,
                                 .cpus = &cpu,
                                 .ncpus = 1,
                                 .limits = limits,
                                 .nlimits = 2};
    setenv("HOME", "/home", 1);
    CHECK_EQ(end_of(start(method, look_around, &setup)), 21);
    CHECK_STR(getenv("HOME"), "/home");
}

static int find_nothing_new(void *arg, size_t size) {
    (void)arg, (void)size;
    CHECK_STR(getenv("HOME"), "/home");
    return 22;
}

TEST_METHODS(setup_that_asks_for_nothing) {
    setenv("HOME", "/home", 1);
    CHECK_EQ(end_of(start(method, find_nothing_new, &(mproc_process_setup){0})), 22);
    CHECK_EQ(end_of(start(method, find_nothing_new, NULL)), 22);
}

/* ---------------------------------------------------------------- streams */

static int speak(void *arg, size_t size) {
    (void)arg, (void)size;
    printf("to stdout\n");
    fprintf(stderr, "to stderr\n");
    return (int)mproc_child_fds(NULL, 0);
}

static void reads(int fd, const char *text) {
    char got[100] = "";
    ssize_t n = read(fd, got, sizeof got - 1);
    CHECK_EQ(n, strlen(text));
    CHECK_STR(got, text);
    close(fd);
}

TEST_METHODS(setup_of_streams) {
    size_t before = 0;
    for (int round = 0; round < 2; round++) { /* the first one starts the template */
        int out[2], err[2];
        CHECK_OK(pipe2(out, O_CLOEXEC));
        CHECK_OK(pipe2(err, O_CLOEXEC));
        mproc_process_setup setup = {.out = out[1], .err = err[1]};
        CHECK_EQ(end_of(start(method, speak, &setup)), 0);
        close(out[1]);
        close(err[1]);
        reads(out[0], "to stdout\n");
        reads(err[0], "to stderr\n");
        CHECK(round == 0 || test_open_fds() == before);
        before = test_open_fds();
    }
}

static int speak_and_count(void *arg, size_t size) {
    (void)arg, (void)size;
    int fd = -1;
    printf("both\n");
    CHECK_EQ(mproc_child_fds(&fd, 1), 1); /* the program's own */
    CHECK_EQ(write(fd, "mine\n", 5), 5);
    return 0;
}

/* One descriptor for both, beside one that the program passes. */
TEST_METHODS(setup_of_streams_beside_descriptors) {
    int out[2], own[2];
    CHECK_OK(pipe2(out, O_CLOEXEC));
    CHECK_OK(pipe2(own, O_CLOEXEC));
    mproc_process_setup setup = {.out = out[1], .err = out[1]};
    mproc_process_options options = {.method = method, .setup = &setup, .fds = &own[1], .nfds = 1};
    mproc_process *process = NULL;
    CHECK_OK(mproc_process_start(&process, speak_and_count, NULL, 0, &options));
    CHECK_EQ(end_of(process), 0);
    close(out[1]);
    close(own[1]);
    reads(out[0], "both\n");
    reads(own[0], "mine\n");
}

/* ---------------------------------------------------------------- what cannot be done */

static int never(void *arg, size_t size) {
    (void)arg, (void)size;
    return 0;
}

static void cannot(mproc_method method, mproc_process_setup setup, const char *word) {
    int err[2];
    char said[300] = "";
    CHECK_OK(pipe2(err, O_CLOEXEC));
    setup.err = err[1];
    CHECK_EQ(end_of(start(method, never, &setup)), 126);
    close(err[1]);
    CHECK_GT(read(err[0], said, sizeof said - 1), 0);
    if (strstr(said, word) == NULL) {
        test_fail(__FILE__, __LINE__, "%s was expected, not: %s", word, said);
    }
    close(err[0]);
}

TEST_METHODS(setup_that_cannot_be_done) {
    unsigned cpu = 4000;
    mproc_limit limit = {12345, 1, 2};
    cannot(method, (mproc_process_setup){.directory = "/no/such/place"}, "/no/such/place");
    cannot(method, (mproc_process_setup){.cpus = &cpu, .ncpus = 1}, "CPUs");
    cannot(method, (mproc_process_setup){.limits = &limit, .nlimits = 1}, "limits");
}

TEST(setup_that_is_refused) {
    mproc_process *process = NULL;
    mproc_pool *pool = NULL;
    unsigned cpu = 4096;
    mproc_limit limit = {RLIMIT_CORE, 2, 1};
    const mproc_process_setup bad[] = {{.out = -1},
                                       {.err = -1},
                                       {.directory = ""},
                                       {.ncpus = 1},
                                       {.cpus = &cpu, .ncpus = 1},
                                       {.nlimits = 1},
                                       {.limits = &limit, .nlimits = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(mproc_process_prepare(&process, &(mproc_process_options){.setup = &bad[i]}),
                 -EINVAL);
        CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.setup = &bad[i]}), -EINVAL);
    }
    CHECK(process == NULL && pool == NULL);
}

/* ---------------------------------------------------------------- workers */

static int where(const void *in, size_t size, mproc_result *result) {
    char directory[4096];
    (void)in, (void)size;
    CHECK(getcwd(directory, sizeof directory) != NULL);
    return mproc_result_write(result, directory, strlen(directory) + 1);
}

TEST_METHODS(setup_of_workers) {
    mproc_process_setup setup = {.directory = "/"};
    mproc_pool *pool = pool_with(
        &(mproc_pool_options){.workers = 1, .method = method, .setup = &setup, .max_tasks = 1});
    for (int i = 0; i < 2; i++) { /* the second one is another worker's */
        const void *data;
        size_t size;
        mproc_task *task = submit(pool, where, NULL, 0);
        CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
        CHECK_OK(mproc_task_result(task, &data, &size));
        CHECK_STR(data, "/");
        mproc_task_drop(task);
    }
    finish(pool);
}

/* Workers that cannot be set up never get ready. */
TEST(setup_of_workers_that_cannot_be_done) {
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    mproc_process_setup setup = {.directory = "/no/such/place", .err = quiet};
    mproc_pool *pool = pool_with(&(mproc_pool_options){.workers = 1, .setup = &setup});
    mproc_task_error error = outcome(submit(pool, where, NULL, 0));
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.exitcode, 126);
    finish(pool);
    close(quiet);
}
