/*
 * os_process.c - os.h for Linux: whether processes and threads live, and how they end
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"
#include "system/proc_stat.h"

/* Linux' generic numbers; old C libraries do not name them. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define PIDFS_TYPE 0x50494446u /* PID_FS_MAGIC */

/* ---------------------------------------------------------------- identity */

pid_t mproc__os_pid(void) {
    return getpid();
}

pid_t mproc__os_parent_pid(void) {
    return getppid();
}

/* ---------------------------------------------------------------- a process */

int mproc__os_pidfd_open(pid_t pid) {
    return os_kept(syscall(SYS_pidfd_open, pid, 0)); /* the kernel sets close-on-exec */
}

int mproc__os_pidfd_wait(int pidfd, int64_t timeout) {
    struct pollfd p = {pidfd, POLLIN, 0};
    return mproc__os_poll(&p, 1, timeout);
}

/* A process whose first thread has ended shows as a zombie though others go on: its pidfd knows. */
static bool has_ended(pid_t pid) {
    int fd = mproc__os_pidfd_open(pid);
    if (fd < 0) {
        return fd == -ESRCH;
    }
    int r = mproc__os_pidfd_wait(fd, 0);
    close(fd);
    return r == 1;
}

static int parse_stat(pid_t pid, const char *text, uint64_t *ticks) {
    bool ended;
    if (!mproc__stat_parse(text, &ended, ticks)) {
        return -ESRCH;
    }
    return ended && has_ended(pid) ? -ESRCH : 0;
}

static int start_ticks(pid_t pid, uint64_t *ticks) {
    char path[32], text[MPROC__STAT_SIZE];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { /* none of that number, or /proc is not there, or hides it */
        return errno == ENOENT && has_ended(pid) ? -ESRCH : -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = 0;
    return parse_stat(pid, text, ticks);
}

int mproc__os_process_is(pid_t pid, uint64_t when) {
    uint64_t ticks = 0;
    int r = start_ticks(pid, &ticks);
    if (r != 0) {
        return r == -ESRCH ? 0 : r;
    }
    return mproc__stat_was_there(ticks, when, (uint64_t)sysconf(_SC_CLK_TCK));
}

bool mproc__os_thread_ended(pid_t pid, pid_t tid) {
    return syscall(SYS_tgkill, pid, tid, 0) != 0 && errno == ESRCH;
}

int mproc__os_process_private(pid_t pid, uint64_t *bytes) {
    char path[32], text[128];
    unsigned long long resident, shared;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = 0;
    if (sscanf(text, "%*u %llu %llu", &resident, &shared) != 2) {
        return -EIO;
    }
    *bytes = (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

/* A sandbox may refuse robust lists; the C library does not tell. */
static bool has_robust_list(void) {
    struct robust_list_head *head = NULL;
    size_t size = 0;
    return syscall(SYS_get_robust_list, 0, &head, &size) == 0 && head != NULL;
}

/* The kernel knows of robust mutexes: a thread that ends while it holds one leaves a mark on it.
 * This one is taken once and never released. It is taken by a try, which a tool that looks for
 * deadlocks does not count as half of one. */
void mproc__os_life_begin(struct mproc__os_life *life) {
    pthread_mutexattr_t attr;
    if (!has_robust_list()) {
        return;
    }
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&life->held, &attr);
    (void)pthread_mutex_trylock(&life->held); /* it is free: this is its first life */
}

/* Other members may read the word meanwhile, so it is written by one store. No member reads the
 * bytes behind it. */
void mproc__os_life_clear(struct mproc__os_life *life) {
    const size_t word = sizeof life->word;
    mproc__store32(&life->word, 0);
    memset((char *)life + word, 0, sizeof *life - word);
}

/* Other C libraries than glibc keep the word elsewhere: there nothing is certain. */
bool mproc__os_life_certain(const struct mproc__os_life *life) {
#ifdef __GLIBC__
    static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "where the word is");
    uint32_t word = mproc__load32(&life->word);
    return (word & FUTEX_TID_MASK) != 0 && (word & FUTEX_OWNER_DIED) == 0;
#else
    (void)life;
    return false;
#endif
}

/* ---------------------------------------------------------------- children */

/* The children of one thread, appended behind the first n. */
static int children_of_task(pid_t parent, const char *task, pid_t *out, int cap, int n) {
    char path[320];
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)parent, task);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return errno == ENOENT && access("/proc/thread-self/children", F_OK) != 0 ? -ENOSYS : n;
    }
    while (fscanf(f, "%d", &child) == 1) {
        if (n < cap) {
            out[n] = child;
        }
        n++;
    }
    fclose(f);
    return n;
}

