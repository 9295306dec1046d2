/*
 * engine.c - mproc._mproc.Engine: who collects a pool's results, and who waits for them
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Whoever waits for a result *pumps*: it has the tasks collect what the workers have
 * handed in, for everybody, and look after the workers meanwhile. One thread pumps at a time, the
 * one that has the turn (turn.c); the others sleep until it has booked what they wait for, or has
 * left. An engine (python/mproc/_engine.py) is derived from this type, which has no fields: what
 * options() returns shares the attributes of its pool, and what is here is found among them.
 *   _pumping   the Turn
 *   _tasks     the pool of the core, or what has its methods pump(), notify(), note_wait(),
 *              note_end() and its number `open`
 *   _keep_fed  called before and after results are collected; None: there is nothing to call
 *   _owner     the process that may wait
 *   _slice     seconds between two looks at the workers while results are awaited
 *   _sleep(), _check_owner(), _look_after_workers()
 *
 * Waiting. A thread that waits for anything but a job of its own reads the turn's news before it
 * looks whether that has come, and does not sleep if there has been news since. The pumping thread
 * makes news when it leaves, and wakes who waits for a job when that is ready. What comes otherwise
 * than by a result - a task is cancelled, the engine breaks, an imap ends - is told by _tell(), to
 * the pumping thread as well. So nothing that happens in this process is found by the end of a
 * slice. What slices are for is what no one tells: that a worker has ended. A callback or a
 * signal's handler may run in the pumping thread and wait for another result. It pumps on, and what
 * it books may be what that thread has waited for.
 *
 * Nothing here is lost by what a signal's handler raises: handlers run inside of pump() and of the
 * sleep, and the turn is given back behind both.
 */
#include "engine.h"

#include "blocking.h"
#include "error.h"
#include "pool.h"
#include "turn.h"

#include <assert.h>
#include <stdbool.h>

#define LOOK 0.01 /* as _slice, while what is awaited is no task's result */

enum name {
    CHECK_OWNER,
    KEEP_FED,
    LOOK_AFTER_WORKERS,
    NOTE_END,
    NOTE_WAIT,
    NOTIFY,
    OPEN,
    OWNER,
    PUMP,
    PUMPING,
    SLICE,
    SLEEP,
    TASKS,
    NAMES,
};

static const char *const texts[NAMES] = {
    [CHECK_OWNER] = "_check_owner",
    [KEEP_FED] = "_keep_fed",
    [LOOK_AFTER_WORKERS] = "_look_after_workers",
    [NOTE_END] = "note_end",
    [NOTE_WAIT] = "note_wait",
    [NOTIFY] = "notify",
    [OPEN] = "open",
    [OWNER] = "_owner",
    [PUMP] = "pump",
    [PUMPING] = "_pumping",
    [SLICE] = "_slice",
    [SLEEP] = "_sleep",
    [TASKS] = "_tasks",
};
static_assert(NAMES == MODULE_ENGINE_NAMES, "the module's state has a place for each name");

/* An engine, and what does not change in it. */
struct view {
    PyObject *engine; /* lent */
    PyObject *const *names;
    PyObject *turn, *tasks; /* owned */
    double slice;
    bool is_core; /* the tasks are a pool of the core */
};

static double number_of(PyObject *owned) {
    double number = owned != NULL ? PyFloat_AsDouble(owned) : 0;
    Py_XDECREF(owned);
    return number;
}

/* 0; -1 with an exception, and then there is nothing to close. */
static int view_open(struct view *v, PyObject *engine) {
    const struct module_state *state = module_state_of(engine);
    if (state == NULL) {
        return -1;
    }
    *v = (struct view){.engine = engine, .names = state->engine_names};
    v->turn = PyObject_GetAttr(engine, v->names[PUMPING]);
    v->tasks = v->turn != NULL ? PyObject_GetAttr(engine, v->names[TASKS]) : NULL;
    v->slice = v->tasks != NULL ? number_of(PyObject_GetAttr(engine, v->names[SLICE])) : 0;
    if (v->tasks != NULL && Py_TYPE(v->turn) != state->turn_type) {
        PyErr_Format(PyExc_TypeError, "an engine pumps by %R, which is no Turn", v->turn);
    }
    if (v->tasks == NULL || PyErr_Occurred()) {
        Py_XDECREF(v->turn);
        Py_XDECREF(v->tasks);
        return -1;
    }
    v->is_core = PyObject_TypeCheck(v->tasks, state->pool_type);
    return 0;
}

