/*
 * mutex.h - a robust mutex: one 64-bit word in the arena
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MUTEX_H
#define MPROC_MUTEX_H

#include "base.h"

/* 0: free. Otherwise the owner's token (member.h), and in bits that tokens leave free: bit 31, set when
 * somebody may sleep; bit 30, when one of the sleepers starves; and bits 16..29, the CPU on which the
 * owner was when it acquired. Without an owner but not 0: kept for a sleeper that starves. */
struct mproc__mutex {
    uint64_t word;
};

/* 0; -EOWNERDEAD: acquired, and the previous owner died; -ETIMEDOUT; -EINTR (only if asked for).
 * `mourned`, if not NULL, gets the token of the owner that died. */
int mproc__mutex_acquire(struct mproc__mutex *mutex, int64_t timeout, bool interruptible,
                         uint64_t *mourned);

/* 0, or MPROC_ENOTHELD when nobody has it. */
int mproc__mutex_release(struct mproc__mutex *mutex);

/* The owner's token, 0: nobody has it. */
uint64_t mproc__mutex_owner(const struct mproc__mutex *mutex);

#endif
