/*
 * os.h - what the library asks of the operating system: the contract
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything that is not plain C stands behind these functions, a section a file: os_time.c,
 * os_group.c, os_memory.c, os_file.c, os_process.c, os_other.c, os_start.c, os_descriptor.c, for
 * Linux from 5.4 on; what came later is probed when it is used. They and the watcher, which does
 * without the C library, are the only files with system calls. Threads and streams are the C
 * library's, and used everywhere.
 *
 * Laws: results are 0 or a count, or -errno; outputs are written on success only; a descriptor that
 * is made or received here is 3 or higher, also where standard input, output or error are closed;
 * nothing here knows of families, members or arenas.
 */
#ifndef MPROC_OS_H
#define MPROC_OS_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "system/atomic.h"

#if defined(__has_include) && defined(__has_builtin)
#if __has_include(<sys/rseq.h>) && __has_builtin(__builtin_thread_pointer)
#include <sys/rseq.h>
#define MPROC__OS_RSEQ 1
/* A build for older versions of glibc looks at run time whether this one has it. */
#if !__GLIBC_PREREQ(2, 35)
#define MPROC__OS_RSEQ_MAYBE 1
#pragma weak __rseq_offset
#endif
#endif
#endif

/* ---- time and place */

/* Nanoseconds of a clock that never goes back; the same clock in all processes. */
int64_t mproc__os_now(void);
/* Nanoseconds of CPU time that the calling thread has had. */
int64_t mproc__os_thread_time(void);
/* Nanoseconds since boot, suspended time included: the clock of processes' start times. */
uint64_t mproc__os_boot_now(void);
/* The processor's own counter, which costs a third of the clock: the same in all processes and on
 * all CPUs, if mproc__os_ticks_steady() says so. 0: this processor has none that is known here. */
static inline uint64_t mproc__os_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}
bool mproc__os_ticks_steady(void);
/* The calling thread's id; cannot fail. */
pid_t mproc__os_tid(void);
/* The CPU that the caller runs on at this moment: a hint, and -1 where the system cannot tell;
 * cannot fail otherwise. Two loads where the kernel and glibc (2.35) keep it in the thread's own
 * memory (rseq), a call otherwise. */
int mproc__os_cpu_asked(void);

static inline int mproc__os_cpu(void) {
#if MPROC__OS_RSEQ_MAYBE
    if (&__rseq_offset == NULL) {
        return mproc__os_cpu_asked();
    }
#endif
#if MPROC__OS_RSEQ
    const char *thread = __builtin_thread_pointer();
    const struct rseq *rseq = (const struct rseq *)(const void *)(thread + __rseq_offset);
    int cpu = (int)mproc__peek32(&rseq->cpu_id);
    return __builtin_expect(cpu >= 0, 1) ? cpu : mproc__os_cpu_asked();
#else
    return mproc__os_cpu_asked();
#endif
}

/* Lets another thread have the CPU. */
void mproc__os_yield(void);
/* CPUs that the process may use, at least 1. */
unsigned mproc__os_cpus(void);
/* As many CPUs' time as the process' control groups may take, versions 1 and 2; 0: there is no
 * limit. `proc` is where the system tells, "/proc". */
double mproc__os_cpu_quota(const char *proc);

/* ---- sleeping on a word of shared memory */

/* Sleeps while *word == expected, for at most `timeout` ns (negative: no end).
 * 0: woken, or the word differs; -ETIMEDOUT; -EINTR: a signal handler ran. */
int mproc__os_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout);
/* Wakes up to n sleepers, those that sleep longest; returns how many. Cannot fail. */
int mproc__os_futex_wake(uint32_t *word, int n);
/* The same with sleepers of several classes, a bit each: wakes those only that have a bit of
 * `classes`. The plain calls are for all classes. */
int mproc__os_futex_wait_as(const uint32_t *word, uint32_t expected, int64_t timeout,
                            uint32_t classes);
int mproc__os_futex_wake_of(uint32_t *word, int n, uint32_t classes);

/* ---- memory */

/* An anonymous file of `size` bytes (sparse), whose size is sealed: a descriptor, close-on-exec.
 * -EMFILE, -ENOMEM, -ENOSYS, -EFBIG. */
