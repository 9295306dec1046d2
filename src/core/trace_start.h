/*
 * trace_start.h - a family that is recorded from its beginning: MPROC_TRACE
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TRACE_START_H
#define MPROC_TRACE_START_H

/* For a new family's first member: starts a recorder if the environment asks for one. If it cannot
 * be had, that is said, and the program goes on. */
void mproc__trace_start(void);

#endif
