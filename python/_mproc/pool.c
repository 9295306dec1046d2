/*
 * pool.c - mproc._mproc.Pool: a pool of the core, as its owner in Python has it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The core has the books of open tasks and looks after the workers; here each task
 * says which part of which Job it is. What has no options is put as parts, which cost less. The
 * core calls four functions of this file:
 *   task_ended   books the task's result, or its failure, into the job. What the task fails with is
 *   part_ended   what failure() of _pool/errors.py makes of it.
 *   start        has a worker started by owner._start_in_seat(seat); see seat_started(). The core
 *                gets the handle of the process' popen object; one that is no Child of ours is
 *                adopted by its pid.
 *   end          the worker's seat is vacant: the popen object gets its handle back.
 *
 * The interpreter's lock. Whatever may call these functions is called without the lock (BLOCKING),
 * and the core takes it around them: enter() and leave(). Putting a task calls nothing, so that is
 * done with the lock, under which a task and its entry here come into being in one step. Where the
 * interpreter has no lock, `lock` is in its place: the core takes its own one inside of it, and
 * calls these functions without that.
 *
 * Exceptions. What these functions raise stays set in the thread that collects until the core
 * returns, which it does soon: blocking.c's look() tells it so. Of several, the first counts.
 *
 * Shared state, all under that lock.
 *   tasks   ring of the open tasks, each with an owned reference to its job; parts: of what was
 *           submitted as parts.
 *   seats   by seat, the popen object of the worker whose process the core has; NULL: none.
 *   open    tasks whose results have not been read: reading one may need its worker alive.
 *
 * Invariant: a task is in the ring until its job is about to be told, or the pool is cleared.
 */
#include "pool.h"

#include "blocking.h"
#include "call.h"
#include "error.h"
#include "handle.h"
#include "process.h"

#include <stdbool.h>

#define SLICE (50 * MPROC_MSEC)
#define RETRY_PAUSE (100 * MPROC_MSEC) /* before a task's second try; doubled before each further */

struct open_task {
    struct open_task *before, *after;
    struct pool *pool;
    struct job *job; /* owned */
    Py_ssize_t part;
    mproc_task *task;
};

/* What was submitted together without options: parts of a job, which the core knows by this. */
struct open_parts {
    struct open_parts *before, *after;
    struct job *job; /* owned; NULL: nobody wants them any more */
    size_t left;     /* parts that the core has not told of */
};

struct seat {
    PyObject *popen;     /* owned; NULL: the core has no process there */
    struct child *child; /* the same, if the core has got its handle; NULL: it was adopted */
};

