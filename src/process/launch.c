/*
 * launch.c - starting children, by whatever method
 *
 * SPDX-License-Identifier: MIT
 *
 * The handle and what all methods have in common is process.c's; spawn.c and template.c have a
 * method each, fork() stands here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/border.h"
#include "core/fork.h"
#include "core/join.h"
#include "process/process.h"
#include "system/os.h"

/* The program's own fork() may have raised instead of forking: the next fork is another's then. */
static pid_t fork_by(const mproc_process_maker *maker, uint64_t token) {
    mproc__fork_next(token);
    errno = 0; /* or the handlers would write it back in the parent: a page copied */
    if (maker == NULL || maker->fork == NULL) {
        return mproc__os_fork();
    }
    pid_t r = maker->fork(maker->context);
    mproc__fork_next(0);
    return r;
}

/* The child has them all anyway, but under the other methods one that is not open is an error. */
static int expect_open(const mproc_process *process) {
    for (size_t i = 0; i < process->nfds; i++) {
        if (!mproc__os_descriptor_is_open(process->fds[i])) {
            return -EBADF;
        }
    }
    return 0;
}

static int launch_fork(mproc_process *process, pid_t *pid) {
    uint64_t token = process->token;
    int open = expect_open(process);
    if (open != 0) {
        return open;
    }
    pid_t r = fork_by(process->options.maker, token);
    if (r < 0) {
        return r;
    }
    if (r > 0 && mproc__fork_without_holds()) {
        mproc__os_process_end(r);
        return -ENOMEM;
    }
    if (r > 0) {
        *pid = r;
        return 0;
    }
    if (mproc__family == NULL || mproc__self_token() != token) {
        _Exit(127); /* the starter has died and its reservation with it, or will end this child */
    }
    mproc__child_begin();
    return MPROC_IN_CHILD;
}

static int launch_by_method(mproc_process *process, pid_t *pid) {
    switch (process->options.method) {
    case MPROC_SPAWN: return mproc__spawn(process, pid);
    case MPROC_FORKSERVER:
        return mproc__template_fork(process->options.from, process->token, process->fds,
                                    process->nfds, pid);
    case MPROC_FORK: break;
    }
    return launch_fork(process, pid);
}

int mproc__process_launch(mproc_process *process, const struct mproc__launch *what) {
    return mproc__process_bring(process, what, launch_by_method);
}

int mproc_process_launch(mproc_process *process, const void *arg, size_t size) {
    if (!mproc__expect_handle(process, MPROC__HANDLE_PROCESS)) {
        return MPROC_EOTHER;
    }
    struct mproc__launch what = {MPROC__ARGS_BYTES, -1, NULL, arg, size};
    return mproc__process_launch(process, &what);
}

/* A program whose main() does the child's work. */
static int start_program(mproc_process **out, const void *arg, size_t size,
                         const mproc_process_options *options) {
    mproc_process *process;
    int r = mproc_process_prepare(&process, options);
    if (r != 0) {
        return r;
    }
    r = mproc_process_launch(process, arg, size);
    if (r != 0) {
        (void)mproc_process_drop(process);
        return r;
    }
    *out = process;
    return 0;
}

struct call {
    mproc_main_fn fn;
    void *arg;
    size_t size;
};

static int run_call(void *arg) {
    const struct call *call = arg;
    return call->fn(call->arg, call->size);
}

/* Nothing of the child comes back to the frames of its parent. */
_Noreturn static void run_child(mproc_main_fn fn) {
    struct call call = {.fn = fn};
    call.arg = (void *)(uintptr_t)mproc_child_args(&call.size);
    mproc__child_end(mproc__border(run_call, &call));
}

int mproc_process_start(mproc_process **out, mproc_main_fn fn, const void *arg, size_t size,
                        const mproc_process_options *options) {
    struct mproc__function_ref ref;
    struct mproc__launch what = {MPROC__ARGS_FUNCTION, -1, &ref, arg, size};
    mproc_process *process;
    mproc_method method = options != NULL && options->method != 0 ? options->method : MPROC_FORK;

    if (fn == NULL) {
        bool program = method == MPROC_SPAWN && options->argv != NULL;
        return program ? start_program(out, arg, size, options) : -EINVAL;
    }
    int r = mproc__function_name((mproc__function)fn, &ref);
    if (r != 0 && method == MPROC_FORK) {
        what.fn = NULL; /* whatever it is, the child has it at the same address */
    } else if (r != 0) {
        return r;
    }
    r = mproc_process_prepare(&process, options);
    if (r != 0) {
        return r;
    }
    if (method == MPROC_FORK) {
        fflush(stdout); /* or the child would have, and write, a copy of what is buffered */
        fflush(stderr);
    }
    r = mproc__process_launch(process, &what);
    if (r == MPROC_IN_CHILD) {
        run_child(fn);
    }
    if (r != 0) {
        (void)mproc_process_drop(process);
        return r;
    }
    *out = process;
    return 0;
}
