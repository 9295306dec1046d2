/*
 * condition.c - mproc._mproc.Condition: the hot path of synchronize.Condition
 *
 * SPDX-License-Identifier: MIT
 *
 * A condition of Python has one lock for life, but the shared object does not know it. So each
 * process's handle of the condition has a reference to its own handle of the lock, and gets it when
 * it is made or unpickled (__setstate__).
 */
#include "acquire.h"
#include "arguments.h"
#include "ticket.h"

struct condition {
    struct handle handle;
    PyObject *lock;    /* a Lock or RLock; NULL until it is bound */
    PyObject *acquire; /* its bound methods, which are the condition's own, too */
    PyObject *release;
    int recursive;
};

static struct condition *condition_at(PyObject *self) {
    return (struct condition *)self;
}

static mproc_condition *condition_of(PyObject *self) {
    return handle_object(self);
}

/* ---------------------------------------------------------------- life */

static int bind(struct condition *self, PyObject *lock) {
    struct module_state *state = module_state_of((PyObject *)self);
    if (state == NULL) {
        return -1;
    }
    self->recursive = module_is_a(lock, state->rlock_type);
    if (!self->recursive && !module_is_a(lock, state->lock_type)) {
        PyErr_Format(PyExc_TypeError, "a condition works over a Lock or RLock, not %R", lock);
        return -1;
    }
    Py_XSETREF(self->lock, Py_NewRef(lock));
    Py_XSETREF(self->acquire, PyObject_GetAttrString(lock, "acquire"));
    Py_XSETREF(self->release, PyObject_GetAttrString(lock, "release"));
    return self->acquire != NULL && self->release != NULL ? 0 : -1;
}

/* Condition(lock) */
static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *lock;
    if (!PyArg_ParseTuple(args, "O:Condition", &lock)) {
        return NULL;
    }
    mproc_condition *condition = NULL;
    int r = mproc_condition_new(&condition);
    PyObject *self = handle_new(type, r, condition);
    if (self != NULL && bind(condition_at(self), lock) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int condition_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(condition_at(self)->lock);
    Py_VISIT(condition_at(self)->acquire);
    Py_VISIT(condition_at(self)->release);
    return 0;
}

static int condition_clear(PyObject *self) {
    Py_CLEAR(condition_at(self)->lock);
    Py_CLEAR(condition_at(self)->acquire);
    Py_CLEAR(condition_at(self)->release);
    return 0;
}

static void condition_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    (void)condition_clear(self);
    handle_dealloc(self);
}

/* The handle with its lock, or NULL with an exception if it has none. */
static struct condition *bound(PyObject *self) {
    if (condition_at(self)->lock == NULL) {
        PyErr_SetString(PyExc_ValueError, "the condition has no lock");
        return NULL;
    }
    return condition_at(self);
}

