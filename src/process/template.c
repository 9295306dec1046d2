/*
 * template.c - warm processes that fork themselves on request (MPROC_FORKSERVER)
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A template is spawned with one end of a SOCK_SEQPACKET pair. A request names the
 * reserved slot of the child-to-be, and brings descriptors; the template clones itself with
 * CLONE_PARENT, so that the child is the starter's own, and answers with its pid.
 *
 * Shared state. slot->pid of the child-to-be: the kernel writes it on clone, before the child runs,
 * or leaves 0 there. So when a template is dead, this word alone says whether the child was born.
 * The handle is private memory of the starter; requests of its threads take turns under
 * handle->lock.
 *
 * Invariant: when mproc__template_fork() answers an error, no child was born and none will be.
 *
 * If a member dies here. The template, before the clone: nothing was born, the starter answers
 * -EPIPE or tries once more with a new default template. After the clone: the child lives, its pid
 * is in its slot, the starter goes on as if it had been answered. The starter: the template reads
 * the end of the stream, or follows its parent (it is an attached child), and ends; a child born
 * meanwhile finds the reservation of a dead starter, and follows it too. The child: it is the
 * starter's to collect.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "core/fork.h"
#include "core/hand.h"
#include "core/handle.h"
#include "core/join.h"
#include "process/process.h"
#include "system/atomic.h"
#include "system/os.h"

#define DROP_PATIENCE (5 * MPROC_SEC) /* for an interpreter's finalisation; then SIGKILL */

struct request {
    uint64_t token;
};

struct reply {
    uint64_t token;
    int32_t pid; /* or an error */
};

struct mproc_template {
    uint32_t handle; /* MPROC__HANDLE_TEMPLATE */
    pthread_mutex_t lock;
    mproc_process *process;
    int control;
    pid_t owner;
};

static mproc_template *default_template;

/* ---------------------------------------------------------------- making */

static int launch_template(mproc_template *one, int control) {
    struct mproc__launch what = {MPROC__ARGS_TEMPLATE, control, NULL, NULL, 0};
    int r = mproc_process_pass(one->process, control);
    return r != 0 ? r : mproc__process_bring(one->process, &what, mproc__spawn);
}

int mproc_template_new(mproc_template **out, const mproc_process_options *options) {
    mproc_process_options o = options != NULL ? *options : (mproc_process_options){0};
    int ends[2] = {-1, -1};
    mproc_template *one = calloc(1, sizeof *one);
    int r = -ENOMEM;

    if (one == NULL) {
        return r;
    }
    o.method = MPROC_SPAWN;
    o.from = NULL;
    o.name = o.name != NULL ? o.name : "template";
    r = mproc_process_prepare(&one->process, &o);
    if (r != 0) {
        goto free_handle;
    }
    r = mproc__os_packet_pair(ends);
    if (r != 0) {
        goto close_process;
    }
    r = launch_template(one, ends[1]);
    mproc__os_close(ends[1]);
    if (r != 0) {
        goto close_control;
    }
    one->handle = MPROC__HANDLE_TEMPLATE;
    pthread_mutex_init(&one->lock, NULL);
    one->control = ends[0];
    one->owner = mproc__self_pid();
    *out = one;
    return 0;

close_control:
    mproc__os_close(ends[0]);
close_process:
    (void)mproc_process_drop(one->process);
free_handle:
    free(one);
    return r;
}

pid_t mproc_template_pid(const mproc_template *one) {
    if (!mproc__expect_handle(one, MPROC__HANDLE_TEMPLATE)) {
        return 0;
    }
    return mproc_process_pid(one->process);
}

void mproc_template_drop(mproc_template *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_TEMPLATE)) {
        return;
    }
    if (owned->owner == mproc__self_pid()) {
        mproc__os_shutdown(owned->control);
        mproc__process_finish(owned->process, DROP_PATIENCE);
        pthread_mutex_destroy(&owned->lock);
    }
    mproc__os_close(owned->control);
    (void)mproc_process_drop(owned->process);
    mproc__handle_wreck(owned);
    free(owned);
}

/* ---------------------------------------------------------------- a request */

