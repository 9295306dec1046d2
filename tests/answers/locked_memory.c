/*
 * locked_memory.c - a program that locks the memory which it will use
 *
 * SPDX-License-Identifier: MIT
 *
 * run: with MPROC_ARENA_SPAN=64M, so that a wrong answer does no harm to the machine, without an
 * argument and with `later`
 *
 * Pages of the arena are locked as they are used, and not all at once: after MCL_FUTURE, and when a
 * member locks its memory later with MCL_ONFAULT.
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

static void use_queue(int argc, char **argv, int later) {
    mproc_queue *queue;
    if (mproc_init(argc, argv) != 0) {
        return;
    }
    long before = locked_kib();
    int r = mproc_queue_new(&queue, 0);
    answer_code("queue", r);
    if (later) {
        answer_number("locked", mlockall(MCL_CURRENT | MCL_ONFAULT));
    }
    answer_code("put", r == 0 ? mproc_queue_put(queue, "x", 1, 0) : r);
    answer("64 MiB are filled", locked_kib() - before > 32 << 10 ? "yes" : "no");
}

int main(int argc, char **argv) {
    int later = argc > 1;
    int flags = later ? MCL_CURRENT | MCL_ONFAULT : MCL_CURRENT | MCL_FUTURE;
    if (mlockall(flags) != 0 || (later && munlockall() != 0)) {
        fputs("the user may not lock memory\n", stderr);
        return 77;
    }
    use_queue(argc, argv, later);
    return 0;
}
