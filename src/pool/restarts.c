/*
 * restarts.c - when workers that end at once are given up
 *
 * SPDX-License-Identifier: MIT
 *
 * A worker that ends before it is ready (its init failed, its program is broken) did not take a
 * task and would not do so the next time. So these ends are counted, until a worker becomes ready.
 * If more than there are workers, and RESTARTS_SPARE, have come one after the other without
 * anything done in between, workers are given up. This keeps a failing init from starting workers
 * for ever. That none can be started at all is no such end where the program has patience: it
 * counts as all of them when that is over.
 *
 * The workers are processes (crew.c) or another runtime's; this knows nothing of them.
 */
#include "pool/inside.h"
#include "system/os.h"

#define RESTARTS_SPARE 8

void mproc__restarts_set(mproc_restarts *restarts, uint32_t ends) {
    restarts->early = restarts->useless = ends;
}

uint32_t mproc__restarts_most(unsigned workers) {
    return workers + RESTARTS_SPARE;
}

void mproc_restarts_ready(mproc_restarts *restarts) {
    mproc__restarts_set(restarts, 0);
}

void mproc_restarts_ended(mproc_restarts *restarts, int done) {
    restarts->early++;
    restarts->useless = done ? 0 : restarts->useless + 1;
}

void mproc_restarts_missing(mproc_restarts *restarts, unsigned workers, int64_t patience) {
    int64_t now = mproc__os_now();
    restarts->missing = restarts->missing != 0 ? restarts->missing : now;
    if (now - restarts->missing > patience) {
        mproc__restarts_set(restarts, mproc__restarts_most(workers) + 1);
    }
}

void mproc_restarts_started(mproc_restarts *restarts) {
    restarts->missing = 0;
}

int mproc_restarts_hopeless(const mproc_restarts *restarts, unsigned workers) {
    return restarts->useless > mproc__restarts_most(workers);
}
