/*
 * core_dump.c - a child crashes while core dumps are on
 *
 * SPDX-License-Identifier: MIT
 *
 * The arena's mapping is left out of the dump ("dd"): to write it the system would fill 64 GiB.
 */
#include "answers.h"
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

static int crash(void *arg, size_t size) {
    (void)arg;
    (void)size;
    *(volatile int *)0 = 1;
    return 0;
}

/* Whether the mapping that has the address is left out of dumps. */
static int left_out(uintptr_t address) {
    char line[512];
    int inside = 0, found = 0;
    FILE *maps = fopen("/proc/self/smaps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            inside = from <= address && address < to;
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line, " dd") != NULL;
        }
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    return found;
}

int main(int argc, char **argv) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    mproc_process *process;
    void *object;
    (void)setrlimit(RLIMIT_CORE, &all);
    if (mproc_init(argc, argv) != 0 || (object = mproc_alloc(10)) == NULL ||
        mproc_process_start(&process, crash, NULL, 0, NULL) != 0) {
        return 1;
    }
    answer_number("exit code", ended(process));
    answer("the arena in core dumps", left_out((uintptr_t)object) ? "left out" : "written");
    return 0;
}
