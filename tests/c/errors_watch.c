/*
 * errors_watch.c - errors of waiting with a descriptor
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/family.h"
#include "errors.h"

static mproc_watch *watch_made(void) {
    mproc_watch *made = NULL;
    CHECK_OK(mproc_watch_new(&made));
    return made;
}

static int new_watch(void) {
    mproc_watch *made;
    return mproc_watch_new(&made);
}

PROVOKE(mproc_watch_new, -EMFILE) {
    begin();
    no_descriptors();
    return new_watch();
}

PROVOKE(mproc_watch_new, -ENFILE) {
    begin();
    deny(SYS_timerfd_create, -1, ENFILE);
    return new_watch();
}

PROVOKE(mproc_watch_new, -ENOMEM) {
    begin();
    deny(SYS_epoll_create1, -1, ENOMEM);
    return new_watch();
}

PROVOKE_FDS(mproc_lock_fd, made_lock(0), mproc_lock_fd(object))
PROVOKE_FDS(mproc_semaphore_fd, made_semaphore(0), mproc_semaphore_fd(object))
PROVOKE_FDS(mproc_bsemaphore_fd, made_bsemaphore(1), mproc_bsemaphore_fd(object))
PROVOKE_FDS(mproc_event_fd, made_event(), mproc_event_fd(object))
PROVOKE_FDS(mproc_queue_fd, made_queue(0), mproc_queue_fd(object, MPROC_WATCH_GET))

PROVOKE(mproc_queue_fd, -EINVAL) {
    return mproc_queue_fd(made_queue(0), MPROC_WATCH_ACQUIRE);
}

PROVOKE(mproc_fd_drop, -EBADF) {
    return mproc_fd_drop(0);
}

PROVOKE(mproc_watch_add, -EINVAL) {
    return mproc_watch_add(watch_made(), made_rlock(), MPROC_WATCH_ACQUIRE);
}

PROVOKE(mproc_watch_add, -ENOSPC) {
    mproc_watch *watch = watch_made();
    take_all_bells();
    return mproc_watch_add(watch, made_event(), MPROC_WATCH_WAIT);
}

PROVOKE(mproc_watch_add, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    mproc_watch *watch = watch_made();
    mproc_event *object = made_event();
    no_malloc();
    return mproc_watch_add(watch, object, MPROC_WATCH_WAIT);
}

static int add_to(void *watch) {
    return mproc_watch_add(watch, made_event(), MPROC_WATCH_WAIT);
}

static int arm_in(void *watch) {
    return mproc_watch_arm(watch, 0);
}

static int disarm_in(void *watch) {
    return mproc_watch_disarm(watch, 0);
}

static int remove_from(void *watch) {
    return mproc_watch_remove(watch, 0);
}

static int next_of(void *watch) {
    return mproc_watch_next(watch);
}

static int fd_of(void *watch) {
    return mproc_watch_fd(watch);
}

PROVOKE(mproc_watch_fd, MPROC_ESTRANGER) {
    return in_child(fd_of, watch_made());
}

PROVOKE(mproc_watch_add, MPROC_ESTRANGER) {
    return in_child(add_to, watch_made());
}

PROVOKE(mproc_watch_arm, MPROC_ESTRANGER) {
    return in_child(arm_in, watch_made());
}

PROVOKE(mproc_watch_disarm, MPROC_ESTRANGER) {
    return in_child(disarm_in, watch_made());
}

PROVOKE(mproc_watch_remove, MPROC_ESTRANGER) {
    return in_child(remove_from, watch_made());
}

PROVOKE(mproc_watch_next, MPROC_ESTRANGER) {
    return in_child(next_of, watch_made());
}

PROVOKE(mproc_watch_next, -EAGAIN) {
    return mproc_watch_next(watch_made());
}

PROVOKE(mproc_watch_arm, -EINVAL) {
    return mproc_watch_arm(watch_made(), 0);
}

PROVOKE(mproc_watch_disarm, -EINVAL) {
    return mproc_watch_disarm(watch_made(), -1);
}

PROVOKE(mproc_watch_remove, -EINVAL) {
    return mproc_watch_remove(watch_made(), 1);
}
