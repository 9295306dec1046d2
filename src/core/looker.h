/*
 * looker.h - the program mproc, started by a member of the family that it looks at
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LOOKER_H
#define MPROC_LOOKER_H

#include <stdbool.h>

/* For a new family's first member: starts a recorder (MPROC_TRACE) and a watchdog (MPROC_WATCHDOG)
 * if the environment asks for them. If one cannot be had, that is said, and the program goes on. */
void mproc__lookers_start(void);

/* Starts a watchdog of the caller's family, see the help of `mproc watch --after`. False: the
 * program is not to be found. */
bool mproc__looker_watch(const char *setting);

#endif
