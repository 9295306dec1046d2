/*
 * future.c - mproc._mproc.Future: what a future of an executor is made of
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The class of an executor's futures is derived from this one and, for isinstance(),
 * from concurrent.futures.Future. The methods here take the place of all that the latter would
 * do. State, result and exception stand in fields. What a program sees of the private names
 * (_condition, _waiters, _done_callbacks, _state, _result, _exception) is what it sees of a
 * standard future, but condition and lists are made when somebody asks for them. Few do: a future
 * whose result is fetched by result() never has any.
 *
 * Its engine. As long as the future has one, results are collected by those who wait for them.
 * result() and exception() have the engine collect; callbacks and waiters of foreign code have it
 * call its helper, because they cannot.
 *
 * Locking. A change of the fields is one step under the interpreter's lock, or under `lock` where
 * there is none: hold() takes it, and who has changed the fields lets go of it. If there is a
 * condition, it is acquired for the change, and until the waiters are told:
 * concurrent.futures.wait() takes the conditions of all its futures, looks at their states, and
 * installs its waiters. It cannot miss a change: either its future is done before it looks, or
 * whoever settles the future waits for the condition. Whether a future is done is read without the
 * condition.
 *
 * The conditions of an engine's futures share one recursive lock. An interrupt in wait() may leave
 * conditions acquired for ever, and who settles would wait for ever. As it is, the thread that has
 * left the lock acquired lets go of it whenever it waits for the engine.
 *
 * Signal handlers run where Python code does: in acquire(), in waiters, in callbacks. What they
 * raise is kept until the change is whole, and then raised. A condition that a handler keeps from
 * being acquired twice is done without.
 *
 * Invariants: 1. result and exception are set before the state says so. 2. A future that is done
 * never changes its state, but from CANCELLED to CANCELLED_AND_NOTIFIED.
 */
#include "future.h"

#include "arguments.h"
#include "blocking.h"
#include "error.h"
#include "module.h"

#include <stdbool.h>
#include <string.h>
#include <structmember.h>

enum state { PENDING, RUNNING, CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, STATES };

static const char *const state_names[STATES] = {"PENDING", "RUNNING", "CANCELLED",
                                                "CANCELLED_AND_NOTIFIED", "FINISHED"};
static const char *const state_words[STATES] = {"pending", "running", "cancelled", "cancelled",
                                                "finished"};