int mproc__os_memory_new(const char *name, size_t size);
/* Maps it whole at `address`. It gets pages as they are touched, also where the process has all its
 * mappings locked (mlockall), and none of them go into core dumps. -EEXIST: something is there
 * already; -ENOMEM; -EAGAIN: it may not lock so much. */
int mproc__os_memory_map(int fd, void *address, size_t size);
/* Takes any mapping away. -EINVAL: no address of a page. */
int mproc__os_memory_unmap(void *address, size_t size);
/* Maps a range of it anew where it is mapped already: privately (copy on write), or as before. */
int mproc__os_memory_remap(int fd, void *address, size_t size, size_t offset, bool privately);
/* Is the descriptor such a file, and of that size? */
bool mproc__os_memory_is(int fd, size_t size);
/* Backs a range with memory now, so that touching it later cannot fail. -ENOMEM, -ENOSPC. */
int mproc__os_memory_commit(int fd, size_t offset, size_t size);
/* Backs a whole mapping of an unlimited or limited file with pages now, and maps them. -ENOSPC. */
int mproc__os_memory_populate(int fd, void *address, size_t size);
/* Maps pages of a range that is mapped already, so that touching it cannot fail. -ENOMEM: there are
 * none. A kernel before 5.14 does nothing. */
int mproc__os_memory_secure(void *address, size_t size);
/* memcpy() of much: the pages that `to` does not have yet are fetched many at a time, and a second
 * thread may help, which is gone when this returns. */
void mproc__os_memory_copy_much(void *to, const void *from, size_t size);
#define MPROC__MUCH ((size_t)4 << 20) /* below it malloc() mostly has memory that was used before */
static inline void mproc__os_memory_copy(void *to, const void *from, size_t size) {
    if (size < MPROC__MUCH) {
        memcpy(to, from, size);
    } else {
        mproc__os_memory_copy_much(to, from, size);
    }
}
/* Gives a range's pages back to the system; it reads as zero afterwards. -EINVAL: no pages. */
int mproc__os_memory_release(void *address, size_t size);
/* Does the system refuse memory that it has no room for, and send SIGBUS for want of a page? */
bool mproc__os_memory_is_strict(void);
/* Bytes of the cache that a CPU has for itself, the second level's; 0: the system does not tell. */
uint64_t mproc__os_cache_own(void);
/* Bytes of memory that there are for the process: the machine's, or its control groups'. */
uint64_t mproc__os_memory_total(void);
/* Bytes that the process' control groups may take, versions 1 and 2; 0: there is no limit. `proc`
 * is where the system tells, "/proc". */
uint64_t mproc__os_memory_quota(const char *proc);
/* Bytes of address space that the process has taken; 0: the system does not tell. */
uint64_t mproc__os_space_taken(void);
/* Bytes that mproc__os_memory_new() can have by RLIMIT_FSIZE (ulimit -f), which it lifts for a
 * moment where that is allowed, and bytes of address space that RLIMIT_AS (ulimit -v) leaves to the
 * process now. UINT64_MAX: there is no limit. */
uint64_t mproc__os_memory_most(void);
uint64_t mproc__os_space_left(void);

/* ---- files that are memory, and have names */

/* A new file without a name, in a directory; a descriptor, close-on-exec, as those of the next two.
 * -EOPNOTSUPP, and the other errors of open(2). */
