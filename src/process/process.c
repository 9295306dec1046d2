/*
 * process.c - the handle of a child: from its place in the family to its end
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. prepare reserves a slot of the member table; what the child is to run goes into a
 * block of the arena that hangs on the slot; launch.c brings the child to life by fork(), by
 * posix_spawn() or by a template. The child adopts the slot. The parent keeps a pidfd, which the
 * kernel makes readable at the end, and then collects the status and has the member reaped: what it
 * held is given back at once.
 *
 * The status may be gone: SIGCHLD is ignored, or other code of the program collects every child.
 * The exit code is then what the kernel has kept for the pidfd (Linux 6.15), or what the child has
 * said it would end with (slot->exiting), or 255.
 *
 * Shared state. slot->args: the starter's until the child is born, then the child's. A handle is
 * private memory of the process that made it; its fields but for state and code are constant once
 * launched.
 *
 * Invariants.
 *   R1  A launch that fails has left no process behind, and the slot is still the handle's.
 *   R2  The status is collected through the pidfd, once; pid numbers that came round again do not
 *       matter.
 *
 * If a member dies here. The starter, before the birth: its reservation dies with it, the
 * arguments' block too. After the birth: the child finds the reservation gone and ends, or is a
 * member already and goes on or not, as its flags say. The child, at any time: its parent notices
 * through the pidfd.
 */
#define _GNU_SOURCE
#include "process/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/join.h"
#include "core/member.h"
#include "core/object.h"
#include "core/wait.h"
#include "system/atomic.h"
#include "system/os.h"
#include "watcher/watcher.h"

#define NOBODY UINT64_MAX /* no member's token */

/* ---------------------------------------------------------------- preparing */

static bool flags_are_good(const mproc_process_options *o) {
    unsigned fate = o->flags & (MPROC_ATTACHED | MPROC_DETACHED), joins = o->flags & MPROC_JOINS;
    unsigned wrapped = o->flags & MPROC_WRAPPED;
    return (o->flags & ~(fate | joins | wrapped)) == 0 &&
           fate != (MPROC_ATTACHED | MPROC_DETACHED) && (joins == 0 || fate != MPROC_DETACHED) &&
           (wrapped == 0 || (o->method == MPROC_SPAWN && o->argv != NULL));
}

/* An option that the method has no use for would be ignored without a word. */
static bool suits_the_method(const mproc_process_options *o) {
    bool program = o->argv != NULL || o->envp != NULL;
    return (!program || o->method == MPROC_SPAWN) &&
           (o->from == NULL || o->method == MPROC_FORKSERVER);
}

/* A spawned program and a template's first life are this program, so it must begin with
 * mproc_init(). */
static int check_options(const mproc_process_options *o) {
    bool again = (o->method == MPROC_SPAWN && o->argv == NULL) ||
                 (o->method == MPROC_FORKSERVER && o->from == NULL);
    if (o->method < 0 || o->method > MPROC_FORKSERVER || !flags_are_good(o) ||
        !suits_the_method(o) || (o->fds == NULL && o->nfds != 0) ||
        (o->argv != NULL && o->argv[0] == NULL) || mproc__setup_check(o->setup) != 0) {
        return -EINVAL;
    }
    if (again && !mproc__initialised()) {
        return MPROC_EINIT;
    }
    return 0;
}

int mproc_process_pass(mproc_process *process, int lent) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    if (process->state != MPROC__PROCESS_PREPARED || lent < 0) {
        return -EINVAL;
    }
    int *fds = realloc(process->fds, (process->nfds + 1) * sizeof *fds);
    if (fds == NULL) {
        return -ENOMEM;
    }
    fds[process->nfds++] = lent;
    process->fds = fds;
    return 0;
}

int mproc_process_prepare(mproc_process **out, const mproc_process_options *options) {
    static uint32_t count;
    mproc_process_options o = options != NULL ? *options : (mproc_process_options){0};
    char name[32];
    int r = check_options(&o);
    if (r != 0 || (r = mproc__family_need()) != 0) {
        return r;
    }
    o.method = o.method == 0 ? MPROC_FORK : o.method;
    o.flags |= (o.flags & MPROC_DETACHED) == 0 ? MPROC_ATTACHED : 0;
    if (o.name == NULL) {
        snprintf(name, sizeof name, "Process-%u", mproc__add32(&count, 1) + 1);
        o.name = name;
    }
    mproc_process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        return -ENOMEM;
    }
    r = mproc__member_expect(o.name, o.method, o.flags, &process->token);
    if (r != 0) {
        free(process);
        return r;
    }
    process->handle = MPROC__HANDLE_PROCESS;
    pthread_mutex_init(&process->lock, NULL);
    process->owner = mproc__self_pid();
    process->pidfd = -1;
    process->options = o;
    process->options.name = NULL; /* the slot has it */
    for (size_t i = 0; r == 0 && i < o.nfds; i++) {
        r = mproc_process_pass(process, o.fds[i]);
    }
    if (r != 0) {
        (void)mproc_process_drop(process);
        return r;
    }
    *out = process;
    return 0;
}