/* Each reference is owned, or NULL: there is none, or nobody has asked for it. */
struct future {
    PyObject_HEAD PyObject *engine;
    PyObject *result;
    PyObject *exception;
    PyObject *condition;
    PyObject *waiters;   /* a list */
    PyObject *callbacks; /* a list */
    PyObject *weakrefs;
    PyObject *dict;
    struct waiting waiting;
    enum state state;
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

static struct future *of(PyObject *self) {
    return (struct future *)self;
}

struct waiting *future_waiting(PyObject *self) {
    return &of(self)->waiting;
}

static enum state state_of(const struct future *f) {
    return THREADS_LOAD(f->state);
}

static bool is_cancelled(const struct future *f) {
    enum state state = state_of(f);
    return state == CANCELLED || state == CANCELLED_AND_NOTIFIED;
}

static bool is_done(const struct future *f) {
    enum state state = state_of(f);
    return state == CANCELLED || state == CANCELLED_AND_NOTIFIED || state == FINISHED;
}

/* What a field refers to: a new reference, or NULL. */
static PyObject *own(struct future *f, PyObject **field) {
    THREADS_LOCK(&f->lock);
    PyObject *value = Py_XNewRef(*field);
    THREADS_UNLOCK(&f->lock);
    (void)f;
    return value;
}

/* The only argument of a method, borrowed: by position, or by its name. NULL with TypeError, or, if
 * it may be left out, None. */
static PyObject *only_argument(const char *function, const char *name, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *keywords, bool needed) {
    PyObject *value = NULL;
    if (nargs == 1 && keywords == NULL) {
        return args[0];
    }
    if ((nargs > 0 || keywords != NULL) &&
        arguments_spread(function, &name, &value, 1, args, nargs, keywords) < 0) {
        return NULL;
    }
    if (value == NULL && needed) {
        PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", function, name);
    }
    return value != NULL || needed ? value : Py_None;
}

/* ---------------------------------------------------------------- making and freeing */

static int future_traverse(PyObject *self, visitproc visit, void *arg) {
    struct future *f = of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(f->engine);
    Py_VISIT(f->result);
    Py_VISIT(f->exception);
    Py_VISIT(f->condition);
    Py_VISIT(f->waiters);
    Py_VISIT(f->callbacks);
    Py_VISIT(f->waiting.function);
    Py_VISIT(f->waiting.args);
    Py_VISIT(f->waiting.kwargs);
    Py_VISIT(f->waiting.options);
    Py_VISIT(f->dict);
    return 0;
}

static void clear_fields(struct future *f) {
    Py_CLEAR(f->engine);
    Py_CLEAR(f->result);
    Py_CLEAR(f->exception);
    Py_CLEAR(f->condition);
    Py_CLEAR(f->waiters);
    Py_CLEAR(f->callbacks);
}

static int future_clear(PyObject *self) {
    clear_fields(of(self));
    Py_CLEAR(of(self)->waiting.function);
    Py_CLEAR(of(self)->waiting.args);
    Py_CLEAR(of(self)->waiting.kwargs);
    Py_CLEAR(of(self)->waiting.options);
    Py_CLEAR(of(self)->dict);
    return 0;
}

static void future_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (of(self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)future_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *future_new(PyTypeObject *type, PyObject *engine) {
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        of(self)->engine = Py_NewRef(engine);
    }
    return self;
}

static int future_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"engine", NULL};
    PyObject *engine = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Future", names, &engine)) {
        return -1;
    }
    clear_fields(of(self));
    THREADS_STORE(of(self)->state, PENDING);
    of(self)->engine = engine != Py_None ? Py_NewRef(engine) : NULL;
    return 0;
}

/* ---------------------------------------------------------------- exceptions of a change */

/* Keeps the exception that is set; of several the first one counts. */
static void keep_exception(PyObject **kept) {
    PyObject *error = error_take();
    if (*kept == NULL) {
        *kept = error;
    } else {
        Py_DECREF(error);
    }
}

/* Drops the result of a call, or keeps its exception: whether there was one. */
static bool has_raised(PyObject *owned, PyObject **kept) {
    if (owned == NULL) {
        keep_exception(kept);
        return true;
    }
    Py_DECREF(owned);
    return false;
}

static PyObject *give_logger(void) {
    PyObject *logging = PyImport_ImportModule("logging");
    PyObject *logger = logging == NULL
                           ? NULL
                           : PyObject_CallMethod(logging, "getLogger", "s", "concurrent.futures");
    Py_XDECREF(logging);
    return logger;
}

/* Logs the exception that is set, which a callback has raised. */
static PyObject *log_callback(PyObject *self) {
    PyObject *error = error_take();
    PyObject *logger = give_logger();
    PyObject *method = logger == NULL ? NULL : PyObject_GetAttrString(logger, "exception");
    PyObject *args = Py_BuildValue("(sO)", "exception calling callback for %r", self);
    PyObject *kwargs = Py_BuildValue("{sO}", "exc_info", error);
    PyObject *r = NULL;
    if (method != NULL && args != NULL && kwargs != NULL) {
        r = PyObject_Call(method, args, kwargs);
    }
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(method);
    Py_XDECREF(logger);
    Py_DECREF(error);
    return r;
}

/* Logs a move that the state does not allow, and raises RuntimeError. */
static void refuse_to_begin(PyObject *self) {
    PyObject *logger = give_logger();
    PyObject *r =
        logger == NULL
            ? NULL
            : PyObject_CallMethod(logger, "critical", "sNs", "Future %s in unexpected state: %s",
                                  PyLong_FromVoidPtr(self), state_names[state_of(of(self))]);
    Py_XDECREF(logger);
    if (r != NULL) {
        Py_DECREF(r);
        PyErr_SetString(PyExc_RuntimeError, "Future in unexpected state");
    }
}

