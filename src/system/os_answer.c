/*
 * os_answer.c - what a process says of itself when the looker asks it
 *
 * SPDX-License-Identifier: MIT
 *
 * Part of the program mproc, not of the library.
 *
 * By a signal. A process that wants to be asked has a handler for SIGURG, which writes into a
 * memory file of a known name that it has open. Both are looked for before the signal is sent.
 * SIGURG is ignored by who has no handler: a process that executes another program between the look
 * and the signal lives on, too. Lookers take turns by a lock of the file (flock), which the process
 * does not know. The file is emptied before, and its name is the other process' word only: so none
 * of another user's process is opened, which might be any file that root may write. The handler is
 * done when it has written something, and no more threads have the signal blocked than before: the
 * kernel blocks it while its handler runs.
 */
#include "system/os_answer.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"
#include "system/os_tool.h"

#define MAPS_LINE 4352 /* of /proc/PID/maps: numbers, and a path of PATH_MAX */
#define STEP (5 * MPROC_MSEC)
#define STILL MPROC_SEC /* nothing more is written: where threads that block signals come and go */

static int no_process(void) {
    return errno == ENOENT ? -ESRCH : -errno;
}

int mproc__os_mapped_path(pid_t pid, const char *part, char *out, size_t size) {
    char path[48], line[MAPS_LINE];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    if (maps == NULL) {
        return no_process();
    }
    int r = -ENOENT;
    while (r == -ENOENT && fgets(line, sizeof line, maps) != NULL) {
        const char *found = strchr(line, '/');
        if (found != NULL && strstr(found, part) != NULL) {
            size_t n = strcspn(found, "\n");
            r = n < size ? 0 : -ENAMETOOLONG;
            snprintf(out, size, "%.*s", (int)n, found);
        }
    }
    fclose(maps);
    return r;
}

/* The folder's owner is the effective user, also of a process whose files there are root's because
 * it is not to be looked at. */
bool mproc__os_is_our_users(pid_t pid) {
    char path[32];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && st.st_uid == geteuid();
}

/* ---------------------------------------------------------------- by a socket */

/* Names of this kind are no files: they go with their sockets. */
static socklen_t address_of(pid_t pid, struct sockaddr_un *out) {
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(out->sun_path + 1, sizeof out->sun_path - 1, MPROC__ANSWERS "-%d", (int)pid);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

int mproc__os_ear_new(pid_t pid) {
    struct sockaddr_un address;
    socklen_t length = address_of(pid, &address);
    int ear = os_kept(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (ear >= 0 && (bind(ear, (struct sockaddr *)&address, length) != 0 || listen(ear, 8) != 0)) {
        int r = -errno;
        close(ear);
        return r;
    }
    return ear;
}

static bool is_from(int fd, pid_t pid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == pid;
}

/* Whether the process has something to say, or has ended: the latter without a pidfd as well. */
static int wait_for_word(int ear, int pidfd, int64_t until) {
    struct pollfd polls[] = {{ear, POLLIN, 0}, {pidfd, POLLIN, 0}};
    int64_t left = until - mproc__os_now();
    if (left <= 0) {
        return -ETIMEDOUT;
    }
    (void)poll(polls, 2, (int)(left / MPROC_MSEC) + 1);
    return polls[0].revents == 0 && polls[1].revents != 0 ? -ESRCH : 0;
}

ssize_t mproc__os_ear_take(int ear, pid_t pid, char *out, size_t size, int64_t timeout) {
    int64_t until = mproc__os_now() + timeout;
    int pidfd = mproc__os_pidfd_open(pid);
    ssize_t r = pidfd >= 0 ? 0 : pidfd;
    while (r == 0) {
        r = wait_for_word(ear, pidfd, until);
        int fd = r == 0 ? accept4(ear, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            r = is_from(fd, pid) ? mproc__os_gather(fd, out, size, until) : 0;
            close(fd);
        }
    }
    if (pidfd >= 0) {
        close(pidfd);
    }
    return r;
}

/* ---------------------------------------------------------------- by a signal */

static bool has_urgent(uint64_t signals) {
    return (signals >> (SIGURG - 1) & 1) != 0;
}

/* How many threads of a process do not take the signal now. */
static int count_blocked(pid_t pid) {
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *all = opendir(path);
    int n = 0;
    for (struct dirent *e; all != NULL && (e = readdir(all)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, e->d_name);
        n += e->d_name[0] != '.' && has_urgent(mproc__os_signals(path, "SigBlk"));
    }
    if (all != NULL) {
        closedir(all);
    }
    return n;
}

static bool is_answers(const char *path) {
    static const char name[] = "/memfd:" MPROC__ANSWERS " (deleted)";
    char target[sizeof name + 1];
    ssize_t n = readlink(path, target, sizeof target);
    return n == sizeof name - 1 && memcmp(target, name, sizeof name - 1) == 0;
}

/* The path of the memory file that a process answers into. */
static int find_answers(pid_t pid, char *path, size_t size) {
    snprintf(path, size, "/proc/%d/fd", (int)pid);
    DIR *all = opendir(path);
    if (all == NULL) {
        return no_process();
    }
    int r = -ENOTSUP;
    for (struct dirent *e = readdir(all); e != NULL && r != 0; e = readdir(all)) {
        snprintf(path, size, "/proc/%d/fd/%s", (int)pid, e->d_name);
        r = is_answers(path) ? 0 : -ENOTSUP;
    }
    closedir(all);
    return r;
}

static bool take_turn(int fd, int64_t until) {
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (mproc__os_now() >= until) {
            return false;
        }
        (void)mproc__os_poll(NULL, 0, STEP);
    }
    return true;
}

static off_t size_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_size : 0;
}

