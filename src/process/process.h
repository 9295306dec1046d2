/*
 * process.h - starting and being started: what the files of this folder share, lower ones first
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PROCESS_H
#define MPROC_PROCESS_H

#include <pthread.h>

#include "core/handle.h"
#include "core/member.h"
#include "process/function.h"
#include "process/setup.h"
#include "system/os.h"

enum mproc__args_kind {
    MPROC__ARGS_BYTES = 1,    /* the child finds them itself */
    MPROC__ARGS_FUNCTION = 2, /* run it with them */
    MPROC__ARGS_TEMPLATE = 3  /* serve on `control` */
};

/* The block behind slot->args: written by the starter before the child is born, then the child's.
 * The starter's bytes follow, then the numbers of the descriptors, then the setup. */
struct mproc__args {
    uint32_t kind;
    int32_t control;  /* MPROC__ARGS_TEMPLATE: descriptor, open in the child under this number */
    uint64_t pointer; /* what was given instead of bytes, in the arena or 0 */
    struct mproc__function_ref fn;
    uint64_t setup; /* struct mproc__setup *, in the same block; 0: none */
    uint64_t fds;   /* int32_t *, in the same block: what the starter passed, by its numbers */
    uint64_t nfds;
    uint64_t pad;
};

static_assert(sizeof(struct mproc__args) % 16 == 0, "the bytes behind it are 16-byte aligned");

enum mproc__process_state {
    MPROC__PROCESS_PREPARED,
    MPROC__PROCESS_RUNNING, /* or ended, and its status not collected yet */
    MPROC__PROCESS_ENDED
};

struct mproc_process {
    uint32_t handle;      /* MPROC__HANDLE_PROCESS */
    pthread_mutex_t lock; /* over state and code; never held while waiting */
    uint32_t state;       /* enum mproc__process_state */
    bool joined;          /* of one that has ended: it had become a member */
    pid_t owner;          /* the process that made the handle: only the parent collects */
    uint64_t token;       /* the child's place in the family */
    pid_t pid;
    int pidfd; /* the program may close it, and use the number again: see mark */
    struct mproc__os_mark mark;
    pid_t marked;   /* the pid, or 0: pidfd is another descriptor, of a child that has ended */
    uint64_t since; /* a moment at which the child had its pid (mproc__os_boot_now()) */
    int code;
    bool adopted; /* its status is the program's to collect */
    mproc_process_options options;
    int *fds; /* options.fds and what mproc_process_pass() added */
    size_t nfds;
};

/* ---- child.c: the child's side */

/* True when mproc_init() has been called: this program can be started again as a child. */
bool mproc__initialised(void);
void mproc__set_initialised(void);

/* What every child does first: puts itself under its parent's fate if it was started so, and sets
 * itself up as it was told. */
void mproc__child_begin(void);

/* Has a wrapper started the calling member, so that it is no child of its starter? */
bool mproc__child_is_wrapped(void);

/* The calling member's arguments, or NULL. */
struct mproc__args *mproc__child_header(void);

/* Descriptors that a child of a template was given; takes them over. */
void mproc__child_take_fds(const int *owned, size_t n);

/* What that child has said it would end with, by mproc_child_exits(), or 255: nothing. Its slot
 * must not have been reaped yet. */
int mproc__child_said(uint64_t token);

/* A forked child's end: flushes the streams and leaves without the parent's atexit handlers. */
_Noreturn void mproc__child_end(int code);

/* ---- process.c: the handle, on the parent's side */

/* What a child is to run; fn: NULL, or the function's name. */
struct mproc__launch {
    enum mproc__args_kind kind;
    int control;
    const struct mproc__function_ref *fn;
    const void *arg;
    size_t size;
};

/* Brings a prepared child to life with these arguments by a function that does so in its own way:
 * it gives the child's pid, or MPROC_IN_CHILD in the child, or an error, and then there is no
 * child. */
int mproc__process_bring(mproc_process *process, const struct mproc__launch *what,
                         int (*by)(mproc_process *process, pid_t *pid));

/* A child of the caller's has so long to end by itself, then it is ended. */
void mproc__process_finish(mproc_process *process, int64_t patience);

/* ---- spawn.c */

/* Starts the program that the options name. -ENOMEM, or what exec reported. */
int mproc__spawn(mproc_process *process, pid_t *pid);

/* ---- template.c */

/* Has the template (NULL: this program's default one) fork the child of `token`, with *pid its pid.
 * -EPIPE: the template is dead, nothing was born. */
int mproc__template_fork(mproc_template *from, uint64_t token, const int *fds, size_t n,
                         pid_t *pid);

/* Ends the default template, if there is one; the next use makes another. */
void mproc__template_stop_default(void);
pid_t mproc__template_default_pid(void);

/* ---- launch.c */

/* Brings a prepared child to life by the method of its options. */
int mproc__process_launch(mproc_process *process, const struct mproc__launch *what);

#endif
