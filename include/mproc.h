/*
 * mproc.h - processes, pools, queues, pipes, locks and shared memory for C
 *
 * SPDX-License-Identifier: MIT
 *
 * This header is the manual of the library: first the laws that hold for every function, then the
 * caveats, then the nouns in the order in which a program meets them.
 *
 * THE LAWS
 *
 *  1. Family and arena. A process and all it starts through mproc are a family, and each of them is
 *     a member. The family owns one arena: memory mapped at the same address in every member, so
 *     that a plain pointer into it is valid in all of them.
 *  2. Errors. A function that can fail returns 0 or a negative code: -errno where an errno says it
 *     (-ENOMEM, -ETIMEDOUT, ...), one of MPROC_E* where none does. mproc_strerror() words any of
 *     them. The comment above a function names all of its errors, but for those of laws 3 and 4 and
 *     what a system call reports that should not happen. Outputs are written on success only.
 *  3. Misuse. A pointer that is not what the function is for (an object of another kind, one that
 *     is gone, private memory) is the caller's bug. Debug builds of the library (libmproc-debug)
 *     assert it. Release builds look at the first bytes: functions that return a code return
 *     MPROC_EOTHER then, others return 0, NULL, or -1 for a descriptor, and nothing has happened. A
 *     NULL pointer or one to unmapped memory is a crash, of the caller alone.
 *  4. Making. A process that is no member yet becomes one by the first thing that it makes, if
 *     mproc_init() has not made it one before. So whatever makes something may also fail with the
 *     errors of joining: MPROC_EADDRESS (the arena's address is taken here), MPROC_EBUILD (its
 *     starter was built with another version of mproc), -ESRCH (its starter died meanwhile),
 *     MPROC_ESETTING (a variable of the environment says nonsense), MPROC_EARENA (the arena's
 *     descriptor was closed on the way to it), -ENOMEM (no address space), -EMFILE, -ENFILE,
 *     -ENOSYS. mproc_join_reason() says what was in the way.
 *  5. Ownership. What a noun's `new` puts into *out belongs to the caller. An object of the arena
 *     is held: its maker has one hold, mproc_hold() takes another one, mproc_drop() gives one back.
 *     The object goes when the last hold of any member is gone. When a member dies, its holds are
 *     given back by whoever notices. A forked child inherits its parent's holds; any other child
 *     takes its own with mproc_hold(), or uses the object only while its starter holds it. A handle
 *     (of a process, template, pool, task or segment) is private memory of the process that made
 *     it. A parameter called `owned` passes to the callee; one called `lent` is only used during
 *     the call.
 *  6. Ways out. *Drop* gives back what the caller has of a thing, a hold or a handle; the thing
 *     itself goes when nobody has anything of it. *Close* says that nothing more will come (of a
 *     queue, of a pool), and gives nothing back. *Free* gives a block of the arena back. *Unlink*
 *     takes the name of a segment away. Descriptors are closed by close(2).
 *  7. Time. A timeout is a number of nanoseconds from the call on. Each call makes one deadline of
 *     it. MPROC_FOREVER, and any other negative number, waits without end; 0 only tries. A timeout
 *     that passes is -ETIMEDOUT, and nothing has happened.
 *  8. Signals. A blocking call whose sleep is interrupted by a signal handler returns -EINTR;
 *     nothing has happened then, call again. A handler that runs before the sleep or between two
 *     does not end the call: a program that must hear of every signal gives mproc_wait_hook() a
 *     function that looks for what the handler noted. The library installs no handlers but the one
 *     described at MPROC_ATTACHED.
 *  9. Threads. Every function may be called by any thread at any time, except where it says
 *     otherwise. None may be called from a signal handler, nor left by longjmp() out of one.
 * 10. Death. When any member is killed at any instruction, every shared object stays consistent,
 *     nothing is lost that a call had returned success for, and nobody is blocked for longer than
 *     it takes to notice (50 ms at the most, plus the time the scheduler takes).
 * 11. What may be stored in the arena: plain data and pointers into the arena. Never a descriptor,
 *     never a pointer to private memory, never the address of a function (pass functions through
 *     the calls that take them).
 * 12. Checks. Each noun has a function that verifies its invariants while others may go on using
 *     it. It returns 0, or MPROC_ECORRUPT and in `why` (`size` bytes; may be NULL) which invariant
 *     is broken and where.
 *
 * A program calls mproc_init() first thing in main().
 *
 * THE CAVEATS
 *
 *  * Systems. Linux 5.4 or later with glibc, on 64-bit little-endian processors. /dev/shm is needed
 *    for named segments, /proc for those and for MPROC_SPAWN.
 *  * Memory. The arena reserves 64 GiB of address space at a fixed place. Where a limit forbids so
 *    much it is smaller, at least some 9 MiB: as large as RLIMIT_FSIZE lets a file be, and a
 *    quarter of what RLIMIT_AS leaves. The family may use three quarters of the machine's memory,
 *    or of the least that a control group above it may. Two environment variables, read when the
 *    family begins, say other numbers of bytes (1073741824, 512M, 4GiB): MPROC_ARENA_LIMIT how much
 *    the family may use, MPROC_ARENA_SPAN how much address space is reserved. A small limit makes a
 *    small reservation, too. What is freed and not used again soon goes back to the system. A
 *    process that limits its own address space afterwards cannot start programs that join, and if
 *    the limit is less than what is reserved, it can map nothing more: set MPROC_ARENA_SPAN.
 *  * Locked memory. A process that has called mlockall(MCL_FUTURE) before it joins has pages of the
 *    arena locked as they are used. mlockall(MCL_CURRENT) after that fills the whole reservation
 *    with memory: say MCL_ONFAULT, too, or set MPROC_ARENA_SPAN.
 *  * Core dumps leave the arena out. Named segments are in them as core(5) says of files.
 *  * Size. A family has at most 4,096 living members. An object may be held by all of them, but a
 *    hold's cost grows with the number of members that have one on the same object.
 *  * What a family is not. It is no border between processes that do not trust each other: each
 *    member can write everywhere in the arena, and what it destroys there is destroyed for all. It
 *    does not reach over users, machines or containers. A process that mproc has not started cannot
 *    join; named segments are what unrelated processes share. The arena does not outlive the last
 *    member.
 *  * Stopped members. A member that is stopped (SIGSTOP, a debugger) or starved inside a section,
 *    some hundred instructions of a call, stops all who come to the same object, or to the same
 *    size of block, until it goes on. A timeout at a queue, bounded semaphore, condition or barrier
 *    ends that wait, though not before 0.1 s; one at a pipe does not, nor any that waits for
 *    memory. A lock that a stopped member holds stays held, as does the lock of a living one.
 *  * Functions that cross processes (of processes, pools, templates) travel as the build-id of
 *    their program or library and an offset. Both sides need the same file, linked with a build-id:
 *    link with -Wl,--build-id where that is not the default (pkg-config says so). A function made
 *    at run time cannot travel. A forked child has its starter's functions at the same addresses
 *    and needs none of this.
 *  * fork(). A child of a bare fork() is a member and has copies of its parent's holds, but not its
 *    locks: those belong to threads of the parent. If no member can be added, or there is no memory
 *    to copy the holds, the child goes on without the family and without the arena: a touch of the
 *    parent's objects is a crash, of that child alone. (A start by mproc fails instead.) A child of
 *    vfork(), clone() or posix_spawn() is no member and must not use the library.
 *  * exec. A member that executes another program is dead to the family, and what it held is given
 *    back, although its process lives on.
 *  * Threads. A thread that is cancelled, or ends by pthread_exit(), inside a call of the library
 *    leaves it undefined.
 *  * C++. The header compiles as C++11 and later; mproc.hpp has classes over it. An exception that
 *    leaves a function given to the library ends the process that runs it by std::terminate(), as
 *    if the function were noexcept. So a child ends by SIGABRT, and a task or map fails with
 *    MPROC_EDIED and that signal. No frame below is unwound, and so none that a forked child has
 *    copied from its parent. An exception that leaves a callback (a task's `done`, a map's
 *    `progress`) ends the owner.
 */
#ifndef MPROC_H
#define MPROC_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MPROC_VERSION_MAJOR 0
#define MPROC_VERSION_MINOR 1
#define MPROC_VERSION_PATCH 0

#if defined(__GNUC__)
#define MPROC_API __attribute__((visibility("default")))
#define MPROC_MUST_USE __attribute__((warn_unused_result))
#else
#define MPROC_API
#define MPROC_MUST_USE
#endif

/* ---------------------------------------------------------------- errors */

/* X(name, value, message); the values below -4096 never meet an errno. */
#define MPROC_ERRORS(X)                                                                            \
    X(MPROC_EINIT, -5001, "mproc_init() has not been called by this process")                      \
    X(MPROC_EAGAIN_INIT, -5002, "mproc_init() was called a second time")                           \
    X(MPROC_EADDRESS, -5003, "the family's arena cannot be mapped at its address here")            \
    X(MPROC_EBUILD, -5004, "the function belongs to a program or library of another build")        \
    X(MPROC_EFUNCTION, -5005, "not a function of a loaded program or library with a build-id")     \
    X(MPROC_ECLOSED, -5006, "the object has been closed")                                          \
    X(MPROC_ENOTHELD, -5007, "the lock is not held")                                               \
    X(MPROC_ETOOBIG, -5008, "the size is larger than the arena can ever hold")                     \
    X(MPROC_EDIED, -5009, "the worker process died while it held the task")                        \
    X(MPROC_EMEMBERS, -5010, "the family has no room for another member")                          \
    X(MPROC_ESTRANGER, -5011, "the process was not started by this process")                       \
    X(MPROC_ECORRUPT, -5012, "a shared structure breaks its invariants")                           \
    X(MPROC_EOTHER, -5013, "the object is of another kind")                                        \
    X(MPROC_EEOF, -5014, "the other end has been closed")                                          \
    X(MPROC_EDONE, -5017, "more messages were reported done than were put")                        \
    X(MPROC_EFRAME, -5015, "the stream broke off or held a bad length inside a message")           \
    X(MPROC_EBROKEN, -5016, "the barrier is broken")                                               \
    X(MPROC_EMEMORY, -5020, "the task's worker used more memory than the task may")                \
    X(MPROC_ESETTING, -5021, "an environment variable of mproc has no sensible value")             \
    X(MPROC_EARENA, -5022, "the program has closed the descriptor of the family's arena")          \
    X(MPROC_EVALUE, -5023, "the bytes are no value of the format")                                 \
    X(MPROC_EKIND, -5024, "a value of another kind stands there")                                  \
    X(MPROC_EPICKLE, -5025, "the value is a pickle, which only Python can read")                   \
    X(MPROC_EEXTENSION, -5026, "the value has an extension type that is not known here")           \
    X(MPROC_EENGINE, -5027, "the engine cannot be used")

/* The codes that are no errno. */
enum mproc_error {
#define MPROC_ERROR_ENUM(name, value, message) name = value,
    MPROC_ERRORS(MPROC_ERROR_ENUM)
#undef MPROC_ERROR_ENUM
};

/* The message for a code that any function returned. Never NULL; the string is static, or the
 * thread's own until its next call. */
MPROC_API const char *mproc_strerror(int code);

/* Why the calling thread's last try to join failed with that code: which limit, which variable of
 * the environment. Empty: it did not, or nothing more is known than the code. Never NULL; the
 * string is the thread's own until its next try. */
MPROC_API const char *mproc_join_reason(int code);

/* ---------------------------------------------------------------- time */

/* A timeout without end. */
#define MPROC_FOREVER (-1)
/* Nanoseconds in a millisecond, and in a second. */
#define MPROC_MSEC INT64_C(1000000)
#define MPROC_SEC INT64_C(1000000000)

/* ---------------------------------------------------------------- waiting */

/*
 * For a runtime whose signal handlers merely note that a signal has come. A signal that comes
 * between the runtime's last look and a thread's sleep does not end that sleep. So a thread that
 * waits calls `hook` between two slices of its sleep, each of at most 50 ms: never before the first
 * one, never while it holds anything of the library. A positive result ends the wait with -EINTR,
 * and nothing has happened then. A negative one says that handlers never run in this thread: it is
 * not asked again during this wait, and a wait for descriptors has no slices from then on. The hook
 * may call the library. One hook in a process, inherited by forked children; NULL: none. Cannot
 * fail.
 *
 * A message of a pipe of which some bytes have moved is waited for without a look, unless none has
 * moved for 50 ms. A hook that ends such a wait ends the message with it: MPROC_EFRAME.
 */
MPROC_API void mproc_wait_hook(int (*hook)(void));

/*
 * For a runtime with a lock of its own that threads keep in calls which do not wait. Such a call
 * waits all the same when another member is in the section that it needs and does not go on, since
 * it is stopped or has no CPU. After 10 ms of that the thread calls `leave` before each sleep, of
 * 1 ms or more, and, if that did not return 0, `back` after it. It holds nothing then that another
 * thread waits for. The hooks must not call the library. One pair in a process, inherited by forked
 * children; NULL: none. Cannot fail.
 */
MPROC_API void mproc_stall_hook(int (*leave)(void), void (*back)(void));

/* ---------------------------------------------------------------- log */

/*
 * Where the library says what no code can tell: that a child cannot find its function or set itself
 * up, that a forked child lacks holds, that an invariant is broken (the process aborts then). By
 * default a line "mproc: ..." goes to stderr. With a hook `hook` gets that line instead, without
 * prefix and newline; it may be called by any thread, also in a child that ends then, and does not
 * call the library. One hook in a process, inherited by forked children; a started program sets its
 * own before mproc_init(). NULL: none. The watcher of named memory, a process of its own, says on
 * stderr what it had to unlink. Cannot fail.
 */
MPROC_API void mproc_log_hook(void (*hook)(const char *line));

/* ---------------------------------------------------------------- start */

/*
 * Makes the calling process a member of a family: of its starter's when it was started by spawn or
 * as a template, of a new one otherwise. In a spawned child this call runs the child's function and
 * does not return: it is C's `if __name__ == "__main__"`. A child that is not detached and whose
 * starter died before this call ends here, with 127. `argc` and `argv` are main's.
 *
 * MPROC_EAGAIN_INIT; the errors of joining.
 */
MPROC_API int mproc_init(int argc, char **argv) MPROC_MUST_USE;

/*
 * The same for a runtime that goes its own way in a started child (an interpreter): returns 1 in a
 * child started by spawn or as a template, where the caller carries on with mproc_child_args() or
 * mproc_template_serve(), and 2 in one that a wrapper has started (MPROC_WRAPPED); 0 otherwise. A
 * second call is harmless and returns 0.
 *
 * The errors of joining.
 */
MPROC_API int mproc_attach(void) MPROC_MUST_USE;

/* ---------------------------------------------------------------- arena */

/*
 * A block of the arena, 16-byte aligned (64 KiB aligned from 64 KiB on), contents undefined. It
 * belongs to the family until somebody frees it: any member may, and no member's death does.
 *
 * NULL: the arena is exhausted, `size` is 0, or the process cannot join.
 */
MPROC_API void *mproc_alloc(size_t size) MPROC_MUST_USE;

/* The same for n items of `size` bytes, all zero. NULL also when n * size overflows. */
MPROC_API void *mproc_calloc(size_t n, size_t size) MPROC_MUST_USE;

/* Gives a block back. NULL is ignored. A pointer that is no block's start, or whose block was freed
 * before, is a caller's bug. Debug builds assert it; release builds ignore what a cheap look finds:
 * a pointer outside of all blocks, a large block that is free, the block that was freed last. */
MPROC_API void mproc_free(void *owned);

/* Non-zero when the pointer points into the family's arena. */
MPROC_API int mproc_in_arena(const void *pointer);

/* memcpy(), to and from any memory, faster from 4 MiB on: pages that `to` does not have yet are
 * fetched many at a time. From 16 MiB on a second thread helps, which is gone at the return. */
MPROC_API void mproc_copy(void *to, const void *from, size_t size);

/* The arena in numbers. */
typedef struct mproc_arena_stats {
    /* Bytes of address space that are reserved. */
    size_t span;
    /* Bytes that may be in use at most. */
    size_t limit;
    /* Bytes in blocks that are allocated, each rounded to its class. */
    size_t used;
    /* How many blocks those are. */
    size_t blocks;
    /* Bytes of free memory that are kept resident for reuse. */
    size_t warm;
    /* Bytes between the arena's start and the end of what was ever used. */
    size_t high_water;
} mproc_arena_stats;

/* The numbers at this moment; all 0 when the process cannot join. */
MPROC_API void mproc_arena_stat(mproc_arena_stats *out);

/* To be called before the process limits its own address space (RLIMIT_AS) to that many bytes. The
 * arena's reservation counts there, and would leave nothing. All of it is given up but a quarter of
 * what the process has not taken otherwise, or what is in use. From then on all members together
 * can use no more than that. mproc_process_setup and Python's resource.setrlimit() call it. */
MPROC_API void mproc_arena_fit(uint64_t space);

