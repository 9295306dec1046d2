/*
 * errors_process.c - errors of starting, of the arena, of objects and processes
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/chunk.h"
#include "core/family.h"
#include "core/object.h"
#include "errors.h"

static const char *const cat[] = {"/bin/cat", NULL};
static const char *const missing[] = {"/nonexistent", NULL};
static const char *const not_a_program[] = {"/etc/passwd", NULL};
static const int closed_fd = CLOSED_FD;

/* ---------------------------------------------------------------- start, arena, objects,
 * members */

PROVOKE(mproc_init, MPROC_EAGAIN_INIT) {
    begin();
    return mproc_init(0, NULL);
}

PROVOKE(mproc_arena_check, MPROC_ECORRUPT) {
    begin();
    void *block = mproc_alloc(32);
    mproc__chunk(mproc__chunk_number(block))->used++;
    return mproc_arena_check(NULL, 0);
}

PROVOKE(mproc_hold, -EINVAL) {
    static uint64_t private[64];
    begin();
    return mproc_hold(private);
}

static int hold_anew(void *lock) {
    CHECK_OK(mproc_drop(lock));
    fill_arena();
    return mproc_hold(lock); /* the object has room for one record, and that is the parent's */
}

PROVOKE(mproc_hold, -ENOMEM) {
    begin_small();
    return in_child(hold_anew, made_lock(0));
}

PROVOKE(mproc_name, -EINVAL) {
    static uint64_t private[64];
    begin();
    return mproc_name(private, "x");
}

PROVOKE(mproc_name, -ENAMETOOLONG) {
    char name[MPROC_NAME_MOST + 2];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    return mproc_name(made_lock(0), name);
}

PROVOKE(mproc_name, -ENOMEM) {
    begin_small();
    mproc_lock *lock = made_lock(0);
    fill_arena();
    return mproc_name(lock, "x");
}

PROVOKE(mproc_name_of, -EINVAL) {
    static uint64_t private[64];
    begin();
    return mproc_name_of(private, NULL, 0);
}

PROVOKE(mproc_origin_of, -EINVAL) {
    static uint64_t private[64];
    begin();
    return mproc_origin_of(private, NULL, 0);
}

CANNOT(mproc_drop, -EINVAL, "this is a debug build, which asserts: test_doors.c drops in a release")

static mproc_process *prepared(mproc_method method) {
    mproc_process *process = NULL;
    mproc_process_options o = {.method = method, .argv = method == MPROC_SPAWN ? cat : NULL};
    CHECK_OK(mproc_process_prepare(&process, &o));
    return process;
}

PROVOKE(mproc_hold_for, -EINVAL) {
    static uint64_t private[64];
    return mproc_hold_for(prepared(MPROC_FORK), private);
}

PROVOKE(mproc_hold_for, -ENOMEM) {
    begin_small();
    mproc_lock *lock = made_lock(0);
    mproc_process *child = prepared(MPROC_FORK);
    fill_arena();
    return mproc_hold_for(child, lock);
}

PROVOKE(mproc_self, MPROC_EINIT) {
    mproc_member me;
    return mproc_self(&me);
}

PROVOKE(mproc_member_check, MPROC_ECORRUPT) {
    struct mproc__object *object = (struct mproc__object *)(void *)made_lock(0);
    object->first.count = 0;
    return mproc_member_check(NULL, 0);
}

/* ---------------------------------------------------------------- process: starting */

static int nothing(void *arg, size_t size) {
    (void)arg, (void)size;
    return 0;
}

static int for_ever(void *arg, size_t size) {
    (void)arg, (void)size;
    stay();
}

static int start_with(mproc_process_options o) {
    mproc_process *process;
    return mproc_process_start(&process, nothing, NULL, 0, &o);
}

static int start_program(const char *const *argv) {
    return start_with((mproc_process_options){.method = MPROC_SPAWN, .argv = argv});
}

static int start_large(size_t size) {
    static char bytes[100000];
    mproc_process *process;
    return mproc_process_start(&process, nothing, bytes, size, NULL);
}

static void fill_members(void) {
    mproc_process *process;
    while (mproc_process_prepare(&process, NULL) == 0) {
    }
}

static mproc_template *template_of(const char *const *argv) {
    mproc_process_options o = {.argv = argv};
    mproc_template *one = NULL;
    CHECK_OK(mproc_template_new(&one, &o));
    return one;
}

