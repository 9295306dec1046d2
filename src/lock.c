/*
 * lock.c - the lock that programs use: a robust mutex with an undo record
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The mutex and the undo record are those of every internal section (guard.h); what
 * is added is the record of who holds the lock, and who died holding it.
 *
 * Shared state.
 *   guard     As guard.c says.
 *   holder    pid << 32 | thread id. The holder writes it; for any other thread it is a hint.
 *   signaller The CPU, plus 1, of the last thread that released the lock without being its holder;
 *   0:
 *             none did. Such a thread writes it: a hint. The lock is a signal then. A thread that
 *             waits for the next signal on that CPU sleeps at once, because the signaller could not
 *             run while it looks.
 *   any_thread  1: a holder's thread may end, and another one is to release it. Written by the
 *             maker.
 *   dead_*    Written by the thread that acquired the lock from a dead holder.
 *   since     As mutex.c says: when one who had to wait saw that it is held.
 *   bells     As bell.c says. A process that waits with a bell marks the mutex, as a sleeper does.
 *
 * Invariants.
 *   L1  Those of guard.c.
 *   L2  A lock without an undo record has capacity 0 and no log.
 *   L3  `since` is not in the future.
 *
 * If the holder dies: the next thread that acquires puts the saved words back and is told.
 */
#include <string.h>

#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/make.h"
#include "core/trace_ring.h"
#include "lock.h"
#include "source.h"

#define UNDO_MAX 4096

struct mproc_lock {
    struct mproc__object object;
    _Alignas(MPROC__LINE) struct mproc__guard guard;
    uint64_t holder;
    uint32_t signaller;
    uint32_t any_thread;
    uint64_t dead_thread;
    uint64_t dead_serial;
    uint64_t log; /* the block behind guard.log */
    uint64_t since;
    uint32_t bells;
};

void mproc__lock_destroy(struct mproc__hand *hand, void *object) {
    struct mproc_lock *lock = object;
    mproc__heap_free(hand, &lock->log);
}

static int add_log(struct mproc__hand *hand, void *object, const void *arg) {
    struct mproc_lock *lock = object;
    unsigned undo = *(const unsigned *)arg;
    int r = mproc__heap_alloc(hand, undo * sizeof(struct mproc__undo), &lock->log);
    if (r == 0) {
        mproc__guard_init(&lock->guard, (struct mproc__undo *)(uintptr_t)lock->log, undo);
    }
    return r;
}

int mproc_lock_new(mproc_lock **out, unsigned undo) {
    if (undo > UNDO_MAX) {
        return -EINVAL;
    }
    mproc__fill_fn fill = undo != 0 ? add_log : NULL;
    return mproc__object_build(out, MPROC__KIND_LOCK, sizeof(mproc_lock), fill, &undo);
}

void mproc_lock_any_thread(mproc_lock *lock) {
    if (mproc__expect(lock, MPROC__KIND_LOCK)) {
        mproc__poke32(&lock->any_thread, 1);
    }
}

uint64_t mproc__lock_late_holder(uint64_t holder, uint64_t token) {
    const struct mproc__slot *slot = mproc__token_slot(token);
    return holder != 0 || slot == NULL ? holder : (uint64_t)slot->pid << 32;
}

static bool may_be_saved(const void *word) {
    return mproc_in_arena(word) && (uintptr_t)word % 8 == 0;
}

/* Puts back the words that the dead holder saved. A word that it should not have saved, because it
 * lay in its private memory, cannot be written here. */
static void undo(struct mproc__guard *guard) {
    for (uint32_t i = mproc__peek32(&guard->count); i-- > 0;) {
        if (may_be_saved(guard->log[i].word)) {
            mproc__poke64(guard->log[i].word, guard->log[i].old);
        }
    }
    mproc__program_order();
    mproc__poke32(&guard->count, 0);
}

static void note_death(struct mproc_lock *lock, uint64_t thread, uint64_t token) {
    thread = thread != 0 ? thread : mproc__peek64(&lock->holder);
    mproc__poke64(&lock->dead_thread, mproc__lock_late_holder(thread, token));
    mproc__poke64(&lock->dead_serial, token >> 32);
    undo(&lock->guard);
}

