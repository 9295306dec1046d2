/*
 * share.h - mproc._mproc.Share: a shared object on its way into a container, or out of it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_SHARE_H
#define MPROC_PYTHON_SHARE_H

#include "module.h"

/* One for an object of the arena, of which it takes a hold. NULL with an exception. */
PyObject *share_new(struct module_state *state, void *lent);

/* The shared object that one stands for, lent; NULL: it is no Share. */
void *share_object(struct module_state *state, PyObject *object);

#endif