int mproc__os_file_nameless(const char *directory, mode_t mode);
/* A new file of that name. -EEXIST, and the other errors of open(2). */
int mproc__os_file_new(const char *path, mode_t mode);
/* A file that is there, to read and write. -ENOENT, and the other errors of open(2). */
int mproc__os_file_open(const char *path);
/* Gives a nameless file its name. -EEXIST, and the other errors of linkat(2). */
int mproc__os_file_link(int fd, const char *path);
/* Takes a name away. -ENOENT, -EACCES. */
int mproc__os_file_unlink(const char *path);
/* The inode of the file that has the name now, symbolic links not followed; 0: there is none. */
uint64_t mproc__os_file_inode(const char *path);
/* Size and inode of an open file. -EOVERFLOW. */
int mproc__os_file_look(int fd, size_t *size, uint64_t *inode);
/* Has its file system so many bytes left at this moment? -ENOSPC: it has not. */
int mproc__os_file_room(int fd, size_t size);
/* Gives a file another size. -ENOMEM: no file can be as large; -ENOSPC. */
int mproc__os_file_resize(int fd, size_t size);
/* The file's first bytes, all of them. -ENOSPC. */
int mproc__os_file_write(int fd, const char *lent, size_t size);
/* Maps its first bytes somewhere; see mproc__os_memory_unmap(). -ENOMEM. */
int mproc__os_file_map(int fd, size_t size, void **out);
/* Opens the file once more, only to read, and locks its byte of that number for whoever has this
 * opening: until all copies of the returned descriptor, which is close-on-exec, are closed. The
 * lock says something, and keeps nobody from anything. -ENOENT: there is no /proc; -EMFILE. */
int mproc__os_file_lock(int fd, uint64_t byte);
/* Is that byte locked through another opening than `fd`'s? */
bool mproc__os_file_locked(int fd, uint64_t byte);
/* Random bytes, at most 256. -EAGAIN. */
int mproc__os_random(void *out, size_t size);

/* ---- processes */

/* The caller's, by a system call, and its parent's at this moment. They cannot fail. */
pid_t mproc__os_pid(void);
pid_t mproc__os_parent_pid(void);

/* A descriptor for a process, readable once it has ended; close-on-exec. -ESRCH, -EMFILE. */
int mproc__os_pidfd_open(pid_t pid);
/* 1: ended, 0: still running after `timeout` ns; -EINTR, but not with a timeout of 0. */
int mproc__os_pidfd_wait(int pidfd, int64_t timeout);
/* Sends a signal, if need be to the child that has that pid. -ESRCH: it has ended and its status
 * was collected; -EPERM. */
int mproc__os_pidfd_signal(int pidfd, pid_t pid, int signal);
/* Is the process that had this pid at `when` (mproc__os_boot_now()) still running? 1; 0: it has
 * ended, collected or not, and if there is such a pid now it came round again; or an error. Some 15
 * us. */
int mproc__os_process_is(pid_t pid, uint64_t when);
/* Is there no thread of that number in that process, or no such process? */
bool mproc__os_thread_ended(pid_t pid, pid_t tid);

/* Tells of a thread, without a system call, that it lives: the kernel marks the word when the
 * thread ends, or its process executes another program. In shared memory; zero: no thread's. */
struct mproc__os_life {
    union {
        pthread_mutex_t held;
        uint32_t word;    /* a robust futex: the thread's id, marked when it has ended */
        uint64_t room[6]; /* that of the largest, arm64's: a slot has one size everywhere */
    };
};
/* Makes it the calling thread's, for good. */
void mproc__os_life_begin(struct mproc__os_life *life);
/* Makes it no thread's again; other threads may be looking at it. */
void mproc__os_life_clear(struct mproc__os_life *life);
/* True: the thread lives. False: ask the system about its process. */
bool mproc__os_life_certain(const struct mproc__os_life *life);

/* Fills up to `cap` pids of the living and dead children of a process; returns how many there are.
 * -ENOSYS: this kernel does not tell. */
int mproc__os_process_children(pid_t parent, pid_t *out, int cap);

/* What a descriptor is open on: to tell later whether the program has closed the number, and
 * perhaps uses it again. */
struct mproc__os_mark {
    uint64_t device, inode;
};
/* Zero: it is not open. */
struct mproc__os_mark mproc__os_descriptor_mark(int fd);
/* Is the number still what it was when it was marked? pid: it was a pidfd of that process; 0: it
 * was something else. */
bool mproc__os_descriptor_is(int fd, struct mproc__os_mark mark, pid_t pid);

/* Is it a pidfd of a child of the caller whose status has not been collected? */
bool mproc__os_pidfd_is_childs(int pidfd);

/* Collects the status of an ended child, named by its pidfd, or only looks at it. 1 and *code (exit
 * code or -signal), since Linux 6.15 also when others have collected it; 0: still running; -ECHILD:
 * not a child, or its status was collected already. */
