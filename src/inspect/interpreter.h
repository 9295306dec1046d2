/*
 * interpreter.h - where the threads of a process of Python are, as its interpreter says itself
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_INTERPRETER_H
#define MPROC_INTERPRETER_H

#include "system/base.h"

/* Has the process mproc for Python? */
bool mproc__interpreter_is(pid_t pid);

/* Has it tell by sys.remote_exec() or faulthandler, and returns which; `text` has lines for each
 * thread. NULL: it does not, and `text` says why. */
const char *mproc__interpreter_ask(pid_t pid, char *text, size_t size);

/* Is a file's name that of an interpreter of Python 3.minor, such as python3.14, python3, python,
 * python3.14t? */
bool mproc__interpreter_is_called(const char *program, int minor);

#endif
