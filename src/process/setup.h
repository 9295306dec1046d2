/*
 * setup.h - what a child does to itself before it runs: see mproc_process_setup
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SETUP_H
#define MPROC_SETUP_H

#include "system/base.h"

/* As it stands in the arena behind a child's arguments, in one piece: this, the limits, the CPUs,
 * the directory, the environment's strings. */
struct mproc__setup {
    int32_t out, err; /* descriptors, or places among those a template was sent; -1: none */
    uint32_t nlimits, ncpus;
    uint32_t directory;   /* bytes, the closing 0 included; 0: none */
    uint32_t environment; /* strings; MPROC__SETUP_AS_IT_IS: it stays */
};

#define MPROC__SETUP_AS_IT_IS UINT32_MAX

/* -EINVAL. */
int mproc__setup_check(const mproc_process_setup *setup);

/* Bytes that it takes in the arena. */
size_t mproc__setup_size(const mproc_process_setup *setup);
void mproc__setup_write(const mproc_process_setup *setup, struct mproc__setup *to);

/* In the child. Does not return if it cannot: the child says why, and ends with 126. */
void mproc__setup_apply(const struct mproc__setup *setup);

#endif