int mproc__os_process_collect(int pidfd, bool take, int *code);

/* Bytes of memory that are resident and the process' own: neither a file's nor shared. -ENOENT,
 * -ESRCH: it has ended; -EACCES. */
int mproc__os_process_private(pid_t pid, uint64_t *bytes);

/* Kills a child, and collects its status. */
void mproc__os_process_end(pid_t child);

/* From now on `signal` is sent to the caller when its parent, or the parent's thread that started
 * it, ends, and `handler` runs then. -EINVAL: no such signal. */
int mproc__os_parent_watch(int signal, void (*handler)(int));

/* Ends the caller at once; also in a signal handler. */
void mproc__os_kill_self(void);

/* The file from which the loader has mapped what is there; the name by which it exports what begins
 * there. NULL: there is none. */
const char *mproc__os_file_at(const void *address);
const char *mproc__os_symbol_at(const void *address);

/* ---- other processes, from outside */

/* Fills up to `cap` pids of all processes that can be seen; returns how many there are. -ENODEV:
 * no /proc is mounted; -EMFILE, -ENOMEM. */
int mproc__os_processes(pid_t *out, int cap);
/* The inode of the first file of mproc__os_memory_new() of that name that a process has mapped.
 * -ESRCH: there is no such process; -EACCES: it is another user's; -ENOENT: it has mapped none;
 * -ENODEV: no /proc is mounted. */
int mproc__os_memory_mapped(pid_t pid, const char *name, uint64_t *inode);
/* Do its pids mean the same processes as the caller's? True as well where that cannot be seen. */
bool mproc__os_same_pids(pid_t pid);
/* A descriptor to read such a file that a process has open; close-on-exec. -ESRCH, -EACCES,
 * -EMFILE; -EBADF: it has none of that inode open. */
int mproc__os_memory_open(pid_t pid, uint64_t inode);
/* The same to read and write. */
int mproc__os_memory_open_to_write(pid_t pid, uint64_t inode);
/* Bytes of a file from `offset` on: how many were read. A hole of it reads as zero, and stays one,
 * which a look through a mapping would fill. -EIO, -EINVAL. */
ssize_t mproc__os_read_at(int fd, void *out, size_t size, uint64_t offset);

/* Writes all of it, from `offset` on. -ENOSPC, -ESPIPE, -EIO, ... */
int mproc__os_write_at(int fd, const void *lent, size_t size, uint64_t offset);
/* A new empty file of that name, to write; close-on-exec. A regular file that has the name loses
 * it, and stays as it is for those who have it open. -ENOENT, -EACCES, ... */
int mproc__os_file_replace(const char *path, mode_t mode);

/* Makes such a file of all those bytes, or none: a file that has the name stays if it fails. What
 * is no regular file is written to. -ENOSPC, -ENOENT, -EACCES, -ENAMETOOLONG, ... */
int mproc__os_file_save(const char *path, const void *lent, size_t size);

/* From now on the first signal that asks for an end (SIGINT, SIGTERM, SIGHUP) only has
 * mproc__os_asked_to_end() say so, and ends the sleep that it comes in. */
void mproc__os_end_when_asked(void);
bool mproc__os_asked_to_end(void);
/* Takes the caller out of its session, and away from its terminal and its three streams. */
void mproc__os_go_behind(void);

struct mproc__os_seen {
    char state;             /* as /proc/PID/stat has it: R, S, T (stopped), Z, ... */
    int threads;            /* that it has */
    uid_t user;             /* whose it is */
    uint64_t cpu;           /* ns that it has run */
    uint64_t began;         /* as mproc__os_boot_now() */
    uint64_t private_bytes; /* see mproc__os_process_private(); 0: not told */
};
/* What /proc says of a process. -ESRCH: it has ended; -EACCES, -EMFILE, -EIO, ... */
int mproc__os_process_see(pid_t pid, struct mproc__os_seen *out);
/* A thread's state, as that of a process. -ESRCH, -EACCES, -EMFILE, ... */
int mproc__os_thread_state(pid_t pid, pid_t thread);
/* The set of signals that a line of /proc/.../status has, such as "SigCgt", those with handlers:
 * number n is bit n - 1. Without that line: 0. */
