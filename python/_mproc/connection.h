/* connection.h: one end of a pipe or socket, as multiprocessing.connection.Connection. */
#ifndef MPROC_PYTHON_CONNECTION_H
#define MPROC_PYTHON_CONNECTION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "module.h"

/* The descriptor of anything that can be waited for: a Connection, an int, an object with fileno().
 * -1 with an exception. */
int connection_descriptor(struct module_state *state, PyObject *object);

#endif