/* Signals only delay: a request that is under way cannot be taken back. */
static int send_request(int control, uint64_t token, const int *fds, size_t n) {
    struct request request = {token};
    int r;
    do {
        r = mproc__os_send(control, &request, sizeof request, fds, n);
    } while (r == -EINTR);
    return r == -ECONNRESET ? -EPIPE : r;
}

/* -EPIPE: there is no answer and will be none. */
static int read_reply(int control, uint64_t token, pid_t *pid) {
    struct reply reply;
    ssize_t r;
    do {
        r = mproc__os_read_now(control, &reply, sizeof reply);
    } while (r == -EINTR);
    if (r != (ssize_t)sizeof reply || reply.token != token) {
        return -EPIPE;
    }
    if (reply.pid <= 0) {
        return reply.pid;
    }
    *pid = reply.pid;
    return 0;
}

/* Of a template that does not clone any more. */
static int born_or_not(uint64_t token, pid_t *pid) {
    struct mproc__slot *slot = mproc__token_slot(token);
    pid_t born = slot != NULL ? mproc__load_pid(&slot->pid) : 0;
    if (born == 0) {
        return -EPIPE;
    }
    *pid = born;
    return 0;
}

/* Waits for the answer or for the template's end, whichever comes. */
static int await_reply(mproc_template *one, uint64_t token, pid_t *pid) {
    struct pollfd polls[2] = {{one->control, POLLIN, 0},
                              {mproc_process_sentinel(one->process), POLLIN, 0}};
    int r;
    do {
        r = mproc__os_poll(polls, 2, MPROC_FOREVER);
    } while (r == -EINTR);
    if (r < 0) {
        return r;
    }
    r = read_reply(one->control, token, pid);
    return r == -EPIPE ? born_or_not(token, pid) : r;
}

static int fork_by(mproc_template *one, uint64_t token, const int *fds, size_t n, pid_t *pid) {
    pthread_mutex_lock(&one->lock);
    int r = send_request(one->control, token, fds, n);
    if (r == 0) {
        r = await_reply(one, token, pid);
    }
    pthread_mutex_unlock(&one->lock);
    return r;
}

/* ---------------------------------------------------------------- the default template */

/* It changes under a lock that fork() takes, and is used under `turn`, which fork() does not wait
 * for: a template may be stopped. */
static mproc_template *default_change(mproc_template *to) {
    pthread_mutex_lock(&mproc__fork_locks.template);
    mproc_template *before = default_template;
    default_template = to;
    pthread_mutex_unlock(&mproc__fork_locks.template);
    return before;
}

static int default_need(void) {
    mproc_template *one;
    int r = default_template != NULL ? 1 : mproc_template_new(&one, NULL);
    if (r == 0) {
        (void)default_change(one);
    }
    return r < 0 ? r : 0;
}

static void default_drop(void) {
    mproc_template_drop(default_change(NULL));
}

/* A template that has died since its last use is made anew, once. */
static int default_fork(uint64_t token, const int *fds, size_t n, pid_t *pid) {
    pthread_mutex_lock(&mproc__fork_locks.turn);
    int r = -EPIPE;
    for (int i = 0; r == -EPIPE && i < 2; i++) {
        r = default_need();
        if (r == 0) {
            r = fork_by(default_template, token, fds, n, pid);
        }
        if (r == -EPIPE) {
            default_drop();
        }
    }
    pthread_mutex_unlock(&mproc__fork_locks.turn);
    return r;
}

void mproc__template_stop_default(void) {
    pthread_mutex_lock(&mproc__fork_locks.turn);
    default_drop();
    pthread_mutex_unlock(&mproc__fork_locks.turn);
}

pid_t mproc__template_default_pid(void) {
    pthread_mutex_lock(&mproc__fork_locks.turn);
    pid_t pid = default_template != NULL ? mproc_template_pid(default_template) : 0;
    pthread_mutex_unlock(&mproc__fork_locks.turn);
    return pid;
}

/* fork(): the template is the parent's; the child makes its own when it needs one. One that another
 * thread is just making or ending is not known here: the child has copies of its descriptors then,
 * which keep nothing alive. */
static void lock_default(void) {
    pthread_mutex_lock(&mproc__fork_locks.template);
}

static void unlock_default(void) {
    pthread_mutex_unlock(&mproc__fork_locks.template);
}