int mproc_hold_for(mproc_process *child, void *object) {
    if (!mproc__expect_handle(child, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    if (child->state != MPROC__PROCESS_PREPARED || child->owner != mproc__self_pid() ||
        !mproc__object_can_be_held(object)) {
        return -EINVAL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__hold_for(hand, child->token, object);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- bringing to life */

static int check_arg(const void *arg, size_t size) {
    if (size == 0) {
        return arg == NULL || mproc_in_arena(arg) ? 0 : -EINVAL;
    }
    return arg != NULL ? 0 : -EINVAL;
}

static size_t aligned(size_t size) {
    return (size + 7) & ~(size_t)7;
}

/* Where the descriptors stand behind the arguments, and where the setup stands behind those. */
static size_t fds_place(size_t size) {
    return aligned(sizeof(struct mproc__args) + size);
}

static size_t setup_place(const mproc_process *process, size_t size) {
    return aligned(fds_place(size) + process->nfds * sizeof(int32_t));
}

/* A spawned program's environment is there from the start. */
static mproc_process_setup setup_of(const mproc_process *process) {
    mproc_process_setup setup = {0};
    if (process->options.setup != NULL) {
        setup = *process->options.setup;
    }
    if (process->options.method == MPROC_SPAWN) {
        setup.environment = NULL;
    }
    return setup;
}

/* Descriptors that it names go with the child; where a template forks, it is their places that
 * count, behind those that the program passes. */
static int pass_streams(mproc_process *process, struct mproc__setup *setup) {
    int32_t *streams[2] = {&setup->out, &setup->err};
    int r = 0;
    for (int i = 0; r == 0 && i < 2; i++) {
        if (*streams[i] >= 0 && process->options.method != MPROC_FORK) {
            r = mproc_process_pass(process, *streams[i]);
        }
        if (r == 0 && *streams[i] >= 0 && process->options.method == MPROC_FORKSERVER) {
            *streams[i] = (int32_t)process->nfds - 1;
        }
    }
    return r;
}

static void fill_args(struct mproc__args *args, const struct mproc__launch *what) {
    memset(args, 0, sizeof *args);
    args->kind = what->kind;
    args->control = what->control;
    if (what->fn != NULL) {
        args->fn = *what->fn;
    }
    if (what->size == 0) {
        args->pointer = (uint64_t)(uintptr_t)what->arg;
    } else {
        memcpy(args + 1, what->arg, what->size);
    }
}

static void write_fds(const mproc_process *process, struct mproc__args *args, size_t size) {
    int32_t *to = (void *)((char *)args + fds_place(size));
    for (size_t i = 0; i < process->nfds; i++) {
        to[i] = process->fds[i];
    }
    args->fds = (uint64_t)(uintptr_t)to;
    args->nfds = process->nfds;
}

static int write_setup(mproc_process *process, struct mproc__args *args, size_t size,
                       const mproc_process_setup *setup) {
    struct mproc__setup *to = (void *)((char *)args + setup_place(process, size));
    mproc__setup_write(setup, to);
    args->setup = (uint64_t)(uintptr_t)to;
    return pass_streams(process, to);
}

/* A forked child knows all that its starter does: mostly there is nothing to write. */
static bool has_args(const mproc_process *process, const struct mproc__launch *what) {
    return process->options.method != MPROC_FORK || what->kind != MPROC__ARGS_BYTES ||
           what->arg != NULL || process->nfds != 0 || process->options.setup != NULL;
}

/* Into the slot's own word, so that the block goes with the slot whatever happens. */
static int write_block(mproc_process *process, const struct mproc__launch *what,
                       struct mproc__slot *slot) {
    mproc_process_setup setup = setup_of(process);
    size_t more = process->options.setup != NULL ? mproc__setup_size(&setup) : 0, size;
    if (what->size > SIZE_MAX / 2 ||
        __builtin_add_overflow(setup_place(process, what->size), more, &size)) {
        return MPROC_ETOOBIG;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__heap_alloc(hand, size, &slot->args);
    mproc__hand_put(hand);
    if (r != 0) {
        return r;
    }
    struct mproc__args *args = (struct mproc__args *)(uintptr_t)slot->args;
    fill_args(args, what);
    write_fds(process, args, what->size);
    return more != 0 ? write_setup(process, args, what->size, &setup) : 0;
}

static int write_args(mproc_process *process, const struct mproc__launch *what) {
    struct mproc__slot *slot = mproc__token_slot(process->token);
    if (slot->args != 0) { /* of a launch that failed */
        struct mproc__hand *hand = mproc__hand_get();
        mproc__heap_free(hand, &slot->args);
        mproc__hand_put(hand);
    }
    slot->by_thread = mproc__os_tid() != mproc__self_pid();
    slot->args_size = what->size;
    return has_args(process, what) ? write_block(process, what, slot) : 0;
}

/* Kept for the pidfd: a child that could not be watched would have to be killed. A copy of the
 * arena's descriptor is the cheapest; a program that has closed that one may fork all the same. */
static int reserve_descriptor(void) {
    int fd = mproc__family_fd();
    return fd >= 0 ? mproc__os_descriptor_copy(fd) : mproc__os_event_new();
}

/* A code alone would not tell what is missing, and every start fails of it. */
static void say_what_is_missing(int error) {
    static uint32_t told;
    if ((error == -ENOSYS || error == -EPERM) && mproc__peek32(&told) == 0) {
        mproc__poke32(&told, 1); /* two threads may both say it */
        mproc__log("no process can be started without pidfd_open(2): %s. Old versions of valgrind "
                   "do not know it, and a filter of system calls may refuse it",
                   mproc_strerror(error));
    }
}

/* A pidfd of the child; -ESRCH: it has ended, and its status was collected. Its number may have
 * come round by then. */
static int open_pidfd(pid_t pid) {
    int pidfd = mproc__os_pidfd_open(pid);
    if (pidfd < 0) {
        say_what_is_missing(pidfd);
    }
    if (pidfd < 0 || mproc__os_pidfd_is_childs(pidfd)) {
        return pidfd;
    }
    mproc__os_close(pidfd);
    return -ESRCH;
}

static void set_descriptor(mproc_process *process, int fd, pid_t pid) {
    process->pidfd = fd;
    process->marked = pid;
    process->mark = mproc__os_descriptor_mark(fd);
}

static bool descriptor_is_ours(const mproc_process *process) {
    return process->pidfd >= 0 &&
           mproc__os_descriptor_is(process->pidfd, process->mark, process->marked);
}

/* A slot that has been reaped already was a member's. */
static bool has_joined(const mproc_process *process) {
    const struct mproc__slot *slot = mproc__token_slot(process->token);
    uint64_t unborn = mproc__token_state(process->token, MPROC__SLOT_UNBORN);
    return !process->adopted && (slot == NULL || mproc__load64(&slot->state) != unborn);
}

static void set_ended(mproc_process *process, int code) {
    process->joined = has_joined(process);
    process->code = code;
    mproc__reap_collected(process->token, process->pid);
    /* SYNC(process.state): the code, before the state that makes it constant. */
    mproc__store32(&process->state, MPROC__PROCESS_ENDED);
}

/* Of a child that came and went before there was a pidfd: SIGCHLD is ignored, or a handler of the
 * program's collects every child. The sentinel is a descriptor that is readable. */
static int watch_ended(mproc_process *process, pid_t pid) {
    int fd = mproc__os_event_new_set();
    if (fd < 0) {
        return fd;
    }
    process->pid = pid;
    set_descriptor(process, fd, 0);
    set_ended(process, mproc__child_said(process->token));
    return 0;
}

/* Another program need not join the family, and then does not follow its parent by itself. One that
 * is a template, or runs a function, does join. */
static bool needs_follower(const mproc_process *process, enum mproc__args_kind kind) {
    const mproc_process_options *o = &process->options;
    return o->method == MPROC_SPAWN && o->argv != NULL && kind == MPROC__ARGS_BYTES &&
           (o->flags & (MPROC_ATTACHED | MPROC_JOINS)) == MPROC_ATTACHED;
}

/* As open_pidfd(); the child of that pidfd ends with this process. */
static int open_followed(const mproc_process *process, enum mproc__args_kind kind, pid_t pid) {
    int pidfd = open_pidfd(pid);
    if (pidfd < 0 || !needs_follower(process, kind)) {
        return pidfd;
    }
    int r = mproc__follower_start(pidfd);
    if (r != 0) {
        mproc__os_close(pidfd);
        return r;
    }
    return pidfd;
}

static int watch(mproc_process *process, enum mproc__args_kind kind, pid_t pid) {
    mproc__member_expected_pid(process->token, pid);
    int pidfd = open_followed(process, kind, pid);
    if (pidfd == -ESRCH) {
        return watch_ended(process, pid);
    }
    if (pidfd < 0) { /* another thread took the last descriptor, or nothing lets it follow */
        mproc__os_process_end(pid);
        return pidfd;
    }
    process->pid = pid;
    process->since = mproc__os_boot_now();
    set_descriptor(process, pidfd, pid);
    mproc__store32(&process->state, MPROC__PROCESS_RUNNING);
    return 0;
}

int mproc__process_bring(mproc_process *process, const struct mproc__launch *what,
                         int (*by)(mproc_process *process, pid_t *pid)) {
    pid_t pid = 0;
    if (process->owner != mproc__self_pid()) {
        return MPROC_ESTRANGER;
    }
    if (process->state != MPROC__PROCESS_PREPARED) {
        return -EINVAL;
    }
    size_t nfds = process->nfds;
    int r = check_arg(what->arg, what->size);
    if (r == 0) {
        r = write_args(process, what);
    }
    int reserved = r == 0 ? reserve_descriptor() : r;
    if (reserved >= 0) {
        r = by(process, &pid);
        mproc__os_close(reserved); /* in a forked child, too */
    }
    process->nfds = nfds; /* without its streams: there may be another launch */
    if (reserved < 0) {
        return reserved;
    }
    return r == 0 ? watch(process, what->kind, pid) : r;
}

/* ---------------------------------------------------------------- children of others */

int mproc_process_adopt(mproc_process **out, pid_t pid) {
    int r = pid > 0 ? mproc__family_need() : -EINVAL;
    if (r != 0) {
        return r;
    }
    int pidfd = open_pidfd(pid);
    if (pidfd < 0) {
        return pidfd;
    }
    mproc_process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        mproc__os_close(pidfd);
        return -ENOMEM;
    }
    process->handle = MPROC__HANDLE_PROCESS;
    pthread_mutex_init(&process->lock, NULL);
    process->owner = mproc__self_pid();
    process->token = NOBODY;
    process->adopted = true;
    process->pid = pid;
    process->since = mproc__os_boot_now();
    process->state = MPROC__PROCESS_RUNNING;
    set_descriptor(process, pidfd, pid);
    *out = process;
    return 0;
}

/* ---------------------------------------------------------------- looking */

pid_t mproc_process_pid(const mproc_process *process) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return 0;
    }
    return process->pid;
}

int mproc_process_sentinel(const mproc_process *process) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return -1;
    }
    return process->pidfd;
}

