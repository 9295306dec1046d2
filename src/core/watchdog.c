/*
 * watchdog.c - a family that tells of its deadlocks: mproc_log_deadlocks()
 *
 * SPDX-License-Identifier: MIT
 *
 * The watchdog is the program `mproc watch`, a process that looks from outside: see
 * src/inspect/watchdog.c. So a family that is not watched pays nothing, and one that is pays as for
 * any look.
 */
#include <stdio.h>

#include "core/join.h"
#include "core/looker.h"

int mproc_log_deadlocks(int64_t after, int abort) {
    char setting[64];
    if (after <= 0) {
        return -EINVAL;
    }
    int r = mproc__family_need();
    if (r != 0) {
        return r;
    }
    snprintf(setting, sizeof setting, "%.3f%s", (double)after / 1e9, abort != 0 ? "=abort" : "");
    return mproc__looker_watch(setting) ? 0 : -ENOENT;
}
