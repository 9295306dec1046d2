/*
 * tasks.c - mproc._mproc.Tasks: what a Pool does per task
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Tasks is a handle of the core's task queue, with the owner's books: an entry per
 * open ticket says which Job it belongs to, and which part of it. submit() and submit_map() encode
 * and queue (call.c); pump() collects results and books them into their jobs; worker_died() books
 * the failure of a task whose worker died. serve() is the worker's loop. A pool therefore needs no
 * thread: whoever waits pumps.
 *
 * Books. Tickets are dense, so the entries stand in an array that begins with the oldest open
 * ticket. Invariant: entry i is empty or holds an owned reference to a Job; it is emptied before
 * the job is told.
 */
#include "blocking.h"
#include "call.h"
#include "error.h"
#include "handle.h"
#include "work.h"

#include <stdbool.h>

#define AHEAD 32       /* results booked for others after the awaited one, at most */
#define CLOCK_EVERY 16 /* results booked for others between two looks at the clock */

/* ---------------------------------------------------------------- the owner's books */

struct entry {
    PyObject *job; /* owned; NULL: closed */
    Py_ssize_t part;
};

struct tasks {
    struct handle handle;
    struct entry *entries; /* of the tickets base .. base + count - 1 */
    Py_ssize_t first;      /* index of base's entry */
    Py_ssize_t count;
    Py_ssize_t room;
    uint64_t base;
    Py_ssize_t open; /* entries that are not closed */
    Py_ssize_t done; /* results that were booked, ever */
    bool noticed;    /* a notice is on its way to the thread that pumps */
};

static mproc_taskq *taskq_of(PyObject *self) {
    return handle_object(self);
}

/* Makes room for one more entry at the end. */
static int books_reserve(struct tasks *t) {
    if (t->first + t->count < t->room) {
        return 0;
    }
    if (t->first > t->room / 2) {
        memmove(t->entries, t->entries + t->first, (size_t)t->count * sizeof *t->entries);
        t->first = 0;
        return 0;
    }
    Py_ssize_t room = t->room ? t->room * 2 : 64;
    struct entry *entries = PyMem_Realloc(t->entries, (size_t)room * sizeof *entries);
    if (entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    t->entries = entries;
    t->room = room;
    return 0;
}

/* Other threads may have queued between this thread's put and now: their tickets come in any
 * order. */
static int books_open(struct tasks *t, uint64_t ticket, PyObject *job, Py_ssize_t part) {
    if (t->count == 0) {
        t->base = ticket;
    }
    while (t->base + (uint64_t)t->count <= ticket) {
        if (books_reserve(t) < 0) {
            return -1;
        }
        t->entries[t->first + t->count++] = (struct entry){NULL, 0};
    }
    Py_INCREF(job);
    t->entries[t->first + (Py_ssize_t)(ticket - t->base)] = (struct entry){job, part};
    t->open++;
    return 0;
}

/* Takes an entry out: the job's reference is the caller's, who counts `open` down. A task counts as
 * open until its result has been read, for that may need its worker alive. NULL: not open. */
static struct job *books_close(struct tasks *t, uint64_t ticket, Py_ssize_t *part) {
    if (ticket < t->base || ticket - t->base >= (uint64_t)t->count) {
        return NULL;
    }
    struct entry *e = &t->entries[t->first + (Py_ssize_t)(ticket - t->base)];
    struct job *job = (struct job *)e->job;
    *part = e->part;
    e->job = NULL;
    while (t->count > 0 && t->entries[t->first].job == NULL) {
        t->first++;
        t->base++;
        t->count--;
    }
    if (t->count == 0) {
        t->first = 0;
    }
    return job;
}

static PyObject *tasks_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned seats;
    static char *names[] = {"seats", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "I:Tasks", names, &seats)) {
        return NULL;
    }
    mproc_taskq *taskq = NULL;
    int r = mproc_taskq_new(&taskq, seats);
    return handle_new(type, r, taskq);
}

static int tasks_traverse(PyObject *self, visitproc visit, void *arg) {
    struct tasks *t = (struct tasks *)self;
    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t i = 0; i < t->count; i++) {
        Py_VISIT(t->entries[t->first + i].job);
    }
    return 0;
}

static int tasks_clear(PyObject *self) {
    struct tasks *t = (struct tasks *)self;
    for (Py_ssize_t i = 0; i < t->count; i++) {
        Py_CLEAR(t->entries[t->first + i].job);
    }
    t->open = 0;
    return 0;
}

static void tasks_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    (void)tasks_clear(self);
    PyMem_Free(((struct tasks *)self)->entries);
    handle_dealloc(self);
}

/* ---------------------------------------------------------------- submitting */

static int put(PyObject *self, const struct call *lent, struct job *job, Py_ssize_t part,
               PyObject *Py_UNUSED(options)) {
    uint64_t ticket;
    int r = mproc_taskq_put(taskq_of(self), lent->pieces, lent->n, &ticket);
    if (r != 0) {
        error_raise(r);
        return -1;
    }
    return books_open((struct tasks *)self, ticket, (PyObject *)job, part);
}

