/*
 * turn.c - mproc._mproc.Turn: whose turn it is, and a place to wait for news of it
 *
 * SPDX-License-Identifier: MIT
 *
 * The interpreter runs signal handlers between two of its instructions, so an exception may come
 * between `lock.acquire(False)` and the `try` that would release the lock. A with statement has no
 * such gap: the interpreter enters the block in the instruction that calls __enter__. So the try is
 * made there, and __exit__ knows by itself whether this thread has the turn, and wakes those who
 * wait.
 *
 *     seen = turn.news
 *     if not what_is_waited_for():
 *         with turn as depth:
 *             if depth:
 *                 ...             # this thread has the turn, for the depth-th time
 *         if not depth:
 *             turn.wait(seen, seconds)
 *
 * Nothing is missed. Whatever makes what_is_waited_for() true, be it done by the thread that has
 * the turn or with tell(), counts `news` up afterwards, and wait() does not sleep if that has
 * changed since before the condition was looked at.
 *
 * Shared state, all under the interpreter's lock: owner, depth, news, and the ring of sleepers.
 * A sleeper is its thread's, and is taken out of the ring by the thread that wakes it, or by its
 * own. It is no part of that thread's stack: a forked child has the ring, but not the threads.
 *
 * A sleep is cut into slices. A signal that comes between the look for signals and the sleep
 * interrupts nothing, so the thread looks again after each.
 */
#include "turn.h"

#include "blocking.h"

#include <stdbool.h>
#include <structmember.h>

#define SLICE (50 * MPROC_MSEC)

struct sleeper {
    struct sleeper *before, *after; /* NULL: woken */
    PyObject *key;                  /* lent: whose news wake it; NULL: all */
    PyThread_type_lock lock;        /* held until it is woken */
};

typedef struct {
    PyObject_HEAD unsigned long owner; /* the thread that has the turn, while depth is not 0 */
    Py_ssize_t depth;
    unsigned long long news;
    unsigned long long looks; /* how often somebody has come to pump */
    struct sleeper sleepers;  /* the ring's head */
} Turn;

static bool is_mine(const Turn *turn) {
    return turn->depth > 0 && turn->owner == PyThread_get_thread_ident();
}

/* ---------------------------------------------------------------- sleepers */

static void leave_ring(struct sleeper *sleeper) {
    if (sleeper->before != NULL) {
        sleeper->before->after = sleeper->after;
        sleeper->after->before = sleeper->before;
        sleeper->before = sleeper->after = NULL;
    }
}

static struct sleeper *new_sleeper(Turn *turn, PyObject *key) {
    struct sleeper *sleeper = PyMem_Malloc(sizeof *sleeper);
    PyThread_type_lock lock = PyThread_allocate_lock();
    if (sleeper == NULL || lock == NULL) {
        PyMem_Free(sleeper);
        if (lock != NULL) {
            PyThread_free_lock(lock);
        }
        return NULL;
    }
    (void)PyThread_acquire_lock(lock, NOWAIT_LOCK);
    *sleeper = (struct sleeper){turn->sleepers.before, &turn->sleepers, key, lock};
    sleeper->before->after = sleeper;
    sleeper->after->before = sleeper;
    return sleeper;
}

static void drop_sleeper(struct sleeper *sleeper) {
    leave_ring(sleeper);
    PyThread_free_lock(sleeper->lock);
    PyMem_Free(sleeper);
}

/* Wakes those who wait for a key's news; NULL: all. */
static void tell(Turn *turn, const PyObject *key) {
    struct sleeper *next, *sleeper = turn->sleepers.after;
    turn->news++;
    for (; sleeper != &turn->sleepers; sleeper = next) {
        next = sleeper->after;
        if (key == NULL || sleeper->key == NULL || sleeper->key == key) {
            leave_ring(sleeper);
            PyThread_release_lock(sleeper->lock);
        }
    }
}

/* Sleeps until it is woken. 0; -1: a signal handler raised. */
static int sleep_until(struct sleeper *sleeper, int64_t deadline) {
    for (;;) {
        int64_t left = deadline == MPROC_FOREVER ? SLICE : blocking_left(deadline);
        int64_t slice = left < SLICE ? left : SLICE;
        PyLockStatus status;
        Py_BEGIN_ALLOW_THREADS status =
            PyThread_acquire_lock_timed(sleeper->lock, (slice + 999) / 1000, 1);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) {
            return -1;
        }
        if (status == PY_LOCK_ACQUIRED || sleeper->before == NULL || left == 0) {
            return 0;
        }
    }
}

