/*
 * mutex.h - a robust mutex: one 64-bit word in the arena
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MUTEX_H
#define MPROC_MUTEX_H

#include "base.h"

/* 0: free. Otherwise the owner's token (member.h), with MPROC__WAITERS set when somebody may sleep. */
struct mproc__mutex {
    uint64_t word;
};

#define MPROC__WAITERS UINT64_C(0x80000000)

/* 0; -EOWNERDEAD: acquired, and the previous owner died; -ETIMEDOUT; -EINTR (only if asked for). */
int mproc__mutex_acquire(struct mproc__mutex *mutex, int64_t deadline, bool interruptible);

/* The same without waiting: -EBUSY. Does not look whether the owner lives. */
int mproc__mutex_try(struct mproc__mutex *mutex);

/* 0, or MPROC_ENOTHELD when it is free. */
int mproc__mutex_release(struct mproc__mutex *mutex);

/* The owner's token, 0: free. */
uint64_t mproc__mutex_owner(const struct mproc__mutex *mutex);

#endif
