/*
 * join.c - a process becomes a member when it first needs to
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Whatever needs the arena joins first; one thread does, the others wait for it, and
 * so does fork(): a child has the whole arena or none. The handlers of fork() are registered when
 * the library is loaded, before there can be a second thread or a fork, and do nothing before there
 * is a family.
 */
#include "core/join.h"

#include <pthread.h>

#include "core/fork.h"
#include "core/hand.h"
#include "core/looker.h"
#include "core/trace_ring.h"

uint32_t mproc__family_joined;

/* A founder may be told to record. */
static int begin(void) {
    int r = mproc__family_begin();
    if (r == 0) {
        mproc__lookers_start();
    }
    return r;
}

/* A started child may be recorded. It asks for memory, which may have to wait for another member:
 * not under the lock, for which a fork() waits. */
int mproc__family_join(void) {
    int r = 0;
    pthread_mutex_lock(&mproc__fork_locks.joining);
    if (!mproc__family_joined) {
        r = begin();
    }
    if (r >= 0) {
        /* SYNC(join.family_joined): all is ready, before it is said. */
        mproc__store32(&mproc__family_joined, 1);
    }
    pthread_mutex_unlock(&mproc__fork_locks.joining);
    if (r == 1 && mproc__trace_on() != 0) {
        mproc__trace_join();
    }
    return r;
}

void mproc__family_leave(void) {
    int error = errno;
    mproc__store32(&mproc__family_joined, 0); /* there is no other thread */
    mproc__family_forget();
    errno = error;
}

static void before(void) {
    pthread_mutex_lock(&mproc__fork_locks.joining);
    mproc__fork_before();
}

static void after_in_parent(void) {
    mproc__fork_after_in_parent();
    pthread_mutex_unlock(&mproc__fork_locks.joining);
}

static void after_in_child(void) {
    if (!mproc__fork_after_in_child()) {
        mproc__family_leave();
    }
    pthread_mutex_unlock(&mproc__fork_locks.joining);
}

__attribute__((constructor)) static void at_load(void) {
    mproc__hands_init();
    pthread_atfork(before, after_in_parent, after_in_child);
}
