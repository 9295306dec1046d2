/*
 * test_template.c - templates: their children, and every way a template can die
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/token.h"
#include "deny.h"
#include "process/process.h"
#include "system/os.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static mproc_process *start_from(mproc_template *from, mproc_main_fn fn, const void *arg,
                                 size_t size) {
    mproc_process *p = NULL;
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = from};
    CHECK_OK(mproc_process_start(&p, fn, arg, size, &o));
    return p;
}

static int finish(mproc_process *p) {
    int code = 9999;
    CHECK_OK(mproc_process_join(p, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(p, &code));
    CHECK_OK(mproc_process_drop(p));
    return code;
}

static mproc_template *new_template(void) {
    mproc_template *one = NULL;
    CHECK_OK(mproc_template_new(&one, NULL));
    CHECK_GT(mproc_template_pid(one), 0);
    return one;
}

static void kill_and_wait(pid_t pid) {
    siginfo_t info;
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT)); /* its handle collects it */
}

static int answer(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 42;
}

/* ---------------------------------------------------------------- children */

struct family_view {
    pid_t pid, parent, group;
};

static int look_around(void *arg, size_t size) {
    struct family_view *view = *(struct family_view **)arg;
    (void)size;
    *view = (struct family_view){getpid(), getppid(), getpgrp()};
    return 0;
}

TEST(template_children_are_the_starters_own) {
    struct family_view *view = mproc_alloc(sizeof *view);
    mproc_template *one = new_template();
    for (int i = 0; i < 3; i++) {
        mproc_process *p = start_from(one, look_around, &view, sizeof view);
        pid_t pid = mproc_process_pid(p);
        CHECK_NE(pid, mproc_template_pid(one));
        CHECK_EQ(finish(p), 0);
        CHECK_EQ(view->pid, pid);
        CHECK_EQ(view->parent, getpid());
    }
    mproc_template_drop(one);
    mproc_free(view);
}

TEST(template_children_can_be_waited_for) {
    mproc_template *one = new_template();
    mproc_process *p = start_from(one, answer, NULL, 0);
    siginfo_t info;
    CHECK_OK(waitid(P_PID, (id_t)mproc_process_pid(p), &info, WEXITED | WNOWAIT));
    CHECK_EQ(info.si_status, 42);
    CHECK_EQ(finish(p), 42);
    mproc_template_drop(one);
}

static volatile sig_atomic_t children_ended;

static void on_sigchld(int number) {
    (void)number;
    children_ended = 1;
}

TEST(template_children_raise_sigchld) {
    mproc_template *one = new_template();
    struct sigaction action = {.sa_handler = on_sigchld};
    sigaction(SIGCHLD, &action, NULL);
    mproc_process *p = start_from(one, answer, NULL, 0);
    int r;
    while ((r = mproc_process_join(p, MPROC_FOREVER)) == -EINTR) {
    }
    CHECK_OK(r);
    CHECK_EQ(children_ended, 1);
    CHECK_OK(mproc_process_drop(p));
    signal(SIGCHLD, SIG_DFL);
    mproc_template_drop(one);
}

static int answer_when_asked(void *arg, size_t size) {
    char byte;
    int fd;
    (void)arg;
    (void)size;
    CHECK_EQ(mproc_child_fds(&fd, 1), 1);
    return read(fd, &byte, 1) == 1 ? 42 : 1;
}

TEST(template_children_outlive_it) {
    int ends[2];
    mproc_template *one = new_template();
    mproc_process *p = NULL;
    CHECK_OK(mproc_pipe_new(ends, 0));
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = one, .fds = ends, .nfds = 1};
    CHECK_OK(mproc_process_start(&p, answer_when_asked, NULL, 0, &o));
    mproc_template_drop(one);
    CHECK_EQ(mproc_process_join(p, 0), -ETIMEDOUT);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(finish(p), 42);
    close(ends[0]);
    close(ends[1]);
}

/* The C library must know the thread's id: for its checks of a mutex' owner, for its list of
 * robust mutexes, for new threads and for another fork(). */
static void *lock_and_die(void *arg) {
    CHECK_OK(pthread_mutex_lock(arg));
    return NULL;
}

