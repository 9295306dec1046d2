/*
 * luggage.h - messages of a channel that name buffers, as pickles
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared arrays go through a Pipe by reference. The message may be bytes in the kernel, so it only
 * names them (mproc_channel_give()), and is a pickle whatever happens to it: of a call of
 * mproc.connection._with_luggage(channel, name, bytes). A Connection that has the channel knows
 * such a message by its first bytes. Whoever has only the bytes makes that call by unpickling them,
 * which any member of the family can do, once.
 */
#ifndef MPROC_PYTHON_LUGGAGE_H
#define MPROC_PYTHON_LUGGAGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "mproc.h"

#define LUGGAGE_CALL "\x80\x05\x8c\x10mproc.connection\x8c\x0d_with_luggage\x93"

/* The call, two ints of 8 bytes with their opcodes, bytes with an opcode and a length. */
#define LUGGAGE_HEAD (sizeof LUGGAGE_CALL - 1 + 2 * 10 + 9)

#define LUGGAGE_TAIL "\x87R."
#define LUGGAGE_TAIL_SIZE (sizeof LUGGAGE_TAIL - 1)

/* What stands before a message of so many bytes. LUGGAGE_TAIL stands behind it. */
void luggage_wrap(unsigned char head[LUGGAGE_HEAD], const mproc_channel *channel, uint64_t name,
                  size_t size);

/* Whether the bytes are such a message of this channel: its name, and the bytes inside. */
bool luggage_unwrap(const mproc_channel *channel, const void **data, size_t *size, uint64_t *name);

/* Adds with_luggage() to the module. */
int luggage_add(PyObject *module);

#endif
