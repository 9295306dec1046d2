/*
 * template.h - mproc._mproc.Template, for those who start children of one
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_TEMPLATE_H
#define MPROC_PYTHON_TEMPLATE_H

#include "module.h"
#include "mproc.h"

/* The core's handle of a Template. NULL with TypeError for another object, with ValueError for one
 * that has been dropped. */
mproc_template *template_handle(struct module_state *state, PyObject *object);

#endif
