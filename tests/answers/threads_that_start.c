/*
 * threads_that_start.c - a child does not end with the thread that has started it
 *
 * SPDX-License-Identifier: MIT
 *
 * Neither another program, nor a child that executes one, nor a function. All are asked to end when
 * the thread is gone.
 */
#define _GNU_SOURCE
#include "answers.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

struct start {
    mproc_method method;
    int executes; /* the child, or 2: the starter, another program */
    int in, out;  /* the child says a byte to `out`, and waits for one from `in` */
    pid_t thread;
    int error;
    mproc_process *process;
};

static char script[100];

static int work(void *arg, size_t size) {
    const struct start *start = arg;
    int fds[2] = {start->in, start->out};
    char byte;
    (void)size;
    (void)mproc_child_fds(fds, 2);
    if (start->executes) {
        snprintf(script, sizeof script, "echo >&%d; read x <&%d; exit 7", fds[1], fds[0]);
        (void)fcntl(fds[0], F_SETFD, 0);
        (void)fcntl(fds[1], F_SETFD, 0);
        (void)execl("/bin/sh", "sh", "-c", script, (char *)NULL);
    }
    return write(fds[1], "\n", 1) == 1 && read(fds[0], &byte, 1) == 1 ? 7 : 1;
}

static void *start_one(void *arg) {
    struct start *start = arg;
    int fds[2] = {start->in, start->out};
    mproc_process_options options = {.method = start->method, .fds = fds, .nfds = 2};
    start->thread = (pid_t)syscall(SYS_gettid);
    snprintf(script, sizeof script, "echo >&%d; read x <&%d; exit 7", fds[1], fds[0]);
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    options.argv = start->executes == 2 ? argv : NULL;
    start->error = start->executes == 2
                       ? mproc_process_start(&start->process, NULL, NULL, 0, &options)
                       : mproc_process_start(&start->process, work, start, sizeof *start, &options);
    return NULL;
}

static void ask(const char *question, mproc_method method, int executes) {
    int in[2], out[2];
    char byte, path[64];
    pthread_t thread;
    if (mproc_pipe_new(in, 0) != 0 || mproc_pipe_new(out, 0) != 0) {
        return;
    }
    struct start start = {.method = method, .executes = executes, .in = in[0], .out = out[1]};
    (void)pthread_create(&thread, NULL, start_one, &start);
    (void)!read(out[0], &byte, 1);
    (void)pthread_join(thread, NULL);
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)start.thread);
    while (access(path, F_OK) == 0) { /* the kernel has told the children when it is gone */
        (void)usleep(1000);
    }
    (void)!write(in[1], "\n", 1);
    printf("%s, %s: exit code %d\n", question, method_name(method),
           start.error == 0 ? ended(start.process) : start.error);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        (void)close(in[i]);
        (void)close(out[i]);
    }
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        return 1;
    }
    EACH_METHOD(method) {
        ask("a function", method, 0);
        ask("a function that executes a program", method, 1);
    }
    ask("a program", MPROC_SPAWN, 2);
    return 0;
}
