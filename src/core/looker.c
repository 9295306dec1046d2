/*
 * looker.c - the program mproc, started by a member of the family that it looks at
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. `mproc record` and `mproc watch` go on in a process that is nobody's child; who
 * starts one waits until it does. The program stands beside the library, in the directory above
 * (of the Python package) or in the directory of programs that belongs to its own; or it is looked
 * for on PATH.
 *
 * If a member dies here: the looker finds the family without members, and ends.
 */
#include "core/looker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trace.h"
#include "system/os.h"

#define PATH_SIZE 4096
#define PROGRAM "mproc"

extern char **environ;

static int start(const char *path, const char *const *argv) {
    const struct mproc__os_spawn what = {path, argv, (const char *const *)(uintptr_t)environ, NULL,
                                         0};
    pid_t child;
    int r = mproc__os_spawn(&what, &child), code = 0;
    int fd = r == 0 ? mproc__os_pidfd_open(child) : -1;
    if (fd >= 0) {
        while (mproc__os_pidfd_wait(fd, MPROC_FOREVER) == -EINTR) {
        }
        (void)mproc__os_process_collect(fd, true, &code);
        mproc__os_close(fd);
    }
    return r; /* why it could not be, the program has said itself */
}

/* 0: started, from a directory and what follows it. */
static int start_in(const char *directory, size_t length, const char *rest,
                    const char *const *argv) {
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof path, "%.*s/%s" PROGRAM, (int)length, directory, rest);
    return n > 0 && (size_t)n < sizeof path ? start(path, argv) : -ENOENT;
}

static int start_beside_library(const char *const *argv) {
    static const char *const places[] = {"", "../", "../bin/", "../../bin/"};
    const char *file_of_library = mproc__os_file_at(&mproc__trace);
    const char *end = file_of_library != NULL ? strrchr(file_of_library, '/') : NULL;
    int r = -ENOENT;
    for (size_t i = 0; end != NULL && r != 0 && i < sizeof places / sizeof *places; i++) {
        r = start_in(file_of_library, (size_t)(end - file_of_library), places[i], argv);
    }
    return r;
}

static int start_on_path(const char *const *argv) {
    const char *path = getenv("PATH");
    int r = -ENOENT;
    while (r != 0 && path != NULL && *path != 0) {
        size_t length = strcspn(path, ":");
        r = length > 0 ? start_in(path, length, "", argv) : r;
        path += length + (path[length] == ':');
    }
    return r;
}

static bool start_anywhere(const char *const *argv) {
    return start_beside_library(argv) == 0 || start_on_path(argv) == 0;
}

static void start_for(const char *variable, const char *const *argv) {
    if (!start_anywhere(argv)) {
        mproc__log("%s: the program " PROGRAM " is neither beside the library nor on PATH",
                   variable);
    }
}

bool mproc__looker_watch(const char *setting) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)mproc__os_pid());
    const char *const watch[] = {PROGRAM, "watch", "--behind", "--after", setting, pid, NULL};
    return start_anywhere(watch);
}

void mproc__lookers_start(void) {
    const char *file = getenv("MPROC_TRACE"), *setting = getenv("MPROC_WATCHDOG");
    char pid[16];
    int error = errno;
    snprintf(pid, sizeof pid, "%d", (int)mproc__os_pid());
    const char *const record[] = {PROGRAM, "record", "--behind", pid, "-o", file, NULL};
    const char *const watch[] = {PROGRAM, "watch", "--behind", "--after", setting, pid, NULL};
    if (file != NULL && *file != 0) {
        start_for("MPROC_TRACE", record);
    }
    if (setting != NULL && *setting != 0) {
        start_for("MPROC_WATCHDOG", watch);
    }
    errno = error;
}
