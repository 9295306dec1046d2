/*
 * record.h - what a family does, recorded from outside into a file: `mproc record`
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_RECORD_H
#define MPROC_RECORD_H

#include <stdio.h>

#include "inspect/outside.h"

struct mproc__record {
    pid_t pid;        /* a member of the family */
    const char *path; /* of the file; %p in it is that pid */
    double seconds;   /* how long; 0: until the family ends, or a signal asks for the end */
    bool behind;      /* goes on in a process of its own, and returns when it records */
};

/* What has become of it, for a person. */
struct mproc__recorded {
    uint64_t events_lost;
    FILE *errors; /* where to tell of a failure once it goes on by itself; NULL: as before */
    char path[4096];
};

/* 0; the errors of mproc__outside_open(), and -EMFILE, -ENOMEM; those of writing the file, with
 * out->path set. */
int mproc__record(const struct mproc__record *what, struct mproc__recorded *out);

#endif
