/*
 * engine.h - mproc._mproc.Engine: who collects a pool's results, and who waits for them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_ENGINE_H
#define MPROC_PYTHON_ENGINE_H

#include "job.h"

/* Waits until a job is ready, or for `timeout` seconds; None: for ever. 0; -1 with an exception. */
int engine_wait(PyObject *engine, struct job *job, PyObject *timeout);

#endif
