/*
 * semaphore.c - eight workers share three printers; one dies at work and blocks no other
 *
 * SPDX-License-Identifier: MIT
 *
 * The bounded semaphore knows which member took which permit: that of a dead one comes back.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mproc.h"

#define PRINTERS 3
#define WORKERS 8
#define PAGES 50

struct office {
    mproc_bsemaphore *printers;
    mproc_lock *lock;
    uint64_t busy, most, pages; /* under the lock */
};

static void must(int code) {
    if (code != 0) {
        fprintf(stderr, "semaphore: %s\n", mproc_strerror(code));
        exit(1);
    }
}

static void count(struct office *office, int busy, int pages) {
    must(mproc_lock_acquire(office->lock, MPROC_FOREVER));
    office->busy += (uint64_t)busy;
    office->pages += (uint64_t)pages;
    office->most = office->busy > office->most ? office->busy : office->most;
    must(mproc_lock_release(office->lock));
}

static void print_page(struct office *office) {
    must(mproc_bsemaphore_acquire(office->printers, MPROC_FOREVER));
    count(office, 1, 0);
    count(office, -1, 1);
    must(mproc_bsemaphore_release(office->printers));
}

static int work(void *arg, size_t size) {
    (void)size;
    for (int i = 0; i < PAGES; i++) {
        print_page(*(struct office **)arg);
    }
    return 0;
}

static int die_printing(void *arg, size_t size) {
    (void)size;
    must(mproc_bsemaphore_acquire((*(struct office **)arg)->printers, MPROC_FOREVER));
    raise(SIGKILL);
    return 0;
}

static int finish(mproc_process *process) {
    int code = 0;
    must(mproc_process_join(process, MPROC_FOREVER));
    must(mproc_process_exitcode(process, &code));
    must(mproc_process_drop(process));
    return code;
}

int main(int argc, char **argv) {
    must(mproc_init(argc, argv));
    struct office *office = mproc_calloc(1, sizeof *office);
    if (office == NULL) {
        must(-ENOMEM);
    }
    must(mproc_bsemaphore_new(&office->printers, PRINTERS));
    must(mproc_lock_new(&office->lock, 0));
    mproc_process *dead, *workers[WORKERS];
    must(mproc_process_start(&dead, die_printing, &office, sizeof office, NULL));
    printf("one worker ended with %d\n", finish(dead));
    for (int i = 0; i < WORKERS; i++) {
        must(mproc_process_start(&workers[i], work, &office, sizeof office, NULL));
    }
    for (int i = 0; i < WORKERS; i++) {
        if (finish(workers[i]) != 0) {
            return 1;
        }
    }
    printf("%llu pages printed\n", (unsigned long long)office->pages);
    printf("never more than %d printers at work: %s\n", PRINTERS,
           office->most <= PRINTERS ? "yes" : "no");
    printf("printers free at the end: %u\n", mproc_bsemaphore_value(office->printers));
    mproc_drop(office->printers);
    mproc_drop(office->lock);
    mproc_free(office);
    return 0;
}
