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

struct binding {
    PyObject *lock;    /* a Lock or RLock; NULL until it is bound */
    PyObject *acquire; /* its bound methods, which are the condition's own, too */
    PyObject *release;
    int recursive;
};

struct condition {
    struct handle handle;
    struct binding binding;
};

static struct condition *condition_at(PyObject *self) {
    return (struct condition *)self;
}

static mproc_condition *condition_of(PyObject *self) {
    return handle_object(self);
}

/* ---------------------------------------------------------------- life */

static void unbind(struct binding *binding) {
    Py_XDECREF(binding->lock);
    Py_XDECREF(binding->acquire);
    Py_XDECREF(binding->release);
}

/* The condition has one whole binding after another; who waits keeps what it began with. */
static void replace(PyObject *self, struct binding *binding) {
    struct binding old;
    Py_BEGIN_CRITICAL_SECTION(self);
    old = condition_at(self)->binding;
    condition_at(self)->binding = *binding;
    Py_END_CRITICAL_SECTION();
    unbind(&old);
}

static int bind(PyObject *self, PyObject *lock) {
    struct module_state *state = module_state_of(self);
    if (state == NULL) {
        return -1;
    }
    int recursive = module_is_a(lock, state->rlock_type);
    if (!recursive && !module_is_a(lock, state->lock_type)) {
        PyErr_Format(PyExc_TypeError, "a condition works over a Lock or RLock, not %R", lock);
        return -1;
    }
    struct binding binding = {Py_NewRef(lock), PyObject_GetAttrString(lock, "acquire"), NULL,
                              recursive};
    if (binding.acquire != NULL) {
        binding.release = PyObject_GetAttrString(lock, "release");
    }
    if (binding.release == NULL) {
        unbind(&binding);
        return -1;
    }
    replace(self, &binding);
    return 0;
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
    if (self != NULL && bind(self, lock) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int condition_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(condition_at(self)->binding.lock);
    Py_VISIT(condition_at(self)->binding.acquire);
    Py_VISIT(condition_at(self)->binding.release);
    return 0;
}

static int condition_clear(PyObject *self) {
    Py_CLEAR(condition_at(self)->binding.lock);
    Py_CLEAR(condition_at(self)->binding.acquire);
    Py_CLEAR(condition_at(self)->binding.release);
    return 0;
}

static void condition_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    (void)condition_clear(self);
    handle_dealloc(self);
}

static void has_no_lock(void) {
    PyErr_SetString(PyExc_ValueError, "the condition has no lock");
}

/* The lock that a call works with to its end, whatever the condition is bound to meanwhile. */
struct held {
    PyObject *lock; /* owned */
    int recursive;
};

/* 0, or -1 with an exception: the condition has none. */
static int hold_lock(PyObject *self, struct held *out) {
    Py_BEGIN_CRITICAL_SECTION(self);
    out->lock = Py_XNewRef(condition_at(self)->binding.lock);
    out->recursive = condition_at(self)->binding.recursive;
    Py_END_CRITICAL_SECTION();
    if (out->lock == NULL) {
        has_no_lock();
    }
    return out->lock == NULL ? -1 : 0;
}