static void view_close(struct view *v) {
    Py_DECREF(v->turn);
    Py_DECREF(v->tasks);
}

/* 1: what a call has returned is true; 0: it is not; -1 with an exception. */
static int truth_of(PyObject *owned) {
    int r = owned != NULL ? PyObject_IsTrue(owned) : -1;
    Py_XDECREF(owned);
    return r;
}

static int call(const struct view *v, PyObject *object, enum name method) {
    return truth_of(PyObject_CallMethodNoArgs(object, v->names[method]));
}

/* Whether tasks are open; -1 with an exception. */
static int has_open(const struct view *v) {
    return v->is_core ? pool_open(v->tasks) > 0
                      : truth_of(PyObject_GetAttr(v->tasks, v->names[OPEN]));
}

/* ---------------------------------------------------------------- pumping */

/* 1: something has come; 0: nothing has for so long; -1 with an exception. */
static int collect(const struct view *v, PyObject *job, double seconds, bool patient) {
    if (v->is_core) {
        return pool_collect(v->tasks, job, (int64_t)(seconds * 1e9), patient);
    }
    PyObject *timeout = PyFloat_FromDouble(seconds);
    if (timeout == NULL) {
        return -1;
    }
    PyObject *args[] = {v->tasks, job, timeout, patient ? Py_True : Py_False};
    PyObject *r = PyObject_VectorcallMethod(v->names[PUMP], args, 4, NULL);
    Py_DECREF(timeout);
    return truth_of(r);
}

static int collect_and_look(const struct view *v, PyObject *job, double seconds, bool patient) {
    int r = collect(v, job, seconds, patient);
    return r == 0 ? call(v, v->engine, LOOK_AFTER_WORKERS) : r;
}

/* An interrupt may have kept the tasks from being fed, so it is done before, too, if none is open.
 */
static int collect_fed(const struct view *v, PyObject *feed, PyObject *job, double seconds,
                       bool patient) {
    int r = has_open(v);
    if (r == 0) {
        r = truth_of(PyObject_CallNoArgs(feed));
    }
    if (r >= 0) {
        r = collect_and_look(v, job, seconds, patient);
    }
    return r < 0 ? -1 : truth_of(PyObject_CallNoArgs(feed));
}

/* The thread has the turn. */
static int work(const struct view *v, PyObject *job, double seconds, bool patient) {
    PyObject *feed = PyObject_GetAttr(v->engine, v->names[KEEP_FED]);
    if (feed == NULL) {
        return -1;
    }
    int r = feed == Py_None ? collect_and_look(v, job, seconds, patient)
                            : collect_fed(v, feed, job, seconds, patient);
    Py_DECREF(feed);
    return r < 0 ? -1 : 0;
}

/* seen: NULL, or the news that were read before it was found that nothing has come. */
static int sleep_by_engine(const struct view *v, PyObject *job, double seconds,
                           const unsigned long long *seen) {
    PyObject *method = v->names[SLEEP], *time = PyFloat_FromDouble(seconds);
    PyObject *news = seen == NULL ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(*seen);
    PyObject *r = NULL;
    if (time != NULL && news != NULL) {
        r = PyObject_CallMethodObjArgs(v->engine, method, job, time, news, NULL);
    }
    Py_XDECREF(time);
    Py_XDECREF(news);
    return truth_of(r);
}

/* Sleeps while another thread pumps. */
static int follow(const struct view *v, PyObject *job, double seconds,
                  const unsigned long long *seen, bool patient) {
    int noted = patient ? call(v, v->tasks, NOTE_WAIT) : 0;
    int r = noted < 0 ? -1 : sleep_by_engine(v, job, seconds, seen);
    if (noted > 0) {
        PyObject *raised = r < 0 ? error_take() : NULL;
        r = call(v, v->tasks, NOTE_END) < 0 ? -1 : r;
        error_give_back(raised);
    }
    return r < 0 ? -1 : 0;
}

/* Collects for a job, or None: whatever comes, for at most so many seconds; alone. patient: the
 * caller comes again until it has what it waits for. */
static int pump(const struct view *v, PyObject *job, double seconds, const unsigned long long *seen,
                bool patient) {
    turn_look(v->turn);
    Py_ssize_t depth = turn_take(v->turn);
    if (depth == 0) {
        return follow(v, job, seconds, seen, patient);
    }
    int r = 0;
    if (seen == NULL || turn_news(v->turn) == *seen) {
        r = work(v, job, seconds, patient);
    }
    turn_leave(v->turn);
    return r == 0 && depth > 1 ? call(v, v->tasks, NOTIFY) : r;
}

