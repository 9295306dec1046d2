/*
 * child.c - what every child does first and last, and what it was given
 *
 * SPDX-License-Identifier: MIT
 *
 * How children follow their parent. The kernel can send a signal when the parent ends, but sends it
 * also when merely the thread ends that made the child. So the signal is not a deadly one: its
 * handler compares the parent's pid, which the kernel has changed before it sends, and kills its
 * own process only if the parent is really gone. A parent that ended before the arrangement is
 * noticed by the same comparison, made once afterwards.
 *
 * A child that executes another program loses the handler, but not the signal. Of the first thread
 * it is one that ends a program: that thread ends with its process, as a rule. Other threads come
 * and go, so theirs is one that a program does not notice.
 *
 * The signal does not come to a child that has blocked it, to one whose user is another than its
 * parent's, or where a filter of system calls refuses prctl(2). So each wait of the library makes
 * the comparison after a slice. A program that is started by argv does not arrange anything: a
 * process beside it ends it (follower.c).
 *
 * A child that a wrapper has started follows both: the wrapper as its parent, and its starter by a
 * look in waits.
 *
 * Shared state. slot->args of the caller: written by its starter before the child was born, then
 * the child's own. slot->exiting: written by the child just before its end; its parent reads it
 * after the end, when the system does not give it the status.
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
static volatile pid_t parent_pid; /* written before the signal is arranged, then constant */
static uint64_t starter;          /* of a child that a wrapper has started; 0: the parent */
static pid_t follower_pid;        /* the process that follows, not one that it has forked */
static int parent_signal = MPROC_PARENT_SIGNAL_OF_THREADS;
static int given_fds[MPROC__OS_FDS_MAX];
static size_t given_count;

/* ---------------------------------------------------------------- can it be started again? */

bool mproc__initialised(void) {
    return mproc__load32(&initialised) != 0; /* SYNC(child.initialised) */
}

void mproc__set_initialised(void) {
    mproc__store32(&initialised, 1); /* SYNC(child.initialised): the family is there */
}

/* ---------------------------------------------------------------- what it was given */

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

static bool of_template(void) {
    return mproc__family != NULL && mproc__self_slot()->method == MPROC_FORKSERVER;
}

/* A child of a template has been sent them, under numbers of its own. Others have them under their
 * starter's. */
size_t mproc_child_fds(int *out, size_t cap) {
    struct mproc__args *args = mproc__child_header();
    bool sent = of_template();
    const int *fds = sent || args == NULL ? given_fds : (const int *)(uintptr_t)args->fds;
    size_t n = sent ? given_count : args != NULL ? args->nfds : 0;
    for (size_t i = 0; i < n && i < cap; i++) {
        out[i] = fds[i];
    }
    return n;
}

void mproc__child_take_fds(const int *owned, size_t n) {
    for (size_t i = 0; i < n; i++) {
        given_fds[i] = owned[i];
    }
    given_count = n;
}

/* In a child of a template: where the streams stand that it was sent behind the program's own. */
static void take_stream(int32_t *stream, bool sent) {
    if (sent && *stream >= 0 && (size_t)*stream < given_count) {
        *stream = given_fds[*stream];
    }
}

/* Its own copies of the streams are no use any more. */
static void set_up(struct mproc__setup *setup, bool sent) {
    size_t streams = sent ? (setup->out >= 0) + (setup->err >= 0) : 0;
    take_stream(&setup->out, sent);
    take_stream(&setup->err, sent);
    mproc__setup_apply(setup);
    for (; streams > 0 && given_count > 0; streams--) {
        mproc__os_close(given_fds[--given_count]);
    }
}

/* ---------------------------------------------------------------- following the parent */

static void end_without_parent(void) {
    if (mproc__os_pid() == follower_pid && mproc__os_parent_pid() != parent_pid) {
        mproc__os_kill_self();
    }
}

static void on_parent_signal(int number) {
    (void)number;
    end_without_parent();
}

/* A wrapper need not end with the starter, and so this process would not. */
static void end_without_starter(void) {
    if (mproc__os_pid() == follower_pid && mproc__token_dead(starter)) {
        mproc__os_kill_self();
    }
    end_without_parent();
}

bool mproc__child_is_wrapped(void) {
    return (mproc__self_slot()->flags & MPROC__CAME_WRAPPED) != 0;
}

/* A child of a template has the thread for parent that started the template. */
static void choose_signal(const struct mproc__slot *slot) {
    if (slot->method != MPROC_FORKSERVER) {
        parent_signal = slot->by_thread ? MPROC_PARENT_SIGNAL_OF_THREADS : MPROC_PARENT_SIGNAL;
    }
}

static void follow_wrapper(struct mproc__slot *slot) {
    starter = slot->parent;
    follower_pid = mproc__os_pid();
    parent_pid = mproc__os_parent_pid();
    (void)mproc__os_parent_watch(parent_signal, on_parent_signal);
    mproc__every_slice(end_without_starter);
    end_without_starter();
}

static void follow_parent(struct mproc__slot *slot) {
    uint64_t token = slot->parent;
    struct mproc__slot *parent = mproc__token_slot(token);
    choose_signal(slot);
    follower_pid = mproc__os_pid();

    /* The pid is the parent's if its slot still is, after the pid has been read. */
    parent_pid = parent != NULL ? parent->pid : 0;
    mproc__full_fence();
    if (mproc__token_slot(token) == NULL) {
        parent_pid = 0; /* it has died and been reaped: no parent has this pid */
    }
    (void)mproc__os_parent_watch(parent_signal, on_parent_signal); /* a filter may refuse it */
    mproc__every_slice(end_without_parent);
    end_without_parent();
}

void mproc__child_begin(void) {
    struct mproc__slot *slot = mproc__self_slot();
    if ((slot->flags & MPROC_ATTACHED) != 0) {
        mproc__child_is_wrapped() ? follow_wrapper(slot) : follow_parent(slot);
    }
    struct mproc__args *args = mproc__child_header();
    if (args != NULL && args->setup != 0) {
        set_up((struct mproc__setup *)(uintptr_t)args->setup, slot->method == MPROC_FORKSERVER);
    }
}

/* ---------------------------------------------------------------- the end */

/* Read by the parent once the process has ended. */
void mproc_child_exits(int code) {
    if (mproc__family != NULL) {
        mproc__poke32(&mproc__self_slot()->exiting, MPROC__EXITING | ((uint32_t)code & 0xff));
    }
}

int mproc__child_said(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    uint32_t said = slot != NULL ? mproc__peek32(&slot->exiting) : 0;
    return said != 0 ? (int)(said & 0xff) : 255;
}

void mproc__child_end(int code) {
    mproc_child_exits(code);
    fflush(NULL);
    _Exit(code & 0xff);
}