/* One whose process has ended. */
static mproc_template *dead_template(void) {
    static const char *const program[] = {"/bin/true", NULL};
    siginfo_t info;
    mproc_template *one = template_of(program);
    CHECK_OK(waitid(P_PID, (id_t)mproc_template_pid(one), &info, WEXITED | WNOWAIT));
    return one;
}

PROVOKE(mproc_process_start, -EINVAL) {
    mproc_process *process;
    return mproc_process_start(&process, NULL, NULL, 0, NULL);
}

PROVOKE(mproc_process_start, MPROC_EFUNCTION) {
    static char code[16];
    mproc_process *process;
    mproc_process_options o = {.method = MPROC_SPAWN};
    mproc_main_fn fn;
    void *address = code;
    memcpy(&fn, &address, sizeof fn);
    return mproc_process_start(&process, fn, NULL, 0, &o);
}

PROVOKE(mproc_process_start, MPROC_EINIT) {
    return start_with((mproc_process_options){.method = MPROC_SPAWN});
}

PROVOKE(mproc_process_start, MPROC_EMEMBERS) {
    fill_members();
    return start_with((mproc_process_options){0});
}

PROVOKE(mproc_process_start, MPROC_ETOOBIG) {
    return start_large((size_t)1 << 60);
}

static int start_from(void *from) {
    return start_with((mproc_process_options){.method = MPROC_FORKSERVER, .from = from});
}

PROVOKE(mproc_process_start, MPROC_ESTRANGER) {
    return in_child(start_from, template_of(cat));
}

PROVOKE(mproc_process_start, -EPIPE) {
    return start_from(dead_template());
}

/* The shell has the template as its child. */
static mproc_template *wrapped_template(void) {
    static char self[200], script[300];
    static const char *const program[] = {"/bin/sh", "-c", script, NULL};
    mproc_process_options o = {.argv = program, .flags = MPROC_WRAPPED};
    mproc_template *one = NULL;
    CHECK_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    snprintf(script, sizeof script, "%s wrapped; exit $?", self);
    CHECK_OK(mproc_template_new(&one, &o));
    return one;
}

PROVOKE(mproc_process_start, -ECHILD) {
    mproc_template *one = wrapped_template();
    int r = start_from(one);
    mproc_template_drop(one);
    return r;
}

PROVOKE(mproc_process_start, -ENOSYS) {
    deny(SYS_pidfd_open, -1, ENOSYS);
    return start_with((mproc_process_options){0});
}

PROVOKE(mproc_process_start, -ENOMEM) {
    begin_small();
    fill_arena();
    return start_large(100000);
}

PROVOKE(mproc_process_start, -EAGAIN) {
    begin();
    no_processes();
    return start_with((mproc_process_options){0});
}

PROVOKE(mproc_process_start, -EMFILE) {
    begin();
    no_descriptors();
    return start_with((mproc_process_options){0});
}

PROVOKE(mproc_process_start, -ENFILE) {
    begin();
    deny(SYS_fcntl, -1, ENFILE);
    return start_with((mproc_process_options){0});
}

PROVOKE(mproc_process_start, -EBADF) {
    return start_with(
        (mproc_process_options){.method = MPROC_SPAWN, .argv = cat, .fds = &closed_fd, .nfds = 1});
}

PROVOKE(mproc_process_start, -ENOENT) {
    return start_program(missing);
}

PROVOKE(mproc_process_start, -EACCES) {
    return start_program(not_a_program);
}

static int prepare_with(mproc_process_options o) {
    mproc_process *process;
    return mproc_process_prepare(&process, &o);
}

PROVOKE(mproc_process_prepare, -EINVAL) {
    return prepare_with((mproc_process_options){.flags = MPROC_ATTACHED | MPROC_DETACHED});
}

PROVOKE(mproc_process_prepare, MPROC_EINIT) {
    return prepare_with((mproc_process_options){.method = MPROC_SPAWN});
}

PROVOKE(mproc_process_prepare, MPROC_EMEMBERS) {
    fill_members();
    return prepare_with((mproc_process_options){0});
}

PROVOKE(mproc_process_prepare, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    begin();
    no_malloc();
    return prepare_with((mproc_process_options){0});
}

/* A child that was forked without mproc's help. */
static pid_t forked(void) {
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    return pid;
}

static int adopt(pid_t pid) {
    mproc_process *process;
    return mproc_process_adopt(&process, pid);
}

PROVOKE(mproc_process_adopt, -EINVAL) {
    return adopt(0);
}

PROVOKE(mproc_process_adopt, -ESRCH) {
    return adopt(getppid());
}

