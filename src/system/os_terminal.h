/*
 * os_terminal.h - a terminal whose whole screen a program has
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_OS_TERMINAL_H
#define MPROC_OS_TERMINAL_H

#include "system/base.h"

#define MPROC__TERMINAL_LEFT (-1)
#define MPROC__TERMINAL_STOP (-2)

/* Are standard input and output one that has a screen, as its TERM says? */
bool mproc__os_terminal_is(void);

/* Takes the screen, and gets keys as they are pressed, Ctrl-C among them, until the end, which puts
 * all back. A negative code: it cannot be had. */
int mproc__os_terminal_begin(void);
void mproc__os_terminal_end(void);
/* Gives all back, and stops the caller. The first call of mproc__os_terminal_key() after it takes
 * the screen again. */
void mproc__os_terminal_stop(void);

/* Rows and columns; 24 and 80 where it does not say. */
void mproc__os_terminal_size(int *rows, int *columns);

/* The next key. 0: none has come in that time, or the size has changed. MPROC__TERMINAL_LEFT: the
 * terminal is gone, or a signal asks the program to end; MPROC__TERMINAL_STOP: to stop. */
int mproc__os_terminal_key(int64_t timeout);

#endif