struct pool {
    PyObject_HEAD mproc_pool *core; /* NULL: not made */
    PyObject *owner;                /* a weak reference */
    struct seat *seats;
    unsigned nseats;
    struct open_task tasks;  /* the ring's head */
    struct open_parts parts; /* likewise */
    int ranked;              /* tasks have priorities, so there are no parts */
    Py_ssize_t open;
    Py_ssize_t done; /* tasks that have ended, ever */
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

static struct pool *pool_of(PyObject *self) {
    return (struct pool *)self;
}

/* ---------------------------------------------------------------- what the core calls */

static void enter(void *Py_UNUSED(arg)) {
    blocking_end(blocking_waiting);
}

static void leave(void *Py_UNUSED(arg)) {
    (void)blocking_begin();
}

/* Behind what may have raised: an exception that was set before it stays, and is the one that
 * counts. */
static void keep_first(PyObject *before) {
    if (before != NULL && PyErr_Occurred()) {
        PyErr_Clear();
    }
    error_give_back(before);
}

/* Calls a method of the owner. NULL with an exception: AttributeError if there is no owner any
 * more. */
static PyObject *call_owner(const struct pool *pool, const char *method, const char *format, ...) {
    PyObject *owner = PyObject_CallNoArgs(pool->owner);
    PyObject *result = NULL;
    if (owner == NULL) {
        return NULL;
    }
    va_list values;
    va_start(values, format);
    PyObject *args = Py_VaBuildValue(format, values);
    va_end(values);
    PyObject *bound = args != NULL ? PyObject_GetAttrString(owner, method) : NULL;
    if (bound != NULL) {
        result = PyObject_CallObject(bound, args);
    }
    Py_XDECREF(bound);
    Py_XDECREF(args);
    Py_DECREF(owner);
    return result;
}

/* ---------------------------------------------------------------- tasks */

/* So many tasks more are open, or fewer. Under the lock. */
static void count_open(struct pool *pool, Py_ssize_t n) {
    THREADS_STORE(pool->open, pool->open + n);
}

/* Under the lock. */
static void link_task(struct pool *pool, struct open_task *open) {
    open->after = &pool->tasks;
    open->before = pool->tasks.before;
    open->before->after = open;
    pool->tasks.before = open;
    count_open(pool, 1);
}

/* Under the lock. */
static void unlink_task(struct open_task *open) {
    open->before->after = open->after;
    open->after->before = open->before;
}

/* What a task fails with. What is raised while that is asked for is it, too; and an interrupt is
 * the caller's all the same. */
static struct job_result failure_of(const struct pool *pool, const mproc_task_error *e) {
    struct job_result result = {.failed = 1};
    error_raise(e->code);
    PyObject *error = error_take();
    PyObject *owner = PyObject_CallNoArgs(pool->owner);
    PyObject *errors = owner != NULL ? PyImport_ImportModule("mproc._pool.errors") : NULL;
    if (errors != NULL) {
        result.value =
            PyObject_CallMethod(errors, "failure", "OOiKiiIdK", owner, error, e->code,
                                (unsigned long long)e->task, (int)e->pid, e->exitcode, e->tries,
                                (double)e->ran / 1e9, (unsigned long long)e->memory);
    }
    Py_XDECREF(errors);
    Py_XDECREF(owner);
    Py_DECREF(error);
    if (result.value == NULL) {
        int interrupted = !PyErr_ExceptionMatches(PyExc_Exception);
        result.value = error_take();
        result.interrupt = interrupted ? Py_XNewRef(result.value) : NULL;
    }
    return result;
}

static struct job_result result_of(const struct pool *pool, const struct open_task *open) {
    const void *data;
    size_t size;
    mproc_task_error error;
    mproc_task_failure(open->task, &error);
    if (error.code != 0 || mproc_task_result(open->task, &data, &size) != 0) {
        return failure_of(pool, &error);
    }
    return job_read(module_state_of((PyObject *)pool), open->job, data, size,
                    parts_of_task(open->task));
}

/* Under the lock. */
static void count_end(struct pool *pool) {
    count_open(pool, -1);
    THREADS_STORE(pool->done, pool->done + 1);
}

static void task_ended(mproc_task *task, void *arg) {
    struct open_task *open = arg;
    struct pool *pool = open->pool;
    PyObject *before = error_take();
    THREADS_LOCK(&pool->lock); /* who puts it may not have come to the end of that */
    unlink_task(open);
    THREADS_UNLOCK(&pool->lock);
    struct job_result result = result_of(pool, open);
    THREADS_LOCK(&pool->lock);
    count_end(pool);
    THREADS_UNLOCK(&pool->lock);
    (void)job_take(open->job, open->part, &result);
    mproc_task_drop(task);
    Py_DECREF(open->job);
    PyMem_Free(open);
    keep_first(before);
}

/* Under the lock, as free_parts(). */
static void unlink_parts(struct open_parts *parts) {
    parts->before->after = parts->after;
    parts->after->before = parts->before;
}

/* The job, which is the caller's, is NULL if nobody wants it. */
static PyObject *free_parts(struct open_parts *owned) {
    PyObject *job = (PyObject *)owned->job;
    unlink_parts(owned);
    PyMem_Free(owned);
    return job;
}

static struct job_result result_of_part(struct pool *pool, struct job *job,
                                        const mproc_message *result,
                                        const mproc_task_error *error) {
    return result == NULL ? failure_of(pool, error)
                          : job_read(module_state_of((PyObject *)pool), job, result->data,
                                     result->size, parts_of_message(result));
}

/* The core tells of one part more: whose it is, a new reference, or NULL. */
static struct job *part_of(struct pool *pool, struct open_parts *parts) {
    PyObject *unused = NULL;
    THREADS_LOCK(&pool->lock);
    struct job *job = (struct job *)Py_XNewRef((PyObject *)parts->job);
    if (--parts->left == 0) {
        unused = free_parts(parts);
    }
    THREADS_UNLOCK(&pool->lock);
    (void)pool;
    Py_XDECREF(unused);
    return job;
}

static void part_ended(void *arg, void *told, size_t part, const mproc_message *message,
                       const mproc_task_error *error) {
    struct pool *pool = arg;
    struct job *job = part_of(pool, told);
    if (job == NULL) {
        return;
    }
    PyObject *before = error_take();
    struct job_result result = result_of_part(pool, job, message, error);
    THREADS_LOCK(&pool->lock);
    count_end(pool);
    THREADS_UNLOCK(&pool->lock);
    (void)job_take(job, (Py_ssize_t)part, &result);
    Py_DECREF(job);
    keep_first(before);
}

/* chosen: None or (timeout in ns, bytes of memory, retries, priority). */
static int set_options(mproc_task_options *options, PyObject *chosen) {
    long long timeout;
    unsigned long long memory;
    if (chosen == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(chosen)) {
        PyErr_SetString(PyExc_TypeError, "options are a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(chosen, "LKI|i", &timeout, &memory, &options->retries,
                          &options->priority)) {
        return -1;
    }
    options->timeout = timeout;
    options->memory = memory;
    options->pause = RETRY_PAUSE;
    return 0;
}

/* Puts a task for which `open` stands: 0, or a code of the core. Under the lock. */
static int put_open(struct pool *pool, const struct iovec *lent, int n,
                    const mproc_task_options *options, struct open_task *open) {
    int r = mproc_pool_put(pool->core, lent, n, options, &open->task);
    if (r == 0) {
        Py_INCREF(open->job);
        link_task(pool, open);
    }
    return r;
}

/* buffers: what goes along; NULL: nothing. */
static int put_task(struct pool *pool, const struct iovec *lent, int n, const struct parts *buffers,
                    struct job *job, Py_ssize_t part, PyObject *chosen) {
    mproc_task_options options = {.done = task_ended};
    if (set_options(&options, chosen) < 0) {
        return -1;
    }
    struct open_task *open = PyMem_New(struct open_task, 1);
    if (open == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *open = (struct open_task){.pool = pool, .job = job, .part = part};
    options.done_arg = open;
    if (buffers != NULL) {
        options.buffers = buffers->buffers;
        options.nbuffers = buffers->nbuffers;
    }
    THREADS_LOCK(&pool->lock);
    int r = put_open(pool, lent, n, &options, open);
    THREADS_UNLOCK(&pool->lock);
    if (r != 0) {
        PyMem_Free(open);
        error_raise(r);
        return -1;
    }
    return 0;
}

static int put_tasks(struct pool *pool, const struct iovec *lent, size_t n, struct job *job,
                     Py_ssize_t first, PyObject *chosen, size_t *put) {
    for (*put = 0; *put < n; ++*put) {
        if (put_task(pool, &lent[*put], 1, NULL, job, first + (Py_ssize_t)*put, chosen) < 0) {
            return -1;
        }
    }
    return 0;
}

/* How parts are put: 0 or a code of the core. */
struct put {
    const struct iovec *lent;
    size_t n; /* pieces of one part, or parts of a piece each */
    size_t first;
    bool one;
};

static int put_lent(struct pool *pool, const struct put *what, struct open_parts *parts,
                    size_t *put) {
    if (!what->one) {
        return mproc_pool_put_parts(pool->core, what->lent, what->n, parts, what->first, put);
    }
    int r = mproc_pool_put_part(pool->core, what->lent, (int)what->n, parts, what->first);
    *put = r == 0;
    return r;
}

/* Puts parts: 0, or a code of the core. The thread that collects is told of them after that. Under
 * the lock. */
static int put_under_lock(struct pool *pool, const struct put *what, struct open_parts *parts,
                          size_t *put) {
    int r = put_lent(pool, what, parts, put);
    if (*put > 0) {
        parts->before = pool->parts.before;
        parts->after = &pool->parts;
        parts->before->after = parts;
        pool->parts.before = parts;
        parts->left = *put;
        Py_INCREF(parts->job);
        count_open(pool, (Py_ssize_t)*put);
    }
    return r;
}

/* -EBUSY: the tasks have priorities now. */
static int put_parts(struct pool *pool, const struct put *what, struct job *job, size_t *put) {
    struct open_parts *parts = PyMem_New(struct open_parts, 1);
    *put = 0;
    if (parts == NULL) {
        return -ENOMEM;
    }
    *parts = (struct open_parts){.job = job};
    THREADS_LOCK(&pool->lock);
    int r = put_under_lock(pool, what, parts, put);
    THREADS_UNLOCK(&pool->lock);
    if (*put == 0) {
        PyMem_Free(parts);
    }
    return r;
}

static int raise_code(int r) {
    if (r != 0) {
        error_raise(r);
    }
    return r == 0 ? 0 : -1;
}

static bool has_options(const struct pool *pool, PyObject *chosen) {
    return chosen != Py_None || THREADS_LOAD(pool->ranked) != 0;
}

static int put_one(PyObject *self, const struct call *lent, struct job *job, Py_ssize_t part,
                   PyObject *chosen) {
    struct pool *pool = pool_of(self);
    const struct parts *buffers = &lent->arguments.parts;
    const struct put what = {lent->pieces, (size_t)lent->n, (size_t)part, true};
    size_t put;
    int r = -EBUSY;
    if (!has_options(pool, chosen) && buffers->nbuffers == 0) {
        r = put_parts(pool, &what, job, &put);
    }
    return r != -EBUSY ? raise_code(r)
                       : put_task(pool, lent->pieces, lent->n, buffers, job, part, chosen);
}

static int put_many(PyObject *self, const struct iovec *lent, size_t n, struct job *job,
                    Py_ssize_t first, PyObject *chosen, size_t *put) {
    struct pool *pool = pool_of(self);
    const struct put what = {lent, n, (size_t)first, false};
    int r = has_options(pool, chosen) ? -EBUSY : put_parts(pool, &what, job, put);
    return r != -EBUSY ? raise_code(r) : put_tasks(pool, lent, n, job, first, chosen, put);
}

/* ---------------------------------------------------------------- workers */

static int adopt(PyObject *process, mproc_process **out) {
    PyObject *number = PyObject_GetAttrString(process, "pid");
    long pid = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return PyErr_Occurred() ? -ECANCELED : mproc_process_adopt(out, (pid_t)pid);
}

/* Gives the core what has been started: a popen object's handle is the core's, too, until the seat
 * is vacant. */
static int seat_process(struct pool *pool, unsigned seat, PyObject *process, mproc_process **out) {
    struct module_state *state = module_state_of((PyObject *)pool);
    PyObject *popen = PyObject_GetAttrString(process, "_popen");
    if (popen == NULL || state == NULL) {
        Py_XDECREF(popen);
        return -ECANCELED;
    }
    struct child *child =
        PyObject_TypeCheck(popen, state->child_type) ? (struct child *)popen : NULL;
    int r = child != NULL ? child_lend(child, out) : adopt(process, out);
    if (r == 0) {
        THREADS_LOCK(&pool->lock);
        pool->seats[seat] = (struct seat){Py_NewRef(popen), child};
        THREADS_UNLOCK(&pool->lock);
    }
    Py_DECREF(popen);
    return r;
}

/* `started`: the process, minus an errno, or a pair: the process, and what a signal's handler has
 * raised meanwhile, which is raised again. */
static int seat_started(struct pool *pool, unsigned seat, PyObject *started, mproc_process **out) {
    if (PyLong_Check(started)) {
        return (int)PyLong_AsLong(started);
    }
    PyObject *process = started, *interrupt = NULL;
    if (PyTuple_Check(started) && !PyArg_ParseTuple(started, "OO", &process, &interrupt)) {
        return -ECANCELED;
    }
    int r = seat_process(pool, seat, process, out);
    if (interrupt != NULL && r == 0) {
        error_give_back(Py_NewRef(interrupt));
    }
    return r;
}

static int start(void *arg, mproc_workplace *Py_UNUSED(place), unsigned seat, mproc_process **out) {
    struct pool *pool = arg;
    PyObject *before = error_take();
    PyObject *started = call_owner(pool, "_start_in_seat", "(I)", seat);
    int r = -ECANCELED;
    if (started != NULL) {
        r = seat_started(pool, seat, started, out);
        Py_DECREF(started);
    }
    keep_first(before);
    return r == 0 && *out == NULL ? -ECANCELED : r;
}

static void end(void *arg, unsigned seat, mproc_process *owned) {
    struct pool *pool = arg;
    PyObject *before = error_take();
    THREADS_LOCK(&pool->lock);
    struct seat left = pool->seats[seat];
    pool->seats[seat] = (struct seat){NULL, NULL};
    THREADS_UNLOCK(&pool->lock);
    if (left.child != NULL) {
        child_take_back(left.child, owned);
    } else {
        (void)mproc_process_drop(owned); /* the popen object never had it */
    }
    Py_XDECREF(left.popen);
    keep_first(before);
}

/* ---------------------------------------------------------------- life */

static int make(struct pool *pool, unsigned seats, double patience, int fragile, int outlived) {
    mproc_pool_options options = {
        .workers = seats,
        .most = seats,
        .idle = 1,
        .fragile = fragile,
        .outlived = outlived,
        .patience = (int64_t)(patience * 1e9),
        .start = start,
        .end = end,
        .start_arg = pool,
        .part = part_ended,
        .part_arg = pool,
        .enter = enter,
        .leave = leave,
    };
    char origin[LABEL_ORIGIN];
    int r;
    pool->seats = PyMem_Calloc(seats != 0 ? seats : 1, sizeof *pool->seats);
    if (pool->seats == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    label_keep_origin(origin);
    BLOCKING(r, mproc_pool_new(&pool->core, &options));
    label_forget_origin();
    if (r == 0) {
        pool->nseats = seats;
        return 0;
    }
    if (r == MPROC_ETOOBIG) {
        PyErr_NoMemory();
    } else if (r != BLOCKING_RAISED) {
        error_raise(r);
    }
    return -1;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"owner", "seats", "patience", "fragile", "outlived", NULL};
    PyObject *owner;
    unsigned seats;
    double patience;
    int fragile, outlived;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OIdpp:Pool", names, &owner, &seats, &patience,
                                     &fragile, &outlived)) {
        return NULL;
    }
    struct pool *pool = (struct pool *)type->tp_alloc(type, 0);
    if (pool == NULL) {
        return NULL;
    }
    pool->tasks.before = pool->tasks.after = &pool->tasks;
    pool->parts.before = pool->parts.after = &pool->parts;
    pool->owner = PyWeakref_NewRef(owner, NULL);
    if (pool->owner == NULL || make(pool, seats, patience, fragile, outlived) < 0) {
        Py_DECREF(pool);
        return NULL;
    }
    return (PyObject *)pool;
}