PROVOKE(mproc_process_adopt, -EMFILE) {
    begin();
    pid_t pid = forked();
    no_descriptors();
    int r = adopt(pid);
    CHECK_OK(kill(pid, SIGKILL));
    return r;
}

PROVOKE(mproc_process_adopt, -ENFILE) {
    begin();
    pid_t pid = forked();
    deny(SYS_pidfd_open, -1, ENFILE);
    int r = adopt(pid);
    CHECK_OK(kill(pid, SIGKILL));
    return r;
}

PROVOKE(mproc_process_adopt, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    begin();
    pid_t pid = forked();
    no_malloc();
    int r = adopt(pid);
    CHECK_OK(kill(pid, SIGKILL));
    return r;
}

static int launch(void *process) {
    int r = mproc_process_launch(process, NULL, 0);
    if (r == MPROC_IN_CHILD) {
        _exit(0);
    }
    return r;
}

PROVOKE(mproc_process_launch, -EINVAL) {
    mproc_process *process = prepared(MPROC_FORK);
    CHECK_OK(launch(process));
    return launch(process);
}

PROVOKE(mproc_process_launch, MPROC_ESTRANGER) {
    return in_child(launch, prepared(MPROC_FORK));
}

PROVOKE(mproc_process_launch, MPROC_ETOOBIG) {
    return mproc_process_launch(prepared(MPROC_FORK), "x", (size_t)1 << 60);
}

PROVOKE(mproc_process_launch, -EPIPE) {
    mproc_process *process;
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = dead_template()};
    CHECK_OK(mproc_process_prepare(&process, &o));
    return launch(process);
}

PROVOKE(mproc_process_start, MPROC_EARENA) {
    begin();
    CHECK_OK(close(mproc__family_fd()));
    return start_program(cat);
}

PROVOKE(mproc_process_launch, MPROC_EARENA) {
    mproc_process *process = prepared(MPROC_SPAWN);
    CHECK_OK(close(mproc__family_fd()));
    return launch(process);
}

PROVOKE(mproc_process_launch, -ENOSYS) {
    deny(SYS_pidfd_open, -1, ENOSYS);
    return launch(prepared(MPROC_SPAWN));
}

/* A fork that is given nothing needs no memory. */
PROVOKE(mproc_process_launch, -ENOMEM) {
    begin_small();
    mproc_process *process = prepared(MPROC_FORK);
    fill_arena();
    return mproc_process_launch(process, "something", 9);
}

PROVOKE(mproc_process_launch, -EAGAIN) {
    mproc_process *process = prepared(MPROC_FORK);
    no_processes();
    return launch(process);
}

PROVOKE(mproc_process_launch, -EMFILE) {
    mproc_process *process = prepared(MPROC_FORK);
    no_descriptors();
    return launch(process);
}

PROVOKE(mproc_process_launch, -ENFILE) {
    mproc_process *process = prepared(MPROC_FORK);
    deny(SYS_fcntl, -1, ENFILE);
    return launch(process);
}

PROVOKE(mproc_process_launch, -EBADF) {
    mproc_process *process = prepared(MPROC_SPAWN);
    CHECK_OK(mproc_process_pass(process, closed_fd));
    return launch(process);
}

PROVOKE(mproc_process_pass, -EINVAL) {
    return mproc_process_pass(prepared(MPROC_FORK), -1);
}

PROVOKE(mproc_process_pass, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    mproc_process *process = prepared(MPROC_FORK);
    no_malloc();
    return mproc_process_pass(process, 0);
}

/* ---------------------------------------------------------------- process: its end */

static mproc_process *running(void) {
    mproc_process *process = NULL;
    CHECK_OK(mproc_process_start(&process, for_ever, NULL, 0, NULL));
    return process;
}

static mproc_process *ended(void) {
    mproc_process *process = NULL;
    CHECK_OK(mproc_process_start(&process, nothing, NULL, 0, NULL));
    CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
    return process;
}

PROVOKE(mproc_process_join, -ETIMEDOUT) {
    return mproc_process_join(running(), 0);
}

PROVOKE(mproc_process_join, -EINTR) {
    mproc_process *process = running();
    interrupt();
    return mproc_process_join(process, without_end);
}

static int join_process(void *process) {
    return mproc_process_join(process, 0);
}

PROVOKE(mproc_process_join, MPROC_ESTRANGER) {
    return in_child(join_process, running());
}

PROVOKE(mproc_process_join, -EINVAL) {
    return join_process(prepared(MPROC_FORK));
}

static int ask_exitcode(void *process) {
    int code;
    return mproc_process_exitcode(process, &code);
}