static PyObject *condition_setstate(PyObject *self, PyObject *lock) {
    if (bind(self, lock) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- waiting */

/* The last holder of the lock died. The waiter holds the lock all the same, for it will release
 * it. */
static PyObject *owner_died(const struct held *held) {
    mproc_lock_holder dead;
    if (acquire_recovers(held->lock)) {
        Py_RETURN_TRUE;
    }
    if (held->recursive) {
        mproc_rlock_dead_owner(handle_object(held->lock), &dead);
    } else {
        mproc_lock_dead_owner(handle_object(held->lock), &dead);
    }
    return acquire_owner_died(&dead);
}

static PyObject *wait_with(PyObject *self, const struct held *held, int64_t timeout) {
    void *lock = handle_object(held->lock);
    int64_t deadline = blocking_deadline(timeout);
    int r;
    BLOCKING(r, mproc_condition_wait(condition_of(self), lock, blocking_left(deadline)));
    if (r == MPROC_ENOTHELD) {
        PyErr_SetString(PyExc_AssertionError, "must acquire() condition before using wait()");
        return NULL;
    }
    return r == -EOWNERDEAD ? owner_died(held) : acquire_result(r);
}

static PyObject *condition_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names) {
    int64_t timeout;
    struct held held;
    if (acquire_wait_timeout(args, nargs, names, &timeout) < 0 || hold_lock(self, &held) < 0) {
        return NULL;
    }
    PyObject *result = wait_with(self, &held, timeout);
    Py_DECREF(held.lock);
    return result;
}

/* Whether the calling thread holds the lock. -1 with an exception: there is none. */
static int is_mine(PyObject *self) {
    struct held held;
    if (hold_lock(self, &held) < 0) {
        return -1;
    }
    void *lock = handle_object(held.lock);
    int mine = held.recursive ? mproc_rlock_depth(lock) != 0 : mproc_lock_is_mine(lock) != 0;
    Py_DECREF(held.lock);
    return mine;
}

/* ---------------------------------------------------------------- waiting in a coroutine */

/* The lock stays as it is. */
static PyObject *condition_begin(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_ticket ticket;
    int r, mine = is_mine(self);
    if (mine == 0) {
        PyErr_SetString(PyExc_AssertionError, "must acquire() condition before using await_()");
    }
    if (mine <= 0) {
        return NULL;
    }
    BLOCKING(r, mproc_condition_begin(condition_of(self), &ticket));
    if (r != 0) {
        return r == BLOCKING_RAISED ? NULL : error_raise(r);
    }
    PyObject *capsule = ticket_new(&ticket);
    if (capsule == NULL) {
        (void)mproc_condition_end(condition_of(self), &ticket);
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

static PyObject *notify(PyObject *self, unsigned n) {
    int mine = is_mine(self);
    if (mine == 0) {
        PyErr_SetString(PyExc_AssertionError, "lock is not owned");
    }
    if (mine <= 0) {
        return NULL;
    }
    mproc_condition_notify(condition_of(self), n);
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

/* What stands at an offset in the condition: a new reference, or NULL. */
static PyObject *part_at(PyObject *self, size_t offset) {
    PyObject *part;
    Py_BEGIN_CRITICAL_SECTION(self);
    part = Py_XNewRef(*(PyObject **)((char *)self + offset));
    Py_END_CRITICAL_SECTION();
    return part;
}

static PyObject *call(PyObject *self, size_t offset) {
    PyObject *method = part_at(self, offset);
    if (method == NULL) {
        has_no_lock();
        return NULL;
    }
    PyObject *result = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return result;
}

static PyObject *condition_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return call(self, offsetof(struct condition, binding.acquire));
}

static PyObject *condition_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(nargs)) {
    return call(self, offsetof(struct condition, binding.release));
}

/* The closure is the offset. */
static PyObject *get_part(PyObject *self, void *offset) {
    PyObject *part = part_at(self, (size_t)(uintptr_t)offset);
    return part != NULL ? part : Py_NewRef(Py_None);
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

#define PART(name, field, doc)                                                                     \
    { name, get_part, NULL, doc, (void *)offsetof(struct condition, binding.field) }

static PyGetSetDef condition_getset[] = {
    PART("_lock", lock, "The Lock or RLock."),
    PART("acquire", acquire, "The lock's acquire."),
    PART("release", release, "The lock's release."),
    HANDLE_ADDRESS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, "Waiting for a notification, with a lock released meanwhile."},
    {Py_tp_new, (void *)condition_new},
    {Py_tp_dealloc, (void *)condition_dealloc},
    {Py_tp_traverse, (void *)condition_traverse},
    {Py_tp_clear, (void *)condition_clear},
    {Py_tp_methods, condition_methods},
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