/* Verifies every invariant of the arena (law 12). MPROC_ECORRUPT; the errors of joining. */
MPROC_API int mproc_arena_check(char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- objects */

/*
 * Objects are what stands in the arena and has holds: queues, task queues, locks, semaphores,
 * events, conditions, barriers, arrays, buffers, and the blocks of messages. Pools, processes and
 * segments are handles: they have a drop of their own and cannot be held.
 */

/* Takes one more hold on an object, for the calling member. -EINVAL: no object, or one that nobody
 * holds any more; -ENOMEM. */
MPROC_API int mproc_hold(void *object) MPROC_MUST_USE;

/* Gives one hold of the calling member back; with the last hold of all members the object goes.
 * NULL is ignored. -EINVAL: no object, or the caller has no hold on it; debug builds assert
 * that. */
MPROC_API int mproc_drop(void *owned);

/* A child, or one that is being prepared: a handle. */
typedef struct mproc_process mproc_process;

/*
 * Takes a hold in the name of a child that is being prepared: it is the child's from its birth on,
 * and is given back if the child never comes. See mproc_process_prepare().
 *
 * -EINVAL: the child has been launched, or was prepared by another process; or no object, or one
 * that nobody holds any more. -ENOMEM.
 */
MPROC_API int mproc_hold_for(mproc_process *child, void *object) MPROC_MUST_USE;

/* How many holds the calling member has on the object: its own count, 0 if none. */
MPROC_API size_t mproc_holds(const void *object);

/* Bytes of an object's name, without the 0 at its end. */
#define MPROC_NAME_MOST 127

/*
 * Gives an object a name, by which the program mproc calls it: in UTF-8, of at most MPROC_NAME_MOST
 * bytes. It takes the place of an earlier one and goes with the object. NULL or "": none any more.
 * A member that dies meanwhile leaves the earlier name or the new one.
 *
 * -EINVAL: no object that the caller holds, or a message; -ENAMETOOLONG; -ENOMEM.
 */
MPROC_API int mproc_name(void *object, const char *name) MPROC_MUST_USE;

/* Copies the name, cut off at `size` bytes with its 0. How long it is, 0: it has none. -EINVAL: no
 * object. */
MPROC_API int mproc_name_of(const void *object, char *out, size_t size);

/* The same of where the object was made, which is known if the environment of its maker had
 * MPROC_ORIGIN=1 when that joined the family: what the maker's hook said, or else
 * "program(function)+0x1f2", the place in a program or library that the constructor was called
 * from. -EINVAL. */
MPROC_API int mproc_origin_of(const void *object, char *out, size_t size);

/* Writes where the calling thread is in words of the program, as "file:line", with a 0, and returns
 * 0; non-zero: it does not know. */
typedef int (*mproc_origin_fn)(char *out, size_t size);

/* Asked for each object that the process makes with MPROC_ORIGIN=1. It must not enter the library.
 * NULL: none is. */
MPROC_API void mproc_origin_hook(mproc_origin_fn where);

/* Non-zero: others than the calling member hold the object: another member, a dead one that has not
 * been reaped included, or a message that takes a buffer along. Any pointer may be asked about. */
MPROC_API int mproc_held_elsewhere(const void *object);

/* ---------------------------------------------------------------- process */

/* How a child is started. */
typedef enum mproc_method {
    /* fork(): a copy of the caller. */
    MPROC_FORK = 1,
    /* posix_spawn(): a fresh program, this one again unless told otherwise. */
    MPROC_SPAWN = 2,
    /* A fork of a template: of a warm process that has one thread, see mproc_template_new(). */
    MPROC_FORKSERVER = 3
} mproc_method;

/* A child's function: `arg` (in the child) are the bytes or the arena pointer given to start. Its
 * result is the exit code (0..255). */
typedef int (*mproc_main_fn)(void *arg, size_t size);

/* The signals by which attached children learn that their parent is gone; see <signal.h>. Children
 * that are started by another thread than the first one get the second. */
#define MPROC_PARENT_SIGNAL (SIGRTMAX - 1)
#define MPROC_PARENT_SIGNAL_OF_THREADS SIGURG

/* What becomes of a child when its starter ends, and what its program is. */
enum mproc_process_flags {
    /* The child does not outlive its parent. The child is told by one of the signals above, for
     * which mproc installs a handler in the child: it ends the child with SIGKILL if its parent is
     * gone, and does nothing otherwise (the kernel sends the signal also when merely the starting
     * thread ends). A child that blocks the signal, or changes its user, looks in every call of
     * mproc that waits. A program that is started by `argv` is ended by a small process beside it.
     * docs/processes.md says what a child that executes another program gets. C programs get this
     * by default. */
    MPROC_ATTACHED = 1,
    /* The child goes on as an orphan. */
    MPROC_DETACHED = 2,
    /* With MPROC_ATTACHED: the program of `argv` joins the family as it begins (mproc_init(),
     * mproc_attach()). So it follows its parent by itself, and needs no process beside it. */
    MPROC_JOINS = 4,
    /* MPROC_SPAWN with `argv`, and mproc_template_new(): the program may be a wrapper, which starts
     * the member as a child, or a child's child, of its own and waits for it. The member joins by
     * mproc_attach(). Pid, sentinel, signals and exit code are the wrapper's. */
    MPROC_WRAPPED = 8
};

/* See mproc_template_new(). */
typedef struct mproc_template mproc_template;

/* One limit of setrlimit(2). */
typedef struct mproc_limit {
    int resource;  /* RLIMIT_... of <sys/resource.h> */
    uint64_t soft; /* the limit that holds */
    uint64_t hard; /* how far the soft one can be raised */
} mproc_limit;

/*
 * What a child is to do to itself before it runs, by whatever method it is started. All zero means
 * that it is as its starter (or its template). A child that cannot do it says so on stderr and ends
 * with 126. A program that is spawned by argv does it in mproc_init() or mproc_attach().
 */
typedef struct mproc_process_setup {
    const char *directory;          /* its working directory */
    const char *const *environment; /* all of it: "NAME=VALUE", NULL-terminated */
    const unsigned *cpus;           /* the CPUs that it may run on, by number */
    size_t ncpus;                   /* how many */
    const mproc_limit *limits;      /* what setrlimit(2) is to be told */
    size_t nlimits;                 /* how many */
    int out; /* a descriptor that becomes its standard output; 0: that stays */
    int err; /* the same for standard error; both are lent until the launch */
} mproc_process_setup;

/* A program as it is to be started: what posix_spawn() takes. */
typedef struct mproc_program {
    const char *path;        /* its file */
    const char *const *argv; /* NULL-terminated, as is envp */
    const char *const *envp; /* its environment */
    const int *fds; /* what it gets under the same numbers, in rising order, besides 0, 1 and 2 */
    size_t nfds;    /* how many */
} mproc_program;

/*
 * How a program makes its processes itself: for runtimes whose tools follow children by wrapping
 * fork() or what starts programs. Each function is called once a launch, in the thread that
 * launches. A negative result is an error: the launch returns it, and there must be no child then.
 */
typedef struct mproc_process_maker {
    /* MPROC_FORK; NULL: fork(). Calls fork() once, and returns what that returns. */
    pid_t (*fork)(void *context);
    /* MPROC_SPAWN and mproc_template_new(); NULL: posix_spawn(). Returns the pid. */
    pid_t (*spawn)(void *context, const mproc_program *program);
    /* Given to both. */
    void *context;
} mproc_process_maker;

/* How to start a child. All zero means the defaults. */
typedef struct mproc_process_options {
    /* At most 63 bytes are kept; default "Process-N". */
    const char *name;
    /* Default MPROC_FORK. */
    mproc_method method;
    /* Of mproc_process_flags; default MPROC_ATTACHED. */
    unsigned flags;
    /* Descriptors that the child gets, lent until the launch. MPROC_SPAWN: under the same numbers,
     * with standard input, output and error, the arena's descriptor, and no others, close-on-exec
     * or not. MPROC_FORKSERVER: see mproc_child_fds(), at most 253; it also has what its template
     * was given. MPROC_FORK: the child has them all anyway. */
    const int *fds;
    /* How many descriptors those are. */
    size_t nfds;
    /* MPROC_SPAWN only: another program than this one, or other arguments; NULL-terminated, argv[0]
     * its path. */
    const char *const *argv;
    /* MPROC_SPAWN only: its environment; default the caller's. Others have setup->environment. */
    const char *const *envp;
    /* MPROC_FORKSERVER only: the template; default one of this program, started when it is needed
     * first. */
    mproc_template *from;
    /* NULL: none. What it points to must stay there until the launch. */
    const mproc_process_setup *setup;
    /* NULL: the library makes the process. It must stay there until the launch. */
    const mproc_process_maker *maker;
} mproc_process_options;

/*
 * Starts a child that runs fn. `arg` is copied (size bytes) into the arena and from there given to
 * the child; when `size` is 0, `arg` is passed as it is and must be NULL or point into the arena.
 * *out is a handle, to be given back by mproc_process_drop(). With MPROC_SPAWN and options.argv, fn
 * may be NULL: then that program does what its main() does, and finds `arg` by mproc_child_args()
 * if it joins.
 *
 * The child's end: a spawned child is a program of its own and ends by exit() with fn's result. A
 * forked one (MPROC_FORK, MPROC_FORKSERVER) is a copy of another: its streams are flushed, then it
 * ends by _exit(), since the atexit() handlers and destructors it inherited are not its own to run
 * (they would remove its parent's temporary files). stdout and stderr are flushed before a fork, so
 * that nothing buffered is written twice; other streams are the caller's to flush. A child that
 * cannot find fn (it has another build of the program or library) says so on stderr and exits with
 * 127.
 *
 * No process is left behind after an error.
 *
 * -EINVAL: no fn; options that contradict each other; an `arg` without size outside of the arena.
 * MPROC_EFUNCTION: fn is in no program or library with a build-id, and the child is not forked from
 * here. MPROC_EINIT: this program was to be started again, but has not called mproc_init().
 * MPROC_EMEMBERS: the family is full. MPROC_ETOOBIG: `arg` is larger than the arena can ever hold.
 * MPROC_ESTRANGER: options.from is another process's. -EPIPE: the template has died (the default
 * one is started again once). -ECHILD: a wrapper has started the template, so its forks would not
 * be the caller's children. -ENOSYS: a system without pidfd_open(2), such as an old valgrind, or a
 * template whose C library is unknown. -ENOMEM, also when a forked child's holds find no room;
 * -EAGAIN (no more processes), -EMFILE, -ENFILE; -EBADF (options.fds); MPROC_EARENA: a program was
 * to be started, but the caller has closed the arena's descriptor, as closefrom(3) does after the
 * first object; what execve(2) reports, such as -ENOENT or -EACCES; the errors of joining.
 */
MPROC_API int mproc_process_start(mproc_process **out, mproc_main_fn fn, const void *arg,
                                  size_t size, const mproc_process_options *options) MPROC_MUST_USE;

/*
 * The same in two steps, for runtimes that prepare what the child gets: prepare reserves the
 * child's place in the family (mproc_hold_for() then works), launch starts it. A prepared process
 * that is not launched is given up with mproc_process_drop(). What options point to (argv, envp,
 * from) must stay there until the launch; name and fds are copied.
 *
 * -EINVAL: options that contradict each other, or a negative descriptor; MPROC_EINIT,
 * MPROC_EMEMBERS; -ENOMEM; the errors of joining.
 */
MPROC_API int mproc_process_prepare(mproc_process **out,
                                    const mproc_process_options *options) MPROC_MUST_USE;

/* What the launch returns in the child of a fork. */
#define MPROC_IN_CHILD 1

/*
 * For MPROC_FORK returns MPROC_IN_CHILD in the child, as fork() does; a spawned program finds its
 * bytes by mproc_child_args(). After an error the process may be launched again.
 *
 * -EINVAL: it was launched before, or `arg` is as in mproc_process_start(); MPROC_ESTRANGER:
 * another process prepared it, or made the template. MPROC_ETOOBIG, -EPIPE, -ENOSYS, -ENOMEM,
 * -EAGAIN, -EMFILE, -ENFILE, -EBADF, MPROC_EARENA, and what execve(2) reports: as there.
 */
MPROC_API int mproc_process_launch(mproc_process *process, const void *arg,
                                   size_t size) MPROC_MUST_USE;

/*
 * The handle of a child of this process that was started in another way, by fork(2) for example.
 * Its status remains the program's to collect, and has to be collected; *code of
 * mproc_process_exitcode() is what it says, or 255 if the program was faster. -EINVAL: no pid;
 * -ESRCH: no child of this process, or collected already; -EMFILE, -ENFILE, -ENOMEM; the errors of
 * joining.
 */
MPROC_API int mproc_process_adopt(mproc_process **out, pid_t pid) MPROC_MUST_USE;

/* Adds a descriptor to those that a prepared child gets, behind options.fds; it is lent until the
 * launch. -EINVAL: it is negative, or the child was launched; -ENOMEM. */
MPROC_API int mproc_process_pass(mproc_process *process, int lent) MPROC_MUST_USE;

/* In a child: the bytes its starter gave, in the arena, the child's until it exits; *size (may be
 * NULL) is their number, 0 for a pointer that was given without a size. NULL: none. */
MPROC_API const void *mproc_child_args(size_t *size);

/* In a child: fills up to `cap` descriptors that its starter passed, in order, and returns their
 * number. A child of a template has them under numbers of its own, others under the starter's. 0 in
 * a process that was not started by mproc. */
MPROC_API size_t mproc_child_fds(int *out, size_t cap);

/* In a child that is about to end by exit(code): its parent finds the exit code even if the system
 * does not give it the status. For children that call exit() themselves; one whose function returns
 * needs no such call. Cannot fail. */
MPROC_API void mproc_child_exits(int code);

/* The child's pid; 0 before the launch. */
MPROC_API pid_t mproc_process_pid(const mproc_process *process);

/* A descriptor (a pidfd) that becomes readable when the process has ended. It is the handle's own.
 * -1 before the launch; cannot fail otherwise. */
MPROC_API int mproc_process_sentinel(const mproc_process *process);

/* Waits for the end. -ETIMEDOUT, -EINTR; MPROC_ESTRANGER: not a child of the calling process;
 * -EINVAL: not launched. */
MPROC_API int mproc_process_join(mproc_process *process, int64_t timeout) MPROC_MUST_USE;

/* *code is the exit code (0..255), or minus the signal that ended it. When other code of the
 * program took the status (waitpid(-1), SIGCHLD ignored), *code is what the kernel has kept (Linux
 * 6.15 and later), or else what the child has said by mproc_child_exits(), or else 255. -EAGAIN:
 * still running; MPROC_ESTRANGER, -EINVAL: as join. */
MPROC_API int mproc_process_exitcode(mproc_process *process, int *code) MPROC_MUST_USE;

/* Non-zero: the child has become a member. A program of its own that never calls mproc_init() never
 * does, and has not found what it was given. 0 also before the launch. */
MPROC_API int mproc_process_joined(const mproc_process *process);

/* Sends a signal through the pidfd: never to a process that has the pid by now. -ESRCH: it has
 * ended; -EPERM: it runs as another user; -EINVAL: not launched, or no such signal. */
MPROC_API int mproc_process_signal(mproc_process *process, int signal);

/* The same with SIGTERM. -ESRCH, -EPERM, -EINVAL. */
MPROC_API int mproc_process_terminate(mproc_process *process);

/* The same with SIGKILL. -ESRCH, -EPERM, -EINVAL. */
MPROC_API int mproc_process_kill(mproc_process *process);

/* The same with SIGINT. -ESRCH, -EPERM, -EINVAL. */
MPROC_API int mproc_process_interrupt(mproc_process *process);

/* Gives the handle back. NULL is ignored. -EBUSY while the process runs (join it first). */
MPROC_API int mproc_process_drop(mproc_process *owned);

/* ---------------------------------------------------------------- template */

/*
 * A template: a process that forks itself on request (MPROC_FORKSERVER). Its forks are children of
 * the starter's own: waitpid() and getppid() are right. It has one thread and stays warm.
 * `options`: name, argv, envp, fds as for MPROC_SPAWN. Its children are copies made without fork():
 * pthread_atfork() handlers do not run. At most 253 descriptors go with one child.
 *
 * -EINVAL: options that contradict each other; MPROC_EINIT, MPROC_EMEMBERS; -ENOMEM, -EAGAIN,
 * -EMFILE, -ENFILE, -EBADF, MPROC_EARENA, -ENOSYS; what execve(2) reports; the errors of joining.
 */
MPROC_API int mproc_template_new(mproc_template **out,
                                 const mproc_process_options *options) MPROC_MUST_USE;

/* The template's pid. */
MPROC_API pid_t mproc_template_pid(const mproc_template *one);

/* Ends the template's process, waits for it, gives the handle back. Children already forked live
 * on. NULL is ignored. */
MPROC_API void mproc_template_drop(mproc_template *owned);

/* What a runtime does around each fork of a template; each may be NULL. */
typedef struct mproc_fork_hooks {
    void (*before)(void *arg);          /* in the template, before it forks */
    void (*after_in_parent)(void *arg); /* in the template, after it has forked */
    void (*after_in_child)(void *arg);  /* in the child, first thing */
    void *arg;                          /* given to each of them */
} mproc_fork_hooks;

/* In a template process of another runtime: serves requests. Returns MPROC_IN_CHILD in each child,
 * 0 when the starter has gone or dropped the template. `hooks` may be NULL. -EINVAL: the caller is
 * no template; -EINTR: between two requests, call again. */
MPROC_API int mproc_template_serve(const mproc_fork_hooks *hooks) MPROC_MUST_USE;

/* ---------------------------------------------------------------- buffer */

/*
 * Memory of the arena that lives as long as somebody holds it: mproc_alloc() with holds. Members
 * hold a buffer as any object. A message may take it along (mproc_queue_put_with()), and the
 * receiver has the same memory then, not a copy. What members do with the bytes at the same time is
 * their own affair.
 */
typedef struct mproc_buffer mproc_buffer;

/* `size` bytes, also none, contents undefined, aligned as mproc_alloc() has them, but from 32 KiB
 * on by 4,096 bytes. MPROC_ETOOBIG, -ENOMEM; the errors of joining. */
MPROC_API int mproc_buffer_new(mproc_buffer **out, size_t size) MPROC_MUST_USE;

/* Where its bytes are, in every member. */
MPROC_API void *mproc_buffer_data(mproc_buffer *buffer);

/* How many those are. */
MPROC_API size_t mproc_buffer_size(const mproc_buffer *buffer);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_buffer_check(mproc_buffer *buffer, char *why, size_t size) MPROC_MUST_USE;

/*
 * A view: a buffer as private memory of one process, for received data that nobody else is to
 * change. A child that the process forks has the contents, too, and neither sees what the other
 * writes then (copy on write), as with all memory that is not shared. That holds for buffers of
 * 32 KiB and more, and while the arena's descriptor is open. Nobody else writes to the buffer
 * meanwhile. A view is a handle.
 */
typedef struct mproc_view mproc_view;

/* Takes a hold of its own on the buffer. -ENOMEM. */
MPROC_API int mproc_view_new(mproc_view **out, mproc_buffer *buffer) MPROC_MUST_USE;

/* Where its bytes are in this process. */
MPROC_API void *mproc_view_data(const mproc_view *view);

/* How many those are. */
MPROC_API size_t mproc_view_size(const mproc_view *view);

/* Gives the handle back, and its hold. NULL is ignored. */
MPROC_API void mproc_view_drop(mproc_view *owned);

/* ---------------------------------------------------------------- queue */

/*
 * First in, first out, for any number of producers and consumers; messages are bytes of any size.
 * When mproc_queue_put() has returned 0 the message is in the queue, whatever happens to its
 * producer. A consumer that dies inside mproc_queue_get() takes the message with it or not at all.
 */
typedef struct mproc_queue mproc_queue;

/* A queue keeps messages of up to so many bytes in itself, larger ones in blocks of their own. */
#define MPROC_MESSAGE_INLINE 8192

struct iovec;

/* `bound`: most messages in the queue at a time, 0 for no bound but memory. -ENOMEM; the errors of
 * joining. */
MPROC_API int mproc_queue_new(mproc_queue **out, uint64_t bound) MPROC_MUST_USE;

/* Back-pressure by bytes: from now on a put waits while the messages in the queue have so many
 * bytes or more together, beside its bound of messages. So one message more than that may be in it,
 * and one of any size gets in. Buffers that messages take along do not count. 0: no such bound. To
 * be called before anything is put. -EBUSY: something has been. */
MPROC_API int mproc_queue_bound_bytes(mproc_queue *queue, uint64_t bytes) MPROC_MUST_USE;

/* How many bytes the messages in such a queue have together at this moment, 0 if it has no such
 * bound. `most`, if not NULL, gets the bound. */
MPROC_API uint64_t mproc_queue_bytes(const mproc_queue *queue, uint64_t *most);

/* Appends a message of `size` bytes, also of none. MPROC_ECLOSED; -ETIMEDOUT (full), -EINTR;
 * MPROC_ETOOBIG, -ENOMEM. */
MPROC_API int mproc_queue_put(mproc_queue *queue, const void *lent, size_t size,
                              int64_t timeout) MPROC_MUST_USE;

/* The same for a message in `n` pieces, gathered in order. MPROC_ECLOSED; -ETIMEDOUT, -EINTR;
 * MPROC_ETOOBIG, -ENOMEM; -EINVAL: n is negative. */
MPROC_API int mproc_queue_putv(mproc_queue *queue, const struct iovec *lent, int n,
                               int64_t timeout) MPROC_MUST_USE;

/* The same, and the message takes buffers along, which the caller holds: it has a hold of its own
 * on each until its receiver drops it. MPROC_ECLOSED; -ETIMEDOUT, -EINTR; MPROC_ETOOBIG, -ENOMEM;
 * -EINVAL: n is negative, or nobody holds one of the buffers. */
MPROC_API int mproc_queue_put_with(mproc_queue *queue, const struct iovec *lent, int n,
                                   mproc_buffer *const *buffers, size_t nbuffers,
                                   int64_t timeout) MPROC_MUST_USE;

/*
 * A received message. Give `room` (and its size) to let small messages be copied there; what does
 * not fit stays in the arena. After success `data` and `size` describe the message until
 * mproc_message_drop(), which is always safe to call once on an initialised message.
 */
typedef struct mproc_message {
    /* Memory of the caller's for a small message, NULL: none. */
    void *room;
    /* Bytes that it has. */
    size_t room_size;
    /* The message: in the room or in the arena. */
    void *data;
    /* Bytes that the message has. */
    size_t size;
    /* Private: the arena's block behind data, or NULL. */
    void *block;
} mproc_message;

/* A message that has not received anything yet. */
#define MPROC_MESSAGE_INIT(room, room_size)                                                        \
    { (room), (room_size), NULL, 0, NULL }

/* Takes the oldest message. MPROC_ECLOSED (closed and empty); -ETIMEDOUT, -EINTR; -ENOMEM (no block
 * for one that does not fit into the room: it is still in the queue). */
MPROC_API int mproc_queue_get(mproc_queue *queue, mproc_message *message,
                              int64_t timeout) MPROC_MUST_USE;

/*
 * Several messages at once, for little more than one of them costs. Those of one call are put or
 * taken together: when a member is killed in it, all of them are or none, and nobody else's are
 * among them. A call need not get all done: it ends at a larger piece of work (a message above
 * MPROC_MESSAGE_INLINE, the end of a piece of the queue's memory, about 16 KiB), so call again for
 * the rest. With an `n` of 0 nothing happens.
 */

/* Appends messages of a piece each, in order: at least the first one of the n pieces and at most
 * all; *put says how many. Of messages above MPROC_MESSAGE_INLINE only the first is put. Waits for
 * room for the first only, and the errors are the first one's. MPROC_ECLOSED; -ETIMEDOUT (full),
 * -EINTR; MPROC_ETOOBIG, -ENOMEM. */
MPROC_API int mproc_queue_put_many(mproc_queue *queue, const struct iovec *lent, size_t n,
                                   size_t *put, int64_t timeout) MPROC_MUST_USE;

/* Takes the oldest messages in order, at least one and at most n; *got says how many, and each of
 * these is dropped as that of a mproc_queue_get(). The first one may come without fitting into its
 * room; another one must fit, or be above MPROC_MESSAGE_INLINE and the last. Waits for the first
 * only, and the errors are the first one's. MPROC_ECLOSED (closed and empty); -ETIMEDOUT, -EINTR;
 * -ENOMEM (no block for a first one that does not fit: all are still in the queue). */
MPROC_API int mproc_queue_get_many(mproc_queue *queue, mproc_message *messages, size_t n,
                                   size_t *got, int64_t timeout) MPROC_MUST_USE;

/* Gives a message's block back, if it has one. */
MPROC_API void mproc_message_drop(mproc_message *message);

/* The i-th buffer that the message has brought, lent until mproc_message_drop(): mproc_hold() keeps
 * it. NULL: it has no such. */
MPROC_API mproc_buffer *mproc_message_buffer(const mproc_message *message, size_t i);

/* The same for an object of any kind: a value of a dict or list may bring others than buffers. The
 * program knows of which kind it is, for one since the value's bytes say so. */
MPROC_API void *mproc_message_object(const mproc_message *message, size_t i);

/* Memory of the arena for a message of `size` bytes, to be filled in place and then committed or
 * dropped. It is given back when its member dies before that. MPROC_ECLOSED, MPROC_ETOOBIG,
 * -ENOMEM. */
MPROC_API int mproc_queue_reserve(mproc_queue *queue, size_t size,
                                  mproc_message *out) MPROC_MUST_USE;

/* Appends the reserved message without a copy; on success it is the queue's. Its size may have been
 * made smaller. After an error the reservation still stands. MPROC_ECLOSED; -ETIMEDOUT, -EINTR;
 * -ENOMEM; -EINVAL: no reservation, one that was committed before, or larger than its block. */
MPROC_API int mproc_queue_commit(mproc_queue *queue, mproc_message *message,
                                 int64_t timeout) MPROC_MUST_USE;

/* Reports that a message that was taken has been worked on. MPROC_EDONE: once too often. */
MPROC_API int mproc_queue_task_done(mproc_queue *queue) MPROC_MUST_USE;

/* Waits until every message that was put has been reported done. A consumer that takes a message
 * and dies before it reports leaves that message undone. -ETIMEDOUT, -EINTR. */
MPROC_API int mproc_queue_join(mproc_queue *queue, int64_t timeout) MPROC_MUST_USE;

/* Waits until a message is there, and leaves it: another consumer may take it before the caller
 * does. For who waits for more than this queue. -ETIMEDOUT, -EINTR, MPROC_ECLOSED: it is empty and
 * closed. */
MPROC_API int mproc_queue_wait(mproc_queue *queue, int64_t timeout) MPROC_MUST_USE;

/* Messages in the queue at this moment. */
MPROC_API uint64_t mproc_queue_count(const mproc_queue *queue);

/* From now on puts fail with MPROC_ECLOSED, and gets do once the queue is empty. */
MPROC_API void mproc_queue_close(mproc_queue *queue);

/* As mproc_queue_close(). `immediate`, if it is not 0: what is in the queue is dropped, all of it
 * or nothing if the caller is killed, and counts as reported done. A thread that waits in a
 * put, a get or a join is woken. */
MPROC_API void mproc_queue_shutdown(mproc_queue *queue, int immediate);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_queue_check(mproc_queue *queue, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- pool */

/*
 * Worker processes that take tasks from a queue. Each task ends exactly once: with its result, or
 * with an error that says what happened to it. A worker that dies fails the one task that it had,
 * with MPROC_EDIED, and is replaced.
 *
 * The pool's owner is the process that made it. Only the owner submits and waits; any other
 * process, a worker or a forked child, gets MPROC_ESTRANGER. The pool makes no thread: a thread
 * that waits (for a task, a map, the end) also collects what comes for others, calls the callbacks
 * of tasks, ends tasks whose time is up, and replaces workers. A program in which no thread waits
 * calls mproc_pool_collect() when the pool's descriptor (mproc_pool_fd()) is readable. The workers
 * are MPROC_ATTACHED to the owner.
 *
 * A task is a function of C and its bytes (mproc_pool_submit()), a chunk of a map, or bytes for the
 * pool's handler (mproc_pool_put()), which is how other runtimes make tasks of their own.
 *
 * A worker that ends before it is ready would do so the next time, too. After 8 more such ends
 * than the pool has workers, without a worker that became ready in between, the pool goes on with
 * the workers that it has. If it has none, it is broken: its open tasks fail with MPROC_EDIED and
 * the last worker's pid and exit code (or with why no worker could be started), and so do submit
 * and map. The pool tries again with the first call that comes a second later, and with a longer
 * pause after each failure.
 */
typedef struct mproc_pool mproc_pool;
/* A task of a pool: a handle of its owner's. */
typedef struct mproc_task mproc_task;
/* Where a pool may have its workers instead of here: see the room of engines. */
typedef struct mproc_engine mproc_engine;

/* ---- what runs in a worker */

/* A task's result in the making; only in the worker, only while the task's function runs. */
typedef struct mproc_result mproc_result;

/* Appends bytes to the result. -ENOMEM: nothing has happened. */
MPROC_API int mproc_result_write(mproc_result *result, const void *lent,
                                 size_t size) MPROC_MUST_USE;

/* Appends room for `size` bytes, which the caller fills; the room stays where it is until the next
 * call for this result. The room of a result that was empty is 16-byte aligned. NULL: -ENOMEM. */
MPROC_API void *mproc_result_room(mproc_result *result, size_t size) MPROC_MUST_USE;

/* A task's function: `in` are the submitted bytes, 16-byte aligned. What it has written to the
 * result is the task's. A non-zero return value fails the task with that code. */
typedef int (*mproc_task_fn)(const void *in, size_t size, mproc_result *result);

/* An item's function for map: reads one item, writes one item. Non-zero fails the map. */
typedef int (*mproc_item_fn)(const void *in, void *out, void *context);

/* What runs the tasks that are mere bytes; as mproc_task_fn, with the pool's handler_arg. */
typedef int (*mproc_handler_fn)(void *arg, const void *task, size_t size, mproc_result *result);

/* ---- options */

/* What a pool and its workers share, an object of the arena: mproc_hold() and mproc_hold_for()
 * keep it. */
typedef struct mproc_workplace mproc_workplace;

/* How a task has failed. */
typedef struct mproc_task_error {
    /* Why: MPROC_EDIED (the worker died), -ETIMEDOUT (the task's time was up), MPROC_EMEMORY (its
     * worker used too much), -ECANCELED, or what the task's function returned. 0: it has not
     * failed. */
    int code;
    unsigned tries;  /* how often it was given to a worker */
    uint64_t task;   /* number of the task, counted from 0; of a map: the item's index */
    pid_t pid;       /* of the worker, 0 if none had it */
    int exitcode;    /* of a worker that has ended: exit code, or minus the signal */
    int64_t ran;     /* -ETIMEDOUT: ns that the task had run when its worker was ended */
    uint64_t memory; /* of a task with a limit: the most private memory that was seen, in bytes */
    unsigned node;   /* of a pool on an engine: where that worker was, from 0 on */
} mproc_task_error;

/* What a pool is like. All zero means the defaults. */
typedef struct mproc_pool_options {
    /* Default: CPUs that the process may use, by its affinity and its control groups. */
    unsigned workers;
    unsigned most;       /* workers that mproc_pool_resize() may ask for; default 64 or `workers` */
    int idle;            /* non-zero: it begins without a worker, before mproc_pool_resize() */
    mproc_method method; /* default MPROC_FORK */
    const char *name;    /* prefix of the workers' names; default "Pool" */
    unsigned max_tasks;  /* a worker is replaced after so many tasks; 0: never */
    int (*init)(void *arg); /* runs in each worker first; non-zero ends the worker */
    void *init_arg;         /* NULL or a pointer into the arena */
    /* Runs in a worker that ends because there are no more tasks for it, or because it has done
     * max_tasks; not in one that is killed. */
    void (*exit)(void *arg);
    void *exit_arg; /* NULL or a pointer into the arena */
    /* What each worker does to itself before `init`; must stay there as long as the pool. */
    const mproc_process_setup *setup;
    /* 0: tasks go to the workers in the order in which they are submitted. Otherwise they have
     * priorities: at most so many tasks wait where workers take them, and the others wait in the
     * owner, where a more urgent one overtakes them. A thread of the owner has to wait or collect,
     * or workers find no more than these. Maps go ahead of all. */
    unsigned ahead;
    mproc_handler_fn handler; /* of tasks that are mere bytes */
    void *handler_arg;        /* NULL or a pointer into the arena */
    /* Non-zero: a worker that dies by itself abandons the pool (mproc_pool_abandon()), unless its
     * task has `retries`. One that the pool ends for its task's limits does not, nor does one that
     * exits with 0 and has no task. */
    int fragile;
    /* ns for which there may be no worker at all because none can be started. 0: 8 more attempts
     * than the pool has workers. */
    int64_t patience;
    /* Non-zero, in a pool with `end`: mproc_pool_drop() ends no worker. They do what is queued and
     * end by themselves, and `end` is given the handles of processes that may run still. */
    int outlived;

    /* How to start a worker, if not as `method` says: the process is to call mproc_pool_work() or
     * mproc_worker_join(). `seat` is the worker's number, from 0 on. 0 and *out: a launched
     * process, which is the pool's until `end` is called. A negative code: none could be started.
     * Name, method, init, handler and max_tasks are the starter's own affair then. */
    int (*start)(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out);
    /* A worker has ended, and its task is booked: `owned` is the callee's. NULL: it is closed. In a
     * forked child mproc_pool_drop() gives the copies of all handles back so. */
    void (*end)(void *arg, unsigned seat, mproc_process *owned);
    void *start_arg; /* given to both */

    /* What comes of parts (mproc_pool_put_part()), called once for each, as `done` of a task is.
     * `parts` and `part` are what was put. `result` is lent until it returns, with its buffers
     * (mproc_message_buffer()). NULL: it has failed, as error->code says. */
    void (*part)(void *arg, void *parts, size_t part, const mproc_message *result,
                 const mproc_task_error *error);
    void *part_arg; /* given to `part` */

    /* Called around callbacks, `start` and `end`, by the thread that makes them: where a runtime
     * takes and gives back a lock of its own. A callback that waits may be inside of another one's
     * pair. May be NULL. */
    void (*enter)(void *arg);
    void (*leave)(void *arg); /* see `enter` */
    void *enter_arg;          /* given to both */

    /* The workers are this engine's, spread over its nodes; NULL: they are processes of this
     * machine. It must live as long as the pool. What does not travel is an error: pointers into
     * the arena, `setup`, `start`, `idle`, `fragile`, `outlived`. `workers` are those of all nodes
     * together. */
    mproc_engine *engine;
} mproc_pool_options;

/* Words an error: "task 7: the worker process died ... (pid 123, signal 9)". Returns `out`. */
MPROC_API const char *mproc_task_error_text(const mproc_task_error *error, char *out, size_t size);

/* What applies to one task. All zero means the defaults. */
typedef struct mproc_task_options {
    /* Called when the task has ended, in the owner, by the thread that collects; others see the
     * task as done when it has returned. It may use all functions of tasks and pools, drop the
     * task included. A task that is dropped before it has ended has no callback. */
    void (*done)(mproc_task *task, void *arg);
    void *done_arg; /* given to `done` */
    /* ns from when a worker begins the task; then the worker is ended, and the task fails with
     * -ETIMEDOUT. 0: no end. Noticed within some 10 ms by a thread that waits. */
    int64_t timeout;
    /* Bytes of private memory that the worker may have while it runs the task (as looked at now and
     * then); then the worker is ended, and the task fails with MPROC_EMEMORY. 0: no limit. */
    uint64_t memory;
    /* How often the task is given to another worker after its worker died, after a timeout, or
     * after one of the codes in retry_on (up to the first 0). It begins anew each time. */
    unsigned retries;
    int retry_on[6]; /* codes; see `retries` */
    int64_t pause;   /* ns before the first retry; doubled before each further one, up to 60 s */
    /* In a pool with options.ahead: tasks of a higher priority are begun before those of a lower
     * one, equal ones in the order in which they were submitted. May be negative. Elsewhere it
     * must be 0. */
    int priority;
    /* What the task takes along, lent during the call: it holds each of them until it has ended.
     * A worker finds them by mproc_worker_buffer(). For mproc_pool_put(), not on an engine. */
    mproc_buffer *const *buffers;
    size_t nbuffers; /* how many */
} mproc_task_options;

/* ---- the pool */

/* Errors: -EINVAL, and those of mproc_process_start() or of options->start; MPROC_EENGINE: the
 * engine has ended; MPROC_ESTRANGER: it is another process's. */
MPROC_API int mproc_pool_new(mproc_pool **out, const mproc_pool_options *options) MPROC_MUST_USE;

/*
 * Queues one task. The bytes at `lent` are copied. `options` may be NULL. Errors: MPROC_ECLOSED,
 * MPROC_EFUNCTION, MPROC_ESTRANGER, -EINVAL, -ENOMEM, MPROC_ETOOBIG; MPROC_EDIED or what start
 * said (the pool is broken). A task may also fail with -ENOMEM or MPROC_ETOOBIG (no room for its
 * result), MPROC_EBUILD or MPROC_EFUNCTION (the worker has not got the function).
 */
MPROC_API int mproc_pool_submit(mproc_pool *pool, mproc_task_fn fn, const void *lent, size_t size,
                                const mproc_task_options *options, mproc_task **out) MPROC_MUST_USE;

/* The same for bytes, gathered from n pieces, that the pool's handler runs. -EINVAL: a pool without
 * a handler and without a start function. MPROC_ECLOSED, MPROC_ESTRANGER, -ENOMEM, MPROC_ETOOBIG;
 * MPROC_EDIED or what start said. */
MPROC_API int mproc_pool_put(mproc_pool *pool, const struct iovec *lent, int n,
                             const mproc_task_options *options, mproc_task **out) MPROC_MUST_USE;

/*
 * Puts a part of something larger: a task of mere bytes without options and without a handle, for
 * those that put many. It costs less than mproc_pool_put(). What comes of it is told to
 * options.part. -EINVAL: a pool without that, or without a handler and a start function; -EBUSY:
 * one with priorities. MPROC_ECLOSED, MPROC_ESTRANGER, -ENOMEM, MPROC_ETOOBIG; MPROC_EDIED or what
 * start said.
 */
MPROC_API int mproc_pool_put_part(mproc_pool *pool, const struct iovec *lent, int n, void *parts,
                                  size_t part) MPROC_MUST_USE;

/* The same for n parts of a piece each, numbered `first`, `first` + 1, and so on; small ones cost
 * less together. *put says how many have been put: all, or those before the one that has the error.
 * -EINVAL, -EBUSY, and the others of mproc_pool_put_part(). */
MPROC_API int mproc_pool_put_parts(mproc_pool *pool, const struct iovec *lent, size_t n,
                                   void *parts, size_t first, size_t *put) MPROC_MUST_USE;

/* Waits until the task is done, failed or cancelled: 0; -ETIMEDOUT, -EINTR, MPROC_ESTRANGER. */
MPROC_API int mproc_task_wait(mproc_task *task, int64_t timeout) MPROC_MUST_USE;

/* The same until one of n tasks of one pool is done: 0 and *index of the first such. -EINVAL: they
 * belong to several pools, or n is 0; -ETIMEDOUT, -EINTR, MPROC_ESTRANGER. */
MPROC_API int mproc_task_wait_any(mproc_task *const *tasks, size_t n, int64_t timeout,
                                  size_t *index) MPROC_MUST_USE;

/* The same until all are. -EINVAL: they belong to several pools; -ETIMEDOUT, -EINTR,
 * MPROC_ESTRANGER. */
MPROC_API int mproc_task_wait_all(mproc_task *const *tasks, size_t n,
                                  int64_t timeout) MPROC_MUST_USE;

/* 1: the task is done; 0: it is not. Looks, and collects nothing; cannot fail. */
MPROC_API int mproc_task_is_done(const mproc_task *task);

/* The result of a finished task, valid until drop. -EAGAIN: not finished; else why it failed. */
MPROC_API int mproc_task_result(mproc_task *task, const void **data, size_t *size) MPROC_MUST_USE;

/* The i-th buffer that the result has brought, lent until drop. NULL: it has no such. */
MPROC_API mproc_buffer *mproc_task_buffer(const mproc_task *task, size_t i);

/* How it ended: code 0 for a result, -EAGAIN for a task that is not finished. */
MPROC_API void mproc_task_failure(const mproc_task *task, mproc_task_error *out);

/* Takes a task back that no worker has started: it is done, and has failed with -ECANCELED.
 * -EBUSY: too late; MPROC_ESTRANGER. */
MPROC_API int mproc_task_cancel(mproc_task *task) MPROC_MUST_USE;

/* The same for a task that runs, too: its worker is killed, and the task fails with -ECANCELED as
 * soon as that has ended. -EBUSY: the task is done, or its result is on the way;
 * MPROC_ESTRANGER. */
MPROC_API int mproc_task_kill(mproc_task *task) MPROC_MUST_USE;

/* A task that is not done is done all the same, and its result forgotten. */
MPROC_API void mproc_task_drop(mproc_task *owned);

/* Collects what is there, calls the callbacks, looks after the workers. 0: some task, or chunk of
 * a map, has ended, or mproc_pool_notify() was called; -ETIMEDOUT: none has for so long; -EINTR,
 * MPROC_ESTRANGER. */
MPROC_API int mproc_pool_collect(mproc_pool *pool, int64_t timeout) MPROC_MUST_USE;

/* Ends the calls of mproc_pool_collect() that other threads are in, or the next one, with 0: what
 * they wait for has come otherwise than by a task's end. MPROC_ESTRANGER. */
MPROC_API int mproc_pool_notify(mproc_pool *pool) MPROC_MUST_USE;

/*
 * A descriptor for poll(), epoll or an event loop: it is readable when mproc_pool_collect(pool, 0)
 * should be called, because a task has ended, a worker has, or a time is up. Made by the first
 * call; the pool's own. Until that call, workers do not bother to write to it. Workers reach it by
 * an abstract socket, so they have to be in the owner's network namespace. -EMFILE, -ENFILE,
 * -ENOMEM, MPROC_ESTRANGER.
 */
MPROC_API int mproc_pool_fd(mproc_pool *pool);

/* What applies to one map. All zero means the defaults. */
typedef struct mproc_map_options {
    size_t chunk;  /* items per task; default: large ones first, small ones in the end */
    void *context; /* given to every call: NULL or a pointer into the arena */
    void (*progress)(size_t done, size_t total, void *arg); /* in the owner, between chunks */
    void *progress_arg;                                     /* given to `progress` */
    mproc_task_error *error;                                /* where to say what failed */
    int stop_on_signal; /* non-zero: a signal handler that runs cancels the map: -EINTR */
} mproc_map_options;

/*
 * out[i] = fn(in[i]) for n items of in_size and out_size bytes. Arrays in the arena are read and
 * written in place, others are copied once; `in` and `out` may be the same. An array without bytes
 * may be NULL. When a chunk fails, what runs is waited for and the rest is cancelled. Signal
 * handlers run meanwhile, and the map goes on unless it is told otherwise. Errors: that of the
 * foremost item that failed, -EINTR (see stop_on_signal), and those of submit.
 */
MPROC_API int mproc_pool_map(mproc_pool *pool, mproc_item_fn fn, const void *in, size_t in_size,
                             void *out, size_t out_size, size_t n,
                             const mproc_map_options *options) MPROC_MUST_USE;

/* From now on tasks have priorities, as if options.ahead had been that number. What is queued
 * already keeps its place. -EINVAL: it is 0; MPROC_ESTRANGER. */
MPROC_API int mproc_pool_rank(mproc_pool *pool, unsigned ahead) MPROC_MUST_USE;

/* From now on the pool has so many workers (1..most): others are started, or as many as are too
 * many end once they have done what is queued now. -EINVAL, MPROC_ECLOSED, MPROC_ESTRANGER,
 * -ENOMEM. */
MPROC_API int mproc_pool_resize(mproc_pool *pool, unsigned workers) MPROC_MUST_USE;

/* Pids of the workers at this moment; returns their number. */
MPROC_API size_t mproc_pool_workers(mproc_pool *pool, pid_t *out, size_t cap);
/* Tasks and chunks that have not ended. */
MPROC_API size_t mproc_pool_open(mproc_pool *pool);
/* Of these, the ones that lie where workers take them, and that none has taken. */
MPROC_API size_t mproc_pool_waiting(mproc_pool *pool);
/* What it shares with its workers; the pool's own. */
MPROC_API mproc_workplace *mproc_pool_workplace(mproc_pool *pool);

/* Says to those who look from outside (`mproc locks`) that the calling thread waits until something
 * ends, for a program that waits by mproc_pool_collect() in slices or lets others collect. Other
 * waits leave it as it is; while callbacks run it does not count. 1: it is said, until
 * mproc_pool_note_end(); 0: the thread waits for something else already; MPROC_ESTRANGER. */
MPROC_API int mproc_pool_note_wait(mproc_pool *pool) MPROC_MUST_USE;
/* Cannot fail. */
MPROC_API void mproc_pool_note_end(void);

/* No new tasks; workers end when all is done. */
MPROC_API void mproc_pool_close(mproc_pool *pool);
/* Nothing will be put any more, and open tasks fail at once: the one whose worker died with
 * MPROC_EDIED, all others with -ECANCELED. Workers end when they have done what they have, and are
 * not replaced; only while a map is under way are they killed. */
MPROC_API void mproc_pool_abandon(mproc_pool *pool);
/* 1: the pool is broken or abandoned, and submit fails; 0: it is not. Cannot fail. */
MPROC_API int mproc_pool_is_broken(mproc_pool *pool);
/* Ends the workers now, by SIGKILL, and waits for it; open tasks fail with -ECANCELED. */
MPROC_API void mproc_pool_terminate(mproc_pool *pool);
/* Waits until all tasks are done and the workers have ended. -EBUSY: not closed; -ETIMEDOUT,
 * -EINTR. */
MPROC_API int mproc_pool_join(mproc_pool *pool, int64_t timeout) MPROC_MUST_USE;
/* Terminates if need be, unless the workers may outlive the pool, and frees; in a forked child
 * frees its copy. Tasks live on till they are dropped. */
MPROC_API void mproc_pool_drop(mproc_pool *owned);
/* Invariants of the pool (law 12). MPROC_ECORRUPT; MPROC_ESTRANGER. */
MPROC_API int mproc_pool_check(mproc_pool *pool, char *why, size_t size) MPROC_MUST_USE;

/* ---- workers that a start function has started */

/* Serves in that seat until there are no more tasks (or max_tasks, 0: no limit, are done), and
 * returns the exit code that the process should end with, which says what went wrong: it cannot
 * fail otherwise. The functions of C tasks and maps run as ever, `handler` runs those that are mere
 * bytes. */
MPROC_API int mproc_pool_work(mproc_workplace *place, unsigned seat, mproc_handler_fn handler,
                              void *arg, unsigned max_tasks);

/* The same step by step, for a runtime with a loop of its own. One thread uses a worker. */
typedef struct mproc_worker mproc_worker;

/* -EBUSY: somebody has the seat; -EINVAL: there is none; -ENOMEM. */
MPROC_API int mproc_worker_join(mproc_worker **out, mproc_workplace *place,
                                unsigned seat) MPROC_MUST_USE;

/* Takes the next task that is mere bytes; runs C tasks and chunks of maps that come before. The
 * bytes are 16-byte aligned, and stay until mproc_worker_finish(). The first call says that the
 * worker is ready. MPROC_ECLOSED: there will be none, the worker should end; -ETIMEDOUT, -EINTR. */
MPROC_API int mproc_worker_take(mproc_worker *worker, const void **task, size_t *size,
                                int64_t timeout) MPROC_MUST_USE;

/* Hands in the result of the task that was taken, or (code != 0) its failure, without pieces.
 * -ENOMEM, MPROC_ETOOBIG: the worker still has the task, and may hand in something else.
 * -ECANCELED: the owner ends the task, and is about to kill this process, which should end.
 * -EINVAL: it has none; MPROC_ESTRANGER: this process is another's child that was forked by a
 * task. */
MPROC_API int mproc_worker_finish(mproc_worker *worker, int code, const struct iovec *lent,
                                  int n) MPROC_MUST_USE;
/* The same for a result that takes buffers along, which the caller holds: it has a hold of its own
 * on each until the owner drops the task. As mproc_worker_finish() with a code of 0. */
MPROC_API int mproc_worker_finish_with(mproc_worker *worker, const struct iovec *lent, int n,
                                       mproc_buffer *const *buffers,
                                       size_t nbuffers) MPROC_MUST_USE;

/* The i-th buffer that the task in hand has brought, lent until it is finished. NULL: it has no
 * such. */
MPROC_API mproc_buffer *mproc_worker_buffer(const mproc_worker *worker, size_t i);

/* Does somebody want to know which function the task in hand runs? 1: it is recorded
 * (docs/inspect.md), or is the first one of the worker; 0: no, and it cannot fail. The runtime may
 * say which one, also if that is not asked for, because it is another than that of the task before:
 * `mproc ps` shows the last one. The first 55 bytes of its name count, lent; NULL: it is not known
 * yet. */
MPROC_API int mproc_worker_is_traced(const mproc_worker *worker);
MPROC_API void mproc_worker_runs(mproc_worker *worker, const char *function);

/* Says of the task in hand, before its result is handed in, that it has failed, for a runtime that
 * sends its exceptions as results: `mproc queues` counts those and the results with a code. */
MPROC_API void mproc_worker_fails(mproc_worker *worker);

/* Tasks and chunks that it has done. */
MPROC_API uint64_t mproc_worker_done(const mproc_worker *worker);
/* Frees the handle; the seat is the process' until it ends. */
MPROC_API void mproc_worker_drop(mproc_worker *owned);

/* ---- workers that no pool looks after */

/* By this rule a pool gives up workers that end before they are of any use. A runtime that looks
 * after workers of its own, threads for example, gives them up by the same one. It is private
 * memory, which begins as MPROC_RESTARTS_INIT; one thread uses it at a time. */
typedef struct mproc_restarts {
    uint32_t early;   /* ends of workers that had not become ready, since one became ready */
    uint32_t useless; /* those of them since something was done, too */
    int64_t missing;  /* since when there has been no worker, by the monotonic clock; 0: not so */
} mproc_restarts;
/* No worker has ended yet. */
#define MPROC_RESTARTS_INIT                                                                        \
    { 0, 0, 0 }

/* A worker has become ready: what has ended before it does not count. Cannot fail. */
MPROC_API void mproc_restarts_ready(mproc_restarts *restarts);
/* A worker has ended that had not become ready. done: something has been done, by whomever, since
 * the last worker ended. Cannot fail. */
MPROC_API void mproc_restarts_ended(mproc_restarts *restarts, int done);
/* There is no worker, and none can be started now. When that has lasted for longer than patience,
 * in ns, the `workers` that are wanted are hopeless. Cannot fail. */
MPROC_API void mproc_restarts_missing(mproc_restarts *restarts, unsigned workers, int64_t patience);
/* A worker could be started. Cannot fail. */
MPROC_API void mproc_restarts_started(mproc_restarts *restarts);
/* 1: so many workers are to be given up, for 8 more than that have ended without use, one after the
 * other; 0: they may be started again. Cannot fail. */
MPROC_API int mproc_restarts_hopeless(const mproc_restarts *restarts, unsigned workers);

/* ---------------------------------------------------------------- engine */

/*
 * Workers on several machines. A program that was started as one process per machine, by mpirun or
 * srun for instance, calls mproc_engine_new() in each of them. The one that has rank 0 goes on as
 * the program; each other one becomes a node of the engine, and exits when the engine is dropped.
 * So what main() does before that call, it does on every machine.
 *
 * A node has a pool of its own on its machine, and rank 0's machine is a node, too. A task that
 * kills its worker costs that worker, and fails with MPROC_EDIED as it does on one machine. The
 * tasks of a node that gives no sign of life any more fail with MPROC_EDIED and a pid of 0; the
 * other nodes go on. Nothing is begun a second time unless mproc_task_options say so.
 *
 * What travels: functions by their build-id, so all machines need the same file of the program; and
 * bytes. What does not travel: memory of the arena. So the items of a map are copied, its `context`
 * has to be NULL, and tasks do not see the program's queues and locks.
 */

/* What an engine is like. All zero means the defaults. */
typedef struct mproc_engine_options {
    int64_t patience; /* ns that the nodes have to come; default 30 s */
    int64_t silence;  /* ns without a sign of life after which a node is lost; default 20 s */
} mproc_engine_options;

/* Starts the engine of that name, "mpi" for instance, whose plugin is libmproc_NAME.so. Returns in
 * the process with rank 0 only. MPROC_EENGINE: there is no such plugin, or it is of another
 * version, or a node has not come in time; -EIO: it could not begin. A line on stderr says which.
 * -EINVAL: no name, or a negative time. The errors of mproc_process_start(). */
MPROC_API int mproc_engine_new(mproc_engine **out, const char *name,
                               const mproc_engine_options *options) MPROC_MUST_USE;

/* How many nodes it began with, this machine's included. Cannot fail. */
MPROC_API unsigned mproc_engine_nodes(const mproc_engine *engine);

/* How many workers a pool has on them all, unless it says otherwise. Cannot fail. */
MPROC_API unsigned mproc_engine_workers(const mproc_engine *engine);

/* Ends the nodes, and waits for it; what they have open is not done. Pools that use it are dropped
 * before. In a forked child it frees the copy. An engine that is not dropped is at exit(). */
MPROC_API void mproc_engine_drop(mproc_engine *owned);

/* ---------------------------------------------------------------- task queue */

/*
 * The engine under every pool: tasks go out, results come back, and no task is lost with the worker
 * that had it. The maker of the task queue is its owner; the workers, processes that the owner
 * starts in whatever way, each have a seat, a number from 0 on that the owner gives out. A worker's
 * seat says at any moment which task it has: taking the task and saying so are one step, as are
 * handing in the result and saying so. Tasks and results are bytes; a task's ticket is its number,
 * counted from 0.
 */
typedef struct mproc_taskq mproc_taskq;

/* Seats that a task queue has at most. */
#define MPROC_SEATS_MAX 65535

/* With room for `seats` workers. -EINVAL: none, or more than MPROC_SEATS_MAX; MPROC_ETOOBIG,
 * -ENOMEM; the errors of joining. */
MPROC_API int mproc_taskq_new(mproc_taskq **out, unsigned seats) MPROC_MUST_USE;

/* Owner: queues a task in `n` pieces. MPROC_ECLOSED, MPROC_ETOOBIG, -ENOMEM; -EINVAL: n is
 * negative. */
MPROC_API int mproc_taskq_put(mproc_taskq *tasks, const struct iovec *lent, int n,
                              uint64_t *ticket) MPROC_MUST_USE;

/* Owner: the next result. -ETIMEDOUT, -EINTR; -EAGAIN: mproc_taskq_notify() has woken it; -ENOMEM:
 * no block for it, it is still there. */
MPROC_API int mproc_taskq_collect(mproc_taskq *tasks, mproc_message *message, uint64_t *ticket,
                                  int64_t timeout) MPROC_MUST_USE;

/* Owner: wakes the thread that waits in mproc_taskq_collect(), or the next one that calls it: what
 * it waits for has come in another way than by a result. Each notice ends one call, after the
 * results that are there. -ENOMEM: no room to say so. */
MPROC_API int mproc_taskq_notify(mproc_taskq *tasks) MPROC_MUST_USE;

/* Owner: the seat's worker has ended, and is reaped here. 1: it had a task, whose result will never
 * come; 0: it had none. The seat is free again. -EINVAL: no such seat. */
MPROC_API int mproc_taskq_worker_died(mproc_taskq *tasks, unsigned seat,
                                      uint64_t *ticket) MPROC_MUST_USE;

/* Worker: takes the seat. -EBUSY: somebody has it. -EINVAL: no such seat. */
MPROC_API int mproc_taskq_join(mproc_taskq *tasks, unsigned seat) MPROC_MUST_USE;

/* Worker: takes the oldest task. MPROC_ECLOSED: there will be none; -ETIMEDOUT, -EINTR; -ENOMEM;
 * MPROC_ESTRANGER: the caller is not the seat's worker, but perhaps a child that it forked. */
MPROC_API int mproc_taskq_take(mproc_taskq *tasks, unsigned seat, mproc_message *message,
                               uint64_t *ticket, int64_t timeout) MPROC_MUST_USE;

/* Worker: hands in the result of the task that it took last. -ENOMEM, MPROC_ETOOBIG: it still has
 * the task; -EINVAL: it has none; MPROC_ESTRANGER as above. */
MPROC_API int mproc_taskq_finish(mproc_taskq *tasks, unsigned seat, const struct iovec *lent,
                                 int n) MPROC_MUST_USE;

/* Owner: no more tasks; workers drain what is queued, then get MPROC_ECLOSED. */
MPROC_API void mproc_taskq_close(mproc_taskq *tasks);

/* Tasks that no worker has taken yet. */
MPROC_API uint64_t mproc_taskq_waiting(const mproc_taskq *tasks);

/* The ticket that the seat's worker has at this moment: 1 and *ticket, or 0. Cannot fail. */
MPROC_API int mproc_taskq_current(const mproc_taskq *tasks, unsigned seat, uint64_t *ticket);

/* Invariants (law 12), also of its queues. MPROC_ECORRUPT. */
MPROC_API int mproc_taskq_check(mproc_taskq *tasks, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- pipe */

/*
 * A pipe's end is a descriptor. Messages are framed as Python's multiprocessing.Connection does: a
 * 4-byte signed length in network order, or -1 and 8 bytes from 2 GiB on, then the bytes; either
 * end may therefore be a Python process. One thread at a time may send on an end, and one receive.
 * An end may be non-blocking: the calls wait all the same. Reads and writes go on by themselves
 * after a handler that was installed with SA_RESTART. What read(2) and write(2) report of other
 * descriptors is passed on.
 */

/* Two connected ends, close-on-exec. duplex: both ways (a socket pair); otherwise ends[0] receives
 * and ends[1] sends (a pipe). -EMFILE, -ENFILE. */
MPROC_API int mproc_pipe_new(int ends[2], int duplex) MPROC_MUST_USE;

/* Sends one whole message. MPROC_EEOF (nobody can receive); -EINTR, only before the first byte;
 * -EINVAL (larger than a message can be); -EBADF. */
MPROC_API int mproc_pipe_send(int end, const void *lent, size_t size) MPROC_MUST_USE;

/* The same for a message in `n` pieces, gathered in order. MPROC_EEOF; -EINTR; -EINVAL, also when n
 * is negative; -EBADF. */
MPROC_API int mproc_pipe_sendv(int end, const struct iovec *lent, int n) MPROC_MUST_USE;

/* Receives in two steps: this is the length of the next message, for which it waits. MPROC_EEOF
 * (closed between messages), MPROC_EFRAME; -EINTR, only before the first byte; -EBADF. */
MPROC_API int mproc_pipe_recv_size(int end, size_t *size) MPROC_MUST_USE;

/* The same without waiting for a message to begin. -EAGAIN: none has; MPROC_EEOF, MPROC_EFRAME;
 * -EBADF. */
MPROC_API int mproc_pipe_try_size(int end, size_t *size) MPROC_MUST_USE;

/* The second step: exactly the message's bytes. MPROC_EFRAME; -EINTR, only before the first byte;
 * -EBADF. */
MPROC_API int mproc_pipe_recv_body(int end, void *out, size_t size) MPROC_MUST_USE;

/* 1 when a message (or the end of the stream) can be received, 0 after the timeout. -EINTR,
 * -EBADF. */
MPROC_API int mproc_pipe_poll(int end, int64_t timeout) MPROC_MUST_USE;

/* Passes open descriptors over a duplex end (SCM_RIGHTS), with one byte of data. -EINVAL: none, or
 * more than 253; MPROC_EEOF; -EINTR; -EBADF (one of them, or the end), -ENOTSOCK (the end is not
 * duplex). */
MPROC_API int mproc_pipe_send_fds(int end, const int *lent, size_t n) MPROC_MUST_USE;

/* Receives up to `cap` of them, close-on-exec; *n is their number. MPROC_EEOF; MPROC_EFRAME (more,
 * or none); -EINTR; -EBADF, -ENOTSOCK. */
MPROC_API int mproc_pipe_recv_fds(int end, int *out, size_t cap, size_t *n) MPROC_MUST_USE;

/* Waits until at least one of n descriptors (pipe ends, sentinels, sockets) is readable or at its
 * end; ready[i] is set to 0 or 1. Returns their number, 0 after the timeout. -EINTR; -EBADF: one is
 * not open; -ENOMEM. */
MPROC_API int mproc_wait(const int *fds, size_t n, unsigned char *ready,
                         int64_t timeout) MPROC_MUST_USE;

/* ---------------------------------------------------------------- channel */

/*
 * A pipe between members whose messages go through the arena while both sides are awake: a message
 * takes no system call then. Its two ends are descriptors as those of mproc_pipe_new(), and all
 * that these are good for stays as it is: the end of the other side is noticed when the last copy
 * of its descriptor is closed, or its process killed; a sender that is not listened to blocks where
 * a pipe would. A side is 0 or 1, and its end is ends[side], or a copy of that under another
 * number. A message that was sent can be received, whatever happens to its sender.
 *
 * A message that is larger than what a pipe takes before anybody receives stays in the arena, too:
 * it is copied once, and its sender waits until it is received. A sender that dies meanwhile has
 * sent it or has not.
 *
 * Only these functions may use the descriptors, until one side has called mproc_channel_plain().
 * From then on the channel is a pipe for good, for both sides, and all that was sent can be read
 * from the descriptor: for programs that only know that, for poll(), for other processes. The other
 * side need not know: these functions do the right thing before and after it. Any number of threads
 * may send and receive.
 */
typedef struct mproc_channel mproc_channel;

/* A channel that the caller holds once, and its two ends, which are the caller's to close. duplex:
 * both ways; otherwise side 0 receives and side 1 sends. -ENOMEM, -EMFILE, -ENFILE; the errors of
 * joining. */
MPROC_API int mproc_channel_new(mproc_channel **out, int ends[2], int duplex) MPROC_MUST_USE;

/* Sends one whole message. MPROC_EEOF (nobody can receive); -EINTR, only before the first byte;
 * -EINVAL (larger than a message can be); -EMFILE; -EBADF. */
MPROC_API int mproc_channel_send(mproc_channel *channel, int side, int end, const void *lent,
                                 size_t size) MPROC_MUST_USE;

/* The same for a message in `n` pieces, gathered in order. MPROC_EEOF; -EINTR; -EINVAL, also when n
 * is negative; -EMFILE; -EBADF. */
MPROC_API int mproc_channel_sendv(mproc_channel *channel, int side, int end,
                                  const struct iovec *lent, int n) MPROC_MUST_USE;

/* The same, and the message takes buffers along, which the caller holds: it has a hold of its own
 * on each until its receiver drops it (mproc_message_buffer()). Such a message goes through memory
 * or not at all. -EAGAIN: it cannot, so nothing has been sent; -ENOMEM; MPROC_EEOF; -EINTR;
 * -EINVAL, also when nobody holds one of the buffers; -EMFILE; -EBADF. */
MPROC_API int mproc_channel_send_with(mproc_channel *channel, int side, int end,
                                      const struct iovec *lent, int n, mproc_buffer *const *buffers,
                                      size_t nbuffers) MPROC_MUST_USE;

/* Messages of more bytes than that, and those with buffers, stay in memory if they are sent now, as
 * far as can be seen, and mproc_channel_send() waits until they are received, as it does at a pipe.
 * SIZE_MAX: none stays there. Cannot fail. */
MPROC_API size_t mproc_channel_offers(mproc_channel *channel, int side, int end);

/* Leaves buffers, which the caller holds, for the receiver of a message that has *name in it and is
 * sent next: such a message may be bytes in the kernel. The channel has a hold on each until they
 * are fetched, or until it is no more. -EAGAIN: a descriptor has been asked for, so the receiver
 * may be anybody; -ENOMEM; -EINVAL: n is 0, or nobody holds one of them. */
MPROC_API int mproc_channel_give(mproc_channel *channel, int side, mproc_buffer *const *buffers,
                                 size_t n, uint64_t *name) MPROC_MUST_USE;

/* Non-zero: something was given and has not been fetched yet. */
MPROC_API int mproc_channel_given(const mproc_channel *channel);

/* Fetches what was given under a name, once, on either side: sets message->block, and
 * mproc_message_buffer() has them until mproc_message_drop(). -ENOENT. */
MPROC_API int mproc_channel_fetch(mproc_channel *channel, uint64_t name,
                                  mproc_message *message) MPROC_MUST_USE;

/* The same as mproc_channel_sendv(), if that takes neither waiting nor the kernel. -EAGAIN: it
 * would; -EINVAL. */
MPROC_API int mproc_channel_try_sendv(mproc_channel *channel, int side, int end,
                                      const struct iovec *lent, int n) MPROC_MUST_USE;

/* The message has not been received: its bytes come by mproc_pipe_recv_body(end). */
#define MPROC_CHANNEL_BODY 1
/* Nor has this one, which does not fit into the room, and is still the next. */
#define MPROC_CHANNEL_LARGER 2

/* Receives the next message, for which it waits, into `room`; *size is its length, whether the
 * result is 0, MPROC_CHANNEL_BODY or MPROC_CHANNEL_LARGER. MPROC_EEOF (closed between messages),
 * MPROC_EFRAME; -EINTR, only before the first byte; -EBADF. */
MPROC_API int mproc_channel_recv(mproc_channel *channel, int side, int end, void *room,
                                 size_t room_size, size_t *size) MPROC_MUST_USE;

/* The same without waiting. -EAGAIN: no message has begun, or another thread receives; MPROC_EEOF,
 * MPROC_EFRAME; -EBADF. */
MPROC_API int mproc_channel_try_recv(mproc_channel *channel, int side, int end, void *room,
                                     size_t room_size, size_t *size) MPROC_MUST_USE;

/* As mproc_channel_recv() and mproc_channel_try_recv(), with the message as mproc_queue_get() has
 * it: what fits into its room is there. A large one, and what brings buffers along, stays in the
 * arena until mproc_message_drop(), without a copy. After MPROC_CHANNEL_BODY and
 * MPROC_CHANNEL_LARGER only message->size is set. MPROC_EEOF, MPROC_EFRAME; -EINTR; -EBADF. */
MPROC_API int mproc_channel_recv_message(mproc_channel *channel, int side, int end,
                                         mproc_message *message) MPROC_MUST_USE;

/* -EAGAIN: no message has begun, or another thread receives; MPROC_EEOF, MPROC_EFRAME; -EBADF. */
MPROC_API int mproc_channel_try_recv_message(mproc_channel *channel, int side, int end,
                                             mproc_message *message) MPROC_MUST_USE;

/* 1 when a message (or the end) can be received, 0 after the timeout. A member that is stopped in
 * the middle of sending or receiving delays it by 0.1 s at most. -EINTR, -EBADF. */
MPROC_API int mproc_channel_poll(mproc_channel *channel, int side, int end,
                                 int64_t timeout) MPROC_MUST_USE;

/* 1 when a message is there; 0: the descriptor tells, until the next call that receives, so it can
 * be waited for together with others (mproc_wait()); of a channel made without `duplex`, it tells
 * from now on, as after mproc_channel_plain(). -EBADF. */
MPROC_API int mproc_channel_look(mproc_channel *channel, int side, int end) MPROC_MUST_USE;

/* From now on all messages are bytes in the kernel, in both directions, those too that have been
 * sent before; the order stays. -EMFILE; -EBADF; -EACCES, -ENOENT: what has been sent over a pipe
 * cannot be had as bytes, because it is another user's, or there is no /proc. Then all is as
 * before. */
MPROC_API int mproc_channel_plain(mproc_channel *channel, int side, int end) MPROC_MUST_USE;

/* The caller is about to close its end: the other side asks the kernel whether there is still
 * somebody, before it sends more or tries in vain to receive. Its hold on the channel is another
 * matter (mproc_drop()). */
MPROC_API void mproc_channel_leave(mproc_channel *channel, int side);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_channel_check(mproc_channel *channel, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- lock */

/*
 * A mutual exclusion lock between all threads of all members, robust against the death of its
 * holder. It is not recursive, and any thread of any member may release it, as with a binary
 * semaphore. Waiters spin briefly when that has paid, then sleep.
 *
 * The undo record makes what the lock guards all-or-nothing: mproc_lock_save() keeps the old value
 * of a word of the arena before it is changed, release commits. When the holder dies, the next one
 * to acquire finds every saved word as it was before (or, if the holder died while it released, the
 * whole change), and is told by -EOWNERDEAD: it holds the lock. A thread that ends while it holds
 * the lock is a death, too, which those notice that wait; a mere try does not.
 */
typedef struct mproc_lock mproc_lock;

/* A lock whose undo record holds up to `undo` words (0: none). -EINVAL: more than 4096; -ENOMEM;
 * the errors of joining. */
MPROC_API int mproc_lock_new(mproc_lock **out, unsigned undo) MPROC_MUST_USE;

/* From now on a thread may acquire the lock, end, and leave it to another thread to release it:
 * only the end of the holder's process is a death. To be called by the lock's maker. */
MPROC_API void mproc_lock_any_thread(mproc_lock *lock);

/* -EOWNERDEAD: the lock is held and its previous holder died; -ETIMEDOUT, -EINTR: it is not
 * held. */
MPROC_API int mproc_lock_acquire(mproc_lock *lock, int64_t timeout) MPROC_MUST_USE;

/* Commits and frees the lock. MPROC_ENOTHELD when nobody holds it. */
MPROC_API int mproc_lock_release(mproc_lock *lock);

/* Keeps the value of the 8-byte word at `word` for undoing. The word is aligned and in the arena,
 * which debug builds assert. Only while the caller holds the lock. -ENOSPC: the record is full, so
 * the word must not be changed; MPROC_ENOTHELD: nobody holds the lock. */
MPROC_API int mproc_lock_save(mproc_lock *lock, void *word) MPROC_MUST_USE;

/* Puts all saved words back and forgets them; the lock stays held. MPROC_ENOTHELD: not by the
 * caller. */
MPROC_API int mproc_lock_rollback(mproc_lock *lock);

/* Which thread holds a lock, or held it. */
typedef struct mproc_lock_holder {
    /* 0: nobody. */
    pid_t pid;
    /* The thread that acquired the lock, by its kernel id. */
    pid_t tid;
    /* Of the member. */
    uint64_t serial;
} mproc_lock_holder;

/* Tells which thread holds the lock at this moment; all zero: nobody does, or its process was
 * killed with it. A child that has come to its end by itself and left the lock taken is still
 * named, until somebody acquires the lock or another child has ended in its place. */
MPROC_API void mproc_lock_owner(const mproc_lock *lock, mproc_lock_holder *out);

/* Non-zero while the calling thread is the one that acquired the lock. */
MPROC_API int mproc_lock_is_mine(const mproc_lock *lock);

/* Who died holding the lock, as of the last -EOWNERDEAD; all zero if nobody ever did. */
MPROC_API void mproc_lock_dead_owner(const mproc_lock *lock, mproc_lock_holder *out);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_lock_check(const mproc_lock *lock, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- recursive lock */

/*
 * A lock that the thread that holds it may acquire again; it is free when it has been released as
 * often. Nobody else can release it. Otherwise as mproc_lock, but without an undo record.
 */
typedef struct mproc_rlock mproc_rlock;

/* -ENOMEM; the errors of joining. */
MPROC_API int mproc_rlock_new(mproc_rlock **out) MPROC_MUST_USE;

/* -EOWNERDEAD: the lock is held and its previous holder died; -ETIMEDOUT, -EINTR; -EOVERFLOW: it is
 * held 2^32 - 1 times already. */
MPROC_API int mproc_rlock_acquire(mproc_rlock *lock, int64_t timeout) MPROC_MUST_USE;

/* MPROC_ENOTHELD: the calling thread does not hold it. */
MPROC_API int mproc_rlock_release(mproc_rlock *lock);

/*
 * Reads one number of `size` bytes (1, 2, 4 or 8, aligned) as if the lock were taken for it, but
 * cheaper, and without waiting. -EBUSY, and nothing has happened: somebody else holds the lock or
 * just held it; acquire it then.
 */
MPROC_API int mproc_rlock_load(const mproc_rlock *lock, size_t size, const void *at,
                               void *out) MPROC_MUST_USE;

/* Writes one in the same way. A member that dies in a store leaves the lock as its holder does.
 * -EBUSY. */
MPROC_API int mproc_rlock_store(mproc_rlock *lock, size_t size, void *at,
                                const void *lent) MPROC_MUST_USE;

/* How often the calling thread holds it: 0 if it does not. */
MPROC_API unsigned mproc_rlock_depth(const mproc_rlock *lock);

/* Tells which thread holds the lock at this moment, as mproc_lock_owner(). */
MPROC_API void mproc_rlock_owner(const mproc_rlock *lock, mproc_lock_holder *out);

/* Who died holding the lock, as of the last -EOWNERDEAD; all zero if nobody ever did. */
MPROC_API void mproc_rlock_dead_owner(const mproc_rlock *lock, mproc_lock_holder *out);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_rlock_check(const mproc_rlock *lock, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- semaphore */

/*
 * A number of permits. acquire takes one and waits while there is none; release gives one back, by
 * whatever thread of whatever member. The permits of a member that dies are not given back: a
 * semaphore may be a signal, and who releases it need not be who acquired it. mproc_bsemaphore
 * gives them back.
 */
typedef struct mproc_semaphore mproc_semaphore;

/* Permits at most. */
#define MPROC_SEMAPHORE_MAX 2147483647u

/* With `value` permits. -EINVAL: more than MPROC_SEMAPHORE_MAX; -ENOMEM; the errors of joining. */
MPROC_API int mproc_semaphore_new(mproc_semaphore **out, unsigned value) MPROC_MUST_USE;

/* -ETIMEDOUT, -EINTR. */
MPROC_API int mproc_semaphore_acquire(mproc_semaphore *semaphore, int64_t timeout) MPROC_MUST_USE;

/* -EOVERFLOW: there are MPROC_SEMAPHORE_MAX permits already. */
MPROC_API int mproc_semaphore_release(mproc_semaphore *semaphore);

/* Permits that are there at this moment. */
MPROC_API unsigned mproc_semaphore_value(const mproc_semaphore *semaphore);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_semaphore_check(const mproc_semaphore *semaphore, char *why,
                                    size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- bounded semaphore */

/*
 * A semaphore that knows who took its permits: when a member dies, those that it had taken and not
 * released are given back. Any member may release in the place of another.
 */
typedef struct mproc_bsemaphore mproc_bsemaphore;

/* With `bound` permits, all there. -EINVAL: more than MPROC_SEMAPHORE_MAX; -ENOMEM; the errors of
 * joining. */
MPROC_API int mproc_bsemaphore_new(mproc_bsemaphore **out, unsigned bound) MPROC_MUST_USE;

/* -ETIMEDOUT, -EINTR; -ENOMEM: no room to note the caller. */
MPROC_API int mproc_bsemaphore_acquire(mproc_bsemaphore *semaphore, int64_t timeout) MPROC_MUST_USE;

/* MPROC_ENOTHELD: all permits are there. */
MPROC_API int mproc_bsemaphore_release(mproc_bsemaphore *semaphore);

/* Permits that are there at this moment, those of dead members included. */
MPROC_API unsigned mproc_bsemaphore_value(mproc_bsemaphore *semaphore);

/* Permits that it was made with. */
MPROC_API unsigned mproc_bsemaphore_bound(const mproc_bsemaphore *semaphore);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_bsemaphore_check(mproc_bsemaphore *semaphore, char *why,
                                     size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- event */

/*
 * A flag, at first not set. Waiting ends when it is set, or was set since the call began: a flag
 * that is set and at once cleared lets all go who waited then. Dead waiters are in nobody's way.
 */
typedef struct mproc_event mproc_event;

/* -ENOMEM; the errors of joining. */
MPROC_API int mproc_event_new(mproc_event **out) MPROC_MUST_USE;

/* Sets the flag; all who wait go on. */
MPROC_API void mproc_event_set(mproc_event *event);

/* Takes the flag back. */
MPROC_API void mproc_event_clear(mproc_event *event);

/* Non-zero while the flag is set. */
MPROC_API int mproc_event_is_set(const mproc_event *event);

/* -ETIMEDOUT, -EINTR. */
MPROC_API int mproc_event_wait(mproc_event *event, int64_t timeout) MPROC_MUST_USE;

/* How often it has been set so far, modulo 2^30: who finds it cleared can tell whether it was set
 * meanwhile. */
MPROC_API uint32_t mproc_event_times(const mproc_event *event);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_event_check(const mproc_event *event, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- watch */

/*
 * Waiting with a descriptor: for poll(), epoll, libuv and other event loops. A descriptor is
 * readable when an operation would succeed at once, or end at once with MPROC_ECLOSED. Each process
 * has its own, however it was started, and several processes may wait for one object: all of them
 * are told, one of them succeeds, and the others try in vain and wait again. No thread is made, and
 * an object for which nobody waits in this way is as fast as ever.
 *
 * A member that is killed just before it tells leaves the telling to a timer: while something is
 * armed, a descriptor becomes readable each 250 ms. The same timer stands in where the members are
 * in different network namespaces, since they tell by an abstract socket. So readable means: try
 * again, without waiting.
 */

typedef enum mproc_watch_for {
    MPROC_WATCH_GET = 1, /* a queue has a message */
    MPROC_WATCH_PUT,     /* a queue has room */
    MPROC_WATCH_JOIN,    /* all that was put into a queue has been reported done */
    MPROC_WATCH_WAIT,    /* an event is set; tickets of a condition or barrier: see there */
    MPROC_WATCH_ACQUIRE  /* a lock is free, or its holder has died; a semaphore has a permit */
} mproc_watch_for;

/*
 * One descriptor for one operation, made by the first call and the library's own. Each call arms
 * it: from then on the descriptor is readable when the operation would succeed. So an event loop
 * adds it once; when it is readable, the operation is tried until it fails, and then this is
 * called again. One thread uses it. A forked child asks for its own. Each takes three
 * descriptors; a watch (below) is for many. -EMFILE, -ENFILE, -ENOMEM; -ENOSPC: the family has no
 * room for another one; -EINVAL: not an operation of a queue.
 */
MPROC_API int mproc_queue_fd(mproc_queue *queue, mproc_watch_for what);

/* As mproc_queue_fd(), for mproc_event_wait(). -EMFILE, -ENFILE, -ENOMEM, -ENOSPC. */
MPROC_API int mproc_event_fd(mproc_event *event);

/* As mproc_queue_fd(), for mproc_semaphore_acquire(). -EMFILE, -ENFILE, -ENOMEM, -ENOSPC. */
MPROC_API int mproc_semaphore_fd(mproc_semaphore *semaphore);

/* As mproc_queue_fd(), for mproc_bsemaphore_acquire(), also when a member with permits has died.
 * -EMFILE, -ENFILE, -ENOMEM, -ENOSPC. */
MPROC_API int mproc_bsemaphore_fd(mproc_bsemaphore *semaphore);

/* As mproc_queue_fd(), for mproc_lock_acquire(), also when the holder's process has died. -EMFILE,
 * -ENFILE, -ENOMEM, -ENOSPC. */
MPROC_API int mproc_lock_fd(mproc_lock *lock);

/* Gives such a descriptor back, and closes it. -EBADF: it is none. */
MPROC_API int mproc_fd_drop(int fd);

/*
 * One descriptor for any number of operations. Each is a request with a number, from 0 on. A
 * request that is armed is told of once, by mproc_watch_next(), when its operation would succeed;
 * then it is armed again, if need be. A watch is a handle, of the process that made it and of one
 * thread at a time.
 */
typedef struct mproc_watch mproc_watch;

/* -EMFILE, -ENFILE, -ENOMEM; the errors of joining. */
MPROC_API int mproc_watch_new(mproc_watch **out) MPROC_MUST_USE;

/* The descriptor, the watch's own: readable when mproc_watch_next() should be called.
 * MPROC_ESTRANGER. */
MPROC_API int mproc_watch_fd(const mproc_watch *watch);

/* A request, not armed yet: its number. It has a hold on the object. -EINVAL: such an object has no
 * such operation; -ENOSPC: the family has no room for another one; -ENOMEM, MPROC_ESTRANGER. */
MPROC_API int mproc_watch_add(mproc_watch *watch, void *object, mproc_watch_for what);

/* 0: it is armed; 1: it is not, the operation would succeed now. -EINVAL: no such request;
 * MPROC_ESTRANGER. */
MPROC_API int mproc_watch_arm(mproc_watch *watch, int number);

/* It is not told of any more. -EINVAL: no such request; MPROC_ESTRANGER. */
MPROC_API int mproc_watch_disarm(mproc_watch *watch, int number);

/* The request is no more, and its number may be another's. -EINVAL: no such request;
 * MPROC_ESTRANGER. */
MPROC_API int mproc_watch_remove(mproc_watch *watch, int number);

/* The number of a request whose operation would succeed, and which is not armed any more: called
 * until it gives -EAGAIN, which says that there is no other. MPROC_ESTRANGER. */
MPROC_API int mproc_watch_next(mproc_watch *watch);

/* Gives the watch back, its requests, and its descriptor. NULL is ignored. */
MPROC_API void mproc_watch_drop(mproc_watch *owned);

/*
 * A wait at a condition or a barrier without a thread that sleeps, for event loops. _begin() makes
 * the ticket, and it is the caller's until _end(), or until the wait is over. Its fields are the
 * library's. A wait belongs to the process that began it, and ends with that.
 */
typedef struct mproc_ticket {
    uint64_t entry;  /* where the object keeps the wait */
    uint64_t member; /* who waits; 0: its wait is over */
    uint64_t phase;  /* of the barrier, when the wait began */
    unsigned index;  /* of a barrier that was passed: the order of coming, from 0 */
    int action;      /* of a barrier, non-zero: the last party runs an action */
} mproc_ticket;

/* ---------------------------------------------------------------- condition */

/*
 * Waiting for what a lock guards to become true. The waiter holds a lock (mproc_lock or
 * mproc_rlock, all waiters of a condition the same one), finds that it must wait, and waits: the
 * lock is released meanwhile. A member that changes what is guarded notifies while it holds the
 * lock. A wait may end early or for nothing, so look again in a loop. The longest waiter is
 * notified first; the dead are forgotten.
 */
typedef struct mproc_condition mproc_condition;

/* -ENOMEM; the errors of joining. */
MPROC_API int mproc_condition_new(mproc_condition **out) MPROC_MUST_USE;

/*
 * Releases the lock, all levels of a recursive one, waits, and acquires it again as often, however
 * long that takes. 0: notified; -ETIMEDOUT, -EINTR: the lock is held again, too; -EOWNERDEAD:
 * likewise, but its last holder died, and whether there was a notification is not told.
 *
 * Nothing has happened: MPROC_ENOTHELD (by the calling thread), MPROC_EOTHER (no lock), -ENOMEM.
 */
MPROC_API int mproc_condition_wait(mproc_condition *condition, void *lock,
                                   int64_t timeout) MPROC_MUST_USE;

/* Ends up to n waits. To be called while holding the lock. */
MPROC_API void mproc_condition_notify(mproc_condition *condition, unsigned n);

/* Ends all waits. To be called while holding the lock. */
MPROC_API void mproc_condition_notify_all(mproc_condition *condition);

/* How many wait at this moment and live. */
MPROC_API unsigned mproc_condition_waiting(mproc_condition *condition);

/*
 * Waits with a ticket. The caller holds the lock; it releases that after this call, and acquires it
 * again when the ticket has been notified, both by itself. Such a wait is notified in its turn, as
 * one of mproc_condition_wait() is. -ENOMEM; -ETIMEDOUT: the condition is not to be had, because a
 * stopped process is at it.
 */
MPROC_API int mproc_condition_begin(mproc_condition *condition, mproc_ticket *out) MPROC_MUST_USE;

/* 1: the ticket was notified; 0: not yet. -EINVAL: its wait is over; MPROC_ESTRANGER: it is the
 * ticket of a forked child's parent. */
MPROC_API int mproc_condition_notified(const mproc_condition *condition,
                                       const mproc_ticket *ticket) MPROC_MUST_USE;

/* Ends a wait. 0: it was notified, which a caller that does not want it any more hands on by
 * mproc_condition_notify(); -ETIMEDOUT: it was not. -EINVAL, MPROC_ESTRANGER: as
 * mproc_condition_notified(). */
MPROC_API int mproc_condition_end(mproc_condition *condition, mproc_ticket *ticket);

/* The process' descriptor for this condition, as mproc_queue_fd(): armed, and readable when the
 * ticket has been notified, or another one of the process. A mproc_watch with MPROC_WATCH_WAIT
 * tells of notifications from mproc_watch_arm() on: look at the tickets after that. -EMFILE,
 * -ENFILE, -ENOMEM, -ENOSPC; -EINVAL, MPROC_ESTRANGER: as mproc_condition_notified(). */
MPROC_API int mproc_condition_fd(mproc_condition *condition, const mproc_ticket *ticket);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_condition_check(mproc_condition *condition, char *why,
                                    size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- barrier */

/*
 * A number of parties that wait for each other: when the last one has come, all pass, and the
 * barrier is ready for the next time. It breaks when somebody's time passes, when it is aborted, or
 * when a party dies that waits: then nobody waits any more until it is reset.
 */
typedef struct mproc_barrier mproc_barrier;

/* -EINVAL: no parties; -ENOMEM; the errors of joining. */
MPROC_API int mproc_barrier_new(mproc_barrier **out, unsigned parties) MPROC_MUST_USE;

/* Waits for all. *index (may be NULL) is the order of coming, from 0. MPROC_EBROKEN, also when the
 * caller's time has passed; -EINTR (the caller has not come then); -ENOMEM. */
MPROC_API int mproc_barrier_wait(mproc_barrier *barrier, int64_t timeout,
                                 unsigned *index) MPROC_MUST_USE;

/* The same, with something to be done before they pass: for the last one to come the result is 1;
 * it does it and calls open (or abort), for which the others wait, whatever their time.
 * MPROC_EBROKEN; -EINTR; -ENOMEM. */
MPROC_API int mproc_barrier_arrive(mproc_barrier *barrier, int64_t timeout,
                                   unsigned *index) MPROC_MUST_USE;

/* Lets all pass. MPROC_EBROKEN: aborted or reset meanwhile, or the caller was not told to. */
MPROC_API int mproc_barrier_open(mproc_barrier *barrier) MPROC_MUST_USE;

/* Breaks the barrier. */
MPROC_API void mproc_barrier_abort(mproc_barrier *barrier);

/* Those who wait get MPROC_EBROKEN; then the barrier is as new. */
MPROC_API void mproc_barrier_reset(mproc_barrier *barrier);

/* Non-zero while it is broken. */
MPROC_API int mproc_barrier_broken(const mproc_barrier *barrier);

/* How many wait at this moment. */
MPROC_API unsigned mproc_barrier_waiting(const mproc_barrier *barrier);

/* How many it waits for. */
MPROC_API unsigned mproc_barrier_parties(const mproc_barrier *barrier);

/*
 * Comes to the barrier with a ticket. 0: all have come, and pass. 1: only with `action`, and as
 * mproc_barrier_arrive(): the caller came last, does what is to be done, and opens. -EAGAIN: the
 * ticket waits; a party is counted as long as its process lives. MPROC_EBROKEN; -ENOMEM;
 * -ETIMEDOUT: the barrier is not to be had, because a stopped process is at it.
 */
MPROC_API int mproc_barrier_begin(mproc_barrier *barrier, int action,
                                  mproc_ticket *out) MPROC_MUST_USE;

/* Looks again: 0 and 1 as mproc_barrier_begin(). -EAGAIN: not yet; all else ends the wait.
 * MPROC_EBROKEN; a party that comes only now, because an action ran when it began, gets what
 * mproc_barrier_begin() says. -EINVAL: it has ended; MPROC_ESTRANGER: it is the ticket of a forked
 * child's parent. */
MPROC_API int mproc_barrier_try(mproc_barrier *barrier, mproc_ticket *ticket) MPROC_MUST_USE;

/* Gives a wait up. -EAGAIN: the party has not come, and the barrier waits for another one in its
 * place; it is not broken. 0: all had come already, and the others pass. MPROC_EBROKEN: it was
 * broken, or breaks because a stopped process is at it. -EINVAL, MPROC_ESTRANGER: as
 * mproc_barrier_try(). */
MPROC_API int mproc_barrier_end(mproc_barrier *barrier, mproc_ticket *ticket);

/* The process' descriptor for this barrier, as mproc_queue_fd(): armed, and readable when
 * mproc_barrier_try() would end. A mproc_watch with MPROC_WATCH_WAIT tells of changes from
 * mproc_watch_arm() on: try after that. -EMFILE, -ENFILE, -ENOMEM, -ENOSPC; -EINVAL,
 * MPROC_ESTRANGER: as mproc_barrier_try(). */
MPROC_API int mproc_barrier_fd(mproc_barrier *barrier, const mproc_ticket *ticket);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_barrier_check(mproc_barrier *barrier, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- atomic operations */

/* The type of a number in shared memory. */
typedef enum mproc_type {
    MPROC_INT8 = 1,
    MPROC_UINT8,
    MPROC_INT16,
    MPROC_UINT16,
    MPROC_INT32,
    MPROC_UINT32,
    MPROC_INT64,
    MPROC_UINT64,
    MPROC_FLOAT,
    MPROC_DOUBLE
} mproc_type;

/* Bytes of a number of that type, 0: there is no such type. */
MPROC_API size_t mproc_type_size(mproc_type type);

/*
 * These work on one integer anywhere in shared memory, at an address that is a multiple of its
 * size, in one indivisible step. Integers wrap around; those of MPROC_UINT64 pass as the int64_t of
 * the same bits. -EINVAL: no integer type, or a bad address.
 */

/* Adds n; *old (unless NULL) is what was there before. -EINVAL. */
MPROC_API int mproc_atomic_add(mproc_type type, void *at, int64_t n, int64_t *old);

/* Writes a value; *old (unless NULL) is what was there before. -EINVAL. */
MPROC_API int mproc_atomic_exchange(mproc_type type, void *at, int64_t value, int64_t *old);

/* 1: *expected was there, and `desired` is now. 0: something else was, and *expected is that.
 * -EINVAL. */
MPROC_API int mproc_atomic_compare_exchange(mproc_type type, void *at, int64_t *expected,
                                            int64_t desired) MPROC_MUST_USE;

/* Private: one load and one store for each size. A program has numbers of types of its own at these
 * addresses, so the accesses may alias any type. SYNC(atomic.number): what a thread wrote in
 * memory, before the number that it stores; a thread that loads this number finds it. */
#define MPROC_ATOMIC_NUMBER(bits)                                                                  \
    typedef uint##bits##_t __attribute__((may_alias)) mproc__number##bits;                         \
    static inline void mproc__load_number##bits(const void *at, void *out) {                       \
        mproc__number##bits number =                                                               \
            __atomic_load_n((const mproc__number##bits *)at, __ATOMIC_ACQUIRE);                    \
        __builtin_memcpy(out, &number, sizeof number);                                             \
    }                                                                                              \
    static inline void mproc__store_number##bits(void *at, const void *lent) {                     \
        mproc__number##bits number;                                                                \
        __builtin_memcpy(&number, lent, sizeof number);                                            \
        __atomic_store_n((mproc__number##bits *)at, number, __ATOMIC_RELEASE);                     \
    }
MPROC_ATOMIC_NUMBER(8)
MPROC_ATOMIC_NUMBER(16)
MPROC_ATOMIC_NUMBER(32)
MPROC_ATOMIC_NUMBER(64)
#undef MPROC_ATOMIC_NUMBER

/*
 * Reads one number of `size` bytes (1, 2, 4 or 8), integer or not, anywhere in shared memory, at an
 * address that is a multiple of its size, in one indivisible step: nobody finds half of a number,
 * not even of one whose writer was killed. A thread that reads a number also finds what its writer
 * had written in memory before. The other address is private memory, aligned or not. This function
 * and mproc_atomic_store() are inline: where `size` is a constant, a call is one instruction and a
 * check of `at`. -EINVAL, and nothing has happened: no such size, or a bad address.
 */
static inline int mproc_atomic_load(size_t size, const void *at, void *out) {
    if (((uintptr_t)at & (size - 1)) != 0) {
        return -EINVAL;
    }
    switch (size) {
    case 1: mproc__load_number8(at, out); return 0;
    case 2: mproc__load_number16(at, out); return 0;
    case 4: mproc__load_number32(at, out); return 0;
    case 8: mproc__load_number64(at, out); return 0;
    default: return -EINVAL;
    }
}

/* Writes one number of `size` bytes as mproc_atomic_load() reads it, with the same errors. */
static inline int mproc_atomic_store(size_t size, void *at, const void *lent) {
    if (((uintptr_t)at & (size - 1)) != 0) {
        return -EINVAL;
    }
    switch (size) {
    case 1: mproc__store_number8(at, lent); return 0;
    case 2: mproc__store_number16(at, lent); return 0;
    case 4: mproc__store_number32(at, lent); return 0;
    case 8: mproc__store_number64(at, lent); return 0;
    default: return -EINVAL;
    }
}

/* ---------------------------------------------------------------- array */

/*
 * Numbers of one type, as many as the array was made with; a single value is an array of one. Each
 * array has a recursive lock. The functions below take it for the time of their call, so hold it
 * yourself (mproc_array_lock()) around several calls that belong together.
 */
typedef struct mproc_array mproc_array;

/* n numbers, all 0. -EINVAL: no such type; MPROC_ETOOBIG, -ENOMEM; the errors of joining. */
MPROC_API int mproc_array_new(mproc_array **out, mproc_type type, size_t n) MPROC_MUST_USE;

/* The same without a lock: nothing below waits for anybody. -EINVAL; MPROC_ETOOBIG, -ENOMEM; the
 * errors of joining. */
MPROC_API int mproc_array_new_raw(mproc_array **out, mproc_type type, size_t n) MPROC_MUST_USE;

/* How many numbers it has. */
MPROC_API size_t mproc_array_count(const mproc_array *array);

/* The type of its numbers. */
MPROC_API mproc_type mproc_array_type(const mproc_array *array);

/* The numbers themselves, 64-byte aligned from 64 KiB on, 16-byte aligned below. */
MPROC_API void *mproc_array_data(mproc_array *array);

/* The array's own lock, NULL for a raw one. It goes with the array and cannot be held by itself. */
MPROC_API mproc_rlock *mproc_array_lock(mproc_array *array);

/*
 * Reads one number. -ERANGE: the array has no such element; -EINTR. -EOWNERDEAD: it is done, and a
 * member had died holding the lock since the array was used last; what it was writing may be partly
 * written, each number old or new. The next three have the same errors.
 */
MPROC_API int mproc_array_get(mproc_array *array, size_t i, void *out) MPROC_MUST_USE;

/* Writes one number. -ERANGE; -EINTR; -EOWNERDEAD. */
MPROC_API int mproc_array_set(mproc_array *array, size_t i, const void *lent) MPROC_MUST_USE;

/* Reads n numbers from `first` on. -ERANGE; -EINTR; -EOWNERDEAD. */
MPROC_API int mproc_array_read(mproc_array *array, size_t first, size_t n,
                               void *out) MPROC_MUST_USE;

/* Writes n numbers from `first` on. -ERANGE; -EINTR; -EOWNERDEAD. */
MPROC_API int mproc_array_write(mproc_array *array, size_t first, size_t n,
                                const void *lent) MPROC_MUST_USE;

/* As mproc_atomic_add(), without the lock, whoever holds it. -EINVAL: no integers; -ERANGE. */
MPROC_API int mproc_array_add(mproc_array *array, size_t i, int64_t n, int64_t *old);

/* As mproc_atomic_exchange(), in the same way. -EINVAL; -ERANGE. */
MPROC_API int mproc_array_exchange(mproc_array *array, size_t i, int64_t value, int64_t *old);

/* As mproc_atomic_compare_exchange(), in the same way. -EINVAL; -ERANGE. */
MPROC_API int mproc_array_compare_exchange(mproc_array *array, size_t i, int64_t *expected,
                                           int64_t desired) MPROC_MUST_USE;

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_array_check(const mproc_array *array, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- value */

/*
 * Plain values as Python's queues carry them: None, truth values, numbers, text, bytes, lists,
 * tuples, dicts (maps) and arrays of numbers. C reads what Python has put, and the other way round.
 * The format is MessagePack with a few extension types; docs/value_format.md has each byte.
 *
 * A *reader* goes through a message from its first value to its last, in the order in which they
 * are written: a list of two is a value of kind MPROC_VALUE_LIST with count 2, then its two values.
 * It is the caller's structure, has no memory of its own, and lends what it finds: texts, bytes and
 * the items of arrays lie in the message. It trusts nothing that it reads.
 *
 * A *writer* is a handle. It collects one value, which mproc_value_put() puts into a queue, and is
 * empty afterwards.
 *
 * The errors of reading: MPROC_EVALUE (the bytes break the format), MPROC_EKIND (a value of another
 * kind stands there; the reader has not moved, so ask for another kind), MPROC_EPICKLE (Python has
 * pickled the object, since it is no plain value), MPROC_EEXTENSION (an extension type that this
 * library does not know), -ENODATA (no value is left). mproc_value_reason() words each of them.
 */
typedef enum mproc_value_kind {
    MPROC_VALUE_NONE = 1,
    MPROC_VALUE_BOOL,
    MPROC_VALUE_INT,
    /* An integer above INT64_MAX. */
    MPROC_VALUE_UINT,
    MPROC_VALUE_FLOAT,
    /* UTF-8. */
    MPROC_VALUE_TEXT,
    MPROC_VALUE_BYTES,
    MPROC_VALUE_LIST,
    MPROC_VALUE_TUPLE,
    /* Pairs of a key and a value. */
    MPROC_VALUE_MAP,
    MPROC_VALUE_ARRAY,
    /* Objects of the family, among the arguments of a started program only. */
    MPROC_VALUE_QUEUE,
    MPROC_VALUE_LOCK,
    MPROC_VALUE_RLOCK,
    MPROC_VALUE_SEMAPHORE,
    MPROC_VALUE_BSEMAPHORE,
    MPROC_VALUE_EVENT,
    MPROC_VALUE_CONDITION,
    MPROC_VALUE_BARRIER,
    MPROC_VALUE_NUMBERS,
    MPROC_VALUE_BUFFER,
    MPROC_VALUE_SHARED_DICT,
    MPROC_VALUE_SHARED_LIST
} mproc_value_kind;

/* The extension types of the format, which docs/value_format.md describes. */
enum mproc_value_extension {
    MPROC_EXT_TUPLE = 'T',
    MPROC_EXT_ARRAY = 'A',
    MPROC_EXT_OBJECT = 'O',
    MPROC_EXT_PICKLE = 'P',
    MPROC_EXT_LONG_PICKLE = 'L',
    /* A pickle, or a value, that takes buffers along; parts stand behind it. */
    MPROC_EXT_PARTS = 'B',
    MPROC_EXT_VALUE_PARTS = 'V'
};

/* Where bytes of a message are that lie in one of its buffers. */
typedef struct mproc_value_part {
    /* The buffer's number, times 2, plus 1 if all who have it share it. */
    uint64_t buffer;
    uint64_t offset; /* in bytes, from the buffer's beginning */
    uint64_t size;   /* in bytes */
} mproc_value_part;

/* Containers may stand so deep in each other. Python writes fewer. */
#define MPROC_VALUE_DEPTH 64

/* An array has at most so many dimensions. */
#define MPROC_VALUE_DIMENSIONS 32

/* An array whose items take so many bytes travels in a buffer beside the message. */
#define MPROC_VALUE_LARGE 65536

/* How the items of an array lie, and whose they are. */
enum mproc_value_array_flags {
    /* The first index varies fastest, as in Fortran. */
    MPROC_VALUE_FORTRAN = 1,
    /* Python's receiver may not write to it. */
    MPROC_VALUE_READONLY = 2,
    /* All who have the buffer share it. Without this flag, it is the receiver's alone. */
    MPROC_VALUE_SHARED = 4
};

/* Numbers of one type in a grid. */
typedef struct mproc_value_array {
    /* 'b' truth values, 'i' signed, 'u' unsigned integers, 'f' floating-point, 'c' complex. */
    char type;
    /* Bytes of an item: 1 for 'b'; 1, 2, 4, 8 for 'i' and 'u'; 2, 4, 8 for 'f'; 8, 16 for 'c'. */
    unsigned item_size;
    /* Of mproc_value_array_flags. */
    unsigned flags;
    /* Its dimensions: how many, and the length of each. */
    unsigned ndim;
    uint64_t shape[MPROC_VALUE_DIMENSIONS]; /* see ndim */
    /* The items, little-endian, one after the other. Those in a message may stand at any address:
     * copy them. */
    const void *data;
    /* Bytes of all items. */
    size_t size;
    /* What the items lie in, NULL: in the message. Lent; mproc_hold() keeps it. */
    mproc_buffer *buffer;
} mproc_value_array;

/* A value that was read: its kind says which of the members count. */
typedef struct mproc_value {
    mproc_value_kind kind; /* what it is */
    union {
        /* Of MPROC_VALUE_INT; of MPROC_VALUE_BOOL: 0 or 1. */
        int64_t integer;
        /* Of MPROC_VALUE_UINT. */
        uint64_t natural;
        /* Of MPROC_VALUE_FLOAT. */
        double number;
        /* Of lists, tuples and maps: how many values, or pairs, follow. */
        size_t count;
        /* Of objects. */
        void *object;
    };
    /* Of texts and bytes; lent. Texts have no closing 0. */
    const void *data;
    size_t size; /* bytes of these */
    /* Of conditions and numbers: the lock that came with it, or NULL. */
    void *lock;
    /* Of arrays. */
    mproc_value_array array;
} mproc_value;

/* Private, for Python's half of the codec, as is the next function: writes what stands before the
 * items of an array, and returns how many bytes that is. */
#define MPROC_VALUE_ARRAY_HEAD (4 + 8 * MPROC_VALUE_DIMENSIONS)
MPROC_API size_t mproc_value_array_head(const mproc_value_array *lent, int in_a_part,
                                        unsigned char out[MPROC_VALUE_ARRAY_HEAD]);

/* Private: what an array's bytes are. 0: the items are in them; 1: *part is the number of what they
 * lie in beside the message. MPROC_EVALUE. */
MPROC_API int mproc_value_array_find(const void *payload, size_t size, mproc_value_array *out,
                                     uint64_t *part) MPROC_MUST_USE;

/* All of it is private. */
typedef struct mproc_value_reader {
    const unsigned char *start, *at, *end;
    const mproc_message *message;
    const unsigned char *parts;
    size_t nparts;
    int error;
    int objects;
    size_t arguments;
    unsigned depth;
    struct {
        uint64_t left;
        const unsigned char *limit;
        int closes;
    } open[MPROC_VALUE_DEPTH];
    char reason[160];
} mproc_value_reader;

/* Begins to read bytes, which stay where they are. Cannot fail: what is wrong with them the first
 * read says. */
MPROC_API void mproc_value_read(mproc_value_reader *out, const void *lent, size_t size);

/* Begins to read a received message, which is not dropped before the reading has ended. */
MPROC_API void mproc_value_read_message(mproc_value_reader *out, const mproc_message *lent);

/*
 * In a program that Python has started by mproc.Program, or C by mproc_process_start_program():
 * begins to read the arguments, one value each. Objects are among them. The program has a hold of
 * its own on each, which it may give back by mproc_drop(), and which its end gives back. To be
 * called after mproc_init().
 *
 * MPROC_EINIT: the process was not started by mproc, or has not called mproc_init(); MPROC_EVALUE:
 * its starter has given it bytes that are no arguments, or none.
 */
MPROC_API int mproc_child_values(mproc_value_reader *out) MPROC_MUST_USE;

/* What argument an object can be, with the lock that guards it or NULL. 0: none. Any pointers may
 * be asked about. */
MPROC_API mproc_value_kind mproc_value_object(const void *object, const void *lock);

/* The next value, whatever it is. The errors of reading. */
MPROC_API int mproc_value_next(mproc_value_reader *reader, mproc_value *out) MPROC_MUST_USE;

/* Passes over the next value, with all that is in it. The errors of reading. */
MPROC_API int mproc_value_skip(mproc_value_reader *reader) MPROC_MUST_USE;

/* Whether all has been read: 0. -EEXIST: something is left; the errors of reading. */
MPROC_API int mproc_value_end(mproc_value_reader *reader) MPROC_MUST_USE;

/* What the reader's last error was about: which argument or byte, what was wanted, what stands
 * there. Never NULL; the reader's own until its next call. Empty: there was no error. */
MPROC_API const char *mproc_value_reason(const mproc_value_reader *reader);

/* The next value, if it is of a kind. Each of these has the errors of reading. */
MPROC_API int mproc_value_read_none(mproc_value_reader *reader) MPROC_MUST_USE;
MPROC_API int mproc_value_read_bool(mproc_value_reader *reader, int *out) MPROC_MUST_USE;
/* An integer up to INT64_MAX. The errors of reading. */
MPROC_API int mproc_value_read_int(mproc_value_reader *reader, int64_t *out) MPROC_MUST_USE;
/* An integer from 0 on. The errors of reading. */
MPROC_API int mproc_value_read_uint(mproc_value_reader *reader, uint64_t *out) MPROC_MUST_USE;
/* A float or an integer. The errors of reading. */
MPROC_API int mproc_value_read_float(mproc_value_reader *reader, double *out) MPROC_MUST_USE;
/* *out: UTF-8, lent, *size bytes without a closing 0. The errors of reading. */
MPROC_API int mproc_value_read_text(mproc_value_reader *reader, const char **out,
                                    size_t *size) MPROC_MUST_USE;
/* *out: lent, *size bytes. The errors of reading. */
MPROC_API int mproc_value_read_bytes(mproc_value_reader *reader, const void **out,
                                     size_t *size) MPROC_MUST_USE;
/* A list or a tuple: *count values follow. The errors of reading. */
MPROC_API int mproc_value_read_list(mproc_value_reader *reader, size_t *count) MPROC_MUST_USE;
/* *count pairs follow. The errors of reading. */
MPROC_API int mproc_value_read_map(mproc_value_reader *reader, size_t *count) MPROC_MUST_USE;
/* Its items and shape, lent. The errors of reading. */
MPROC_API int mproc_value_read_array(mproc_value_reader *reader,
                                     mproc_value_array *out) MPROC_MUST_USE;
/* Objects of the family. The errors of reading. */
MPROC_API int mproc_value_read_queue(mproc_value_reader *reader, mproc_queue **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_lock(mproc_value_reader *reader, mproc_lock **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_rlock(mproc_value_reader *reader, mproc_rlock **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_semaphore(mproc_value_reader *reader,
                                         mproc_semaphore **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_bsemaphore(mproc_value_reader *reader,
                                          mproc_bsemaphore **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_event(mproc_value_reader *reader, mproc_event **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_barrier(mproc_value_reader *reader,
                                       mproc_barrier **out) MPROC_MUST_USE;
MPROC_API int mproc_value_read_buffer(mproc_value_reader *reader,
                                      mproc_buffer **out) MPROC_MUST_USE;
/* *lock: its mproc_lock or mproc_rlock. The errors of reading. */
MPROC_API int mproc_value_read_condition(mproc_value_reader *reader, mproc_condition **out,
                                         void **lock) MPROC_MUST_USE;
/* Python's Value and Array, and an mproc_array of C: *lock (may be NULL) is the lock that guards
 * it, or NULL: it has none. The errors of reading. */
MPROC_API int mproc_value_read_numbers(mproc_value_reader *reader, mproc_array **out,
                                       mproc_rlock **lock) MPROC_MUST_USE;

/* A value that is being written; private memory. */
typedef struct mproc_value_writer mproc_value_writer;

/* -ENOMEM. */
MPROC_API int mproc_value_writer_new(mproc_value_writer **out) MPROC_MUST_USE;

/*
 * The errors of writing: -ENOMEM; -EINVAL (the value is complete already, or containers stand too
 * deep in each other); MPROC_ETOOBIG (the value has 4 GiB of bytes, large arrays left out). After
 * an error nothing has been written.
 */

/* Each of these writes a value. The errors of writing. */
MPROC_API int mproc_value_write_none(mproc_value_writer *writer) MPROC_MUST_USE;
MPROC_API int mproc_value_write_bool(mproc_value_writer *writer, int value) MPROC_MUST_USE;
MPROC_API int mproc_value_write_int(mproc_value_writer *writer, int64_t value) MPROC_MUST_USE;
MPROC_API int mproc_value_write_uint(mproc_value_writer *writer, uint64_t value) MPROC_MUST_USE;
MPROC_API int mproc_value_write_float(mproc_value_writer *writer, double value) MPROC_MUST_USE;
/* UTF-8. -EILSEQ: it is none; the errors of writing. */
MPROC_API int mproc_value_write_text(mproc_value_writer *writer, const char *lent,
                                     size_t size) MPROC_MUST_USE;
/* `size` bytes. The errors of writing. */
MPROC_API int mproc_value_write_bytes(mproc_value_writer *writer, const void *lent,
                                      size_t size) MPROC_MUST_USE;

/* Begin a list or tuple of `count` values, or a map of so many pairs: the next values are those in
 * it. The errors of writing. */
MPROC_API int mproc_value_write_list(mproc_value_writer *writer, size_t count) MPROC_MUST_USE;
MPROC_API int mproc_value_write_tuple(mproc_value_writer *writer, size_t count) MPROC_MUST_USE;
MPROC_API int mproc_value_write_map(mproc_value_writer *writer, size_t count) MPROC_MUST_USE;

/*
 * Writes an array. If `buffer` is set, the items lie in it, and it travels as it is: with
 * MPROC_VALUE_SHARED the receiver shares it with all who have it, without that flag the caller does
 * not write to it any more. Otherwise the items are copied, into a new buffer if there are
 * MPROC_VALUE_LARGE bytes of them.
 *
 * -EINVAL, also: no such type or item size, too many dimensions, a size that is not that of the
 * shape, items that do not lie in the buffer, or MPROC_VALUE_SHARED without one; the errors of
 * writing and of joining.
 */
MPROC_API int mproc_value_write_array(mproc_value_writer *writer,
                                      const mproc_value_array *lent) MPROC_MUST_USE;

/* Writes an object of the family, for the arguments of a program only: mproc_child_values() finds
 * it. `lock` is what guards an array or condition, NULL: nothing does, or the array's own lock.
 * -EINVAL, also: no object that can be an argument; the errors of writing. */
MPROC_API int mproc_value_write_object(mproc_value_writer *writer, void *lent,
                                       void *lock) MPROC_MUST_USE;

/* What has been written so far, in one piece, the writer's own until its next call. -EINVAL: the
 * value is not complete, or has buffers or objects, which bytes cannot take along. */
MPROC_API int mproc_value_written(mproc_value_writer *writer, const void **out,
                                  size_t *size) MPROC_MUST_USE;

/* Puts the value into a queue; on success the writer is empty. -EINVAL: the value is not complete,
 * or has objects; MPROC_ECLOSED; -ETIMEDOUT (full), -EINTR; MPROC_ETOOBIG, -ENOMEM. */
MPROC_API int mproc_value_put(mproc_value_writer *writer, mproc_queue *queue,
                              int64_t timeout) MPROC_MUST_USE;

/* Empties the writer. Cannot fail. */
MPROC_API void mproc_value_clear(mproc_value_writer *writer);

/*
 * Starts a program of its own that finds its arguments by mproc_child_values(); in Python that is
 * mproc.child_args(), in a script under `python -m mproc`. `argv` ends with NULL, and argv[0] is a
 * path. `args` is a tuple that has been written, with objects among its values, or NULL: there are
 * none; the writer is empty afterwards. The child gets a hold on each object. `options` (NULL: the
 * defaults) say the rest, but neither method nor argv.
 *
 * -EINVAL: `args` is no complete tuple, or has arrays of MPROC_VALUE_LARGE and more; options that
 * contradict each other; argv is empty. The errors of mproc_process_start().
 */
MPROC_API int mproc_process_start_program(mproc_process **out, const char *const *argv,
                                          mproc_value_writer *args,
                                          const mproc_process_options *options) MPROC_MUST_USE;

/* Gives the handle back. NULL is ignored. */
MPROC_API void mproc_value_writer_drop(mproc_value_writer *owned);

/*
 * A function of a shared library that Python calls by mproc.c_function(), in its own process or as
 * a task of a pool. It needs nothing of a linked libmproc but the readers and writers above, which
 * have no state: the copy in the interpreter is another one, and has the family.
 *
 * `in` are the arguments: a tuple of plain values for mproc_value_read(), or the bytes of a raw
 * function. write() appends to the result: a plain value, as mproc_value_written() has it, None if
 * nothing is written; or the bytes of a raw function. It returns 0 or -ENOMEM.
 *
 * 0: the result is what was written. Anything else is an error, and what was written its text in
 * UTF-8.
 */
typedef struct mproc_call {
    const void *in; /* the arguments */
    size_t size;    /* their bytes */
    /* Appends to the result. */
    int (*write)(struct mproc_call *call, const void *lent, size_t size);
} mproc_call;

/* What such a function is. */
typedef int (*mproc_call_fn)(mproc_call *call);

/* ---------------------------------------------------------------- dict */

/*
 * Keys and values, both bytes, for any number of members. Each call that names a key is one step:
 * no other member sees a part of it, and a member that is killed in it has done all of it or
 * nothing. Readers take no lock. The table grows and shrinks by one bucket at a time.
 *
 * Entries have an order, that of their insertion; a new value leaves an entry in its place. Two
 * keys are the same if their bytes are. Keys have at most MPROC_DICT_KEY_MAX bytes. A value of more
 * than MPROC_MESSAGE_INLINE bytes, or one that brings buffers along, is a block of its own: it is
 * not copied when it is read, but lent to the reader, who may not change it.
 *
 * Each value that is set gets a version, a number that no other value of that key ever has. It is
 * never 0: that stands for a key which is not there.
 */
typedef struct mproc_dict mproc_dict;

/* Bytes that a key has at most. */
#define MPROC_DICT_KEY_MAX 8192

/* -ENOMEM; the errors of joining. */
MPROC_API int mproc_dict_new(mproc_dict **out) MPROC_MUST_USE;

/* A dict among a program's arguments, as mproc_value_read_queue(). The errors of reading. */
MPROC_API int mproc_value_read_shared_dict(mproc_value_reader *reader,
                                           mproc_dict **out) MPROC_MUST_USE;

/* The key's value. One that fits into the message's room is copied there; another one stays in the
 * arena, where it is lent until mproc_message_drop(), whatever becomes of the entry. `version` may
 * be NULL. -ENOENT: the key is not there; -ENOMEM; MPROC_ETOOBIG: so long a key. */
MPROC_API int mproc_dict_get(mproc_dict *dict, const void *key, size_t key_size,
                             mproc_message *message, uint64_t *version) MPROC_MUST_USE;

/* Non-zero: the key is there. */
MPROC_API int mproc_dict_has(mproc_dict *dict, const void *key, size_t key_size);

/* Sets the key's value, whether it is there or not. -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_dict_set(mproc_dict *dict, const void *key, size_t key_size, const void *lent,
                             size_t size) MPROC_MUST_USE;

/* Sets it if the key is not there. -EEXIST: it is; -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_dict_insert(mproc_dict *dict, const void *key, size_t key_size,
                                const void *lent, size_t size) MPROC_MUST_USE;

/* Sets it if the key has the value `old`. -ESTALE: it has another one; -ENOENT: it is not there;
 * -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_dict_replace(mproc_dict *dict, const void *key, size_t key_size,
                                 const void *old, size_t old_size, const void *lent,
                                 size_t size) MPROC_MUST_USE;

/* A value in `n` pieces, gathered in order, with the buffers that it brings along: it has a hold on
 * each as long as it is there or lent (mproc_message_buffer()). In place of a buffer there may be
 * any array, barrier, condition, dict, event, list, lock, queue, semaphore or set, as (void *)dict:
 * so dicts have dicts in them (mproc_message_object()). One that contains itself is there until the
 * family ends. */
typedef struct mproc_dict_value {
    const struct iovec *pieces;   /* lent, as all of it */
    int n;                        /* how many pieces */
    mproc_buffer *const *buffers; /* what the value brings along */
    size_t nbuffers;              /* how many of these */
} mproc_dict_value;

/* In place of a version: whatever the key has. */
#define MPROC_DICT_ANY UINT64_MAX

/* Sets it if the key's value has that version (0: if the key is not there; MPROC_DICT_ANY).
 * -EEXIST: it was to be absent, and is there; -ESTALE: it has another version, or is gone; -ENOMEM,
 * MPROC_ETOOBIG; -EINVAL: n is negative, or nobody holds one of the buffers. */
MPROC_API int mproc_dict_put(mproc_dict *dict, const void *key, size_t key_size,
                             const mproc_dict_value *value, uint64_t version) MPROC_MUST_USE;

/* Takes the entry out if its value has that version, or MPROC_DICT_ANY. -ENOENT: the key is not
 * there; -ESTALE: it has another version; MPROC_ETOOBIG. */
MPROC_API int mproc_dict_delete(mproc_dict *dict, const void *key, size_t key_size,
                                uint64_t version) MPROC_MUST_USE;

/* Takes the entry out, and gives its value as mproc_dict_get() does. -ENOENT: the key is not there;
 * -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_dict_pop(mproc_dict *dict, const void *key, size_t key_size,
                             mproc_message *message) MPROC_MUST_USE;

/* Takes out the entry that was inserted last. Looks for it among a sixteenth of all entries, or a
 * few times that. Of entries that others insert during the call none may be it. -ENOENT: the dict
 * is empty; -ENOMEM. */
MPROC_API int mproc_dict_popitem(mproc_dict *dict, mproc_message *key,
                                 mproc_message *value) MPROC_MUST_USE;

/* Adds n to an integer; a key that is not there counts as 0. `sum`, if not NULL, gets the result.
 * An integer is one of MessagePack, which Python's ints are, too. -EINVAL: the value is something
 * else; -EOVERFLOW: the sum does not fit into 64 bits; -ENOMEM; MPROC_ETOOBIG: so long a key. */
MPROC_API int mproc_dict_add(mproc_dict *dict, const void *key, size_t key_size, int64_t n,
                             int64_t *sum) MPROC_MUST_USE;

/* The value of an integer as mproc_dict_add() makes it. -EINVAL: these bytes are none. */
MPROC_API int mproc_dict_number(const void *data, size_t size, int64_t *out) MPROC_MUST_USE;

/* What mproc_dict_update() calls: `old` is NULL when the key is not there, and lent otherwise. Puts
 * the new value into *value, and what it points to stays there until the call of update returns.
 * Any result but 0 ends that call, and nothing is changed. May be called several times. */
typedef int (*mproc_dict_fn)(void *arg, const mproc_message *old, mproc_dict_value *value);

/* Gives the key the value that `fn` makes of its old one. The key is locked meanwhile
 * (mproc_dict_lock()), so that updates follow each other; if a call that does not look at the lock
 * changes the value, `fn` is called again with that. -EINTR, and nothing has happened; -ENOMEM,
 * MPROC_ETOOBIG; -EINVAL: a buffer that nobody holds, or `n` is negative; the results of fn. */
MPROC_API int mproc_dict_update(mproc_dict *dict, const void *key, size_t key_size,
                                mproc_dict_fn fn, void *arg) MPROC_MUST_USE;

/* Locks a key, which need not be there. A thread may lock a key again that it has locked. The lock
 * keeps out others that lock or update that key, and nobody else. -EOWNERDEAD: the caller has the
 * lock, and the thread that had it died; -ETIMEDOUT, -EINTR; -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_dict_lock(mproc_dict *dict, const void *key, size_t key_size,
                              int64_t timeout) MPROC_MUST_USE;

/* After -EOWNERDEAD, while the key is locked: the last thread that died with it. All 0: none did,
 * or the key is not locked. Cannot fail. */
MPROC_API void mproc_dict_dead_owner(mproc_dict *dict, const void *key, size_t key_size,
                                     mproc_lock_holder *out);

/* MPROC_ENOTHELD: not by the calling thread; MPROC_ETOOBIG. */
MPROC_API int mproc_dict_unlock(mproc_dict *dict, const void *key, size_t key_size) MPROC_MUST_USE;

/* Waits until a key's value has another version than *version, which gets the new one; 0 is a key
 * that is not there. If `key` is NULL, *version is a number of the whole dict, which each change
 * changes; begin with 0. -ETIMEDOUT, -EINTR, MPROC_ETOOBIG. */
MPROC_API int mproc_dict_wait(mproc_dict *dict, const void *key, size_t key_size, uint64_t *version,
                              int64_t timeout) MPROC_MUST_USE;

/* Entries at this moment. While others insert and delete it may count some of them and not
 * others. */
MPROC_API uint64_t mproc_dict_count(const mproc_dict *dict);

/* Takes all entries out, in one step. */
MPROC_API void mproc_dict_clear(mproc_dict *dict);

/*
 * A snapshot: a copy of the entries, in their order, in private memory of the process. Each entry
 * is as it was at a moment of the call. An entry that was there all the time is in it once, one
 * that others insert or delete meanwhile may be. A snapshot is a handle, of one thread at a time.
 */
typedef struct mproc_dict_snapshot mproc_dict_snapshot;

/* An entry of a snapshot. */
typedef struct mproc_dict_item {
    const void *key;     /* lent by the snapshot */
    size_t key_size;     /* its bytes */
    mproc_message value; /* lent by the snapshot; all 0 without values */
} mproc_dict_item;

/* `values`: 0 if only the keys are wanted. -ENOMEM. */
MPROC_API int mproc_dict_snapshot_new(mproc_dict_snapshot **out, mproc_dict *dict,
                                      int values) MPROC_MUST_USE;

/* How many entries it has. */
MPROC_API size_t mproc_dict_snapshot_count(const mproc_dict_snapshot *snapshot);

/* Entry i, lent until the drop. -EINVAL: there are not so many. */
MPROC_API int mproc_dict_snapshot_item(const mproc_dict_snapshot *snapshot, size_t i,
                                       mproc_dict_item *out) MPROC_MUST_USE;

/* Gives the handle back. NULL is ignored. */
MPROC_API void mproc_dict_snapshot_drop(mproc_dict_snapshot *owned);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_dict_check(mproc_dict *dict, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- set */

/*
 * Elements, which are bytes, for any number of members. A set is a dict without values: what is
 * said there of keys, their length, their order and of each call being one step holds for elements.
 * `Set` of Python is one, and has an element if both write it as the same bytes
 * (mproc_value_write_text() and the like).
 */
typedef struct mproc_set mproc_set;

/* -ENOMEM; the errors of joining. The caller owns a hold on the set: mproc_drop(). */
MPROC_API int mproc_set_new(mproc_set **out) MPROC_MUST_USE;

/* A set among a program's arguments, as mproc_value_read_queue(). The errors of reading. */
MPROC_API int mproc_value_read_shared_set(mproc_value_reader *reader,
                                          mproc_set **out) MPROC_MUST_USE;

/* Adds an element, which is copied. Of several members that add it one is told 0. -EEXIST: it is
 * there already; -ENOMEM; MPROC_ETOOBIG: it has more than MPROC_DICT_KEY_MAX bytes. */
MPROC_API int mproc_set_add(mproc_set *set, const void *element, size_t size) MPROC_MUST_USE;

/* Non-zero: the element is there. */
MPROC_API int mproc_set_has(mproc_set *set, const void *element, size_t size);

/* Takes an element out. Of several members that do so one is told 0. -ENOENT: it is not there;
 * MPROC_ETOOBIG: so long an element. */
MPROC_API int mproc_set_remove(mproc_set *set, const void *element, size_t size) MPROC_MUST_USE;

/* Takes out the element that was added last, as mproc_dict_popitem() does, and gives it as
 * mproc_dict_get() gives a value. -ENOENT: the set is empty; -ENOMEM. */
MPROC_API int mproc_set_pop(mproc_set *set, mproc_message *element) MPROC_MUST_USE;

/* Waits until an element comes or goes, or any if `element` is NULL: until its version, as
 * mproc_dict_wait() has it, is another one than *version. -ETIMEDOUT, -EINTR, MPROC_ETOOBIG. */
MPROC_API int mproc_set_wait(mproc_set *set, const void *element, size_t size, uint64_t *version,
                             int64_t timeout) MPROC_MUST_USE;

/* Elements at this moment. While others add and remove it may count some of them and not others. */
MPROC_API uint64_t mproc_set_count(const mproc_set *set);

/* Takes all elements out, in one step. */
MPROC_API void mproc_set_clear(mproc_set *set);

/* The elements, in the order in which they were added: the keys of a dict's snapshot, which is
 * looked at and dropped by the functions for it. -ENOMEM. */
MPROC_API int mproc_set_snapshot_new(mproc_dict_snapshot **out, mproc_set *set) MPROC_MUST_USE;

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_set_check(mproc_set *set, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- list */

/*
 * Elements in an order, for any number of members; each is bytes, or bytes with buffers. Each call
 * is one step, however many elements it concerns: no other member sees a part of it, and a member
 * that is killed in it has done all of it or nothing. To get, set, or swap elements, and to add and
 * take out at both ends, takes the same time in lists of any length. In between the elements of one
 * side move, those of the shorter one.
 *
 * An index counts from 0 on, or, if it is negative, from the end: -1 is the last element. A slice
 * is `start`, `stop` and `step` as in Python: it has the elements start, start + step, ... before
 * stop, and bounds outside of the list are cut to it. INT64_MAX as `stop`, or INT64_MIN with a
 * negative step, stands for "to the end".
 *
 * Each element that is set or added gets a version, a number that no other element of that list
 * ever has. It is not 0. A large value is lent, as a dict's is.
 */
typedef struct mproc_list mproc_list;

/* A value: see mproc_dict_value. */
typedef mproc_dict_value mproc_list_value;

/* In place of a version: whatever the element has. */
#define MPROC_LIST_ANY UINT64_MAX

/* -ENOMEM; the errors of joining. */
MPROC_API int mproc_list_new(mproc_list **out) MPROC_MUST_USE;

/* A list among a program's arguments, as mproc_value_read_queue(). The errors of reading. */
MPROC_API int mproc_value_read_shared_list(mproc_value_reader *reader,
                                           mproc_list **out) MPROC_MUST_USE;

/* Element i, as mproc_dict_get() gives a value. `version` may be NULL. -ERANGE: there is none;
 * -ENOMEM. */
MPROC_API int mproc_list_get(mproc_list *list, int64_t i, mproc_message *message,
                             uint64_t *version) MPROC_MUST_USE;

/* Gives element i another value. -ERANGE: there is none; -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_list_set(mproc_list *list, int64_t i, const void *lent,
                             size_t size) MPROC_MUST_USE;

/* The same, if the element has that version, or MPROC_LIST_ANY. -ESTALE: it has another one;
 * -ERANGE: there is none; -ENOMEM, MPROC_ETOOBIG; -EINVAL: n is negative, or nobody holds one of
 * the buffers. */
MPROC_API int mproc_list_put(mproc_list *list, int64_t i, const mproc_list_value *value,
                             uint64_t version) MPROC_MUST_USE;

/* Adds an element behind the last one. -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_list_append(mproc_list *list, const void *lent, size_t size) MPROC_MUST_USE;

/* Adds an element before element i, before the first one or behind the last one if i is outside of
 * the list. -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_list_insert(mproc_list *list, int64_t i, const void *lent,
                                size_t size) MPROC_MUST_USE;

/* The same with a value. -ENOMEM, MPROC_ETOOBIG; -EINVAL: n is negative, or nobody holds one of the
 * buffers. */
MPROC_API int mproc_list_insert_value(mproc_list *list, int64_t i,
                                      const mproc_list_value *value) MPROC_MUST_USE;

/* Adds elements behind the last one, all or none. -ENOMEM, MPROC_ETOOBIG; -EINVAL: as above. */
MPROC_API int mproc_list_extend(mproc_list *list, const mproc_list_value *values,
                                size_t n) MPROC_MUST_USE;

/* Takes element i out, if it has that version, or MPROC_LIST_ANY. -ERANGE: there is none; -ESTALE:
 * it has another version; -ENOMEM: it is neither the first nor the last one. */
MPROC_API int mproc_list_delete(mproc_list *list, int64_t i, uint64_t version) MPROC_MUST_USE;

/* Takes element i out, and gives its value as mproc_list_get() does. -ERANGE: there is none;
 * -ENOMEM. */
MPROC_API int mproc_list_pop(mproc_list *list, int64_t i, mproc_message *message) MPROC_MUST_USE;

/* The values come in the place of a slice's elements. With a step of 1 there may be more or fewer
 * of them than of those. -ERANGE: another step, and not as many values as elements; -EINVAL: a step
 * of 0, a negative n, or a buffer that nobody holds; -ENOMEM, MPROC_ETOOBIG. */
MPROC_API int mproc_list_assign(mproc_list *list, int64_t start, int64_t stop, int64_t step,
                                const mproc_list_value *values, size_t n) MPROC_MUST_USE;

/* Takes a slice's elements out. -EINVAL: a step of 0; -ENOMEM. */
MPROC_API int mproc_list_cut(mproc_list *list, int64_t start, int64_t stop,
                             int64_t step) MPROC_MUST_USE;

/* Two elements change places, with their versions. -ERANGE: there is no such element. */
MPROC_API int mproc_list_swap(mproc_list *list, int64_t i, int64_t j) MPROC_MUST_USE;

/* -ENOMEM. */
MPROC_API int mproc_list_reverse(mproc_list *list) MPROC_MUST_USE;

/* Puts the elements into another order: element order[i] becomes element i. Elements keep their
 * versions. `version` is that of the list which the caller has seen
 * (mproc_list_snapshot_version()), or MPROC_LIST_ANY. -ESTALE: the list has changed since, or has
 * not n elements; -EINVAL: `order` is not each number below n once; -ENOMEM. */
MPROC_API int mproc_list_arrange(mproc_list *list, const uint64_t *order, uint64_t n,
                                 uint64_t version) MPROC_MUST_USE;

/* Which element, from `start` on and before `stop`, is the first one with that value, bytes without
 * buffers. -ENOENT: none. */
MPROC_API int mproc_list_find(mproc_list *list, const void *bytes, size_t size, int64_t start,
                              int64_t stop, uint64_t *out) MPROC_MUST_USE;

/* Elements at this moment. */
MPROC_API uint64_t mproc_list_count(const mproc_list *list);

/* Takes all elements out. -ENOMEM. */
MPROC_API int mproc_list_clear(mproc_list *list) MPROC_MUST_USE;

/*
 * A snapshot: a copy of a slice, or of the whole list, as it was at one moment, in private memory
 * of the process. Nobody changes the list while it is made. A snapshot is a handle, of one thread
 * at a time.
 */
typedef struct mproc_list_snapshot mproc_list_snapshot;

/* -EINVAL: a step of 0; -ENOMEM. */
MPROC_API int mproc_list_snapshot_new(mproc_list_snapshot **out, mproc_list *list, int64_t start,
                                      int64_t stop, int64_t step) MPROC_MUST_USE;

/* How many elements it has. */
MPROC_API size_t mproc_list_snapshot_count(const mproc_list_snapshot *snapshot);

/* The version that the list had, for mproc_list_arrange(). */
MPROC_API uint64_t mproc_list_snapshot_version(const mproc_list_snapshot *snapshot);

/* Element i, lent until the drop. -EINVAL: there are not so many. */
MPROC_API int mproc_list_snapshot_item(const mproc_list_snapshot *snapshot, size_t i,
                                       mproc_message *out) MPROC_MUST_USE;

/* Gives the handle back. NULL is ignored. */
MPROC_API void mproc_list_snapshot_drop(mproc_list_snapshot *owned);

/* Invariants (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_list_check(mproc_list *list, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- named shared memory */

/*
 * Memory that unrelated processes find by its name: a file on /dev/shm, as shm_open() and the
 * SharedMemory of Python's multiprocessing make it, and interchangeable with theirs. What stands in
 * it may be mapped at another address by each process: store offsets, never pointers.
 *
 * A segment that a member has made belongs to the family. It lives until somebody unlinks its name,
 * and is unlinked when the last member has ended, however that ended; a small process, started with
 * the family's first segment, sees to that, and names on stderr what it had to unlink. Merely
 * attaching makes nobody an owner.
 *
 * A segment without room on /dev/shm is an error of mproc_shm_create(), or of its maker's first
 * mproc_shm_data() if the room went in between; the maker never meets SIGBUS.
 *
 * A name has up to 254 bytes, without a slash but leading ones, which do not count.
 */
typedef struct mproc_shm mproc_shm;

/* Whose a new segment is. */
enum mproc_shm_flags {
    /* The segment is to outlive the family: only mproc_shm_unlink() ends it. */
    MPROC_SHM_KEPT = 1
};

/* All zero means the defaults. */
typedef struct mproc_shm_options {
    /* Of mproc_shm_flags. */
    unsigned flags;
    /* Permissions; default 0600. */
    mode_t mode;
} mproc_shm_options;

/* Makes a segment of `size` bytes, all zero, and a handle for it, of which a forked child has a
 * copy. `name` NULL: one is made up. -EEXIST; -EINVAL (name, size 0, flags), -ENAMETOOLONG; -ENOSPC
 * (no room on /dev/shm), -ENOMEM; -EMFILE, -ENFILE, -EACCES (of /dev/shm); -EAGAIN (no more
 * processes, so no watcher); the errors of joining. */
MPROC_API int mproc_shm_create(mproc_shm **out, const char *name, size_t size,
                               const mproc_shm_options *options) MPROC_MUST_USE;

/* Attaches a segment that exists. -ENOENT; -EINVAL, -ENAMETOOLONG; -EACCES; -ELOOP (the name is a
 * symbolic link); -ENODATA (its size is 0: its maker, not of this library, is still at it);
 * -ENOMEM, -EMFILE, -ENFILE. */
MPROC_API int mproc_shm_open(mproc_shm **out, const char *name) MPROC_MUST_USE;

/* Where the segment stands in this process: mapped at the first call, then the same until the drop.
 * The maker's first call takes the pages. -ENOSPC, -ENOMEM. */
MPROC_API int mproc_shm_data(mproc_shm *shm, void **out) MPROC_MUST_USE;

/* Its size in bytes. */
MPROC_API size_t mproc_shm_size(const mproc_shm *shm);

/* Its name, without a slash; the handle's own. */
MPROC_API const char *mproc_shm_name(const mproc_shm *shm);

/* The file's descriptor; the handle's own. Cannot fail. */
MPROC_API int mproc_shm_fd(const mproc_shm *shm);

/* Unmaps and gives the handle back; the segment stays. NULL is ignored. */
MPROC_API void mproc_shm_drop(mproc_shm *owned);

/* Removes the name; the memory goes with the last mapping. Anybody may. -ENOENT; -EINVAL,
 * -ENAMETOOLONG; -EPERM (it is another user's). */
MPROC_API int mproc_shm_unlink(const char *name) MPROC_MUST_USE;

/* From now on the segment is not the family's: it stays until somebody unlinks it. -ENOENT;
 * -EINVAL, -ENAMETOOLONG. */
MPROC_API int mproc_shm_keep(const char *name) MPROC_MUST_USE;

/* From now on the file of that name is the family's, whoever made it, as if a member had: for
 * segments that are kept no longer, and for named semaphores, which are the files "sem.NAME"
 * (sem_overview(7)). -ENOENT; -EINVAL, -ENAMETOOLONG; -ENOMEM, -EAGAIN; the errors of joining. */
MPROC_API int mproc_shm_claim(const char *name) MPROC_MUST_USE;

/* Invariants of the register of the family's segments (law 12). MPROC_ECORRUPT; the errors of
 * joining. */
MPROC_API int mproc_shm_check(char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- shareable list */

/*
 * A list of fixed length in a named segment, laid out as the ShareableList of Python's
 * multiprocessing: either end may be one. The list is its segment: it is attached by
 * mproc_shm_open(), given back by mproc_shm_drop() and unlinked by mproc_shm_unlink().
 *
 * An item can be replaced, also by one of another kind, if the new one fits: a text has room for as
 * many bytes as its place was made with, rounded up to a multiple of 8; everything else has room
 * for 8. Bytes of 0 at a text's end are lost.
 *
 * In a list that was made by this library, get finds an item as one set left it, never half of it:
 * while others set it, and after they were killed at it. That holds among processes that use this
 * library and share a pid namespace. In a list that the standard library made, and between the two,
 * it holds for items that stay int, float or bool and for texts with room for 8 bytes; a longer
 * text may be found half written, and an item that changes its kind as none.
 *
 * All but create also have the errors of mproc_shm_data().
 */
enum mproc_item_kind {
    MPROC_ITEM_NONE,
    MPROC_ITEM_INT,
    MPROC_ITEM_FLOAT,
    MPROC_ITEM_BOOL,
    /* UTF-8. */
    MPROC_ITEM_STR,
    MPROC_ITEM_BYTES
};

/* An item of a list. */
typedef struct mproc_item {
    enum mproc_item_kind kind; /* says which of the members count */
    union {
        /* Of MPROC_ITEM_INT; of MPROC_ITEM_BOOL: 0 or 1. */
        int64_t integer;
        /* Of MPROC_ITEM_FLOAT. */
        double number;
    };
    /* Of texts; lent. */
    const void *data;
    /* Of texts, in bytes, without a closing 0. */
    size_t size;
} mproc_item;

/* Makes a segment that holds these n items. Whoever finds it by its name finds all of them.
 * -EMSGSIZE: a text of more than 9,999,999 bytes; -EINVAL: a kind that there is not; the errors of
 * mproc_shm_create(). */
MPROC_API int mproc_shareable_list_create(mproc_shm **out, const char *name,
                                          const mproc_item *items, size_t n,
                                          const mproc_shm_options *options) MPROC_MUST_USE;

/* How many items it has. -EBADMSG: the segment holds no list. */
MPROC_API int mproc_shareable_list_length(mproc_shm *list, size_t *out) MPROC_MUST_USE;

/* Reads an item; a text is copied to `room`, and `data` says so. -EBADMSG; -ERANGE: there is no
 * item i; -ENOBUFS: `size` is too small, see mproc_shareable_list_room(); -EPROTO: the item has a
 * format that there is not. */
MPROC_API int mproc_shareable_list_get(mproc_shm *list, size_t i, mproc_item *out, void *room,
                                       size_t size) MPROC_MUST_USE;

/* Replaces an item. Nothing has changed then: -EBADMSG; -ERANGE; -EMSGSIZE: it does not fit;
 * -EINVAL: a kind that there is not; the errors of joining. */
MPROC_API int mproc_shareable_list_set(mproc_shm *list, size_t i,
                                       const mproc_item *item) MPROC_MUST_USE;

/* Bytes that a text in that place can have. -EBADMSG; -ERANGE. */
MPROC_API int mproc_shareable_list_room(mproc_shm *list, size_t i, size_t *out) MPROC_MUST_USE;

/* The item's format in the terms of Python's struct, such as "q" or "16s". -EBADMSG; -ERANGE. */
MPROC_API int mproc_shareable_list_format(mproc_shm *list, size_t i, char out[9]) MPROC_MUST_USE;

/* Invariants (law 12), also of a list that is being changed. MPROC_ECORRUPT. */
MPROC_API int mproc_shareable_list_check(mproc_shm *list, char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- members */

/* What is known of a living member. */
typedef struct mproc_member {
    /* Its process. */
    pid_t pid;
    /* The process that has started it. */
    pid_t parent;
    /* Never reused within the family. */
    uint64_t serial;
    /* When it came into the family, in ns since boot. */
    uint64_t born;
    /* How it came; 0 for the family's first and for a bare fork(). */
    mproc_method method;
    /* As its starter has named it. */
    char name[64];
} mproc_member;

/* getpid(), remembered, but right in every forked child: a call of a nanosecond. */
MPROC_API pid_t mproc_pid(void);

/* The calling member itself. MPROC_EINIT: it is none. */
MPROC_API int mproc_self(mproc_member *out) MPROC_MUST_USE;

/* Fills up to `cap` living members, the caller included; returns how many there are. */
MPROC_API size_t mproc_members(mproc_member *out, size_t cap);

/* Notices members that have died and gives back all they held; returns how many it found. Nobody
 * has to call it: whoever waits for something of a dead member does the same. */
MPROC_API size_t mproc_reap(void);

/* Invariants of the member table and of the holds (law 12). MPROC_ECORRUPT; the errors of
 * joining. */
MPROC_API int mproc_member_check(char *why, size_t size) MPROC_MUST_USE;

/* ---------------------------------------------------------------- a look inside */

/*
 * What a family looks like at one moment, as the program mproc shows it: docs/inspect.md says how
 * it is seen, and what is not. The looker need be no member. It takes no lock and writes nothing,
 * so it delays no member, and may be killed at any moment.
 */
typedef struct mproc_inspection mproc_inspection;

/* Looks at the family that a process is a member of; 0: the caller's own. Where somebody seems to
 * be stuck, it looks again: what is stuck has not moved. From one look of a process at a family to
 * its next one there is a hundred times the CPU time that the earlier one took, but five
 * milliseconds at least and a second at most. The call waits for it: so a program that looks again
 * and again takes a hundredth of a CPU from the family.
 *
 * -ESRCH: there is no such process; -EACCES: it is another user's; -ENODEV: no /proc is mounted;
 * -ENOENT: it is in no family, or the caller is in none; -EXDEV: it counts pids in another
 * namespace than the caller, as in a container; MPROC_EARENA: no member has the arena's descriptor
 * any more; MPROC_EBUILD: the family runs on another version of the library; MPROC_ECORRUPT: its
 * arena is overwritten; -ENOMEM; -EMFILE. */
MPROC_API int mproc_inspect_new(mproc_inspection **out, pid_t pid) MPROC_MUST_USE;

/* The picture goes, and the texts that were lent. NULL is ignored. */
MPROC_API void mproc_inspect_drop(mproc_inspection *owned);

/* Writes the pid of one member of each family that this user may look at, at most `cap`. Returns
 * how many there are; -ENOMEM; -ENODEV: no /proc is mounted. */
MPROC_API int mproc_inspect_families(pid_t *out, size_t cap) MPROC_MUST_USE;

/* How much a picture has. */
typedef struct mproc_inspect_totals {
    size_t members; /* mproc_inspect_member() */
    size_t objects; /* mproc_inspect_object() */
    size_t waits;   /* mproc_inspect_wait() */
    /* Groups of threads that are stuck with each other. */
    size_t deadlocks;
    /* Bytes of the arena. */
    uint64_t used;
    /* Bytes that it may have; 0: nobody has needed to know it yet. */
    uint64_t limit;
} mproc_inspect_totals;

/* How much was seen. */
MPROC_API void mproc_inspect_total(const mproc_inspection *seen, mproc_inspect_totals *out);

/* A member as it was seen. */
typedef struct mproc_inspect_member_seen {
    /* Its process. */
    pid_t pid;
    /* 0: none that lives. */
    pid_t parent;
    /* How it came; 0 for the family's first and for a bare fork(). */
    mproc_method method;
    /* 0: it has ended, and nobody has noticed yet. */
    int alive;
    /* By SIGSTOP or a debugger. */
    int stopped;
    /* How many it has. */
    int threads;
    /* Threads that nobody will wake. */
    unsigned stuck;
    /* Threads that wait, but that mproc_inspect_wait() does not tell: a process has 22 notes. */
    unsigned unnoted;
    /* Objects that it holds. */
    uint64_t holds;
    /* ns since it came into the family. */
    int64_t age;
    /* ns of processor time. */
    int64_t cpu;
    /* Memory that it shares with nobody. */
    uint64_t private_bytes;
    /* As its starter has named it. */
    char name[64];
} mproc_inspect_member_seen;

/* Member i, from 0 on. -ERANGE: there is none. */
MPROC_API int mproc_inspect_member(const mproc_inspection *seen, size_t i,
                                   mproc_inspect_member_seen *out) MPROC_MUST_USE;

/* An object as it was seen. */
typedef struct mproc_inspect_object_seen {
    /* Its place in the arena: what `mproc locks` writes behind the @. */
    uint64_t id;
    /* The object that it is a part of, 0: none. */
    uint64_t within;
    /* "lock", "queue", "pool" and so on. */
    const char *kind;
    /* Bytes. */
    uint64_t size;
    /* A queue's messages, permits that are left, parties that have come, waiters of a condition,
     * entries of a dict or set, items of a list. */
    uint64_t count;
    /* Of a queue, bounded semaphore or barrier. */
    uint64_t bound;
    /* Messages that were ever put; of a task queue its workers. */
    uint64_t total;
    /* Messages that were reported done; of a task queue the workers that have a task. */
    uint64_t done;
    /* Of a task queue: tasks that have failed, by an error of their own or by the end of their
     * worker; each try counts. Of a pool on an engine 0: the pools of its nodes count. */
    uint64_t failed;
    /* A queue that takes no messages any more. */
    int closed;
    /* The member that has a lock; 0: nobody has it, or it is not known. */
    pid_t held_by;
    /* Its thread that has it, by its kernel id. */
    pid_t held_by_thread;
    /* ns for which that one is known to have it; it may be longer. 0: it is not known, because
     * nobody waits for it and its holder does not wait either. */
    int64_t held_for;
    /* Members that have holds on it. */
    size_t holders;
    /* Lent until the inspection is dropped; "": it has none. */
    const char *name;
    /* Where it was made; likewise. */
    const char *origin;
} mproc_inspect_object_seen;

/* Object i, in the order of their places. -ERANGE: there is none. */
MPROC_API int mproc_inspect_object(const mproc_inspection *seen, size_t i,
                                   mproc_inspect_object_seen *out) MPROC_MUST_USE;

/* The pid of the n-th member that holds object i; 0: one that has ended meanwhile. -ERANGE: there
 * are not as many. */
MPROC_API pid_t mproc_inspect_holder(const mproc_inspection *seen, size_t i, size_t n);

/* A thread that waited when it was seen. */
typedef struct mproc_inspect_wait_seen {
    /* Its process. */
    pid_t pid;
    /* Its kernel id. */
    pid_t thread;
    /* What it waits for, 0: it waits for the end of a member, or at a descriptor. */
    uint64_t object;
    /* -1: none. */
    int descriptor;
    /* The member that has what the thread waits for, or whose end it waits for; 0: no single
     * one. */
    pid_t blames;
    /* ns. */
    int64_t waited;
    /* It has a timeout. */
    int timed;
    /* A number that the threads which are stuck with each other share; -1: it is not stuck. */
    int deadlock;
    /* Where it is, in the words of its runtime: mproc_stack_new(). Lent until the inspection is
     * dropped; "": nothing is known. */
    const char *stack;
} mproc_inspect_wait_seen;

/* Wait i. -ERANGE: there is none. */
MPROC_API int mproc_inspect_wait(const mproc_inspection *seen, size_t i,
                                 mproc_inspect_wait_seen *out) MPROC_MUST_USE;

/* Wait i in words, "waits for the lock @2c40, which worker-1 (pid 7) holds", cut off at `size`
 * bytes with a 0. -ERANGE: there is none; -ENOMEM. */
MPROC_API int mproc_inspect_words(const mproc_inspection *seen, size_t i, char *out,
                                  size_t size) MPROC_MUST_USE;

/* Looks as mproc_inspect_new() does, and writes what it sees as `mproc ps --json` does: *out is a
 * JSON object, which the caller gives to free(3). Where an object of C was made stands there as
 * mproc_origin_of() says it. -ENOMEM; the other errors of mproc_inspect_new(). */
MPROC_API int mproc_inspect_json(char **out, pid_t pid) MPROC_MUST_USE;

/* An error of these functions in a sentence that says what the looker may do. Never NULL, and not
 * to be freed. */
MPROC_API const char *mproc_inspect_reason(int code);

/* Where a waiting thread is, in the words of its runtime. */
typedef struct mproc_stack mproc_stack;

/* Bytes of the words; what is more is cut off. */
#define MPROC_STACK_MOST 1000

/*
 * Leaves words for those who look: a line for each call, "take (/srv/shop.py:12)", the innermost
 * first. They are the calling thread's until mproc_drop(), and stand beside each wait of it. Of
 * several of a thread those count that were written last. A runtime writes them where its
 * mproc_wait_hook() is called, since only a wait that lasts is worth it, and drops them after the
 * wait.
 *
 * -ENOENT: the process is in no family. -ENOMEM, also where half of the memory that the arena may
 * have is in use.
 */
MPROC_API int mproc_stack_new(mproc_stack **out, const char *words) MPROC_MUST_USE;

/* Invariants of the words (law 12). MPROC_ECORRUPT. */
MPROC_API int mproc_stack_check(const mproc_stack *stack, char *why, size_t size) MPROC_MUST_USE;

/*
 * Has a process of its own, the program mproc, watch the caller's family until that has ended. When
 * a thread has waited for `after` ns and is stuck, or waits for a lock or for a stopped member, it
 * says so on standard error, with stacks as far as they can be had; each wait once. `abort`: it
 * then ends a family that has a deadlock, by SIGABRT. A family has one watchdog at most, and the
 * first stays. MPROC_WATCHDOG=10, or 10=abort, in the environment of its first member does the
 * same.
 *
 * -EINVAL: no time; -ENOENT: the program is neither beside the library nor on PATH; the errors of
 * joining.
 */
MPROC_API int mproc_log_deadlocks(int64_t after, int abort) MPROC_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