uint64_t mproc__os_signals(const char *status, const char *name);

/* ---- starting processes */

/* fork(): 0 in the child, its pid in the parent. -EAGAIN, -ENOMEM. */
pid_t mproc__os_fork(void);

struct mproc__os_spawn {
    const char *path;
    const char *const *argv;
    const char *const *envp;
    const int *fds; /* open in the child under the same numbers, with 0, 1 and 2, and no others;
                       sorted, the lowest first */
    size_t nfds;
};

/* Starts a program. -EAGAIN, -ENOMEM, and what exec reports (-ENOENT, -EACCES, ...). */
int mproc__os_spawn(const struct mproc__os_spawn *what, pid_t *pid);

/* Forks a process whose parent is the caller's parent (so it is the caller's sibling). Only for a
 * process with one thread; no pthread_atfork() handlers run. Returns 0 in the new process, its pid
 * in the caller, which is in *where before the new process runs. -EAGAIN, -ENOMEM; -ENOSYS: this C
 * library's record of the thread id cannot be found. */
pid_t mproc__os_fork_sibling(pid_t *where);

/* Runs a function in a process that has no parent but init: in a session of its own, with all
 * signals blocked, with copies of the caller's descriptors, and in the caller's memory, on a stack
 * of 16 KiB. The function must not return and must not use the C library. It should soon execute
 * another program, because the caller's memory lasts as long as it does not. *where (shared memory)
 * holds its pid before it runs. One thread at a time. -EBUSY: so many earlier ones have not
 * executed a program yet; -EAGAIN, -ENOMEM. */
#define MPROC__OS_ORPHANS 16
int mproc__os_orphan(int (*run)(void *arg), void *arg, uint32_t *where);

/* ---- what a process does to itself */

/* chdir(), setrlimit() and sched_setaffinity(), and their errors: -ENOENT, -EPERM, -EINVAL, ... */
int mproc__os_directory(const char *path);
int mproc__os_limit(int resource, uint64_t soft, uint64_t hard);
/* Is that RLIMIT_AS? */
bool mproc__os_limits_space(int resource);
int mproc__os_affinity(const uint32_t *cpus, size_t n);
/* From now on these are the process' environment; never fails. */
void mproc__os_environment(char **owned);

/* ---- descriptors */

#define MPROC__OS_FDS_MAX 253 /* descriptors that Linux passes at a time (SCM_MAX_FD) */

struct iovec;

/* Two connected ends, close-on-exec: ends[0] to read and ends[1] to write, or both for both, for a
 * stream of bytes or for packets. -EMFILE, -ENFILE. */
int mproc__os_pipe_new(int ends[2]);
int mproc__os_socket_pair(int ends[2]);
int mproc__os_packet_pair(int ends[2]);
/* A counter that can be waited for as a descriptor, close-on-exec and non-blocking. -EMFILE. */
int mproc__os_event_new(void);
/* The same, readable from the beginning. */
int mproc__os_event_new_set(void);
/* Is the number one of an open descriptor? */
bool mproc__os_descriptor_is_open(int fd);
/* Another descriptor for what `fd` is, close-on-exec. -EBADF, -EMFILE. */
int mproc__os_descriptor_copy(int fd);
/* dup2(): `to` is what `fd` is, and not close-on-exec. -EBADF. */
int mproc__os_descriptor_over(int fd, int to);
/* Sets close-on-exec on an inherited descriptor. -EBADF. */
int mproc__os_close_on_exec(int fd);
void mproc__os_close(int fd);
/* The end of a stream for both ends, whoever else has copies of this one. */
void mproc__os_shutdown(int socket);

/* poll(), for at most `timeout` ns (negative: no end). How many have an event; -EINTR, but not with
 * a timeout of 0; -ENOMEM. With none to look at it is a sleep. */
int mproc__os_poll(struct pollfd *polls, size_t n, int64_t timeout);

/* read(): bytes read, 0 at the end. -EAGAIN, -EINTR, -ECONNRESET, -EBADF. */
ssize_t mproc__os_read(int fd, void *out, size_t size);