PROVOKE(mproc_process_exitcode, -EAGAIN) {
    return ask_exitcode(running());
}

PROVOKE(mproc_process_exitcode, MPROC_ESTRANGER) {
    return in_child(ask_exitcode, running());
}

PROVOKE(mproc_process_exitcode, -EINVAL) {
    return ask_exitcode(prepared(MPROC_FORK));
}

/* A process of another user: the kernel is made to say so, which works for root, too. */
static mproc_process *of_another_user(void) {
    mproc_process *process = running();
    deny(SYS_pidfd_send_signal, -1, EPERM);
    deny(SYS_kill, -1, EPERM);
    return process;
}

PROVOKE(mproc_process_signal, -ESRCH) {
    return mproc_process_signal(ended(), SIGTERM);
}

PROVOKE(mproc_process_signal, -EPERM) {
    return mproc_process_signal(of_another_user(), SIGTERM);
}

PROVOKE(mproc_process_signal, -EINVAL) {
    return mproc_process_signal(running(), 12345);
}

PROVOKE(mproc_process_terminate, -ESRCH) {
    return mproc_process_terminate(ended());
}

PROVOKE(mproc_process_terminate, -EPERM) {
    return mproc_process_terminate(of_another_user());
}

PROVOKE(mproc_process_terminate, -EINVAL) {
    return mproc_process_terminate(prepared(MPROC_FORK));
}

PROVOKE(mproc_process_kill, -ESRCH) {
    return mproc_process_kill(ended());
}

PROVOKE(mproc_process_kill, -EPERM) {
    return mproc_process_kill(of_another_user());
}

PROVOKE(mproc_process_kill, -EINVAL) {
    return mproc_process_kill(prepared(MPROC_FORK));
}

PROVOKE(mproc_process_interrupt, -ESRCH) {
    return mproc_process_interrupt(ended());
}

PROVOKE(mproc_process_interrupt, -EPERM) {
    return mproc_process_interrupt(of_another_user());
}

PROVOKE(mproc_process_interrupt, -EINVAL) {
    return mproc_process_interrupt(prepared(MPROC_FORK));
}

PROVOKE(mproc_process_drop, -EBUSY) {
    return mproc_process_drop(running());
}

/* ---------------------------------------------------------------- template */

static int make_template(mproc_process_options o) {
    mproc_template *one;
    return mproc_template_new(&one, &o);
}

PROVOKE(mproc_template_new, -EINVAL) {
    return make_template((mproc_process_options){.flags = MPROC_ATTACHED | MPROC_DETACHED});
}

PROVOKE(mproc_template_new, MPROC_EINIT) {
    return make_template((mproc_process_options){0});
}

PROVOKE(mproc_template_new, MPROC_EMEMBERS) {
    fill_members();
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_new, -EAGAIN) {
    begin();
    no_processes();
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_new, MPROC_EARENA) {
    begin();
    CHECK_OK(close(mproc__family_fd()));
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_new, -EMFILE) {
    begin();
    no_descriptors();
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_new, -ENFILE) {
    begin();
    deny(SYS_socketpair, -1, ENFILE);
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_new, -EBADF) {
    return make_template((mproc_process_options){.argv = cat, .fds = &closed_fd, .nfds = 1});
}

PROVOKE(mproc_template_new, -ENOSYS) {
    deny(SYS_pidfd_open, -1, ENOSYS);
    return make_template((mproc_process_options){.argv = cat});
}

PROVOKE(mproc_template_serve, -EINVAL) {
    begin();
    return mproc_template_serve(NULL);
}

enum { INTERRUPTED = 42 };

/* A template, as another runtime would be one. */
int test_started_main(int argc, char **argv) {
    CHECK_EQ(argc, 2);
    if (strcmp(argv[1], "wrapped") == 0) {
        CHECK_EQ(mproc_attach(), 2);
        return mproc_template_serve(NULL) == 0 ? 0 : 1;
    }
    CHECK_EQ(mproc_attach(), 1);
    interrupt();
    return mproc_template_serve(NULL) == -EINTR ? INTERRUPTED : 1;
}

PROVOKE(mproc_template_serve, -EINTR) {
    static const char *const program[] = {"/proc/self/exe", "serve", NULL};
    siginfo_t info;
    mproc_template *one = template_of(program);
    CHECK_OK(waitid(P_PID, (id_t)mproc_template_pid(one), &info, WEXITED | WNOWAIT));
    return info.si_status == INTERRUPTED ? -EINTR : info.si_status;
}