/* Written under the lock; looking at a child is too frequent for taking it. */
static uint32_t state_of(mproc_process *process) {
    return mproc__load32(&process->state); /* SYNC(process.state) */
}

/* 0 when the caller is the parent of a launched child. */
static int check_parent(const mproc_process *process) {
    if (process->owner != mproc__self_pid()) {
        return MPROC_ESTRANGER;
    }
    return process->pidfd >= 0 ? 0 : -EINVAL;
}

int mproc_process_joined(const mproc_process *process) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return 0;
    }
    switch (mproc__load32(&process->state)) { /* SYNC(process.state) */
    case MPROC__PROCESS_PREPARED: return 0;
    case MPROC__PROCESS_ENDED: return process->joined;
    default: return has_joined(process);
    }
}

/* Takes the status of a child that has ended; false: the kernel does not give it yet. */
static bool collect(mproc_process *process) {
    int code = 0;
    pthread_mutex_lock(&process->lock);
    if (process->state == MPROC__PROCESS_RUNNING) {
        int r = mproc__os_process_collect(process->pidfd, !process->adopted, &code);
        if (r != 0) { /* -ECHILD: the program has collected it, or SIGCHLD is ignored */
            set_ended(process, r == 1 ? code : mproc__child_said(process->token));
        }
    }
    bool ended = process->state == MPROC__PROCESS_ENDED;
    pthread_mutex_unlock(&process->lock);
    return ended;
}

