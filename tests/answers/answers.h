/*
 * answers.h - what the programs of this folder share: they print lines "question: answer"
 *
 * SPDX-License-Identifier: MIT
 *
 * Each is a program of a user: built by pkg-config against what `make install` installs. Beside
 * NAME.c stands NAME.txt with the right answers; scripts/answers.sh runs all and compares.
 */
#ifndef MPROC_ANSWERS_H
#define MPROC_ANSWERS_H

#include <mproc.h>
#include <stdio.h>

static inline void answer(const char *question, const char *text) {
    printf("%s: %s\n", question, text);
    fflush(stdout);
}

static inline void answer_code(const char *question, int code) {
    answer(question, mproc_strerror(code));
}

static inline void answer_number(const char *question, long long number) {
    printf("%s: %lld\n", question, number);
    fflush(stdout);
}

/* Waits for a child, whatever signals come; its exit code, or the error. */
static inline int ended(mproc_process *process) {
    int code = 0, r;
    do {
        r = mproc_process_join(process, MPROC_FOREVER);
    } while (r == -4 /* EINTR */);
    r = r == 0 ? mproc_process_exitcode(process, &code) : r;
    (void)mproc_process_drop(process);
    return r == 0 ? code : r;
}

static inline const char *method_name(mproc_method method) {
    return method == MPROC_FORK ? "fork" : method == MPROC_SPAWN ? "spawn" : "forkserver";
}

/* Fills a queue until there is no memory, which is to be after so many MiB at the earliest. */
static inline void answer_until_full(int argc, char **argv, long long mib) {
    static char block[10000];
    mproc_queue *queue;
    mproc_arena_stats stats;
    int r = mproc_init(argc, argv);
    answer_code("init", r);
    if (r != 0 || (r = mproc_queue_new(&queue, 0)) != 0) {
        answer("because", mproc_join_reason(r));
        return;
    }
    mproc_arena_stat(&stats);
    answer_number("limit in MiB", (long long)(stats.limit >> 20));
    long long put = 0;
    while ((r = mproc_queue_put(queue, block, sizeof block, 0)) == 0) {
        put += (long long)sizeof block;
    }
    answer_code("put", r);
    printf("room for %lld MiB: %s\n", mib, put >> 20 >= mib ? "yes" : "no");
    answer_code("arena", mproc_arena_check(NULL, 0));
}

#define EACH_METHOD(method)                                                                        \
    for (mproc_method method = MPROC_FORK; method <= MPROC_FORKSERVER;                             \
         method = (mproc_method)(method + 1))

#endif
