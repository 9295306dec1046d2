/*
 * tasks.c - mproc._mproc.Tasks and Job: what a Pool does per task
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Tasks is a handle of the core's task queue, with the owner's books: an entry per
 * open ticket says which Job it belongs to, and which part of it. submit() and submit_map() encode
 * and queue; pump() collects results and books them into their jobs; worker_died() books the
 * failure of a task whose worker died. serve() is the worker's loop. A pool therefore needs no
 * thread: whoever waits pumps.
 *
 * A task:    kind, flags, u32 length of the function's message, u64 number of a map's first item,
 *            the function's message, the arguments'.
 * A result:  status, the value's message.
 *
 * Books. Tickets are dense, so the entries stand in an array that begins with the oldest open
 * ticket. Invariant: entry i is empty or holds an owned reference to a Job; it is emptied before
 * the job is told.
 *
 * Functions. A function that pickles as a mere name is sent as that name, and a worker looks the
 * name up once: workers remember the functions they met. Anything with a state of its own is
 * unpickled afresh for each task, as if the task were alone.
 */
#include "blocking.h"
#include "codec.h"
#include "error.h"
#include "handle.h"

#include <stdbool.h>
#include <structmember.h>

#define COPY_UNLOCKED (1 << 16)
#define AHEAD 32       /* results booked for others after the awaited one, at most */
#define CLOCK_EVERY 16 /* results booked for others between two looks at the clock */

enum task_kind { TASK_CALL = 0, TASK_MAP = 1, TASK_STARMAP = 2 };
enum task_flags { TASK_NAMED = 1 };
enum result_status { RESULT_VALUE = 0, RESULT_ERROR = 1 };

struct task_head {
    uint8_t kind;
    uint8_t flags;
    uint8_t unused[2];
    uint32_t function_size;
    uint64_t first; /* of a map: the number of the first item, for the error of one */
};

/* ---------------------------------------------------------------- Job */

/* What AsyncResult is made of: one value, or the list of a map in the making. */
struct job {
    PyObject_HEAD PyObject *value; /* the result, the list, or the exception */
    Py_ssize_t left;               /* parts that have not come yet */
    Py_ssize_t chunk;              /* items per part; 0: a single value */
    char ready;
    char failed;
    char watched; /* another thread than the collecting one waits for it */
    PyObject *weakrefs;
    PyObject *dict;
};

