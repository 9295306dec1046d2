/*
 * closed_streams.c - a program that is started without standard input, output and error
 *
 * SPDX-License-Identifier: MIT
 *
 * run: with descriptors 0, 1 and 2 closed; the answers go to the file that is the argument
 *
 * What it then writes to stdout and stderr goes nowhere, and not into the arena.
 */
#define _GNU_SOURCE
#include "answers.h"
#include <fcntl.h>
#include <unistd.h>

static int nothing(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 0;
}

static void say(int log, const char *question, int code) {
    dprintf(log, "%s: %s\n", question, mproc_strerror(code));
}

/* Before main(): the child of a spawn runs it as well, with a log of its own. */
static int open_log(const char *path) {
    int low = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int log = fcntl(low, F_DUPFD_CLOEXEC, 50);
    (void)close(low);
    return log;
}

int main(int argc, char **argv) {
    mproc_queue *queue;
    mproc_process *process;
    if (mproc_init(argc, argv) != 0 || argc != 2 || mproc_queue_new(&queue, 0) != 0) {
        return 1;
    }
    int log = open_log(argv[1]);
    for (int fd = 0; fd < 3; fd++) {
        dprintf(log, "descriptor %d: %s\n", fd, fcntl(fd, F_GETFD) < 0 ? "closed" : "open");
    }
    for (int i = 0; i < 3000; i++) {
        (void)!write(1 + i % 2, "a warning that a program gives to nobody\n", 41);
    }
    say(log, "arena", mproc_arena_check(NULL, 0));
    say(log, "members", mproc_member_check(NULL, 0));
    say(log, "put", mproc_queue_put(queue, "x", 1, 0));
    EACH_METHOD(method) {
        mproc_process_options options = {.method = method};
        int r = mproc_process_start(&process, nothing, NULL, 0, &options);
        dprintf(log, "%s: %s, exit code %d\n", method_name(method), mproc_strerror(r),
                r == 0 ? ended(process) : -1);
    }
    return 0;
}
