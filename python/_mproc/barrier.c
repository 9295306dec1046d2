/*
 * barrier.c - mproc._mproc.Barrier: the hot path of synchronize.Barrier
 *
 * SPDX-License-Identifier: MIT
 *
 * A barrier without an action is passed in one call. One with an action is passed in two: _arrive()
 * says which party came last; that party runs the action, then lets all pass by _open(). abort() in
 * its place breaks the barrier.
 */
#include "acquire.h"
#include "ticket.h"

static mproc_barrier *barrier_of(PyObject *self) {
    return handle_object(self);
}

/* A code, or BLOCKING_RAISED. */
static int make(PyObject *number, mproc_barrier **out) {
    long long parties = PyLong_AsLongLong(number);
    if (parties == -1 && PyErr_Occurred()) {
        return BLOCKING_RAISED;
    }
    if (parties < 1 || parties > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "parties must be >= 1 and < 2**31, not %lld", parties);
        return BLOCKING_RAISED;
    }
    return mproc_barrier_new(out, (unsigned)parties);
}

/* Barrier(parties) */
static PyObject *barrier_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *parties;
    mproc_barrier *barrier = NULL;
    if (!PyArg_ParseTuple(args, "O:Barrier", &parties)) {
        return NULL;
    }
    int r = make(parties, &barrier);
    return r == BLOCKING_RAISED ? NULL : handle_new(type, r, barrier);
}

/* For a subclass whose constructor takes other arguments: only now is it known what was meant. */
static PyObject *barrier_make(PyObject *self, PyObject *parties) {
    mproc_barrier *barrier = NULL;
    int r = make(parties, &barrier);
    if (r < 0) {
        return r == BLOCKING_RAISED ? NULL : error_raise(r);
    }
    if (handle_replace(self, barrier) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The value of a call that succeeded, owned, or the exception of its code. */
static PyObject *result(PyObject *self, int code, PyObject *value) {
    if (code >= 0) {
        return value;
    }
    Py_XDECREF(value);
    if (code == MPROC_EBROKEN) {
        struct module_state *state = module_state_of(self);
        return state == NULL ? NULL : module_raise(state, MODULE_BROKEN_BARRIER, NULL);
    }
    return code == BLOCKING_RAISED ? NULL : error_raise(code);
}

/* Calls one of the core's two functions that wait. Its code, or BLOCKING_RAISED. */
static int wait_by(PyObject *self, PyObject *seconds, unsigned *index,
                   int (*wait)(mproc_barrier *barrier, int64_t timeout, unsigned *index)) {
    int64_t timeout;
    int r;
    if (blocking_timeout(seconds, &timeout) < 0) {
        return BLOCKING_RAISED;
    }
    mproc_barrier *barrier = barrier_of(self);
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, wait(barrier, blocking_left(deadline), index));
    return r;
}

static PyObject *barrier_pass(PyObject *self, PyObject *seconds) {
    unsigned index = 0;
    int r = wait_by(self, seconds, &index, mproc_barrier_wait);
    return result(self, r, r == 0 ? PyLong_FromUnsignedLong(index) : NULL);
}

static PyObject *barrier_arrive(PyObject *self, PyObject *seconds) {
    unsigned index = 0;
    int r = wait_by(self, seconds, &index, mproc_barrier_arrive);
    return result(self, r, r >= 0 ? Py_BuildValue("(IN)", index, PyBool_FromLong(r)) : NULL);
}

/* ---------------------------------------------------------------- waiting in a coroutine */

/* (order of coming, whether the caller has to _open()). */
static PyObject *passed(PyObject *self, int r, const mproc_ticket *ticket) {
    return result(self, r,
                  r >= 0 ? Py_BuildValue("(IN)", ticket->index, PyBool_FromLong(r)) : NULL);
}

/* A ticket, or at once what _try() returns. */
static PyObject *barrier_begin(PyObject *self, PyObject *action) {
    mproc_barrier *barrier = barrier_of(self);
    mproc_ticket ticket;
    int r, acts = PyObject_IsTrue(action);
    if (acts < 0) {
        return NULL;
    }
    BLOCKING(r, mproc_barrier_begin(barrier, acts, &ticket));
    if (r != -EAGAIN) {
        return passed(self, r, &ticket);
    }
    PyObject *capsule = ticket_new(&ticket);
    if (capsule == NULL) {
        (void)mproc_barrier_end(barrier, &ticket);
    }
    return capsule;
}

static PyObject *barrier_try(PyObject *self, PyObject *capsule) {
    mproc_ticket *ticket = ticket_of(capsule);
    int r;
    if (ticket == NULL) {
        return NULL;
    }
    BLOCKING(r, mproc_barrier_try(barrier_of(self), ticket));
    if (r == -EAGAIN) {
        Py_RETURN_NONE;
    }
    return passed(self, r, ticket);
}

static PyObject *barrier_end(PyObject *self, PyObject *capsule) {
    mproc_ticket *ticket = ticket_of(capsule);
    if (ticket == NULL) {
        return NULL;
    }
    (void)mproc_barrier_end(barrier_of(self), ticket);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- opening, breaking */

static PyObject *barrier_open(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return result(self, mproc_barrier_open(barrier_of(self)), Py_NewRef(Py_None));
}

static PyObject *barrier_abort(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_barrier_abort(barrier_of(self));
    Py_RETURN_NONE;
}

static PyObject *barrier_reset(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_barrier_reset(barrier_of(self));
    Py_RETURN_NONE;
}

static PyObject *barrier_broken(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_barrier_broken(barrier_of(self)));
}

static PyObject *barrier_waiting(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_barrier_waiting(barrier_of(self)));
}