static void forget_default(void) {
    pthread_mutex_unlock(&mproc__fork_locks.template);
    pthread_mutex_init(&mproc__fork_locks.turn, NULL); /* a thread of the parent may have it */
    default_drop();
}

__attribute__((constructor)) static void at_load(void) {
    pthread_atfork(lock_default, unlock_default, forget_default);
}

/* ---------------------------------------------------------------- forking by any */

int mproc__template_fork(mproc_template *from, uint64_t token, const int *fds, size_t n,
                         pid_t *pid) {
    if (n > MPROC__OS_FDS_MAX) {
        return -EINVAL;
    }
    if (from == NULL) {
        return default_fork(token, fds, n, pid);
    }
    if (!mproc__expect_handle(from, MPROC__HANDLE_TEMPLATE)) {
        return MPROC_EOTHER;
    }
    return from->owner == mproc__self_pid() ? fork_by(from, token, fds, n, pid) : MPROC_ESTRANGER;
}

/* ---------------------------------------------------------------- the template's side */

struct work {
    struct request request;
    int fds[MPROC__OS_FDS_MAX];
    size_t n;
    int error;
};

static void close_all(const int *fds, size_t n) {
    for (size_t i = 0; i < n; i++) {
        mproc__os_close(fds[i]);
    }
}

/* 1: a request; 0: the starter has gone; -EINTR. */
static int receive(int control, struct work *out) {
    bool lost;
    ssize_t r =
        mproc__os_receive(control, &out->request, sizeof out->request, out->fds, &out->n, &lost);
    if (r < 0) {
        return r == -ECONNRESET ? 0 : (int)r;
    }
    if (r != (ssize_t)sizeof out->request) {
        close_all(out->fds, out->n);
        return 0;
    }
    out->error = lost ? -EMFILE : 0;
    return 1;
}

static void become_child(int control, const struct work *work) {
    mproc__os_close(control);
    if (mproc__fork_adopt(work->request.token) != 0) {
        _Exit(127); /* the starter has died and its reservation with it */
    }
    mproc__child_take_fds(work->fds, work->n);
    mproc__child_begin();
}

static void call(void (*hook)(void *), void *arg) {
    if (hook != NULL) {
        hook(arg);
    }
}

/* The slot of a child that is reserved and has no pid; NULL: the token is somebody else's. */
static struct mproc__slot *slot_of_unborn(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    bool unborn = slot != NULL && mproc__load_pid(&slot->pid) == 0 && /* SYNC(slot.pid) */
                  mproc__load64(&slot->state) == mproc__token_state(token, MPROC__SLOT_UNBORN);
    return unborn ? slot : NULL;
}

/* MPROC_IN_CHILD in the child. */
static int serve_one(int control, const struct work *work, const mproc_fork_hooks *hooks) {
    struct reply reply = {work->request.token, work->error};
    struct mproc__slot *slot = slot_of_unborn(work->request.token);

    if (slot == NULL) {
        reply.pid = MPROC_ESTRANGER;
    } else if (mproc__child_is_wrapped()) {
        reply.pid = -ECHILD; /* its siblings would be the wrapper's children */
    } else if (work->error == 0) {
        call(hooks->before, hooks->arg);
        reply.pid = mproc__os_fork_sibling(&slot->pid);
        if (reply.pid == 0) {
            become_child(control, work);
            call(hooks->after_in_child, hooks->arg);
            return MPROC_IN_CHILD;
        }
        call(hooks->after_in_parent, hooks->arg);
    }
    close_all(work->fds, work->n);
    while (mproc__os_send(control, &reply, sizeof reply, NULL, 0) == -EINTR) {
    }
    return 0;
}

int mproc_template_serve(const mproc_fork_hooks *hooks) {
    static const mproc_fork_hooks none;
    struct mproc__args *args = mproc__child_header();
    struct work work;
    int r;

    if (args == NULL || args->kind != MPROC__ARGS_TEMPLATE) {
        return -EINVAL;
    }
    int control = args->control;
    (void)mproc__os_close_on_exec(control);
    while ((r = receive(control, &work)) == 1) {
        r = serve_one(control, &work, hooks != NULL ? hooks : &none);
        if (r != 0) {
            return r;
        }
    }
    if (r == 0) {
        mproc__os_close(control);
        args->kind = MPROC__ARGS_BYTES; /* it is a template no more */
    }
    return r;
}
