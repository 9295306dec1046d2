/*
 * exit_codes.c - exit codes under each method, and those of other programs
 *
 * SPDX-License-Identifier: MIT
 */
#include "answers.h"

static int give(void *arg, size_t size) {
    (void)size;
    return *(int *)arg;
}

static void of_functions(void) {
    const int codes[] = {300, -1};
    for (int i = 0; i < 2; i++) {
        EACH_METHOD(method) {
            mproc_process_options options = {.method = method};
            mproc_process *process;
            if (mproc_process_start(&process, give, &codes[i], sizeof codes[i], &options) == 0) {
                printf("%d by %s: %d\n", codes[i], method_name(method), ended(process));
                fflush(stdout);
            }
        }
    }
}

static void of_program(const char *question, const char *const *argv) {
    mproc_process_options options = {.method = MPROC_SPAWN, .argv = argv};
    mproc_process *process;
    int r = mproc_process_start(&process, NULL, NULL, 0, &options);
    answer_code(question, r);
    if (r == 0) {
        answer_number("exit code", ended(process));
    }
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        return 1;
    }
    of_functions();
    of_program("a shell", (const char *const[]){"/bin/sh", "-c", "exit 42", NULL});
    of_program("no file", (const char *const[]){"/nonexistent", NULL});
    of_program("no name", (const char *const[]){NULL});
    return 0;
}