int mproc__os_process_children(pid_t parent, pid_t *out, int cap) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return -errno;
    }
    int n = 0;
    for (struct dirent *e = readdir(tasks); e != NULL && n >= 0; e = readdir(tasks)) {
        if (e->d_name[0] != '.') {
            n = children_of_task(parent, e->d_name, out, cap, n);
        }
    }
    closedir(tasks);
    return n;
}

struct mproc__os_mark mproc__os_descriptor_mark(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return (struct mproc__os_mark){0, 0};
    }
    return (struct mproc__os_mark){st.st_dev, st.st_ino};
}

/* Before Linux 6.9 all pidfds, and other things, share one inode: there /proc tells. Without /proc
 * they are taken for the same. */
static bool pidfd_names(int pidfd, pid_t pid) {
    char path[48], line[128];
    int found = pid;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return true;
    }
    bool is = false;
    while (!is && fgets(line, sizeof line, f) != NULL) {
        is = sscanf(line, "Pid: %d", &found) == 1 && (found == pid || found == -1);
    }
    fclose(f);
    return is; /* -1: it has ended, and was collected */
}

/* Since Linux 6.9 each process has an inode of its own, on a device that has nothing else. There is
 * one such device, which is asked about once. */
static bool is_pidfs(int fd, uint64_t device) {
    static uint64_t known; /* 0: none yet, and no device's number */
    struct statfs fs;
    if (mproc__peek64(&known) == device && device != 0) {
        return true;
    }
    if (fstatfs(fd, &fs) != 0 || (uint64_t)fs.f_type != PIDFS_TYPE) {
        return false;
    }
    mproc__poke64(&known, device); /* every thread finds the same */
    return true;
}

bool mproc__os_descriptor_is(int fd, struct mproc__os_mark mark, pid_t pid) {
    struct mproc__os_mark now = mproc__os_descriptor_mark(fd);
    if (now.inode != mark.inode || now.device != mark.device) {
        return false;
    }
    return pid == 0 || is_pidfs(fd, now.device) || pidfd_names(fd, pid);
}

bool mproc__os_pidfd_is_childs(int pidfd) {
    siginfo_t info;
    return waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* A filter of system calls may refuse the first way. The pid of a child that is not collected is
 * no other process'. */
int mproc__os_pidfd_signal(int pidfd, pid_t pid, int signal) {
    int r = os_result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
    bool refused = r == -EPERM || r == -ENOSYS;
    return refused && mproc__os_pidfd_is_childs(pidfd) ? os_result(kill(pid, signal)) : r;
}

/* What the kernel tells of a process (struct pidfd_info of linux/pidfd.h, its first version). */
struct told {
    uint64_t mask; /* asked for, and answered */
    uint64_t group;
    uint32_t ids[11];
    int32_t status; /* as wait() has it */
};

#define TELL _IOWR(0xff, 11, struct told) /* PIDFD_GET_INFO */
#define TELL_EXIT 8u                      /* PIDFD_INFO_EXIT */

/* A pidfd that was open at the end keeps the status after it was collected, since Linux 6.15. */
static int status_kept(int pidfd, int *code) {
    struct told told = {.mask = TELL_EXIT};
    if (ioctl(pidfd, TELL, &told) != 0 || (told.mask & TELL_EXIT) == 0) {
        return -ECHILD;
    }
    *code = WIFSIGNALED(told.status) ? -WTERMSIG(told.status) : WEXITSTATUS(told.status);
    return 1;
}

/* By pidfd, not by pid: the program may have collected the child, and its number may have come
 * round. */
int mproc__os_process_collect(int pidfd, bool take, int *code) {
    siginfo_t info;
    int keep = take ? 0 : WNOWAIT;
    info.si_pid = 0;
    if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | keep) != 0) {
        return errno == ECHILD ? status_kept(pidfd, code) : -errno;
    }
    if (info.si_pid == 0) {
        return 0;
    }
    *code = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

void mproc__os_process_end(pid_t child) {
    (void)kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* ---------------------------------------------------------------- the parent */

int mproc__os_parent_watch(int signal, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigset_t set;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return os_result(prctl(PR_SET_PDEATHSIG, signal));
}

void mproc__os_kill_self(void) {
    (void)kill(getpid(), SIGKILL);
}
