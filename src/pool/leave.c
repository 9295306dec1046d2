/*
 * leave.c - workers that are too many are told to leave
 *
 * SPDX-License-Identifier: MIT
 *
 * A worker leaves by a message, which any of them may take: it stands behind the tasks that were
 * put before. All under the pool's lock.
 */
#include "pool/inside.h"

int mproc__crew_shrink(mproc_pool *pool) {
    static const struct mproc__task_message head = {.kind = MPROC__MESSAGE_LEAVE};
    static const struct mproc__open open = {.kind = MPROC__OPEN_LEAVE};
    uint64_t ticket;
    int r = 0;
    while (r == 0 && pool->alive + pool->starting > pool->target + pool->leaving) {
        r = mproc__open_put(pool, &head, NULL, &open, &ticket);
        pool->leaving += r == 0;
    }
    return r;
}

/* Another thread may have had the worker's word in its hands while this one noticed the end and
 * put a worker in its place. */
void mproc__crew_left(mproc_pool *pool, pid_t pid) {
    for (unsigned i = 0; i < pool->used; i++) {
        mproc_process *process = pool->crew[i].process;
        if (process != NULL && mproc_process_pid(process) == pid) {
            pool->crew[i].leaves = true;
            return;
        }
    }
    pool->leaving--;
    (void)mproc__crew_shrink(pool); /* or at the next resize, for want of memory */
}
