/*
 * ticket.h - the ticket of a wait that no thread sleeps for, as an object of Python
 *
 * SPDX-License-Identifier: MIT
 *
 * A capsule: only aio.py has it, and passes it back.
 */
#ifndef TICKET_H
#define TICKET_H

#include "module.h"
#include "mproc.h"

/* A new one, or NULL with an exception. */
PyObject *ticket_new(const mproc_ticket *ticket);

/* NULL with TypeError: something else. */
mproc_ticket *ticket_of(PyObject *capsule);

#endif
