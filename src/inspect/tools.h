/*
 * tools.h - where the threads of a process are, as installed tools say
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TOOLS_H
#define MPROC_TOOLS_H

#include "system/base.h"

/* What a tool that says nothing of a process has printed is appended to this. */
#define MPROC__TOOLS_WHY 600

/* Asks a tool for stacks of Python, or those for stacks of C one after the other. Returns which of
 * them has told stacks; `text` has their lines, and nothing else that it prints. NULL: none has,
 * and `why` says so of each one that is installed. */
const char *mproc__tools_ask_python(pid_t pid, char *text, size_t size, char why[MPROC__TOOLS_WHY]);
const char *mproc__tools_ask_c(pid_t pid, char *text, size_t size, char why[MPROC__TOOLS_WHY]);

#endif
