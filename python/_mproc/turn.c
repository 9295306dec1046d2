/*
 * turn.c - mproc._mproc.Turn: whose turn it is, safe from what signal handlers raise
 *
 * SPDX-License-Identifier: MIT
 *
 * The interpreter runs signal handlers between two of its instructions, so an exception may come
 * between `lock.acquire(False)` and the `try` that would release the lock. A with statement has no
 * such gap: the interpreter enters the block in the instruction that calls __enter__. So the try is
 * made there, and __exit__ knows by itself whether this thread has the turn.
 *
 *     with turn as depth:
 *         if depth:
 *             ...             # this thread has the turn, for the depth-th time
 *
 * Shared state: owner and depth, under the interpreter's lock. Nothing here ever waits.
 */
#include "module.h"

#include <stdbool.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD unsigned long owner; /* the thread that has the turn, while depth is not 0 */
    Py_ssize_t depth;
} Turn;

static bool is_mine(const Turn *turn) {
    return turn->depth > 0 && turn->owner == PyThread_get_thread_ident();
}

static PyObject *turn_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Turn *turn = (Turn *)self;
    if (turn->depth > 0 && !is_mine(turn)) {
        return PyLong_FromLong(0);
    }
    PyObject *depth = PyLong_FromSsize_t(turn->depth + 1);
    if (depth != NULL) {
        turn->owner = PyThread_get_thread_ident();
        turn->depth++;
    }
    return depth;
}

static PyObject *turn_exit(PyObject *self, PyObject *Py_UNUSED(args)) {
    Turn *turn = (Turn *)self;
    if (is_mine(turn)) {
        turn->depth--;
    }
    Py_RETURN_NONE;
}

static PyMethodDef turn_methods[] = {
    {"__enter__", turn_enter, METH_NOARGS,
     "__enter__($self, /)\n--\n\n"
     "Take the turn if no other thread has it: how often this one has it now, or 0."},
    {"__exit__", turn_exit, METH_VARARGS,
     "__exit__($self, /, *args)\n--\n\nGive the turn back, if this thread has it."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef turn_members[] = {
    {"depth", T_PYSSIZET, offsetof(Turn, depth), READONLY,
     "How often the thread whose turn it is has taken it; 0: it is no thread's."},
    {NULL, 0, 0, 0, NULL},
};

static void turn_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot turn_slots[] = {
    {Py_tp_doc, (void *)"Turn()\n--\n\nWhose turn it is: a lock that is only tried, by `with`."},
    {Py_tp_dealloc, (void *)turn_dealloc},
    {Py_tp_methods, turn_methods},
    {Py_tp_members, turn_members},
    {0, NULL},
};

static PyType_Spec turn_spec = {
    .name = "mproc._mproc.Turn",
    .basicsize = sizeof(Turn),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = turn_slots,
};

int turn_add(PyObject *module) {
    return module_add_type(module, &turn_spec, &module_state(module)->turn_type, 1);
}