static PyObject *condition_setstate(PyObject *self, PyObject *lock) {
    if (bind(condition_at(self), lock) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- waiting */

/* The last holder of the lock died. The waiter holds the lock all the same, for it will release
 * it. */
static PyObject *owner_died(struct condition *self) {
    mproc_lock_holder dead;
    if (acquire_recovers(self->lock)) {
        Py_RETURN_TRUE;
    }
    if (self->recursive) {
        mproc_rlock_dead_owner(handle_object(self->lock), &dead);
    } else {
        mproc_lock_dead_owner(handle_object(self->lock), &dead);
    }
    return acquire_owner_died(&dead);
}

static PyObject *condition_wait(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    int64_t timeout;
    int r;
    struct condition *self = bound(object);
    if (self == NULL || acquire_wait_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    void *lock = handle_object(self->lock);
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, mproc_condition_wait(condition_of(object), lock, blocking_left(deadline)));
    if (r == MPROC_ENOTHELD) {
        PyErr_SetString(PyExc_AssertionError, "must acquire() condition before using wait()");
        return NULL;
    }
    return r == -EOWNERDEAD ? owner_died(self) : acquire_result(r);
}

static int is_mine(const struct condition *self) {
    return self->recursive ? mproc_rlock_depth(handle_object(self->lock)) != 0
                           : mproc_lock_is_mine(handle_object(self->lock));
}

/* ---------------------------------------------------------------- waiting in a coroutine */

/* The lock stays as it is. */
static PyObject *condition_begin(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct condition *self = bound(object);
    mproc_ticket ticket;
    int r;
    if (self == NULL) {
        return NULL;
    }
    if (!is_mine(self)) {
        PyErr_SetString(PyExc_AssertionError, "must acquire() condition before using await_()");
        return NULL;
    }
    BLOCKING(r, mproc_condition_begin(condition_of(object), &ticket));
    if (r != 0) {
        return r == BLOCKING_RAISED ? NULL : error_raise(r);
    }
    PyObject *capsule = ticket_new(&ticket);
    if (capsule == NULL) {
        (void)mproc_condition_end(condition_of(object), &ticket);
    }
    return capsule;
}

static PyObject *condition_notified(PyObject *self, PyObject *capsule) {
    const mproc_ticket *ticket = ticket_of(capsule);
    int r = ticket == NULL ? 0 : mproc_condition_notified(condition_of(self), ticket);
    return ticket == NULL ? NULL : r < 0 ? error_raise(r) : PyBool_FromLong(r);
}

static PyObject *condition_end(PyObject *self, PyObject *capsule) {
    mproc_ticket *ticket = ticket_of(capsule);
    int r = ticket == NULL ? 0 : mproc_condition_end(condition_of(self), ticket);
    return ticket == NULL ? NULL : PyBool_FromLong(r == 0);
}

/* ---------------------------------------------------------------- notifying */

static int owned(const struct condition *self) {
    int mine = is_mine(self);
    if (!mine) {
        PyErr_SetString(PyExc_AssertionError, "lock is not owned");
    }
    return mine;
}

static PyObject *notify(PyObject *object, unsigned n) {
    struct condition *self = bound(object);
    if (self == NULL || !owned(self)) {
        return NULL;
    }
    mproc_condition_notify(condition_of(object), n);
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names) {
    static const char *const keywords[] = {"n"};
    PyObject *number = NULL;
    if ((nargs > 0 || names != NULL) &&
        arguments_spread("notify", keywords, &number, 1, args, nargs, names) < 0) {
        return NULL;
    }
    Py_ssize_t n = number == NULL ? 1 : PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return notify(self, n < 0 ? 0 : n > (Py_ssize_t)UINT32_MAX ? UINT32_MAX : (unsigned)n);
}

static PyObject *condition_notify_all(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return notify(self, UINT32_MAX);
}

/* ---------------------------------------------------------------- the lock's */

static PyObject *condition_enter(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct condition *self = bound(object);
    return self == NULL ? NULL : PyObject_CallNoArgs(self->acquire);
}

static PyObject *condition_exit(PyObject *object, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(nargs)) {
    struct condition *self = bound(object);
    return self == NULL ? NULL : PyObject_CallNoArgs(self->release);
}

static PyObject *condition_waiting(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_condition_waiting(condition_of(self)));
}

static PyMethodDef condition_methods[] = {
    {"wait", MODULE_METHOD(condition_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Release the lock, wait until notified, take the lock again.\n\n"
     "False if timeout seconds passed first. OwnerDiedError: the last holder of the lock died; "
     "the\n"
     "lock is held all the same. AssertionError if the calling thread does not hold the lock."},
    {"notify", MODULE_METHOD(condition_notify), METH_FASTCALL | METH_KEYWORDS,
     "notify($self, n=1)\n--\n\nEnd the n longest waits. AssertionError as wait()."},
    {"notify_all", condition_notify_all, METH_NOARGS,
     "notify_all($self, /)\n--\n\nEnd all waits. AssertionError as wait()."},
    {"_begin", condition_begin, METH_NOARGS,
     "_begin($self, /)\n--\n\nWait without sleeping: a ticket. The lock stays acquired."},
    {"_notified", condition_notified, METH_O,
     "_notified($self, ticket, /)\n--\n\nTrue: that wait is over."},
    {"_end", condition_end, METH_O,
     "_end($self, ticket, /)\n--\n\nNo longer wait; True if it was notified."},
    {"_waiting", condition_waiting, METH_NOARGS,
     "_waiting($self, /)\n--\n\nHow many threads of living processes wait."},
    {"__setstate__", condition_setstate, METH_O, NULL},
    {"__enter__", condition_enter, METH_NOARGS, NULL},
    {"__exit__", MODULE_METHOD(condition_exit), METH_FASTCALL, NULL},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyMemberDef condition_members[] = {
    {"_lock", T_OBJECT, offsetof(struct condition, lock), READONLY, "The Lock or RLock."},
    {"acquire", T_OBJECT, offsetof(struct condition, acquire), READONLY, "The lock's acquire."},
    {"release", T_OBJECT, offsetof(struct condition, release), READONLY, "The lock's release."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef condition_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, "Waiting for a notification, with a lock released meanwhile."},
    {Py_tp_new, (void *)condition_new},
    {Py_tp_dealloc, (void *)condition_dealloc},
    {Py_tp_traverse, (void *)condition_traverse},
    {Py_tp_clear, (void *)condition_clear},
    {Py_tp_methods, condition_methods},
    {Py_tp_members, condition_members},
    {Py_tp_getset, condition_getset},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "mproc._mproc.Condition",
    .basicsize = sizeof(struct condition),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = condition_slots,
};

int condition_add(PyObject *module) {
    return module_add_type(module, &condition_spec, &module_state(module)->condition_type, 1);
}