static uint32_t this_cpu(void) {
    return (uint32_t)mproc__os_cpu() + 1;
}

/* The caller holds it, and whoever released it last for its holder did so on this CPU. */
static bool signalled_from_here(const struct mproc_lock *lock) {
    return mproc__peek32(&lock->signaller) == this_cpu() &&
           mproc__mutex_owner(&lock->guard.mutex) == mproc__self_token();
}

static MPROC__NOINLINE int wait(struct mproc_lock *lock, uint64_t mine, int64_t timeout,
                                enum mproc__mutex_for whom) {
    struct mproc__mutex *mutex = &lock->guard.mutex;
    uint64_t *word = mproc__peek32(&lock->any_thread) == 0 ? &lock->holder : NULL, dead;
    struct mproc__holder holder = {word, &lock->since, 0};
    int r = timeout != 0 && signalled_from_here(lock)
                ? mproc__mutex_sleep(mutex, mine, timeout, whom, &holder, &dead)
                : mproc__mutex_wait(mutex, mine, timeout, whom, &holder, &dead);
    if (r == -EOWNERDEAD) {
        note_death(lock, holder.gone, dead);
    }
    return r;
}

static inline int take(mproc_lock *lock, int64_t timeout, enum mproc__mutex_for whom) {
    uint64_t mine = mproc__mutex_mine();
    int r = 0;
    if (!mproc__mutex_try(&lock->guard.mutex, mine)) {
        r = wait(lock, mine, timeout, whom);
        if (r != 0 && r != -EOWNERDEAD) {
            return r;
        }
    }
    mproc__poke64(&lock->holder, mproc__self_thread());
    mproc__traced(MPROC__TRACE_ACQUIRE, MPROC__KIND_LOCK, lock, 0);
    return r;
}

int mproc_lock_acquire(mproc_lock *lock, int64_t timeout) {
    if (!mproc__expect(lock, MPROC__KIND_LOCK)) {
        return MPROC_EOTHER;
    }
    return take(lock, timeout, MPROC__FOR_USER);
}

/* Somebody may wait for it, or it is not held. */
static MPROC__NOINLINE int release_marked(mproc_lock *lock) {
    int r = mproc__mutex_release_marked(&lock->guard.mutex);
    mproc__bells_ring(&lock->bells);
    return r;
}

int mproc_lock_release(mproc_lock *lock) {
    if (!mproc__expect(lock, MPROC__KIND_LOCK)) {
        return MPROC_EOTHER;
    }
    uint64_t owner = mproc__mutex_owner(&lock->guard.mutex);
    if (mproc__unlikely(owner != mproc__self_token())) {
        if (owner == 0) {
            return MPROC_ENOTHELD;
        }
        mproc__poke32(&lock->signaller, this_cpu());
    }
    mproc__traced(MPROC__TRACE_RELEASE, MPROC__KIND_LOCK, lock, 0);
    mproc__poke64(&lock->holder, 0);
    mproc__program_order();
    if (lock->guard.capacity != 0) {
        mproc__poke32(&lock->guard.count, 0); /* the commit */
        mproc__program_order();
    }
    return mproc__mutex_release_at_once(&lock->guard.mutex) ? 0 : release_marked(lock);
}

int mproc_lock_is_mine(const mproc_lock *lock) {
    if (!mproc__expect(lock, MPROC__KIND_LOCK)) {
        return 0;
    }
    return mproc__peek64(&lock->holder) == mproc__self_thread() &&
           mproc__mutex_owner(&lock->guard.mutex) == mproc__self_token();
}

int mproc__lock_release_all(mproc_lock *lock, uint32_t *depth) {
    *depth = 1;
    return mproc_lock_is_mine(lock) ? mproc_lock_release(lock) : MPROC_ENOTHELD;
}

int mproc__lock_reacquire(mproc_lock *lock, uint32_t depth) {
    (void)depth;
    return take(lock, MPROC_FOREVER, MPROC__FOR_USER_ALWAYS);
}

/* ---------------------------------------------------------------- waiting with a descriptor */

/* Free, or its holder has died: whoever tries to get it then, and is patient for a moment, is
 * told. */
