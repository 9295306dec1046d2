/*
 * reaped_children.c - SIGCHLD is ignored, or a handler collects every child
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "answers.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define STARTS 50

static void reap(int number) {
    int error = errno;
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = error;
}

static int count(void *arg, size_t size) {
    (void)size;
    (void)mproc_atomic_add(MPROC_INT64, arg, 1, NULL);
    return 3;
}

static void start_many(const char *how, int64_t *ran) {
    EACH_METHOD(method) {
        int started = 0, right = 0;
        *ran = 0;
        for (int i = 0; i < STARTS; i++) {
            mproc_process_options options = {.method = method};
            mproc_process *process;
            if (mproc_process_start(&process, count, ran, 0, &options) == 0) {
                started++;
                right += ended(process) == 3;
            }
        }
        printf("%s, %s: %d started, %d ran, %d exit codes are right\n", how, method_name(method),
               started, (int)*ran, right);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    const struct sigaction action = {.sa_handler = reap, .sa_flags = SA_RESTART};
    int64_t *ran;
    if (mproc_init(argc, argv) != 0 || (ran = mproc_calloc(1, sizeof *ran)) == NULL) {
        return 1;
    }
    (void)signal(SIGCHLD, SIG_IGN);
    start_many("ignored", ran);
    (void)sigaction(SIGCHLD, &action, NULL);
    start_many("collected", ran);
    return 0;
}
