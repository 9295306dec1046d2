/*
 * follower.c - the start of a process that ends another one when its parent has ended
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A program that is started by argv and is to end with its parent need not be one of
 * mproc's. So a small process beside it has a pidfd of each of the two (follower_run.c). It begins
 * as a watcher does: the same program, cloned into the memory of its maker.
 *
 * Shared state: shms->starting, a mutex, as in watcher.c: one orphan at a time is being made.
 *
 * If a member dies here: killed between the start of its child and that of the follower, it leaves
 * the child without one. A killed follower leaves the child without one, too.
 */
#include "core/family.h"
#include "system/os.h"
#include "watcher/watcher.h"

static int start(void *pidfds) {
    uint32_t pid;
    return mproc__orphan_start(mproc__follower_begin, pidfds, &pid);
}

int mproc__follower_start(int pidfd) {
    int own = mproc__os_pidfd_open(mproc__os_pid());
    if (own < 0) {
        return own;
    }
    struct mproc__mutex *starting = &mproc__family->shms.starting;
    (void)mproc__mutex_acquire(starting, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    int r = start((void *)(uintptr_t)((uint64_t)own << 32 | (uint32_t)pidfd));
    (void)mproc__mutex_release(starting);
    mproc__os_close(own);
    return r;
}
