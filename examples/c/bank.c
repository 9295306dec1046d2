/*
 * bank.c - money moves between accounts that several processes share; none is made or lost
 *
 * SPDX-License-Identifier: MIT
 *
 * Each account has a lock. A transfer takes both locks, that of the lower number first, so that no
 * two clerks wait for each other for ever.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mproc.h"

#define ACCOUNTS 5
#define CLERKS 4
#define TRANSFERS 1000
#define OPENING 100

struct bank {
    mproc_lock *lock[ACCOUNTS];
    int64_t balance[ACCOUNTS];
};

static void must(int code) {
    if (code != 0) {
        fprintf(stderr, "bank: %s\n", mproc_strerror(code));
        exit(1);
    }
}

static void transfer(struct bank *bank, int from, int to, int64_t amount) {
    int low = from < to ? from : to, high = from < to ? to : from;
    must(mproc_lock_acquire(bank->lock[low], MPROC_FOREVER));
    must(mproc_lock_acquire(bank->lock[high], MPROC_FOREVER));
    bank->balance[from] -= amount;
    bank->balance[to] += amount;
    must(mproc_lock_release(bank->lock[high]));
    must(mproc_lock_release(bank->lock[low]));
}

struct clerk {
    struct bank *bank;
    int number;
};

/* All clerks' transfers add up to the same in any order. */
static int work(void *arg, size_t size) {
    struct clerk *clerk = arg;
    (void)size;
    for (int i = 0; i < TRANSFERS; i++) {
        int from = (clerk->number + i) % ACCOUNTS, to = (from + 1 + i % 3) % ACCOUNTS;
        transfer(clerk->bank, from, to, 1 + i % 7);
    }
    return 0;
}

int main(int argc, char **argv) {
    must(mproc_init(argc, argv));
    struct bank *bank = mproc_calloc(1, sizeof *bank);
    if (bank == NULL) {
        must(-ENOMEM);
    }
    for (int i = 0; i < ACCOUNTS; i++) {
        must(mproc_lock_new(&bank->lock[i], 0));
        bank->balance[i] = OPENING;
    }
    mproc_process *clerks[CLERKS];
    for (int i = 0; i < CLERKS; i++) {
        struct clerk clerk = {bank, i};
        must(mproc_process_start(&clerks[i], work, &clerk, sizeof clerk, NULL));
    }
    for (int i = 0; i < CLERKS; i++) {
        int code = 1;
        must(mproc_process_join(clerks[i], MPROC_FOREVER));
        must(mproc_process_exitcode(clerks[i], &code));
        must(mproc_process_drop(clerks[i]));
        if (code != 0) {
            return 1;
        }
    }
    int64_t total = 0;
    for (int i = 0; i < ACCOUNTS; i++) {
        printf("account %d: %lld\n", i, (long long)bank->balance[i]);
        total += bank->balance[i];
        mproc_drop(bank->lock[i]);
    }
    printf("total after %d transfers: %lld\n", CLERKS * TRANSFERS, (long long)total);
    mproc_free(bank);
    return 0;
}
