/*
 * eventcount.c - sleeping until another thread has done something
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/eventcount.h"

#include "system/os.h"

int mproc__eventcount_sleep(const struct mproc__eventcount *count, uint32_t seen, int64_t slice) {
    return mproc__os_futex_wait(&count->signal, seen, slice);
}

MPROC__NOINLINE void mproc__eventcount_wake_one(struct mproc__eventcount *count) {
    mproc__store32(&count->sleepers, 0);
    mproc__add32(&count->signal,
                 1); /* SYNC(eventcount.signal): what has happened, before that it has */
    if (mproc__os_futex_wake(&count->signal, 1) > 0) {
        mproc__store32(&count->sleepers, 1);
    }
    mproc__bells_ring(&count->bells);
}

void mproc__eventcount_wake_all(struct mproc__eventcount *count) {
    mproc__add32(&count->signal, 1);
    (void)mproc__os_futex_wake(&count->signal, INT32_MAX);
    mproc__bells_ring(&count->bells);
}

void mproc__eventcount_wake_sleepers(struct mproc__eventcount *count) {
    mproc__store32(&count->sleepers, 0);
    mproc__eventcount_wake_all(count);
}

void mproc__eventcount_wake_called(struct mproc__eventcount *count) {
    (void)mproc__os_futex_wake(&count->signal, 1);
    mproc__bells_ring(&count->bells);
}
