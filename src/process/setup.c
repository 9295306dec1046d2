/*
 * setup.c - what a child does to itself before it runs
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The starter writes the setup into the block of the child's arguments, and the
 * child, by whatever method it was started, goes through it as soon as it is a member:
 * environment, streams, limits, CPUs, directory. A spawned program has its environment from the
 * start instead. A child that cannot do as it is told must not run as if it had: it says so on
 * stderr and ends.
 *
 * Shared state: the block, written before the child is born, then the child's. The environment's
 * strings stay there.
 */
#include "process/setup.h"

#include <stdlib.h>
#include <string.h>

#include "system/os.h"

#define EXIT_SETUP 126 /* what shells say of a command that cannot be run */
#define CPUS_MOST 4096

struct limit {
    int64_t resource;
    uint64_t soft, hard;
};

/* ---------------------------------------------------------------- in the starter */

int mproc__setup_check(const mproc_process_setup *s) {
    bool good =
        s == NULL || (s->out >= 0 && s->err >= 0 && (s->cpus != NULL || s->ncpus == 0) &&
                      (s->limits != NULL || s->nlimits == 0) && s->ncpus <= CPUS_MOST &&
                      s->nlimits <= CPUS_MOST && (s->directory == NULL || s->directory[0] != 0));
    for (size_t i = 0; good && s != NULL && i < s->ncpus; i++) {
        good = s->cpus[i] < CPUS_MOST;
    }
    for (size_t i = 0; good && s != NULL && i < s->nlimits; i++) {
        good = s->limits[i].resource >= 0 && s->limits[i].soft <= s->limits[i].hard;
    }
    return good ? 0 : -EINVAL;
}

static size_t count_strings(const char *const *strings, size_t *bytes) {
    size_t n = 0;
    while (strings != NULL && strings[n] != NULL) {
        *bytes += strlen(strings[n++]) + 1;
    }
    return n;
}

size_t mproc__setup_size(const mproc_process_setup *s) {
    size_t size = sizeof(struct mproc__setup) + s->nlimits * sizeof(struct limit) +
                  s->ncpus * sizeof(uint32_t);
    size += s->directory != NULL ? strlen(s->directory) + 1 : 0;
    (void)count_strings(s->environment, &size);
    return size;
}

static char *put(char *at, const void *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

void mproc__setup_write(const mproc_process_setup *s, struct mproc__setup *to) {
    char *at = (char *)(to + 1);
    size_t bytes = 0;
    *to = (struct mproc__setup){s->out > 0 ? s->out : -1,
                                s->err > 0 ? s->err : -1,
                                (uint32_t)s->nlimits,
                                (uint32_t)s->ncpus,
                                0,
                                MPROC__SETUP_AS_IT_IS};
    for (size_t i = 0; i < s->nlimits; i++) {
        struct limit limit = {s->limits[i].resource, s->limits[i].soft, s->limits[i].hard};
        at = put(at, &limit, sizeof limit);
    }
    for (size_t i = 0; i < s->ncpus; i++) {
        uint32_t cpu = s->cpus[i];
        at = put(at, &cpu, sizeof cpu);
    }
    if (s->directory != NULL) {
        to->directory = (uint32_t)strlen(s->directory) + 1;
        at = put(at, s->directory, to->directory);
    }
    if (s->environment != NULL) {
        to->environment = (uint32_t)count_strings(s->environment, &bytes);
        for (uint32_t i = 0; i < to->environment; i++) {
            at = put(at, s->environment[i], strlen(s->environment[i]) + 1);
        }
    }
}

/* ---------------------------------------------------------------- in the child */

static void must(int r, const char *what, const char *name) {
    if (r != 0) {
        mproc__log("process %d: %s%s: %s", (int)mproc__os_pid(), what, name, mproc_strerror(r));
        _Exit(EXIT_SETUP);
    }
}

static void set_environment(char *at, uint32_t n) {
    char **all = calloc((size_t)n + 1, sizeof *all);
    must(all != NULL ? 0 : -ENOMEM, "environment", "");
    for (uint32_t i = 0; i < n; i++) {
        all[i] = at;
        at += strlen(at) + 1;
    }
    mproc__os_environment(all);
}

static void set_streams(const struct mproc__setup *s) {
    if (s->out >= 0) {
        must(mproc__os_descriptor_over(s->out, 1), "stdout", "");
    }
    if (s->err >= 0) {
        must(mproc__os_descriptor_over(s->err, 2), "stderr", "");
    }
}

static void set_limits(const char *at, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        struct limit limit;
        memcpy(&limit, at + i * sizeof limit, sizeof limit);
        if (mproc__os_limits_space((int)limit.resource)) {
            mproc_arena_fit(limit.soft);
        }
        must(mproc__os_limit((int)limit.resource, limit.soft, limit.hard), "limits", "");
    }
}

static void set_cpus(const char *at, uint32_t n) {
    uint32_t cpus[CPUS_MOST];
    memcpy(cpus, at, n * sizeof *cpus);
    must(mproc__os_affinity(cpus, n), "CPUs", "");
}

/* The streams first: what cannot be done is said there. */
void mproc__setup_apply(const struct mproc__setup *s) {
    const char *limits = (const char *)(s + 1);
    const char *cpus = limits + s->nlimits * sizeof(struct limit);
    const char *directory = cpus + s->ncpus * sizeof(uint32_t);
    set_streams(s);
    if (s->environment != MPROC__SETUP_AS_IT_IS) {
        set_environment((char *)(uintptr_t)(directory + s->directory), s->environment);
    }
    if (s->ncpus > 0) {
        set_cpus(cpus, s->ncpus);
    }
    if (s->directory > 0) {
        must(mproc__os_directory(directory), "directory ", directory);
    }
    set_limits(limits, s->nlimits);
}
