/*
 * stream.h - mproc._mproc.Stream: the results of a map that is submitted bit by bit
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_STREAM_H
#define MPROC_PYTHON_STREAM_H

#include "job.h"

/* Opens n more parts, which are booked as those of any job: the number of the first, or -1 with
 * MemoryError. */
Py_ssize_t stream_open(struct job *job, Py_ssize_t n);

/* The last n parts that were opened will not come after all. */
void stream_cut(struct job *job, Py_ssize_t n);

#endif