static int use_the_c_library(void *arg, size_t size) {
    pthread_mutexattr_t attr;
    pthread_mutex_t mutex;
    pthread_t thread;
    int status;
    (void)arg;
    (void)size;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attr);
    CHECK_OK(pthread_mutex_lock(&mutex));
    CHECK_EQ(mutex.__data.__owner, mproc__os_tid());
    CHECK_EQ(pthread_mutex_lock(&mutex), EDEADLK);
    CHECK_OK(pthread_mutex_unlock(&mutex));
    CHECK_OK(pthread_create(&thread, NULL, lock_and_die, &mutex));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
    CHECK_OK(pthread_mutex_consistent(&mutex));
    CHECK_OK(pthread_mutex_unlock(&mutex));
    pid_t pid = fork();
    if (pid == 0) {
        _exit(raise(SIGTERM));
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WTERMSIG(status), SIGTERM);
    free(malloc(100000));
    return 6;
}

TEST(template_child_can_use_the_c_library) {
    mproc_template *one = new_template();
    CHECK_EQ(finish(start_from(one, use_the_c_library, NULL, 0)), 6);
    mproc_template_drop(one);
}

/* The holder of the mutex is a template's child: when it dies, the kernel walks the list of robust
 * mutexes that was set anew. */
static int die_with_robust_mutex(void *arg, size_t size) {
    pthread_mutex_t *mutex = *(pthread_mutex_t **)arg;
    (void)size;
    CHECK_OK(pthread_mutex_lock(mutex));
    return 0;
}

TEST(template_child_dies_with_a_robust_mutex) {
    pthread_mutex_t *mutex = mproc_alloc(sizeof *mutex);
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attr);
    mproc_template *one = new_template();
    CHECK_EQ(finish(start_from(one, die_with_robust_mutex, &mutex, sizeof mutex)), 0);
    CHECK_EQ(pthread_mutex_trylock(mutex), EOWNERDEAD);
    pthread_mutex_consistent(mutex);
    pthread_mutex_unlock(mutex);
    mproc_template_drop(one);
    mproc_free(mutex);
}

/* A kernel without clone3 and without PR_GET_TID_ADDRESS; the template inherits the filter. */
TEST(template_on_an_old_kernel) {
    deny(435 /* clone3 */, -1, ENOSYS);
    deny(SYS_prctl, PR_GET_TID_ADDRESS, EINVAL);
    mproc_template *one = new_template();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(finish(start_from(one, use_the_c_library, NULL, 0)), 6);
    }
    mproc_template_drop(one);
}

static int start_its_own(void *arg, size_t size) {
    (void)arg;
    (void)size;
    int code = finish(start_from(NULL, answer, NULL, 0));
    mproc__template_stop_default();
    return code;
}

TEST(template_child_makes_its_own_template) {
    CHECK_EQ(finish(start_from(NULL, start_its_own, NULL, 0)), 42);
    mproc__template_stop_default();
}

/* ---------------------------------------------------------------- descriptors */

static int count_fds(void *arg, size_t size) {
    int fds[253];
    size_t n = mproc_child_fds(fds, 253);
    (void)arg;
    (void)size;
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    }
    CHECK_EQ(mproc_child_fds(NULL, 0), n);
    return (int)n;
}

/* A request that names a living member would put another pid into its slot. */
TEST(template_forks_for_the_expected_only) {
    mproc_template *one = new_template();
    pid_t pid = 0;
    CHECK_EQ(mproc__template_fork(one, mproc__self_token(), NULL, 0, &pid), MPROC_ESTRANGER);
    CHECK_EQ(mproc__self_slot()->pid, getpid());
    CHECK_EQ(pid, 0);
    CHECK_EQ(finish(start_from(one, answer, NULL, 0)), 42);
    mproc_template_drop(one);
}

TEST(template_passes_descriptors) {
    int many[254];
    mproc_template *one = new_template();
    for (int i = 0; i < 254; i++) {
        many[i] = 0;
    }
    for (size_t n = 0; n <= 254; n += n < 250 ? 50 : n < 253 ? 3 : 1) {
        mproc_process *p = NULL;
        mproc_process_options o = {.method = MPROC_FORKSERVER, .from = one, .fds = many, .nfds = n};
        int r = mproc_process_start(&p, count_fds, NULL, 0, &o);
        if (n > 253) {
            CHECK_EQ(r, -EINVAL);
        } else {
            CHECK_OK(r);
            CHECK_EQ(finish(p), n);
        }
    }
    CHECK_EQ(mproc_child_fds(NULL, 0), 0);
    mproc_template_drop(one);
}

