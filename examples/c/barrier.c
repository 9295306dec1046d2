/*
 * barrier.c - heat spreads along a rod: each process computes its part, phase by phase
 *
 * SPDX-License-Identifier: MIT
 *
 * All processes read the old temperatures and write the new ones. None begins the next phase before
 * all have ended this one. The last to arrive counts the phase before all pass.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mproc.h"

#define POINTS 16
#define PARTS 4
#define PHASES 100

struct rod {
    mproc_barrier *barrier;
    uint64_t phases;
    int64_t heat[2][POINTS];
};

struct part {
    struct rod *rod;
    int number;
};

static void must(int code) {
    if (code != 0) {
        fprintf(stderr, "barrier: %s\n", mproc_strerror(code));
        exit(1);
    }
}

static int64_t next(const int64_t *old, int i) {
    int64_t left = old[i == 0 ? 0 : i - 1], right = old[i == POINTS - 1 ? POINTS - 1 : i + 1];
    return (left + 2 * old[i] + right) / 4;
}

static int compute(void *arg, size_t size) {
    struct part *part = arg;
    struct rod *rod = part->rod;
    int first = part->number * POINTS / PARTS, end = (part->number + 1) * POINTS / PARTS;
    (void)size;
    for (int phase = 0; phase < PHASES; phase++) {
        for (int i = first; i < end; i++) {
            rod->heat[(phase + 1) % 2][i] = next(rod->heat[phase % 2], i);
        }
        int r = mproc_barrier_arrive(rod->barrier, MPROC_FOREVER, NULL);
        if (r == 1) {
            rod->phases++;
            r = mproc_barrier_open(rod->barrier);
        }
        must(r);
    }
    return 0;
}

int main(int argc, char **argv) {
    must(mproc_init(argc, argv));
    struct rod *rod = mproc_calloc(1, sizeof *rod);
    if (rod == NULL) {
        must(-ENOMEM);
    }
    must(mproc_barrier_new(&rod->barrier, PARTS));
    rod->heat[0][0] = 1000000;
    mproc_process *processes[PARTS];
    for (int i = 0; i < PARTS; i++) {
        struct part part = {rod, i};
        must(mproc_process_start(&processes[i], compute, &part, sizeof part, NULL));
    }
    for (int i = 0; i < PARTS; i++) {
        int code = 1;
        must(mproc_process_join(processes[i], MPROC_FOREVER));
        must(mproc_process_exitcode(processes[i], &code));
        must(mproc_process_drop(processes[i]));
        if (code != 0) {
            return 1;
        }
    }
    printf("after %llu phases:", (unsigned long long)rod->phases);
    for (int i = 0; i < POINTS; i++) {
        printf(" %lld", (long long)rod->heat[PHASES % 2][i]);
    }
    printf("\n");
    mproc_drop(rod->barrier);
    mproc_free(rod);
    return 0;
}