/* Raises an exception of concurrent.futures, which a program has imported that has futures. */
static void raise_of_futures(const char *name, PyObject *value) {
    PyObject *module = PyImport_ImportModule("concurrent.futures._base");
    PyObject *class = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    if (class != NULL) {
        PyErr_SetObject(class, value);
    }
    Py_XDECREF(class);
    Py_XDECREF(module);
}

static void raise_invalid_state(PyObject *self) {
    PyObject *text = PyUnicode_FromFormat("%s: %R", state_names[state_of(of(self))], self);
    if (text != NULL) {
        raise_of_futures("InvalidStateError", text);
        Py_DECREF(text);
    }
}

/* ---------------------------------------------------------------- the condition */

/* That of an engine's future has the engine's lock. */
static PyObject *make_condition(struct future *f) {
    PyObject *maker = own(f, &f->engine);
    bool has_engine = maker != NULL;
    maker = has_engine ? maker : PyImport_ImportModule("threading");
    PyObject *made = NULL;
    if (maker != NULL) {
        made = PyObject_CallMethod(maker, has_engine ? "_make_condition" : "Condition", NULL);
        Py_DECREF(maker);
    }
    return made;
}

/* The condition, which is made when it is asked for. New reference. */
static PyObject *give_condition(struct future *f) {
    PyObject *condition = own(f, &f->condition);
    PyObject *made = condition == NULL ? make_condition(f) : NULL;
    if (made != NULL) {
        THREADS_LOCK(&f->lock);
        if (f->condition == NULL) { /* or another thread was faster */
            f->condition = Py_NewRef(made);
        }
        condition = Py_NewRef(f->condition);
        THREADS_UNLOCK(&f->lock);
        Py_DECREF(made);
    }
    return condition;
}

/* Acquires the condition, if anybody has asked for it: a new reference in *held, or NULL; and then
 * the fields' lock. So one who makes the condition does so before that, or after the change, which
 * he sees then. -1 with an exception: neither. */
static int hold(struct future *f, PyObject **held) {
    THREADS_LOCK(&f->lock);
    PyObject *condition = *held = Py_XNewRef(f->condition);
    if (condition == NULL) {
        return 0;
    }
    THREADS_UNLOCK(&f->lock);
    PyObject *r = PyObject_CallMethod(condition, "acquire", NULL);
    if (r == NULL) {
        Py_DECREF(condition);
        *held = NULL;
        return -1;
    }
    Py_DECREF(r);
    THREADS_LOCK(&f->lock);
    return 0;
}

/* The same for a change that has to be made. */
static void hold_for_sure(struct future *f, PyObject **held, PyObject **kept) {
    for (int i = 0; i < 2; i++) {
        if (hold(f, held) == 0) {
            return;
        }
        keep_exception(kept);
    }
    THREADS_LOCK(&f->lock);
}

/* Releases what hold() has acquired, and drops it. What is raised is kept. */
static void let_loose(PyObject *held, PyObject **kept) {
    if (held == NULL) {
        return;
    }
    if (has_raised(PyObject_CallMethod(held, "release", NULL), kept)) {
        PyObject *unused = NULL; /* a handler came first; or it was released, and this fails */
        (void)has_raised(PyObject_CallMethod(held, "release", NULL), &unused);
        Py_XDECREF(unused);
    }
    Py_DECREF(held);
}

/* Wakes those who wait for the condition that is held. */
static void notify_all(PyObject *held, PyObject **kept) {
    if (held != NULL && has_raised(PyObject_CallMethod(held, "notify_all", NULL), kept)) {
        PyObject *unused = NULL;
        (void)has_raised(PyObject_CallMethod(held, "notify_all", NULL), &unused);
        Py_XDECREF(unused);
    }
}

/* ---------------------------------------------------------------- changes */

static void tell_waiters(PyObject *self, const char *method, PyObject **kept) {
    PyObject *waiters = own(of(self), &of(self)->waiters), *waiter = NULL;
    for (Py_ssize_t i = 0; waiters != NULL; i++) {
        waiter = threads_own_item(waiters, i);
        if (waiter == NULL) {
            break;
        }
        (void)has_raised(PyObject_CallMethod(waiter, method, "O", self), kept);
        Py_DECREF(waiter);
    }
    Py_XDECREF(waiters);
}