static int echo_byte(void *arg, size_t size) {
    int fds[2];
    char byte;
    (void)arg;
    (void)size;
    CHECK_EQ(mproc_child_fds(fds, 2), 2);
    CHECK_EQ(read(fds[0], &byte, 1), 1);
    byte++;
    CHECK_EQ(write(fds[1], &byte, 1), 1);
    return 0;
}

TEST(template_keeps_no_descriptor) {
    int to[2], from[2];
    char byte = 'a';
    mproc_process *p;
    mproc_template *one = new_template();
    CHECK_OK(mproc_pipe_new(to, 0));
    CHECK_OK(mproc_pipe_new(from, 0));
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = one};
    CHECK_OK(mproc_process_prepare(&p, &o));
    CHECK_OK(mproc_process_pass(p, to[0]));
    CHECK_OK(mproc_process_pass(p, from[1]));
    struct mproc__function_ref ref;
    struct mproc__launch what = {MPROC__ARGS_FUNCTION, -1, &ref, NULL, 0};
    CHECK_OK(mproc__function_name((mproc__function)echo_byte, &ref));
    CHECK_OK(mproc__process_launch(p, &what));
    close(to[0]);
    close(from[1]);
    CHECK_EQ(write(to[1], &byte, 1), 1);
    CHECK_EQ(read(from[0], &byte, 1), 1);
    CHECK_EQ(byte, 'b');
    CHECK_EQ(read(from[0], &byte, 1), 0); /* the template has no copy of the other end */
    CHECK_EQ(finish(p), 0);
    close(to[1]);
    close(from[0]);
    mproc_template_drop(one);
}

/* ---------------------------------------------------------------- deaths */

TEST(template_dead_when_asked) {
    mproc_template *one = new_template();
    mproc_process *p = NULL;
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = one};
    CHECK_EQ(finish(start_from(one, answer, NULL, 0)), 42);
    kill_and_wait(mproc_template_pid(one));
    size_t used = test_arena_used();
    CHECK_EQ(mproc_process_start(&p, answer, "bytes", 5, &o), -EPIPE);
    CHECK(p == NULL);
    CHECK_LE(test_arena_used(), used); /* memory that the dead template held may have come back */
    CHECK_EQ(mproc_process_start(&p, answer, NULL, 0, &o), -EPIPE);
    mproc_template_drop(one);
}

TEST(template_default_is_restarted) {
    CHECK_EQ(mproc__template_default_pid(), 0);
    CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
    pid_t pid = mproc__template_default_pid();
    CHECK_GT(pid, 0);
    CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
    CHECK_EQ(mproc__template_default_pid(), pid);
    kill_and_wait(pid);
    CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
    CHECK_NE(mproc__template_default_pid(), pid);
    mproc__template_stop_default();
    CHECK_EQ(mproc__template_default_pid(), 0);
}

struct starter {
    mproc_template *from;
    mproc_process *process;
    int result;
};

static void *start_in_thread(void *arg) {
    struct starter *s = arg;
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = s->from};
    s->result = mproc_process_start(&s->process, answer, "bytes", 5, &o);
    return NULL;
}

/* Returns a copy of the template's end of its socket, to see what the template sees. The copy also
 * keeps the end open after the template's death, as a careless fork would: the starter must not
 * rely on the end of the stream. */
static int copy_of_socket(pid_t pid) {
    char path[300], target[64];
    int copy = -1, pidfd = mproc__os_pidfd_open(pid);
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    CHECK(dir != NULL && pidfd >= 0);
    for (struct dirent *e = readdir(dir); e != NULL && copy < 0; e = readdir(dir)) {
        memset(target, 0, sizeof target);
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, e->d_name);
        if (atoi(e->d_name) > 2 && readlink(path, target, sizeof target - 1) > 0 &&
            strncmp(target, "socket:", 7) == 0) {
            copy = (int)syscall(438 /* pidfd_getfd */, pidfd, atoi(e->d_name), 0);
        }
    }
    closedir(dir);
    close(pidfd);
    if (copy < 0) {
        test_skip("a process' descriptors cannot be copied here");
    }
    return copy;
}

