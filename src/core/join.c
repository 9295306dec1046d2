/*
 * join.c - a process becomes a member when it first needs to
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Whatever needs the arena joins first; one thread does, the others wait for it. The
 * handlers of fork() are registered when the library is loaded, before there can be a second thread
 * or a fork, and do nothing before there is a family.
 */
#include "core/join.h"

#include <pthread.h>

#include "core/fork.h"
#include "core/looker.h"
#include "core/trace_ring.h"

uint32_t mproc__family_joined;
static pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;

/* A founder may be told to record; a started child may be recorded. */
static void trace(int begun) {
    if (begun == 0) {
        mproc__lookers_start();
    } else if (begun == 1 && mproc__trace_on() != 0) {
        mproc__trace_join();
    }
}

int mproc__family_join(void) {
    int r = 0;
    pthread_mutex_lock(&joining);
    if (!mproc__family_joined) {
        r = mproc__family_begin();
        trace(r);
    }
    if (r >= 0) {
        /* SYNC(join.family_joined): all is ready, before it is said. */
        mproc__store32(&mproc__family_joined, 1);
    }
    pthread_mutex_unlock(&joining);
    return r;
}

void mproc__family_leave(void) {
    int error = errno;
    mproc__store32(&mproc__family_joined, 0); /* there is no other thread */
    mproc__family_forget();
    errno = error;
}

static void after_in_child(void) {
    if (!mproc__fork_after_in_child()) {
        mproc__family_leave();
    }
}

__attribute__((constructor)) static void at_load(void) {
    mproc__hands_init();
    pthread_atfork(mproc__fork_before, mproc__fork_after_in_parent, after_in_child);
}
