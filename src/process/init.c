/*
 * init.c - how a process comes to life: mproc_init(), and what a child does first and last
 *
 * SPDX-License-Identifier: MIT
 *
 * A started program joins the family by the words in its environment, finds in its slot what it is to
 * do, and never comes back from mproc_init().
 *
 * How children follow their parent. The kernel can send a signal when the parent ends, but sends it
 * also when merely the thread ends that made the child. So the signal is not a deadly one: its handler
 * compares the parent's pid, which the kernel has changed before it sends, and kills its own process
 * only if the parent is really gone. A parent that ended before the arrangement is noticed by the same
 * comparison, made once afterwards.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/family.h"
#include "process/process.h"
#include "system/atomic.h"
#include "system/os.h"

static uint32_t initialised;
static uint32_t attached;         /* mproc_attach() has answered */
static volatile pid_t parent_pid; /* written before the signal is arranged, then constant */
static int given_fds[MPROC__OS_FDS_MAX];
static size_t given_count;

static _Noreturn void run_started_child(struct mproc__args *args);
static void follow_parent(struct mproc__slot *slot);

/* ---------------------------------------------------------------- start */

bool mproc__initialised(void) {
    return mproc__load32(&initialised) != 0;
}

/* True in a spawned child and in a template. Whoever made the process a member earlier (a noun_new
 * before main) does not matter: the slot knows how it came. */
static bool was_started(void) {
    struct mproc__args *args = mproc__child_header();
    return args != NULL && mproc__self_slot()->method == MPROC_SPAWN;
}

/* A child whose starter died before it came has nobody to work for, and must not go on as if the user
 * had started it. */
static int need_family(void) {
    int r = mproc__family_need();
    if (r == -ESRCH) {
        _Exit(127);
    }
    return r;
}

int mproc_init(int argc, char **argv) {
    (void)argc;
    (void)argv;
    if (mproc__initialised()) {
        return MPROC_EAGAIN_INIT;
    }
    int r = need_family();
    if (r != 0) {
        return r;
    }
    mproc__store32(&initialised, 1);
    if (was_started()) {
        struct mproc__args *args = mproc__child_header();
        mproc__child_begin();
        if (args->kind != MPROC__ARGS_BYTES) {
            run_started_child(args);
        }
    }
    return 0;
}

int mproc_attach(void) {
    if (mproc__exchange32(&attached, 1) != 0) {
        return 0;
    }
    int r = need_family();
    if (r != 0) {
        return r;
    }
    if (!was_started()) {
        return 0;
    }
    mproc__child_begin();
    return 1;
}

/* ---------------------------------------------------------------- what a child runs */

/* 127 is what shells say of a command that cannot be found. */
static int run_function(struct mproc__args *args) {
    mproc__function fn;
    size_t size;
    const void *arg = mproc_child_args(&size);
    int r = mproc__function_find(&args->fn, &fn);
    if (r != 0) {
        mproc__function_complain(&args->fn, r);
        return 127;
    }
    return ((mproc_main_fn)fn)((void *)(uintptr_t)arg, size);
}

/* A spawned child is a program of its own: exit() runs its atexit handlers, and nobody else's. */
static void run_started_child(struct mproc__args *args) {
    if (args->kind == MPROC__ARGS_FUNCTION) {
        exit(run_function(args) & 0xff);
    }
    int r;
    do {
        r = mproc_template_serve(NULL);
    } while (r == -EINTR);
    if (r == MPROC_IN_CHILD) {
        mproc__child_end(run_function(mproc__child_header()));
    }
    exit(r == 0 ? 0 : 127);
}

void mproc__child_end(int code) {
    fflush(NULL);
    _Exit(code & 0xff);
}

/* ---------------------------------------------------------------- what a child was given */

struct mproc__args *mproc__child_header(void) {
    return mproc__family == NULL ? NULL : (struct mproc__args *)(uintptr_t)mproc__self_slot()->args;
}

const void *mproc_child_args(size_t *size) {
    struct mproc__args *args = mproc__child_header();
    size_t n = args != NULL ? mproc__self_slot()->args_size : 0;
    if (size != NULL) {
        *size = n;
    }
    if (args == NULL) {
        return NULL;
    }
    return n != 0 ? (const void *)(args + 1) : (const void *)(uintptr_t)args->pointer;
}

size_t mproc_child_fds(int *out, size_t cap) {
    for (size_t i = 0; i < given_count && i < cap; i++) {
        out[i] = given_fds[i];
    }
    return given_count;
}

void mproc__child_take_fds(const int *owned, size_t n) {
    for (size_t i = 0; i < n; i++) {
        given_fds[i] = owned[i];
    }
    given_count = n;
}

/* ---------------------------------------------------------------- following the parent */

void mproc__child_begin(void) {
    struct mproc__slot *slot = mproc__self_slot();
    if ((slot->flags & MPROC_ATTACHED) != 0) {
        follow_parent(slot);
    }
}

static void end_without_parent(void) {
    if (mproc__os_parent_pid() != parent_pid) {
        mproc__os_kill_self();
    }
}

static void on_parent_signal(int number) {
    (void)number;
    end_without_parent();
}

static void follow_parent(struct mproc__slot *slot) {
    uint64_t token = slot->parent;
    struct mproc__slot *parent = mproc__token_slot(token);

    /* The pid is the parent's if its slot still is, after the pid has been read. */
    parent_pid = parent != NULL ? parent->pid : 0;
    mproc__full_fence();
    if (mproc__token_slot(token) == NULL) {
        parent_pid = 0; /* it has died and been reaped: nobody's parent has this pid */
    }
    if (mproc__os_parent_watch(MPROC_PARENT_SIGNAL, on_parent_signal) != 0) {
        mproc__panic("the parent-death signal cannot be arranged");
    }
    end_without_parent();
}