TEST(template_dies_with_the_request_unread) {
    mproc_template *one = new_template();
    pthread_t thread;
    int status;
    CHECK_EQ(finish(start_from(one, answer, NULL, 0)), 42);
    CHECK_OK(kill(mproc_template_pid(one), SIGSTOP));
    CHECK_EQ(waitpid(mproc_template_pid(one), &status, WUNTRACED), mproc_template_pid(one));
    int copy = copy_of_socket(mproc_template_pid(one));
    struct starter s = {one, NULL, 1};
    CHECK_OK(pthread_create(&thread, NULL, start_in_thread, &s));
    CHECK_EQ(mproc_pipe_poll(copy, MPROC_FOREVER), 1);
    CHECK_OK(kill(mproc_template_pid(one), SIGKILL));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(s.result, -EPIPE);
    CHECK(s.process == NULL);
    close(copy);
    mproc_template_drop(one);
}

/* ---------------------------------------------------------------- other runtimes' templates */

static void die(void *arg) {
    (void)arg;
    kill(getpid(), SIGKILL);
}

static int calls;

static void count_call(void *arg) {
    calls = calls * 10 + *(int *)arg;
}

static void before(void *arg) {
    (void)arg;
    calls = 1;
}

static void in_parent(void *arg) {
    (void)arg;
    calls = 0;
}

static void in_child(void *arg) {
    int three = 3;
    count_call(&three);
    calls = calls * 10 + *(int *)arg;
}

static int serve(const mproc_fork_hooks *hooks) {
    int r;
    do {
        r = mproc_template_serve(hooks);
    } while (r == -EINTR);
    return r;
}

/* A template program. Its argument says how it serves and how its children end. */
int test_started_main(int argc, char **argv) {
    static int seven = 7;
    const mproc_fork_hooks dies_before = {.before = die};
    const mproc_fork_hooks dies_after = {.after_in_parent = die};
    const mproc_fork_hooks all = {before, in_parent, in_child, &seven};
    const mproc_fork_hooks none = {0};
    const char *how = argc == 2 ? argv[1] : "";
    const mproc_fork_hooks *hooks = strcmp(how, "dies-before") == 0  ? &dies_before
                                    : strcmp(how, "dies-after") == 0 ? &dies_after
                                    : strcmp(how, "hooks") == 0      ? &all
                                                                     : &none;
    if (mproc_attach() != 1) {
        return 99;
    }
    if (strcmp(how, "leaves") == 0) {
        return 0;
    }
    if (strcmp(how, "cannot-clone") == 0) {
        deny_clone(EAGAIN);
    }
    int r = serve(hooks);
    if (r != MPROC_IN_CHILD) {
        return r == 0 && mproc_template_serve(hooks) == -EINVAL ? 0 : 98;
    }
    size_t size;
    const char *bytes = mproc_child_args(&size);
    if (strcmp(how, "hooks") == 0) {
        _exit(calls);
    }
    _exit(size == 5 && memcmp(bytes, "bytes", 5) == 0 ? 33 : 97);
}

static mproc_template *new_program(const char *how) {
    const char *argv[] = {"/proc/self/exe", how, NULL};
    mproc_process_options o = {.argv = argv};
    mproc_template *one = NULL;
    CHECK_OK(mproc_template_new(&one, &o));
    return one;
}

static int launch_from(mproc_template *one, mproc_process **out) {
    mproc_process_options o = {.method = MPROC_FORKSERVER, .from = one};
    CHECK_OK(mproc_process_prepare(out, &o));
    return mproc_process_launch(*out, "bytes", 5);
}

TEST(template_of_another_runtime) {
    mproc_template *one = new_program("plain");
    for (int i = 0; i < 3; i++) {
        mproc_process *p;
        CHECK_OK(launch_from(one, &p));
        CHECK_EQ(finish(p), 33);
    }
    mproc_template_drop(one);
}

TEST(template_hooks_run_in_order) {
    mproc_template *one = new_program("hooks");
    mproc_process *p;
    CHECK_OK(launch_from(one, &p));
    CHECK_EQ(finish(p), 137);
    CHECK_OK(launch_from(one, &p));
    CHECK_EQ(finish(p), 137);
    mproc_template_drop(one);
}

TEST(template_dies_before_the_birth) {
    mproc_template *one = new_program("dies-before");
    mproc_process *p;
    CHECK_EQ(launch_from(one, &p), -EPIPE);
    CHECK_OK(mproc_process_drop(p));
    CHECK_OK(mproc_member_check(NULL, 0));
    mproc_template_drop(one);
}

/* The template dies before it reports the birth, but the child's pid is in its slot. */
TEST(template_dies_after_the_birth) {
    mproc_template *one = new_program("dies-after");
    mproc_process *p;
    CHECK_OK(launch_from(one, &p));
    CHECK_EQ(finish(p), 33);
    CHECK_EQ(launch_from(one, &p), -EPIPE);
    CHECK_OK(mproc_process_drop(p));
    mproc_template_drop(one);
}

