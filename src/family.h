/*
 * family.h - the arena's first bytes: what all members share
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FAMILY_H
#define MPROC_FAMILY_H

#include "base.h"

/* A child learns of its family by this environment variable: "fd:base:span:slot:serial", all hex. It
 * is removed on attaching, and means nothing to a process whose reservation is not there. */
#define MPROC__ENV "MPROC_FAMILY"
#define MPROC__ENV_MAX 96

struct mproc__family;
extern struct mproc__family *mproc__family; /* NULL: no member yet */

/* Makes the process a member: of its starter's family if the environment names one, of a new one
 * otherwise. 1: came as a started child; 0; or an error. Idempotent. */
int mproc__family_join(void);

/* The arena's descriptor, to be passed to a spawned child. */
int mproc__family_fd(void);

/* Words "MPROC_FAMILY=..." for a child. */
void mproc__family_describe(uint64_t token, char out[MPROC__ENV_MAX]);

/* Joins on first use, as every `noun_new` does. */
static inline int mproc__family_need(void) {
    int r = mproc__likely(mproc__family != 0) ? 0 : mproc__family_join();
    return r < 0 ? r : 0;
}

#endif