static int pool_traverse(PyObject *self, visitproc visit, void *arg) {
    struct pool *pool = pool_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(pool->owner);
    for (const struct open_task *open = pool->tasks.after; open != NULL && open != &pool->tasks;
         open = open->after) {
        Py_VISIT(open->job);
    }
    for (const struct open_parts *parts = pool->parts.after; parts != NULL && parts != &pool->parts;
         parts = parts->after) {
        Py_VISIT(parts->job);
    }
    for (unsigned i = 0; i < pool->nseats; i++) {
        Py_VISIT(pool->seats[i].popen);
    }
    return 0;
}

/* Parts that somebody wants, or NULL. */
static struct open_parts *wanted_parts(struct pool *pool) {
    struct open_parts *parts = pool->parts.after;
    while (parts != NULL && parts != &pool->parts && parts->job == NULL) {
        parts = parts->after;
    }
    return parts != &pool->parts ? parts : NULL;
}

/* A task that is dropped before it has ended has no callback. The core tells of parts all the same,
 * but nobody wants them any more. */
static int pool_clear(PyObject *self) {
    struct open_task *tasks = &pool_of(self)->tasks;
    while (tasks->after != tasks) {
        struct open_task *open = tasks->after;
        unlink_task(open);
        count_open(pool_of(self), -1);
        mproc_task_drop(open->task);
        Py_DECREF(open->job);
        PyMem_Free(open);
    }
    struct open_parts *parts;
    while ((parts = wanted_parts(pool_of(self))) != NULL) {
        count_open(pool_of(self), -(Py_ssize_t)parts->left);
        Py_CLEAR(parts->job); /* which may run anything */
    }
    return 0;
}