TEST(template_that_never_serves) {
    mproc_template *one = new_program("leaves");
    mproc_process *p;
    CHECK_EQ(launch_from(one, &p), -EPIPE);
    CHECK_OK(mproc_process_drop(p));
    mproc_template_drop(one);
}

TEST(template_program_cannot_be_executed) {
    const char *argv[] = {"/nonexistent/program", NULL};
    mproc_process_options o = {.argv = argv};
    mproc_template *one = NULL;
    CHECK_EQ(mproc_template_new(&one, &o), -ENOENT);
    CHECK(one == NULL);
}

/* A filter cannot be removed, so the template of this test sets it in its own process. */
TEST(template_that_cannot_clone) {
    mproc_template *one = new_program("cannot-clone");
    mproc_process *p;
    CHECK_EQ(launch_from(one, &p), -EAGAIN);
    CHECK_OK(mproc_process_drop(p));
    CHECK_EQ(launch_from(one, &p), -EAGAIN); /* the template goes on serving */
    CHECK_OK(mproc_process_drop(p));
    mproc_template_drop(one);
}

TEST(template_serve_outside_of_a_template) {
    CHECK_EQ(mproc_template_serve(NULL), -EINVAL);
}

/* ---------------------------------------------------------------- starters */

TEST(template_of_another_process) {
    mproc_template *one = new_template();
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        mproc_process *p = NULL;
        mproc_process_options o = {.method = MPROC_FORKSERVER, .from = one};
        CHECK_EQ(mproc_process_start(&p, answer, NULL, 0, &o), MPROC_ESTRANGER);
        mproc_template_drop(one); /* only the child's copy of the handle */
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(finish(start_from(one, answer, NULL, 0)), 42);
    mproc_template_drop(one);
}

TEST(template_default_is_each_process_own) {
    CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
    pid_t mine = mproc__template_default_pid();
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        CHECK_EQ(mproc__template_default_pid(), 0);
        CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
        CHECK_NE(mproc__template_default_pid(), mine);
        mproc__template_stop_default();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
    CHECK_EQ(mproc__template_default_pid(), mine);
    mproc__template_stop_default();
}

/* The template ends when its starter ends, in whatever way. */
static void starter_ends(int signal) {
    int told[2], go[2], status;
    pid_t template_pid, pid;
    CHECK_OK(mproc_pipe_new(told, 0));
    CHECK_OK(mproc_pipe_new(go, 0));
    pid = fork();
    if (pid == 0) {
        CHECK_EQ(finish(start_from(NULL, answer, NULL, 0)), 42);
        template_pid = mproc__template_default_pid();
        CHECK_EQ(write(told[1], &template_pid, sizeof template_pid), sizeof template_pid);
        CHECK_EQ(read(go[0], &status, 1), 1);
        if (signal != 0) {
            raise(signal);
        }
        exit(0);
    }
    CHECK_EQ(read(told[0], &template_pid, sizeof template_pid), sizeof template_pid);
    int pidfd = mproc__os_pidfd_open(template_pid);
    CHECK_GE(pidfd, 0);
    CHECK_EQ(write(go[1], "x", 1), 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
    CHECK_EQ(mproc__os_pidfd_wait(pidfd, -1), 1);
    close(pidfd);
    for (int i = 0; i < 2; i++) {
        close(told[i]);
        close(go[i]);
    }
}

TEST(template_ends_with_its_starter) {
    starter_ends(0);
    starter_ends(SIGKILL);
    mproc_reap();
}

TEST(template_drop_of_nothing) {
    mproc_template_drop(NULL);
    mproc__template_stop_default();
}

TEST(template_drop_of_a_dead_one) {
    mproc_template *one = new_template();
    kill_and_wait(mproc_template_pid(one));
    mproc_template_drop(one);
}

enum { THREADS = 4, EACH = 50 };

static void *start_many(void *arg) {
    for (int i = 0; i < EACH; i++) {
        CHECK_EQ(finish(start_from(arg, answer, NULL, 0)), 42);
    }
    return NULL;
}

static void from_threads(mproc_template *one) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, start_many, one));
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
}

TEST(template_used_by_several_threads) {
    mproc_template *one = new_template();
    from_threads(one);
    mproc_template_drop(one);
    from_threads(NULL);
    mproc__template_stop_default();
}
