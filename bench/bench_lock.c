/*
 * bench_lock.c - the lock against what pthreads offers between processes
 *
 * SPDX-License-Identifier: MIT
 *
 * The robust mutex is the fair peer: it survives its owner's death, too. The plain mutex and the
 * semaphore do not; they show what that costs. Contended: two processes on two CPUs acquire the
 * lock in turn and add one to a word inside.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "mproc.h"

static struct room {
    pthread_mutex_t robust, plain;
    sem_t semaphore;
    uint64_t count;
} * room;

static mproc_lock *lock;
static mproc_lock *undoing;
static uint64_t *word;

struct kind {
    void (*acquire)(void);
    void (*release)(void);
};

static void acquire_lock(void) {
    if (mproc_lock_acquire(lock, MPROC_FOREVER) != 0) {
        bench_die("mproc_lock_acquire");
    }
}

static void release_lock(void) {
    mproc_lock_release(lock);
}

static void acquire_saving(void) {
    if (mproc_lock_acquire(undoing, MPROC_FOREVER) != 0 || mproc_lock_save(undoing, word) != 0) {
        bench_die("mproc_lock_acquire");
    }
    *word += 1;
}

static void release_saving(void) {
    mproc_lock_release(undoing);
}

static void acquire_robust(void) {
    if (pthread_mutex_lock(&room->robust) != 0) {
        bench_die("pthread_mutex_lock");
    }
}

static void release_robust(void) {
    pthread_mutex_unlock(&room->robust);
}

static void acquire_plain(void) {
    pthread_mutex_lock(&room->plain);
}

static void release_plain(void) {
    pthread_mutex_unlock(&room->plain);
}

static void acquire_semaphore(void) {
    if (sem_wait(&room->semaphore) != 0) {
        bench_die("sem_wait");
    }
}

static void release_semaphore(void) {
    sem_post(&room->semaphore);
}

static double alone(void *arg, uint64_t n) {
    const struct kind *k = arg;
    bench_pin(0);
    double start = bench_now();
    while (n-- > 0) {
        k->acquire();
        k->release();
    }
    double seconds = bench_now() - start;
    bench_unpin();
    return seconds;
}

/* Each side does half of the operations. */
static void contend(void *arg, bool child, uint64_t n) {
    const struct kind *k = arg;
    (void)child;
    for (uint64_t i = 0; i < n / 2; i++) {
        k->acquire();
        room->count++;
        k->release();
    }
}

/* The clock stops when both are done: both sides meet a second time inside. */
static double contended(void *arg, uint64_t n) {
    struct bench_pair pair = {NULL, contend, NULL, 0, 1};
    uint64_t before = room->count;
    double seconds = bench_run_pair(&pair, arg, n);
    mproc_reap();
    if (room->count - before != n / 2 * 2) {
        errno = EDOM;
        bench_die("the lock does not exclude");
    }
    return seconds;
}

static void make_room(void) {
    pthread_mutexattr_t attr;
    room = mmap(NULL, sizeof *room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        bench_die("mmap");
    }
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&room->plain, &attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&room->robust, &attr);
    sem_init(&room->semaphore, 1, 1);
    word = mproc_calloc(1, sizeof *word);
    if (mproc_lock_new(&lock, 0) != 0 || mproc_lock_new(&undoing, 8) != 0 || word == NULL) {
        bench_die("mproc_lock_new");
    }
}

int main(int argc, char **argv) {
    static struct kind ours = {acquire_lock, release_lock},
                       saving = {acquire_saving, release_saving},
                       robust = {acquire_robust, release_robust},
                       plain = {acquire_plain, release_plain},
                       semaphore = {acquire_semaphore, release_semaphore};
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    make_room();
    bench_heading("lock: acquire and release");
    struct bench_contender one[] = {{"mproc lock", alone, &ours, true},
                                    {"mproc lock, one word saved", alone, &saving, true},
                                    {"robust pthread mutex", alone, &robust, false},
                                    {"pthread mutex (not robust)", alone, &plain, false},
                                    {"POSIX semaphore (not robust)", alone, &semaphore, false}};
    struct bench_table table = {"uncontended", "ns", 1e9, false, one, 5, {0, 0}, false};
    bench_compare(&table);
    struct bench_contender fair[] = {one[0], one[2]};
    struct bench_table target = {
        "uncontended, the target's peer alone", "ns", 1e9, false, fair, 2, {1 / 1.5, 0}, false};
    bench_compare(&target);
    if (bench_cpus() < 2) {
        printf("\ncontended: there is only one CPU here\n");
        return 0;
    }
    struct bench_contender two[] = {{"mproc lock", contended, &ours, true},
                                    {"robust pthread mutex", contended, &robust, false},
                                    {"pthread mutex (not robust)", contended, &plain, false},
                                    {"POSIX semaphore (not robust)", contended, &semaphore, false}};
    struct bench_table both = {
        "contended by two processes, per operation", "ns", 1e9, false, two, 4, {0, 0}, false};
    bench_compare(&both);
    return 0;
}