/* writev() that never raises SIGPIPE: bytes written. -EAGAIN, -EINTR, -EPIPE, -EBADF. */
ssize_t mproc__os_write_quiet(int fd, const struct iovec *pieces, int n);

/* The same for what fits at once, whether or not the descriptor is blocking. -EAGAIN: nothing. */
ssize_t mproc__os_write_now(int fd, const struct iovec *pieces, int n);

/* read() of what is there already, whether or not the descriptor is blocking: bytes read, 0 at the
 * end. -EAGAIN: nothing is there; -EINTR, -ECONNRESET, -EBADF. */
ssize_t mproc__os_read_now(int fd, void *out, size_t size);

/* The first bytes that could be read, which stay where they are: their number, 0 at the end.
 * `fd`, if not NULL, gets a new descriptor, close-on-exec, if they came with one, else -1. -EAGAIN;
 * -EMFILE: there is no number for it. */
ssize_t mproc__os_peek(int socket, void *out, size_t size, int *fd);

/* What fits at once, all or nothing for a few bytes, with a descriptor. -EAGAIN, -EPIPE;
 * -ETOOMANYREFS: too many are on their way. */
int mproc__os_send_now(int socket, const void *lent, size_t size, int fd);

/* How many bytes could be read from it now; a pipe's writing end tells of its reading end. -EBADF,
 * -ENOTTY. */
int mproc__os_readable(int fd);
/* 0: the other end of the socket has read all that was sent. More: a measure of what it has not,
 * which grows with each send. -EBADF, -ENOTTY. */
int mproc__os_unread(int socket);
/* How much a socket takes before its sender has to wait. -EBADF, -ENOTSOCK. */
int mproc__os_socket_room(int socket);
/* The same for a pipe. -EBADF. */
int mproc__os_pipe_room(int fd);
/* The writing end of the pipe that this is the reading end of; close-on-exec. -EMFILE; -ENOENT:
 * there is no /proc; -EACCES: the pipe is another user's. */
int mproc__os_pipe_again(int fd);

/* One packet, or the first bytes of a stream, with n descriptors (at most MPROC__OS_FDS_MAX). Never
 * raises SIGPIPE. -EAGAIN, -EINTR, -EPIPE, -ECONNRESET. */
int mproc__os_send(int socket, const void *lent, size_t size, const int *fds, size_t n);

/* Bytes received, 0 at the end; *n descriptors came with them, close-on-exec. *lost: more came than
 * the caller may have open. -EAGAIN, -EINTR, -ECONNRESET. */
ssize_t mproc__os_receive(int socket, void *out, size_t size, int fds[MPROC__OS_FDS_MAX], size_t *n,
                          bool *lost);

/* Says in words what code an address is in: "file(function)+0x1f2", with the number that addr2line
 * takes. "" if it is in none that is known. */
void mproc__os_where(const void *address, char *out, size_t size);

/* ---- being told by other processes, and waiting for several things at once */

/* A socket whose address, an abstract one of at most `cap` bytes, any process of the network
 * namespace can send to: non-blocking, close-on-exec. -ENOBUFS: `cap` is too small. */
int mproc__os_mailbox_new(char *address, size_t cap, uint32_t *size);
/* Makes it readable. *fd is the sender's own socket, -1 at first: made, or made anew, if need be. A
 * failure is nobody's: the mailbox is gone, or full, which means that it is readable. */
void mproc__os_mailbox_send(int *fd, const char *address, uint32_t size);
/* The same with a socket for this once. */
void mproc__os_mailbox_ring(const char *address, uint32_t size);
/* From now on it is not readable until somebody sends. */
void mproc__os_mailbox_drain(int fd);

/* A descriptor that is readable while one of those added to it is; close-on-exec. -EMFILE, -ENOMEM,
 * -ENOSPC; -EEXIST: added already; -ENOENT: not added. */
int mproc__os_watch_new(void);
int mproc__os_watch_add(int watch, int fd);
int mproc__os_watch_remove(int watch, int fd);

/* A descriptor that is readable from a point in time of mproc__os_now() on; -1: never.
 * close-on-exec. -EMFILE, -ENOMEM. */
int mproc__os_timer_new(void);
int mproc__os_timer_set(int timer, int64_t when);

#endif
