/*
 * watcher.c - the start of the process that outlives a family
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The first named segment that a family makes starts its watcher: nobody's child,
 * which shares the maker's memory for the moment and then executes a small program of its own
 * (watcher_bare.c, watcher_main.c), so that nothing is copied and nothing kept. Nothing waits for
 * it, and no member ever speaks to it: all it needs stands in the arena.
 *
 * Shared state.
 *   shms->starting  a mutex, over the start.
 *   shms->watcher   the watcher's pid; written by the system before the watcher runs.
 *   shms->since     a time at which it was there; written by its starter afterwards. A pid alone
 *                   may come round.
 *   shms->life      written by the watcher when it begins, and by the system when it dies: so
 *                   makers need not ask the system whether there is one. Zeroed, with the others,
 *                   under `starting`.
 *
 * If a member dies here: killed while it starts a watcher, it leaves either none, or one that is
 * not vouched for; either way the next maker starts one. The watcher itself may be killed: the next
 * maker starts another. Two watchers do no harm: a name is unlinked once.
 */
#include <errno.h>
#include <string.h>

#include "core/family.h"
#include "system/os.h"
#include "watcher/watcher.h"

#define PAUSE MPROC_MSEC
#define BUSY_TRIES 10000 /* the orphans before have not executed their programs yet */
#define FULL_TRIES 100   /* the system has no room for a process */

int mproc__orphan_start(int (*run)(void *arg), void *arg, uint32_t *where) {
    int r = mproc__os_orphan(run, arg, where);
    for (int i = 0; i < (r == -EBUSY ? BUSY_TRIES : r == -EAGAIN ? FULL_TRIES : 0); i++) {
        (void)mproc__os_poll(NULL, 0, PAUSE);
        r = mproc__os_orphan(run, arg, where);
    }
    return r == -EBUSY ? -EAGAIN : r;
}

static bool is_there(void) {
    const struct mproc__shms *shms = &mproc__family->shms;
    if (mproc__likely(mproc__os_life_certain(&shms->life))) {
        return true;
    }
    uint64_t since = mproc__load64(&shms->since); /* SYNC(watcher.since) */
    pid_t pid = (pid_t)mproc__load32(&shms->watcher);
    return since != 0 && pid != 0 && mproc__os_process_is(pid, since) != 0;
}

/* A program that has closed the arena's descriptor goes on without a watcher, until another member
 * starts one. */
static int start(struct mproc__shms *shms) {
    int fd = mproc__family_fd();
    if (fd < 0) {
        return 0;
    }
    mproc__store64(&shms->since, 0);
    memset(&shms->life, 0, sizeof shms->life);
    int r = mproc__orphan_start(mproc__watcher_begin, (void *)(intptr_t)fd, &shms->watcher);
    if (r == 0) {
        /* SYNC(watcher.since): the watcher's pid, before the time at which it had it. */
        mproc__store64(&shms->since, mproc__os_boot_now());
    }
    return r;
}

int mproc__watcher_need(void) {
    int r = 0;
    if (mproc__likely(is_there())) {
        return 0;
    }
    struct mproc__mutex *starting = &mproc__family->shms.starting;
    (void)mproc__mutex_acquire(starting, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    if (!is_there()) {
        r = start(&mproc__family->shms);
    }
    (void)mproc__mutex_release(starting);
    return r;
}
