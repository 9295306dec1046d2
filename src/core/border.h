/*
 * border.h - the frame that no C++ exception passes
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BORDER_H
#define MPROC_BORDER_H

/* Calls run(arg), in which a function of the program's own is called, and returns its result. An
 * exception that leaves that function ends the process, as one does that leaves a function of C++
 * that is noexcept. */
int mproc__border(int (*run)(void *arg), void *arg);

#endif
