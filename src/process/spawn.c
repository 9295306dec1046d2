/*
 * spawn.c - a child that is a program of its own (MPROC_SPAWN)
 *
 * SPDX-License-Identifier: MIT
 *
 * The child finds the family by words in its environment, and the arena under a descriptor that it
 * inherits; what it is to run stands in its slot.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/family.h"
#include "process/process.h"
#include "system/os.h"

extern char **environ;

/* The child's environment: the given one, and where its family is. */
static const char **make_environment(const char *const *from, char *ticket) {
    size_t n = 0, kept = 0;
    while (from[n] != NULL) {
        n++;
    }
    const char **to = malloc((n + 2) * sizeof *to);
    for (size_t i = 0; to != NULL && i < n; i++) {
        if (strncmp(from[i], MPROC__ENV "=", sizeof MPROC__ENV) != 0) {
            to[kept++] = from[i];
        }
    }
    if (to != NULL) {
        to[kept++] = ticket;
        to[kept] = NULL;
    }
    return to;
}

static int by_number(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* What the child gets, sorted; NULL: no memory. */
static int *given_and_arena(const mproc_process *process, int arena) {
    int *fds = malloc((process->nfds + 1) * sizeof *fds);
    if (fds == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < process->nfds; i++) {
        fds[i] = process->fds[i];
    }
    fds[process->nfds] = arena;
    qsort(fds, process->nfds + 1, sizeof *fds, by_number);
    return fds;
}

static int spawn_by(const mproc_process_maker *maker, const mproc_program *program, pid_t *pid) {
    if (maker == NULL || maker->spawn == NULL) {
        struct mproc__os_spawn what = {program->path, program->argv, program->envp, program->fds,
                                       program->nfds};
        return mproc__os_spawn(&what, pid);
    }
    pid_t r = maker->spawn(maker->context, program);
    if (r > 0) {
        *pid = r;
    }
    return r > 0 ? 0 : r < 0 ? r : -EINVAL;
}

int mproc__spawn(mproc_process *process, pid_t *pid) {
    const mproc_process_options *o = &process->options;
    const char *const self[] = {program_invocation_name, NULL};
    const char *const *own_env = o->setup != NULL ? o->setup->environment : NULL;
    const char *const *parent_env = own_env != NULL ? own_env : (const char *const *)environ;
    char ticket[MPROC__ENV_MAX];
    int arena = mproc__family_fd();

    if (arena < 0) {
        return arena;
    }
    mproc__family_describe(process->token, ticket);
    const char **env = make_environment(o->envp != NULL ? o->envp : parent_env, ticket);
    int *fds = given_and_arena(process, arena);
    int r = -ENOMEM;
    if (env != NULL && fds != NULL) {
        mproc_program program = {
            .path = o->argv != NULL ? o->argv[0] : "/proc/self/exe",
            .argv = o->argv != NULL ? o->argv : self,
            .envp = env,
            .fds = fds,
            .nfds = process->nfds + 1,
        };
        r = spawn_by(o->maker, &program, pid);
    }
    free(fds);
    free(env);
    return r;
}