static PyObject *tasks_submit(PyObject *self, PyObject *args) {
    return call_submit(self, args, put);
}

static PyObject *tasks_submit_map(PyObject *self, PyObject *args) {
    return call_submit_map(self, args, put);
}

/* ---------------------------------------------------------------- collecting */

static int book_result(struct tasks *t, struct module_state *state, struct job *job,
                       Py_ssize_t part, const mproc_message *message) {
    struct job_result result = job_read(state, job, message->data, message->size);
    t->open--;
    t->done++;
    return job_take(job, part, &result);
}

/* 1: booked a result, or got a notice; 0: none within the timeout; -1: exception. */
static int collect(PyObject *self, struct module_state *state, int64_t timeout) {
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    int r = mproc_taskq_collect(taskq_of(self), &message, &ticket, 0);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r,
                 mproc_taskq_collect(taskq_of(self), &message, &ticket, blocking_left(deadline)));
    }
    struct tasks *t = (struct tasks *)self;
    if (r == -EAGAIN) {
        t->noticed = false;
        return 1;
    }
    if (r != 0) {
        if (r != -ETIMEDOUT && r != BLOCKING_RAISED) {
            error_raise(r);
        }
        return r == -ETIMEDOUT ? 0 : -1;
    }
    Py_ssize_t part;
    struct job *job = books_close(t, ticket, &part);
    r = job == NULL ? 0 : book_result(t, state, job, part, &message);
    Py_XDECREF(job);
    mproc_message_drop(&message);
    return r < 0 ? -1 : 1;
}

/* pump(job, seconds): books results until the job is ready (True), or none has come for so long, or
 * results of others have come for so long (False): somebody has to look after the workers, too.
 * Books some more that are there already: who waits for one mostly waits for those next.
 * With None for the job: waits so long for the first, and books what else is there; True if it
 * booked any, or got a notice. */
static PyObject *tasks_pump(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    struct module_state *state = module_state_of(self);
    int64_t timeout;
    if (state == NULL || nargs != 2 || blocking_timeout(args[1], &timeout) < 0) {
        if (state != NULL && nargs != 2) {
            PyErr_SetString(PyExc_TypeError, "pump() takes a job and a timeout");
        }
        return NULL;
    }
    struct job *job = PyObject_TypeCheck(args[0], state->job_type) ? (struct job *)args[0] : NULL;
    int64_t deadline = 0;
    unsigned long booked = 0, more = 0;
    while (job == NULL || !job->ready || (booked > 0 && more++ < AHEAD)) {
        int r = collect(self, state, job != NULL && job->ready ? 0 : timeout);
        if (r < 0) {
            return NULL;
        }
        if (r == 0) {
            break;
        }
        booked++;
        if (job == NULL) {
            timeout = 0;
        } else if (booked % CLOCK_EVERY == 0) {
            if (deadline != 0 && blocking_left(deadline) == 0) {
                break;
            }
            deadline = deadline == 0 ? blocking_deadline(timeout) : deadline;
        }
        if (PyErr_CheckSignals() < 0) {
            return NULL;
        }
    }
    return PyBool_FromLong(job != NULL ? job->ready : booked > 0);
}

/* worker_died(seat, make_error): the seat's worker has ended. If it had a task, that fails with the
 * exception make_error(ticket) returns. True if it had. */
