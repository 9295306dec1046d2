/*
 * members.h - threads that play members of the family, and checks of the family
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TEST_MEMBERS_H
#define MPROC_TEST_MEMBERS_H

#include <pthread.h>

#include "children.h"
#include "core/join.h"
#include "core/member.h"
#include "system/atomic.h"
#include "test.h"

struct member_thread {
    void (*run)(void *);
    void *arg;
    pthread_t thread;
};

static inline void *member_thread_main(void *arg) {
    struct member_thread *t = arg;
    CHECK_OK(mproc__thread_becomes_member());
    t->run(t->arg);
    mproc__thread_leaves();
    return NULL;
}

/* Starts the threads and waits for the end of all of them. */
static inline void member_threads_run(struct member_thread *threads, size_t n) {
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(pthread_create(&threads[i].thread, NULL, member_thread_main, &threads[i]));
    }
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(pthread_join(threads[i].thread, NULL));
    }
}

/* ---- contention */

/* A section that at most `limit` threads may be in at once, and the lock that sees to it. */
struct contended {
    void *lock;
    void (*acquire)(void *lock), (*release)(void *lock);
    uint64_t limit, inside, entries;
};

#define CONTENDERS 6
#define CONTENDER_ROUNDS 2000

static inline void contender_run(void *arg) {
    struct contended *section = arg;
    for (int i = 0; i < CONTENDER_ROUNDS; i++) {
        section->acquire(section->lock);
        CHECK_LE(mproc__add64(&section->inside, 1), section->limit - 1);
        mproc__add64(&section->entries, 1);
        mproc__add64(&section->inside, (uint64_t)-1);
        section->release(section->lock);
    }
}

/* Several threads acquire and release a lock again and again: there are never more than `limit` in
 * the section at once, and each of them gets all its turns. */
static inline void contend(void *lock, void (*acquire)(void *lock), void (*release)(void *lock),
                           uint64_t limit) {
    struct contended section = {lock, acquire, release, limit, 0, 0};
    struct member_thread threads[CONTENDERS];
    for (int i = 0; i < CONTENDERS; i++) {
        threads[i] = (struct member_thread){.run = contender_run, .arg = &section};
    }
    member_threads_run(threads, CONTENDERS);
    CHECK_EQ(section.entries, CONTENDERS * CONTENDER_ROUNDS);
}

/* ---- invariants */

/* The invariants of the arena and of the members hold. */
static inline void check_family(void) {
    char why[256] = "";
    if (mproc_arena_check(why, sizeof why) != 0 || mproc_member_check(why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

/* Stores a wrong value into a word, expects a check to name the invariant that it breaks, and puts
 * the word back. */
#define CHECK_BREAKS(word, value, call, name)                                                      \
    do {                                                                                           \
        char why[256] = "";                                                                        \
        __typeof__(*(word)) kept = *(word);                                                        \
        *(word) = (value);                                                                         \
        int broken = (call);                                                                       \
        *(word) = kept;                                                                            \
        CHECK_EQ(broken, MPROC_ECORRUPT);                                                          \
        if (strncmp(why, name, strlen(name)) != 0) {                                               \
            test_fail(__FILE__, __LINE__, "%s was expected, not: %s", name, why);                  \
        }                                                                                          \
        CHECK_OK(call);                                                                            \
    } while (0)

#endif