/* ---------------------------------------------------------------- waiting */

static int check_owner(PyObject *engine) {
    const struct module_state *state = module_state_of(engine);
    if (state == NULL) {
        return -1;
    }
    PyObject *owner = PyObject_GetAttr(engine, state->engine_names[OWNER]);
    long pid = owner != NULL ? PyLong_AsLong(owner) : -1;
    Py_XDECREF(owner);
    if (pid == mproc_pid() || PyErr_Occurred()) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *name = state->engine_names[CHECK_OWNER];
    return truth_of(PyObject_CallMethodNoArgs(engine, name)) < 0 ? -1 : 0;
}

/* A time that is waited for. */
struct limit {
    bool is_given;
    double deadline;
    double left;
};

static double now(void) {
    return (double)blocking_now() / 1e9;
}

static int limit_begin(struct limit *limit, PyObject *timeout) {
    *limit = (struct limit){.is_given = timeout != Py_None};
    if (limit->is_given) {
        limit->left = PyFloat_AsDouble(timeout);
        limit->left = limit->left < 0 ? 0 : limit->left;
        limit->deadline = now() + limit->left;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static void limit_look(struct limit *limit) {
    limit->left = limit->is_given ? limit->deadline - now() : 0;
}

/* A timeout of NaN has passed. */
static bool is_over(const struct limit *limit) {
    return !(limit->left >= 0);
}

static double slice_of(const struct limit *limit, double slice) {
    return limit->is_given && limit->left < slice ? limit->left : slice;
}

static int wait_for_job(const struct view *v, struct job *job, struct limit *limit) {
    int r = 0;
    for (bool again = false; r == 0 && !job_is_ready(job) && !is_over(limit); again = true) {
        r = pump(v, (PyObject *)job, slice_of(limit, v->slice), NULL, again && !limit->is_given);
        if (limit->is_given) {
            limit_look(limit);
        }
    }
    return r;
}

int engine_wait(PyObject *engine, struct job *job, PyObject *timeout) {
    const struct module_state *state = module_state_of((PyObject *)job);
    struct view v;
    struct limit limit;
    if (state == NULL || !PyObject_TypeCheck(engine, state->engine_type)) {
        return truth_of(PyObject_CallMethod(engine, "_wait", "OO", job, timeout)) < 0 ? -1 : 0;
    }
    if (check_owner(engine) < 0 || limit_begin(&limit, timeout) < 0 || view_open(&v, engine) < 0) {
        return -1;
    }
    int r = wait_for_job(&v, job, &limit);
    view_close(&v);
    return r;
}

/* 1: it is done; 0: it is not, and the time has passed; -1 with an exception. */
static int wait_until(const struct view *v, PyObject *done, struct limit *limit, bool patient) {
    for (;;) {
        unsigned long long seen = turn_news(v->turn);
        int r = truth_of(PyObject_CallNoArgs(done));
        if (r != 0 || is_over(limit)) {
            return r;
        }
        int open = has_open(v);
        r = open < 0 ? -1
                     : pump(v, Py_None, slice_of(limit, open ? v->slice : LOOK), &seen, patient);
        if (r < 0) {
            return -1;
        }
        patient = !limit->is_given;
        limit_look(limit);
    }
}

/* ---------------------------------------------------------------- for Python */

/* _pump(job, seconds, seen=None, patient=False) */
static PyObject *engine_pump(PyObject *self, PyObject *args) {
    PyObject *job, *news = Py_None;
    double seconds;
    int patient = 0;
    struct view v;
    if (!PyArg_ParseTuple(args, "Od|Op:_pump", &job, &seconds, &news, &patient)) {
        return NULL;
    }
    unsigned long long seen = news != Py_None ? PyLong_AsUnsignedLongLong(news) : 0;
    if (PyErr_Occurred() || view_open(&v, self) < 0) {
        return NULL;
    }
    int r = pump(&v, job, seconds, news != Py_None ? &seen : NULL, patient != 0);
    view_close(&v);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* _pump_until(done, timeout=None, patient=False) */
static PyObject *engine_pump_until(PyObject *self, PyObject *args) {
    PyObject *done, *timeout = Py_None;
    int patient = 0;
    struct view v;
    struct limit limit;
    if (!PyArg_ParseTuple(args, "O|Op:_pump_until", &done, &timeout, &patient) ||
        limit_begin(&limit, timeout) < 0 || view_open(&v, self) < 0) {
        return NULL;
    }
    int r = wait_until(&v, done, &limit, patient != 0);
    view_close(&v);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

/* _sleep(job, seconds, seen) */
static PyObject *engine_sleep(PyObject *self, PyObject *args) {
    PyObject *object, *seconds, *news;
    int64_t timeout;
    struct view v;
    if (!PyArg_ParseTuple(args, "OOO:_sleep", &object, &seconds, &news) ||
        blocking_timeout(seconds, &timeout) < 0 || view_open(&v, self) < 0) {
        return NULL;
    }
    const struct module_state *state = module_state_of(self);
    struct job *job = PyObject_TypeCheck(object, state->job_type) ? (struct job *)object : NULL;
    unsigned long long seen = news != Py_None ? PyLong_AsUnsignedLongLong(news) : turn_news(v.turn);
    int r = PyErr_Occurred() ? -1 : 0;
    bool ready = job != NULL && job_watch(job);
    if (r == 0 && !ready) {
        r = turn_wait_for(v.turn, seen, timeout, (PyObject *)job);
    }
    view_close(&v);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* _collect() */
static PyObject *engine_collect(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct view v;
    if (check_owner(self) < 0 || view_open(&v, self) < 0) {
        return NULL;
    }
    int r = 0;
    if (turn_take(v.turn) > 0) {
        r = collect(&v, Py_None, 0, false);
        r = r >= 0 ? call(&v, self, LOOK_AFTER_WORKERS) : r;
        turn_leave(v.turn);
    }
    view_close(&v);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* _tell() */
static PyObject *engine_tell(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct view v;
    if (view_open(&v, self) < 0) {
        return NULL;
    }
    turn_tell_of(v.turn, NULL);
    int r = turn_depth(v.turn) > 0 ? call(&v, v.tasks, NOTIFY) : 0;
    view_close(&v);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *engine_wait_python(PyObject *self, PyObject *args) {
    PyObject *job, *timeout;
    const struct module_state *state = module_state_of(self);
    if (state == NULL || !PyArg_ParseTuple(args, "O!O:_wait", state->job_type, &job, &timeout) ||
        engine_wait(self, (struct job *)job, timeout) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef engine_methods[] = {
    {"_pump", engine_pump, METH_VARARGS,
     "_pump($self, job, seconds, seen=None, patient=False, /)\n--\n\n"
     "Collect for a job, or with None whatever comes, for at most that long; alone.\n"
     "seen: `_pumping.news`, read before it was found that what is waited for has not come; None:\n"
     "it is the job. patient: the caller comes again until it has what it waits for."},
    {"_pump_until", engine_pump_until, METH_VARARGS,
     "_pump_until($self, done, timeout=None, patient=False, /)\n--\n\n"
     "Collect until done() is true, or for that many seconds; return whether it is."},
    {"_wait", engine_wait_python, METH_VARARGS,
     "_wait($self, job, timeout, /)\n--\n\n"
     "Collect until a job is ready, or for that many seconds; None: for ever."},
    {"_sleep", engine_sleep, METH_VARARGS,
     "_sleep($self, job, seconds, seen, /)\n--\n\n"
     "Sleep until the pumping thread has booked the job, or there is other news."},
    {"_collect", engine_collect, METH_NOARGS,
     "_collect($self, /)\n--\n\nBook what has come, without waiting."},
    {"_tell", engine_tell, METH_NOARGS,
     "_tell($self, /)\n--\n\n"
     "Wake all who wait: something they may wait for has come otherwise than by a result."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, (void *)"Who collects a pool's results, and who waits for them."},
    {Py_tp_methods, engine_methods},
    {0, NULL},
};

static PyType_Spec engine_spec = {
    .name = "mproc._mproc.Engine",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = engine_slots,
};

int engine_add(PyObject *module) {
    struct module_state *state = module_state(module);
    for (int i = 0; i < NAMES; i++) {
        PyObject *name = PyUnicode_InternFromString(texts[i]);
        if (name == NULL) {
            return -1;
        }
        if (!THREADS_SET_FIRST(state->engine_names[i], name)) {
            Py_DECREF(name);
        }
    }
    return module_add_type(module, &engine_spec, &state->engine_type, 1);
}
