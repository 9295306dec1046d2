/*
 * shm.h - making a named segment with contents
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SHM_H
#define MPROC_SHM_H

#include "core/shm_register.h"

/* mproc_shm_create(); a segment with contents (`size` bytes; NULL: zeros) is not found without
 * them, and has its pages. */
int mproc__shm_make(mproc_shm **out, const char *name, const void *contents, size_t size,
                    const mproc_shm_options *options);

#endif
