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

#define EACH_METHOD(method)                                                                        \
    for (mproc_method method = MPROC_FORK; method <= MPROC_FORKSERVER;                             \
         method = (mproc_method)(method + 1))

#endif