/* 1: a signal's handler has raised the exception, not the callback in which it ran; 0: not so; -1
 * with another exception. The exception is set as before. */
static int is_of_a_signal(void) {
    if (!blocking_runs_handlers()) {
        return 0;
    }
    PyObject *error = error_take();
    PyObject *module = PyImport_ImportModule("mproc._cpython");
    PyObject *r = module != NULL ? PyObject_CallMethod(module, "is_of_a_signal", "O", error) : NULL;
    int is = r != NULL ? PyObject_IsTrue(r) : -1;
    Py_XDECREF(module);
    Py_XDECREF(r);
    if (is < 0) {
        Py_DECREF(error);
        return -1;
    }
    error_give_back(error);
    return is;
}

/* Whether the exception that is set is to be logged. What is no Exception goes on to whoever has
 * the callback called; but one who collects results, and has nothing to do with it, gets only what
 * is meant for the thread: an interrupt, and what a signal's handler raises. */
static bool is_logged(bool collects) {
    if (PyErr_ExceptionMatches(PyExc_Exception)) {
        return true;
    }
    return collects && !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) && is_of_a_signal() == 0;
}

static void run_callback(PyObject *callback, PyObject *self, bool collects, PyObject **kept) {
    PyObject *r = PyObject_CallOneArg(callback, self);
    if (r == NULL && is_logged(collects)) {
        r = log_callback(self);
    }
    (void)has_raised(r, kept);
}

static void run_callbacks(PyObject *self, bool collects, PyObject **kept) {
    PyObject *callbacks = own(of(self), &of(self)->callbacks), *callback = NULL;
    for (Py_ssize_t i = 0; callbacks != NULL; i++) {
        callback = threads_own_item(callbacks, i);
        if (callback == NULL) {
            break;
        }
        run_callback(callback, self, collects, kept);
        Py_DECREF(callback);
    }
    Py_XDECREF(callbacks);
}

/* Raises what was kept: -1; 0: nothing was. */
static int give_back(PyObject *kept) {
    error_give_back(kept);
    return kept == NULL ? 0 : -1;
}

/* Makes a future that is not done FINISHED. hold() comes before, and what that has taken is let
 * loose. collects: as for is_logged(). */
static int finish(PyObject *self, int failed, PyObject *value, bool collects, PyObject *held,
                  PyObject *kept) {
    struct future *f = of(self);
    PyObject **field = failed ? &f->exception : &f->result;
    PyObject *old = *field;
    *field = Py_NewRef(value);
    THREADS_STORE(f->state, FINISHED);
    THREADS_UNLOCK(&f->lock);
    tell_waiters(self, failed ? "add_exception" : "add_result", &kept);
    notify_all(held, &kept);
    let_loose(held, &kept);
    run_callbacks(self, collects, &kept);
    Py_XDECREF(old);
    return give_back(kept);
}

/* set_result() and set_exception(), by a program. */
static PyObject *set(PyObject *self, int failed, PyObject *value) {
    PyObject *held, *kept = NULL;
    if (hold(of(self), &held) < 0) {
        return NULL;
    }
    if (is_done(of(self))) {
        THREADS_UNLOCK(&of(self)->lock);
        raise_invalid_state(self);
        keep_exception(&kept);
        let_loose(held, &kept);
        (void)give_back(kept);
        return NULL;
    }
    return finish(self, failed, value, false, held, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *future_set_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *keywords) {
    PyObject *result = only_argument("set_result", "result", args, nargs, keywords, true);
    return result != NULL ? set(self, 0, result) : NULL;
}

static PyObject *future_set_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *keywords) {
    PyObject *error = only_argument("set_exception", "exception", args, nargs, keywords, true);
    return error != NULL ? set(self, 1, error) : NULL;
}

/* Moves on to a state, if the future is in another one: whether it was. Under the lock. */
static bool move(struct future *f, enum state from, enum state to) {
    if (f->state != from) {
        return false;
    }
    THREADS_STORE(f->state, to);
    return true;
}