static bool can_be_had(const void *object) {
    const mproc_lock *lock = object;
    uint64_t owner = mproc__mutex_owner(&lock->guard.mutex);
    return owner == 0 || (!mproc__token_alive(owner) && mproc__token_dead(owner));
}

static void announce(void *object) {
    mproc_lock *lock = object;
    mproc__mutex_mark(&lock->guard.mutex, &lock->since);
}

struct mproc__source mproc__lock_source(mproc_lock *lock) {
    return (struct mproc__source){lock, &lock->bells, announce, can_be_had, NULL, NULL};
}

/* ---------------------------------------------------------------- undo */

int mproc_lock_save(mproc_lock *lock, void *word) {
    assert(mproc__object_is(lock, MPROC__KIND_LOCK)); /* it has just been acquired */
    assert(may_be_saved(word));
    if (mproc__mutex_owner(&lock->guard.mutex) == 0) {
        return MPROC_ENOTHELD;
    }
    if (lock->guard.count == lock->guard.capacity) {
        return -ENOSPC;
    }
    mproc__guard_save(&lock->guard, word);
    return 0;
}

int mproc_lock_rollback(mproc_lock *lock) {
    if (!mproc__expect(lock, MPROC__KIND_LOCK)) {
        return MPROC_EOTHER;
    }
    if (mproc__mutex_owner(&lock->guard.mutex) != mproc__self_token()) {
        return MPROC_ENOTHELD;
    }
    mproc__guard_rollback(&lock->guard);
    return 0;
}

static void describe(uint64_t thread, uint64_t serial, mproc_lock_holder *out) {
    out->pid = (pid_t)(thread >> 32);
    out->tid = (pid_t)(thread & 0xffffffff);
    out->serial = serial;
}

void mproc_lock_owner(const mproc_lock *lock, mproc_lock_holder *out) {
    if (!mproc__expect(lock, MPROC__KIND_LOCK)) {
        *out = (mproc_lock_holder){0};
        return;
    }
    uint64_t token = mproc__mutex_living_owner(&lock->guard.mutex);
    describe(token == 0 ? 0 : mproc__peek64(&lock->holder), token >> 32, out);
}

void mproc_lock_dead_owner(const mproc_lock *lock, mproc_lock_holder *out) {
    if (!mproc__expect(lock, MPROC__KIND_LOCK)) {
        *out = (mproc_lock_holder){0};
        return;
    }
    describe(mproc__peek64(&lock->dead_thread), mproc__peek64(&lock->dead_serial), out);
}

/* A lock may change its holder while this looks at it. What is wrong stays wrong, however often it
 * is looked at. */
static bool free_with_saved_words(const struct mproc__guard *g) {
    for (int i = 0; i < 100; i++) {
        if (mproc__mutex_owner(&g->mutex) != 0 || mproc__peek32(&g->count) == 0) {
            return false;
        }
        mproc__pause();
    }
    return true;
}

int mproc_lock_check(const mproc_lock *lock, char *why, size_t size) {
    if (!mproc__object_is(lock, MPROC__KIND_LOCK)) {
        return mproc__corrupt(why, size, "L: %p is no lock", (const void *)lock);
    }
    const struct mproc__guard *g = &lock->guard;
    uint32_t count = mproc__peek32(&g->count);
    if ((g->capacity == 0) != (lock->log == 0) || count > g->capacity) {
        return mproc__corrupt(why, size, "L2: %u of %u words saved", count, g->capacity);
    }
    if (free_with_saved_words(g)) {
        return mproc__corrupt(why, size, "G1: a free lock has %u saved words", count);
    }
    if (!mproc__mutex_since_is_past(&lock->since)) {
        return mproc__corrupt(why, size, "L3: it is held since a time that is to come");
    }
    return 0;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__lock_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_lock *lock = copy;
    if (size < sizeof *lock) {
        return false;
    }
    out->owner = mproc__mutex_token(lock->guard.mutex.word);
    out->thread = out->owner != 0 ? lock->holder : 0;
    out->since = mproc__mutex_since(lock->guard.mutex.word, lock->since);
    return true;
}
