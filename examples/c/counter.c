/*
 * counter.c - a shared counter: many processes add to it, under its lock and without
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>

#include <mproc.h>

#define WORKERS 4
#define ROUNDS 10000

/* In the arena, so that every process sees it at the same address. */
struct counters {
    mproc_array *locked, *atomic, *by_worker;
};

struct job {
    struct counters *counters;
    size_t number;
};

static int add_one(mproc_array *array, size_t i) {
    int64_t value;
    int r = mproc_rlock_acquire(mproc_array_lock(array), MPROC_FOREVER);
    if (r != 0) {
        return r;
    }
    r = mproc_array_get(array, i, &value);
    if (r == 0) {
        value++;
        r = mproc_array_set(array, i, &value);
    }
    mproc_rlock_release(mproc_array_lock(array));
    return r;
}

static int work(void *arg, size_t size) {
    const struct job *job = arg;
    int r = 0;
    (void)size;
    for (int i = 0; r == 0 && i < ROUNDS; i++) {
        r = add_one(job->counters->locked, 0);
        if (r == 0) {
            r = mproc_array_add(job->counters->atomic, 0, 1, NULL);
        }
        if (r == 0) {
            r = add_one(job->counters->by_worker, job->number);
        }
    }
    return r == 0 ? 0 : 1;
}

static int run_workers(struct counters *counters) {
    mproc_process *workers[WORKERS];
    int failed = 0, code;
    for (size_t i = 0; i < WORKERS; i++) {
        struct job job = {counters, i};
        int r = mproc_process_start(&workers[i], work, &job, sizeof job, NULL);
        if (r != 0) {
            fprintf(stderr, "counter: %s\n", mproc_strerror(r));
            return 1;
        }
    }
    for (size_t i = 0; i < WORKERS; i++) {
        if (mproc_process_join(workers[i], MPROC_FOREVER) != 0 ||
            mproc_process_exitcode(workers[i], &code) != 0 || code != 0) {
            failed = 1;
        }
        failed |= mproc_process_drop(workers[i]) != 0;
    }
    return failed;
}

static int64_t number_at(mproc_array *array, size_t i) {
    return ((const int64_t *)mproc_array_data(array))[i];
}

int main(int argc, char **argv) {
    int r = mproc_init(argc, argv);
    struct counters *c = r == 0 ? mproc_calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        fprintf(stderr, "counter: %s\n", mproc_strerror(r));
        return 1;
    }
    int failed = mproc_array_new(&c->locked, MPROC_INT64, 1) ||
                 mproc_array_new(&c->atomic, MPROC_INT64, 1) ||
                 mproc_array_new(&c->by_worker, MPROC_INT64, WORKERS) || run_workers(c);
    if (!failed) {
        printf("under the lock: %" PRId64 "\n", number_at(c->locked, 0));
        printf("without it: %" PRId64 "\n", number_at(c->atomic, 0));
        for (size_t i = 0; i < WORKERS; i++) {
            printf("worker %zu: %" PRId64 "\n", i, number_at(c->by_worker, i));
        }
    }
    mproc_drop(c->locked);
    mproc_drop(c->atomic);
    mproc_drop(c->by_worker);
    mproc_free(c);
    return failed;
}
