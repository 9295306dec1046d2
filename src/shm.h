/*
 * shm.h - named segments with contents, for what is laid out in them
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

/* mproc_shm_data() and mproc_shm_size() in one. */
int mproc__shm_view(mproc_shm *shm, void **data, size_t *size);

#endif