static PyObject *barrier_parties(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_barrier_parties(barrier_of(self)));
}

static PyMethodDef barrier_methods[] = {
    {"_make", barrier_make, METH_O,
     "_make($self, parties, /)\n--\n\nBecome a new barrier, of so many parties."},
    {"_pass", barrier_pass, METH_O,
     "_pass($self, timeout, /)\n--\n\nWait for all parties; the order of coming."},
    {"_arrive", barrier_arrive, METH_O,
     "_arrive($self, timeout, /)\n--\n\n"
     "The order of coming, and whether this party came last and has to _open()."},
    {"_open", barrier_open, METH_NOARGS, "_open($self, /)\n--\n\nLet all pass."},
    {"_begin", barrier_begin, METH_O,
     "_begin($self, action, /)\n--\n\n"
     "Come without sleeping: a ticket, or at once what _try() returns."},
    {"_try", barrier_try, METH_O,
     "_try($self, ticket, /)\n--\n\nWhat _arrive() returns, or None if not all have come."},
    {"_end", barrier_end, METH_O, "_end($self, ticket, /)\n--\n\nNo longer wait."},
    {"abort", barrier_abort, METH_NOARGS, "abort($self, /)\n--\n\nBreak the barrier."},
    {"reset", barrier_reset, METH_NOARGS,
     "reset($self, /)\n--\n\nMake it as new; parties that wait get BrokenBarrierError."},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getset[] = {
    {"broken", barrier_broken, NULL, "True while the barrier is broken.", NULL},
    {"n_waiting", barrier_waiting, NULL, "How many parties wait.", NULL},
    {"parties", barrier_parties, NULL, "How many parties have to come.", NULL},
    HANDLE_ADDRESS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, "A number of parties that wait for each other."},
    {Py_tp_new, (void *)barrier_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getset},
    {0, NULL},
};

static PyType_Spec barrier_spec = {
    .name = "mproc._mproc.Barrier",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = barrier_slots,
};

int barrier_add(PyObject *module) {
    return module_add_type(module, &barrier_spec, &module_state(module)->barrier_type, 1);
}
