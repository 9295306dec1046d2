/*
 * threads_that_hold.c - a thread ends while it holds a lock: the next taker is told, at once
 *
 * SPDX-License-Identifier: MIT
 */
#include "answers.h"
#include <pthread.h>
#include <unistd.h>

static mproc_lock *lock;
static mproc_rlock *rlock;
static mproc_bsemaphore *semaphore;

static void *take_all(void *unused) {
    int *failed = unused;
    *failed = mproc_lock_acquire(lock, 0) != 0 || mproc_rlock_acquire(rlock, 0) != 0 ||
              mproc_bsemaphore_acquire(semaphore, 0) != 0;
    return NULL;
}

static void *release_rlock(void *unused) {
    int *code = unused;
    *code = mproc_rlock_release(rlock);
    return NULL;
}

static int take_in_child(void *arg, size_t size) {
    (void)arg;
    (void)size;
    answer_code("recursive lock in a child", mproc_rlock_acquire(rlock, 0));
    answer_code("lock in a child", mproc_lock_acquire(lock, 0));
    answer_code("release in a child", mproc_rlock_release(rlock));
    return 0;
}

/* The child finds what its parent has taken from the thread and holds, or has released since. */
static void use_in_child(void) {
    mproc_process *child;
    if (mproc_process_start(&child, take_in_child, NULL, 0, NULL) == 0) {
        answer_number("exit code", ended(child));
    }
}

int main(int argc, char **argv) {
    pthread_t thread;
    int failed = 1;
    if (mproc_init(argc, argv) != 0 || mproc_lock_new(&lock, 0) != 0 ||
        mproc_rlock_new(&rlock) != 0 || mproc_bsemaphore_new(&semaphore, 1) != 0) {
        return 1;
    }
    (void)pthread_create(&thread, NULL, take_all, &failed);
    (void)pthread_join(thread, NULL);
    answer("all were taken", failed ? "no" : "yes");
    answer_code("lock", mproc_lock_acquire(lock, MPROC_FOREVER));
    answer_code("recursive lock", mproc_rlock_acquire(rlock, MPROC_FOREVER));
    mproc_lock_holder owner = {0};
    mproc_rlock_owner(rlock, &owner);
    answer("the owner of the recursive lock", owner.pid == getpid() ? "this process" : "another");
    (void)pthread_create(&thread, NULL, release_rlock, &failed);
    (void)pthread_join(thread, NULL);
    answer_code("release of the recursive lock by another thread", failed);
    answer_code("release of the recursive lock", mproc_rlock_release(rlock));
    use_in_child();
    answer_code("release", mproc_lock_release(lock));
    answer_code("a semaphore's permit is its process'", mproc_bsemaphore_acquire(semaphore, 0));
    return 0;
}
