/*
 * os_other.c - os.h for Linux: what a process sees of others from outside
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"
#include "system/proc_stat.h"

#define MAPS_LINE 4352 /* of /proc/PID/maps: numbers, and a path of PATH_MAX */

/* A directory of that name may be there, with nothing mounted on it. */
static bool has_proc(void) {
    struct stat self;
    return stat("/proc/self", &self) == 0;
}

int mproc__os_processes(pid_t *out, int cap) {
    DIR *all = opendir("/proc");
    if (all == NULL && errno != ENOENT) {
        return -errno;
    }
    if (all == NULL || !has_proc()) {
        (void)(all != NULL && closedir(all));
        return -ENODEV;
    }
    int n = 0;
    for (struct dirent *e = readdir(all); e != NULL; e = readdir(all)) {
        if (isdigit((unsigned char)e->d_name[0])) {
            if (n < cap) {
                out[n] = (pid_t)strtol(e->d_name, NULL, 10);
            }
            n++;
        }
    }
    closedir(all);
    return n;
}

/* Why a process is not in /proc: of one that it hides (hidepid) the kernel says that it is another
 * user's. */
static int absence(pid_t pid) {
    return !has_proc() ? -ENODEV : kill(pid, 0) != 0 && errno == EPERM ? -EACCES : -ESRCH;
}

/* The inode in a line of /proc/PID/maps, if it maps a memfd of that name. */
static bool maps_memory(const char *line, const char *name, uint64_t *inode) {
    unsigned long long number;
    int path = 0;
    if (sscanf(line, "%*s %*s %*s %*s %llu %n", &number, &path) != 1 || path == 0) {
        return false;
    }
    size_t length = strlen(name);
    const char *found = line + path;
    if (strncmp(found, "/memfd:", 7) != 0 || strncmp(found + 7, name, length) != 0) {
        return false;
    }
    *inode = number;
    return found[7 + length] == ' ' || found[7 + length] == '\n';
}

int mproc__os_memory_mapped(pid_t pid, const char *name, uint64_t *inode) {
    char path[48], line[MAPS_LINE];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    if (maps == NULL) {
        return errno == ENOENT ? absence(pid) : -errno;
    }
    errno = 0;
    int r = -ENOENT;
    while (r == -ENOENT && fgets(line, sizeof line, maps) != NULL) {
        r = maps_memory(line, name, inode) ? 0 : -ENOENT;
    }
    int error = ferror(maps) ? errno : 0;
    fclose(maps);
    return r == 0 || error == 0 ? r : -error;
}

bool mproc__os_same_pids(pid_t pid) {
    char path[48];
    struct stat mine, its;
    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    return stat("/proc/self/ns/pid", &mine) != 0 || stat(path, &its) != 0 ||
           (mine.st_ino == its.st_ino && mine.st_dev == its.st_dev);
}

static bool is_inode(const char *path, uint64_t inode) {
    struct stat st;
    char target[32];
    ssize_t n = readlink(path, target, sizeof target);
    return n > 7 && memcmp(target, "/memfd:", 7) == 0 && stat(path, &st) == 0 && st.st_ino == inode;
}

static int memory_open(pid_t pid, uint64_t inode, int how) {
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *all = opendir(path);
    if (all == NULL) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    int fd = -EBADF;
    for (struct dirent *e = readdir(all); e != NULL && fd == -EBADF; e = readdir(all)) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, e->d_name);
        if (is_inode(path, inode)) {
            fd = os_kept(open(path, how | O_CLOEXEC));
        }
    }
    closedir(all);
    return fd;
}

int mproc__os_memory_open(pid_t pid, uint64_t inode) {
    return memory_open(pid, inode, O_RDONLY);
}

int mproc__os_memory_open_to_write(pid_t pid, uint64_t inode) {
    return memory_open(pid, inode, O_RDWR);
}

ssize_t mproc__os_read_at(int fd, void *out, size_t size, uint64_t offset) {
    ssize_t n = pread(fd, out, size, (off_t)offset);
    return n < 0 ? -errno : n;
}

/* Fields 14 and 15 of /proc/PID/stat are CPU time, 20 the threads. */
static int parse(const char *text, struct mproc__os_seen *out) {
    unsigned long long user, system, began;
    const char *rest = mproc__stat_behind_name(text);
    if (rest == NULL || sscanf(rest,
                               " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d "
                               "%*d %*d %d %*d %llu",
                               &out->state, &user, &system, &out->threads, &began) != 5) {
        return -EIO;
    }
    uint64_t tick = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);
    out->cpu = (user + system) * tick;
    out->began = began * tick;
    return 0;
}

int mproc__os_process_see(pid_t pid, struct mproc__os_seen *out) {
    char path[48], text[MPROC__STAT_SIZE];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? absence(pid) : -errno;
    }
    ssize_t n = fstat(fd, &st) == 0 ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = 0;
    out->user = st.st_uid;
    out->private_bytes = 0;
    (void)mproc__os_process_private(pid, &out->private_bytes);
    return parse(text, out);
}

