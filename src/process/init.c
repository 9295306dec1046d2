/*
 * init.c - how a process comes to life: mproc_init() and mproc_attach()
 *
 * SPDX-License-Identifier: MIT
 *
 * A started program joins the family by the words in its environment, finds in its slot what it is
 * to do, and never comes back from mproc_init().
 */
#include <stdlib.h>

#include "core/border.h"
#include "core/join.h"
#include "process/process.h"
#include "system/atomic.h"

static uint32_t attached; /* mproc_attach() has answered */

/* ---------------------------------------------------------------- what a started child runs */

/* 127 is what shells say of a command that cannot be found. */
static int find_and_run(void *header) {
    const struct mproc__args *args = header;
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

static int run_function(struct mproc__args *args) {
    return mproc__border(find_and_run, args);
}

/* A spawned child is a program of its own: exit() runs its atexit handlers, and only its own. */
static void run_started_child(struct mproc__args *args) {
    if (args->kind == MPROC__ARGS_FUNCTION) {
        int code = run_function(args) & 0xff;
        mproc_child_exits(code);
        exit(code);
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

/* ---------------------------------------------------------------- joining the family */

/* True in a spawned child and in a template. Whoever made the process a member earlier (a noun_new
 * before main) does not matter: the slot knows how it came. */
static bool was_started(void) {
    struct mproc__args *args = mproc__child_header();
    return args != NULL && mproc__self_slot()->method == MPROC_SPAWN;
}

/* If its starter died before the child came, or the arena's descriptor was closed on the way, the
 * child has no work, and must not go on as if the user had started it. */
static int need_family(void) {
    int r = mproc__family_need();
    if (r == -ESRCH || r == MPROC_EARENA) {
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
    mproc__set_initialised();
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
    mproc__family_attaching();
    int r = need_family();
    if (r != 0) {
        return r;
    }
    if (!was_started()) {
        return 0;
    }
    mproc__child_begin();
    return mproc__child_is_wrapped() ? 2 : 1;
}