/* Another pidfd of a running child. -ESRCH: it has ended, and was collected; a process that has its
 * pid by now lives, but was born later. */
static int open_another(const mproc_process *process) {
    int fd = open_pidfd(process->pid);
    if (fd >= 0 && mproc__os_pidfd_wait(fd, 0) == 0 &&
        mproc__os_process_is(process->pid, process->since) == 0) {
        mproc__os_close(fd);
        return -ESRCH;
    }
    return fd;
}

/* A program that closes descriptors which are not its own may use the pidfd's number again. That
 * number is left alone from then on. 0, or an error of opening. */
static int need_descriptor(mproc_process *process) {
    int r = 0;
    pthread_mutex_lock(&process->lock);
    if (process->state == MPROC__PROCESS_RUNNING && !descriptor_is_ours(process)) {
        int fd = open_another(process);
        if (fd == -ESRCH) {
            r = watch_ended(process, process->pid);
        } else if (fd < 0) {
            r = fd;
        } else {
            set_descriptor(process, fd, process->pid);
        }
    }
    pthread_mutex_unlock(&process->lock);
    return r;
}

int mproc_process_exitcode(mproc_process *process, int *code) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    int r = check_parent(process);
    if (r != 0) {
        return r;
    }
    if (state_of(process) != MPROC__PROCESS_ENDED) {
        if (mproc__token_alive(process->token)) {
            return -EAGAIN;
        }
        r = need_descriptor(process);
        r = r == 0 ? mproc__os_pidfd_wait(process->pidfd, 0) : r;
        if (r < 0) {
            return r;
        }
        if (r == 0 || !collect(process)) {
            return -EAGAIN;
        }
    }
    *code = process->code;
    return 0;
}