static void pool_dealloc(PyObject *self) {
    struct pool *pool = pool_of(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)pool_clear(self);
    if (pool->core != NULL) {
        PyObject *before = error_take();
        PyThreadState *thread = blocking_begin();
        mproc_pool_drop(pool->core);
        blocking_end(thread);
        keep_first(before);
    }
    while (pool->parts.after != NULL && pool->parts.after != &pool->parts) {
        Py_XDECREF(free_parts(pool->parts.after)); /* of a forked child's copy */
    }
    PyMem_Free(pool->seats);
    Py_XDECREF(pool->owner);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- collecting */

/* The clock is read for what is left when a signal has cut the wait short, and not before. */
static int collect_for(mproc_pool *core, int64_t *timeout, int64_t deadline) {
    int r = mproc_pool_collect(core, *timeout);
    *timeout = r == -EINTR ? blocking_left(deadline) : *timeout;
    return r;
}

/* 1: some task has ended; 0: none has for so long; -1: exception. */
static int collect(struct pool *pool, int64_t timeout, int64_t deadline) {
    int r;
    BLOCKING(r, collect_for(pool->core, &timeout, deadline));
    if (r == 0 || r == -ETIMEDOUT) {
        return r == 0;
    }
    if (r != BLOCKING_RAISED) {
        error_raise(r);
    }
    return -1;
}

int pool_collect(PyObject *self, PyObject *object, int64_t timeout, int patient) {
    const struct module_state *state = module_state_of(self);
    if (state == NULL) {
        return -1;
    }
    mproc_pool *core = pool_of(self)->core;
    int noted = patient && mproc_pool_note_wait(core) == 1;
    struct job *job = PyObject_TypeCheck(object, state->job_type) ? (struct job *)object : NULL;
    int64_t deadline = blocking_deadline(timeout);
    int r = 1;
    while (r == 1 && !(job != NULL && job_is_ready(job))) {
        r = collect(pool_of(self), timeout, deadline);
        if (job == NULL || job_is_ready(job) || job->book != NULL ||
            (timeout = blocking_left(deadline)) == 0) {
            break;
        }
    }
    if (noted) {
        mproc_pool_note_end();
    }
    if (r < 0 || PyErr_CheckSignals() < 0) {
        return -1;
    }
    return job != NULL ? job_is_ready(job) : r;
}

/* pump(job, seconds, patient): see pool_methods. */
static PyObject *pool_pump(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    int64_t timeout;
    if (nargs < 2 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "pump() takes a job, a timeout and a flag");
        return NULL;
    }
    if (blocking_timeout(args[1], &timeout) < 0) {
        return NULL;
    }
    int r = pool_collect(self, args[0], timeout, nargs == 3 && args[2] == Py_True);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

Py_ssize_t pool_open(PyObject *self) {
    return THREADS_LOAD(pool_of(self)->open);
}

/* ---------------------------------------------------------------- submitting */

static Py_ssize_t workers_of(const struct pool *pool) {
    size_t n = mproc_pool_workers(pool->core, NULL, 0);
    return n > 0 ? (Py_ssize_t)n : 1;
}

/* Nothing of the job may be left, if it has failed as a whole meanwhile. Nobody tells of that if it
 * was before this thread collects, so it looks again after each slice. */
static int collect_near(PyObject *self, struct job *job, Py_ssize_t unput, Py_ssize_t ahead) {
    struct pool *pool = pool_of(self);
    int r = 0;
    while (r >= 0 && !job_is_ready(job) &&
           THREADS_LOAD(job->left) - unput > workers_of(pool) + ahead - 1) {
        r = collect(pool, SLICE, blocking_deadline(SLICE));
        r = r >= 0 && PyErr_CheckSignals() < 0 ? -1 : r;
    }
    return r < 0 ? -1 : 0;
}

static const struct call_puts ways = {put_one, put_many, collect_near};

static PyObject *pool_submit(PyObject *self, PyObject *args) {
    return call_submit(self, args, &ways);
}

static PyObject *pool_submit_map(PyObject *self, PyObject *args) {
    return call_submit_map(self, args, &ways);
}

/* ---------------------------------------------------------------- as a whole */

static PyObject *pool_resize(PyObject *self, PyObject *workers) {
    unsigned long n = PyLong_AsUnsignedLong(workers);
    int r;
    if (n == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    BLOCKING(r, mproc_pool_resize(pool_of(self)->core, (unsigned)n));
    if (r != 0) {
        return r == BLOCKING_RAISED ? NULL : error_raise(r);
    }
    Py_RETURN_NONE;
}

static PyObject *pool_rank(PyObject *self, PyObject *number) {
    unsigned long ahead = PyLong_AsUnsignedLong(number);
    if (ahead == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    int r = mproc_pool_rank(pool_of(self)->core, (unsigned)ahead);
    THREADS_STORE(pool_of(self)->ranked, r == 0);
    return r == 0 ? Py_NewRef(Py_None) : error_raise(r);
}

static PyObject *pool_close(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_pool_close(pool_of(self)->core);
    Py_RETURN_NONE;
}

static PyObject *pool_abandon(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r;
    BLOCKING(r, (mproc_pool_abandon(pool_of(self)->core), 0));
    return r == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *pool_notify(PyObject *self, PyObject *Py_UNUSED(unused)) {
    int r = mproc_pool_notify(pool_of(self)->core);
    return r == 0 ? Py_NewRef(Py_None) : error_raise(r);
}

static PyObject *pool_note_wait(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_pool_note_wait(pool_of(self)->core) == 1);
}

static PyObject *pool_note_end(PyObject *Py_UNUSED(none), PyObject *Py_UNUSED(unused)) {
    mproc_pool_note_end();
    Py_RETURN_NONE;
}

static PyObject *pool_has_worker(PyObject *self, PyObject *number) {
    unsigned long seat = PyLong_AsUnsignedLong(number);
    if (seat == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    struct pool *pool = pool_of(self);
    THREADS_LOCK(&pool->lock);
    bool there = seat < pool->nseats && pool->seats[seat].popen != NULL;
    THREADS_UNLOCK(&pool->lock);
    return PyBool_FromLong(there);
}

static PyObject *get_open(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(pool_open(self));
}

static PyObject *get_waiting(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSize_t(mproc_pool_waiting(pool_of(self)->core));
}

static PyObject *get_done(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(THREADS_LOAD(pool_of(self)->done));
}

static PyObject *get_seats(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(pool_of(self)->nseats);
}

static PyObject *get_broken(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(mproc_pool_is_broken(pool_of(self)->core));
}

/* Where the workers find their tasks: the address of the arena's object, whose hold is the
 * pool's. */
static PyObject *get_workplace(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromVoidPtr(mproc_pool_workplace(pool_of(self)->core));
}

static PyMethodDef pool_methods[] = {
    CALL_SUBMIT(pool_submit),
    CALL_SUBMIT_MAP(pool_submit_map),
    {"pump", MODULE_METHOD(pool_pump), METH_FASTCALL,
     "pump($self, job, timeout, patient=False, /)\n--\n\n"
     "Book results until the job is ready (True), or for timeout seconds (False). With None: "
     "until some task has ended, or for a notice; True then. With a Stream: until it is ready, or "
     "as with None. Looks after the workers meanwhile. patient: the caller comes again until it "
     "has "
     "what it waits for, so lookers from outside see a wait without an end."},
    {"note_wait", pool_note_wait, METH_NOARGS,
     "note_wait($self, /)\n--\n\n"
     "Have lookers from outside see that this thread waits for the pool. False: it waits "
     "for something else already."},
    {"note_end", pool_note_end, METH_NOARGS | METH_STATIC,
     "note_end()\n--\n\nIt does not wait any more."},
    {"resize", pool_resize, METH_O,
     "resize($self, workers, /)\n--\n\nHave so many workers from now on; those that are missing "
     "start."},
    {"rank", pool_rank, METH_O,
     "rank($self, ahead, /)\n--\n\n"
     "Have tasks with priorities from now on; at most so many lie where workers take them."},
    {"close", pool_close, METH_NOARGS,
     "close($self, /)\n--\n\nNo more tasks: workers do what is queued, then end."},
    {"abandon", pool_abandon, METH_NOARGS,
     "abandon($self, /)\n--\n\nFail all that is open, and take no more."},
    {"notify", pool_notify, METH_NOARGS,
     "notify($self, /)\n--\n\n"
     "Have the thread that pumps look again at what it waits for: it came by no result."},
    {"has_worker", pool_has_worker, METH_O,
     "has_worker($self, seat, /)\n--\n\nWhether a seat has a worker that has not been missed."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pool_getset[] = {
    {"open", get_open, NULL, "Tasks whose results have not been read.", NULL},
    {"waiting", get_waiting, NULL, "Tasks that no worker has taken.", NULL},
    {"done", get_done, NULL, "Tasks that have ended, since the pool was made.", NULL},
    {"seats", get_seats, NULL, "Workers for which there is room.", NULL},
    {"broken", get_broken, NULL, "Whether the pool has given up.", NULL},
    {"workplace", get_workplace, NULL, "Where the workers' place stands in the arena.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, "Pool(owner, seats, patience, fragile, outlived)\n--\n\n"
                "A pool of the core without workers; owner has the methods that make it complete."},
    {Py_tp_new, (void *)pool_new},
    {Py_tp_dealloc, (void *)pool_dealloc},
    {Py_tp_traverse, (void *)pool_traverse},
    {Py_tp_clear, (void *)pool_clear},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "mproc._mproc.Pool",
    .basicsize = sizeof(struct pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pool_slots,
};

int pool_add(PyObject *module) {
    if (PyModule_AddIntConstant(module, "EDIED", MPROC_EDIED) < 0 ||
        PyModule_AddIntConstant(module, "EMEMORY", MPROC_EMEMORY) < 0 ||
        PyModule_AddIntConstant(module, "SEATS_MAX", MPROC_SEATS_MAX) < 0) {
        return -1;
    }
    return module_add_type(module, &pool_spec, &module_state(module)->pool_type, 1);
}
