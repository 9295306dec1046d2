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
 * Shared state, changed under the interpreter's lock, or under `lock` where there is none: owner,
 * depth, news, and the ring of sleepers. A sleeper is its thread's, and is taken out of the ring by
 * the thread that wakes it, or by its own. It is no part of that thread's stack: a forked child has
 * the ring, but not the threads.
 *
 * A sleep is cut into slices. A signal that comes between the look for signals and the sleep
 * interrupts nothing, so the thread looks again after each.
 */
#include "turn.h"

#include "blocking.h"

#include <stdbool.h>

#define SLICE (50 * MPROC_MSEC)

struct sleeper {
    struct sleeper *before, *after; /* NULL: woken; its thread reads `before` without the lock */
    PyObject *key;                  /* lent: whose news wake it; NULL: all */
    PyThread_type_lock lock;        /* held until it is woken */
};

typedef struct {
    PyObject_HEAD unsigned long owner; /* the thread that has the turn, while depth is not 0 */
    Py_ssize_t depth;
    unsigned long long news;
    unsigned long long looks; /* how often somebody has come to pump */
    struct sleeper sleepers;  /* the ring's head */
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
} Turn;

/* No other thread makes it so, nor ends it. */
static bool is_mine(const Turn *turn) {
    return THREADS_LOAD(turn->depth) > 0 &&
           THREADS_LOAD(turn->owner) == PyThread_get_thread_ident();
}

/* ---------------------------------------------------------------- sleepers */

/* Under the lock. */
static void leave_ring(struct sleeper *sleeper) {
    if (sleeper->before != NULL) {
        sleeper->before->after = sleeper->after;
        THREADS_STORE(sleeper->after->before, sleeper->before);
        sleeper->after = NULL;
        THREADS_STORE(sleeper->before, NULL);
    }
}

static struct sleeper *new_sleeper(PyObject *key) {
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
    *sleeper = (struct sleeper){NULL, NULL, key, lock};
    return sleeper;
}

/* The thread that tells of it may have woken it, and not have let go of it. */
static void drop_sleeper(Turn *turn, struct sleeper *sleeper) {
    THREADS_LOCK(&turn->lock);
    leave_ring(sleeper);
    THREADS_UNLOCK(&turn->lock);
    (void)turn;
    PyThread_free_lock(sleeper->lock);
    PyMem_Free(sleeper);
}

/* There is nothing to wait for: there are news, or no other thread has the turn. */
static bool is_told(const Turn *turn, unsigned long long seen) {
    return THREADS_LOAD(turn->news) != seen || THREADS_LOAD(turn->depth) == 0 || is_mine(turn);
}

/* In one step with the look at the news, or those that come in between would be missed. */
static bool join_ring(Turn *turn, struct sleeper *sleeper, unsigned long long seen) {
    THREADS_LOCK(&turn->lock);
    bool joins = !is_told(turn, seen);
    if (joins) {
        sleeper->before = turn->sleepers.before;
        sleeper->after = &turn->sleepers;
        sleeper->before->after = sleeper;
        THREADS_STORE(sleeper->after->before, sleeper);
    }
    THREADS_UNLOCK(&turn->lock);
    return joins;
}

/* Wakes those who wait for a key's news; NULL: all. Under the lock. */
static void tell_sleepers(Turn *turn, const PyObject *key) {
    struct sleeper *next, *sleeper = turn->sleepers.after;
    THREADS_STORE(turn->news, turn->news + 1);
    for (; sleeper != &turn->sleepers; sleeper = next) {
        next = sleeper->after;
        if (key == NULL || sleeper->key == NULL || sleeper->key == key) {
            leave_ring(sleeper);
            PyThread_release_lock(sleeper->lock);
        }
    }
}

static void tell(Turn *turn, const PyObject *key) {
    THREADS_LOCK(&turn->lock);
    tell_sleepers(turn, key);
    THREADS_UNLOCK(&turn->lock);
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
        if (status == PY_LOCK_ACQUIRED || THREADS_LOAD(sleeper->before) == NULL || left == 0) {
            return 0;
        }
    }
}

int turn_wait_for(PyObject *self, unsigned long long seen, int64_t timeout, PyObject *key) {
    Turn *turn = (Turn *)self;
    if (is_told(turn, seen) || timeout == 0) {
        return 0;
    }
    struct sleeper *sleeper = new_sleeper(key);
    if (sleeper == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int r = join_ring(turn, sleeper, seen) ? sleep_until(sleeper, blocking_deadline(timeout)) : 0;
    drop_sleeper(turn, sleeper);
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
    return THREADS_LOAD(((Turn *)self)->news);
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
    Py_ssize_t depth = 0;
    THREADS_LOCK(&turn->lock);
    if (turn->depth == 0 || is_mine(turn)) {
        THREADS_STORE(turn->owner, PyThread_get_thread_ident());
        depth = turn->depth + 1;
        THREADS_STORE(turn->depth, depth);
    }
    THREADS_UNLOCK(&turn->lock);
    return depth;
}

void turn_leave(PyObject *self) {
    Turn *turn = (Turn *)self;
    if (is_mine(turn)) {
        THREADS_LOCK(&turn->lock);
        THREADS_STORE(turn->depth, turn->depth - 1);
        tell_sleepers(turn, NULL);
        THREADS_UNLOCK(&turn->lock);
    }
}

Py_ssize_t turn_depth(PyObject *self) {
    return THREADS_LOAD(((Turn *)self)->depth);
}

void turn_look(PyObject *self) {
    Turn *turn = (Turn *)self;
    THREADS_LOCK(&turn->lock);
    THREADS_STORE(turn->looks, turn->looks + 1);
    THREADS_UNLOCK(&turn->lock);
}

static PyObject *turn_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_ssize_t n = turn_take(self);
    PyObject *depth = PyLong_FromSsize_t(n);
    if (depth == NULL && n > 0) {
        turn_leave(self);
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

static PyObject *get_depth(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(turn_depth(self));
}

static PyObject *get_news(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLongLong(turn_news(self));
}

static PyObject *get_looks(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLongLong(THREADS_LOAD(((Turn *)self)->looks));
}

static PyGetSetDef turn_getset[] = {
    {"depth", get_depth, NULL,
     "How often the thread whose turn it is has taken it; 0: it is no thread's.", NULL},
    {"news", get_news, NULL,
     "Changes whenever a thread that had the turn gives it back, and with tell().", NULL},
    {"looks", get_looks, NULL, "How often somebody has come to pump.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
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
    {Py_tp_getset, turn_getset},
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
