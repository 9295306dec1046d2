/*
 * ticket.c - the ticket of a wait that no thread sleeps for, as an object of Python
 *
 * SPDX-License-Identifier: MIT
 */
#include "ticket.h"

static const char name[] = "mproc.ticket";

static void destroy(PyObject *capsule) {
    PyMem_Free(PyCapsule_GetPointer(capsule, name));
}

PyObject *ticket_new(const mproc_ticket *ticket) {
    mproc_ticket *copy = PyMem_Malloc(sizeof *copy);
    if (copy == NULL) {
        return PyErr_NoMemory();
    }
    *copy = *ticket;
    PyObject *capsule = PyCapsule_New(copy, name, destroy);
    if (capsule == NULL) {
        PyMem_Free(copy);
    }
    return capsule;
}

mproc_ticket *ticket_of(PyObject *capsule) {
    if (!PyCapsule_IsValid(capsule, name)) {
        PyErr_Format(PyExc_TypeError, "the ticket of a wait is needed, not %R", capsule);
        return NULL;
    }
    return PyCapsule_GetPointer(capsule, name);
}