/* ---------------------------------------------------------------- waiting */

/* The kernel wakes us when the process ends. A tracer may keep the status back a while longer: that
 * is what the slices are for. */
static int wait_for_end(mproc_process *process, int64_t deadline) {
    struct mproc__slices slices = mproc__slices_until(deadline);
    int64_t slice = mproc__user_slice(&slices);
    slice = slice < 0 ? 0 : slice; /* late callers look once all the same */
    for (;;) {
        int r = need_descriptor(process);
        r = r == 0 ? mproc__os_pidfd_wait(process->pidfd, slice) : r;
        if (r < 0) {
            return r;
        }
        if (r > 0 && collect(process)) {
            return 0;
        }
        slice = mproc__user_slice(&slices);
        if (slice < 0) {
            return (int)slice;
        }
        if (r > 0 && (r = mproc__os_poll(NULL, 0, slice)) < 0) {
            return r;
        }
    }
}

static int wait_noted(mproc_process *process, int64_t deadline) {
    struct mproc__hand *noted =
        deadline != 0 ? mproc__wait_begin(mproc__token_slot(process->token), deadline) : NULL;
    int r = wait_for_end(process, deadline);
    mproc__wait_end(noted);
    return r;
}

int mproc_process_join(mproc_process *process, int64_t timeout) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    int r = check_parent(process);
    if (r != 0) {
        return r;
    }
    return state_of(process) == MPROC__PROCESS_ENDED
               ? 0
               : wait_noted(process, mproc__deadline(timeout));
}

/* ---------------------------------------------------------------- signals */

int mproc_process_signal(mproc_process *process, int signal) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    if (process->pidfd < 0) {
        return -EINVAL;
    }
    if (process->owner == mproc__self_pid()) {
        (void)need_descriptor(process);
    }
    /* The kernel takes signals for a process that has ended and is not collected. */
    if (!descriptor_is_ours(process) || mproc__os_pidfd_wait(process->pidfd, 0) == 1) {
        return -ESRCH;
    }
    return mproc__os_pidfd_signal(process->pidfd, process->pid, signal);
}

int mproc_process_terminate(mproc_process *process) {
    return mproc_process_signal(process, SIGTERM);
}

int mproc_process_kill(mproc_process *process) {
    return mproc_process_signal(process, SIGKILL);
}

int mproc_process_interrupt(mproc_process *process) {
    return mproc_process_signal(process, SIGINT);
}

void mproc__process_finish(mproc_process *process, int64_t patience) {
    int r;
    do {
        r = mproc_process_join(process, patience);
    } while (r == -EINTR);
    while (r != 0) {
        (void)mproc_process_kill(process);
        r = mproc_process_join(process, MPROC_FOREVER);
    }
}

/* ---------------------------------------------------------------- the handle's end */

int mproc_process_drop(mproc_process *owned) {
    int code;
    if (owned == NULL) {
        return 0;
    }
    if (!mproc__expect_handle(owned, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    if (owned->owner == mproc__self_pid()) { /* a stranger's copy of a handle is only memory */
        if (owned->state == MPROC__PROCESS_PREPARED) {
            mproc__reap_dead(owned->token);
        } else if (mproc_process_exitcode(owned, &code) != 0) {
            return -EBUSY;
        }
        pthread_mutex_destroy(&owned->lock);
    }
    if (descriptor_is_ours(owned)) {
        mproc__os_close(owned->pidfd);
    }
    free(owned->fds);
    mproc__handle_wreck(owned);
    free(owned);
    return 0;
}
