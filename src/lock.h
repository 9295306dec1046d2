/*
 * lock.h - what a condition does with the lock of its waiters
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LOCK_H
#define MPROC_LOCK_H

#include "system/base.h"

struct mproc__hand;

/* Makes a lock inside another object, in a word of that object. The object's destructor destroys
 * it. -ENOMEM. */
int mproc__rlock_make(struct mproc__hand *hand, uint64_t *word);

/* Releases a lock that the calling thread holds, all levels of it: *depth is their number, for
 * reacquire. MPROC_ENOTHELD. */
int mproc__lock_release_all(mproc_lock *lock, uint32_t *depth);
int mproc__rlock_release_all(mproc_rlock *lock, uint32_t *depth);

/* Acquires it as often again, however long that takes. 0 or -EOWNERDEAD. */
int mproc__lock_reacquire(mproc_lock *lock, uint32_t depth);
int mproc__rlock_reacquire(mproc_rlock *lock, uint32_t depth);

/* mproc_rlock_load() and _store() for a caller that knows that it is a lock. */
int mproc__rlock_load(const mproc_rlock *lock, size_t size, const void *at, void *out);
int mproc__rlock_store(mproc_rlock *lock, size_t size, void *at, const void *lent);

/* The thread that died, as mproc__self_thread() names it: what the lock says of its holder. If the
 * holder died before it wrote that, at least its process, as long as that is known. */
uint64_t mproc__lock_late_holder(uint64_t holder, uint64_t token);

#endif
