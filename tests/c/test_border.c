/*
 * test_border.c - C++ exceptions end in the process, and in the function, that threw them
 *
 * SPDX-License-Identifier: MIT
 *
 * All that starts something is called inside of a try block. A forked child has copies of those
 * frames: the exception must not come out there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "border_throws.h"
#include "methods.h"
#include "pools.h"

#define CAUGHT 77 /* how a child ends in which an exception came out */

/* The C++ runtime says on stderr what was thrown, and aborts. */
static void expect_aborts(void) {
    const struct rlimit no_core = {0, 0};
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK_OK(setrlimit(RLIMIT_CORE, &no_core));
    CHECK_EQ(dup2(nowhere, 2), 2);
    close(nowhere);
}

static void inside_try(void (*run)(void *), void *arg) {
    int *marks = mproc_calloc(1, sizeof *marks);
    pid_t self = getpid();
    expect_aborts();
    throws_mark(marks);
    bool caught = catches(run, arg);
    if (getpid() != self) {
        _exit(CAUGHT);
    }
    CHECK(!caught);
    CHECK_EQ(*marks, 1); /* catches() has returned, and nothing else was unwound */
    throws_mark(NULL);
    mproc_free(marks);
}

static void start_child(void *arg) {
    const mproc_method *method = arg;
    mproc_process *p = NULL;
    int code = 9999;
    mproc_process_options o = {.method = *method};
    CHECK_OK(mproc_process_start(&p, throws_main, NULL, 0, &o));
    CHECK_OK(mproc_process_join(p, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(p, &code));
    CHECK_EQ(code, -SIGABRT);
    CHECK_OK(mproc_process_drop(p));
}

TEST_METHODS(border_of_a_child) {
    inside_try(start_child, &method);
}

static void submit_one(void *arg) {
    const mproc_method *method = arg;
    mproc_pool *pool = pool_of(*method, 1);
    mproc_task_error error = outcome(submit(pool, throws_task, NULL, 0));
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.exitcode, -SIGABRT);
    finish(pool);
}

TEST_METHODS(border_of_a_task) {
    inside_try(submit_one, &method);
}

static void map_ten(void *arg) {
    const mproc_method *method = arg;
    mproc_pool *pool = pool_of(*method, 2);
    int in[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, out[10];
    mproc_task_error error = {0};
    mproc_map_options options = {.error = &error};
    CHECK_EQ(mproc_pool_map(pool, throws_item, in, sizeof *in, out, sizeof *out, 10, &options),
             MPROC_EDIED);
    CHECK_EQ(error.exitcode, -SIGABRT);
    CHECK_EQ(error.task, 3);
    finish(pool);
}

TEST_METHODS(border_of_a_map) {
    inside_try(map_ten, &method);
}

static void handle_one(void *arg) {
    const mproc_method *method = arg;
    mproc_pool *pool = pool_with(
        &(mproc_pool_options){.workers = 1, .method = *method, .handler = throws_handler});
    struct iovec piece = {"x", 1};
    mproc_task *task;
    CHECK_OK(mproc_pool_put(pool, &piece, 1, NULL, &task));
    CHECK_EQ(outcome(task).code, MPROC_EDIED);
    finish(pool);
}

TEST_METHODS(border_of_a_handler) {
    inside_try(handle_one, &method);
}

/* In the owner they end the owner. */
static int nothing(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return 0;
}

static int same(const void *in, void *out, void *context) {
    (void)context;
    *(int *)out = *(const int *)in;
    return 0;
}

static void call_back(void *arg) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    (void)arg;
    mproc_task_options options = {.done = throws_callback};
    (void)outcome(submit_with(pool, nothing, NULL, 0, &options));
}

static void make_progress(void *arg) {
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    int items[4] = {9, 9, 9, 9};
    mproc_map_options options = {.progress = throws_progress};
    (void)arg;
    CHECK_OK(mproc_pool_map(pool, same, items, sizeof *items, items, sizeof *items, 4, &options));
}

/* In a child that is a family of its own, which ends with all that it has started. */
static int owner_ends(void (*run)(void *)) {
    int status;
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        expect_aborts();
        _exit(catches(run, NULL) ? CAUGHT : 0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_BARE(border_of_a_callback) {
    CHECK_EQ(owner_ends(call_back), -SIGABRT);
}

TEST_BARE(border_of_progress) {
    CHECK_EQ(owner_ends(make_progress), -SIGABRT);
}
