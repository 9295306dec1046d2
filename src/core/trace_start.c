/*
 * trace_start.c - a family that is recorded from its beginning: MPROC_TRACE
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The founder starts the program `mproc record`, which goes on in a process that is
 * nobody's child, and waits until that records. The program stands beside the library or in the
 * directory of programs that belongs to its own; or it is looked for on PATH.
 *
 * If a member dies here: the recorder finds the family without members, and ends.
 */
#include "core/trace_start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trace.h"
#include "system/os.h"

#define PATH_SIZE 4096
#define PROGRAM "mproc"

extern char **environ;

static int start(const char *path, const char *pid, const char *file) {
    const char *const argv[] = {PROGRAM, "record", "--behind", pid, "-o", file, NULL};
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
static int start_in(const char *directory, size_t length, const char *rest, const char *pid,
                    const char *file) {
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof path, "%.*s/%s" PROGRAM, (int)length, directory, rest);
    return n > 0 && (size_t)n < sizeof path ? start(path, pid, file) : -ENOENT;
}

static int start_beside_library(const char *pid, const char *file) {
    static const char *const places[] = {"", "../bin/", "../../bin/"};
    const char *file_of_library = mproc__os_file_at(&mproc__trace);
    const char *end = file_of_library != NULL ? strrchr(file_of_library, '/') : NULL;
    int r = -ENOENT;
    for (size_t i = 0; end != NULL && r != 0 && i < sizeof places / sizeof *places; i++) {
        r = start_in(file_of_library, (size_t)(end - file_of_library), places[i], pid, file);
    }
    return r;
}

static int start_on_path(const char *pid, const char *file) {
    const char *path = getenv("PATH");
    int r = -ENOENT;
    while (r != 0 && path != NULL && *path != 0) {
        size_t length = strcspn(path, ":");
        r = length > 0 ? start_in(path, length, "", pid, file) : r;
        path += length + (path[length] == ':');
    }
    return r;
}

void mproc__trace_start(void) {
    const char *file = getenv("MPROC_TRACE");
    char pid[16];
    if (file == NULL || *file == 0) {
        return;
    }
    int error = errno;
    snprintf(pid, sizeof pid, "%d", (int)mproc__os_pid());
    if (start_beside_library(pid, file) != 0 && start_on_path(pid, file) != 0) {
        mproc__log("MPROC_TRACE: the program " PROGRAM
                   " is neither beside the library nor on PATH");
    }
    errno = error;
}