static PyObject *tasks_worker_died(PyObject *self, PyObject *args) {
    unsigned seat;
    PyObject *make_error;
    uint64_t ticket;
    if (!PyArg_ParseTuple(args, "IO:worker_died", &seat, &make_error)) {
        return NULL;
    }
    if (mproc_taskq_worker_died(taskq_of(self), seat, &ticket) != 1) {
        Py_RETURN_FALSE;
    }
    Py_ssize_t part;
    struct job *job = books_close((struct tasks *)self, ticket, &part);
    if (job == NULL) {
        Py_RETURN_TRUE;
    }
    ((struct tasks *)self)->open--;
    PyObject *error = PyObject_CallFunction(make_error, "K", (unsigned long long)ticket);
    int r = error == NULL ? -1 : job_fail(job, error);
    Py_XDECREF(error);
    Py_DECREF(job);
    if (r < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* fail_all(error): every open job. */
static PyObject *tasks_fail_all(PyObject *self, PyObject *error) {
    struct tasks *t = (struct tasks *)self;
    while (t->count > 0) {
        Py_ssize_t part;
        struct job *job = books_close(t, t->base, &part);
        t->open -= job != NULL;
        if (job != NULL && !job->ready) {
            if (job_fail_all(job, error) < 0) {
                Py_DECREF(job);
                return NULL;
            }
        }
        Py_XDECREF(job);
    }
    Py_RETURN_NONE;
}

/* notify(): without room for the notice the pumping thread wakes with its slice. */
static PyObject *tasks_notify(PyObject *self, PyObject *Py_UNUSED(unused)) {
    struct tasks *t = (struct tasks *)self;
    if (!t->noticed) {
        t->noticed = mproc_taskq_notify(taskq_of(self)) == 0;
    }
    Py_RETURN_NONE;
}

static PyObject *tasks_close(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_taskq_close(taskq_of(self));
    Py_RETURN_NONE;
}

static PyObject *get_open(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(((struct tasks *)self)->open);
}

static PyObject *get_done(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(((struct tasks *)self)->done);
}

static PyObject *get_waiting(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLongLong(mproc_taskq_waiting(taskq_of(self)));
}

/* ---------------------------------------------------------------- the worker's loop */

struct worker {
    struct work work;
    mproc_taskq *taskq;
    unsigned seat;
};

static int hand_in(void *worker, const struct iovec *lent, int n) {
    const struct worker *w = worker;
    return mproc_taskq_finish(w->taskq, w->seat, lent, n);
}

/* 1: did one; 0: there will be none; -1: exception. */
static int serve_one(struct worker *w) {
    char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    int r = mproc_taskq_take(w->taskq, w->seat, &message, &ticket, 0);
    if (r == -ETIMEDOUT) {
        BLOCKING(r, mproc_taskq_take(w->taskq, w->seat, &message, &ticket, MPROC_FOREVER));
    }
    if (r == MPROC_ECLOSED) {
        return 0;
    }
    if (r != 0) {
        if (r != BLOCKING_RAISED) {
            error_raise(r);
        }
        return -1;
    }
    r = work_do(&w->work, message.data, message.size);
    mproc_message_drop(&message);
    return r < 0 || PyErr_CheckSignals() < 0 ? -1 : 1;
}

/* serve(seat, limit, describe, excuse, everything=False): runs tasks until the queue is closed, or
 * `limit` are done (0: no limit). Returns how many. */
static PyObject *tasks_serve(PyObject *self, PyObject *args) {
    struct worker w = {.work = {.state = module_state_of(self), .first = -1, .hand_in = hand_in},
                       .taskq = taskq_of(self)};
    struct work *work = &w.work;
    Py_ssize_t limit, done = 0;
    work->worker = &w;
    if (work->state == NULL ||
        !PyArg_ParseTuple(args, "InOO|p:serve", &w.seat, &limit, &work->describe, &work->excuse,
                          &work->everything)) {
        return NULL;
    }
    int r = mproc_taskq_join(w.taskq, w.seat);
    if (r != 0) {
        return error_raise(r);
    }
    work->known = PyDict_New();
    r = work->known == NULL ? -1 : 1;
    while (r == 1 && (limit == 0 || done < limit)) {
        r = serve_one(&w);
        done += r == 1;
    }
    Py_XDECREF(work->known);
    return r < 0 ? NULL : PyLong_FromSsize_t(done);
}

static PyMethodDef tasks_methods[] = {
    CALL_SUBMIT(tasks_submit),
    CALL_SUBMIT_MAP(tasks_submit_map),
    {"pump", (PyCFunction)(void (*)(void))tasks_pump, METH_FASTCALL,
     "pump(job, timeout)\n--\n\n"
     "Book results until the job is ready (True), or none or only others' have come for timeout\n"
     "seconds (False). With None: wait so long for the first, book what else is there; True if\n"
     "there was any, or a notice."},
    {"notify", tasks_notify, METH_NOARGS,
     "notify()\n--\n\n"
     "Have the thread that pumps look again at what it waits for: it came by no result."},
    {"worker_died", tasks_worker_died, METH_VARARGS,
     "worker_died(seat, make_error)\n--\n\n"
     "Fail the task that the seat's dead worker had with make_error(ticket); True if it had one."},
    {"fail_all", tasks_fail_all, METH_O, "fail_all(error)\n--\n\nFail every open job."},
    {"close", tasks_close, METH_NOARGS,
     "close()\n--\n\nNo more tasks: workers drain the queue, then end."},
    {"serve", tasks_serve, METH_VARARGS,
     "serve(seat, limit, describe, excuse, everything=False)\n--\n\n"
     "The worker's loop; returns the number of tasks done."},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tasks_getset[] = {
    HANDLE_ADDRESS,
    {"open", get_open, NULL, "Tasks whose results have not been booked.", NULL},
    {"done", get_done, NULL, "Results that have been booked, since the queue was made.", NULL},
    {"waiting", get_waiting, NULL, "Tasks that no worker has taken.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot tasks_slots[] = {
    {Py_tp_doc, "A pool's task queue: the owner's end, or a worker's."},
    {Py_tp_new, (void *)tasks_new},
    {Py_tp_dealloc, (void *)tasks_dealloc},
    {Py_tp_traverse, (void *)tasks_traverse},
    {Py_tp_clear, (void *)tasks_clear},
    {Py_tp_methods, tasks_methods},
    {Py_tp_getset, tasks_getset},
    {0, NULL},
};

static PyType_Spec tasks_spec = {
    .name = "mproc._mproc.Tasks",
    .basicsize = sizeof(struct tasks),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = tasks_slots,
};

int tasks_add(PyObject *module) {
    return module_add_type(module, &tasks_spec, &module_state(module)->tasks_type, 1);
}
