/*
 * closed_descriptors.c - a daemon closes every descriptor from 3 on when it has used the library
 *
 * SPDX-License-Identifier: MIT
 *
 * A child by spawn or a template would not find the arena: the start says so, and no child runs
 * main() again. fork() needs no descriptor.
 */
#define _GNU_SOURCE
#include "answers.h"
#include <unistd.h>

static int seven(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 7;
}

int main(int argc, char **argv) {
    void *object;
    if (mproc_init(argc, argv) != 0 || (object = mproc_alloc(10)) == NULL) {
        return 1;
    }
    for (int fd = 3; fd < 1024; fd++) {
        (void)close(fd);
    }
    EACH_METHOD(method) {
        mproc_process_options options = {.method = method};
        mproc_process *process;
        int r = mproc_process_start(&process, seven, NULL, 0, &options);
        answer_code(method_name(method), r);
        if (r == 0) {
            answer_number("exit code", ended(process));
        }
    }
    return 0;
}