int turn_wait_for(PyObject *self, unsigned long long seen, int64_t timeout, PyObject *key) {
    Turn *turn = (Turn *)self;
    if (turn->news != seen || turn->depth == 0 || is_mine(turn) || timeout == 0) {
        return 0;
    }
    struct sleeper *sleeper = new_sleeper(turn, key);
    if (sleeper == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int r = sleep_until(sleeper, blocking_deadline(timeout));
    drop_sleeper(sleeper);
    return r;
}

/* wait(seen, seconds, key=None): see turn_methods. */
static PyObject *turn_wait(PyObject *self, PyObject *args) {
    unsigned long long seen;
    PyObject *seconds, *key = Py_None;
    int64_t timeout;
    if (!PyArg_ParseTuple(args, "KO|O:wait", &seen, &seconds, &key) ||
        blocking_timeout(seconds, &timeout) < 0 ||
        turn_wait_for(self, seen, timeout, key == Py_None ? NULL : key) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

void turn_tell_of(PyObject *self, const PyObject *key) {
    tell((Turn *)self, key);
}

unsigned long long turn_news(PyObject *self) {
    return ((Turn *)self)->news;
}

static PyObject *turn_tell(PyObject *self, PyObject *args) {
    PyObject *key = Py_None;
    if (!PyArg_ParseTuple(args, "|O:tell", &key)) {
        return NULL;
    }
    tell((Turn *)self, key == Py_None ? NULL : key);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- the turn */

Py_ssize_t turn_take(PyObject *self) {
    Turn *turn = (Turn *)self;
    if (turn->depth > 0 && !is_mine(turn)) {
        return 0;
    }
    turn->owner = PyThread_get_thread_ident();
    return ++turn->depth;
}

void turn_leave(PyObject *self) {
    Turn *turn = (Turn *)self;
    if (is_mine(turn)) {
        turn->depth--;
        tell(turn, NULL);
    }
}

Py_ssize_t turn_depth(PyObject *self) {
    return ((Turn *)self)->depth;
}

void turn_look(PyObject *self) {
    ((Turn *)self)->looks++;
}

static PyObject *turn_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_ssize_t n = turn_take(self);
    PyObject *depth = PyLong_FromSsize_t(n);
    if (depth == NULL && n > 0) {
        ((Turn *)self)->depth--;
    }
    return depth;
}

static PyObject *turn_exit(PyObject *self, PyObject *Py_UNUSED(args)) {
    turn_leave(self);
    Py_RETURN_NONE;
}

static PyMethodDef turn_methods[] = {
    {"__enter__", turn_enter, METH_NOARGS,
     "__enter__($self, /)\n--\n\n"
     "Take the turn if no other thread has it: how often this one has it now, or 0."},
    {"__exit__", turn_exit, METH_VARARGS,
     "__exit__($self, /, *args)\n--\n\n"
     "Give the turn back, if this thread has it, and wake all who wait."},
    {"wait", turn_wait, METH_VARARGS,
     "wait($self, seen, seconds, key=None, /)\n--\n\n"
     "Sleep until there is news, of the key if one is given, or for so long; None: for ever.\n"
     "Not at all if news is not what was seen, or the turn is no other thread's."},
    {"tell", turn_tell, METH_VARARGS,
     "tell($self, key=None, /)\n--\n\n"
     "Count the news up, and wake those who wait for that key's, or all."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef turn_members[] = {
    {"depth", T_PYSSIZET, offsetof(Turn, depth), READONLY,
     "How often the thread whose turn it is has taken it; 0: it is no thread's."},
    {"news", T_ULONGLONG, offsetof(Turn, news), READONLY,
     "Changes whenever a thread that had the turn gives it back, and with tell()."},
    {"looks", T_ULONGLONG, offsetof(Turn, looks), READONLY, "How often somebody has come to pump."},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *turn_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Turn", names)) {
        return NULL;
    }
    Turn *turn = (Turn *)type->tp_alloc(type, 0);
    if (turn != NULL) {
        turn->sleepers.before = turn->sleepers.after = &turn->sleepers;
    }
    return (PyObject *)turn;
}

static void turn_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot turn_slots[] = {
    {Py_tp_doc, (void *)"Turn()\n--\n\n"
                        "Whose turn it is: a lock that is only tried, by `with`; and its news."},
    {Py_tp_new, (void *)turn_new},
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