int future_begin(PyObject *self) {
    struct future *f = of(self);
    PyObject *held, *kept = NULL;
    if (hold(f, &held) < 0) {
        return -1;
    }
    bool begins = move(f, PENDING, RUNNING);
    bool ends = !begins && move(f, CANCELLED, CANCELLED_AND_NOTIFIED);
    THREADS_UNLOCK(&f->lock);
    if (ends) {
        tell_waiters(self, "add_cancelled", &kept);
    } else if (!begins) {
        refuse_to_begin(self);
        keep_exception(&kept);
    }
    let_loose(held, &kept);
    return give_back(kept) < 0 || !(begins || ends) ? -1 : begins;
}

static PyObject *future_begin_python(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = future_begin(self);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

/* The list of waiters that the engine has made calls it no more. */
static void leave_engine(struct future *f, PyObject **kept) {
    THREADS_LOCK(&f->lock);
    PyObject *engine = f->engine, *waiters = Py_XNewRef(f->waiters);
    f->engine = NULL;
    THREADS_UNLOCK(&f->lock);
    if (engine != NULL && waiters != NULL && !PyList_CheckExact(waiters) &&
        PyObject_SetAttrString(waiters, "engine", Py_None) < 0) {
        keep_exception(kept);
    }
    Py_XDECREF(waiters);
    Py_XDECREF(engine);
}

int future_settle(PyObject *self, int failed, PyObject *value) {
    struct future *f = of(self);
    PyObject *held, *kept = NULL;
    hold_for_sure(f, &held, &kept);
    int r = 0;
    if (!is_done(f)) {
        r = finish(self, failed, value, true, held, kept);
        kept = NULL;
        if (r < 0) {
            keep_exception(&kept);
        }
    } else {
        THREADS_UNLOCK(&f->lock);
        let_loose(held, &kept);
    }
    leave_engine(f, &kept);
    return give_back(kept);
}

static PyObject *future_settle_python(PyObject *self, PyObject *args) {
    int failed;
    PyObject *value;
    if (!PyArg_ParseTuple(args, "pO:_settle", &failed, &value) ||
        future_settle(self, failed, value) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

int future_let_go(PyObject *self) {
    PyObject *kept = NULL;
    leave_engine(of(self), &kept);
    return give_back(kept);
}

static PyObject *future_let_go_python(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return future_let_go(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Cancels a future that does not run: 1: it is cancelled; 0: it is not; -1. */
static int cancel(PyObject *self) {
    struct future *f = of(self);
    PyObject *held, *kept = NULL;
    if (hold(f, &held) < 0) {
        return -1;
    }
    bool pending = move(f, PENDING, CANCELLED);
    THREADS_UNLOCK(&f->lock);
    if (pending) {
        notify_all(held, &kept);
    }
    let_loose(held, &kept);
    if (pending) {
        run_callbacks(self, false, &kept);
    }
    return give_back(kept) < 0 ? -1 : is_cancelled(f);
}

static PyObject *future_cancel(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int cancelled = cancel(self);
    PyObject *engine = cancelled == 1 ? own(of(self), &of(self)->engine) : NULL;
    if (engine != NULL) {
        PyObject *r = PyObject_CallMethod(engine, "_withdraw", "O", self);
        cancelled = r == NULL ? -1 : cancelled;
        Py_XDECREF(r);
        Py_DECREF(engine);
    }
    return cancelled < 0 ? NULL : PyBool_FromLong(cancelled);
}

/* ---------------------------------------------------------------- callbacks */

/* Has the engine, if there still is one, call its helper. */
static int serve_others(struct future *f) {
    PyObject *engine = own(f, &f->engine);
    if (engine == NULL) {
        return 0;
    }
    PyObject *r = PyObject_CallMethod(engine, "_serve_others", NULL);
    Py_DECREF(engine);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Under the lock. */
static PyObject *give_list(PyObject **field) {
    if (*field == NULL) {
        *field = PyList_New(0);
    }
    return Py_XNewRef(*field);
}

/* Adds a callback to a future that is not done: 1; 0: it is done; -1. A program may have the list,
 * too: then a thread that changes it is waited for under the lock, but it does not hold the list
 * while it waits for anything itself, so it goes on. */
static int add_callback(struct future *f, PyObject *callback) {
    PyObject *held, *kept = NULL;
    if (hold(f, &held) < 0) {
        return -1;
    }
    bool done = is_done(f);
    PyObject *callbacks = done ? NULL : give_list(&f->callbacks);
    int r = done ? 0 : callbacks != NULL ? PyList_Append(callbacks, callback) : -1;
    THREADS_UNLOCK(&f->lock);
    if (r < 0) {
        keep_exception(&kept);
    }
    Py_XDECREF(callbacks);
    let_loose(held, &kept);
    return give_back(kept) < 0 ? -1 : !done;
}

static PyObject *future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *keywords) {
    PyObject *callback = only_argument("add_done_callback", "fn", args, nargs, keywords, true);
    if (callback == NULL || serve_others(of(self)) < 0) {
        return NULL;
    }
    PyObject *kept = NULL;
    int added = add_callback(of(self), callback);
    if (added < 0) {
        return NULL;
    }
    if (!added) {
        run_callback(callback, self, false, &kept);
    }
    return give_back(kept) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *future_invoke_callbacks(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyObject *kept = NULL;
    run_callbacks(self, false, &kept);
    return give_back(kept) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---------------------------------------------------------------- waiting */

static int wait_for_condition(struct future *f, PyObject *timeout) {
    PyObject *condition = give_condition(f);
    Py_XDECREF(condition);
    PyObject *held, *kept = NULL;
    if (condition == NULL || hold(f, &held) < 0) {
        return -1;
    }
    bool done = is_done(f);
    THREADS_UNLOCK(&f->lock);
    if (!done) {
        (void)has_raised(PyObject_CallMethod(held, "wait", "O", timeout), &kept);
    }
    let_loose(held, &kept);
    return give_back(kept);
}

static int wait_by_engine(PyObject *self, PyObject *engine, PyObject *timeout) {
    PyObject *r = PyObject_CallMethod(engine, "_await", "OO", self, timeout);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Waits until a future is done, or raises TimeoutError; a cancelled one raises CancelledError. */
static int await_end(PyObject *self, PyObject *timeout) {
    struct future *f = of(self);
    if (!is_done(f)) {
        PyObject *engine = own(f, &f->engine);
        int r =
            engine != NULL ? wait_by_engine(self, engine, timeout) : wait_for_condition(f, timeout);
        Py_XDECREF(engine);
        if (r < 0) {
            return -1;
        }
    }
    if (!is_done(f)) {
        PyErr_SetNone(PyExc_TimeoutError);
        return -1;
    }
    if (is_cancelled(f)) {
        raise_of_futures("CancelledError", NULL);
        return -1;
    }
    return 0;
}

static void raise_exception(PyObject *exception) {
    if (PyExceptionInstance_Check(exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    } else if (PyExceptionClass_Check(exception)) {
        PyErr_SetNone(exception);
    } else {
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    }
}

static bool has_exception(const struct future *f) {
    return f->exception != NULL && f->exception != Py_None;
}

static PyObject *future_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *keywords) {
    PyObject *timeout = only_argument("result", "timeout", args, nargs, keywords, false);
    const struct future *f = of(self);
    if (timeout == NULL || await_end(self, timeout) < 0) {
        return NULL;
    }
    if (has_exception(f)) {
        raise_exception(f->exception);
        return NULL;
    }
    return Py_NewRef(f->result != NULL ? f->result : Py_None);
}

static PyObject *future_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *keywords) {
    PyObject *timeout = only_argument("exception", "timeout", args, nargs, keywords, false);
    const struct future *f = of(self);
    if (timeout == NULL || await_end(self, timeout) < 0) {
        return NULL;
    }
    return Py_NewRef(f->exception != NULL ? f->exception : Py_None);
}

/* ---------------------------------------------------------------- looking */

static PyObject *future_cancelled(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(is_cancelled(of(self)));
}

static PyObject *future_running(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(state_of(of(self)) == RUNNING);
}

static PyObject *future_done(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(is_done(of(self)));
}

/* The name of a type, as type.__name__ has it. */
static const char *name_of(const PyTypeObject *type) {
    const char *dot = strrchr(type->tp_name, '.');
    return dot != NULL ? dot + 1 : type->tp_name;
}

static PyObject *future_repr(PyObject *self) {
    const struct future *f = of(self);
    const char *name = name_of(Py_TYPE(self));
    char at[2 + 2 * sizeof self + 1];
    (void)PyOS_snprintf(at, sizeof at, "%#zx", (size_t)(uintptr_t)self);
    enum state state = state_of(f);
    if (state != FINISHED) {
        return PyUnicode_FromFormat("<%s at %s state=%s>", name, at, state_words[state]);
    }
    PyObject *value = has_exception(f) ? f->exception : f->result;
    return PyUnicode_FromFormat("<%s at %s state=%s %s %s>", name, at, state_words[state],
                                has_exception(f) ? "raised" : "returned",
                                name_of(value != NULL ? Py_TYPE(value) : Py_TYPE(Py_None)));
}

/* ---------------------------------------------------------------- the private names */

/* A field may be set to any object of the right kind, and not be deleted. */
static int put(struct future *f, PyObject **field, PyObject *value, bool fits) {
    if (value == NULL || !fits) {
        PyErr_SetString(PyExc_TypeError, "a future does not work with that");
        return -1;
    }
    THREADS_LOCK(&f->lock);
    PyObject *old = *field;
    *field = Py_NewRef(value);
    THREADS_UNLOCK(&f->lock);
    (void)f;
    Py_XDECREF(old);
    return 0;
}

static PyObject *get_engine(PyObject *self, void *Py_UNUSED(unused)) {
    struct future *f = of(self);
    THREADS_LOCK(&f->lock);
    PyObject *engine = Py_NewRef(f->engine != NULL ? f->engine : Py_None);
    THREADS_UNLOCK(&f->lock);
    return engine;
}

static PyObject *get_condition(PyObject *self, void *Py_UNUSED(unused)) {
    return give_condition(of(self));
}

static int set_condition(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    return put(of(self), &of(self)->condition, value, true);
}

/* Makes an engine's list of waiters the future's, unless another thread was faster, or has settled
 * the future. */
static int take_waiters(struct future *f, PyObject *engine) {
    PyObject *made = PyObject_CallMethod(engine, "_make_waiters", NULL);
    if (made == NULL || !PyList_Check(made)) {
        Py_XDECREF(made);
        return -1;
    }
    THREADS_LOCK(&f->lock);
    if (f->waiters == NULL && f->engine != NULL) {
        f->waiters = Py_NewRef(made);
    }
    THREADS_UNLOCK(&f->lock);
    Py_DECREF(made);
    return 0;
}

/* The engine's list calls the engine when a waiter is added. */
static PyObject *get_waiters(PyObject *self, void *Py_UNUSED(unused)) {
    struct future *f = of(self);
    THREADS_LOCK(&f->lock);
    PyObject *engine = f->waiters == NULL ? Py_XNewRef(f->engine) : NULL;
    THREADS_UNLOCK(&f->lock);
    int r = engine != NULL ? take_waiters(f, engine) : 0;
    Py_XDECREF(engine);
    if (r < 0) {
        return NULL;
    }
    THREADS_LOCK(&f->lock);
    PyObject *waiters = give_list(&f->waiters);
    THREADS_UNLOCK(&f->lock);
    return waiters;
}

static int set_waiters(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    return put(of(self), &of(self)->waiters, value, value != NULL && PyList_Check(value));
}

static PyObject *get_callbacks(PyObject *self, void *Py_UNUSED(unused)) {
    THREADS_LOCK(&of(self)->lock);
    PyObject *callbacks = give_list(&of(self)->callbacks);
    THREADS_UNLOCK(&of(self)->lock);
    return callbacks;
}

static int set_callbacks(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    return put(of(self), &of(self)->callbacks, value, value != NULL && PyList_Check(value));
}

static PyObject *get_state(PyObject *self, void *Py_UNUSED(unused)) {
    return PyUnicode_InternFromString(state_names[state_of(of(self))]);
}

static int set_state(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    for (int state = 0; value != NULL && PyUnicode_Check(value) && state < STATES; state++) {
        if (PyUnicode_CompareWithASCIIString(value, state_names[state]) == 0) {
            THREADS_STORE(of(self)->state, (enum state)state);
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "no state of a future: %R", value != NULL ? value : Py_None);
    return -1;
}

static PyMethodDef future_methods[] = {
    {"result", MODULE_METHOD(future_result), METH_FASTCALL | METH_KEYWORDS,
     "result($self, timeout=None)\n--\n\n"
     "Return what the call returned, or raise what it raised. TimeoutError after that many\n"
     "seconds; CancelledError."},
    {"exception", MODULE_METHOD(future_exception), METH_FASTCALL | METH_KEYWORDS,
     "exception($self, timeout=None)\n--\n\n"
     "Return what the call raised, None if it returned. TimeoutError after that many seconds;\n"
     "CancelledError."},
    {"add_done_callback", MODULE_METHOD(future_add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback($self, fn)\n--\n\n"
     "Have fn(future) called when the future is done or cancelled; at once if it is."},
    {"cancel", future_cancel, METH_NOARGS,
     "cancel($self)\n--\n\n"
     "Cancel the call unless it is running or done; return whether it is cancelled."},
    {"cancelled", future_cancelled, METH_NOARGS,
     "cancelled($self)\n--\n\nReturn whether the call was cancelled."},
    {"running", future_running, METH_NOARGS,
     "running($self)\n--\n\nReturn whether the call is under way."},
    {"done", future_done, METH_NOARGS,
     "done($self)\n--\n\nReturn whether the call has ended or was cancelled."},
    {"set_running_or_notify_cancel", future_begin_python, METH_NOARGS,
     "set_running_or_notify_cancel($self)\n--\n\n"
     "Say that the call begins: True. False: it was cancelled; its waiters are told.\n"
     "RuntimeError: it has begun before."},
    {"set_result", MODULE_METHOD(future_set_result), METH_FASTCALL | METH_KEYWORDS,
     "set_result($self, result)\n--\n\nSay what the call returned. InvalidStateError."},
    {"set_exception", MODULE_METHOD(future_set_exception), METH_FASTCALL | METH_KEYWORDS,
     "set_exception($self, exception)\n--\n\nSay what the call raised. InvalidStateError."},
    {"_invoke_callbacks", future_invoke_callbacks, METH_NOARGS,
     "_invoke_callbacks($self)\n--\n\nCall the callbacks."},
    {"_settle", future_settle_python, METH_VARARGS,
     "_settle($self, failed, value, /)\n--\n\n"
     "Give the future its result, or exception, unless it is done; let go of the engine."},
    {"_let_go", future_let_go_python, METH_NOARGS, "_let_go($self)\n--\n\nLet go of the engine."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef future_members[] = {
    {"_result", T_OBJECT, offsetof(struct future, result), 0, "What the call returned."},
    {"_exception", T_OBJECT, offsetof(struct future, exception), 0, "What the call raised."},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct future, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct future, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef future_getset[] = {
    {"_engine", get_engine, NULL, "Who collects its result; None: it has been let go of.", NULL},
    {"_condition", get_condition, set_condition, "The lock of its state.", NULL},
    {"_waiters", get_waiters, set_waiters, "Who is told of its end, by wait() for example.", NULL},
    {"_done_callbacks", get_callbacks, set_callbacks, "What is called at its end.", NULL},
    {"_state", get_state, set_state, "The name of its state.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_doc, "Future(engine=None)\n--\n\nA result in the making; see concurrent.futures."},
    {Py_tp_init, (void *)future_init},
    {Py_tp_dealloc, (void *)future_dealloc},
    {Py_tp_traverse, (void *)future_traverse},
    {Py_tp_clear, (void *)future_clear},
    {Py_tp_repr, (void *)future_repr},
    {Py_tp_methods, future_methods},
    {Py_tp_members, future_members},
    {Py_tp_getset, future_getset},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "mproc._mproc.Future",
    .basicsize = sizeof(struct future),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = future_slots,
};

int future_add(PyObject *module) {
    return module_add_type(module, &future_spec, &module_state(module)->future_type, 1);
}