static int job_traverse(PyObject *self, visitproc visit, void *arg) {
    struct job *job = (struct job *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(job->value);
    Py_VISIT(job->dict);
    return 0;
}

static int job_clear(PyObject *self) {
    struct job *job = (struct job *)self;
    Py_CLEAR(job->value);
    Py_CLEAR(job->dict);
    return 0;
}

static void job_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((struct job *)self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)job_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static int call_hook(struct job *job, const char *name) {
    PyObject *r = PyObject_CallMethod((PyObject *)job, name, NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* _finished() has raised, and may have been cut short by a signal handler, at its first instruction
 * even. _finished_again() completes it; True: callbacks raise nothing there, so it was a handler.
 * True: the exception, which is still set, is the caller's. */
static bool is_interrupted(struct job *job) {
    PyObject *raised = error_take();
    PyObject *r = PyObject_CallMethod((PyObject *)job, "_finished_again", NULL);
    if (r == NULL) {
        PyErr_WriteUnraisable((PyObject *)job);
    }
    bool interrupted = r == Py_True;
    Py_XDECREF(r);
    error_give_back(raised);
    return interrupted || !PyErr_ExceptionMatches(PyExc_Exception);
}

/* What _finished() does (callbacks) is done before anybody can see that the job is ready. What a
 * callback raises is nobody's: it is printed, and the job is ready all the same. */
static int job_finish(struct job *job) {
    if (call_hook(job, "_finished") < 0) {
        if (is_interrupted(job)) {
            job->ready = 1;
            return -1;
        }
        PyErr_WriteUnraisable((PyObject *)job);
    }
    job->ready = 1;
    return job->watched ? call_hook(job, "_announce") : 0;
}

/* Books a failure; of several, the first counts. */
static int job_fail(struct job *job, PyObject *error) {
    if (!job->failed) {
        job->failed = 1;
        Py_INCREF(error);
        Py_XSETREF(job->value, error);
    }
    job->left--;
    return job->left <= 0 && !job->ready ? job_finish(job) : 0;
}

/* Puts a map's part, a list, where it belongs. */
static int job_place(struct job *job, Py_ssize_t part, PyObject *items) {
    Py_ssize_t first = part * job->chunk;
    if (!PyList_Check(items) || !PyList_Check(job->value)) {
        PyErr_SetString(PyExc_SystemError, "a map's part is no list");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        Py_INCREF(item);
        if (PyList_SetItem(job->value, first + i, item) < 0) {
            return -1;
        }
    }
    return 0;
}

static int job_book(struct job *job, Py_ssize_t part, PyObject *value) {
    if (!job->failed) {
        if (job->chunk == 0) {
            Py_INCREF(value);
            Py_XSETREF(job->value, value);
        } else if (job_place(job, part, value) < 0) {
            return -1;
        }
    }
    job->left--;
    return job->left <= 0 && !job->ready ? job_finish(job) : 0;
}

static PyObject *job_finished(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused)) {
    Py_RETURN_NONE;
}

/* _fail(error): every part at once. */
static PyObject *job_fail_all(PyObject *self, PyObject *error) {
    struct job *job = (struct job *)self;
    if (!job->ready) {
        job->left = 1;
        if (job_fail(job, error) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static void job_begin(struct job *job, Py_ssize_t parts, Py_ssize_t chunk) {
    job->left = parts;
    job->chunk = chunk;
}

/* _begin(parts, chunksize, values): for books that are kept in Python. */
static PyObject *job_begin_python(PyObject *self, PyObject *args) {
    struct job *job = (struct job *)self;
    Py_ssize_t parts, chunk;
    PyObject *values;
    if (!PyArg_ParseTuple(args, "nnO:_begin", &parts, &chunk, &values)) {
        return NULL;
    }
    job_begin(job, parts, chunk);
    Py_INCREF(values);
    Py_XSETREF(job->value, values);
    if (parts <= 0 && job_finish(job) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* _book(part, value) */
static PyObject *job_book_python(PyObject *self, PyObject *args) {
    Py_ssize_t part;
    PyObject *value;
    if (!PyArg_ParseTuple(args, "nO:_book", &part, &value) ||
        job_book((struct job *)self, part, value) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* _book_failure(error) */
static PyObject *job_book_failure(PyObject *self, PyObject *error) {
    return job_fail((struct job *)self, error) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef job_methods[] = {
    {"_begin", job_begin_python, METH_VARARGS,
     "_begin(parts, chunksize, values)\n--\n\n"
     "Expect so many parts; values: the list of a map, or None."},
    {"_book", job_book_python, METH_VARARGS,
     "_book(part, value)\n--\n\nBook the result of a part: a list of values, if it is a map's."},
    {"_book_failure", job_book_failure, METH_O,
     "_book_failure(error)\n--\n\nBook the failure of one part."},
    {"_finished", job_finished, METH_NOARGS, "Called when the last part has been booked."},
    {"_finished_again", job_finished, METH_NOARGS,
     "Called when _finished() has raised. True: a signal handler did that."},
    {"_announce", job_finished, METH_NOARGS, "Called when a watched job has become ready."},
    {"_fail", job_fail_all, METH_O, "Fails the whole job with an exception, unless it is ready."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef job_members[] = {
    {"_value", T_OBJECT, offsetof(struct job, value), READONLY, "The result or the exception."},
    {"_ready", T_BOOL, offsetof(struct job, ready), READONLY, "True when all has been booked."},
    {"_watched", T_BOOL, offsetof(struct job, watched), 0, "Whether _announce() is to be called."},
    {"_failed", T_BOOL, offsetof(struct job, failed), READONLY, "True if _value is an exception."},
    {"_left", T_PYSSIZET, offsetof(struct job, left), READONLY, "Parts that have not come yet."},
    {"_chunksize", T_PYSSIZET, offsetof(struct job, chunk), READONLY, "Items per part; 0: no map."},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct job, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct job, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot job_slots[] = {
    {Py_tp_doc, "The result of one call or map, in the making."},
    {Py_tp_dealloc, (void *)job_dealloc},
    {Py_tp_traverse, (void *)job_traverse},
    {Py_tp_clear, (void *)job_clear},
    {Py_tp_methods, job_methods},
    {Py_tp_members, job_members},
    {0, NULL},
};

static PyType_Spec job_spec = {
    .name = "mproc._mproc.Job",
    .basicsize = sizeof(struct job),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = job_slots,
};

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

struct function {
    const char *data; /* its message */
    Py_ssize_t size;
    int named;
};

/* Queues one task: the head, the function's message, the arguments' message. The interpreter's lock
 * is held from here until the ticket is in the books: no other thread may collect its result
 * before. */
static int queue_task(PyObject *self, int kind, const struct function *function, Py_ssize_t first,
                      PyObject *arguments, uint64_t *ticket) {
    struct message message;
    struct module_state *state = module_state_of(self);
    if (state == NULL || codec_encode(state, arguments, &message) < 0) {
        return -1;
    }
    struct task_head head = {(uint8_t)kind,
                             function->named ? TASK_NAMED : 0,
                             {0, 0},
                             (uint32_t)function->size,
                             (uint64_t)first};
    struct iovec pieces[MESSAGE_PIECES + 2];
    pieces[0] = (struct iovec){&head, sizeof head};
    pieces[1] = (struct iovec){(void *)(uintptr_t)function->data, (size_t)function->size};
    memcpy(pieces + 2, message.iov, (size_t)message.niov * sizeof *pieces);
    int r = mproc_taskq_put(taskq_of(self), pieces, message.niov + 2, ticket);
    message_clear(&message);
    if (r != 0) {
        error_raise(r);
    }
    return r == 0 ? 0 : -1;
}

/* submit(job, function message, named, arguments) */
static PyObject *tasks_submit(PyObject *self, PyObject *args) {
    struct module_state *state = module_state_of(self);
    struct function function;
    PyObject *job, *arguments;
    uint64_t ticket;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!y#pO:submit", state->job_type, &job, &function.data,
                          &function.size, &function.named, &arguments)) {
        return NULL;
    }
    job_begin((struct job *)job, 1, 0);
    if (queue_task(self, TASK_CALL, &function, 0, arguments, &ticket) < 0 ||
        books_open((struct tasks *)self, ticket, job, 0) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int submit_parts(PyObject *self, PyObject *job, int kind, const struct function *function,
                        PyObject *items, Py_ssize_t chunk, Py_ssize_t first) {
    Py_ssize_t n = PyList_GET_SIZE(items);
    for (Py_ssize_t part = 0; part * chunk < n; part++) {
        Py_ssize_t end = (part + 1) * chunk;
        PyObject *slice = PyList_GetSlice(items, part * chunk, end < n ? end : n);
        uint64_t ticket;
        int r = slice == NULL
                    ? -1
                    : queue_task(self, kind, function, first + part * chunk, slice, &ticket);
        Py_XDECREF(slice);
        if (r < 0 || books_open((struct tasks *)self, ticket, job, part) < 0) {
            return -1;
        }
    }
    return 0;
}

/* submit_map(job, function message, named, star, items, chunksize, first=0): a list of items;
 * without any the job is ready at once. If an item cannot be sent, the exception is raised, and the
 * job fails. first: what number the first item has in the error of one. */
static PyObject *tasks_submit_map(PyObject *self, PyObject *args) {
    struct module_state *state = module_state_of(self);
    struct function function;
    PyObject *job, *items;
    Py_ssize_t chunk, first = 0;
    int star;
    if (state == NULL || !PyArg_ParseTuple(args, "O!y#ppO!n|n:submit_map", state->job_type, &job,
                                           &function.data, &function.size, &function.named, &star,
                                           &PyList_Type, &items, &chunk, &first)) {
        return NULL;
    }
    Py_ssize_t n = PyList_GET_SIZE(items);
    if (chunk < 1) {
        PyErr_Format(PyExc_ValueError, "chunksize %zd for %zd items", chunk, n);
        return NULL;
    }
    PyObject *results = PyList_New(n);
    if (results == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_INCREF(Py_None);
        PyList_SET_ITEM(results, i, Py_None);
    }
    Py_XSETREF(((struct job *)job)->value, results);
    job_begin((struct job *)job, (n + chunk - 1) / chunk, chunk);
    if (n == 0) {
        return job_finish((struct job *)job) < 0 ? NULL : Py_NewRef(Py_None);
    }
    int kind = star ? TASK_STARMAP : TASK_MAP;
    if (submit_parts(self, job, kind, &function, items, chunk, first) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- collecting */

/* The failure of a job whose result cannot be read: what _unreadable() makes of the error that is
 * set. New reference. A KeyboardInterrupt is the caller's all the same: *interrupt keeps it for
 * him. */
static PyObject *take_unreadable(struct job *job, PyObject **interrupt) {
    int interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    PyObject *error = error_take();
    PyObject *value = PyObject_CallMethod((PyObject *)job, "_unreadable", "O", error);
    if (value != NULL && interrupted) {
        *interrupt = Py_NewRef(error);
    }
    Py_DECREF(error);
    return value;
}

static int book_value(struct job *job, Py_ssize_t part, int status, PyObject *value) {
    if (status == RESULT_VALUE) {
        return job_book(job, part, value);
    }
    if (PyExceptionInstance_Check(value)) {
        return job_fail(job, value);
    }
    PyErr_Format(PyExc_SystemError, "a task failed with %R", value);
    return -1;
}

static int book_result(struct tasks *t, struct module_state *state, struct job *job,
                       Py_ssize_t part, const mproc_message *message) {
    int status = message->size > 0 ? *(const uint8_t *)message->data : RESULT_ERROR;
    PyObject *interrupt = NULL;
    PyObject *value = codec_decode(state, (const char *)message->data + 1,
                                   message->size > 0 ? message->size - 1 : 0);
    if (value == NULL) {
        status = RESULT_ERROR;
        value = take_unreadable(job, &interrupt);
    }
    t->open--;
    t->done++;
    int r = value == NULL ? -1 : book_value(job, part, status, value);
    Py_XDECREF(value);
    if (interrupt != NULL && r == 0) {
        PyErr_SetObject((PyObject *)Py_TYPE(interrupt), interrupt);
        r = -1;
    }
    Py_XDECREF(interrupt);
    return r;
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
            PyObject *r = job_fail_all((PyObject *)job, error);
            Py_XDECREF(r);
            if (r == NULL) {
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
    struct module_state *state;
    mproc_taskq *taskq;
    unsigned seat;
    PyObject *known;    /* dict: a function's message -> the function */
    PyObject *describe; /* callable: (exception, whether the function was called, where) -> what to
                           send; where: (function, number of the item) in a map, else None */
    PyObject *excuse; /* callable: (value, exception, first) -> what to send for a value that cannot
                         be; first: the number of a map's first item, else None */
    int everything;   /* what is no Exception is described, too, if the function raised it */
    int called;       /* the task was read, and its function called */
    PyObject *where;  /* of the map that has failed, else NULL */
    int64_t first;    /* the number of the map's first item; -1: no map */
};

/* The function that a task names. New reference. */
static PyObject *find_function(struct worker *w, const char *data, size_t size, int named) {
    if (!named) {
        return codec_decode(w->state, data, size);
    }
    PyObject *key = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    if (key == NULL) {
        return NULL;
    }
    PyObject *function = PyDict_GetItemWithError(w->known, key);
    Py_XINCREF(function);
    if (function == NULL && !PyErr_Occurred()) {
        function = codec_decode(w->state, data, size);
        if (function != NULL && PyDict_SetItem(w->known, key, function) < 0) {
            Py_CLEAR(function);
        }
    }
    Py_DECREF(key);
    return function;
}

static PyObject *call_star(PyObject *function, PyObject *item) {
    PyObject *args = PySequence_Tuple(item);
    PyObject *result = args == NULL ? NULL : PyObject_Call(function, args, NULL);
    Py_XDECREF(args);
    return result;
}

/* Keeps for describe() where a map has failed. The exception that is set stays. */
static void note_where(struct worker *w, PyObject *function, uint64_t number) {
    PyObject *error = error_take();
    w->where = Py_BuildValue("(OK)", function, (unsigned long long)number);
    if (w->where == NULL) {
        PyErr_Clear();
    }
    error_give_back(error);
}

static PyObject *run_map(struct worker *w, PyObject *function, PyObject *items,
                         const struct task_head *head) {
    int star = head->kind == TASK_STARMAP;
    Py_ssize_t n = PyList_GET_SIZE(items);
    PyObject *results = PyList_New(n);
    for (Py_ssize_t i = 0; results != NULL && i < n; i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyObject *r = star ? call_star(function, item) : PyObject_CallOneArg(function, item);
        if (r == NULL) {
            note_where(w, function, head->first + (uint64_t)i);
            Py_CLEAR(results);
            break;
        }
        PyList_SET_ITEM(results, i, r);
    }
    return results;
}

static PyObject *run_call(PyObject *function, PyObject *arguments) {
    PyObject *args, *kwargs;
    if (!PyArg_ParseTuple(arguments, "OO", &args, &kwargs)) {
        return NULL;
    }
    return PyObject_Call(function, args, kwargs == Py_None ? NULL : kwargs);
}

static PyObject *run_task(struct worker *w, const mproc_message *message) {
    struct task_head head;
    memcpy(&head, message->data, sizeof head);
    const char *data = (const char *)message->data + sizeof head;
    size_t rest = message->size - sizeof head - head.function_size;
    PyObject *result = NULL;
    PyObject *function = find_function(w, data, head.function_size, head.flags & TASK_NAMED);
    PyObject *arguments =
        function == NULL ? NULL : codec_decode(w->state, data + head.function_size, rest);
    w->called = arguments != NULL;
    w->first = head.kind == TASK_CALL ? -1 : (int64_t)head.first;
    if (arguments != NULL) {
        result = head.kind == TASK_CALL ? run_call(function, arguments)
                                        : run_map(w, function, arguments, &head);
    }
    Py_XDECREF(function);
    Py_XDECREF(arguments);
    return result;
}

static int send_result(struct worker *w, int status, PyObject *value) {
    struct message message;
    if (codec_encode(w->state, value, &message) < 0) {
        return -1;
    }
    uint8_t head = (uint8_t)status;
    struct iovec pieces[MESSAGE_PIECES + 1];
    pieces[0] = (struct iovec){&head, sizeof head};
    memcpy(pieces + 1, message.iov, (size_t)message.niov * sizeof *pieces);
    int r;
    if (message.size < COPY_UNLOCKED) {
        r = mproc_taskq_finish(w->taskq, w->seat, pieces, message.niov + 1);
    } else {
        BLOCKING(r, mproc_taskq_finish(w->taskq, w->seat, pieces, message.niov + 1));
    }
    message_clear(&message);
    if (r != 0 && r != BLOCKING_RAISED) {
        error_raise(r);
    }
    return r == 0 ? 0 : -1;
}

/* What is to be sent for an exception: of a task (value is NULL), or of a value that cannot be
 * sent. */
static PyObject *put_in_words(struct worker *w, PyObject *value, PyObject *error) {
    if (value != NULL) {
        return w->first < 0
                   ? PyObject_CallFunctionObjArgs(w->excuse, value, error, Py_None, NULL)
                   : PyObject_CallFunction(w->excuse, "OOL", value, error, (long long)w->first);
    }
    PyObject *where = w->where != NULL ? w->where : Py_None;
    return PyObject_CallFunctionObjArgs(w->describe, error, w->called ? Py_True : Py_False, where,
                                        NULL);
}

/* Sends what describe() or excuse() makes of the exception that is set. Others than Exceptions end
 * the worker, unless it is to survive those that functions raise. */
static int send_error(struct worker *w, PyObject *value) {
    if (!PyErr_ExceptionMatches(PyExc_Exception) && !(w->everything && w->called)) {
        return -1;
    }
    PyObject *error = error_take();
    PyObject *wire = put_in_words(w, value, error);
    int r = wire == NULL ? -1 : send_result(w, RESULT_ERROR, wire);
    if (r < 0 && value == NULL && wire != NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        r = send_error(w, wire); /* the exception itself cannot be sent */
    }
    Py_XDECREF(wire);
    Py_DECREF(error);
    return r;
}

static int do_task(struct worker *w, const mproc_message *message) {
    PyObject *result = run_task(w, message);
    if (result == NULL) {
        int r = send_error(w, NULL);
        Py_CLEAR(w->where);
        return r;
    }
    int r = send_result(w, RESULT_VALUE, result);
    if (r < 0) {
        r = send_error(w, result);
    }
    Py_DECREF(result);
    return r;
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
    r = do_task(w, &message);
    mproc_message_drop(&message);
    return r < 0 || PyErr_CheckSignals() < 0 ? -1 : 1;
}

/* serve(seat, limit, describe, excuse, everything=False): runs tasks until the queue is closed, or
 * `limit` are done (0: no limit). Returns how many. */
static PyObject *tasks_serve(PyObject *self, PyObject *args) {
    struct worker w = {module_state_of(self), taskq_of(self), 0, NULL, NULL, NULL, 0, 0, NULL, -1};
    Py_ssize_t limit, done = 0;
    if (w.state == NULL || !PyArg_ParseTuple(args, "InOO|p:serve", &w.seat, &limit, &w.describe,
                                             &w.excuse, &w.everything)) {
        return NULL;
    }
    int r = mproc_taskq_join(w.taskq, w.seat);
    if (r != 0) {
        return error_raise(r);
    }
    w.known = PyDict_New();
    r = w.known == NULL ? -1 : 1;
    while (r == 1 && (limit == 0 || done < limit)) {
        r = serve_one(&w);
        done += r == 1;
    }
    Py_XDECREF(w.known);
    return r < 0 ? NULL : PyLong_FromSsize_t(done);
}

static PyMethodDef tasks_methods[] = {
    {"submit", tasks_submit, METH_VARARGS,
     "submit(job, function, named, arguments)\n--\n\n"
     "Queue one call. function: dumps() of it; named: it is a mere name; arguments: (args, "
     "kwargs)."},
    {"submit_map", tasks_submit_map, METH_VARARGS,
     "submit_map(job, function, named, star, items, chunksize, first=0)\n--\n\n"
     "Queue a call per item of a list, chunksize of them per task. first: the number of the first\n"
     "item, for the error of one."},
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
    struct module_state *state = module_state(module);
    if (module_add_type(module, &job_spec, &state->job_type, 1) < 0) {
        return -1;
    }
    return module_add_type(module, &tasks_spec, &state->tasks_type, 1);
}
