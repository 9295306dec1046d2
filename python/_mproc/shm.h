/*
 * shm.h - named segments, for the types that read and write them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_SHM_H
#define MPROC_PYTHON_SHM_H

#include "module.h"
#include "mproc.h"

/* Where a Segment stands, and its size. NULL with ValueError when it is closed, with OSError when
 * there is no memory for it. */
void *segment_data(PyObject *segment, size_t *size);

#endif