int mproc__os_thread_state(pid_t pid, pid_t thread) {
    char path[64], text[MPROC__STAT_SIZE];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *rest = mproc__stat_behind_name(text);
    return rest != NULL && rest[0] == ' ' && rest[1] != 0 ? rest[1] : -ESRCH;
}

uint64_t mproc__os_signals(const char *status, const char *name) {
    char line[256];
    unsigned long long set = 0;
    size_t length = strlen(name);
    FILE *file = fopen(status, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            set = strtoull(line + length + 1, NULL, 16);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return set;
}

/* ---------------------------------------------------------------- code */

/* The loader knows the program by the name that it was called by. */
static void say_file(const Dl_info *info, char *out, size_t size) {
    ssize_t n = info->dli_fname[0] == '/' ? -1 : readlink("/proc/self/exe", out, size - 1);
    if (n >= 0) {
        out[n] = 0;
    } else {
        snprintf(out, size, "%s", info->dli_fname);
    }
}

/* A program that is not position-independent has its addresses in its file. */
static size_t place_in_file(const Dl_info *info, const char *address) {
    const Elf64_Ehdr *head = info->dli_fbase;
    return head->e_type == ET_EXEC ? (size_t)(uintptr_t)address
                                   : (size_t)(address - (const char *)info->dli_fbase);
}

void mproc__os_where(const void *address, char *out, size_t size) {
    const char *call = (const char *)address - 1; /* it is where the call returns to */
    char file[200];
    Dl_info info;
    *out = 0;
    if (dladdr(call, &info) != 0 && info.dli_fname != NULL) {
        say_file(&info, file, sizeof file);
        snprintf(out, size, "%s(%.40s)+0x%zx", file, info.dli_sname != NULL ? info.dli_sname : "?",
                 place_in_file(&info, call));
    }
}

/* ---------------------------------------------------------------- for a program that records */

int mproc__os_write_at(int fd, const void *lent, size_t size, uint64_t offset) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const char *)lent + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int mproc__os_file_replace(const char *path, mode_t mode) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)unlink(path); /* if it stays, it is written over */
    }
    return os_kept(open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode));
}

static int write_all(int fd, const char *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, bytes + done, size - done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Closed is written: some file systems tell only then that they are full. */
static int write_and_close(int fd, const char *bytes, size_t size) {
    int r = write_all(fd, bytes, size);
    return close(fd) != 0 && r == 0 ? -errno : r;
}

static int write_to_it(const char *path, const char *bytes, size_t size) {
    int fd = os_kept(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC));
    return fd < 0 ? fd : write_and_close(fd, bytes, size);
}

int mproc__os_file_save(const char *path, const void *lent, size_t size) {
    struct stat st;
    char beside[PATH_MAX];
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return write_to_it(path, lent, size);
    }
    const char *slash = strrchr(path, '/');
    int n = snprintf(beside, sizeof beside, "%.*s.mproc-%d",
                     slash != NULL ? (int)(slash - path + 1) : 0, path, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof beside) {
        return -ENAMETOOLONG;
    }
    int fd = os_kept(open(beside, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666));
    if (fd == -EACCES) { /* the file may be the caller's, and its directory not */
        int r = write_to_it(path, lent, size);
        return r == -ENOENT ? -EACCES : r;
    }
    if (fd < 0) {
        return fd;
    }
    int r = write_and_close(fd, lent, size);
    r = r == 0 && rename(beside, path) != 0 ? -errno : r;
    if (r != 0) {
        (void)unlink(beside);
    }
    return r;
}

/* The system has made the counter its own clock where it is steady. */
bool mproc__os_ticks_steady(void) {
    char name[32] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                  O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, name, sizeof name - 1) : 0;
    if (fd >= 0) {
        close(fd);
    }
    return n > 0 && (strcmp(name, "tsc\n") == 0 || strcmp(name, "arch_sys_counter\n") == 0) &&
           mproc__os_ticks() != 0;
}

static volatile sig_atomic_t asked;

static void note_signal(int signal) {
    asked = signal;
}

void mproc__os_end_when_asked(void) {
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &action.sa_mask, NULL);
}

bool mproc__os_asked_to_end(void) {
    return asked != 0;
}

void mproc__os_go_behind(void) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < OS_FIRST_KEPT; fd++) {
        (void)dup2(null, fd);
    }
    if (null >= OS_FIRST_KEPT) {
        close(null);
    }
    (void)setsid();
}

/* ---------------------------------------------------------------- names of places in memory */

const char *mproc__os_file_at(const void *address) {
    Dl_info info;
    return dladdr(address, &info) != 0 ? info.dli_fname : NULL;
}

const char *mproc__os_symbol_at(const void *address) {
    Dl_info info;
    return dladdr(address, &info) != 0 && info.dli_saddr == address ? info.dli_sname : NULL;
}