/* Until the handler has written all that it writes. */
static int wait_for_answer(int fd, int pidfd, pid_t pid, int blocked, int64_t until) {
    off_t before = 0;
    int64_t changed = mproc__os_now();
    for (;;) {
        if (mproc__os_pidfd_wait(pidfd, STEP) == 1) {
            return -ESRCH;
        }
        off_t size = size_of(fd);
        int64_t now = mproc__os_now();
        changed = size != before ? now : changed;
        before = size;
        if (size > 0 && (count_blocked(pid) <= blocked || now - changed >= STILL)) {
            return 0;
        }
        if (now >= until) {
            return -ETIMEDOUT;
        }
    }
}

/* `path` is looked at again: what it was found by may be another file by now. */
static ssize_t ask(int fd, const char *path, int pidfd, pid_t pid, char *out, size_t size,
                   int64_t timeout) {
    char status[48];
    int64_t until = mproc__os_now() + timeout;
    snprintf(status, sizeof status, "/proc/%d/status", (int)pid);
    if (!take_turn(fd, until)) {
        return -ETIMEDOUT;
    }
    int blocked = count_blocked(pid);
    if (ftruncate(fd, 0) != 0 || !is_answers(path) ||
        !has_urgent(mproc__os_signals(status, "SigCgt"))) {
        return -ENOTSUP;
    }
    int r = mproc__os_pidfd_signal(pidfd, pid, SIGURG);
    r = r == 0 ? wait_for_answer(fd, pidfd, pid, blocked, until) : r;
    ssize_t n = r == 0 ? mproc__os_read_at(fd, out, size - 1, 0) : r;
    out[n > 0 ? n : 0] = 0;
    return n;
}

ssize_t mproc__os_answer(pid_t pid, char *out, size_t size, int64_t timeout) {
    char path[320];
    int pidfd = mproc__os_pidfd_open(pid);
    ssize_t r = pidfd < 0                     ? pidfd
                : mproc__os_is_our_users(pid) ? find_answers(pid, path, sizeof path)
                                              : -EPERM;
    int fd = r == 0 ? os_kept(open(path, O_RDWR | O_CLOEXEC)) : -1;
    if (fd >= 0) {
        r = ask(fd, path, pidfd, pid, out, size, timeout);
        close(fd);
    } else if (r == 0) {
        r = fd == -ENOENT ? -ESRCH : fd;
    }
    if (pidfd >= 0) {
        close(pidfd);
    }
    return r;
}
