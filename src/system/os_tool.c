/*
 * os_tool.c - other programs that the looker asks
 *
 * SPDX-License-Identifier: MIT
 *
 * Part of the program mproc, not of the library.
 */
#include "system/os_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/os.h"

extern char **environ;

static int start(const char *const *argv, int output, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0) {
        return -r;
    }
    r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    r = r == 0 ? posix_spawn_file_actions_adddup2(&actions, output, 1) : r;
    r = r == 0 ? posix_spawn_file_actions_adddup2(&actions, output, 2) : r;
    /* posix_spawnp() takes words that it does not change as ones that it might. */
    r = r == 0 ? posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ)
               : r;
    posix_spawn_file_actions_destroy(&actions);
    return r == 0 && *pid <= 0 ? -EAGAIN : -r;
}

ssize_t mproc__os_gather(int fd, char *out, size_t size, int64_t until) {
    char more[4096];
    size_t done = 0;
    for (;;) {
        struct pollfd poll_it = {fd, POLLIN, 0};
        int64_t left = until - mproc__os_now();
        if (left <= 0) {
            out[done] = 0;
            return -ETIMEDOUT;
        }
        if (poll(&poll_it, 1, (int)(left / MPROC_MSEC) + 1) <= 0) {
            continue;
        }
        bool room = done + 1 < size;
        ssize_t n = room ? read(fd, out + done, size - 1 - done) : read(fd, more, sizeof more);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            out[done] = 0;
            return (ssize_t)done;
        }
        done += room && n > 0 ? (size_t)n : 0;
    }
}

static ssize_t finish(pid_t pid, ssize_t gathered) {
    int status = 0;
    if (gathered < 0) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return gathered < 0                                      ? gathered
           : WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT
           : good                                            ? gathered
                                                             : -ECANCELED;
}

ssize_t mproc__os_tool(const char *const *argv, char *out, size_t size, int64_t timeout) {
    int64_t until = mproc__os_now() + timeout;
    int ends[2];
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    int r = start(argv, ends[1], &pid);
    close(ends[1]);
    ssize_t n = r == 0 ? finish(pid, mproc__os_gather(ends[0], out, size, until)) : r;
    close(ends[0]);
    return n;
}

/* ---------------------------------------------------------------- small things */

ssize_t mproc__os_link(const char *path, char *out, size_t size) {
    ssize_t n = readlink(path, out, size - 1);
    if (n < 0) {
        return -errno;
    }
    out[n] = 0;
    return n;
}

bool mproc__os_is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool mproc__os_only_one(int fd) {
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

bool mproc__os_runs_verb(pid_t pid, const char *verb) {
    char path[48], words[4400]; /* the program's path, and a verb */
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, words, sizeof words - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return false;
    }
    words[n] = 0;
    size_t first = strlen(words) + 1;
    return first < (size_t)n && strcmp(words + first, verb) == 0;
}

FILE *mproc__os_tool_keep_errors(void) {
    int fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
    return fd >= 0 ? fdopen(fd, "w") : NULL;
}
